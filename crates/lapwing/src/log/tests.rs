use std::collections::VecDeque;
use std::ops::Range;
use std::time::Duration;

use lapwing_wire::array::{Array, ArrayWriter};
use lapwing_wire::control::Answer;
use lapwing_wire::decoder::{Decoder, DecoderLimits, Event};
use lapwing_wire::deflate::{Deflater, Inflater, Room};
use lapwing_wire::dtype::Dtype;
use lapwing_wire::envelope::Kind;
use lapwing_wire::extension::Compression;
use lapwing_wire::frame::{self, Opcode, Role};
use lapwing_wire::position::Position;
use lapwing_wire::start::Start;
use lapwing_wire::topic::TopicName;

use super::batch::NewMessage;
use super::reader::{Next, Reader, View};
use super::retries::{Named, RetryKey};
use super::*;

const SECOND: u64 = 1_000_000_000;

fn at(second: u64) -> Now {
    Now {
        wall: lapwing_wire::time::WallTime::from_nanos(1_795_287_600 * 1_000_000_000),
        mono: second * SECOND,
    }
}

fn log(bytes: u64, age_s: u64) -> Arc<Log> {
    let topic = TopicName::parse("t").expect("valid");
    Arc::new(Log::new(
        topic,
        Epoch::from_bits(1),
        Retention {
            bytes,
            age: Duration::from_secs(age_s),
        },
    ))
}

fn append(log: &Log, payload: &str, now: Now) -> Offset {
    log.append(&[NewMessage::new(Kind::Json, payload.as_bytes())], now)
        .expect("open")
        .offsets
        .start
}

/// Reads everything from `cursor` on: offsets delivered, and ranges missed.
fn drain(reader: &mut Reader, mut cursor: Offset, bytes_max: usize) -> (Vec<u64>, Vec<Range<u64>>) {
    let (mut offsets, mut missed) = (Vec::new(), Vec::new());
    loop {
        reader.refresh();
        reader.prepare(cursor, &mut Deflater::default());
        match reader.read(cursor, bytes_max) {
            Next::Frames(run) => {
                offsets.extend(run.entries().iter().map(|entry| entry.offset.get()));
                let split = run.split(run.bytes().len());
                assert_eq!((split.taken, split.rest.len()), (run.entries().len(), 0));
                cursor = split.last.expect("at least one").next();
            }
            Next::Missed(range) => {
                missed.push(range.start.get()..range.end.get());
                cursor = range.end;
            }
            Next::Lost(range, _) => cursor = range.end,
            Next::OnDisk => reader.put(reader::fetch(reader.log(), cursor).expect("the files are there")),
            Next::CaughtUp | Next::Ended => return (offsets, missed),
        }
    }
}

#[test]
fn frames_are_envelopes_one_behind_the_other() {
    let log = log(1 << 20, 60);
    log.append(
        &[
            NewMessage::new(Kind::Json, b"[1]"),
            NewMessage::new(Kind::Text, b"a\"b"),
        ],
        at(0),
    )
    .expect("open");
    let reader = Reader::new(log, View::Canonical);
    let Next::Frames(run) = reader.read(Offset::ZERO, 4096) else {
        panic!("there are two frames")
    };
    let first = "{\"topic\":\"t\",\"offset\":0,\"time\":\"2026-11-21T19:00:00.000000Z\",\"data\":[1]}";
    let second = "{\"topic\":\"t\",\"offset\":1,\"time\":\"2026-11-21T19:00:00.000000Z\",\"data\":\"a\\\"b\"}";
    let mut expect = Vec::new();
    for text in [first, second] {
        frame::write_frame(&mut expect, Opcode::Text, text.as_bytes(), None);
    }
    assert_eq!(run.bytes(), expect);
}

