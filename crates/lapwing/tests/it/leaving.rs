//! Whoever goes, and whichever way it goes: one line tells who, why, for how long, and what it had.

use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use serde_json::Value;

use crate::support::client::{follow, speak};
use crate::support::frames::{CLOSE, FIN, Frame, Raw, TEXT, masked};
use crate::support::server::{Plan, Running, Server};

const LIVELY: &[&str] = &["--topic", "users=users?every=10ms"];

#[test]
fn item_3_a_client_that_closes_is_told_with_its_code_reason_and_what_it_had() {
    let server = Server::start(LIVELY);
    let mut client = Raw::follow(&server, "topics=users&name=sensor-1&from=earliest");
    let mut had: Vec<Frame> = (0..3).map(|_| client.frame().unwrap()).collect();
    client.send(&masked(FIN | CLOSE, b"\x0f\xa0enough"));
    while let Some(frame) = client.frame() {
        had.push(frame);
    }
    let left = server.event("left", |_| true);
    assert_eq!(left["client"], "sensor-1");
    assert_eq!(left["session"], 1);
    assert_eq!(left["code"], 4000);
    assert_eq!(left["by"], "client");
    assert_eq!(left["reason"], "enough");
    let messages = had.iter().filter(|frame| frame.first_byte == FIN | TEXT).count();
    assert_eq!(left["messages"], messages);
    assert_eq!(left["last"]["users"], messages - 1);
    assert_eq!(left["bytes"], had.iter().map(bytes_on_the_wire).sum::<usize>());
    assert!(left["stayed_ms"].as_f64().unwrap() > 0.0);
    goes_on(&server);
}

#[test]
fn item_3_the_line_for_people_tells_the_same() {
    let server = Plan::new(&["--topic", "feed=push"]).text().start();
    let client = follow(&server, "topics=feed");
    let line = server.err().with("join");
    assert!(line.contains("join    client 1 joined from 127.0.0.1:"), "{line}");
    assert!(line.ends_with(" (plain): feed 0"), "{line}");
    client.close(4000, "enough");
    let line = server.err().with("left");
    let (_, told) = line
        .split_once("left    client 1 left after ")
        .expect("who and how long");
    let (_, why) = told.split_once(": ").expect("why");
    assert_eq!(why, "4000, it closed: \"enough\"; 0 messages, 4 B");
}

#[test]
fn item_3_a_client_that_comes_back_is_greeted_as_such() {
    let server = Server::start(LIVELY);
    speak(&server, "name=sensor-1").close(1000, "");
    server.event("left", |_| true);
    let _again = speak(&server, "name=sensor-1&topics=users");
    let back = server.event("joined", |event| event["session"] == 2);
    assert!(back["away_ms"].as_f64().is_some_and(|ms| ms > 0.0), "{back}");
}

#[test]
fn item_3_a_reset_is_told() {
    let server = Server::start(LIVELY);
    let mut client = follow(&server, "topics=users");
    client.messages(3);
    let socket = socket2::SockRef::from(&*client.stream());
    socket.set_linger(Some(Duration::ZERO)).unwrap();
    drop(client);
    let left = server.event("left", |_| true);
    check(&left, 1006, "network", "connection reset");
    assert!(
        left["messages"].as_u64() >= Some(3) && left["last"]["users"].as_u64() >= Some(2),
        "{left}"
    );
    goes_on(&server);
}

#[test]
fn item_3_an_end_without_a_close_frame_is_told() {
    let server = Server::start(LIVELY);
    let mut client = follow(&server, "topics=users");
    client.messages(3);
    client.stream().shutdown(Shutdown::Write).unwrap();
    check(
        &server.event("left", |_| true),
        1006,
        "network",
        "it went without a close",
    );
    goes_on(&server);
}

