//! When there is no room, and when a session breaks inside.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use serde_json::json;

use crate::support::client::follow;
use crate::support::eventually;
use crate::support::frames::{FIN, Raw, TEXT, masked};
use crate::support::http::{answer, get, open, send};
use crate::support::server::{Plan, Server};

const LIVELY: &[&str] = &["--topic", "users=users?every=10ms"];

#[test]
fn as_many_connections_as_allowed_are_served_and_one_more_is_503_with_a_time_to_retry() {
    let server = Server::start(&[LIVELY, &["--max-connections", "3"]].concat());
    let mut served: Vec<_> = (0..3).map(|_| follow(&server, "topics=users")).collect();
    let request = format!("GET /healthz HTTP/1.1\r\nHost: {}\r\n\r\n", server.address());
    let refused = send(server.address(), request.as_bytes());
    assert_eq!((refused.status, refused.header("retry-after")), (503, Some("2")));
    assert!(
        refused.body.contains("no place for another connection"),
        "{}",
        refused.body
    );
    let told = server.event("limit", |_| true);
    assert_eq!(
        told["text"],
        "this server has no place for another connection now: 1 refused with 503"
    );
    for client in &mut served {
        client.messages(3);
    }
    served.pop().unwrap().close(1000, "");
    eventually("a place is free again", || {
        Raw::try_on(TcpStream::connect(server.address()).unwrap(), "topics=users", b"").is_ok()
    });
    served[0].messages(3);
}

#[test]
fn who_is_refused_in_the_middle_of_a_body_reads_why_and_is_not_reset() {
    let server = Server::start(&[LIVELY, &["--max-connections", "1"]].concat());
    let _served = follow(&server, "topics=users");
    // More than one read takes: what is unread at an end resets the connection.
    let body = "x".repeat(1 << 20);
    let head = format!(
        "POST /topics/users/messages HTTP/1.1\r\nHost: {}\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n",
        server.address(),
        body.len()
    );
    let mut stream = open(server.address());
    stream
        .write_all(format!("{head}{body}").as_bytes())
        .expect("all of it is taken");
    let refused = answer(&mut stream).expect("an answer comes");
    assert_eq!(refused.status, 503);
    assert!(refused.body.contains("no place for another connection"), "{refused:?}");
    assert_eq!(stream.read(&mut [0]).expect("no reset"), 0);
}

#[test]
fn a_request_gives_its_place_back() {
    let server = Server::start(&[LIVELY, &["--max-connections", "1"]].concat());
    for _ in 0..5 {
        eventually("the place is free", || get(&server, "/healthz").status == 200);
    }
}

#[test]
fn f18_with_few_open_files_it_serves_whom_it_can_refuses_the_rest_and_recovers() {
    let mut server = Plan::with_open_files(40, &[LIVELY, &["--max-connections", "1000"]].concat()).start();
    let connect = || {
        let stream = TcpStream::connect(server.address()).expect("the kernel takes it");
        Raw::try_on(stream, "topics=users", b"").ok()
    };
    let mut served: Vec<Raw> = (0..60).filter_map(|_| connect()).collect();
    assert!((10..40).contains(&served.len()), "{} of 60 are served", served.len());
    server.event("limit", |told| {
        let text = told["text"].as_str().unwrap();
        text.starts_with("no room for more connections (too many open files")
    });
    for client in &mut served {
        assert_eq!(client.frame().expect("those inside are served").first_byte, FIN | TEXT);
    }
    let many = served.len();
    served.clear();
    eventually("there is room again", || {
        served.extend(connect());
        served.len() + 2 > many
    });
    assert!(served.iter_mut().all(|client| client.frame().is_some()));
    drop(served);
    server.interrupt();
    assert_eq!(server.wait().code(), Some(0));
}

#[test]
fn f18_with_few_open_files_the_default_limit_leaves_room_to_refuse() {
    let server = Plan::with_open_files(40, LIVELY).text().start();
    let room: usize = server.err().find("with the room", |line| {
        let (_, room) = line.split_once("room for ")?;
        room.split(' ').next()?.parse().ok()
    });
    let mut served: Vec<_> = (0..room).map(|_| follow(&server, "topics=users")).collect();
    let mut refused = open(server.address());
    std::io::Write::write_all(&mut refused, b"GET / HTTP/1.1\r\n\r\n").unwrap();
    assert_eq!(answer(&mut refused).expect("a refusal that says why").status, 503);
    assert!(served.iter_mut().all(|client| client.messages(2).len() == 2));
    assert!(!server.err().so_far().iter().any(|line| line.contains("no room")));
}

#[test]
fn f22_an_error_in_one_session_ends_that_one_with_1011_and_no_other() {
    let mut server = Plan::new(LIVELY).env("LAPWING_FAULT", "panic-on-said").start();
    // Enough that both delivery threads have some.
    let mut others: Vec<_> = (0..8).map(|_| follow(&server, "topics=users")).collect();
    for round in 0..4 {
        let mut struck = Raw::follow(&server, "topics=users&name=struck");
        struck.send(&masked(FIN | TEXT, b"panic"));
        assert_eq!(
            struck.closed(),
            (1011, "an error in this server".to_owned()),
            "round {round}"
        );
    }
    // The same words right behind the handshake strike their own session as well.
    for _ in 0..4 {
        let mut struck = Raw::open(&server, "topics=users&name=struck", &masked(FIN | TEXT, b"panic"));
        assert_eq!(struck.closed().0, 1011);
    }
    let left = server.event("left", |_| true);
    assert_eq!(
        (&left["client"], &left["code"], &left["by"]),
        (&json!("struck"), &json!(1011), &json!("server"))
    );
    for client in &mut others {
        let first = client.message().offset;
        assert_eq!(client.messages(5)[4].offset, first + 5);
    }
    assert!(server.events("left").iter().all(|left| left["client"] == "struck"));
    others[0].say("said by another");
    server.event("said", |said| said["text"] == "said by another");
    drop(others);
    server.interrupt();
    assert_eq!(server.wait().code(), Some(0));
}
