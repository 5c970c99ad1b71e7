//! A recording read back for Python, some messages at a time.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use lapwing::client::dial::io_reason;
use lapwing::clock::Now;
use lapwing::recording::input::Input;
use lapwing::recording::parts;
use lapwing::recording::reader::{Reader, Record, RecordedMessage};
use lapwing_wire::envelope::Kind as Payload;
use lapwing_wire::topic::TopicName;
use pyo3::prelude::*;

use crate::block::Block;
use crate::chunk::{Chunk, Entry, Form};
use crate::settings;
use crate::trouble::{Kind, Trouble};

/// Reads the messages of a recording.
#[pyclass(frozen, module = "lapwing._lapwing")]
pub struct LogReader(Mutex<Reading>);

struct Reading {
    /// The files that are still to come, the next last.
    paths: Vec<PathBuf>,
    open: Option<(PathBuf, Reader<Input>)>,
    topic: Option<TopicName>,
    skips_damage: bool,
    /// The first message of the next chunk.
    held: Option<RecordedMessage>,
    /// What is raised once all before it was given.
    trouble: Option<Trouble>,
}

#[pymethods]
impl LogReader {
    /// Opens a recording.
    #[new]
    fn new(path: PathBuf, topic: Option<&str>, skips_damage: bool) -> PyResult<Self> {
        let mut paths = parts::all(&path);
        paths.reverse();
        let mut reading = Reading {
            paths,
            open: None,
            topic: topic.map(settings::topic).transpose()?,
            skips_damage,
            held: None,
            trouble: None,
        };
        // A file that is not there is told now, and not with the first message.
        reading.open()?;
        Ok(Self(Mutex::new(reading)))
    }

    /// Messages of one topic, or None at the end.
    fn next(&self, py: Python<'_>) -> PyResult<Option<Block>> {
        let chunk = py.detach(|| self.0.lock().unwrap_or_else(PoisonError::into_inner).chunk())?;
        Ok(chunk.map(Block::new))
    }
}

impl Reading {
    fn open(&mut self) -> Result<(), Trouble> {
        if let Some(path) = self.paths.pop() {
            let reader = Reader::open(&path);
            let reader =
                reader.map_err(|error| trouble(&path, &format!("it cannot be read: {}", io_reason(&error))))?;
            self.open = Some((path, reader));
        }
        Ok(())
    }

    fn chunk(&mut self) -> Result<Option<Chunk>, Trouble> {
        let Some(first) = self.message()? else { return Ok(None) };
        let mut chunk = Chunk::new(first.topic.clone(), first.epoch, None);
        let mut next = Some(first);
        while let Some(message) = next {
            let fits = message.topic == chunk.topic && message.epoch == chunk.epoch;
            if !fits || chunk.entries.len() == MESSAGES_MAX || chunk.bytes.len() >= BYTES_MAX {
                self.held = Some(message);
                break;
            }
            push(&mut chunk, &message);
            next = match self.message() {
                Ok(next) => next,
                Err(trouble) => {
                    self.trouble = Some(trouble);
                    None
                }
            };
        }
        Ok(Some(chunk))
    }

    fn message(&mut self) -> Result<Option<RecordedMessage>, Trouble> {
        if let Some(message) = self.held.take() {
            return Ok(Some(message));
        }
        if let Some(trouble) = self.trouble.take() {
            return Err(trouble);
        }
        loop {
            let Some((path, reader)) = &mut self.open else {
                return Ok(None);
            };
            let entry = match reader.next() {
                Some(Ok(entry)) => entry,
                Some(Err(error)) => return Err(trouble(path, &format!("it cannot be read: {}", io_reason(&error)))),
                None => {
                    self.open = None;
                    self.open()?;
                    continue;
                }
            };
            match entry.record {
                Record::Message(message) if self.topic.as_ref().is_none_or(|topic| *topic == message.topic) => {
                    return Ok(Some(message));
                }
                Record::Damaged(damage) if !self.skips_damage => {
                    let why = format!("line {} is not as it was written: {damage}", entry.line);
                    return Err(trouble(path, &why));
                }
                // A write that did not come to its end counts as not written; lines of later versions are passed over.
                Record::Message(_)
                | Record::Note(_)
                | Record::Unknown { .. }
                | Record::Damaged(_)
                | Record::Torn { .. } => {}
            }
        }
    }
}

fn push(chunk: &mut Chunk, message: &RecordedMessage) {
    chunk.bytes.extend_from_slice(&message.payload);
    chunk.entries.push(Entry {
        offset: message.offset.map(|offset| offset.get()),
        time: message.time.map(|time| time.nanos()),
        received: Now {
            wall: message.received,
            mono: message.mono_ns,
        },
        form: match message.kind {
            Payload::Json => Form::Json,
            Payload::Text => Form::Text,
            Payload::Bytes => Form::Bytes,
        },
        end: chunk.bytes.len(),
    });
}

fn trouble(path: &std::path::Path, why: &str) -> Trouble {
    Trouble::new(Kind::Log, format!("{}: {why}", path.display()))
}

/// 1,000: what one turn without the interpreter is worth.
const MESSAGES_MAX: usize = 1000;

/// 1 MiB.
const BYTES_MAX: usize = 1 << 20;
