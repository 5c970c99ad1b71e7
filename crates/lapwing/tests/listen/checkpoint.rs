//! A recording that is gone on with: where it ends is where the next listener begins.

use std::path::{Path, PathBuf};

use lapwing::recording::note::{Missed, Note};
use lapwing::recording::reader::{Reader, Record};
use lapwing_wire::control::{Answer, ServerMessage, Subscribed};
use lapwing_wire::position::{Epoch, Offset};

use crate::feed::{Feed, Guest, granted, topic};
use crate::foreign::recorded;
use crate::program::{lapwing, record};
use crate::verify::verify;

#[test]
fn a_recording_goes_on_behind_its_last_whole_record() {
    let dir = tempfile::tempdir().expect("a directory");
    let log = dir.path().join("feed.ndjson");
    let feed = Feed::bind();
    let end = first_run(&feed, &log).with_code(0);
    assert!(!end.stderr.iter().any(|line| line.contains("goes on")), "{end:#?}");
    let torn = b"{\"topic\":\"users\",\"offset\":7,\"epoch\":";
    let whole = std::fs::read(&log).expect("there");
    std::fs::write(&log, [&whole[..], torn].concat()).expect("written");
    let listener = record(&feed.url(), &log, &["--count", "2", "--from", "earliest"]);
    let mut guest = feed.accept_lapwing();
    guest.welcome(&["users", "arrays"]);
    // In the file: its position. Not in it: where --from says.
    let wish = guest.subscribe();
    assert_eq!(
        (wish.epoch, wish.offset),
        (Some(Epoch::from_bits(7)), Some(Offset::new(6)))
    );
    // The server sends more than was asked for: what is below is dropped.
    guest.grant(&Subscribed {
        from: Offset::new(4),
        ..granted("users", 7, 6)
    });
    let wish = guest.subscribe();
    assert_eq!((wish.epoch, wish.from.as_deref()), (None, Some("earliest")));
    guest.grant(&granted("arrays", 7, 0));
    guest.messages("users", 4..8);
    let end = listener.finish().with_code(0);
    let cut = format!("; {} bytes behind the last whole record were cut", torn.len());
    end.said(&cut);
    end.said("feed.ndjson goes on: users at 6");
    let offsets: Vec<_> = recorded(&log).iter().map(|m| m.offset.expect("given").get()).collect();
    assert_eq!(offsets, [3, 4, 5, 6, 7]);
    assert!(std::fs::read(&log).expect("there").starts_with(&whole));
    verify(&[], &log).with_code(0);
}

#[test]
fn another_server_is_another_history_and_is_told() {
    let dir = tempfile::tempdir().expect("a directory");
    let log = dir.path().join("feed.ndjson");
    let before = Feed::bind();
    first_run(&before, &log).with_code(0);
    let feed = Feed::bind();
    let listener = record(&feed.url(), &log, &["--count", "2"]);
    let mut guest = feed.accept_lapwing();
    guest.welcome(&["users"]);
    guest.subscribe();
    guest.grant(&Subscribed {
        answer: Answer::Reset,
        from: Offset::ZERO,
        ..granted("users", 8, 1)
    });
    guest.messages("users", 0..2);
    let end = listener.finish().with_code(0);
    end.said(&format!(
        "feed.ndjson, which came from {}, goes on: users at 6",
        before.url()
    ));
    end.said("warning: new history, what came after users 5 is unknown");
    let reset = notes(&log).into_iter().find_map(|note| match note {
        Note::Reset { first, last, .. } => Some((first.get(), last.map(Offset::get))),
        _ => None,
    });
    assert_eq!(reset, Some((0, Some(5))));
    verify(&[], &log).with_code(3);
    verify(&["--allow-gaps"], &log).with_code(0);
}

#[test]
fn a_server_that_was_set_back_repeats_nothing_and_is_told() {
    let (_dir, log, feed) = recorded_once();
    let listener = record(&feed.url(), &log, &["--count", "2"]);
    let mut guest = comes_back(&feed);
    guest.grant(&reset(7, 0, 4));
    guest.messages("users", 0..8);
    let end = listener.finish().with_code(0);
    end.said("warning: users ends at 4 on the server, and came up to 6 before; nothing is taken below 6");
    let offsets: Vec<_> = recorded(&log).iter().map(|m| m.offset.expect("given").get()).collect();
    assert_eq!(offsets, [3, 4, 5, 6, 7]);
    verify(&["--allow-gaps"], &log).with_code(0);
}

