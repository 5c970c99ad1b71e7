//! The durable store of a topic: segment files of commit batches. The format is `docs/store.md`.

pub mod batch;
pub mod directory;
pub mod notice;
pub mod writer;

use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use lapwing_wire::control::{self, GapReason};
use lapwing_wire::position::Offset;
use lapwing_wire::time::WallTime;

use super::lineage::Lineage;
use super::retries::Retries;
use super::stored::Stored;
pub use batch::Batch;
pub use directory::{DataDir, DataDirError, OpenError};
pub use notice::{Finding, Notice, ReadOnly};
pub use writer::{StoreWriter, WriteError};

/// What an acknowledgement of a stored topic means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Written to the operating system: survives the end of this process, not of the machine.
    Os,
    /// On stable storage: survives a power cut.
    Fsync,
}

impl From<Level> for control::Level {
    fn from(level: Level) -> Self {
        match level {
            Level::Os => Self::Os,
            Level::Fsync => Self::Fsync,
        }
    }
}

/// How a topic is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoreOptions {
    /// What an acknowledgement means.
    pub level: Level,
    /// At most so many bytes of segment files, give or take one segment.
    pub bytes: u64,
    /// Messages are let go when they are so old; none keeps them as long as `bytes` allows.
    pub age: Option<Duration>,
}

/// An opened topic.
pub struct Opened {
    /// For readers, on any thread.
    pub store: Arc<Store>,
    /// The one writer.
    pub writer: StoreWriter,
    /// The publishes that are remembered.
    pub retries: Retries,
    /// What was found.
    pub notices: Vec<Notice>,
    /// Why nothing can be appended, if so.
    pub read_only: Option<ReadOnly>,
}

/// What lies at a cursor.
pub enum Page {
    /// Frames: of whole batches, from the one with the cursor on.
    Frames(Arc<Stored>),
    /// These offsets are gone or never were; reading goes on at the end of the range.
    Missing {
        /// Which.
        offsets: Range<Offset>,
        /// Why.
        reason: GapReason,
    },
    /// Nothing yet.
    End,
}

/// The files of one topic, for readers.
pub struct Store {
    level: Level,
    lineage: Lineage,
}

impl Store {
    /// The histories of this log.
    #[must_use]
    pub fn lineage(&self) -> &Lineage {
        &self.lineage
    }

    /// What an acknowledgement means.
    #[must_use]
    pub fn level(&self) -> Level {
        self.level
    }

    /// The lowest offset kept.
    #[must_use]
    pub fn first(&self) -> Offset {
        Offset::ZERO
    }

    /// Everything below is on stable storage.
    #[must_use]
    pub fn durable(&self) -> Offset {
        Offset::ZERO
    }

    /// The end of what was written.
    #[must_use]
    pub fn next(&self) -> Offset {
        Offset::ZERO
    }

    /// How many bytes are kept at most.
    #[must_use]
    pub fn bytes_max(&self) -> u64 {
        0
    }

    /// When as many bytes are kept as may be: the end of the oldest segment file, which has to go before there is room.
    #[must_use]
    pub fn full_until(&self) -> Option<Offset> {
        None
    }

    /// Bytes of all segment files.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        0
    }

    /// What lies at `cursor`: about 128 KiB of frames of whole batches, at least one batch.
    pub fn page(&self, _cursor: Offset) -> io::Result<Page> {
        Ok(Page::End)
    }

    /// The first offset whose wall time is `wall` or later; none when all are older.
    pub fn since(&self, _wall: WallTime) -> io::Result<Option<Offset>> {
        Ok(None)
    }

    /// Damage that readers found since the last call.
    pub fn take_notices(&self) -> Vec<Notice> {
        Vec::new()
    }
}
