//! `lapwing publish` against a server that answers as the test says.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use rustix::process::Signal;

use crate::feed::{Feed, read_head};
use crate::program::lapwing;

/// One request and its body.
struct Posted {
    head: String,
    body: String,
}

impl Posted {
    fn read(stream: &mut TcpStream) -> Self {
        let head = read_head(stream);
        let mut body = vec![0; Self::header_in(&head, "content-length").parse().expect("a length")];
        stream.read_exact(&mut body).expect("the body");
        Self {
            head,
            body: String::from_utf8(body).expect("UTF-8"),
        }
    }

    fn header(&self, name: &str) -> &str {
        Self::header_in(&self.head, name)
    }

    fn header_in<'a>(head: &'a str, name: &str) -> &'a str {
        let line = head
            .lines()
            .find(|line| line.to_ascii_lowercase().starts_with(&format!("{name}:")));
        line.unwrap_or_else(|| panic!("no {name} in {head}"))
            .split_once(':')
            .expect("a header")
            .1
            .trim()
    }
}

fn answer(stream: &mut TcpStream, status: &str, body: &str) {
    let text = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    stream.write_all(text.as_bytes()).expect("it reads");
}

fn ack(first: u64, count: u64) -> String {
    let last = first + count - 1;
    format!(
        "{{\"topic\":\"orders\",\"epoch\":\"{:032x}\",\"first\":{first},\"last\":{last},\"count\":{count}}}",
        7
    )
}

#[test]
fn lines_become_messages_and_the_offsets_are_told() {
    let feed = Feed::bind();
    let mut publisher = lapwing(&["publish", &feed.url(), "orders"]);
    publisher.write_line(b"{\"a\": 1}");
    publisher.write_line(b"hello");
    publisher.write_line(b"bad \xff");
    let mut stream = feed.accept_tcp();
    let mut count = 0;
    let mut bodies = String::new();
    let mut closed = false;
    while count < 3 {
        let posted = Posted::read(&mut stream);
        assert!(
            posted.head.starts_with("POST /topics/orders/messages HTTP/1.1\r\n"),
            "{}",
            posted.head
        );
        assert_eq!(posted.header("content-type"), "application/x-ndjson");
        assert_eq!(posted.header("lapwing-sequence"), count.to_string());
        assert_eq!(posted.header("lapwing-source").len(), 32);
        let lines = posted.body.lines().count() as u64;
        bodies.push_str(&posted.body);
        answer(&mut stream, "201 Created", &ack(10 + count, lines));
        count += lines;
        if count == 2 && !closed {
            publisher.write_line(b"[3]");
            publisher.close_stdin();
            closed = true;
        }
    }
    assert_eq!(bodies, "{\"a\":1}\n\"hello\"\n[3]\n");
    let end = publisher.finish().with_code(1);
    end.said("warning: line 3 is not UTF-8 at byte 5: skipped");
    end.said("published 3 messages to orders: offsets 10-12; 1 line skipped");
}

#[test]
fn what_the_server_may_have_is_sent_again_under_the_same_number() {
    let feed = Feed::bind();
    let mut publisher = lapwing(&["publish", &feed.url(), "orders"]);
    publisher.write_line(b"1");
    publisher.close_stdin();
    let mut stream = feed.accept_tcp();
    let first = Posted::read(&mut stream);
    drop(stream);
    publisher.says("trying until it does (Ctrl-C ends)");
    let mut stream = feed.accept_tcp();
    let second = Posted::read(&mut stream);
    for name in ["lapwing-source", "lapwing-sequence"] {
        assert_eq!(first.header(name), second.header(name));
    }
    assert_eq!(first.body, second.body);
    answer(&mut stream, "503 Service Unavailable", "draining");
    // After an answer that was no success it takes a new connection.
    let mut stream = feed.accept_tcp();
    assert_eq!(Posted::read(&mut stream).body, first.body);
    answer(&mut stream, "200 OK", &ack(5, 1));
    let end = publisher.finish().with_code(0);
    end.said("the server takes messages again");
    end.said("published 1 message to orders: offset 5");
}

#[test]
fn a_refusal_is_told_in_the_servers_words() {
    for (status, said) in [
        ("404 Not Found", "no topic \"orders\"; topics: users"),
        ("409 Conflict", "topic \"orders\" is filled by users, not by push"),
    ] {
        let feed = Feed::bind();
        let mut publisher = lapwing(&["publish", &feed.url().replace("ws://", "http://"), "orders"]);
        publisher.write_line(b"1");
        let mut stream = feed.accept_tcp();
        Posted::read(&mut stream);
        answer(&mut stream, status, said);
        let end = publisher.finish().with_code(1);
        end.said(&format!("error: the server refused: {said} ({status})"));
        end.said("hint: a topic takes messages with: lapwing serve --topic NAME=push");
        assert_eq!(end.stderr.len(), 2, "{end:?}");
    }
}

