//! The subprotocol `lapwing.v1`: what the server says between messages, and what it is told.

use serde_json::{Value, json};

use crate::support::client::{follow, follow_slowly, speak, speak_slowly};
use crate::support::eventually;
use crate::support::http::post;
use crate::support::server::Server;

const TOPICS: &[&str] = &["--topic", "a=push", "--topic", "b=push"];

#[test]
fn welcome_comes_first_and_subscribed_before_the_first_message() {
    let server = Server::start(TOPICS);
    for n in 0..3 {
        publish(&server, "a", &n.to_string());
    }
    let mut client = speak(&server, "topics=a&from=1&name=sensor-1");
    let welcome = client.control("welcome");
    assert_eq!(welcome["session"], 1);
    assert_eq!(welcome["name"], "sensor-1");
    assert_eq!(welcome["topics"], json!(["a", "b"]));
    assert_eq!(welcome["report_interval_ms"], 1000);
    assert_eq!(welcome["heartbeat_ms"], 10_000);
    assert!(
        welcome["server"]
            .as_str()
            .is_some_and(|server| server.starts_with("lapwing/"))
    );
    let subscribed = client.control("subscribed");
    let epoch = subscribed["epoch"].as_str().unwrap();
    assert_eq!(epoch.len(), 32, "{epoch}");
    assert_eq!(
        subscribed,
        json!({"type": "subscribed", "topic": "a", "epoch": epoch, "first": 0, "next": 3, "level": "none", "from": 1, "answer": "ok"})
    );
    assert_eq!(client.data(2), [json!(1), json!(2)]);
}

#[test]
fn without_topics_nothing_comes_until_it_subscribes() {
    let server = Server::start(TOPICS);
    let mut client = speak(&server, "");
    publish(&server, "a", "1");
    client.command(&json!({"type": "subscribe", "topic": "b"}));
    client.control("welcome");
    assert_eq!(client.control("subscribed")["topic"], "b");
    publish(&server, "a", "2");
    publish(&server, "b", "3");
    assert_eq!(client.message().data, 3);
    client.command(&json!({"type": "subscribe", "topic": "a", "from": "last:1"}));
    assert_eq!(client.control("subscribed")["from"], 1);
    assert_eq!(client.message().data, 2);
    assert_eq!(server.event("joined", |_| true)["mode"], "lapwing.v1");
}

#[test]
fn a_subscribe_without_a_topic_means_all() {
    let server = Server::start(TOPICS);
    publish(&server, "a", "1");
    publish(&server, "b", "2");
    let mut client = speak(&server, "");
    client.command(&json!({"type": "subscribe", "from": "earliest"}));
    client.control("welcome");
    let topics = [client.control("subscribed"), client.control("subscribed")];
    assert_eq!(
        topics.map(|subscribed| subscribed["topic"].clone()),
        [json!("a"), json!("b")]
    );
    let mut data = client.data(2);
    data.sort_by_key(Value::as_i64);
    assert_eq!(data, [json!(1), json!(2)]);
}

#[test]
fn a_position_of_this_history_is_resumed_and_any_other_is_a_reset() {
    let server = Server::start(TOPICS);
    for n in 0..5 {
        publish(&server, "a", &n.to_string());
    }
    let mut client = speak(&server, "topics=a");
    client.control("welcome");
    let epoch = client.control("subscribed")["epoch"].as_str().unwrap().to_owned();
    let mut ask = |epoch: &str, offset: u64, answer: &str, from: u64| {
        client.command(&json!({"type": "subscribe", "topic": "a", "epoch": epoch, "offset": offset}));
        let subscribed = client.control("subscribed");
        assert_eq!(
            (&subscribed["answer"], &subscribed["from"]),
            (&json!(answer), &json!(from)),
            "{subscribed}"
        );
        for offset in from..5 {
            assert_eq!(client.message().offset, offset);
        }
    };
    ask(&epoch, 3, "ok", 3);
    ask(&epoch, 5, "ok", 5);
    ask(&epoch, 6, "reset", 0);
    ask("0123456789abcdef0123456789abcdef", 3, "reset", 0);
}

