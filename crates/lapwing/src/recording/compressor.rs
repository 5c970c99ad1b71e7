//! A thread that compresses the parts of a recording that were rotated away.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

use super::parts;

/// Compresses one part after the other.
///
/// A part is there in one whole form at every moment, whenever the process or the machine ends; what was begun and not ended is
/// begun again by the next listener.
#[derive(Debug)]
pub struct Compressor {
    parts: Option<Sender<PathBuf>>,
    problems: Receiver<Problem>,
}

/// A part that could not be compressed; it is there as it was written.
#[derive(Debug)]
pub struct Problem {
    /// Which.
    pub part: PathBuf,
    /// Why.
    pub error: io::Error,
}

impl Compressor {
    /// Starts the thread.
    pub fn start() -> io::Result<Self> {
        let (parts, wanted) = channel::<PathBuf>();
        let (tell, problems) = channel();
        std::thread::Builder::new().name("compress".to_owned()).spawn(move || {
            for part in wanted {
                if let Err(error) = compress(&part)
                    && tell.send(Problem { part, error }).is_err()
                {
                    return;
                }
            }
        })?;
        Ok(Self {
            parts: Some(parts),
            problems,
        })
    }

    /// Takes a part to compress.
    pub fn take(&self, part: PathBuf) {
        if let Some(parts) = &self.parts {
            // A thread that ended has told why.
            let _ = parts.send(part);
        }
    }

    /// The next part that could not be compressed, if there is one.
    pub fn problem(&self) -> Option<Problem> {
        self.problems.try_recv().ok()
    }

    /// Gives it the time to end what it has; what it does not reach is left as it was written.
    pub fn finish(&mut self, wait: Duration) {
        self.parts = None;
        while !matches!(
            self.problems.recv_timeout(wait),
            Err(RecvTimeoutError::Disconnected | RecvTimeoutError::Timeout)
        ) {}
    }
}

/// Puts a compressed form in the place of a part.
fn compress(part: &Path) -> io::Result<()> {
    let packed = parts::packed(part);
    // It gets its name when it is whole: one that is there was left by a crash before the part was removed.
    if !packed.exists() {
        let mut new = packed.as_os_str().to_owned();
        new.push(NEW);
        let new = PathBuf::from(new);
        let made = write(part, &new).and_then(|()| std::fs::rename(&new, &packed));
        if made.is_err() {
            let _ = std::fs::remove_file(&new);
        }
        made?;
        parts::sync_folder(part)?;
    }
    std::fs::remove_file(part)
}

fn write(part: &Path, new: &Path) -> io::Result<()> {
    let mut from = File::open(part)?;
    let mut to = zstd::stream::write::Encoder::new(File::create(new)?, LEVEL)?;
    to.include_checksum(true)?;
    io::copy(&mut from, &mut to)?;
    to.finish()?.sync_all()
}

/// What a file is called that is not whole yet.
const NEW: &str = ".new";

/// 3, zstd's own default: a feed of JSON becomes a fifth or less, at some hundred MB a second.
const LEVEL: i32 = 3;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_replaced_and_what_a_crash_left_is_ended() {
        let dir = tempfile::tempdir().expect("a directory");
        let part = dir.path().join("feed.000001.ndjson");
        let packed = parts::packed(&part);
        let text = b"{\"record\":\"start\"}\n".repeat(500);
        let unpacked = || zstd::decode_all(File::open(&packed).expect("there")).expect("whole");
        std::fs::write(&part, &text).expect("written");
        std::fs::write(dir.path().join("feed.000001.ndjson.zst.new"), "torn").expect("written");
        compress(&part).expect("room");
        assert_eq!(unpacked(), text);
        assert!(!part.exists());
        // A crash before the part was removed.
        std::fs::write(&part, &text).expect("written");
        compress(&part).expect("room");
        assert_eq!(unpacked(), text);
        assert_eq!(std::fs::read_dir(dir.path()).expect("there").count(), 1);
    }

    #[test]
    fn what_cannot_be_compressed_is_told_and_left() {
        let mut compressor = Compressor::start().expect("a thread");
        let dir = tempfile::tempdir().expect("a directory");
        compressor.take(dir.path().join("feed.000001.ndjson"));
        let problem = compressor.problems.recv().expect("told");
        assert_eq!(problem.error.kind(), io::ErrorKind::NotFound);
        compressor.finish(Duration::from_secs(60));
    }
}
