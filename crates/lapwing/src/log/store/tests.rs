use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use lapwing_wire::control::GapReason;
use lapwing_wire::envelope::{EnvelopeWriter, Kind};
use lapwing_wire::position::{Epoch, Offset};
use lapwing_wire::time::WallTime;
use lapwing_wire::topic::TopicName;
use proptest::prelude::*;
use rustix::io::Errno;

use super::disk::{Access, Directory};
use super::fake::{Crash, FakeDisk, Op};
use super::notice::IndexFault;
use super::*;
use crate::clock::Now;
use crate::log::batch::NewMessage;
use crate::log::retries::RetryKey;
use crate::log::segment::Entry;

fn at(offset: u64) -> Offset {
    Offset::new(offset)
}

fn topic() -> TopicName {
    TopicName::parse("orders").expect("valid")
}

fn dir() -> PathBuf {
    PathBuf::from("/data/topics/orders")
}

fn segment(base: u64) -> PathBuf {
    dir().join(file::log_name(at(base)))
}

fn now(seconds: u64) -> Now {
    Now {
        wall: WallTime::from_nanos(1_795_287_600_000_000_000 + seconds as i64 * 1_000_000_000),
        mono: seconds * 1_000_000_000,
    }
}

/// Messages whose payload says their offset and a tag, so that each can be told from every other.
fn batch(base: u64, count: u64, tag: u64) -> Batch {
    batch_at(base, count, tag, now(1))
}

fn batch_at(base: u64, count: u64, tag: u64, now: Now) -> Batch {
    let mut envelope = EnvelopeWriter::new(&topic());
    let mut made = Batch::default();
    made.begin(at(base));
    for offset in base..base + count {
        let payload = format!("[{offset},{tag},\"{}\"]", "x".repeat((offset % 7) as usize * 9));
        let message = NewMessage {
            source: 3,
            sequence: offset + 1000,
            ..NewMessage::new(Kind::Json, payload.as_bytes())
        };
        made.push(&mut envelope, &message, now);
    }
    made.keys.push((key(base, tag), at(base)..at(base + count)));
    made
}

fn key(base: u64, tag: u64) -> RetryKey {
    RetryKey::of_source(&format!("test-{tag}"), base)
}

/// Retention may let go of everything.
/// Everything may be let go.
fn all(let_go: &mut dyn FnMut(Offset)) {
    let_go(Offset::new(u64::MAX));
}

const FSYNC: StoreOptions = StoreOptions {
    level: Level::Fsync,
    bytes: 1 << 20,
    age: None,
};
/// A segment holds several pages.
const LARGE: StoreOptions = StoreOptions {
    bytes: 64 << 20,
    ..FSYNC
};
const OS: StoreOptions = StoreOptions {
    level: Level::Os,
    ..FSYNC
};

fn try_open(disk: &Arc<FakeDisk>, options: StoreOptions, epoch: u128) -> Result<Opened, OpenError> {
    recovery::open(disk.clone(), dir(), &topic(), options, Epoch::from_bits(epoch), now(0))
}

fn open(disk: &Arc<FakeDisk>, options: StoreOptions, epoch: u128) -> Opened {
    try_open(disk, options, epoch).expect("opens")
}

/// A topic with these batches, each synced; not closed.
fn written(options: StoreOptions, batches: &[(u64, u64)]) -> Arc<FakeDisk> {
    let disk = FakeDisk::new(7);
    let mut opened = open(&disk, options, 1);
    for &(base, count) in batches {
        opened.writer.append(&batch(base, count, 0)).expect("room");
        opened.writer.sync().expect("synced");
    }
    disk
}

/// Everything that can be read, and everything that cannot.
#[derive(Debug, Default, PartialEq, Eq)]
struct Read {
    frames: Vec<(u64, Vec<u8>)>,
    missing: Vec<(Range<u64>, GapReason)>,
}

fn read(store: &Store) -> Read {
    let (mut read, mut cursor) = (Read::default(), store.first());
    loop {
        match store.page(cursor).expect("readable") {
            Page::End => return read,
            Page::Missing { offsets, reason } => {
                assert_eq!(offsets.start, cursor);
                assert!(offsets.end > cursor, "progress");
                read.missing.push((offsets.start.get()..offsets.end.get(), reason));
                cursor = offsets.end;
            }
            Page::Frames(segment) => {
                let from = segment.find(cursor);
                assert_eq!(segment.entries()[from].offset, cursor);
                for (nth, entry) in segment.entries().iter().enumerate().skip(from) {
                    if entry.offset != cursor {
                        read.missing.push((cursor.get()..entry.offset.get(), GapReason::Purge));
                    }
                    read.frames
                        .push((entry.offset.get(), segment.frames(nth..nth + 1).to_vec()));
                    cursor = entry.offset.next();
                }
            }
        }
    }
}

fn frames_of(batches: &[Batch]) -> Vec<(u64, Vec<u8>)> {
    let mut frames = Vec::new();
    for batch in batches {
        let mut begin = 0;
        for entry in &batch.entries {
            frames.push((entry.offset.get(), batch.frames[begin..entry.end as usize].to_vec()));
            begin = entry.end as usize;
        }
    }
    frames
}

fn offsets(read: &Read) -> Vec<u64> {
    read.frames.iter().map(|(offset, _)| *offset).collect()
}

fn findings(opened: &Opened) -> Vec<Finding> {
    opened.notices.iter().map(|notice| notice.finding.clone()).collect()
}

#[test]
fn what_was_written_is_read_back_with_all_that_is_known_of_it() {
    for options in [FSYNC, OS] {
        let disk = FakeDisk::new(1);
        let mut opened = open(&disk, options, 1);
        assert_eq!((opened.store.first(), opened.store.next()), (at(0), at(0)));
        let batches = [batch(0, 3, 0), batch(3, 1, 0), batch(4, 200, 0)];
        for batch in &batches {
            opened.writer.append(batch).expect("room");
        }
        opened.writer.sync().expect("synced");
        assert_eq!((opened.store.next(), opened.store.durable()), (at(204), at(204)));
        let check = |opened: &Opened| {
            assert_eq!(
                read(&opened.store),
                Read {
                    frames: frames_of(&batches),
                    missing: Vec::new()
                }
            );
            let Page::Frames(page) = opened.store.page(at(3)).expect("there") else {
                panic!("a page")
            };
            let entry = page.entries()[page.find(at(3))];
            let expect = batches[1].entries[0];
            assert_eq!(
                Entry {
                    end: 0,
                    mono: 0,
                    ..entry
                },
                Entry {
                    end: 0,
                    mono: 0,
                    ..expect
                }
            );
        };
        check(&opened);
        opened.writer.close().expect("closed");
        let opened = open(&disk, options, 2);
        check(&opened);
        assert_eq!(opened.retries.find(&key(4, 0)), Some(at(4)..at(204)));
        assert_eq!(
            (findings(&opened), opened.store.lineage().current()),
            (vec![], Epoch::from_bits(1))
        );
        let opened = open(&disk.crash(Crash::Kill), options, 2);
        check(&opened);
        assert_eq!(opened.retries.find(&key(0, 0)), Some(at(0)..at(3)));
        assert_eq!(
            (findings(&opened), opened.store.lineage().current()),
            (vec![], Epoch::from_bits(1))
        );
    }
}

#[test]
fn f3_a_last_record_cut_at_any_byte_is_dropped_and_nothing_else() {
    for options in [FSYNC, OS] {
        let disk = written(options, &[(0, 2), (2, 2), (4, 2)]);
        let whole = disk.read(&segment(0));
        let end = open(&disk.crash(Crash::Kill), options, 9).store.bytes() as usize;
        let begin = end - batch(4, 2, 0).disk_bytes() as usize;
        for cut in begin..end {
            let disk = disk.crash(Crash::Kill);
            disk.put(&segment(0), &whole[..cut]);
            let mut opened = open(&disk, options, 2);
            assert!(opened.read_only.is_none(), "{cut}");
            assert_eq!(offsets(&read(&opened.store)), [0, 1, 2, 3], "{cut}");
            let torn = findings(&opened);
            let torn: Vec<_> = torn
                .iter()
                .filter(|finding| matches!(finding, Finding::TornTail { .. }))
                .collect();
            assert_eq!(torn.len(), usize::from(cut > begin), "{cut}");
            // At `os` the record was perhaps delivered: its offsets are given again only in a new history.
            let renewed = options.level == Level::Os && cut > begin;
            let epoch = Epoch::from_bits(if renewed { 2 } else { 1 });
            assert_eq!(opened.store.lineage().current(), epoch, "{cut}");
            opened.writer.append(&batch(4, 1, 5)).expect("room");
            assert_eq!(offsets(&read(&opened.store)), [0, 1, 2, 3, 4]);
            opened.writer.sync().expect("synced");
            drop(opened);
            let again = open(&disk, options, 3);
            assert_eq!(
                (offsets(&read(&again.store)), findings(&again)),
                (vec![0, 1, 2, 3, 4], vec![]),
                "{cut}"
            );
            assert_eq!(again.store.lineage().current(), epoch);
        }
    }
}

