//! What clients may send to the letter of RFC 6455, and what they may not, beside what `abuse.rs` has of floods and sizes.

use serde_json::json;

use crate::support::frames::{BINARY, CLOSE, FIN, PING, PONG, Raw, TEXT, header, masked};
use crate::support::http::post;
use crate::support::server::Server;

const QUIET: &[&str] = &["--topic", "quiet=push"];
/// The longest message of a topic.
const MESSAGE_BYTES_MAX: usize = 16 << 20;

/// A client of this server that sends this is closed with this code, for this reason.
#[track_caller]
fn check_closed(server: &Server, bytes: &[u8], code: u16, says: &str) {
    let mut client = Raw::follow(server, "topics=quiet");
    client.send_if_taken(bytes);
    let (told, reason) = client.closed();
    assert_eq!(told, code, "{reason}");
    assert!(reason.contains(says), "{reason:?} does not say {says:?}");
}

fn close(code: u16, reason: &[u8]) -> Vec<u8> {
    masked(FIN | CLOSE, &[&code.to_be_bytes(), reason].concat())
}

#[test]
fn c2_no_frame_of_a_client_goes_without_a_mask() {
    let server = Server::start(QUIET);
    for first in [FIN | TEXT, TEXT, FIN | BINARY, FIN | PING, FIN | PONG, FIN | CLOSE] {
        for bytes in [0, 3] {
            let mut frame = header(first, 0, bytes);
            frame.resize(frame.len() + bytes as usize, b'a');
            check_closed(&server, &frame, 1002, "a client must mask its frames");
        }
    }
}

#[test]
fn c8_a_length_that_is_not_in_its_shortest_form_is_closed_with_1002() {
    let server = Server::start(QUIET);
    let form = |length: &[u8]| [&[FIN | BINARY], length, &[0; 4]].concat();
    for length in [
        &[0x80 | 126, 0, 0][..],
        &[0x80 | 126, 0, 125],
        &[0x80 | 127, 0, 0, 0, 0, 0, 0, 0, 126],
        &[0x80 | 127, 0, 0, 0, 0, 0, 0, 0xff, 0xff],
    ] {
        check_closed(&server, &form(length), 1002, "not in its shortest form");
    }
}

#[test]
fn c8_control_frames_of_125_bytes_are_taken_and_of_126_closed_with_1002() {
    let server = Server::start(QUIET);
    let mut client = Raw::follow(&server, "topics=quiet");
    client.send(&masked(FIN | PONG, &[b'o'; 125]));
    client.send(&masked(FIN | PING, &[b'i'; 125]));
    let pong = client.frame().unwrap();
    assert_eq!((pong.first_byte, pong.payload), (FIN | PONG, vec![b'i'; 125]));
    for control in [PING, PONG, CLOSE] {
        check_closed(&server, &masked(FIN | control, &[3; 126]), 1002, "at most 125 bytes");
        check_closed(&server, &masked(control, b""), 1002, "must not be fragmented");
    }
}

#[test]
fn c10_a_reason_of_123_bytes_is_taken_and_one_of_124_is_closed_with_1002() {
    let server = Server::start(QUIET);
    let mut client = Raw::follow(&server, "topics=quiet");
    client.send(&close(4000, &[b'r'; 123]));
    assert_eq!(client.closed(), (4000, String::new()));
    let left = server.event("left", |left| left["code"] == 4000);
    assert_eq!(
        (&left["by"], &left["reason"]),
        (&json!("client"), &json!("r".repeat(123)))
    );
    check_closed(&server, &close(4000, &[b'r'; 124]), 1002, "at most 125 bytes");
}

#[test]
fn c10_each_code_is_answered_with_itself_if_it_may_be_sent_and_with_1002_if_not() {
    let server = Server::start(QUIET);
    let reserved = (1016..3000).step_by(97).chain([2999]);
    for code in [0, 999, 1004, 1005, 1006, 1015, 5000, 65535]
        .into_iter()
        .chain(reserved)
    {
        let says = format!("close code {code} may not be sent");
        check_closed(&server, &close(code, b""), 1002, &says);
    }
    for code in [
        1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999,
    ] {
        check_closed(&server, &close(code, b"bye"), code, "");
    }
    // Without a code the answer is 1000.
    check_closed(&server, &masked(FIN | CLOSE, b""), 1000, "");
    check_closed(&server, &masked(FIN | CLOSE, b"\x03"), 1002, "a close body of 1 byte");
}

#[test]
fn c13_bytes_of_every_value_and_size_reach_a_client_as_they_were_published() {
    let server = Server::start(&["--topic", "raw=push?keep_bytes=1GiB", "--max-body", "64MiB"]);
    let mut client = Raw::follow(&server, "topics=raw&envelope=off");
    for bytes in [1, 125, 126, 127, 255, 256, 65_535, 65_536, 65_537, MESSAGE_BYTES_MAX] {
        let body: Vec<u8> = (0..=255).cycle().take(bytes).collect();
        let answer = post(
            &server,
            "/topics/raw/messages",
            "application/octet-stream",
            body.clone(),
        );
        assert_eq!(answer.status, 201, "{}", answer.body);
        let frame = client.frame().unwrap();
        assert!(
            frame.first_byte == FIN | BINARY && frame.payload == body,
            "{bytes} bytes are other bytes, or {}",
            frame.payload.len()
        );
    }
}
