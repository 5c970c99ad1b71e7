//! What clients report of their blocks, and what the server makes of it.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::client::{Client, speak};
use crate::support::http::post;
use crate::support::server::{Plan, Running, Server};
use crate::support::{self, PATIENCE};

const FEED: &[&str] = &["--topic", "feed=push"];

/// A client that follows the topic, and so many messages in it.
fn followed(server: &Server, messages: u64) -> Client {
    let mut client = speak(server, "topics=feed&name=sensor-1");
    client.control("welcome");
    client.control("subscribed");
    for n in 0..messages {
        let answer = post(server, "/topics/feed/messages", "application/json", n.to_string());
        assert_eq!(answer.status, 201);
        assert_eq!(client.message().data, n);
    }
    client
}

/// A report of blocks `first..=last` of 5 messages, that took so long in all.
fn report(first: u64, last: u64, elapsed_ms: f64) -> Value {
    support::report::report("feed", first, last, elapsed_ms)
}

#[test]
fn item_9_the_server_prints_which_block_a_client_has_received_and_in_what_time() {
    let server = Plan::new(FEED).text().start();
    let mut client = followed(&server, 10);
    client.command(&report(1, 1, 2000.0));
    let line = server.out().with("block ");
    let (_, told) = line.split_once("  block   ").expect("its word");
    assert!(
        told.starts_with("sensor-1 received block 1 of feed (5 messages) in 2.000 s, drift "),
        "{told}"
    );
}

#[test]
fn item_9_the_drift_is_the_clients_time_less_the_servers_for_the_same_offsets() {
    let server = Server::start(FEED);
    let mut client = followed(&server, 10);
    client.command(&report(1, 1, 60_000.0));
    let told = server.event("report", |_| true);
    assert_eq!((&told["client"], &told["topic"]), (&json!("sensor-1"), &json!("feed")));
    assert_eq!((&told["block"], &told["block_size"]), (&json!(1), &json!(5)));
    assert_eq!((&told["first"], &told["last"]), (&json!(5), &json!(9)));
    assert_eq!(told["elapsed_ms"], 60_000.0);
    let (server_ms, drift_ms) = (told["server_ms"].as_f64().unwrap(), told["drift_ms"].as_f64().unwrap());
    assert!((0.0..60_000.0).contains(&server_ms), "{told}");
    assert!((60_000.0 - server_ms - drift_ms).abs() < 0.2, "{told}");
}

#[test]
fn item_9_a_listener_reports_its_blocks() {
    let server = Server::start(&["--topic", "users=users?every=10ms"]);
    let args = ["listen", &server.url(), "--name", "sensor-1", "--block", "7", "--quiet"];
    let _listener = Running::start(&args);
    let told = server.event("report", |told| told["drift_ms"].is_number());
    assert_eq!((&told["client"], &told["block_size"]), (&json!("sensor-1"), &json!(7)));
    let (first, last) = (told["first"].as_u64().unwrap(), told["last"].as_u64().unwrap());
    assert_eq!((first % 7, last % 7), (0, 6), "blocks are aligned to offsets: {told}");
    assert_eq!(last / 7, told["block"].as_u64().unwrap());
}

#[test]
fn item_9_a_report_that_does_not_count_says_why() {
    let server = Plan::new(FEED).text().start();
    let mut client = followed(&server, 10);
    let mut first = report(0, 0, 1.0);
    first["elapsed_ms"] = Value::Null;
    first["flags"] = json!(["first"]);
    client.command(&first);
    let line = server.out().with("block ");
    assert!(
        line.ends_with("sensor-1 received block 0 of feed (5 messages), spread 0.1 ms (first, not counted)"),
        "{line}"
    );
}

