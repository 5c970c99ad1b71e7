//! Who may do what: tokens from a file, where they stand in a request, what they allow, and when that ends.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::json;

use crate::support::bearer::{Secrets, ask_stream, ask_with, follow_with, lines_of, speak_with};
use crate::support::http::{Answer, ask, get, send};
use crate::support::server::{Plan, Running, Server, lapwing};

const TOPICS: [&str; 4] = ["--topic", "users=push", "--topic", "orders=push"];
const WEB: (&str, &str, &str) = ("web", "lapwing_web", "listen:users");
const PRESS: (&str, &str, &str) = ("press", "lapwing_press", "publish:orders");
const ALL: (&str, &str, &str) = ("all", "lapwing_all", "listen:*,publish:*");

/// A server that asks for these tokens.
fn guarded(tokens: &Secrets) -> Server {
    Server::start(&[&TOPICS[..], &["--tokens", &tokens.path()]].concat())
}

#[track_caller]
fn refused(answer: &Answer, status: u16, sentence: &str) {
    assert_eq!(answer.status, status, "{answer:?}");
    assert!(answer.body.contains(sentence), "{sentence:?} in {answer:?}");
    if status == 401 || status == 403 {
        let challenge = answer.header("www-authenticate").unwrap_or_default();
        assert!(challenge.starts_with("Bearer realm=\"lapwing\""), "{challenge}");
    }
}

#[track_caller]
fn publish(server: &Server, topic: &str, token: &str) -> Answer {
    let bearer = format!("Bearer {token}");
    let headers = [("Content-Type", "text/plain"), ("Authorization", bearer.as_str())];
    ask(server, "POST", &format!("/topics/{topic}/messages"), &headers, b"1")
}

fn offer(token: &str) -> String {
    format!("lapwing.token.{}", URL_SAFE_NO_PAD.encode(token))
}

#[test]
fn e8_data_is_for_who_has_a_token_and_the_page_is_for_everybody() {
    let tokens = Secrets::tokens(&[WEB]);
    let server = guarded(&tokens);
    assert_eq!(server.event("ready", |_| true)["authentication"], true);
    for path in ["/", "/page.js", "/page.css", "/icon.svg", "/healthz", "/readyz"] {
        assert_eq!(get(&server, path).status, 200, "{path}");
    }
    let wants = "this server wants a token: Authorization: Bearer TOKEN";
    refused(&ask_stream(&server, "/?topics=users", &[]), 401, wants);
    refused(
        &ask_stream(&server, "/ws", &[("Sec-WebSocket-Protocol", "lapwing.v1")]),
        401,
        wants,
    );
    let body = ask(
        &server,
        "POST",
        "/topics/orders/messages",
        &[("Content-Type", "text/plain")],
        b"1",
    );
    refused(&body, 401, wants);
    refused(&ask(&server, "POST", "/ticket", &[], b""), 401, wants);
    // Topics that are there and topics that are not look alike to who may know neither.
    refused(&ask_stream(&server, "/?topics=nothing", &[]), 401, wants);
    assert_eq!(ask_with(&server, "/?topics=users", WEB.1).status, 101);
}

#[test]
fn e8_a_token_that_is_not_good_is_told_and_never_shown() {
    let tokens = Secrets::tokens(&[WEB]);
    let server = guarded(&tokens);
    for (header, sentence) in [
        ("Bearer lapwing_hunter2", "the token is not known here"),
        ("Bearer lapwing_web2", "the token is not known here"),
        ("Bearer", "this server takes a bearer token"),
        ("Basic d2ViOmh1bnRlcjI=", "this server takes a bearer token"),
        ("lapwing_web", "this server takes a bearer token"),
        ("Bearer hunter2 hunter2", "the token has characters that no token has"),
    ] {
        let answer = ask_stream(&server, "/?topics=users", &[("Authorization", header)]);
        refused(&answer, 401, sentence);
        assert!(!answer.body.contains("hunter2"), "{answer:?}");
    }
    let twice = [
        ("Authorization", "Bearer lapwing_web"),
        ("Authorization", "Bearer lapwing_web"),
    ];
    refused(
        &ask_stream(&server, "/?topics=users", &twice),
        400,
        "2 tokens or tickets in one request",
    );
    let told = server.out().so_far().join("\n") + &server.err().so_far().join("\n");
    assert!(!told.contains("hunter2") && !told.contains("lapwing_web"), "{told}");
}

