use lapwing_wire::position::{Epoch, Offset};
use lapwing_wire::time::WallTime;
use proptest::prelude::*;

use super::tally::Gaps;
use super::*;
use crate::clock::Now;
use crate::recording::arrival::{Arrival, Value};
use crate::recording::line::LineWriter;
use crate::recording::lines::Lines;
use crate::recording::note::Start;
use crate::recording::wanted::Wanted;

/// A recording in the making; a millisecond passes with each line.
#[derive(Default)]
struct Made {
    writer: LineWriter,
    out: Vec<u8>,
    ms: i64,
    wall_ms: i64,
}

impl Made {
    fn now(&mut self) -> Now {
        self.ms += 1;
        Now {
            wall: WallTime::from_nanos((1_795_287_600_000 + self.ms + self.wall_ms) * 1_000_000),
            mono: self.ms.unsigned_abs() * 1_000_000,
        }
    }

    fn messages(mut self, name: &str, epoch: u128, offsets: impl IntoIterator<Item = u64>) -> Self {
        for offset in offsets {
            let received = self.now();
            let arrival = Arrival {
                topic: &topic(name),
                offset: Some(Offset::new(offset)),
                epoch: Some(Epoch::from_bits(epoch)),
                time: None,
                received,
                value: Value::Json("1"),
                bytes: 1,
            };
            self.writer.message(&arrival, &mut self.out);
        }
        self
    }

    fn note(mut self, note: Note) -> Self {
        let now = self.now();
        self.writer.note(&note, now, &mut self.out);
        self
    }

    fn raw(mut self, bytes: &[u8]) -> Self {
        self.out.extend_from_slice(bytes);
        self
    }

    /// The same once more, to go on in another way.
    fn again(&self) -> Self {
        Self {
            writer: LineWriter::default(),
            out: self.out.clone(),
            ..*self
        }
    }

    fn waiting(mut self, ms: i64) -> Self {
        self.ms += ms;
        self
    }

    fn clock_set(mut self, ms: i64) -> Self {
        self.wall_ms += ms;
        self
    }

    fn proven(&self) -> Proven {
        prove(&self.out)
    }

    /// What was found, in which lines.
    fn found(&self) -> Vec<(u64, What)> {
        self.proven()
            .findings
            .iter()
            .map(|found| (found.place.line, found.what))
            .collect()
    }
}

fn prove(bytes: &[u8]) -> Proven {
    let mut proof = Proof::default();
    let mut lines = Lines::new(bytes);
    while let Some(line) = lines.next().expect("memory") {
        proof.take(&line);
    }
    proof.finish()
}

fn topic(name: &str) -> TopicName {
    TopicName::parse(name).expect("valid")
}

fn positions(name: &str, epoch: u128, offset: u64) -> Note {
    let wanted = Wanted::new(Some(Epoch::from_bits(epoch)), Offset::new(offset));
    Note::Positions {
        topics: [(topic(name), wanted)].into(),
    }
}

fn gap(name: &str, from: u64, to: u64, reason: Missed) -> Note {
    Note::Gap {
        topic: topic(name),
        from: Offset::new(from),
        to: Offset::new(to),
        reason,
    }
}

fn reset(name: &str, epoch: u128, first: u64, last: u64) -> Note {
    Note::Reset {
        topic: topic(name),
        epoch: Some(Epoch::from_bits(epoch)),
        first: Offset::new(first),
        last: Some(Offset::new(last)),
    }
}

fn start(boot: &str) -> Note {
    Note::Start(Start {
        version: "lapwing/0".to_owned(),
        url: "ws://h".to_owned(),
        name: None,
        block_size: 5,
        boot: Some(boot.to_owned()),
    })
}

