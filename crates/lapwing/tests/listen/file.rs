//! What `--log` and `--output json` write.

use lapwing::recording::note::Note;
use lapwing::recording::reader::{Reader, Record};

use crate::feed::Feed;
use crate::program::{lapwing, record, serve};

#[test]
fn json_output_is_exactly_the_lines_of_the_file() {
    let dir = tempfile::tempdir().expect("a directory");
    let log = dir.path().join("feed.ndjson");
    let feed = Feed::bind();
    let listener = record(&feed.url(), &log, &["--json", "--count", "6", "--block", "3"]);
    let mut guest = feed.accept_lapwing();
    guest.welcome_and_grant(7, &[("users", 3)]);
    guest.messages("users", 3..9);
    let end = listener.finish().with_code(0);
    assert_eq!(end.stderr, [""; 0]);
    let file = std::fs::read_to_string(&log).expect("there");
    assert_eq!(file.lines().collect::<Vec<_>>(), end.stdout);
    let records: Vec<_> = Reader::open(&log)
        .expect("there")
        .map(|e| e.expect("readable").record)
        .collect();
    assert!(matches!(&records[0], Record::Note(n) if matches!(&n.note, Note::Start(start) if start.url == feed.url())));
    let Record::Note(positions) = &records[1] else {
        panic!("{records:?}")
    };
    let Note::Positions { topics } = &positions.note else {
        panic!("{records:?}")
    };
    assert_eq!(
        topics.values().map(|wanted| wanted.offset().get()).collect::<Vec<_>>(),
        [3]
    );
    let blocks = records
        .iter()
        .filter(|r| matches!(r, Record::Note(n) if matches!(n.note, Note::Block(_))))
        .count();
    assert_eq!(blocks, 2);
    let message: serde_json::Value = serde_json::from_str(&end.stdout[2]).expect("JSON");
    assert_eq!(message["epoch"], "00000000000000000000000000000007");
    assert_eq!(message["time"], "2026-11-21T19:00:00.123456Z");
    assert_eq!(message["received"].as_str().map(str::len), Some(30));
}

#[test]
fn json_errors_are_objects() {
    let end = lapwing(&["listen", "http://h", "--json"]).finish().with_code(2);
    let error: serde_json::Value = serde_json::from_str(&end.stderr[0]).expect("JSON");
    assert!(error["error"].as_str().expect("text").contains("is the URL of a page"));
    assert_eq!(end.stdout, [""; 0]);
}

#[test]
fn a_text_log_is_for_people() {
    let dir = tempfile::tempdir().expect("a directory");
    let log = dir.path().join("feed.txt");
    let feed = Feed::bind();
    let listener = record(&feed.url(), &log, &["--count", "2", "--block", "1"]);
    let mut guest = feed.accept_lapwing();
    guest.welcome_and_grant(7, &[("users", 3)]);
    guest.messages("users", 3..5);
    listener.finish().with_code(0);
    let file = std::fs::read_to_string(&log).expect("there");
    assert!(file.contains("Z  users      4  [4]\n"), "{file}");
    assert!(file.contains("block 4 of users: 1 message in "), "{file}");
    assert!(file.contains("Z connected to "), "{file}");
}

#[test]
fn f17_a_file_that_another_listener_writes_is_refused() {
    let dir = tempfile::tempdir().expect("a directory");
    let log = dir.path().join("feed.ndjson");
    let feed = Feed::bind();
    let first = record(&feed.url(), &log, &[]);
    let mut guest = feed.accept_plain();
    guest.send("1");
    first.shows("  1");
    let end = record(&feed.url(), &log, &[]).finish().with_code(1);
    end.said("is being written by another listener");
    end.said("hint: give this one its own file with --log");
}