#[test]
fn reports_that_cannot_be_true_are_refused_and_the_connection_lives() {
    let server = Server::start(FEED);
    let mut client = followed(&server, 10);
    let lie = |key: &str, value: Value| {
        let mut report = report(1, 1, 2000.0);
        report[key] = value;
        report
    };
    let mut elsewhere = report(1, 1, 2000.0);
    elsewhere["topic"] = json!("other");
    for untrue in [
        report(2, 2, 2000.0),
        lie("first", json!(9999)),
        lie("last", json!(u64::MAX)),
        lie("messages", json!(6)),
        lie("blocks", json!(0)),
        lie("epoch", json!("0123456789abcdef0123456789abcdef")),
        lie(
            "elapsed_ms",
            json!({"count": 1, "total": -1.0, "min": 0.0, "median": 0.0, "max": 0.0}),
        ),
        lie(
            "elapsed_ms",
            json!({"count": 1, "total": 1e300, "min": 0.0, "median": 0.0, "max": 0.0}),
        ),
        lie(
            "spread_ms",
            json!({"count": 1, "total": 1.0, "min": 2.0, "median": 1.0, "max": 0.5}),
        ),
        lie("span_ms", json!(-1.0)),
        lie("time", json!("x".repeat(41))),
        elsewhere,
    ] {
        client.command(&untrue);
        assert_eq!(client.find_control("error")["code"], "bad_report", "{untrue}");
    }
    client.command(&lie("block_size", json!(0)));
    assert_eq!(client.find_control("error")["code"], "bad_command");
    client.command(&report(1, 1, 2000.0));
    server.event("report", |_| true);
    assert_eq!(server.events("report").len(), 1, "only the true one is told");
}

#[test]
fn reports_that_come_too_often_are_refused_and_each_is_told_or_refused() {
    const SENT: usize = 20;
    let server = Server::start(FEED);
    let mut client = followed(&server, 10);
    // One a second is the rule, a few at once are forgiven, so on any machine some of these are too many.
    for _ in 0..SENT {
        client.command(&report(1, 1, 10.0));
    }
    client.command(&json!({"type": "dance"}));
    let mut refused = 0;
    loop {
        match client.find_control("error")["code"].as_str().unwrap() {
            "too_many_reports" => refused += 1,
            "bad_command" => break,
            other => panic!("refused as {other}"),
        }
    }
    assert!((1..SENT).contains(&refused), "{refused} of {SENT}");
    let mut told = 0;
    server.event("report", |_| {
        told += 1;
        told + refused == SENT
    });
}

#[test]
fn how_often_a_client_may_report_is_a_setting() {
    let server = Server::start(&[FEED, &["--max-report-rate", "100"]].concat());
    let mut client = followed(&server, 10);
    (0..200).for_each(|_| client.command(&report(1, 1, 10.0)));
    let mut told = 0;
    server.event("report", |_| {
        told += 1;
        told == 200
    });
    let mut greeted = speak(&server, "topics=feed");
    assert_eq!(greeted.control("welcome")["report_interval_ms"], 10);
}

#[test]
fn a_client_that_reports_late_is_told_as_slow_and_as_keeping_up_again() {
    let server = Plan::new(FEED).text().start();
    let mut client = followed(&server, 50);
    client.command(&report(1, 2, 60_000.0));
    let slow = server.err().with("  slow  ");
    assert!(slow.contains("  slow    sensor-1 is "), "{slow}");
    assert!(
        slow.contains(" behind on feed after 2 blocks: client slow (nothing waits here, round trip "),
        "{slow}"
    );
    assert!(slow.ends_with(" ms: it reads late)"), "{slow}");
    let deadline = std::time::Instant::now() + PATIENCE;
    // One a second is taken: it is repeated until it was.
    while !server.err().so_far().iter().any(|line| line.contains("  ok ")) {
        assert!(std::time::Instant::now() < deadline, "never told as keeping up");
        client.command(&report(3, 6, 0.1));
        std::thread::sleep(Duration::from_millis(100));
    }
    let again = server.err().with("  ok ");
    assert!(again.contains("sensor-1 keeps up with feed again, "), "{again}");
}
