//! Readers and writers that are slow, greedy, wrong or hostile: each costs little, delays nobody, and is told why it goes.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Instant;

use serde_json::json;

use crate::support::PATIENCE;
use crate::support::client::{Client, Message, follow, speak};
use crate::support::frames::{
    BINARY, CLOSE, CONTINUATION, FIN, PING, PONG, Raw, TEXT, header, masked, upgrade_request,
};
use crate::support::http::{answer, get, open, send};
use crate::support::server::Server;

const TOPICS: &[&str] = &["--topic", "users=users?every=50ms"];
const MESSAGE_BYTES_MAX: usize = 1 << 20;
const FRAGMENTS_MAX: usize = 1024;

#[test]
fn b1_a_reader_that_never_reads_slows_nobody_and_is_let_go() {
    // Half a megabyte a second for each.
    let server = Server::start(&[
        "--topic",
        "arrays=arrays?every=20ms&burst=4&shape=1000",
        "--stall-timeout",
        "500ms",
    ]);
    let mut good: Vec<Client> = (0..10)
        .map(|_| follow(&server, "topics=arrays&from=earliest"))
        .collect();
    let stuck = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    stuck.set_recv_buffer_size(4096).unwrap();
    stuck.connect(&server.address().into()).unwrap();
    let _stuck = Raw::on(TcpStream::from(stuck), "topics=arrays&name=stuck&from=earliest", b"");
    let joined = server.event("joined", |joined| joined["client"] == "stuck");
    let mut read_until = |time: &str| {
        for client in &mut good {
            let mut before: Option<Message> = None;
            loop {
                let message = client.message();
                if let Some(before) = before {
                    assert_eq!(message.offset, before.offset + 1, "delivery is dense");
                }
                if message.time.as_str() >= time {
                    break;
                }
                before = Some(message);
            }
        }
    };
    read_until(joined["time"].as_str().unwrap());
    let deadline = Instant::now() + PATIENCE;
    let left = loop {
        assert!(Instant::now() < deadline, "the stuck one is never let go");
        // The others go on reading all the while, each everything up to now.
        match server.events("left").pop() {
            Some(left) => break left,
            None => read_until(&jiff::Timestamp::now().to_string()),
        }
    };
    assert_eq!(left["client"], "stuck");
    assert_eq!((&left["code"], &left["by"]), (&json!(4400), &json!("server")), "{left}");
    assert_eq!(left["reason"], "took nothing for 0.5 s");
    read_until(left["time"].as_str().unwrap());
}

#[test]
fn b4_a_flood_of_pings_is_closed_with_1008() {
    let server = Server::start(TOPICS);
    let mut client = Raw::follow(&server, "topics=users");
    client.send_if_taken(&masked(FIN | PING, b"now").repeat(1000));
    assert_eq!(
        client.closed(),
        (1008, "more than 50 control frames a second".to_owned())
    );
    check_left(&server, 1008);
}

#[test]
fn b4_a_flood_of_pings_whose_pongs_nobody_reads_is_let_go() {
    let server = Server::start(TOPICS);
    let mut client = Raw::follow(&server, "topics=users");
    for _ in 0..400 {
        client.send_if_taken(&masked(FIN | PING, &[0; 125]).repeat(100));
    }
    check_left(&server, 1008);
}

#[test]
fn b4_pings_within_the_limit_are_answered() {
    let server = Server::start(TOPICS);
    let mut client = Raw::follow(&server, "topics=users");
    for n in 0..100u8 {
        client.send(&masked(FIN | PING, &[n]));
        loop {
            let frame = client.frame().unwrap();
            if frame.first_byte == FIN | PONG {
                assert_eq!(frame.payload, [n]);
                break;
            }
        }
    }
}

#[test]
fn b6_a_flood_of_commands_is_closed_with_4429_and_a_time_to_come_back() {
    let server = Server::start(TOPICS);
    let mut client = speak(&server, "topics=users");
    let command = json!({"type": "unsubscribe", "topic": "other"}).to_string();
    let flood = masked(FIN | TEXT, command.as_bytes()).repeat(1000);
    // It may close before it has taken all.
    let _ = client.stream().write_all(&flood);
    assert_eq!(
        client.closed(),
        (4429, "more than 50 commands a second retry=5000".to_owned())
    );
    check_left(&server, 4429);
}

#[test]
fn c2_a_frame_without_a_mask_is_closed_with_1002() {
    let mut unmasked = header(FIN | TEXT, 0, 5);
    unmasked.extend_from_slice(b"hello");
    check_closed(&unmasked, 1002);
}

