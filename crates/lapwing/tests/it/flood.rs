//! Publishers that offer more at once than a disk takes.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rustix::process::Signal;

use crate::support::client::follow;
use crate::support::faults::can_inject;
use crate::support::http::{ask, post};
use crate::support::server::{Plan, Server};

const PATH: &str = "/topics/flood/messages";

/// How many publish at once: together 14 MiB, where 8 MiB may wait for the disk.
const PUBLISHERS: usize = 14;

/// Between two messages of the other topic.
const PACE: Duration = Duration::from_millis(5);

/// A little less than a body may have.
const BODY_BYTES: usize = (1 << 20) - 1000;

/// PROTOCOL.md: 8 MiB of a topic wait to be written, no more.
const WAITING_BYTES_MAX: usize = 8 << 20;

/// What the server may need beside what it had: the bodies, as they came and as frames, and as they lie in memory.
const MORE_MEMORY_MAX_KIB: u64 = 96 << 10;

#[test]
fn b5_a_flood_beyond_the_disk_is_refused_with_a_time_and_nothing_acknowledged_is_lost() {
    if !can_inject("b5_a_flood_beyond_the_disk_is_refused_with_a_time_and_nothing_acknowledged_is_lost") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().to_str().unwrap();
    let args = ["--data", data, "--topic", "flood=push"];
    // Two seconds for each sync of a thread but its first ones.
    let slow = [&args[..], &["--topic", "live=push?durability=none"]].concat();
    let mut server = Plan::injected("fdatasync:delay_enter=2000000:when=2+", &slow).start();
    let mut live = follow(&server, "topics=live");
    // The first sync of the thread that commits: from now on each takes its time.
    assert_eq!(post(&server, PATH, "text/plain", "first").status, 201);
    let had = server.memory_kib("VmRSS:");
    let (refused, finished) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let (mut went_on, mut taken) = (0_u64, BTreeMap::new());
    std::thread::scope(|scope| {
        let (server, refused, finished) = (&server, &refused, &finished);
        let publishers: Vec<_> = (0..PUBLISHERS)
            .map(|number| {
                scope.spawn(move || {
                    let first = publish_until_taken(server, number, refused);
                    finished.fetch_add(1, Ordering::SeqCst);
                    (first, number)
                })
            })
            .collect();
        // Another topic goes on meanwhile, each message at once.
        while finished.load(Ordering::SeqCst) < PUBLISHERS {
            let answer = post(server, "/topics/live/messages", "application/json", went_on.to_string());
            assert_eq!(answer.status, 201, "{}", answer.body);
            assert_eq!(live.message().data, went_on);
            went_on += 1;
            std::thread::sleep(PACE);
        }
        taken.extend(publishers.into_iter().map(|publisher| publisher.join().unwrap()));
    });
    // Whoever was refused at first did not fit the 8 MiB.
    let fit = WAITING_BYTES_MAX / BODY_BYTES;
    let refused = refused.into_inner();
    assert!(refused >= PUBLISHERS - fit, "only {refused} were refused");
    assert!(went_on > 20, "the other topic went on: {went_on}");
    let more = server.memory_kib("VmHWM:").saturating_sub(had);
    assert!(more < MORE_MEMORY_MAX_KIB, "{more} KiB");

    server.signal(Signal::KILL);
    server.wait();
    let server = Server::start(&args);
    let mut reader = follow(&server, "topics=flood&from=earliest");
    assert_eq!(reader.message().data, "first");
    assert!(taken.keys().copied().eq(1..=PUBLISHERS as u64), "{taken:?}");
    for (offset, number) in taken {
        let message = reader.message();
        assert_eq!(message.offset, offset);
        assert!(
            message.data == body(number),
            "the body of publisher {number} at {offset}"
        );
    }
}

fn body(number: usize) -> String {
    format!("publisher {number}: {}", "x".repeat(BODY_BYTES - 20))
}

/// Publishes one body under its own name until it is taken; gives its offset. Counts it when it was refused at first.
fn publish_until_taken(server: &Server, number: usize, refused: &AtomicUsize) -> u64 {
    let key = format!("publisher-{number}");
    let headers = [("Content-Type", "text/plain"), ("Idempotency-Key", &key)];
    let mut is_first = true;
    loop {
        let answer = ask(
            server,
            "POST",
            "/topics/flood/messages",
            &headers,
            body(number).as_bytes(),
        );
        if answer.status == 201 {
            return answer.json()["first"].as_u64().unwrap();
        }
        assert_eq!(answer.status, 429, "{}", answer.body);
        refused.fetch_add(usize::from(std::mem::take(&mut is_first)), Ordering::SeqCst);
        let told: u64 = answer.header("Retry-After").unwrap().parse().unwrap();
        std::thread::sleep(Duration::from_secs(told));
    }
}