#[test]
fn f4_a_tail_of_zeroes_of_garbage_or_doubled_is_cut() {
    for options in [FSYNC, OS] {
        let disk = written(options, &[(0, 2), (2, 2), (4, 2)]);
        let whole = disk.read(&segment(0));
        let end = open(&disk.crash(Crash::Kill), options, 9).store.bytes() as usize;
        let last = batch(4, 2, 0).disk_bytes() as usize;
        let begin = end - last;
        let garbage: Vec<u8> = (0..last).map(|at| (at * 37 + 11) as u8).collect();
        let doubled = whole[begin..end].to_vec();
        let tails: [(&str, usize, &[u8], u64); 5] = [
            ("zeroes in place of the last", begin, &[0; 5000], 4),
            ("garbage in place of the last", begin, &garbage, 4),
            ("garbage behind the last", end, &garbage, 6),
            ("the last once more", end, &doubled, 6),
            ("half of the last once more", end, &doubled[..last / 2], 6),
        ];
        for (what, keep, tail, next) in tails {
            for machine_stopped in [false, true] {
                let disk = disk.crash(Crash::Kill);
                disk.put(&segment(0), &[&whole[..keep], tail].concat());
                if machine_stopped {
                    disk.restart_machine();
                }
                let mut opened = open(&disk, options, 2);
                assert!(opened.read_only.is_none(), "{what}: {:?}", opened.notices);
                assert_eq!(opened.store.next(), at(next), "{what}");
                assert_eq!(offsets(&read(&opened.store)), (0..next).collect::<Vec<_>>(), "{what}");
                opened.writer.append(&batch(next, 3, 1)).expect("room");
                assert_eq!(read(&opened.store).frames.len() as u64, next + 3, "{what}");
            }
        }
    }
}

#[test]
fn f5_a_flipped_bit_in_the_middle_is_named_and_never_cut() {
    for options in [FSYNC, OS] {
        let disk = written(options, &[(0, 1), (1, 1), (2, 1), (3, 1)]);
        let whole = disk.read(&segment(0));
        let header = header::Header::read(&whole).expect("whole").1 as usize;
        let bytes = |base| batch(base, 1, 0).disk_bytes() as usize;
        for (base, begin) in [(0, header), (1, header + bytes(0)), (2, header + bytes(0) + bytes(1))] {
            for bit in 0..bytes(base) * 8 {
                let disk = disk.crash(Crash::Kill);
                if bit % 2 == 0 {
                    // Everything was synced, so a power cut is no excuse.
                    disk.restart_machine();
                }
                let mut flipped = whole.clone();
                flipped[begin + bit / 8] ^= 1 << (bit % 8);
                disk.put(&segment(0), &flipped);
                let mut opened = open(&disk, options, 2);
                let found = Finding::Damage {
                    position: begin as u64,
                    bytes: bytes(base) as u64,
                    offsets: at(base)..at(base + 1),
                };
                assert_eq!(findings(&opened), [found], "byte {} bit {}", bit / 8, bit % 8);
                assert!(opened.read_only.is_some());
                assert_eq!(offsets(&read(&opened.store)), (0..base).collect::<Vec<_>>());
                let refused = opened.writer.append(&batch(4, 1, 0));
                assert!(matches!(refused, Err(WriteError::ReadOnly { .. })), "{refused:?}");
                opened.writer.close().expect("nothing to do");
                assert_eq!(disk.read(&segment(0)), flipped, "nothing was changed");
            }
        }
    }
}

#[test]
fn f5_a_damaged_header_is_named_and_never_cut() {
    let disk = written(FSYNC, &[(0, 1), (1, 1)]);
    let whole = disk.read(&segment(0));
    let header = header::Header::read(&whole).expect("whole").1 as usize;
    for bit in 0..header * 8 {
        let disk = disk.crash(Crash::Kill);
        let mut flipped = whole.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        disk.put(&segment(0), &flipped);
        let opened = open(&disk, FSYNC, 2);
        assert!(
            matches!(findings(&opened)[..], [Finding::Damage { position: 0, .. }]),
            "{:?}",
            opened.notices
        );
        assert_eq!(disk.read(&segment(0)), flipped);
    }
}

/// A topic of the smallest segments, with enough for several.
fn several_segments(options: StoreOptions) -> (Arc<FakeDisk>, StoreOptions, Vec<u64>) {
    let disk = FakeDisk::new(3);
    let mut opened = open(&disk, options, 1);
    for nth in 0..60 {
        opened.writer.append(&batch(nth * 50, 50, 0)).expect("room");
    }
    opened.writer.sync().expect("synced");
    opened.writer.close().expect("closed");
    let bases: Vec<_> = opened.store.files().iter().map(|file| file.base.get()).collect();
    assert!(bases.len() > 4, "{bases:?}");
    (disk, options, bases)
}

#[test]
fn f5_damage_that_a_reader_meets_is_told_as_missing() {
    let (disk, options, bases) = several_segments(FSYNC);
    let mut bytes = disk.read(&segment(bases[1]));
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    disk.put(&segment(bases[1]), &bytes);
    let opened = open(&disk, options, 2);
    assert!(opened.read_only.is_none());
    let read = read(&opened.store);
    let [(missing, GapReason::Damage)] = &read.missing[..] else {
        panic!("{:?}", read.missing)
    };
    assert_eq!(missing.end - missing.start, 50);
    assert_eq!(read.frames.len(), 60 * 50 - 50);
    let told = opened.store.take_notices();
    assert_eq!(told.len(), 1);
    let offsets = at(missing.start)..at(missing.end);
    assert!(
        matches!(&told[0].finding, Finding::Damage { offsets: told, .. } if *told == offsets),
        "{told:?}"
    );
    assert!(told[0].to_string().contains(".log is damaged at byte"));
}

#[test]
fn f6_an_index_that_is_missing_stale_longer_or_damaged_is_made_anew() {
    let (disk, options, bases) = several_segments(FSYNC);
    let path = file::index_path(&segment(bases[1]));
    let index = disk.read(&path);
    let other = disk.read(&file::index_path(&segment(bases[2])));
    let mut stale = index::Index::read(&index).expect("whole");
    stale.bytes += 100;
    let longer = [&index[..], &[0; 48]].concat();
    for (wrong, why) in [
        (None, IndexFault::Missing),
        (Some(stale.encode()), IndexFault::Stale),
        (Some(longer), IndexFault::Damaged),
        (Some(index[..index.len() - 1].to_vec()), IndexFault::Damaged),
        (Some(Vec::new()), IndexFault::Damaged),
        (Some(other), IndexFault::Damaged),
    ] {
        let disk = disk.crash(Crash::Kill);
        match &wrong {
            Some(wrong) => disk.put(&path, wrong),
            None => disk.lose(&path),
        }
        let opened = open(&disk, options, 2);
        assert_eq!(findings(&opened), [Finding::IndexRebuilt { why }]);
        assert_eq!(read(&opened.store).frames.len(), 3000);
        assert_eq!(
            opened.retries.find(&key(bases[1], 0)),
            Some(at(bases[1])..at(bases[1] + 50))
        );
        assert_eq!(disk.read(&path), index, "{why:?}");
        drop(opened);
        assert_eq!(findings(&open(&disk, options, 2)), []);
    }
}

#[test]
fn f7_a_segment_missing_in_the_middle_is_a_declared_gap() {
    let (disk, options, bases) = several_segments(FSYNC);
    disk.lose(&segment(bases[2]));
    for level in [Level::Fsync, Level::Os] {
        let mut opened = open(&disk.crash(Crash::Kill), StoreOptions { level, ..options }, 2);
        let offsets = at(bases[2])..at(bases[3]);
        assert_eq!(findings(&opened), [Finding::MissingSegment { offsets }]);
        let read = read(&opened.store);
        assert_eq!(read.missing, [(bases[2]..bases[3], GapReason::Damage)]);
        assert_eq!(read.frames.len() as u64, 3000 - (bases[3] - bases[2]));
        opened.writer.append(&batch(3000, 1, 0)).expect("it is not read-only");
    }
}

