//! The file of a recording: append, flush, sync, and what stays of it when the disk is full.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead as _, BufReader, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use super::line::{self, SealError};
use crate::lock::{self, LockError};

/// Appends whole lines to a file that no other process writes.
///
/// Lines wait in a buffer of 64 KiB; whoever owns the writer flushes it when the feed is quiet and at the end.
#[derive(Debug)]
pub struct Writer {
    file: File,
    path: PathBuf,
    buffer: Vec<u8>,
    /// Where the next write lands; none where the file is a pipe or a device.
    end: Option<u64>,
}

impl Writer {
    /// Opens or creates the file and takes its lock.
    ///
    /// A last line without end is left as it is and closed with a newline: it reads as damage, and the next line is intact.
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        Self::open_if(path, |_| Ok(()))
    }

    /// Opens or creates a recording: as [`Writer::open`], but a file that holds something else is refused and stays as it is.
    pub fn open_recording(path: &Path) -> Result<Self, OpenError> {
        Self::open_if(path, |file| match begins_as_recording(file) {
            Ok(true) => Ok(()),
            Ok(false) => Err(OpenError::Foreign),
            Err(error) => Err(OpenError::Io(error)),
        })
    }

    /// Opens the file; what it holds already is shown to `check`.
    fn open_if(path: &Path, check: impl FnOnce(&mut File) -> Result<(), OpenError>) -> Result<Self, OpenError> {
        let file = match OpenOptions::new().append(true).read(true).create(true).open(path) {
            // A pipe's other end may allow no reading.
            Err(_) if path.exists() => OpenOptions::new().append(true).open(path),
            opened => opened,
        };
        let mut file = file.map_err(OpenError::Io)?;
        let metadata = file.metadata().map_err(OpenError::Io)?;
        let end = metadata.is_file().then_some(metadata.len());
        let mut buffer = Vec::new();
        if let Some(bytes) = end {
            lock::lock(&file).map_err(|error| match error {
                LockError::Held { by } => OpenError::Held { by },
                LockError::Io(error) => OpenError::Io(error),
            })?;
            if bytes > 0 {
                check(&mut file)?;
                if last_byte(&mut file).map_err(OpenError::Io)? != b'\n' {
                    buffer.push(b'\n');
                }
            }
        }
        Ok(Self {
            file,
            path: path.to_owned(),
            buffer,
            end,
        })
    }

    /// Where it writes.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Takes whole lines, and writes when enough have come together.
    pub fn append(&mut self, lines: &[u8]) -> io::Result<()> {
        self.buffer.extend_from_slice(lines);
        if self.buffer.len() >= BUFFER_BYTES {
            self.flush()?;
        }
        Ok(())
    }

    /// Hands everything to the operating system.
    ///
    /// When that fails, the file keeps the lines that are whole and the buffer those that are not yet in it: a second call
    /// goes on where the first one ended.
    pub fn flush(&mut self) -> io::Result<()> {
        let mut written = 0;
        let result = loop {
            if written == self.buffer.len() {
                break Ok(());
            }
            match self.file.write(&self.buffer[written..]) {
                Ok(0) => break Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => written += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => break Err(error),
            }
        };
        let whole = if result.is_ok() {
            written
        } else {
            self.cut_torn_line(written)
        };
        self.end = self.end.map(|end| end + whole as u64);
        self.buffer.drain(..whole);
        if self.buffer.capacity() > 4 * BUFFER_BYTES && self.buffer.len() < BUFFER_BYTES {
            self.buffer.shrink_to(BUFFER_BYTES);
        }
        result
    }

    /// Asks the disk to keep what was flushed.
    pub fn sync(&mut self) -> io::Result<()> {
        self.flush()?;
        match self.end {
            Some(_) => self.file.sync_data(),
            None => Ok(()),
        }
    }

    /// Takes the part of a line that was `written` back out of the file; gives how much of the buffer is in it.
    fn cut_torn_line(&mut self, written: usize) -> usize {
        let whole = self.buffer[..written]
            .iter()
            .rposition(|&byte| byte == b'\n')
            .map_or(0, |at| at + 1);
        match self.end.map(|end| self.file.set_len(end + whole as u64)) {
            Some(Ok(())) => whole,
            // A pipe has it for good.
            _ => written,
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        // The last resort of a caller that ends early; the one that ended well has flushed and seen the result.
        let _ = self.flush();
    }
}

