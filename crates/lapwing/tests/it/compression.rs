//! Compressed messages (RFC 7692), for clients that ask for them where the server allows it.

use lapwing_wire::decoder::{Deflated, Event};
use lapwing_wire::deflate::{Deflater, Inflater, Room};
use lapwing_wire::frame::{self, Opcode};
use serde_json::{Value, json};

use crate::support::client::follow;
use crate::support::eventually;
use crate::support::frames::{BINARY, CLOSE, CONTINUATION, FIN, Frame, PING, PONG, RSV1, Raw, TEXT, masked};
use crate::support::http::post;
use crate::support::server::Server;

const ON: &[&str] = &["--compression", "on", "--topic", "a=push"];
const OFF: &[&str] = &["--topic", "a=push"];
const AGREED: &str = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";

/// What a message from a client may be.
const MESSAGE_BYTES_MAX: usize = 1 << 20;

#[test]
fn compression_is_agreed_on_where_it_is_asked_for_and_allowed() {
    let off = Server::start(OFF);
    assert_eq!(agreed(&off, &["permessage-deflate"]), None);
    let on = Server::start(ON);
    assert_eq!(on.event("ready", |_| true)["compression"], true);
    assert_eq!(agreed(&on, &[]), None);
    assert_eq!(agreed(&on, &["permessage-deflate"]).as_deref(), Some(AGREED));
    let browser = "permessage-deflate; client_max_window_bits";
    assert_eq!(agreed(&on, &[browser]).as_deref(), Some(AGREED));
    let window = "permessage-deflate; server_max_window_bits=15";
    let answer = format!("{AGREED}; server_max_window_bits=15");
    assert_eq!(agreed(&on, &["other; x=1", window]), Some(answer));
}

#[test]
fn c12_an_offer_that_is_wrong_is_declined_and_the_client_is_served_uncompressed() {
    let server = Server::start(ON);
    for offer in [
        "permessage-deflate; server_max_window_bits=10",
        "permessage-deflate; client_max_window_bits=99999999999999999999",
        "permessage-deflate; client_max_window_bits=8; client_max_window_bits=8",
        "permessage-deflate; unknown",
        "permessage-deflate; =\"",
        "permessage-deflate; server_max_window_bits=\u{e4}",
        "x-webkit-deflate-frame",
        ",;=\"",
    ] {
        let headers = format!("Sec-WebSocket-Extensions: {offer}\r\n");
        let (mut client, head) = Raw::with_headers(&server, "topics=a", &headers);
        assert!(
            !head.to_lowercase().contains("sec-websocket-extensions"),
            "{offer}: {head}"
        );
        publish(&server, "application/json", &long_json(1));
        assert_eq!(client.frame().unwrap().first_byte, FIN | TEXT, "{offer}");
    }
    let both = ["permessage-deflate; server_max_window_bits=9", "permessage-deflate"];
    assert_eq!(agreed(&server, &both).as_deref(), Some(AGREED));
}

#[test]
fn who_asks_gets_compressed_messages_and_the_others_the_same_uncompressed() {
    let server = Server::start(ON);
    for (nth, query) in ["topics=a", "topics=a&envelope=off"].into_iter().enumerate() {
        // Of several threads, each of which sends to several at once where it can.
        let mut compressed: Vec<Raw> = (0..9).map(|_| ask(&server, query)).collect();
        let mut plain = Raw::follow(&server, query);
        // What is published before its thread has a client is history to it, and history goes as it is.
        eventually("all are followed", || server.events("joined").len() == 10 * (nth + 1));
        for n in 0..50 {
            match n % 3 {
                0 => publish(&server, "application/json", &long_json(n)),
                1 => publish(&server, "text/plain", &"text ".repeat(50 + n)),
                _ => publish(&server, "application/octet-stream", &"\u{7}bytes".repeat(50 + n)),
            }
            let expect = plain.frame().unwrap();
            for client in &mut compressed {
                let frame = client.frame().unwrap();
                assert_eq!(frame.first_byte, expect.first_byte | RSV1);
                assert!(frame.payload.len() < expect.payload.len() / 2);
                assert_eq!(inflated(&frame), expect.payload);
            }
        }
        publish(&server, "application/json", "[1]");
        let expect = plain.frame().unwrap();
        for client in &mut compressed {
            assert_eq!(client.frame().unwrap(), expect, "a short one goes as it is");
        }
    }
}