#[test]
fn a_long_payload_gets_a_long_header_and_a_segment_of_its_own() {
    let log = log(1 << 20, 60);
    let long = format!("\"{}\"", "x".repeat(200_000));
    append(&log, "1", at(0));
    append(&log, &long, at(0));
    append(&log, "2", at(0));
    let mut reader = Reader::new(log.clone(), View::Canonical);
    reader.refresh();
    let Next::Frames(run) = reader.read(Offset::new(1), 64) else {
        panic!("the long frame is there")
    };
    assert_eq!(run.entries().len(), 1);
    assert_eq!(run.bytes()[1], 127);
    let entry = run.entries()[0];
    assert_eq!(
        &run.bytes()[entry.value_begin as usize..entry.value_end as usize],
        long.as_bytes()
    );
}

#[test]
fn a_long_batch_becomes_a_segment_without_a_copy() {
    let memory = Memory::new(Retention::DEFAULT, Offset::ZERO);
    let mut envelope = EnvelopeWriter::new(&TopicName::parse("t").expect("valid"));
    let (mut batch, mut writer) = (Batch::default(), MemoryWriter::default());
    let payload = vec![b'1'; 100_000];
    let messages = [NewMessage::new(Kind::Json, &payload); 3];
    batch.reserve(&messages, usize::MAX);
    for message in &messages {
        batch.push(&mut envelope, message, at(0));
    }
    let frames = batch.frames.clone();
    let place = batch.frames.as_ptr();
    memory.show(&mut writer, &mut batch, at(0));
    let mut segments = VecDeque::new();
    memory.copy_segments(&mut segments);
    assert_eq!(segments[0].frames(0..3), frames);
    assert_eq!(segments[0].frames(0..3).as_ptr(), place);
}

#[test]
fn what_stands_around_long_batches_is_read_in_its_order() {
    let log = log(64 << 20, 60);
    let long = format!("\"{}\"", "x".repeat(1000));
    let bodies = [1, 300, 2, 299, 301, 1];
    for count in bodies {
        log.append(&vec![NewMessage::new(Kind::Json, long.as_bytes()); count], at(0))
            .expect("open");
    }
    let mut reader = Reader::new(log.clone(), View::Canonical);
    let all = bodies.iter().sum::<usize>() as u64;
    for begin in [0, 1, 150, 301, 302, 303, 700] {
        let (offsets, missed) = drain(&mut reader, Offset::new(begin), 64 << 10);
        assert_eq!(offsets, (begin..all).collect::<Vec<_>>());
        assert!(missed.is_empty());
    }
}

#[test]
fn every_cursor_reads_the_same_from_its_own_offset() {
    let log = log(1 << 20, 60);
    for n in 0..1000 {
        assert_eq!(append(&log, &n.to_string(), at(n / 100)).get(), n);
    }
    let mut reader = Reader::new(log, View::Canonical);
    for (begin, bytes_max) in [(0, 1), (0, 1 << 20), (500, 4096), (999, 64), (1000, 64)] {
        let (offsets, missed) = drain(&mut reader, Offset::new(begin), bytes_max);
        assert_eq!(offsets, (begin..1000).collect::<Vec<_>>());
        assert!(missed.is_empty());
    }
}

#[test]
fn bytes_are_bounded_by_one_segment_more() {
    let retention = Retention {
        bytes: 1 << 20,
        age: Duration::from_secs(3600),
    };
    let log = log(retention.bytes, 3600);
    let payload = format!("\"{}\"", "x".repeat(1000));
    for _ in 0..5000 {
        append(&log, &payload, at(0));
        let slack = (retention.segment_bytes() + 64 * 1024) as u64;
        assert!(
            log.memory().bytes() <= retention.bytes + slack,
            "{}",
            log.memory().bytes()
        );
    }
    let (offsets, missed) = drain(&mut Reader::new(log.clone(), View::Canonical), Offset::new(7), 4096);
    assert_eq!(missed, vec![7..log.first().get()]);
    assert_eq!(offsets, (log.first().get()..5000).collect::<Vec<_>>());
    assert!(
        log.first() > Offset::new(3000) && log.first() < Offset::new(4500),
        "{}",
        log.first()
    );
}