#[test]
fn a_last_segment_that_is_gone_is_damage() {
    let (disk, options, bases) = several_segments(FSYNC);
    let last = *bases.last().expect("several");
    disk.lose(&segment(last));
    let opened = open(&disk, options, 2);
    let behind = Finding::Behind {
        next: at(last),
        durable: at(3000),
    };
    assert_eq!(findings(&opened), [behind]);
    assert!(opened.read_only.is_some());
}

#[test]
fn f9_a_full_disk_at_each_write_leaves_nothing_half_visible() {
    for (op, errno) in [
        (Op::Write, Errno::NOSPC),
        (Op::Write, Errno::DQUOT),
        (Op::Create, Errno::NOSPC),
    ] {
        for options in [FSYNC, OS] {
            for skip in 0..12 {
                let disk = FakeDisk::new(5);
                let mut opened = open(&disk, options, 1);
                // Writes come in pieces, so the disk is full in the middle of a batch too.
                disk.write_at_most(1500);
                disk.fail(op, skip, 1, errno);
                let (mut next, mut full) = (0, 0);
                for nth in 0..30 {
                    match opened
                        .writer
                        .append(&batch(next, 40, nth))
                        .and_then(|()| opened.writer.sync())
                    {
                        Ok(()) => next += 40,
                        Err(WriteError::Full { .. }) => full += 1,
                        Err(other) => panic!("{other}"),
                    }
                    assert_eq!(read(&opened.store).frames.len() as u64, next);
                    assert_eq!(opened.store.next(), at(next));
                }
                assert!(full <= 1 && next >= 40 * 29, "{full} {next}");
                let opened = open(&disk.crash(Crash::Kill), options, 2);
                assert_eq!(read(&opened.store).frames.len() as u64, next);
                // An index that found no room is made at the next start.
                let harmless = |finding: &Finding| matches!(finding, Finding::IndexRebuilt { .. });
                assert!(findings(&opened).iter().all(harmless), "{:?}", opened.notices);
            }
        }
    }
}

#[test]
fn f9_what_a_full_disk_half_took_is_gone_at_once() {
    for skip in 0..4 {
        let disk = written(OS, &[(0, 10)]);
        let mut opened = open(&disk, OS, 2);
        let before = disk.read(&segment(0));
        disk.write_at_most(700);
        disk.fail(Op::Write, skip, 1, Errno::NOSPC);
        let full = opened.writer.append(&batch(10, 40, 0));
        assert!(matches!(full, Err(WriteError::Full { .. })), "{full:?}");
        assert_eq!(disk.read(&segment(0)), before);
        let opened = open(&disk.crash(Crash::Kill), OS, 3);
        assert_eq!((opened.store.next(), findings(&opened)), (at(10), vec![]));
        assert_eq!(opened.store.lineage().current(), Epoch::from_bits(1));
    }
}

#[test]
fn f9_room_is_taken_exactly_when_more_cannot_be_had() {
    let disk = FakeDisk::new(5);
    let mut opened = open(&disk, FSYNC, 1);
    disk.fail(Op::Allocate, 0, 1, Errno::NOSPC);
    opened.writer.append(&batch(0, 10, 0)).expect("what is needed fits");
    assert_eq!(disk.read(&segment(0)).len() as u64, opened.store.bytes());
}

#[test]
fn f10_a_failed_sync_is_final() {
    for options in [FSYNC, OS] {
        let disk = FakeDisk::new(5);
        let mut opened = open(&disk, options, 1);
        opened.writer.append(&batch(0, 10, 0)).expect("room");
        opened.writer.sync().expect("synced");
        opened.writer.append(&batch(10, 10, 0)).expect("room");
        disk.fail(Op::Sync, 0, 1, Errno::IO);
        let failed = opened.writer.sync();
        assert!(matches!(failed, Err(WriteError::Failed { .. })), "{failed:?}");
        // The next sync would succeed, and say yes to what is lost: it is not asked.
        for _ in 0..3 {
            assert!(matches!(opened.writer.sync(), Err(WriteError::Failed { .. })));
            let refused = opened.writer.append(&batch(20, 1, 0));
            assert!(matches!(refused, Err(WriteError::Failed { .. })), "{refused:?}");
        }
        assert_eq!(opened.store.durable(), at(10));
        assert!(matches!(opened.writer.close(), Err(WriteError::Failed { .. })));
    }
}

#[test]
fn f12_a_file_system_that_became_read_only_is_final() {
    let disk = FakeDisk::new(5);
    let mut opened = open(&disk, FSYNC, 1);
    opened.writer.append(&batch(0, 10, 0)).expect("room");
    disk.fail(Op::Write, 0, u64::MAX, Errno::ROFS);
    for _ in 0..2 {
        let failed = opened.writer.append(&batch(10, 10, 0));
        assert!(matches!(failed, Err(WriteError::Failed { .. })), "{failed:?}");
    }
    assert_eq!(read(&opened.store).frames.len(), 10);
}

#[test]
fn f13_the_largest_file_size_is_as_a_full_disk() {
    let disk = FakeDisk::new(5);
    let mut opened = open(&disk, FSYNC, 1);
    disk.fail(Op::Allocate, 0, u64::MAX, Errno::FBIG);
    disk.fail(Op::Write, 1, 1, Errno::FBIG);
    let full = opened.writer.append(&batch(0, 10, 0));
    assert!(matches!(full, Err(WriteError::Full { .. })), "{full:?}");
    opened.writer.append(&batch(0, 10, 0)).expect("room again");
    assert_eq!(read(&opened.store).frames.len(), 10);
}

#[test]
fn f19_out_of_descriptors_at_a_new_segment_is_told_and_passes() {
    for errno in [Errno::MFILE, Errno::NFILE, Errno::NOMEM] {
        let disk = FakeDisk::new(5);
        let options = FSYNC;
        let mut opened = open(&disk, options, 1);
        opened.writer.append(&batch(0, 300, 0)).expect("room");
        let before = disk.read(&segment(0));
        disk.fail(Op::Create, 0, 1, errno);
        let refused = opened.writer.append(&batch(300, 300, 0));
        assert!(matches!(refused, Err(WriteError::Shortage { .. })), "{refused:?}");
        assert_eq!((disk.read(&segment(0)), opened.store.next()), (before, at(300)));
        opened.writer.append(&batch(300, 300, 0)).expect("a descriptor again");
        assert_eq!(read(&opened.store).frames.len(), 600);
    }
}

#[test]
fn a_power_cut_at_os_begins_a_new_history_at_the_cut() {
    let disk = FakeDisk::new(11);
    let mut opened = open(&disk, OS, 1);
    for nth in 0..10 {
        opened.writer.append(&batch(nth * 10, 10, 0)).expect("room");
        if nth == 4 {
            opened.writer.sync().expect("synced");
        }
    }
    let disk = disk.crash(Crash::PowerCut);
    let opened = open(&disk, OS, 2);
    let next = opened.store.next();
    assert!(next >= at(50) && next <= at(100));
    let epochs = [(Epoch::from_bits(1), at(0)), (Epoch::from_bits(2), next)];
    assert_eq!(opened.store.lineage().epochs(), epochs);
    assert!(
        findings(&opened)
            .iter()
            .any(|finding| matches!(finding, Finding::NewHistory { at, .. } if *at == next))
    );
    assert_eq!(offsets(&read(&opened.store)), (0..next.get()).collect::<Vec<_>>());
}

#[test]
fn a_state_that_is_lost_or_damaged_is_made_anew_in_a_new_history() {
    let disk = written(FSYNC, &[(0, 5)]);
    let path = dir().join(state::FILE);
    let whole = disk.read(&path);
    for wrong in [None, Some(whole[..whole.len() / 2].to_vec()), Some(Vec::new())] {
        let disk = disk.crash(Crash::Kill);
        match &wrong {
            Some(wrong) => disk.put(&path, wrong),
            None => disk.lose(&path),
        }
        let opened = open(&disk, FSYNC, 2);
        assert!(findings(&opened).contains(&Finding::StateRebuilt));
        assert_eq!(opened.store.lineage().epochs().len(), 2);
        assert_eq!(read(&opened.store).frames.len(), 5);
    }
    let digit = whole.iter().position(|byte| *byte == b'1').expect("an epoch ends in 1");
    let mut flipped = whole.clone();
    flipped[digit] = b'0';
    assert_eq!(state::State::read(&flipped), Err(state::StateFault::Damaged));
}

