//! Clients that are slower than their topic, by the topic's policy.

use std::io::{Seek as _, Write as _};

use serde_json::{Value, json};

use crate::support::client::{Client, Heard, follow, follow_slowly, speak, speak_slowly};
use crate::support::eventually;
use crate::support::http::post;
use crate::support::server::{Plan, Server};

/// What a client of `lapwing.v1` that reads everything was given and told.
#[derive(Debug, Default, PartialEq)]
struct Account {
    messages: Vec<u64>,
    gaps: Vec<(u64, u64, String)>,
}

impl Account {
    /// Reads up to the message with this offset, and checks that nothing is missing without a word.
    #[track_caller]
    fn read(client: &mut Client, mut next: u64, last: u64) -> Self {
        let mut account = Self::default();
        while next <= last {
            account.take(&client.text(), &mut next);
        }
        account
    }

    #[track_caller]
    fn take(&mut self, text: &str, next: &mut u64) {
        let said: Value = serde_json::from_str(text).unwrap();
        match said["type"].as_str() {
            None => {
                assert_eq!(said["offset"], *next, "no jump without a gap that says so");
                self.messages.push(*next);
                *next += 1;
            }
            Some("gap") => {
                assert_eq!(said["from"], *next, "a gap begins where delivery was");
                let to = said["to"].as_u64().unwrap();
                assert!(to > *next);
                self.gaps.push((*next, to, said["reason"].as_str().unwrap().to_owned()));
                *next = to;
            }
            Some(_) => {}
        }
    }

    fn missed(&self) -> u64 {
        self.gaps.iter().map(|(from, to, _)| to - from).sum()
    }
}

#[test]
fn b2_what_was_missed_is_counted_for_the_client_and_for_the_topic_as_it_was_told() {
    let mut server = Server::start(&["--topic", "small=push?keep_bytes=64KiB&slow=skip"]);
    let mut client = speak_slowly(&server, "topics=small");
    fill(&server, 200, 50_000);
    let account = Account::read(&mut client, 0, 199);
    assert!(account.missed() > 0, "retention has passed it");
    assert!(account.gaps.iter().all(|(_, _, reason)| reason == "retention"));
    client.close(1000, "");
    let left = server.event("left", |_| true);
    assert_eq!(left["missed"], json!({"small": account.missed()}), "{left}");
    server.interrupt();
    server.wait();
    let stopped = server.event("stopped", |_| true);
    assert_eq!(stopped["missed"], json!({"small": account.missed()}), "{stopped}");
}

#[test]
fn b2_close_lets_go_of_a_client_that_retention_overtakes_and_it_comes_back_to_be_told() {
    let server = Server::start(&["--topic", "small=push?keep_bytes=64KiB&slow=close"]);
    let mut client = speak_slowly(&server, "topics=small");
    client.control("welcome");
    let epoch = client.control("subscribed")["epoch"].as_str().unwrap().to_owned();
    fill(&server, 200, 50_000);
    let left = server.event("left", |_| true);
    assert_eq!((&left["code"], &left["by"]), (&json!(4400), &json!("server")), "{left}");
    let reason = left["reason"].as_str().unwrap();
    assert!(reason.starts_with("too slow, gone: small "), "{reason}");
    assert!(left["gone"]["small"].as_u64() > Some(0), "{left}");
    // What the kernel still held comes, then the end: as a close frame, if there was room for it.
    let mut account = Account::default();
    let mut next = 0;
    loop {
        match client.hear() {
            Heard::Text(text) => account.take(&text, &mut next),
            Heard::Close(code, _) => break assert_eq!(code, 4400),
            Heard::Broken(_) => break,
            Heard::Binary(bytes) => panic!("no bytes were published: {bytes:?}"),
        }
    }
    assert_eq!(account.gaps, [], "it is closed instead of told");
    let mut back = speak(&server, "");
    back.control("welcome");
    back.command(&json!({"type": "subscribe", "topic": "small", "epoch": epoch, "offset": next}));
    let subscribed = back.control("subscribed");
    assert_eq!(
        (&subscribed["answer"], &subscribed["missing_from"]),
        (&json!("gap"), &json!(next)),
        "{subscribed}"
    );
    let rest = Account::read(&mut back, subscribed["from"].as_u64().unwrap(), 199);
    assert_eq!(rest.gaps, []);
}

#[test]
fn b2_close_leaves_a_client_alone_that_keeps_up() {
    let server = Server::start(&["--topic", "small=push?keep_bytes=64KiB&slow=close"]);
    let mut client = speak(&server, "topics=small");
    for n in 0..100 {
        fill(&server, 1, 5000);
        Account::read(&mut client, n, n);
    }
    assert_eq!(server.events("left"), [] as [Value; 0]);
}

