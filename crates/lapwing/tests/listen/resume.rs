//! The subprotocol: subscribe, resume, gaps, new histories, reports.

use lapwing::recording::note::Note;
use lapwing::recording::reader::{Reader, Record};
use lapwing_wire::block::Flags;
use lapwing_wire::control::{Answer, Subscribed};
use lapwing_wire::position::{Epoch, Offset};
use lapwing_wire::start::Start;

use crate::feed::{Feed, granted};
use crate::foreign::recorded;
use crate::program::{Finished, lapwing, record};
use crate::verify::verify;

#[test]
fn each_topic_is_asked_for_and_shown_with_its_place() {
    let feed = Feed::bind();
    let listener = lapwing(&[
        "listen",
        &feed.url(),
        "--name",
        "sensor 1",
        "--count",
        "3",
        "--from",
        "last:2",
    ]);
    let mut guest = feed.accept_lapwing();
    assert_eq!(guest.path, "/?name=sensor+1");
    guest.welcome(&["users", "arrays"]);
    for (name, next) in [("users", 13), ("arrays", 35)] {
        let wish = guest.subscribe();
        assert_eq!(wish.topic.as_ref().expect("named").as_str(), name);
        assert_eq!(wish.start(), Ok(Start::Last(2)));
        guest.grant(&Subscribed {
            from: Offset::new(next - 2),
            ..granted(name, 7, next)
        });
    }
    guest.message("users", 11);
    guest.message("arrays", 33);
    guest.message("users", 12);
    let end = listener.finish().with_code(0);
    end.said("as sensor-1: users from 11, arrays from 33");
    assert!(end.stdout[0].ends_with("  users      11  [11]"), "{}", end.stdout[0]);
    assert!(end.stdout[1].ends_with("  arrays     33  [33]"), "{}", end.stdout[1]);
    end.said("nothing lost: each offset once, in order");
}

#[test]
fn after_a_cut_it_resumes_with_its_position_and_drops_what_comes_twice() {
    let dir = tempfile::tempdir().expect("a directory");
    let log = dir.path().join("feed.ndjson");
    let feed = Feed::bind();
    let listener = record(&feed.url(), &log, &["--count", "6"]);
    let mut guest = feed.accept_lapwing();
    guest.welcome_and_grant(7, &[("users", 13)]);
    guest.messages("users", 13..16);
    listener.shows("[15]");
    guest.vanish();
    let mut guest = feed.accept_lapwing();
    guest.welcome(&["users"]);
    let wish = guest.subscribe();
    assert_eq!(
        (wish.epoch, wish.offset),
        (Some(Epoch::from_bits(7)), Some(Offset::new(16)))
    );
    guest.grant(&Subscribed {
        from: Offset::new(14),
        ..granted("users", 7, 17)
    });
    guest.messages("users", 14..19);
    let (reports, code) = guest.until_closed();
    assert_eq!(code, Some(1000));
    let last = reports.last().expect("the last partial one");
    assert_eq!((last.last.get(), last.reconnects), (18, 1));
    assert!(last.flags.has(Flags::INTERRUPTED.with(Flags::PARTIAL)), "{last:?}");
    let end = listener.finish().with_code(0);
    assert!(end.said("back after").ends_with("nothing missed"));
    end.said("nothing lost");
    let row = end
        .stderr
        .iter()
        .find(|line| line.starts_with("users "))
        .expect("a table");
    assert!(row.ends_with(" 2"), "two repeats: {end:#?}");
    let offsets: Vec<_> = recorded(&log).iter().map(|m| m.offset.expect("given").get()).collect();
    assert_eq!(offsets, [13, 14, 15, 16, 17, 18]);
}

#[test]
fn gaps_are_told_counted_and_recorded_and_can_fail_the_run() {
    let dir = tempfile::tempdir().expect("a directory");
    let log = dir.path().join("feed.ndjson");
    let feed = Feed::bind();
    let listener = record(&feed.url(), &log, &["--count", "5", "--fail-on-gap"]);
    let mut guest = feed.accept_lapwing();
    guest.welcome_and_grant(7, &[("users", 0)]);
    guest.messages("users", 0..2);
    guest.gap("users", 2, 5);
    guest.message("users", 5);
    guest.message("users", 8);
    listener.shows("[8]");
    guest.vanish();
    let mut guest = feed.accept_lapwing();
    guest.welcome(&["users"]);
    guest.subscribe();
    guest.grant(&Subscribed {
        answer: Answer::Gap,
        first: Offset::new(20),
        from: Offset::new(20),
        missing_from: Some(Offset::new(9)),
        ..granted("users", 7, 22)
    });
    guest.message("users", 20);
    let end = listener.finish().with_code(3);
    end.said("warning: users 2-4 are gone (3 messages): we were too slow");
    end.said("warning: users 6-7 are gone (2 messages): the server skipped them without a word");
    end.said("warning: users 9-19 are gone (11 messages): away for");
    end.said("hint: keep= and keep_bytes= on the topic keep more; --fail-on-gap ends with code 3 when this happens");
    end.said("missing: 16 messages in 3 gaps");
    let gaps: Vec<_> = notes(&log)
        .into_iter()
        .filter_map(|note| match note {
            Note::Gap { from, to, .. } => Some((from.get(), to.get())),
            _ => None,
        })
        .collect();
    assert_eq!(gaps, [(2, 5), (6, 8), (9, 20)]);
}

