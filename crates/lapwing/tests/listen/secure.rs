//! Feeds inside TLS.

use crate::feed::{Feed, certificate};
use crate::program::lapwing;

#[test]
fn a_certificate_can_be_trusted_by_file() {
    let (config, pem) = certificate();
    let dir = tempfile::tempdir().expect("a directory");
    let ca = dir.path().join("ca.pem");
    std::fs::write(&ca, pem).expect("written");
    let feed = Feed::bind();
    let url = format!("wss://{}", feed.address());
    let listener = lapwing(&["listen", &url, "--ca", ca.to_str().expect("UTF-8"), "--count", "1"]);
    let mut guest = feed.accept_tls(config).expect("trusted");
    guest.send("1");
    assert_eq!(guest.until_closed().1, Some(1000));
    listener.finish().with_code(0);
}

#[test]
fn insecure_trusts_anyone() {
    let (config, _) = certificate();
    let feed = Feed::bind();
    let url = format!("wss://{}", feed.address());
    let listener = lapwing(&["listen", &url, "--insecure", "--count", "1"]);
    feed.accept_tls(config).expect("trusted").send("1");
    listener.finish().with_code(0);
}

#[test]
fn d10_a_certificate_that_nobody_signed_is_told_with_a_way_out() {
    let (config, pem) = certificate();
    let dir = tempfile::tempdir().expect("a directory");
    let other = dir.path().join("other.pem");
    let (_, other_pem) = certificate();
    assert_ne!(pem, other_pem);
    std::fs::write(&other, other_pem).expect("written");
    let feed = Feed::bind();
    let url = format!("wss://{}", feed.address());
    let listener = lapwing(&["listen", &url, "--ca", other.to_str().expect("UTF-8")]);
    let _ = feed.accept_tls(config);
    let end = listener.finish().with_code(1);
    assert!(
        end.stderr[0].starts_with("error: the certificate of 127.0.0.1 is not trusted: "),
        "{end:?}"
    );
    assert_eq!(
        end.stderr[1],
        "hint: --ca FILE trusts the certificates in FILE, --insecure trusts anyone"
    );
}

#[test]
fn a_server_without_tls_behind_a_tls_url_is_told() {
    use std::io::{Read as _, Write as _};
    let feed = Feed::bind();
    let address = feed.address();
    let listener = lapwing(&["listen", &format!("wss://{address}"), "--insecure"]);
    let mut stream = feed.accept_tcp();
    let _ = stream.read(&mut [0; 512]).expect("a hello");
    stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").expect("it reads");
    let end = listener.finish().with_code(1);
    assert_eq!(
        end.stderr,
        [
            format!("error: {address} does not speak TLS, but the URL begins with wss://"),
            format!("hint: use ws://{address}")
        ]
    );
}

#[test]
fn a_file_without_certificates_is_a_wrong_use() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("ca.pem");
    std::fs::write(&path, "nothing").expect("written");
    let end = lapwing(&["listen", "wss://127.0.0.1:1", "--ca", path.to_str().expect("UTF-8")]).finish();
    end.with_code(2).said("is no file of certificates");
    let end = lapwing(&["listen", "wss://127.0.0.1:1", "--ca", "/no/such.pem"]).finish();
    end.with_code(2)
        .said("error: \"/no/such.pem\" is no file of certificates: no such file or directory");
}
