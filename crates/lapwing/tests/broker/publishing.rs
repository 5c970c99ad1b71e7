//! Publishers are told what JetStream has, and a repeated publish is taken once, on whichever server.

use nats_cluster::{Settings, Trouble};
use serde_json::{Value, json};

use crate::stage::Stage;
use crate::support::client::follow;
use crate::support::http::{Answer, ask, post};
use crate::support::server::Server;

fn named(server: &Server, key: &str, body: &str) -> Answer {
    let headers = [("Content-Type", "application/x-ndjson"), ("Idempotency-Key", key)];
    ask(server, "POST", "/topics/feed/messages", &headers, body.as_bytes())
}

fn ordered(server: &Server, sequence: u64, after: Option<u64>, body: &str) -> Answer {
    let (sequence, after) = (sequence.to_string(), after.map(|after| after.to_string()));
    let mut headers = vec![
        ("Content-Type", "application/x-ndjson"),
        ("Lapwing-Source", "s"),
        ("Lapwing-Sequence", sequence.as_str()),
    ];
    headers.extend(after.as_deref().map(|after| ("Lapwing-After", after)));
    ask(server, "POST", "/topics/feed/messages", &headers, body.as_bytes())
}

fn places(answer: &Answer) -> (Value, Value) {
    let said = answer.json();
    (said["first"].clone(), said["last"].clone())
}

#[test]
fn a_publish_tried_again_on_another_server_is_taken_once() {
    let Some(stage) = Stage::set("once", &Settings::one()) else {
        return;
    };
    let (a, b) = (stage.serve("feed=push", &[]), stage.serve("feed=push", &[]));
    for (key, body) in [("one", "1\n"), ("three", "1\n2\n3\n")] {
        let first = named(&a, key, body);
        assert_eq!(first.status, 201, "{}", first.body);
        assert_eq!(first.json()["retry_window_ms"], 120_000);
        for server in [&b, &a, &b] {
            let again = named(server, key, body);
            assert_eq!((again.status, places(&again)), (200, places(&first)), "{}", again.body);
        }
    }
    assert_eq!(
        places(&named(&b, "next", "4\n")),
        (json!(4), json!(4)),
        "nothing is there twice"
    );
    let data = follow(&a, "topics=feed&from=earliest").data(5);
    assert_eq!(data, [json!(1), json!(1), json!(2), json!(3), json!(4)]);
}

/// A server that begins when the stream has let go of a body never had it in memory, while JetStream still knows it by its name.
fn check_found(test: &str, settings: &Settings, topic: &str) {
    let Some(stage) = Stage::set(test, settings) else {
        return;
    };
    let a = stage.serve(topic, &[]);
    for (key, body) in [("three", "1\n2\n3\n"), ("one", "4\n")] {
        assert_eq!(named(&a, key, body).status, 201);
    }
    assert_eq!(named(&a, "kept", "5\n").status, 201);
    let mut nats = stage.nats.client().expect("it answers");
    nats.purge("lapwing_feed", Some(5)).expect("it is purged");
    let late = stage.serve(topic, &[]);
    for (key, body, first, last) in [("three", "1\n2\n3\n", 0, 2), ("one", "4\n", 3, 3)] {
        let again = named(&late, key, body);
        assert_eq!(again.status, 200, "{key}: {}", again.body);
        assert_eq!(places(&again), (json!(first), json!(last)), "{key}");
    }
    let info = nats.stream("lapwing_feed").expect("it answers").expect("it is there");
    assert_eq!(info["state"]["last_seq"], 5, "whoever asks stores nothing");
}

#[test]
fn a_body_that_no_server_remembers_is_found_by_its_name() {
    check_found("found", &Settings::one(), "feed=push");
}

#[test]
fn a_body_that_no_server_remembers_is_found_by_its_name_in_three_replicas() {
    check_found("found_in_three", &Settings::three(), "feed=push?replicas=3");
}

/// What servers of ours rely on when they ask where a body is: an id is looked up before the way to replace others is found not to exist.
fn check_asking(test: &str, settings: &Settings, replicas: u64) {
    let Some(stage) = Stage::set(test, settings) else {
        return;
    };
    let mut nats = stage.nats.client().expect("it answers");
    for replacing in [false, true] {
        let name = format!("asked-{replacing}");
        let config =
            json!({"name": name, "subjects": [name], "num_replicas": replicas, "allow_rollup_hdrs": replacing});
        nats.create_stream(&config).expect("it is made");
        let question = [("Nats-Msg-Id", "b"), ("Nats-Rollup", "none")];
        assert_eq!(nats.put(&name, Some("a"), b"1").expect("it is taken").sequence, 1);
        let refused = nats.put_with(&name, &question, b"").expect_err("nothing is called so");
        assert!(matches!(refused, Trouble::Refused { .. }), "{refused}");
        let taken = nats.put(&name, Some("b"), b"2").expect("it is taken");
        assert_eq!(
            (taken.sequence, taken.is_repeated),
            (2, false),
            "asking left nothing behind"
        );
        let found = nats.put_with(&name, &question, b"").expect("it is found");
        assert_eq!((found.sequence, found.is_repeated), (2, true));
        let info = nats.stream(&name).expect("it answers").expect("it is there");
        assert_eq!(
            (&info["state"]["messages"], &info["state"]["last_seq"]),
            (&json!(2), &json!(2))
        );
    }
}

#[test]
fn nothing_is_stored_by_asking_for_a_name() {
    check_asking("asking", &Settings::one(), 1);
}

#[test]
fn nothing_is_stored_by_asking_for_a_name_in_three_replicas() {
    check_asking("asking_three", &Settings::three(), 3);
}

