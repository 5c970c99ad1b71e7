//! The wall clock as the programs under test see it: a file that libfaketime reads again and again. The monotonic clock goes on.

use std::path::{Path, PathBuf};

/// A clock that can be set for the programs of one trial, and for nobody else.
#[derive(Clone, Debug)]
pub struct Wall {
    library: PathBuf,
    file: PathBuf,
}

impl Wall {
    /// A clock that goes right, kept in `folder`; none where libfaketime is not there.
    pub fn new(folder: &Path) -> Option<Self> {
        let wall = Self {
            library: library()?,
            file: folder.join("wall-clock"),
        };
        wall.set(0).ok()?;
        Some(wall)
    }

    /// From now on it is wrong by so many seconds.
    pub fn set(&self, seconds: i64) -> std::io::Result<()> {
        // A program must not read half of it.
        let new = self.file.with_extension("new");
        std::fs::write(&new, format!("{seconds:+}\n"))?;
        std::fs::rename(new, &self.file)
    }

    /// What makes a program see it.
    pub fn variables(&self) -> [(&'static str, PathBuf); 4] {
        [
            ("LD_PRELOAD", self.library.clone()),
            ("FAKETIME_TIMESTAMP_FILE", self.file.clone()),
            ("FAKETIME_NO_CACHE", "1".into()),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1".into()),
        ]
    }
}

/// Where Debian has it.
pub fn library() -> Option<PathBuf> {
    let folders = std::fs::read_dir("/usr/lib").ok()?;
    folders
        .filter_map(|folder| Some(folder.ok()?.path().join("faketime/libfaketimeMT.so.1")))
        .find(|library| library.exists())
}
