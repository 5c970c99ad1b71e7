//! A recorded file read back, line by line, with everything that is wrong with it.

use std::io::{self, Read};
use std::path::Path;

use lapwing_wire::envelope::{Kind, there, write_payload, write_value};
use lapwing_wire::position::{Epoch, Offset};
use lapwing_wire::time::WallTime;
use lapwing_wire::topic::TopicName;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::input::{self, Input};
use super::line::{self, SealError};
use super::lines::{Line, Lines, Text};
use super::note::StampedNote;

/// Reads a recording from its beginning.
///
/// It holds one line at a time, which is at most [`LINE_BYTES_MAX`](line::LINE_BYTES_MAX); what is longer is passed over as
/// damage. Nothing stops it but an error of the file itself: a bad line is told and the next one read.
pub struct Reader<R> {
    lines: Lines<R>,
}

impl Reader<Input> {
    /// Opens a file, compressed or not.
    pub fn open(path: &Path) -> io::Result<Self> {
        Ok(Self::new(input::open(path)?))
    }
}

impl<R: Read> Reader<R> {
    /// Reads from `input`.
    #[must_use]
    pub fn new(input: R) -> Self {
        Self {
            lines: Lines::new(input),
        }
    }
}

impl<R: Read> Iterator for Reader<R> {
    type Item = io::Result<Entry>;

    fn next(&mut self) -> Option<Self::Item> {
        let line = self.lines.next().transpose()?;
        Some(line.map(|line| Entry {
            line: line.number,
            at: line.at,
            record: Record::of(&line),
        }))
    }
}

/// One line of a file.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// Its number, from 1.
    pub line: u64,
    /// At which byte of the file it begins.
    pub at: u64,
    /// What it holds.
    pub record: Record,
}

/// What a line holds.
#[derive(Clone, Debug, PartialEq)]
pub enum Record {
    /// A message.
    Message(RecordedMessage),
    /// Something else that happened.
    Note(StampedNote),
    /// An intact line that this version does not understand: a later one wrote it.
    Unknown {
        /// What was not understood.
        why: String,
    },
    /// A line that is not as it was written.
    Damaged(Damage),
    /// The end of the file, without a newline: a write that did not come to its end.
    Torn {
        /// How much of it is there.
        bytes: u64,
    },
}

impl Record {
    /// What a line holds.
    #[must_use]
    pub fn of(line: &Line<'_>) -> Self {
        match line.text {
            Text::Whole(text) => parse(text),
            Text::TooLong => Self::Damaged(Damage::TooLong { bytes: line.bytes }),
            Text::Torn => Self::Torn { bytes: line.bytes },
        }
    }
}

/// What is wrong with a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Damage {
    /// No checksum stands at its end.
    #[error("no checksum at its end")]
    NoChecksum,
    /// The checksum is that of other bytes.
    #[error("its checksum is that of other bytes")]
    Checksum,
    /// Longer than any line that is written.
    #[error("{bytes} bytes, more than any line that is written")]
    TooLong {
        /// How long.
        bytes: u64,
    },
}

impl From<SealError> for Damage {
    fn from(error: SealError) -> Self {
        match error {
            SealError::Missing => Self::NoChecksum,
            SealError::Wrong => Self::Checksum,
        }
    }
}

/// A message read back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordedMessage {
    /// Its topic; `-` on a feed that has none.
    pub topic: TopicName,
    /// Its place, where the server gave one.
    pub offset: Option<Offset>,
    /// The history of the offset.
    pub epoch: Option<Epoch>,
    /// When the server appended it.
    pub time: Option<WallTime>,
    /// When it was received.
    pub received: WallTime,
    /// The same on the receiver's monotonic clock, in nanoseconds.
    pub mono_ns: u64,
    /// What the payload is. Text is told from JSON by this: a string that comes back byte for byte when it is written again.
    pub kind: Kind,
    /// The payload.
    pub payload: Vec<u8>,
}