#[test]
fn each_offset_once_and_in_order_is_proven() {
    let made = Made::default()
        .note(start("a"))
        .note(positions("users", 1, 3))
        .messages("users", 1, 3..50)
        .messages("arrays", 2, 7..9)
        .messages("users", 1, 50..60)
        .note(positions("users", 1, 60));
    let proven = made.proven();
    assert_eq!(proven.findings, []);
    assert!(proven.tally.is_proven(Gaps::Refused));
    assert_eq!(proven.tally.messages, 59);
    let histories: Vec<_> = proven
        .histories
        .iter()
        .map(|history| {
            (
                history.topic.as_str(),
                history.offsets.expect("some").0.get(),
                history.messages,
            )
        })
        .collect();
    assert_eq!(histories, [("users", 3, 57), ("arrays", 7, 2)]);
    assert_eq!(proven.histories[0].offsets.expect("some").1.get(), 59);
}

#[test]
fn nothing_at_all_proves_nothing() {
    assert!(!Made::default().proven().tally.is_proven(Gaps::Allowed));
}

#[test]
fn what_is_missing_repeated_and_late_is_named_with_its_line() {
    let made = Made::default().messages("users", 1, [3, 4, 7, 4, 5, 8, 8]);
    let missing = What::Missing { from: 5, to: 7 };
    let expect = [
        (3, missing),
        (4, What::Repeated { from: 4, to: 5 }),
        (5, What::OutOfOrder { from: 5, to: 6 }),
        (7, What::Repeated { from: 8, to: 9 }),
    ];
    assert_eq!(made.found(), expect);
    assert!(!made.proven().tally.is_proven(Gaps::Allowed));
}

#[test]
fn a_run_that_is_there_twice_is_one_finding() {
    let made = Made::default().messages("users", 1, 0..9).messages("users", 1, 2..7);
    assert_eq!(made.found(), [(10, What::Repeated { from: 2, to: 7 })]);
    assert_eq!(made.proven().tally.repeated, 5);
}

#[test]
fn an_announced_gap_is_proven_only_where_gaps_are_allowed() {
    let told = gap("users", 5, 9, Missed::Retention);
    let made = Made::default()
        .messages("users", 1, 3..5)
        .note(told)
        .messages("users", 1, 9..12);
    let tally = made.proven().tally;
    assert_eq!((tally.announced, tally.missing), (4, 0));
    assert!(tally.is_proven(Gaps::Allowed) && !tally.is_proven(Gaps::Refused));
}

#[test]
fn a_gap_that_only_the_recorder_saw_is_missing() {
    let seen = gap("users", 5, 9, Missed::Unannounced);
    let made = Made::default()
        .messages("users", 1, 3..5)
        .note(seen)
        .messages("users", 1, 9..12);
    assert!(!made.proven().tally.is_proven(Gaps::Allowed));
}

#[test]
fn a_gap_that_covers_another_range_is_told() {
    let made = Made::default()
        .messages("users", 1, 0..5)
        .note(gap("users", 7, 9, Missed::Policy))
        .messages("users", 1, 9..10)
        .note(gap("users", 8, 12, Missed::Policy));
    let expect = [
        What::Missing { from: 5, to: 7 },
        What::Gap {
            from: 7,
            to: 9,
            reason: Missed::Policy,
        },
        What::Contradiction { said: 8, next: 10 },
        What::Gap {
            from: 10,
            to: 12,
            reason: Missed::Policy,
        },
    ];
    assert_eq!(
        made.found().into_iter().map(|(_, what)| what).collect::<Vec<_>>(),
        expect
    );
}

#[test]
fn a_new_history_and_a_server_that_lost_its_end_are_told() {
    let diverged = Note::Diverged {
        topic: topic("users"),
        epoch: Epoch::from_bits(3),
        at: Offset::new(1),
        to: Some(Offset::new(4)),
    };
    let made = Made::default()
        .messages("users", 1, 7..9)
        .note(reset("users", 2, 0, 8))
        .messages("users", 2, 0..4)
        .note(diverged)
        .messages("users", 3, 1..6);
    let expect = [(3, What::Reset { last: 8 }), (8, What::Orphaned { from: 1, to: 4 })];
    assert_eq!(made.found(), expect);
    let proven = made.proven();
    assert!(proven.tally.is_proven(Gaps::Allowed) && !proven.tally.is_proven(Gaps::Refused));
    let epochs: Vec<_> = proven
        .histories
        .iter()
        .map(|history| history.epoch.expect("named").to_bits())
        .collect();
    assert_eq!(epochs, [1, 2, 3]);
}

