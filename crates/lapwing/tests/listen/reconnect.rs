//! A server that goes, or is not there yet.

use std::time::Duration;

use crate::feed::Feed;
use crate::program::lapwing;

#[test]
fn a_server_that_is_not_there_yet_is_waited_for() {
    let feed = Feed::bind();
    let (address, url) = (feed.address(), feed.url());
    drop(feed);
    let listener = lapwing(&["listen", &url, "--count", "1"]);
    let said = listener.says("no server at");
    assert_eq!(
        said,
        format!("no server at {url} (connection refused); trying until it comes")
    );
    listener.says("attempt ");
    let feed = Feed::bind_at(&address);
    feed.accept_plain().send("1");
    let end = listener.finish().with_code(0);
    end.said("connected to");
    assert_eq!(end.stderr.iter().filter(|line| line.contains("no server")).count(), 1);
}

#[test]
fn a_killed_server_is_told_once_and_the_listener_comes_back() {
    let feed = Feed::bind();
    let (address, url) = (feed.address(), feed.url());
    let listener = lapwing(&["listen", &url, "--count", "2"]);
    let mut guest = feed.accept_plain();
    guest.send("1");
    listener.shows("  1");
    drop(feed);
    guest.vanish();
    listener.says("lost the connection: it ended without a close frame");
    listener.says("attempt ");
    let feed = Feed::bind_at(&address);
    let mut guest = feed.accept_plain();
    guest.send("2");
    let end = listener.finish().with_code(0);
    assert!(
        end.said("back after")
            .contains("a plain feed, so what was missed is unknown")
    );
    end.said("1 reconnect (");
    assert_eq!(
        end.stderr
            .iter()
            .filter(|line| line.contains("lost the connection"))
            .count(),
        1
    );
}

#[test]
fn a_restart_is_obeyed_to_its_time() {
    let feed = Feed::bind();
    let listener = lapwing(&["listen", &feed.url(), "--count", "1"]);
    feed.accept_plain().close(1012, "retry=1500");
    let said = listener.says("attempt 1 in");
    let wait: f64 = said
        .split_whitespace()
        .nth(3)
        .and_then(|s| s.parse().ok())
        .expect("a number");
    assert!((1.2..=1.8).contains(&wait), "{said}");
    feed.accept_plain().send("1");
    listener
        .finish()
        .with_code(0)
        .said("lost the connection: 1012, server restarts: retry=1500");
}

#[test]
fn a_bye_says_when_to_come_back_even_when_the_close_is_lost() {
    let feed = Feed::bind();
    let listener = lapwing(&["listen", &feed.url(), "--count", "1"]);
    let mut guest = feed.accept_lapwing();
    guest.welcome_and_grant(1, &[("users", 3)]);
    guest.bye(1500);
    listener.says("connected to");
    guest.vanish();
    let said = listener.says("attempt 1 in");
    let wait: f64 = said
        .split_whitespace()
        .nth(3)
        .and_then(|s| s.parse().ok())
        .expect("a number");
    assert!((1.2..=1.8).contains(&wait), "{said}");
    let mut guest = feed.accept_lapwing();
    guest.welcome_and_grant(1, &[("users", 3)]);
    guest.message("users", 3);
    listener.finish().with_code(0);
}

#[test]
fn a_code_that_says_stop_ends_it() {
    let feed = Feed::bind();
    let listener = lapwing(&["listen", &feed.url()]);
    feed.accept_plain().close(4501, "topic=orders");
    let end = listener.finish().with_code(1);
    end.said("stopped: 4501, topic not allowed: topic=orders; not coming back");
    assert!(!feed.is_called_within(Duration::from_millis(600)));
}

#[test]
fn a_feed_that_is_done_ends_well() {
    let feed = Feed::bind();
    let listener = lapwing(&["listen", &feed.url()]);
    let mut guest = feed.accept_plain();
    guest.send("1");
    guest.close(1000, "");
    let end = listener.finish().with_code(0);
    end.said("the feed has ended");
    assert_eq!(end.stdout.len(), 1);
}

#[test]
fn a_server_that_breaks_the_rules_is_left() {
    use std::io::Write as _;
    let feed = Feed::bind();
    let listener = lapwing(&["listen", &feed.url()]);
    let raw = feed.accept_tcp();
    let mut socket = tungstenite::accept(raw.try_clone().expect("a socket")).expect("a handshake");
    (&raw).write_all(&[0xf1, 0x01, b'x']).expect("it listens");
    let close = loop {
        match socket.read() {
            Ok(tungstenite::Message::Close(close)) => break close.expect("with a code"),
            Ok(_) => {}
            Err(error) => panic!("{error}"),
        }
    };
    assert_eq!(u16::from(close.code), 1002);
    listener
        .finish()
        .with_code(1)
        .said("error: the server broke the rules of WebSockets: reserved bits");
}

#[test]
fn a_silent_server_is_given_up() {
    let feed = Feed::bind();
    let listener = lapwing(&["listen", &feed.url(), "--count", "1"]);
    let mut guest = feed.accept_lapwing();
    guest.control(&lapwing_wire::control::ServerMessage::Welcome(
        lapwing_wire::control::Welcome {
            session: 1,
            name: "n".to_owned(),
            server: "s".to_owned(),
            topics: Vec::new(),
            report_interval_ms: 1000,
            heartbeat_ms: 1000,
        },
    ));
    listener.says("lost the connection: nothing came for 3 s");
    feed.accept_plain().send("1");
    listener.finish().with_code(0);
}
