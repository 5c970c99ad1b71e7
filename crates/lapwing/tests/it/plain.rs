//! Plain clients: no subprotocol, no greeting, what is wanted stands in the query.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::support::client::{Client, Heard, follow, speak};
use crate::support::frames::{FIN, Raw, TEXT};
use crate::support::http::post;
use crate::support::server::Server;

const TOPICS: &[&str] = &["--topic", "a=push", "--topic", "b=push"];

#[test]
fn a_message_comes_in_its_envelope_and_nothing_comes_before_it() {
    let server = Server::start(TOPICS);
    let mut client = Raw::follow(&server, "topics=a");
    publish(&server, "a", "{\"n\": 1}");
    let frame = client.frame().unwrap();
    assert_eq!(frame.first_byte, FIN | TEXT);
    let text = String::from_utf8(frame.payload).unwrap();
    let (head, data) = text.split_once("Z\",").expect("a time in UTC");
    let (prefix, time) = head.split_once("\"time\":\"").unwrap();
    assert_eq!(prefix, "{\"topic\":\"a\",\"offset\":0,");
    assert_eq!(data, "\"data\":{\"n\":1}}");
    assert!(format!("{time}Z").parse::<jiff::Timestamp>().is_ok(), "{time}");
    assert_eq!(time.len(), "2026-11-21T19:00:00.123456".len());
}

#[test]
fn without_a_choice_every_topic_comes_and_topics_may_be_all() {
    let server = Server::start(TOPICS);
    let mut clients = [
        follow(&server, ""),
        follow(&server, "topics=*"),
        follow(&server, "topics=a,b,a"),
    ];
    publish(&server, "a", "1");
    publish(&server, "b", "2");
    for client in &mut clients {
        let mut got: Vec<(String, Value)> = client.messages(2).into_iter().map(|m| (m.topic, m.data)).collect();
        got.sort_by(|one, other| one.0.cmp(&other.0));
        assert_eq!(got, [("a".to_owned(), json!(1)), ("b".to_owned(), json!(2))]);
    }
}

#[test]
fn the_stream_is_at_ws_too() {
    use std::io::Write as _;

    use crate::support::{frames, http};
    let server = Server::start(TOPICS);
    let mut stream = http::open(server.address());
    let request = frames::upgrade_request(&server.address().to_string(), "/ws?topics=a");
    stream.write_all(request.as_bytes()).unwrap();
    assert_eq!(http::answer(&mut stream).unwrap().status, 101);
}

#[test]
fn what_is_published_after_the_handshake_is_never_missed() {
    let server = Server::start(TOPICS);
    for n in 0..30 {
        let mut client = follow(&server, "topics=a");
        publish(&server, "a", &n.to_string());
        let message = client.message();
        assert_eq!((message.offset, message.data), (n, json!(n)));
    }
}

#[test]
fn a_client_begins_where_it_asks_to() {
    let server = Server::start(TOPICS);
    for n in 0..10 {
        publish(&server, "a", &n.to_string());
        publish(&server, "b", &n.to_string());
    }
    // The first offset of each topic that comes, of which every one ends in 9.
    let first = |query: &str| -> BTreeMap<String, u64> {
        let mut client = follow(&server, query);
        let mut first = BTreeMap::new();
        let mut ends = 0;
        while ends < if query.contains("a,b") { 2 } else { 1 } {
            let message = client.message();
            ends += usize::from(message.offset == 9);
            first.entry(message.topic).or_insert(message.offset);
        }
        first
    };
    let a = |offset| BTreeMap::from([("a".to_owned(), offset)]);
    assert_eq!(first("topics=a&from=earliest"), a(0));
    assert_eq!(first("topics=a&from=7"), a(7));
    assert_eq!(first("topics=a&from=last:3"), a(7));
    assert_eq!(first("topics=a&from=last:100"), a(0));
    assert_eq!(first("topics=a&from=-10m"), a(0));
    assert_eq!(first("topics=a&from=a:9"), a(9));
    assert_eq!(
        first("topics=a,b&from=a:4,b:8"),
        BTreeMap::from([("a".to_owned(), 4), ("b".to_owned(), 8)])
    );
    assert_eq!(
        first("topics=a,b&from=b:8,last:1"),
        BTreeMap::from([("a".to_owned(), 9), ("b".to_owned(), 8)]),
        "what is named alone does not change the others"
    );
    let mut latest = follow(&server, "topics=a");
    publish(&server, "a", "10");
    assert_eq!(latest.message().offset, 10);
}