#[test]
fn a_refused_report_does_not_end_the_wait_for_what_is_asked_anew() {
    let (_dir, log, feed) = recorded_once();
    let listener = record(&feed.url(), &log, &["--count", "5"]);
    let mut guest = comes_back(&feed);
    guest.grant(&reset(8, 0, 1));
    guest.message("users", 0);
    guest.vanish();
    let mut guest = comes_back(&feed);
    // The first history is back, and begins at the newest; its answer to what is asked anew is still to come.
    guest.grant(&reset(7, 8, 8));
    guest.subscribe();
    guest.control(&ServerMessage::Error {
        code: "bad_report".to_owned(),
        message: "a report with numbers that cannot be true".to_owned(),
        topic: Some(topic("users")),
    });
    guest.message("users", 8);
    guest.grant(&Subscribed {
        from: Offset::new(6),
        ..granted("users", 7, 9)
    });
    guest.messages("users", 6..10);
    listener.finish().with_code(0);
    let offsets: Vec<_> = recorded(&log).iter().map(|m| m.offset.expect("given").get()).collect();
    assert_eq!(offsets, [3, 4, 5, 0, 6, 7, 8, 9]);
}

#[test]
fn what_is_gone_of_a_history_that_comes_back_is_told_by_the_answer_to_what_is_asked_anew() {
    let (_dir, log, feed) = recorded_once();
    let listener = record(&feed.url(), &log, &["--count", "3"]);
    let mut guest = comes_back(&feed);
    guest.grant(&reset(8, 0, 1));
    guest.message("users", 0);
    // Another server takes its place, which has the first history, from 9 on.
    guest.vanish();
    let mut guest = comes_back(&feed);
    guest.grant(&reset(7, 9, 11));
    guest.message("users", 9);
    let wish = guest.subscribe();
    assert_eq!(
        (wish.epoch, wish.offset),
        (Some(Epoch::from_bits(7)), Some(Offset::new(6)))
    );
    guest.grant(&Subscribed {
        answer: Answer::Gap,
        first: Offset::new(9),
        from: Offset::new(9),
        missing_from: Some(Offset::new(6)),
        ..granted("users", 7, 11)
    });
    guest.messages("users", 9..11);
    let end = listener.finish().with_code(0);
    let back = end.said("back after");
    assert!(back.ends_with(": users resumes at 9"), "{end:#?}");
    end.said(
        "warning: users has its earlier history again, and goes on with it at 6; what came after 0 of the other one",
    );
    let offsets: Vec<_> = recorded(&log).iter().map(|m| m.offset.expect("given").get()).collect();
    assert_eq!(offsets, [3, 4, 5, 0, 9, 10]);
    let end = verify(&["--allow-gaps"], &log).with_code(0);
    assert!(end.stdout.iter().any(|line| line.contains("gap     6-8")), "{end:#?}");
}

#[test]
fn what_the_server_lost_after_it_was_recorded_is_named() {
    let dir = tempfile::tempdir().expect("a directory");
    let log = dir.path().join("feed.ndjson");
    let feed = Feed::bind();
    first_run(&feed, &log).with_code(0);
    let listener = record(&feed.url(), &log, &["--count", "1"]);
    let mut guest = feed.accept_lapwing();
    guest.welcome(&["users"]);
    guest.subscribe();
    guest.grant(&Subscribed {
        answer: Answer::Diverged,
        from: Offset::new(4),
        diverged_at: Some(Offset::new(4)),
        ..granted("users", 8, 4)
    });
    guest.message("users", 4);
    listener.finish().with_code(0);
    let orphans = notes(&log).into_iter().find_map(|note| match note {
        Note::Diverged { at, to, .. } => Some((at.get(), to.map(Offset::get))),
        _ => None,
    });
    assert_eq!(orphans, Some((4, Some(6))));
    let end = verify(&[], &log).with_code(3);
    assert!(
        end.stdout.iter().any(|line| line.contains("orphaned   4-5")),
        "{end:#?}"
    );
}

