//! Messages that go back as they came (`/echo`), with every way to compress them.

use std::io::Write as _;
use std::net::TcpStream;

use lapwing_wire::context::Context;
use lapwing_wire::decoder::Deflated;
use lapwing_wire::deflate::{Inflater, Room};
use lapwing_wire::extension;
use lapwing_wire::frame::{Opcode, Role};
use serde_json::json;

use crate::support::eventually;
use crate::support::frames::{
    BINARY, CLOSE, CONTINUATION, FIN, PING, PONG, RSV1, Raw, TEXT, header, masked, upgrade_request,
};
use crate::support::http::{get, send};
use crate::support::server::{Plan, Server};

const ECHO: &[&str] = &["--echo", "--topic", "quiet=push"];
const MESSAGE_BYTES_MAX: usize = 64 << 20;

fn open(server: &Server) -> Raw {
    Raw::at(connect(server), "/echo", "").0
}

fn connect(server: &Server) -> TcpStream {
    TcpStream::connect(server.address()).unwrap()
}

#[test]
fn the_console_says_whose_messages_go_back() {
    let server = Plan::new(ECHO).text().start();
    server
        .err()
        .with("Echo     messages to /echo go back to who sent them (--echo)");
    let _client = open(&server);
    let joined = server.err().with(" joined from ");
    assert!(joined.ends_with(" (echo): its messages go back"), "{joined}");
}

#[test]
fn messages_come_back_as_they_came_and_topics_run_beside_them() {
    let server = Server::start(ECHO);
    let mut client = open(&server);
    let every_byte: Vec<u8> = (0..=255).collect();
    for (opcode, message) in [
        (TEXT, "é€🙂".as_bytes()),
        (BINARY, &every_byte),
        (TEXT, b""),
        (BINARY, b""),
        (BINARY, &every_byte.repeat(300)),
    ] {
        client.send(&masked(FIN | opcode, message));
        let frame = client.frame().unwrap();
        assert_eq!((frame.first_byte, frame.payload.as_slice()), (FIN | opcode, message));
    }
    // More fragments than any other path takes, and a ping between them.
    let parts = [masked(CONTINUATION, b"a").repeat(70_000), masked(FIN | PING, b"?")].concat();
    client.send(&[masked(TEXT, b"a"), parts, masked(FIN | CONTINUATION, b"")].concat());
    assert_eq!(client.frame().unwrap().first_byte, FIN | PONG);
    assert_eq!(client.frame().unwrap().payload, "a".repeat(70_001).as_bytes());
    client.send(&masked(FIN | CLOSE, &[&1000_u16.to_be_bytes()[..], b"done"].concat()));
    assert_eq!(client.closed().0, 1000);
    assert_eq!(server.event("joined", |_| true)["mode"], "echo");
    assert_eq!(server.event("ready", |_| true)["echo"], true);
    let left = server.event("left", |_| true);
    assert_eq!((&left["code"], &left["by"]), (&json!(1000), &json!("client")), "{left}");
    Raw::follow(&server, "topics=quiet");
}

#[test]
fn echo_is_off_unless_it_is_asked_for() {
    let ask = |server: &Server| {
        let request = upgrade_request(&server.address().to_string(), "/echo");
        send(
            server.address(),
            request.replace("Upgrade\r\n", "Upgrade, close\r\n").as_bytes(),
        )
        .status
    };
    assert_eq!(ask(&Server::start(&["--topic", "quiet=push"])), 404);
    assert_eq!(get(&Server::start(ECHO), "/echo").status, 404, "it is no page");
}

#[test]
fn c5_an_echo_at_the_limit_comes_back_and_one_beyond_is_closed_with_1009() {
    let server = Server::start(ECHO);
    let mut client = open(&server);
    client.send(&masked(FIN | BINARY, &vec![7; MESSAGE_BYTES_MAX]));
    let frame = client.frame().unwrap();
    assert!(frame.payload.len() == MESSAGE_BYTES_MAX && frame.payload.iter().all(|byte| *byte == 7));
    client.send(
        &[
            header(FIN | BINARY, 0x80, MESSAGE_BYTES_MAX as u64 + 1),
            b"mask".to_vec(),
        ]
        .concat(),
    );
    assert_eq!(client.closed().0, 1009);
}

#[test]
fn every_ping_is_answered_in_its_turn() {
    let server = Server::start(ECHO);
    let mut client = open(&server);
    let pings: Vec<u8> = (0..100).flat_map(|n| masked(FIN | PING, &[n])).collect();
    client.send(&[pings, masked(FIN | TEXT, b"behind them")].concat());
    for n in 0..100 {
        let frame = client.frame().unwrap();
        assert_eq!((frame.first_byte, frame.payload), (FIN | PONG, vec![n]));
    }
    assert_eq!(client.frame().unwrap().payload, b"behind them");
}

#[test]
fn b1_who_does_not_take_its_echoes_is_not_read_and_let_go() {
    let server = Server::start(&[ECHO, &["--stall-timeout", "500ms"]].concat());
    let mut client = open(&server);
    let message = masked(FIN | BINARY, &vec![0; 1 << 20]);
    // What is not read does not leave either: of a gigabyte little goes, and then the server ends it.
    let taken = (0..1024).take_while(|_| client.try_send(&message)).count();
    assert!(taken < 64, "{taken} MiB were taken of one who reads nothing");
    let left = server.event("left", |_| true);
    assert_eq!((&left["code"], &left["by"]), (&json!(4400), &json!("server")), "{left}");
}

