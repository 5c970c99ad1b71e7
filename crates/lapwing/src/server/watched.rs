//! Files that the operator may exchange while the server runs: whether they are others than were read.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// Files that belong together, how they looked when they were read, and how they looked the last time.
#[derive(Clone, Debug)]
pub struct Watched {
    paths: Vec<PathBuf>,
    read: Vec<Option<Stamp>>,
    last: Vec<Option<Stamp>>,
}

impl Watched {
    /// These files, as they look now. Before they are read: what is written meanwhile shows as a change.
    #[must_use]
    pub fn new(paths: Vec<PathBuf>) -> Self {
        let now = stamps(&paths);
        Self {
            read: now.clone(),
            last: now,
            paths,
        }
    }

    /// Whether they are others than were read, and have kept still between two looks: whoever writes them may not be done before.
    pub fn have_changed(&mut self) -> bool {
        let now = stamps(&self.paths);
        let still = self.last == now;
        self.last = now;
        still && self.last != self.read
    }

    /// They are about to be read.
    pub fn mark(&mut self) {
        self.last = stamps(&self.paths);
        self.read.clone_from(&self.last);
    }
}

fn stamps(paths: &[PathBuf]) -> Vec<Option<Stamp>> {
    paths.iter().map(|path| Stamp::of(path)).collect()
}

/// How a file looks from outside: what differs when it was written, or when another is in its place.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Stamp {
    device: u64,
    inode: u64,
    bytes: u64,
    written: (i64, i64),
}

impl Stamp {
    fn of(path: &Path) -> Option<Self> {
        let of = |found: Metadata| Self {
            device: found.dev(),
            inode: found.ino(),
            bytes: found.len(),
            written: (found.mtime(), found.mtime_nsec()),
        };
        std::fs::metadata(path).ok().map(of)
    }
}
