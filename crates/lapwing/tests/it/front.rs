//! The front door: health, page, and upgrades that are wrong.

use std::io::{Read as _, Write as _};

use crate::support::client::speak;
use crate::support::frames::upgrade_request;
use crate::support::http::{Answer, get, open, post, send};
use crate::support::server::Server;

const TOPICS: &[&str] = &["--topic", "users=users?every=1s", "--topic", "orders=push"];

#[test]
fn item_14_health_and_readiness_are_told() {
    let server = Server::start(TOPICS);
    for (path, body) in [("/healthz", "ok\n"), ("/readyz", "ready\n")] {
        let answer = get(&server, path);
        assert_eq!((answer.status, answer.body.as_str()), (200, body), "{path}");
        let wrong = post(&server, path, "text/plain", "");
        assert_eq!(
            (wrong.status, wrong.header("allow")),
            (405, Some("GET, HEAD")),
            "{path}"
        );
    }
}

#[test]
fn item_14_without_an_upgrade_there_is_a_page_that_runs_nothing_from_elsewhere() {
    let server = Server::start(TOPICS);
    let page = get(&server, "/");
    assert_eq!(page.status, 200);
    assert_eq!(page.header("content-type"), Some("text/html; charset=utf-8"));
    assert!(
        page.body.contains("<script") && !page.body.contains("<script>"),
        "no script in the page itself"
    );
    for path in ["/page.js", "/page.css", "/icon.svg"] {
        assert!(page.body.contains(path.trim_start_matches('/')), "the page uses {path}");
        assert_eq!(get(&server, path).status, 200, "{path}");
    }
    for path in [
        "/",
        "/page.js",
        "/page.css",
        "/logic/verdict.js",
        "/vendor/uplot-1.6.32.js",
    ] {
        let answer = get(&server, path);
        assert!(
            answer.header("etag").is_some(),
            "{path} is asked for each time, and not sent again"
        );
        let policy = answer.header("content-security-policy").expect("a policy");
        assert!(
            policy.starts_with("default-src 'none'; script-src 'self'; ") && !policy.contains("unsafe"),
            "{policy}"
        );
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
        assert_eq!(answer.header("referrer-policy"), Some("no-referrer"));
    }
    let missing = get(&server, "/nothing");
    assert_eq!(missing.status, 404);
    assert!(
        missing.body.contains("the page and the stream are at /"),
        "{}",
        missing.body
    );
}

#[test]
fn d6_an_upgrade_that_is_wrong_gets_its_status_and_a_sentence() {
    let server = Server::start(TOPICS);
    let host = server.address().to_string();
    let good = upgrade_request(&host, "/");
    let wrong = |from: &str, to: &str| {
        assert!(good.contains(from), "{from}");
        send(server.address(), good.replace(from, to).as_bytes())
    };
    assert_eq!(send(server.address(), good.as_bytes()).status, 101);
    let method = wrong("GET /", "POST /");
    check(&method, 405, "a WebSocket is opened with GET, not with \"POST\"");
    assert_eq!(method.header("allow"), Some("GET"));
    for version in ["8", "14", "", "13, 8"] {
        let answer = wrong("Version: 13", &format!("Version: {version}"));
        check(&answer, 426, "Sec-WebSocket-Version must be 13");
        assert_eq!(answer.header("sec-websocket-version"), Some("13"));
        assert_eq!(answer.header("upgrade"), Some("websocket"));
    }
    check(
        &wrong("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n", ""),
        400,
        "Sec-WebSocket-Key must be 16 bytes",
    );
    check(
        &wrong("dGhlIHNhbXBsZSBub25jZQ==", "c2hvcnQ="),
        400,
        "Sec-WebSocket-Key must be 16 bytes",
    );
    check(
        &wrong("Connection: Upgrade", "Connection: keep-alive"),
        400,
        "Connection must say \"Upgrade\"",
    );
    check(
        &wrong("Upgrade: websocket", "Upgrade: TLS/1.0"),
        426,
        "Upgrade must say \"websocket\"",
    );
    // An offer of HTTP/2 may be ignored (RFC 9110 section 7.8): it is the page that is wanted.
    assert_eq!(wrong("Upgrade: websocket", "Upgrade: h2c").status, 200);
    check(&wrong("HTTP/1.1", "HTTP/1.0"), 505, "needs HTTP/1.1");
    check(
        &wrong("Host: ", "Host: localhost\r\nHost: "),
        400,
        "one Host header, this one 2",
    );
    check(
        &wrong("Upgrade: ", "Content-Length: 3\r\nUpgrade: "),
        400,
        "has no body",
    );
    check(&get(&server, "/ws"), 426, "this is a WebSocket");
}

#[test]
fn item_14_a_topic_that_is_not_there_is_404_and_the_answer_lists_those_that_are() {
    let server = Server::start(TOPICS);
    check(
        &stream(&server, "topics=users,nope"),
        404,
        "there is no topic \"nope\"; there are users, orders",
    );
    check(
        &stream(&server, "from=nope:3"),
        404,
        "there is no topic \"nope\", named in from=; there are users, orders",
    );
}

