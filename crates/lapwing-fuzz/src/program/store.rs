//! The data directory: any bytes as the files of a topic, dumped, opened, gone on with and repaired.

use std::path::PathBuf;
use std::sync::Arc;

use lapwing::clock::Now;
use lapwing::log::batch::NewMessage;
use lapwing::log::retries::RetryKey;
use lapwing::log::store::batch::{self, BatchView, Content};
use lapwing::log::store::dump::{Item, dump};
use lapwing::log::store::file::{index_path, log_name};
use lapwing::log::store::header::Header;
use lapwing::log::store::index::Index;
use lapwing::log::store::repair::repair;
use lapwing::log::store::state::{self, State};
use lapwing::log::store::{Batch, Finding, Level, Notice, OpenError, Opened, Page, Store, StoreOptions, recovery};
use lapwing_wire::envelope::{EnvelopeWriter, Kind};
use lapwing_wire::position::{Epoch, Offset};
use lapwing_wire::time::WallTime;
use lapwing_wire::topic::TopicName;

use super::disk::MemoryDisk;
use crate::input::{Input, assert_harmless};
use crate::{Entry, Seeds};

/// A directory: a choice, then each file as its kind, its offset, its length in two bytes, and its bytes.
pub const DIRECTORY: Entry = Entry {
    name: "store",
    take: directory,
    seeds: directory_seeds,
};

/// One file: a choice, and its bytes.
pub const FILES: Entry = Entry {
    name: "store_files",
    take: file,
    seeds: file_seeds,
};

/// Checksums are made anew where the choice says so: else nothing but the checksum would ever be tried.
const SEAL: u8 = 1;
/// The machine was started anew since the files were written.
const RESTARTED: u8 = 2;
/// What is appended is acknowledged when it is written, not when it is synced.
const OS: u8 = 4;

fn directory(data: &[u8]) {
    let mut input = Input::new(data);
    let choice = input.byte();
    let files = files(&mut input, choice & SEAL != 0);
    let disk = MemoryDisk::with(choice & RESTARTED, files);
    let before = disk.files();
    let dumped = dump(&*disk, &dir(), &mut |item| {
        if let Item::Message { row, .. } = item {
            assert!(row.entry.value_end as usize <= row.frame.len());
        }
        Ok(())
    });
    assert!(disk.files() == before, "a dump changes nothing");
    let level = if choice & OS == 0 { Level::Fsync } else { Level::Os };
    match open(&disk, level, 77) {
        Err(error @ OpenError::Io { .. }) => assert_harmless(error),
        // It says why, and has touched nothing.
        Err(error) => {
            assert_harmless(error);
            assert!(disk.files() == before);
        }
        Ok(opened) if opened.read_only.is_some() => {
            read(&opened.store);
            drop(opened);
            repaired(&disk, level);
        }
        Ok(opened) => {
            dumped
                .map_err(|(_, error)| error)
                .expect("what can be opened can be dumped");
            goes_on(&disk, opened, level);
        }
    }
}

/// A topic that was opened takes more, and has all of it after it was closed and opened once more.
fn goes_on(disk: &Arc<MemoryDisk>, mut opened: Opened, level: Level) {
    opened.notices.iter().for_each(|notice| assert_harmless(notice.text()));
    let before = read(&opened.store);
    let next = opened.store.next();
    if next.get() >= OFFSET_MAX {
        return;
    }
    opened.writer.append(&batch(next, 2)).expect("room");
    opened.writer.sync().expect("synced");
    let after = read(&opened.store);
    assert_eq!(after[..before.len()], before);
    let new: Vec<_> = after[before.len()..].iter().map(|(offset, _)| *offset).collect();
    assert_eq!(new, [next, next.next()]);
    opened.writer.close().expect("closed");
    drop(opened.store);
    let again = open(disk, level, 78).expect("what was closed can be opened");
    assert!(again.read_only.is_none());
    // What is missing is told at each start.
    let new = |notice: &&Notice| !matches!(notice.finding, Finding::MissingSegment { .. });
    assert_eq!(again.notices.iter().find(new), None);
    assert!(read(&again.store) == after, "what was read is read again");
}