#[test]
fn control_messages_go_uncompressed_between_compressed_ones() {
    let server = Server::start(ON);
    let headers = "Sec-WebSocket-Extensions: permessage-deflate\r\nSec-WebSocket-Protocol: lapwing.v1\r\n";
    let (mut client, _) = Raw::with_headers(&server, "topics=a", headers);
    for kind in ["welcome", "subscribed"] {
        let frame = client.frame().unwrap();
        assert_eq!(frame.first_byte, FIN | TEXT);
        let control: Value = serde_json::from_slice(&frame.payload).unwrap();
        assert_eq!(control["type"], kind);
    }
    publish(&server, "application/json", &long_json(1));
    assert_eq!(client.frame().unwrap().first_byte, FIN | RSV1 | TEXT);
    client.send(&deflated(
        TEXT,
        &format!("{:<300}", "{\"type\":\"unsubscribe\",\"topic\":\"a\"}"),
    ));
    let frame = client.frame().unwrap();
    assert_eq!(frame.payload, b"{\"type\":\"unsubscribed\",\"topic\":\"a\"}");
}

#[test]
fn history_comes_uncompressed_and_what_follows_it_compressed() {
    let server = Server::start(ON);
    (0..3).for_each(|n| publish(&server, "application/json", &long_json(n)));
    let mut client = ask(&server, "topics=a&from=earliest");
    for _ in 0..3 {
        assert_eq!(client.frame().unwrap().first_byte, FIN | TEXT);
    }
    publish(&server, "application/json", &long_json(3));
    assert_eq!(client.frame().unwrap().first_byte, FIN | RSV1 | TEXT);
}

#[test]
fn what_a_client_sends_compressed_is_heard_whole_and_in_order() {
    let server = Server::start(ON);
    let mut client = ask(&server, "topics=a&name=c");
    let text = format!("compressed {}", "\u{e9}".repeat(200));
    let whole = deflated(TEXT, &text);
    client.send(&whole);
    // The same in three fragments, with a ping between them: only the first has the bit.
    let payload = payload(&text);
    let (first, rest) = payload.split_at(3);
    client.send(&masked(RSV1 | TEXT, first));
    client.send(&masked(FIN | PING, b"?"));
    client.send(&masked(CONTINUATION, rest));
    client.send(&masked(FIN | CONTINUATION, b""));
    assert_eq!(client.frame().unwrap().first_byte, FIN | PONG);
    // Uncompressed ones may stand between them.
    client.send(&masked(FIN | TEXT, b"plain"));
    client.send(&deflated(BINARY, &"b".repeat(300)));
    server.event("said", |said| said["binary_bytes"] == 300);
    let said: Vec<Value> = server
        .events("said")
        .into_iter()
        .map(|said| said["text"].clone())
        .collect();
    assert_eq!(said[..3], [json!(text), json!(text), json!("plain")]);
}

#[test]
fn c11_messages_that_grow_a_thousandfold_take_turns_and_lose_nothing() {
    let server = Server::start(&[ON, &["--max-byte-rate", "1GiB"]].concat());
    let mut client = ask(&server, "topics=a&name=c");
    let messages: Vec<String> = (0..40)
        .map(|n| format!("{n} {}", "x".repeat(MESSAGE_BYTES_MAX - 10)))
        .collect();
    let frames: Vec<u8> = messages.iter().flat_map(|text| deflated(TEXT, text)).collect();
    assert!(frames.len() < 64 << 10, "they come in one read");
    client.send(&frames);
    client.send(&masked(FIN | PING, b"done"));
    assert_eq!(client.frame().unwrap().payload, b"done");
    let begins = |said: &Value, n: usize| said["text"].as_str().unwrap().starts_with(&format!("{n} x"));
    server.event("said", |said| begins(said, 39));
    let said = server.events("said");
    assert!(said.len() == 40 && said.iter().enumerate().all(|(n, said)| begins(said, n)));
}

#[test]
fn c11_many_bombs_at_once_are_refused_at_the_limit_and_cost_no_more() {
    let server = Server::start(ON);
    let mut other = follow(&server, "topics=a");
    let mebibyte = payload(&"\0".repeat(1 << 20));
    // Each block ends at a byte, so 512 of them are one stream of 512 MiB.
    let block = [&mebibyte[..], &[0, 0, 0xff, 0xff]].concat();
    let bomb = block.repeat(512);
    let bomb = masked(FIN | RSV1 | TEXT, &bomb[..bomb.len() - 4]);
    let had = server.memory_kib("VmRSS:");
    std::thread::scope(|scope| {
        for _ in 0..20 {
            scope.spawn(|| {
                let mut client = ask(&server, "topics=a");
                client.send_if_taken(&bomb);
                let reason = "a compressed message inflates to more than the limit of 1048576 bytes";
                assert_eq!(client.closed(), (1009, reason.to_owned()));
            });
        }
    });
    let more = server.memory_kib("VmHWM:").saturating_sub(had);
    // What came of each bomb, and one message of each thread.
    assert!(more < 48 << 10, "{more} KiB");
    publish(&server, "application/json", "1");
    assert_eq!(other.message().data, 1);
}

