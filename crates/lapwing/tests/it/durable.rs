//! Topics that are kept in files: what was acknowledged outlives the server.

use std::path::Path;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::client::{Client, follow, speak};
use crate::support::eventually;
use crate::support::http::{ask, post};
use crate::support::server::{Server, lapwing};

const PATH: &str = "/topics/orders/messages";

/// A server whose topic `orders` is kept in `dir` at this level.
fn serve(dir: &Path, level: &str) -> Server {
    serve_with(dir, level, "")
}

fn serve_with(dir: &Path, level: &str, settings: &str) -> Server {
    let topic = format!("orders=push?durability={level}{settings}");
    let dir = dir.to_str().expect("temporary folders have plain names");
    Server::start(&["--data", dir, "--topic", &topic])
}

#[track_caller]
fn publish(server: &Server, numbers: std::ops::Range<u64>) -> Value {
    let body: String = numbers.map(|number| format!("{number}\n")).collect();
    let answer = post(server, PATH, "application/x-ndjson", body);
    assert_eq!(answer.status, 201, "{}", answer.body);
    answer.json()
}

fn kill(mut server: Server) {
    server.signal(Signal::KILL);
    server.wait();
}

/// The next messages are these numbers, at the offsets that are the same numbers.
#[track_caller]
fn assert_numbers(client: &mut Client, numbers: std::ops::Range<u64>) {
    for number in numbers {
        let message = client.message();
        assert_eq!((message.offset, &message.data), (number, &json!(number)));
    }
}

#[test]
fn f1_what_was_acknowledged_survives_kill_9_at_every_level() {
    for level in ["os", "fsync"] {
        let dir = tempfile::tempdir().unwrap();
        let server = serve(dir.path(), level);
        let first = publish(&server, 0..3);
        assert_eq!(first["level"], level);
        let mut next = 3;
        let mut running = server;
        for round in 0..5 {
            for _ in 0..20 {
                assert_eq!(publish(&running, next..next + 1)["first"], next);
                next += 1;
            }
            kill(running);
            running = serve(dir.path(), level);
            let again = publish(&running, next..next + 1);
            assert_eq!(
                (&again["epoch"], &again["first"]),
                (&first["epoch"], &json!(next)),
                "{level}, round {round}"
            );
            next += 1;
        }
        assert_numbers(&mut follow(&running, "topics=orders&from=earliest"), 0..next);
    }
}

#[test]
fn without_a_directory_a_restart_is_a_reset_and_the_client_goes_on() {
    let start = || Server::start(&["--topic", "orders=push"]);
    let server = start();
    let epoch = publish(&server, 0..3)["epoch"].clone();
    kill(server);
    let server = start();
    publish(&server, 0..2);
    let mut client = speak(&server, "");
    client.control("welcome");
    client.command(&json!({"type": "subscribe", "topic": "orders", "epoch": epoch, "offset": 3}));
    let subscribed = client.control("subscribed");
    assert_eq!(
        (&subscribed["answer"], &subscribed["from"]),
        (&json!("reset"), &json!(0))
    );
    assert_ne!(subscribed["epoch"], epoch);
    assert_numbers(&mut client, 0..2);
}

#[test]
fn a_position_from_before_a_restart_goes_on_without_loss_or_repetition() {
    let dir = tempfile::tempdir().unwrap();
    let server = serve(dir.path(), "fsync");
    let epoch = publish(&server, 0..10)["epoch"].clone();
    kill(server);
    let server = serve(dir.path(), "fsync");
    let mut client = speak(&server, "");
    client.control("welcome");
    client.command(&json!({"type": "subscribe", "topic": "orders", "epoch": epoch, "offset": 7}));
    let subscribed = client.control("subscribed");
    assert_eq!(subscribed["answer"], "ok");
    assert_eq!(
        [
            &subscribed["first"],
            &subscribed["from"],
            &subscribed["next"],
            &subscribed["durable"]
        ],
        [0, 7, 10, 10]
    );
    assert_eq!(subscribed["level"], "fsync");
    assert_numbers(&mut client, 7..10);
    publish(&server, 10..13);
    assert_numbers(&mut client, 10..13);
    let epoch = epoch.as_str().unwrap();
    assert_numbers(
        &mut follow(&server, &format!("topics=orders&from=orders@{epoch}:12")),
        12..13,
    );
}

