//! The file of a recording: lines on their way to it, and what stays of it when the disk is full.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead as _, BufReader, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::checkpoint::Checkpoint;
use super::line::{self, SealError};
use crate::lock::{self, LockError};
use crate::reason::reason;

/// Appends whole lines to a file that no other process writes.
///
/// Lines wait in a buffer until they are flushed; what cannot be written stays there, and a later flush goes on where the
/// last one ended.
#[derive(Debug)]
pub struct Writer {
    file: File,
    path: PathBuf,
    buffer: Vec<u8>,
    /// Where the next write lands; none where the file is a pipe or a device.
    end: Option<u64>,
    /// What the buffer holds belongs into a file that is yet to be made at `path`.
    awaits_file: bool,
}

impl Writer {
    /// Opens or creates the file and takes its lock; a recording is refused and stays as it is.
    ///
    /// A last line without end is left as it is and closed with a newline, so that the next one stands alone.
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        let (mut writer, file) = Self::open_locked(path)?;
        if let Some(mut file) = file
            && writer.end > Some(0)
        {
            if is_record(&first_line(&mut file).map_err(OpenError::Io)?) {
                return Err(OpenError::Recording);
            }
            if last_byte(&mut file).map_err(OpenError::Io)? != b'\n' {
                writer.buffer.push(b'\n');
            }
        }
        Ok(writer)
    }

    /// Opens or creates a recording and takes its lock; a file that holds something else is refused and stays as it is.
    ///
    /// What stands behind the last whole record is cut; how much that was comes back with what the rest says.
    pub fn open_recording(path: &Path) -> Result<(Self, Found), OpenError> {
        let (mut writer, file) = Self::open_locked(path)?;
        let mut found = Found::default();
        if let (Some(mut file), Some(len)) = (file, writer.end) {
            if len > 0 && !begins_as_recording(&first_line(&mut file).map_err(OpenError::Io)?, len) {
                return Err(OpenError::Foreign);
            }
            let checkpoint = Checkpoint::of_recording(&mut file, path).map_err(OpenError::Io)?;
            found.checkpoint = checkpoint.map_err(OpenError::of_lock)?;
            let end = found.checkpoint.end;
            if end < len {
                file.set_len(end).map_err(OpenError::Io)?;
                found.cut = len - end;
                writer.end = Some(end);
            }
        }
        Ok((writer, found))
    }

    /// Opens the file; another handle of it comes back where it is one that can be read.
    fn open_locked(path: &Path) -> Result<(Self, Option<File>), OpenError> {
        let file = match OpenOptions::new().append(true).read(true).create(true).open(path) {
            // A pipe's other end may allow no reading.
            Err(_) if path.exists() => OpenOptions::new().append(true).open(path),
            opened => opened,
        };
        let file = file.map_err(OpenError::Io)?;
        let metadata = file.metadata().map_err(OpenError::Io)?;
        let end = metadata.is_file().then_some(metadata.len());
        let mut second = None;
        if end.is_some() {
            lock::lock(&file).map_err(OpenError::of_lock)?;
            second = Some(file.try_clone().map_err(OpenError::Io)?);
        }
        let writer = Self {
            file,
            path: path.to_owned(),
            buffer: Vec::new(),
            end,
            awaits_file: false,
        };
        Ok((writer, second))
    }

    /// Where it writes.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The file, unless it is a pipe or a device, of which nothing can be asked.
    #[must_use]
    pub fn regular(&self) -> Option<&File> {
        self.end.map(|_| &self.file)
    }

    /// How long the file is with everything that waits.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.end.unwrap_or(0) + self.buffer.len() as u64
    }

    /// Whether nothing was ever written.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What is not written yet.
    #[must_use]
    pub fn waiting(&self) -> &[u8] {
        &self.buffer
    }

    /// Takes whole lines.
    pub fn append(&mut self, lines: &[u8]) {
        self.buffer.extend_from_slice(lines);
    }

    /// Goes on in a new file at the same place: the one there was moved away. Everything must have been flushed before.
    ///
    /// The file is made by the next flush, and begins with `header`.
    pub fn begin_anew(&mut self, header: &[u8]) {
        self.awaits_file = true;
        self.end = Some(0);
        self.buffer.extend_from_slice(header);
    }

    /// Whether the file that is written is the one that its path names.
    pub fn is_in_place(&self) -> io::Result<bool> {
        if self.end.is_none() || self.awaits_file {
            return Ok(true);
        }
        let ours = self.file.metadata()?;
        Ok(std::fs::metadata(&self.path).is_ok_and(|there| (there.dev(), there.ino()) == (ours.dev(), ours.ino())))
    }

    /// Hands everything to the operating system.
    ///
    /// When that fails, the file keeps the lines that are whole and the buffer those that are not yet in it: a second call
    /// goes on where the first one ended.
    pub fn flush(&mut self) -> io::Result<()> {
        if self.awaits_file {
            self.file = create(&self.path)?;
            self.awaits_file = false;
        }
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

/// What was in a file that is gone on with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// What its records say.
    pub checkpoint: Checkpoint,
    /// How many bytes behind the last whole record were cut.
    pub cut: u64,
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
    /// It holds a recording, which other lines would damage.
    #[error("it holds a recording")]
    Recording,
    /// The system said no.
    #[error("{}", reason(.0))]
    Io(io::Error),
}

