//! The one writer of a topic's files.

use std::io;

use lapwing_wire::position::Offset;
use lapwing_wire::topic::TopicName;
use thiserror::Error;

use super::batch::Batch;
use super::notice::ReadOnly;
use crate::clock::Now;

/// Appends batches; nothing it wrote is visible to readers of [`super::Store`] before `append` returned.
pub struct StoreWriter {
    topic: TopicName,
}

impl StoreWriter {
    /// Appends a batch: at level `os` it is acknowledged when this returns, at `fsync` after [`StoreWriter::sync`].
    pub fn append(&mut self, _batch: &Batch) -> Result<(), WriteError> {
        Err(self.unwritable())
    }

    /// Brings everything appended to stable storage.
    pub fn sync(&mut self) -> Result<(), WriteError> {
        Err(self.unwritable())
    }

    /// Lets go of whole segments from the front while there is too much, or they are too old, as far as they end at `below` or
    /// before; says whether any went.
    pub fn retire(&mut self, _now: Now, _below: Offset) -> bool {
        false
    }

    /// Syncs, and marks that nothing is missing.
    pub fn close(self) -> Result<(), WriteError> {
        Ok(())
    }

    fn unwritable(&self) -> WriteError {
        WriteError::Failed {
            topic: self.topic.clone(),
            doing: "write",
            error: io::ErrorKind::Unsupported.into(),
        }
    }
}

/// Why nothing was appended.
#[derive(Debug, Error)]
pub enum WriteError {
    /// The disk is full, or a quota or the largest file size is reached. The files are as before; trying again later may work.
    #[error("the disk is full: {topic} cannot keep {bytes} bytes more ({error})")]
    Full {
        /// The topic.
        topic: TopicName,
        /// What the batch needs.
        bytes: u64,
        /// What the system says.
        error: io::Error,
    },
    /// Out of descriptors or memory for a new segment. The files are as before; trying again later may work.
    #[error("{topic} cannot begin a new segment file: {error}")]
    Shortage {
        /// The topic.
        topic: TopicName,
        /// What the system says.
        error: io::Error,
    },
    /// The files failed: final for this topic until it is opened again.
    #[error("the files of {topic} failed to {doing} ({error}); nothing more is kept until a restart")]
    Failed {
        /// The topic.
        topic: TopicName,
        /// What was tried.
        doing: &'static str,
        /// What the system says.
        error: io::Error,
    },
    /// It was found damaged when it was opened.
    #[error("{topic} is read-only: {}", read_only.notice)]
    ReadOnly {
        /// The topic.
        topic: TopicName,
        /// What was found.
        read_only: Box<ReadOnly>,
    },
}
