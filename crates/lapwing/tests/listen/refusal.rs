//! Servers that say no, and URLs that lead nowhere.

use crate::feed::Feed;
use crate::program::lapwing;

fn http(status: &str, headers: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 {status}\r\n{headers}Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

#[test]
fn a_refusal_is_told_in_the_servers_words_and_not_tried_again() {
    for (status, body, sentence) in [
        (
            "404 Not Found",
            "no topic \"x\"; topics: users, arrays\n",
            "no topic \"x\"; topics: users, arrays (404 Not Found)",
        ),
        (
            "403 Forbidden",
            "{\"error\":\"origin not allowed\"}",
            "origin not allowed (403 Forbidden)",
        ),
        (
            "409 Conflict",
            "epoch 8 began at 0",
            "epoch 8 began at 0 (409 Conflict)",
        ),
        (
            "400 Bad Request",
            "unknown key \"topic\"",
            "unknown key \"topic\" (400 Bad Request)",
        ),
    ] {
        let feed = Feed::bind();
        let listener = lapwing(&["listen", &feed.url()]);
        let request = feed.answer(&http(status, "", body));
        assert!(request.contains("Sec-WebSocket-Protocol: lapwing.v1\r\n"), "{request}");
        let end = listener.finish().with_code(1);
        assert_eq!(end.stderr[0], format!("error: the server refused: {sentence}"));
        assert!(end.stderr[1].starts_with("hint: "), "{end:?}");
        assert_eq!(end.stderr.len(), 2, "{end:?}");
    }
}

#[test]
fn a_refusal_is_told_at_once_however_its_body_is_cut() {
    use std::io::Write as _;
    // One of them ends a read within the body, whatever the reads are.
    for bytes in [10, 60, 120, 200, 300, 500, 900] {
        let feed = Feed::bind();
        let listener = lapwing(&["listen", &feed.url()]);
        let mut stream = feed.accept_tcp();
        crate::feed::read_head(&mut stream);
        let body = "x".repeat(bytes);
        let answer = http("403 Forbidden", "", &body);
        stream.write_all(answer.as_bytes()).expect("it reads");
        // The connection stays open, as those of HTTP/1.1 do.
        let end = listener.finish().with_code(1);
        assert_eq!(end.stderr.len(), 2, "{bytes}: {end:?}");
    }
}

#[test]
fn a_server_that_is_too_busy_is_asked_again_when_it_says() {
    let feed = Feed::bind();
    let listener = lapwing(&["listen", &feed.url(), "--count", "1"]);
    feed.answer(&http("503 Service Unavailable", "Retry-After: 1\r\n", "draining"));
    let said = listener.says("attempt 1 in");
    assert!(
        said.contains("in 0.8 s") || said.contains("in 0.9 s") || said.contains("in 1."),
        "{said}"
    );
    feed.accept_plain().send("1");
    let end = listener.finish().with_code(0);
    end.said(&format!(
        "the server at {} has no place for us now (503); trying until it has",
        feed.url()
    ));
}

#[test]
fn tls_behind_a_plain_url_is_told() {
    use std::io::Write as _;
    let feed = Feed::bind();
    let listener = lapwing(&["listen", &feed.url()]);
    let mut stream = feed.accept_tcp();
    stream
        .write_all(&[0x15, 0x03, 0x01, 0x00, 0x02, 0x02, 0x46])
        .expect("it reads");
    let end = listener.finish().with_code(1);
    let address = feed.address();
    assert_eq!(
        end.stderr,
        [
            format!("error: {address} answers in TLS, but the URL begins with ws://"),
            format!("hint: use wss://{address}")
        ]
    );
}

#[test]
fn a_url_that_leads_nowhere_is_a_wrong_use() {
    for (url, sentence, hint) in [
        (
            "http://127.0.0.1:1",
            "error: \"http://127.0.0.1:1\" is the URL of a page, a stream begins with ws:// or wss://",
            "hint: use \"ws://127.0.0.1:1\"",
        ),
        (
            "ws://me:secret@h",
            "error: a URL with a user and password in it is not used: it ends in logs and process lists",
            "hint: leave the part before the @ out",
        ),
    ] {
        let end = lapwing(&["listen", url]).finish().with_code(2);
        assert_eq!(end.stderr, [sentence, hint]);
    }
}

#[test]
fn a15_localhost_names_every_address_it_tried() {
    let feed = Feed::bind();
    let port = feed.address().rsplit(':').next().expect("a port").to_owned();
    drop(feed);
    let listener = lapwing(&["listen", &format!("ws://localhost:{port}"), "--for", "300ms"]);
    let said = listener.says("no server at");
    assert!(said.contains("connection refused"), "{said}");
    // Where localhost is both, both are named.
    let both = std::net::ToSocketAddrs::to_socket_addrs(&("localhost", 1))
        .expect("localhost")
        .count()
        > 1;
    assert!(
        !both || (said.contains(&format!("[::1]:{port}")) && said.contains(&format!("127.0.0.1:{port}"))),
        "{said}"
    );
    let end = listener.finish().with_code(1);
    end.said("error: no server at ws://localhost");
    end.said("hint: start one with: lapwing serve");
}