#[test]
fn a_client_resumes_with_epoch_and_offset() {
    let server = Server::start(TOPICS);
    for n in 0..5 {
        publish(&server, "a", &n.to_string());
    }
    let mut knows = speak(&server, "topics=a");
    knows.control("welcome");
    let epoch = knows.control("subscribed")["epoch"].as_str().unwrap().to_owned();
    let mut client = follow(&server, &format!("topics=a&from=a@{epoch}:3"));
    assert_eq!(client.data(2), [json!(3), json!(4)]);
}

#[test]
fn nothing_that_a_plain_client_says_is_interpreted() {
    let server = Server::start(TOPICS);
    let mut client = follow(&server, "topics=a");
    client.say("{\"type\":\"subscribe\",\"topic\":\"b\"}");
    client.say("{\"type\":\"dance\"}");
    server.event("said", |said| said["text"] == "{\"type\":\"dance\"}");
    publish(&server, "b", "1");
    publish(&server, "a", "2");
    let message = client.message();
    assert_eq!(
        (message.topic.as_str(), message.data),
        ("a", json!(2)),
        "no answer, no other topic"
    );
    let said = server.events("said");
    assert_eq!(said[0]["text"], "{\"type\":\"subscribe\",\"topic\":\"b\"}");
}

#[test]
fn b2_what_is_no_longer_kept_is_a_jump_of_offsets_and_told_on_the_console() {
    let server = Server::start(&["--topic", "small=push?keep_bytes=64KiB"]);
    let body = format!("\"{}\"", "x".repeat(1000));
    for _ in 0..200 {
        publish(&server, "small", &body);
    }
    let mut client = follow(&server, "topics=small&from=0&name=late");
    let first = client.message().offset;
    assert!(
        (100..190).contains(&first),
        "64 KiB are about 60 messages, not {}",
        200 - first
    );
    for offset in first + 1..200 {
        assert_eq!(client.message().offset, offset);
    }
    let gap = server.event("gap", |_| true);
    assert_eq!(gap["client"], "late");
    assert_eq!((gap["from"].as_u64(), gap["to"].as_u64()), (Some(0), Some(first)));
    assert_eq!((&gap["topic"], &gap["reason"]), (&json!("small"), &json!("retention")));
}

#[test]
fn without_the_envelope_only_payloads_come() {
    let server = Server::start(TOPICS);
    let mut bare = follow(&server, "topics=a&envelope=off");
    let mut whole = follow(&server, "topics=a&envelope=on");
    publish(&server, "a", "{\"n\": 1.50}");
    assert_eq!(
        post(&server, "/topics/a/messages", "text/plain", "no \"json\"").status,
        201
    );
    assert_eq!(
        post(&server, "/topics/a/messages", "application/octet-stream", [0, 255]).status,
        201
    );
    assert_eq!(bare.hear(), Heard::Text("{\"n\":1.50}".to_owned()));
    assert_eq!(
        bare.hear(),
        Heard::Text("no \"json\"".to_owned()),
        "text leaves without quotes"
    );
    assert_eq!(bare.hear(), Heard::Binary(vec![0, 255]));
    assert_eq!(whole.messages(3)[2].data_base64.as_deref(), Some("AP8="));
    let mut late = follow(&server, "topics=a&envelope=off&from=earliest");
    assert_eq!(
        late.hear(),
        Heard::Text("{\"n\":1.50}".to_owned()),
        "what was there before comes as well"
    );
    let joined = server.event("joined", |joined| joined["session"] == 1);
    assert_eq!(joined["mode"], "bare");
}

#[test]
fn topics_take_turns_so_that_a_busy_one_starves_nobody() {
    let server = Server::start(TOPICS);
    let body = format!("\"{}\"", "x".repeat(500_000));
    for _ in 0..20 {
        publish(&server, "a", &body);
    }
    publish(&server, "b", "1");
    let mut client = follow(&server, "topics=a,b&from=earliest");
    let before = std::iter::from_fn(|| Some(client.message().topic)).position(|topic| topic == "b");
    assert!(
        before.is_some_and(|before| before <= 2),
        "{before:?} messages of a came before the one of b"
    );
}

#[test]
fn two_clients_of_one_name_are_two_clients() {
    let server = Server::start(TOPICS);
    let mut twins: [Client; 2] = [follow(&server, "name=twin"), follow(&server, "name=twin")];
    publish(&server, "a", "1");
    assert!(twins.iter_mut().all(|twin| twin.message().data == 1));
    let sessions: Vec<_> = (1..=2)
        .map(|n| server.event("joined", |joined| joined["session"] == n))
        .collect();
    assert!(sessions.iter().all(|joined| joined["client"] == "twin"));
}

#[track_caller]
fn publish(server: &Server, topic: &str, json: &str) {
    let answer = post(server, &format!("/topics/{topic}/messages"), "application/json", json);
    assert_eq!(answer.status, 201, "{answer:?}");
}
