//! A disk that is full, fails or is slow: nothing that was acknowledged is lost, and what can go on goes on.

use std::path::Path;

use serde_json::{Value, json};

use crate::support::client::{follow, speak};
use crate::support::eventually;
use crate::support::faults::{SmallDisk, can_inject};
use crate::support::http::{Answer, post};
use crate::support::server::{Plan, Server};

const PATH: &str = "/topics/orders/messages";

fn args(dir: &Path) -> [String; 4] {
    let dir = dir.to_str().expect("temporary folders have plain names").to_owned();
    ["--data".to_owned(), dir, "--topic".to_owned(), "orders=push".to_owned()]
}

fn serve(dir: &Path) -> Server {
    Server::start(&args(dir).each_ref().map(String::as_str))
}

/// A server whose system calls are meddled with from the start, as `strace -e inject=…` says.
fn serve_injected(dir: &Path, inject: &str) -> Server {
    Plan::injected(inject, &args(dir).each_ref().map(String::as_str)).start()
}

fn publish(server: &Server, number: u64) -> Answer {
    post(server, PATH, "application/json", number.to_string())
}

/// Publishes numbers until one is refused; gives how many were taken, and the refusal.
fn publish_until_refused(server: &Server, from: u64) -> (u64, Answer) {
    let padding = "x".repeat(2000);
    for number in from..from + 10_000 {
        let body = format!("[{number},\"{padding}\"]");
        let answer = post(server, PATH, "application/json", body);
        if answer.status != 201 {
            return (number, answer);
        }
        assert_eq!(answer.json()["first"], number, "offsets have no holes");
    }
    panic!("the disk was never full");
}

#[test]
fn f9_on_a_full_disk_publishers_get_507_readers_go_on_and_it_recovers_by_itself() {
    let Some(disk) = SmallDisk::mount(
        "f9_on_a_full_disk_publishers_get_507_readers_go_on_and_it_recovers_by_itself",
        2048,
    ) else {
        return;
    };
    let server = serve(disk.path());
    let mut live = speak(&server, "topics=orders&from=earliest");
    let (taken, refusal) = publish_until_refused(&server, 0);
    assert_eq!(refusal.status, 507, "{}", refusal.body);
    assert!(
        refusal.body.contains("disk is full") && refusal.body.contains("nothing was appended"),
        "{}",
        refusal.body
    );
    assert!(taken > 10, "only {taken} messages fit");
    let mut again = follow(&server, "topics=orders&from=earliest");
    for number in 0..taken {
        assert_eq!(
            again.message().data[0],
            number,
            "readers have all that was acknowledged"
        );
    }
    server.event("storage", |event| {
        event["text"].as_str().is_some_and(|text| text.contains("disk is full"))
    });

    // Room comes back: the file system is made larger.
    disk.grow(8192);
    eventually("messages are taken again", || {
        let answer = post(&server, PATH, "application/json", format!("[{taken}]"));
        answer.status == 201 && answer.json()["first"] == taken
    });
    server.event("storage", |event| event["text"] == "messages are kept again");
    assert_eq!(again.message().data[0], taken);
    let mut offset = 0;
    while offset <= taken {
        let heard: Value = serde_json::from_str(&live.text()).unwrap();
        if let Some(told) = heard["offset"].as_u64() {
            assert_eq!(told, offset);
            offset += 1;
        }
    }
}

#[test]
fn f10_a_failed_sync_is_final_for_its_topic_until_a_restart_and_acknowledges_nothing() {
    if !can_inject("f10_a_failed_sync_is_final_for_its_topic_until_a_restart_and_acknowledges_nothing") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let first = serve(dir.path());
    assert_eq!(publish(&first, 0).status, 201);
    drop(first);
    // From the second sync of any thread on; the first ones belong to the start.
    let server = serve_injected(dir.path(), "fdatasync:error=EIO:when=3+");
    let mut refused = None;
    for number in 1..10 {
        let answer = publish(&server, number);
        if answer.status != 201 {
            refused = Some((number, answer));
            break;
        }
    }
    let (number, answer) = refused.expect("a sync has failed");
    assert_eq!(answer.status, 500, "{}", answer.body);
    assert!(answer.body.contains("until a restart"), "{}", answer.body);
    assert_eq!(publish(&server, number).status, 500, "it is not tried again");
    let mut reader = follow(&server, "topics=orders&from=earliest");
    assert_eq!(
        reader.data(number as usize),
        (0..number).map(|n| json!(n)).collect::<Vec<_>>()
    );
    server.event("storage", |event| {
        event["text"]
            .as_str()
            .is_some_and(|text| text.contains("until a restart"))
    });
    drop(server);
    let server = serve(dir.path());
    let next = publish(&server, 99).json()["first"].as_u64().unwrap();
    // What failed to be synced was not acknowledged, and may be there or not.
    assert!(next == number || next == number + 1, "{next}");
}

#[test]
fn f11_a_slow_sync_delays_its_acknowledgement_and_nothing_else() {
    if !can_inject("f11_a_slow_sync_delays_its_acknowledgement_and_nothing_else") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let mut plan_args = args(dir.path()).to_vec();
    plan_args.extend(["--topic".to_owned(), "live=push?durability=none".to_owned()]);
    let plan_args: Vec<_> = plan_args.iter().map(String::as_str).collect();
    // Two seconds for each sync.
    let server = Plan::injected("fdatasync:delay_enter=2000000", &plan_args).start();
    let went_on = std::thread::scope(|scope| {
        let slow = scope.spawn(|| publish(&server, 0));
        let mut went_on = 0;
        while !slow.is_finished() {
            let live = post(&server, "/topics/live/messages", "application/json", "1");
            let mut client = speak(&server, "topics=orders");
            client.control("welcome");
            let next = client.control("subscribed")["next"].clone();
            if !slow.is_finished() {
                assert_eq!(live.status, 201);
                assert_eq!(next, 0, "nothing is visible before it is on stable storage");
                went_on += 1;
            }
        }
        assert_eq!(slow.join().unwrap().status, 201);
        went_on
    });
    assert!(
        went_on > 3,
        "the other topic went on while the sync was under way: {went_on}"
    );
    assert_eq!(follow(&server, "topics=orders&from=earliest").message().data, 0);
}

