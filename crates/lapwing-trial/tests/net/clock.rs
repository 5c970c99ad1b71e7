//! A wall clock that is set back and forth under a server with a data directory.

use std::path::Path;
use std::process::Command;

use lapwing_trial::probe;
use serde_json::{Value, json};

use crate::rig::{Server, assert_holds, holds, lapwing, listen, publish_all, recorded, records, skip, verify};

/// Messages of a body; three bodies fill many of the small segments and stay below what the topics keep.
const MESSAGES: u64 = 20;

/// So much a message, that segments end while the clock is set.
const MESSAGE_BYTES: usize = 10_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn g1_a_server_whose_clock_is_set_keeps_offsets_messages_and_drift() {
    let name = "g1_a_server_whose_clock_is_set_keeps_offsets_messages_and_drift";
    let Some(library) = lapwing_trial::wall::library() else {
        return skip(name, "libfaketime is not there");
    };
    let dir = tempfile::tempdir().expect("a directory");
    let (clock, data) = (dir.path().join("clock"), dir.path().join("data"));
    set(&clock, "+0");
    let mut command = Command::new(lapwing());
    command
        .env("LD_PRELOAD", library)
        .env("FAKETIME_TIMESTAMP_FILE", &clock)
        .env("FAKETIME_NO_CACHE", "1")
        .env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
    let args = [
        "--topic",
        "disk=push?keep=10m&keep_bytes=1MiB",
        "--topic",
        "memory=push?keep=10m&keep_bytes=1MiB&durability=none",
        "--topic",
        "brief=push?keep=1s&keep_bytes=64KiB",
        "--data",
        data.to_str().expect("temporary folders have plain names"),
    ];
    let server = Server::from_command(command, "127.0.0.1:0", &args);
    let file = dir.path().join("feed.ndjson");
    let url = format!("ws://{}", server.address);
    let args = ["--topics", "disk,memory", "--block", "5", "--count", "120"];
    let listener = listen(Command::new(lapwing()), &url, &file, &args);
    let mut published: Vec<Value> = Vec::new();
    for (round, by) in ["+0", "-3600", "+3600"].into_iter().enumerate() {
        set(&clock, by);
        let body: Vec<Value> = (0..MESSAGES)
            .map(|number| json!({ "round": round, "n": number, "x": "x".repeat(MESSAGE_BYTES) }))
            .collect();
        // In pieces, so that blocks have messages of several reads.
        for (part, piece) in body.chunks(4).enumerate() {
            let sequence = (round * MESSAGES as usize + part) as u64;
            let expected = (published.len() + part * 4) as u64;
            assert_eq!(publish_all(server.address, "disk", sequence, piece), expected);
            assert_eq!(publish_all(server.address, "memory", sequence, piece), expected);
            holds(&file, "disk", expected as usize + piece.len());
        }
        published.extend(body);
        forget(&server, round as u64).await;
        for topic in ["disk", "memory"] {
            let told = probe::ask(server.address, topic).await.expect("it answers");
            assert_eq!((told.first, told.next), (0, published.len() as u64), "{topic} at {by}");
        }
    }
    listener.ends_with(0);
    let files = std::fs::read_dir(data.join("topics/disk")).expect("its folder");
    let segments = files.filter(|file| {
        let path = file.as_ref().expect("readable").path();
        path.extension().is_some_and(|extension| extension == "log")
    });
    assert!(segments.count() > 3, "there was something to delete");

    // No block has an hour, neither by the listener's clock nor by the server's.
    let is_short = |ms: &Value| ms.as_f64().is_none_or(|ms| ms.abs() < 600_000.0);
    let left = server.event("left", |event| event["messages"] == 120);
    let reports = server.events("report");
    let (first, last) = (&reports[0], &reports[reports.len() - 1]);
    assert!(
        reports.iter().any(|report| report["last"] == 59),
        "{first} … {last}, {left}"
    );
    let is_true = |report: &Value| is_short(&report["server_ms"]) && is_short(&report["drift_ms"]);
    assert!(reports.iter().all(is_true), "{reports:#?}");
    let lines = recorded(&file);
    assert!(
        records(&lines, "block")
            .iter()
            .all(|block| is_short(&block["elapsed_ms"]))
    );
    for topic in ["disk", "memory"] {
        assert_holds(&file, topic, &published);
    }
    // The messages say when they were appended by that clock: an hour back, and two forth.
    let times = lines
        .iter()
        .filter(|line| line["topic"] == "disk" && line["record"].is_null());
    let ahead: Vec<i64> = times
        .map(|line| second(&line["time"]) - second(&line["received"]))
        .collect();
    for (ahead, by) in ahead.chunks(MESSAGES as usize).zip([0, -3600, 3600]) {
        let is_by = |ahead: &i64| (ahead - by + DAY / 2).rem_euclid(DAY) - DAY / 2;
        assert!(ahead.iter().map(is_by).all(|off| off.abs() < 600), "{ahead:?}");
    }
    verify(&[], &[file]);
}