#[test]
fn e7_a_token_as_long_as_is_allowed_and_one_byte_longer() {
    let longest = "x".repeat(8 << 10);
    let tokens = Secrets::tokens(&[("web", &longest, "listen:*")]);
    let server = guarded(&tokens);
    assert_eq!(ask_with(&server, "/?topics=users", &longest).status, 101);
    let answer = ask_with(&server, "/?topics=users", &format!("{longest}x"));
    refused(&answer, 401, "the token has 8193 bytes, at most 8192 are taken");
    // Beyond the limit of a whole head nothing is read of it.
    assert_eq!(ask_with(&server, "/?topics=users", &"x".repeat(64 << 10)).status, 431);
}

#[test]
fn e8_a_topic_outside_the_scope_is_refused_with_the_scope_that_is_missing() {
    let tokens = Secrets::tokens(&[WEB, ALL]);
    let server = guarded(&tokens);
    let needs = "the token has listen:users; topic \"orders\" needs listen:orders";
    for target in ["/?topics=orders", "/?topics=users,orders", "/?from=orders:0"] {
        refused(&ask_with(&server, target, WEB.1), 403, needs);
    }
    // A name is no way to find out which topics there are.
    refused(
        &ask_with(&server, "/?topics=nothing", WEB.1),
        403,
        "topic \"nothing\" needs listen:nothing",
    );
    refused(
        &ask_with(&server, "/?topics=nothing", ALL.1),
        404,
        "there are users, orders",
    );
    let mut speaker = speak_with(&server, "", WEB.1);
    assert_eq!(speaker.control("welcome")["topics"], json!(["users"]));
    speaker.command(&json!({ "type": "subscribe", "topic": "orders" }));
    let error = speaker.control("error");
    assert_eq!(
        (&error["code"], &error["message"]),
        (&json!("not_allowed"), &json!(needs))
    );
    // The connection lives on, and every topic is every one that it may have.
    speaker.command(&json!({ "type": "subscribe" }));
    assert_eq!(speaker.control("subscribed")["topic"], "users");
    publish(&server, "users", ALL.1);
    assert_eq!(speaker.message().topic, "users");
}

#[test]
fn e16_publishing_gives_no_listening_and_the_reverse() {
    let tokens = Secrets::tokens(&[WEB, PRESS]);
    let server = guarded(&tokens);
    assert_eq!(publish(&server, "orders", PRESS.1).status, 201);
    refused(
        &publish(&server, "users", PRESS.1),
        403,
        "topic \"users\" needs publish:users",
    );
    refused(
        &publish(&server, "users", WEB.1),
        403,
        "the token has listen:users; topic \"users\" needs publish:users",
    );
    for target in ["/", "/?topics=*", "/ws"] {
        refused(
            &ask_with(&server, target, PRESS.1),
            403,
            "the token has publish:orders; a stream needs listen:TOPIC",
        );
    }
    refused(&ask_with(&server, "/?topics=orders", PRESS.1), 403, "");
}

#[test]
fn e16_an_echo_is_for_who_may_listen_to_something() {
    let tokens = Secrets::tokens(&[WEB, PRESS]);
    let server = Server::start(&[&TOPICS[..], &["--echo", "--tokens", &tokens.path()]].concat());
    refused(&ask_stream(&server, "/echo", &[]), 401, "this server wants a token");
    refused(&ask_with(&server, "/echo", PRESS.1), 403, "a stream needs listen:TOPIC");
    assert_eq!(ask_with(&server, "/echo", WEB.1).status, 101);
}

#[test]
fn without_topics_a_token_gets_what_it_may_listen_to() {
    let tokens = Secrets::tokens(&[WEB, ALL]);
    let server = guarded(&tokens);
    for query in ["from=earliest", "topics=*&from=earliest"] {
        let mut follower = follow_with(&server, query, WEB.1);
        server.event("joined", |event| event["from"] == json!({ "users": 0 }));
        publish(&server, "orders", ALL.1);
        publish(&server, "users", ALL.1);
        assert_eq!(follower.message().topic, "users");
    }
    let mut follower = follow_with(&server, "from=earliest", ALL.1);
    let mut topics: Vec<_> = follower.messages(4).into_iter().map(|message| message.topic).collect();
    topics.sort();
    assert_eq!(topics, ["orders", "orders", "users", "users"]);
}

