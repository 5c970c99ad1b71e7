//! A file that is recorded to: written, synced, rotated.

use std::io;
use std::path::Path;
use std::time::Duration;

use super::compressor::{Compressor, Problem};
use super::syncer::Syncer;
use super::writer::{BUFFER_BYTES, Found, OpenError, Writer};
use super::{checkpoint, parts};
use crate::clock::Now;
use crate::reason::reason;

/// How a recording is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Keeping {
    /// When the disk is asked to keep what was written.
    pub sync: Sync,
    /// When the file is rotated away.
    pub rotate: Rotate,
    /// Whether what was rotated away is compressed.
    pub compress: bool,
}

/// When the disk is asked to keep what was written: what a power cut costs. It never costs more than asking the server again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sync {
    /// Never; the system writes it when it likes.
    None,
    /// Every second, beside the feed.
    #[default]
    Interval,
    /// After every read, before anything of it is reported.
    Each,
}

/// When a file is rotated away: at the first limit that is reached, and never before it holds anything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rotate {
    /// Before it is longer than about this: what comes next is estimated.
    pub bytes: Option<u64>,
    /// When its first record is older than this.
    pub age: Option<Duration>,
}

/// Why recording does not go on.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// The system takes no more lines.
    #[error("{}", reason(.0))]
    Write(io::Error),
    /// The disk may not have kept what the system took. Final: what a second sync says means nothing.
    #[error("{}", reason(.0))]
    Sync(io::Error),
}

/// A file that is recorded to.
#[derive(Debug)]
pub struct Recorder {
    writer: Writer,
    keeping: Keeping,
    /// The number of the part that comes next.
    part: u64,
    /// When the file's first record was made, on the clock that never goes back; none before there is one.
    began: Option<i128>,
    /// Up to where the file holds nothing but its header.
    header_end: u64,
    syncer: Option<Syncer>,
    compressor: Option<Compressor>,
    /// Up to which length the file is synced, or will be by the sync under way.
    synced: u64,
    /// The disk is yet to be asked to keep the name of a new file.
    owes_name: bool,
    /// Until when, on the monotonic clock, what was written is known to be kept: the beginning of the last sync that went well, since it
    /// says nothing of what was written while it went on.
    kept_at: Option<u64>,
    /// When the sync under way began.
    asked_at: u64,
    sync_at: u64,
    look_at: u64,
}

/// How much of what was written the disk is known to keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// It is not asked.
    Unasked,
    /// All of it.
    All,
    /// What was written until this moment of the monotonic clock.
    Until(u64),
    /// Nothing yet.
    Nothing,
}

impl Recorder {
    /// Opens a recording, and says what is in it.
    pub fn open(path: &Path, keeping: Keeping, now: Now) -> Result<(Self, Found), OpenError> {
        let (writer, found) = Writer::open_recording(path)?;
        let mut recorder = Self::new(writer, keeping).map_err(OpenError::Io)?;
        recorder.look_around(now).map_err(OpenError::Io)?;
        if recorder.is_file() && found.checkpoint.end == 0 && keeping.sync != Sync::None {
            parts::sync_folder(path).map_err(OpenError::Io)?;
        }
        Ok((recorder, found))
    }

    /// Opens a file of text, which says nothing and is never rotated; a recording is refused.
    pub fn open_text(path: &Path, sync: Sync) -> Result<Self, OpenError> {
        let keeping = Keeping {
            sync,
            ..Keeping::default()
        };
        Self::new(Writer::open(path)?, keeping).map_err(OpenError::Io)
    }

    fn new(writer: Writer, keeping: Keeping) -> io::Result<Self> {
        let is_file = writer.regular().is_some();
        Ok(Self {
            syncer: (is_file && keeping.sync == Sync::Interval)
                .then(Syncer::start)
                .transpose()?,
            compressor: (is_file && keeping.compress).then(Compressor::start).transpose()?,
            writer,
            keeping,
            part: 1,
            began: None,
            header_end: 0,
            synced: 0,
            owes_name: false,
            kept_at: None,
            asked_at: 0,
            sync_at: 0,
            look_at: 0,
        })
    }

    /// Looks how old the file is, and which parts there are.
    fn look_around(&mut self, now: Now) -> io::Result<()> {
        let Some(file) = self.writer.regular() else {
            return Ok(());
        };
        let began = checkpoint::began(&mut file.try_clone()?)?;
        let age = began.map(|began| i128::from(now.wall.nanos()) - i128::from(began.nanos()));
        // A clock that was set back does not make a file older than it is.
        self.began = age.map(|age| i128::from(now.mono) - age.max(0));
        let rotated = parts::rotated(self.writer.path())?;
        self.part = rotated.last().map_or(1, |part| part.number + 1);
        if let Some(compressor) = &self.compressor {
            let left = rotated.into_iter().filter(|part| !part.is_packed());
            left.for_each(|part| compressor.take(part.path));
        }
        Ok(())
    }

