//! What a server tells those who watch its clients: topics of its own, and answers in JSON.

use serde_json::{Value, json};

use crate::support::bearer::{Secrets, ask_stream, ask_with, speak_with};
use crate::support::client::{Client, follow, speak};
use crate::support::eventually;
use crate::support::http::{ask, get, post};
use crate::support::report::report;
use crate::support::server::{Plan, Server};

const FEED: &[&str] = &["--topic", "feed=push"];

/// The data of the next message for which this holds.
#[track_caller]
fn told(client: &mut Client, what: impl Fn(&Value) -> bool) -> Value {
    loop {
        let data = client.message().data;
        if what(&data) {
            return data;
        }
    }
}

fn row_of<'a>(clients: &'a Value, name: &str) -> Option<&'a Value> {
    clients["rows"].as_array()?.iter().find(|row| row["client"] == name)
}

#[test]
fn the_servers_own_topics_are_followed_like_any_other_and_are_in_no_default_set() {
    let server = Server::start(FEED);
    let mut watcher = follow(&server, "topics=$events&from=earliest");
    assert_eq!(
        watcher.message().data["event"],
        "ready",
        "it was told before anybody could come"
    );
    let mut everything = follow(&server, "name=all");
    let joined = told(&mut watcher, |data| {
        data["event"] == "joined" && data["client"] == "all"
    });
    assert_eq!(joined["from"], json!({"feed": 0}), "{joined}");
    assert_eq!(
        post(&server, "/topics/feed/messages", "application/json", "1").status,
        201
    );
    assert_eq!(everything.message().topic, "feed");
    let mut greeted = speak(&server, "name=speaks");
    assert_eq!(greeted.control("welcome")["topics"], json!(["feed"]));
    greeted.command(&json!({"type": "subscribe", "topic": "$reports"}));
    assert_eq!(greeted.control("subscribed")["topic"], "$reports");
    greeted.command(&json!({"type": "subscribe", "topic": "$nothing"}));
    assert_eq!(greeted.control("error")["code"], "unknown_topic");
    everything.say("hello");
    let said = told(&mut watcher, |data| data["event"] == "said");
    assert_eq!((&said["client"], &said["text"]), (&json!("all"), &json!("hello")));
}

#[test]
fn nobody_publishes_to_a_topic_of_the_servers_own_or_takes_its_name() {
    let server = Server::start(FEED);
    let answer = post(&server, "/topics/$events/messages", "application/json", "1");
    assert_eq!(answer.status, 409, "{}", answer.body);
    let refused = Plan::new(&["--topic", "$events=push"]).refused();
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(2), "{said}");
    assert!(
        said.contains("the name $events is reserved in --topic $events=push"),
        "{said}"
    );
}

#[test]
fn who_watches_is_on_the_machine_itself_and_no_strange_proxy_speaks_for_it() {
    let server = Server::start(FEED);
    let forwarded = [("X-Forwarded-For", "192.0.2.7")];
    for path in ["/api/clients", "/api/reports"] {
        assert_eq!(get(&server, path).status, 200);
        let refused = ask(&server, "GET", path, &forwarded, b"");
        assert_eq!(refused.status, 403, "{}", refused.body);
        assert!(refused.body.contains("the server's own machine"), "{}", refused.body);
        assert_eq!(post(&server, path, "text/plain", "").status, 405);
    }
    assert_eq!(ask_stream(&server, "/?topics=$events", &forwarded).status, 403);
    assert_eq!(
        ask_stream(&server, "/?topics=feed&from=$events:0", &forwarded).status,
        403
    );
    let stream = std::net::TcpStream::connect(server.address()).expect("listens");
    let headers = [
        ("Sec-WebSocket-Protocol", "lapwing.v1"),
        ("X-Forwarded-For", "192.0.2.7"),
    ];
    let mut strange = Client::with_headers(stream, &server, "topics=feed", &headers);
    strange.control("welcome");
    strange.control("subscribed");
    strange.command(&json!({"type": "subscribe", "topic": "$clients"}));
    assert_eq!(strange.control("error")["code"], "not_allowed");
}

#[test]
fn with_tokens_who_watches_needs_admin_even_on_the_machine_itself() {
    let file = Secrets::tokens(&[("web", "t-web", "listen:*,publish:*"), ("ops", "t-ops", "admin")]);
    let path = file.path();
    let server = Server::start(&[FEED, &["--tokens", &path]].concat());
    assert_eq!(get(&server, "/api/clients").status, 401);
    assert_eq!(ask_with(&server, "/api/clients", "t-web").status, 403);
    let mut web = speak_with(&server, "name=web", "t-web");
    assert_eq!(web.control("welcome")["topics"], json!(["feed"]));
    web.command(&json!({"type": "subscribe", "topic": "$events"}));
    assert_eq!(web.control("error")["code"], "not_allowed");
    let answer = ask_with(&server, "/api/clients", "t-ops").json();
    let row = row_of(&answer, "web").expect("it is there");
    assert_eq!((&row["who"], &row["mode"]), (&json!("web"), &json!("lapwing.v1")));
    let mut ops = speak_with(&server, "topics=$clients", "t-ops");
    assert_eq!(ops.control("welcome")["topics"], json!([]));
    assert_eq!(ops.control("subscribed")["topic"], "$clients");
}