#[derive(Deserialize)]
struct RawLine<'a> {
    topic: TopicName,
    offset: Option<Offset>,
    epoch: Option<Epoch>,
    time: Option<&'a str>,
    received: &'a str,
    mono: u64,
    #[serde(borrow, default, deserialize_with = "there")]
    data: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "there")]
    data_base64: Option<&'a RawValue>,
}

fn parse(line: &[u8]) -> Record {
    if let Err(error) = line::check(line) {
        return Record::Damaged(error.into());
    }
    let parsed = if line.starts_with(b"{\"record\":") {
        serde_json::from_slice(line)
            .map(Record::Note)
            .map_err(|error| error.to_string())
    } else {
        message(line).map(Record::Message)
    };
    parsed.unwrap_or_else(|why| Record::Unknown { why })
}

fn message(line: &[u8]) -> Result<RecordedMessage, String> {
    let raw: RawLine<'_> = serde_json::from_slice(line).map_err(|error| error.to_string())?;
    let mut payload = Vec::new();
    let kind = match (raw.data, raw.data_base64) {
        (None, Some(value)) => {
            write_payload(Kind::Bytes, value.get().as_bytes(), &mut payload).map_err(|error| error.to_string())?;
            Kind::Bytes
        }
        (Some(value), None) => text_or_json(value.get().as_bytes(), &mut payload),
        _ => return Err("a message has either data or data_base64".to_owned()),
    };
    Ok(RecordedMessage {
        topic: raw.topic,
        offset: raw.offset,
        epoch: raw.epoch,
        time: raw.time.and_then(WallTime::parse),
        received: WallTime::parse(raw.received).ok_or("received is no time")?,
        mono_ns: raw.mono,
        kind,
        payload,
    })
}

