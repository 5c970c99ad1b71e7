//! What others have put into a stream, which its servers would never: it is copied like everything else, or told as a gap.

use nats_cluster::{Client, Settings};
use serde_json::{Value, json};

use crate::positions::{publish, topic};
use crate::stage::Stage;
use crate::support;
use crate::support::client::{Message, follow, speak};
use crate::support::eventually;

/// Bytes where headers belong that no client reads as such: a line without a colon, text that is none, another beginning.
const HEADS: [&[u8]; 3] = [
    b"NATS/1.0\r\nno colon\r\n\r\n",
    b"NATS/1.0\r\nA: \xff\r\n\r\n",
    b"garbage",
];

#[test]
fn messages_whose_headers_nobody_can_read_are_copied_like_all_others() {
    let Some(stage) = Stage::set("odd_headers", &Settings::one()) else {
        return;
    };
    let a = stage.serve("feed=push", &[]);
    let mut client = follow(&a, "topics=feed&from=earliest");
    publish(&a, 0..3);
    let mut nats = stage.nats.client().expect("it answers");
    put_odd(&mut nats);
    nats.put("lapwing.feed", None, b"{\"n\":6}").expect("it is taken");
    eventually("they are copied", || topic(&a)["next"] == 7);
    let live = client.messages(7);
    check_numbers(&live, 0..7);
    // It ends with one of them, and is looked at from there.
    put_odd(&mut nats);
    eventually("they are copied, too", || topic(&a)["next"] == 10);
    client.messages(3);
    let b = stage.serve("feed=push", &[]);
    let late = follow(&b, "topics=feed&from=earliest").messages(10);
    assert_eq!(late[..7], live[..], "another server makes the same of them");
    publish(&b, 10..12);
    check_numbers(&client.messages(2), 10..12);
}

#[test]
fn messages_whose_headers_nobody_can_read_are_brought_from_the_stream_like_all_others() {
    let Some(stage) = Stage::set("odd_headers_history", &Settings::one()) else {
        return;
    };
    let a = stage.serve("feed=push?keep_bytes=64MiB", &[]);
    publish(&a, 0..100);
    let mut nats = stage.nats.client().expect("it answers");
    for n in 100..103 {
        put_odd_numbered(&mut nats, n);
    }
    eventually("they are copied", || topic(&a)["next"] == 103);
    publish(&a, 103..20_000);
    // One with less memory than the stream has.
    let b = stage.serve("feed=push?keep_bytes=1MiB", &["--adopt"]);
    check_numbers(&follow(&b, "topics=feed&from=earliest").messages(2_000), 0..2_000);
    check_numbers(&follow(&b, "topics=feed&from=101").messages(2_000), 101..2_101);
}

/// A log takes 16 MiB at most, and a stream takes what its servers are set to.
#[test]
fn a_message_longer_than_a_log_takes_is_a_gap_that_is_told_once() {
    let settings = Settings {
        payload_bytes_max: Some(24 << 20),
        ..Settings::one()
    };
    let Some(stage) = Stage::set("odd_length", &settings) else {
        return;
    };
    let a = stage.serve("feed=push?keep_bytes=64MiB", &[]);
    let mut client = speak(&a, "topics=feed&from=earliest");
    publish(&a, 0..1);
    client.find_control("subscribed");
    assert_eq!(find_message(&mut client).offset, 0);
    let mut nats = stage.nats.client().expect("it answers");
    let long = format!("\"{}\"", "x".repeat(17 << 20));
    nats.put("lapwing.feed", None, long.as_bytes()).expect("it is taken");
    let gap = client.find_control("gap");
    assert_eq!((&gap["from"], &gap["to"]), (&json!(1), &json!(2)), "{gap}");
    assert_eq!(topic(&a)["next"], 2, "it is behind the message, though nothing follows");
    // A server that begins with it, which is also the last.
    let b = stage.serve("feed=push?keep_bytes=1MiB", &["--adopt"]);
    for server in [&a, &b] {
        eventually("it has everything", || topic(server)["next"] == 2);
        let mut late = speak(server, "topics=feed&from=earliest");
        late.find_control("subscribed");
        assert_eq!(find_message(&mut late).offset, 0);
        let gap = late.find_control("gap");
        assert_eq!((&gap["from"], &gap["to"]), (&json!(1), &json!(2)), "{gap}");
    }
    publish(&a, 2..3);
    assert_eq!(find_message(&mut client).offset, 2);
    let told = a.events("source");
    let left_out = |event: &&Value| event["text"].as_str().is_some_and(|text| text.contains("is left out"));
    assert_eq!(told.iter().filter(left_out).count(), 1, "{told:?}");
}

/// The next message, whatever is said between.
#[track_caller]
fn find_message(client: &mut support::client::Client) -> Message {
    let mut messages = std::iter::from_fn(|| Some(serde_json::from_str(&client.text()).ok()));
    messages
        .find_map(|message| message)
        .expect("text comes, or the test ends")
}

fn put_odd(nats: &mut Client) {
    for (head, n) in HEADS.into_iter().zip(3..) {
        let payload = format!("{{\"n\":{n}}}");
        nats.put_behind("lapwing.feed", head, payload.as_bytes())
            .expect("it is taken");
    }
}

fn put_odd_numbered(nats: &mut Client, n: usize) {
    let payload = format!("{{\"n\":{n}}}");
    nats.put_behind("lapwing.feed", HEADS[n % HEADS.len()], payload.as_bytes())
        .expect("it is taken");
}

#[track_caller]
fn check_numbers(messages: &[Message], expected: std::ops::Range<u64>) {
    let numbers = messages
        .iter()
        .map(|message| (message.offset, message.data["n"].as_u64()));
    assert!(numbers.eq(expected.map(|n| (n, Some(n)))), "{messages:?}");
}