#[test]
fn from_the_position_of_the_answer_on_every_change_of_the_clients_is_told() {
    let server = Server::start(FEED);
    let stays = follow(&server, "name=stays");
    let mut answer = Value::Null;
    eventually("the client is there", || {
        answer = get(&server, "/api/clients").json();
        row_of(&answer, "stays").is_some()
    });
    let row = row_of(&answer, "stays").expect("it is there");
    assert_eq!((&row["cause"], &row["mode"]), (&json!("unclear"), &json!("plain")));
    assert_eq!(row["topics"], json!([{"topic": "feed", "next": 0, "lag": 0}]));
    assert_eq!(answer["clients"], 1);
    let position = &answer["position"];
    let at = format!(
        "topics=$clients&from=$clients@{}:{}",
        text(&position["epoch"]),
        position["offset"]
    );
    let mut watcher = follow(&server, &at);
    let comes = follow(&server, "name=comes");
    let come = told(&mut watcher, |data| data["client"] == "comes");
    let session = &come["session"];
    let summary = told(&mut watcher, |data| data["summary"]["clients"] == 3);
    assert_eq!(summary["summary"]["counts"]["unclear"], 3, "{summary}");
    comes.close(1000, "bye");
    assert_eq!(told(&mut watcher, |data| &data["session"] == session)["left"], true);
    drop(stays);
    let gone = told(&mut watcher, |data| data["left"] == true);
    assert_eq!(gone["session"], row["session"]);
}

#[test]
fn who_begins_to_watch_is_told_of_everybody_who_is_there() {
    let server = Server::start(FEED);
    let _here = follow(&server, "name=here");
    server.event("joined", |joined| joined["client"] == "here");
    let mut watcher = follow(&server, "topics=$clients");
    let first = watcher.message().data;
    assert_eq!(
        (&first["summary"]["begins"], &first["summary"]["clients"]),
        (&json!(true), &json!(2))
    );
    told(&mut watcher, |data| data["client"] == "here");
}

#[test]
fn the_rows_are_searched_limited_and_chosen_by_cause() {
    let server = Server::start(FEED);
    let _clients: Vec<_> = (0..5).map(|n| follow(&server, &format!("name=Sensor-{n}"))).collect();
    let rows = |query: &str| {
        let answer = get(&server, &format!("/api/clients{query}")).json();
        assert_eq!(answer["clients"], 5, "{answer}");
        answer["rows"].as_array().expect("a list").len()
    };
    eventually("all are there", || get(&server, "/api/clients").json()["clients"] == 5);
    assert_eq!(rows("?limit=2"), 2);
    assert_eq!(rows("?search=sensor-3"), 1);
    assert_eq!(rows("?search=127.0.0.1"), 5);
    assert_eq!(rows("?cause=unclear&limit=10000"), 5);
    assert_eq!(rows("?cause=client+slow"), 0);
    for (query, told) in [
        ("?limit=0", "a number of rows is from 1 to 10000"),
        ("?limit=10001", "a number of rows is from 1 to 10000"),
        ("?cause=lazy", "a cause is one of source-limited, client slow, "),
        (
            "?serach=x",
            "unknown key \"serach\": there are limit, search, cause and server",
        ),
    ] {
        let refused = get(&server, &format!("/api/clients{query}"));
        assert_eq!(refused.status, 400);
        assert!(refused.body.contains(told), "{}", refused.body);
    }
}

#[test]
fn the_newest_reports_are_told_and_the_topic_goes_on_behind_them() {
    let server = Server::start(&[
        "--topic",
        "feed=push",
        "--topic",
        "more=push",
        "--max-report-rate",
        "100",
    ]);
    let mut client = speak(&server, "topics=feed,more&name=sensor-1");
    client.control("welcome");
    (0..2).for_each(|_| drop(client.control("subscribed")));
    for topic in ["feed", "more"] {
        let body = "1\n2\n3\n4\n5\n6\n7\n8\n9\n10\n";
        let path = format!("/topics/{topic}/messages");
        assert_eq!(post(&server, &path, "application/x-ndjson", body).status, 201);
    }
    client.messages(20);
    for topic in ["feed", "more", "feed"] {
        client.command(&report(topic, 1, 1, 2000.0));
    }
    eventually("all reports are kept", || reports(&server, "").len() == 3);
    assert_eq!(reports(&server, "?topic=feed").len(), 2);
    assert_eq!(reports(&server, "?topic=other").len(), 0);
    assert_eq!(reports(&server, "?session=1&topic=more").len(), 1);
    assert_eq!(reports(&server, "?session=99").len(), 0);
    let newest = reports(&server, "?limit=2");
    assert_eq!(
        (&newest[0]["topic"], &newest[1]["topic"]),
        (&json!("more"), &json!("feed"))
    );
    // It has said twice of the same topic that a block took 2 s longer than here.
    assert_eq!(
        (&newest[1]["event"], &newest[1]["cause"]),
        (&json!("report"), &json!("client slow"))
    );
    let answer = get(&server, "/api/reports").json();
    assert_eq!(answer["position"]["offset"], 3);
    let at = format!("topics=$reports&from=$reports@{}:3", text(&answer["position"]["epoch"]));
    let mut watcher = follow(&server, &at);
    client.command(&report("more", 1, 1, 1999.0));
    let next = watcher.message();
    assert_eq!((next.offset, &next.data["client"]), (3, &json!("sensor-1")));
}

fn reports(server: &Server, query: &str) -> Vec<Value> {
    let answer = get(server, &format!("/api/reports{query}")).json();
    answer["reports"].as_array().expect("a list").clone()
}

fn text(value: &Value) -> &str {
    value.as_str().expect("a text")
}