impl OpenError {
    fn of_lock(error: LockError) -> Self {
        match error {
            LockError::Held { by } => Self::Held { by },
            LockError::Io(error) => Self::Io(error),
        }
    }
}

/// Makes a file where none is, or takes an empty one that another program put there, and locks it.
fn create(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new().append(true).read(true).create(true).open(path)?;
    lock::lock(&file).map_err(|error| match error {
        LockError::Held { .. } => io::ErrorKind::AlreadyExists.into(),
        LockError::Io(error) => error,
    })?;
    match file.metadata()?.len() {
        0 => Ok(file),
        _ => Err(io::ErrorKind::AlreadyExists.into()),
    }
}

/// Whether a file of `len` bytes is a recording by its first line, or what is left of one.
///
/// Of a first line that a crash tore there may be less than is known by; or a power cut left the length of a file and nothing of
/// what was in it, which reads as zeroes.
fn begins_as_recording(line: &[u8], len: u64) -> bool {
    // What was not looked at may be somebody's.
    let is_all = line.len() as u64 == len;
    is_record(line) || is_all && (RECORD_BEGIN.starts_with(line) || line.iter().all(|&byte| byte == 0))
}

/// Whether a first line is a record: a whole one, a damaged one, or one that a crash tore.
fn is_record(line: &[u8]) -> bool {
    match line.strip_suffix(b"\n") {
        Some(line) => line::check(line) != Err(SealError::Missing),
        None => line.len() < line::LINE_BYTES_MAX && line.starts_with(RECORD_BEGIN),
    }
}

/// The first line, or as much of it as a record can be long.
fn first_line(file: &mut File) -> io::Result<Vec<u8>> {
    file.seek(SeekFrom::Start(0))?;
    let mut line = Vec::new();
    BufReader::new(file)
        .take(line::LINE_BYTES_MAX as u64)
        .read_until(b'\n', &mut line)?;
    Ok(line)
}

fn last_byte(file: &mut File) -> io::Result<u8> {
    file.seek(SeekFrom::End(-1))?;
    let mut byte = [0];
    file.read_exact(&mut byte)?;
    Ok(byte[0])
}

/// The first record of a run says who wrote it.
const RECORD_BEGIN: &[u8] = b"{\"record\":\"start\"";

