//! What is kept, where a reader begins, and what it then gets: a log against a model that is nothing but a list.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use lapwing::clock::Now;
use lapwing::log::Log;
use lapwing::log::batch::NewMessage;
use lapwing::log::reader::{Next, Reader, View};
use lapwing::log::retention::Retention;
use lapwing_wire::control::Answer;
use lapwing_wire::envelope::Kind;
use lapwing_wire::position::{Epoch, Offset, Position};
use lapwing_wire::start::Start;
use lapwing_wire::time::WallTime;
use lapwing_wire::topic::TopicName;
use proptest::prelude::*;

/// Something that happens to a log.
#[derive(Clone, Copy, Debug)]
enum Deed {
    /// So many messages with payloads of so many bytes.
    Append(usize, usize),
    /// One behind a hole.
    Hole(u64),
    /// So many milliseconds, and the tick.
    Pass(u64),
}

fn deed() -> impl Strategy<Value = Deed> {
    prop_oneof![
        4 => (1..20usize, prop_oneof![3..60usize, 500..3000usize, Just(20_000usize)])
            .prop_map(|(count, bytes)| Deed::Append(count, bytes)),
        1 => (1..50u64).prop_map(Deed::Hole),
        2 => prop_oneof![0..2000u64, Just(7000u64), Just(60_000u64)].prop_map(Deed::Pass),
    ]
}

fn start() -> impl Strategy<Value = Start> {
    let offset = (0..2000u64).prop_map(Offset::new);
    prop_oneof![
        Just(Start::Latest),
        Just(Start::Earliest),
        (0..3000u64).prop_map(Start::Last),
        (0..100_000u64).prop_map(|ms| Start::Ago(Duration::from_millis(ms))),
        offset.clone().prop_map(Start::Offset),
        (1..3u128, offset).prop_map(|(epoch, offset)| Start::Position(Position {
            epoch: Epoch::from_bits(epoch),
            offset
        })),
    ]
}

/// Offsets at the edges of what is kept and right beside them: where mistakes are, and chance seldom goes.
fn edges(log: &Log) -> impl Iterator<Item = Start> {
    let around = |edge: Offset| edge.get().saturating_sub(1)..edge.get() + 2;
    let offsets = around(log.first()).chain(around(log.next())).map(Offset::new);
    offsets.map(Start::Offset)
}

/// Every message ever appended: its offset, and when.
type Model = Vec<(u64, Now)>;

const KEEPS: Retention = Retention {
    bytes: 128 << 10,
    age: Duration::from_secs(60),
};
const OURS: Epoch = Epoch::from_bits(1);

fn live(deeds: &[Deed]) -> (Arc<Log>, Model, Now) {
    let log = Log::new(TopicName::parse("t").expect("valid"), OURS, KEEPS);
    let mut model = Model::new();
    let mut now = Now {
        wall: WallTime::from_nanos(0),
        mono: 1,
    };
    for deed in deeds {
        let appended = match *deed {
            Deed::Append(count, bytes) => {
                let payload = format!("\"{}\"", "x".repeat(bytes - 2));
                log.append(&vec![NewMessage::new(Kind::Json, payload.as_bytes()); count], now)
            }
            Deed::Hole(offsets) => log.append_at(log.next().plus(offsets), &[NewMessage::new(Kind::Json, b"1")], now),
            Deed::Pass(ms) => {
                now.mono += ms * 1_000_000;
                log.tick(now);
                continue;
            }
        };
        let appended = appended.expect("nobody ends it");
        model.extend((appended.offsets.start.get()..appended.offsets.end.get()).map(|offset| (offset, now)));
        check_kept(&log, &model, now);
    }
    (Arc::new(log), model, now)
}