/// What is damaged is repaired once.
fn repaired(disk: &Arc<MemoryDisk>, level: Level) {
    let topic = topic();
    let once = || repair(&**disk, &dir(), &topic, now(9), |_, _| {});
    if once().is_err() {
        // Without a history that anything knows there is nothing to go on with.
        return;
    }
    let files = disk.files();
    match once() {
        Ok(again) => assert!(again.is_empty(), "what is repaired stays so: {again:?}"),
        Err((file, error)) => panic!("{}: {error}", file.display()),
    }
    assert!(disk.files() == files);
    if let Ok(opened) = open(disk, level, 79) {
        read(&opened.store);
        if opened.read_only.is_none() {
            goes_on(disk, opened, level);
        }
    }
}

/// Everything that can be read, in order; what cannot is told as missing.
fn read(store: &Store) -> Vec<(Offset, Vec<u8>)> {
    let (mut read, mut cursor) = (Vec::new(), store.first());
    loop {
        match store.page(cursor).expect("memory") {
            Page::End => return read,
            Page::Missing { offsets, .. } => {
                assert!(
                    offsets.start == cursor && offsets.end > cursor,
                    "{offsets:?} at {cursor}"
                );
                cursor = offsets.end;
            }
            Page::Frames(segment) => {
                let from = segment.find(cursor);
                assert!(from < segment.entries().len(), "a page holds what lies at its cursor");
                for (nth, entry) in segment.entries().iter().enumerate().skip(from) {
                    assert!(entry.offset >= cursor && entry.offset < store.next());
                    read.push((entry.offset, segment.frames(nth..nth + 1).to_vec()));
                    cursor = entry.offset.next();
                }
            }
        }
    }
}

fn open(disk: &Arc<MemoryDisk>, level: Level, fresh: u128) -> Result<Opened, OpenError> {
    let options = StoreOptions {
        level,
        bytes: 1 << 20,
        age: None,
    };
    recovery::open(disk.clone(), dir(), &topic(), options, Epoch::from_bits(fresh), now(5))
}

fn file(data: &[u8]) {
    let mut input = Input::new(data);
    let choice = input.byte();
    let mut bytes = input.rest().to_vec();
    match choice >> 1 & 3 {
        0 => {
            seal_header(&mut bytes, choice & SEAL != 0);
            if let Ok((header, length)) = Header::read(&bytes) {
                assert_eq!(header.encode(), bytes[..length as usize]);
                assert!(header.follows <= header.base && !header.lineage.epochs().is_empty());
            }
        }
        1 => {
            seal_batch(&mut bytes, choice & SEAL != 0);
            if let Some(view) = BatchView::read(&bytes) {
                whole_batch(&view);
            }
        }
        2 => {
            seal_index(&mut bytes, choice & SEAL != 0);
            if let Some(index) = Index::read(&bytes) {
                assert_eq!(index.encode(), bytes);
                for offset in [index.base, index.next, Offset::new(u64::MAX)] {
                    let _ = index.mark(offset);
                }
                let _ = index.mark_since(now(0).wall);
            }
        }
        _ => {
            seal_state(&mut bytes, choice & SEAL != 0);
            if let Ok(state) = State::read(&bytes) {
                assert_eq!(State::read(&state.encode()), Ok(state.clone()));
                assert!(state.lineage().is_some());
            }
        }
    }
}

fn whole_batch(view: &BatchView<'_>) {
    let header = view.header();
    let mut expect = header.base;
    let mut frames = Vec::new();
    for row in view.rows() {
        assert_eq!(row.entry.offset, expect);
        assert!(row.entry.value_begin <= row.entry.value_end && row.entry.value_end as usize <= row.frame.len());
        frames.extend_from_slice(row.frame);
        expect = Offset::new(expect.get() + 1);
    }
    assert_eq!(frames, view.frames(), "frames lie one behind the other");
    assert_eq!(header.content == Content::Messages, view.walls().is_some());
    if header.content == Content::Messages {
        assert_eq!(expect, header.next);
    }
    for (_, offsets) in view.keys() {
        assert!(header.base <= offsets.start && offsets.start < offsets.end && offsets.end <= header.next);
    }
}

