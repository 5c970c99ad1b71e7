//! What happens, turned into the lines of a recording: the same for the file and for `--output json`.

use lapwing_wire::position::{Epoch, Offset};
use lapwing_wire::topic::TopicName;

use super::arrival::Arrival;
use super::line::LineWriter;
use super::marks::Marks;
use super::note::{Note, Start};
use crate::clock::Now;

/// Writes the lines of one run, and the positions between them.
///
/// Positions stand behind the first grant and then at least every [`POSITIONS_EVERY_BYTES`], so that whoever wants the end of
/// a file reads no more than that of it; a feed without offsets has them too, with nothing in them.
#[derive(Debug, Default)]
pub struct Encoder {
    line: LineWriter,
    marks: Marks,
    since_positions: usize,
}

impl Encoder {
    /// Goes on behind what a file holds already.
    #[must_use]
    pub fn behind(marks: Marks) -> Self {
        Self {
            marks,
            ..Self::default()
        }
    }

    /// Appends what every file and every run begins with: who writes it, and where it goes on.
    pub fn header(&mut self, start: &Start, now: Now, out: &mut Vec<u8>) {
        self.line.note(&Note::Start(start.clone()), now, out);
        if !self.marks.is_empty() {
            self.positions(now, out);
        }
    }

    /// What is wanted next of each topic.
    #[must_use]
    pub fn marks(&self) -> &Marks {
        &self.marks
    }

    /// Appends the line of a message.
    pub fn message(&mut self, arrival: &Arrival<'_>, out: &mut Vec<u8>) {
        let begin = out.len();
        self.line.message(arrival, out);
        if let Some(offset) = arrival.offset {
            self.marks.on_message(arrival.topic, arrival.epoch, offset);
        }
        self.count(begin, arrival.received, out);
    }

    /// Appends the line of a note.
    pub fn note(&mut self, note: &Note, now: Now, out: &mut Vec<u8>) {
        let begin = out.len();
        self.marks.on_note(note);
        self.line.note(note, now, out);
        self.count(begin, now, out);
    }

    /// Remembers what is wanted next of a topic: what was granted, before its first message.
    pub fn mark(&mut self, topic: &TopicName, epoch: Option<Epoch>, offset: Offset) {
        self.marks.set(topic, epoch, offset);
    }

    /// Appends the positions as they are.
    pub fn positions(&mut self, now: Now, out: &mut Vec<u8>) {
        self.line.note(&self.marks.to_note(), now, out);
        self.since_positions = 0;
    }

    fn count(&mut self, begin: usize, now: Now, out: &mut Vec<u8>) {
        self.since_positions += out.len() - begin;
        if self.since_positions >= POSITIONS_EVERY_BYTES {
            self.positions(now, out);
        }
    }
}

/// 1 MiB: read in a few milliseconds, and 200 bytes in a MiB are no cost.
pub const POSITIONS_EVERY_BYTES: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recording::arrival::Value;
    use crate::recording::reader::{Reader, Record};

    #[test]
    fn positions_recur_and_say_what_is_wanted_next() {
        let topic = TopicName::parse("users").expect("valid");
        let mut encoder = Encoder::default();
        let mut out = Vec::new();
        encoder.mark(&topic, None, Offset::new(3));
        encoder.positions(Now::default(), &mut out);
        let payload = format!("\"{}\"", "x".repeat(100_000));
        for offset in 3..25 {
            let arrival = Arrival {
                topic: &topic,
                offset: Some(Offset::new(offset)),
                epoch: None,
                time: None,
                received: Now::default(),
                value: Value::Json(&payload),
                bytes: 0,
            };
            encoder.message(&arrival, &mut out);
        }
        let entries = Reader::new(out.as_slice()).map(|entry| entry.expect("memory").record);
        let mut wanted = 3;
        let mut seen = 0;
        for record in entries {
            match record {
                Record::Message(message) => wanted = message.offset.expect("given").get() + 1,
                Record::Note(stamped) => {
                    let Note::Positions { topics } = stamped.note else {
                        panic!("{stamped:?}")
                    };
                    assert_eq!(topics[&topic].offset().get(), wanted);
                    seen += 1;
                }
                other => panic!("{other:?}"),
            }
        }
        assert_eq!((wanted, seen), (25, 3));
    }
}
