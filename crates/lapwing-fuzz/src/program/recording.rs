//! Recordings: read by those who verify, replay and go on with them, and written so that they read back.

use std::io::{Cursor, Read};

use lapwing::clock::Now;
use lapwing::recording::arrival::{Arrival, Value};
use lapwing::recording::checkpoint::Checkpoint;
use lapwing::recording::line::{self, LineWriter, SEAL_BYTES};
use lapwing::recording::lines::{Line, Lines, Text};
use lapwing::recording::marks::Marks;
use lapwing::recording::proof::{Proof, Proven};
use lapwing::recording::reader::{Reader, Record};
use lapwing::recording::{glance, input};
use lapwing_wire::envelope::{Kind, write_value};
use lapwing_wire::json::compact;
use lapwing_wire::position::{Epoch, Offset};
use lapwing_wire::time::WallTime;
use lapwing_wire::topic::TopicName;

use crate::input::{Input, pieces, text};
use crate::{Entry, Seeds};

/// A file, of which each line is sealed first where the choice says so.
pub const READ: Entry = Entry {
    name: "recording",
    take: read,
    seeds,
};

/// A message as it is recorded.
pub const WRITTEN: Entry = Entry {
    name: "recorded_lines",
    take: written,
    seeds: || {
        vec![
            ("json", b"\x00\x07{\"a\": [1, 2]}".to_vec()),
            ("string", b"\x00\x07\"a\\u0041\"".to_vec()),
            ("text", b"\x01\x21no json \"at all\"".to_vec()),
            ("bytes", b"\x02\x40\x00\xff\xfe".to_vec()),
        ]
    },
};

fn read(data: &[u8]) {
    let mut input = Input::new(data);
    let (choice, cut) = (input.byte(), input.byte());
    let bytes = match choice & 1 {
        0 => input.rest().to_vec(),
        _ => sealed(input.rest()),
    };
    let proven = prove(&bytes[..]);
    assert!(proven.findings.len() <= 10_000 && proven.histories.len() <= 10_000);
    assert_eq!(
        prove(Slow(pieces(&bytes, cut.max(1)).collect())),
        proven,
        "however it is read"
    );
    let whole = looks(&bytes);
    assert_eq!(proven.tally.records, whole, "each line with its checksum is a record");
    let read = Reader::new(&bytes[..]).filter(|entry| {
        let entry = entry.as_ref().expect("memory");
        !matches!(entry.record, Record::Damaged(_) | Record::Torn { .. })
    });
    assert_eq!(read.count() as u64, whole);
    goes_on(&bytes);
    unpacked(bytes);
}

fn prove(input: impl Read) -> Proven {
    let mut proof = Proof::default();
    let mut lines = Lines::new(input);
    while let Some(line) = lines.next().expect("memory") {
        proof.take(&line);
    }
    proof.finish()
}

/// What is seen of a line at a glance is what its parser says; gives how many lines have their checksum.
fn looks(bytes: &[u8]) -> u64 {
    let mut whole = 0;
    let mut lines = Lines::new(bytes);
    while let Some(line) = lines.next().expect("memory") {
        let Text::Whole(text) = line.text else { continue };
        if line::check(text).is_err() {
            continue;
        }
        whole += 1;
        let record = Record::of(&line);
        if let (Some(glance), Record::Message(message)) = (glance::message(text), &record) {
            assert_eq!(glance.topic, message.topic.as_str().as_bytes());
            assert_eq!(glance.offset.map(Offset::new), message.offset);
            assert_eq!(glance.mono, message.mono_ns);
            assert_eq!(time(glance.received), Some(message.received));
            let epoch = glance
                .epoch
                .and_then(|epoch| Epoch::parse(std::str::from_utf8(epoch).ok()?).ok());
            assert_eq!(epoch, message.epoch);
        }
        if let (Some((received, mono)), Record::Note(stamped)) = (glance::block(text), &record) {
            assert_eq!((received.as_slice(), mono), (stamped.received.as_bytes(), stamped.mono));
        }
    }
    whole
}

fn time(text: &[u8]) -> Option<WallTime> {
    WallTime::parse(std::str::from_utf8(text).ok()?)
}

