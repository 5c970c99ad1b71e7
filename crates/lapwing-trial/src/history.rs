//! What happened in a trial, as evidence: what publishers, nemesis and probe wrote, the dumps, and the listeners' files.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::epoch::Epoch;
use crate::line::{self, Line, Proof};
use crate::trouble::Trouble;

/// What a topic promises to survive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Nothing but faults of clients and network.
    None,
    /// The end of the process, too.
    Os,
    /// A power cut, too.
    Fsync,
}

impl Level {
    /// In one word.
    pub fn word(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Os => "os",
            Self::Fsync => "fsync",
        }
    }
}

/// A topic of the trial.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TopicSetup {
    /// Its name.
    pub name: String,
    /// What it promises.
    pub level: Level,
    /// What happens to a slow client: `skip`, `close`, `latest` or `wait`.
    pub slow: String,
    /// How many bytes it keeps.
    pub keep_bytes: u64,
}

impl TopicSetup {
    /// Whether it holds back its source rather than let go what a connected listener has still to read.
    pub fn holds(&self) -> bool {
        self.slow == "wait"
    }
}

/// A listener's file.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct FileSetup {
    /// The name of the file within the trial's folder.
    pub name: String,
    /// The topics that the listener follows.
    pub topics: Vec<String>,
    /// It began before the first message of the trial, and so must have everything from offset 0 on.
    pub from_start: bool,
    /// The listener lives at the end, and so must have caught up.
    pub to_end: bool,
}

/// What a trial was.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Setup {
    /// Everything of chance came from it.
    pub seed: u64,
    /// The topics.
    pub topics: Vec<TopicSetup>,
    /// The files.
    pub files: Vec<FileSetup>,
    /// The faults as they were planned, in words.
    pub schedule: Vec<String>,
    /// Tools that were missing, and faults that were left out for that.
    pub skipped: Vec<String>,
}

impl Setup {
    /// Writes it into the trial's folder.
    pub fn write(&self, folder: &Path) -> Result<(), Trouble> {
        let path = folder.join(SETUP);
        let text = serde_json::to_vec_pretty(self).map_err(|error| Trouble::file(&path)(error.into()))?;
        std::fs::write(&path, text).map_err(Trouble::file(path))
    }
}

const SETUP: &str = "setup.json";

/// What became of the server, as far as promises depend on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Turn {
    /// It serves again.
    Started,
    /// Its process ended without a word.
    Killed,
    /// It was told to stop.
    Stopped,
    /// Its disk has only what had been synced.
    PowerCut,
    /// Its data directory is gone.
    Wiped,
}

