//! Readers that take too little, and payloads that must come through as they are.

use std::io::Read as _;

use base64::Engine as _;
use serde_json::{Value, json};

use crate::support::frames::Raw;
use crate::support::http::post;
use crate::support::server::{Running, Server};

#[test]
fn b3_a_reader_of_a_byte_a_second_is_let_go_and_others_are_served() {
    let server = Server::start(&[
        "--topic",
        "arrays=arrays?every=20ms&burst=4&shape=1000",
        "--stall-timeout",
        "1s",
    ]);
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    socket.connect(&server.address().into()).unwrap();
    let mut drop_by_drop: std::net::TcpStream = socket.try_clone().unwrap().into();
    let _greedy = Raw::on(socket.into(), "topics=arrays&name=greedy&from=earliest", b"");
    let mut good = Raw::follow(&server, "topics=arrays");
    loop {
        // A byte now and then, as far as there still is one.
        let _ = drop_by_drop.read(&mut [0]);
        for _ in 0..20 {
            assert!(good.frame().is_some(), "others are served");
        }
        if !server.events("left").is_empty() {
            break;
        }
    }
    let left = server.event("left", |_| true);
    assert_eq!(
        (&left["client"], &left["code"], &left["by"]),
        (&json!("greedy"), &json!(4400), &json!("server")),
        "{left}"
    );
}

#[test]
fn b3_a_reader_below_the_rate_that_is_asked_for_is_let_go() {
    let topic = "arrays=arrays?every=20ms&burst=4&shape=1000";
    let server = Server::start(&["--topic", topic, "--stall-timeout", "3s", "--stall-rate", "1GiB"]);
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    socket.connect(&server.address().into()).unwrap();
    let mut slow = Raw::on(socket.into(), "topics=arrays&from=earliest", b"");
    // It reads now and then, many bytes a second, but fewer than the feed has: it lags all the while.
    while server.events("left").is_empty() {
        let _ = slow.frame();
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    let left = server.event("left", |_| true);
    assert_eq!((&left["code"], &left["by"]), (&json!(4400), &json!("server")), "{left}");
    assert_eq!(left["reason"], "took under 1073741824 B/s for 3 s");
}

#[test]
fn c13_bytes_of_every_value_and_length_come_into_the_file_as_they_are() {
    let server = Server::start(&["--topic", "bytes=push"]);
    let every: Vec<u8> = (0..=255).collect();
    let payloads = [
        Vec::new(),
        vec![0],
        every.clone(),
        every.repeat(256),
        every.iter().rev().copied().cycle().take((1 << 20) - 1).collect(),
        vec![0xff; 1 << 20],
    ];
    for payload in &payloads {
        let answer = post(&server, "/topics/bytes/messages", "application/octet-stream", payload);
        assert_eq!(answer.status, 201, "{}", answer.body);
    }
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("feed.ndjson");
    let count = payloads.len().to_string();
    let path = file.to_str().unwrap();
    let args = [
        "listen",
        &server.url(),
        "--from",
        "earliest",
        "--quiet",
        "--count",
        &count,
        "--log",
        path,
    ];
    assert_eq!(Running::start(&args).end().code, Some(0));
    let text = std::fs::read_to_string(&file).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let received: Vec<Vec<u8>> = lines
        .filter(|line| line["topic"] == "bytes" && line["record"].is_null())
        .map(|line| {
            let encoded = line["data_base64"].as_str().expect("bytes");
            base64::engine::general_purpose::STANDARD.decode(encoded).unwrap()
        })
        .collect();
    assert!(
        received == payloads,
        "{:?}",
        received.iter().map(Vec::len).collect::<Vec<_>>()
    );
    assert_eq!(Running::start(&["verify", path]).end().code, Some(0));
}