/// A recording ends at its last whole record: what follows changes nothing of what is wanted next.
fn goes_on(bytes: &[u8]) {
    let checkpoint = |bytes: &[u8]| {
        let read = Checkpoint::read(&mut Cursor::new(bytes), bytes.len() as u64, &Marks::default());
        read.expect("memory")
    };
    let found = checkpoint(bytes);
    let end = usize::try_from(found.end).expect("within the bytes");
    assert_eq!(checkpoint(&bytes[..end]), found);
    if found.marks.is_empty() {
        return;
    }
    let note = found.marks.to_note();
    let mut out = Vec::new();
    LineWriter::default().note(&note, Now::default(), &mut out);
    match of_line(&out) {
        Record::Note(stamped) => assert_eq!(stamped.note, note, "what is wanted next is read as it was written"),
        record => panic!("{record:?} of {note:?}"),
    }
}

fn of_line(line: &[u8]) -> Record {
    Record::of(&Line {
        number: 1,
        at: 0,
        bytes: line.len() as u64,
        text: Text::Whole(line.strip_suffix(b"\n").unwrap_or(line)),
    })
}

/// What is not compressed comes as it is, and what is comes without a panic.
fn unpacked(bytes: Vec<u8>) {
    let packed = bytes.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]);
    let mut out = Vec::new();
    let plain = input::plain(Cursor::new(bytes.clone()));
    let read = plain.and_then(|plain| plain.take(1 << 20).read_to_end(&mut out));
    if !packed {
        read.expect("memory");
        assert_eq!(out, bytes);
    }
}

/// The same lines, each with the checksum of what it says; those that end as no object does stay as they are.
fn sealed(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    for line in bytes.split_inclusive(|&byte| byte == b'\n') {
        let Some(text) = line.strip_suffix(b"\n") else {
            out.extend_from_slice(line);
            break;
        };
        let has_seal = text.len() >= SEAL_BYTES && text[text.len() - SEAL_BYTES..].starts_with(b",\"crc\":\"");
        let body = match text.strip_suffix(b"}") {
            _ if has_seal => &text[..text.len() - SEAL_BYTES],
            Some(body) => body,
            None => {
                out.extend_from_slice(line);
                continue;
            }
        };
        out.extend_from_slice(body);
        out.extend_from_slice(format!(",\"crc\":\"{:08x}\"}}\n", crc32c::crc32c(body)).as_bytes());
    }
    out
}

/// A file that gives a little at a time.
struct Slow<'a>(std::collections::VecDeque<&'a [u8]>);

impl Read for Slow<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        while let Some(piece) = self.0.pop_front() {
            if piece.is_empty() {
                continue;
            }
            let (now, later) = piece.split_at(piece.len().min(buffer.len()));
            buffer[..now.len()].copy_from_slice(now);
            if !later.is_empty() {
                self.0.push_front(later);
            }
            return Ok(now.len());
        }
        Ok(0)
    }
}

fn written(data: &[u8]) {
    let mut input = Input::new(data);
    let (choice, flip) = (input.byte(), input.byte());
    let payload = input.rest();
    let json = text(payload).and_then(compact);
    let (value, kind) = match (choice % 3, &json, text(payload)) {
        (0, Some(json), _) => (Value::Json(json), Kind::Json),
        (1, _, Some(text)) => (Value::Text(text), Kind::Text),
        _ => (Value::Bytes(payload), Kind::Bytes),
    };
    let mut expect = Vec::new();
    let said = match (kind, &json) {
        (Kind::Json, Some(json)) => json.as_bytes(),
        _ => payload,
    };
    write_value(kind, said, &mut expect);
    let arrival = Arrival {
        topic: &TopicName::parse("orders").expect("valid"),
        offset: (choice & 4 != 0).then_some(Offset::new(u64::MAX >> (choice % 64))),
        epoch: (choice & 8 != 0).then_some(Epoch::from_bits(u128::MAX >> (choice % 128))),
        time: (choice & 16 != 0).then_some("2026-11-21T19:00:00.123456Z"),
        received: Now {
            wall: WallTime::from_nanos(1_795_287_600_000_000_000 + i64::from(flip)),
            mono: u64::from(flip),
        },
        value,
        bytes: payload.len() as u64,
    };
    let mut out = Vec::new();
    LineWriter::default().message(&arrival, &mut out);
    assert_eq!(out.iter().filter(|&&byte| byte == b'\n').count(), 1);
    match of_line(&out) {
        Record::Message(message) => {
            assert_eq!((&message.topic, message.offset), (arrival.topic, arrival.offset));
            assert_eq!((message.epoch, message.mono_ns), (arrival.epoch, arrival.received.mono));
            assert_eq!(
                (message.received, message.time),
                (arrival.received.wall, arrival.time.and_then(WallTime::parse))
            );
            let mut again = Vec::new();
            write_value(message.kind, &message.payload, &mut again);
            assert_eq!(again, expect, "a payload is read as it was written");
        }
        record => panic!("{record:?} of our own line"),
    }
    let place = usize::from(flip) * (out.len() - 1) / 256;
    out[place] ^= 1;
    assert!(
        matches!(of_line(&out), Record::Damaged(_)),
        "a bit that changed is seen"
    );
}