#[test]
fn age_lets_go_even_when_nothing_comes_any_more() {
    let log = log(1 << 20, 60);
    for second in 0..100 {
        append(&log, "1", at(second));
    }
    let first = log.first().get();
    assert!((100 - 60 - 8 - 1..=100 - 60).contains(&first), "{first}");
    log.tick(at(100 + 59 - 8));
    assert!(log.first() < log.next());
    log.tick(at(100 + 60));
    assert_eq!((log.first(), log.next()), (Offset::new(100), Offset::new(100)));
    assert_eq!(log.memory().bytes(), 0);
    assert_eq!(append(&log, "1", at(161)).get(), 100);
    let (offsets, missed) = drain(&mut Reader::new(log, View::Canonical), Offset::new(90), 4096);
    assert_eq!(offsets, [100]);
    assert_eq!(missed.first(), Some(&(90..100)));
    assert_eq!(missed.len(), 1);
}

#[test]
fn holes_are_read_as_missed() {
    let log = log(1 << 20, 60);
    append(&log, "0", at(0));
    log.append_at(
        Offset::new(5),
        &[NewMessage::new(Kind::Json, b"5"), NewMessage::new(Kind::Json, b"6")],
        at(0),
    )
    .expect("open");
    log.append_at(Offset::new(9), &[NewMessage::new(Kind::Json, b"9")], at(20))
        .expect("open");
    let (offsets, missed) = drain(&mut Reader::new(log, View::Canonical), Offset::ZERO, 4096);
    assert_eq!((offsets, missed), (vec![0, 5, 6, 9], vec![1..5, 7..9]));
}

#[test]
fn bare_payloads_are_a_view_with_the_same_offsets() {
    let log = log(1 << 20, 60);
    append(&log, "[1]", at(0));
    append(&log, "[2]", at(10));
    let mut reader = Reader::new(log.clone(), View::Payload);
    log.append(
        &[
            NewMessage::new(Kind::Text, "é\n".as_bytes()),
            NewMessage::new(Kind::Bytes, &[0, 1, 2]),
        ],
        at(10),
    )
    .expect("open");
    append(&log, "[3]", at(30));
    let mut expect = Vec::new();
    for (opcode, payload) in [
        (Opcode::Text, &b"[1]"[..]),
        (Opcode::Text, b"[2]"),
        (Opcode::Text, "é\n".as_bytes()),
        (Opcode::Binary, &[0, 1, 2]),
        (Opcode::Text, b"[3]"),
    ] {
        frame::write_frame(&mut expect, opcode, payload, None);
    }
    let mut bytes = Vec::new();
    let mut cursor = Offset::ZERO;
    reader.refresh();
    loop {
        reader.prepare(cursor, &mut Deflater::default());
        let Next::Frames(run) = reader.read(cursor, 4096) else {
            break;
        };
        bytes.extend_from_slice(run.bytes());
        cursor = run.entries().last().expect("at least one").offset.next();
    }
    assert_eq!(bytes, expect);
    assert_eq!(drain(&mut reader, Offset::ZERO, 4096).0, [0, 1, 2, 3, 4]);
}

#[test]
fn bare_payloads_are_the_same_from_every_offset_and_however_they_are_cut() {
    let log = log(1 << 20, 60);
    for n in 0..3000u64 {
        let payload = format!("\"{}\"", "x".repeat(usize::try_from(n % 300).expect("small")));
        append(&log, &payload, at(n / 100));
        if n % 700 == 0 {
            log.append_at(log.next().plus(3), &[NewMessage::new(Kind::Json, b"1")], at(n / 100))
                .expect("open");
        }
    }
    let canonical = &mut Reader::new(log.clone(), View::Canonical);
    let first = log.first().get();
    for view in [
        View::Payload,
        View::Deflated,
        View::DeflatedPayload,
        View::Events,
        View::Arrays,
    ] {
        let other = &mut Reader::new(log.clone(), view);
        for begin in (first..log.next().get()).step_by(97) {
            for bytes_max in [1, 5000, 1 << 20] {
                let begin = Offset::new(begin);
                assert_eq!(drain(other, begin, bytes_max), drain(canonical, begin, 1 << 20));
            }
        }
    }
}