#[test]
fn f12_a_disk_that_turns_read_only_is_final_for_its_topic_and_readers_go_on() {
    if !can_inject("f12_a_disk_that_turns_read_only_is_final_for_its_topic_and_readers_go_on") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let server = serve_injected(dir.path(), "pwritev,pwritev2,pwrite64:error=EROFS:when=5+");
    let mut taken = 0;
    let refused = loop {
        let answer = publish(&server, taken);
        if answer.status != 201 {
            break answer;
        }
        taken += 1;
        assert!(taken < 100, "no write has failed");
    };
    assert_eq!(refused.status, 500, "{}", refused.body);
    assert_eq!(publish(&server, taken).status, 500);
    let mut reader = follow(&server, "topics=orders&from=earliest");
    assert_eq!(reader.messages(taken as usize).len() as u64, taken);
    drop(server);
    assert_eq!(publish(&serve(dir.path()), taken).json()["first"], taken);
}

#[test]
fn f13_the_largest_file_size_is_as_a_full_disk_and_kills_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let args = args(dir.path());
    let server = Plan::with_file_size(600, &args.each_ref().map(String::as_str)).start();
    let (taken, refusal) = publish_until_refused(&server, 0);
    assert_eq!(refusal.status, 507, "{}", refusal.body);
    let mut reader = follow(&server, "topics=orders&from=earliest");
    for number in 0..taken {
        assert_eq!(reader.message().data[0], number);
    }
}

#[test]
fn f5_a_flipped_bit_below_durable_is_a_gap_for_its_readers_and_named_once_on_the_console() {
    const BODY: u64 = 100;
    let dir = tempfile::tempdir().unwrap();
    let segment = dir.path().join("topics/orders").join(format!("{:020}.log", 0));
    let start = || {
        let mut args = args(dir.path());
        args[3] += "?keep_bytes=1MiB";
        Server::start(&args.each_ref().map(String::as_str))
    };
    let mut server = start();
    let mut end = 0;
    while std::fs::read_dir(dir.path().join("topics/orders")).unwrap().count() < 6 {
        let body: String = (end..end + BODY).map(|number| format!("{number}\n")).collect();
        let answer = post(&server, PATH, "application/x-ndjson", body);
        assert_eq!(answer.json()["first"], end, "{answer:?}");
        end += BODY;
    }
    server.interrupt();
    assert!(server.wait().success());
    // A bit of the third body, which is a batch of its own.
    let mut bytes = std::fs::read(&segment).unwrap();
    let batches = bytes
        .windows(4)
        .enumerate()
        .filter(|(_, magic)| *magic == *b"\xfeLB\xff");
    let batches: Vec<usize> = batches.map(|(at, _)| at).collect();
    let damaged = batches[2];
    bytes[damaged + 500] ^= 4;
    std::fs::write(&segment, bytes).unwrap();
    let server = start();
    assert_eq!(server.events("storage"), [] as [Value; 0], "nothing was read yet");
    for reader in 0..2 {
        let mut client = speak(&server, "topics=orders&from=earliest");
        client.control("welcome");
        client.control("subscribed");
        for offset in (0..2 * BODY).chain(3 * BODY..end) {
            if offset == 3 * BODY {
                let gap = client.find_control("gap");
                assert_eq!(
                    (&gap["from"], &gap["to"], &gap["reason"]),
                    (&json!(2 * BODY), &json!(3 * BODY), &json!("damage")),
                    "reader {reader}: {gap}"
                );
            }
            let message = client.message();
            assert_eq!((message.offset, message.data), (offset, json!(offset)));
        }
    }
    let told = server.event("storage", |_| true);
    let text = told["text"].as_str().unwrap();
    let expect = format!(
        "{} is damaged at byte {damaged}: {} bytes, offsets {}-{}; nothing was cut; restore",
        segment.display(),
        batches[3] - damaged,
        2 * BODY,
        3 * BODY - 1
    );
    assert!(text.starts_with(&expect) && told["topic"] == "orders", "{told}");
    assert!(text.contains("lapwing log repair"), "{told}");
    // The damage is behind: what comes is taken.
    assert_eq!(publish(&server, end).status, 201);
    server.interrupt();
    let mut server = server;
    assert!(server.wait().success());
    assert_eq!(server.events("storage").len(), 1, "once, whoever read it");
}

#[test]
fn topics_in_the_directory_that_are_not_served_are_told_at_the_start() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().to_str().unwrap();
    let mut server = Server::start(&["--data", path, "--topic", "orders=push", "--topic", "bills=push"]);
    server.interrupt();
    assert!(server.wait().success());
    let mut server = Server::start(&["--data", path, "--topic", "bills=push?durability=none"]);
    let told = |topic: &str| server.event("storage", |told| told["topic"] == topic)["text"].clone();
    assert_eq!(
        told("orders"),
        "has files in the data directory and is not served; --topic orders=push serves them"
    );
    assert_eq!(
        told("bills"),
        "is served from memory; its files in the data directory are left as they are"
    );
    server.interrupt();
    assert!(server.wait().success());
    assert_eq!(server.events("storage").len(), 2);
}