/// Both servers are asked at the same time, again and again: each body is there once, whole, and both say where.
fn check_at_once(test: &str, settings: &Settings, topic: &str) {
    let Some(stage) = Stage::set(test, settings) else {
        return;
    };
    let (a, b) = (stage.serve(topic, &[]), stage.serve(topic, &[]));
    for round in 0..20 {
        let (key, body) = (format!("r{round}"), format!("{round}\n{round}\n{round}\n"));
        let (left, right) = std::thread::scope(|scope| {
            let left = scope.spawn(|| named(&a, &key, &body));
            let right = scope.spawn(|| named(&b, &key, &body));
            (left.join().expect("no panic"), right.join().expect("no panic"))
        });
        let statuses = [left.status, right.status];
        assert!(
            statuses == [201, 200] || statuses == [200, 201],
            "{statuses:?}: {} {}",
            left.body,
            right.body
        );
        assert_eq!(places(&left), places(&right));
        assert_eq!(
            places(&left),
            (json!(round * 3), json!(round * 3 + 2)),
            "a body is in one piece"
        );
    }
}

#[test]
fn the_same_body_on_two_servers_at_once_is_there_once_and_whole() {
    check_at_once("at_once", &Settings::one(), "feed=push");
}

#[test]
fn the_same_body_on_two_servers_at_once_is_there_once_and_whole_in_three_replicas() {
    check_at_once("at_once_in_three", &Settings::three(), "feed=push?replicas=3");
}

#[test]
fn one_that_must_come_after_another_waits_for_it_on_another_server() {
    let Some(stage) = Stage::set("after", &Settings::one()) else {
        return;
    };
    let (a, b) = (stage.serve("feed=push", &[]), stage.serve("feed=push", &[]));
    assert_eq!(ordered(&b, 2, Some(1), "2\n").status, 412, "the first is not there");
    assert_eq!(ordered(&a, 1, None, "1\n").status, 201);
    let second = ordered(&b, 2, Some(1), "2\n");
    assert_eq!(
        (second.status, places(&second)),
        (201, (json!(1), json!(1))),
        "{}",
        second.body
    );
}

#[test]
fn every_kind_of_message_comes_back_as_it_was() {
    let Some(stage) = Stage::set("kinds", &Settings::one()) else {
        return;
    };
    let (a, b) = (stage.serve("feed=push", &[]), stage.serve("feed=push", &[]));
    for (kind, body) in [
        ("application/json", &b"{ \"a\" : [1, 2] }"[..]),
        ("text/plain", b"not json \xc3\xa4"),
        ("text/plain", b"17"),
        ("application/octet-stream", b"\x00\xff\x10"),
    ] {
        assert_eq!(post(&a, "/topics/feed/messages", kind, body).status, 201);
    }
    // What somebody else puts into the stream is a message, too.
    let mut client = stage.nats.client().expect("it answers");
    client.put("lapwing.feed", None, b"plain").expect("it is taken");
    client.put("lapwing.feed", None, b"\xff\xfe").expect("it is taken");
    let messages = follow(&b, "topics=feed&from=earliest").messages(6);
    assert_eq!(messages[0].data, json!({"a": [1, 2]}));
    assert_eq!(messages[1].data, json!("not json \u{e4}"));
    assert_eq!(messages[2].data, json!(17));
    assert_eq!(messages[3].data_base64.as_deref(), Some("AP8Q"));
    assert_eq!(messages[4].data, json!("plain"));
    assert_eq!(messages[5].data_base64.as_deref(), Some("//4="));
}

#[test]
fn what_the_broker_does_not_take_is_refused_with_its_limit() {
    let Some(stage) = Stage::set("large", &Settings::one()) else {
        return;
    };
    let a = stage.serve("feed=push", &["--max-body", "4MiB"]);
    let sized = |bytes: usize| format!("\"{}\"", "x".repeat(bytes - 2));
    // 1 MiB, less room for headers.
    let most = (1 << 20) - 512;
    let answer = post(&a, "/topics/feed/messages", "application/json", sized(most + 1));
    assert_eq!(answer.status, 413, "{}", answer.body);
    assert!(
        answer.body.contains(&format!("over the {most} bytes")),
        "{}",
        answer.body
    );
    assert_eq!(
        post(&a, "/topics/feed/messages", "application/json", sized(most)).status,
        201
    );
    let answer = post(&a, "/topics/feed/messages", "application/x-ndjson", "1\n".repeat(1001));
    assert_eq!(answer.status, 413, "{}", answer.body);
    assert!(
        answer.body.contains("takes at most 1000 all or none"),
        "{}",
        answer.body
    );
    let answer = post(&a, "/topics/feed/messages", "application/x-ndjson", "1\n".repeat(1000));
    assert_eq!(
        (answer.status, answer.json()["last"].as_u64()),
        (201, Some(1000)),
        "{}",
        answer.body
    );
}

#[test]
fn a_line_of_a_source_that_the_broker_does_not_take_is_left_out_and_told() {
    let Some(stage) = Stage::set("large_line", &Settings::one()) else {
        return;
    };
    let path = stage.folder.path().join("lines");
    std::fs::write(&path, format!("1\n\"{}\"\n2\n", "x".repeat(2 << 20))).expect("room");
    let a = stage.serve(&format!("feed=file:{}?from=start", path.display()), &[]);
    assert_eq!(follow(&a, "topics=feed&from=earliest").data(2), [json!(1), json!(2)]);
    a.source_says("is left out: the broker takes at most 1048064");
}