#[test]
fn arrays_are_binary_frames_and_all_else_is_as_it_is() {
    let writer = ArrayWriter::new(TopicName::parse("t").expect("valid"), 7, Dtype::Uint16);
    let log = Log::new(writer.topic().clone(), Epoch::from_bits(1), Retention::DEFAULT);
    log.on_arrays(writer);
    let log = Arc::new(log);
    let payload = |n: u64| match n % 5 {
        0 => "[70000]".to_owned(),
        1 => "{\"a\":[1]}".to_owned(),
        _ => format!("[{}{n}]", format!("{n},").repeat(usize::try_from(n).expect("small"))),
    };
    for n in 0..100 {
        append(&log, &payload(n), at(0));
    }
    // Of two threads; history is made by each for itself, and what is new once.
    let mut readers = [View::Arrays, View::Arrays].map(|view| Reader::new(log.clone(), view));
    for n in 100..200 {
        append(&log, &payload(n), at(0));
    }
    append(&log, &format!("[{}1]", "1,".repeat(1 << 20)), at(0));
    log.append(&[NewMessage::new(Kind::Text, b"[1,2]")], at(0))
        .expect("open");
    let canonical = &mut Reader::new(log.clone(), View::Canonical);
    for reader in &mut readers {
        reader.refresh();
        let mut cursor = Offset::ZERO;
        while cursor < log.next() {
            reader.prepare(cursor, &mut Deflater::default());
            let (Next::Frames(run), Next::Frames(text)) = (reader.read(cursor, 1), canonical.read(cursor, 1)) else {
                panic!("there is more at {cursor}")
            };
            let (opcode, message) = lapwing_wire::frame::parts(run.bytes());
            let entry = text.entries()[0];
            let value = &text.bytes()[entry.value_begin as usize..entry.value_end as usize];
            match Array::parse(message) {
                Ok(array) => {
                    let mut back = Vec::new();
                    array.write_value(&mut back);
                    assert_eq!((back.as_slice(), array.offset, array.number), (value, cursor, 7));
                    assert_eq!((opcode, array.topic), (Opcode::Binary, "t"));
                    assert!(cursor.get() >= 200 || cursor.get() % 5 > 1, "{cursor}");
                }
                Err(_) => {
                    assert_eq!(run.bytes(), text.bytes());
                    assert!(cursor.get() == 201 || cursor.get() % 5 < 2, "{cursor}");
                }
            }
            cursor = cursor.next();
        }
    }
}

#[test]
fn events_carry_the_same_messages_with_the_place_behind_each() {
    let log = log(16 << 20, 60);
    for n in 0..300u64 {
        let payload = format!("\"{}\"", "x".repeat(usize::try_from(n * 37 % 70_000).expect("small")));
        append(&log, &payload, at(0));
    }
    let canonical = &mut Reader::new(log.clone(), View::Canonical);
    let events = &mut Reader::new(log.clone(), View::Events);
    for begin in [0, 1, 150, 299] {
        let mut cursor = Offset::new(begin);
        while cursor < log.next() {
            events.prepare(cursor, &mut Deflater::default());
            let (Next::Frames(event), Next::Frames(frame)) = (events.read(cursor, 1), canonical.read(cursor, 1)) else {
                panic!("there is more at {cursor}")
            };
            let (_, envelope) = lapwing_wire::frame::parts(frame.bytes());
            let envelope = str::from_utf8(envelope).expect("text");
            let expect = format!("id: {}:{}\ndata: {envelope}\n\n", log.epoch(), cursor.next());
            assert_eq!(str::from_utf8(event.bytes()), Ok(expect.as_str()));
            cursor = cursor.next();
        }
    }
}