#[test]
fn b2_latest_goes_on_with_the_newest_once_the_socket_takes_messages_again() {
    let server = Server::start(&["--topic", "small=push?slow=latest"]);
    let mut client = speak_slowly(&server, "topics=small");
    let mut plain = follow_slowly(&server, "topics=small");
    // Nothing of it is let go, yet whoever was blocked does not get all of it.
    fill(&server, 200, 50_000);
    let account = Account::read(&mut client, 0, 199);
    assert!(account.missed() > 0 && account.messages.len() < 200, "{account:?}");
    assert!(
        account.gaps.iter().all(|(_, _, reason)| reason == "policy"),
        "{account:?}"
    );
    assert_eq!(account.messages.last(), Some(&199), "the newest comes");
    eventually("the console tells each jump once, with the same numbers", || {
        let told = server.events("gap").into_iter().filter(|gap| gap["session"] == 1);
        let number = |value: &Value| value.as_u64().unwrap();
        told.map(|gap| (number(&gap["from"]), number(&gap["to"]), gap["reason"] == "policy"))
            .eq(account.gaps.iter().map(|(from, to, _)| (*from, *to, true)))
    });
    let mut offsets = Vec::new();
    while offsets.last() != Some(&199) {
        offsets.push(plain.message().offset);
    }
    assert!(offsets.len() < 200 && offsets.is_sorted_by(|one, next| one < next));
}

#[test]
fn b2_latest_gives_everything_to_a_client_that_keeps_up() {
    let server = Server::start(&["--topic", "small=push?slow=latest"]);
    let mut client = follow(&server, "topics=small");
    for n in 0..100 {
        fill(&server, 1, 5000);
        assert_eq!(client.message().offset, n);
    }
}

#[test]
fn wait_keeps_everything_for_a_first_listener_and_ends_when_it_has_all_of_it() {
    let server = Plan::new(&["--topic", "big=stdin?slow=wait&keep_bytes=64KiB&end=close"])
        .stdin_of(numbers())
        .start();
    let told = server.source_says("held back");
    assert_eq!(
        told,
        "held back: the topic is full (64.0 KiB) and waits for a first client"
    );
    let mut client = follow(&server, "topics=big&from=earliest");
    for n in 0..NUMBERS {
        let message = client.message();
        assert_eq!((message.offset, &message.data), (n, &json!(n)));
    }
    assert_eq!(client.closed(), (1000, "the feed has ended".to_owned()));
    server.source_says("goes on after");
    server.source_says("standard input has ended after 100,000 lines");
    let mut late = follow(&server, "topics=big&from=earliest");
    assert_eq!(
        Account::read(&mut late, late_first(&server), NUMBERS - 1).gaps,
        [],
        "what is kept stays for others"
    );
}

#[test]
fn b1_wait_holds_the_source_to_its_slowest_listener_and_nobody_misses_anything() {
    let gate = Gate::new();
    let server = Server::start(&["--topic", &gate.topic()]);
    let clients: Vec<Client> = (0..4).map(|_| follow_slowly(&server, "topics=big")).collect();
    gate.open();
    let readers: Vec<_> = clients
        .into_iter()
        .enumerate()
        .map(|(nth, mut client)| {
            std::thread::spawn(move || {
                for n in 0..NUMBERS {
                    if nth == 0 && n % 10_000 == 0 {
                        std::thread::sleep(std::time::Duration::from_millis(50));
                    }
                    assert_eq!(client.message().data, n);
                }
                client.closed()
            })
        })
        .collect();
    for reader in readers {
        assert_eq!(reader.join().unwrap().0, 1000);
    }
    assert_eq!(server.events("gap"), [] as [Value; 0]);
}

#[test]
fn b1_wait_lets_go_of_a_listener_that_is_stuck_and_the_feed_goes_on() {
    let gate = Gate::new();
    let server = Server::start(&["--topic", &gate.topic(), "--stall-timeout", "500ms"]);
    let _stuck = follow_slowly(&server, "topics=big&name=stuck");
    let mut good = follow(&server, "topics=big");
    gate.open();
    for n in 0..NUMBERS {
        assert_eq!(good.message().data, n);
    }
    assert_eq!(good.closed().0, 1000);
    let left = server.event("left", |left| left["client"] == "stuck");
    assert_eq!((&left["code"], &left["by"]), (&json!(4400), &json!("server")), "{left}");
    assert!(left["behind"]["big"].as_u64() > Some(0), "{left}");
}

