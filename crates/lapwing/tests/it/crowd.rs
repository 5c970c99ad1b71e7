//! Many clients at once.

use std::collections::BTreeMap;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::support::client::Message;
use crate::support::frames::{CLOSE, FIN, Raw, TEXT};
use crate::support::server::Server;

const CLIENTS: usize = 1000;

#[test]
fn item_1_a_thousand_clients_at_once_each_get_every_message_of_their_topics() {
    allow_open_files(CLIENTS as u64 + 500);
    let server = Server::start(&[
        "--topic",
        "users=users?every=50ms",
        "--topic",
        "arrays=arrays?every=100ms&burst=5",
    ]);
    let choices: [(&str, &[&str]); 3] = [
        ("topics=users", &["users"]),
        ("topics=arrays", &["arrays"]),
        ("topics=users,arrays", &["arrays", "users"]),
    ];
    let mut clients: Vec<_> = (0..CLIENTS)
        .map(|n| Raw::follow(&server, &format!("{}&from=earliest", choices[n % choices.len()].0)))
        .collect();
    let mut joined = 0;
    server.event("joined", |_| {
        joined += 1;
        joined == CLIENTS
    });
    assert!(server.events("left").is_empty(), "all are here at once");
    server.interrupt();

    let mut first_of: BTreeMap<String, Vec<Vec<u8>>> = BTreeMap::new();
    let mut messages = 0;
    for (n, client) in clients.iter_mut().enumerate() {
        let received = everything(client);
        messages += received.values().map(Vec::len).sum::<usize>();
        let topics: Vec<_> = received.keys().map(String::as_str).collect();
        assert_eq!(topics, choices[n % choices.len()].1, "client {n} gets what it chose");
        for (topic, frames) in received {
            let first = first_of.entry(topic).or_insert_with(|| frames.clone());
            assert!(*first == frames, "client {n} gets the same bytes as the first one");
        }
    }
    assert!(first_of["users"].len() > 1 && first_of["arrays"].len() > 5);
    let stopped = server.event("stopped", |_| true);
    assert_eq!(stopped["clients"], CLIENTS);
    assert_eq!(stopped["messages"], messages);
}

/// All messages up to the end of the server, by topic; their offsets are dense from 0.
fn everything(client: &mut Raw) -> BTreeMap<String, Vec<Vec<u8>>> {
    let mut received: BTreeMap<String, Vec<Vec<u8>>> = BTreeMap::new();
    loop {
        let frame = client.frame().expect("a close frame comes before the end");
        if frame.first_byte == FIN | CLOSE {
            assert_eq!(frame.payload[..2], 1001u16.to_be_bytes());
            return received;
        }
        assert_eq!(frame.first_byte, FIN | TEXT, "nothing else comes");
        let message: Message = serde_json::from_slice(&frame.payload).expect("an envelope");
        let frames = received.entry(message.topic).or_default();
        assert_eq!(message.offset, frames.len() as u64, "offsets are dense");
        frames.push(frame.payload);
    }
}

fn allow_open_files(count: u64) {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current.is_some_and(|current| current < count) {
        let more = Rlimit {
            current: Some(count),
            maximum,
        };
        setrlimit(Resource::Nofile, more).expect("a thousand clients need more than a thousand open files");
    }
}
