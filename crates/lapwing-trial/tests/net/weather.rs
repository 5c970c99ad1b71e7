//! Bad weather that ends no connection: lost packets, a narrow line, a long way.

use std::process::Command;
use std::time::Duration;

use lapwing_trial::proxy::{Proxy, Weather};
use serde_json::{Value, json};

use crate::rig::{
    Server, assert_holds, eventually, holds, lapwing, listen, messages, nanos, publish_all, recorded, records, verify,
};
use crate::wires::{SERVER, Wires};

#[test]
fn a7_lost_packets_break_no_connection_and_lose_no_message() {
    let Some(wires) = Wires::lay("a7_lost_packets_break_no_connection_and_lose_no_message") else {
        return;
    };
    let args = ["--open", "--topic", "feed=stdin"];
    let mut server = Server::from_command(wires.program_of_server(), &format!("{SERVER}:0"), &args);
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("feed.ndjson");
    let url = format!("ws://{}", server.address);
    let listener = listen(wires.program_of_client(), &url, &file, &["--count", "500"]);
    listener.says("connected to");
    wires.lose_some();
    let mut published = Vec::new();
    for n in 0..500 {
        let message = json!({ "n": n, "x": "x".repeat(1000) });
        server.program.feed(&format!("{message}\n"));
        published.push(message);
        // So that they are many packets, and not a few large ones.
        std::thread::sleep(Duration::from_millis(5));
    }
    listener.ends_with(0);
    assert!(wires.lost() > 0, "packets were lost");
    assert_holds(&file, "feed", &published);
    let lines = recorded(&file);
    assert!(records(&lines, "reconnect").is_empty() && records(&lines, "gap").is_empty());
    assert_eq!(server.events("joined").len(), 1);
    verify(&[], &[file]);
}

#[test]
fn a8_on_a_narrow_line_the_cursor_lags_memory_stays_and_a_gap_is_told_only_when_retention_passes() {
    let name = "a8_on_a_narrow_line_the_cursor_lags_memory_stays_and_a_gap_is_told_only_when_retention_passes";
    let Some(wires) = Wires::lay(name) else {
        return;
    };
    let topics = [
        "--topic",
        "kept=push?keep=10m",
        "--topic",
        "brief=push?keep=10m&keep_bytes=64KiB",
    ];
    let server = Server::from_command(
        wires.program_of_server(),
        &format!("{SERVER}:0"),
        &[&["--open"], &topics[..]].concat(),
    );
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("feed.ndjson");
    let url = format!("ws://{}", server.address);
    let listener = listen(wires.program_of_client(), &url, &file, &["--topics", "kept,brief"]);
    listener.says("connected to");
    if !wires.narrow(name) {
        return;
    }
    let memory = server.memory_kib();
    let mut published = Vec::new();
    // A megabit a second and more, where an eighth of it passes.
    for sequence in 0..20 {
        let body: Vec<Value> = (0..10)
            .map(|n| json!({ "n": sequence * 10 + n, "x": "x".repeat(1000) }))
            .collect();
        wires.publish(server.address, "kept", &body);
        wires.publish(server.address, "brief", &body);
        published.extend(body);
    }
    let gap = server.event("gap", |_| true);
    assert_eq!((&gap["topic"], &gap["reason"]), (&json!("brief"), &json!("retention")));
    assert!(messages(&recorded(&file), "kept").len() < published.len(), "it lags");
    let more = server.memory_kib().saturating_sub(memory);
    assert!(more < 8 << 10, "{more} KiB for half a megabyte of messages");
    wires.widen();
    holds(&file, "kept", published.len());
    eventually("the newest message", || {
        messages(&recorded(&file), "brief").last()
            == Some(&(published.len() as u64 - 1, published[published.len() - 1].clone()))
    });
    listener.signal(rustix::process::Signal::INT);
    listener.ends_with(0);
    assert_holds(&file, "kept", &published);
    let lines = recorded(&file);
    let told = records(&lines, "gap");
    assert!(
        !told.is_empty() && told.iter().all(|gap| gap["topic"] == "brief"),
        "{told:?}"
    );
    assert_eq!(server.events("joined").len(), 1, "nobody was let go");
    verify(&["--allow-gaps"], &[file]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a9_a_long_way_shifts_every_message_and_no_block_time() {
    const WAY: Duration = Duration::from_millis(200);
    let server = Server::start(&["--topic", "feed=users?every=100ms"]);
    let proxy = Proxy::start(1, 1).await.expect("a port is free");
    proxy.lead_to(Some(server.address));
    proxy.set(Weather {
        delay: WAY,
        jitter: Duration::from_millis(50),
        ..Weather::default()
    });
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("feed.ndjson");
    let url = format!("ws://{}", proxy.address());
    let listener = listen(
        Command::new(lapwing()),
        &url,
        &file,
        &["--block", "10", "--count", "80"],
    );
    listener.ends_with(0);
    let lines = recorded(&file);
    // The first ones were there already; the others took the whole way, each of them.
    let way = |line: &Value| nanos(&line["received"]) - nanos(&line["time"]);
    let live = lines
        .iter()
        .filter(|line| line["record"].is_null() && line["topic"] == "feed");
    assert!(
        live.clone().all(|line| way(line) >= WAY.as_nanos() as i128),
        "every message comes later"
    );
    // A block is timed between arrivals: what all of them have in common cancels.
    let mut drifts: Vec<f64> = server
        .events("report")
        .iter()
        .filter_map(|report| Some(report["drift_ms"].as_f64()?.abs() / report["blocks"].as_f64()?))
        .collect();
    drifts.sort_by(f64::total_cmp);
    assert!(drifts.len() > 2, "{drifts:?}");
    assert!(drifts[drifts.len() / 2] < 150.0, "{drifts:?}");
    assert!(records(&lines, "reconnect").is_empty());
    verify(&[], &[file]);
}

/// A listener that stands still in the middle of a feed.
#[test]
fn a6_a_listener_that_stands_still_is_let_go_and_resumes_when_it_goes_on() {
    let args = [
        "--topic",
        "feed=push",
        "--ping-interval",
        "500ms",
        "--pong-timeout",
        "500ms",
    ];
    let server = Server::start(&args);
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("feed.ndjson");
    let url = format!("ws://{}", server.address);
    let listener = listen(Command::new(lapwing()), &url, &file, &["--count", "20"]);
    listener.says("connected to");
    let published: Vec<Value> = (0..20).map(|n| json!({ "n": n })).collect();
    publish_all(server.address, "feed", 0, &published[..10]);
    holds(&file, "feed", 10);
    listener.signal(rustix::process::Signal::STOP);
    let left = server.event("left", |_| true);
    assert_eq!(
        (&left["code"], &left["by"], &left["reason"]),
        (&json!(4408), &json!("server"), &json!("no pong for 0.5 s"))
    );
    publish_all(server.address, "feed", 1, &published[10..]);
    listener.signal(rustix::process::Signal::CONT);
    listener.ends_with(0);
    assert_holds(&file, "feed", &published);
    let lines = recorded(&file);
    assert_eq!(records(&lines, "reconnect").len(), 1);
    assert!(records(&lines, "gap").is_empty());
    verify(&[], &[file]);
}