#[test]
fn c4_a_frame_that_claims_a_huge_length_is_closed_before_it_comes() {
    let claim = |bytes: u64| [header(FIN | BINARY, 0x80, bytes), b"mask".to_vec()].concat();
    check_closed(&claim(1 << 36), 1009);
    check_closed(&claim(1 << 62), 1009);
    check_closed(&claim(MESSAGE_BYTES_MAX as u64 + 1), 1009);
    // The highest bit must be 0 (RFC 6455 section 5.2).
    check_closed(&claim(1 << 63), 1002);
}

#[test]
fn c5_a_message_at_the_limit_is_taken_and_one_beyond_is_closed_with_1009() {
    let server = Server::start(TOPICS);
    let mut client = follow(&server, "topics=users");
    client.say_bytes(&vec![7; MESSAGE_BYTES_MAX]);
    assert_eq!(server.event("said", |_| true)["binary_bytes"], MESSAGE_BYTES_MAX);
    check_closed(&masked(FIN | BINARY, &vec![7; MESSAGE_BYTES_MAX + 1]), 1009);
}

#[test]
fn c5_a_message_in_fragments_at_the_limit_is_taken_and_one_beyond_is_closed_with_1009() {
    let server = Server::start(TOPICS);
    let half = vec![b'x'; MESSAGE_BYTES_MAX / 2];
    let fragments = |last: &[u8]| [masked(BINARY, &half), masked(CONTINUATION, &half), masked(FIN, last)].concat();
    let mut client = Raw::follow(&server, "topics=users");
    client.send(&fragments(b""));
    assert_eq!(server.event("said", |_| true)["binary_bytes"], MESSAGE_BYTES_MAX);
    check_closed(&fragments(b"x"), 1009);
}

#[test]
fn c5_the_limit_of_a_message_is_a_setting() {
    let server = Server::start(&[TOPICS, &["--max-message", "10B"]].concat());
    let mut client = follow(&server, "topics=users");
    client.say("ten bytes!");
    assert_eq!(server.event("said", |_| true)["text"], "ten bytes!");
    client.say("eleven bytes");
    assert_eq!(client.closed().0, 1009);
}

#[test]
fn c6_as_many_fragments_as_allowed_are_taken_and_one_more_is_closed_with_1009() {
    let fragments = |count: usize, payload: &[u8]| {
        let mut bytes = masked(TEXT, payload);
        bytes.extend(masked(CONTINUATION, payload).repeat(count - 2));
        bytes.extend(masked(FIN | CONTINUATION, payload));
        bytes
    };
    let server = Server::start(TOPICS);
    let mut client = Raw::follow(&server, "topics=users");
    client.send(&fragments(FRAGMENTS_MAX, b"a"));
    assert_eq!(
        server.event("said", |_| true)["text"].as_str().map(str::len),
        Some(FRAGMENTS_MAX)
    );
    check_closed(&fragments(FRAGMENTS_MAX + 1, b"a"), 1009);
    check_closed(&fragments(FRAGMENTS_MAX + 1, b""), 1009);
}

#[test]
fn c7_a_message_left_open_is_closed_with_1008_and_one_that_goes_on_in_time_is_taken() {
    let server = Server::start(&["--topic", "users=users?every=1h", "--message-timeout", "400ms"]);
    let mut whole = Raw::follow(&server, "topics=users");
    whole.send(&masked(TEXT, b"in two "));
    whole.send(&masked(FIN | CONTINUATION, b"parts"));
    assert_eq!(server.event("said", |_| true)["text"], "in two parts");
    let mut open = Raw::follow(&server, "topics=users");
    open.send(&masked(TEXT, b"begun"));
    let (code, reason) = open.closed();
    assert_eq!((code, reason.as_str()), (1008, "message unfinished for 0.4 s"));
    // A frame whose payload never comes is as unfinished as a message.
    let mut half = Raw::follow(&server, "topics=users");
    half.send(&masked(FIN | TEXT, b"half a frame")[..8]);
    assert_eq!(half.closed().0, 1008);
}

#[test]
fn c8_frames_that_the_protocol_forbids_are_closed_with_1002() {
    check_closed(&masked(FIN | PING, &[0; 126]), 1002);
    check_closed(&masked(PING, b"in parts"), 1002);
    check_closed(&masked(FIN | CONTINUATION, b"of nothing"), 1002);
    check_closed(&[masked(TEXT, b"begun"), masked(FIN | TEXT, b"anew")].concat(), 1002);
    for reserved in [0x40, 0x20, 0x10] {
        check_closed(&masked(FIN | reserved | TEXT, b"x"), 1002);
    }
    for opcode in [3, 7, 11, 15] {
        check_closed(&masked(FIN | opcode, b"x"), 1002);
    }
    // Lengths that are not in their shortest form (RFC 6455 section 5.2).
    check_closed(&[0x81, 0x80 | 126, 0, 125], 1002);
    check_closed(&[0x81, 0x80 | 127, 0, 0, 0, 0, 0, 0, 0xff, 0xff], 1002);
}

