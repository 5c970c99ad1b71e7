//! The durable store of a topic: segment files of commit batches. The format is `docs/store.md`.

pub mod batch;
pub mod directory;
pub mod disk;
pub mod dump;
#[cfg(all(test, not(feature = "loom")))]
mod fake;
pub mod file;
pub mod header;
pub mod index;
pub mod notice;
pub mod page;
pub mod recovery;
pub mod repair;
pub mod scan;
pub mod state;
pub mod survey;
mod syncer;
pub mod verdict;
pub mod writer;

use std::collections::VecDeque;
use std::io;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock, RwLockReadGuard};
use std::time::{Duration, Instant};

use lapwing_wire::control::{self, GapReason};
use lapwing_wire::position::Offset;
use lapwing_wire::time::WallTime;
use lapwing_wire::topic::TopicName;
use serde::{Deserialize, Serialize};

use super::lineage::Lineage;
use super::retries::Retries;
use super::segment::Segment;
use crate::reason::reason;
pub use batch::Batch;
pub use directory::{DataDir, DataDirError, OpenError};
use disk::{Directory, Disk, DiskFile};
use file::SegmentFile;
pub use notice::{Finding, Notice, ReadOnly};
use page::Pages;
use scan::Window;
pub use writer::{StoreWriter, WriteError};

/// What an acknowledgement of a stored topic means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
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

impl StoreOptions {
    /// The size of a segment file: a sixteenth of all, so that what goes at once is a small part.
    #[must_use]
    pub fn segment_bytes(&self) -> u64 {
        (self.bytes / 16).clamp(SEGMENT_BYTES_MIN, SEGMENT_BYTES_MAX)
    }
}

/// Less would be more headers than messages.
pub const SEGMENT_BYTES_MIN: u64 = 64 << 10;
/// More would make letting go coarse, and reading a tail anew long.
pub const SEGMENT_BYTES_MAX: u64 = 64 << 20;
/// A publish at level `fsync` that waits so long is one that people notice.
const SYNC_SLOW: Duration = Duration::from_secs(1);

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
    Frames(Arc<Segment>),
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
    disk: Arc<dyn Disk>,
    directory: PathBuf,
    /// Held open: no descriptor may be left when it must be synced.
    names: Arc<dyn Directory>,
    topic: TopicName,
    options: StoreOptions,
    lineage: Lineage,
    /// Oldest first; the last may still be written.
    files: RwLock<VecDeque<Arc<SegmentFile>>>,
    first: AtomicU64,
    durable: AtomicU64,
    next: AtomicU64,
    pages: Mutex<Pages>,
    notices: Mutex<Vec<Notice>>,
    unsynced: Mutex<Unsynced>,
    /// Held for the whole of a sync: who finds nothing left to sync must know that it is synced, not that another is at it.
    syncing: Mutex<()>,
    failed: OnceLock<(&'static str, Arc<io::Error>)>,
}

/// What was written and not yet synced.
#[derive(Default)]
struct Unsynced {
    /// The file being written.
    active: Option<Arc<dyn DiskFile>>,
    /// Files that were sealed since; opened for it, so that they hold no descriptors until then.
    sealed: Vec<Arc<SegmentFile>>,
    /// Whether files were made or deleted.
    names: bool,
}

impl Store {
    #[expect(clippy::too_many_arguments, reason = "the fields, each of another type")]
    fn new(
        disk: Arc<dyn Disk>,
        directory: PathBuf,
        names: Arc<dyn Directory>,
        topic: TopicName,
        options: StoreOptions,
        lineage: Lineage,
        files: Vec<Arc<SegmentFile>>,
        durable: Offset,
        next: Offset,
    ) -> Self {
        let first = files.first().map_or(next, |file| file.base);
        Self {
            disk,
            directory,
            names,
            topic,
            options,
            lineage,
            files: RwLock::new(files.into()),
            first: AtomicU64::new(first.get()),
            durable: AtomicU64::new(durable.get()),
            next: AtomicU64::new(next.get()),
            pages: Mutex::default(),
            notices: Mutex::default(),
            unsynced: Mutex::default(),
            syncing: Mutex::default(),
            failed: OnceLock::new(),
        }
    }

    /// The topic.
    #[must_use]
    pub fn topic(&self) -> &TopicName {
        &self.topic
    }

    /// The histories of this log.
    #[must_use]
    pub fn lineage(&self) -> &Lineage {
        &self.lineage
    }

    /// What an acknowledgement means.
    #[must_use]
    pub fn level(&self) -> Level {
        self.options.level
    }

    /// The lowest offset kept.
    #[must_use]
    pub fn first(&self) -> Offset {
        Offset::new(self.first.load(Ordering::Acquire))
    }

    /// Everything below is on stable storage.
    #[must_use]
    pub fn durable(&self) -> Offset {
        Offset::new(self.durable.load(Ordering::Acquire))
    }

    /// The end of what was written.
    #[must_use]
    pub fn next(&self) -> Offset {
        Offset::new(self.next.load(Ordering::Acquire))
    }

    /// How many bytes are kept at most.
    #[must_use]
    pub fn bytes_max(&self) -> u64 {
        self.options.bytes
    }

    /// When as many bytes are kept as may be: the end of the oldest segment file, which has to go before there is room.
    #[must_use]
    pub fn full_until(&self) -> Option<Offset> {
        let full = self.bytes() >= self.options.bytes;
        full.then(|| self.files().get(1).map_or(self.next(), |second| second.base))
    }

