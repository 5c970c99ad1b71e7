//! Limits as settings: each at its value and one beyond, told, and counted.

use std::io::Write as _;

use serde_json::{Value, json};

use crate::support::client::{follow, speak};
use crate::support::frames::{BINARY, CONTINUATION, FIN, PING, PONG, Raw, TEXT, masked};
use crate::support::http::{answer, get, open, post, send};
use crate::support::server::{Plan, Server, lapwing};

const QUIET: &[&str] = &["--topic", "quiet=push"];
const PUBLISH: &str = "/topics/quiet/messages";

fn serve(limits: &[&str]) -> Server {
    Server::start(&[QUIET, limits].concat())
}

/// Stops a server, and gives how often each limit was met.
#[track_caller]
fn met(mut server: Server) -> Value {
    server.interrupt();
    let limits = server.event("stopped", |_| true)["limits"].clone();
    assert_eq!(server.wait().code(), Some(0));
    limits
}

/// Waits until so many messages of clients were shown.
fn heard(server: &Server, count: usize) {
    let mut heard = 0;
    server.event("said", |_| {
        heard += 1;
        heard == count
    });
}

#[test]
fn each_limit_that_was_met_is_counted_and_told_at_the_end() {
    let topics = ["--topic", "other=push"];
    let limits = [
        "--max-url",
        "64B",
        "--max-body",
        "100B",
        "--max-body-messages",
        "2",
        "--max-fragments",
        "3",
    ];
    let more = [
        "--max-message",
        "1KiB",
        "--max-subscriptions",
        "1",
        "--max-headers",
        "16",
    ];
    let server = serve(&[&topics[..], &limits, &more].concat());
    assert_eq!(get(&server, &format!("/healthz?{}", "x".repeat(64))).status, 414);
    assert_eq!(post(&server, PUBLISH, "text/plain", "x".repeat(101)).status, 413);
    assert_eq!(post(&server, PUBLISH, "text/plain", "x".repeat(1000)).status, 413);
    assert_eq!(post(&server, PUBLISH, "application/x-ndjson", "1\n2\n3\n").status, 413);
    let headers: String = (0..20).map(|n| format!("X-{n}: 1\r\n")).collect();
    let request = format!("GET / HTTP/1.1\r\nHost: {}\r\n{headers}\r\n", server.address());
    assert_eq!(send(server.address(), request.as_bytes()).status, 431);
    for (bytes, code) in [
        (masked(FIN | BINARY, &[0; 1025]), 1009),
        (
            masked(BINARY, b"")
                .into_iter()
                .chain(masked(CONTINUATION, b"").repeat(3))
                .collect(),
            1009,
        ),
        (masked(FIN | PING, b"").repeat(300), 1008),
    ] {
        let mut client = Raw::follow(&server, "topics=quiet");
        client.send_if_taken(&bytes);
        assert_eq!(client.closed().0, code);
    }
    let mut client = speak(&server, "topics=quiet");
    client.command(&json!({"type": "subscribe", "topic": "other"}));
    assert_eq!(client.find_control("error")["code"], "too_many_topics");
    let flood = masked(FIN | TEXT, b"{\"type\":\"unsubscribe\",\"topic\":\"other\"}").repeat(300);
    // It may close before it has taken all.
    let _ = client.stream().write_all(&flood);
    assert_eq!(client.closed().0, 4429);
    let expected = json!({
        "url": 1, "body": 2, "body_messages": 1, "head": 1, "message": 1, "fragments": 1, "control_rate": 1,
        "subscriptions": 1, "command_rate": 1,
    });
    assert_eq!(met(server), expected);
}

#[test]
fn a_server_that_met_no_limit_tells_none() {
    let server = serve(&[]);
    assert_eq!(get(&server, "/healthz").status, 200);
    assert_eq!(met(server), Value::Null);
}

#[test]
fn c6_the_limit_of_fragments_is_a_setting() {
    let server = serve(&["--max-fragments", "3"]);
    let parts = |count: usize| {
        let mut bytes = masked(TEXT, b"a");
        bytes.extend(masked(CONTINUATION, b"a").repeat(count - 2));
        [bytes, masked(FIN | CONTINUATION, b"a")].concat()
    };
    let mut client = Raw::follow(&server, "topics=quiet");
    client.send(&parts(3));
    assert_eq!(server.event("said", |_| true)["text"], "aaa");
    client.send_if_taken(&parts(4));
    assert_eq!(client.closed(), (1009, "message has more than 3 fragments".to_owned()));
}

