//! Standard input as a source.

use serde_json::json;

use crate::support::client::{Heard, follow};
use crate::support::server::Plan;

const FEED: &[&str] = &["--topic", "feed=stdin"];
/// The longest message of a source.
const LINE_BYTES_MAX: usize = 16 << 20;

#[test]
fn item_6_json_lines_become_data_and_other_lines_strings() {
    let mut server = Plan::new(FEED).stdin().start();
    let mut client = follow(&server, "topics=feed");
    server.feed("{\"a\": [1, 2.50], \"b\": \"x\"}\n42\nplain text\n{\"broken\": \n\r\n\"quoted\"\r\nnull\n");
    assert_eq!(
        client.text().split_once("\"data\":").map(|(_, data)| data),
        Some("{\"a\":[1,2.50],\"b\":\"x\"}}"),
        "tokens stay as they were"
    );
    let rest = client.data(6);
    assert_eq!(
        rest,
        [
            json!(42),
            json!("plain text"),
            json!("{\"broken\": "),
            json!(""),
            json!("quoted"),
            json!(null)
        ]
    );
}

#[test]
fn item_6_half_a_line_waits_for_its_end() {
    let mut server = Plan::new(FEED).stdin().start();
    let mut client = follow(&server, "topics=feed");
    server.feed("first\n{\"half\":");
    assert_eq!(client.message().data, "first");
    server.feed("true}\n");
    assert_eq!(client.message().data, json!({"half": true}));
}

#[test]
fn item_6_a_line_that_is_no_utf8_is_told_and_the_feed_goes_on() {
    let mut server = Plan::new(FEED).stdin().start();
    let mut client = follow(&server, "topics=feed");
    server.feed(b"before\nab\xffcd\nafter\n");
    let messages = client.messages(2);
    assert_eq!((messages[0].offset, &messages[0].data), (0, &json!("before")));
    assert_eq!(
        (messages[1].offset, &messages[1].data),
        (1, &json!("after")),
        "no offset is lost"
    );
    assert_eq!(
        server.source_says("left out"),
        "line 2 is left out: invalid UTF-8 at byte 2"
    );
}

#[test]
fn item_6_a_line_at_the_limit_passes_and_one_beyond_is_told_and_the_feed_goes_on() {
    let mut server = Plan::new(FEED).stdin().start();
    let mut client = follow(&server, "topics=feed");
    server.feed([vec![b'x'; LINE_BYTES_MAX], b"\n".to_vec()].concat());
    let Heard::Text(longest) = client.hear() else {
        panic!("a text frame")
    };
    assert!(longest.len() > LINE_BYTES_MAX && longest.contains("\"offset\":0,"));
    server.feed([vec![b'y'; LINE_BYTES_MAX + 1], b"\nafter\n".to_vec()].concat());
    let after = client.message();
    assert_eq!((after.offset, after.data), (1, json!("after")));
    assert_eq!(
        server.source_says("left out"),
        format!(
            "line 2 is left out: {} bytes are over the limit of {LINE_BYTES_MAX}",
            LINE_BYTES_MAX + 1
        )
    );
}

#[test]
fn item_6_the_end_of_standard_input_is_told_and_what_it_said_stays() {
    let mut server = Plan::new(FEED).stdin().start();
    server.feed("one\ntwo\nlast without an end");
    server.end_stdin();
    assert_eq!(server.source_says("ended"), "standard input has ended after 3 lines");
    let data = follow(&server, "topics=feed&from=earliest").data(3);
    assert_eq!(data, [json!("one"), json!("two"), json!("last without an end")]);
    assert!(server.runs());
}

#[test]
fn item_6_a_source_that_ends_with_close_lets_everyone_go_after_everything() {
    let mut server = Plan::new(&["--topic", "feed=stdin?end=close"]).stdin().start();
    let mut early = follow(&server, "topics=feed");
    let lines: String = (0..5000).map(|n| format!("{n}\n")).collect();
    server.feed(lines);
    server.end_stdin();
    for (n, value) in early.data(5000).into_iter().enumerate() {
        assert_eq!(value, n);
    }
    assert_eq!(early.closed(), (1000, "the feed has ended".to_owned()));
    let mut late = follow(&server, "topics=feed&from=4998");
    assert_eq!(late.data(2), [json!(4998), json!(4999)]);
    assert_eq!(late.closed().0, 1000);
    assert!(server.runs());
}

#[test]
fn item_6_who_follows_another_topic_too_stays_when_one_ends() {
    let mut server = Plan::new(&["--topic", "feed=stdin?end=close", "--topic", "users=users?every=10ms"])
        .stdin()
        .start();
    let mut both = follow(&server, "topics=feed,users&from=earliest");
    server.feed("only\n");
    server.end_stdin();
    while both.message().topic != "feed" {}
    let more = both.messages(20);
    assert!(more.iter().all(|message| message.topic == "users"));
}

#[test]
fn item_6_a_source_may_wait_for_its_first_listener() {
    let mut server = Plan::new(&[
        "--topic",
        "feed=stdin?start=listener&end=close",
        "--topic",
        "other=push",
    ])
    .stdin()
    .start();
    server.feed("one\ntwo\n");
    server.end_stdin();
    // Someone who follows something else is no listener of it.
    drop(follow(&server, "topics=other"));
    server.event("left", |_| true);
    assert!(server.events("source").is_empty(), "nothing was read yet");
    let mut first = follow(&server, "topics=feed");
    assert_eq!(first.data(2), [json!("one"), json!("two")], "it missed nothing");
    assert_eq!(first.closed().0, 1000);
}