#[test]
fn a_history_that_ends_behind_a_gap_ends_with_what_came_before_it() {
    let gone = Made::default()
        .messages("users", 1, 0..5)
        .note(gap("users", 5, 8, Missed::Retention))
        .note(gap("users", 8, 10, Missed::Retention));
    let (first, second, reset_to) = (
        (
            6,
            What::Gap {
                from: 5,
                to: 8,
                reason: Missed::Retention,
            },
        ),
        (
            7,
            What::Gap {
                from: 8,
                to: 10,
                reason: Missed::Retention,
            },
        ),
        What::Reset { last: 9 },
    );
    // The last one that came, one that is told as gone, and the one before what is wanted next.
    for last in [4, 6, 9] {
        let made = gone.again().note(reset("users", 2, 0, last)).messages("users", 2, 0..2);
        assert_eq!(made.found(), [first, second, (8, reset_to)], "{last}");
        assert!(made.proven().tally.is_proven(Gaps::Allowed));
    }
    for last in [3, 10] {
        let made = gone.again().note(reset("users", 2, 0, last));
        let wrong = What::Contradiction {
            said: last + 1,
            next: 10,
        };
        assert_eq!(made.found(), [first, second, (8, wrong), (8, reset_to)], "{last}");
    }
    let came_since = gone.again().messages("users", 1, 10..11).note(reset("users", 2, 0, 4));
    assert_eq!(came_since.found()[2], (9, What::Contradiction { said: 5, next: 11 }));
    let continued = Note::Continued {
        topic: topic("users"),
        epoch: Epoch::from_bits(2),
        at: Offset::new(10),
    };
    let continued = gone.again().note(continued).note(reset("users", 3, 0, 4));
    assert_eq!(continued.found(), [first, second, (9, reset_to)]);
}

#[test]
fn a_history_that_comes_back_is_proven_where_it_goes_on_and_repeated_where_it_begins_anew() {
    let left = Made::default()
        .messages("users", 1, 0..10)
        .note(reset("users", 2, 0, 9))
        .messages("users", 2, 0..3);
    let resets = [(11, What::Reset { last: 9 }), (15, What::Reset { last: 2 })];
    let back = |first| left.again().note(reset("users", 1, first, 2));
    let good = back(10).note(positions("users", 1, 10)).messages("users", 1, 10..12);
    assert_eq!(good.found(), resets);
    let proven = good.proven();
    assert!(proven.tally.is_proven(Gaps::Allowed));
    let held: Vec<_> = proven
        .histories
        .iter()
        .map(|history| (history.messages, history.offsets.expect("some").1.get(), history.wrong))
        .collect();
    assert_eq!(held, [(12, 11, 0), (3, 2, 0)], "one history, in two pieces");
    let again = back(0).messages("users", 1, 0..12);
    assert_eq!(again.found()[2..], [(16, What::Repeated { from: 0, to: 10 })]);
    assert_eq!(again.proven().tally.repeated, 10);
    assert!(!again.proven().tally.is_proven(Gaps::Allowed));
    let skipped = back(11).messages("users", 1, 11..12);
    assert_eq!(skipped.found()[1..2], [(15, What::Reset { last: 2 })]);
    assert_eq!(skipped.found()[2..], [(15, What::Missing { from: 10, to: 11 })]);
    // Without a word it is the same.
    let changed = left.again().messages("users", 1, 8..12);
    assert_eq!(
        changed.found()[1..],
        [(15, What::HistoryChanged), (15, What::Repeated { from: 8, to: 10 })]
    );
}

