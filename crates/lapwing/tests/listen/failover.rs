//! Several servers with the same topics: one goes, and the feed goes on with another.

use std::path::Path;
use std::time::{Duration, Instant};

use lapwing::recording::note::Note;
use lapwing::recording::reader::{Reader, Record};
use lapwing_wire::position::{Epoch, Offset};
use rustix::process::Signal;

use crate::feed::{Feed, Guest};
use crate::foreign::recorded;
use crate::program::{DEADLINE, Program, lapwing, record, serve_at};
use crate::verify::verify;

/// Places where nobody listens yet, all of them different.
fn vacant<const COUNT: usize>() -> [String; COUNT] {
    let feeds = [(); COUNT].map(|()| Feed::bind());
    feeds.each_ref().map(Feed::address)
}

/// A server, and the address of one that does not run yet: so it is known with which of both a client begins.
fn one_of_two() -> (Feed, String, String) {
    let (feed, [later]) = (Feed::bind(), vacant());
    let urls = format!("{},ws://{later}", feed.url());
    (feed, later, urls)
}

fn notes(log: &Path) -> Vec<Note> {
    let file = std::fs::File::open(log).expect("there");
    let records = Reader::new(std::io::BufReader::new(file)).map(|entry| entry.expect("read").record);
    let notes = records.filter_map(|record| match record {
        Record::Note(stamped) => Some(stamped.note),
        _ => None,
    });
    notes.collect()
}

/// The servers that a recording names, in their order.
fn servers(log: &Path) -> Vec<String> {
    let urls = notes(log).into_iter().filter_map(|note| match note {
        Note::Connect { url } => Some(url),
        Note::Reconnect { url, .. } => Some(url.expect("several are known")),
        _ => None,
    });
    urls.collect()
}

fn grant(guest: &mut Guest, next: u64) {
    guest.welcome_and_grant(7, &[("users", next)]);
}

#[test]
fn another_server_of_the_same_history_goes_on_where_the_first_was_lost() {
    let dir = tempfile::tempdir().expect("a directory");
    let log = dir.path().join("feed.ndjson");
    let (feed, later, urls) = one_of_two();
    let listener = record(&urls, &log, &["--count", "6"]);
    let mut guest = feed.accept_lapwing();
    grant(&mut guest, 13);
    guest.messages("users", 13..16);
    listener.shows("[15]");
    let other = Feed::bind_at(&later);
    guest.vanish();
    let mut guest = other.accept_lapwing();
    guest.welcome(&["users"]);
    let wish = guest.subscribe();
    let wanted = (Some(Epoch::from_bits(7)), Some(Offset::new(16)));
    assert_eq!((wish.epoch, wish.offset), wanted);
    guest.grant(&crate::feed::granted("users", 7, 16));
    guest.messages("users", 16..19);
    guest.until_closed();
    let end = listener.finish().with_code(0);
    let (first, second) = (feed.url(), other.url());
    end.said(&format!("connected to {first} as sensor-1: users from 13"));
    end.said(&format!(
        "lost the connection to {first}: it ended without a close frame"
    ));
    let back = end.said("back after");
    assert!(
        back.ends_with(&format!(" at {second}: users resumes at 16, nothing missed")),
        "{back}"
    );
    end.said(&format!("messages: 3 from {first}, 3 from {second}"));
    end.said("nothing lost: each offset once, in order");
    assert_eq!(servers(&log), [first, second]);
    let offsets: Vec<_> = recorded(&log)
        .iter()
        .map(|message| message.offset.expect("one").get())
        .collect();
    assert_eq!(offsets, [13, 14, 15, 16, 17, 18]);
    verify(&[], &log).with_code(0);
}