#[test]
fn a_token_may_be_offered_as_a_subprotocol_and_is_never_sent_back() {
    let tokens = Secrets::tokens(&[WEB]);
    let server = guarded(&tokens);
    let token = offer(WEB.1);
    for (offered, chosen) in [
        (format!("lapwing.v1, {token}"), Some("lapwing.v1")),
        (format!("{token}, lapwing.v1"), Some("lapwing.v1")),
        (format!("{token}, lapwing.plain"), Some("lapwing.plain")),
        // A program may do without; a browser would not take this answer.
        (token.clone(), None),
    ] {
        let answer = ask_stream(&server, "/?topics=users", &[("Sec-WebSocket-Protocol", &offered)]);
        assert_eq!(answer.status, 101, "{answer:?}");
        assert_eq!(answer.header("sec-websocket-protocol"), chosen, "{offered}");
    }
    let bad = format!("lapwing.v1, {}", offer("lapwing_hunter2"));
    refused(
        &ask_stream(&server, "/", &[("Sec-WebSocket-Protocol", &bad)]),
        401,
        "the token is not known here",
    );
    let both = [
        ("Sec-WebSocket-Protocol", token.as_str()),
        ("Authorization", "Bearer lapwing_web"),
    ];
    refused(&ask_stream(&server, "/", &both), 400, "one is enough");
}

#[test]
fn e13_a_ticket_is_good_once() {
    let tokens = Secrets::tokens(&[WEB]);
    let server = guarded(&tokens);
    let bearer = [("Authorization", "Bearer lapwing_web")];
    let given = ask(&server, "POST", "/ticket", &bearer, b"");
    assert_eq!((given.status, given.header("cache-control")), (201, Some("no-store")));
    assert_eq!(given.json()["expires_in_ms"], 30_000);
    let ticket = given.json()["ticket"].as_str().unwrap().to_owned();
    let used = "the ticket is not known here: each is good once, and for 30 s";
    assert_eq!(
        ask_stream(&server, &format!("/?topics=users&ticket={ticket}"), &[]).status,
        101
    );
    refused(
        &ask_stream(&server, &format!("/?topics=users&ticket={ticket}"), &[]),
        401,
        used,
    );
    refused(&ask_stream(&server, "/?ticket=lapwing_hunter2", &[]), 401, used);
    // A ticket is no token, and a token no ticket.
    refused(&ask_with(&server, "/", &ticket), 401, "the token is not known here");
    refused(&ask_stream(&server, "/?ticket=lapwing_web", &[]), 401, used);
    // It gives what its token gives.
    let given = ask(&server, "POST", "/ticket", &bearer, b"").json();
    let ticket = given["ticket"].as_str().unwrap();
    refused(
        &ask_stream(&server, &format!("/?topics=orders&ticket={ticket}"), &[]),
        403,
        "needs listen:orders",
    );
    refused(&ask(&server, "GET", "/ticket", &bearer, b""), 405, "POST");
    let open = Server::start(&TOPICS);
    refused(
        &ask(&open, "POST", "/ticket", &bearer, b""),
        404,
        "this server asks for no token",
    );
    assert_eq!(ask_with(&open, "/?topics=users", "whatever").status, 101);
}

#[test]
fn e13_a_hundred_tickets_of_one_wait_and_one_more_is_refused() {
    let tokens = Secrets::tokens(&[WEB, ALL]);
    let server = guarded(&tokens);
    let ask_ticket = |token: &str| {
        let bearer = format!("Bearer {token}");
        ask(&server, "POST", "/ticket", &[("Authorization", bearer.as_str())], b"")
    };
    for _ in 0..100 {
        assert_eq!(ask_ticket(WEB.1).status, 201);
    }
    refused(
        &ask_ticket(WEB.1),
        429,
        "100 tickets of this token wait to be used already",
    );
    assert_eq!(ask_ticket(ALL.1).status, 201);
}

#[test]
fn a_tokens_file_that_changes_is_read_again_and_ends_who_is_no_longer_in_it() {
    let tokens = Secrets::tokens(&[WEB, ALL]);
    let server = guarded(&tokens);
    let mut stays = speak_with(&server, "topics=users", ALL.1);
    let mut goes = speak_with(&server, "topics=users", WEB.1);
    let mut plain = follow_with(&server, "topics=users", WEB.1);
    server.event("joined", |event| event["session"] == 3);
    let new = ("new", "lapwing_new", "listen:users");
    // Nobody says so: the file is looked at by itself.
    tokens.write(&lines_of(&[ALL, new]));
    server.event("access", |event| {
        event["text"].as_str().unwrap().ends_with("2 tokens in force")
    });
    assert_eq!(goes.closed(), (4401, "the token was withdrawn".to_owned()));
    assert_eq!(plain.closed(), (4401, "the token was withdrawn".to_owned()));
    refused(
        &ask_with(&server, "/?topics=users", WEB.1),
        401,
        "the token is not known here",
    );
    assert_eq!(ask_with(&server, "/?topics=users", new.1).status, 101);
    publish(&server, "users", ALL.1);
    assert_eq!(stays.find_control("subscribed")["topic"], "users");
    assert_eq!(stays.message().offset, 0);
}