#[test]
fn f24_a_newer_format_is_refused_and_left_alone() {
    let disk = written(FSYNC, &[(0, 5)]);
    let whole = disk.read(&segment(0));
    let mut newer = whole.clone();
    newer[8] = 2;
    let crc = crc32c::crc32c(&newer[..12]);
    newer[12..16].copy_from_slice(&crc.to_le_bytes());
    disk.put(&segment(0), &newer);
    let error = try_open(&disk, FSYNC, 2).err().expect("refused");
    assert!(matches!(error, OpenError::Newer { found: 2, known: 1, .. }), "{error}");
    assert!(error.to_string().contains("use the newer Lapwing"), "{error}");
    assert_eq!(disk.read(&segment(0)), newer);
    disk.put(&segment(0), &whole);
    let path = dir().join(state::FILE);
    disk.put(&path, b"{\"format\":9,\"anything\":[]}");
    let error = try_open(&disk, FSYNC, 2).err().expect("refused");
    assert!(matches!(error, OpenError::Newer { found: 9, .. }), "{error}");
    assert_eq!(disk.read(&path), b"{\"format\":9,\"anything\":[]}");
}

/// A directory as version 1 of the format has it: two segments, closed.
const FORMAT_1: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/store-format-1");

#[test]
fn f24_a_directory_of_format_1_is_read_and_goes_on() {
    let dir = tempfile::tempdir().expect("a directory");
    let topics = dir.path().join("topics/orders");
    std::fs::create_dir_all(&topics).expect("made");
    let from = std::path::Path::new(FORMAT_1);
    std::fs::copy(from.join(directory::MARKER), dir.path().join(directory::MARKER)).expect("copied");
    for entry in std::fs::read_dir(from.join("topics/orders")).expect("the data are there") {
        let entry = entry.expect("readable");
        std::fs::copy(entry.path(), topics.join(entry.file_name())).expect("copied");
    }
    let data = DataDir::open(dir.path()).expect("ours");
    let mut opened = data.topic(&topic(), FSYNC, Epoch::from_bits(2), now(0)).expect("opens");
    assert_eq!((findings(&opened), opened.store.files().len()), (vec![], 2));
    assert_eq!(
        opened.store.lineage().epochs(),
        [(Epoch::from_bits(0x51d2_e7b0), at(0))]
    );
    let batches = [
        batch_at(0, 4, 0, now(1)),
        batch_at(4, 5, 0, now(200)),
        batch_at(10, 2, 0, now(201)),
    ];
    let mut expect = frames_of(&batches);
    expect[3] = frames_of(&[batch_at(3, 1, 0, now(2))]).remove(0);
    assert_eq!(
        read(&opened.store),
        Read {
            frames: expect,
            missing: vec![(9..10, GapReason::Purge)]
        }
    );
    assert_eq!(opened.retries.find(&key(4, 0)), Some(at(4)..at(9)));
    assert_eq!(opened.store.since(now(150).wall).expect("readable"), Some(at(4)));
    opened.writer.append(&batch(12, 1, 0)).expect("room");
    opened.writer.close().expect("closed");
}

#[test]
fn files_of_another_topic_are_refused() {
    let disk = written(FSYNC, &[(0, 5)]);
    let other = TopicName::parse("other").expect("valid");
    let opened = recovery::open(disk.clone(), dir(), &other, FSYNC, Epoch::from_bits(2), now(0));
    let error = opened.err().expect("refused");
    assert!(
        error.to_string().contains("belongs to the topic orders, not to other"),
        "{error}"
    );
}

#[test]
fn retention_by_bytes_lets_go_of_whole_segments_and_never_of_the_last() {
    let disk = FakeDisk::new(3);
    let options = FSYNC;
    let mut opened = open(&disk, options, 1);
    let mut next = 0;
    while opened.store.first() == at(0) {
        opened.writer.append(&batch(next, 50, 0)).expect("room");
        opened.writer.retire(now(1), all);
        next += 50;
        assert!(opened.store.bytes() <= options.bytes + options.segment_bytes());
    }
    assert!(opened.store.bytes() > options.bytes - 2 * options.segment_bytes());
    let first = opened.store.first();
    let Page::Missing { offsets, reason } = opened.store.page(at(3)).expect("readable") else {
        panic!("it is gone")
    };
    assert_eq!((offsets, reason), (at(3)..first, GapReason::Retention));
    assert_eq!(
        disk.files()
            .iter()
            .filter(|path| path.extension().is_some_and(|e| e == "log"))
            .count(),
        opened.store.files().len()
    );
    opened.writer.close().expect("closed");
    let opened = open(&disk, options, 2);
    assert_eq!((opened.store.first(), opened.store.next()), (first, at(next)));
}

#[test]
fn g1_age_is_monotonic_and_a_clock_that_steps_an_hour_deletes_nothing() {
    let disk = FakeDisk::new(3);
    let options = StoreOptions {
        age: Some(Duration::from_secs(80)),
        ..FSYNC
    };
    let mut opened = open(&disk, options, 1);
    for second in 0..60 {
        opened
            .writer
            .append(&batch_at(second, 1, 0, now(second)))
            .expect("room");
    }
    let segments = opened.store.files().len();
    assert!(segments >= 5, "a segment every 10 s: {segments}");
    let stepped = Now {
        wall: now(3600 + 60).wall,
        mono: now(60).mono,
    };
    for _ in 0..20 {
        assert!(!opened.writer.retire(stepped, all));
    }
    assert!(!opened.writer.retire(now(88), all));
    assert!(opened.writer.retire(now(90), all));
    assert_eq!(opened.store.first(), at(10));
    opened.writer.close().expect("closed");
    // Started with a wrong clock, all seems old: one segment goes at each check.
    let wrong = Now {
        wall: now(7200).wall,
        mono: 5_000_000_000,
    };
    let mut opened = recovery::open(disk, dir(), &topic(), options, Epoch::from_bits(2), wrong).expect("opens");
    assert!(opened.writer.retire(wrong, all));
    assert_eq!(opened.store.first(), at(20));
}

#[test]
fn the_next_offset_survives_when_all_is_gone() {
    let disk = FakeDisk::new(3);
    let options = StoreOptions {
        age: Some(Duration::from_secs(8)),
        ..FSYNC
    };
    let mut opened = open(&disk, options, 1);
    opened.writer.append(&batch_at(0, 7, 0, now(1))).expect("room");
    assert!(opened.writer.retire(now(60), all));
    assert_eq!((opened.store.first(), opened.store.next()), (at(7), at(7)));
    for crash in [Crash::Kill, Crash::PowerCut] {
        let mut opened = open(&disk.crash(crash), options, 2);
        assert_eq!((opened.store.first(), opened.store.next()), (at(7), at(7)));
        opened.writer.append(&batch(7, 1, 0)).expect("room");
        assert_eq!(offsets(&read(&opened.store)), [7]);
    }
}

#[test]
fn offsets_that_are_left_out_read_as_missing() {
    let (disk, options) = (
        FakeDisk::new(3),
        StoreOptions {
            bytes: 1 << 20,
            ..FSYNC
        },
    );
    let mut opened = open(&disk, options, 1);
    for (base, count) in [(5, 2), (10, 1), (11, 300), (400, 300)] {
        opened.writer.append(&batch(base, count, 0)).expect("room");
    }
    opened.writer.sync().expect("synced");
    let expect = [(7..10, GapReason::Purge), (311..400, GapReason::Purge)];
    assert_eq!(read(&opened.store).missing, expect);
    let opened = open(&disk.crash(Crash::Kill), options, 2);
    assert_eq!(
        (read(&opened.store).missing, findings(&opened)),
        (expect.to_vec(), vec![])
    );
    assert_eq!(opened.store.first(), at(5));
}

#[test]
fn the_first_message_since_a_time_is_found() {
    let (disk, options) = (
        FakeDisk::new(3),
        StoreOptions {
            bytes: 1 << 20,
            ..FSYNC
        },
    );
    let mut opened = open(&disk, options, 1);
    for second in 0..600 {
        opened
            .writer
            .append(&batch_at(second * 5, 5, 0, now(second)))
            .expect("room");
    }
    for second in [0, 1, 299, 300, 599] {
        assert_eq!(
            opened.store.since(now(second).wall).expect("readable"),
            Some(at(second * 5)),
            "{second}"
        );
    }
    assert_eq!(opened.store.since(now(600).wall).expect("readable"), None);
}

#[test]
fn a_page_holds_whole_batches_and_is_shared() {
    let disk = FakeDisk::new(3);
    let mut opened = open(&disk, LARGE, 1);
    for nth in 0..200 {
        opened.writer.append(&batch(nth * 20, 20, 0)).expect("room");
    }
    let page = |cursor| match opened.store.page(at(cursor)).expect("readable") {
        Page::Frames(stored) => stored,
        _ => panic!("frames"),
    };
    let first = page(0);
    assert!(Arc::ptr_eq(&first, &page(7)), "read once");
    let entries = first.entries();
    assert_eq!(entries.len() % 20, 0);
    let bytes = first.frames(0..entries.len()).len();
    assert!((page::PAGE_BYTES..page::PAGE_BYTES * 2).contains(&bytes), "{bytes}");
    assert_eq!(page(47).base(), first.base());
}