#[test]
fn b1_echoes_that_nobody_takes_leave_room_for_readers_of_topics() {
    let server = Server::start(ECHO);
    let message = masked(FIN | BINARY, &vec![0; 60 << 20]);
    // Together 240 MiB that nobody takes, of which half of 256 MiB is kept.
    let clients: Vec<Raw> = (0..4)
        .map(|_| {
            let mut client = open(&server);
            client.try_send(&message);
            client
        })
        .collect();
    eventually("half of them are let go", || server.events("left").len() == 2);
    for left in server.events("left") {
        assert_eq!(left["reason"], "too many readers stuck in large frames", "{left}");
    }
    drop(clients);
}

#[test]
fn who_takes_its_echoes_late_gets_all_of_them() {
    let server = Server::start(ECHO);
    let mut client = open(&server);
    let mut writer = client.writer();
    let sent = std::thread::spawn(move || {
        for n in 0..200_u32 {
            let payload = n.to_be_bytes().repeat(25_000);
            writer.write_all(&masked(FIN | BINARY, &payload)).unwrap();
        }
    });
    for n in 0..200_u32 {
        let frame = client.frame().unwrap();
        assert!(frame.payload == n.to_be_bytes().repeat(25_000), "message {n}");
    }
    sent.join().unwrap();
}

#[test]
fn every_parameter_of_compression_is_agreed_on_as_it_was_meant() {
    let server = Server::start(ECHO);
    let text = "as long as it is, it repeats itself: ".repeat(50);
    for (offer, answer) in [
        ("permessage-deflate", "permessage-deflate"),
        ("permessage-deflate; client_max_window_bits", "permessage-deflate"),
        (
            "permessage-deflate; server_no_context_takeover; client_no_context_takeover; client_max_window_bits=9",
            "permessage-deflate; server_no_context_takeover; client_no_context_takeover",
        ),
        (
            "permessage-deflate; client_no_context_takeover; server_max_window_bits=9",
            "permessage-deflate; server_max_window_bits=9; client_no_context_takeover",
        ),
        (
            "permessage-deflate; server_max_window_bits=15",
            "permessage-deflate; server_max_window_bits=15",
        ),
        (
            "permessage-deflate; server_max_window_bits=8, permessage-deflate; server_no_context_takeover",
            "permessage-deflate; server_no_context_takeover",
        ),
    ] {
        let headers = format!("Sec-WebSocket-Extensions: {offer}\r\n");
        let (mut client, head) = Raw::at(connect(&server), "/echo", &headers);
        let header = head.lines().find_map(|line| {
            Some(line.split_once(": ")?).filter(|(name, _)| name.eq_ignore_ascii_case("sec-websocket-extensions"))
        });
        assert_eq!(header.map(|(_, value)| value), Some(answer), "{offer}");
        let agreed = extension::agreed(answer).unwrap().unwrap();
        let (mut context, mut inflater) = (Context::new(agreed, Role::Client), Inflater::default());
        let room = Room::new(1 << 20);
        let mut lengths = Vec::new();
        for _ in 0..3 {
            let mut frame = Vec::new();
            context.write_message(&mut frame, Opcode::Text, text.as_bytes(), Some([1, 2, 3, 4]));
            client.send(&frame);
            let frame = client.frame().unwrap();
            assert_eq!(frame.first_byte, FIN | RSV1 | TEXT);
            let deflated = Deflated {
                opcode: Opcode::Text,
                payload: &frame.payload,
            };
            let inflated = context.inflate(&mut inflater, deflated, 1 << 20, &room).unwrap();
            assert_eq!(inflated.event().unwrap(), lapwing_wire::decoder::Event::Text(&text));
            lengths.push(frame.payload.len());
        }
        assert_eq!(
            lengths[1] < lengths[0],
            agreed.server.keeps_context,
            "{answer}: {lengths:?}"
        );
    }
}

#[test]
fn c12_offers_that_are_wrong_are_declined_by_an_echo_too() {
    let server = Server::start(ECHO);
    for offer in [
        "permessage-deflate; server_max_window_bits=8",
        "permessage-deflate; server_max_window_bits=16",
        "permessage-deflate; server_max_window_bits",
        "permessage-deflate; client_max_window_bits=7",
        "permessage-deflate; client_max_window_bits; client_max_window_bits",
        "permessage-deflate; server_no_context_takeover=1",
        "permessage-deflate; unknown",
        "x-webkit-deflate-frame",
    ] {
        let headers = format!("Sec-WebSocket-Extensions: {offer}\r\n");
        let (mut client, head) = Raw::at(connect(&server), "/echo", &headers);
        assert!(
            !head.to_lowercase().contains("sec-websocket-extensions"),
            "{offer}: {head}"
        );
        client.send(&masked(FIN | TEXT, b"as it is"));
        assert_eq!(client.frame().unwrap().first_byte, FIN | TEXT);
        client.send(&masked(FIN | RSV1 | TEXT, b"\xf2\x00\x11\x00\x00"));
        assert_eq!(client.closed().0, 1002, "{offer}");
    }
}

#[test]
fn c11_a_bomb_for_an_echo_costs_no_more_than_its_limit() {
    let server = Server::start(ECHO);
    let headers = "Sec-WebSocket-Extensions: permessage-deflate\r\n";
    let (mut client, _) = Raw::at(connect(&server), "/echo", headers);
    let agreed = extension::agreed("permessage-deflate").unwrap().unwrap();
    let mut bomb = Vec::new();
    let zeroes = vec![0; MESSAGE_BYTES_MAX + 1];
    Context::new(agreed, Role::Client).write_message(&mut bomb, Opcode::Binary, &zeroes, Some([1; 4]));
    client.send(&bomb);
    let (code, reason) = client.closed();
    assert_eq!(code, 1009, "{reason}");
}
