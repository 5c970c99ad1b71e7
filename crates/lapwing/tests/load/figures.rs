//! What a load test shows of a server that does what it should.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::program::lapwing;
use crate::rig::{SHORT, Server, bench, object, start};

#[test]
fn a_server_is_loaded_and_each_client_is_proven_to_have_everything() {
    let server = Server::start(&["--topic", "users=users?rate=50/s", "--topic", "arrays=arrays?rate=20/s"]);
    let found = bench(&server.url, 0, &["--clients", "20", "--threads", "2"]);
    assert_eq!(
        (&found["verdict"], &found["connected"]),
        (&"proven".into(), &20.into()),
        "{found:#}"
    );
    let why = found["why"].as_str().expect("a sentence");
    assert!(
        why.starts_with("each of 20 clients received users ") && why.ends_with(" once, in order"),
        "{why}"
    );
    assert!(why.contains(" and arrays "), "{why}");
    let count = |key: &str| found[key]["count"].as_u64().expect("a count");
    assert_eq!(count("connect"), 20);
    assert_eq!(found["messages"], count("latency"));
    assert!(count("latency") >= 20 && count("first_to_last") > 0, "{found:#}");
    assert_eq!(found["latency_from"], "since append");
    for topic in found["topics"].as_array().expect("topics") {
        assert_eq!(topic["followers"], 20, "{topic}");
        assert_eq!(topic["blocks"][0]["size"], 5);
    }
    assert!(found["tester"]["core_share"].as_f64().expect("a part") > 0.0);
}

#[test]
fn arrays_as_binary_frames_are_messages_like_others() {
    let server = Server::start(&[
        "--topic",
        "users=users?rate=50/s",
        "--topic",
        "arrays=arrays?rate=50/s&shape=1000",
    ]);
    let found = bench(&server.url, 0, &["--clients", "5", "--encoding", "binary"]);
    assert_eq!(
        (&found["verdict"], &found["foreign_frames"]),
        (&"proven".into(), &0.into()),
        "{found:#}"
    );
    let latencies = found["latency"]["count"].as_u64().expect("a count");
    assert!(found["messages"] == latencies && latencies > 0, "{found:#}");
    let (bytes, messages) = (found["bytes"].as_u64(), found["messages"].as_u64());
    // A thousand integers below 100 have 2,900 bytes of text.
    assert!(bytes > messages.map(|messages| messages * 3500), "{found:#}");
}

#[test]
fn a_server_that_asks_for_a_token_is_loaded_with_one() {
    let folder = tempfile::tempdir().expect("a directory");
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).expect("written");
        path.display().to_string()
    };
    let scopes = "listen:feed,publish:feed";
    let made = lapwing(&["token", "new", "tester", "--scope", scopes])
        .finish()
        .with_code(0);
    let token = file("token", &made.stdout[0]);
    let server = Server::start(&["--topic", "feed=push", "--tokens", &file("tokens", &made.stdout[1])]);
    let load = ["--clients", "5", "--publish", "feed", "--rate", "50"];
    let found = bench(&server.url, 0, &[&load[..], &["--token-file", &token]].concat());
    assert_eq!(
        (&found["verdict"], &found["connected"]),
        (&"proven".into(), &5.into()),
        "{found:#}"
    );
    let end = start(&server.url, &[SHORT, &["--clients", "2"]].concat())
        .finish()
        .with_code(1);
    end.said("this server wants a token");
}

