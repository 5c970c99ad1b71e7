//! The topics of a server as it tells them: rates, what is retained, and a source that gives less than was asked.

use serde_json::{Value, json};

use crate::support::bearer::Secrets;
use crate::support::client::follow;
use crate::support::events::events;
use crate::support::http::{ask, get, post};
use crate::support::server::{Plan, Server};
use crate::support::{bearer, eventually};

#[track_caller]
fn topics(server: &Server) -> Value {
    let answer = get(server, "/api/topics");
    assert_eq!(
        (answer.status, answer.header("cache-control")),
        (200, Some("no-store")),
        "{answer:?}"
    );
    answer.json()
}

/// What is told of one topic.
#[track_caller]
fn topic(server: &Server, name: &str) -> Value {
    let all = topics(server);
    let found = all["topics"]
        .as_array()
        .unwrap()
        .iter()
        .find(|topic| topic["topic"] == name);
    found.unwrap_or_else(|| panic!("no {name} in {all}")).clone()
}

#[track_caller]
fn publish(server: &Server, body: &str) -> Value {
    let answer = post(server, "/topics/orders/messages", "text/plain", body);
    assert_eq!(answer.status, 201, "{answer:?}");
    answer.json()
}

#[test]
fn topics_are_told_with_what_they_keep_and_who_follows_them() {
    let server = Server::start(&[
        "--topic",
        "orders=push?keep=5m&keep_bytes=1MiB",
        "--topic",
        "held=push?slow=wait",
    ]);
    let empty = topic(&server, "orders");
    assert_eq!(
        (&empty["state"], &empty["next"]),
        (&json!("waiting"), &json!(0)),
        "{empty}"
    );
    assert!(
        empty.get("quiet_ms").is_none() && empty.get("asked_per_s").is_none(),
        "{empty}"
    );
    let epoch = publish(&server, "one")["epoch"].clone();
    publish(&server, "two");
    let _stream = follow(&server, "topics=orders");
    let _events = events(&server, "/topics/orders/events");
    eventually("both are there", || topic(&server, "orders")["followers"] == 2);
    let all = topics(&server);
    assert_eq!(all["clients"], 2, "{all}");
    assert!(all["server"].as_str().unwrap().starts_with("lapwing/"), "{all}");
    assert!(all["started"].as_str() < all["time"].as_str(), "{all}");
    let orders = topic(&server, "orders");
    assert_eq!(orders["epoch"], epoch);
    for (key, expect) in [
        ("first", json!(0)),
        ("next", json!(2)),
        ("level", json!("none")),
        ("source", json!("push?keep=5m&keep_bytes=1MiB")),
        ("state", json!("on time")),
        ("missed", json!(0)),
    ] {
        assert_eq!(orders[key], expect, "{orders}");
    }
    let retained = &orders["retained"];
    assert_eq!(
        (&retained["messages"], &retained["bytes_max"]),
        (&json!(2), &json!(1 << 20)),
        "{orders}"
    );
    assert_eq!(retained["age_max_ms"], 300_000.0, "{orders}");
    assert!(retained["bytes"].as_u64() > Some(100), "{orders}");
    assert!(orders["quiet_ms"].as_f64() >= Some(0.0), "{orders}");
    assert!(orders.get("durable").is_none(), "{orders}");
    let held = topic(&server, "held");
    assert!(
        held["retained"].get("age_max_ms").is_none(),
        "what it keeps does not age: {held}"
    );
}

#[test]
fn a_durable_topic_is_told_with_its_level_and_its_files() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(&["--data", dir.path().to_str().unwrap(), "--topic", "orders=push"]);
    publish(&server, &"x".repeat(10_000));
    let orders = topic(&server, "orders");
    assert_eq!(
        (&orders["level"], &orders["durable"]),
        (&json!("fsync"), &json!(1)),
        "{orders}"
    );
    assert!(orders["retained"]["bytes"].as_u64() > Some(10_000), "{orders}");
    assert_eq!(orders["retained"]["bytes_max"], 1 << 30, "{orders}");
    assert!(orders["retained"].get("age_max_ms").is_none(), "{orders}");
}

#[test]
fn rates_are_told_beside_what_was_asked() {
    let server = Server::start(&["--topic", "users=users?every=20ms"]);
    let near = |value: &Value, expect: f64| value.as_f64().is_some_and(|value| (value / expect - 1.0).abs() < 0.2);
    eventually("the rate is what was asked", || {
        let users = topic(&server, "users");
        near(&users["achieved_per_s"], 50.0) && users["asked_per_s"] == 50.0 && users["state"] == "on time"
    });
    let users = topic(&server, "users");
    // A person and what is around it has some hundred bytes.
    assert!(users["bytes_per_s"].as_f64() > Some(5000.0), "{users}");
}