#[test]
fn d2_d3_d4_the_limits_of_a_head_are_settings() {
    let server = serve(&["--max-head", "8KiB", "--max-headers", "16", "--max-url", "100B"]);
    let request = |bytes: usize, headers: usize| {
        let more: String = (3..headers).map(|n| format!("X-{n}: 1\r\n")).collect();
        let head = format!(
            "GET /healthz HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n{more}X: ",
            server.address()
        );
        format!("{head}{}\r\n\r\n", "x".repeat(bytes.saturating_sub(head.len() + 4)))
    };
    for (bytes, headers, status) in [(8 << 10, 3, 200), (12 << 10, 3, 431), (0, 16, 200), (0, 17, 431)] {
        let answer = send(server.address(), request(bytes, headers).as_bytes());
        assert_eq!(answer.status, status, "{bytes} bytes, {headers} headers");
    }
    let url = |bytes: usize| get(&server, &format!("/healthz?{}", "x".repeat(bytes - "/healthz?".len()))).status;
    assert_eq!((url(100), url(101)), (200, 414));
}

#[test]
fn messages_that_are_not_whole_share_one_room_and_who_finds_none_is_closed_with_1013() {
    let server = serve(&["--max-message", "100KiB", "--max-unfinished", "300KiB"]);
    let begun = || {
        let mut client = Raw::follow(&server, "topics=quiet");
        client.send_if_taken(&masked(BINARY, &vec![0; 90 << 10]));
        client
    };
    let mut clients = Vec::new();
    let refused = loop {
        assert!(clients.len() < 4, "each holds 90 KiB at least");
        let mut client = begun();
        // The second answer shows that what came before the first was read and counted.
        let mut ask = || {
            client.send_if_taken(&masked(FIN | PING, b""));
            client.frame().expect("an answer")
        };
        let mut frame = ask();
        if frame.first_byte == FIN | PONG {
            frame = ask();
        }
        if frame.first_byte != FIN | PONG {
            break frame;
        }
        clients.push(client);
    };
    assert!(!clients.is_empty());
    assert_eq!(refused.payload[..2], 1013u16.to_be_bytes());
    assert_eq!(&refused.payload[2..], b"no room for a message under way now retry=1000");
    // The others finish theirs, and then there is room.
    for client in &mut clients {
        client.send(&masked(FIN | CONTINUATION, b""));
    }
    heard(&server, clients.len());
    let mut client = begun();
    client.send(&masked(FIN | CONTINUATION, b""));
    heard(&server, clients.len() + 1);
    drop((clients, client));
    assert_eq!(met(server), json!({"unfinished": 1}));
}

#[test]
fn messages_at_the_rate_are_taken_and_one_more_is_closed_with_1008() {
    let server = serve(&["--max-message-rate", "1"]);
    let mut client = Raw::follow(&server, "topics=quiet");
    // Five at once.
    client.send(&masked(FIN | TEXT, b"hello").repeat(5));
    heard(&server, 5);
    let mut client = Raw::follow(&server, "topics=quiet");
    client.send_if_taken(&masked(FIN | TEXT, b"hello").repeat(6));
    assert_eq!(client.closed(), (1008, "more than 1 message a second".to_owned()));
    heard(&server, 10);
    assert_eq!(met(server)["message_rate"], 1);
}

#[test]
fn bytes_at_the_rate_are_taken_and_more_are_closed_with_1008() {
    // A KiB a second, and a message of a KiB: two of these at once.
    let server = serve(&["--max-byte-rate", "1KiB", "--max-message", "1KiB"]);
    let mut client = Raw::follow(&server, "topics=quiet");
    client.send(&masked(FIN | BINARY, &[0; 1024]).repeat(2));
    heard(&server, 2);
    let mut client = Raw::follow(&server, "topics=quiet");
    client.send_if_taken(&masked(FIN | BINARY, &[0; 1024]).repeat(4));
    assert_eq!(
        client.closed(),
        (1008, "more than 1.0 KiB of messages a second".to_owned())
    );
    heard(&server, 4);
    assert_eq!(met(server)["byte_rate"], 1);
}

