//! A history made by hand for each invariant: the least that shows it.

use std::borrow::Cow;

use super::{Invariant, check};
use crate::dice::Dice;
use crate::epoch::Epoch;
use crate::history::{Event, FileSetup, Level, Memory, Setup, TopicSetup, Turn};
use crate::line::{Block, Line};
use crate::payload::{Message, Payload, make};

const A: Epoch = Epoch(0xa);
const B: Epoch = Epoch(0xb);
const FILE: &str = "listen-0.ndjson";

/// Ten messages of one publisher were sent, acknowledged, dumped, and recorded by one listener.
struct Case {
    history: Memory,
}

fn message(sequence: u64) -> Message {
    make(0, sequence, 0, &mut Dice::new(sequence)).1
}

fn line(epoch: Epoch, offset: u64, sequence: u64) -> Line<'static> {
    let mono = Some(1000 + sequence);
    Line::Message {
        topic: Cow::Borrowed("t"),
        epoch: Some(epoch),
        offset,
        mono,
        payload: Payload::Intact(message(sequence)),
    }
}

fn gap(from: u64, to: u64) -> Line<'static> {
    let mono = Some(1500);
    Line::Gap {
        topic: "t".to_owned(),
        from,
        to,
        reason: "retention".to_owned(),
        mono,
    }
}

fn lineage(lineage: &[(Epoch, u64)], first: u64, next: u64) -> Line<'static> {
    Line::Lineage {
        topic: "t".to_owned(),
        lineage: lineage.to_vec(),
        first,
        next,
    }
}

fn ack(sequence: u64, epoch: Epoch, first: u64) -> Event {
    let at = 900 + sequence;
    Event::Ack {
        at,
        topic: "t".to_owned(),
        source: 0,
        sequence,
        epoch,
        first,
        count: 1,
        repeated: false,
    }
}

impl Case {
    fn new(level: Level) -> Self {
        let mut events = vec![Event::Server {
            at: 1,
            turn: Turn::Started,
        }];
        for sequence in 0..10 {
            let hashes = vec![message(sequence).hash];
            events.push(Event::Invoke {
                at: 10 + sequence,
                topic: "t".to_owned(),
                source: 0,
                sequence,
                hashes,
            });
            events.push(ack(sequence, A, sequence));
        }
        events.push(Event::Drained {
            at: 3000,
            seconds: 1,
            behind: Vec::new(),
        });
        let mut dump = vec![lineage(&[(A, 0)], 0, 10)];
        dump.extend((0..10).map(|offset| line(A, offset, offset)));
        let file = (0..10).map(|offset| line(A, offset, offset)).collect();
        let topics = vec![TopicSetup {
            name: "t".to_owned(),
            level,
            slow: "skip".to_owned(),
            keep_bytes: 0,
        }];
        let name = FILE.to_owned();
        let files = vec![FileSetup {
            name,
            topics: vec!["t".to_owned()],
            from_start: true,
            to_end: true,
        }];
        let setup = Setup {
            topics,
            files,
            ..Setup::default()
        };
        let (dumps, files) = (vec![("dump".to_owned(), dump)], vec![(FILE.to_owned(), file)]);
        Self {
            history: Memory {
                setup,
                events,
                dumps,
                files,
            },
        }
    }

    fn events(mut self, change: impl FnOnce(&mut Vec<Event>)) -> Self {
        change(&mut self.history.events);
        self
    }

