//! A file system in memory: the bytes of a fuzzer become a data directory.

use std::collections::BTreeMap;
use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lapwing::log::store::disk::{Access, Directory, Disk, DiskFile};

type Bytes = Arc<Mutex<Vec<u8>>>;

/// Files by name; nothing fails and nothing is forgotten.
#[derive(Default)]
pub struct MemoryDisk {
    files: Mutex<BTreeMap<PathBuf, Bytes>>,
    /// Which start of the machine this is.
    life: u8,
}

impl MemoryDisk {
    /// The files of one topic, on this start of the machine.
    pub fn with(life: u8, files: impl IntoIterator<Item = (PathBuf, Vec<u8>)>) -> Arc<Self> {
        let files = files
            .into_iter()
            .map(|(path, bytes)| (path, Arc::new(Mutex::new(bytes))));
        Arc::new(Self {
            files: Mutex::new(files.collect()),
            life,
        })
    }

    /// Every file, with its bytes.
    pub fn files(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let files = locked(&self.files);
        files
            .iter()
            .map(|(path, bytes)| (path.clone(), locked(bytes).clone()))
            .collect()
    }

    fn find(&self, path: &Path) -> io::Result<Bytes> {
        Ok(locked(&self.files).get(path).ok_or(io::ErrorKind::NotFound)?.clone())
    }
}

impl Disk for MemoryDisk {
    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let bytes = Bytes::default();
        locked(&self.files).insert(path.to_owned(), bytes.clone());
        Ok(Arc::new(MemoryFile(bytes)))
    }

    fn open(&self, path: &Path, _access: Access) -> io::Result<Arc<dyn DiskFile>> {
        Ok(Arc::new(MemoryFile(self.find(path)?)))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let bytes = self.find(from)?;
        let mut files = locked(&self.files);
        files.remove(from);
        files.insert(to.to_owned(), bytes);
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let removed = locked(&self.files).remove(path);
        removed.map(drop).ok_or(io::ErrorKind::NotFound.into())
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<String>> {
        let files = locked(&self.files);
        let inside = files.keys().filter(|path| path.parent() == Some(directory));
        Ok(inside
            .filter_map(|path| path.file_name()?.to_str().map(str::to_owned))
            .collect())
    }

    fn make_directory(&self, _directory: &Path) -> io::Result<()> {
        Ok(())
    }

    fn open_directory(&self, _directory: &Path) -> io::Result<Arc<dyn Directory>> {
        Ok(Arc::new(MemoryDirectory))
    }

    fn life(&self, _directory: &Path) -> Option<String> {
        Some(self.life.to_string())
    }

    fn place(&self, _directory: &Path) -> Option<String> {
        Some("here".to_owned())
    }
}

struct MemoryDirectory;

impl Directory for MemoryDirectory {
    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
}

struct MemoryFile(Bytes);

impl DiskFile for MemoryFile {
    fn bytes(&self) -> io::Result<u64> {
        Ok(locked(&self.0).len() as u64)
    }

    fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<usize> {
        let bytes = locked(&self.0);
        let from = usize::try_from(at)
            .ok()
            .and_then(|at| bytes.get(at..))
            .unwrap_or_default();
        let read = from.len().min(buffer.len());
        buffer[..read].copy_from_slice(&from[..read]);
        Ok(read)
    }

    fn write_at(&self, parts: &[IoSlice<'_>], at: u64) -> io::Result<usize> {
        let mut bytes = locked(&self.0);
        let more: Vec<u8> = parts.iter().flat_map(|part| part.iter().copied()).collect();
        let at = usize::try_from(at).map_err(|_| io::ErrorKind::FileTooLarge)?;
        let end = at.checked_add(more.len()).filter(|end| *end <= FILE_BYTES_MAX);
        let end = end.ok_or(io::ErrorKind::FileTooLarge)?;
        if bytes.len() < end {
            bytes.resize(end, 0);
        }
        bytes[at..end].copy_from_slice(&more);
        Ok(more.len())
    }

    fn allocate(&self, at: u64, bytes: u64) -> io::Result<()> {
        // As a file system that gives no room ahead but what is asked for: what is there stays, the rest is zero.
        let end = at.checked_add(bytes).filter(|end| *end <= FILE_BYTES_MAX as u64);
        let end = end.ok_or(io::ErrorKind::FileTooLarge)? as usize;
        let mut held = locked(&self.0);
        if held.len() < end {
            held.resize(end, 0);
        }
        Ok(())
    }

    fn truncate(&self, bytes: u64) -> io::Result<()> {
        let bytes = usize::try_from(bytes).ok().filter(|bytes| *bytes <= FILE_BYTES_MAX);
        locked(&self.0).resize(bytes.ok_or(io::ErrorKind::FileTooLarge)?, 0);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whoever asks for more does so because of what a file says, and not because of what is in it.
const FILE_BYTES_MAX: usize = 64 << 20;