#[test]
fn an_offset_that_is_no_longer_kept_is_granted_with_a_gap() {
    let server = Server::start(&["--topic", "small=push?keep_bytes=64KiB"]);
    fill(&server, 200, 1000);
    let mut client = speak(&server, "");
    client.control("welcome");
    client.command(&json!({"type": "subscribe", "topic": "small", "offset": 2}));
    let subscribed = client.control("subscribed");
    assert_eq!(
        (&subscribed["answer"], &subscribed["missing_from"]),
        (&json!("gap"), &json!(2)),
        "{subscribed}"
    );
    let from = subscribed["from"].as_u64().unwrap();
    assert_eq!(subscribed["first"], from);
    assert!(from > 100, "{subscribed}");
    assert_eq!(client.message().offset, from);
    let gap = server.event("gap", |_| true);
    assert_eq!((gap["from"].as_u64(), gap["to"].as_u64()), (Some(2), Some(from)));
}

#[test]
fn b2_a_client_that_retention_overtakes_is_told_of_every_gap() {
    let server = Server::start(&["--topic", "small=push?keep_bytes=64KiB"]);
    let mut client = speak_slowly(&server, "topics=small");
    client.control("welcome");
    client.control("subscribed");
    const COUNT: u64 = 200;
    // Megabytes: neither the kernel's buffers nor the topic keep them.
    fill(&server, COUNT, 50_000);
    let (mut next, mut gaps, mut missed) = (0, 0, 0);
    while next < COUNT {
        let text = client.text();
        let said: Value = serde_json::from_str(&text).unwrap();
        if said["type"] == "gap" {
            assert_eq!(said["from"], next, "a gap begins where delivery was");
            assert_eq!(
                (&said["topic"], &said["reason"]),
                (&json!("small"), &json!("retention"))
            );
            let to = said["to"].as_u64().unwrap();
            (gaps, missed, next) = (gaps + 1, missed + to - next, to);
        } else {
            assert_eq!(said["offset"], next, "no jump without a gap that says so");
            next += 1;
        }
    }
    assert!(gaps > 0 && missed > 0, "retention has passed it");
    let count = |event: &Value| event["to"].as_u64().unwrap() - event["from"].as_u64().unwrap();
    eventually("the console says the same", || {
        server.events("gap").iter().map(count).sum::<u64>() == missed
    });
}

#[test]
fn b2_a_plain_client_that_retention_overtakes_sees_offsets_jump_and_nothing_else() {
    let server = Server::start(&["--topic", "small=push?keep_bytes=64KiB"]);
    let mut client = follow_slowly(&server, "topics=small");
    const COUNT: u64 = 200;
    fill(&server, COUNT, 50_000);
    let mut offsets = Vec::new();
    while offsets.last() != Some(&(COUNT - 1)) {
        offsets.push(client.message().offset);
    }
    assert!(offsets.is_sorted_by(|one, next| one < next), "{offsets:?}");
    assert!(offsets.len() < COUNT as usize, "some are gone");
    let mut next = 0;
    let jumps: Vec<(u64, u64)> = offsets
        .iter()
        .map(|offset| (std::mem::replace(&mut next, offset + 1), *offset))
        .filter(|(expected, offset)| expected < offset)
        .collect();
    let places = |gap: &Value| (gap["from"].as_u64().unwrap(), gap["to"].as_u64().unwrap());
    eventually("the console tells each jump", || {
        server.events("gap").iter().map(places).eq(jumps.iter().copied())
    });
}

#[test]
fn a_heartbeat_tells_the_next_offset_of_every_topic_followed() {
    let mut args = TOPICS.to_vec();
    args.extend(["--heartbeat", "200ms"]);
    let server = Server::start(&args);
    for n in 0..3 {
        publish(&server, "a", &n.to_string());
    }
    let mut client = speak(&server, "topics=a,b");
    let heartbeat = client.find_control("heartbeat");
    assert_eq!(heartbeat["next"], json!({"a": 3, "b": 0}));
    assert!(
        heartbeat["time"]
            .as_str()
            .is_some_and(|time| time.parse::<jiff::Timestamp>().is_ok())
    );
}

