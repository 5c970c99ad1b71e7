//! Those who come with tokens: how many connections each has, who they are on the console, and who of them is refused.

use std::net::TcpStream;
use std::time::Instant;

use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Value, json};

use crate::support::bearer::{Secrets, ask_stream, ask_with, follow_with, lines_of, speak_with};
use crate::support::client::{Client, follow};
use crate::support::eventually;
use crate::support::http::{Answer, ask, get};
use crate::support::server::{Plan, Server, lapwing};

const TOPICS: [&str; 4] = ["--topic", "users=push", "--topic", "orders=push"];
const WEB: (&str, &str, &str) = ("web", "lapwing_web", "listen:users");
const ALL: (&str, &str, &str) = ("all", "lapwing_all", "listen:*,publish:*");
const SECRET: &str = "0123456789abcdef0123456789abcdef";

fn guarded(tokens: &Secrets, more: &[&str]) -> Server {
    Server::start(&[&TOPICS[..], &["--tokens", &tokens.path()], more].concat())
}

/// A good token with these claims.
fn jwt(mut claims: Value) -> String {
    claims["exp"] = json!(4_000_000_000u64);
    claims["scope"] = json!("listen:*");
    let key = EncodingKey::from_secret(SECRET.as_bytes());
    encode(&Header::new(Algorithm::HS256), &claims, &key).unwrap()
}

/// Stops a server, and gives what it told at the end.
#[track_caller]
fn stopped(mut server: Server) -> Value {
    server.interrupt();
    let stopped = server.event("stopped", |_| true);
    assert_eq!(server.wait().code(), Some(0));
    stopped
}

#[track_caller]
fn check_full(answer: &Answer, most: &str) {
    assert_eq!(
        (answer.status, answer.header("retry-after")),
        (429, Some("2")),
        "{answer:?}"
    );
    assert_eq!(
        answer.body,
        format!("the bearer of this token has {most}, and may have no more (--max-connections-per-token)\n")
    );
}

#[test]
fn as_many_connections_of_one_token_as_allowed_and_one_more_is_429() {
    // Two lines of one name: one token is on its way to take the other's place.
    let tokens = Secrets::tokens(&[WEB, ("web", "lapwing_web2", "listen:users"), ALL]);
    let server = guarded(&tokens, &["--max-connections-per-token", "2", "--echo"]);
    let first = follow_with(&server, "topics=users", WEB.1);
    let _second = speak_with(&server, "topics=users", "lapwing_web2");
    for token in [WEB.1, "lapwing_web2"] {
        check_full(&ask_with(&server, "/?topics=users", token), "2 connections");
    }
    check_full(&ask_with(&server, "/echo", WEB.1), "2 connections");
    let bearer = [("Authorization", "Bearer lapwing_web")];
    let ticket = ask(&server, "POST", "/ticket", &bearer, b"").json();
    let target = format!("/?topics=users&ticket={}", ticket["ticket"].as_str().unwrap());
    check_full(&ask_stream(&server, &target, &[]), "2 connections");
    let told = server.event("limit", |_| true);
    assert_eq!(
        told["text"],
        "\"web\" has 2 connections, and may have no more (--max-connections-per-token): 1 refused with 429"
    );
    // Others come in, requests are no connections, and who is refused for something else takes no place.
    let _other = follow_with(&server, "topics=users", ALL.1);
    for _ in 0..5 {
        let bearer = [("Authorization", "Bearer lapwing_all"), ("Content-Type", "text/plain")];
        assert_eq!(
            ask(&server, "POST", "/topics/users/messages", &bearer, b"1").status,
            201
        );
        assert_eq!(ask_with(&server, "/?topics=nothing", ALL.1).status, 404);
    }
    let _another = follow_with(&server, "topics=users", ALL.1);
    first.close(1000, "");
    let mut third = None;
    eventually("its place is free again", || {
        let stream = TcpStream::connect(server.address()).unwrap();
        third = Client::try_with_headers(stream, &server, "topics=users", &bearer);
        third.is_some()
    });
    check_full(&ask_with(&server, "/?topics=users", WEB.1), "2 connections");
    let limits = stopped(server)["limits"].clone();
    assert!(limits["connections_per_token"].as_u64() >= Some(5), "{limits}");
}