#[test]
fn what_passed_while_nobody_listened_is_a_gap_and_can_fail_the_run() {
    let dir = tempfile::tempdir().expect("a directory");
    let log = dir.path().join("feed.ndjson");
    let feed = Feed::bind();
    first_run(&feed, &log).with_code(0);
    let listener = record(&feed.url(), &log, &["--count", "1", "--fail-on-gap"]);
    let mut guest = feed.accept_lapwing();
    guest.welcome(&["users"]);
    guest.subscribe();
    guest.grant(&Subscribed {
        answer: Answer::Gap,
        first: Offset::new(9),
        from: Offset::new(9),
        missing_from: Some(Offset::new(6)),
        ..granted("users", 7, 9)
    });
    guest.message("users", 9);
    listener
        .finish()
        .with_code(3)
        .said("warning: users 6-8 are gone (3 messages)");
    verify(&["--allow-gaps"], &log).with_code(0);
}

#[test]
fn topics_that_are_not_followed_now_keep_their_place() {
    let dir = tempfile::tempdir().expect("a directory");
    let log = dir.path().join("feed.ndjson");
    let feed = Feed::bind();
    first_run(&feed, &log).with_code(0);
    let listener = record(&feed.url(), &log, &["--count", "2", "--topics", "arrays"]);
    let mut guest = feed.accept_lapwing();
    guest.welcome_and_grant(7, &[("arrays", 0)]);
    guest.messages("arrays", 0..2);
    listener
        .finish()
        .with_code(0)
        .said("the file also holds users, not followed now");
    let listener = record(&feed.url(), &log, &["--count", "1"]);
    let mut guest = feed.accept_lapwing();
    guest.welcome(&["users", "arrays"]);
    for (topic, wanted) in [("users", 6), ("arrays", 2)] {
        assert_eq!(guest.subscribe().offset, Some(Offset::new(wanted)), "{topic}");
        guest.grant(&granted(topic, 7, wanted));
    }
    guest.message("users", 6);
    listener.finish().with_code(0);
    verify(&[], &log).with_code(0);
}

#[test]
fn a_recording_of_a_plain_stream_goes_on_as_far_as_its_offsets_say() {
    let dir = tempfile::tempdir().expect("a directory");
    let log = dir.path().join("feed.ndjson");
    for offsets in [4..7, 9..12, 0..3] {
        let feed = Feed::bind();
        let url = format!("{}/?topics=users", feed.url());
        let listener = record(&url, &log, &["--count", "3"]);
        feed.accept_plain().messages("users", offsets);
        listener.finish().with_code(0);
    }
    let found: Vec<_> = notes(&log)
        .into_iter()
        .filter_map(|note| match note {
            Note::Gap { from, to, reason, .. } => Some((from.get(), to.get(), reason == Missed::Away)),
            Note::Reset { first, last, .. } => Some((first.get(), last.map_or(0, Offset::get), false)),
            _ => None,
        })
        .collect();
    assert_eq!(found, [(7, 9, true), (0, 11, false)]);
    verify(&[], &log).with_code(3);
    verify(&["--allow-gaps"], &log).with_code(0);
}

#[test]
fn a_recording_of_a_feed_without_offsets_goes_on_and_says_that_nothing_is_proven() {
    let dir = tempfile::tempdir().expect("a directory");
    let log = dir.path().join("feed.ndjson");
    for _ in 0..2 {
        let feed = Feed::bind();
        let listener = record(&feed.url(), &log, &["--count", "2"]);
        let mut guest = feed.accept_plain();
        guest.send("1");
        guest.send("hello");
        listener.finish().with_code(0);
    }
    let end = verify(&[], &log).with_code(0);
    assert_eq!(
        end.stdout.last().expect("a verdict"),
        "intact: every line is as it was written; without offsets nothing else can be proven"
    );
}

#[test]
fn a_text_log_is_appended_to_and_nothing_goes_on_from_it() {
    let dir = tempfile::tempdir().expect("a directory");
    let log = dir.path().join("feed.txt");
    for _ in 0..2 {
        let feed = Feed::bind();
        let listener = record(&feed.url(), &log, &["--count", "3"]);
        let mut guest = feed.accept_lapwing();
        guest.welcome(&["users"]);
        assert_eq!(guest.subscribe().offset, None);
        guest.grant(&granted("users", 7, 3));
        guest.messages("users", 3..6);
        listener.finish().with_code(0);
    }
    let file = std::fs::read_to_string(&log).expect("there");
    assert_eq!(file.matches("users      5  [5]\n").count(), 2, "{file}");
    let end = lapwing(&["listen", "--log", log.to_str().expect("UTF-8"), "--rotate", "1h"])
        .finish()
        .with_code(2);
    end.said("error: --rotate is for recordings, and --log is text for people");
}

