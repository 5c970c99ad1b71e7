//! Behind a proxy: whom it asks for counts, and only a proxy that is trusted is believed.

use std::io::Write as _;
use std::net::TcpStream;

use serde_json::json;

use crate::support::eventually;
use crate::support::frames::upgrade_request;
use crate::support::http::{Answer, answer, open};
use crate::support::server::{Server, lapwing};

const TOPICS: &[&str] = &["--topic", "quiet=push"];
const TRUSTING: &[&str] = &["--trust-proxy", "127.0.0.1", "--max-connections-per-address", "2"];

/// Asks for a stream with more lines in the head; gives the answer and the connection, which lasts as long as it is held.
#[track_caller]
fn ask(server: &Server, lines: &str) -> (Answer, TcpStream) {
    let mut stream = open(server.address());
    stream.write_all(request(server, lines).as_bytes()).unwrap();
    (answer(&mut stream).expect("an answer"), stream)
}

/// All of these come through the proxy at once, and stay; gives what each was told.
fn crowd(server: &Server, clients: impl Iterator<Item = String>) -> (Vec<TcpStream>, Vec<Answer>) {
    let ask = |client| {
        let mut stream = open(server.address());
        let line = format!("X-Forwarded-For: {client}\r\n");
        stream.write_all(request(server, &line).as_bytes()).unwrap();
        stream
    };
    let mut streams: Vec<_> = clients.map(ask).collect();
    let answers = streams.iter_mut().map(|stream| answer(stream).expect("an answer"));
    let answers = answers.collect();
    (streams, answers)
}

fn request(server: &Server, lines: &str) -> String {
    let request = upgrade_request(&server.address().to_string(), "/?topics=quiet");
    request.replacen("\r\n", &format!("\r\n{lines}"), 1)
}

#[test]
fn d11_behind_a_trusted_proxy_connections_count_for_whom_it_asks() {
    let server = Server::start(&[TOPICS, TRUSTING].concat());
    let seven = "X-Forwarded-For: 192.0.2.7\r\n";
    let mut held: Vec<_> = (0..2).map(|_| ask(&server, seven)).collect();
    assert!(held.iter().all(|(answer, _)| answer.status == 101));
    assert_eq!(server.event("joined", |_| true)["address"], "192.0.2.7");
    // Nothing that the client itself writes in front of it makes it another one.
    for dodge in [
        seven,
        "X-Forwarded-For: 198.51.100.1, 192.0.2.7\r\n",
        "X-Forwarded-For: 198.51.100.1\r\nX-Forwarded-For: 192.0.2.7\r\n",
        "X-Forwarded-For: 127.0.0.1, 192.0.2.7:4711\r\n",
        "Forwarded: for=198.51.100.1, for=\"192.0.2.7:4711\";proto=https\r\n",
    ] {
        let (refused, _) = ask(&server, dodge);
        assert_eq!(refused.status, 429, "{dodge}");
        assert_eq!(refused.header("retry-after"), Some("2"));
        assert_eq!(
            refused.body,
            "this address has 2 connections, and may have no more (--max-connections-per-address)\n"
        );
    }
    for other in [
        "X-Forwarded-For: 192.0.2.8\r\n",
        "Forwarded: for=\"[2001:db8::1]\"\r\n",
        "",
    ] {
        held.push(ask(&server, other));
        assert_eq!(held.last().unwrap().0.status, 101, "{other}");
    }
    let (refused, _) = ask(&server, "X-Forwarded-For: 192.0.2.7\r\nForwarded: for=198.51.100.1\r\n");
    assert_eq!(refused.status, 400);
    assert!(refused.body.contains("Forwarded says 198.51.100.1"), "{}", refused.body);
    held.remove(0);
    eventually("its place is free again", || {
        let (answer, stream) = ask(&server, seven);
        let came = answer.status == 101;
        held.push((answer, stream));
        came
    });
    let limits = {
        server.interrupt();
        server.event("stopped", |_| true)["limits"].clone()
    };
    assert!(limits["connections_per_address"].as_u64() >= Some(5), "{limits}");
}

#[test]
fn d11_without_trust_a_header_changes_nothing() {
    let server = Server::start(
        &[
            TOPICS,
            &["--trust-proxy", "192.0.2.0/24", "--max-connections-per-address", "1"],
        ]
        .concat(),
    );
    let held: Vec<_> = (0..3).map(|_| ask(&server, "X-Forwarded-For: 192.0.2.7\r\n")).collect();
    assert!(
        held.iter().all(|(answer, _)| answer.status == 101),
        "this machine's own are not counted"
    );
    let joined = server.event("joined", |_| true);
    assert!(
        joined["address"].as_str().unwrap().starts_with("127.0.0.1:"),
        "{joined}"
    );
}

