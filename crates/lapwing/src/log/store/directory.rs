//! The data directory: its marker, its lock, and the topics in it.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lapwing_wire::position::Epoch;
use lapwing_wire::topic::TopicName;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::disk::{Disk, FRESH, RealDisk, read_whole, replace};
use super::syncer::Syncer;
use super::{Level, Opened, StoreOptions, recovery};
use crate::clock::Now;
use crate::lock::{self, LockError};
use crate::reason::reason;

/// A locked data directory; to be kept for as long as one of its topics is written.
pub struct DataDir {
    path: PathBuf,
    disk: Arc<dyn Disk>,
    syncer: Syncer,
    /// Held for as long as this is: the kernel frees it however the process ends.
    _lock: File,
}

#[derive(Serialize, Deserialize)]
struct Marker {
    format: u32,
}

impl DataDir {
    /// Opens or makes the directory, takes its lock, and starts the thread that syncs topics at level `os`.
    pub fn open(path: &Path) -> Result<Self, DataDirError> {
        let disk: Arc<dyn Disk> = Arc::new(RealDisk);
        let at = |doing, path: &Path| {
            let path = path.to_owned();
            move |error| DataDirError::Io { path, doing, error }
        };
        disk.make_directory(path).map_err(at("make", path))?;
        if !is_data_dir(&*disk, path)? {
            let marker = serde_json::to_vec(&Marker { format: FORMAT }).expect("it has only a number");
            let file = path.join(MARKER);
            replace(&*disk, &file, &marker).map_err(at("write", &file))?;
        }
        let file = path.join(LOCK);
        let options = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&file);
        let held = options.map_err(at("open", &file))?;
        lock::lock(&held).map_err(|error| match error {
            LockError::Held { by } => DataDirError::Held {
                path: path.to_owned(),
                by,
            },
            LockError::Io(error) => at("lock", &file)(error),
        })?;
        let topics = path.join(TOPICS);
        disk.make_directory(&topics).map_err(at("make", &topics))?;
        disk.sync_directory(path).map_err(at("sync", path))?;
        Ok(Self {
            path: path.to_owned(),
            disk,
            syncer: Syncer::start().map_err(at("start the thread for", path))?,
            _lock: held,
        })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Opens a topic, and makes it if it is not there; `fresh` is random bits for a history that may begin.
    ///
    /// A topic must not be open twice.
    pub fn topic(&self, topic: &TopicName, options: StoreOptions, fresh: Epoch, now: Now) -> Result<Opened, OpenError> {
        let topics = self.path.join(TOPICS);
        let opened = recovery::open(
            self.disk.clone(),
            topics.join(topic.as_str()),
            topic,
            options,
            fresh,
            now,
        )?;
        // The name of the topic's own directory.
        let synced = self.disk.sync_directory(&topics);
        synced.map_err(|error| OpenError::Io {
            topic: topic.clone(),
            file: topics,
            doing: "sync",
            error,
        })?;
        if options.level == Level::Os {
            self.syncer.add(&opened.store);
        }
        Ok(opened)
    }

    /// Topics on disk that are not among `known`.
    #[must_use]
    pub fn other_topics(&self, known: &[TopicName]) -> Vec<TopicName> {
        let mut topics = topics_in(&*self.disk, &self.path).unwrap_or_default();
        topics.retain(|topic| !known.contains(topic));
        topics
    }
}

/// Whether a directory is one of ours; an empty one is not yet, and any other is refused.
pub fn is_data_dir(disk: &dyn Disk, path: &Path) -> Result<bool, DataDirError> {
    let at = |doing, path: &Path| {
        let path = path.to_owned();
        move |error| DataDirError::Io { path, doing, error }
    };
    let file = path.join(MARKER);
    match read_whole(disk, &file) {
        Ok(marker) => match serde_json::from_slice::<Marker>(&marker) {
            Ok(Marker { format }) if format > FORMAT => Err(DataDirError::Newer {
                path: path.to_owned(),
                found: format,
                known: FORMAT,
            }),
            Ok(_) => Ok(true),
            Err(_) => Err(DataDirError::Marker { file }),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let mut names = disk.list(path).map_err(at("read", path))?;
            // A start that was cut off before the marker had its name, and what a new file system brings along.
            let half = Path::new(MARKER).with_extension(FRESH);
            names.retain(|name| Path::new(name) != half && name != "lost+found");
            if names.is_empty() {
                return Ok(false);
            }
            Err(DataDirError::Foreign {
                path: path.to_owned(),
                files: match names.len() {
                    1 => "1 file".to_owned(),
                    files => format!("{files} files"),
                },
            })
        }
        Err(error) => Err(at("read", &file)(error)),
    }
}