    /// Where it records to.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.writer.path()
    }

    /// Whether it is a file, and no pipe or device.
    #[must_use]
    pub fn is_file(&self) -> bool {
        self.writer.regular().is_some()
    }

    /// What is not written yet.
    #[must_use]
    pub fn waiting(&self) -> &[u8] {
        self.writer.waiting()
    }

    /// How long the file is with what waits.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.writer.len()
    }

    /// Whether nothing was ever written.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.writer.is_empty()
    }

    /// How much of it the disk is known to keep.
    #[must_use]
    pub fn kept(&self) -> Kept {
        let is_busy = self.syncer.as_ref().is_some_and(Syncer::is_busy);
        match self.kept_at {
            _ if self.keeping.sync == Sync::None || !self.is_file() => Kept::Unasked,
            _ if self.synced == self.writer.len() && !is_busy => Kept::All,
            Some(at) => Kept::Until(at),
            None => Kept::Nothing,
        }
    }

    /// Whether so much waits that it should be written.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.writer.waiting().len() >= BUFFER_BYTES
    }

    /// Takes lines.
    pub fn append(&mut self, lines: &[u8]) {
        self.writer.append(lines);
    }

    /// Takes what a file begins with.
    pub fn append_header(&mut self, header: &[u8], now: Now) {
        self.writer.append(header);
        self.header_end = self.writer.len();
        self.began.get_or_insert(i128::from(now.mono));
    }

    /// Writes what waits, and syncs it where each read is synced.
    pub fn settle(&mut self, now: Now) -> Result<(), RecordError> {
        self.flush()?;
        match self.keeping.sync {
            Sync::Each => self.sync_now(now),
            Sync::None | Sync::Interval => Ok(()),
        }
    }

    /// Writes what waits. What the disk keeps of a new file is worth nothing without its name, so that is synced first of all.
    pub fn flush(&mut self) -> Result<(), RecordError> {
        self.writer.flush().map_err(RecordError::Write)?;
        if self.owes_name {
            // A folder that cannot be opened was not asked for anything: the next flush tries again.
            let folder = parts::open_folder(self.writer.path()).map_err(RecordError::Write)?;
            folder.sync_all().map_err(RecordError::Sync)?;
            self.owes_name = false;
        }
        Ok(())
    }

    /// Begins a sync when one is due, and tells how the one before it went.
    pub fn on_tick(&mut self, now: Now) -> Result<(), RecordError> {
        let Some(syncer) = &mut self.syncer else {
            return Ok(());
        };
        if syncer.poll().map_err(RecordError::Sync)? {
            self.kept_at = Some(self.asked_at);
        }
        let Some(file) = self.writer.regular() else {
            return Ok(());
        };
        let written = self.writer.len() - self.writer.waiting().len() as u64;
        if now.mono < self.sync_at || written == self.synced {
            return Ok(());
        }
        let begun = match syncer.begin(file) {
            Ok(begun) => begun,
            // No descriptor is left for the thread: the feed waits for this one.
            Err(_) => {
                file.sync_data().map_err(RecordError::Sync)?;
                self.kept_at = Some(now.mono);
                true
            }
        };
        if begun {
            self.asked_at = now.mono;
            self.synced = written;
            self.sync_at = now.mono + SYNC_EVERY_NS;
        }
        Ok(())
    }

    /// Whether the file was moved or deleted while it was written; looks about once a second.
    pub fn was_moved(&mut self, now: Now) -> Result<bool, RecordError> {
        if now.mono < self.look_at {
            return Ok(false);
        }
        self.look_at = now.mono + LOOK_EVERY_NS;
        Ok(!self.writer.is_in_place().map_err(RecordError::Write)?)
    }

    /// Goes on in a new file that begins with `header`, where the one that was written is no longer at its path.
    ///
    /// When it cannot make the new file, that is made by the next flush.
    pub fn begin_anew(&mut self, header: &[u8], now: Now) -> Result<(), RecordError> {
        self.end_file(now)?;
        self.begin_file(header, now)
    }

    /// Writes and syncs all of the file: the one behind it says that everything before it is kept.
    fn end_file(&mut self, now: Now) -> Result<(), RecordError> {
        self.flush()?;
        match self.keeping.sync {
            Sync::None => Ok(()),
            Sync::Interval | Sync::Each => self.sync_now(now),
        }
    }

    fn begin_file(&mut self, header: &[u8], now: Now) -> Result<(), RecordError> {
        self.writer.begin_anew(header);
        self.header_end = header.len() as u64;
        self.began = Some(i128::from(now.mono));
        self.synced = 0;
        self.owes_name = self.keeping.sync != Sync::None;
        self.flush()
    }

    /// Whether the file should be rotated away before `more` bytes are added.
    #[must_use]
    pub fn is_due(&self, more: usize, now: Now) -> bool {
        let Rotate { bytes, age } = self.keeping.rotate;
        let len = self.writer.len();
        let too_long = bytes.is_some_and(|bytes| len + more as u64 > bytes);
        let too_old = age.zip(self.began).is_some_and(|(age, began)| {
            i128::from(now.mono) - began >= i128::try_from(age.as_nanos()).unwrap_or(i128::MAX)
        });
        (too_long || too_old) && len > self.header_end && self.is_file()
    }

    /// Rotates the file away, and begins a new one with `header`.
    ///
    /// When it cannot write what waits, nothing has happened, and it is still due. When it cannot make the new file, that is
    /// made by the next flush.
    pub fn rotate(&mut self, header: &[u8], now: Now) -> Result<(), RecordError> {
        self.end_file(now)?;
        if !self.writer.is_in_place().map_err(RecordError::Write)? {
            // What is at the path is somebody else's, or nothing: the next look finds that, and it is still due until then.
            self.look_at = 0;
            return Ok(());
        }
        let mut part = parts::name(self.writer.path(), self.part);
        // Somebody else's file is not written over.
        while part.exists() || parts::packed(&part).exists() {
            self.part += 1;
            part = parts::name(self.writer.path(), self.part);
        }
        std::fs::rename(self.writer.path(), &part).map_err(RecordError::Write)?;
        self.part += 1;
        if let Some(compressor) = &self.compressor {
            compressor.take(part);
        }
        self.begin_file(header, now)
    }

    /// A part that could not be compressed, if there is one to tell of.
    pub fn problem(&self) -> Option<Problem> {
        self.compressor.as_ref()?.problem()
    }

    /// Writes everything, and waits until it is kept as was asked.
    pub fn finish(&mut self, now: Now) -> Result<(), RecordError> {
        self.end_file(now)?;
        if let Some(compressor) = &mut self.compressor {
            compressor.finish(COMPRESS_WAIT);
        }
        Ok(())
    }

    /// Syncs all that was written until `now`, and waits for it.
    fn sync_now(&mut self, now: Now) -> Result<(), RecordError> {
        if let Some(syncer) = &mut self.syncer {
            syncer.finish().map_err(RecordError::Sync)?;
        }
        let written = self.writer.len();
        let Some(file) = self.writer.regular() else {
            return Ok(());
        };
        if written != self.synced {
            file.sync_data().map_err(RecordError::Sync)?;
            self.synced = written;
        }
        self.kept_at = Some(now.mono);
        Ok(())
    }
}

