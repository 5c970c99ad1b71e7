//! Messages on their way into a log: their frames made, their offsets given, nothing visible yet.

use std::ops::Range;

use lapwing_wire::envelope::{EnvelopeWriter, Kind};
use lapwing_wire::frame::{self, Opcode};
use lapwing_wire::position::Offset;

use super::retries::RetryKey;
use super::segment::{Entry, begin_of};
use crate::clock::Now;

/// Messages of consecutive offsets, with their frames one behind the other.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    /// The offset of the first.
    pub base: Offset,
    /// One a message; `end` counts from the begin of `frames`.
    pub entries: Vec<Entry>,
    /// The canonical frames.
    pub frames: Vec<u8>,
    /// Publishes in it that named themselves, with the offsets that each has.
    pub keys: Vec<(RetryKey, Range<Offset>)>,
}

/// A message on its way into a log.
#[derive(Clone, Copy, Debug)]
pub struct NewMessage<'a> {
    /// What the payload is.
    pub kind: Kind,
    /// One compact JSON value, UTF-8 text, or bytes.
    pub payload: &'a [u8],
    /// Which publisher, 0 for the topic's own source.
    pub source: u32,
    /// The publisher's number for it.
    pub sequence: u64,
    /// When it was appended elsewhere, and when it counts as appended here; none when it is appended now.
    pub at: Option<Now>,
}

impl<'a> NewMessage<'a> {
    /// A message of the topic's own source.
    #[must_use]
    pub fn new(kind: Kind, payload: &'a [u8]) -> Self {
        Self {
            kind,
            payload,
            source: 0,
            sequence: 0,
            at: None,
        }
    }
}

impl Batch {
    /// The offset behind the last.
    #[must_use]
    pub fn end(&self) -> Offset {
        self.base.plus(self.entries.len() as u64)
    }

    /// Whether it holds nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Memory of it, in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.frames.len() + size_of_val(self.entries.as_slice()) + size_of_val(self.keys.as_slice())
    }

    /// Lets go of everything, and begins at `base`; the memory stays for what comes.
    pub fn begin(&mut self, base: Offset) {
        self.base = base;
        self.entries.clear();
        self.frames.clear();
        self.keys.clear();
    }

    /// Makes room for these messages at once, about as much as they take and at most `frame_bytes`: growing step by step would
    /// copy what is there already.
    pub fn reserve(&mut self, messages: &[NewMessage<'_>], frame_bytes: usize) {
        let frames = messages.iter().map(|message| message.payload.len() + ENVELOPE_BYTES);
        self.frames.reserve(frames.sum::<usize>().min(frame_bytes));
        self.entries.reserve(messages.len());
    }

    /// Appends a message: its frame, and what the index knows of it.
    pub fn push(&mut self, envelope: &mut EnvelopeWriter, message: &NewMessage<'_>, now: Now) {
        let offset = self.end();
        let begin = self.frames.len();
        self.frames.resize(begin + frame::HEADER_BYTES_MAX, 0);
        let now = message.at.unwrap_or(now);
        let value = envelope.write(offset, now.wall, message.kind, message.payload, &mut self.frames);
        let text = begin + frame::HEADER_BYTES_MAX;
        let header = frame::server_header(Opcode::Text, self.frames.len() - text);
        let spare = frame::place_header(&mut self.frames, begin, header);
        let place = |at: usize| u32::try_from(at).expect("a batch is far smaller than 4 GiB");
        self.entries.push(Entry {
            offset,
            end: place(self.frames.len()),
            value_begin: place(value.start - spare - begin),
            value_end: place(value.end - spare - begin),
            kind: message.kind,
            source: message.source,
            sequence: message.sequence,
            wall: now.wall,
            mono: now.mono,
        });
    }

    /// Takes back the last message.
    pub fn pop(&mut self) {
        self.entries.pop();
        self.frames.truncate(begin_of(&self.entries, self.entries.len()));
    }

    /// Appends all of `other`, which must begin where this ends.
    ///
    /// # Panics
    /// When it begins elsewhere.
    pub fn extend(&mut self, other: &Self) {
        assert_eq!(self.end(), other.base, "batches join without a hole");
        let begin = u32::try_from(self.frames.len()).expect("a batch is far smaller than 4 GiB");
        self.frames.extend_from_slice(&other.frames);
        let moved = other.entries.iter().map(|entry| Entry {
            end: begin + entry.end,
            ..*entry
        });
        self.entries.extend(moved);
        self.keys.extend_from_slice(&other.keys);
    }

    /// Each message's entry and frame.
    pub fn frames(&self) -> impl Iterator<Item = (&Entry, &[u8])> {
        let frame = |at: usize| &self.frames[begin_of(&self.entries, at)..self.entries[at].end as usize];
        self.entries
            .iter()
            .enumerate()
            .map(move |(at, entry)| (entry, frame(at)))
    }
}

/// Short batches that follow each other become one of at most so many bytes of frames: enough to make the header on disk cheap,
/// little enough to be read at once. A longer one was published as a whole.
pub const BATCH_BYTES_MAX: usize = 256 << 10;
/// About what a frame has beside its payload: header, topic, offset and time.
const ENVELOPE_BYTES: usize = 96;

#[cfg(all(test, not(feature = "loom")))]
mod tests {
    use lapwing_wire::topic::TopicName;

    use super::*;

    fn batch(base: u64, payloads: &[&str]) -> Batch {
        let mut envelope = EnvelopeWriter::new(&TopicName::parse("t").expect("valid"));
        let mut batch = Batch::default();
        batch.begin(Offset::new(base));
        for payload in payloads {
            batch.push(
                &mut envelope,
                &NewMessage::new(Kind::Json, payload.as_bytes()),
                Now::default(),
            );
        }
        batch
    }

    #[test]
    fn frames_and_values_are_found_however_long_the_headers_are() {
        let long = format!("\"{}\"", "x".repeat(70_000));
        let middle = format!("\"{}\"", "y".repeat(200));
        let payloads = ["1", &middle, &long, "[2]"];
        for (at, (entry, frame)) in batch(7, &payloads).frames().enumerate() {
            assert_eq!(entry.offset.get(), 7 + at as u64);
            let value = &frame[entry.value_begin as usize..entry.value_end as usize];
            assert_eq!(value, payloads[at].as_bytes());
            let header = match frame[1] {
                127 => 10,
                126 => 4,
                _ => 2,
            };
            assert_eq!(frame[header], b'{');
            assert_eq!(frame.last(), Some(&b'}'));
        }
    }

    #[test]
    fn joined_batches_are_one() {
        let mut first = batch(3, &["1", "22"]);
        first.extend(&batch(5, &["333"]));
        let whole = batch(3, &["1", "22", "333"]);
        assert_eq!((&first.frames, &first.entries), (&whole.frames, &whole.entries));
    }
}
