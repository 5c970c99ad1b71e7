//! Servers that know nothing of Lapwing, and servers inside TLS.

use std::io::Write as _;

use crate::feed::{Feed, certificate, read_head};
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

#[test]
fn a_refusal_without_a_length_is_told_in_the_servers_words() {
    let feed = Feed::bind();
    let bench = lapwing(&["bench", &feed.url(), "--clients", "1"]);
    looked_at(&feed);
    let mut stream = feed.accept_tcp();
    read_head(&mut stream);
    let answer = "HTTP/1.1 404 Not Found\r\nConnection: close\r\n\r\nno such stream\n";
    stream.write_all(answer.as_bytes()).expect("it listens");
    drop(stream);
    let end = bench.finish().with_code(1);
    end.said("error: the server refused: no such stream (404 Not Found)");
}

#[test]
fn what_is_no_websocket_server_is_told() {
    let feed = Feed::bind();
    let bench = lapwing(&["bench", &feed.url(), "--clients", "1"]);
    looked_at(&feed);
    let mut stream = feed.accept_tcp();
    read_head(&mut stream);
    stream.write_all(b"220 mail.example.org ESMTP\r\n").expect("it listens");
    bench
        .finish()
        .with_code(1)
        .said("is no stream: the server does not speak HTTP");
}