/// Something that a process of the trial wrote down. `at` is nanoseconds of the monotonic clock.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// A body is about to be sent for the first time.
    Invoke {
        /// When.
        at: u64,
        /// The topic.
        topic: String,
        /// The publisher.
        source: u32,
        /// The number of its body.
        sequence: u64,
        /// The hash of each message in it.
        hashes: Vec<u32>,
    },
    /// The server took it.
    Ack {
        /// When.
        at: u64,
        /// The topic.
        topic: String,
        /// The publisher.
        source: u32,
        /// The number of its body.
        sequence: u64,
        /// The history that took it.
        epoch: Epoch,
        /// The offset of its first message.
        first: u64,
        /// How many messages.
        count: u64,
        /// It was a repetition, the server says.
        repeated: bool,
    },
    /// The server refused it, and appended nothing.
    Nack {
        /// When.
        at: u64,
        /// The topic.
        topic: String,
        /// The publisher.
        source: u32,
        /// The number of its body.
        sequence: u64,
        /// The status of HTTP.
        status: u16,
        /// It waited for room, in a topic that holds back its source, until the server gave up.
        #[serde(default)]
        held: bool,
    },
    /// Nobody knows whether it was taken.
    Info {
        /// When.
        at: u64,
        /// The topic.
        topic: String,
        /// The publisher.
        source: u32,
        /// The number of its body.
        sequence: u64,
        /// What happened.
        why: String,
    },
    /// Faults were over for long, and it was still not taken: its publisher tries no more.
    GivenUp {
        /// When.
        at: u64,
        /// The topic.
        topic: String,
        /// The publisher.
        source: u32,
        /// The number of its body.
        sequence: u64,
    },
    /// The nemesis begins a fault.
    Begin {
        /// When.
        at: u64,
        /// Its kind.
        fault: String,
        /// Its victim and parameters.
        detail: String,
    },
    /// The nemesis ends a fault.
    End {
        /// When.
        at: u64,
        /// Its kind.
        fault: String,
    },
    /// The server's life took a turn.
    Server {
        /// When.
        at: u64,
        /// Which.
        turn: Turn,
    },
    /// The probe asked the server for the ends of a topic.
    Told {
        /// When.
        at: u64,
        /// The topic.
        topic: String,
        /// Its history.
        epoch: Epoch,
        /// The lowest offset that is retained.
        first: u64,
        /// The next offset.
        next: u64,
        /// All below it is on stable storage, if the server says so.
        durable: Option<u64>,
    },
    /// What the server's process holds.
    Usage {
        /// When.
        at: u64,
        /// Which process.
        pid: u32,
        /// At the end, after everything has healed; otherwise at the beginning of this process.
        end: bool,
        /// Resident memory.
        rss_bytes: u64,
        /// Open files.
        descriptors: u64,
        /// Threads.
        threads: u64,
    },
    /// Faults are over, and so many seconds were given to catch up.
    Drained {
        /// When.
        at: u64,
        /// How many seconds there were.
        seconds: u64,
        /// Files that had not reached the end by then.
        behind: Vec<String>,
    },
}

impl Event {
    /// When it happened.
    pub fn at(&self) -> u64 {
        match self {
            Self::Invoke { at, .. }
            | Self::Ack { at, .. }
            | Self::Nack { at, .. }
            | Self::Info { at, .. }
            | Self::GivenUp { at, .. }
            | Self::Begin { at, .. }
            | Self::End { at, .. }
            | Self::Server { at, .. }
            | Self::Told { at, .. }
            | Self::Usage { at, .. }
            | Self::Drained { at, .. } => *at,
        }
    }
}

