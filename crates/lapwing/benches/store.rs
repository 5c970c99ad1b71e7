//! How fast topics are kept on disk: `cargo bench --bench store`; one figure a line, `name<tab>value<tab>unit`.
//!
//! `LAPWING_BENCH_DIR` names the disk, `LAPWING_BENCH_MESSAGES` how many messages are written for the scan. Words behind `--` choose
//! among `store`, `log` and `files`.

use std::collections::VecDeque;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lapwing::clock::Now;
use lapwing::log::batch::NewMessage;
use lapwing::log::committer::{Committer, OnTrouble};
use lapwing::log::memory::{Memory, MemoryWriter};
use lapwing::log::reader::{Next, Reader, View, fetch};
use lapwing::log::retention::Retention;
use lapwing::log::segment::Entry;
use lapwing::log::store::disk::{Access, Disk, RealDisk};
use lapwing::log::store::scan::scan;
use lapwing::log::store::survey::read_header;
use lapwing::log::store::{Batch, DataDir, Level, Opened, Page, StoreOptions};
use lapwing::log::{AppendError, Log};
use lapwing_wire::envelope::{EnvelopeWriter, Kind};
use lapwing_wire::position::{Epoch, Offset};
use lapwing_wire::topic::TopicName;

const FRAME_BYTES: usize = 250;
const BATCH: u64 = 100;

fn options(level: Level) -> StoreOptions {
    StoreOptions {
        level,
        bytes: 64 << 30,
        age: None,
    }
}

fn open(data: &DataDir, name: &str, level: Level) -> Opened {
    let topic = TopicName::parse(name).expect("valid");
    let opened = data.topic(&topic, options(level), Epoch::from_bits(1), Now::read());
    opened.expect("opens")
}

/// A batch whose frames look like envelopes; only its offsets change from one to the next.
fn template(count: u64) -> Batch {
    template_of(Kind::Json, "x", count)
}

fn template_of(kind: Kind, part: &str, count: u64) -> Batch {
    let now = Now::read();
    let mut frame = vec![0x81, 0x7e, 0, 246];
    frame.extend_from_slice(b"{\"topic\":\"t\",\"offset\":1,\"time\":\"2026-11-21T19:00:00.123456Z\",\"data\":\"");
    let value_begin = frame.len() - 1;
    let parts = (FRAME_BYTES - 2 - frame.len()) / part.len();
    frame.extend_from_slice(part.repeat(parts).as_bytes());
    frame.push(b'"');
    let value_end = frame.len();
    frame.resize(FRAME_BYTES - 1, b' ');
    frame.push(b'}');
    let entry = |nth: u64| Entry {
        offset: Offset::new(nth),
        end: (nth as usize + 1) as u32 * FRAME_BYTES as u32,
        value_begin: value_begin as u32,
        value_end: value_end as u32,
        kind,
        source: 0,
        sequence: 0,
        wall: now.wall,
        mono: now.mono,
    };
    Batch {
        base: Offset::ZERO,
        entries: (0..count).map(entry).collect(),
        frames: frame.repeat(count as usize),
        keys: Vec::new(),
    }
}

fn advance(batch: &mut Batch, base: u64) {
    batch.base = Offset::new(base);
    for (nth, entry) in (base..).zip(&mut batch.entries) {
        entry.offset = Offset::new(nth);
    }
}