    fn dump(mut self, change: impl FnOnce(&mut Vec<Line<'static>>)) -> Self {
        change(&mut self.history.dumps[0].1);
        self
    }

    fn file(mut self, change: impl FnOnce(&mut Vec<Line<'static>>)) -> Self {
        change(&mut self.history.files[0].1);
        self
    }

    #[track_caller]
    fn breaks(self, expected: &[Invariant]) {
        let verdict = check(&self.history).expect("memory can be read");
        assert_eq!(verdict.broken(), expected, "{:#?}", verdict.violations);
    }
}

fn power_cut(events: &mut Vec<Event>) {
    events.push(Event::Server {
        at: 2000,
        turn: Turn::PowerCut,
    });
    events.push(Event::Server {
        at: 2001,
        turn: Turn::Started,
    });
}

/// The log lost offsets 7 to 9 and went on with another message at 7.
fn cut_at_seven(dump: &mut Vec<Line<'static>>) {
    dump[0] = lineage(&[(A, 0), (B, 7)], 0, 8);
    dump.truncate(8);
    dump.push(line(B, 7, 9));
}

#[test]
fn what_is_as_it_should_be_breaks_nothing() {
    for level in [Level::None, Level::Os, Level::Fsync] {
        Case::new(level).breaks(&[]);
    }
}

#[test]
fn i1_two_values_at_one_position() {
    Case::new(Level::Fsync)
        .events(|events| events.push(ack(3, A, 4)))
        .breaks(&[
            Invariant::I1,
            // The acknowledged one is not where it was said to be.
            Invariant::I8,
        ]);
}

#[test]
fn i2_i12_a_message_that_is_stored_twice() {
    let twice = |lines: &mut Vec<Line<'static>>| {
        let Line::Message {
            topic, epoch, payload, ..
        } = line(A, 10, 3)
        else {
            return;
        };
        lines.push(Line::Message {
            topic,
            epoch,
            offset: 10,
            mono: Some(1600),
            payload,
        });
    };
    let case = Case::new(Level::Fsync).file(twice).dump(twice);
    case.dump(|dump| dump[0] = lineage(&[(A, 0)], 0, 11))
        .breaks(&[Invariant::I2, Invariant::I12]);
}

#[test]
fn i3_a_message_that_nobody_sent_or_that_is_broken() {
    Case::new(Level::Fsync)
        .file(|file| file.push(line(A, 10, 77)))
        .breaks(&[Invariant::I3, Invariant::I10]);
    let broken = |file: &mut Vec<Line<'static>>| {
        if let Line::Message { payload, .. } = &mut file[4] {
            *payload = Payload::Broken;
        }
    };
    Case::new(Level::Fsync).file(broken).breaks(&[Invariant::I3]);
    Case::new(Level::Fsync)
        .file(|file| file.insert(5, Line::Damaged("it is")))
        .breaks(&[Invariant::I3]);
    Case::new(Level::Fsync)
        .file(|file| file.insert(5, Line::Torn))
        .breaks(&[Invariant::I3]);
}

#[test]
fn i3_a_message_that_came_before_it_was_sent() {
    let early = |file: &mut Vec<Line<'static>>| {
        if let Line::Message { mono, .. } = &mut file[0] {
            *mono = Some(5);
        }
    };
    Case::new(Level::Fsync).file(early).breaks(&[Invariant::I3]);
}

#[test]
fn i4_a_position_twice_in_a_file() {
    Case::new(Level::Fsync)
        .file(|file| file.insert(6, line(A, 5, 5)))
        .breaks(&[Invariant::I4]);
}

#[test]
fn i5_i6_messages_in_the_wrong_order() {
    Case::new(Level::Fsync)
        .file(|file| {
            // Received together, so that only the order is wrong.
            for line in &mut *file {
                if let Line::Message { mono, .. } = line {
                    *mono = Some(1100);
                }
            }
            file.swap(4, 5);
        })
        .breaks(&[Invariant::I5, Invariant::I6]);
}