#[test]
fn a_server_that_stops_is_left_when_it_says_and_not_come_back_to_before_its_time() {
    let (feed, later, urls) = one_of_two();
    let listener = lapwing(&["listen", &urls, "--count", "1"]);
    let mut guest = feed.accept_lapwing();
    grant(&mut guest, 3);
    listener.says("connected to");
    let other = Feed::bind_at(&later);
    // Ten minutes: longer than any test waits.
    guest.goodbye(Some(600_000), Some(300));
    guest.close(1012, "server restarts retry=600000");
    let said = listener.says(&format!(" at {} in", other.url()));
    assert!((0.2..=0.4).contains(&seconds(&said)), "{said}");
    let mut guest = other.accept_lapwing();
    grant(&mut guest, 3);
    guest.message("users", 3);
    listener.finish().with_code(0);
    assert!(!feed.is_called_within(Duration::from_millis(50)));
}

/// The wait in the line of an attempt.
fn seconds(line: &str) -> f64 {
    let (_, rest) = line.split_once(" in ").expect("a wait");
    rest.split(' ')
        .next()
        .and_then(|number| number.parse().ok())
        .expect("a number")
}

#[test]
fn a_server_that_says_no_is_passed_over_and_told_once() {
    let (feed, later, urls) = one_of_two();
    let listener = lapwing(&["listen", &urls, "--count", "2"]);
    let mut guest = feed.accept_lapwing();
    grant(&mut guest, 3);
    guest.message("users", 3);
    listener.shows("[3]");
    let other = Feed::bind_at(&later);
    for (status, why) in [
        ("404 Not Found", "no such path"),
        ("503 Service Unavailable", "it is full"),
    ] {
        guest.vanish();
        let answer = format!(
            "HTTP/1.1 {status}\r\nRetry-After: 600\r\nContent-Length: {}\r\n\r\n{why}",
            why.len()
        );
        other.answer(&answer);
        // At once, and not after ten minutes.
        guest = feed.accept_lapwing();
        grant(&mut guest, 4);
        listener.says("at ws://");
    }
    guest.message("users", 4);
    let end = listener.finish().with_code(0);
    let told: Vec<_> = end.stderr.iter().filter(|line| line.contains("passed over")).collect();
    // Perhaps by chance it was tried first, before it was there.
    assert!(told.len() == 1 && told[0].contains(&other.url()), "{told:?}");
}

#[test]
fn when_every_server_says_no_it_ends_and_names_each() {
    let feeds = [Feed::bind(), Feed::bind()];
    let urls = feeds.each_ref().map(Feed::url);
    let listener = lapwing(&["listen", &urls.join(",")]);
    std::thread::scope(|scope| {
        for feed in &feeds {
            scope.spawn(|| feed.answer("HTTP/1.1 403 Forbidden\r\nContent-Length: 3\r\n\r\nno!"));
        }
    });
    let end = listener.finish().with_code(1);
    for url in &urls {
        end.said(&format!("error: {url}: the server refused: no! (403 Forbidden)"));
    }
}

#[test]
fn a_server_without_the_topic_is_passed_over_for_one_that_has_it() {
    let places = vacant::<2>();
    let urls = places.each_ref().map(|place| format!("ws://{place}"));
    let with = ["--topic", "orders=users?rate=100/s"];
    let (server, _) = serve_at(&places[0], &with);
    let (_without, _) = serve_at(&places[1], &["--topic", "users=users"]);
    let listener = lapwing(&["listen", &urls.join(","), "--topics", "orders", "--name", "chooser"]);
    // Whichever it asks first.
    let connected = listener.says("connected to");
    assert!(
        connected.contains(&format!("{} as chooser: orders from", urls[0])),
        "{connected}"
    );
    server.signal(Signal::KILL);
    server.finish();
    listener.says(&format!(
        "{} is passed over: the server refused topic \"orders\"",
        urls[1]
    ));
    let (_server, _) = serve_at(&places[0], &with);
    let back = listener.says("back after");
    assert!(back.contains(&format!(" at {}: ", urls[0])), "{back}");
    listener.signal(Signal::INT);
    listener.finish().with_code(0);
    let none = ["listen", &urls.join(","), "--topics", "nothing"];
    let end = lapwing(&none).finish().with_code(1);
    for url in &urls {
        end.said(&format!("error: {url}: the server refused topic \"nothing\""));
    }
}