fn tell(name: &str, value: f64, unit: &str) {
    use std::io::Write as _;
    writeln!(std::io::stdout(), "{name}\t{value:.4}\t{unit}").expect("stdout is open");
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Messages a second, appended in batches of 100 without a sync.
fn os(data: &DataDir) {
    let mut rates = Vec::new();
    let mut opened = open(data, "os", Level::Os);
    let mut batch = template(BATCH);
    let (mut base, messages) = (0, 1_000_000);
    for _ in 0..5 {
        let began = Instant::now();
        for _ in 0..messages / BATCH {
            advance(&mut batch, base);
            opened.writer.append(&batch).expect("room");
            base += BATCH;
        }
        rates.push(messages as f64 / began.elapsed().as_secs_f64());
    }
    opened.writer.close().expect("closed");
    tell("os, batches of 100", median(rates) / 1e6, "M msg/s");
}

/// Groups that are synced, against the same bytes written and synced without a store: in turns, and ratios are of one turn.
fn fsync(data: &DataDir, directory: &Path) {
    for group in [1, 100, 1000] {
        let (mut rates, mut to_growing, mut to_reserved) = (Vec::new(), Vec::new(), Vec::new());
        let mut opened = open(data, &format!("fsync-{group}"), Level::Fsync);
        let mut batch = template(group);
        let rounds = if group == 1000 { 40 } else { 150 };
        let mut base = 0;
        for _ in 0..21 {
            let growing = bare(directory, &batch.frames, rounds, false).as_secs_f64();
            let began = Instant::now();
            for _ in 0..rounds {
                advance(&mut batch, base);
                opened.writer.append(&batch).expect("room");
                opened.writer.sync().expect("synced");
                base += group;
            }
            let ours = began.elapsed().as_secs_f64();
            let reserved = bare(directory, &batch.frames, rounds, true).as_secs_f64();
            rates.push(f64::from(rounds) * group as f64 / ours / 1e3);
            to_growing.push(growing / ours);
            to_reserved.push(reserved / ours);
        }
        opened.writer.close().expect("closed");
        tell(&format!("fsync, groups of {group}"), median(rates), "k msg/s");
        tell(&format!("ratio to bare, groups of {group}"), median(to_growing), "x");
        tell(
            &format!("ratio to bare with room ahead, groups of {group}"),
            median(to_reserved),
            "x",
        );
    }
}

/// The same two through the whole log, as a publisher has it: envelopes are written, a committer writes and syncs, the messages
/// become visible, and each publish is acknowledged. `window` publishes are on their way at a time.
fn through_the_log(data: &DataDir, directory: &Path) {
    for (level, group, window, rounds) in [
        (Level::Os, 100, 16, 2000),
        (Level::Fsync, 100, 1, 150),
        (Level::Fsync, 1000, 1, 40),
        (Level::Fsync, 1000, 2, 40),
        (Level::Fsync, 1000, 4, 40),
    ] {
        let Opened {
            store, writer, retries, ..
        } = open(data, &format!("log-{level:?}-{group}-{window}"), level);
        let topic = store.topic().clone();
        let log = Arc::new(Log::durable(topic, store, retries, None, Retention::TAIL));
        let committer = Committer::start(log.clone(), writer, Untroubled).expect("a thread");
        let (mut rates, mut to_growing, mut to_reserved) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..21 {
            let began = log.next();
            let ours = publish(&log, group, window, rounds).as_secs_f64();
            rates.push((rounds * group) as f64 / ours);
            if level == Level::Fsync {
                let frames = read_back(&log, began);
                let of_a_round = &frames[..frames.len() / rounds];
                let bare = |reserve| bare(directory, of_a_round, rounds as u32, reserve).as_secs_f64();
                to_growing.push(bare(false) / ours);
                to_reserved.push(bare(true) / ours);
            }
        }
        committer.stop();
        if level == Level::Os {
            tell("os through the log, batches of 100", median(rates) / 1e6, "M msg/s");
            continue;
        }
        let what = format!("through the log, groups of {group}, {window} at a time");
        tell(&format!("fsync {what}"), median(rates) / 1e3, "k msg/s");
        tell(&format!("ratio to bare {what}"), median(to_growing), "x");
        tell(
            &format!("ratio to bare with room ahead {what}"),
            median(to_reserved),
            "x",
        );
    }
}

/// What one publish costs on its way, each step alone: what remains of a publish through the log is waking two threads.
fn parts(data: &DataDir) {
    for group in [100, 1000] {
        let mut opened = open(data, &format!("parts-{group}"), Level::Fsync);
        let mut envelope = EnvelopeWriter::new(opened.store.topic());
        let memory = Memory::new(Retention::TAIL, Offset::ZERO);
        let (mut shown, mut batch) = (MemoryWriter::default(), Batch::default());
        let payload = payload();
        let messages = vec![NewMessage::new(Kind::Json, payload.as_bytes()); group];
        let mut steps = ["envelopes", "write", "sync", "memory"].map(|name| (name, Vec::new()));
        for _ in 0..300 {
            let (now, mut instants) = (Now::read(), vec![Instant::now()]);
            batch.begin(opened.store.next());
            batch.reserve(&messages, usize::MAX);
            for message in &messages {
                batch.push(&mut envelope, message, now);
            }
            instants.push(Instant::now());
            opened.writer.append(&batch).expect("room");
            instants.push(Instant::now());
            opened.writer.sync().expect("synced");
            instants.push(Instant::now());
            memory.show(&mut shown, &mut batch, now);
            memory.retire(now, opened.store.next());
            instants.push(Instant::now());
            for ((_, took), pair) in steps.iter_mut().zip(instants.windows(2)) {
                took.push((pair[1] - pair[0]).as_secs_f64() * 1e6);
            }
        }
        opened.writer.close().expect("closed");
        for (name, took) in steps {
            tell(
                &format!("part of a publish, groups of {group}: {name}"),
                median(took),
                "us",
            );
        }
    }
}

fn payload() -> String {
    format!("\"{}\"", "x".repeat(FRAME_BYTES - 2))
}

/// How long it takes until so many publishes are acknowledged.
fn publish(log: &Log, group: usize, window: usize, rounds: usize) -> Duration {
    let payload = payload();
    let messages = vec![NewMessage::new(Kind::Json, payload.as_bytes()); group];
    let mut on_their_way = VecDeque::new();
    let began = Instant::now();
    for _ in 0..rounds {
        on_their_way.push_back(log.append(&messages, Now::read()).expect("taken"));
        if on_their_way.len() == window {
            let oldest = on_their_way.pop_front().expect("a window of one or more");
            oldest.kept_blocking().expect("kept");
        }
    }
    for appended in on_their_way {
        appended.kept_blocking().expect("kept");
    }
    began.elapsed()
}

/// The frames from a cursor to the end of the log.
fn read_back(log: &Arc<Log>, mut cursor: Offset) -> Vec<u8> {
    let mut reader = Reader::new(log.clone(), View::Canonical);
    let mut frames = Vec::new();
    while cursor < log.next() {
        match reader.read(cursor, 64 << 10) {
            Next::Frames(run) => {
                frames.extend_from_slice(run.bytes());
                cursor = run.entries().last().expect("a run is not empty").offset.next();
            }
            Next::OnDisk => reader.put(fetch(log, cursor).expect("readable")),
            _ => unreachable!("everything is kept"),
        }
    }
    frames
}

struct Untroubled;

impl OnTrouble for Untroubled {
    fn on_trouble(&mut self, error: &AppendError, _: Now) {
        panic!("{error}");
    }

    fn on_recovered(&mut self) {}
}

fn bare(directory: &Path, bytes: &[u8], rounds: u32, reserve: bool) -> Duration {
    use std::io::Write as _;
    let path = directory.join("bare");
    let mut file = File::create(&path).expect("a file");
    if reserve {
        let room = bytes.len() as u64 * u64::from(rounds);
        rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, room).expect("room");
    }
    let began = Instant::now();
    for _ in 0..rounds {
        file.write_all(bytes).expect("written");
        file.sync_data().expect("synced");
    }
    let took = began.elapsed();
    std::fs::remove_file(&path).expect("removed");
    took
}

