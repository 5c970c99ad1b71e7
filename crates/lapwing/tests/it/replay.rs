//! A recorded log as a source.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::support::client::{Heard, follow};
use crate::support::http::post;
use crate::support::server::{Server, lapwing};

const MESSAGES: usize = 20;

#[test]
fn item_6_a_recording_is_replayed_with_the_same_data_in_the_same_order() {
    let folder = tempfile::tempdir().unwrap();
    let (recording, recorded) = record(folder.path());
    for speed in ["max", "10"] {
        let server = Server::start(&[
            "--topic",
            &format!(
                "again=file:{}?speed={speed}&start=listener&end=close",
                recording.display()
            ),
        ]);
        let mut client = follow(&server, "topics=again");
        assert_eq!(client.data(MESSAGES), recorded, "speed={speed}");
        assert_eq!(client.closed().0, 1000, "speed={speed}: that was all");
        server.source_says("was played: 20 messages");
    }
}

#[test]
fn item_6_a_replay_keeps_the_recorded_timing_divided_by_its_speed() {
    let folder = tempfile::tempdir().unwrap();
    let (recording, _) = record(folder.path());
    let lines = lines_of(&recording);
    let mono: Vec<u64> = lines
        .iter()
        .filter(|line| line.get("offset").is_some())
        .map(|line| line["mono"].as_u64().unwrap())
        .collect();
    let recorded = std::time::Duration::from_nanos(mono[MESSAGES - 1] - mono[0]);
    let server = Server::start(&[
        "--topic",
        &format!("again=file:{}?speed=2&start=listener", recording.display()),
    ]);
    let mut client = follow(&server, "topics=again");
    let messages = client.messages(MESSAGES);
    let time = |at: usize| messages[at].time.parse::<jiff::Timestamp>().unwrap();
    let played = time(MESSAGES - 1).duration_since(time(0)).unsigned_abs();
    // A late machine makes it longer; only a first message that was itself late makes it a little shorter.
    let asked = recorded / 2;
    assert!(played * 2 >= asked, "{played:?} for {asked:?}");
}

#[test]
fn item_6_a_damaged_line_of_a_recording_is_told_and_left_out() {
    let folder = tempfile::tempdir().unwrap();
    let (recording, recorded) = record(folder.path());
    let text = std::fs::read_to_string(&recording).unwrap();
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let damaged = lines
        .iter()
        .position(|line| line.contains("\"offset\":7,\"epoch\""))
        .unwrap();
    lines[damaged] = lines[damaged].replacen("\"name\":\"", "\"name\":\"X", 1);
    let torn = "{\"topic\":\"users\",\"offset\":";
    std::fs::write(&recording, format!("{}\n{torn}", lines.join("\n"))).unwrap();

    let server = Server::start(&[
        "--topic",
        &format!("again=file:{}?speed=max&end=close", recording.display()),
    ]);
    let mut rest = recorded;
    rest.remove(7);
    let mut client = follow(&server, "topics=again&from=earliest");
    assert_eq!(client.data(MESSAGES - 1), rest);
    assert_eq!(client.closed().0, 1000);
    let told = server.source_says(&format!("line {} is left out: ", damaged + 1));
    assert!(
        told.contains("crc") || told.contains("checksum") || told.contains("damage"),
        "{told}"
    );
    server.source_says(&format!("line {} is torn after ", lines.len() + 1));
    server.source_says("was played: 19 messages; not played: 2 lines");
}

#[test]
fn item_6_what_a_damaged_part_of_a_recording_holds_is_told_as_not_played_and_the_others_are_played() {
    let folder = tempfile::tempdir().unwrap();
    let (recording, recorded) = record(folder.path());
    let whole = std::fs::read(&recording).unwrap();
    let packed = zstd::encode_all(&whole[..], 3).unwrap();
    let part = |number: u64| folder.path().join(format!("feed.{number:06}.ndjson.zst"));
    std::fs::write(part(1), [&packed[..], &packed[..packed.len() / 2]].concat()).unwrap();
    // A frame header that cannot be; what lies behind it may be text that takes any bytes.
    std::fs::write(part(2), [&packed[..4], &[0xff; 9], &packed[13..]].concat()).unwrap();
    let server = Server::start(&[
        "--topic",
        &format!("again=file:{}?speed=max&end=close", recording.display()),
    ]);
    let mut client = follow(&server, "topics=again&from=earliest");
    // What could be taken out of the first two, and all of the last.
    let mut played = Vec::new();
    while let Heard::Text(text) = client.hear() {
        let message: Value = serde_json::from_str(&text).unwrap();
        played.push(message["data"].clone());
    }
    assert!(played.ends_with(&recorded));
    let told = server.source_says(&format!("was played: {} messages; not played: ", played.len()));
    let lines = whole.iter().filter(|&&byte| byte == b'\n').count();
    let (first, second) = (part(1), part(2));
    let unplayed = format!(
        "{} from line {} on, all of {}",
        first.display(),
        lines + 1,
        second.display()
    );
    assert!(told.contains(&unplayed), "{told}");
    server.source_says(&format!("{} cannot be read: ", part(1).display()));
}

#[test]
fn item_6_bytes_and_text_survive_a_recording_and_its_replay() {
    let folder = tempfile::tempdir().unwrap();
    let recording = folder.path().join("mixed.ndjson");
    let server = Server::start(&["--topic", "mixed=push"]);
    for (kind, body) in [
        ("application/octet-stream", &b"\x00\xff\x1b"[..]),
        ("text/plain", "line\u{2028}break \u{1b}[0m \"quoted\"".as_bytes()),
        ("application/json", b"{\"n\":1.50}"),
    ] {
        assert_eq!(post(&server, "/topics/mixed/messages", kind, body).status, 201);
    }
    let ran = listen(&server, &recording, 3);
    assert_eq!(ran, Some(0));
    let again = Server::start(&["--topic", &format!("mixed=file:{}?speed=max", recording.display())]);
    let stripped = |server: &Server| -> Vec<String> {
        let mut client = follow(server, "from=earliest");
        let value = |text: String| text.split_once("\"data").map(|(_, value)| value.to_owned());
        (0..3).filter_map(|_| value(client.text())).collect()
    };
    assert_eq!(stripped(&again), stripped(&server));
}

#[test]
fn item_6_a_recording_that_is_not_there_is_told() {
    let server = Server::start(&["--topic", "again=file:/nowhere/feed.ndjson?speed=max"]);
    server.source_says("/nowhere/feed.ndjson cannot be read: ");
    server.source_says("was played: 0 messages; not played: all of /nowhere/feed.ndjson");
}

/// Records people, and gives the file and the data in it.
fn record(folder: &Path) -> (PathBuf, Vec<Value>) {
    let recording = folder.join("feed.ndjson");
    let server = Server::start(&["--topic", "users=users?every=10ms"]);
    assert_eq!(listen(&server, &recording, MESSAGES), Some(0));
    let lines = lines_of(&recording);
    let data: Vec<Value> = lines
        .into_iter()
        .filter(|line| line["topic"] == "users" && line.get("data").is_some())
        .map(|line| line["data"].clone())
        .collect();
    assert_eq!(data.len(), MESSAGES);
    (recording, data)
}

fn listen(server: &Server, recording: &Path, count: usize) -> Option<i32> {
    let (file, count) = (recording.display().to_string(), count.to_string());
    let args = [
        "listen",
        &server.url(),
        "--from",
        "earliest",
        "--quiet",
        "--log",
        &file,
        "--count",
        &count,
    ];
    lapwing(&args).code
}

fn lines_of(recording: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(recording).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}
