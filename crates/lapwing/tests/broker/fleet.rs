//! Servers that share streams know of each other: who is there, how far behind, and whose clients are where.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpStream;

use nats_cluster::Settings;
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::stage::Stage;
use crate::support::client::{follow, speak};
use crate::support::eventually;
use crate::support::http::{get, post};
use crate::support::report::report;
use crate::support::scrape::Scrape;
use crate::support::server::Server;

const FEED: &str = "feed=push";

fn named(stage: &Stage, name: &str) -> Server {
    stage.serve(FEED, &["--server-name", name])
}

/// What a server tells of one of all servers.
fn told_of(server: &Server, name: &str) -> Option<Value> {
    let answer = get(server, "/api/servers").json();
    let mut servers = answer["servers"].as_array()?.iter();
    servers.find(|row| row["server"] == name).cloned()
}

fn state_of(server: &Server, name: &str) -> Option<String> {
    told_of(server, name)?["state"].as_str().map(str::to_owned)
}

/// Writes where the servers tell each other how they are.
#[track_caller]
fn publish(stage: &Stage, text: &[u8]) {
    let mut stream = TcpStream::connect(stage.nats.addresses()[0]).expect("it listens");
    let head = format!("CONNECT {{}}\r\nPUB lapwing.$servers.all {}\r\n", text.len());
    stream
        .write_all(&[head.as_bytes(), text, b"\r\nPING\r\n"].concat())
        .expect("it reads");
    let answered = BufReader::new(stream)
        .lines()
        .any(|line| line.expect("it answers") == "PONG");
    assert!(answered, "it has taken it");
}

/// The data of the next message for which this holds.
#[track_caller]
fn told(client: &mut crate::support::client::Client, what: impl Fn(&Value) -> bool) -> Value {
    loop {
        let data = client.message().data;
        if what(&data) {
            return data;
        }
    }
}

#[test]
fn servers_tell_each_other_how_far_behind_the_streams_they_are_and_who_is_gone() {
    let Some(stage) = Stage::set("servers_tell_each_other", &Settings::one()) else {
        return;
    };
    let (a, b) = (named(&stage, "a"), named(&stage, "b"));
    let mut events = follow(&a, "topics=$events&from=earliest");
    let there = told(&mut events, |data| data["event"] == "peer");
    assert_eq!((&there["peer"], &there["state"]), (&json!("b"), &json!("there")));
    assert_eq!(post(&b, "/topics/feed/messages", "application/json", "1").status, 201);
    let copied = json!([{"topic": "feed", "next": 1, "end": 1, "lag": 0, "stale": false}]);
    eventually("both have copied it, as both say", || {
        ["a", "b"].iter().all(|name| {
            [&a, &b]
                .iter()
                .all(|server| told_of(server, name).is_some_and(|row| row["topics"] == copied))
        })
    });
    let row = told_of(&a, "b").expect("it is there");
    assert_eq!((&row["self"], &row["state"]), (&json!(false), &json!("there")));
    assert_eq!(row["address"], b.address().to_string());
    let client = follow(&b, "topics=feed");
    eventually("its client is counted", || {
        told_of(&a, "b").is_some_and(|row| row["clients"] == 1)
    });
    let scrape = Scrape::of(&a);
    for (metric, value) in [
        ("lapwing_servers", 2.0),
        ("lapwing_stream_lag_messages{topic=\"feed\"}", 0.0),
        ("lapwing_stream_stale{topic=\"feed\"}", 0.0),
        ("lapwing_server_letters_dropped_total{reason=\"form\"}", 0.0),
    ] {
        assert_eq!(scrape.value(metric), value, "{metric}");
    }
    b.signal(Signal::KILL);
    let gone = told(&mut events, |data| data["event"] == "peer");
    assert_eq!((&gone["peer"], &gone["state"]), (&json!("b"), &json!("gone")));
    assert!(gone["silent_ms"].as_f64().is_some_and(|ms| ms >= 5000.0), "{gone}");
    assert_eq!(state_of(&a, "b").as_deref(), Some("gone"));
    let again = named(&stage, "b");
    let back = told(&mut events, |data| data["event"] == "peer");
    assert_eq!((&back["peer"], &back["state"]), (&json!("b"), &json!("there")));
    assert_eq!(
        state_of(&a, "b").as_deref(),
        Some("there"),
        "it stands there once, under its name"
    );
    again.interrupt();
    let left = told(&mut events, |data| data["event"] == "peer");
    assert_eq!(
        (&left["state"], &left["silent_ms"]),
        (&json!("gone"), &Value::Null),
        "it said so"
    );
    drop(client);
}

#[test]
fn two_servers_of_one_name_are_told_apart() {
    let Some(stage) = Stage::set("two_servers_of_one_name", &Settings::one()) else {
        return;
    };
    let (a, _b) = (named(&stage, "twin"), named(&stage, "twin"));
    eventually("both are there", || {
        get(&a, "/api/servers").json()["servers"]
            .as_array()
            .is_some_and(|servers| servers.len() == 2)
    });
    let answer = get(&a, "/api/servers").json();
    let (own, other) = (&answer["servers"][0], &answer["servers"][1]);
    assert_eq!(own["server"], "twin");
    let id = other["id"].as_str().expect("an id");
    assert_eq!(other["server"], format!("twin {}", &id[..8]));
}