/// What a client makes of the frames of this reader from `cursor` on, and how long they were.
fn messages(reader: &mut Reader, mut cursor: Offset) -> (Vec<String>, usize) {
    let (mut messages, mut length) = (Vec::new(), 0);
    let (mut inflater, room) = (Inflater::default(), Room::new(1 << 20));
    let mut decoder = Decoder::new(Role::Client, DecoderLimits::default()).with_compression(Compression::Deflate);
    reader.refresh();
    loop {
        reader.prepare(cursor, &mut Deflater::default());
        let Next::Frames(run) = reader.read(cursor, 1000) else {
            return (messages, length);
        };
        let mut bytes = run.bytes().to_vec();
        cursor = run.entries().last().expect("at least one").offset.next();
        length += bytes.len();
        let mut rest = &mut bytes[..];
        loop {
            let decoded = decoder.decode(rest).expect("frames");
            let consumed = decoded.consumed;
            match decoded.event {
                Some(Event::Deflated(deflated)) => {
                    let whole = inflater.inflate(deflated, 1 << 20, &room).expect("whole");
                    messages.push(format!("{:?}", whole.event().expect("a message")));
                }
                Some(event) => messages.push(format!("{event:?}")),
                None => break,
            }
            rest = &mut rest[consumed..];
        }
    }
}

#[test]
fn compressed_views_carry_the_same_messages_in_fewer_bytes() {
    let log = log(1 << 20, 60);
    append(&log, "\"before anybody came\"", at(0));
    for (plain, deflated) in [
        (View::Canonical, View::Deflated),
        (View::Payload, View::DeflatedPayload),
    ] {
        let from = log.next();
        // Of two threads.
        let readers = [plain, deflated, deflated].map(|view| Reader::new(log.clone(), view));
        for n in 0..200 {
            let text = format!("[{}]", "1.25,".repeat(n % 70) + "0");
            let kind = [Kind::Json, Kind::Text, Kind::Bytes][n % 3];
            log.append(&[NewMessage::new(kind, text.as_bytes())], at(1))
                .expect("open");
        }
        let [plain, first, second] = readers.map(|mut reader| messages(&mut reader, from));
        assert_eq!((plain.0.len(), &first.0), (200, &plain.0));
        assert_eq!(first, second);
        assert!(first.1 < plain.1 / 2, "{} bytes for {}", first.1, plain.1);
    }
}

/// Two logs to which the same is appended, one of which has bare readers at many places: nobody can tell them apart.
#[track_caller]
fn check_bare_readers_cost_nothing(on_lag: OnLag, payload_bytes: usize) {
    let new = || Arc::new(Arc::into_inner(log(256 << 10, 3600)).expect("new").with_lag(on_lag));
    let (alone, read) = (new(), new());
    let pins = [&alone, &read].map(|log| log.grant_pinned(Start::Earliest, at(0)).1);
    let payload = format!("\"{}\"", "x".repeat(payload_bytes));
    let message = NewMessage::new(Kind::Json, payload.as_bytes());
    let mut bare: Vec<Reader> = (0..3).map(|_| Reader::new(read.clone(), View::Payload)).collect();
    let mut slow = Reader::new(read.clone(), View::Canonical);
    for round in 0..60 {
        for log in [&alone, &read] {
            log.append_fitting(&vec![message; 200], at(0)).expect("open");
        }
        for (nth, bare) in bare.iter_mut().enumerate() {
            let from = read.first().plus(nth as u64 * 100).min(read.next());
            drain(bare, from, 16 << 10);
        }
        let held = |log: &Log| (log.first(), log.next(), log.memory().bytes());
        assert_eq!(held(&alone), held(&read), "round {round}");
        let retention = read.memory().retention();
        let segment = read.memory().segment_bytes_max();
        let bytes = read.memory().bytes();
        assert!(
            bytes <= retention.bytes + segment,
            "round {round}: {bytes} bytes with segments of {segment}"
        );
        // Whoever reads envelopes at the same time finds all that is kept.
        let (offsets, missed) = drain(&mut slow, read.first(), 16 << 10);
        assert_eq!(
            (offsets.len() as u64, missed.len()),
            (read.next().since(read.first()), 0)
        );
        if round % 10 == 9 {
            pins.iter()
                .flatten()
                .zip([&alone, &read])
                .for_each(|(pin, log)| pin.put(Some(log.next())));
        }
    }
    assert!(read.first() > Offset::ZERO, "it was full");
}