#[test]
fn a_code_that_says_stop_ends_it_although_there_are_others() {
    let (feed, later, urls) = one_of_two();
    let listener = lapwing(&["listen", &urls]);
    let mut guest = feed.accept_lapwing();
    grant(&mut guest, 3);
    listener.says("connected to");
    let other = Feed::bind_at(&later);
    guest.close(4501, "topic=orders");
    listener
        .finish()
        .with_code(1)
        .said("stopped: 4501, topic not allowed: topic=orders; not coming back");
    assert!(!other.is_called_within(Duration::from_millis(600)));
}

#[test]
fn as_many_servers_as_the_limit_are_tried_and_one_more_is_refused() {
    let urls = vacant::<17>().map(|place| format!("ws://{place}"));
    let end = lapwing(&["listen", &urls[..16].join(","), "--for", "1500ms"])
        .finish()
        .with_code(1);
    for url in &urls[..16] {
        end.said(&format!("{url} is passed over: connection refused"));
    }
    end.said("none of 16 servers takes us, the last of them ws://127.0.0.1:");
    end.said("error: no server at any of 16 places, the last of them: ws://127.0.0.1:");
    for command in ["listen", "bench"] {
        let end = lapwing(&[command, &urls.join(",")]).finish().with_code(2);
        end.said("error: 17 URLs are too many: at most 16");
    }
    let end = lapwing(&["bench", &urls[..2].join(",")]).finish().with_code(2);
    end.said("error: 2 URLs, and a run measures one server");
}

#[test]
fn all_urls_that_are_wrong_are_told_together_without_their_secrets() {
    let urls = "ws://127.0.0.1:1?token=hidden1,http://127.0.0.1:2?token=hidden2,wss://127.0.0.1:3?token=hidden1";
    let end = lapwing(&["listen", urls]).finish().with_code(2);
    end.said("error: URL 2 of 3: \"http://127.0.0.1:2?token=***\" is the URL of a page");
    end.said(
        "error: URL 3 of 3: wss://127.0.0.1:3/?token=*** begins with wss://, and ws://127.0.0.1:1/?token=*** does not",
    );
    assert!(!format!("{end:?}").contains("hidden"), "{end:?}");
}

/// A server that keeps its topic in a directory: whoever serves that has the same history.
fn durable(address: &str, data: &Path) -> Program {
    let data = data.to_str().expect("UTF-8");
    serve_at(address, &["--data", data, "--topic", "users=users?rate=300/s"]).0
}

/// How many messages a recording has that is being written.
fn came(log: &Path) -> usize {
    let Ok(records) = Reader::open(log) else { return 0 };
    let is_message = |record: &Record| matches!(record, Record::Message(_));
    records
        .filter(|entry| is_message(&entry.as_ref().expect("readable").record))
        .count()
}

