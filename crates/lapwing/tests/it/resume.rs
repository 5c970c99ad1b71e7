//! Coming back: at a position everything from there on comes, once. Most of these are mistakes that others made before.

use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};

use crate::support::client::{Client, speak};
use crate::support::http::post;
use crate::support::server::Server;

const TOPIC: &[&str] = &["--topic", "feed=push"];

/// A client that knows where it is, and nothing else.
struct Traveller {
    epoch: Option<String>,
    offset: u64,
    /// The offset of the next message when it came.
    live_from: u64,
}

impl Traveller {
    /// One that was never there, and wants everything.
    fn new() -> Self {
        Self {
            epoch: None,
            offset: 0,
            live_from: 0,
        }
    }

    /// Comes (back), and takes the answer as PROTOCOL.md says; gives the connection and the answer.
    #[track_caller]
    fn come(&mut self, server: &Server) -> (Client, String) {
        let mut client = speak(server, "");
        client.control("welcome");
        let mut command = json!({"type": "subscribe", "topic": "feed", "from": "earliest"});
        if let Some(epoch) = &self.epoch {
            command = json!({"type": "subscribe", "topic": "feed", "epoch": epoch, "offset": self.offset});
        }
        client.command(&command);
        let subscribed = client.control("subscribed");
        self.epoch = subscribed["epoch"].as_str().map(str::to_owned);
        self.offset = subscribed["from"].as_u64().unwrap();
        self.live_from = subscribed["next"].as_u64().unwrap();
        (client, subscribed["answer"].as_str().unwrap().to_owned())
    }

    /// Takes so many messages, each the next.
    #[track_caller]
    fn take(&mut self, client: &mut Client, count: u64) {
        for _ in 0..count {
            assert_eq!(client.message().offset, self.offset, "the next, once");
            self.offset += 1;
        }
    }

    /// What comes next is a message that is published now: nothing was left, and nothing comes twice.
    #[track_caller]
    fn check_nothing_waits(&mut self, server: &Server, client: &mut Client) {
        publish(server, 1);
        self.take(client, 1);
    }
}

#[test]
fn who_had_nothing_yet_gets_exactly_what_came_while_it_was_away() {
    let server = Server::start(TOPIC);
    publish(&server, 5);
    let mut traveller = Traveller::new();
    let (mut client, _) = traveller.come(&server);
    traveller.take(&mut client, 5);
    drop(client);
    // Subscribes, receives nothing, drops: the position of `subscribed` is enough.
    let (client, answer) = traveller.come(&server);
    assert_eq!(answer, "ok");
    drop(client);
    publish(&server, 3);
    let (mut client, answer) = traveller.come(&server);
    assert_eq!(answer, "ok");
    traveller.take(&mut client, 3);
    traveller.check_nothing_waits(&server, &mut client);
}

#[test]
fn coming_back_again_and_again_with_nothing_new_repeats_nothing() {
    let server = Server::start(TOPIC);
    publish(&server, 4);
    let mut traveller = Traveller::new();
    let (mut client, _) = traveller.come(&server);
    traveller.take(&mut client, 4);
    for _ in 0..3 {
        drop(client);
        let answer;
        (client, answer) = traveller.come(&server);
        assert_eq!((answer.as_str(), traveller.offset), ("ok", 4));
    }
    traveller.check_nothing_waits(&server, &mut client);
}

#[test]
fn fifty_thousand_behind_all_of_them_come_while_live_ones_keep_coming() {
    const BEHIND: u64 = 50_000;
    let server = Server::start(TOPIC);
    let mut traveller = Traveller::new();
    drop(traveller.come(&server));
    for _ in 0..BEHIND / 1000 {
        publish(&server, 1000);
    }
    let caught_up = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let live = scope.spawn(|| {
            let mut count = 0;
            while !caught_up.load(Ordering::Relaxed) {
                publish(&server, 10);
                count += 10;
            }
            count
        });
        let (mut client, answer) = traveller.come(&server);
        assert_eq!((answer.as_str(), traveller.offset), ("ok", 0));
        traveller.take(&mut client, BEHIND + 50);
        caught_up.store(true, Ordering::Relaxed);
        let live = live.join().unwrap();
        traveller.take(&mut client, live - 50);
        traveller.check_nothing_waits(&server, &mut client);
    });
}

#[test]
fn who_joins_between_what_was_and_what_comes_neither_loses_nor_repeats() {
    let server = Server::start(TOPIC);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let live = scope.spawn(|| {
            let mut count = 0;
            while !done.load(Ordering::Relaxed) {
                publish(&server, 1);
                count += 1;
            }
            count
        });
        let mut travellers: Vec<_> = (0..50)
            .map(|_| {
                let mut traveller = Traveller::new();
                let (mut client, _) = traveller.come(&server);
                // Up to the seam: whatever was there when it joined, and one more.
                let up_to_live = traveller.live_from + 1;
                traveller.take(&mut client, up_to_live);
                (traveller, client)
            })
            .collect();
        done.store(true, Ordering::Relaxed);
        let count: u64 = live.join().unwrap();
        for (traveller, client) in &mut travellers {
            traveller.take(client, count - traveller.offset);
        }
    });
}

#[test]
fn a_server_that_forgot_everything_tells_a_reset_and_the_client_goes_on() {
    let before = Server::start(TOPIC);
    publish(&before, 7);
    let mut traveller = Traveller::new();
    let (mut client, _) = traveller.come(&before);
    traveller.take(&mut client, 7);
    drop((client, before));
    // Also when the new history is as long as the old one: an offset alone would not tell.
    let after = Server::start(TOPIC);
    publish(&after, 9);
    let (mut client, answer) = traveller.come(&after);
    assert_eq!((answer.as_str(), traveller.offset), ("reset", 0));
    traveller.take(&mut client, 9);
    traveller.check_nothing_waits(&after, &mut client);
}

#[test]
fn a_lost_last_message_shows_by_the_heartbeat() {
    let server = Server::start(&["--topic", "feed=push", "--heartbeat", "200ms"]);
    publish(&server, 3);
    let mut traveller = Traveller::new();
    let (mut client, _) = traveller.come(&server);
    traveller.take(&mut client, 2);
    // The third is lost on its way, as far as this client knows.
    let heartbeat: Value = client.find_control("heartbeat");
    let next = heartbeat["next"]["feed"].as_u64().unwrap();
    assert_eq!((traveller.offset, next), (2, 3), "one more than it has");
    drop(client);
    let (mut client, answer) = traveller.come(&server);
    assert_eq!(answer, "ok");
    traveller.take(&mut client, 1);
}

/// Publishes so many messages in one body.
#[track_caller]
fn publish(server: &Server, count: usize) {
    let answer = post(
        server,
        "/topics/feed/messages",
        "application/x-ndjson",
        "1\n".repeat(count),
    );
    assert_eq!(answer.status, 201, "{answer:?}");
}