#[test]
fn bare_readers_of_history_cost_a_full_topic_no_memory_and_others_nothing() {
    for payload_bytes in [0, 100, 5000] {
        check_bare_readers_cost_nothing(OnLag::Skip, payload_bytes);
        check_bare_readers_cost_nothing(OnLag::Wait, payload_bytes);
    }
}

#[test]
fn an_ended_log_is_read_to_its_end() {
    let log = log(1 << 20, 60);
    append(&log, "1", at(0));
    log.end();
    let refused = log.append(&[NewMessage::new(Kind::Json, b"2")], at(0));
    assert_eq!(refused.expect_err("it has ended"), AppendError::Ended);
    let reader = Reader::new(log, View::Canonical);
    assert!(matches!(reader.read(Offset::ZERO, 4096), Next::Frames(_)));
    assert!(matches!(reader.read(Offset::new(1), 4096), Next::Ended));
}

#[test]
fn a_repeated_publish_is_appended_once() {
    let log = log(1 << 20, 60);
    let two = [NewMessage::new(Kind::Json, b"1"), NewMessage::new(Kind::Json, b"2")];
    let key = RetryKey::of_source("s", 0);
    let publish = |key, second| {
        let appended = log.append_once(Named::alone(key), &two, at(second)).expect("open");
        let offsets = appended.offsets.start.get()..appended.offsets.end.get();
        (offsets, appended.repeated)
    };
    assert_eq!(publish(key, 0), (0..2, false));
    append(&log, "3", at(0));
    assert_eq!(publish(key, 0), (0..2, true));
    assert_eq!(log.next(), Offset::new(3));
    assert_eq!(publish(RetryKey::of_source("s", 2), 0), (3..5, false));
    // When its messages are gone, so is the memory of it.
    append(&log, "5", at(100));
    log.tick(at(100));
    append(&log, "6", at(100));
    assert_eq!(publish(key, 100), (7..9, false));
}

#[test]
fn a_cut_write_gives_the_rest_of_one_frame() {
    let log = log(1 << 20, 60);
    for _ in 0..3 {
        append(&log, "1", at(0));
    }
    let reader = Reader::new(log, View::Canonical);
    let Next::Frames(run) = reader.read(Offset::ZERO, 4096) else {
        panic!("three frames")
    };
    let frame = run.bytes().len() / 3;
    for written in 0..=run.bytes().len() {
        let split = run.split(written);
        let taken = written.div_ceil(frame);
        assert_eq!(split.taken, taken, "{written}");
        assert_eq!(split.rest, &run.bytes()[written..taken * frame]);
        assert_eq!(split.last, taken.checked_sub(1).map(|last| Offset::new(last as u64)));
    }
}

#[track_caller]
fn check_grant(start: Start, from: u64, answer: Answer, missing_from: Option<u64>) {
    let log = log(1 << 20, 60);
    for second in 0..100 {
        append(&log, "1", at(second));
    }
    let first = log.first().get();
    assert_eq!(first, 40, "the cases below are for a log that holds 40..100");
    let grant = log.grant(start, at(100));
    assert_eq!(
        (grant.from.get(), grant.answer, grant.missing_from.map(Offset::get)),
        (from, answer, missing_from),
        "{start}"
    );
}

#[test]
fn where_a_reader_begins() {
    let position = |epoch, offset| {
        Start::Position(Position {
            epoch: Epoch::from_bits(epoch),
            offset: Offset::new(offset),
        })
    };
    check_grant(Start::Latest, 100, Answer::Ok, None);
    check_grant(Start::Earliest, 40, Answer::Ok, None);
    check_grant(Start::Last(10), 90, Answer::Ok, None);
    check_grant(Start::Last(1000), 40, Answer::Ok, None);
    check_grant(Start::Ago(Duration::from_secs(30)), 70, Answer::Ok, None);
    check_grant(Start::Ago(Duration::from_secs(3000)), 40, Answer::Ok, None);
    check_grant(Start::Ago(Duration::ZERO), 100, Answer::Ok, None);
    check_grant(Start::Offset(Offset::new(40)), 40, Answer::Ok, None);
    check_grant(Start::Offset(Offset::new(39)), 40, Answer::Gap, Some(39));
    check_grant(Start::Offset(Offset::new(100)), 100, Answer::Ok, None);
    check_grant(Start::Offset(Offset::new(101)), 40, Answer::Reset, None);
    check_grant(position(1, 70), 70, Answer::Ok, None);
    check_grant(position(1, 3), 40, Answer::Gap, Some(3));
    check_grant(position(2, 70), 40, Answer::Reset, None);
}