#[test]
fn jwts_count_by_sub_and_iss_and_each_of_those_without_a_sub_for_itself() {
    let keys = Secrets::new(&format!("HS256 {SECRET}\n"));
    let flags = ["--jwt-keys", &keys.path(), "--max-connections-per-token", "1"];
    let server = Server::start(&[&TOPICS[..], &flags].concat());
    let claims = [
        json!({ "sub": "ann", "iss": "x" }),
        json!({ "sub": "ann", "iss": "y" }),
        json!({ "sub": "ann" }),
        json!({ "sub": "bob", "iss": "x" }),
        json!({ "iss": "x" }),
        json!({}),
    ];
    let _held: Vec<_> = claims
        .iter()
        .map(|claims| follow_with(&server, "topics=users", &jwt(claims.clone())))
        .collect();
    for mut claims in claims {
        let nameless = claims.get("sub").is_none();
        if nameless {
            check_full(
                &ask_with(&server, "/?topics=users", &jwt(claims.clone())),
                "1 connection",
            );
        }
        // Another token of the same somebody, where it says who that is.
        claims["jti"] = json!("another");
        let answer = ask_with(&server, "/?topics=users", &jwt(claims));
        match nameless {
            true => assert_eq!(answer.status, 101),
            false => check_full(&answer, "1 connection"),
        }
    }
    assert_eq!(stopped(server)["limits"], json!({ "connections_per_token": 6 }));
}

#[test]
fn a_token_shown_later_keeps_the_place_of_its_connection() {
    let tokens = Secrets::tokens(&[WEB, ("web", "lapwing_web2", "listen:users")]);
    let server = guarded(&tokens, &["--max-connections-per-token", "1"]);
    let mut speaker = speak_with(&server, "topics=users", WEB.1);
    for token in ["lapwing_web2", WEB.1] {
        speaker.command(&json!({ "type": "auth", "token": token }));
        speaker.find_control("authorized");
        check_full(&ask_with(&server, "/?topics=users", WEB.1), "1 connection");
    }
    speaker.close(1000, "");
    eventually("its place is free again", || {
        ask_with(&server, "/?topics=users", WEB.1).status == 101
    });
}

#[test]
fn item_7_a_limit_of_no_connections_for_a_token_is_told() {
    let ran = lapwing(&["serve", "--listen", "127.0.0.1:0", "--max-connections-per-token", "0"]);
    assert_eq!(ran.code, Some(2));
    assert_eq!(ran.err[0], "error: --max-connections-per-token 0 would serve nobody");
}

#[test]
fn who_comes_and_goes_is_named_by_its_token_where_one_is_asked_for() {
    let tokens = Secrets::tokens(&[WEB, ALL]);
    let keys = Secrets::new(&format!("HS256 {SECRET}\n"));
    let server = guarded(&tokens, &["--jwt-keys", &keys.path()]);
    let long = "x".repeat(65);
    for (nth, (token, who)) in [
        (WEB.1.to_owned(), "web".to_owned()),
        (ALL.1.to_owned(), "all".to_owned()),
        (jwt(json!({ "sub": "ann@example.org" })), "ann@example.org".to_owned()),
        (
            jwt(json!({ "sub": "\u{1b}[2J\u{202e}" })),
            "\\u{1b}[2J\\u{202e}".to_owned(),
        ),
        (jwt(json!({ "sub": long })), format!("{}...", &long[1..])),
        (jwt(json!({})), "a token without a name".to_owned()),
    ]
    .into_iter()
    .enumerate()
    {
        let session = nth + 1;
        let follower = follow_with(&server, "topics=users&name=sensor", &token);
        let joined = server.event("joined", |event| event["session"] == session);
        assert_eq!((&joined["who"], &joined["client"]), (&json!(who), &json!("sensor")));
        follower.close(1000, "");
        let left = server.event("left", |event| event["session"] == session);
        assert_eq!(left["who"], json!(who));
        let lines = server.out().so_far().join("\n");
        assert!(!lines.contains(&token), "{lines}");
    }
    let open = Server::start(&TOPICS);
    follow(&open, "topics=users").close(1000, "");
    for event in ["joined", "left"] {
        let told = open.event(event, |_| true);
        assert_eq!(told.get("who"), None, "{told}");
    }
}

#[test]
fn the_line_of_who_joins_says_whose_token_it_has() {
    let tokens = Secrets::tokens(&[WEB]);
    let server = Plan::new(&[&TOPICS[..], &["--tokens", &tokens.path()]].concat())
        .text()
        .start();
    let follower = follow_with(&server, "topics=users&name=sensor-1", WEB.1);
    let line = server.err().with("sensor-1 joined");
    assert!(line.ends_with("(plain) as \"web\": users 0"), "{line}");
    follower.close(1000, "");
    server.err().with("sensor-1 left");
    let _follower = follow_with(&server, "topics=users&name=sensor-1", WEB.1);
    let line = server.err().with("sensor-1 is back");
    assert!(line.ends_with(" as \"web\": users 0"), "{line}");
    assert_eq!(get(&server, "/healthz").status, 200);
}

