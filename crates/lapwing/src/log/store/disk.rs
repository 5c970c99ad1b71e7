//! What the store asks of a file system; tests put one in its place that fails and forgets.

use std::fs::{File, OpenOptions};
use std::io::{self, IoSlice};
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::Path;
use std::sync::Arc;

/// A file system.
pub trait Disk: Send + Sync {
    /// Makes a file anew, for reading and writing.
    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>>;
    /// Opens a file; for writing too, unless `access` says otherwise.
    fn open(&self, path: &Path, access: Access) -> io::Result<Arc<dyn DiskFile>>;
    /// Renames a file over another.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Deletes a file.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// The names in a directory.
    fn list(&self, directory: &Path) -> io::Result<Vec<String>>;
    /// Makes a directory and those above it; the names of those that it made are on stable storage.
    fn make_directory(&self, directory: &Path) -> io::Result<()>;
    /// Opens a directory, to sync it.
    fn open_directory(&self, directory: &Path) -> io::Result<Arc<dyn Directory>>;
    /// Brings creations, renames and deletions in a directory to stable storage.
    fn sync_directory(&self, directory: &Path) -> io::Result<()> {
        self.open_directory(directory)?.sync()
    }
    /// What tells this start of the machine, this device and this directory from all others; none when the system does not
    /// say. While it stays the same, whatever was written can be read, synced or not.
    fn life(&self, directory: &Path) -> Option<String>;
    /// What tells this directory from a copy of it, and stays when the machine or its mounts are started anew; none when the
    /// system does not say.
    fn place(&self, directory: &Path) -> Option<String>;
}

/// For what a file is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Only to read.
    Read,
    /// To write too.
    Write,
}

/// An open directory.
pub trait Directory: Send + Sync {
    /// Brings creations, renames and deletions in it to stable storage.
    fn sync(&self) -> io::Result<()>;
}

/// An open file.
pub trait DiskFile: Send + Sync {
    /// Its length.
    fn bytes(&self) -> io::Result<u64>;
    /// Reads some bytes from `at` on; 0 at the end.
    fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<usize>;
    /// Writes some bytes of `parts`, from the first on, at `at`.
    fn write_at(&self, parts: &[IoSlice<'_>], at: u64) -> io::Result<usize>;
    /// Makes sure that there is room for `bytes` from `at` on, and that they read as zero.
    fn allocate(&self, at: u64, bytes: u64) -> io::Result<()>;
    /// Cuts it, or makes it longer by zeroes.
    fn truncate(&self, bytes: u64) -> io::Result<()>;
    /// Brings data to stable storage, and what is needed to read them.
    fn sync_data(&self) -> io::Result<()>;
    /// Brings data and all about the file to stable storage.
    fn sync(&self) -> io::Result<()>;
}

/// The real one.
pub struct RealDisk;

impl Disk for RealDisk {
    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).create(true).truncate(true).open(path)?;
        Ok(Arc::new(RealFile(file)))
    }

    fn open(&self, path: &Path, access: Access) -> io::Result<Arc<dyn DiskFile>> {
        let write = access == Access::Write;
        Ok(Arc::new(RealFile(
            OpenOptions::new().read(true).write(write).open(path)?,
        )))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        std::fs::remove_file(path)
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<String>> {
        let names = std::fs::read_dir(directory)?.map(|entry| Ok(entry?.file_name().into_string().ok()));
        // A name that is no UTF-8 is none of ours.
        names.filter_map(Result::transpose).collect()
    }

    fn make_directory(&self, directory: &Path) -> io::Result<()> {
        let missing = directory.ancestors().take_while(|above| !above.exists());
        let missing: Vec<_> = missing.filter(|above| !above.as_os_str().is_empty()).collect();
        std::fs::create_dir_all(directory)?;
        for made in missing.iter().rev() {
            let above = made.parent().filter(|above| !above.as_os_str().is_empty());
            self.sync_directory(above.unwrap_or(Path::new(".")))?;
        }
        Ok(())
    }

    fn open_directory(&self, directory: &Path) -> io::Result<Arc<dyn Directory>> {
        Ok(Arc::new(RealFile(File::open(directory)?)))
    }

    fn life(&self, directory: &Path) -> Option<String> {
        let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
        let place = std::fs::metadata(directory).ok()?;
        Some(format!("{}/{}/{}", boot.trim(), place.dev(), place.ino()))
    }

    fn place(&self, directory: &Path) -> Option<String> {
        let place = std::fs::metadata(directory).ok()?;
        // The number alone may be given again to a copy that is made when the original is deleted. The device is left out:
        // its number may be another after each mount.
        let made = place.created().ok()?.duration_since(std::time::UNIX_EPOCH).ok()?;
        Some(format!("{}/{}", place.ino(), made.as_nanos()))
    }
}

struct RealFile(File);

impl DiskFile for RealFile {
    fn bytes(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<usize> {
        self.0.read_at(buffer, at)
    }

    fn write_at(&self, parts: &[IoSlice<'_>], at: u64) -> io::Result<usize> {
        Ok(rustix::io::pwritev(&self.0, parts, at)?)
    }

    fn allocate(&self, at: u64, bytes: u64) -> io::Result<()> {
        Ok(rustix::fs::fallocate(
            &self.0,
            rustix::fs::FallocateFlags::empty(),
            at,
            bytes,
        )?)
    }

    fn truncate(&self, bytes: u64) -> io::Result<()> {
        self.0.set_len(bytes)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync_all()
    }
}

impl Directory for RealFile {
    fn sync(&self) -> io::Result<()> {
        self.0.sync_all()
    }
}

/// Reads until `buffer` is full or the file ends; gives how much was read.
pub fn read_full(file: &dyn DiskFile, buffer: &mut [u8], at: u64) -> io::Result<usize> {
    let mut read = 0;
    while read < buffer.len() {
        match file.read_at(&mut buffer[read..], at + read as u64) {
            Ok(0) => break,
            Ok(bytes) => read += bytes,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(read)
}

/// Reads a whole file; allocates by what it holds.
pub fn read_whole(disk: &dyn Disk, path: &Path) -> io::Result<Vec<u8>> {
    let file = disk.open(path, Access::Read)?;
    let mut bytes = vec![0; usize::try_from(file.bytes()?).map_err(|_| io::ErrorKind::FileTooLarge)?];
    let read = read_full(&*file, &mut bytes, 0)?;
    bytes.truncate(read);
    Ok(bytes)
}

/// Writes both parts, one behind the other, whole.
pub fn write_full(file: &dyn DiskFile, head: &[u8], body: &[u8], at: u64) -> io::Result<()> {
    let bytes = head.len() + body.len();
    let mut written = 0;
    while written < bytes {
        let parts = [
            IoSlice::new(&head[written.min(head.len())..]),
            IoSlice::new(&body[written.saturating_sub(head.len())..]),
        ];
        match file.write_at(&parts, at + written as u64) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(more) => written += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Puts a whole file in the place of another, or of none: it is never seen half written, also after a power cut.
pub fn replace(disk: &dyn Disk, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let fresh = path.with_extension(FRESH);
    let file = disk.create(&fresh)?;
    write_full(&*file, bytes, &[], 0)?;
    file.sync()?;
    disk.rename(&fresh, path)?;
    match path.parent() {
        Some(directory) => disk.sync_directory(directory),
        None => Ok(()),
    }
}

/// The extension of a file that is not yet whole; one that is left over means nothing.
pub const FRESH: &str = "new";
