//! Requests that two parsers could read in two ways: refused, or answered once and then cut off.

use std::io::{Read as _, Write as _};

use crate::support::frames::upgrade_request;
use crate::support::http::{answer, open};
use crate::support::server::Server;

/// One that waits for the next request soon gives up.
const TOPICS: &[&str] = &["--topic", "orders=push", "--handshake-timeout", "500ms"];
const PATH: &str = "/topics/orders/messages";

/// The status of every answer that comes until the server ends the connection.
#[track_caller]
fn statuses(server: &Server, request: &str) -> Vec<u16> {
    let mut stream = open(server.address());
    // A server that has refused need not read the rest.
    let _ = stream.write_all(request.as_bytes());
    let (mut answers, mut piece) = (Vec::new(), [0; 4096]);
    loop {
        match stream.read(&mut piece) {
            Ok(0) => break,
            Ok(read) => answers.extend_from_slice(&piece[..read]),
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => break,
            Err(error) => panic!("it does not end: {error}"),
        }
    }
    let text = String::from_utf8_lossy(&answers).into_owned();
    let begins = text.match_indices("HTTP/1.1 ").map(|(at, begin)| at + begin.len());
    begins.filter_map(|at| text.get(at..at + 3)?.parse().ok()).collect()
}

fn head(server: &Server, method_and_target: &str, lines: &str) -> String {
    format!(
        "{method_and_target} HTTP/1.1\r\nHost: {}\r\n{lines}\r\n",
        server.address()
    )
}

/// A second request, which stands where one parser sees a body and another one the next request.
fn hidden(server: &Server) -> String {
    head(server, "GET /healthz", "")
}

#[test]
fn d5_a_body_that_could_hide_a_request_is_refused_or_ends_the_connection() {
    let server = Server::start(TOPICS);
    let hidden = hidden(&server);
    let chunked = format!("0\r\n\r\n{hidden}");
    for lines in [
        format!("Content-Length: {}\r\nTransfer-Encoding: chunked\r\n", chunked.len()),
        format!("Transfer-Encoding: chunked\r\nContent-Length: {}\r\n", chunked.len()),
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n".to_owned(),
        "Transfer-Encoding: identity, chunked\r\n".to_owned(),
        "Transfer-Encoding: xchunked\r\n".to_owned(),
        "Content-Length: 0\r\nContent-Length: 5\r\n".to_owned(),
        "Content-Length: 0, 5\r\n".to_owned(),
        "Content-Length: 0x0\r\n".to_owned(),
        "Content-Length: -0\r\n".to_owned(),
    ] {
        let lines = format!("Content-Type: text/plain\r\n{lines}");
        let request = head(&server, &format!("POST {PATH}"), &lines) + &chunked;
        let answers = statuses(&server, &request);
        assert_eq!(
            answers.len(),
            1,
            "one answer, and not one to what is hidden: {lines:?} {answers:?}"
        );
        assert!(answers[0] == 400, "{lines:?}: {answers:?}");
    }
}

#[test]
fn d5_lines_that_are_not_as_they_should_be_are_refused() {
    let server = Server::start(TOPICS);
    let host = server.address();
    for request in [
        // A line that goes on (obs-fold, RFC 9112 section 5.2).
        format!("GET /healthz HTTP/1.1\r\nHost: {host}\r\nX: a\r\n b\r\n\r\n"),
        // CR alone.
        format!("GET /healthz HTTP/1.1\r\nHost: {host}\r\nX: a\rY: b\r\n\r\n"),
        format!("GET /healthz HTTP/1.1\r\nHost : {host}\r\n\r\n"),
        format!("GET /healthz HTTP/1.1\r\n Host: {host}\r\n\r\n"),
        format!("GET /healthz HTTP/1.1\r\nHost: {host}\r\nX\0: a\r\n\r\n"),
        format!("GET /healthz HTTP/1.1\r\nHost: {host}\r\nX: a\0b\r\n\r\n"),
        format!("GET /health z HTTP/1.1\r\nHost: {host}\r\n\r\n"),
        format!("GET /healthz HTTP/1.1\r\nHost: {host}\r\nHost: {host}\r\n\r\n"),
        "GET /healthz HTTP/1.1\r\n\r\n".to_owned(),
    ] {
        let answers = statuses(&server, &request);
        assert_eq!(answers.len(), 1, "{request:?}: {answers:?}");
        assert!(matches!(answers[0], 400 | 421), "{request:?}: {answers:?}");
    }
}

#[test]
fn d5_an_upgrade_with_a_body_is_refused_and_what_follows_is_no_request() {
    let server = Server::start(TOPICS);
    let hidden = hidden(&server);
    for lines in [
        format!("Content-Length: {}\r\n", hidden.len()),
        "Transfer-Encoding: chunked\r\n".to_owned(),
    ] {
        let upgrade = upgrade_request(&server.address().to_string(), "/?topics=orders");
        let request = upgrade.replacen("\r\n", &format!("\r\n{lines}"), 1) + &hidden;
        let answers = statuses(&server, &request);
        assert_eq!(answers, [400], "{lines:?}");
    }
}

#[test]
fn d6_a_head_of_another_protocol_is_refused_with_one_answer() {
    let server = Server::start(TOPICS);
    for request in [
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "GET / HTTP/0.9\r\n\r\n",
        "\x16\x03\x01\x02\x00\x01\x00\x01\x7c\x03\x03",
        "SSH-2.0-OpenSSH_9.2\r\n",
        "hello\r\n\r\n",
    ] {
        let answers = statuses(&server, request);
        assert!(
            answers.len() <= 1 && answers.iter().all(|status| (400..600).contains(status)),
            "{request:?}: {answers:?}"
        );
    }
}

#[test]
fn d6_what_does_not_begin_as_a_request_is_told_so() {
    let server = Server::start(TOPICS);
    for rubbish in [
        &b"\0\x01\x02"[..],
        b"\x80\x01",
        b"{\"a\":1}\r\n\r\n",
        b"(",
        b" GET / HTTP/1.1\r\n\r\n",
    ] {
        let mut stream = open(server.address());
        stream.write_all(rubbish).unwrap();
        let answer = answer(&mut stream).expect("an answer");
        assert_eq!(answer.status, 400, "{rubbish:?}");
        assert_eq!(answer.body, "what came does not begin with a request of HTTP/1.1\n");
    }
    // An empty line in front of a request is none of it (RFC 9112 section 2.2).
    let answers = statuses(&server, &format!("\r\n{}", hidden(&server)));
    assert_eq!(answers, [200]);
}
