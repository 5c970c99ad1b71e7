//! The one writer of a topic's files.

use std::io;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use lapwing_wire::position::Offset;
use lapwing_wire::time::WallTime;
use lapwing_wire::topic::TopicName;
use thiserror::Error;

use super::batch::{BATCH_BYTES_MAX, Batch};
use super::disk::{DiskFile, write_full};
use super::file::SegmentFile;
use super::header::Header;
use super::notice::{Finding, ReadOnly};
use super::state::State;
use super::{Level, Store, StoreOptions};
use crate::clock::Now;
use crate::reason::reason;

/// Appends batches; nothing it wrote is visible to readers of [`super::Store`] before `append` returned.
pub struct StoreWriter {
    store: Arc<Store>,
    mode: Mode,
    /// The head of the batch being written; kept for its memory.
    head: Vec<u8>,
}

enum Mode {
    Writes(Box<Writing>),
    ReadOnly(ReadOnly),
}

struct Writing {
    options: StoreOptions,
    state: State,
    /// Whether the state on disk says that files are being written.
    begun: bool,
    active: Option<Active>,
    /// Some file systems cannot ask for room ahead.
    allocates: bool,
}

/// The file being written.
pub struct Active {
    file: Arc<SegmentFile>,
    handle: Arc<dyn DiskFile>,
    /// Room was asked for up to here.
    allocated: u64,
    /// When its first message was appended, monotonic.
    began: Option<u64>,
}

impl Active {
    /// Goes on with a file behind what is known of it.
    #[must_use]
    pub fn new(file: Arc<SegmentFile>, handle: Arc<dyn DiskFile>, now: Now) -> Self {
        let (allocated, messages) = {
            let index = file.index();
            (index.bytes, index.messages)
        };
        Self {
            file,
            handle,
            allocated,
            began: (messages > 0).then_some(now.mono),
        }
    }
}

impl StoreWriter {
    pub(super) fn new(
        store: Arc<Store>,
        options: StoreOptions,
        state: State,
        begun: bool,
        active: Option<Active>,
    ) -> Self {
        let writer = Self {
            store,
            mode: Mode::Writes(Box::new(Writing {
                options,
                state,
                begun,
                active: None,
                allocates: true,
            })),
            head: Vec::new(),
        };
        writer.with_active(active)
    }

    pub(super) fn read_only(store: Arc<Store>, read_only: ReadOnly) -> Self {
        Self {
            store,
            mode: Mode::ReadOnly(read_only),
            head: Vec::new(),
        }
    }

    fn with_active(mut self, active: Option<Active>) -> Self {
        if let (Mode::Writes(writing), Some(active)) = (&mut self.mode, active) {
            lock(&self.store).active = Some(active.handle.clone());
            writing.active = Some(active);
        }
        self
    }