#[test]
fn people_read_a_table_with_the_verdict_last() {
    let server = Server::start(&["--topic", "users=users?rate=50/s"]);
    let end = lapwing(&[&["bench", &server.url, "--clients", "3", "--block", "2"], SHORT].concat())
        .finish()
        .with_code(0);
    let text = end.stdout.join("\n");
    for part in [
        "3 of 3 clients",
        "since append",
        "over all clients",
        "block of 2, users",
        "-limited",
        "% of ",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let last = end.stdout.last().expect("lines");
    assert!(last.starts_with("proven: each of 3 clients received users "), "{text}");
    assert!(
        end.stdout
            .iter()
            .all(|line| line.len() <= 80 && !line.contains('\u{1b}')),
        "{text}"
    );
    assert_eq!(text.matches("connected").count(), 1, "{text}");
    assert!(end.stderr.is_empty(), "{end:#?}");
}

#[test]
fn a_topic_that_is_named_twice_is_heard_once() {
    let server = Server::start(&["--topic", "users=users?rate=50/s"]);
    let found = bench(&server.url, 0, &["--clients", "3", "--topics", "users,users"]);
    let topics = found["topics"].as_array().expect("topics");
    assert_eq!((topics.len(), &topics[0]["followers"]), (1, &3.into()), "{found:#}");
    assert!(
        found["first_to_last"]["count"].as_u64().expect("a count") > 0,
        "{found:#}"
    );
}

#[test]
fn a_topic_that_waits_for_messages_hints_at_publish() {
    let server = Server::start(&["--topic", "load=push"]);
    let end = lapwing(&[&["bench", &server.url, "--clients", "2"], SHORT].concat())
        .finish()
        .with_code(0);
    let text = end.stdout.join("\n");
    assert!(text.contains("gets some with --publish TOPIC"), "{text}");
    assert_eq!(end.stdout.last().expect("lines"), "not checked: no message came");
}

#[test]
fn b9_latency_is_counted_from_the_intended_moment_so_a_pause_shows_whole() {
    let server = Server::start(&["--topic", "load=push"]);
    let args = [
        "--clients",
        "10",
        "--publish",
        "load",
        "--rate",
        "200",
        "--for",
        "6s",
        "--warm-up",
        "200ms",
    ];
    let bench = lapwing(&[&["bench", &server.url, "--json"], &args[..]].concat());
    server.program.shows("\"event\":\"joined\"");
    // Well behind the warm-up, and well before the end; the pause itself is what is measured.
    pass(&server, "load", 400);
    server.program.signal(Signal::STOP);
    std::thread::sleep(Duration::from_secs(2));
    server.program.signal(Signal::CONT);
    let found = object(&bench.finish().with_code(0));
    let latency = &found["latency"];
    assert_eq!(found["latency_from"], "from intended send");
    assert!(latency["p999_ms"].as_f64().expect("measured") > 1500.0, "{latency}");
    assert!(latency["p50_ms"].as_f64().expect("measured") < 1500.0, "{latency}");
    // Two of six seconds: whoever waits for answers would have a handful of such messages, not a third of all.
    assert!(latency["p90_ms"].as_f64().expect("measured") > 500.0, "{latency}");
    assert_eq!(found["published"]["sent"], found["published"]["acknowledged"]);
    assert_eq!(found["verdict"], "proven");
}

#[test]
fn b9_a_tester_that_stood_still_says_that_it_was_the_bottleneck() {
    let server = Server::start(&["--topic", "load=push"]);
    let args = [
        "--clients",
        "2",
        "--publish",
        "load",
        "--rate",
        "200",
        "--for",
        "5s",
        "--warm-up",
        "200ms",
    ];
    let bench = lapwing(&[&["bench", &server.url], &args[..]].concat());
    server.program.shows("\"event\":\"joined\"");
    pass(&server, "load", 400);
    bench.signal(Signal::STOP);
    std::thread::sleep(Duration::from_secs(1));
    bench.signal(Signal::CONT);
    let end = bench.finish().with_code(0);
    let [.., tester, verdict] = &end.stdout[..] else {
        panic!("{end:#?}")
    };
    assert!(
        tester.starts_with("The tester was the bottleneck: ") && tester.contains(" sent late, by up to "),
        "{end:#?}"
    );
    assert!(verdict.starts_with("proven: "), "{end:#?}");
}

#[test]
fn only_its_own_messages_count_for_latency_from_the_intended_moment() {
    let server = Server::start(&["--topic", "load=push"]);
    let two: Vec<_> = (0..2)
        .map(|_| {
            start(
                &server.url,
                &[
                    SHORT,
                    &["--clients", "2", "--publish", "load", "--rate", "100", "--size", "500B"],
                ]
                .concat(),
            )
        })
        .collect();
    for one in two {
        let found = object(&one.finish().with_code(0));
        // 100 messages in a second to two clients.
        assert_eq!(found["latency"]["count"], 200, "{found:#}");
        assert_eq!(found["verdict"], "proven");
    }
}

#[test]
fn ctrl_c_ends_it_with_what_was_measured_until_then() {
    let server = Server::start(&["--topic", "users=users?rate=100/s"]);
    let bench = start(&server.url, &["--clients", "2", "--for", "1h", "--warm-up", "200ms"]);
    server.program.shows("\"event\":\"joined\"");
    pass(&server, "users", 200);
    bench.signal(Signal::INT);
    let found = object(&bench.finish().with_code(0));
    assert_eq!(found["verdict"], "proven");
    assert!(found["measured_ms"].as_f64().expect("a time") < 60_000.0);
    assert_eq!(
        (&found["interrupted"], &found["asked_ms"]),
        (&"asked".into(), &3_600_000.0.into())
    );
}

#[test]
fn ctrl_c_before_anything_was_measured_proves_nothing_and_tells_who_was_not_tried() {
    let server = Server::start(&["--topic", "users=users?rate=100/s"]);
    let report = tempfile::tempdir().expect("a directory");
    let file = report.path().join("report.html");
    // The second client would come after half an hour.
    let args = ["--clients", "2", "--ramp", "1h", "--for", "20s", "--report"];
    let bench = lapwing(&[&["bench", &server.url], &args[..], &[file.to_str().expect("UTF-8")]].concat());
    server.program.shows("\"event\":\"joined\"");
    bench.signal(Signal::INT);
    let end = bench.finish().with_code(0);
    let text = end.stdout.join("\n");
    assert!(
        text.contains("1 of 2 clients in ") && text.contains("; 1 not tried"),
        "{text}"
    );
    let stopped = "stopped               after 0.0 ms of 20.0 s: it was asked to end";
    assert!(text.contains(stopped), "{text}");
    assert!(!text.contains("first to last"), "one client is first and last: {text}");
    let last = end.stdout.last().expect("lines");
    assert!(last.starts_with("not checked: "), "{text}");
    let page = std::fs::read_to_string(&file).expect("written");
    assert!(
        page.contains("■ stopped after 0.0 ms of 20.0 s: it was asked to end"),
        "{page}"
    );
}

#[test]
fn ctrl_c_waits_for_no_server_that_stands_still() {
    let server = Server::start(&["--topic", "load=push"]);
    let args = [
        "--clients",
        "2",
        "--publish",
        "load",
        "--rate",
        "100",
        "--for",
        "1h",
        "--warm-up",
        "200ms",
    ];
    let bench = start(&server.url, &args);
    server.program.shows("\"event\":\"joined\"");
    server.program.signal(Signal::STOP);
    // So that posts wait for their answers; whether many or few does not matter.
    std::thread::sleep(Duration::from_millis(500));
    let asked = Instant::now();
    bench.signal(Signal::INT);
    bench.finish().with_code(0);
    // Answers and messages would be waited for longer, each of them.
    assert!(asked.elapsed() < Duration::from_secs(4), "{:?}", asked.elapsed());
}

#[test]
fn clients_come_over_the_time_that_was_asked_for() {
    let server = Server::start(&["--topic", "users=users?rate=50/s"]);
    let found = bench(&server.url, 0, &["--clients", "10", "--ramp", "1s"]);
    // The last of ten comes after nine tenths of it, and the first may be late by a little.
    assert!(found["ramp_ms"].as_f64().expect("a time") >= 800.0, "{found:#}");
    let opened = found["timeline"]
        .as_array()
        .expect("seconds")
        .iter()
        .map(|second| second["opened"].as_u64());
    assert_eq!(opened.sum::<Option<u64>>(), Some(10));
}

#[test]
fn the_largest_payload_that_may_be_asked_for_is_published() {
    let server = Server::start(&["--topic", "load=push"]);
    let found = bench(
        &server.url,
        0,
        &[
            "--clients",
            "1",
            "--publish",
            "load",
            "--rate",
            "5",
            "--size",
            "1000KiB",
        ],
    );
    assert_eq!(found["published"]["sent"], found["published"]["acknowledged"]);
    assert!(found["bytes"].as_u64().expect("a count") > 1_024_000, "{found:#}");
}

#[test]
fn every_key_of_the_object_is_documented() {
    let page = include_str!("../../../../docs/bench.md");
    let server = Server::start(&["--topic", "load=push"]);
    let grid = [
        "--sweep",
        "--sweep-clients",
        "1",
        "--sweep-blocks",
        "1",
        "--publish",
        "load",
        "--rate",
        "50",
    ];
    let found = object(&start(&server.url, &[SHORT, &grid].concat()).finish().with_code(0));
    let mut left = vec![&found];
    while let Some(value) = left.pop() {
        match value {
            serde_json::Value::Object(object) => {
                for (key, value) in object {
                    assert!(page.contains(&format!("`{key}`")), "{key} is not in docs/bench.md");
                    left.push(value);
                }
            }
            serde_json::Value::Array(values) => left.extend(values),
            _ => {}
        }
    }
}

/// Waits until so many more messages of a topic have come to somebody else. What a tester publishes it publishes by its own clock.
fn pass(server: &Server, topic: &str, count: u64) {
    let count = count.to_string();
    lapwing(&["listen", &server.url, "--topics", topic, "--count", &count, "--quiet"])
        .finish()
        .with_code(0);
}
