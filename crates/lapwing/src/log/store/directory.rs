//! The data directory: its marker, its lock, and the topics in it.

use std::io;
use std::path::{Path, PathBuf};

use lapwing_wire::position::Epoch;
use lapwing_wire::topic::TopicName;
use thiserror::Error;

use super::{Opened, StoreOptions};
use crate::clock::Now;

/// A locked data directory.
pub struct DataDir {
    path: PathBuf,
}

impl DataDir {
    /// Opens or makes the directory, takes its lock, and starts the thread that syncs topics at level `os`.
    pub fn open(path: &Path) -> Result<Self, DataDirError> {
        Ok(Self { path: path.to_owned() })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Opens a topic, and makes it if it is not there; `fresh` is random bits for a history that may begin.
    pub fn topic(
        &self,
        topic: &TopicName,
        _options: StoreOptions,
        _fresh: Epoch,
        _now: Now,
    ) -> Result<Opened, OpenError> {
        Err(OpenError::Io {
            topic: topic.clone(),
            file: self.path.clone(),
            doing: "open",
            error: io::ErrorKind::Unsupported.into(),
        })
    }

    /// Topics on disk that are not among `known`.
    #[must_use]
    pub fn other_topics(&self, _known: &[TopicName]) -> Vec<TopicName> {
        Vec::new()
    }
}

/// Why a data directory was not opened.
#[derive(Debug, Error)]
pub enum DataDirError {
    /// It has files that are not ours.
    #[error("data directory {} was not made by Lapwing: {files} in it, none named {MARKER}", path.display())]
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
    #[error("cannot {doing} {}: {error}", path.display())]
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
    #[error("cannot {doing} {} of {topic}: {error}", file.display())]
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