#[test]
fn fifty_thousand_behind_all_come_from_the_files_while_live_ones_keep_coming() {
    let dir = tempfile::tempdir().unwrap();
    let server = serve(dir.path(), "os");
    for begin in (0..50_000).step_by(5_000) {
        publish(&server, begin..begin + 5_000);
    }
    kill(server);
    let server = serve(dir.path(), "os");
    let mut client = follow(&server, "topics=orders&from=0");
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for begin in (50_000..52_000).step_by(100) {
                publish(&server, begin..begin + 100);
            }
        });
        assert_numbers(&mut client, 0..52_000);
    });
    assert_eq!(follow(&server, "topics=orders&from=49990&envelope=off").text(), "49990");
}

#[test]
fn a_repeated_publish_is_recognised_after_a_restart() {
    for level in ["os", "fsync"] {
        let dir = tempfile::tempdir().unwrap();
        let headers = [
            ("Content-Type", "application/json"),
            ("Lapwing-Source", "till"),
            ("Lapwing-Sequence", "7"),
        ];
        let server = serve(dir.path(), level);
        publish(&server, 0..4);
        let first = ask(&server, "POST", PATH, &headers, b"4");
        assert_eq!(first.status, 201);
        kill(server);
        let server = serve(dir.path(), level);
        let second = ask(&server, "POST", PATH, &headers, b"4");
        assert_eq!((second.status, second.json()), (200, first.json()));
        assert_eq!(publish(&server, 5..6)["first"], 5);
    }
}

#[test]
fn a_clean_stop_and_start_finds_everything_and_has_nothing_to_tell() {
    let dir = tempfile::tempdir().unwrap();
    let mut server = serve(dir.path(), "fsync");
    publish(&server, 0..100);
    server.interrupt();
    assert!(server.wait().success());
    let server = serve(dir.path(), "fsync");
    assert_numbers(&mut follow(&server, "topics=orders&from=earliest"), 0..100);
    assert_eq!(server.events("storage"), [] as [Value; 0]);
}

#[test]
fn a_topic_in_memory_stands_beside_durable_ones() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().to_str().unwrap();
    let start = || {
        Server::start(&[
            "--data",
            path,
            "--topic",
            "kept=push",
            "--topic",
            "live=push?durability=none",
        ])
    };
    let server = start();
    let ready = server.event("ready", |_| true);
    assert_eq!(ready["level"], json!({"kept": "fsync", "live": "none"}));
    assert_eq!(ready["data"], path);
    for topic in ["kept", "live"] {
        let answer = post(&server, &format!("/topics/{topic}/messages"), "application/json", "1");
        assert_eq!(answer.json()["level"], if topic == "kept" { "fsync" } else { "none" });
    }
    kill(server);
    let server = start();
    assert_eq!(follow(&server, "topics=kept&from=0").message().data, 1);
    let answer = post(&server, "/topics/live/messages", "application/json", "2");
    assert_eq!(answer.json()["first"], 0);
}

#[test]
fn f8_a_second_server_on_the_directory_is_refused_with_the_first_ones_process() {
    let dir = tempfile::tempdir().unwrap();
    let server = serve(dir.path(), "fsync");
    let path = dir.path().to_str().unwrap();
    let second = lapwing(&[
        "serve",
        "--listen",
        "127.0.0.1:0",
        "--data",
        path,
        "--topic",
        "orders=push",
    ]);
    assert_eq!(second.code, Some(1));
    let told = second.err.join("\n");
    let pid = server.pid().as_raw_nonzero().to_string();
    assert!(
        told.contains("used by another process") && told.contains(&pid),
        "{told}"
    );
    publish(&server, 0..1);
}

#[test]
fn durability_without_a_directory_is_a_mistake_with_a_way_out() {
    for args in [
        &["--durability", "os"][..],
        &["--topic", "orders=push?durability=fsync"],
    ] {
        let ran = lapwing(&[&["serve", "--listen", "127.0.0.1:0"], args].concat());
        assert_eq!(ran.code, Some(2));
        let told = ran.err.join("\n");
        assert!(told.contains("--data DIR"), "{told}");
    }
}

#[test]
fn a_directory_that_is_not_ours_is_refused_and_left_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("thesis.txt"), "years of work").unwrap();
    let path = dir.path().to_str().unwrap();
    let ran = lapwing(&["serve", "--listen", "127.0.0.1:0", "--data", path]);
    assert_eq!(ran.code, Some(1));
    let told = ran.err.join("\n");
    assert!(told.contains("was not made by Lapwing"), "{told}");
    let left: Vec<_> = std::fs::read_dir(dir.path()).unwrap().collect();
    assert_eq!(left.len(), 1);
}