#[test]
fn nothing_is_reported_before_the_file_has_it() {
    let dir = tempfile::tempdir().expect("a directory");
    let log = dir.path().join("feed.ndjson");
    let feed = Feed::bind();
    let _listener = record(&feed.url(), &log, &["--block", "2", "--sync", "each"]);
    let mut guest = feed.accept_lapwing();
    guest.welcome_and_grant(7, &[("users", 0)]);
    guest.messages("users", 0..2);
    let last = guest.report().last.get();
    // The report came, so the file has its messages already, with nothing to wait for.
    assert_eq!(recorded(&log).last().expect("some").offset, Some(Offset::new(last)));
}

#[test]
fn a_file_is_rotated_by_size_and_gone_on_with_across_parts() {
    let dir = tempfile::tempdir().expect("a directory");
    let log = dir.path().join("feed.ndjson");
    let feed = Feed::bind();
    for run in 0..3 {
        let flags = [
            "--count",
            "40",
            "--rotate",
            "4KB",
            "--rotate-compress",
            "--block",
            "1000",
        ];
        let listener = record(&feed.url(), &log, &flags);
        let mut guest = feed.accept_lapwing();
        resume(&mut guest, run * 40);
        guest.messages("users", run * 40..run * 40 + 40);
        listener.finish().with_code(0);
        // As a crash between the rotation and the new file leaves it.
        let last = lapwing::recording::parts::rotated(&log)
            .expect("readable")
            .last()
            .map_or(0, |part| part.number);
        std::fs::rename(&log, lapwing::recording::parts::name(&log, last + 1)).expect("there");
    }
    let parts = lapwing::recording::parts::rotated(&log).expect("readable");
    assert!(parts.len() > 6, "{parts:?}");
    assert!(
        parts.iter().any(lapwing::recording::parts::Part::is_packed),
        "{parts:?}"
    );
    for part in parts.iter().filter(|part| !part.is_packed()) {
        let len = std::fs::metadata(&part.path).expect("there").len();
        assert!(len < 5000, "{part:?} has {len} bytes");
    }
    let end = verify(&["--json"], &log).with_code(0);
    let told: serde_json::Value = serde_json::from_str(&end.stdout[0]).expect("JSON");
    let history = &told["recordings"][0]["topics"][0];
    assert_eq!(
        (&history["messages"], &history["last"]),
        (&120.into(), &119.into()),
        "{told}"
    );
}

/// Grants what a listener that goes on at `next` must ask for.
fn resume(guest: &mut Guest, next: u64) {
    guest.welcome(&["users"]);
    let wish = guest.subscribe();
    if next > 0 {
        assert_eq!(wish.offset, Some(Offset::new(next)));
    }
    guest.grant(&granted("users", 7, next));
}

/// Records users 3-5.
/// A recording of `users` 3 to 5 of the history 7, and the feed that it came from.
fn recorded_once() -> (tempfile::TempDir, PathBuf, Feed) {
    let dir = tempfile::tempdir().expect("a directory");
    let log = dir.path().join("feed.ndjson");
    let feed = Feed::bind();
    first_run(&feed, &log).with_code(0);
    (dir, log, feed)
}

/// The listener connects and asks for what it wants.
fn comes_back(feed: &Feed) -> Guest {
    let mut guest = feed.accept_lapwing();
    guest.welcome(&["users"]);
    guest.subscribe();
    guest
}

/// `users` has this history, kept from `from` on, and delivery begins there.
fn reset(epoch: u128, from: u64, next: u64) -> Subscribed {
    Subscribed {
        answer: Answer::Reset,
        from: Offset::new(from),
        first: Offset::new(from),
        ..granted("users", epoch, next)
    }
}

fn first_run(feed: &Feed, log: &Path) -> crate::program::Finished {
    let listener = record(&feed.url(), log, &["--count", "3"]);
    let mut guest = feed.accept_lapwing();
    guest.welcome_and_grant(7, &[("users", 3)]);
    guest.messages("users", 3..6);
    listener.finish()
}

fn notes(path: &Path) -> Vec<Note> {
    let entries = Reader::open(path)
        .expect("there")
        .map(|entry| entry.expect("readable").record);
    let note = |record| match record {
        Record::Note(stamped) => Some(stamped.note),
        _ => None,
    };
    entries.filter_map(note).collect()
}