/// 64 KiB: one write for some hundred lines of a fast feed. Whoever owns a writer flushes it when so much waits.
pub const BUFFER_BYTES: usize = 64 << 10;

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
        writer.append(b"next\n");
        writer.flush().expect("room");
        assert_eq!(std::fs::read_to_string(&path).expect("there"), "whole\ntor\nnext\n");
    }

    #[test]
    fn only_a_recording_is_appended_to() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("feed.ndjson");
        let mut whole = Vec::new();
        let note = Note::ClockStep { ms: 1.0 };
        LineWriter::default().note(&note, Now::default(), &mut whole);
        let mut damaged = whole.clone();
        damaged[5] ^= 1;
        damaged.extend_from_slice(&whole);
        let torn = [&whole, &b"{\"record\":\"start\",\"ver"[..]].concat();
        for (taken, kept) in [
            (&b""[..], 0),
            (&whole, whole.len()),
            (&damaged, damaged.len()),
            (&torn, whole.len()),
            (b"{\"record\":\"start\",\"ver", 0),
            (&[0; 4096], 0),
        ] {
            std::fs::write(&path, taken).expect("written");
            let (_, found) = Writer::open_recording(&path).expect("taken");
            assert_eq!(found.cut, (taken.len() - kept) as u64, "{}", taken.escape_ascii());
            assert_eq!(std::fs::read(&path).expect("there"), taken[..kept]);
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
    fn a_recording_takes_no_other_lines() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("feed.ndjson");
        let mut whole = Vec::new();
        LineWriter::default().note(&Note::ClockStep { ms: 1.0 }, Now::default(), &mut whole);
        let mut damaged = whole.clone();
        damaged[5] ^= 1;
        for recording in [&whole[..], &damaged, b"{\"record\":\"start\",\"ver"] {
            std::fs::write(&path, recording).expect("written");
            assert!(matches!(Writer::open(&path), Err(OpenError::Recording)));
            assert_eq!(std::fs::read(&path).expect("there"), recording);
        }
    }

    #[test]
    fn zeroes_are_what_a_power_cut_left_only_where_nothing_stands_behind_them() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("feed.ndjson");
        let zeroes = line::LINE_BYTES_MAX as u64 + (1 << 20);
        // A hole reads as zeroes, and costs nothing.
        let mut file = File::create(&path).expect("made");
        file.set_len(zeroes).expect("room");
        file.seek(SeekFrom::End(0)).expect("a file");
        file.write_all(b"theirs").expect("room");
        assert!(matches!(Writer::open_recording(&path), Err(OpenError::Foreign)));
        assert_eq!(file.metadata().expect("there").len(), zeroes + 6);
        file.set_len(1 << 20).expect("shorter");
        let (_, found) = Writer::open_recording(&path).expect("taken");
        assert_eq!(found.cut, 1 << 20);
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
        writer.append(b"one\ntwo\nthree\n");
        // What a write of 6 bytes that then failed leaves behind.
        std::fs::write(&path, "one\ntw").expect("written");
        let whole = writer.cut_torn_line(6);
        assert_eq!(std::fs::read_to_string(&path).expect("there"), "one\n");
        writer.end = Some(whole as u64);
        writer.buffer.drain(..whole);
        writer.flush().expect("room again");
        assert_eq!(std::fs::read_to_string(&path).expect("there"), "one\ntwo\nthree\n");
    }

    #[test]
    fn a_new_file_begins_with_its_header_however_often_it_could_not_be_made() {
        let dir = tempfile::tempdir().expect("a directory");
        let folder = dir.path().join("logs");
        let path = folder.join("feed.ndjson");
        std::fs::create_dir(&folder).expect("made");
        let mut writer = Writer::open(&path).expect("free");
        writer.append(b"one\n");
        writer.flush().expect("room");
        assert!(writer.is_in_place().expect("known"));
        std::fs::remove_dir_all(&folder).expect("there");
        assert!(!writer.is_in_place().expect("known"));
        writer.begin_anew(b"header\n");
        writer.append(b"two\n");
        assert_eq!(writer.flush().expect_err("no folder").kind(), io::ErrorKind::NotFound);
        writer.append(b"three\n");
        std::fs::create_dir(&folder).expect("made");
        writer.flush().expect("room");
        assert_eq!(std::fs::read_to_string(&path).expect("there"), "header\ntwo\nthree\n");
        std::fs::rename(&path, folder.join("away")).expect("there");
        std::fs::write(&path, "another\n").expect("written");
        writer.begin_anew(b"header\n");
        assert_eq!(
            writer.flush().expect_err("not ours").kind(),
            io::ErrorKind::AlreadyExists
        );
        writer.buffer.clear();
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_device_that_is_full_says_so() {
        let mut writer = Writer::open(Path::new("/dev/full")).expect("a device");
        writer.append(b"one\n");
        assert_eq!(writer.flush().expect_err("full").kind(), io::ErrorKind::StorageFull);
        writer.buffer.clear();
    }
}