#[test]
fn i6_a_jump_without_a_notice_and_a_notice_that_is_too_short() {
    let retained_from_seven = |dump: &mut Vec<Line<'static>>| {
        dump.drain(1..8);
        dump[0] = lineage(&[(A, 0)], 7, 10);
    };
    let without = |file: &mut Vec<Line<'static>>| drop(file.drain(3..7));
    Case::new(Level::Fsync)
        .dump(retained_from_seven)
        .file(without)
        .breaks(&[Invariant::I6]);
    let noticed = |to| {
        move |file: &mut Vec<Line<'static>>| {
            let notice = Line::Gap {
                topic: "t".to_owned(),
                from: 3,
                to,
                reason: "retention".to_owned(),
                mono: None,
            };
            file.splice(3..7, [notice]);
        }
    };
    Case::new(Level::Fsync)
        .dump(retained_from_seven)
        .file(noticed(6))
        .breaks(&[Invariant::I6]);
    Case::new(Level::Fsync)
        .dump(retained_from_seven)
        .file(noticed(7))
        .breaks(&[]);
}

#[test]
fn i6_a_file_that_does_not_begin_at_the_start() {
    Case::new(Level::Fsync)
        .file(|file| drop(file.remove(0)))
        .breaks(&[Invariant::I6]);
}

#[test]
fn i7_a_new_epoch_without_a_notice() {
    let other = |file: &mut Vec<Line<'static>>| file.push(line(B, 10, 9));
    Case::new(Level::Os)
        .file(other)
        .breaks(&[Invariant::I7, Invariant::I9, Invariant::I10, Invariant::P9]);
}

#[test]
fn i7_i9_a_durable_topic_that_forgets_its_history() {
    let reset = |file: &mut Vec<Line<'static>>| {
        let (topic, mono) = ("t".to_owned(), Some(1600));
        file.push(Line::Reset {
            topic,
            epoch: Some(B),
            first: 0,
            last: Some(9),
            mono,
        });
    };
    Case::new(Level::Fsync)
        .file(reset)
        .breaks(&[Invariant::I7, Invariant::I9, Invariant::I10]);
}

#[test]
fn i8_what_was_acknowledged_must_be_kept() {
    let lost = |dump: &mut Vec<Line<'static>>| {
        dump.pop();
        dump[0] = lineage(&[(A, 0)], 0, 9);
    };
    let unread = |file: &mut Vec<Line<'static>>| drop(file.pop());
    Case::new(Level::Fsync).dump(lost).file(unread).breaks(&[Invariant::I8]);
    Case::new(Level::Os).dump(lost).file(unread).breaks(&[Invariant::I8]);
}

#[test]
fn i8_a_power_cut_excuses_os_and_not_fsync() {
    let stop_before = |file: &mut Vec<Line<'static>>| {
        file.truncate(7);
        file.push(line(B, 7, 9));
    };
    let case = |level| Case::new(level).events(power_cut).dump(cut_at_seven).file(stop_before);
    case(Level::Os).breaks(&[]);
    case(Level::Fsync).breaks(&[Invariant::I8, Invariant::I9]);
}

#[test]
fn i9_what_is_durable_never_falls() {
    let told = |at, durable| Event::Told {
        at,
        topic: "t".to_owned(),
        epoch: A,
        first: 0,
        next: 10,
        durable: Some(durable),
    };
    let fell = |events: &mut Vec<Event>| events.extend([told(2000, 9), told(2001, 8)]);
    Case::new(Level::Fsync).events(fell).breaks(&[Invariant::I9]);
}

#[test]
fn i10_a_file_that_does_not_catch_up() {
    Case::new(Level::Fsync)
        .file(|file| file.truncate(8))
        .breaks(&[Invariant::I10]);
}

#[test]
fn i10_a_publish_that_is_refused_after_the_faults_are_over() {
    let given_up = Event::GivenUp {
        at: 2500,
        topic: "t".to_owned(),
        source: 0,
        sequence: 10,
    };
    Case::new(Level::Fsync)
        .events(|events| events.push(given_up))
        .breaks(&[Invariant::I10]);
}

#[test]
fn i11_a_dump_with_a_hole() {
    let hole = |dump: &mut Vec<Line<'static>>| drop(dump.remove(5));
    Case::new(Level::Fsync)
        .dump(hole)
        .breaks(&[Invariant::I8, Invariant::I11, Invariant::P9]);
}