#[test]
fn messages_below_what_disk_keeps_are_a_gap_that_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let server = serve_with(dir.path(), "os", "&keep_bytes=256KiB");
    let epoch = publish(&server, 0..1)["epoch"].clone();
    for begin in (1..40_001).step_by(5_000) {
        publish(&server, begin..begin + 5_000);
    }
    let mut client = speak(&server, "");
    client.control("welcome");
    client.command(&json!({"type": "subscribe", "topic": "orders", "epoch": epoch, "offset": 0}));
    let subscribed = client.control("subscribed");
    assert_eq!(
        (&subscribed["answer"], &subscribed["missing_from"]),
        (&json!("gap"), &json!(0))
    );
    let from = subscribed["from"].as_u64().unwrap();
    assert!(from > 0, "{subscribed}");
    // Files are let go about once a second, so more may go before the rest is read; it is told then.
    let mut next = from;
    while next < 40_001 {
        let text = client.text();
        let heard: Value = serde_json::from_str(&text).unwrap();
        match heard["type"].as_str() {
            None => {
                assert_eq!(heard["offset"], next);
                next += 1;
            }
            Some("gap") => {
                assert_eq!(heard["from"], next);
                next = heard["to"].as_u64().unwrap();
            }
            Some("heartbeat") => {}
            Some(other) => panic!("{other}: {text}"),
        }
    }
}

#[test]
fn f5_a_client_beyond_the_damage_waits_where_it_is_and_is_told_of_no_new_history() {
    let dir = tempfile::tempdir().unwrap();
    let server = serve(dir.path(), "fsync");
    let epoch = publish(&server, 0..10)["epoch"].clone();
    publish(&server, 10..20);
    publish(&server, 20..30);
    kill(server);
    let (file, used) = newest_file(dir.path());
    let mut bytes = std::fs::read(&file).unwrap();
    // In the middle of the file there are good batches behind it, so this is damage and no torn end.
    bytes[used / 2] ^= 1;
    std::fs::write(&file, bytes).unwrap();
    let server = serve(dir.path(), "fsync");
    let answer = post(&server, PATH, "application/json", "1");
    assert_eq!(answer.status, 500, "{}", answer.body);
    assert!(answer.header("retry-after").is_none());
    let mut client = speak(&server, "");
    client.control("welcome");
    client.command(&json!({"type": "subscribe", "topic": "orders", "epoch": epoch, "offset": 30}));
    let subscribed = client.control("subscribed");
    assert_eq!(
        (&subscribed["answer"], &subscribed["from"]),
        (&json!("ok"), &json!(30)),
        "{subscribed}"
    );
    assert!(subscribed["next"].as_u64().unwrap() < 30);
    let mut publisher = std::process::Command::new(crate::support::server::LAPWING)
        .args(["publish", &server.url(), "orders"])
        .stdin(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    std::io::Write::write_all(&mut publisher.stdin.take().unwrap(), b"1\n").unwrap();
    assert_eq!(publisher.wait().unwrap().code(), Some(1), "it does not try for ever");
}

/// The newest file of the topic, and where its used part ends.
fn newest_file(dir: &Path) -> (std::path::PathBuf, usize) {
    let file = dir.join("topics/orders/00000000000000000000.log");
    let bytes = std::fs::read(&file).unwrap();
    (file, bytes.iter().rposition(|byte| *byte != 0).unwrap())
}

#[test]
fn f5_damage_to_the_last_batch_before_a_quiet_time_is_no_torn_tail() {
    let dir = tempfile::tempdir().unwrap();
    let server = serve(dir.path(), "fsync");
    publish(&server, 0..10);
    publish(&server, 10..20);
    let state = dir.path().join("topics/orders/state.json");
    eventually("what is durable is noted", || {
        std::fs::read_to_string(&state).unwrap().contains("\"durable\":20")
    });
    kill(server);
    let (file, used) = newest_file(dir.path());
    let mut bytes = std::fs::read(&file).unwrap();
    bytes[used - 5] ^= 1;
    std::fs::write(&file, bytes).unwrap();
    let server = serve(dir.path(), "fsync");
    let answer = post(&server, PATH, "application/json", "1");
    assert_eq!(answer.status, 500, "its offsets are not given again: {}", answer.body);
    assert_numbers(&mut follow(&server, "topics=orders&from=0"), 0..10);
}

#[test]
fn f14_a_directory_that_was_deleted_is_told_and_takes_nothing_more() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let server = serve(&data, "fsync");
    publish(&server, 0..1);
    std::fs::remove_dir_all(&data).unwrap();
    post(&server, PATH, "application/json", "1");
    server.event("storage", |event| {
        event["text"]
            .as_str()
            .is_some_and(|text| text.contains("until a restart"))
    });
    assert_eq!(post(&server, PATH, "application/json", "2").status, 500);
}