#[test]
fn a_hole_at_the_front_is_no_part_of_what_was_let_go() {
    let log = log(1 << 20, 60);
    append(&log, "0", at(0));
    log.tick(at(61));
    log.append_at(Offset::new(5), &[NewMessage::new(Kind::Json, b"5")], at(61))
        .expect("open");
    for (asked, missing_from) in [(0, Some(0)), (3, Some(3)), (5, None)] {
        let grant = log.grant(Start::Offset(Offset::new(asked)), at(61));
        assert_eq!(
            (grant.from.get(), grant.missing_from.map(Offset::get)),
            (5, missing_from)
        );
        assert_eq!(grant.let_go, log.let_go());
    }
    assert_eq!(log.let_go(), Offset::new(1));
}

#[test]
fn the_appender_and_readers_agree_under_load() {
    let log = log(256 << 10, 3600);
    let writer = std::thread::spawn({
        let log = log.clone();
        move || {
            for n in 0..50_000 {
                append(&log, &n.to_string(), at(0));
            }
        }
    });
    let mut reader = Reader::new(log.clone(), View::Canonical);
    let mut cursor = Offset::ZERO;
    while cursor < Offset::new(50_000) {
        reader.refresh();
        match reader.read(cursor, 4096) {
            Next::Frames(run) => {
                for entry in run.entries() {
                    assert_eq!(entry.offset, cursor);
                    cursor = cursor.next();
                }
            }
            Next::Missed(range) => cursor = range.end,
            Next::CaughtUp => std::thread::yield_now(),
            Next::Lost(..) | Next::OnDisk | Next::Ended => unreachable!("it is in memory, and nobody ends it"),
        }
    }
    writer.join().expect("the writer holds");
}

fn holding(bytes: u64) -> Arc<Log> {
    let log = Arc::into_inner(log(bytes, 1)).expect("nobody else has it");
    Arc::new(log.with_lag(OnLag::Wait))
}

/// Appends numbers until the log takes no more; gives the end. Memory stays within its bound and one segment.
#[track_caller]
fn fill(log: &Log) -> u64 {
    let payload = format!("\"{}\"", "x".repeat(500));
    let message = NewMessage::new(Kind::Json, payload.as_bytes());
    let retention = log.memory().retention();
    for second in 0..10_000 {
        let appended = log.append_fitting(&[message; 7], at(second)).expect("open").offsets;
        // The smallest segment has an index of this size too.
        let segment = retention.segment_bytes() + 64 * size_of::<segment::Entry>();
        let bytes = log.memory().bytes();
        assert!(bytes <= retention.bytes + segment as u64, "{bytes}");
        if appended.end.since(appended.start) < 7 {
            return log.next().get();
        }
    }
    panic!("it never was full");
}

#[test]
fn a_log_that_holds_takes_no_more_than_it_keeps_and_forgets_nothing_for_its_age() {
    let log = holding(64 << 10);
    let end = fill(&log);
    log.tick(at(100_000));
    assert_eq!((log.first().get(), log.next().get()), (0, end));
    let message = NewMessage::new(Kind::Json, b"1");
    let refused = log.append(&[message], at(0));
    assert_eq!(refused.expect_err("full"), AppendError::Held);
    let key = RetryKey::of_key("k");
    let refused = log.append_once(Named::alone(key), &[message], at(0));
    assert_eq!(refused.expect_err("full"), AppendError::Held);
    let (_, first) = log.grant_pinned(Start::Latest, at(0));
    let first = first.expect("it holds");
    let appended = log.append_once(Named::alone(key), &[message], at(0)).expect("room");
    assert!(!appended.repeated, "what was refused was not remembered");
    assert_eq!(appended.offsets, Offset::new(end)..Offset::new(end + 1));
    assert!(first.is_wanted() || log.first() > Offset::ZERO);
}