/// Why a file was not opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process writes it.
    #[error("it is being written by another listener")]
    Held {
        /// Which, if the system says.
        by: Option<u32>,
    },
    /// It holds something that is no recording.
    #[error("it holds something else than a recording")]
    Foreign,
    /// The system said no.
    #[error("{0}")]
    Io(io::Error),
}

/// Whether the first line is a record, whole or damaged: a damaged recording is still one.
///
/// A first line without end is the one that a crash tore, if it begins as every recording does.
fn begins_as_recording(file: &mut File) -> io::Result<bool> {
    file.seek(SeekFrom::Start(0))?;
    let mut line = Vec::new();
    BufReader::new(file)
        .take(line::LINE_BYTES_MAX as u64)
        .read_until(b'\n', &mut line)?;
    Ok(match line.strip_suffix(b"\n") {
        Some(line) => line::check(line) != Err(SealError::Missing),
        None => line.starts_with(RECORD_BEGIN) || RECORD_BEGIN.starts_with(&line),
    })
}

fn last_byte(file: &mut File) -> io::Result<u8> {
    file.seek(SeekFrom::End(-1))?;
    let mut byte = [0];
    file.read_exact(&mut byte)?;
    Ok(byte[0])
}

/// The first record of a run says who wrote it.
const RECORD_BEGIN: &[u8] = b"{\"record\":\"start\"";

/// 64 KiB: one write for some hundred lines of a fast feed, and lost by a crash at most once more than the kernel's own.
const BUFFER_BYTES: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Now;
    use crate::recording::line::LineWriter;
    use crate::recording::note::Note;

    #[test]
    fn lines_are_appended_and_a_torn_one_is_closed() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("feed.ndjson");
        std::fs::write(&path, "whole\ntor").expect("written");
        let mut writer = Writer::open(&path).expect("free");
        writer.append(b"next\n").expect("room");
        writer.flush().expect("room");
        assert_eq!(std::fs::read_to_string(&path).expect("there"), "whole\ntor\nnext\n");
    }

    #[test]
    fn only_a_recording_is_appended_to() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("feed.ndjson");
        let mut whole = Vec::new();
        let note = Note::ClockStep { ms: 1.0 };
        LineWriter::default().note(note, Now::default(), &mut whole);
        let mut damaged = whole.clone();
        damaged[5] ^= 1;
        for taken in [&b""[..], &whole, &damaged, b"{\"record\":\"start\",\"ver"] {
            std::fs::write(&path, taken).expect("written");
            assert!(Writer::open_recording(&path).is_ok(), "{}", taken.escape_ascii());
        }
        for other in [&b"\n"[..], b"print('hello')\n", b"# Notes", b"{\"a\":1}\n"] {
            std::fs::write(&path, other).expect("written");
            assert!(
                matches!(Writer::open_recording(&path), Err(OpenError::Foreign)),
                "{}",
                other.escape_ascii()
            );
            assert_eq!(std::fs::read(&path).expect("there"), other);
        }
    }

    #[test]
    fn a_second_writer_is_refused_while_the_first_lives() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("feed.ndjson");
        let first = Writer::open(&path).expect("free");
        assert!(matches!(Writer::open(&path), Err(OpenError::Held { .. })));
        drop(first);
        assert!(Writer::open(&path).is_ok());
    }

    #[test]
    fn a_full_disk_keeps_whole_lines_and_loses_none() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("feed.ndjson");
        let mut writer = Writer::open(&path).expect("free");
        writer.append(b"one\ntwo\nthree\n").expect("buffered");
        // What a write of 6 bytes that then failed leaves behind.
        std::fs::write(&path, "one\ntw").expect("written");
        let whole = writer.cut_torn_line(6);
        assert_eq!(std::fs::read_to_string(&path).expect("there"), "one\n");
        writer.end = Some(whole as u64);
        writer.buffer.drain(..whole);
        writer.flush().expect("room again");
        assert_eq!(std::fs::read_to_string(&path).expect("there"), "one\ntwo\nthree\n");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_device_that_is_full_says_so() {
        let mut writer = Writer::open(Path::new("/dev/full")).expect("a device");
        writer.append(b"one\n").expect("buffered");
        assert_eq!(writer.flush().expect_err("full").kind(), io::ErrorKind::StorageFull);
        writer.buffer.clear();
    }
}