/// The topics that have a directory, by name.
pub fn topics_in(disk: &dyn Disk, path: &Path) -> io::Result<Vec<TopicName>> {
    let names = match disk.list(&path.join(TOPICS)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        names => names?,
    };
    // A file that somebody put there is no topic.
    let is_folder = |name: &&String| match disk.list(&path.join(TOPICS).join(name)) {
        Err(error) => error.kind() != io::ErrorKind::NotADirectory,
        Ok(_) => true,
    };
    let topics = names.iter().filter(is_folder);
    let mut topics: Vec<_> = topics.filter_map(|name| TopicName::parse(name).ok()).collect();
    topics.sort();
    Ok(topics)
}

/// The directory of one topic.
#[must_use]
pub fn topic_directory(path: &Path, topic: &TopicName) -> PathBuf {
    path.join(TOPICS).join(topic.as_str())
}

/// Why a data directory was not opened.
#[derive(Debug, Error)]
pub enum DataDirError {
    /// It has files that are not ours.
    #[error("data directory {} was not made by Lapwing: {files}, none named {MARKER}", path.display())]
    Foreign {
        /// The directory.
        path: PathBuf,
        /// How many entries it has, as text.
        files: String,
    },
    /// Its marker is not ours.
    #[error("{} is damaged: it does not say which format the directory has", file.display())]
    Marker {
        /// The marker.
        file: PathBuf,
    },
    /// It was written by a newer Lapwing.
    #[error("data directory {} has format {found}, this Lapwing knows up to {known}", path.display())]
    Newer {
        /// The directory.
        path: PathBuf,
        /// Its format.
        found: u32,
        /// The newest known.
        known: u32,
    },
    /// Another process has it.
    #[error("data directory {} is used by another process{}", path.display(), by.map(|pid| format!(" ({pid})")).unwrap_or_default())]
    Held {
        /// The directory.
        path: PathBuf,
        /// Which process, if the system says.
        by: Option<u32>,
    },
    /// The system refused.
    #[error("cannot {doing} {}: {}", path.display(), reason(error))]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What was tried.
        doing: &'static str,
        /// What the system says.
        error: io::Error,
    },
}

impl DataDirError {
    /// The way out.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Foreign { .. } => "name an empty or new directory with --data; nothing in this one was touched",
            Self::Marker { .. } => "restore the file from a copy; nothing in the directory was touched",
            Self::Newer { .. } => "use the newer Lapwing that wrote it; nothing in the directory was touched",
            Self::Held { .. } => "stop that process, or name another directory with --data",
            Self::Io { .. } => "look at its permissions and at the free space",
        }
    }
}

/// Why a topic was not opened.
#[derive(Debug, Error)]
pub enum OpenError {
    /// A file was written by a newer Lapwing.
    #[error("{} has format {found}, this Lapwing knows up to {known}: use the newer Lapwing that wrote it", file.display())]
    Newer {
        /// The file.
        file: PathBuf,
        /// Its format.
        found: u32,
        /// The newest known.
        known: u32,
    },
    /// A file belongs to another topic.
    #[error("{} belongs to the topic {found}, not to {topic}: move it back", file.display())]
    Foreign {
        /// The topic opened.
        topic: TopicName,
        /// The file.
        file: PathBuf,
        /// Whose it is.
        found: TopicName,
    },
    /// The system refused.
    #[error("cannot {doing} {} of {topic}: {}", file.display(), reason(error))]
    Io {
        /// The topic.
        topic: TopicName,
        /// The file or directory.
        file: PathBuf,
        /// What was tried.
        doing: &'static str,
        /// What the system says.
        error: io::Error,
    },
}

/// The file that makes a directory ours, and says its format.
pub const MARKER: &str = "lapwing-data";
/// The newest format that is known, and the one that is written.
pub const FORMAT: u32 = 1;

const LOCK: &str = "lock";
const TOPICS: &str = "topics";