#[test]
fn g2_a_server_whose_clock_is_an_hour_ahead_changes_no_block_time() {
    let name = "g2_a_server_whose_clock_is_an_hour_ahead_changes_no_block_time";
    let Some(library) = lapwing_trial::wall::library() else {
        return skip(name, "libfaketime is not there");
    };
    let dir = tempfile::tempdir().expect("a directory");
    let mut command = Command::new(lapwing());
    command
        .env("LD_PRELOAD", library)
        .env("FAKETIME", "+3600s")
        .env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
    let server = Server::from_command(command, "127.0.0.1:0", &["--topic", "feed=users?every=20ms"]);
    let file = dir.path().join("feed.ndjson");
    let url = format!("ws://{}", server.address);
    let listener = listen(
        Command::new(lapwing()),
        &url,
        &file,
        &["--block", "10", "--count", "100"],
    );
    listener.ends_with(0);
    let lines = recorded(&file);
    let ahead = lines
        .iter()
        .find(|line| line["record"].is_null() && line["topic"] == "feed");
    let ahead = ahead
        .map(|line| second(&line["time"]) - second(&line["received"]))
        .expect("a message");
    assert!(
        ((ahead + DAY) % DAY - 3600).abs() < 600,
        "the clocks differ by {ahead} s"
    );
    let is_short = |ms: &Value| ms.as_f64().is_none_or(|ms| ms.abs() < 600_000.0);
    assert!(
        records(&lines, "block")
            .iter()
            .all(|block| is_short(&block["elapsed_ms"]))
    );
    assert!(records(&lines, "clock_step").is_empty(), "neither clock was set");
    let reports = server.events("report");
    assert!(!reports.is_empty());
    assert!(
        reports
            .iter()
            .all(|report| is_short(&report["server_ms"]) && is_short(&report["drift_ms"]))
    );
    verify(&[], &[file]);
}

#[test]
fn g5_after_ten_years_without_a_restart_times_are_as_short_as_before() {
    const TEN_YEARS: &str = "315360000";
    let name = "g5_after_ten_years_without_a_restart_times_are_as_short_as_before";
    let aged = || {
        let mut command = Command::new("unshare");
        command.args([
            "--time",
            "--monotonic",
            TEN_YEARS,
            "--boottime",
            TEN_YEARS,
            "--fork",
            "--kill-child",
        ]);
        command
    };
    let can = aged().arg("true").stderr(std::process::Stdio::null()).status();
    if !can.is_ok_and(|ran| ran.success()) {
        return skip(name, "no time namespace may be made here");
    }
    let old = || {
        let mut command = aged();
        command.arg(lapwing());
        command
    };
    let dir = tempfile::tempdir().expect("a directory");
    let data = dir.path().join("data");
    let args = [
        "--topic",
        "feed=users?every=20ms",
        "--ping-interval",
        "200ms",
        "--data",
        data.to_str().expect("a plain name"),
    ];
    let server = Server::from_command(old(), "127.0.0.1:0", &args);
    let file = dir.path().join("feed.ndjson");
    let url = format!("ws://{}", server.address);
    listen(old(), &url, &file, &["--block", "10", "--count", "100"]).ends_with(0);
    let lines = recorded(&file);
    let mono: Vec<u64> = lines.iter().filter_map(|line| line["mono"].as_u64()).collect();
    assert!(
        !mono.is_empty() && mono.iter().all(|mono| *mono > 315_000_000_000_000_000),
        "{mono:?}"
    );
    let is_short = |ms: &Value| ms.as_f64().is_none_or(|ms| (0.0..600_000.0).contains(&ms.abs()));
    let blocks = records(&lines, "block");
    assert!(
        blocks.len() >= 9 && blocks.iter().all(|block| is_short(&block["elapsed_ms"])),
        "{blocks:?}"
    );
    let reports = server.events("report");
    assert!(!reports.is_empty());
    assert!(
        reports
            .iter()
            .all(|report| is_short(&report["server_ms"]) && is_short(&report["drift_ms"]))
    );
    // It is gone on with as any other file.
    listen(old(), &url, &file, &["--block", "10", "--count", "50"]).ends_with(0);
    verify(&[], &[file]);
}

/// Publishes to a topic that keeps a second until it lets go of what it had: then retention has looked at every topic.
async fn forget(server: &Server, round: u64) {
    let before = probe::ask(server.address, "brief").await.expect("it answers").next;
    for sequence in 0.. {
        publish_all(
            server.address,
            "brief",
            round * 1_000_000 + sequence,
            &[json!(sequence)],
        );
        let told = probe::ask(server.address, "brief").await.expect("it answers");
        if told.first > before {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
}

/// Seconds of a day.
const DAY: i64 = 86_400;

/// The second of its day at which a time in RFC 3339 is.
fn second(time: &Value) -> i64 {
    let text = time.as_str().expect("a time");
    let digits = |at: usize| text[at..at + 2].parse::<i64>().expect("digits");
    digits(11) * 3600 + digits(14) * 60 + digits(17)
}

/// Sets the clock of the process by so many seconds; it never reads half of that.
fn set(clock: &Path, by: &str) {
    let new = clock.with_extension("new");
    std::fs::write(&new, by).expect("written");
    std::fs::rename(new, clock).expect("there");
}