#[test]
fn a_tokens_file_that_is_broken_changes_nothing_and_is_told_once_without_what_stands_in_it() {
    let tokens = Secrets::tokens(&[WEB]);
    let server = guarded(&tokens);
    let mut stays = speak_with(&server, "topics=users", WEB.1);
    let told =
        "line 2: its second word is no SHA-256 of a token: 64 hexadecimal digits; what was read before stays in force";
    tokens.change(
        &server,
        &format!("{}log lapwing_hunter2 admin\n", lines_of(&[WEB])),
        told,
    );
    assert_eq!(ask_with(&server, "/?topics=users", WEB.1).status, 101);
    std::fs::remove_file(tokens.path()).unwrap();
    server.event("access", |event| {
        event["text"].as_str().unwrap().contains("no such file")
    });
    assert_eq!(ask_with(&server, "/?topics=users", WEB.1).status, 101);
    tokens.change(&server, &lines_of(&[WEB, ALL]), "2 tokens in force");
    assert_eq!(publish(&server, "users", ALL.1).status, 201);
    assert_eq!(stays.find_control("subscribed")["topic"], "users");
    assert_eq!(stays.message().offset, 0);
    let lines = server.out().so_far().join("\n");
    assert!(!lines.contains("hunter2"), "{lines}");
}

#[test]
fn a_token_that_allows_less_ends_who_follows_what_it_allows_no_longer() {
    let tokens = Secrets::tokens(&[("web", "lapwing_web", "listen:users,listen:orders"), ALL]);
    let server = guarded(&tokens);
    let mut stays = speak_with(&server, "topics=users", WEB.1);
    let mut goes = speak_with(&server, "topics=users,orders", WEB.1);
    server.event("joined", |event| event["session"] == 2);
    tokens.change(&server, &lines_of(&[WEB, ALL]), "2 tokens in force");
    let needs = "the token has listen:users; topic \"orders\" needs listen:orders";
    assert_eq!(goes.closed(), (4401, needs.to_owned()));
    publish(&server, "users", ALL.1);
    stays.find_control("subscribed");
    assert_eq!(stays.message().topic, "users");
}

#[test]
fn e8_a_token_that_is_sent_in_plain_mode_is_not_shown() {
    let tokens = Secrets::tokens(&[WEB]);
    let server = guarded(&tokens);
    let mut follower = follow_with(&server, "topics=users", WEB.1);
    follower.command(&json!({ "type": "auth", "token": "lapwing_hunter2" }));
    follower.say("shown \"auth\"");
    server.event("said", |event| event["text"] == "shown \"auth\"");
    assert_eq!(server.events("said")[0]["text"], "a token, which is not shown");
    assert!(!server.out().so_far().join("\n").contains("hunter2"));
}

#[test]
fn token_new_makes_a_token_that_a_server_takes() {
    let ran = lapwing(&[
        "token",
        "new",
        "web",
        "--scope",
        "listen:users",
        "--scope",
        "publish:*",
        "--json",
    ]);
    assert_eq!(ran.code, Some(0));
    let made: serde_json::Value = serde_json::from_str(&ran.out[0]).unwrap();
    let (token, line) = (made["token"].as_str().unwrap(), made["line"].as_str().unwrap());
    assert!(line.starts_with("web ") && line.ends_with(" listen:users,publish:*") && !line.contains(token));
    let tokens = Secrets::new(&format!("# made by hand\n{line}\n"));
    let server = guarded(&tokens);
    assert_eq!(ask_with(&server, "/?topics=users", token).status, 101);
    assert_eq!(publish(&server, "orders", token).status, 201);
    let ran = lapwing(&[
        "token",
        "new",
        "web",
        "--scope",
        "admin",
        "--expires",
        "2200-01-01 00:00:00Z",
    ]);
    assert_eq!(ran.out.len(), 2, "{:?}", ran.out);
    assert!(
        ran.out[1].ends_with(" admin expires=2200-01-01T00:00:00.000000Z"),
        "{:?}",
        ran.out
    );
    assert_ne!(token, ran.out[0], "each is another");
}

#[test]
fn token_new_says_what_is_wrong() {
    let ran = lapwing(&["token", "new", "a b", "--scope", "read:users", "--expires", "soon"]);
    assert_eq!(ran.code, Some(2));
    let shown = ran.err.join("\n");
    for sentence in [
        "NAME is no name for a token",
        "a scope is listen:TOPIC",
        "--expires is no time",
    ] {
        assert!(shown.contains(sentence), "{shown}");
    }
}