/// A string is text when writing it again gives the same bytes; otherwise its tokens would change, so it stays JSON.
fn text_or_json(value: &[u8], payload: &mut Vec<u8>) -> Kind {
    if value.starts_with(b"\"") && write_payload(Kind::Text, value, payload).is_ok() {
        let mut again = Vec::with_capacity(value.len());
        write_value(Kind::Text, payload, &mut again);
        if again == value {
            return Kind::Text;
        }
    }
    payload.clear();
    payload.extend_from_slice(value);
    Kind::Json
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::clock::Now;
    use crate::recording::arrival::{Arrival, Value};
    use crate::recording::line::LineWriter;
    use crate::recording::note::Note;
    use crate::recording::wanted::Wanted;

    fn line_of(value: Value<'_>, offset: Option<u64>) -> Vec<u8> {
        let topic = TopicName::parse("users").expect("valid");
        let arrival = Arrival {
            topic: &topic,
            offset: offset.map(Offset::new),
            epoch: offset.map(|bits| Epoch::from_bits(u128::from(bits) << 64)),
            time: None,
            received: Now {
                wall: WallTime::from_nanos(1_795_287_600_123_456_789),
                mono: 5,
            },
            value,
            bytes: 0,
        };
        let mut out = Vec::new();
        LineWriter::default().message(&arrival, &mut out);
        out
    }

    fn records(bytes: &[u8]) -> Vec<Record> {
        Reader::new(bytes).map(|entry| entry.expect("memory").record).collect()
    }

    #[track_caller]
    fn check(value: Value<'_>, kind: Kind, payload: &[u8]) {
        let records = records(&line_of(value, Some(3)));
        let [Record::Message(message)] = records.as_slice() else {
            panic!("{records:?}")
        };
        assert_eq!((message.kind, message.payload.as_slice()), (kind, payload));
        assert_eq!(message.received.nanos(), 1_795_287_600_123_456_789);
    }

    #[test]
    fn each_kind_comes_back() {
        check(Value::Json("{\"a\":1.0}"), Kind::Json, b"{\"a\":1.0}");
        check(Value::Json("\"plain\""), Kind::Text, b"plain");
        check(Value::Json("\"caf\\u00e9\""), Kind::Json, b"\"caf\\u00e9\"");
        check(Value::Json("\"\\ud800\""), Kind::Json, b"\"\\ud800\"");
        check(Value::Text("a\nb"), Kind::Text, b"a\nb");
        check(Value::Bytes(&[0, 10, 255]), Kind::Bytes, &[0, 10, 255]);
    }

    #[test]
    fn what_is_wrong_is_told_with_its_line_and_the_rest_is_read() {
        let good = line_of(Value::Json("1"), Some(1));
        let mut file = good.clone();
        file.extend_from_slice(b"{\"topic\":\"users\"}\n\n");
        file.extend_from_slice(&good);
        file.extend_from_slice(&good[..20]);
        let entries: Vec<_> = Reader::new(file.as_slice()).map(|e| e.expect("memory")).collect();
        let lines: Vec<_> = entries.iter().map(|entry| entry.line).collect();
        assert_eq!(lines, [1, 2, 3, 4, 5]);
        assert!(matches!(entries[0].record, Record::Message(_)));
        assert_eq!(entries[1].record, Record::Damaged(Damage::NoChecksum));
        assert_eq!(entries[2].record, Record::Damaged(Damage::NoChecksum));
        assert!(matches!(entries[3].record, Record::Message(_)));
        assert_eq!(entries[4].record, Record::Torn { bytes: 20 });
        assert_eq!(entries[4].at, file.len() as u64 - 20);
    }

    #[test]
    fn notes_come_back_and_later_kinds_are_passed_over() {
        let topic = TopicName::parse("users").expect("valid");
        let wanted = Wanted::new(Some(Epoch::from_bits(1)), Offset::new(u64::MAX));
        let note = Note::Positions {
            topics: [(topic, wanted)].into(),
        };
        let mut out = Vec::new();
        LineWriter::default().note(&note, Now::default(), &mut out);
        let records = records(&out);
        assert!(
            matches!(&records[..], [Record::Note(stamped)] if stamped.note == note),
            "{records:?}"
        );
        let later = "{\"record\":\"moon_phase\"";
        let line = format!("{later},\"crc\":\"{:08x}\"}}\n", crc32c::crc32c(later.as_bytes()));
        assert!(matches!(
            &super::tests::records(line.as_bytes())[..],
            [Record::Unknown { .. }]
        ));
    }

    proptest! {
        #[test]
        fn any_payload_round_trips(bytes in proptest::collection::vec(any::<u8>(), 0..300), text in ".{0,200}", offset in any::<Option<u64>>()) {
            for (value, kind, payload) in [(Value::Bytes(&bytes), Kind::Bytes, bytes.as_slice()), (Value::Text(&text), Kind::Text, text.as_bytes())] {
                let records = records(&line_of(value, offset));
                let [Record::Message(message)] = records.as_slice() else { panic!("{records:?}") };
                prop_assert_eq!((message.kind, message.payload.as_slice()), (kind, payload));
                prop_assert_eq!(message.offset, offset.map(Offset::new));
            }
        }

        #[test]
        fn any_truncation_is_torn(text in ".{0,100}", keep in any::<prop::sample::Index>()) {
            let line = line_of(Value::Text(&text), Some(1));
            let keep = 1 + keep.index(line.len() - 1);
            prop_assert_eq!(records(&line[..keep]), vec![Record::Torn { bytes: keep as u64 }]);
        }

        #[test]
        fn any_flipped_byte_is_damage(text in ".{0,100}", at in any::<prop::sample::Index>(), flip in 1..=255_u8) {
            let mut line = line_of(Value::Text(&text), Some(1));
            let at = at.index(line.len());
            line[at] ^= flip;
            for record in records(&line) {
                prop_assert!(matches!(record, Record::Damaged(_) | Record::Torn { .. }), "{:?}", record);
            }
        }
    }
}