/// 1 s: what a power cut makes the server send again.
const SYNC_EVERY_NS: u64 = 1_000_000_000;

/// 1 s: soon enough for a file that was moved away, and nothing a feed would notice.
const LOOK_EVERY_NS: u64 = 1_000_000_000;

/// At the end a part may still be compressed; what takes longer is left to the next listener.
const COMPRESS_WAIT: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;
    use lapwing_wire::time::WallTime;

    fn at(seconds: u64) -> Now {
        Now {
            wall: WallTime::from_nanos(1_795_287_600_000_000_000 + seconds as i64 * 1_000_000_000),
            mono: seconds * 1_000_000_000,
        }
    }

    fn keeping(bytes: Option<u64>, age: Option<u64>) -> Keeping {
        Keeping {
            sync: Sync::Each,
            rotate: Rotate {
                bytes,
                age: age.map(Duration::from_secs),
            },
            compress: false,
        }
    }

    #[test]
    fn a_file_is_rotated_by_size_or_age_but_never_empty() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("feed.ndjson");
        let (mut recorder, _) = Recorder::open(&path, keeping(Some(20), Some(60)), at(0)).expect("free");
        recorder.append_header(b"header\n", at(5));
        assert!(!recorder.is_due(100, at(500)), "nothing in it");
        recorder.append(b"one\n");
        assert!(!recorder.is_due(9, at(64)));
        assert!(recorder.is_due(10, at(64)), "too long");
        assert!(recorder.is_due(0, at(65)), "too old");
        recorder.rotate(b"header\n", at(65)).expect("room");
        recorder.append(b"two\n");
        recorder.settle(at(65)).expect("room");
        assert!(!recorder.is_due(0, at(100)));
        let read = |name: &str| std::fs::read_to_string(dir.path().join(name)).expect("there");
        assert_eq!(read("feed.000001.ndjson"), "header\none\n");
        assert_eq!(read("feed.ndjson"), "header\ntwo\n");
    }

    #[test]
    fn how_much_the_disk_keeps_is_known() {
        let dir = tempfile::tempdir().expect("a directory");
        for (sync, before, settled) in [
            (Sync::None, Kept::Unasked, Kept::Unasked),
            (Sync::Each, Kept::Nothing, Kept::All),
            (Sync::Interval, Kept::Nothing, Kept::Nothing),
        ] {
            let keeping = Keeping {
                sync,
                ..keeping(None, None)
            };
            let path = dir.path().join(format!("{sync:?}.ndjson"));
            let (mut recorder, _) = Recorder::open(&path, keeping, at(0)).expect("free");
            recorder.append(b"one\n");
            assert_eq!(recorder.kept(), before, "{sync:?}");
            recorder.settle(at(1)).expect("room");
            assert_eq!(recorder.kept(), settled, "{sync:?}");
            if sync == Sync::Each {
                recorder.append(b"two\n");
                assert_eq!(recorder.kept(), Kept::Until(at(1).mono));
            }
            if sync != Sync::Interval {
                continue;
            }
            recorder.on_tick(at(1)).expect("a disk");
            let began = std::time::Instant::now();
            while recorder.kept() != Kept::All && began.elapsed() < Duration::from_secs(60) {
                recorder.on_tick(at(2)).expect("a disk");
                std::thread::yield_now();
            }
            assert_eq!(recorder.kept(), Kept::All);
            recorder.append(b"two\n");
            assert_eq!(
                recorder.kept(),
                Kept::Until(at(1).mono),
                "when it began, not when it ended"
            );
        }
    }

    #[test]
    fn a_file_that_was_moved_away_is_whole_before_the_next_begins() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("feed.ndjson");
        for sync in [Sync::None, Sync::Interval, Sync::Each] {
            let keeping = Keeping {
                sync,
                ..keeping(None, None)
            };
            let (mut recorder, _) = Recorder::open(&path, keeping, at(0)).expect("free");
            recorder.append_header(b"header\n", at(0));
            recorder.append(b"one\n");
            let away = dir.path().join("away");
            std::fs::rename(&path, &away).expect("there");
            assert!(recorder.was_moved(at(1)).expect("known"));
            recorder.begin_anew(b"header\n", at(1)).expect("room");
            assert!(!recorder.owes_name, "the name is kept");
            recorder.append(b"two\n");
            recorder.finish(at(2)).expect("room");
            assert_eq!(std::fs::read_to_string(&away).expect("there"), "header\none\n");
            assert_eq!(std::fs::read_to_string(&path).expect("there"), "header\ntwo\n");
            std::fs::remove_file(&path).expect("there");
        }
    }

    #[test]
    fn a_rotation_leaves_alone_what_another_program_put_at_its_path() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("feed.ndjson");
        let (mut recorder, _) = Recorder::open(&path, keeping(Some(20), None), at(0)).expect("free");
        recorder.append_header(b"header\n", at(0));
        recorder.append(b"one\n");
        assert!(!recorder.was_moved(at(0)).expect("known"));
        std::fs::rename(&path, dir.path().join("away")).expect("there");
        std::fs::write(&path, "theirs").expect("written");
        recorder.rotate(b"header\n", at(0)).expect("nothing to do");
        assert_eq!(std::fs::read_to_string(&path).expect("there"), "theirs");
        assert_eq!(std::fs::read_dir(dir.path()).expect("there").count(), 2);
        assert!(recorder.was_moved(at(0)).expect("known"), "and it is found at once");
        let error = recorder.begin_anew(b"header\n", at(0)).expect_err("not ours");
        assert!(matches!(error, RecordError::Write(error) if error.kind() == io::ErrorKind::AlreadyExists));
    }

    #[test]
    fn a_part_that_is_there_is_not_written_over() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("feed.ndjson");
        let (mut recorder, _) = Recorder::open(&path, keeping(Some(1), None), at(0)).expect("free");
        recorder.append_header(b"header\n", at(0));
        std::fs::write(dir.path().join("feed.000001.ndjson.zst"), "theirs").expect("written");
        recorder.append(b"one\n");
        recorder.rotate(b"header\n", at(1)).expect("room");
        assert!(dir.path().join("feed.000002.ndjson").exists());
    }
}