/// Where a piece of evidence comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin<'a> {
    /// Written by a process of the trial.
    Events(&'a str),
    /// A dump of a topic; several when a data directory was wiped between.
    Dump(&'a str),
    /// A listener's file.
    File(&'a str),
}

impl<'a> Origin<'a> {
    /// Its name.
    pub fn name(self) -> &'a str {
        match self {
            Self::Events(name) | Self::Dump(name) | Self::File(name) => name,
        }
    }
}

/// A piece of evidence.
#[derive(Clone, Debug, PartialEq)]
pub enum Entry<'a> {
    /// Of a process of the trial.
    Event(Event),
    /// Of a dump or a file, with its number, from 1.
    Line(u64, Line<'a>),
}

/// Evidence that can be gone through as often as one likes: all events, then all dumps, then all files.
pub trait History {
    /// What the trial was.
    fn setup(&self) -> &Setup;

    /// Hands every piece to `take`.
    fn each(&self, take: &mut dyn FnMut(Origin<'_>, Entry<'_>)) -> Result<(), HistoryError>;
}

/// Why evidence could not be read.
#[derive(Debug, Error)]
pub enum HistoryError {
    /// A file could not be read.
    #[error("cannot read {}: {error}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// A line of the trial's own is not one.
    #[error("line {line} of {} is no event: {error}", path.display())]
    Event {
        /// Which file.
        path: PathBuf,
        /// Which line, from 1.
        line: u64,
        /// Why.
        error: serde_json::Error,
    },
}

/// Evidence in memory: what the model leaves, and cases made by hand.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    /// What the trial was.
    pub setup: Setup,
    /// Events, sorted by time.
    pub events: Vec<Event>,
    /// Dumps by name.
    pub dumps: Vec<(String, Vec<Line<'static>>)>,
    /// Files by name.
    pub files: Vec<(String, Vec<Line<'static>>)>,
}

impl History for Memory {
    fn setup(&self) -> &Setup {
        &self.setup
    }

    fn each(&self, take: &mut dyn FnMut(Origin<'_>, Entry<'_>)) -> Result<(), HistoryError> {
        for event in &self.events {
            take(Origin::Events("events"), Entry::Event(event.clone()));
        }
        for (name, lines) in &self.dumps {
            for (number, line) in (1..).zip(lines) {
                take(Origin::Dump(name), Entry::Line(number, line.clone()));
            }
        }
        for (name, lines) in &self.files {
            for (number, line) in (1..).zip(lines) {
                take(Origin::File(name), Entry::Line(number, line.clone()));
            }
        }
        Ok(())
    }
}

/// Evidence in a folder, as a trial leaves it.
///
/// `setup.json`; `events/*.ndjson` of the trial's processes; `dumps/TOPIC.N.ndjson`; and the listeners' files, by the
/// names in the setup.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    setup: Setup,
    events: Vec<PathBuf>,
    dumps: Vec<PathBuf>,
}

impl Folder {
    /// The evidence in a folder.
    pub fn open(path: &Path) -> Result<Self, HistoryError> {
        let file = path.join(SETUP);
        let text = std::fs::read(&file).map_err(|error| HistoryError::Read {
            path: file.clone(),
            error,
        })?;
        let setup = serde_json::from_slice(&text).map_err(|error| HistoryError::Event {
            path: file,
            line: 1,
            error,
        })?;
        Ok(Self {
            path: path.to_owned(),
            setup,
            events: files_in(&path.join("events"))?,
            dumps: files_in(&path.join("dumps"))?,
        })
    }
}

fn files_in(folder: &Path) -> Result<Vec<PathBuf>, HistoryError> {
    let read = |error| HistoryError::Read {
        path: folder.to_owned(),
        error,
    };
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(read)? {
        files.push(entry.map_err(read)?.path());
    }
    files.sort();
    Ok(files)
}

fn name_of(path: &Path) -> String {
    path.file_name()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default()
}

/// Hands every line of a file to `take`, with its number.
fn each_line(path: &Path, mut take: impl FnMut(u64, &[u8]) -> Result<(), HistoryError>) -> Result<(), HistoryError> {
    let read = |error| HistoryError::Read {
        path: path.to_owned(),
        error,
    };
    let mut file = BufReader::with_capacity(READ_BYTES, File::open(path).map_err(read)?);
    let (mut line, mut number) = (Vec::new(), 0);
    loop {
        line.clear();
        if file.read_until(b'\n', &mut line).map_err(read)? == 0 {
            return Ok(());
        }
        number += 1;
        take(number, &line)?;
    }
}

/// Bytes a read: a file of evidence is read from end to end.
const READ_BYTES: usize = 1 << 20;

impl History for Folder {
    fn setup(&self) -> &Setup {
        &self.setup
    }

    fn each(&self, take: &mut dyn FnMut(Origin<'_>, Entry<'_>)) -> Result<(), HistoryError> {
        let mut events = Vec::new();
        for path in &self.events {
            let name = name_of(path);
            each_line(path, |line, text| {
                let event: Event = serde_json::from_slice(text).map_err(|error| HistoryError::Event {
                    path: path.clone(),
                    line,
                    error,
                })?;
                events.push((name.clone(), event));
                Ok(())
            })?;
        }
        events.sort_by_key(|(_, event)| event.at());
        for (name, event) in events {
            take(Origin::Events(&name), Entry::Event(event));
        }
        for path in &self.dumps {
            let name = name_of(path);
            each_line(path, |number, text| {
                take(Origin::Dump(&name), Entry::Line(number, line::read(text, Proof::May)));
                Ok(())
            })?;
        }
        for file in &self.setup.files {
            each_line(&self.path.join(&file.name), |number, text| {
                take(
                    Origin::File(&file.name),
                    Entry::Line(number, line::read(text, Proof::Must)),
                );
                Ok(())
            })?;
        }
        Ok(())
    }
}
