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
    // However fast they came, there is something to compare.
    let mut begun = vec![Received::new(); CLIENTS];
    while !["users", "arrays"]
        .iter()
        .all(|topic| begun[2].get(*topic).is_some_and(|frames| frames.len() > 5))
    {
        assert!(take(&mut clients[2], &mut begun[2]), "the server goes on");
    }
    server.interrupt();

    let mut first_of = Received::new();
    let mut messages = 0;
    for (n, (client, mut received)) in clients.iter_mut().zip(begun).enumerate() {
        while take(client, &mut received) {}
        messages += received.values().map(Vec::len).sum::<usize>();
        let topics: Vec<_> = received.keys().map(String::as_str).collect();
        assert_eq!(topics, choices[n % choices.len()].1, "client {n} gets what it chose");
        for (topic, frames) in received {
            let first = first_of.entry(topic).or_insert_with(|| frames.clone());
            assert!(*first == frames, "client {n} gets the same bytes as the first one");
        }
    }
    let stopped = server.event("stopped", |_| true);
    assert_eq!(stopped["clients"], CLIENTS);
    assert_eq!(stopped["messages"], messages);
}

/// Messages by topic.
type Received = BTreeMap<String, Vec<Vec<u8>>>;

/// Takes one message, whose offset follows the one before, or the end of the server: then there are no more.
fn take(client: &mut Raw, received: &mut Received) -> bool {
    let frame = client.frame().expect("a close frame comes before the end");
    if frame.first_byte == FIN | CLOSE {
        assert_eq!(frame.payload[..2], 1001u16.to_be_bytes());
        return false;
    }
    assert_eq!(frame.first_byte, FIN | TEXT, "nothing else comes");
    let message: Message = serde_json::from_slice(&frame.payload).expect("an envelope");
    let frames = received.entry(message.topic).or_default();
    assert_eq!(message.offset, frames.len() as u64, "offsets are dense");
    frames.push(frame.payload);
    true
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
