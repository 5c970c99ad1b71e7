//! Topics in files that hold back their source for their slowest client: nothing is lost, and the files stay bounded.

use std::io::{Seek as _, Write as _};
use std::ops::Range;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::process::Signal;
use serde_json::json;

use crate::support::client::{Client, follow, follow_slowly, speak};
use crate::support::http::{Answer, ask};
use crate::support::server::{Plan, Server};

#[test]
fn b1_a_durable_topic_waits_for_its_slow_reader_loses_nothing_and_its_files_stay_bounded() {
    let dir = tempfile::tempdir().unwrap();
    let server = serve(dir.path());
    let mut slow = follow_slowly(&server, "topics=orders");
    let mut fast = follow(&server, "topics=orders");
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let publisher = scope.spawn(|| (0..MESSAGES).step_by(BODY).for_each(|first| publish(&server, first)));
        let watcher = scope.spawn(|| {
            let mut most = 0;
            while !done.load(Ordering::Relaxed) {
                most = most.max(file_bytes(dir.path()));
                std::thread::sleep(std::time::Duration::from_millis(1));
            }
            most
        });
        scope.spawn(|| assert_messages(&mut fast, 0..MESSAGES));
        for first in (0..MESSAGES).step_by(1000) {
            assert_messages(&mut slow, first..first + 1000);
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        publisher.join().unwrap();
        done.store(true, Ordering::Relaxed);
        // The segment that is written has room asked for ahead, and one may be on its way out.
        let most = watcher.join().unwrap();
        assert!(most <= KEEP_BYTES + 3 * SEGMENT_BYTES, "{most} bytes of files");
        let kept = file_bytes(dir.path());
        assert!(
            kept > KEEP_BYTES / 2,
            "nothing is let go before it is full: {kept} bytes of files"
        );
    });
    assert_eq!(server.events("gap"), [] as [serde_json::Value; 0]);
}

#[test]
fn a_durable_topic_that_waits_keeps_everything_of_stdin_for_a_first_reader_who_comes_late() {
    let dir = tempfile::tempdir().unwrap();
    let mut lines = tempfile::tempfile().unwrap();
    (0..MESSAGES).for_each(|n| writeln!(lines, "{}", payload(n)).unwrap());
    lines.rewind().unwrap();
    let server = Plan::new(&[
        "--data",
        dir.path().to_str().unwrap(),
        "--topic",
        "orders=stdin?slow=wait&durability=os&keep_bytes=256KiB&end=close",
    ])
    .stdin_of(lines)
    .start();
    let told = server.source_says("held back");
    assert!(told.ends_with("(256.0 KiB) and waits for a first client"), "{told}");
    let bytes = file_bytes(dir.path());
    assert!(bytes <= KEEP_BYTES + QUEUE_BYTES, "{bytes} bytes of files");
    let mut late = follow(&server, "topics=orders&from=earliest");
    assert_messages(&mut late, 0..MESSAGES);
    assert_eq!(late.closed(), (1000, "the feed has ended".to_owned()));
}

#[test]
fn f1_a_durable_topic_that_waits_has_everything_for_a_reader_who_resumes_after_kill_9() {
    let dir = tempfile::tempdir().unwrap();
    let mut server = serve(dir.path());
    let mut reader = speak(&server, "topics=orders");
    reader.control("welcome");
    let epoch = reader.control("subscribed")["epoch"].clone();
    publish(&server, 0);
    assert_messages(&mut reader, 0..BODY as u64);
    reader.close(1000, "");
    server.event("left", |_| true);
    // With nobody here the topic fills up, and then takes nothing more.
    let mut next = BODY as u64;
    let refusal = loop {
        let answer = try_publish(&server, next);
        match answer.status {
            201 => next += BODY as u64,
            _ => break answer,
        }
    };
    assert_eq!(refusal.status, 503, "{refusal:?}");
    assert!((KEEP_BYTES / 400..KEEP_BYTES / 100).contains(&next), "{next}");
    server.signal(Signal::KILL);
    server.wait();
    let server = serve(dir.path());
    assert_eq!(try_publish(&server, next).status, 503, "it is as full as before");
    let mut reader = speak(&server, "");
    reader.control("welcome");
    reader.command(&json!({"type": "subscribe", "topic": "orders", "epoch": epoch, "offset": BODY}));
    let subscribed = reader.control("subscribed");
    assert_eq!(
        (&subscribed["answer"], &subscribed["from"]),
        (&json!("ok"), &json!(BODY)),
        "{subscribed}"
    );
    std::thread::scope(|scope| {
        scope.spawn(|| (next..MESSAGES).step_by(BODY).for_each(|first| publish(&server, first)));
        assert_messages(&mut reader, BODY as u64..MESSAGES);
    });
}

fn serve(dir: &Path) -> Server {
    let dir = dir.to_str().expect("temporary folders have plain names");
    Server::start(&[
        "--data",
        dir,
        "--topic",
        "orders=push?durability=os&slow=wait&keep_bytes=256KiB",
    ])
}

fn payload(n: u64) -> String {
    format!("[{n},\"{}\"]", "x".repeat(100))
}

/// Publishes a body, once: it may be refused.
fn try_publish(server: &Server, first: u64) -> Answer {
    let body: String = (first..first + BODY as u64).map(|n| payload(n) + "\n").collect();
    let sequence = first.to_string();
    let headers = [
        ("Content-Type", "application/x-ndjson"),
        ("Lapwing-Source", "till"),
        ("Lapwing-Sequence", sequence.as_str()),
    ];
    ask(server, "POST", "/topics/orders/messages", &headers, body.as_bytes())
}

/// Publishes a body as a publisher does that is told to come back.
#[track_caller]
fn publish(server: &Server, first: u64) {
    loop {
        let answer = try_publish(server, first);
        match answer.status {
            201 => return assert_eq!(answer.json()["first"], first),
            503 => {}
            _ => panic!("{answer:?}"),
        }
    }
}

/// The next messages are these, at the offsets that are the same numbers; nothing is missing without a word.
#[track_caller]
fn assert_messages(client: &mut Client, numbers: Range<u64>) {
    for number in numbers {
        let message = loop {
            let text = client.text();
            if !text.starts_with("{\"type\":\"heartbeat\"") {
                break serde_json::from_str::<serde_json::Value>(&text).unwrap();
            }
        };
        assert_eq!(
            (&message["offset"], &message["data"][0]),
            (&json!(number), &json!(number)),
            "{message}"
        );
    }
}

/// Bytes of all segment files of the topic.
fn file_bytes(dir: &Path) -> u64 {
    let files = std::fs::read_dir(dir.join("topics/orders")).unwrap();
    let bytes = files.filter_map(|file| {
        let file = file.unwrap();
        // It may be deleted right now.
        (file.path().extension()? == "log").then(|| file.metadata().map_or(0, |metadata| metadata.len()))
    });
    bytes.sum()
}

/// In all some 10 MB of files.
const MESSAGES: u64 = 40_000;
const BODY: usize = 100;
const KEEP_BYTES: u64 = 256 << 10;
/// The smallest segment.
const SEGMENT_BYTES: u64 = 64 << 10;
/// What may be taken and not yet written.
const QUEUE_BYTES: u64 = 8 << 20;