/// The files that the bytes say.
fn files(input: &mut Input<'_>, seal: bool) -> Vec<(PathBuf, Vec<u8>)> {
    let mut files = Vec::new();
    while !input.is_empty() && files.len() < 16 {
        let (kind, base) = (input.byte(), input.byte());
        let length = usize::from(input.short());
        let mut bytes = input.take(length).to_vec();
        let log = dir().join(log_name(offset(base)));
        files.push(match kind % 4 {
            0 => {
                let end = seal_header(&mut bytes, seal);
                seal_batches(&mut bytes, end, seal);
                (log, bytes)
            }
            1 => {
                seal_index(&mut bytes, seal);
                (index_path(&log), bytes)
            }
            2 => {
                seal_state(&mut bytes, seal);
                (dir().join(state::FILE), bytes)
            }
            _ => (log.with_extension("new"), bytes),
        });
    }
    files
}

/// Most are small; a few are the largest there are.
fn offset(choice: u8) -> Offset {
    match choice {
        0..250 => Offset::new(u64::from(choice)),
        _ => Offset::new(u64::MAX - u64::from(255 - choice)),
    }
}

/// Gives where the header ends, as far as it says so.
fn seal_header(bytes: &mut [u8], seal: bool) -> usize {
    let Some(length) = number(bytes, 16).filter(|length| (64..=bytes.len()).contains(length)) else {
        return bytes.len();
    };
    if seal {
        put(bytes, 12, crc32c::crc32c(&bytes[..12]));
        put(bytes, 20, crc32c::crc32c(&bytes[24..length]));
    }
    length
}

fn seal_batches(bytes: &mut [u8], from: usize, seal: bool) {
    let mut at = from;
    while let Some(rest) = bytes.get_mut(at..).filter(|rest| rest.starts_with(&batch::MAGIC)) {
        let Some(length) = number(rest, 8).filter(|length| (batch::HEADER_BYTES..=rest.len()).contains(length)) else {
            return;
        };
        seal_batch(&mut rest[..length], seal);
        at += length;
    }
}

fn seal_batch(bytes: &mut [u8], seal: bool) {
    if seal && bytes.len() >= batch::HEADER_BYTES {
        put(bytes, 4, crc32c::crc32c(&bytes[8..]));
    }
}

fn seal_index(bytes: &mut [u8], seal: bool) {
    if seal && bytes.len() >= 16 {
        put(bytes, 12, crc32c::crc32c(&bytes[16..]));
    }
}

fn seal_state(bytes: &mut Vec<u8>, seal: bool) {
    if seal && let Ok(state) = serde_json::from_slice::<State>(bytes) {
        *bytes = state.encode();
    }
}

fn number(bytes: &[u8], at: usize) -> Option<usize> {
    let number = bytes.get(at..)?.first_chunk()?;
    usize::try_from(u32::from_le_bytes(*number)).ok()
}

fn put(bytes: &mut [u8], at: usize, number: u32) {
    bytes[at..at + 4].copy_from_slice(&number.to_le_bytes());
}

fn topic() -> TopicName {
    TopicName::parse("orders").expect("valid")
}

fn dir() -> PathBuf {
    PathBuf::from("/data/topics/orders")
}

fn now(seconds: u64) -> Now {
    Now {
        wall: WallTime::from_nanos(1_795_287_600_000_000_000 + seconds as i64 * 1_000_000_000),
        mono: seconds * 1_000_000_000,
    }
}

fn batch(base: Offset, count: u64) -> Batch {
    let mut envelope = EnvelopeWriter::new(&topic());
    let mut made = Batch::default();
    made.begin(base);
    for nth in 0..count {
        let (kind, payload) = [
            (Kind::Json, &b"[1,2]"[..]),
            (Kind::Text, b"a \"b\""),
            (Kind::Bytes, b"\0\xff"),
        ][nth as usize % 3];
        made.push(&mut envelope, &NewMessage::new(kind, payload), now(1));
    }
    made.keys
        .push((RetryKey::of_source("fuzz", base.get()), base..base.plus(count)));
    made
}

/// As much as is appended to: no honest log is longer, and sums of such offsets fit.
const OFFSET_MAX: u64 = 1 << 62;

