//! Compression towards a server: what is agreed on, what comes of it, and how a listener ends what it does not take.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use lapwing_wire::context::Context;
use lapwing_wire::decoder::{Decoder, DecoderLimits, Event};
use lapwing_wire::envelope::Kind;
use lapwing_wire::extension::{self, OFFER};
use lapwing_wire::frame::{Header, Opcode, Role};
use lapwing_wire::handshake::accept_key;

use crate::feed::{Feed, read_head};
use crate::foreign::recorded;
use crate::program::{lapwing, record, serve};

const FIN: u8 = 0x80;
const TEXT: u8 = 0x1;

/// Answers the next listener by a 101 with these header lines and, in the same write, these bytes; gives its request, too.
#[track_caller]
fn switch(feed: &Feed, headers: &str, behind: &[u8]) -> (TcpStream, String) {
    let mut stream = feed.accept_tcp();
    let request = read_head(&mut stream);
    let key = request
        .lines()
        .find_map(|line| line.strip_prefix("Sec-WebSocket-Key: "));
    let accept = accept_key(key.expect("a key"));
    let head = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n{headers}Sec-WebSocket-Accept: {accept}\r\n\r\n"
    );
    stream.write_all(&[head.as_bytes(), behind].concat()).expect("it reads");
    (stream, request)
}

/// The code of the close frame that the listener sends.
#[track_caller]
fn closed(stream: &mut TcpStream) -> Option<u16> {
    let mut decoder = Decoder::new(Role::Server, DecoderLimits::default());
    let mut buffer = [0; 4096];
    loop {
        let bytes = stream.read(&mut buffer).expect("it closes");
        assert!(bytes > 0, "it ended without a close frame");
        let mut rest = &mut buffer[..bytes];
        loop {
            let decoded = decoder.decode(rest).expect("a client's frames are right");
            match decoded.event {
                Some(Event::Close(close)) => return close.map(|(code, _)| code.get()),
                Some(_) => {}
                None => break,
            }
            let consumed = decoded.consumed;
            rest = &mut std::mem::take(&mut rest)[consumed..];
        }
    }
}

fn frame(first_byte: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = Header::new(Opcode::Text, payload.len(), None).as_bytes().to_vec();
    frame[0] = first_byte;
    frame.extend_from_slice(payload);
    frame
}

#[test]
fn c12_an_answer_about_compression_that_is_wrong_ends_the_handshake_with_a_sentence() {
    for (flags, answer, sentence) in [
        (
            &[][..],
            "permessage-deflate",
            "an extension that was not offered: \"permessage-deflate\"",
        ),
        (
            ON,
            "permessage-deflate; server_max_window_bits=4294967304",
            "windows have 8 to 15 bits",
        ),
        (
            ON,
            "permessage-deflate; server_max_window_bits=7",
            "windows have 8 to 15 bits",
        ),
        (
            ON,
            "permessage-deflate; client_max_window_bits=16",
            "windows have 8 to 15 bits",
        ),
        (
            ON,
            "permessage-deflate; client_max_window_bits",
            "windows have 8 to 15 bits",
        ),
        (
            ON,
            "permessage-deflate; server_no_context_takeover; server_no_context_takeover",
            "a parameter given twice",
        ),
        (
            ON,
            "permessage-deflate; other",
            "a parameter that there is not: \"other\"",
        ),
        (ON, "permessage-deflate, permessage-deflate", "not offered"),
        (ON, "x-webkit-deflate-frame", "not offered: \"x-webkit-deflate-frame\""),
    ] {
        let feed = Feed::bind();
        let listener = lapwing(&[&["listen", &feed.url()], flags].concat());
        let (_stream, request) = switch(&feed, &format!("Sec-WebSocket-Extensions: {answer}\r\n"), b"");
        assert_eq!(request.contains(OFFER), flags == ON, "{request}");
        let end = listener.finish().with_code(1);
        assert!(end.stderr[0].contains(sentence), "{answer}: {end:?}");
        assert!(end.stderr[1].starts_with("hint: "), "{end:?}");
    }
}

