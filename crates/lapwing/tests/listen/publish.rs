//! `lapwing publish` against a server that answers as the test says, and against a real one that fails.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::ops::Range;

use rustix::process::Signal;

use crate::feed::{Feed, read_head};
use crate::program::{Program, lapwing, serve, serve_at};

/// One request and its body.
pub struct Posted {
    pub head: String,
    pub body: String,
}

impl Posted {
    pub fn read(stream: &mut TcpStream) -> Self {
        let head = read_head(stream);
        let mut body = vec![0; Self::header_in(&head, "content-length").parse().expect("a length")];
        stream.read_exact(&mut body).expect("the body");
        Self {
            head,
            body: String::from_utf8(body).expect("UTF-8"),
        }
    }

    pub fn header(&self, name: &str) -> &str {
        Self::header_in(&self.head, name)
    }

    /// The number of the body that must come before it.
    pub fn after(&self) -> Option<&str> {
        let has = self.head.to_ascii_lowercase().contains("\r\nlapwing-after:");
        has.then(|| self.header("lapwing-after"))
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

pub fn answer(stream: &mut TcpStream, status: &str, body: &str) {
    let text = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    stream.write_all(text.as_bytes()).expect("it reads");
}

pub fn ack(first: u64, count: u64) -> String {
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
    let mut bodies = String::new();
    let mut stream = None;
    for (first, lines) in [(0, &b"{\"a\": 1}\nhello\nbad \xff"[..]), (2, b"[3]")] {
        publisher.write_line(lines);
        let mut at = first;
        while at < first + if first == 0 { 2 } else { 1 } {
            let stream = stream.get_or_insert_with(|| feed.accept_tcp());
            let posted = Posted::read(stream);
            assert!(
                posted.head.starts_with("POST /topics/orders/messages HTTP/1.1\r\n"),
                "{}",
                posted.head
            );
            assert_eq!(posted.header("content-type"), "application/x-ndjson");
            assert_eq!(posted.header("lapwing-sequence"), at.to_string());
            assert_eq!(posted.header("lapwing-source").len(), 32);
            assert_eq!(posted.after(), None, "all before it is answered");
            let count = posted.body.lines().count() as u64;
            bodies += &format!("{}\n", posted.body);
            answer(stream, "201 Created", &ack(10 + at, count));
            at += count;
        }
    }
    publisher.close_stdin();
    assert_eq!(bodies, "{\"a\":1}\n\"hello\"\n[3]\n");
    let end = publisher.finish().with_code(1);
    end.said("warning: line 3 is not UTF-8 at byte 5: skipped");
    end.said("published 3 messages to orders: offsets 10-12; 1 line skipped");
}

#[test]
fn a_line_of_1_mib_is_taken_and_one_byte_more_is_skipped() {
    let (server, url) = serve(&["--topic", "orders=push"]);
    let mut publisher = lapwing(&["publish", &url, "orders"]);
    for bytes in [1, 1 << 20, (1 << 20) + 1, 2] {
        publisher.write_line(&vec![b'1'; bytes]);
    }
    publisher.close_stdin();
    let end = publisher.finish().with_code(1);
    end.said("warning: line 3 has more than 1 MiB: skipped");
    end.said("published 3 messages to orders: offsets 0-2; 1 line skipped");
    server.signal(Signal::INT);
    server.finish().with_code(0);
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
    let end = publisher.finish().with_code(1);
    end.said("published 0 messages to orders; 1 message on the way when we stopped, which may have arrived");
}

#[test]
fn nothing_to_publish_is_told_and_needs_no_server() {
    for url in [nobody(), Feed::bind().url()] {
        let mut publisher = lapwing(&["publish", &url, "orders"]);
        publisher.close_stdin();
        let end = publisher.finish().with_code(0);
        assert_eq!(end.stderr, ["nothing to publish: stdin held no line"]);
        assert!(end.stdout.is_empty());
    }
}

#[test]
fn a_time_that_is_over_ends_it_with_what_is_there() {
    let (server, url) = serve(&["--topic", "orders=push"]);
    let mut publisher = lapwing(&["publish", &url, "orders", "--for", "2s"]);
    publisher.write_line(b"1");
    publisher.write_line(b"2");
    // Standard input stays open.
    let end = publisher.finish().with_code(0);
    assert_eq!(end.stderr, ["published 2 messages to orders: offsets 0-1"]);
    server.signal(Signal::INT);
    server.finish().with_code(0);
}

#[test]
fn a_time_that_is_over_tells_what_is_not_on_the_server() {
    let url = nobody();
    let mut publisher = lapwing(&["publish", &url, "orders", "--for", "2s"]);
    publisher.write_line(b"1");
    publisher.says(&format!(
        "no server at {url} (connection refused); trying until it comes"
    ));
    let end = publisher.finish().with_code(1);
    end.said(&format!(
        "error: 1 message not sent: no server at {url} (connection refused)"
    ));
    end.said("hint: start one with: lapwing serve");
}

#[test]
fn a_time_that_is_over_leaves_open_what_was_not_answered() {
    let feed = Feed::bind();
    let mut publisher = lapwing(&["publish", &feed.url(), "orders", "--for", "2s"]);
    publisher.write_line(b"1");
    let mut stream = feed.accept_tcp();
    Posted::read(&mut stream);
    let end = publisher.finish().with_code(1);
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
fn topic_and_url_are_told_apart_in_either_order() {
    let feed = Feed::bind();
    let mut publisher = lapwing(&["publish", "orders", &feed.url()]);
    publisher.write_line(b"1");
    publisher.close_stdin();
    let mut stream = feed.accept_tcp();
    let posted = Posted::read(&mut stream);
    assert!(
        posted.head.starts_with("POST /topics/orders/messages "),
        "{}",
        posted.head
    );
    answer(&mut stream, "201 Created", &ack(0, 1));
    publisher.finish().with_code(0);
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

/// Lines that say their numbers, enough for a body of a thousand each time.
fn lines(numbers: Range<u64>) -> Vec<u8> {
    let numbers: Vec<String> = numbers.map(|number| number.to_string()).collect();
    numbers.join("\n").into_bytes()
}

/// The bodies that are on their way at the moment, by their numbers.
fn posted(feed: &Feed, count: usize) -> Vec<(TcpStream, Posted)> {
    let mut posted: Vec<_> = (0..count)
        .map(|_| {
            let mut stream = feed.accept_tcp();
            let posted = Posted::read(&mut stream);
            (stream, posted)
        })
        .collect();
    posted.sort_by_key(|(_, posted)| posted.header("lapwing-sequence").parse::<u64>().expect("a number"));
    posted
}

#[test]
fn several_bodies_are_on_their_way_and_each_names_the_one_before_it() {
    let feed = Feed::bind();
    let mut publisher = lapwing(&["publish", &feed.url(), "orders", "--json"]);
    publisher.write_line(&lines(0..3000));
    publisher.close_stdin();
    let mut before = None;
    let mut next = 0;
    let mut streams = Vec::new();
    for (stream, posted) in posted(&feed, 3) {
        let count = posted.body.lines().count() as u64;
        assert_eq!(posted.header("lapwing-sequence"), next.to_string());
        assert_eq!(posted.after(), before.as_deref());
        assert_eq!(
            posted.body.trim_end(),
            String::from_utf8(lines(next..next + count)).unwrap()
        );
        before = Some(next.to_string());
        streams.push((stream, next, count));
        next += count;
    }
    for (stream, first, count) in streams.iter_mut().rev() {
        answer(stream, "201 Created", &ack(*first, *count));
    }
    drop(streams);
    let acks = publisher.finish().with_code(0).stdout;
    let firsts: Vec<u64> = acks
        .iter()
        .map(|ack| {
            serde_json::from_str::<serde_json::Value>(ack).expect("JSON")["first"]
                .as_u64()
                .expect("an offset")
        })
        .collect();
    assert!(
        firsts.len() == 3 && firsts.is_sorted(),
        "told in their order: {firsts:?}"
    );
}

#[test]
fn when_the_first_is_refused_all_are_sent_again_and_the_first_goes_alone() {
    let feed = Feed::bind();
    let mut publisher = lapwing(&["publish", &feed.url(), "orders"]);
    publisher.write_line(&lines(0..2000));
    publisher.close_stdin();
    let mut first_try = posted(&feed, 2);
    answer(&mut first_try[0].0, "503 Service Unavailable", "full");
    let mut stream = feed.accept_tcp();
    let again = Posted::read(&mut stream);
    assert_eq!((again.header("lapwing-sequence"), again.after()), ("0", None));
    assert_eq!(again.body, first_try[0].1.body);
    let count = again.body.lines().count() as u64;
    answer(&mut stream, "201 Created", &ack(0, count));
    let mut at = count;
    while at < 2000 {
        let posted = Posted::read(&mut stream);
        assert_eq!(
            (posted.header("lapwing-sequence"), posted.after()),
            (at.to_string().as_str(), None)
        );
        let count = posted.body.lines().count() as u64;
        answer(&mut stream, "200 OK", &ack(at, count));
        at += count;
    }
    publisher
        .finish()
        .with_code(0)
        .said("published 2,000 messages to orders: offsets 0-1999");
}

#[test]
fn a_body_that_came_too_early_is_sent_again_when_the_one_before_it_is_there() {
    let feed = Feed::bind();
    let mut publisher = lapwing(&["publish", &feed.url(), "orders"]);
    publisher.write_line(&lines(0..2000));
    publisher.close_stdin();
    let mut streams = posted(&feed, 2);
    answer(&mut streams[1].0, "412 Precondition Failed", "the first is not here");
    let first = streams[0].1.body.lines().count() as u64;
    answer(&mut streams[0].0, "201 Created", &ack(0, first));
    // The connection that has an answer and no refusal is kept.
    let again = Posted::read(&mut streams[0].0);
    assert_eq!(
        (again.header("lapwing-sequence"), again.after()),
        (first.to_string().as_str(), None)
    );
    assert_eq!(again.body, streams[1].1.body);
    answer(&mut streams[0].0, "201 Created", &ack(first, 2000 - first));
    let end = publisher.finish().with_code(0);
    end.said("published 2,000 messages to orders: offsets 0-1999");
    assert_eq!(end.stderr.len(), 1, "nobody is told of it: {end:?}");
}

/// Every message that a topic holds, as a listener gets it.
fn everything(url: &str, count: u64) -> Vec<u64> {
    let count = count.to_string();
    let listener = lapwing(&[
        "listen", url, "--topics", "orders", "--from", "earliest", "--count", &count, "--json",
    ]);
    let lines = listener.finish().with_code(0).stdout;
    let messages = lines.iter().filter(|line| line.starts_with("{\"topic\""));
    let data = messages.map(|line| serde_json::from_str::<serde_json::Value>(line).expect("JSON")["data"].clone());
    data.map(|data| data.as_u64().expect("a number")).collect()
}

/// The topic holds these numbers, each once and in their order, and nothing else.
#[track_caller]
fn assert_holds(server: &Program, url: &str, count: u64) {
    let newest = lapwing(&[
        "listen", url, "--topics", "orders", "--from", "last:1", "--count", "1", "--json",
    ]);
    let newest = newest.finish().with_code(0);
    let last = format!("\"offset\":{},", count - 1);
    assert!(newest.stdout.iter().any(|line| line.contains(&last)), "{newest:?}");
    let expect: Vec<u64> = (0..count).collect();
    assert!(everything(url, count) == expect, "each once and in order");
    server.signal(Signal::INT);
}

#[test]
fn a_server_killed_in_the_middle_gets_each_line_once_and_in_order() {
    let dir = tempfile::tempdir().expect("a directory");
    let flags = ["--topic", "orders=push", "--data", dir.path().to_str().expect("UTF-8")];
    let (server, address) = serve_at("127.0.0.1:0", &flags);
    let url = format!("ws://{address}");
    let mut publisher = lapwing(&["publish", &url, "orders", "--json"]);
    publisher.write_line(&lines(0..20_000));
    publisher.shows("\"first\":0");
    server.signal(Signal::KILL);
    server.finish();
    let (server, _) = serve_at(&address, &flags);
    publisher.write_line(&lines(20_000..40_000));
    publisher.close_stdin();
    publisher.finish().with_code(0);
    assert_holds(&server, &url, 40_000);
    server.finish().with_code(0);
}

#[test]
fn answers_that_are_lost_repeat_nothing_and_change_no_order() {
    let (server, url) = serve(&["--topic", "orders=push"]);
    let proxy = TcpListener::bind("127.0.0.1:0").expect("a port");
    let proxied = format!("ws://{}", proxy.local_addr().expect("bound"));
    let mut publisher = lapwing(&["publish", &proxied, "orders"]);
    publisher.write_line(&lines(0..20_000));
    publisher.close_stdin();
    let address = url.trim_start_matches("ws://").to_owned();
    // Of every five connections one brings nothing back, and two end after an answer.
    std::thread::spawn(move || {
        for (nth, stream) in proxy.incoming().enumerate() {
            let stream = stream.expect("a connection");
            let (address, answers) = (address.clone(), [9, 0, 1, 9, 1][nth % 5]);
            std::thread::spawn(move || forward(stream, &address, answers));
        }
    });
    publisher
        .finish()
        .with_code(0)
        .said("published 20,000 messages to orders: offsets 0-19999");
    assert_holds(&server, &url, 20_000);
    server.finish().with_code(0);
}

/// Brings bodies to the server and so many of its answers back; the answer to the next one is lost.
fn forward(mut from: TcpStream, to: &str, answers: usize) {
    let mut server = TcpStream::connect(to).expect("the server listens");
    for nth in 0.. {
        let mut first = [0];
        if !matches!(from.peek(&mut first), Ok(1)) {
            return;
        }
        let posted = Posted::read(&mut from);
        server.write_all(posted.head.as_bytes()).expect("it reads");
        server.write_all(posted.body.as_bytes()).expect("it reads");
        let head = read_head(&mut server);
        let mut body = vec![0; Posted::header_in(&head, "content-length").parse().expect("a length")];
        server.read_exact(&mut body).expect("the answer");
        let answer = [head.as_bytes(), &body].concat();
        if nth == answers || from.write_all(&answer).is_err() {
            return;
        }
    }
}

#[test]
fn a_topic_that_is_held_back_gets_each_line_once_and_in_order_when_it_goes_on() {
    let (server, url) = serve(&["--topic", "orders=push?slow=wait&keep_bytes=64KiB"]);
    let mut publisher = lapwing(&["publish", &url, "orders"]);
    publisher.write_line(&lines(0..10_000));
    publisher.close_stdin();
    publisher.says("is full and waits for a first client");
    let expect: Vec<u64> = (0..10_000).collect();
    assert!(everything(&url, 10_000) == expect, "each once and in order");
    publisher
        .finish()
        .with_code(0)
        .said("published 10,000 messages to orders: offsets 0-9999");
    server.signal(Signal::INT);
    server.finish().with_code(0);
}
