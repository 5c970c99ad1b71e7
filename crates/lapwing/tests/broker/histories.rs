//! A stream that is not what it was: clients are told, and no two servers tell it differently.

use nats_cluster::Settings;
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::outage::lose_consumers;
use crate::positions::{publish, subscribe, topic};
use crate::stage::Stage;
use crate::support::client::{Heard, follow, speak};
use crate::support::server::Server;
use crate::support::{eventually, http};

#[test]
fn h3_a_stream_made_anew_is_a_new_history() {
    let Some(stage) = Stage::set("h3", &Settings::one()) else {
        return;
    };
    let (a, b) = (stage.serve("feed=push", &[]), stage.serve("feed=push", &[]));
    publish(&a, 0..10);
    let before = topic(&a)["epoch"].as_str().expect("an epoch").to_owned();
    let mut on_a = follow(&a, "topics=feed&from=earliest");
    on_a.messages(10);
    let mut nats = stage.nats.client().expect("it answers");
    nats.delete_stream("lapwing_feed").expect("it is deleted");
    let (code, reason) = on_a.closed();
    assert_eq!(code, 1012, "{reason}");
    assert!(reason.contains("topic feed began a new history retry="), "{reason}");
    eventually("both have the same new epoch", || {
        let (of_a, of_b) = (topic(&a)["epoch"].clone(), topic(&b)["epoch"].clone());
        of_a == of_b && of_a != *before
    });
    publish(&b, 100..103);
    let (mut client, granted) = subscribe(&a, &before, 10);
    assert_eq!(
        (&granted["answer"], &granted["from"]),
        (&json!("reset"), &json!(0)),
        "{granted}"
    );
    let data: Vec<_> = client
        .messages(3)
        .into_iter()
        .map(|message| (message.offset, message.data))
        .collect();
    assert_eq!(
        data,
        [(0, json!({"n": 100})), (1, json!({"n": 101})), (2, json!({"n": 102}))]
    );
}

/// The server has not looked at it yet, and brings what its memory does not have by the stream's name.
#[test]
fn h3_nothing_of_a_stream_made_anew_is_brought_into_the_old_history() {
    let Some(stage) = Stage::set("h3_page", &Settings::one()) else {
        return;
    };
    let a = stage.serve("feed=push?keep_bytes=64MiB", &[]);
    publish(&a, 0..20_000);
    let b = stage.serve("feed=push?keep_bytes=1MiB", &["--adopt"]);
    let before = topic(&b)["epoch"].clone();
    let mut nats = stage.nats.client().expect("it answers");
    let config = nats.stream("lapwing_feed").expect("it answers").expect("a stream")["config"].clone();
    nats.delete_stream("lapwing_feed").expect("it is deleted");
    nats.create_stream(&config).expect("it is made");
    for _ in 0..10 {
        nats.put("lapwing.feed", None, b"\"another\"").expect("it is taken");
    }
    let mut client = speak(&b, "");
    client.command(&json!({"type": "subscribe", "topic": "feed", "epoch": before, "offset": 3}));
    let granted = client.find_control("subscribed");
    if granted["answer"] == "ok" {
        let told = std::iter::from_fn(|| match client.hear() {
            Heard::Text(text) => Some(text),
            Heard::Close(1012 | 1013, _) => None,
            other => panic!("{other:?}"),
        });
        told.for_each(|text| assert!(!text.contains("another"), "{text}"));
    }
    eventually("it has found out", || {
        topic(&b)["epoch"] != before && topic(&b)["next"] == 10
    });
}

#[test]
fn h4_messages_removed_from_the_middle_are_a_gap() {
    let Some(stage) = Stage::set("h4", &Settings::one()) else {
        return;
    };
    let a = stage.serve("feed=push", &[]);
    publish(&a, 0..10);
    let mut nats = stage.nats.client().expect("it answers");
    for sequence in [4, 5, 6] {
        nats.delete("lapwing_feed", sequence).expect("it is deleted");
    }
    let b = stage.serve("feed=push", &[]);
    let mut client = speak(&b, "topics=feed&from=earliest");
    let gap = client.find_control("gap");
    assert_eq!(
        (&gap["from"], &gap["to"], &gap["reason"]),
        (&json!(3), &json!(6), &json!("purge")),
        "{gap}"
    );
    assert_eq!(client.message().offset, 6);
}

