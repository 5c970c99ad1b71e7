//! One writer a file, or a directory by a file in it.

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt as _;

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use crate::reason::reason;

/// Takes the lock of `file` for as long as it is open; the kernel frees it however the process ends.
pub fn lock(file: &File) -> Result<(), LockError> {
    match flock(file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(()),
        Err(Errno::WOULDBLOCK) => Err(LockError::Held { by: holder(file) }),
        Err(error) => Err(LockError::Io(error.into())),
    }
}

/// Why a file was not locked.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another process holds it.
    #[error("it is being written by another process")]
    Held {
        /// Which, if the system says.
        by: Option<u32>,
    },
    /// The file system has no locks, or another error.
    #[error("{}", reason(.0))]
    Io(io::Error),
}

/// The process that holds the lock: Linux lists all locks, other systems do not tell.
fn holder(file: &File) -> Option<u32> {
    let inode = file.metadata().ok()?.ino();
    holder_in(&std::fs::read_to_string("/proc/locks").ok()?, inode)
}

/// Finds the one `flock` on `inode`; two files of one inode on two devices are not told apart, so then nobody is named.
fn holder_in(locks: &str, inode: u64) -> Option<u32> {
    let mut holders = locks.lines().filter_map(|line| {
        let words: Vec<_> = line.split_ascii_whitespace().collect();
        let [_, "FLOCK", _, "WRITE", process, place, ..] = words.as_slice() else {
            return None;
        };
        let same = place.rsplit(':').next()?.parse() == Ok(inode);
        process.parse().ok().filter(|_| same)
    });
    holders.next().filter(|_| holders.next().is_none())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_holder_is_found_among_other_locks() {
        let locks = "1: POSIX  ADVISORY  WRITE 700 08:01:99 0 EOF\n\
                     2: FLOCK  ADVISORY  WRITE 4312 08:01:1234 0 EOF\n\
                     2: -> FLOCK  ADVISORY  WRITE 4400 08:01:1234 0 EOF\n\
                     3: FLOCK  ADVISORY  READ 12 08:01:77 0 EOF\n";
        assert_eq!(holder_in(locks, 1234), Some(4312));
        assert_eq!(holder_in(locks, 99), None);
        assert_eq!(holder_in(locks, 77), None);
        let twice = format!("{locks}4: FLOCK ADVISORY WRITE 5 08:02:1234 0 EOF\n");
        assert_eq!(holder_in(&twice, 1234), None);
    }

    #[test]
    fn a_second_writer_is_refused() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("feed.ndjson");
        let first = File::create(&path).expect("created");
        lock(&first).expect("free");
        let second = File::open(&path).expect("there");
        assert!(matches!(lock(&second), Err(LockError::Held { .. })));
        drop(first);
        lock(&second).expect("free again");
    }
}
