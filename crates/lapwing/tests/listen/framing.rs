//! Servers that keep to the letter of RFC 6455, or break it, byte by byte: what a listener takes, and what it closes with.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use lapwing::recording::reader::RecordedMessage;
use lapwing_wire::envelope::Kind;
use lapwing_wire::handshake::accept_key;

use crate::feed::{Feed, read_head};
use crate::foreign::recorded;
use crate::program::{Program, lapwing, record, serve};

/// Opcodes and bits of a frame's first byte (RFC 6455 section 5.2).
const CONTINUATION: u8 = 0x0;
const TEXT: u8 = 0x1;
const BINARY: u8 = 0x2;
const CLOSE: u8 = 0x8;
const PING: u8 = 0x9;
const PONG: u8 = 0xa;
const FIN: u8 = 0x80;

/// What a listener takes at most, and a topic.
const MESSAGE_BYTES_MAX: usize = 64 << 20;
const FRAGMENTS_MAX: usize = 65_534;
const TOPIC_MESSAGE_BYTES_MAX: usize = 16 << 20;

/// A listener's connection, with nothing between the test and the bytes.
struct Raw(TcpStream);

impl Raw {
    /// Answers the next listener with a 101, and with these bytes in the same write.
    #[track_caller]
    fn accept(feed: &Feed, behind: &[u8]) -> Self {
        let mut stream = feed.accept_tcp();
        stream.set_nodelay(true).expect("a socket");
        let head = read_head(&mut stream);
        let key = head
            .lines()
            .find_map(|line| line.strip_prefix("Sec-WebSocket-Key: "))
            .expect("every request has one");
        let answer = format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: {}\r\n\r\n",
            accept_key(key)
        );
        let mut raw = Self(stream);
        raw.send(&[answer.as_bytes(), behind].concat());
        raw
    }

    fn send(&mut self, bytes: &[u8]) {
        // A listener that has closed need not read the rest.
        let _ = self.0.write_all(bytes);
    }

    /// The next frame of the listener: its first byte and its payload, unmasked.
    #[track_caller]
    fn frame(&mut self) -> (u8, Vec<u8>) {
        let mut take = |bytes: usize| {
            let mut taken = vec![0; bytes];
            self.0.read_exact(&mut taken).expect("a frame comes, and is whole");
            taken
        };
        let head = take(2);
        assert_eq!(head[1] & 0x80, 0x80, "a client masks each of its frames");
        let length = usize::from(head[1] & 0x7f);
        assert!(length <= 125, "none of them is long");
        let mask = take(4);
        let payload = take(length);
        let payload = payload.iter().zip(mask.iter().cycle()).map(|(byte, key)| byte ^ key);
        (head[0], payload.collect())
    }

    /// Code and reason with which the listener closes, whatever comes before.
    #[track_caller]
    fn closed(&mut self) -> (u16, String) {
        loop {
            let (first, payload) = self.frame();
            if first == FIN | CLOSE {
                let (code, reason) = payload.split_first_chunk().expect("a code");
                let reason = String::from_utf8(reason.to_vec()).expect("a reason is text");
                return (u16::from_be_bytes(*code), reason);
            }
        }
    }
}

/// A frame as a server sends it.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let bytes = payload.len();
    let mut frame = vec![first];
    match bytes {
        0..=125 => frame.push(bytes as u8),
        126..=0xffff => {
            frame.push(126);
            frame.extend((bytes as u16).to_be_bytes());
        }
        _ => {
            frame.push(127);
            frame.extend((bytes as u64).to_be_bytes());
        }
    }
    frame.extend_from_slice(payload);
    frame
}

fn close_frame(code: u16, reason: &[u8]) -> Vec<u8> {
    frame(FIN | CLOSE, &[&code.to_be_bytes(), reason].concat())
}

/// A listener that hears this closes with this code, says why, and does not come back.
#[track_caller]
fn check_broken(bytes: &[u8], code: u16, says: &str) {
    let feed = Feed::bind();
    let listener = lapwing(&["listen", &feed.url()]);
    let mut raw = Raw::accept(&feed, bytes);
    let (told, reason) = raw.closed();
    assert_eq!(told, code, "{reason}");
    assert!(reason.contains(says), "{reason:?} does not say {says:?}");
    drop(raw);
    let end = listener.finish().with_code(1);
    end.said(&format!("error: the server broke the rules of WebSockets: {reason}"));
}

