//! One server at a time fills a topic; another takes over when it dies, and nothing is made twice.

use std::time::{Duration, Instant};

use nats_cluster::{Settings, Stored};
use rustix::process::Signal;
use serde_json::json;

use crate::stage::Stage;
use crate::support::client::follow;
use crate::support::eventually;

/// Kills the server that fills the topic, as often as there are others. Which it is, is found out by killing: the feed stops, or not.
#[test]
fn another_server_takes_over_when_one_dies_and_offsets_go_on() {
    let Some(stage) = Stage::set("take_over", &Settings::one()) else {
        return;
    };
    let spec = "arrays=arrays?every=20ms&burst=2";
    let (a, b, c) = (stage.serve(spec, &[]), stage.serve(spec, &[]), stage.serve(spec, &[]));
    let mut client = follow(&c, "topics=arrays&from=earliest");
    let mut messages = client.messages(50);
    let mut longest = Duration::ZERO;
    for server in [a, b] {
        server.signal(Signal::KILL);
        let began = Instant::now();
        for _ in 0..60 {
            messages.push(client.message());
        }
        longest = longest.max(began.elapsed());
    }
    assert!(
        messages.iter().map(|message| message.offset).eq(0..170),
        "dense, each once"
    );
    let mut data: Vec<String> = messages.iter().map(|message| message.data.to_string()).collect();
    data.sort();
    data.dedup();
    assert_eq!(data.len(), 170, "nothing is made twice");
    assert!(longest < Duration::from_secs(30), "60 messages took {longest:?}");
}

#[test]
fn a_planned_stop_hands_over_at_once() {
    let Some(stage) = Stage::set("hand_over", &Settings::one()) else {
        return;
    };
    let spec = "users=users?every=50ms";
    let (a, b) = (stage.serve(spec, &[]), stage.serve(spec, &[]));
    let mut client = follow(&b, "topics=users&from=earliest");
    let mut messages = client.messages(5);
    a.source_says("this server fills the topic, from offset 0 on");
    a.interrupt();
    b.source_says("this server fills the topic, from offset ");
    messages.extend(client.messages(20));
    assert!(messages.iter().map(|message| message.offset).eq(0..25));
}

/// It believes that the key is its own, as the last that it knows.
#[test]
fn a_server_that_stood_still_and_leaves_takes_the_key_from_nobody() {
    let Some(stage) = Stage::set("late_leave", &Settings::one()) else {
        return;
    };
    let spec = "users=users?every=50ms";
    let mut a = stage.serve(spec, &[]);
    a.source_says("this server fills the topic");
    let mut nats = stage.nats.client().expect("it answers");
    let (keys, copy) = ("KV_lapwing_leases", "keys");
    // The bucket itself keeps the newest of each key.
    let config = json!({"name": copy, "mirror": {"name": keys}});
    nats.create_stream(&config).expect("it is made");
    let b = stage.serve(spec, &[]);
    a.signal(Signal::STOP);
    b.source_says("this server fills the topic");
    a.interrupt();
    a.signal(Signal::CONT);
    assert!(a.wait().success());
    let mut last = |name: &str| {
        let info = nats.stream(name).expect("it answers").expect("it is there");
        info["state"]["last_seq"].as_u64().expect("a number")
    };
    let written = last(keys);
    eventually("all that became of the key is known", || last(copy) >= written);
    let mut deleted = 0;
    let look = |stored: Stored| deleted += u32::from(stored.headers.contains("KV-Operation: DEL"));
    nats.read(copy, look).expect("it is read");
    assert_eq!(deleted, 0);
}

#[test]
fn why_no_server_can_fill_a_topic_is_told() {
    let Some(stage) = Stage::set("no_key", &Settings::one()) else {
        return;
    };
    // Somebody else's stream has what the keys would lie in.
    let config = json!({"name": "other", "subjects": ["$KV.lapwing_leases.>"]});
    let mut nats = stage.nats.client().expect("it answers");
    nats.create_stream(&config).expect("it is made");
    let a = stage.serve("users=users?every=50ms", &[]);
    let told = a.source_says("this server cannot take its turn to fill the topic");
    assert!(told.contains("overlap"), "{told}");
    nats.delete_stream("other").expect("it is deleted");
    a.source_says("this server fills the topic, from offset 0 on");
}