    /// Bytes of all segment files.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.files().iter().map(|file| file.index().bytes).sum()
    }

    /// The first offset whose wall time is `wall` or later; none when all are older.
    pub fn since(&self, wall: WallTime) -> io::Result<Option<Offset>> {
        let newer = |file: &&Arc<SegmentFile>| file.index().wall_latest >= wall;
        let Some(file) = self.files().iter().find(newer).cloned() else {
            return Ok(None);
        };
        let (bytes, from) = {
            let index = file.index();
            (index.bytes, index.mark_since(wall))
        };
        let Some(mark) = from else {
            return Ok(None);
        };
        let handle = file.open(&*self.disk)?;
        let mut window = Window::in_pieces(&*handle, bytes, page::PIECE_BYTES);
        let (mut at, mut next) = (mark.position, mark.offset);
        while let Some(view) = window.batch(at, file.epoch, next)? {
            if let Some(row) = view.rows().find(|row| row.entry.wall >= wall) {
                return Ok(Some(row.entry.offset));
            }
            (at, next) = (at + u64::from(view.header().bytes), view.header().next);
        }
        // Only damage can lie there; who reads on meets it.
        Ok(Some(next))
    }

    /// Since the last call: damage that readers found, files that could not be deleted, and failures that answer nobody.
    #[must_use]
    pub fn take_notices(&self) -> Vec<Notice> {
        std::mem::take(&mut *self.notices.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Brings everything that was written before this call to stable storage.
    fn sync(&self) -> Result<(), WriteError> {
        let began = Instant::now();
        let synced = self.sync_all();
        let took = began.elapsed();
        if took >= SYNC_SLOW {
            let (topic, took_ms) = (self.topic.as_str(), took.as_millis() as u64);
            tracing::warn!(target: "lapwing::store", topic, took_ms, "slow sync");
        }
        synced
    }

    fn sync_all(&self) -> Result<(), WriteError> {
        let _syncing = self.syncing.lock().unwrap_or_else(PoisonError::into_inner);
        self.check()?;
        let next = self.next();
        // Behind reading `next`: a file that was sealed since is in the list, and one that is active holds the rest.
        let (active, sealed, names) = {
            let mut unsynced = self.unsynced.lock().unwrap_or_else(PoisonError::into_inner);
            let sealed = std::mem::take(&mut unsynced.sealed);
            (unsynced.active.clone(), sealed, std::mem::take(&mut unsynced.names))
        };
        let mut synced = Ok(());
        for (nth, file) in sealed.iter().enumerate() {
            synced = match file.open(&*self.disk) {
                // Retention was quicker.
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
                Err(error) if writer::is_shortage(&error) => {
                    let mut unsynced = self.unsynced.lock().unwrap_or_else(PoisonError::into_inner);
                    unsynced.sealed.extend_from_slice(&sealed[nth..]);
                    unsynced.names |= names;
                    return Err(writer::shortage(self, error));
                }
                file => file.and_then(|file| file.sync()),
            };
            if synced.is_err() {
                break;
            }
        }
        if let (Ok(()), Some(active)) = (&synced, active) {
            synced = active.sync_data();
        }
        if synced.is_ok() && names {
            synced = self.names.sync();
        }
        synced.map_err(|error| self.fail("sync", error))?;
        self.durable.fetch_max(next.get(), Ordering::AcqRel);
        Ok(())
    }

    /// Syncs when nobody waits for it. A failure is kept, and is the answer to the next append; until one comes it is told.
    fn sync_behind(&self) {
        if self.check().is_ok()
            && let Err(error) = self.sync()
        {
            self.tell_failure(&error);
        }
    }

    /// Whether anything waits for a sync.
    fn is_behind(&self) -> bool {
        self.durable() < self.next()
    }

    /// Notes that the files failed: once for all.
    fn fail(&self, doing: &'static str, error: io::Error) -> WriteError {
        let (doing, error) = self.failed.get_or_init(|| (doing, Arc::new(error)));
        WriteError::Failed {
            topic: self.topic.clone(),
            doing,
            error: error.clone(),
        }
    }

    /// Tells that the files failed, when it is the answer to nobody.
    fn tell_failure(&self, error: &WriteError) {
        if let WriteError::Failed { doing, error, .. } = error {
            let error = reason(error);
            self.tell(self.directory.clone(), Finding::Failed { doing, error });
        }
    }

    fn check(&self) -> Result<(), WriteError> {
        match self.failed.get() {
            Some((doing, error)) => Err(WriteError::Failed {
                topic: self.topic.clone(),
                doing,
                error: error.clone(),
            }),
            None => Ok(()),
        }
    }

    fn tell(&self, file: PathBuf, finding: Finding) {
        self.notices
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(Notice {
                topic: self.topic.clone(),
                file,
                finding,
            });
    }

    fn files(&self) -> RwLockReadGuard<'_, VecDeque<Arc<SegmentFile>>> {
        self.files.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn change_files(&self, change: impl FnOnce(&mut VecDeque<Arc<SegmentFile>>)) {
        let mut files = self.files.write().unwrap_or_else(PoisonError::into_inner);
        change(&mut files);
        let first = files.front().map_or(self.next(), |file| file.base);
        self.first.store(first.get(), Ordering::Release);
    }
}

#[cfg(all(test, not(feature = "loom")))]
mod tests;