#[test]
fn a_batch_beyond_a_page_and_a_segment_is_read_whole() {
    let disk = FakeDisk::new(3);
    let options = FSYNC;
    let mut opened = open(&disk, options, 1);
    for base in [0, 3000, 6000] {
        opened.writer.append(&batch(base, 3000, 0)).expect("room");
    }
    assert_eq!(read(&opened.store).frames.len(), 9000);
    assert_eq!(opened.store.files().len(), 3);
}

#[test]
fn f8_a_second_process_is_refused_and_told_which_has_it() {
    let dir = tempfile::tempdir().expect("a directory");
    let held = DataDir::open(dir.path()).expect("free");
    let refused = DataDir::open(dir.path()).err().expect("held");
    assert!(matches!(refused, DataDirError::Held { .. }), "{refused}");
    if let DataDirError::Held { by: Some(pid), .. } = refused {
        assert_eq!(pid, std::process::id());
    }
    drop(held);
    DataDir::open(dir.path()).expect("free again");
}

#[test]
fn a_directory_that_is_not_ours_is_refused_and_left_alone() {
    let dir = tempfile::tempdir().expect("a directory");
    std::fs::write(dir.path().join("thesis.txt"), "x").expect("written");
    let refused = DataDir::open(dir.path()).err().expect("refused");
    assert!(
        refused
            .to_string()
            .contains("was not made by Lapwing: 1 file, none named lapwing-data"),
        "{refused}"
    );
    assert_eq!(std::fs::read_dir(dir.path()).expect("there").count(), 1);
    let newer = tempfile::tempdir().expect("a directory");
    std::fs::write(newer.path().join(directory::MARKER), "{\"format\":7}").expect("written");
    let refused = DataDir::open(newer.path()).err().expect("refused");
    assert!(matches!(refused, DataDirError::Newer { found: 7, .. }), "{refused}");
}

#[test]
fn a_real_directory_keeps_its_topics() {
    let dir = tempfile::tempdir().expect("a directory");
    let (orders, users) = (topic(), TopicName::parse("users").expect("valid"));
    for round in 0..3 {
        let data = DataDir::open(dir.path()).expect("ours");
        for (topic, options) in [(&orders, FSYNC), (&users, OS)] {
            let opened = data.topic(topic, options, Epoch::from_bits(round + 1), now(0));
            let mut opened = opened.expect("opens");
            assert_eq!(
                (opened.store.next(), &opened.notices),
                (at(round as u64 * 100), &vec![])
            );
            assert_eq!(opened.store.lineage().epochs(), [(Epoch::from_bits(1), at(0))]);
            opened.writer.append(&batch(round as u64 * 100, 100, 0)).expect("room");
            opened.writer.sync().expect("synced");
            assert_eq!(read(&opened.store).frames.len(), (round as usize + 1) * 100);
            if round == 1 {
                opened.writer.close().expect("closed");
            }
        }
        let others = data.other_topics(std::slice::from_ref(&orders));
        assert_eq!(others, std::slice::from_ref(&users));
    }
}

