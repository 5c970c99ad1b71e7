//! Web pages of other origins, and names bent to this machine.

use crate::support::http::{Answer, ask, send};
use crate::support::server::Server;

const TOPICS: &[&str] = &["--topic", "orders=push"];
const PUBLISH: &str = "/topics/orders/messages";

/// Asks for page, stream and publish with these headers, and gives the three answers.
fn ask_all(server: &Server, headers: &[(&str, &str)]) -> [Answer; 3] {
    let page = ask(server, "GET", "/", headers, b"");
    let publish = ask(
        server,
        "POST",
        PUBLISH,
        &[headers, &[("Content-Type", "text/plain")]].concat(),
        b"1",
    );
    let upgrade = [
        ("Upgrade", "websocket"),
        ("Connection", "Upgrade"),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];
    let stream = ask(server, "GET", "/?topics=orders", &[headers, &upgrade].concat(), b"");
    [page, stream, publish]
}

#[track_caller]
fn check(server: &Server, headers: &[(&str, &str)], statuses: [u16; 3], sentence: &str) {
    let answers = ask_all(server, headers);
    assert_eq!(answers.each_ref().map(|answer| answer.status), statuses, "{headers:?}");
    for answer in answers.iter().filter(|answer| answer.status >= 400) {
        assert!(answer.body.contains(sentence), "{sentence:?} in {answer:?}");
        assert_eq!(
            answer.header("access-control-allow-origin"),
            None,
            "nothing can be read of it"
        );
    }
}

const PASS: [u16; 3] = [200, 101, 201];

#[test]
fn e11_a_page_of_another_origin_can_neither_read_nor_publish() {
    let server = Server::start(TOPICS);
    let port = server.address().port();
    for origin in [
        "http://evil.example".to_owned(),
        "https://evil.example:443".to_owned(),
        format!("http://127.0.0.1:{}", port.wrapping_add(1)),
        format!("http://localhost:{port}"),
        format!("http://127.0.0.1:{port}.evil.example"),
    ] {
        let way_out = format!("--allow-origin {origin} would let it");
        check(&server, &[("Origin", &origin)], [403; 3], &way_out);
    }
    let hidden = [("Sec-Fetch-Site", "cross-site"), ("Sec-Fetch-Mode", "no-cors")];
    check(&server, &hidden, [403; 3], "a page that hides its origin");
    check(&server, &[("Origin", "null")], [403; 3], "a page that hides its origin");
    // Nothing was published by any of them.
    let first = ask(&server, "POST", PUBLISH, &[("Content-Type", "text/plain")], b"1");
    assert_eq!(first.json()["first"], 0);
}

#[test]
fn e11_the_own_page_and_programs_pass() {
    let server = Server::start(TOPICS);
    check(
        &server,
        &[("Origin", &format!("http://{}", server.address()))],
        PASS,
        "",
    );
    check(&server, &[], PASS, "");
    // A link on another page that leads here reads nothing.
    let followed = [("Sec-Fetch-Site", "cross-site"), ("Sec-Fetch-Mode", "navigate")];
    assert_eq!(ask(&server, "GET", "/", &followed, b"").status, 200);
}

#[test]
fn e11_an_origin_that_was_allowed_passes_and_may_read() {
    let server = Server::start(&[TOPICS, &["--allow-origin", "https://app.example.org"]].concat());
    let answers = ask_all(&server, &[("Origin", "https://app.example.org")]);
    assert_eq!(answers.each_ref().map(|answer| answer.status), PASS);
    for answer in &answers {
        assert_eq!(
            answer.header("access-control-allow-origin"),
            Some("https://app.example.org")
        );
    }
    let preflight = ask(
        &server,
        "OPTIONS",
        PUBLISH,
        &[("Origin", "https://app.example.org")],
        b"",
    );
    assert_eq!(preflight.status, 204);
    assert_eq!(preflight.header("access-control-allow-methods"), Some("POST"));
    assert!(
        preflight
            .header("access-control-allow-headers")
            .is_some_and(|names| names.contains("Content-Type"))
    );
    check(
        &server,
        &[("Origin", "http://app.example.org")],
        [403; 3],
        "--allow-origin",
    );
}

#[test]
fn e12_a_name_that_was_bent_to_this_machine_is_refused() {
    let server = Server::start(TOPICS);
    let port = server.address().port();
    for host in [
        format!("evil.example:{port}"),
        "evil.example".to_owned(),
        format!("127.0.0.1.evil.example:{port}"),
        format!("localhost.evil.example:{port}"),
    ] {
        let sentence = format!("does not answer to the host \"{host}\"");
        check(&server, &[("Host", &host)], [421; 3], &sentence);
        // The page that a rebound name has loaded thinks itself at home.
        check(
            &server,
            &[("Host", &host), ("Origin", &format!("http://{host}"))],
            [421; 3],
            &sentence,
        );
    }
}

#[test]
fn e12_names_of_this_machine_and_of_allowed_origins_pass() {
    let server = Server::start(&[TOPICS, &["--allow-origin", "https://feed.example.org"]].concat());
    let port = server.address().port();
    for host in [
        format!("localhost:{port}"),
        format!("127.0.0.1:{port}"),
        format!("[::1]:{port}"),
        "feed.example.org".to_owned(),
    ] {
        check(&server, &[("Host", &host)], PASS, "");
    }
}

#[test]
fn e12_a_target_with_a_name_of_its_own_is_judged_by_it() {
    let server = Server::start(TOPICS);
    let request = format!(
        "GET http://evil.example/ HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n",
        server.address()
    );
    assert_eq!(send(server.address(), request.as_bytes()).status, 421);
}