    /// Appends a batch: at level `os` it is acknowledged when this returns, at `fsync` after [`StoreWriter::sync`].
    ///
    /// # Panics
    /// When the batch begins before the end of the store, or its frames end elsewhere than its last entry says.
    pub fn append(&mut self, batch: &Batch) -> Result<(), WriteError> {
        let Self { store, mode, head } = self;
        let writing = writes(store, mode)?;
        let Some(last) = batch.entries.last() else {
            return Ok(());
        };
        assert!(batch.base >= store.next(), "offsets are given once");
        assert_eq!(last.end as usize, batch.frames.len(), "the last entry ends the frames");
        let bytes = batch.disk_bytes();
        if bytes > BATCH_BYTES_MAX {
            return Err(full(store, bytes, io::ErrorKind::FileTooLarge.into()));
        }
        let now = Now {
            wall: last.wall,
            mono: last.mono,
        };
        writing.begin(store)?;
        if writing.is_full(bytes, now) {
            writing.roll(store, batch.base, now)?;
        }
        let (segment_bytes, allocates) = (writing.options.segment_bytes(), &mut writing.allocates);
        let active = writing.active.as_mut().expect("there was one, or it was made above");
        let begin = active.file.index().bytes;
        let end = begin + bytes;
        batch.encode(store.lineage.current(), store.durable(), head);
        active.reserve(end, segment_bytes, allocates);
        #[cfg(feature = "planted")]
        if crate::planted::is(crate::planted::Bug::TornTail) {
            // Time for a kill in the middle of the write; an error of the first half comes again with the whole.
            let _ = write_full(&*active.handle, head, &batch.frames[..batch.frames.len() / 2], begin);
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        if let Err(error) = write_full(&*active.handle, head, &batch.frames, begin) {
            if !is_full(&error) {
                return Err(store.fail("write", error));
            }
            // What was half written must never be read as good, and room asked for ahead is given back to those who need it.
            active
                .handle
                .truncate(begin)
                .map_err(|error| store.fail("cut", error))?;
            active.allocated = begin;
            return Err(full(store, bytes, error));
        }
        active.allocated = active.allocated.max(end);
        active.began.get_or_insert(now.mono);
        active.file.on_appended(now.mono);
        active.file.change(|index| {
            index.add(
                batch.base,
                batch.end(),
                bytes,
                batch.entries.len() as u64,
                Some(walls(batch)),
            );
            index.keys.extend_from_slice(&batch.keys);
        });
        store.next.store(batch.end().get(), Ordering::Release);
        Ok(())
    }

    /// Brings everything appended to stable storage.
    pub fn sync(&mut self) -> Result<(), WriteError> {
        writes(&self.store, &mut self.mode)?;
        self.store.sync()
    }

    /// Lets go of whole segments from the front while there is too much, or they are too old, as far as they end at `below` or
    /// before; says whether any went.
    ///
    /// By age at most one goes at a time: a clock that was wrong at the start does not empty the log at once.
    ///
    /// `let_go` calls what it is given with the offset below which files may go. Readers find them gone when that returns, so
    /// whoever must not be granted a place among them waits that long, and not for the disk.
    pub fn retire(&mut self, now: Now, let_go: impl FnOnce(&mut dyn FnMut(Offset))) -> bool {
        let store = self.store.clone();
        let Ok(writing) = writes(&store, &mut self.mode) else {
            return false;
        };
        let age = writing.options.age;
        let is_old = |file: &SegmentFile| age.is_some_and(|age| file.age(now) >= age);
        let quiet = writing.active.as_ref();
        if quiet.is_some_and(|active| active.file.index().messages > 0 && is_old(&active.file)) {
            // A topic that fell silent forgets too. Where no file can be made now, a later check does it.
            if let Err(error) = writing.roll(&store, store.next(), now) {
                store.tell_failure(&error);
            }
        }
        let mut gone = Vec::new();
        let_go(&mut |below| {
            let files = store.files();
            let mut bytes: u64 = files.iter().map(|file| file.index().bytes).sum();
            for (file, next) in files.iter().zip(files.iter().skip(1)) {
                if next.base > below {
                    break;
                }
                let by_age = gone.is_empty() && is_old(file);
                if bytes <= writing.options.bytes && !by_age {
                    break;
                }
                bytes -= file.index().bytes;
                gone.push(file.clone());
            }
            drop(files);
            if !gone.is_empty() {
                // Readers stop looking there before anything is deleted.
                store.change_files(|files| drop(files.drain(..gone.len())));
            }
        });
        if gone.is_empty() {
            return false;
        }
        store
            .pages
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .forget_below(store.first());
        for file in gone {
            if let Err(error) = file.delete(&*store.disk) {
                let error = reason(&error);
                store.tell(file.path.clone(), Finding::NotDeleted { error });
            }
        }
        match writing.options.level {
            Level::Os => lock(&store).names = true,
            Level::Fsync => {
                if let Err(error) = store.names.sync() {
                    // It is the answer to the next append too.
                    store.tell_failure(&store.fail("sync", error));
                }
            }
        }
        true
    }

    /// Notes in the state file what is on stable storage, when it says less. Only the batch behind says so of the newest one: without
    /// this, damage to the last batch before a quiet time would look like a write that never came to its end.
    pub fn note_durable(&mut self) -> Result<(), WriteError> {
        let store = self.store.clone();
        // Of files that are not written any more there is nothing to note.
        let Ok(writing) = writes(&store, &mut self.mode) else {
            return Ok(());
        };
        let durable = store.durable();
        if writing.state.durable >= durable {
            return Ok(());
        }
        let before = std::mem::replace(&mut writing.state.durable, durable);
        match writing.state.save(&*store.disk, &store.directory) {
            // It is tried again at the next quiet time.
            Err(error) if is_full(&error) || is_shortage(&error) => writing.state.durable = before,
            Err(error) => return Err(store.fail("write the state", error)),
            Ok(()) => {}
        }
        Ok(())
    }

    /// Syncs, and marks that nothing is missing.
    pub fn close(mut self) -> Result<(), WriteError> {
        let store = self.store.clone();
        let Mode::Writes(writing) = &mut self.mode else {
            return Ok(());
        };
        store.sync()?;
        let disk = &*store.disk;
        if let Some(active) = &writing.active {
            let bytes = active.file.index().bytes;
            let cut = active.handle.truncate(bytes).and_then(|()| active.handle.sync());
            cut.map_err(|error| store.fail("sync", error))?;
            // An index is a cache: without it the next start takes longer.
            let _ = active.file.seal(disk, true);
        }
        // Whatever failed on another thread meanwhile.
        store.check()?;
        writing.state.durable = store.next();
        writing.state.clean = true;
        let saved = writing.state.save(disk, &store.directory);
        saved.map_err(|error| store.fail("write the state", error))
    }
}

impl Writing {
    /// Before the first write: from now on an end without a close is unclean.
    fn begin(&mut self, store: &Store) -> Result<(), WriteError> {
        if !self.begun {
            let saved = self.state.save(&*store.disk, &store.directory);
            saved.map_err(|error| match error {
                error if is_full(&error) => full(store, 0, error),
                error if is_shortage(&error) => shortage(store, error),
                error => store.fail("write the state", error),
            })?;
            self.begun = true;
        }
        Ok(())
    }