#[test]
fn c9_text_that_is_no_utf8_is_closed_with_1007() {
    check_closed(&masked(FIN | TEXT, b"ab\xff"), 1007);
    check_closed(&masked(FIN | TEXT, b"\xed\xa0\x80"), 1007);
    check_closed(&masked(FIN | TEXT, "é".as_bytes().split_at(1).0), 1007);
    // Wrong at once, though the message is not whole.
    check_closed(&masked(TEXT, b"ab\xff"), 1007);
    check_closed(
        &[masked(TEXT, b"\xe2\x82"), masked(FIN | CONTINUATION, b"\x41")].concat(),
        1007,
    );
    check_closed(&masked(FIN | CLOSE, b"\x03\xe8\xff"), 1007);
}

#[test]
fn c9_a_code_point_may_be_split_at_each_byte() {
    let server = Server::start(TOPICS);
    let mut client = Raw::follow(&server, "topics=users");
    let text = "é€🙂";
    for at in 0..=text.len() {
        let (one, other) = text.as_bytes().split_at(at);
        client.send(&[masked(TEXT, one), masked(FIN | CONTINUATION, other)].concat());
    }
    let mut heard = 0;
    server.event("said", |said| {
        assert_eq!(said["text"], text);
        heard += 1;
        heard == text.len() + 1
    });
}

#[test]
fn c10_close_frames_that_nobody_may_send_are_closed_with_1002() {
    for code in [0u16, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000] {
        check_closed(&masked(FIN | CLOSE, &code.to_be_bytes()), 1002);
    }
    check_closed(&masked(FIN | CLOSE, b"\x03"), 1002);
    // A reason of 124 bytes makes a control frame of 126.
    let long = [&1000_u16.to_be_bytes()[..], &[b'r'; 124]].concat();
    check_closed(&masked(FIN | CLOSE, &long), 1002);
}

#[test]
fn c14_a_name_and_a_message_with_escapes_leave_the_feed_exact() {
    let server = Server::start(&["--topic", "feed=push"]);
    let mut client = follow(&server, "topics=feed");
    let text = "nul \0 newline \n escape \u{1b}[2J";
    let body = serde_json::to_string(text).unwrap();
    crate::support::http::post(&server, "/topics/feed/messages", "application/json", body);
    assert_eq!(client.message().data, text);
}

#[test]
fn d1_a_head_that_does_not_come_is_cut_and_delays_nobody() {
    let server = Server::start(&[TOPICS, &["--handshake-timeout", "300ms"]].concat());
    let mut silent: Vec<TcpStream> = (0..50).map(|_| open(server.address())).collect();
    for half in silent.iter_mut().skip(1) {
        half.write_all(b"GET / HTTP/1.1\r\nHost: local").unwrap();
    }
    assert_eq!(
        get(&server, "/healthz").status,
        200,
        "a good client is served meanwhile"
    );
    for mut stream in silent {
        let mut rest = String::new();
        stream.read_to_string(&mut rest).expect("the server ends it");
        assert!(rest.is_empty() || rest.starts_with("HTTP/1.1 408 "), "{rest}");
    }
    let mut stream = follow(&server, "topics=users");
    stream.messages(10);
    assert!(
        server.events("left").is_empty(),
        "the deadline is the handshake's alone"
    );
}

#[test]
fn d1_a_head_that_comes_byte_by_byte_is_cut_as_well() {
    let server = Server::start(&[TOPICS, &["--handshake-timeout", "300ms"]].concat());
    let mut stream = open(server.address());
    let request = upgrade_request(&server.address().to_string(), "/");
    let cut = request.bytes().any(|byte| {
        std::thread::sleep(std::time::Duration::from_millis(20));
        stream.write_all(&[byte]).is_err()
    });
    assert!(
        cut || answer(&mut stream).is_none_or(|answer| answer.status == 408),
        "4 s are longer than 300 ms"
    );
}

#[test]
fn d2_as_many_headers_as_allowed_are_taken_and_one_more_is_431() {
    let server = Server::start(TOPICS);
    let request = |count: usize| {
        let more: String = (2..count).map(|n| format!("X-{n}: 1\r\n")).collect();
        format!(
            "GET /healthz HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n{more}\r\n",
            server.address()
        )
    };
    assert_eq!(send(server.address(), request(64).as_bytes()).status, 200);
    assert_eq!(send(server.address(), request(65).as_bytes()).status, 431);
    assert_eq!(send(server.address(), request(300).as_bytes()).status, 431);
}