/// What is kept is an end of what was appended: within its bytes, and no younger message goes while there is room.
fn check_kept(log: &Log, model: &Model, now: Now) {
    let bytes = log.memory().bytes();
    assert!(bytes <= KEEPS.bytes, "{bytes} bytes are kept");
    let (first, let_go) = (log.first().get(), log.let_go().get());
    assert!(let_go <= first && first <= log.next().get());
    let lost: Vec<_> = model.iter().filter(|(offset, _)| *offset < first).collect();
    assert!(
        lost.iter().all(|(offset, _)| *offset < let_go),
        "what is lost was let go"
    );
    if let Some((_, last)) = lost.last() {
        let old = now.mono - last.mono >= KEEPS.age.as_nanos() as u64;
        // Whole segments go, so there may be room for one afterwards.
        let full = bytes + SEGMENT_BYTES > KEEPS.bytes;
        assert!(old || full, "a young message went, and {bytes} bytes are kept");
    }
    if let Some((_, oldest)) = model.iter().find(|(offset, _)| *offset >= first) {
        let age = Duration::from_nanos(now.mono - oldest.mono);
        assert!(age < KEEPS.age + KEEPS.segment_age(), "{age:?} old and still here");
    }
}

/// Where a reader begins, said once more.
fn expected(start: Start, log: &Log, model: &Model, now: Now) -> (u64, Answer, Option<u64>) {
    let (first, next) = (log.first().get(), log.next().get());
    let ok = |from: u64| (from, Answer::Ok, None);
    let asked = match start {
        Start::Latest => return ok(next),
        Start::Earliest => return ok(first),
        Start::Last(count) => return ok(next.saturating_sub(count).max(first)),
        Start::Ago(ago) => {
            let since = now.mono.saturating_sub(ago.as_nanos() as u64);
            let young = |(offset, at): &&(u64, Now)| *offset >= first && at.mono >= since;
            return ok(model.iter().find(young).map_or(next, |(offset, _)| *offset));
        }
        Start::Position(Position { epoch, .. }) if epoch != OURS => return (first, Answer::Reset, None),
        Start::Offset(offset) | Start::Position(Position { offset, .. }) => offset.get(),
    };
    match asked {
        asked if asked > next => (first, Answer::Reset, None),
        asked if asked < first => (first, Answer::Gap, Some(asked)),
        asked => ok(asked),
    }
}

/// Everything from `cursor` on: offsets given, and ranges missed.
fn read(log: &Arc<Log>, mut cursor: Offset, bytes_max: usize) -> (Vec<u64>, Vec<Range<u64>>) {
    let reader = Reader::new(log.clone(), View::Canonical);
    let (mut given, mut missed) = (Vec::new(), Vec::new());
    loop {
        match reader.read(cursor, bytes_max) {
            Next::Frames(run) => {
                given.extend(run.entries().iter().map(|entry| entry.offset.get()));
                cursor = run.entries().last().expect("at least one").offset.next();
            }
            Next::Missed(range) => {
                missed.push(range.start.get()..range.end.get());
                cursor = range.end;
            }
            _ => return (given, missed),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_grant_and_what_follows_it_are_as_a_list_would_have_them(
        deeds in prop::collection::vec(deed(), 1..60),
        starts in prop::collection::vec(start(), 1..20),
        bytes_max in 1..100_000usize,
    ) {
        let (log, model, now) = live(&deeds);
        for start in starts.into_iter().chain(edges(&log)) {
            let grant = log.grant(start, now);
            let (from, answer, missing_from) = expected(start, &log, &model, now);
            prop_assert_eq!((grant.from.get(), grant.answer, grant.missing_from.map(Offset::get)), (from, answer, missing_from), "{}", start);
            let (given, missed) = read(&log, grant.from, bytes_max);
            let kept: Vec<u64> = model.iter().map(|(offset, _)| *offset).filter(|offset| *offset >= from).collect();
            prop_assert_eq!(&given, &kept, "all that is kept from there on, once and in order");
            // Given and missed together leave out nothing, and nothing is in both.
            let told: u64 = missed.iter().map(|range| range.end - range.start).sum();
            prop_assert_eq!(given.len() as u64 + told, log.next().get() - from);
            for range in missed {
                prop_assert!(!kept.iter().any(|offset| range.contains(offset)));
            }
        }
    }
}

/// The largest payload in a segment of its own, or a full one of small messages, with its index.
const SEGMENT_BYTES: u64 = 32 << 10;