#[test]
fn nothing_of_a_topic_comes_after_it_was_left() {
    let server = Server::start(TOPICS);
    let mut client = speak(&server, "topics=a,b");
    client.control("welcome");
    client.control("subscribed");
    client.control("subscribed");
    publish(&server, "a", "1");
    assert_eq!(client.message().data, 1);
    client.command(&json!({"type": "unsubscribe", "topic": "a"}));
    assert_eq!(client.control("unsubscribed")["topic"], "a");
    publish(&server, "a", "2");
    publish(&server, "b", "3");
    assert_eq!(client.message().data, 3);
    client.command(&json!({"type": "unsubscribe", "topic": "a"}));
    let error = client.control("error");
    assert_eq!(
        (&error["code"], &error["topic"]),
        (&json!("unknown_topic"), &json!("a"))
    );
    client.command(&json!({"type": "subscribe", "topic": "a", "offset": 1}));
    client.control("subscribed");
    assert_eq!(client.message().data, 2, "it may come back to it");
}

#[test]
fn a_command_that_cannot_be_obeyed_gets_an_error_and_the_connection_lives() {
    let server = Server::start(TOPICS);
    let mut client = speak(&server, "topics=a");
    client.control("welcome");
    client.control("subscribed");
    let mut refused = |command: &str, code: &str, says: &str| {
        client.say(command);
        let error = client.control("error");
        assert_eq!(error["code"], code, "{error}");
        assert!(error["message"].as_str().unwrap().contains(says), "{says:?} in {error}");
    };
    refused("hello", "bad_command", "not a command of lapwing.v1");
    refused("{\"type\":\"dance\"}", "bad_command", "dance");
    refused("[]", "bad_command", "");
    refused(
        "{\"type\":\"subscribe\",\"topic\":\"a b\"}",
        "bad_command",
        "a topic name is made of",
    );
    refused(
        "{\"type\":\"subscribe\",\"topic\":\"a\",\"from\":\"yesterday\"}",
        "bad_command",
        "yesterday",
    );
    refused(
        "{\"type\":\"subscribe\",\"topic\":\"c\"}",
        "unknown_topic",
        "there is no topic \"c\"; there are a, b",
    );
    publish(&server, "a", "1");
    assert_eq!(client.message().data, 1);
    assert!(server.events("said").is_empty(), "a command is not for the console");
}

#[test]
fn b7_a_connection_follows_at_most_a_hundred_topics() {
    let topics: Vec<String> = (0..101).map(|n| format!("t{n}=push")).collect();
    let args: Vec<&str> = topics.iter().flat_map(|topic| ["--topic", topic]).collect();
    let server = Server::start(&args);
    let mut client = speak(&server, "");
    client.control("welcome");
    client.command(&json!({"type": "subscribe"}));
    let error = client.control("error");
    assert_eq!(error["code"], "too_many_topics");
    assert!(
        error["message"].as_str().unwrap().contains("at most 100 topics"),
        "{error}"
    );
    for n in 0..100 {
        client.command(&json!({"type": "subscribe", "topic": format!("t{n}")}));
        client.control("subscribed");
    }
    client.command(&json!({"type": "subscribe", "topic": "t100"}));
    assert_eq!(client.control("error")["code"], "too_many_topics");
    client.command(&json!({"type": "subscribe", "topic": "t5", "from": "earliest"}));
    assert_eq!(
        client.control("subscribed")["topic"],
        "t5",
        "one that is followed already is no other one"
    );
}

#[test]
fn bytes_of_a_client_of_the_subprotocol_are_for_the_console() {
    let server = Server::start(TOPICS);
    let mut client = speak(&server, "topics=a");
    client.say_bytes(&[1, 2, 3]);
    let said = server.event("said", |_| true);
    assert_eq!((&said["binary_bytes"], &said["begins"]), (&json!(3), &json!("010203")));
}

#[test]
fn a_message_is_the_same_bytes_for_every_client_of_either_kind() {
    let server = Server::start(TOPICS);
    let mut plain = follow(&server, "topics=a");
    let mut speaks = speak(&server, "topics=a");
    speaks.control("welcome");
    speaks.control("subscribed");
    publish(&server, "a", "{\"n\":1}");
    assert_eq!(plain.text(), speaks.text());
}

fn fill(server: &Server, count: u64, bytes: usize) {
    let body = format!("\"{}\"", "x".repeat(bytes));
    for _ in 0..count {
        publish(server, "small", &body);
    }
}

#[track_caller]
fn publish(server: &Server, topic: &str, json: &str) {
    let answer = post(server, &format!("/topics/{topic}/messages"), "application/json", json);
    assert_eq!(answer.status, 201, "{answer:?}");
}