#[test]
fn item_3_silence_past_the_ping_deadline_is_told() {
    let mut args = LIVELY.to_vec();
    args.extend(["--ping-interval", "200ms", "--pong-timeout", "200ms"]);
    let server = Server::start(&args);
    // Reads everything and answers nothing.
    let mut client = Raw::follow(&server, "topics=users");
    assert_eq!(client.closed(), (4408, "no pong for 0.2 s".to_owned()));
    let left = server.event("left", |_| true);
    check(&left, 4408, "server", "no pong for 0.2 s");
    assert!(left["messages"].as_u64() > Some(0), "{left}");
    goes_on(&server);
}

#[test]
fn item_3_a_client_that_answers_pings_stays() {
    let server = Server::start(&[
        "--topic",
        "beat=users?every=50ms",
        "--ping-interval",
        "100ms",
        "--pong-timeout",
        "2s",
    ]);
    let mut client = follow(&server, "topics=beat");
    // A second of pings, which the library answers.
    client.messages(20);
    assert!(server.events("left").is_empty());
    client.close(1000, "");
    check(&server.event("left", |_| true), 1000, "client", "");
}

#[test]
fn item_3_a_client_killed_by_the_kernel_is_told() {
    let server = Server::start(LIVELY);
    let listener = Running::start(&["listen", &server.url(), "--name", "doomed", "--output", "json"]);
    server.event("joined", |event| event["client"] == "doomed");
    listener.out().with("{\"topic\":\"users\"");
    listener.kill();
    let left = server.event("left", |_| true);
    assert_eq!(left["client"], "doomed");
    assert_eq!(
        (&left["code"], &left["by"]),
        (&1006.into(), &"network".into()),
        "{left}"
    );
    assert!(
        left["messages"].as_u64() > Some(0) && left["last"]["users"].is_u64(),
        "{left}"
    );
    goes_on(&server);
}

#[test]
fn a_client_that_leaves_before_the_handshake_is_done_is_no_session() {
    let server = Server::start(LIVELY);
    for bytes in [&b""[..], b"GET / HTTP/1.1\r\nHost: lo"] {
        use std::io::Write as _;
        TcpStream::connect(server.address()).unwrap().write_all(bytes).unwrap();
    }
    follow(&server, "topics=users").messages(2);
    let first = server.event("joined", |_| true);
    assert_eq!(first["session"], 1, "nobody was counted before");
}

#[track_caller]
fn check(left: &Value, code: u16, by: &str, reason: &str) {
    assert_eq!(left["code"], code, "{left}");
    assert_eq!(left["by"], by, "{left}");
    assert_eq!(left["reason"], reason, "{left}");
    assert!(left["stayed_ms"].is_f64() && left["bytes"].is_u64(), "{left}");
}

#[track_caller]
fn goes_on(server: &Server) {
    let mut next = follow(server, "topics=users");
    let first = next.message().offset;
    assert_eq!(next.message().offset, first + 1);
}

fn bytes_on_the_wire(frame: &Frame) -> usize {
    let header = match frame.payload.len() {
        0..=125 => 2,
        126..=0xffff => 4,
        _ => 10,
    };
    header + frame.payload.len()
}

#[test]
fn a_client_that_never_answers_a_close_costs_no_work_while_it_is_waited_for() {
    let server = Server::start(&["--topic", "feed=push"]);
    let mut client = Raw::follow(&server, "topics=feed");
    let before = work_of(&server);
    // Without a mask: the server closes, and waits for an answer that does not come.
    client.send(&[FIN | TEXT, 1, b'x']);
    assert_eq!(client.frame().unwrap().first_byte, FIN | CLOSE);
    let left = server.event("left", |_| true);
    assert_eq!(left["code"], 1002);
    // In hundredths of a second of a processor; to be busy for as long as it waits would be up to 200.
    let work = work_of(&server) - before;
    assert!(work < 50, "{work}");
}

/// What the server has had of the processors so far, in hundredths of a second.
fn work_of(server: &Server) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", server.pid().as_raw_pid())).unwrap();
    // The name stands in parentheses and may hold anything; user and system time are fields 14 and 15.
    let (_, fields) = stat.rsplit_once(')').unwrap();
    let times = fields.split_whitespace().skip(11).take(2);
    times.map(|ticks| ticks.parse::<u64>().unwrap()).sum()
}
