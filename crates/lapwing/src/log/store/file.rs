//! One segment file of an opened topic.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard};
use std::time::Duration;

use lapwing_wire::position::{Epoch, Offset};

use super::disk::{Access, Disk, DiskFile, FRESH, replace, write_full};
use super::header::Header;
use super::index::Index;
use crate::clock::Now;

/// A segment file: what is in it, and how it is opened.
pub struct SegmentFile {
    /// The offset of its first message.
    pub base: Offset,
    /// Where the segment before it ended.
    pub follows: Offset,
    /// The history of its messages.
    pub epoch: Epoch,
    /// Where it is.
    pub path: PathBuf,
    index: RwLock<Index>,
    /// Held open while it is written or read often; other readers open it for one page.
    handle: Mutex<Option<Arc<dyn DiskFile>>>,
    /// When its last message was appended, on this process's monotonic clock; before it was started that is a guess.
    last: AtomicI64,
}

impl SegmentFile {
    /// A file with this header and index; its last message counts as old as its wall time says at `now`.
    #[must_use]
    pub fn new(path: PathBuf, header: &Header, index: Index, now: Now) -> Self {
        let age = now.wall.nanos().saturating_sub(index.wall_last.nanos()).max(0);
        let age = if index.messages == 0 { 0 } else { age };
        Self {
            base: header.base,
            follows: header.follows,
            epoch: header.lineage.current(),
            path,
            last: AtomicI64::new(now.mono.cast_signed().saturating_sub(age)),
            index: RwLock::new(index),
            handle: Mutex::new(None),
        }
    }

    /// Makes a file with only a header; with `sync` it is on stable storage, name and all.
    pub fn create(
        disk: &dyn Disk,
        directory: &Path,
        header: &Header,
        now: Now,
        sync: bool,
    ) -> io::Result<(Self, Arc<dyn DiskFile>)> {
        let path = directory.join(log_name(header.base));
        let fresh = path.with_extension(FRESH);
        let bytes = header.encode();
        let made = disk.create(&fresh).and_then(|file| {
            write_full(&*file, &bytes, &[], 0)?;
            if sync {
                file.sync()?;
            }
            disk.rename(&fresh, &path)?;
            if sync {
                disk.sync_directory(directory)?;
            }
            Ok(file)
        });
        let file = made.inspect_err(|_| {
            // Only tidying up: what is left over means nothing, and is deleted at the next start.
            let _ = disk.remove(&fresh);
        })?;
        let segment = Self::new(path, header, Index::new(header.base, bytes.len() as u64), now);
        Ok((segment, file))
    }

    /// What is known of it.
    pub fn index(&self) -> RwLockReadGuard<'_, Index> {
        self.index.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes what is known of it.
    pub fn change(&self, change: impl FnOnce(&mut Index)) {
        change(&mut self.index.write().unwrap_or_else(PoisonError::into_inner));
    }

    /// Its last message was appended at `mono`.
    pub fn on_appended(&self, mono: u64) {
        self.last.store(mono.cast_signed(), Ordering::Relaxed);
    }

    /// How old its last message is.
    #[must_use]
    pub fn age(&self, now: Now) -> Duration {
        let age = now.mono.cast_signed().saturating_sub(self.last.load(Ordering::Relaxed));
        Duration::from_nanos(age.max(0).cast_unsigned())
    }

    /// The file, for reading.
    pub fn open(&self, disk: &dyn Disk) -> io::Result<Arc<dyn DiskFile>> {
        let held = self.handle.lock().unwrap_or_else(PoisonError::into_inner).clone();
        held.map_or_else(|| disk.open(&self.path, Access::Read), Ok)
    }

    /// From now on it is held open, or not any more.
    pub fn hold(&self, handle: Option<Arc<dyn DiskFile>>) {
        *self.handle.lock().unwrap_or_else(PoisonError::into_inner) = handle;
    }

    /// Writes the index file of a sealed segment, and forgets the keys: whoever wants them was given them.
    pub fn seal(&self, disk: &dyn Disk, sync: bool) -> io::Result<()> {
        let bytes = self.index().encode();
        let path = index_path(&self.path);
        let written = if sync {
            replace(disk, &path, &bytes)
        } else {
            disk.create(&path).and_then(|file| write_full(&*file, &bytes, &[], 0))
        };
        self.change(|index| index.keys = Vec::new());
        written
    }

    /// Deletes it and its index.
    pub fn delete(&self, disk: &dyn Disk) -> io::Result<()> {
        delete(disk, &self.path)
    }
}

/// Deletes a segment file and its index, those that are there.
pub fn delete(disk: &dyn Disk, path: &Path) -> io::Result<()> {
    for path in [path, &index_path(path)] {
        match disk.remove(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

/// The name of a segment file.
#[must_use]
pub fn log_name(base: Offset) -> String {
    format!("{:020}.log", base.get())
}

/// The offset that the name of a segment file says.
#[must_use]
pub fn base_of(name: &str) -> Option<Offset> {
    let digits = name.strip_suffix(".log")?;
    let digits =
        Some(digits).filter(|digits| digits.len() == 20 && digits.bytes().all(|byte| byte.is_ascii_digit()))?;
    digits.parse().ok().map(Offset::new)
}

/// Where the index of a segment file is.
#[must_use]
pub fn index_path(log: &Path) -> PathBuf {
    log.with_extension("index")
}
