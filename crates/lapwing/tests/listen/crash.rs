//! Listeners that are killed while they record, against the real server.

use std::path::Path;
use std::time::Duration;

use rustix::process::Signal;

use crate::program::{Program, lapwing, record, serve};
use crate::verify::verify;

#[test]
fn f16_a_listener_killed_at_any_moment_has_each_offset_once() {
    survive(&[]);
}

#[test]
fn f16_a_listener_killed_at_any_moment_has_each_offset_once_across_parts() {
    survive(&["--rotate", "30KB", "--rotate-compress"]);
}

/// Kills the listener again and again, and then has everything proven.
fn survive(flags: &[&str]) {
    let dir = tempfile::tempdir().expect("a directory");
    let log = dir.path().join("feed.ndjson");
    let (_server, url) = serve(&["--topic", "users=users?rate=3000/s"]);
    let seed: u64 = std::env::var("LAPWING_SEED").map_or(16, |seed| seed.parse().expect("a number"));
    let kills: u64 = std::env::var("LAPWING_KILLS").map_or(10, |kills| kills.parse().expect("a number"));
    #[expect(clippy::print_stdout, reason = "what a failure is found again with")]
    {
        println!("LAPWING_SEED={seed} LAPWING_KILLS={kills}");
    }
    let mut random = seed;
    for _ in 0..kills {
        let listener = start(&url, &log, flags);
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        // Sometimes before it is connected, most often in the midst of it.
        std::thread::sleep(Duration::from_millis((random >> 33) % 150));
        listener.signal(Signal::KILL);
        assert_eq!(listener.finish().code, None, "killed");
    }
    let last = [&["--count", "500"], flags].concat();
    start(&url, &log, &last).finish().with_code(0);
    let told = proven(&log);
    let recording = &told["recordings"][0];
    let history = &recording["topics"][0];
    assert_eq!(recording["topics"].as_array().map(Vec::len), Some(1), "{told}");
    assert_eq!(history["first"], 0, "{told}");
    let last = history["last"].as_u64().expect("some");
    assert_eq!(history["messages"], last + 1, "{told}");
    assert!(last >= 499);
}

#[test]
fn a_recording_that_is_replayed_and_recorded_again_has_the_same_payloads() {
    let dir = tempfile::tempdir().expect("a directory");
    let (_server, url) = serve(&["--topic", "users=users?rate=2000/s&locale=de"]);
    let first = dir.path().join("first.ndjson");
    let flags = ["--rotate", "40KB", "--rotate-compress", "--count", "700"];
    start(&url, &first, &flags).finish().with_code(0);
    let parts = lapwing::recording::parts::all(&first);
    assert!(parts.len() > 3, "{parts:?}");
    proven(&first);
    let replay = format!("users=file:{}?speed=20&start=listener&end=close", first.display());
    let (_again, url) = serve(&["--topic", &replay]);
    let second = dir.path().join("second.ndjson");
    start(&url, &second, &[]).finish().with_code(0);
    proven(&second);
    let payloads = |log: &Path| -> Vec<Vec<u8>> {
        let parts = lapwing::recording::parts::all(log);
        parts
            .iter()
            .flat_map(|part| crate::foreign::recorded(part))
            .map(|message| message.payload)
            .collect()
    };
    let (recorded, again) = (payloads(&first), payloads(&second));
    assert_eq!(recorded.len(), 700);
    assert!(recorded == again, "{} payloads became {}", recorded.len(), again.len());
}

#[test]
fn b2_a_listener_that_retention_overtakes_has_the_gap_in_its_file() {
    let dir = tempfile::tempdir().expect("a directory");
    let log = dir.path().join("feed.ndjson");
    let (_server, url) = serve(&["--topic", "users=users?rate=1000/s&keep=1s"]);
    start(&url, &log, &["--count", "10", "--fail-on-gap"])
        .finish()
        .with_code(0);
    let before = crate::foreign::recorded(&log)
        .last()
        .and_then(|message| message.offset)
        .expect("ten");
    // Until the server has let go of what would come next.
    let began = std::time::Instant::now();
    loop {
        let end = lapwing(&[
            "listen",
            &url,
            "--from",
            "earliest",
            "--count",
            "1",
            "--json",
            "--no-report",
        ])
        .finish();
        let first = end
            .stdout
            .iter()
            .find_map(|line| serde_json::from_str::<serde_json::Value>(line).ok()?["offset"].as_u64());
        if first.is_some_and(|first| first > before.get() + 1) {
            break;
        }
        assert!(began.elapsed() < crate::program::DEADLINE, "{end:#?}");
    }
    let end = start(&url, &log, &["--count", "10", "--fail-on-gap"])
        .finish()
        .with_code(3);
    end.said(&format!("warning: users {}-", before.get() + 1));
    end.said("missing: ");
    verify(&[], &log).with_code(3);
    let told = verify(&["--allow-gaps"], &log).with_code(0);
    assert!(
        told.stdout
            .last()
            .expect("a verdict")
            .starts_with("complete but for what was told: "),
        "{told:#?}"
    );
}

fn proven(log: &Path) -> serde_json::Value {
    let end = verify(&["--json"], log).with_code(0);
    serde_json::from_str(&end.stdout[0]).expect("JSON")
}

fn start(url: &str, log: &Path, more: &[&str]) -> Program {
    record(url, log, &[&["--from", "earliest", "--quiet"], more].concat())
}