#[test]
fn a_log_that_holds_lets_go_below_its_slowest_reader_and_only_then_takes_more() {
    let log = holding(64 << 10);
    let (grant, slow) = log.grant_pinned(Start::Earliest, at(0));
    let slow = slow.expect("it holds");
    let fast = log.pin().expect("it holds");
    let mut end = fill(&log);
    for place in (0..end * 3).step_by(13) {
        fast.put(Some(log.next()));
        slow.put(Some(Offset::new(place.min(end))));
        let now_end = fill(&log);
        assert!(log.first() <= Offset::new(place), "what is still to be read is there");
        assert!(now_end >= end);
        end = now_end;
    }
    assert!(end > 3 * 64, "the slow one's progress made room");
    // The slowest leaves: the next one counts.
    fast.put(Some(log.next()));
    drop(slow);
    assert!(fill(&log) > end);
    assert!(log.first() <= Offset::new(end));
    // With the last reader gone nothing is let go any more.
    let (first, end) = (log.first(), log.next());
    fast.put(None);
    assert_eq!(fill(&log), end.get());
    assert_eq!(log.first(), first);
    assert_eq!(grant.from, Offset::ZERO);
}

#[test]
fn a_message_larger_than_all_that_is_held_passes_when_everything_before_was_read() {
    let log = holding(64 << 10);
    let huge = format!("\"{}\"", "x".repeat(300 << 10));
    let huge = NewMessage::new(Kind::Json, huge.as_bytes());
    let (_, pin) = log.grant_pinned(Start::Earliest, at(0));
    let pin = pin.expect("it holds");
    for n in 1..10 {
        let appended = log.append_fitting(&[huge, huge], at(0)).expect("open").offsets;
        assert_eq!((appended.start.get(), appended.end.get()), (n - 1, n), "one at a time");
        let refused = log.append(&[huge], at(0));
        assert_eq!(refused.expect_err("full"), AppendError::Held);
        pin.put(Some(log.next()));
    }
    let mut reader = Reader::new(log.clone(), View::Canonical);
    assert_eq!(drain(&mut reader, Offset::new(8), 64).0, [8]);
}

#[tokio::test]
async fn whoever_waits_for_room_is_woken_when_the_slowest_reader_moves_or_goes() {
    let log = holding(64 << 10);
    let (_, pin) = log.grant_pinned(Start::Earliest, at(0));
    let pin = pin.expect("it holds");
    for round in 0..3 {
        let end = fill(&log);
        let waiting = tokio::spawn({
            let log = log.clone();
            async move { log.room().await }
        });
        while !pin.is_wanted() {
            tokio::task::yield_now().await;
        }
        pin.put(Some(Offset::new(end)));
        waiting.await.expect("it is woken");
        assert!(log.first() > Offset::ZERO, "{round}");
    }
    fill(&log);
    let (_, other) = log.grant_pinned(Start::Latest, at(0));
    let room = tokio::spawn({
        let log = log.clone();
        async move { log.room().await }
    });
    tokio::task::yield_now().await;
    drop(pin);
    room.await.expect("it is woken");
    drop(other);
}

#[test]
fn a_reader_whose_cursors_are_all_stuck_lets_go_of_what_the_log_let_go() {
    let log = log(64 << 10, 60);
    append(&log, "1", at(0));
    let mut reader = Reader::new(log.clone(), View::Canonical);
    let mut segments = std::collections::VecDeque::new();
    log.memory().copy_segments(&mut segments);
    let oldest = Arc::downgrade(&segments[0]);
    drop(segments);
    let payload = format!("\"{}\"", "x".repeat(1000));
    while log.first() == Offset::ZERO {
        append(&log, &payload, at(0));
    }
    assert!(oldest.upgrade().is_some(), "until it looks");
    // What a delivery thread does whenever its bell was rung, whoever of its sessions may have a turn.
    reader.refresh();
    assert!(oldest.upgrade().is_none());
}
