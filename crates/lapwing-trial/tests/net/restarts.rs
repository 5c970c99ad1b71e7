//! A server that is killed and started again, under many listeners. `LAPWING_RESTARTS=20 LAPWING_LISTENERS=50` is the long run.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use lapwing_trial::proxy::Proxy;
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::rig::{Program, Server, eventually, lapwing, listen, messages, publish, recorded, records, verify, wanted};

/// Between two messages of a topic.
const PACE: Duration = Duration::from_millis(5);

/// Messages of each topic in each life of the server, at least.
const MESSAGES_OF_A_LIFE: u64 = 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a11_durable_topics_of_a_server_that_is_killed_again_and_again_are_whole_in_every_file() {
    let dir = tempfile::tempdir().expect("a directory");
    let data = dir.path().join("data");
    let args = ["--topic", "os=push?durability=os", "--topic", "fsync=push", "--data"];
    let data = data.to_str().expect("temporary folders have plain names");
    let outlived = outlive(&[&args[..], &[data]].concat(), &["os", "fsync"]).await;
    for file in &outlived.files {
        let lines = recorded(file);
        assert!(records(&lines, "gap").is_empty() && records(&lines, "reset").is_empty());
        for (topic, count) in &outlived.acknowledged {
            let expected = (0..*count).map(|number| (number, json!({ "n": number })));
            assert!(messages(&lines, topic).into_iter().eq(expected), "{topic}");
        }
    }
    verify(&[], &outlived.files);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a11_topics_in_memory_begin_anew_with_each_life_and_every_file_is_told_so() {
    let outlived = outlive(&["--topic", "memory=push"], &["memory"]).await;
    for file in &outlived.files {
        let lines = recorded(file);
        assert!(records(&lines, "gap").is_empty());
        // Without a reset each message follows the one before; what a reset may hide is at most a repetition and what was lost.
        let mut before: Option<u64> = None;
        let mut was_reset = true;
        for line in &lines {
            if line["record"] == "reset" {
                was_reset = true;
            } else if line["record"].is_null() {
                let number = line["data"]["n"].as_u64().expect("ours");
                let follows = before.is_none_or(|before| match was_reset {
                    true => number >= before,
                    false => number == before + 1,
                });
                assert!(follows, "{number} behind {before:?}, told: {was_reset}");
                (before, was_reset) = (Some(number), false);
            }
        }
        assert_eq!(
            before.map(|last| last + 1),
            outlived.acknowledged.get("memory").copied()
        );
    }
    verify(&["--allow-gaps"], &outlived.files);
}

/// What is left of a run.
struct Outlived {
    files: Vec<PathBuf>,
    /// How many messages of each topic were acknowledged: numbers from 0, each at its own offset where that can be.
    acknowledged: BTreeMap<String, u64>,
    _dir: tempfile::TempDir,
}

/// Publishes to the topics and listens to them while the server is killed and started again.
async fn outlive(args: &[&str], topics: &[&str]) -> Outlived {
    let restarts = wanted("LAPWING_RESTARTS", 5);
    let is_durable = args.contains(&"--data");
    let dir = tempfile::tempdir().expect("a directory");
    // One address for all lives; while there is no server, connections are refused.
    let proxy = Proxy::start(1, 0).await.expect("a port is free");
    let url = format!("ws://{}", proxy.address());
    let files: Vec<_> = (0..wanted("LAPWING_LISTENERS", 20))
        .map(|number| dir.path().join(format!("{number}.ndjson")))
        .collect();
    let (mut server, mut listeners) = (Server::start(args), Vec::<Program>::new());
    let whereabouts = Mutex::new(server.address);
    proxy.lead_to(Some(server.address));
    for file in &files {
        let topics = topics.join(",");
        let args = ["--topics", &topics, "--no-report"];
        listeners.push(listen(Command::new(lapwing()), &url, file, &args));
    }
    let (is_over, has_failed) = (AtomicBool::new(false), AtomicBool::new(false));
    let taken: BTreeMap<&str, AtomicU64> = topics.iter().map(|topic| (*topic, AtomicU64::new(0))).collect();
    std::thread::scope(|scope| {
        for (topic, taken) in &taken {
            let (whereabouts, is_over, has_failed) = (&whereabouts, &is_over, &has_failed);
            scope.spawn(move || {
                while !is_over.load(Ordering::SeqCst) {
                    let number = taken.load(Ordering::SeqCst);
                    let Some(first) = publish_until_taken(whereabouts, topic, number, has_failed) else {
                        return;
                    };
                    assert!(!is_durable || first == number, "{topic}: {number} is at {first}");
                    taken.store(number + 1, Ordering::SeqCst);
                    std::thread::sleep(PACE);
                }
            });
        }
        let _told = TellsOfPanic(&has_failed);
        for _ in 0..restarts {
            let before: Vec<u64> = taken.values().map(|taken| taken.load(Ordering::SeqCst)).collect();
            eventually("messages are taken and a part of the listeners is there", || {
                let mut taken = taken.values().zip(&before);
                taken.all(|(taken, before)| taken.load(Ordering::SeqCst) >= before + MESSAGES_OF_A_LIFE)
                    && server.events("joined").len() * 2 >= files.len()
            });
            proxy.lead_to(None);
            server.program.kill();
            server = Server::start(args);
            *whereabouts.lock().unwrap_or_else(PoisonError::into_inner) = server.address;
            proxy.lead_to(Some(server.address));
        }
        is_over.store(true, Ordering::SeqCst);
    });
    let acknowledged: BTreeMap<String, u64> = taken
        .iter()
        .map(|(topic, taken)| ((*topic).to_owned(), taken.load(Ordering::SeqCst)))
        .collect();
    for file in &files {
        eventually("every listener has the last message", || {
            let lines = recorded(file);
            acknowledged.iter().all(|(topic, count)| {
                let last = messages(&lines, topic).pop();
                last.is_some_and(|(_, data)| data["n"].as_u64() == Some(count - 1))
            })
        });
    }
    for listener in listeners {
        listener.signal(Signal::TERM);
        listener.ends_with(0);
    }
    Outlived {
        files,
        acknowledged,
        _dir: dir,
    }
}

/// Publishes a number until the server has it; gives its offset, or none when the test has failed elsewhere.
fn publish_until_taken(server: &Mutex<SocketAddr>, topic: &str, number: u64, has_failed: &AtomicBool) -> Option<u64> {
    let body = json!({ "n": number }).to_string();
    while !has_failed.load(Ordering::SeqCst) {
        let address = *server.lock().unwrap_or_else(PoisonError::into_inner);
        match publish(address, topic, number, &body) {
            Ok(answer) if matches!(answer.status, 200 | 201) => {
                let first: &Value = &answer.body["first"];
                return Some(first.as_u64().expect("an offset"));
            }
            // Killed, not there yet, or starting.
            Ok(_) | Err(_) => std::thread::sleep(PACE),
        }
    }
    None
}

/// Lets the publishers end when the test fails.
struct TellsOfPanic<'a>(&'a AtomicBool);

impl Drop for TellsOfPanic<'_> {
    fn drop(&mut self) {
        self.0.store(std::thread::panicking(), Ordering::SeqCst);
    }
}