#[test]
fn a_new_history_is_told_and_counts_as_a_gap() {
    let feed = Feed::bind();
    let listener = lapwing(&["listen", &feed.url(), "--count", "4", "--fail-on-gap"]);
    let mut guest = feed.accept_lapwing();
    guest.welcome_and_grant(7, &[("users", 138)]);
    guest.messages("users", 138..140);
    listener.shows("[139]");
    guest.vanish();
    let mut guest = feed.accept_lapwing();
    guest.welcome(&["users"]);
    guest.subscribe();
    guest.grant(&Subscribed {
        answer: Answer::Reset,
        from: Offset::ZERO,
        ..granted("users", 8, 1)
    });
    guest.messages("users", 0..2);
    let end = listener.finish().with_code(3);
    assert!(
        end.said("back after")
            .ends_with("new history, what came after users 139 is unknown")
    );
    end.said("missing: what came before 1 new history");
}

#[test]
fn an_offset_beyond_the_end_is_told_with_the_end() {
    let feed = Feed::bind();
    let listener = lapwing(&["listen", &feed.url(), "--from", "999", "--count", "1"]);
    let mut guest = feed.accept_lapwing();
    guest.welcome(&["users"]);
    guest.subscribe();
    guest.grant(&Subscribed {
        answer: Answer::Reset,
        from: Offset::ZERO,
        ..granted("users", 7, 12)
    });
    guest.message("users", 0);
    listener
        .finish()
        .with_code(0)
        .said("warning: offset 999 is ahead of users, which ends at 12; it begins with 0");
}

#[test]
fn a_server_that_lost_what_it_sent_is_told_from_where() {
    let dir = tempfile::tempdir().expect("a directory");
    let log = dir.path().join("feed.ndjson");
    let feed = Feed::bind();
    let listener = record(&feed.url(), &log, &["--count", "4"]);
    let mut guest = feed.accept_lapwing();
    guest.welcome_and_grant(7, &[("users", 0)]);
    guest.messages("users", 0..3);
    listener.shows("[2]");
    guest.vanish();
    let mut guest = feed.accept_lapwing();
    guest.welcome(&["users"]);
    guest.subscribe();
    guest.grant(&Subscribed {
        answer: Answer::Diverged,
        from: Offset::new(1),
        diverged_at: Some(Offset::new(1)),
        ..granted("users", 8, 1)
    });
    guest.message("users", 1);
    let end = listener.finish().with_code(0);
    end.said("warning: the server has lost users 1-2, which came before");
    let diverged = notes(&log)
        .into_iter()
        .find(|note| matches!(note, Note::Diverged { .. }));
    assert!(matches!(diverged, Some(Note::Diverged { at, .. }) if at.get() == 1));
}

/// Three messages of epoch 7, then the grant of another server run, then messages from its place on; gives what verify says.
fn verified_after(grant: &Subscribed, allow: &[&str]) -> Finished {
    let dir = tempfile::tempdir().expect("a directory");
    let log = dir.path().join("feed.ndjson");
    let feed = Feed::bind();
    let listener = record(&feed.url(), &log, &["--count", "5"]);
    let mut guest = feed.accept_lapwing();
    guest.welcome_and_grant(7, &[("users", 0)]);
    guest.messages("users", 0..3);
    listener.shows("[2]");
    guest.vanish();
    let mut guest = feed.accept_lapwing();
    guest.welcome(&["users"]);
    guest.subscribe();
    guest.grant(grant);
    guest.messages("users", grant.from.get()..grant.from.get() + 2);
    listener.finish().with_code(0);
    verify(allow, &log)
}

#[test]
fn a_history_that_goes_on_under_another_name_is_recorded_and_proven() {
    let proven = verified_after(
        &Subscribed {
            from: Offset::new(3),
            ..granted("users", 8, 3)
        },
        &[],
    );
    proven.with_code(0);
}

#[test]
fn a_gap_into_another_name_of_the_history_is_recorded_and_announced() {
    let gone = Subscribed {
        answer: Answer::Gap,
        missing_from: Some(Offset::new(3)),
        first: Offset::new(9),
        from: Offset::new(9),
        ..granted("users", 8, 20)
    };
    verified_after(&gone, &[]).with_code(3);
    verified_after(&gone, &["--allow-gaps"]).with_code(0);
}

#[test]
fn what_was_lost_and_what_is_gone_behind_it_are_both_recorded() {
    let lost = Subscribed {
        answer: Answer::Diverged,
        diverged_at: Some(Offset::new(1)),
        missing_from: Some(Offset::new(1)),
        first: Offset::new(9),
        from: Offset::new(9),
        ..granted("users", 8, 20)
    };
    verified_after(&lost, &[]).with_code(3);
    verified_after(&lost, &["--allow-gaps"]).with_code(0);
}

