//! The broker is away: clients keep what is here and are told, publishers are told to come again, and everything goes on by itself.

use std::fs::File;
use std::io::Write as _;
use std::time::{Duration, Instant};

use nats_cluster::{Client, Settings};
use serde_json::{Value, json};

use crate::positions::{publish, topic};
use crate::stage::Stage;
use crate::support::client::{Heard, follow, speak};
use crate::support::eventually;
use crate::support::http::post;
use crate::support::server::{Plan, Server};

#[test]
fn h5_while_the_broker_is_away_clients_have_what_is_here_and_are_told() {
    let Some(mut stage) = Stage::set("h5", &Settings::one()) else {
        return;
    };
    let a = stage.serve("feed=push", &["--heartbeat", "100ms"]);
    publish(&a, 0..5);
    let (mut told, mut live) = (speak(&a, "topics=feed"), follow(&a, "topics=feed&from=earliest"));
    live.messages(5);
    stage.nats.node(0).kill();
    let stale = |client: &mut crate::support::client::Client, stale: bool| {
        let expected = if stale { json!(["feed"]) } else { Value::Null };
        eventually("a heartbeat says so", || {
            client.find_control("heartbeat")["stale"] == expected
        });
    };
    stale(&mut told, true);
    // Who comes now gets what is here.
    let late = follow(&a, "topics=feed&from=earliest").messages(5);
    assert!(late.iter().map(|message| message.offset).eq(0..5));
    let refused = post(&a, "/topics/feed/messages", "application/json", "1");
    assert_eq!(refused.status, 503, "{}", refused.body);
    assert_eq!(refused.header("retry-after"), Some("1"));
    assert!(refused.body.contains("nothing was appended"), "{}", refused.body);
    a.source_says("the broker cannot be reached");
    stage.nats.start_all().expect("it comes back");
    stale(&mut told, false);
    eventually("publishing goes on", || {
        post(&a, "/topics/feed/messages", "application/json", "1").status == 201
    });
    assert_eq!(live.message().offset, 5);
}

/// Whoever waits for the stream is let go when that has taken long, and not before: it may be back in a moment.
#[test]
fn who_needs_what_only_the_stream_has_waits_while_the_broker_is_away() {
    let Some(mut stage) = Stage::set("waits", &Settings::one()) else {
        return;
    };
    let a = stage.serve("feed=push?keep_bytes=1MiB", &[]);
    publish(&a, 0..30_000);
    // The stream is full, and holds more than memory does.
    let first = || topic(&a)["first"].as_u64().expect("an offset");
    eventually("the stream has let go of the first", || first() > 0);
    stage.nats.node(0).kill();
    a.source_says("the broker cannot be reached");
    let began = Instant::now();
    let mut client = follow(&a, "topics=feed&from=earliest");
    stage.nats.start_all().expect("it comes back");
    match client.hear() {
        Heard::Text(text) => assert!(text.contains("\"topic\":\"feed\""), "{text}"),
        ended => assert!(began.elapsed() > Duration::from_secs(4), "{ended:?}"),
    }
}

#[test]
fn h1_a_source_goes_on_where_it_was_when_the_broker_was_killed() {
    let Some(mut stage) = Stage::set("h1", &Settings::one()) else {
        return;
    };
    let a = stage.serve("arrays=arrays?every=10ms&burst=3", &[]);
    let mut client = follow(&a, "topics=arrays&from=earliest");
    let mut offsets: Vec<u64> = client.messages(60).iter().map(|message| message.offset).collect();
    for _ in 0..3 {
        stage.nats.node(0).kill();
        stage.nats.start_all().expect("it comes back");
        offsets.extend(client.messages(60).iter().map(|message| message.offset));
    }
    assert!(offsets.into_iter().eq(0..240));
}