    fn is_full(&self, bytes: u64, now: Now) -> bool {
        let Some(active) = &self.active else {
            return true;
        };
        let index = active.file.index();
        let old = self.options.age.is_some_and(|age| {
            let begun = active.began.map_or(0, |began| now.mono.saturating_sub(began));
            u128::from(begun) >= age.as_nanos() / 8
        });
        index.messages > 0 && (old || index.bytes + bytes > self.options.segment_bytes())
    }

    /// Begins a segment at `base`, and seals the one before.
    fn roll(&mut self, store: &Store, base: Offset, now: Now) -> Result<(), WriteError> {
        self.begin(store)?;
        let sync = self.options.level == Level::Fsync;
        // First what was written, so that the new segment can say that all before it is on stable storage.
        if sync && self.active.is_some() {
            store.sync()?;
        }
        let header = Header {
            topic: store.topic.clone(),
            base,
            follows: store.next(),
            durable: store.durable(),
            made: now.wall,
            lineage: store.lineage.clone(),
        };
        let made = SegmentFile::create(&*store.disk, &store.directory, &header, now, sync);
        let (file, handle) = made.map_err(|error| match error {
            error if is_full(&error) => full(store, 0, error),
            error if is_shortage(&error) => shortage(store, error),
            error => store.fail("begin a segment", error),
        })?;
        file.hold(Some(handle.clone()));
        let file = Arc::new(file);
        store.change_files(|files| files.push_back(file.clone()));
        {
            let mut unsynced = lock(store);
            unsynced.active = Some(handle.clone());
            unsynced.names |= !sync;
            if !sync {
                unsynced
                    .sealed
                    .extend(self.active.as_ref().map(|sealed| sealed.file.clone()));
            }
        }
        let sealed = self.active.replace(Active::new(file, handle, now));
        if let Some(sealed) = sealed {
            let bytes = sealed.file.index().bytes;
            let cut = sealed.handle.truncate(bytes);
            cut.map_err(|error| store.fail("cut", error))?;
            if sync {
                sealed.handle.sync().map_err(|error| store.fail("sync", error))?;
            }
            // An index is a cache: where it cannot be written, the next start takes longer.
            let _ = sealed.file.seal(&*store.disk, sync);
            sealed.file.hold(None);
        }
        Ok(())
    }
}

impl Active {
    /// Makes sure that there is room up to `end`; asks for more ahead where it can be had, so that a sync need not write
    /// the length of the file too.
    fn reserve(&mut self, end: u64, segment_bytes: u64, allocates: &mut bool) {
        if end <= self.allocated || !*allocates {
            return;
        }
        let ahead = (self.allocated + AHEAD_BYTES).min(segment_bytes).max(end);
        for end in [ahead, end] {
            match self.handle.allocate(self.allocated, end - self.allocated) {
                Ok(()) => {
                    self.allocated = end;
                    return;
                }
                // Perhaps there is room for just what is needed; else the write tells that there is not.
                Err(error) if is_full(&error) || error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => {
                    // Not on this file system.
                    *allocates = false;
                    return;
                }
            }
        }
    }
}

fn writes<'a>(store: &Store, mode: &'a mut Mode) -> Result<&'a mut Writing, WriteError> {
    match mode {
        Mode::Writes(writing) => {
            store.check()?;
            Ok(writing)
        }
        Mode::ReadOnly(read_only) => Err(WriteError::ReadOnly {
            topic: store.topic.clone(),
            read_only: Box::new(read_only.clone()),
        }),
    }
}