#[test]
fn an_orphaned_history_that_comes_back_has_what_it_had() {
    let note = |epoch, at| Note::Diverged {
        topic: topic("users"),
        epoch: Epoch::from_bits(epoch),
        at: Offset::new(at),
        to: None,
    };
    let made = Made::default()
        .messages("users", 1, 0..5)
        .note(note(2, 3))
        .messages("users", 2, 3..6)
        .note(reset("users", 1, 5, 5))
        .messages("users", 1, 5..7);
    let expect = [(6, What::Orphaned { from: 3, to: 5 }), (10, What::Reset { last: 5 })];
    assert_eq!(made.found(), expect);
    let again = made.note(note(2, 3)).messages("users", 2, 3..7);
    assert_eq!(again.found()[3..], [(14, What::Repeated { from: 3, to: 6 })]);
}

#[test]
fn a_part_by_itself_knows_the_histories_that_parts_before_it_had() {
    let mut wanted = Wanted::new(Some(Epoch::from_bits(1)), Offset::new(10));
    wanted.go_on(Some(Epoch::from_bits(2)), Offset::new(3));
    let positions = Note::Positions {
        topics: [(topic("users"), wanted)].into(),
    };
    let made = Made::default()
        .note(start("a"))
        .note(positions)
        .messages("users", 2, 3..4)
        .note(reset("users", 1, 10, 3));
    let good = made.again().messages("users", 1, 10..12);
    assert_eq!(good.found(), [(4, What::Reset { last: 3 })]);
    let bad = made.messages("users", 1, 9..12);
    assert_eq!(bad.found()[1..], [(5, What::Repeated { from: 9, to: 10 })]);
}

#[test]
fn a_history_that_changes_without_a_word_is_told() {
    let made = Made::default().messages("users", 1, 0..3).messages("users", 2, 3..5);
    assert_eq!(made.found(), [(4, What::HistoryChanged)]);
    let made = Made::default()
        .messages("users", 1, 0..3)
        .note(positions("users", 2, 3));
    assert_eq!(made.found(), [(4, What::HistoryChanged)]);
}

#[test]
fn a_history_that_goes_on_under_another_name_misses_nothing() {
    let continued = |at| Note::Continued {
        topic: topic("users"),
        epoch: Epoch::from_bits(2),
        at: Offset::new(at),
    };
    let made = Made::default()
        .messages("users", 1, 0..3)
        .note(continued(3))
        .messages("users", 2, 3..5);
    assert_eq!(made.found(), []);
    let made = Made::default()
        .messages("users", 1, 0..3)
        .note(continued(4))
        .messages("users", 2, 4..5);
    assert_eq!(made.found(), [(4, What::Contradiction { said: 4, next: 3 })]);
}

#[test]
fn positions_that_say_otherwise_are_told() {
    let made = Made::default()
        .messages("users", 1, 0..3)
        .note(positions("users", 1, 9));
    assert_eq!(made.found(), [(4, What::Missing { from: 3, to: 9 })]);
    let made = Made::default()
        .messages("users", 1, 0..3)
        .note(positions("users", 1, 1));
    assert_eq!(made.found(), [(4, What::Contradiction { said: 1, next: 3 })]);
}

#[test]
fn torn_and_damaged_lines_are_told() {
    let mut made = Made::default().messages("users", 1, 0..3).raw(b"{\"topic\":\"us");
    assert_eq!(made.found(), [(4, What::Torn { bytes: 12 })]);
    made.out[40] ^= 1;
    assert_eq!(made.found()[0], (1, What::Damaged(Damage::Checksum)));
}

#[test]
fn g1_a_wall_clock_that_goes_back_by_less_than_a_step_is_corrected_and_no_fault() {
    let set = |ms| {
        let made = Made::default().messages("users", 1, 0..3).clock_set(ms);
        made.messages("users", 1, 3..5).found()
    };
    // A millisecond passes between two lines.
    assert_eq!(set(-101), []);
    assert_eq!(set(-102), [(4, What::TimeBack { by_ns: 101_000_000 })]);
}