#[test]
fn item_14_a_position_of_another_history_is_409_for_a_plain_client_with_what_there_is() {
    let server = Server::start(TOPICS);
    for n in 0..3 {
        post(&server, "/topics/orders/messages", "application/json", n.to_string());
    }
    let mut knows = speak(&server, "topics=orders");
    knows.control("welcome");
    let epoch = knows.control("subscribed")["epoch"].as_str().unwrap().to_owned();
    let place = format!("epoch {epoch}, first 0, next 3");
    let foreign = "0123456789abcdef0123456789abcdef";
    check(
        &stream(&server, &format!("topics=orders&from=orders@{foreign}:1")),
        409,
        &place,
    );
    check(
        &stream(&server, &format!("topics=orders&from=orders@{epoch}:4")),
        409,
        &place,
    );
    check(&stream(&server, "topics=orders&from=4"), 409, &place);
    for fits in [
        format!("orders@{epoch}:3"),
        format!("orders@{epoch}:0"),
        "orders:3".to_owned(),
    ] {
        assert_eq!(
            stream(&server, &format!("topics=orders&from={fits}")).status,
            101,
            "{fits}"
        );
    }
}

#[test]
fn item_14_a_query_that_is_not_understood_is_400() {
    let server = Server::start(TOPICS);
    for (query, sentence) in [
        (
            "topic=users",
            "unknown key \"topic\" in the query; known are topics, from, encoding, envelope, name and ticket",
        ),
        ("topics=users&topics=orders", "topics"),
        ("topics=a%20b", "a b"),
        ("from=yesterday", "yesterday"),
        ("envelope=no", "on, off"),
        ("encoding=xml", "json, binary"),
        (
            "encoding=binary&envelope=off",
            "envelope=off leaves out what encoding=binary needs",
        ),
        ("name=", "name"),
    ] {
        check(&stream(&server, query), 400, sentence);
    }
}

#[test]
fn e13_a_secret_in_the_url_is_refused() {
    let server = Server::start(TOPICS);
    for key in ["token", "access_token", "key", "password"] {
        let answer = stream(&server, &format!("topics=users&{key}=hunter2"));
        check(&answer, 400, "does not belong in a URL, which ends in logs");
        assert!(!answer.body.contains("hunter2"), "{}", answer.body);
    }
}

#[test]
fn item_14_bare_payloads_do_not_go_with_the_subprotocol() {
    let server = Server::start(TOPICS);
    let host = server.address().to_string();
    let request = upgrade_request(&host, "/?envelope=off").replace(
        "Upgrade: websocket\r\n",
        "Upgrade: websocket\r\nSec-WebSocket-Protocol: lapwing.v1\r\n",
    );
    check(
        &send(server.address(), request.as_bytes()),
        400,
        "envelope=off carries no offsets and does not go with lapwing.v1",
    );
}

#[test]
fn item_14_a_subprotocol_is_chosen_only_if_it_was_offered_and_is_known() {
    let server = Server::start(TOPICS);
    let host = server.address().to_string();
    let chosen = |offer: &str| {
        let offered = format!("Upgrade: websocket\r\nSec-WebSocket-Protocol: {offer}\r\n");
        let request = upgrade_request(&host, "/").replace("Upgrade: websocket\r\n", &offered);
        let answer = send(server.address(), request.as_bytes());
        assert_eq!(answer.status, 101);
        answer.header("sec-websocket-protocol").map(str::to_owned)
    };
    assert_eq!(chosen("mqtt, lapwing.v1").as_deref(), Some("lapwing.v1"));
    assert_eq!(chosen("mqtt"), None);
    let answer = send(server.address(), upgrade_request(&host, "/").as_bytes());
    assert_eq!(answer.header("sec-websocket-protocol"), None);
    // The key and its answer from RFC 6455 section 1.3.
    assert_eq!(
        answer.header("sec-websocket-accept"),
        Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")
    );
}

#[test]
fn d8_head_is_answered_without_a_body() {
    let server = Server::start(TOPICS);
    let request = format!(
        "HEAD /healthz HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n",
        server.address()
    );
    let mut stream = open(server.address());
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(
        answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("\r\n\r\n"),
        "{answer:?}"
    );
}

fn stream(server: &Server, query: &str) -> Answer {
    let request = upgrade_request(&server.address().to_string(), &format!("/?{query}"));
    send(server.address(), request.as_bytes())
}

#[track_caller]
fn check(answer: &Answer, status: u16, sentence: &str) {
    assert_eq!(answer.status, status, "{answer:?}");
    assert!(answer.body.contains(sentence), "{sentence:?} in {answer:?}");
    assert_eq!(answer.body.lines().count(), 1, "one sentence: {answer:?}");
}