#[test]
fn wait_lets_publishers_wait_and_then_refuses_them_with_a_time_to_come_back() {
    let server = Server::start(&["--topic", "small=push?slow=wait&keep_bytes=64KiB"]);
    let body = format!("\"{}\"", "x".repeat(1000));
    let publish = || post(&server, "/topics/small/messages", "application/json", &body);
    let mut taken = 0;
    let refusal = loop {
        let answer = publish();
        match answer.status {
            201 => taken += 1,
            _ => break answer,
        }
    };
    assert_eq!(
        (refusal.status, refusal.body.trim_end()),
        (
            503,
            "topic small is full and waits for a first client, which takes what is there; nothing was appended"
        )
    );
    assert_eq!(refusal.header("retry-after"), Some("2"));
    assert!((30..200).contains(&taken), "{taken}");
    // One that waits is taken as soon as a listener has come and read.
    std::thread::scope(|scope| {
        let waiting = scope.spawn(publish);
        let mut client = follow(&server, "topics=small&from=earliest");
        for offset in 0..=taken {
            assert_eq!(client.message().offset, offset);
        }
        let answer = waiting.join().unwrap();
        assert_eq!(answer.json()["first"], taken, "{answer:?}");
    });
}

#[test]
fn b1_one_that_stops_reading_costs_ninety_nine_others_nothing_and_is_named_with_its_loss() {
    let server = Server::start(&["--topic", "small=push?keep_bytes=256KiB", "--stall-timeout", "5m"]);
    let mut others: Vec<Client> = (0..99).map(|_| follow(&server, "topics=small")).collect();
    let stuck = follow_slowly(&server, "topics=small&name=stuck");
    let memory = || {
        let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid().as_raw_pid())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.split_whitespace().next().unwrap().parse::<u64>().unwrap()
    };
    const COUNT: u64 = 1000;
    let mut early = 0;
    for n in 0..COUNT {
        fill(&server, 1, 4000);
        for client in &mut others {
            assert_eq!(client.message().offset, n, "all of it, at once");
        }
        if n == COUNT / 4 {
            early = memory();
        }
    }
    let late = memory();
    assert!(late < early + 4096, "{early} KiB, and then {late} KiB");
    assert_eq!(server.events("gap"), [] as [Value; 0]);
    drop(stuck);
    let left = server.event("left", |_| true);
    assert_eq!(left["client"], "stuck");
    let (behind, gone) = (&left["behind"]["small"], &left["gone"]["small"]);
    // Four megabytes came, a quarter of one is kept, and the kernel has little of it.
    assert!(
        behind.as_u64() > Some(COUNT / 2) && gone.as_u64() > Some(COUNT / 2),
        "{left}"
    );
}

#[test]
fn every_policy_is_told_at_the_start() {
    let topics = [
        "--topic",
        "a=push",
        "--topic",
        "b=push?slow=close",
        "--topic",
        "c=push?slow=latest",
        "--topic",
        "d=push?slow=wait",
    ];
    let server = Server::start(&topics);
    let ready = server.event("ready", |_| true);
    assert_eq!(
        ready["slow"],
        json!({"a": "skip", "b": "close", "c": "latest", "d": "wait"})
    );
    let server = Plan::new(&topics).text().start();
    for line in [
        "keeps 60 s or 64 MiB; skip when",
        "; close when a client is slow",
        "; latest when a",
        "keeps 64 MiB; wait when",
    ] {
        server.err().with(line);
    }
}

fn fill(server: &Server, count: u64, bytes: usize) {
    let body = format!("\"{}\"", "x".repeat(bytes));
    for _ in 0..count {
        let answer = post(server, "/topics/small/messages", "application/json", &body);
        assert_eq!(answer.status, 201, "{answer:?}");
    }
}

const NUMBERS: u64 = 100_000;

/// A file of that many lines, each its number: far more than a topic of 64 KiB and every buffer on the way hold.
fn numbers() -> std::fs::File {
    let mut file = tempfile::tempfile().unwrap();
    let text: String = (0..NUMBERS).map(|n| format!("{n}\n")).collect();
    file.write_all(text.as_bytes()).unwrap();
    file.rewind().unwrap();
    file
}

/// A feed of those numbers that begins when the test says so.
struct Gate(tempfile::TempDir);

impl Gate {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn topic(&self) -> String {
        let (path, last) = (self.0.path().join("open"), NUMBERS - 1);
        let command = format!("until [ -e {} ]; do sleep 0.01; done; seq 0 {last}", path.display());
        format!("big=exec:{command}?slow=wait&keep_bytes=64KiB&restart=never&end=close")
    }

    fn open(&self) {
        std::fs::write(self.0.path().join("open"), "").unwrap();
    }
}

/// The oldest offset that the topic still keeps.
fn late_first(server: &Server) -> u64 {
    let mut asks = speak(server, "topics=big&from=earliest");
    asks.control("welcome");
    asks.control("subscribed")["first"].as_u64().unwrap()
}
