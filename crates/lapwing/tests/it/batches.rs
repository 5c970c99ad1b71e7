//! Sends to many clients by one system call, where the kernel allows it; the same without.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::json;

use crate::support::client::follow;
use crate::support::faults::{can_inject, skip};
use crate::support::http::post;
use crate::support::server::{Plan, Server};

/// How many rings a server has.
fn rings(server: &Server) -> usize {
    let files = Path::new("/proc")
        .join(server.pid().as_raw_nonzero().to_string())
        .join("fd");
    let names = std::fs::read_dir(files).unwrap().flatten();
    names
        .filter_map(|name| std::fs::read_link(name.path()).ok())
        .filter(|file| file.to_string_lossy().contains("io_uring"))
        .count()
}

/// Fifty clients get three messages each, in order.
fn delivers(server: &Server) {
    let mut clients: Vec<_> = (0..50).map(|_| follow(server, "topics=feed")).collect();
    // Each is out before the next comes, so that each thread sends three times.
    for number in 0..3 {
        assert_eq!(
            post(server, "/topics/feed/messages", "application/json", number.to_string()).status,
            201
        );
        for client in &mut clients {
            assert_eq!(client.message().data, number);
        }
    }
}

const FEED: &[&str] = &["--topic", "feed=push"];

#[test]
fn each_delivery_thread_has_a_ring_where_the_kernel_allows_it_and_none_where_it_is_not_wanted() {
    let server = Plan::new(&[FEED, &["--io-uring", "auto"]].concat()).start();
    delivers(&server);
    if server.event("ready", |_| true)["io_uring"] == json!(false) {
        skip(
            "each_delivery_thread_has_a_ring_where_the_kernel_allows_it_and_none_where_it_is_not_wanted",
            "this kernel has no io_uring, or does not allow it",
        );
        assert_eq!(rings(&server), 0);
        return;
    }
    let threads = std::thread::available_parallelism().unwrap().get();
    assert_eq!(rings(&server), threads);
    let server = Plan::new(&[FEED, &["--io-uring", "off"]].concat()).start();
    delivers(&server);
    assert_eq!(server.event("ready", |_| true)["io_uring"], json!(false));
    assert_eq!(rings(&server), 0);
}

#[test]
fn where_the_kernel_forbids_it_each_client_has_a_system_call_and_who_insists_is_told() {
    let name = "where_the_kernel_forbids_it_each_client_has_a_system_call_and_who_insists_is_told";
    if !can_inject(name) {
        return;
    }
    let forbidden = "io_uring_setup:error=EPERM";
    let server = Plan::injected(forbidden, &[FEED, &["--io-uring", "auto"]].concat()).start();
    assert_eq!(server.event("ready", |_| true)["io_uring"], json!(false));
    delivers(&server);
    assert_eq!(rings(&server), 0);
    let refused = Plan::injected(forbidden, &[FEED, &["--io-uring", "on"]].concat()).refused();
    assert_eq!(refused.status.code(), Some(1));
    let told = String::from_utf8_lossy(&refused.stderr);
    assert!(
        told.contains("io_uring is not to be had here: operation not permitted"),
        "{told}"
    );
}

#[test]
fn a_ring_that_fails_is_told_and_its_clients_lose_nothing() {
    let name = "a_ring_that_fails_is_told_and_its_clients_lose_nothing";
    if !can_inject(name) {
        return;
    }
    let server = Plan::injected("io_uring_enter:error=ENXIO:when=2+", FEED).start();
    if server.event("ready", |_| true)["io_uring"] == json!(false) {
        skip(name, "this kernel has no io_uring, or does not allow it");
        return;
    }
    delivers(&server);
    let told = server.event("limit", |_| true);
    assert!(told["text"].as_str().unwrap().contains("io_uring failed"), "{told}");
    assert_eq!(rings(&server), 0);
}

/// A client that gets from files what the next one gets from memory has turns of both kinds, and must not stand in a batch twice.
#[test]
fn clients_that_read_files_and_live_messages_at_once_get_each_once() {
    const STORED: u64 = 4000;
    const LIVE: u64 = 200;
    let dir = tempfile::tempdir().unwrap();
    let args = ["--topic", "a=push", "--topic", "b=push", "--durability", "os", "--data"];
    let args = [&args[..], &[dir.path().to_str().unwrap()]].concat();
    let publish = |server: &Server, numbers: std::ops::Range<u64>| {
        let body: String = numbers
            .map(|number| format!("[{number},\"{}\"]\n", "x".repeat(100)))
            .collect();
        for topic in ["a", "b"] {
            let path = format!("/topics/{topic}/messages");
            assert_eq!(post(server, &path, "application/x-ndjson", body.clone()).status, 201);
        }
    };
    let mut server = Server::start(&args);
    publish(&server, 0..STORED);
    server.interrupt();
    server.wait();
    let server = Server::start(&args);
    let clients: Vec<_> = (0..20).map(|_| follow(&server, "topics=a,b&from=earliest")).collect();
    std::thread::scope(|scope| {
        scope.spawn(|| (STORED..STORED + LIVE).for_each(|number| publish(&server, number..number + 1)));
        for mut client in clients {
            scope.spawn(move || {
                let mut next = BTreeMap::from([("a".to_owned(), 0), ("b".to_owned(), 0)]);
                while next.values().any(|next| *next < STORED + LIVE) {
                    let message = client.message();
                    let next = next.get_mut(&message.topic).expect("one of the two");
                    assert_eq!((message.offset, &message.data[0]), (*next, &json!(*next)));
                    *next += 1;
                }
            });
        }
    });
}

/// Files are let go while what lies in them is on its way to those who are far behind: they jump, and none is ended.
#[test]
fn readers_of_files_that_are_let_go_meanwhile_jump_and_are_not_ended() {
    const BODIES: u64 = 150;
    const EACH: u64 = 200;
    let dir = tempfile::tempdir().unwrap();
    let topic = "a=push?keep_bytes=1MiB";
    let server = Server::start(&[
        "--topic",
        topic,
        "--durability",
        "os",
        "--data",
        dir.path().to_str().unwrap(),
    ]);
    let publish = |body: u64| {
        let numbers = body * EACH..(body + 1) * EACH;
        let lines: String = numbers
            .map(|number| format!("[{number},\"{}\"]\n", "x".repeat(200)))
            .collect();
        assert_eq!(
            post(&server, "/topics/a/messages", "application/x-ndjson", lines).status,
            201
        );
    };
    (0..20).for_each(publish);
    let clients: Vec<_> = (0..40).map(|_| follow(&server, "topics=a&from=earliest")).collect();
    std::thread::scope(|scope| {
        scope.spawn(|| (20..BODIES).for_each(publish));
        for mut client in clients {
            scope.spawn(move || {
                let mut next = 0;
                while next < BODIES * EACH {
                    let message = client.message();
                    assert!(message.offset >= next, "{} behind {next}", message.offset);
                    assert_eq!(message.data[0], json!(message.offset));
                    next = message.offset + 1;
                }
            });
        }
    });
}