#[test]
fn a_source_that_gives_less_than_was_asked_is_told_when_that_begins_and_when_it_ends() {
    let mut server = Plan::new(&["--topic", "feed=stdin?every=1s"]).stdin().start();
    server.feed("0\n");
    let told = server.source_says("source slow: nothing for ");
    assert!(told.ends_with(", asked 1.0/s"), "{told}");
    assert_eq!(topic(&server, "feed")["state"], "slow");
    // More than comes out before the test is over.
    server.feed((1..600).map(|n| format!("{n}\n")).collect::<String>());
    server.source_says("source no longer slow after ");
    assert_eq!(topic(&server, "feed")["state"], "on time");
    let told = server.events("source");
    assert_eq!(told.len(), 2, "told once each: {told:?}");
}

#[test]
fn a_topic_whose_source_is_over_has_ended_and_is_not_slow() {
    let server = Server::start(&[
        "--topic",
        "kept=exec:echo 1?restart=never&every=1s",
        "--topic",
        "closed=exec:echo 1?restart=never&end=close",
    ]);
    for name in ["kept", "closed"] {
        eventually("it has ended", || topic(&server, name)["state"] == "ended");
    }
    let time = |all: &Value, key: &str| all[key].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
    eventually("more than three ticks have passed", || {
        let all = topics(&server);
        time(&all, "time").duration_since(time(&all, "started")).as_secs() >= 5
    });
    assert_eq!(topic(&server, "kept")["state"], "ended");
    let told = server.events("source");
    let slow = |event: &Value| event["text"].as_str().unwrap().contains("slow");
    assert!(!told.iter().any(slow), "{told:?}");
}

#[test]
fn e8_topics_are_told_to_who_may_listen_to_them_and_sources_to_who_may_watch() {
    let tokens = Secrets::tokens(&[
        ("web", "lapwing_web", "listen:orders"),
        ("boss", "lapwing_boss", "listen:*,admin"),
        ("press", "lapwing_press", "publish:orders"),
    ]);
    let server = Server::start(&[
        "--topic",
        "orders=push",
        "--topic",
        "secret=exec:echo password; sleep 600",
        "--tokens",
        &tokens.path(),
    ]);
    let ask_as = |token: &str| {
        ask(
            &server,
            "GET",
            "/api/topics",
            &[("Authorization", &format!("Bearer {token}"))],
            b"",
        )
    };
    assert_eq!(get(&server, "/api/topics").status, 401);
    assert_eq!(get(&server, "/asyncapi.json").status, 401);
    assert_eq!(ask_as("lapwing_press").status, 403);
    let web = ask_as("lapwing_web");
    assert!(
        !web.body.contains("secret") && !web.body.contains("\"source\""),
        "{web:?}"
    );
    assert_eq!(web.json()["topics"].as_array().unwrap().len(), 1);
    let boss = ask_as("lapwing_boss").json();
    assert_eq!(boss["topics"][1]["source"], "exec:echo password; sleep 600");
    let described = ask(
        &server,
        "GET",
        "/asyncapi.json",
        &[("Authorization", "Bearer lapwing_web")],
        b"",
    );
    assert!(described.json()["channels"].get("secret").is_none(), "{described:?}");
    assert_eq!(bearer::ask_with(&server, "/?topics=secret", "lapwing_web").status, 403);
}

#[test]
fn a_command_is_not_told_through_a_proxy() {
    let server = Server::start(&["--topic", "secret=exec:sleep 600"]);
    assert_eq!(topic(&server, "secret")["source"], "exec:sleep 600");
    for header in [("Forwarded", "for=127.0.0.1"), ("X-Forwarded-For", "127.0.0.1")] {
        let answer = ask(&server, "GET", "/api/topics", &[header], b"");
        assert!(answer.json()["topics"][0].get("source").is_none(), "{answer:?}");
    }
}

#[test]
fn what_is_only_to_be_read_is_only_read() {
    let server = Server::start(&["--topic", "orders=push", "--allow-origin", "http://shop.example"]);
    for path in ["/api/topics", "/asyncapi.json", "/openapi.json"] {
        assert_eq!(post(&server, path, "text/plain", "").status, 405, "{path}");
        let read = get(&server, path);
        assert_eq!(
            (read.status, read.header("content-type")),
            (200, Some("application/json")),
            "{path}"
        );
        let foreign = ask(&server, "GET", path, &[("Origin", "http://evil.example")], b"");
        assert_eq!(foreign.status, 403, "{path}");
        let allowed = ask(&server, "GET", path, &[("Origin", "http://shop.example")], b"");
        assert_eq!(
            allowed.header("access-control-allow-origin"),
            Some("http://shop.example"),
            "{path}"
        );
    }
    let asked = ask(
        &server,
        "OPTIONS",
        "/api/topics",
        &[("Origin", "http://shop.example")],
        b"",
    );
    assert_eq!(
        (asked.status, asked.header("access-control-allow-methods")),
        (204, Some("GET"))
    );
    assert_eq!(get(&server, "/api/topics?topic=orders").status, 400);
}
