//! `lapwing listen` against `lapwing serve`: how a listener ends, and what it leaves behind.

use serde_json::{Value, json};

use crate::support::eventually;
use crate::support::server::{Running, Server, lapwing};

const LIVELY: &[&str] = &["--topic", "users=users?every=10ms"];

#[test]
fn item_11_ctrl_c_ends_a_listener_with_a_last_report_a_whole_file_and_a_summary() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("feed.ndjson");
    let server = Server::start(LIVELY);
    let shown = file.display().to_string();
    let args = [
        "listen",
        &server.url(),
        "--name",
        "sensor-1",
        "--log",
        &shown,
        "--quiet",
        "--block",
        "7",
    ];
    let listener = Running::start(&args);
    eventually("some messages are recorded", || messages_in(&file).len() > 20);
    listener.interrupt();
    let ran = listener.end();
    assert_eq!(ran.code, Some(0), "{:?}", ran.err);

    let left = server.event("left", |_| true);
    assert_eq!(
        (&left["client"], &left["code"], &left["by"]),
        (&json!("sensor-1"), &json!(1000), &json!("client"))
    );
    let offsets: Vec<u64> = messages_in(&file)
        .iter()
        .map(|message| message["offset"].as_u64().unwrap())
        .collect();
    assert!(
        offsets.windows(2).all(|pair| pair[1] == pair[0] + 1),
        "each once, in order: {offsets:?}"
    );
    let reports = server.events("report");
    let last = reports.last().expect("it reported at its end");
    assert_eq!(
        last["last"].as_u64(),
        offsets.last().copied(),
        "the last report covers everything: {last}"
    );
    if offsets.last().unwrap() % 7 != 6 {
        let flags = last["flags"].as_array().unwrap();
        assert!(
            flags.contains(&json!("partial")),
            "the block under way is partial: {last}"
        );
    }
    let summary = ran.err.join("\n");
    assert!(summary.contains(&format!("{} messages", offsets.len())), "{summary}");
    assert!(summary.contains("users") && summary.contains("repeats"), "{summary}");
}

#[test]
fn item_11_a_listener_ends_after_so_many_messages() {
    let server = Server::start(LIVELY);
    let ran = lapwing(&["listen", &server.url(), "--count", "7", "--json", "--from", "earliest"]);
    assert_eq!(ran.code, Some(0), "{:?}", ran.err);
    let records = ran.out.iter().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let offsets: Vec<_> = records
        .filter(|record| record.get("data").is_some())
        .map(|message| message["offset"].clone())
        .collect();
    assert_eq!(offsets, [0, 1, 2, 3, 4, 5, 6]);
    assert_eq!(server.event("left", |_| true)["code"], 1000);
}

#[test]
fn item_11_a_listener_ends_after_so_long() {
    let server = Server::start(LIVELY);
    let ran = lapwing(&["listen", &server.url(), "--for", "500ms", "--quiet"]);
    assert_eq!(ran.code, Some(0), "{:?}", ran.err);
    let left = server.event("left", |_| true);
    assert_eq!(left["code"], 1000);
    assert!(left["stayed_ms"].as_f64().is_some_and(|ms| ms >= 450.0), "{left}");
}

#[test]
fn item_11_a_listener_leaves_with_the_feed_when_it_ends() {
    let server = Server::start(&["--topic", "feed=exec:seq 5?restart=never&end=close&start=listener"]);
    let ran = lapwing(&["listen", &server.url(), "--json"]);
    assert_eq!(ran.code, Some(0), "{:?}", ran.err);
    let data = ran
        .out
        .iter()
        .filter_map(|line| serde_json::from_str::<Value>(line).unwrap().get("data").cloned());
    assert_eq!(data.collect::<Vec<_>>(), [1, 2, 3, 4, 5]);
}

/// The messages of a recording, as far as its lines are whole.
fn messages_in(file: &std::path::Path) -> Vec<Value> {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    lines.filter(|line| line.get("data").is_some()).collect()
}