#[test]
fn c12_a_compressed_message_where_none_may_be_is_closed_with_1002() {
    let (on, off) = (Server::start(ON), Server::start(OFF));
    let none = |server| Raw::follow(server, "topics=a");
    let agreed = |server| ask(server, "topics=a");
    let whole = deflated(TEXT, &"x".repeat(200));
    for (mut client, bytes) in [
        (none(&off), whole.clone()),
        (none(&on), whole.clone()),
        (agreed(&on), masked(FIN | RSV1 | PING, b"")),
        (agreed(&on), masked(FIN | RSV1 | CLOSE, b"")),
        (
            agreed(&on),
            [masked(TEXT, b"a"), masked(FIN | RSV1 | CONTINUATION, b"b")].concat(),
        ),
        (agreed(&on), masked(FIN | RSV1 | 0x20 | TEXT, b"")),
    ] {
        client.send(&bytes);
        let (code, reason) = client.closed();
        assert_eq!(code, 1002, "{reason}");
        assert!(reason.starts_with("reserved bits "), "{reason}");
    }
}

#[test]
fn a_compressed_message_that_is_broken_or_no_text_is_closed_with_1007() {
    let server = Server::start(ON);
    let cut = payload(&"cut ".repeat(100));
    for (bytes, expect) in [
        (&b"\xff\xff\xff"[..], "a compressed message that cannot be inflated"),
        (&cut[..cut.len() - 3], "a compressed message that cannot be inflated"),
        (b"", "a compressed message that cannot be inflated"),
        (b"\x00\x02\x00\xfd\xff\xc3\x28\x00", "text is not UTF-8 at byte 0"),
    ] {
        let mut client = ask(&server, "topics=a");
        client.send(&masked(FIN | RSV1 | TEXT, bytes));
        assert_eq!(client.closed(), (1007, expect.to_owned()));
    }
}

/// The extension that is agreed on with a client that sends these headers.
#[track_caller]
fn agreed(server: &Server, offers: &[&str]) -> Option<String> {
    let headers: String = offers
        .iter()
        .map(|offer| format!("Sec-WebSocket-Extensions: {offer}\r\n"))
        .collect();
    let (_, head) = Raw::with_headers(server, "topics=a", &headers);
    let mut lines = head.lines();
    lines.find_map(|line| {
        let (name, value) = line.split_once(": ")?;
        name.eq_ignore_ascii_case("sec-websocket-extensions")
            .then(|| value.to_owned())
    })
}

/// A client that asks for compression, and gets it.
#[track_caller]
fn ask(server: &Server, query: &str) -> Raw {
    let (client, head) = Raw::with_headers(server, query, "Sec-WebSocket-Extensions: permessage-deflate\r\n");
    assert!(head.contains(AGREED), "{head}");
    client
}

#[track_caller]
fn publish(server: &Server, content_type: &str, body: &str) {
    let answer = post(server, "/topics/a/messages", content_type, body);
    assert_eq!(answer.status, 201, "{}", answer.body);
}

fn long_json(n: usize) -> String {
    format!("[{}{n}]", "12.5,".repeat(60))
}

/// The payload of a compressed message.
fn payload(text: &str) -> Vec<u8> {
    let (mut frame, mut out) = (Vec::new(), Vec::new());
    frame::write_frame(&mut frame, Opcode::Text, text.as_bytes(), None);
    assert!(Deflater::default().deflate(&frame, &mut out), "it gets shorter");
    frame::parts(&out).1.to_vec()
}

/// A client's frame with a compressed message.
fn deflated(opcode: u8, text: &str) -> Vec<u8> {
    masked(FIN | RSV1 | opcode, &payload(text))
}

/// What a compressed frame of the server says.
#[track_caller]
fn inflated(frame: &Frame) -> Vec<u8> {
    let (mut inflater, room) = (Inflater::default(), Room::new(MESSAGE_BYTES_MAX));
    let message = Deflated {
        opcode: Opcode::Binary,
        payload: &frame.payload,
    };
    let whole = inflater.inflate(message, MESSAGE_BYTES_MAX, &room);
    match whole.unwrap().event() {
        Ok(Event::Binary(bytes)) => bytes.to_vec(),
        other => panic!("{other:?}"),
    }
}
