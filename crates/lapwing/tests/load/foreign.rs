//! Servers that know nothing of Lapwing, and servers inside TLS.

use crate::feed::{Feed, certificate};
use crate::program::lapwing;
use crate::rig::{SHORT, looked_at, object, start};

#[test]
fn a_server_without_offsets_is_measured_by_frames_and_bytes() {
    let feed = Feed::bind();
    let url = format!("{}/stream?pair=BTC", feed.url());
    let bench = start(&url, &[SHORT, &["--clients", "3"]].concat());
    looked_at(&feed);
    let mut guests: Vec<_> = (0..3).map(|_| feed.accept_plain()).collect();
    for guest in &mut guests {
        assert_eq!(guest.path, "/stream?pair=BTC");
        (0..10).for_each(|price| guest.send(&format!("{{\"price\":{price}}}")));
        guest.send("hello");
        guest.send_bytes(&[0; 1000]);
    }
    for guest in guests {
        assert_eq!(guest.until_closed().1, Some(1000));
    }
    let found = object(&bench.finish().with_code(0));
    assert_eq!(
        (&found["verdict"], &found["foreign_frames"]),
        (&"not_checked".into(), &36.into())
    );
    assert_eq!(found["why"], "this server sends no offsets; frames and bytes only");
    assert_eq!(found["latency"]["count"], 0);
}

#[test]
fn a_server_inside_tls_is_loaded_as_well() {
    let (config, pem) = certificate();
    let dir = tempfile::tempdir().expect("a directory");
    let ca = dir.path().join("ca.pem");
    std::fs::write(&ca, pem).expect("written");
    let feed = Feed::bind();
    let url = format!("wss://{}", feed.address());
    let bench = start(
        &url,
        &[SHORT, &["--clients", "2", "--ca", ca.to_str().expect("UTF-8")]].concat(),
    );
    looked_at(&feed);
    let mut guests: Vec<_> = (0..2)
        .map(|_| feed.accept_tls(config.clone()).expect("trusted"))
        .collect();
    for guest in &mut guests {
        guest.messages("users", 0..50);
        guest.send(&"x".repeat(300_000));
    }
    for guest in guests {
        assert_eq!(guest.until_closed().1, Some(1000));
    }
    let found = object(&bench.finish().with_code(0));
    assert_eq!(found["why"], "each of 2 clients received users 0-49 once, in order");
    assert_eq!(found["foreign_frames"], 2);
}

#[test]
fn a_certificate_that_nobody_signed_is_told_with_a_way_out() {
    let (config, _) = certificate();
    let feed = Feed::bind();
    let bench = lapwing(&["bench", &format!("wss://{}", feed.address()), "--clients", "1"]);
    looked_at(&feed);
    assert!(feed.accept_tls(config).is_none());
    let end = bench.finish().with_code(1);
    end.said("is not trusted");
    end.said("--ca FILE trusts the certificates in FILE, --insecure trusts anyone");
}
