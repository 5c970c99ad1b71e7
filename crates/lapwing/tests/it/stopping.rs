//! The end of a server, asked for by a signal.

use std::io::Write as _;
use std::time::Duration;

use lapwing_wire::time::WallTime;
use rustix::process::Signal;
use serde_json::json;

use crate::support::client::{Heard, follow, speak};
use crate::support::http::{answer, get, open, post};
use crate::support::server::{Plan, Server};

const LIVELY: &[&str] = &["--topic", "users=users?every=10ms"];

#[test]
fn item_7_ctrl_c_tells_every_client_that_the_server_goes_and_exits_with_0() {
    let mut server = Server::start(LIVELY);
    let mut plain = follow(&server, "topics=users");
    let mut speaks = speak(&server, "topics=users");
    let mut idle = speak(&server, "");
    plain.message();
    server.interrupt();
    let (code, reason) = plain.closed();
    assert_eq!(code, 1001);
    assert!(reason.starts_with("server stopped users="), "{reason}");
    let bye = speaks.find_control("bye");
    assert_eq!(bye["reason"], "server stopped");
    assert!(bye.get("retry_ms").is_none() && bye["next"]["users"].is_u64(), "{bye}");
    assert!(
        bye["elsewhere_ms"].is_u64(),
        "nobody is asked back, and others take turns: {bye}"
    );
    assert_eq!(speaks.closed().0, 1001);
    idle.control("welcome");
    idle.control("bye");
    assert_eq!(idle.closed(), (1001, "server stopped".to_owned()));
    assert_eq!(server.wait().code(), Some(0));
    assert!(server.err().all().is_empty(), "{:?}", server.err().all());
}

#[test]
fn a13_sigterm_tells_every_client_when_to_come_back_and_exits_with_0() {
    let mut server = Server::start(LIVELY);
    let mut plain = follow(&server, "topics=users");
    let mut speaks = speak(&server, "topics=users");
    plain.message();
    server.signal(Signal::TERM);
    let (code, reason) = plain.closed();
    assert_eq!(code, 1012);
    let retry = retry(&reason);
    assert!((1000..60_000).contains(&retry), "{reason}");
    let bye = speaks.find_control("bye");
    assert_eq!(bye["reason"], "server restarts");
    let told = bye["retry_ms"].as_u64().unwrap();
    assert_eq!(bye["elsewhere_ms"].as_u64(), Some(told - 1000), "{bye}");
    let (code, reason) = speaks.closed();
    assert_eq!((code, self::retry(&reason)), (1012, told), "both ways say the same");
    assert_eq!(server.wait().code(), Some(0));
    assert!(server.err().all().is_empty(), "{:?}", server.err().all());
}

#[test]
fn a13_a_stop_tells_the_last_offset_and_nothing_is_lost_before_it() {
    let server = Server::start(&["--topic", "feed=push"]);
    let mut client = follow(&server, "topics=feed");
    for n in 0..20 {
        post(&server, "/topics/feed/messages", "application/json", n.to_string());
    }
    server.interrupt();
    for n in 0..20 {
        assert_eq!(client.message().data, n);
    }
    assert_eq!(client.closed(), (1001, "server stopped feed=19".to_owned()));
}

#[test]
fn a13_a_client_that_lags_is_served_to_the_end() {
    let mut server = Server::start(&["--topic", "feed=push", "--drain", "60s"]);
    let mut client = follow(&server, "topics=feed");
    lag(&server);
    server.signal(Signal::TERM);
    server.event("stopping", |stopping| stopping["clients"] == 1);
    let refused = get(&server, "/readyz");
    assert_eq!((refused.status, refused.header("retry-after")), (503, Some("2")));
    for (offset, message) in (0..).zip(client.messages(BIG_MESSAGES)) {
        assert_eq!(message.offset, offset);
    }
    let (code, reason) = client.closed();
    assert_eq!(code, 1012);
    assert!(reason.ends_with(&format!(" feed={}", BIG_MESSAGES - 1)), "{reason}");
    assert_eq!(server.wait().code(), Some(0));
}

#[test]
fn a13_a_client_that_lags_longer_than_the_drain_is_let_go() {
    let mut server = Server::start(&["--topic", "feed=push", "--drain", "100ms"]);
    let _stuck = follow(&server, "topics=feed");
    lag(&server);
    server.interrupt();
    assert_eq!(server.wait().code(), Some(0));
    let left = server.event("left", |_| true);
    assert_eq!((&left["code"], &left["by"]), (&json!(1001), &json!("server")), "{left}");
    server.event("stopped", |stopped| stopped["clients"] == 1);
}