#[test]
fn what_others_write_where_servers_tell_each_other_is_counted_and_harms_nobody() {
    let Some(stage) = Stage::set("what_others_write", &Settings::one()) else {
        return;
    };
    let (a, _b) = (named(&stage, "a"), named(&stage, "b"));
    eventually("the other is there", || state_of(&a, "b").is_some());
    let stranger: &[u8] =
        b"{\"form\":1,\"from\":\"0123456789abcdef\",\"is\":\"clients\",\"run\":1,\"part\":0,\"whole\":true}\n{\"session\":1}";
    for text in [&b""[..], b"{}", b"\xff\xfe", b"\x1b[2J", stranger] {
        publish(&stage, text);
    }
    eventually("what is no letter was counted", || {
        let scrape = Scrape::of(&a);
        let dropped = |reason| scrape.value(&format!("lapwing_server_letters_dropped_total{{reason=\"{reason}\"}}"));
        dropped("form") == 4.0 && dropped("stranger") == 1.0
    });
    assert_eq!(
        get(&a, "/api/servers").json()["servers"].as_array().map(Vec::len),
        Some(2)
    );
}

/// The row of a client, as this server tells it.
fn row_of(server: &Server, client: &str) -> Option<Value> {
    let answer = get(server, "/api/clients").json();
    let mut rows = answer["rows"].as_array()?.iter();
    rows.find(|row| row["client"] == client).cloned()
}

#[test]
fn clients_of_all_servers_are_told_by_each_and_leave_with_their_server() {
    let Some(stage) = Stage::set("clients_of_all_servers", &Settings::one()) else {
        return;
    };
    let (a, b) = (named(&stage, "a"), named(&stage, "b"));
    let (on_a, _on_b) = (follow(&a, "name=on-a"), follow(&b, "name=on-b"));
    for server in [&a, &b] {
        eventually("both are told by both", || {
            let of = |client| row_of(server, client).map(|row| row["server"].clone());
            of("on-a") == Some(json!("a")) && of("on-b") == Some(json!("b"))
        });
    }
    let (row, other) = (row_of(&a, "on-a").expect("there"), row_of(&a, "on-b").expect("there"));
    assert_eq!(row["session"], other["session"], "the number alone tells nothing");
    assert_eq!(other["topics"], json!([{"topic": "feed", "next": 0, "lag": 0}]));
    let answer = get(&a, "/api/clients").json();
    assert_eq!(
        (&answer["clients"], &answer["counts"]["unclear"]),
        (&json!(2), &json!(2))
    );
    for (query, found) in [
        ("server=b", 1),
        ("server=a", 1),
        ("server=c", 0),
        ("search=ON-B", 1),
        ("search=127.0.0.1", 2),
        ("limit=1", 1),
    ] {
        let answer = get(&a, &format!("/api/clients?{query}")).json();
        assert_eq!(answer["rows"].as_array().map(Vec::len), Some(found), "{query}");
    }
    let position = &answer["position"];
    let at = format!(
        "$clients@{}:{}",
        position["epoch"].as_str().expect("an epoch"),
        position["offset"]
    );
    let mut changes = follow(&a, &format!("topics=$clients&from={at}"));
    let late = follow(&b, "name=late");
    let came = told(&mut changes, |data| data["client"] == "late");
    assert_eq!(came["server"], "b");
    late.close(1000, "bye");
    let left = told(&mut changes, |data| {
        data["left"] == true && data["session"] == came["session"]
    });
    assert_eq!(left["server"], "b");
    b.signal(Signal::KILL);
    let gone = told(&mut changes, |data| data["left"] == true && data["server"] == "b");
    assert_eq!(gone["session"], other["session"]);
    assert!(row_of(&a, "on-b").is_none() && row_of(&a, "on-a").is_some());
    let again = named(&stage, "b");
    let _back = follow(&again, "name=back");
    let back = told(&mut changes, |data| data["client"] == "back");
    assert_eq!(back["server"], "b");
    drop(on_a);
}

#[test]
fn a_client_that_is_slow_on_one_server_is_told_by_the_other() {
    let Some(stage) = Stage::set("a_client_that_is_slow", &Settings::one()) else {
        return;
    };
    let (a, b) = (
        named(&stage, "a"),
        stage.serve(FEED, &["--server-name", "b", "--max-report-rate", "100"]),
    );
    let mut client = speak(&b, "topics=feed&name=sleeps");
    client.control("welcome");
    client.control("subscribed");
    let mut watched = follow(&a, "topics=$clients,$reports,$events");
    eventually("the watcher sees it", || row_of(&a, "sleeps").is_some());
    let body = (1..=10).map(|n| format!("{n}\n")).collect::<String>();
    assert_eq!(
        post(&b, "/topics/feed/messages", "application/x-ndjson", body).status,
        201
    );
    client.messages(10);
    (0..2).for_each(|_| client.command(&report("feed", 1, 1, 2000.0)));
    let (mut slow, mut reported, mut row) = (Value::Null, Value::Null, Value::Null);
    while [&slow, &reported, &row].iter().any(|found| found.is_null()) {
        let message = watched.message();
        let data = message.data;
        match message.topic.as_str() {
            "$events" if data["event"] == "slow" => slow = data,
            "$reports" if data["cause"] == "client slow" => reported = data,
            "$clients" if data["cause"] == "client slow" => row = data,
            _ => {}
        }
    }
    for found in [&slow, &reported, &row] {
        assert_eq!(
            (&found["server"], &found["client"]),
            (&json!("b"), &json!("sleeps")),
            "{found}"
        );
    }
    let reports = |query: &str| {
        let answer = get(&a, &format!("/api/reports?{query}")).json();
        answer["reports"].as_array().map_or(0, Vec::len)
    };
    assert_eq!((reports("server=b"), reports("server=a")), (2, 0));
    let own = follow(&a, "name=here");
    let joined = loop {
        let message = watched.message();
        if message.topic == "$events" && message.data["client"] == "here" {
            break message.data;
        }
    };
    assert_eq!((&joined["event"], &joined["server"]), (&json!("joined"), &json!("a")));
    drop(own);
}
