//! Sources that are held to a pace.

use crate::support::client::follow;
use crate::support::server::Plan;

/// Never faster than asked: a late machine can only make a feed slower.
#[test]
fn item_6_a_paced_source_is_held_to_its_rate() {
    let mut server = Plan::new(&["--topic", "feed=stdin?rate=100/s"]).stdin().start();
    let mut client = follow(&server, "topics=feed");
    server.feed((0..51).map(|n| format!("{n}\n")).collect::<String>());
    let messages = client.messages(51);
    assert!(
        messages.iter().enumerate().all(|(at, message)| message.data == at),
        "in order, none left out"
    );
    let time = |at: usize| messages[at].time.parse::<jiff::Timestamp>().unwrap();
    let span = time(50).duration_since(time(0)).unsigned_abs();
    assert!(
        span.as_millis() >= 480,
        "50 messages at 100 a second take half a second, not {span:?}"
    );
}

#[test]
fn item_6_a_source_without_a_pace_waits_for_nothing() {
    let mut server = Plan::new(&["--topic", "feed=stdin"]).stdin().start();
    let mut client = follow(&server, "topics=feed");
    server.feed((0..1000).map(|n| format!("{n}\n")).collect::<String>());
    let messages = client.messages(1000);
    let times: std::collections::BTreeSet<_> = messages.iter().map(|message| &message.time).collect();
    assert!(
        times.len() < 100,
        "lines of one read are appended together: {}",
        times.len()
    );
}

#[test]
fn item_6_a_generator_keeps_its_pace_without_drift() {
    let server = Plan::new(&["--topic", "users=users?every=10ms"]).start();
    let messages = follow(&server, "topics=users&from=earliest").messages(101);
    let time = |at: usize| messages[at].time.parse::<jiff::Timestamp>().unwrap();
    // The last may be late by the machine's noise, but the schedule is from the first: no earlier than a second.
    let span = time(100).duration_since(time(0)).unsigned_abs();
    assert!(span.as_millis() >= 950, "{span:?}");
}