#[test]
fn the_rate_of_commands_and_of_pings_is_a_setting() {
    let server = serve(&["--max-command-rate", "1"]);
    let mut client = Raw::follow(&server, "topics=quiet");
    // Four at once.
    client.send(&masked(FIN | PING, b"here").repeat(4));
    assert_eq!(client.frame().map(|frame| frame.first_byte), Some(FIN | PONG));
    let mut client = Raw::follow(&server, "topics=quiet");
    client.send_if_taken(&masked(FIN | PING, b"here").repeat(6));
    let reason = "more than 1 control frame a second".to_owned();
    assert_eq!(client.closed(), (1008, reason));
    let say = masked(FIN | TEXT, b"{\"type\":\"say\",\"text\":\"hello\"}");
    let mut client = speak(&server, "topics=quiet");
    client.stream().write_all(&say.repeat(4)).unwrap();
    heard(&server, 4);
    let mut client = speak(&server, "topics=quiet");
    let _ = client.stream().write_all(&say.repeat(6));
    assert_eq!(
        client.closed(),
        (4429, "more than 1 command a second retry=5000".to_owned())
    );
}

#[test]
fn a_flood_of_messages_on_the_subprotocol_is_closed_with_4429_and_a_time_to_come_back() {
    let server = serve(&["--max-message-rate", "1"]);
    let mut client = speak(&server, "topics=quiet");
    let _ = client.stream().write_all(&masked(FIN | BINARY, b"bytes").repeat(6));
    assert_eq!(
        client.closed(),
        (4429, "more than 1 message a second retry=5000".to_owned())
    );
}

#[test]
fn who_subscribes_to_nothing_in_time_is_closed_with_4408_and_who_did_once_stays() {
    let server = serve(&["--subscribe-timeout", "2s"]);
    let mut plain = follow(&server, "topics=quiet");
    let mut named = speak(&server, "topics=quiet");
    let mut once = speak(&server, "");
    for (kind, answer) in [("subscribe", "subscribed"), ("unsubscribe", "unsubscribed")] {
        once.command(&json!({"type": kind, "topic": "quiet"}));
        once.find_control(answer);
    }
    let mut idle = speak(&server, "");
    // Saying something is not enough.
    idle.command(&json!({"type": "say", "text": "hello"}));
    assert_eq!(idle.closed(), (4408, "subscribed to nothing for 2 s".to_owned()));
    once.command(&json!({"type": "subscribe", "topic": "quiet"}));
    once.find_control("subscribed");
    assert_eq!(post(&server, PUBLISH, "text/plain", "1").status, 201);
    assert_eq!(plain.message().data, 1);
    named.control("welcome");
    named.control("subscribed");
    assert_eq!((named.message().data, once.message().data), (json!(1), json!(1)));
    drop((plain, named, once));
    assert_eq!(met(server)["subscribe_timeout"], 1);
}

#[test]
fn b7_the_limit_of_topics_on_a_connection_is_a_setting() {
    let topics = ["--topic", "a=push", "--topic", "b=push", "--topic", "c=push"];
    let server = Server::start(&[&topics[..], &["--max-subscriptions", "2"]].concat());
    let mut client = speak(&server, "");
    for topic in ["a", "b"] {
        client.command(&json!({"type": "subscribe", "topic": topic}));
        client.find_control("subscribed");
    }
    client.command(&json!({"type": "subscribe", "topic": "c"}));
    let error = client.find_control("error");
    assert_eq!(error["message"], "a connection follows at most 2 topics");
    // It lives, and may change its mind.
    client.command(&json!({"type": "unsubscribe", "topic": "a"}));
    client.find_control("unsubscribed");
    client.command(&json!({"type": "subscribe", "topic": "c"}));
    client.find_control("subscribed");
    follow(&server, "topics=a,b");
    let asked = |query: &str| {
        let request = crate::support::frames::upgrade_request(&server.address().to_string(), query);
        send(server.address(), request.as_bytes())
    };
    for query in ["/?topics=a,b,c", "/?topics=*", "/"] {
        let refused = asked(query);
        assert_eq!(refused.status, 400, "{query}");
        assert!(refused.body.contains("at most 2"), "{}", refused.body);
    }
}

#[test]
fn b8_a_server_has_as_many_topics_as_allowed_and_does_not_start_with_one_more() {
    let topics = [
        "--topic",
        "a=push",
        "--topic",
        "b=push",
        "--topic",
        "c=push",
        "--max-topics",
    ];
    let server = Server::start(&[&topics[..], &["3"]].concat());
    assert_eq!(get(&server, "/healthz").status, 200);
    let ran = lapwing(&[&["serve", "--listen", "127.0.0.1:0"], &topics[..], &["2"]].concat());
    assert_eq!(ran.code, Some(2));
    assert_eq!(
        ran.err,
        [
            "error: 3 topics, at most 2 can run",
            "hint: allow more with --max-topics, or start another server for the others"
        ]
    );
}