#[test]
fn e8_a_refused_token_is_told_with_address_and_reason_and_never_shown() {
    let tokens = Secrets::tokens(&[WEB, ("old", "lapwing_old", "listen:* expires=2020-01-01T00:00:00Z")]);
    let server = guarded(&tokens, &["--trust-proxy", "127.0.0.1"]);
    // Asks until it is told: what comes within a second of the line before it waits for the next one.
    let told = |target: &str, token: &str, reason: &str| {
        let bearer = format!("Bearer {token}");
        let headers = [("Authorization", bearer.as_str()), ("X-Forwarded-For", "192.0.2.7")];
        let mut line = None;
        eventually(reason, || {
            assert!([401, 403].contains(&ask_stream(&server, target, &headers).status));
            let lines = server.events("access").into_iter();
            let mut lines = lines.map(|event| event["text"].as_str().unwrap().to_owned());
            line = lines.find(|line| line.contains(reason));
            line.is_some()
        });
        line.unwrap()
    };
    assert_eq!(
        told("/?topics=users", "lapwing_hunter2", "the token is not known here"),
        "192.0.2.7 was refused: the token is not known here"
    );
    let line = told("/?topics=users", "lapwing_old", "the token expired");
    assert!(line.starts_with("192.0.2.7 was refused: the token expired "), "{line}");
    let line = told("/?topics=orders", WEB.1, "needs listen:orders");
    let needs = "\"web\" at 192.0.2.7 was refused: the token has listen:users; topic \"orders\" needs listen:orders";
    assert!(line.starts_with(needs), "{line}");
    assert!(line.ends_with(" since the last such line"), "{line}");
    let lines = server.out().so_far().join("\n");
    for token in ["hunter2", WEB.1, "lapwing_old"] {
        assert!(!lines.contains(token), "{token} in {lines}");
    }
}

#[test]
fn e8_refused_tokens_are_counted_by_reason_and_told_at_most_once_a_second() {
    let tokens = Secrets::tokens(&[
        WEB,
        ALL,
        ("old", "lapwing_old", "listen:* expires=2020-01-01T00:00:00Z"),
    ]);
    let server = guarded(&tokens, &[]);
    let began = Instant::now();
    for _ in 0..50 {
        assert_eq!(ask_with(&server, "/?topics=users", "lapwing_hunter2").status, 401);
    }
    server.event("access", |_| true);
    let least = server.events("access").len() as u64;
    let seconds = began.elapsed().as_secs();
    assert!((1..=seconds + 1).contains(&least), "{least} lines in {seconds} s");
    assert_eq!(ask_with(&server, "/?topics=users", "lapwing_old").status, 401);
    assert_eq!(ask_with(&server, "/?topics=orders", WEB.1).status, 403);
    assert_eq!(ask_stream(&server, "/?ticket=lapwing_hunter2", &[]).status, 401);
    assert_eq!(ask_stream(&server, "/", &[("Authorization", "Basic YTpi")]).status, 401);
    assert_eq!(ask_stream(&server, "/", &[]).status, 401);
    assert_eq!(ask(&server, "POST", "/ticket", &[], b"").status, 401);
    let bearer = [("Authorization", "Bearer lapwing_web"), ("Content-Type", "text/plain")];
    assert_eq!(
        ask(&server, "POST", "/topics/users/messages", &bearer, b"1").status,
        403
    );
    let mut speaker = speak_with(&server, "topics=users", WEB.1);
    speaker.command(&json!({ "type": "subscribe", "topic": "orders" }));
    assert_eq!(speaker.find_control("error")["code"], "not_allowed");
    speaker.command(&json!({ "type": "auth", "token": ALL.1 }));
    let other = "the token is of somebody else than this connection";
    assert_eq!(speaker.closed(), (4500, other.to_owned()));
    let mut speaker = speak_with(&server, "topics=users", WEB.1);
    speaker.command(&json!({ "type": "auth", "token": "lapwing_hunter2" }));
    assert_eq!(speaker.closed().0, 4500);
    let expected = json!({
        "no_token": 2, "unreadable": 1, "unknown": 51, "ticket": 1, "expired": 1, "scope": 3, "somebody_else": 1,
    });
    let stopped = stopped(server);
    assert_eq!(stopped["refused_tokens"], expected);
    assert_eq!(stopped.get("limits"), None, "{stopped}");
}

#[test]
fn where_nobody_is_refused_nothing_is_told_of_it() {
    let tokens = Secrets::new(&lines_of(&[WEB]));
    let server = guarded(&tokens, &[]);
    assert_eq!(ask_with(&server, "/?topics=users", WEB.1).status, 101);
    assert!(server.events("access").is_empty());
    assert_eq!(stopped(server).get("refused_tokens"), None);
}