/// Waits until the recording, once there is one, has so many messages.
fn wait_for_messages(log: &Path, count: usize) {
    let began = Instant::now();
    while came(log) < count {
        assert!(began.elapsed() < DEADLINE, "{} came", came(log));
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_recording_is_one_proof_across_servers_that_are_killed_stopped_and_all_gone_for_a_while() {
    let dir = tempfile::tempdir().expect("a directory");
    let (log, data) = (dir.path().join("feed.ndjson"), dir.path().join("data"));
    let places = vacant::<2>();
    let urls = places.each_ref().map(|place| format!("ws://{place}"));
    let mut server = durable(&places[0], &data);
    let listener = record(&urls.join(","), &log, &["--from", "earliest"]);
    wait_for_messages(&log, 100);
    for (at, signal) in [(1, Signal::KILL), (0, Signal::TERM)] {
        server.signal(signal);
        server.finish();
        let before = came(&log);
        // The directory has one server at a time: until the other has it, there is none.
        server = durable(&places[at], &data);
        wait_for_messages(&log, before + 300);
    }
    listener.signal(Signal::INT);
    let end = listener.finish().with_code(0);
    end.said("nothing lost: each offset once, in order");
    end.said("2 reconnects");
    let [first, second] = &urls;
    assert_eq!(servers(&log), [first, second, first].map(String::as_str));
    let proven = verify(&["--json"], &log).with_code(0);
    let told: serde_json::Value = serde_json::from_str(&proven.stdout.concat()).expect("JSON");
    let topics = told["recordings"][0]["topics"].as_array().expect("a list");
    assert_eq!(
        (topics.len(), &topics[0]["first"]),
        (1, &0.into()),
        "one history: {told}"
    );
}

#[test]
fn servers_that_do_not_have_the_same_history_are_both_named() {
    let dir = tempfile::tempdir().expect("a directory");
    let log = dir.path().join("feed.ndjson");
    let places = vacant::<2>();
    let flags = ["--topic", "users=users?rate=100/s"];
    let (server, _) = serve_at(&places[0], &flags);
    let [first, second] = places.each_ref().map(|place| format!("ws://{place}"));
    let urls = format!("{first},{second}");
    let listener = record(&urls, &log, &[]);
    wait_for_messages(&log, 10);
    let (_other, _) = serve_at(&places[1], &flags);
    server.signal(Signal::KILL);
    let back = listener.says("back after");
    let apart = format!("{second} and {first} do not have the same history");
    assert!(
        back.contains("new history, what came after users ") && back.ends_with(&apart),
        "{back}"
    );
    wait_for_messages(&log, came(&log) + 10);
    listener.signal(Signal::INT);
    listener
        .finish()
        .with_code(0)
        .said("missing: what came before 1 new history");
    verify(&["--allow-gaps"], &log).with_code(0);
    verify(&[], &log).with_code(3);
}

#[test]
fn a_publisher_goes_to_the_next_server_with_what_the_first_did_not_answer() {
    use crate::publish::{Posted, ack, answer};
    let (feed, later, urls) = one_of_two();
    let mut publisher = lapwing(&["publish", &urls, "orders"]);
    publisher.write_line(b"1");
    let mut stream = feed.accept_tcp();
    let first = Posted::read(&mut stream);
    let other = Feed::bind_at(&later);
    drop(stream);
    publisher.says(&format!("warning: {} is passed over: ", feed.url()));
    let mut stream = other.accept_tcp();
    let second = Posted::read(&mut stream);
    for name in ["lapwing-source", "lapwing-sequence"] {
        assert_eq!(first.header(name), second.header(name));
    }
    assert_eq!((&first.body, second.after()), (&second.body, None));
    answer(&mut stream, "201 Created", &ack(5, 1));
    // It stays with who takes its messages.
    publisher.write_line(b"2");
    publisher.close_stdin();
    let third = Posted::read(&mut stream);
    assert_eq!((third.header("lapwing-sequence"), third.body.as_str()), ("1", "2"));
    answer(&mut stream, "201 Created", &ack(6, 1));
    publisher
        .finish()
        .with_code(0)
        .said("published 2 messages to orders: offsets 5-6");
}

#[test]
fn a_publisher_loses_nothing_when_one_of_two_servers_is_killed() {
    let places = vacant::<2>();
    let flags = ["--topic", "orders=push"];
    let (server, _) = serve_at(&places[0], &flags);
    let urls = places
        .each_ref()
        .map(|place| format!("http://{place}/topics/orders/messages"))
        .join(",");
    let mut publisher = lapwing(&["publish", &urls, "--json"]);
    publisher.write_line(b"\"first\"");
    publisher.shows("\"count\":1");
    let (_other, address) = serve_at(&places[1], &flags);
    let url = format!("ws://{address}");
    let listener = lapwing(&[
        "listen", &url, "--topics", "orders", "--from", "earliest", "--count", "50",
    ]);
    listener.says("connected to");
    server.signal(Signal::KILL);
    server.finish();
    for line in 0..50 {
        publisher.write_line(format!("{line}").as_bytes());
    }
    publisher.close_stdin();
    publisher.finish().with_code(0);
    let end = listener.finish().with_code(0);
    for (line, shown) in end.stdout.iter().enumerate() {
        assert!(shown.ends_with(&format!("  {line}")), "{shown}");
    }
}