#[test]
fn what_a_server_compresses_is_recorded_as_it_was() {
    let dir = tempfile::tempdir().expect("a directory");
    for answer in [
        "permessage-deflate",
        "permessage-deflate; server_no_context_takeover; client_max_window_bits=8",
        "permessage-deflate; server_max_window_bits=9",
    ] {
        let log = dir.path().join(format!("{}.ndjson", answer.len()));
        let feed = Feed::bind();
        let listener = record(&feed.url(), &log, &[&["--count", "20"], ON].concat());
        let agreed = extension::agreed(answer).expect("right").expect("not none");
        let mut context = Context::new(agreed, Role::Server);
        let messages: Vec<String> = (0..20)
            .map(|n| format!("[{n},\"{}\"]", "again ".repeat(n * 300)))
            .collect();
        let mut behind = Vec::new();
        for message in &messages {
            context.write_message(&mut behind, Opcode::Text, message.as_bytes(), None);
        }
        let (_stream, _) = switch(&feed, &format!("Sec-WebSocket-Extensions: {answer}\r\n"), &behind);
        listener.finish().with_code(0);
        let payloads: Vec<_> = recorded(&log).into_iter().map(|message| message.payload).collect();
        assert!(
            payloads.iter().eq(messages.iter().map(|message| message.as_bytes())),
            "{answer}"
        );
    }
}

#[test]
fn c11_a_bomb_of_a_server_is_closed_with_1009_and_a_broken_message_with_1007() {
    for (payload, code) in [(bomb(), 1009), (frame(FIN | 0x40 | TEXT, b"\x06"), 1007)] {
        let feed = Feed::bind();
        let _listener = lapwing(&[&["listen", &feed.url()], ON].concat());
        let (mut stream, _) = switch(&feed, "Sec-WebSocket-Extensions: permessage-deflate\r\n", &payload);
        assert_eq!(closed(&mut stream), Some(code));
    }
}

/// A message that becomes a byte more than a listener takes.
fn bomb() -> Vec<u8> {
    let agreed = extension::agreed("permessage-deflate")
        .expect("right")
        .expect("not none");
    let mut bomb = Vec::new();
    Context::new(agreed, Role::Server).write_message(&mut bomb, Opcode::Binary, &vec![0; (64 << 20) + 1], None);
    bomb
}

#[test]
fn c13_bytes_of_every_value_and_length_are_the_same_in_the_listeners_file() {
    let dir = tempfile::tempdir().expect("a directory");
    let log = dir.path().join("bytes.ndjson");
    let (server, url) = serve(&["--topic", "bytes=push", "--max-body", "16MiB", "--compression", "on"]);
    let every_byte: Vec<u8> = (0..=255).collect();
    // About every length at which a header, a read or a write changes; the last is the most that a topic takes.
    let lengths = [
        0,
        1,
        125,
        126,
        127,
        128,
        0xfffe,
        0xffff,
        0x1_0000,
        1 << 20,
        (1 << 20) + 1,
        16 << 20,
    ];
    let bodies: Vec<Vec<u8>> = lengths
        .iter()
        .map(|length| every_byte.iter().copied().cycle().take(*length).collect())
        .collect();
    let count = bodies.len().to_string();
    let listener = record(&url, &log, &[&["--count", &count, "--quiet"], ON].concat());
    listener.says("connected");
    for body in &bodies {
        let mut stream = TcpStream::connect(url.strip_prefix("ws://").expect("ws")).expect("it listens");
        let head = format!(
            "POST /topics/bytes/messages HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nContent-Type: application/octet-stream\r\nContent-Length: {}\r\n\r\n",
            url.strip_prefix("ws://").expect("ws"),
            body.len()
        );
        stream.write_all(head.as_bytes()).expect("it reads");
        stream.write_all(body).expect("it reads");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        assert!(answer.starts_with("HTTP/1.1 201 "), "{} bytes: {answer}", body.len());
    }
    listener.finish().with_code(0);
    drop(server);
    let messages = recorded(&log);
    assert_eq!(messages.len(), bodies.len());
    for (message, body) in messages.iter().zip(&bodies) {
        assert_eq!((message.kind, message.payload.len()), (Kind::Bytes, body.len()));
        assert!(message.payload == *body, "{} bytes", body.len());
    }
}

const ON: &[&str] = &["--compression", "on"];