#[test]
fn d11_a_connection_counts_for_whom_its_last_request_came_from() {
    let server = Server::start(&[TOPICS, TRUSTING].concat());
    let mut kept = open(server.address());
    let host = server.address();
    let mut ask_on = |client: &str| {
        write!(
            kept,
            "GET /healthz HTTP/1.1\r\nHost: {host}\r\nX-Forwarded-For: {client}\r\n\r\n"
        )
        .unwrap();
        answer(&mut kept).expect("an answer").status
    };
    // Many requests on one connection are one connection.
    assert!((0..5).all(|_| ask_on("192.0.2.7") == 200));
    let (first, _held) = ask(&server, "X-Forwarded-For: 192.0.2.7\r\n");
    assert_eq!(first.status, 101);
    assert_eq!(ask(&server, "X-Forwarded-For: 192.0.2.7\r\n").0.status, 429);
    assert_eq!(ask_on("192.0.2.8"), 200);
    assert_eq!(ask(&server, "X-Forwarded-For: 192.0.2.7\r\n").0.status, 101);
}

#[test]
fn a_crowd_behind_a_proxy_comes_in_at_the_rate_and_the_rest_is_503_with_a_time_to_retry() {
    let server = Server::start(&[TOPICS, &["--trust-proxy", "127.0.0.1", "--max-accept-rate", "1"]].concat());
    let (_crowd, answers) = crowd(&server, (1..40).map(|client| format!("192.0.2.{client}")));
    let count = |status| answers.iter().filter(|answer| answer.status == status).count();
    assert!(count(101) >= 2, "a burst of two comes in at once");
    assert!(count(503) >= 1, "who would wait longer than a second is told");
    assert_eq!(count(101) + count(503), answers.len());
    let refused = answers.iter().find(|answer| answer.status == 503).unwrap();
    assert_eq!(refused.header("retry-after"), Some("2"));
    assert_eq!(
        refused.body,
        "more than 1 connection a second come to this server (--max-accept-rate)\n"
    );
    // Requests that are no streams, and this machine's own, wait for nobody.
    let own: Vec<_> = (0..10).map(|_| ask(&server, "")).collect();
    assert!(own.iter().all(|(answer, _)| answer.status == 101));
}

#[test]
fn d11_a_network_that_comes_without_end_takes_its_share_and_newcomers_come_in() {
    // Ten a second and twenty at once; of that one network has two a second, and ten at once.
    let server = Server::start(&[TOPICS, &["--trust-proxy", "127.0.0.1", "--max-accept-rate", "10"]].concat());
    // Its addresses are many, and all of them one household's.
    let (_crowd, answers) = crowd(&server, (0..200).map(|nth| format!("2001:db8:1:2::{nth:x}")));
    let count = |status| answers.iter().filter(|answer| answer.status == status).count();
    assert!(count(101) >= 10, "ten come in at once");
    assert_eq!(
        count(101) + count(429),
        answers.len(),
        "the room of all is not what is short"
    );
    let refused = answers.iter().find(|answer| answer.status == 429).unwrap();
    assert_eq!(refused.header("retry-after"), Some("2"));
    assert_eq!(
        refused.body,
        "more than 2 connections a second come from this address (--max-accept-rate-per-address)\n"
    );
    let newcomers = ["2001:db8:1:3::1", "192.0.2.7", "192.0.2.8", "192.0.2.9", "192.0.2.10"];
    let came: Vec<_> = newcomers
        .map(|address| ask(&server, &format!("X-Forwarded-For: {address}\r\n")).0.status)
        .into();
    assert_eq!(came, [101; 5]);
    server.interrupt();
    let limits = server.event("stopped", |_| true)["limits"].clone();
    assert!(limits["accept_rate_per_address"].as_u64() >= Some(1), "{limits}");
    assert!(limits["accept_rate"].is_null(), "{limits}");
}

#[test]
fn the_share_of_an_address_is_a_setting() {
    let server = Server::start(
        &[
            TOPICS,
            &["--trust-proxy", "127.0.0.1", "--max-accept-rate-per-address", "1"],
        ]
        .concat(),
    );
    let (_crowd, answers) = crowd(&server, (0..40).map(|_| "192.0.2.7".to_owned()));
    let count = |status| answers.iter().filter(|answer| answer.status == status).count();
    assert!(count(101) >= 5, "five come in at once");
    assert!(count(429) >= 1, "who would wait longer than a second is told");
    assert_eq!(count(101) + count(429), answers.len());
    let refused = answers.iter().find(|answer| answer.status == 429).unwrap();
    assert_eq!(
        refused.body,
        "more than 1 connection a second come from this address (--max-accept-rate-per-address)\n"
    );
}

#[test]
fn item_7_a_proxy_that_is_no_address_is_told() {
    for wrong in ["proxy.example", "10.0.0.0/33", "127.0.0.1,", "127.0.0.1:80"] {
        let ran = lapwing(&["serve", "--listen", "127.0.0.1:0", "--trust-proxy", wrong]);
        assert_eq!(ran.code, Some(2), "{wrong}");
        assert!(
            ran.err[0].contains("is no address such as 10.0.0.1, and no range"),
            "{:?}",
            ran.err
        );
        assert!(ran.err[0].ends_with("in --trust-proxy"), "{:?}", ran.err);
    }
    let server = Server::start(
        &[
            TOPICS,
            &["--trust-proxy", "10.0.0.0/8, ::1", "--trust-proxy", "127.0.0.1"],
        ]
        .concat(),
    );
    let (answer, _stream) = ask(&server, "X-Forwarded-For: 192.0.2.7, 10.1.2.3\r\n");
    assert_eq!(answer.status, 101);
    assert_eq!(server.event("joined", |_| true)["address"], json!("192.0.2.7"));
}