/// Reads all that is retained, with every checksum: from the files, and as the pages that lagging readers get.
fn read(data: &DataDir, directory: &Path, messages: u64) {
    let mut opened = open(data, "scan", Level::Os);
    let mut batch = template(BATCH);
    for base in (0..messages).step_by(BATCH as usize) {
        advance(&mut batch, base);
        opened.writer.append(&batch).expect("room");
    }
    opened.writer.sync().expect("synced");
    let topic = directory.join("data/topics/scan");
    let names = RealDisk.list(&topic).expect("listed");
    let mut rates = Vec::new();
    for _ in 0..3 {
        let (mut bytes, mut seen) = (0, 0);
        let began = Instant::now();
        for name in names.iter().filter_map(|name| lapwing::log::store::file::base_of(name)) {
            let path = topic.join(lapwing::log::store::file::log_name(name));
            let file = RealDisk.open(&path, Access::Read).expect("opens");
            let (header, header_bytes) = read_header(&*file, name).expect("read").expect("whole");
            let length = file.bytes().expect("a length");
            let epoch = header.lineage.current();
            let done = scan(&*file, length, name, header_bytes, epoch, |view| {
                seen += view.rows().filter(|row| row.frame.len() == FRAME_BYTES).count() as u64;
            });
            bytes += done.expect("read").index.bytes;
        }
        assert_eq!(seen, messages);
        rates.push(bytes as f64 / began.elapsed().as_secs_f64());
    }
    tell(&format!("scan of {messages} messages"), median(rates) / 1e9, "GB/s");
    tell("the same as pages for readers", pages(&opened, messages) / 1e9, "GB/s");
    opened.writer.close().expect("closed");
}

