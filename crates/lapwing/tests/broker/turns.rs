//! One server at a time fills a topic; another takes over when it dies, and nothing is made twice.

use std::time::{Duration, Instant};

use nats_cluster::Settings;
use rustix::process::Signal;

use crate::stage::Stage;
use crate::support::client::follow;

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