#[test]
fn d3_a_head_over_the_limit_is_431() {
    let server = Server::start(TOPICS);
    let request = |bytes: usize| {
        let head = format!(
            "GET /healthz HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nX: ",
            server.address()
        );
        format!("{head}{}\r\n\r\n", "x".repeat(bytes - head.len() - 4))
    };
    assert_eq!(send(server.address(), request(16 << 10).as_bytes()).status, 200);
    assert_eq!(send(server.address(), request(20 << 10).as_bytes()).status, 431);
    assert_eq!(send(server.address(), request(8 << 20).as_bytes()).status, 431);
}

#[test]
fn d4_a_url_at_the_limit_is_taken_and_one_beyond_is_414() {
    let server = Server::start(TOPICS);
    let url = |bytes: usize| get(&server, &format!("/healthz?{}", "x".repeat(bytes - "/healthz?".len())));
    assert_eq!(url(8 << 10).status, 200);
    let refused = url((8 << 10) + 1);
    assert_eq!(refused.status, 414);
    assert!(
        refused.body.contains("a URL of 8193 bytes is over the limit of 8192"),
        "{}",
        refused.body
    );
    assert_eq!(url(15 << 10).status, 414);
}

#[test]
fn d4_a_url_that_does_not_fit_the_buffer_is_refused() {
    let server = Server::start(TOPICS);
    let refused = get(&server, &format!("/healthz?{}", "x".repeat(64 << 10)));
    assert!(matches!(refused.status, 414 | 431), "{refused:?}");
}

#[test]
fn d5_requests_that_could_be_read_in_two_ways_are_refused() {
    let server = Server::start(&["--topic", "orders=push"]);
    let host = server.address();
    let post = |headers: &str, body: &str| {
        let head = format!("POST /topics/orders/messages HTTP/1.1\r\nHost: {host}\r\nContent-Type: text/plain\r\n");
        send(host, format!("{head}{headers}\r\n{body}").as_bytes()).status
    };
    assert_eq!(post("Content-Length: 1\r\nContent-Length: 2\r\n", "12"), 400);
    assert_eq!(post("Content-Length: +1\r\n", "1"), 400);
    assert_eq!(
        post("Transfer-Encoding: chunked, identity\r\n", "1\r\n1\r\n0\r\n\r\n"),
        400
    );
    assert_eq!(
        post("Transfer-Encoding: chunked\r\n", "fffffffffffffffff\r\n1\r\n0\r\n\r\n"),
        400
    );
    assert_eq!(post("Content-Length : 1\r\n", "1"), 400);
    assert_eq!(post("X: a\0b\r\nContent-Length: 1\r\n", "1"), 400);
    assert_eq!(post("Content-Length: 1\r\n", "1"), 201);
}

#[test]
fn d7_what_comes_right_behind_the_handshake_is_not_lost() {
    let server = Server::start(TOPICS);
    let behind = [masked(FIN | TEXT, b"first"), masked(FIN | PING, b"there?")].concat();
    let mut client = Raw::open(&server, "topics=users", &behind);
    assert_eq!(server.event("said", |_| true)["text"], "first");
    let pong = std::iter::from_fn(|| client.frame()).find(|frame| frame.first_byte == FIN | PONG);
    assert_eq!(pong.map(|pong| pong.payload).as_deref(), Some(&b"there?"[..]));
    // Half a frame as well.
    let whole = masked(FIN | TEXT, b"in halves");
    let mut client = Raw::open(&server, "topics=users", &whole[..7]);
    client.send(&whole[7..]);
    server.event("said", |said| said["text"] == "in halves");
}

/// A client that sends this is closed with this code; it is told to the console, and the server goes on.
#[track_caller]
fn check_closed(bytes: &[u8], code: u16) {
    let server = Server::start(&["--topic", "quiet=push"]);
    let mut client = Raw::follow(&server, "topics=quiet");
    client.send_if_taken(bytes);
    let (told, reason) = client.closed();
    assert_eq!(told, code, "{reason}");
    assert!(!reason.is_empty() && reason.is_ascii(), "{reason:?}");
    // The server would wait a while for an answer to its close.
    drop(client);
    check_left(&server, code);
    assert_eq!(get(&server, "/healthz").status, 200);
}

#[track_caller]
fn check_left(server: &Server, code: u16) {
    let left = server.event("left", |_| true);
    assert_eq!((&left["code"], &left["by"]), (&json!(code), &json!("server")), "{left}");
}