/// A listener that records so many messages, and its file.
fn recorder(url: &str, more: &[&str]) -> (Program, tempfile::TempDir) {
    let dir = tempfile::tempdir().expect("a directory");
    let log = dir.path().join("feed.ndjson");
    let listener = record(url, log, &[&["--quiet"], more].concat());
    (listener, dir)
}

fn messages(dir: &tempfile::TempDir) -> Vec<RecordedMessage> {
    recorded(&dir.path().join("feed.ndjson"))
}

/// Every value that a byte may have, again and again, up to this length.
fn every_byte(bytes: usize) -> Vec<u8> {
    (0..=255).cycle().take(bytes).collect()
}

#[test]
fn c3_a_masked_frame_of_the_server_is_closed_with_1002() {
    for first in [FIN | TEXT, TEXT, FIN | BINARY, FIN | PING, FIN | PONG, FIN | CLOSE] {
        check_broken(
            &[first, 0x81, 1, 2, 3, 4, b'a'],
            1002,
            "a server must not mask its frames",
        );
    }
}

#[test]
fn c4_a_server_that_claims_a_huge_length_is_closed_before_it_comes() {
    let claim = |bytes: u64| [&[FIN | BINARY, 127][..], &bytes.to_be_bytes()].concat();
    check_broken(&claim(1 << 36), 1009, "over the limit");
    check_broken(&claim(1 << 62), 1009, "over the limit");
    check_broken(&claim(MESSAGE_BYTES_MAX as u64 + 1), 1009, "over the limit of 67108864");
    check_broken(&claim(1 << 63), 1002, "top bit");
}

#[test]
fn c6_a_server_may_send_a_message_in_65534_frames_and_no_more() {
    let frames = |count: usize| {
        let middle = frame(CONTINUATION, b"").repeat(count - 2);
        [frame(TEXT, b"beg"), middle, frame(FIN | CONTINUATION, b"un")].concat()
    };
    let feed = Feed::bind();
    let (listener, dir) = recorder(&feed.url(), &["--count", "1"]);
    let mut raw = Raw::accept(&feed, &frames(FRAGMENTS_MAX));
    assert_eq!(raw.closed().0, 1000);
    drop(raw);
    listener.finish().with_code(0);
    assert_eq!(messages(&dir)[0].payload, b"begun");
    check_broken(&frames(FRAGMENTS_MAX + 1), 1009, "more than 65534 fragments");
}

#[test]
fn c8_frames_of_a_server_that_the_protocol_forbids_are_closed_with_1002() {
    for control in [PING, PONG, CLOSE] {
        check_broken(&frame(FIN | control, &[b'a'; 126]), 1002, "at most 125 bytes");
        check_broken(&frame(control, b"in parts"), 1002, "must not be fragmented");
    }
    for reserved in [0x40, 0x20, 0x10] {
        check_broken(&frame(FIN | reserved | TEXT, b"a"), 1002, "reserved bits");
    }
    for opcode in [3, 7, 11, 15] {
        check_broken(&frame(FIN | opcode, b"a"), 1002, "is reserved");
    }
    check_broken(&frame(FIN | CONTINUATION, b"a"), 1002, "no message is open");
    let inside = [frame(TEXT, b"begun"), frame(FIN | TEXT, b"anew")].concat();
    check_broken(&inside, 1002, "inside a fragmented one");
}

#[test]
fn c8_a_length_of_a_server_that_is_not_in_its_shortest_form_is_closed_with_1002() {
    for bytes in [&[126, 0, 125][..], &[127, 0, 0, 0, 0, 0, 0, 0xff, 0xff]] {
        let mut long = [&[FIN | BINARY], bytes].concat();
        long.resize(long.len() + 0xffff, 0);
        check_broken(&long, 1002, "not in its shortest form");
    }
}

