//! A position means the same on every server, whatever of it this one holds in memory.

use nats_cluster::Settings;
use serde_json::{Value, json};

use crate::stage::Stage;
use crate::support::client::{Client, follow, speak};
use crate::support::eventually;
use crate::support::http::{get, post};
use crate::support::server::Server;

#[track_caller]
pub fn publish(server: &Server, numbers: std::ops::Range<u64>) {
    for first in numbers.clone().step_by(500) {
        let body: String = (first..(first + 500).min(numbers.end))
            .map(|n| format!("{{\"n\":{n}}}\n"))
            .collect();
        let answer = post(server, "/topics/feed/messages", "application/x-ndjson", body);
        assert_eq!(answer.status, 201, "{}", answer.body);
        assert_eq!(answer.json()["level"], "external");
    }
}

/// What the server says of its topic.
pub fn topic(server: &Server) -> Value {
    let topics = get(server, "/api/topics").json();
    topics["topics"][0].clone()
}

/// A client that goes on from here, and what it is granted.
pub fn subscribe(server: &Server, epoch: &str, offset: u64) -> (Client, Value) {
    let mut client = speak(server, "");
    client.command(&json!({"type": "subscribe", "topic": "feed", "epoch": epoch, "offset": offset}));
    let granted = client.find_control("subscribed");
    (client, granted)
}

#[test]
fn h6_servers_give_the_same_offsets_and_epoch_to_the_same_messages() {
    let Some(stage) = Stage::set("h6_same_offsets", &Settings::one()) else {
        return;
    };
    let (a, b) = (stage.serve("feed=push", &[]), stage.serve("feed=push", &[]));
    let (mut from_a, mut from_b) = (follow(&a, "topics=feed"), follow(&b, "topics=feed"));
    publish(&a, 0..10);
    publish(&b, 10..20);
    let (at_a, at_b) = (from_a.messages(20), from_b.messages(20));
    assert_eq!(at_a, at_b, "offsets, times and data are those of the stream");
    let order: Vec<u64> = at_a.iter().map(|message| message.offset).collect();
    assert_eq!(order, (0..20).collect::<Vec<_>>());
    let data: Vec<_> = at_a.iter().map(|message| message.data["n"].as_u64()).collect();
    assert_eq!(data, (0..20).map(Some).collect::<Vec<_>>());
    assert_eq!(topic(&a)["epoch"], topic(&b)["epoch"]);
}

#[test]
fn h6_a_client_goes_on_at_another_server_where_it_was() {
    let Some(stage) = Stage::set("h6_goes_on", &Settings::one()) else {
        return;
    };
    let (a, b) = (stage.serve("feed=push", &[]), stage.serve("feed=push", &[]));
    publish(&a, 0..6);
    let epoch = topic(&a)["epoch"].as_str().expect("an epoch").to_owned();
    let (mut client, granted) = subscribe(&b, &epoch, 4);
    assert_eq!(
        (&granted["answer"], &granted["from"]),
        (&json!("ok"), &json!(4)),
        "{granted}"
    );
    assert_eq!(granted["level"], "external");
    let messages = client.messages(2);
    assert_eq!(messages[1].offset, 5);
}

/// It waits where a place that the stream does not have would be refused at once on a server alone.
#[test]
fn a_place_beyond_the_stream_is_refused_when_the_stream_has_said_so() {
    let Some(stage) = Stage::set("beyond", &Settings::one()) else {
        return;
    };
    let a = stage.serve("feed=push", &[]);
    publish(&a, 0..6);
    let epoch = topic(&a)["epoch"].as_str().expect("an epoch").to_owned();
    let answer = crate::support::bearer::ask_stream(&a, &format!("/?topics=feed&from=feed@{epoch}:7"), &[]);
    assert_eq!(answer.status, 409, "{}", answer.body);
    let (_, granted) = subscribe(&a, &epoch, 7);
    assert_eq!(
        (&granted["answer"], &granted["from"]),
        (&json!("reset"), &json!(0)),
        "{granted}"
    );
    let last = follow(&a, &format!("topics=feed&from=feed@{epoch}:5")).message();
    assert_eq!(last.offset, 5);
}

#[test]
fn what_memory_has_let_go_comes_from_the_stream_as_it_was() {
    let Some(stage) = Stage::set("let_go", &Settings::one()) else {
        return;
    };
    let spec = "feed=push?keep_bytes=1MiB";
    let (a, b) = (stage.serve(spec, &[]), stage.serve(spec, &[]));
    // Far more than the stream keeps, and more than memory holds of that.
    publish(&a, 0..30_000);
    let first = || topic(&a)["first"].as_u64().expect("an offset");
    eventually("the stream has let go of the first", || first() > 0);
    eventually("the other has it all", || topic(&b)["next"] == 30_000);
    let (mut from_a, mut from_b) = (
        follow(&a, "topics=feed&from=earliest"),
        follow(&b, "topics=feed&from=earliest"),
    );
    let (begin_a, begin_b) = (from_a.message(), from_b.message());
    assert_eq!(begin_a, begin_b);
    let rest = usize::try_from(30_000 - begin_a.offset - 1).expect("few");
    let (rest_a, rest_b) = (from_a.messages(rest), from_b.messages(rest));
    assert_eq!(rest_a, rest_b);
    let offsets = rest_a.iter().map(|message| message.offset);
    assert!(offsets.eq(begin_a.offset + 1..30_000));
    assert!(rest_a.iter().all(|message| message.data["n"] == message.offset));
}

#[test]
fn a_server_that_comes_later_has_what_is_there() {
    let Some(stage) = Stage::set("later", &Settings::one()) else {
        return;
    };
    let a = stage.serve("feed=push", &[]);
    publish(&a, 0..100);
    let b = stage.serve("feed=push", &[]);
    let messages = follow(&b, "topics=feed&from=earliest").messages(100);
    assert!(messages.iter().map(|message| message.offset).eq(0..100));
    let last = follow(&b, "topics=feed&from=last:1").message();
    assert_eq!(last, messages[99]);
}

#[test]
fn events_and_bare_payloads_are_those_of_the_stream_too() {
    let Some(stage) = Stage::set("views", &Settings::one()) else {
        return;
    };
    let (a, b) = (stage.serve("feed=push", &[]), stage.serve("feed=push", &[]));
    publish(&a, 0..5);
    let offsets = crate::support::events::events(&b, "/topics/feed/events?from=earliest").offsets(5);
    assert_eq!(offsets, [0, 1, 2, 3, 4]);
    let mut bare = follow(&b, "topics=feed&from=earliest&envelope=off");
    assert_eq!(bare.text(), "{\"n\":0}");
}

/// Memory begins where the server did; what is asked for lies before that.
#[test]
fn the_last_so_many_seconds_are_found_in_the_stream_where_memory_does_not_go_back_so_far() {
    let Some(stage) = Stage::set("ago", &Settings::one()) else {
        return;
    };
    let spec = "feed=push?keep_bytes=1MiB";
    let a = stage.serve(spec, &[]);
    publish(&a, 0..30_000);
    eventually("all is there", || topic(&a)["next"] == 30_000);
    let earliest = follow(&a, "topics=feed&from=earliest").message();
    eventually("it is known what the stream has let go", || {
        topic(&a)["first"] == earliest.offset
    });
    let message = follow(&a, "topics=feed&from=-1h").message();
    assert_eq!(message, earliest);
    let mut client = speak(&a, "");
    client.command(&json!({"type": "subscribe", "topic": "feed", "from": "-1h"}));
    let granted = client.find_control("subscribed");
    assert_eq!(granted["from"], earliest.offset, "{granted}");
}