#[test]
fn a_file_that_holds_something_else_is_left_as_it_is() {
    let dir = tempfile::tempdir().expect("a directory");
    let log = dir.path().join("tool.py");
    let log_text = log.to_str().expect("UTF-8");
    std::fs::write(&log, "import sys\nprint(1)\n").expect("written");
    let end = record("ws://127.0.0.1:1", log_text, &[]).finish().with_code(2);
    assert_eq!(
        end.stderr,
        [
            format!("error: {log_text} holds something else: its first line is no record of Lapwing"),
            "hint: name a new file with --log, or append lines for people with --format text".to_owned(),
        ]
    );
    assert_eq!(std::fs::read_to_string(&log).expect("there"), "import sys\nprint(1)\n");
}

#[test]
fn a_recording_and_a_text_log_are_never_mixed() {
    let dir = tempfile::tempdir().expect("a directory");
    let log = dir.path().join("feed.ndjson");
    for (first, second, said) in [
        (
            "ndjson",
            "text",
            "holds a recording, which lines for people would damage",
        ),
        (
            "text",
            "ndjson",
            "holds something else: its first line is no record of Lapwing",
        ),
    ] {
        let feed = Feed::bind();
        let listener = record(&feed.url(), &log, &["--format", first, "--count", "1"]);
        feed.accept_plain().send("1");
        listener.finish().with_code(0);
        let written = std::fs::read(&log).expect("there");
        let end = record("ws://127.0.0.1:1", &log, &["--format", second])
            .finish()
            .with_code(2);
        end.said(said);
        assert_eq!(std::fs::read(&log).expect("there"), written, "{second} onto {first}");
        std::fs::remove_file(&log).expect("there");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_ends_it_with_what_is_whole() {
    let feed = Feed::bind();
    let listener = record(&feed.url(), "/dev/full", &[]);
    let mut guest = feed.accept_plain();
    guest.keep_sending("1", || false);
    let end = listener.finish().with_code(1);
    end.said("error: /dev/full: disk full after ");
}

#[test]
fn what_came_is_in_the_file_while_the_feed_is_quiet() {
    let dir = tempfile::tempdir().expect("a directory");
    let log = dir.path().join("feed.ndjson");
    let feed = Feed::bind();
    let _listener = record(&feed.url(), &log, &[]);
    let mut guest = feed.accept_plain();
    guest.send("\"here\"");
    let began = std::time::Instant::now();
    while !std::fs::read_to_string(&log).is_ok_and(|file| file.contains("here")) {
        assert!(began.elapsed() < crate::program::DEADLINE);
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
}

/// `null` is a value like any other, and no missing one.
#[test]
fn a_message_that_is_null_is_published_recorded_proven_and_played_again() {
    let dir = tempfile::tempdir().expect("a directory");
    let log = dir.path().join("feed.ndjson");
    let log = log.to_str().expect("UTF-8");
    let (_server, url) = serve(&["--topic", "orders=push"]);
    let mut publisher = lapwing(&["publish", &url, "orders"]);
    for line in ["1", "null", "\"null\""] {
        publisher.write_line(line.as_bytes());
    }
    publisher.close_stdin();
    publisher.finish().with_code(0);
    let read = |url: &str, topic: &str, more: &[&str]| {
        let args = [
            "listen", url, "--topics", topic, "--from", "earliest", "--count", "3", "--json",
        ];
        let end = lapwing(&[&args, more].concat()).finish().with_code(0);
        let messages = end.stdout.iter().filter(|line| line.starts_with("{\"topic\""));
        let data = |line: &String| serde_json::from_str::<serde_json::Value>(line).expect("JSON")["data"].clone();
        messages.map(data).collect::<Vec<_>>()
    };
    let all = [serde_json::json!(1), serde_json::json!(null), serde_json::json!("null")];
    assert_eq!(read(&url, "orders", &["--log", log]), all);
    lapwing(&["verify", log]).finish().with_code(0);
    let source = format!("again=file:{log}?speed=max&start=listener");
    let (_server, url) = serve(&["--topic", &source]);
    assert_eq!(read(&url, "again", &[]), all);
}