#[test]
fn blocks_are_timed_shown_and_reported() {
    let feed = Feed::bind();
    let listener = lapwing(&["listen", &feed.url(), "--count", "9", "--block", "3"]);
    let mut guest = feed.accept_lapwing();
    guest.welcome_and_grant(7, &[("arrays", 6)]);
    guest.messages("arrays", 6..9);
    let first = guest.report();
    assert_eq!((first.first_block, first.messages), (2, 3));
    assert!(first.flags.has(Flags::FIRST) && first.elapsed_ms.is_none());
    guest.messages("arrays", 9..12);
    let second = guest.report();
    assert_eq!(
        (second.first_block, second.last_block, second.is_wholly_timed()),
        (3, 3, true)
    );
    assert!(second.is_plausible());
    guest.messages("arrays", 12..15);
    let (reports, code) = guest.until_closed();
    assert_eq!((reports.len(), code), (1, Some(1000)));
    let end = listener.finish().with_code(0);
    end.said("block 2 of arrays: 3 messages, the first block, spread");
    end.said("block 3 of arrays: 3 messages in ");
}

#[test]
fn no_report_means_none() {
    let feed = Feed::bind();
    let listener = lapwing(&["listen", &feed.url(), "--count", "4", "--block", "1", "--no-report"]);
    let mut guest = feed.accept_lapwing();
    guest.welcome_and_grant(7, &[("arrays", 0)]);
    guest.messages("arrays", 0..4);
    assert_eq!(guest.until_closed().0.len(), 0);
    listener.finish().with_code(0);
}

#[test]
fn a_topic_the_server_does_not_have_is_an_error_with_its_sentence() {
    let feed = Feed::bind();
    let listener = lapwing(&["listen", &feed.url(), "--topics", "orders"]);
    let mut guest = feed.accept_lapwing();
    guest.welcome(&["users"]);
    assert_eq!(guest.subscribe().topic.expect("named").as_str(), "orders");
    guest.control(&lapwing_wire::control::ServerMessage::Error {
        code: "unknown_topic".to_owned(),
        message: "no topic \"orders\"; topics: users".to_owned(),
        topic: Some(crate::feed::topic("orders")),
    });
    let end = listener.finish().with_code(1);
    end.said("error: the server refused topic \"orders\": no topic \"orders\"; topics: users");
}

#[test]
fn a_last_message_that_does_not_come_shows_by_the_heartbeat_and_is_fetched() {
    let feed = Feed::bind();
    let listener = lapwing(&["listen", &feed.url(), "--count", "3"]);
    let mut guest = feed.accept_lapwing();
    guest.welcome_and_grant(7, &[("users", 3)]);
    let heartbeat = |next| lapwing_wire::control::ServerMessage::Heartbeat {
        time: "2026-11-21T19:00:00.123456Z".to_owned(),
        next: [(crate::feed::topic("users"), Offset::new(next))].into(),
        stale: Vec::new(),
    };
    // What is under way when a heartbeat is made may come behind it.
    guest.control(&heartbeat(4));
    guest.message("users", 3);
    guest.control(&heartbeat(5));
    guest.message("users", 4);
    guest.control(&heartbeat(5));
    guest.control(&heartbeat(6));
    guest.control(&heartbeat(6));
    listener.says("lost the connection: users 5 is there and did not come");
    let mut guest = feed.accept_lapwing();
    guest.welcome(&["users"]);
    assert_eq!(guest.subscribe().offset, Some(Offset::new(5)));
    guest.grant(&granted("users", 7, 5));
    guest.message("users", 5);
    listener.finish().with_code(0).said("nothing lost");
}

fn notes(path: &std::path::Path) -> Vec<Note> {
    let entries = Reader::open(path)
        .expect("there")
        .map(|entry| entry.expect("readable").record);
    entries
        .filter_map(|record| match record {
            Record::Note(stamped) => Some(stamped.note),
            _ => None,
        })
        .collect()
}

#[test]
fn a_block_during_which_we_stood_still_does_not_count() {
    use rustix::process::Signal;
    let feed = Feed::bind();
    let listener = lapwing(&["listen", &feed.url(), "--count", "4", "--block", "2"]);
    let mut guest = feed.accept_lapwing();
    guest.welcome_and_grant(7, &[("arrays", 0)]);
    guest.messages("arrays", 0..2);
    listener.shows("[1]");
    // The report leaves when the messages are worked off: from then on it only waits, and a late beat is a stall.
    guest.report();
    listener.signal(Signal::STOP);
    // Longer than the two seconds from which on a late beat is a stall.
    std::thread::sleep(std::time::Duration::from_millis(2600));
    listener.signal(Signal::CONT);
    std::thread::sleep(std::time::Duration::from_millis(500));
    guest.messages("arrays", 2..4);
    let end = listener.finish().with_code(0);
    assert!(end.said("block 1 of arrays").contains(", stalled, "), "{end:#?}");
    end.said("1 while we stood still");
}