fn seeds() -> Seeds {
    let stamp = |nth: u32| format!(r#""received":"2026-11-21T19:00:14.{nth:09}Z","mono":{}"#, 1000 + nth);
    let epoch = |bits: u8| format!("{bits:032x}");
    let message = |nth: u32, offset: u64| {
        let (stamp, epoch) = (stamp(nth), epoch(1));
        format!(
            r#"{{"topic":"users","offset":{offset},"epoch":"{epoch}","time":"2026-11-21T19:00:14.000001Z",{stamp},"data":{{"a":1}}}}"#
        )
    };
    let note = |nth: u32, body: &str| format!("{{{body},{}}}", stamp(nth));
    let start = note(
        1,
        r#""record":"start","version":"lapwing/0.1.0","url":"ws://127.0.0.1:8765","block_size":5,"boot":"b""#,
    );
    let positions = |nth: u32, bits: u8, offset: u64| {
        let epoch = epoch(bits);
        note(
            nth,
            &format!(r#""record":"positions","topics":{{"users":{{"epoch":"{epoch}","offset":{offset}}}}}"#),
        )
    };
    let gap = note(
        6,
        r#""record":"gap","topic":"users","from":4,"to":9,"reason":"retention""#,
    );
    let reset = note(
        7,
        &format!(
            r#""record":"reset","topic":"users","epoch":"{}","first":0,"last":3"#,
            epoch(2)
        ),
    );
    let continued = note(
        7,
        &format!(r#""record":"continued","topic":"users","epoch":"{}","at":4"#, epoch(2)),
    );
    let diverged = note(
        7,
        &format!(
            r#""record":"diverged","topic":"users","epoch":"{}","at":3,"to":4"#,
            epoch(2)
        ),
    );
    let block = note(
        8,
        r#""record":"block","topic":"users","block":0,"block_size":5,"first":0,"last":4,"messages":5,"elapsed_ms":1.5,"spread_ms":1.0,"bytes":90,"flags":[]"#,
    );
    let reconnect = note(
        8,
        r#""record":"reconnect","down_ms":12.5,"attempts":1,"why":"it ended""#,
    );
    let step = note(9, r#""record":"clock_step","ms":-3600000.0"#);
    let foreign = format!(r#"{{"topic":"-",{},"data_base64":"AAEC"}}"#, stamp(5));
    let file = |lines: &[&String]| {
        let mut out = b"\x01\x05".to_vec();
        for line in lines {
            out.extend_from_slice(line.as_bytes());
            out.push(b'\n');
        }
        out
    };
    let four = [message(2, 0), message(3, 1), message(4, 2), message(5, 3)];
    let [a, b, c, d] = &four;
    let begin = positions(1, 1, 0);
    vec![
        ("complete", file(&[&start, &begin, a, b, c, d, &block])),
        ("gap", file(&[&start, &begin, a, b, c, d, &gap, &message(7, 9)])),
        ("missing", file(&[&start, &begin, a, b, d])),
        ("out-of-order", file(&[&begin, b, a, d, c, d])),
        (
            "reset",
            file(&[
                &begin,
                a,
                b,
                c,
                d,
                &reset,
                &positions(9, 2, 1),
                &positions(9, 1, 4),
                &message(9, 4),
            ]),
        ),
        ("continued", file(&[&begin, a, b, c, d, &continued, &message(8, 4)])),
        ("diverged", file(&[&begin, a, b, c, d, &diverged, &reconnect, &step])),
        ("foreign", file(&[&start, &foreign, &foreign])),
        ("later", file(&[&start, &note(2, r#""record":"telegram","topic":"x""#)])),
        ("torn", [&file(&[&start, a, b])[..], &c.as_bytes()[..40]].concat()),
        ("unsealed", [b"\0\x05", &file(&[&start, a])[2..]].concat()),
        (
            "offsets-at-the-end",
            file(&[&positions(1, 1, u64::MAX), &message(2, u64::MAX), &gap]),
        ),
    ]
}