#[test]
fn ctrl_c_tells_what_is_there() {
    let feed = Feed::bind();
    let mut publisher = lapwing(&["publish", &feed.url(), "orders", "--json"]);
    publisher.write_line(b"1");
    let mut stream = feed.accept_tcp();
    Posted::read(&mut stream);
    answer(&mut stream, "201 Created", &ack(5, 1));
    publisher.shows("\"first\":5");
    publisher.signal(Signal::INT);
    publisher.finish().with_code(0);
}

/// A port where nobody listens.
fn nobody() -> String {
    Feed::bind().url()
}

#[test]
fn what_was_never_sent_is_told_as_not_sent() {
    let url = nobody();
    for json in [false, true] {
        let mut publisher = lapwing(&["publish", &url, "orders", if json { "--json" } else { "--output=text" }]);
        (1..4).for_each(|number| publisher.write_line(number.to_string().as_bytes()));
        publisher.close_stdin();
        publisher.says("trying until it comes (Ctrl-C ends)");
        publisher.signal(Signal::INT);
        let end = publisher.finish().with_code(1);
        end.said(&format!("3 messages not sent: no server at {url} (connection refused)"));
        end.said("start one with: lapwing serve");
        assert!(end.stderr.iter().all(|line| !line.contains("arrived")), "{end:?}");
    }
}

#[test]
fn what_the_server_refused_until_we_were_stopped_is_counted_to_the_last_line() {
    for (status, hint) in [
        ("503 Service Unavailable", "try again later"),
        ("507 Insufficient Storage", "make room on the server's disk"),
        ("408 Request Timeout", "try again later"),
    ] {
        let feed = Feed::bind();
        let mut publisher = lapwing(&["publish", &feed.url(), "orders"]);
        (0..5000).for_each(|number: u32| publisher.write_line(number.to_string().as_bytes()));
        publisher.close_stdin();
        let mut stream = feed.accept_tcp();
        Posted::read(&mut stream);
        answer(&mut stream, &format!("{status}\r\nRetry-After: 60"), "not now");
        publisher.says("does not take it (the server refused: not now");
        publisher.signal(Signal::INT);
        let end = publisher.finish().with_code(1);
        end.said("error: 5,000 messages not sent: ws://");
        end.said(hint);
        assert!(end.stderr.iter().all(|line| !line.contains("arrived")), "{end:?}");
    }
}

#[test]
fn a_stop_with_more_to_read_than_can_be_counted_says_so() {
    let feed = Feed::bind();
    let mut publisher = lapwing(&["publish", &feed.url(), "orders"]);
    publisher.write_lines_without_end(b"y");
    let mut stream = feed.accept_tcp();
    Posted::read(&mut stream);
    answer(&mut stream, "503 Service Unavailable\r\nRetry-After: 60", "not now");
    publisher.says("does not take it");
    publisher.signal(Signal::INT);
    let end = publisher.finish().with_code(1);
    end.said("error: more than ");
    end.said(" messages not sent: ws://");
}

#[test]
fn files_that_failed_are_the_operators() {
    let feed = Feed::bind();
    let mut publisher = lapwing(&["publish", &feed.url(), "orders"]);
    publisher.write_line(b"1");
    let mut stream = feed.accept_tcp();
    Posted::read(&mut stream);
    answer(
        &mut stream,
        "500 Internal Server Error",
        "topic \"orders\": its files failed",
    );
    let end = publisher.finish().with_code(1);
    end.said("error: the server refused: topic \"orders\": its files failed (500 Internal Server Error)");
    end.said("hint: trying again does not help: whoever runs the server looks after the topic's files");
    assert!(end.stderr.iter().all(|line| !line.contains("later")), "{end:?}");
}

#[test]
fn what_was_written_and_not_answered_may_have_arrived() {
    let feed = Feed::bind();
    let mut publisher = lapwing(&["publish", &feed.url(), "orders"]);
    publisher.write_line(b"1");
    publisher.close_stdin();
    Posted::read(&mut feed.accept_tcp());
    publisher.says("does not answer");
    drop(feed);
    publisher.says("connection refused");
    publisher.signal(Signal::INT);
    let end = publisher.finish().with_code(0);
    end.said("published 0 messages to orders; 1 message on the way when we stopped, which may have arrived");
}

#[test]
fn a_place_that_is_none_is_a_wrong_use() {
    lapwing(&["publish", "ws://h:1"])
        .finish()
        .with_code(2)
        .said("is no topic");
    let end = lapwing(&["publish", "127.0.0.1:19002", "orders"]).finish().with_code(2);
    end.said("begins with neither");
    end.said("hint: use \"ws://127.0.0.1:19002\"");
}

#[test]
fn the_url_that_curl_takes_is_taken_too() {
    let feed = Feed::bind();
    let url = format!("http://{}/topics/orders/messages", feed.address());
    let mut publisher = lapwing(&["publish", &url]);
    publisher.write_line(b"1");
    publisher.close_stdin();
    let mut stream = feed.accept_tcp();
    let posted = Posted::read(&mut stream);
    assert!(
        posted.head.starts_with("POST /topics/orders/messages HTTP/1.1\r\n"),
        "{}",
        posted.head
    );
    answer(&mut stream, "201 Created", &ack(0, 1));
    publisher
        .finish()
        .with_code(0)
        .said("published 1 message to orders: offset 0");
}
