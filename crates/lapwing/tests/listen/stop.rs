//! How a listener ends.

use std::process::Command;

use rustix::process::Signal;

use crate::feed::Feed;
use crate::program::{Program, lapwing, record};

#[test]
fn count_is_exact_even_when_more_came_in_one_read() {
    let feed = Feed::bind();
    let listener = lapwing(&["listen", &feed.url(), "--count", "7"]);
    let mut guest = feed.accept_lapwing();
    guest.welcome_and_grant(1, &[("users", 0)]);
    guest.messages("users", 0..50);
    assert_eq!(guest.until_closed().1, Some(1000));
    let end = listener.finish().with_code(0);
    assert_eq!(end.stdout.len(), 7);
    end.said(": 7 messages");
}

#[test]
fn for_ends_it_after_its_time() {
    let feed = Feed::bind();
    let listener = lapwing(&["listen", &feed.url(), "--for", "300ms"]);
    let mut guest = feed.accept_plain();
    guest.send("1");
    assert_eq!(guest.until_closed().1, Some(1000));
    assert_eq!(listener.finish().with_code(0).stdout.len(), 1);
}

#[test]
fn ctrl_c_closes_reports_flushes_and_sums_up() {
    let dir = tempfile::tempdir().expect("a directory");
    let log = dir.path().join("feed.ndjson");
    for (signal, from) in [(Signal::INT, 3), (Signal::TERM, 6)] {
        let feed = Feed::bind();
        let listener = record(&feed.url(), &log, &[]);
        let mut guest = feed.accept_lapwing();
        guest.welcome_and_grant(1, &[("users", from)]);
        guest.messages("users", from..from + 3);
        listener.shows(&format!("[{}]", from + 2));
        listener.signal(signal);
        let (reports, code) = guest.until_closed();
        assert_eq!(code, Some(1000));
        let last = reports.last().expect("the block under way");
        assert_eq!((last.first_block, last.last.get()), (1, from + 2));
        let end = listener.finish().with_code(0);
        end.said("listened for");
        end.said("as sensor-1: 3 messages");
        let offsets = format!("{from}-{}", from + 2);
        end.said(&format!(
            "users          3   {offsets}            0       0           -           -      0         0"
        ));
        end.said(if from == 3 {
            "not timed: 2 partial blocks of users"
        } else {
            "not timed: 1 partial block of users"
        });
    }
    assert_eq!(
        crate::foreign::recorded(&log).len(),
        6,
        "the second goes on where the first ended"
    );
}

#[test]
fn ctrl_c_ends_the_wait_for_a_server() {
    let feed = Feed::bind();
    let url = feed.url();
    drop(feed);
    let listener = lapwing(&["listen", &url]);
    listener.says("attempt ");
    listener.signal(Signal::INT);
    listener.finish().with_code(0).said("0 messages");
}

#[test]
fn a_second_ctrl_c_ends_it_at_once() {
    let feed = Feed::bind();
    let listener = lapwing(&["listen", &feed.url()]);
    // A server that never answers the close.
    let mut guest = feed.accept_plain();
    guest.send("1");
    listener.shows("  1");
    listener.signal(Signal::INT);
    // The close is on its way: the listener waits for the answer.
    let mut byte = [0];
    guest.peek(&mut byte);
    listener.signal(Signal::INT);
    listener.finish().with_code(130);
}

#[test]
fn f15_a_closed_stdout_ends_it_quietly() {
    let feed = Feed::bind();
    let mut shell = Command::new("sh");
    let command = format!(
        "{} listen {} | head -1; echo done",
        env!("CARGO_BIN_EXE_lapwing"),
        feed.url()
    );
    let listener = Program::start(shell.args(["-c", &command]));
    let mut guest = feed.accept_plain();
    guest.send("1");
    listener.shows("  1");
    guest.keep_sending("2", || listener.has_shown("done"));
    let end = listener.finish().with_code(0);
    assert_eq!(end.stdout.len(), 2);
    assert!(!end.stderr.iter().any(|line| line.contains("error")), "{end:?}");
}

#[test]
fn f15_with_a_file_a_closed_stdout_ends_nothing() {
    let dir = tempfile::tempdir().expect("a directory");
    let log = dir.path().join("feed.ndjson");
    let feed = Feed::bind();
    let mut shell = Command::new("sh");
    let command = format!(
        "{} listen {} --count 500 --log {} | head -1; echo done",
        env!("CARGO_BIN_EXE_lapwing"),
        feed.url(),
        log.display()
    );
    let listener = Program::start(shell.args(["-c", &command]));
    let mut guest = feed.accept_plain();
    guest.send("1");
    listener.shows("  1");
    for _ in 1..500 {
        guest.send("2");
    }
    assert_eq!(guest.until_closed().1, Some(1000));
    listener.finish().with_code(0);
    assert_eq!(crate::foreign::recorded(&log).len(), 500);
}