/// The same pages with values of which it is checked that a payload can be cut from them, against JSON, of which any can.
fn values(data: &DataDir) {
    const MESSAGES: u64 = 100_000;
    let kinds = [
        (Kind::Json, "json", "x"),
        (Kind::Text, "text", "plain text, "),
        (Kind::Text, "text-with-escapes", "a line of text\\n"),
        (Kind::Bytes, "bytes", "aB3/"),
    ];
    let mut rates = kinds.map(|_| Vec::new());
    let mut topics = kinds.map(|(kind, name, part)| {
        let mut opened = open(data, &format!("values-{name}"), Level::Os);
        let mut batch = template_of(kind, part, BATCH);
        for base in (0..MESSAGES).step_by(BATCH as usize) {
            advance(&mut batch, base);
            opened.writer.append(&batch).expect("room");
        }
        opened
    });
    for _ in 0..21 {
        for (opened, rates) in topics.iter().zip(&mut rates) {
            rates.push(pages(opened, MESSAGES));
        }
    }
    for ((_, name, _), rates) in kinds.into_iter().zip(rates) {
        tell(&format!("as pages, {name}"), median(rates) / 1e9, "GB/s");
    }
    topics
        .iter_mut()
        .for_each(|opened| opened.writer.sync().expect("synced"));
}

/// Bytes a second of all messages as pages.
fn pages(opened: &Opened, messages: u64) -> f64 {
    let began = Instant::now();
    let (mut cursor, mut bytes) = (Offset::ZERO, 0);
    while let Page::Frames(stored) = opened.store.page(cursor).expect("readable") {
        let entries = stored.entries();
        bytes += stored.frames(0..entries.len()).len();
        cursor = entries.last().expect("a page holds messages").offset.next();
    }
    assert_eq!(cursor.get(), messages);
    bytes as f64 / began.elapsed().as_secs_f64()
}

/// How long a start takes with so many messages retained, after a clean end and after a kill.
fn starts(data: &DataDir, messages: u64) {
    let mut few = open(data, "few", Level::Os);
    few.writer.append(&template(10)).expect("room");
    few.writer.close().expect("closed");
    for (name, messages) in [("few", 10), ("scan", messages)] {
        let mut clean = Vec::new();
        for _ in 0..5 {
            let began = Instant::now();
            let opened = open(data, name, Level::Os);
            clean.push(began.elapsed().as_secs_f64() * 1e3);
            assert_eq!(opened.store.next().get(), messages);
            opened.writer.close().expect("closed");
        }
        tell(&format!("start with {messages} messages"), median(clean), "ms");
        let mut killed = Vec::new();
        for _ in 0..5 {
            // Nothing is closed, as after a kill.
            drop(open(data, name, Level::Os));
            let began = Instant::now();
            drop(open(data, name, Level::Os));
            killed.push(began.elapsed().as_secs_f64() * 1e3);
        }
        tell(
            &format!("start with {messages} messages after a kill"),
            median(killed),
            "ms",
        );
    }
}

fn main() {
    let at = std::env::var_os("LAPWING_BENCH_DIR").unwrap_or_else(|| env!("CARGO_TARGET_TMPDIR").into());
    let messages = std::env::var("LAPWING_BENCH_MESSAGES").ok();
    let messages = messages.map_or(10_000_000, |messages| messages.parse().expect("a number of messages"));
    let wanted: Vec<_> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    let is_wanted = |section: &str| wanted.is_empty() || wanted.iter().any(|word| word == section);
    let directory = tempfile::tempdir_in(at).expect("a directory");
    let data = DataDir::open(&directory.path().join("data")).expect("a data directory");
    if is_wanted("store") {
        os(&data);
        fsync(&data, directory.path());
    }
    if is_wanted("log") {
        through_the_log(&data, directory.path());
        parts(&data);
    }
    if is_wanted("files") {
        values(&data);
        read(&data, directory.path(), messages);
        starts(&data, messages);
    }
}