#[test]
fn token_new_makes_none_that_is_over_already() {
    let ran = lapwing(&[
        "token",
        "new",
        "web",
        "--scope",
        "admin",
        "--expires",
        "2020-01-01T00:00:00Z",
    ]);
    assert_eq!((ran.code, ran.out), (Some(2), Vec::new()));
    assert_eq!(
        ran.err,
        [
            "error: --expires 2020-01-01T00:00:00.000000Z is over: nobody would come in with this token",
            "hint: write a time to come such as 2030-01-01T00:00:00Z, or leave it out for a token without an end",
        ]
    );
}

#[test]
fn a_tokens_file_by_which_nobody_comes_in_is_told_at_the_start_and_when_it_is_read_again() {
    let told = |server: &Server, text: &str| {
        let event = server.event("access", |event| event["text"].as_str().unwrap().contains(text));
        event["text"].as_str().unwrap().to_owned()
    };
    let tokens = Secrets::new("# nobody yet\n");
    let server = guarded(&tokens);
    assert_eq!(
        told(&server, "has no token"),
        format!(
            "{} has no token in it, so nobody comes in by it: lapwing token new NAME --scope listen:TOPIC prints a line for it",
            tokens.path()
        )
    );
    let ended = ("web", WEB.1, "listen:users expires=2020-01-01T00:00:00Z");
    tokens.change(&server, &lines_of(&[ended]), "1 token in force");
    assert_eq!(
        told(&server, "ended, the last"),
        format!(
            "the one token in {} ended, the last at 2020-01-01T00:00:00.000000Z, so nobody comes in by it: \
             lapwing token new NAME --scope listen:TOPIC prints another line for it",
            tokens.path()
        )
    );
    refused(&ask_with(&server, "/?topics=users", WEB.1), 401, "the token expired");
    // At the start too; and where somebody does come in, nothing is told.
    let sooner = ("all", ALL.1, "listen:* expires=2019-01-01T00:00:00Z");
    tokens.write(&lines_of(&[ended, sooner]));
    told(&guarded(&tokens), "all 2 tokens in ");
    tokens.write(&lines_of(&[ended, ALL]));
    let server = guarded(&tokens);
    assert_eq!(ask_with(&server, "/?topics=users", ALL.1).status, 101);
    assert!(server.events("access").is_empty());
}

#[test]
fn a_file_that_is_of_no_use_is_told_before_anything_starts() {
    let start = |args: &[&str]| {
        let output = Plan::new(args).refused();
        let told = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{told}");
        assert!(told.contains("\nhint: "), "{told}");
        told
    };
    assert!(start(&["--tokens", "/nowhere/tokens"]).contains("cannot read /nowhere/tokens: no such file"));
    let broken = Secrets::new("web lapwing_hunter2 listen:users\n");
    let told = start(&["--tokens", &broken.path()]);
    assert!(
        told.contains(" line 1: its second word is no SHA-256") && !told.contains("hunter2"),
        "{told}"
    );
    let told = start(&["--jwt-keys", &broken.path()]);
    assert!(told.contains("it is neither a set of keys in JSON, nor a public key") && !told.contains("hunter2"));
    assert!(start(&["--jwt-audience", "feed"]).contains("--jwt-audience means nothing without keys"));
}

#[test]
fn e15_tokens_alone_do_not_serve_strangers_in_the_clear() {
    let tokens = Secrets::tokens(&[WEB]);
    let ran = lapwing(&["serve", "--listen", "0.0.0.0:0", "--tokens", &tokens.path()]);
    assert_eq!(ran.code, Some(2));
    assert!(
        ran.err[0].contains("would serve strangers, in the clear: whoever is on the way reads their tokens"),
        "{:?}",
        ran.err
    );
    // With --open the token is still asked for.
    let flags = [
        "serve",
        "--listen",
        "0.0.0.0:0",
        "--open",
        "--json",
        "--topic",
        "users=push",
        "--tokens",
    ];
    let server = Running::start(&[&flags[..], &[&tokens.path()]].concat());
    let ready: serde_json::Value = serde_json::from_str(&server.out().with("\"ready\"")).unwrap();
    let port = ready["address"]
        .as_str()
        .unwrap()
        .rsplit(':')
        .next()
        .unwrap()
        .parse()
        .unwrap();
    let body = "HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\nContent-Length: 1\r\n\r\n1";
    let request = format!("POST /topics/users/messages {body}");
    let answer = send(([127, 0, 0, 1], port).into(), request.as_bytes());
    refused(&answer, 401, "this server wants a token");
}