#[test]
fn b8_a_thousand_topics_run_and_one_more_does_not() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("lapwing.toml");
    let write = |count: usize| {
        let topics: String = (0..count).map(|n| format!("t{n} = \"push\"\n")).collect();
        std::fs::write(&file, format!("[topic]\n{topics}")).unwrap();
    };
    write(1000);
    let server = Server::start(&["--config", file.to_str().unwrap()]);
    let memory = server.memory_kib("VmRSS:");
    // What a topic takes that nobody has filled: docs/security.md says it.
    assert!(memory < 64 << 10, "{memory} KiB");
    assert_eq!(post(&server, "/topics/t999/messages", "text/plain", "1").status, 201);
    write(1001);
    let ran = lapwing(&["serve", "--listen", "127.0.0.1:0", "--config", file.to_str().unwrap()]);
    assert_eq!(ran.code, Some(2));
    assert_eq!(ran.err[0], "error: 1001 topics, at most 1000 can run");
}

#[test]
fn b8_a_topic_with_a_huge_name_is_told_and_costs_no_connection() {
    let longest = "n".repeat(64);
    let server = Server::start(&["--topic", &format!("{longest}=push")]);
    let mut client = speak(&server, "");
    client.control("welcome");
    for huge in ["n".repeat(65), "n".repeat(100_000)] {
        client.command(&json!({"type": "subscribe", "topic": huge}));
        let error = client.control("error");
        assert_eq!(error["code"], "bad_command");
        assert!(error.to_string().len() < 1000, "{error}");
    }
    client.command(&json!({"type": "subscribe", "topic": longest}));
    client.control("subscribed");
    let ran = lapwing(&[
        "serve",
        "--listen",
        "127.0.0.1:0",
        "--topic",
        &format!("{longest}n=push"),
    ]);
    assert_eq!(ran.code, Some(2));
}

#[test]
fn d9_the_limit_of_messages_in_a_body_is_a_setting() {
    let server = serve(&["--max-body-messages", "2"]);
    assert_eq!(post(&server, PUBLISH, "application/x-ndjson", "1\n2\n").status, 201);
    let refused = post(&server, PUBLISH, "application/x-ndjson", "1\n2\n3\n");
    assert_eq!(refused.status, 413);
    assert!(
        refused.body.contains("3 messages in one body, at most 2"),
        "{}",
        refused.body
    );
    assert_eq!(post(&server, PUBLISH, "text/plain", "3").json()["first"], 2);
}

#[test]
fn bodies_share_one_room_and_who_finds_none_is_503_with_a_time_to_retry() {
    let server = serve(&["--max-body", "1KiB", "--max-bodies", "1KiB"]);
    let mut slow = open(server.address());
    let head = format!(
        "POST {PUBLISH} HTTP/1.1\r\nHost: {}\r\nContent-Type: text/plain\r\nContent-Length: 1024\r\nExpect: 100-continue\r\n\r\n",
        server.address()
    );
    slow.write_all(head.as_bytes()).unwrap();
    // It is told to go on when it has its room.
    assert_eq!(answer(&mut slow).expect("an answer").status, 100);
    let refused = post(&server, PUBLISH, "text/plain", "1");
    assert_eq!(refused.status, 503);
    assert_eq!(refused.header("retry-after"), Some("2"));
    assert!(
        refused.body.contains("more than 1.0 KiB are being published at once"),
        "{}",
        refused.body
    );
    slow.write_all(&[b'x'; 1024]).unwrap();
    assert_eq!(answer(&mut slow).expect("an answer").status, 201);
    assert_eq!(post(&server, PUBLISH, "text/plain", "1").status, 201);
}

#[test]
fn f21_too_few_open_files_for_what_was_asked_are_told_at_the_start() {
    let server = Plan::with_open_files(40, &[QUIET, &["--max-connections", "1000"]].concat()).start();
    let told = server.event("limit", |_| true);
    let text = told["text"].as_str().unwrap();
    assert!(
        text.starts_with("1,000 connections (--max-connections) and what the server needs itself are "),
        "{text}"
    );
    assert!(
        text.contains("more than the 40 open files that it may have: raise that with ulimit -n"),
        "{text}"
    );
    // It serves all the same.
    assert_eq!(get(&server, "/healthz").status, 200);
    let enough = Plan::with_open_files(40, QUIET).start();
    assert_eq!(get(&enough, "/healthz").status, 200);
    assert!(enough.events("limit").is_empty());
}