#[test]
fn what_is_written_at_os_is_synced_in_the_background() {
    let dir = tempfile::tempdir().expect("a directory");
    let data = DataDir::open(dir.path()).expect("ours");
    let mut opened = data.topic(&topic(), OS, Epoch::from_bits(1), now(0)).expect("opens");
    opened.writer.append(&batch(0, 10, 0)).expect("room");
    let deadline = std::time::Instant::now() + Duration::from_secs(60);
    while opened.store.durable() < at(10) {
        assert!(std::time::Instant::now() < deadline, "it was never synced");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// What a dump tells, as text.
fn dumped(disk: &FakeDisk) -> Vec<String> {
    dumped_while(disk, || ())
}

/// The same, while something goes on.
fn dumped_while(disk: &FakeDisk, mut goes_on: impl FnMut()) -> Vec<String> {
    let mut told = Vec::new();
    dump::dump(disk, &dir(), &mut |item| {
        goes_on();
        told.push(match item {
            dump::Item::Message { row, .. } => row.entry.offset.to_string(),
            dump::Item::Gap { offsets, reason } => format!("gap {offsets:?} {reason:?}"),
            dump::Item::Missing { offsets, .. } => format!("missing {offsets:?}"),
            dump::Item::Damage { offsets, .. } => format!("damage {offsets:?}"),
            dump::Item::Unfinished { .. } => "unfinished".to_owned(),
            dump::Item::Newer { format, .. } => format!("format {format}"),
        });
        Ok(())
    })
    .expect("readable");
    told
}

fn repaired(disk: &FakeDisk) -> Vec<repair::Repair> {
    repair::repair(disk, &dir(), &topic(), now(5), |_, _| {}).expect("repaired")
}

/// Repairs, and checks that a second repair finds nothing, and that the topic is open for writing again.
fn check_repair(disk: &Arc<FakeDisk>, options: StoreOptions, kept: &[u64], gaps: &[(Range<u64>, GapReason)]) {
    assert!(open(&disk.crash(Crash::Kill), options, 2).read_only.is_some());
    assert!(!repaired(disk).is_empty());
    assert_eq!(repaired(disk), []);
    disk.restart_machine();
    let mut opened = open(disk, options, 2);
    assert!(opened.read_only.is_none(), "{:?}", opened.notices);
    let read = read(&opened.store);
    assert_eq!((offsets(&read), &read.missing[..]), (kept.to_vec(), gaps));
    let next = opened.store.next().get();
    opened
        .writer
        .append(&batch(next, 1, 0))
        .expect("it takes messages again");
    opened.writer.sync().expect("synced");
    let told = dumped(disk);
    let told: Vec<_> = told.iter().filter(|line| line.starts_with("gap")).collect();
    let expect = gaps
        .iter()
        .map(|(gap, reason)| format!("gap {}..{} {reason:?}", gap.start, gap.end));
    assert!(told.into_iter().eq(&expect.collect::<Vec<_>>()));
}

#[test]
fn f5_a_repair_makes_the_damage_a_hole_and_keeps_the_damaged_bytes() {
    for byte in [0, 5, 17, 40, 70, 130] {
        let disk = written(FSYNC, &[(0, 2), (2, 2), (4, 2)]);
        let whole = disk.read(&segment(0));
        let header = header::Header::read(&whole).expect("whole").1 as usize;
        let (first, second) = (
            batch(0, 2, 0).disk_bytes() as usize,
            batch(2, 2, 0).disk_bytes() as usize,
        );
        let mut flipped = whole.clone();
        flipped[header + first + byte] ^= 0x40;
        disk.put(&segment(0), &flipped);
        assert_eq!(dumped(&disk), ["0", "1", "damage 2..4", "4", "5"]);
        check_repair(&disk, FSYNC, &[0, 1, 4, 5], &[(2..4, GapReason::Damage)]);
        let saved = segment(0).with_extension(format!("{}.damaged", header + first));
        assert_eq!(disk.read(&saved), flipped[header + first..header + first + second]);
    }
}

#[test]
fn f5_a_damaged_header_is_repaired_without_a_loss() {
    let disk = written(FSYNC, &[(0, 2), (2, 2)]);
    let mut flipped = disk.read(&segment(0));
    flipped[30] ^= 1;
    disk.put(&segment(0), &flipped);
    check_repair(&disk, FSYNC, &[0, 1, 2, 3], &[]);
}

#[test]
fn damage_in_a_sealed_segment_and_a_last_segment_that_is_gone_are_repaired() {
    let (disk, options, bases) = several_segments(FSYNC);
    let mut bytes = disk.read(&segment(bases[1]));
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    disk.put(&segment(bases[1]), &bytes);
    let last = *bases.last().expect("several");
    disk.lose(&segment(last));
    let found = repaired(&disk.crash(Crash::Kill));
    let lost = found[0].offsets.clone();
    assert_eq!((found.len(), lost.end.since(lost.start)), (2, 50));
    let lost = lost.start.get()..lost.end.get();
    let kept: Vec<_> = (0..last).filter(|offset| !lost.contains(offset)).collect();
    check_repair(
        &disk,
        options,
        &kept,
        &[(lost, GapReason::Damage), (last..3000, GapReason::Damage)],
    );
}

#[test]
fn all_segments_gone_are_repaired_to_a_log_that_goes_on() {
    let disk = written(FSYNC, &[(0, 7)]);
    drop(open(&disk, FSYNC, 2));
    disk.lose(&segment(0));
    assert_eq!(dumped(&disk), ["missing 0..7"]);
    // Only the state knows how far the log went.
    check_repair(&disk, FSYNC, &[], &[(0..7, GapReason::Damage)]);
    assert_eq!(open(&disk, FSYNC, 2).store.next(), at(8));
    assert_eq!(dumped(&disk), ["gap 0..7 Damage", "7"]);
}

#[test]
fn segments_that_a_server_lets_go_of_during_a_dump_are_not_missing() {
    let (disk, _, bases) = several_segments(OS);
    let mut later = bases[1..].to_vec();
    let told = dumped_while(&disk, || later.drain(..).for_each(|base| disk.lose(&segment(base))));
    let expect: Vec<_> = (0..bases[1]).map(|offset| offset.to_string()).collect();
    assert_eq!(told, expect);
}

#[test]
fn a_dump_tells_messages_gaps_and_an_unfinished_end() {
    let disk = written(FSYNC, &[(0, 2), (5, 1)]);
    let mut bytes = disk.read(&segment(0));
    let end = open(&disk.crash(Crash::Kill), FSYNC, 2).store.bytes() as usize;
    bytes[end..end + 10].copy_from_slice(&batch::MAGIC.repeat(3)[..10]);
    disk.put(&segment(0), &bytes);
    assert_eq!(dumped(&disk), ["0", "1", "gap 2..5 Purge", "5", "unfinished"]);
    let (disk, _, bases) = several_segments(OS);
    disk.lose(&segment(bases[2]));
    let told = dumped(&disk);
    assert!(told.contains(&format!("missing {}..{}", bases[2], bases[3])));
}

#[test]
fn f7_a_repair_makes_a_missing_segment_a_hole() {
    for options in [FSYNC, OS] {
        let (disk, options, bases) = several_segments(options);
        disk.lose(&segment(bases[2]));
        disk.lose(&segment(bases[3]));
        let lost = bases[2]..bases[4];
        assert_eq!(repaired(&disk).len(), 1);
        assert_eq!(repaired(&disk), []);
        let told = dumped(&disk);
        assert!(told.contains(&format!("gap {}..{} Damage", lost.start, lost.end)));
        assert!(!told.iter().any(|line| line.starts_with("missing")));
        let opened = open(&disk, options, 2);
        let why = IndexFault::Missing;
        assert_eq!(findings(&opened), [Finding::IndexRebuilt { why }]);
        let read = read(&opened.store);
        assert_eq!(read.missing, [(lost.clone(), GapReason::Damage)]);
        assert_eq!(read.frames.len() as u64, 3000 - (lost.end - lost.start));
    }
}

/// What happens to a topic between two starts.
#[derive(Clone, Debug)]
enum Step {
    Append { count: u64, sync: bool },
    Retire,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        1 => (150..250_u64, any::<bool>()).prop_map(|(count, sync)| Step::Append { count, sync }),
        6 => (1..30_u64, any::<bool>()).prop_map(|(count, sync)| Step::Append { count, sync }),
        1 => Just(Step::Retire),
    ];
    proptest::collection::vec(step, 1..40)
}

/// One life of a topic: steps until the crash, and how it ends.
type Life = (Vec<Step>, Option<u64>, bool);

fn lives() -> impl Strategy<Value = Vec<Life>> {
    proptest::collection::vec((steps(), proptest::option::of(0..120_u64), any::<bool>()), 1..5)
}

/// Runs a topic through crashes and holds it against a model of what it promised.
fn check_lives(options: StoreOptions, seed: u64, lives: &[Life]) -> Result<(), TestCaseError> {
    let mut disk = FakeDisk::new(seed);
    // What the log holds, what of it was acknowledged for a power cut, and what of it for a kill.
    let (mut log, mut synced, mut acked) = (Vec::<(u64, Vec<u8>)>::new(), 0_u64, 0_u64);
    let mut lineage: Option<Lineage> = None;
    let mut power_cut = false;
    // Given in an epoch, and seen by a reader: never given again there.
    let mut seen = std::collections::HashMap::<(Epoch, u64), Vec<u8>>::new();
    for (nth, (steps, crash_in, cut)) in lives.iter().enumerate() {
        let tag = nth as u64 + 1;
        let mut opened = None;
        // A start that is crashed is tried again, after the same kind of crash.
        if let Some(operations) = crash_in.filter(|operations| operations % 3 == 0) {
            disk.crash_in(operations / 3);
            drop(try_open(&disk, options, 1000 + u128::from(tag)));
            disk = disk.crash(if *cut { Crash::PowerCut } else { Crash::Kill });
            power_cut |= *cut;
        }
        let o = opened.get_or_insert(open(&disk, options, u128::from(tag)));
        prop_assert!(o.read_only.is_none(), "{:?}", o.notices);
        let read = read(&o.store);
        prop_assert_eq!(&read.missing, &Vec::new());
        let (first, next) = (o.store.first().get(), o.store.next().get());
        prop_assert_eq!(offsets(&read), (first..next).collect::<Vec<_>>());
        // What was acknowledged is there; what is there is what was written, whole and in its place.
        prop_assert!(
            next >= if power_cut { synced } else { acked },
            "{next} {synced} {acked} {power_cut}"
        );
        prop_assert!(next <= log.len() as u64);
        for (offset, frame) in &read.frames {
            prop_assert_eq!(frame, &log[*offset as usize].1);
        }
        let now_lineage = o.store.lineage().clone();
        if let Some(before) = &lineage {
            if options.level == Level::Fsync || (!power_cut && next >= acked) {
                let same = now_lineage.epochs().starts_with(before.epochs());
                prop_assert!(same);
            }
            if options.level == Level::Fsync {
                prop_assert_eq!(&now_lineage, before);
            }
        }
        lineage = Some(now_lineage);
        log.truncate(next as usize);
        power_cut = false;
        (synced, acked) = (next, next);

        if let Some(operations) = crash_in {
            disk.crash_in(*operations);
        }
        let mut crashed = false;
        for step in steps {
            match step {
                Step::Append { count, sync } => {
                    let made = batch(log.len() as u64, *count, tag);
                    log.extend(frames_of(std::slice::from_ref(&made)));
                    crashed |= o.writer.append(&made).is_err();
                    if !crashed {
                        acked = if options.level == Level::Os {
                            log.len() as u64
                        } else {
                            acked
                        };
                        if *sync {
                            crashed |= o.writer.sync().is_err();
                            if !crashed {
                                (synced, acked) = (log.len() as u64, log.len() as u64);
                            }
                        }
                    }
                    let visible = if options.level == Level::Os {
                        o.store.next()
                    } else {
                        o.store.durable()
                    };
                    let epoch = o.store.lineage().current();
                    for (offset, frame) in &log[..visible.get() as usize] {
                        if *offset >= o.store.lineage().current_begin().get() {
                            let before = seen.insert((epoch, *offset), frame.clone());
                            prop_assert!(before.is_none_or(|before| before == *frame), "{offset} was given twice");
                        }
                    }
                }
                Step::Retire => {
                    o.writer.retire(now(1), all);
                }
            }
            if crashed {
                break;
            }
        }
        prop_assert!(o.store.durable().get() >= synced);
        let closed = !crashed && !cut && opened.take().is_some_and(|opened| opened.writer.close().is_ok());
        if closed {
            (synced, acked) = (log.len() as u64, log.len() as u64);
        }
        power_cut |= *cut;
        disk = disk.crash(if *cut { Crash::PowerCut } else { Crash::Kill });
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn f1_f2_crashes_at_any_point_lose_nothing_synced_and_tear_nothing(
        seed: u64, lives in lives(), fsync: bool, large: bool,
    ) {
        let level = if fsync { Level::Fsync } else { Level::Os };
        let bytes = if large { 16 << 20 } else { 64 << 10 };
        check_lives(StoreOptions { level, bytes, age: None }, seed, &lives)?;
    }

    #[test]
    fn malformed_bytes_never_panic(
        noise in proptest::collection::vec(any::<u8>(), 0..400), at_byte in 0..3000_usize, cut in 0..3000_usize, what in 0..4,
    ) {
        let disk = written(FSYNC, &[(0, 3), (3, 3)]);
        let path = match what {
            0 => dir().join(state::FILE),
            _ => segment(0),
        };
        let mut bytes = disk.read(&path);
        bytes.truncate(3000);
        let from = at_byte.min(bytes.len());
        let to = (from + noise.len()).min(bytes.len());
        bytes[from..to].copy_from_slice(&noise[..to - from]);
        if what == 2 {
            bytes.truncate(cut);
        }
        if what == 3 {
            bytes.extend_from_slice(&noise);
        }
        disk.put(&path, &bytes);
        if let Ok(opened) = try_open(&disk, FSYNC, 2) {
            read(&opened.store);
            let _ = opened.store.since(now(1).wall);
        }
        let _ = batch::BatchView::read(&noise);
        let _ = index::Index::read(&noise);
        let _ = header::Header::read(&noise);
        let _ = state::State::read(&noise);
    }
}

/// A disk on which the sync of a file that was opened to be read takes until it is let go.
struct SlowSync {
    inner: Arc<FakeDisk>,
    gate: Arc<Gate>,
}

#[derive(Default)]
struct Gate {
    /// Whether a sync has come to it, and whether it is open.
    state: Mutex<(bool, bool)>,
    changed: std::sync::Condvar,
}

impl Gate {
    fn pass(&self) {
        let mut state = self.state.lock().expect("no panic");
        state.0 = true;
        self.changed.notify_all();
        drop(self.changed.wait_while(state, |(_, open)| !*open).expect("no panic"));
    }

    fn wait(&self) {
        let state = self.state.lock().expect("no panic");
        drop(self.changed.wait_while(state, |(came, _)| !*came).expect("no panic"));
    }

    fn open(&self) {
        self.state.lock().expect("no panic").1 = true;
        self.changed.notify_all();
    }
}

struct SlowFile {
    inner: Arc<dyn DiskFile>,
    gate: Option<Arc<Gate>>,
}

impl Disk for SlowSync {
    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        self.inner.create(path)
    }

    fn open(&self, path: &Path, access: Access) -> io::Result<Arc<dyn DiskFile>> {
        let inner = self.inner.open(path, access)?;
        let gate = (access == Access::Read).then(|| self.gate.clone());
        Ok(Arc::new(SlowFile { inner, gate }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.inner.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.inner.remove(path)
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<String>> {
        self.inner.list(directory)
    }

    fn make_directory(&self, directory: &Path) -> io::Result<()> {
        self.inner.make_directory(directory)
    }

    fn open_directory(&self, directory: &Path) -> io::Result<Arc<dyn Directory>> {
        self.inner.open_directory(directory)
    }

    fn life(&self, directory: &Path) -> Option<String> {
        self.inner.life(directory)
    }

    fn place(&self, directory: &Path) -> Option<String> {
        self.inner.place(directory)
    }
}

impl DiskFile for SlowFile {
    fn bytes(&self) -> io::Result<u64> {
        self.inner.bytes()
    }

    fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<usize> {
        self.inner.read_at(buffer, at)
    }

    fn write_at(&self, parts: &[io::IoSlice<'_>], at: u64) -> io::Result<usize> {
        self.inner.write_at(parts, at)
    }

    fn allocate(&self, at: u64, bytes: u64) -> io::Result<()> {
        self.inner.allocate(at, bytes)
    }

    fn truncate(&self, bytes: u64) -> io::Result<()> {
        self.inner.truncate(bytes)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.inner.sync_data()
    }

    fn sync(&self) -> io::Result<()> {
        if let Some(gate) = &self.gate {
            gate.pass();
        }
        self.inner.sync()
    }
}

#[test]
fn f10_a_close_waits_for_a_sync_under_way_and_is_not_clean_when_that_fails() {
    let disk = FakeDisk::new(1);
    let gate = Arc::<Gate>::default();
    let slow = Arc::new(SlowSync {
        inner: disk.clone(),
        gate: gate.clone(),
    });
    let opened = recovery::open(slow, dir(), &topic(), OS, Epoch::from_bits(1), now(0));
    let Opened { store, mut writer, .. } = opened.expect("opens");
    while store.files().len() < 2 {
        writer.append(&batch(store.next().get(), 200, 0)).expect("room");
    }
    let syncer = std::thread::spawn(move || store.sync().is_ok());
    gate.wait();
    let closer = std::thread::spawn(move || writer.close().is_ok());
    // One that does not wait has time to be wrong; one that waits is right however long this is.
    std::thread::sleep(Duration::from_millis(100));
    disk.fail(Op::Sync, 0, 1, Errno::IO);
    gate.open();
    assert!(!syncer.join().expect("no panic"));
    assert!(!closer.join().expect("no panic"));
    let state = state::State::read(&disk.read(&dir().join(state::FILE))).expect("whole");
    assert!(!state.clean);
}

#[test]
fn a_copy_of_a_directory_goes_on_in_a_new_history_and_a_machine_that_restarts_does_not() {
    for options in [OS, FSYNC] {
        let disk = FakeDisk::new(1);
        for life in 1..4 {
            let mut opened = open(&disk, options, life);
            assert_eq!(opened.store.lineage().epochs().len(), 1);
            let next = opened.store.next().get();
            opened.writer.append(&batch(next, 5, 0)).expect("room");
            opened.writer.close().expect("closes");
            disk.restart_machine();
        }
        disk.copy();
        let opened = open(&disk, options, 9);
        let copied = Finding::Copied {
            epoch: Epoch::from_bits(9),
            at: at(15),
        };
        assert_eq!(findings(&opened), [copied]);
        assert_eq!(opened.store.lineage().current_begin(), at(15));
        // What is told as durable is on this disk too.
        let cut = disk.crash(Crash::PowerCut);
        let again = open(&cut, options, 10);
        assert!(again.read_only.is_none());
        assert_eq!(offsets(&read(&again.store)), (0..15).collect::<Vec<_>>());
    }
}

#[test]
fn a_file_takes_no_more_when_the_state_knows_another_history_than_it() {
    let disk = written(FSYNC, &[(0, 5)]);
    let elsewhere = state::State::new(topic(), &Lineage::new(Epoch::from_bits(7)), Level::Fsync, at(0));
    disk.put(&dir().join(state::FILE), &elsewhere.encode());
    let mut opened = open(&disk, FSYNC, 2);
    opened.writer.append(&batch(5, 2, 1)).expect("room");
    opened.writer.sync().expect("synced");
    assert_eq!(offsets(&read(&opened.store)), (0..7).collect::<Vec<_>>());
    let again = open(&disk.crash(Crash::PowerCut), FSYNC, 3);
    assert_eq!(offsets(&read(&again.store)), (0..7).collect::<Vec<_>>());
}

#[test]
fn a_log_that_ends_before_its_newest_history_begins_is_behind() {
    let disk = written(OS, &[(0, 5)]);
    let mut lineage = Lineage::new(Epoch::from_bits(1));
    lineage.branch(Epoch::from_bits(7), at(50));
    let elsewhere = state::State::new(topic(), &lineage, Level::Os, at(0));
    disk.put(&dir().join(state::FILE), &elsewhere.encode());
    let opened = open(&disk, OS, 2);
    let behind = Finding::Behind {
        next: at(5),
        durable: at(50),
    };
    assert_eq!(findings(&opened), [behind]);
    assert!(opened.read_only.is_some());
    assert_eq!(offsets(&read(&opened.store)), (0..5).collect::<Vec<_>>());
}

#[test]
fn a_real_directory_that_is_put_back_from_a_copy_begins_a_new_history() {
    let dir = tempfile::tempdir().expect("a directory");
    let (path, aside) = (dir.path().join("data"), dir.path().join("aside"));
    let epochs = |epoch| {
        let data = DataDir::open(&path).expect("a data directory");
        let mut opened = data
            .topic(&topic(), FSYNC, Epoch::from_bits(epoch), now(0))
            .expect("opens");
        let next = opened.store.next().get();
        opened.writer.append(&batch(next, 5, 0)).expect("room");
        let epochs = opened.store.lineage().epochs().len();
        opened.writer.close().expect("closes");
        epochs
    };
    assert_eq!((epochs(1), epochs(2)), (1, 1));
    let copy = |from: &Path, to: &Path| {
        let copied = std::process::Command::new("cp").arg("-a").args([from, to]).status();
        assert!(copied.expect("it runs").success());
    };
    copy(&path, &aside);
    assert_eq!(epochs(3), 1);
    std::fs::remove_dir_all(&path).expect("deleted");
    copy(&aside, &path);
    assert_eq!((epochs(4), epochs(5)), (2, 2));
}

#[test]
fn f19_out_of_descriptors_when_files_are_let_go_or_synced_stops_nothing() {
    for options in [OS, FSYNC] {
        let disk = FakeDisk::new(1);
        let mut opened = open(&disk, options, 1);
        while opened.store.bytes() <= options.bytes {
            let next = opened.store.next().get();
            opened.writer.append(&batch(next, 200, 0)).expect("room");
        }
        disk.fail(Op::OpenDirectory, 0, u64::MAX, Errno::MFILE);
        assert!(opened.writer.retire(now(2), all));
        opened.writer.sync().expect("synced");
        let next = opened.store.next().get();
        opened.writer.append(&batch(next, 1, 0)).expect("room");
    }
}

#[test]
fn f5_a_read_only_topic_shows_nothing_that_a_power_cut_could_take() {
    let disk = written(FSYNC, &[(0, 5)]);
    let mut opened = open(&disk, FSYNC, 1);
    opened.writer.append(&batch(5, 5, 0)).expect("room");
    let damaged = opened.store.files().back().expect("one").index().bytes;
    opened.writer.append(&batch(10, 5, 0)).expect("room");
    opened.writer.append(&batch(15, 5, 0)).expect("room");
    drop(opened);
    let bit = disk.read(&segment(0))[damaged as usize + 70] ^ 1;
    let file = disk::Disk::open(&*disk, &segment(0), Access::Write).expect("there");
    file.write_at(&[io::IoSlice::new(&[bit])], damaged + 70).expect("room");
    let opened = open(&disk.crash(Crash::Kill), FSYNC, 2);
    assert!(opened.read_only.is_some());
    assert_eq!((opened.store.next(), opened.store.durable()), (at(10), at(10)));
    let shown = read(&opened.store);
    for _ in 0..8 {
        let killed = disk.crash(Crash::Kill);
        drop(open(&killed, FSYNC, 3));
        let again = open(&killed.crash(Crash::PowerCut), FSYNC, 4);
        assert!(read(&again.store).frames.starts_with(&shown.frames));
    }
}

#[test]
fn f19_a_start_a_dump_and_a_repair_hold_few_files_open_however_many_there_are() {
    let disk = FakeDisk::new(1);
    let mut opened = open(&disk, FSYNC, 1);
    while opened.store.files().len() < 12 {
        let next = opened.store.next().get();
        opened.writer.append(&batch(next, 200, 0)).expect("room");
    }
    drop(opened);
    disk.open_at_most(4);
    assert!(!dumped(&disk).is_empty());
    assert_eq!(repaired(&disk), []);
    assert_eq!(open(&disk, FSYNC, 2).store.files().len(), 12);
}

#[test]
fn f10_a_sync_that_fails_when_nobody_waits_for_it_is_told_once() {
    let disk = FakeDisk::new(1);
    let mut opened = open(&disk, OS, 1);
    opened.writer.append(&batch(0, 5, 0)).expect("room");
    disk.fail(Op::Sync, 0, 1, Errno::IO);
    opened.store.sync_behind();
    opened.store.sync_behind();
    let told = opened.store.take_notices();
    let [notice] = &told[..] else {
        panic!("{told:?}");
    };
    assert!(
        matches!(notice.finding, Finding::Failed { doing: "sync", .. }),
        "{notice}"
    );
    assert!(opened.writer.append(&batch(5, 1, 0)).is_err());
}

#[test]
fn a_start_that_writes_nothing_leaves_a_clean_topic_clean() {
    for options in [OS, FSYNC] {
        let disk = FakeDisk::new(3);
        let mut opened = open(&disk, options, 1);
        opened.writer.append(&batch(0, 5, 0)).expect("room");
        opened.writer.close().expect("closes");
        // Another topic could not be opened, so the server ends.
        drop(open(&disk, options, 2));
        disk.restart_machine();
        let mut opened = open(&disk, options, 3);
        assert_eq!(findings(&opened), []);
        assert_eq!(opened.store.lineage().epochs().len(), 1);
        opened.writer.append(&batch(5, 5, 0)).expect("room");
        let state = state::State::read(&disk.read(&dir().join(state::FILE))).expect("whole");
        assert!(!state.clean);
    }
}

#[test]
fn f5_a_second_repair_at_the_same_place_keeps_what_the_first_set_aside() {
    let disk = written(FSYNC, &[(0, 2), (2, 2), (4, 2)]);
    let whole = disk.read(&segment(0));
    let header = header::Header::read(&whole).expect("whole").1;
    let damage = |bit| {
        let mut bytes = whole.clone();
        bytes[header as usize + 70] ^= bit;
        disk.put(&segment(0), &bytes);
        let saved = repaired(&disk).into_iter().find_map(|repair| repair.saved);
        let (path, _) = saved.expect("bytes were set aside");
        (path.clone(), disk.read(&path))
    };
    let (first, bytes) = damage(1);
    let (second, _) = damage(2);
    assert_ne!(first, second);
    assert_eq!(disk.read(&first), bytes);
}

#[test]
fn f5_a_repair_that_sets_the_last_file_aside_makes_the_one_before_it_whole() {
    let disk = written(FSYNC, &[(0, 3)]);
    let said = state::State::new(topic(), &Lineage::new(Epoch::from_bits(1)), Level::Fsync, at(10));
    disk.put(&dir().join(state::FILE), &said.encode());
    disk.put(&segment(2), b"");
    let offsets: Vec<_> = repaired(&disk).into_iter().map(|repair| repair.offsets).collect();
    assert_eq!(offsets, [at(3)..at(10), at(2)..at(2)]);
    assert_eq!(repaired(&disk), []);
    let opened = open(&disk, FSYNC, 2);
    assert_eq!((opened.read_only.is_some(), opened.store.next()), (false, at(10)));
    assert_eq!(read(&opened.store).missing, [(3..10, GapReason::Damage)]);
}

#[test]
fn f5_a_file_older_than_all_known_histories_is_repaired_into_the_first_of_them() {
    let disk = written(FSYNC, &[(0, 3)]);
    let known = vec![(Epoch::from_bits(1), at(1)), (Epoch::from_bits(2), at(2))];
    let lineage = Lineage::from_epochs(known).expect("they rise");
    let said = state::State::new(topic(), &lineage, Level::Fsync, at(3));
    disk.put(&dir().join(state::FILE), &said.encode());
    let mut bytes = disk.read(&segment(0));
    bytes[9] ^= 1;
    disk.put(&segment(0), &bytes);
    assert_eq!(repaired(&disk).len(), 1);
    assert_eq!(repaired(&disk), []);
    assert_eq!(offsets(&read(&open(&disk, FSYNC, 2).store)), [0, 1, 2]);
}

#[test]
fn f5_a_hole_of_a_repair_says_nothing_durable_that_a_power_cut_could_take() {
    for seed in 0..8 {
        let disk = FakeDisk::new(seed);
        let mut opened = open(&disk, OS, 1);
        while opened.store.files().len() < 3 {
            let next = opened.store.next().get();
            opened.writer.append(&batch(next, 200, 0)).expect("room");
        }
        let next = opened.store.next().get();
        opened.writer.append(&batch(next, 5, 0)).expect("room");
        let last = opened.store.files().back().expect("one").path.clone();
        drop(opened);
        let header = header::Header::read(&disk.read(&last)).expect("whole").1;
        let bit = disk.read(&last)[header as usize + 70] ^ 1;
        let file = disk::Disk::open(&*disk, &last, Access::Write).expect("there");
        file.write_at(&[io::IoSlice::new(&[bit])], header + 70).expect("room");
        assert!(!repaired(&disk).is_empty());
        let cut = disk.crash(Crash::PowerCut);
        let again = open(&cut, OS, 2);
        assert!(again.read_only.is_none(), "{:?}", again.notices);
        assert_eq!(again.store.next(), at(next + 5));
    }
}

#[test]
fn f5_a_batch_whose_values_are_not_of_their_kind_is_no_batch() {
    let sealed = |mut batch: Batch, kind: Option<Kind>| {
        if let Some(kind) = kind {
            batch.entries.iter_mut().for_each(|entry| entry.kind = kind);
        }
        let mut bytes = Vec::new();
        batch.encode(Epoch::from_bits(1), at(0), &mut bytes);
        bytes.extend_from_slice(&batch.frames);
        bytes
    };
    let of = |kind, payloads: &[&[u8]]| {
        let mut envelope = EnvelopeWriter::new(&topic());
        let mut made = Batch::default();
        made.begin(at(0));
        for payload in payloads {
            made.push(&mut envelope, &NewMessage::new(kind, payload), now(1));
        }
        made
    };
    for kind in [Kind::Json, Kind::Text, Kind::Bytes] {
        let bytes = sealed(of(kind, &[b"1", b"\"a\"", b"[2]"]), None);
        assert!(batch::BatchView::read(&bytes).is_some(), "{kind:?}");
    }
    for (kind, payload, wrong) in [
        (Kind::Json, "[1]", Kind::Text),
        (Kind::Json, "[1]", Kind::Bytes),
        (Kind::Text, "no base64", Kind::Bytes),
    ] {
        let bytes = sealed(of(kind, &[payload.as_bytes()]), Some(wrong));
        assert!(batch::BatchView::read(&bytes).is_none(), "{kind:?} as {wrong:?}");
    }
}