#[test]
fn a13_a_second_signal_ends_it_at_once() {
    for signal in [Signal::INT, Signal::TERM] {
        let mut server = Server::start(&["--topic", "feed=push", "--drain", "5m"]);
        let _stuck = follow(&server, "topics=feed");
        lag(&server);
        server.interrupt();
        server.event("stopping", |_| true);
        assert!(server.runs(), "it waits for the one that lags");
        server.signal(signal);
        assert_eq!(server.wait().code(), Some(130));
    }
}

#[test]
fn item_7_a_stop_says_on_stderr_what_happened_and_nothing_else() {
    let mut server = Plan::new(LIVELY).text().start();
    let banner = server.err().with("Try ");
    let mut client = follow(&server, "topics=users");
    client.say("hello");
    client.messages(3);
    server.interrupt();
    assert_eq!(client.closed().0, 1001);
    assert_eq!(server.wait().code(), Some(0));
    let lines = server.err().all();
    let after = lines.iter().position(|line| *line == banner).unwrap() + 1;
    let words: Vec<&str> = lines[after..]
        .iter()
        .map(|line| line.split_whitespace().nth(1).unwrap())
        .collect();
    assert_eq!(words, ["join", "stop", "left", "stop"], "{lines:#?}");
    assert!(
        lines
            .iter()
            .any(|line| line.contains("Ctrl-C: telling 1 client and stopping"))
    );
    assert!(lines.last().unwrap().contains("stopped after "), "{lines:#?}");
    assert_eq!(server.out().all().len(), 1, "what clients say is data");
}

#[test]
fn item_7_a_client_that_never_answers_the_close_does_not_hold_the_stop() {
    let mut server = Server::start(LIVELY);
    // It never reads again, so it never answers.
    let mut mute = follow(&server, "topics=users");
    mute.message();
    server.interrupt();
    assert_eq!(server.wait().code(), Some(0));
    assert_eq!(server.event("left", |_| true)["code"], 1001);
    assert!(matches!(mute.hear(), Heard::Text(_) | Heard::Close(1001, _)));
}

/// What passed between the beginning and the end of a stop, as its events tell it.
fn stopped_within(server: &mut Server) -> Duration {
    assert_eq!(server.wait().code(), Some(0));
    let at = |name: &str| {
        let event = server.event(name, |_| true);
        let time = WallTime::parse(event["time"].as_str().unwrap()).unwrap();
        Duration::from_nanos(time.nanos().unsigned_abs())
    };
    at("stopped").saturating_sub(at("stopping"))
}

#[test]
fn a13_clients_that_are_stuck_hold_the_stop_no_longer_than_the_drain() {
    // As long as a close is waited for, or longer.
    let drain = Duration::from_secs(3);
    let mut server = Server::start(&["--topic", "feed=push", "--drain", "3s"]);
    let _stuck = [follow(&server, "topics=feed"), follow(&server, "topics=feed")];
    lag(&server);
    server.interrupt();
    let took = stopped_within(&mut server);
    assert!(took >= drain, "they might have gone on: {took:?}");
    // With a wait for their closes behind the drain it is at least a second more.
    assert!(took < drain + Duration::from_millis(950), "{took:?}");
    assert_eq!(server.events("left").len(), 2);
}

#[test]
fn a13_a_body_that_is_still_coming_is_refused_and_does_not_hold_the_stop() {
    let mut server = Server::start(&["--topic", "feed=push", "--handshake-timeout", "5m"]);
    let mut stream = open(server.address());
    let head = format!(
        "POST /topics/feed/messages HTTP/1.1\r\nHost: {}\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n",
        server.address()
    );
    stream.write_all(head.as_bytes()).unwrap();
    // Now it is being read.
    assert_eq!(answer(&mut stream).expect("an answer").status, 100);
    stream.write_all(b"12").unwrap();
    server.interrupt();
    let answer = answer(&mut stream).expect("an answer");
    assert_eq!(answer.status, 503, "{}", answer.body);
    assert_eq!(answer.body, "this server is stopping; nothing was appended\n");
    assert_eq!(server.wait().code(), Some(0));
}

/// More than the kernel's buffers take.
const BIG_MESSAGES: usize = 40;

/// Publishes so much that a client that does not read lags.
fn lag(server: &Server) {
    let body = format!("\"{}\"", "x".repeat(1_000_000));
    for _ in 0..BIG_MESSAGES {
        assert_eq!(
            post(server, "/topics/feed/messages", "application/json", &body).status,
            201
        );
    }
}

fn retry(reason: &str) -> u64 {
    let retry = reason.split(' ').find_map(|word| word.strip_prefix("retry="));
    retry
        .and_then(|retry| retry.parse().ok())
        .unwrap_or_else(|| panic!("no retry= in {reason:?}"))
}