#[test]
fn h4_messages_purged_from_the_front_are_a_gap() {
    let Some(stage) = Stage::set("h4_front", &Settings::one()) else {
        return;
    };
    let a = stage.serve("feed=push", &[]);
    publish(&a, 0..10);
    let epoch = topic(&a)["epoch"].as_str().expect("an epoch").to_owned();
    stage
        .nats
        .client()
        .expect("it answers")
        .purge("lapwing_feed", Some(8))
        .expect("it is purged");
    let b = stage.serve("feed=push", &[]);
    let (mut client, granted) = subscribe(&b, &epoch, 2);
    assert_eq!(
        (&granted["answer"], &granted["from"]),
        (&json!("gap"), &json!(7)),
        "{granted}"
    );
    assert_eq!(client.message().offset, 7);
}

/// As a power cut of a disk that had not synced: what was acknowledged is gone, and the stream is otherwise the same.
#[test]
fn h2_a_stream_that_came_back_shorter_is_a_new_history_from_there_on() {
    let Some(mut stage) = Stage::set("h2", &Settings::one()) else {
        return;
    };
    let (a, b) = (stage.serve("feed=push", &[]), stage.serve("feed=push", &[]));
    publish(&a, 0..5);
    eventually("the other has them", || topic(&b)["next"] == 5);
    let before = topic(&a)["epoch"].as_str().expect("an epoch").to_owned();
    let copy = stage.folder.path().join("earlier");
    stage.nats.node(0).stop();
    stage.nats.node(0).copy_store(&copy).expect("it is copied");
    stage.nats.start_all().expect("it comes back");
    eventually("publishing goes on", || {
        http::post(&a, "/topics/feed/messages", "application/json", "{\"n\":5}").status == 201
    });
    publish(&a, 6..9);
    eventually("the other has them", || topic(&b)["next"] == 9);
    stage.nats.node(0).kill();
    stage.nats.node(0).replace_store(&copy).expect("it is replaced");
    stage.nats.start_all().expect("it comes back");
    for server in [&a, &b] {
        eventually("it has found out", || {
            topic(server)["epoch"] != *before && topic(server)["next"] == 5
        });
    }
    assert_eq!(topic(&a)["epoch"], topic(&b)["epoch"], "they agree");
    for server in [&a, &b] {
        let (_, granted) = subscribe(server, &before, 8);
        assert_eq!(
            (&granted["answer"], &granted["diverged_at"]),
            (&json!("diverged"), &json!(5)),
            "{granted}"
        );
        let (_, granted) = subscribe(server, &before, 4);
        assert_eq!(
            (&granted["answer"], &granted["from"]),
            (&json!("ok"), &json!(4)),
            "{granted}"
        );
    }
}

/// It has grown beyond its old end before anybody looked: only that its messages are others tells it.
#[test]
fn h2_a_stream_that_lost_its_tail_and_grew_again_is_found_out() {
    let Some(mut stage) = Stage::set("h2_grew", &Settings::one()) else {
        return;
    };
    let a = stage.serve("feed=push", &[]);
    publish(&a, 0..5);
    let copy = stage.folder.path().join("earlier");
    stage.nats.node(0).stop();
    stage.nats.node(0).copy_store(&copy).expect("it is copied");
    stage.nats.start_all().expect("it comes back");
    eventually("publishing goes on", || {
        http::post(&a, "/topics/feed/messages", "application/json", "{\"n\":5}").status == 201
    });
    eventually("it is copied", || topic(&a)["next"] == 6);
    let before = topic(&a)["epoch"].as_str().expect("an epoch").to_owned();
    stage.nats.node(0).kill();
    stage.nats.node(0).replace_store(&copy).expect("it is replaced");
    a.signal(Signal::STOP);
    stage.nats.start_all().expect("it comes back");
    let mut nats = stage.nats.client().expect("it answers");
    for _ in 0..10 {
        nats.put("lapwing.feed", None, b"7").expect("it is taken");
    }
    a.signal(Signal::CONT);
    eventually("it has found out", || {
        topic(&a)["epoch"] != *before && topic(&a)["next"] == 15
    });
    let data = follow(&a, "topics=feed&from=5").data(10);
    assert!(data.iter().all(|data| *data == 7), "{data:?}");
}