#[test]
fn c9_text_of_a_server_that_is_no_utf8_is_closed_with_1007() {
    check_broken(&frame(FIN | TEXT, b"ab\xff"), 1007, "not UTF-8 at byte 2");
    check_broken(&frame(FIN | TEXT, b"\xed\xa0\x80"), 1007, "not UTF-8 at byte 0");
    // Wrong at once, though the message is not whole.
    check_broken(&frame(TEXT, b"ab\xff"), 1007, "not UTF-8 at byte 2");
    let split = [frame(TEXT, b"\xe2\x82"), frame(FIN | CONTINUATION, b"\x41")].concat();
    check_broken(&split, 1007, "not UTF-8 at byte 0");
    check_broken(&close_frame(1000, b"\xff"), 1007, "close reason is not UTF-8");
}

#[test]
fn c9_a_server_may_split_text_at_every_byte_of_its_frames_and_of_the_wire() {
    let feed = Feed::bind();
    let text = "é€🙂 ascii";
    let count = (text.len() + 2).to_string();
    let (listener, dir) = recorder(&feed.url(), &["--count", &count]);
    let mut raw = Raw::accept(&feed, b"");
    for at in 0..=text.len() {
        let (one, other) = text.as_bytes().split_at(at);
        let ping = frame(FIN | PING, b"between");
        raw.send(&[frame(TEXT, one), ping, frame(FIN | CONTINUATION, other)].concat());
    }
    for byte in frame(FIN | TEXT, text.as_bytes()) {
        raw.send(&[byte]);
    }
    assert_eq!(raw.frame(), (FIN | PONG, b"between".to_vec()));
    assert_eq!(raw.closed().0, 1000);
    drop(raw);
    listener.finish().with_code(0);
    let messages = messages(&dir);
    assert_eq!(messages.len(), text.len() + 2);
    assert!(messages.iter().all(|message| message.payload == text.as_bytes()));
}

#[test]
fn c10_a_server_that_closes_as_nobody_may_is_closed_with_1002() {
    for code in [0, 999, 1004, 1005, 1006, 1015, 1016, 2000, 2999, 5000, 65535] {
        check_broken(
            &close_frame(code, b""),
            1002,
            &format!("close code {code} may not be sent"),
        );
    }
    check_broken(&frame(FIN | CLOSE, b"\x03"), 1002, "a close body of 1 byte");
    check_broken(&close_frame(1000, &[b'r'; 124]), 1002, "at most 125 bytes");
}

#[test]
fn c10_a_servers_code_is_answered_with_the_same_and_its_longest_reason_is_told() {
    let reason = "r".repeat(123);
    for code in [1000, 1008, 4500, 4999] {
        let feed = Feed::bind();
        let listener = lapwing(&["listen", &feed.url()]);
        let mut raw = Raw::accept(&feed, &close_frame(code, reason.as_bytes()));
        assert_eq!(raw.closed(), (code, String::new()));
        drop(raw);
        let end = listener.finish();
        assert!(end.stderr.concat().contains(&reason), "{end:?}");
    }
}

#[test]
fn c13_bytes_of_every_value_and_size_are_in_the_file_as_they_came() {
    let sizes = [0, 1, 125, 126, 127, 255, 256, 65_535, 65_536, 65_537, 1 << 20];
    let feed = Feed::bind();
    let count = (2 * sizes.len()).to_string();
    let (listener, dir) = recorder(&feed.url(), &["--count", &count]);
    let mut raw = Raw::accept(&feed, b"");
    for bytes in sizes {
        let payload = every_byte(bytes);
        raw.send(&frame(FIN | BINARY, &payload));
        // The same in three fragments.
        let (first, rest) = payload.split_at(bytes / 3);
        let (second, third) = rest.split_at(bytes / 3);
        raw.send(&frame(BINARY, first));
        raw.send(&frame(CONTINUATION, second));
        raw.send(&frame(FIN | CONTINUATION, third));
    }
    assert_eq!(raw.closed().0, 1000);
    drop(raw);
    listener.finish().with_code(0);
    let messages = messages(&dir);
    assert_eq!(messages.len(), 2 * sizes.len());
    for (nth, message) in messages.iter().enumerate() {
        let bytes = sizes[nth / 2];
        assert!(
            message.kind == Kind::Bytes && message.payload == every_byte(bytes),
            "{bytes} bytes"
        );
    }
}

