//! A recording read from its beginning: each message that stands in its place, once.

use std::io;
use std::path::{Path, PathBuf};

use lapwing_wire::topic::TopicName;

use super::at::At;
use super::orphans::{Lineages, Orphans};
use super::refusal::Refusal;
use crate::reason::reason;
use crate::recording::glance;
use crate::recording::input::{self, Input};
use crate::recording::line::SEAL_BYTES;
use crate::recording::lines::{Line, Lines, Text};
use crate::recording::proof::tally::Tally;
use crate::recording::proof::{Proof, Proven};
use crate::recording::reader::{Record, RecordedMessage};

/// The files of one recording, and how they are opened.
pub struct Passage<'a> {
    /// In the order in which they were written.
    pub files: &'a [PathBuf],
    /// Opens one of them.
    pub open: &'a dyn Fn(&Path) -> io::Result<Input>,
}

/// A message that stands in its place.
#[derive(Clone, Copy, Debug)]
pub struct Row<'a> {
    /// What it is called by.
    pub at: At,
    /// What it is.
    pub message: &'a RecordedMessage,
    /// The checksum of its line: two readings of one recording have the same.
    pub seal: &'a [u8],
}

/// What a reading came to.
pub struct Passed {
    /// What is wrong with the recording.
    pub proven: Proven,
    /// Where the whole lines of each file end.
    pub ends: Vec<u64>,
    /// What the server has lost of it.
    pub orphans: Orphans,
}

impl Passage<'_> {
    /// Gives each message of the topics that are wanted to `on`, in the order of the file; repeats, late ones and `orphans` left out.
    ///
    /// What was written behind `ends` is not read. It holds one line at a time, and whatever a proof holds.
    pub fn read(
        &self,
        ends: Option<&[u64]>,
        orphans: &Orphans,
        wanted: &dyn Fn(&[u8]) -> bool,
        on: &mut dyn FnMut(Row<'_>) -> Result<(), Refusal>,
    ) -> Result<Passed, Refusal> {
        let mut proof = Proof::default();
        let mut lineages = Lineages::default();
        let mut rows = Rows::default();
        let mut found = Vec::new();
        for (part, file) in self.files.iter().enumerate() {
            if part > 0 {
                proof.next_part();
            }
            let end_max = ends.map_or(Some(u64::MAX), |ends| ends.get(part).copied());
            let mut end = 0;
            let mut lines = match (self.open)(file) {
                Ok(input) => Some(Lines::new(input)),
                Err(error) => {
                    unpackable(&error, file, &mut proof)?;
                    None
                }
            };
            while let Some(lines) = &mut lines {
                let line = match lines.next() {
                    Ok(Some(line)) => line,
                    Ok(None) => break,
                    Err(error) => {
                        unpackable(&error, file, &mut proof)?;
                        break;
                    }
                };
                if Some(line.at) >= end_max {
                    break;
                }
                if line.text != Text::Torn {
                    end = line.at + line.bytes;
                }
                let before = *proof.tally();
                proof.take(&line);
                let place = (part, line.number);
                match understood(&line, &before, proof.tally(), wanted) {
                    Some(Record::Note(stamped)) => lineages.on_note(&stamped.note, place)?,
                    Some(Record::Message(message)) => {
                        let lineage = lineages.on_message(&message.topic, message.epoch)?;
                        let lost = message
                            .offset
                            .is_some_and(|offset| orphans.takes(lineage, place, offset.get()));
                        if !lost {
                            on(rows.next(&message, &line))?;
                        }
                    }
                    _ => {}
                }
            }
            found.push(end);
        }
        Ok(Passed {
            proven: proof.finish(),
            ends: found,
            orphans: lineages.finish(),
        })
    }
}

/// Opens a file as it is.
pub fn open(file: &Path) -> io::Result<Input> {
    input::open(file)
}

/// How many messages of each topic came without an offset.
#[derive(Default)]
struct Rows {
    topics: Vec<(TopicName, u64)>,
}

impl Rows {
    fn next<'a>(&mut self, message: &'a RecordedMessage, line: &Line<'a>) -> Row<'a> {
        let at = match message.offset {
            Some(offset) => At::Offset(offset.get()),
            None => At::Row(self.count(&message.topic)),
        };
        let seal = match line.text {
            Text::Whole(text) => &text[text.len().saturating_sub(SEAL_BYTES)..],
            _ => &[],
        };
        Row { at, message, seal }
    }

    fn count(&mut self, topic: &TopicName) -> u64 {
        match self.topics.iter_mut().find(|(name, _)| name == topic) {
            Some((_, count)) => {
                *count += 1;
                *count - 1
            }
            None => {
                self.topics.push((topic.clone(), 1));
                0
            }
        }
    }
}

/// What a line holds, when it is a message in its place that is wanted, or a note about histories.
fn understood(line: &Line<'_>, before: &Tally, after: &Tally, wanted: &dyn Fn(&[u8]) -> bool) -> Option<Record> {
    let Text::Whole(text) = line.text else { return None };
    if after.messages == before.messages {
        let tells = HISTORY_NOTES.iter().any(|begin| text.starts_with(begin));
        return (tells && after.damaged == before.damaged).then(|| Record::of(line));
    }
    let misplaced = |tally: &Tally| (tally.repeated, tally.out_of_order, tally.damaged);
    if misplaced(before) != misplaced(after) {
        return None;
    }
    if glance::message(text).is_some_and(|glance| !wanted(glance.topic)) {
        return None;
    }
    let record = Record::of(line);
    match &record {
        Record::Message(message) if !wanted(message.topic.as_str().as_bytes()) => None,
        _ => Some(record),
    }
}

/// A compressed file that ends early is a finding; any other error ends it all.
fn unpackable(error: &io::Error, file: &Path, proof: &mut Proof) -> Result<(), Refusal> {
    match input::is_unpackable(error) {
        true => {
            proof.on_unpackable();
            Ok(())
        }
        false => Err(Refusal::Unreadable {
            file: file.to_owned(),
            reason: reason(error),
        }),
    }
}

/// The records that say which histories belong together.
const HISTORY_NOTES: [&[u8]; 3] = [
    b"{\"record\":\"reset\"",
    b"{\"record\":\"continued\"",
    b"{\"record\":\"diverged\"",
];