/// What agrees about histories was cut off from power too, and has an earlier record again.
#[test]
fn h2_a_record_of_histories_that_went_back_takes_no_server_back() {
    let Some(stage) = Stage::set("h2_record", &Settings::one()) else {
        return;
    };
    let (a, b) = (stage.serve("feed=push", &[]), stage.serve("feed=push", &[]));
    publish(&a, 0..5);
    let first = epochs_agreed(&a, &b, |_| true);
    let earlier = record(&stage);
    // As another server does; these learn it though nothing happens to them.
    write_record(&stage, &newer(&earlier));
    let second = epochs_agreed(&a, &b, |epoch| *epoch != first);
    write_record(&stage, &earlier);
    look_again(&stage, &b);
    look_again(&stage, &a);
    let third = epochs_agreed(&a, &b, |epoch| *epoch != second);
    assert_ne!(
        third, first,
        "an offset of the first history may be another message now"
    );
    let mut client = speak(&a, "");
    client.command(&json!({"type": "subscribe", "topic": "feed", "epoch": first, "offset": 3}));
    assert_eq!(client.find_control("subscribed")["answer"], "reset");
}

#[test]
fn h2_a_record_of_histories_that_is_gone_is_written_down_again() {
    let Some(stage) = Stage::set("h2_record_gone", &Settings::one()) else {
        return;
    };
    let (a, b) = (stage.serve("feed=push", &[]), stage.serve("feed=push", &[]));
    publish(&a, 0..5);
    let first = epochs_agreed(&a, &b, |_| true);
    let later = newer(&record(&stage));
    write_record(&stage, &later);
    look_again(&stage, &a);
    let second = epochs_agreed(&a, &b, |epoch| *epoch != first);
    let mut nats = stage.nats.client().expect("it answers");
    nats.delete_stream("KV_lapwing_histories").expect("it is deleted");
    look_again(&stage, &b);
    eventually("it is there again", || {
        let mut there = Vec::new();
        let read = nats.read("KV_lapwing_histories", |stored| there.push(stored.payload));
        read.is_ok() && there.last().is_some_and(|record| parsed(record) == parsed(&later))
    });
    look_again(&stage, &a);
    assert_eq!(epochs_agreed(&a, &b, |_| true), second);
}

/// The epoch of both, once they have the same and it is as wanted.
#[track_caller]
fn epochs_agreed(a: &Server, b: &Server, wanted: impl Fn(&Value) -> bool) -> Value {
    let epoch = |server| topic(server)["epoch"].clone();
    eventually("both have the same history", || {
        wanted(&epoch(a)) && epoch(a) == epoch(b)
    });
    epoch(a)
}

/// The record of histories, as it lies there.
fn record(stage: &Stage) -> Vec<u8> {
    let mut newest = Vec::new();
    let mut nats = stage.nats.client().expect("it answers");
    nats.read("KV_lapwing_histories", |stored| newest = stored.payload)
        .expect("it can be read");
    newest
}

fn write_record(stage: &Stage, record: &[u8]) {
    let mut nats = stage.nats.client().expect("it answers");
    nats.put("$KV.lapwing_histories.feed", None, record)
        .expect("it is taken");
}

fn newer(record: &[u8]) -> Vec<u8> {
    let mut record = parsed(record);
    record["breaks"] = json!(1);
    record.to_string().into_bytes()
}

fn parsed(record: &[u8]) -> Value {
    serde_json::from_slice(record).expect("a record is JSON")
}

/// Every server loses its consumer, and finds out what the stream is before it copies on.
fn look_again(stage: &Stage, server: &Server) {
    let mut nats = stage.nats.client().expect("it answers");
    lose_consumers(&mut nats);
    let posted = http::post(server, "/topics/feed/messages", "application/json", "1");
    assert_eq!(posted.status, 201, "{}", posted.body);
    let end = posted.json()["last"].as_u64().map(|last| last + 1);
    eventually("it is copied", || topic(server)["next"].as_u64() >= end);
}