fn walls(batch: &Batch) -> (WallTime, WallTime, WallTime) {
    let walls = || batch.entries.iter().map(|entry| entry.wall);
    let first = walls().next().unwrap_or_default();
    (
        first,
        walls().next_back().unwrap_or_default(),
        walls().max().unwrap_or_default(),
    )
}

fn lock(store: &Store) -> std::sync::MutexGuard<'_, super::Unsynced> {
    store.unsynced.lock().unwrap_or_else(PoisonError::into_inner)
}

fn full(store: &Store, bytes: u64, error: io::Error) -> WriteError {
    WriteError::Full {
        topic: store.topic.clone(),
        bytes,
        error: Arc::new(error),
    }
}

pub(super) fn shortage(store: &Store, error: io::Error) -> WriteError {
    WriteError::Shortage {
        topic: store.topic.clone(),
        error: Arc::new(error),
    }
}

fn is_full(error: &io::Error) -> bool {
    use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded | FileTooLarge)
}

pub(super) fn is_shortage(error: &io::Error) -> bool {
    use rustix::io::Errno;
    [Errno::MFILE, Errno::NFILE, Errno::NOMEM]
        .iter()
        .any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

/// Room is asked for in steps of 4 MiB: a sync seldom writes more than data, and a quiet topic takes little.
const AHEAD_BYTES: u64 = 4 << 20;

/// Why nothing was appended.
#[derive(Clone, Debug, Error)]
pub enum WriteError {
    /// The disk is full, or a quota or the largest file size is reached. The files are as before; trying again later may work.
    #[error("the disk is full: {topic} cannot keep {bytes} bytes more ({})", reason(error))]
    Full {
        /// The topic.
        topic: TopicName,
        /// What the batch needs; 0 when there is no room for a new file.
        bytes: u64,
        /// What the system says.
        error: Arc<io::Error>,
    },
    /// Out of descriptors or memory to open a file. The files are as before; trying again later may work.
    #[error("{topic} cannot open a segment file: {}", reason(error))]
    Shortage {
        /// The topic.
        topic: TopicName,
        /// What the system says.
        error: Arc<io::Error>,
    },
    /// The files failed: final for this topic until it is opened again.
    #[error(
        "the files of {topic} failed to {doing} ({}); nothing more is kept until a restart",
        reason(error)
    )]
    Failed {
        /// The topic.
        topic: TopicName,
        /// What was tried.
        doing: &'static str,
        /// What the system says.
        error: Arc<io::Error>,
    },
    /// It was found damaged when it was opened.
    #[error("{topic} is read-only: {}", read_only.notice.text())]
    ReadOnly {
        /// The topic.
        topic: TopicName,
        /// What was found.
        read_only: Box<ReadOnly>,
    },
}
