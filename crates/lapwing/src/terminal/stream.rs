//! Standard output and standard error, written line by line, by whichever thread has one.

use std::os::fd::AsFd;
use std::sync::{Mutex, OnceLock, PoisonError};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

/// One of the two.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stream {
    /// Standard output.
    Out,
    /// Standard error.
    Err,
}

impl Stream {
    /// Writes a line, waiting as long as it takes. Other threads that write a line to the same place wait meanwhile, so no line
    /// stands inside another.
    pub fn write_line(self, line: &str) -> rustix::io::Result<()> {
        static TURNS: [Mutex<()>; 2] = [Mutex::new(()), Mutex::new(())];
        let turn = match self {
            Self::Err if !same_place() => &TURNS[1],
            Self::Out | Self::Err => &TURNS[0],
        };
        let _turn = turn.lock().unwrap_or_else(PoisonError::into_inner);
        match self {
            Self::Out => write_all(rustix::stdio::stdout(), line.as_bytes()),
            Self::Err => write_all(rustix::stdio::stderr(), line.as_bytes()),
        }
    }
}

/// Writes all of it, waiting as long as it takes, also where somebody else made the file non-blocking.
pub fn write_all(file: impl AsFd, bytes: &[u8]) -> rustix::io::Result<()> {
    let mut rest = bytes;
    while !rest.is_empty() {
        match rustix::io::write(&file, rest) {
            Ok(written) => rest = &rest[written..],
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => {
                let second = Timespec { tv_sec: 1, tv_nsec: 0 };
                // Whatever it says, the write is tried again and knows better.
                let _ = poll(&mut [PollFd::new(&file, PollFlags::OUT)], Some(&second));
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Whether an error means that nobody will ever read there again.
#[must_use]
pub fn is_closed(error: Errno) -> bool {
    matches!(error, Errno::PIPE | Errno::BADF)
}

/// Whether stdout and stderr lead to the same terminal, pipe or file.
#[must_use]
pub fn same_place() -> bool {
    static SAME: OnceLock<bool> = OnceLock::new();
    *SAME.get_or_init(|| {
        let place = |stat: rustix::io::Result<rustix::fs::Stat>| stat.ok().map(|stat| (stat.st_dev, stat.st_ino));
        let out = place(rustix::fs::fstat(rustix::stdio::stdout()));
        out.is_some() && out == place(rustix::fs::fstat(rustix::stdio::stderr()))
    })
}
