//! A server that stands still: stopped by the system, or its machine suspended.

use std::time::Duration;

use rustix::process::Signal;

use crate::support::eventually;
use crate::support::server::{Running, Server};

/// Many times the deadline of a ping.
const PAUSE: Duration = Duration::from_secs(3);

#[test]
fn g3_a_server_that_stood_still_finds_nobody_dead() {
    let limits = ["--ping-interval", "200ms", "--pong-timeout", "300ms"];
    let server = Server::start(&[&["--topic", "users=users?every=20ms"], &limits[..]].concat());
    let listeners: Vec<_> = (0..3)
        .map(|_| Running::start(&["listen", &server.url(), "--quiet", "--count", "200"]))
        .collect();
    eventually("three listeners", || server.events("joined").len() == 3);
    server.signal(Signal::STOP);
    // The pause itself is what is tested: nothing is waited for.
    std::thread::sleep(PAUSE);
    server.signal(Signal::CONT);
    for listener in listeners {
        let ran = listener.end();
        assert_eq!(ran.code, Some(0), "{:#?}", ran.err);
        let told = ran.err.join("\n");
        assert!(told.contains("200 messages") && told.contains("0 reconnects"), "{told}");
    }
    let left = server.events("left");
    assert!(left.iter().all(|left| left["code"] == 1000), "{left:#?}");
}