/// A topic with batches of so many messages, as its files are when it is not closed.
fn written(level: Level, counts: &[u64]) -> Arc<MemoryDisk> {
    let disk = MemoryDisk::with(0, []);
    append(&disk, level, 1, counts);
    disk
}

fn append(disk: &Arc<MemoryDisk>, level: Level, fresh: u128, counts: &[u64]) {
    let mut opened = open(disk, level, fresh).expect("opens");
    for &count in counts {
        opened.writer.append(&batch(opened.store.next(), count)).expect("room");
        opened.writer.sync().expect("synced");
    }
}

fn closed(disk: &Arc<MemoryDisk>) {
    open(disk, Level::Fsync, 2)
        .expect("opens")
        .writer
        .close()
        .expect("closed");
}

/// Files as the bytes that say them; the zeroes of room that was asked for ahead are left out but a few.
fn as_input(choice: u8, disk: &MemoryDisk, change: impl Fn(&str, &mut Vec<u8>)) -> Vec<u8> {
    let mut out = vec![choice];
    for (path, mut bytes) in disk.files() {
        let name = path.file_name().and_then(|name| name.to_str()).expect("our own");
        let extension = path.extension().and_then(|extension| extension.to_str());
        let kind = match extension {
            Some("log") => 0,
            Some("index") => 1,
            Some("json") => 2,
            _ => 3,
        };
        let base = name
            .split('.')
            .next()
            .and_then(|digits| digits.parse().ok())
            .unwrap_or(0);
        let end = bytes.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
        if kind == 0 {
            bytes.truncate(end + 8);
        }
        change(name, &mut bytes);
        out.extend([kind, base]);
        out.extend((bytes.len() as u16).to_be_bytes());
        out.extend(bytes);
    }
    out
}

fn directory_seeds() -> Seeds {
    let same = |_: &str, _: &mut Vec<u8>| {};
    let of_log = |change: fn(&mut Vec<u8>)| {
        move |name: &str, bytes: &mut Vec<u8>| {
            if name.ends_with(".log") {
                change(bytes);
            }
        }
    };
    let open_one = written(Level::Fsync, &[3, 1]);
    let closed_one = written(Level::Fsync, &[3, 2]);
    closed(&closed_one);
    let two_histories = written(Level::Os, &[2]);
    let restarted = MemoryDisk::with(RESTARTED, two_histories.files());
    append(&restarted, Level::Os, 9, &[2]);
    vec![
        ("empty", vec![0]),
        ("open", as_input(0, &open_one, same)),
        ("closed", as_input(0, &closed_one, same)),
        ("sealed", as_input(SEAL, &open_one, same)),
        ("restarted", as_input(RESTARTED | OS, &two_histories, same)),
        ("two-histories", as_input(SEAL | OS | RESTARTED, &restarted, same)),
        (
            "torn",
            as_input(RESTARTED, &open_one, of_log(|bytes| bytes.truncate(bytes.len() - 40))),
        ),
        ("flipped", as_input(0, &open_one, of_log(|bytes| bytes[300] ^= 1))),
        ("no-header", as_input(0, &open_one, of_log(|bytes| bytes[9] ^= 1))),
        ("no-segment", as_input(0, &closed_one, of_log(Vec::clear))),
    ]
}

fn file_seeds() -> Seeds {
    let disk = written(Level::Fsync, &[3]);
    closed(&disk);
    let files = disk.files();
    let log = &files[&dir().join(log_name(Offset::ZERO))];
    let end = number(log, 16).expect("a header");
    let index = files
        .iter()
        .find(|(path, _)| path.extension().is_some_and(|extension| extension == "index"));
    let (_, index) = index.expect("a closed topic has an index");
    let hole = batch::encode_hole(Offset::new(3)..Offset::new(9), Epoch::from_bits(1));
    let with = |choice: u8, bytes: &[u8]| [&[choice], bytes].concat();
    vec![
        ("header", with(SEAL, &log[..end])),
        ("batch", with(1 << 1 | SEAL, &log[end..])),
        ("hole", with(1 << 1 | SEAL, &hole)),
        ("index", with(2 << 1 | SEAL, index)),
        ("state", with(3 << 1 | SEAL, &files[&dir().join(state::FILE)])),
    ]
}