#[test]
fn c13_the_longest_message_that_a_listener_takes_is_in_the_file_as_it_came() {
    let feed = Feed::bind();
    let (listener, dir) = recorder(&feed.url(), &["--count", "1"]);
    let mut raw = Raw::accept(&feed, b"");
    let payload = every_byte(MESSAGE_BYTES_MAX);
    raw.send(&frame(FIN | BINARY, &payload));
    assert_eq!(raw.closed().0, 1000);
    drop(raw);
    listener.finish().with_code(0);
    let messages = messages(&dir);
    assert!(messages.len() == 1 && messages[0].payload == payload);
}

#[test]
fn c13_bytes_that_were_published_are_in_a_listeners_file_up_to_the_limit_and_beyond_it_refused() {
    let (_server, url) = serve(&["--topic", "raw=push?keep_bytes=1GiB", "--max-body", "64MiB"]);
    let (listener, dir) = recorder(&url, &["--count", "4", "--from", "earliest"]);
    let address = url.strip_prefix("ws://").expect("a URL of ours");
    let publish = |body: &[u8]| {
        let mut stream = TcpStream::connect(address).expect("it listens");
        let head = format!(
            "POST /topics/raw/messages HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\
             Content-Type: application/octet-stream\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        let sent = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body));
        let mut answer = Vec::new();
        // Who is refused need not have been read to its end.
        let _ = stream.read_to_end(&mut answer);
        let answer = String::from_utf8_lossy(&answer).into_owned();
        assert!(sent.is_ok() || !answer.is_empty(), "{sent:?}");
        answer.get(9..12).unwrap_or_default().to_owned()
    };
    let sizes = [1, 256, 1 << 20, TOPIC_MESSAGE_BYTES_MAX];
    for bytes in sizes {
        assert_eq!(publish(&every_byte(bytes)), "201", "{bytes} bytes");
    }
    assert_eq!(publish(&every_byte(TOPIC_MESSAGE_BYTES_MAX + 1)), "413");
    listener.finish().with_code(0);
    let messages = messages(&dir);
    assert_eq!(messages.len(), sizes.len());
    for (message, bytes) in messages.iter().zip(sizes) {
        assert!(
            message.kind == Kind::Bytes && message.payload == every_byte(bytes),
            "{bytes} bytes"
        );
    }
}

#[test]
fn c14_text_that_would_drive_a_terminal_is_exact_in_the_file() {
    let texts = [
        "nul \0 newline \n return \r tab \t",
        "\u{1b}]0;owned\u{7} \u{9b}2J \u{202e}",
        "\u{feff}\u{2028}\u{10ffff}\"\\",
        "",
    ];
    let feed = Feed::bind();
    let (listener, dir) = recorder(&feed.url(), &["--count", "4"]);
    let frames: Vec<u8> = texts
        .iter()
        .flat_map(|text| frame(FIN | TEXT, text.as_bytes()))
        .collect();
    let mut raw = Raw::accept(&feed, &frames);
    assert_eq!(raw.closed().0, 1000);
    drop(raw);
    listener.finish().with_code(0);
    for (message, text) in messages(&dir).iter().zip(texts) {
        assert_eq!(
            (message.kind, message.payload.as_slice()),
            (Kind::Text, text.as_bytes())
        );
    }
}

#[test]
fn d7_frames_right_behind_the_101_are_not_lost() {
    // All in one write with the answer, and cut wherever a frame can be.
    let frames = [frame(FIN | TEXT, b"first"), frame(FIN | TEXT, b"second")].concat();
    for cut in 0..=frames.len() {
        let feed = Feed::bind();
        let (listener, dir) = recorder(&feed.url(), &["--count", "2"]);
        let (behind, rest) = frames.split_at(cut);
        let mut raw = Raw::accept(&feed, behind);
        raw.send(rest);
        assert_eq!(raw.closed().0, 1000, "cut at {cut}");
        drop(raw);
        listener.finish().with_code(0);
        let payloads: Vec<_> = messages(&dir).into_iter().map(|message| message.payload).collect();
        assert_eq!(payloads, [&b"first"[..], b"second"], "cut at {cut}");
    }
}