#[test]
fn a_consumer_that_vanishes_is_made_again_at_its_place() {
    let Some(stage) = Stage::set("vanished", &Settings::one()) else {
        return;
    };
    let a = stage.serve("feed=push", &[]);
    let mut client = follow(&a, "topics=feed");
    publish(&a, 0..3);
    client.messages(3);
    let mut nats = stage.nats.client().expect("it answers");
    assert_eq!(lose_consumers(&mut nats), 1, "one consumer a topic and server");
    publish(&a, 3..6);
    let messages = client.messages(3);
    assert!(messages.iter().map(|message| message.offset).eq(3..6));
    assert_eq!(topic(&a)["next"], 6);
}

/// Deletes all consumers of the topic; gives how many there were.
pub fn lose_consumers(nats: &mut Client) -> usize {
    let names = nats.api("CONSUMER.NAMES.lapwing_feed", &json!({})).expect("it answers");
    let consumers = names["consumers"].as_array().expect("a list");
    for name in consumers.iter().filter_map(Value::as_str) {
        nats.api(&format!("CONSUMER.DELETE.lapwing_feed.{name}"), &json!({}))
            .expect("it is deleted");
    }
    consumers.len()
}

#[test]
fn however_many_follow_there_is_one_consumer() {
    let Some(stage) = Stage::set("one_consumer", &Settings::one()) else {
        return;
    };
    let a = stage.serve("feed=push", &[]);
    let mut clients: Vec<_> = (0..30).map(|_| follow(&a, "topics=feed")).collect();
    publish(&a, 0..2);
    clients.iter_mut().for_each(|client| drop(client.messages(2)));
    let info = stage
        .nats
        .client()
        .expect("it answers")
        .stream("lapwing_feed")
        .expect("it answers");
    assert_eq!(info.expect("a stream")["state"]["consumer_count"], 1);
}

/// Each server has one of its own, and none waits until another's has ended.
#[test]
fn what_stdin_brings_to_each_server_comes_once_and_in_order_across_an_outage() {
    let Some(mut stage) = Stage::set("stdin", &Settings::one()) else {
        return;
    };
    let url = stage.nats.url();
    let start = || Plan::new(&["--broker", &url, "--topic", "feed=stdin"]).stdin().start();
    let mut servers = [start(), start()];
    let mut client = follow(&servers[0], "topics=feed&from=earliest");
    let feed = |servers: &mut [Server], lines: std::ops::Range<u32>| {
        for (at, server) in servers.iter_mut().enumerate() {
            server.feed(lines.clone().map(|line| format!("[{at},{line}]\n")).collect::<String>());
        }
    };
    feed(&mut servers, 0..5);
    let mut came = client.data(10);
    stage.nats.node(0).kill();
    servers[0].source_says("the broker cannot be reached");
    feed(&mut servers, 5..20);
    stage.nats.start_all().expect("it comes back");
    came.extend(client.data(30));
    for at in 0..2 {
        let lines = came.iter().filter(|line| line[0] == at).map(|line| line[1].clone());
        assert!(lines.eq((0..20).map(|line| json!(line))), "{came:?}");
    }
}

/// The key to fill the topic is gone with the memory of the broker; nobody else takes it, so the source is held back and loses nothing.
#[test]
fn lines_that_come_while_the_broker_is_away_are_published_when_it_is_back() {
    let Some(mut stage) = Stage::set("lines", &Settings::one()) else {
        return;
    };
    let path = stage.folder.path().join("lines");
    let mut lines = File::create(&path).expect("room");
    let a = stage.serve(&format!("feed=file:{}?from=start", path.display()), &[]);
    let mut client = follow(&a, "topics=feed&from=earliest");
    lines.write_all(b"1\n2\n3\n").expect("room");
    assert_eq!(client.data(3), [json!(1), json!(2), json!(3)]);
    stage.nats.node(0).kill();
    a.source_says("the broker cannot be reached");
    for line in 4..=20 {
        writeln!(lines, "{line}").expect("room");
    }
    stage.nats.start_all().expect("it comes back");
    let messages = client.messages(17);
    assert!(messages.iter().map(|message| message.offset).eq(3..20));
    assert!(
        messages
            .iter()
            .map(|message| message.data.as_u64())
            .eq((4..=20).map(Some))
    );
}
