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

/// Its key expired, and so did that of the server which had it meanwhile: it finds none, and could take it for its own.
#[test]
fn a_server_that_stood_still_through_the_turn_of_another_begins_a_new_one() {
    let Some(stage) = Stage::set("late_turn", &Settings::one()) else {
        return;
    };
    let script = stage.folder.path().join("counter.sh");
    std::fs::write(&script, "while :; do echo $$; sleep 0.05; done").expect("room");
    let spec = format!("runs=exec:sh {}?restart=always", script.display());
    let a = stage.serve(&spec, &[]);
    a.source_says("this server fills the topic");
    follow(&a, "topics=runs&from=earliest").messages(3);
    let mut b = stage.serve(&spec, &[]);
    a.signal(Signal::STOP);
    let took = b.source_says("this server fills the topic, from offset ");
    let began = took.rsplit(' ').nth(1).and_then(|offset| offset.parse().ok());
    let mut client = follow(&b, "topics=runs&from=earliest");
    while client.message().offset < began.expect("an offset") {}
    b.signal(Signal::KILL);
    b.wait();
    let mut nats = stage.nats.client().expect("it answers");
    eventually("the key of the other has expired", || {
        let info = nats
            .stream("KV_lapwing_leases")
            .expect("it answers")
            .expect("it is there");
        info["state"]["messages"] == 0
    });
    a.signal(Signal::CONT);
    a.source_says("another server fills the topic now");
    let mut client = follow(&a, "topics=runs&from=earliest");
    let mut runs = Vec::new();
    while runs.len() < 3 {
        let run = client.message().data;
        if runs.last() != Some(&run) {
            assert!(!runs.contains(&run), "{run} is back after {runs:?}");
            runs.push(run);
        }
    }
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