#[test]
fn i13_a_notice_of_what_is_there() {
    let notice = |file: &mut Vec<Line<'static>>| {
        let notice = Line::Gap {
            topic: "t".to_owned(),
            from: 3,
            to: 7,
            reason: "retention".to_owned(),
            mono: None,
        };
        file.splice(3..7, [notice]);
    };
    Case::new(Level::Fsync).file(notice).breaks(&[Invariant::I13]);
    Case::new(Level::Fsync)
        .file(|file| file.push(gap(4, 10)))
        .breaks(&[Invariant::I13]);
}

#[test]
fn i14_open_files_that_do_not_go_away() {
    let usage = |at, end, descriptors| Event::Usage {
        at,
        pid: 7,
        end,
        rss_bytes: 1,
        descriptors,
        threads: 4,
    };
    let grown = |events: &mut Vec<Event>| events.extend([usage(100, false, 20), usage(2000, true, 500)]);
    Case::new(Level::Fsync).events(grown).breaks(&[Invariant::I14]);
}

#[test]
fn i15_a_block_that_counts_though_the_connection_was_lost_in_it() {
    let block = |flags: &[&str]| {
        let flags = flags.iter().map(ToString::to_string).collect();
        let (topic, elapsed_ms) = ("t".to_owned(), Some(0.1));
        let mono = Some(1009);
        let (block_size, messages) = (5, 5);
        Line::Block(Block {
            topic,
            block_size,
            first: 5,
            last: 9,
            messages,
            elapsed_ms,
            spread_ms: 0.0,
            flags,
            mono,
        })
    };
    let with = |block: Line<'static>| {
        move |file: &mut Vec<Line<'static>>| {
            file.insert(7, Line::Reconnect { mono: None, lost: None });
            file.push(block);
        }
    };
    Case::new(Level::Fsync).file(with(block(&[]))).breaks(&[Invariant::I15]);
    Case::new(Level::Fsync).file(with(block(&["interrupted"]))).breaks(&[]);
}

#[test]
fn i16_a_file_that_was_not_told_of_what_the_server_lost() {
    let diverged = |told: bool| {
        move |file: &mut Vec<Line<'static>>| {
            let (topic, mono) = ("t".to_owned(), Some(1600));
            if told {
                file.push(Line::Diverged {
                    topic,
                    epoch: B,
                    at: 7,
                    mono,
                });
            }
            let Line::Message {
                topic,
                epoch,
                offset,
                payload,
                ..
            } = line(B, 7, 9)
            else {
                return;
            };
            file.push(Line::Message {
                topic,
                epoch,
                offset,
                mono,
                payload,
            });
        }
    };
    let case = |told| {
        Case::new(Level::Os)
            .events(power_cut)
            .dump(cut_at_seven)
            .file(diverged(told))
    };
    case(true).breaks(&[]);
    case(false).breaks(&[Invariant::I16]);
}

#[test]
fn i17_what_a_topic_lets_go_while_its_listener_is_there() {
    let mono = Some(1002);
    let back = Line::Reconnect { mono, lost: mono };
    let case = |slow: &str, before: Option<&Line<'static>>, after: Option<&Line<'static>>| {
        let mut case = Case::new(Level::Fsync).dump(|dump| {
            dump.drain(1..8);
            dump[0] = lineage(&[(A, 0)], 7, 10);
        });
        slow.clone_into(&mut case.history.setup.topics[0].slow);
        case.file(|file| {
            let notice = Line::Gap {
                topic: "t".to_owned(),
                from: 3,
                to: 7,
                reason: "retention".to_owned(),
                mono,
            };
            let lines = before.into_iter().chain([&notice]).chain(after).cloned();
            file.splice(3..7, lines.collect::<Vec<_>>());
        })
    };
    case("wait", None, None).breaks(&[Invariant::I17]);
    case("wait", Some(&back), None).breaks(&[]);
    case("wait", None, Some(&back)).breaks(&[]);
    case("skip", None, None).breaks(&[]);
}