#[test]
fn g1_a_wall_clock_that_was_set_is_no_fault_and_one_that_was_not_is() {
    let back = Made::default()
        .messages("users", 1, 0..3)
        .clock_set(-3_600_000)
        .messages("users", 1, 3..5);
    let told = back
        .note(Note::ClockStep { ms: -3_600_000.0 })
        .messages("users", 1, 5..9);
    assert_eq!(told.found(), []);
    let back = Made::default()
        .messages("users", 1, 0..3)
        .clock_set(-3_600_000)
        .messages("users", 1, 3..5);
    let by_ns = 3_599_999_000_000;
    assert_eq!(back.found(), [(4, What::TimeBack { by_ns })]);
    let late = back
        .waiting(6000)
        .messages("users", 1, 5..6)
        .note(Note::ClockStep { ms: -3_600_000.0 });
    assert_eq!(late.found(), [(4, What::TimeBack { by_ns })]);
    let forward = Made::default()
        .messages("users", 1, 0..3)
        .clock_set(3_600_000)
        .messages("users", 1, 3..5);
    assert_eq!(forward.found(), []);
}

#[test]
fn the_monotonic_clock_goes_back_only_with_another_boot() {
    let run = |boot| {
        let first = Made::default().note(start("a")).waiting(500).messages("users", 1, 0..3);
        let mut again = Made { ms: 0, ..first };
        again.wall_ms = 600;
        again.note(start(boot)).messages("users", 1, 3..5).found()
    };
    assert_eq!(run("b"), []);
    assert!(matches!(run("a")[..], [(5, What::MonoBack { .. })]), "{:?}", run("a"));
}

#[test]
fn later_records_are_passed_over_and_a_feed_without_offsets_is_counted() {
    let later = "{\"record\":\"moon_phase\"";
    let line = format!("{later},\"crc\":\"{:08x}\"}}\n", crc32c::crc32c(later.as_bytes()));
    let mut made = Made::default().raw(line.as_bytes());
    let received = made.now();
    let arrival = Arrival {
        topic: &topic("-"),
        offset: None,
        epoch: None,
        time: None,
        received,
        value: Value::Text("hello"),
        bytes: 5,
    };
    for _ in 0..3 {
        made.writer.message(&arrival, &mut made.out);
    }
    let proven = made.proven();
    assert_eq!(
        (proven.tally.unknown, proven.tally.unplaced, proven.tally.messages),
        (1, 3, 3)
    );
    assert_eq!((proven.findings, proven.histories[0].messages), (vec![], 3));
}

#[test]
fn however_much_is_wrong_memory_is_bounded() {
    let made = Made::default().messages("users", 1, (0..FINDINGS_MAX as u64 + 500).map(|_| 7));
    let proven = made.proven();
    assert_eq!(proven.findings.len(), FINDINGS_MAX);
    assert_eq!(
        (proven.tally.repeated, proven.tally.findings_beyond),
        (FINDINGS_MAX as u64 + 499, 499)
    );
}

proptest! {
    #[test]
    fn any_bytes_are_told_and_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..500)) {
        prove(&bytes);
    }

    #[test]
    fn any_intact_lines_are_told_and_never_panic(lines in proptest::collection::vec((0_usize..6, any::<[u64; 2]>(), 0..3_u128), 0..30)) {
        let mut made = Made::default();
        for (kind, [one, two], epoch) in lines {
            made = match kind {
                0 => made.messages("users", epoch, [one]),
                1 => made.note(gap("users", one, two, Missed::Policy)),
                2 => made.note(reset("users", epoch, one, two)),
                3 => made.note(positions("users", epoch, one)),
                4 => made.messages("users", epoch, [one % 5, two % 5]),
                _ => made.note(Note::Diverged {
                    topic: topic("users"), epoch: Epoch::from_bits(epoch), at: Offset::new(one), to: None,
                }),
            };
        }
        made.proven();
    }

    #[test]
    fn any_message_taken_out_is_missed(count in 2_u64..30, at in any::<prop::sample::Index>()) {
        let out = at.index(count as usize - 1) as u64;
        let made = Made::default().note(positions("users", 1, 0)).messages("users", 1, (0..count).filter(|offset| *offset != out));
        prop_assert_eq!(made.found(), vec![(out + 2, What::Missing { from: out, to: out + 1 })]);
    }
}
