//! A stream that is not what it was: clients are told, and no two servers tell it differently.

use nats_cluster::Settings;
use rustix::process::Signal;
use serde_json::json;

use crate::positions::{publish, subscribe, topic};
use crate::stage::Stage;
use crate::support::client::{follow, speak};
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
