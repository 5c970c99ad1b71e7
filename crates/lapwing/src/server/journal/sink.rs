//! Where the operator's log goes: standard error, or a file that is opened again when somebody has moved it.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

use crate::terminal::stream::{Stream, is_closed, write_all};

/// One of both.
pub enum Sink {
    /// Standard error, until nobody reads there any more.
    Error {
        /// Whether that is so.
        closed: bool,
    },
    /// A file.
    File {
        /// Its name.
        path: PathBuf,
        /// What was opened under it.
        file: File,
        /// Whether the last line in it has no end: the disk was full in the middle of it.
        torn: bool,
    },
}

impl Sink {
    /// Standard error.
    #[must_use]
    pub fn error() -> Self {
        Self::Error { closed: false }
    }

    /// A file, behind what it holds already.
    pub fn file(path: PathBuf) -> io::Result<Self> {
        let file = open(&path)?;
        Ok(Self::File {
            path,
            file,
            torn: false,
        })
    }

    /// Writes a line, waiting as long as it takes; false when it could not be written.
    pub fn write(&mut self, line: &str) -> bool {
        match self {
            Self::Error { closed: true } => false,
            Self::Error { closed } => {
                let written = Stream::Err.write_line(line);
                *closed = written.is_err_and(is_closed);
                written.is_ok()
            }
            Self::File { file, torn, .. } => {
                let begin: &[u8] = if *torn { b"\n" } else { b"" };
                let written = write_all(&*file, begin).and_then(|()| write_all(&*file, line.as_bytes()));
                *torn = written.is_err();
                written.is_ok()
            }
        }
    }

    /// Opens the file of that name, which is another if somebody has moved this one; what cannot be opened changes nothing.
    pub fn reopen(&mut self) -> io::Result<()> {
        if let Self::File { path, file, torn } = self {
            *file = open(path)?;
            *torn = false;
        }
        Ok(())
    }
}

/// Opening waits for nobody: a pipe that nobody reads is refused by the system, and told.
fn open(path: &Path) -> io::Result<File> {
    let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
    OpenOptions::new()
        .append(true)
        .create(true)
        .mode(FILE_MODE)
        .custom_flags(flags.bits().cast_signed())
        .open(path)
}

/// Addresses and names of clients stand in it: for its owner and group.
const FILE_MODE: u32 = 0o640;