#[test]
fn f21_files_of_topics_leave_fewer_places_for_connections() {
    let dir = tempfile::tempdir().unwrap();
    let room = |args: &[&str]| -> usize {
        let server = Plan::with_open_files(60, args).text().start();
        server.err().find("with the room", |line| {
            let (_, room) = line.split_once("room for ")?;
            room.split(' ').next()?.parse().ok()
        })
    };
    let data = ["--data", dir.path().to_str().unwrap()];
    assert_eq!(room(QUIET) - room(&[QUIET, &data].concat()), 3);
}

/// Every limit with a number, its flag, what is too little and too much, and the range that is told.
const RANGES: &[(&str, &str, &str, &str)] = &[
    ("--max-accept-rate", "0", "1000001", "1 to 1000000"),
    ("--max-accept-rate-per-address", "0", "1000001", "1 to 1000000"),
    ("--max-head", "8191B", "2MiB", "8KiB to 1MiB"),
    ("--max-headers", "15", "1001", "16 to 1000"),
    ("--max-url", "63B", "61KiB", "64B to 60KiB"),
    ("--max-message", "0B", "65MiB", "1B to 64MiB"),
    ("--max-fragments", "0", "65536", "1 to 65535"),
    ("--stall-rate", "0B", "2GiB", "1B to 1GiB"),
    ("--max-unfinished", "1023KiB", "3GiB", "1MiB to 2GiB"),
    ("--max-message-rate", "0", "800001", "1 to 800000"),
    ("--max-byte-rate", "1023B", "2GiB", "1KiB to 1GiB"),
    ("--max-command-rate", "0", "1000001", "1 to 1000000"),
    ("--max-report-rate", "0", "1001", "1 to 1000"),
    ("--max-subscriptions", "0", "10001", "1 to 10000"),
    ("--max-topics", "0", "10001", "1 to 10000"),
    ("--max-events", "0", "1000001", "1 to 1000000"),
    ("--max-body", "0B", "65MiB", "1B to 64MiB"),
    ("--max-body-messages", "0", "1000001", "1 to 1000000"),
    ("--max-bodies", "1023KiB", "3GiB", "1MiB to 2GiB"),
];

#[test]
fn item_7_a_limit_out_of_range_is_told_with_the_range() {
    for (flag, less, more, range) in RANGES {
        for wrong in [less, more] {
            let ran = lapwing(&["serve", "--listen", "127.0.0.1:0", flag, wrong]);
            assert_eq!(ran.code, Some(2), "{flag} {wrong}: {:?}", ran.err);
            assert!(ran.err[0].starts_with(&format!("error: {flag} ")), "{:?}", ran.err);
            assert!(
                ran.err[0].ends_with(&format!("is out of range: {range}")),
                "{:?}",
                ran.err
            );
        }
    }
    let ran = lapwing(&["serve", "--listen", "127.0.0.1:0", "--max-connections-per-address", "0"]);
    assert_eq!(ran.err[0], "error: --max-connections-per-address 0 would serve nobody");
}

#[test]
fn item_7_each_limit_has_a_key_in_the_settings_file_and_a_line_in_the_long_help() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("lapwing.toml");
    let settings = "trust-proxy = [\"127.0.0.1\"]\nmax-connections-per-address = 10\nmax-connections-per-token = 10\nmax-accept-rate = 10\nmax-accept-rate-per-address = 5\nmax-head = \"9KiB\"\n\
        max-headers = 20\nmax-url = \"100B\"\nmax-fragments = 2\nmax-unfinished = \"2MiB\"\nmax-message-rate = 7\nmax-byte-rate = \"2MiB\"\nmax-command-rate = 9\n\
        max-report-rate = 2\nmax-subscriptions = 3\nmax-topics = 2\nmax-events = 2\nmax-body-messages = 5\nmax-bodies = \"2MiB\"\nsubscribe-timeout = \"2s\"\nstall-rate = \"1KiB\"\n";
    std::fs::write(&file, settings).unwrap();
    let server = serve(&["--config", file.to_str().unwrap()]);
    let url = |bytes: usize| get(&server, &format!("/healthz?{}", "x".repeat(bytes - "/healthz?".len()))).status;
    assert_eq!((url(100), url(101)), (200, 414));
    assert_eq!(
        speak(&server, "topics=quiet").control("welcome")["report_interval_ms"],
        500
    );
    let (short, long) = (
        lapwing(&["serve", "-h"]).out.join("\n"),
        lapwing(&["serve", "--help"]).out.join("\n"),
    );
    for key in settings.lines().filter_map(|line| line.split(" = ").next()) {
        assert!(long.contains(&format!("--{key} <")), "{key}");
        assert!(!short.contains(&format!("--{key} <")), "{key}");
    }
}
