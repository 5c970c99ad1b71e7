//! Servers that lose, repeat and disorder.

use lapwing_wire::control::ServerMessage;
use lapwing_wire::position::Offset;
use serde_json::Value;

use crate::feed::{Feed, Guest, granted, topic};
use crate::program::lapwing;
use crate::rig::{SHORT, looked_at, object, start};

/// Loads a feed that greets two listeners and then does what `misbehave` says to the first, and all right to the second.
#[track_caller]
fn check(code: i32, misbehave: impl FnOnce(&mut Guest)) -> Value {
    let feed = Feed::bind();
    let bench = start(&feed.url(), &[SHORT, &["--clients", "2"]].concat());
    looked_at(&feed);
    let mut guests: Vec<_> = (0..2).map(|_| feed.accept_lapwing()).collect();
    for guest in &mut guests {
        guest.welcome(&["users"]);
        assert_eq!(guest.subscribe().topic, None);
        guest.grant(&granted("users", 1, 10));
    }
    misbehave(&mut guests[0]);
    guests[1].messages("users", 10..20);
    for guest in guests {
        assert_eq!(guest.until_closed().1, Some(1000));
    }
    object(&bench.finish().with_code(code))
}

#[track_caller]
fn check_counts(found: &Value, silent: u64, announced: u64, repeated: u64, disordered: u64) {
    let counts = &found["topics"][0];
    let count = |key: &str| counts[key].as_u64().expect("a count");
    let counted = ["missed_silently", "missed_announced", "repeated", "out_of_order"].map(count);
    assert_eq!(counted, [silent, announced, repeated, disordered], "{found:#}");
}

#[test]
fn a_server_that_does_everything_right_is_proven() {
    let found = check(0, |guest| guest.messages("users", 10..20));
    assert_eq!(found["why"], "each of 2 clients received users 10-19 once, in order");
    check_counts(&found, 0, 0, 0, 0);
}

#[test]
fn a_message_lost_without_a_word_is_found() {
    let found = check(3, |guest| {
        guest.messages("users", 10..12);
        guest.messages("users", 14..20);
    });
    check_counts(&found, 2, 0, 0, 0);
    let why = "1 client missed 2 messages, none announced; 0 repeated, 0 out of order";
    assert_eq!((&found["verdict"], &found["why"]), (&"not_proven".into(), &why.into()));
}

#[test]
fn the_first_message_behind_the_grant_may_not_be_missing_either() {
    let found = check(3, |guest| guest.messages("users", 11..20));
    check_counts(&found, 1, 0, 0, 0);
}

#[test]
fn a_gap_that_is_announced_is_told_apart() {
    let found = check(3, |guest| {
        guest.messages("users", 10..12);
        guest.gap("users", 12, 15);
        guest.messages("users", 15..20);
    });
    check_counts(&found, 0, 3, 0, 0);
    assert_eq!(
        found["why"],
        "1 client missed 3 messages, all announced; 0 repeated, 0 out of order"
    );
}

#[test]
fn a_missing_tail_shows_by_the_heartbeat() {
    let feed = Feed::bind();
    let bench = start(&feed.url(), &["--clients", "1", "--for", "4s", "--warm-up", "200ms"]);
    looked_at(&feed);
    let mut guest = feed.accept_lapwing();
    guest.welcome(&["users"]);
    guest.subscribe();
    guest.grant(&granted("users", 1, 10));
    guest.messages("users", 10..15);
    let next = [(topic("users"), Offset::new(17))].into();
    let time = "2026-11-21T19:00:10.000000Z".to_owned();
    guest.control(&ServerMessage::Heartbeat {
        time,
        next,
        stale: Vec::new(),
    });
    assert_eq!(guest.until_closed().1, Some(1000));
    let found = object(&bench.finish().with_code(3));
    check_counts(&found, 2, 0, 0, 0);
}

#[test]
fn a_repeated_message_is_found() {
    let found = check(3, |guest| {
        guest.messages("users", 10..15);
        guest.messages("users", 13..20);
    });
    check_counts(&found, 0, 0, 2, 0);
}

#[test]
fn messages_out_of_order_are_neither_lost_nor_repeated() {
    let found = check(3, |guest| {
        guest.messages("users", 10..12);
        guest.messages("users", 13..14);
        guest.messages("users", 12..13);
        guest.messages("users", 14..20);
    });
    check_counts(&found, 0, 0, 0, 1);
    assert_eq!(found["why"], "0 missed; 0 repeated, 1 out of order");
}

#[test]
fn clients_that_are_cut_off_are_counted_with_the_code_and_prove_nothing() {
    let feed = Feed::bind();
    let bench = start(&feed.url(), &[SHORT, &["--clients", "2"]].concat());
    looked_at(&feed);
    let mut guests: Vec<_> = (0..2).map(|_| feed.accept_plain()).collect();
    guests.iter_mut().for_each(|guest| guest.messages("users", 0..5));
    guests.remove(0).close(4400, "took nothing for 30 s");
    assert_eq!(guests.remove(0).until_closed().1, Some(1000));
    let found = object(&bench.finish().with_code(3));
    assert_eq!(found["ended"]["4400 took nothing for 30 s"], 1, "{found:#}");
    assert_eq!(
        found["why"],
        "0 missed; 0 repeated, 0 out of order; 1 client cut off (4400 took nothing for 30 s)"
    );
}

#[test]
fn a_feed_that_is_over_is_proven_to_its_end() {
    let feed = Feed::bind();
    let bench = start(&feed.url(), &["--clients", "1", "--for", "1h"]);
    looked_at(&feed);
    let mut guest = feed.accept_plain();
    guest.messages("users", 0..5);
    guest.close(1000, "the feed has ended");
    let found = object(&bench.finish().with_code(0));
    assert_eq!(found["why"], "the client received users 0-4 once, in order");
    assert_eq!(found["interrupted"], "deserted");
}

#[test]
fn messages_from_ahead_of_our_clock_have_no_latency_and_are_told() {
    let feed = Feed::bind();
    let bench = lapwing(&[&["bench", &feed.url(), "--clients", "1"], SHORT].concat());
    looked_at(&feed);
    let mut guest = feed.accept_plain();
    let mut offset = 0;
    let ahead = |offset| {
        format!("{{\"topic\":\"users\",\"offset\":{offset},\"time\":\"2201-01-01T00:00:00.000000Z\",\"data\":0}}")
    };
    while guest.try_send(&ahead(offset)) {
        offset += 1;
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    let end = bench.finish().with_code(0);
    let text = end.stdout.join("\n");
    assert!(
        text.contains("clocks differ ") && text.contains(" came before their time"),
        "{text}"
    );
    assert!(end.stdout.iter().all(|line| !line.starts_with("latency")), "{text}");
}
