//! The file that a listener writes, and what becomes of the feed while it cannot be written.

use std::io;
use std::path::Path;
use std::time::Duration;

use lapwing_wire::escape::escaped;
use rustix::io::Errno;

use super::dial::io_reason;
use super::scribe::TextScribe;
use crate::clock::Now;
use crate::failure::Failure;
use crate::recording::recorder::{Kept, RecordError, Recorder};
use crate::terminal::form;

/// A file that is written.
pub struct Log {
    recorder: Recorder,
    form: Form,
    on_error: OnLogError,
    /// Messages taken, written or not.
    messages: u64,
    /// Bytes taken of them and all else but headers, written or not.
    bytes: u64,
    /// Behind which of these bytes the messages end that may not be written yet.
    ends: Vec<u64>,
    hold: Option<Hold>,
    said: Vec<Said>,
}

/// How a file stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileState {
    /// Its name, escaped.
    pub name: String,
    /// How many messages are in it of this run.
    pub messages: u64,
    /// How long it is.
    pub bytes: u64,
    /// How much of it the disk is known to keep.
    pub kept: Kept,
    /// Why it cannot be written now, and since when on the monotonic clock.
    pub held: Option<(String, u64)>,
}

/// What a file is.
pub enum Form {
    /// A recording, to go on with.
    Ndjson,
    /// Lines for people.
    Text(Box<TextScribe>),
}

/// What to do when a file cannot be written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum OnLogError {
    /// End with code 1
    Exit,
    /// Stop reading, and go on when there is room again
    #[default]
    Wait,
}

/// A file that cannot be written now.
struct Hold {
    why: String,
    since: Now,
    told: Now,
}

/// Something to tell people.
#[derive(Debug, PartialEq, Eq)]
pub struct Said {
    /// Whether someone should look.
    pub warning: bool,
    /// What it is.
    pub text: String,
    /// A way out.
    pub hint: Option<&'static str>,
}

impl Log {
    /// Writes to `recorder`.
    #[must_use]
    pub fn new(recorder: Recorder, form: Form, on_error: OnLogError) -> Self {
        Self {
            recorder,
            form,
            on_error,
            messages: 0,
            bytes: 0,
            ends: Vec::new(),
            hold: None,
            said: Vec::new(),
        }
    }

    /// What the file is.
    pub fn form(&mut self) -> &mut Form {
        &mut self.form
    }

    /// Whether it takes the lines of a recording.
    #[must_use]
    pub fn is_recording(&self) -> bool {
        matches!(self.form, Form::Ndjson)
    }

    /// The file, where it is one that can be verified.
    #[must_use]
    pub fn recorded_to(&self) -> Option<&Path> {
        (self.is_recording() && self.recorder.is_file()).then(|| self.recorder.path())
    }

    /// Whether the feed must wait: what was read before is not written yet.
    #[must_use]
    pub fn is_held(&self) -> bool {
        self.hold.is_some()
    }

    /// Takes what a file begins with.
    pub fn append_header(&mut self, header: &[u8], now: Now) {
        self.recorder.append_header(header, now);
    }

    /// Takes the lines of an event, of a message or not.
    pub fn append(&mut self, lines: &[u8], is_message: bool, now: Now) -> Result<(), Failure> {
        if self.recorder.waiting().is_empty() {
            self.ends.clear();
        }
        self.recorder.append(lines);
        self.bytes += lines.len() as u64;
        if is_message {
            self.messages += 1;
            self.ends.push(self.bytes);
        }
        match self.recorder.is_full() && !self.is_held() {
            true => {
                let flushed = self.recorder.flush();
                self.unless_held(flushed, now)
            }
            false => Ok(()),
        }
    }

    /// Rotates the file away when it is due before `more` bytes are added; `header` begins the next one.
    pub fn rotate_if_due(&mut self, more: usize, now: Now, header: impl FnOnce() -> Vec<u8>) -> Result<(), Failure> {
        if self.is_held() || !self.recorder.is_due(more, now) {
            return Ok(());
        }
        let header = header();
        let rotated = self.recorder.rotate(&header, now);
        self.on_header(&header);
        self.unless_held(rotated, now)
    }

    /// Writes everything that was read, before anyone is told that it came.
    pub fn settle(&mut self, now: Now) -> Result<(), Failure> {
        if self.is_held() {
            return Ok(());
        }
        let settled = self.recorder.settle(now);
        self.unless_held(settled, now)
    }

    /// Tries again where it could not write, and looks after the file.
    pub fn on_tick(&mut self, now: Now, header: impl FnOnce() -> Vec<u8>) -> Result<(), Failure> {
        let settled = self.recorder.settle(now);
        if settled.is_ok()
            && let Some(hold) = self.hold.take()
        {
            let text = format!(
                "{}: written again after {}; nothing is lost of what came",
                self.name(),
                form::short_span(Duration::from_nanos(now.mono.saturating_sub(hold.since.mono)))
            );
            self.say(false, text, None);
        }
        self.unless_held(settled, now)?;
        if self.is_held() {
            return Ok(());
        }
        let ticked = self.recorder.on_tick(now);
        self.unless_held(ticked, now)?;
        self.look_after_moves(now, header)?;
        while let Some(problem) = self.recorder.problem() {
            let part = escaped(&problem.part.display().to_string());
            let text = format!("{part} is not compressed: {}", io_reason(&problem.error));
            self.say(true, text, Some("it stays as it was written, and reads as well"));
        }
        Ok(())
    }

    /// Writes everything, and waits until it is kept as was asked.
    pub fn finish(&mut self) -> Result<(), Failure> {
        self.recorder.finish(Now::read()).map_err(|error| self.failure(&error))
    }

    /// How it stands.
    #[must_use]
    pub fn state(&self) -> FileState {
        FileState {
            name: self.name(),
            messages: self.messages - self.unwritten(),
            bytes: self.recorder.len() - self.recorder.waiting().len() as u64,
            kept: self.recorder.kept(),
            held: self.hold.as_ref().map(|hold| (hold.why.clone(), hold.since.mono)),
        }
    }

    /// What is to be told since the last time.
    pub fn take_said(&mut self) -> Vec<Said> {
        std::mem::take(&mut self.said)
    }

    fn look_after_moves(&mut self, now: Now, header: impl FnOnce() -> Vec<u8>) -> Result<(), Failure> {
        match self.recorder.was_moved(now) {
            Ok(false) => return Ok(()),
            Ok(true) => {}
            Err(error) => return self.unless_held(Err(error), now),
        }
        let text = format!(
            "{} was moved away or deleted while it was written; it goes on in a new file of that name",
            self.name()
        );
        self.say(
            true,
            text,
            Some("what came before is in the file that was moved; --rotate does this without a word"),
        );
        let header = header();
        let began = self.recorder.begin_anew(&header, now);
        self.on_header(&header);
        self.unless_held(began, now)
    }

    /// A file was to begin with `header`: where that waits, all that came before it is written.
    fn on_header(&mut self, header: &[u8]) {
        if self.recorder.waiting() == header {
            self.ends.clear();
        }
    }

    /// Lets an error that can pass by itself hold the feed, if that is wanted.
    fn unless_held(&mut self, result: Result<(), RecordError>, now: Now) -> Result<(), Failure> {
        let Err(error) = result else { return Ok(()) };
        let waits = self.on_error == OnLogError::Wait && self.recorder.is_file();
        let RecordError::Write(write) = &error else {
            return Err(self.failure(&error));
        };
        if !waits || !may_pass(write) {
            return Err(self.failure(&error));
        }
        let why = reason(write);
        let name = self.name();
        let text = match &mut self.hold {
            Some(hold) if now.mono.saturating_sub(hold.told.mono) < TOLD_EVERY_NS => return Ok(()),
            Some(hold) => {
                hold.told = now;
                hold.why.clone_from(&why);
                let since = Duration::from_nanos(now.mono.saturating_sub(hold.since.mono));
                format!("{name}: {why}, reading is paused for {}", form::short_span(since))
            }
            None => {
                let text = format!("{name}: {why} after {}; reading is paused", self.written());
                self.hold = Some(Hold {
                    why,
                    since: now,
                    told: now,
                });
                text
            }
        };
        self.say(true, text, Some(way_out(write)));
        Ok(())
    }

    fn failure(&self, error: &RecordError) -> Failure {
        let name = self.name();
        match error {
            RecordError::Write(error) if error.kind() == io::ErrorKind::AlreadyExists => Failure::failed(
                format!("{name} was moved away while it was written, and another file is there now"),
                "the lines in the one that was moved are whole; give another file with --log",
            ),
            RecordError::Write(error) => Failure::failed(
                format!("{name}: {} after {}", reason(error), self.written()),
                "the lines in it are whole; make room, or give another file with --log",
            ),
            RecordError::Sync(error) => Failure::failed(
                format!("{name}: the disk did not keep what was written: {}", io_reason(error)),
                "look after the disk; the same --log goes on behind the last whole line, which lapwing verify proves",
            ),
        }
    }

    /// How many messages came and are not in the file, or not whole.
    #[must_use]
    pub fn unwritten(&self) -> u64 {
        let written = self.bytes.saturating_sub(self.recorder.waiting().len() as u64);
        self.ends.iter().rev().take_while(|end| **end > written).count() as u64
    }

    /// How many messages are in the file.
    fn written(&self) -> String {
        form::counted(self.messages - self.unwritten(), "message")
    }

    fn name(&self) -> String {
        escaped(&self.recorder.path().display().to_string())
    }

    fn say(&mut self, warning: bool, text: String, hint: Option<&'static str>) {
        self.said.push(Said { warning, text, hint });
    }
}

/// Whether an error can go away without us.
fn may_pass(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull
            | io::ErrorKind::QuotaExceeded
            | io::ErrorKind::FileTooLarge
            | io::ErrorKind::ReadOnlyFilesystem
            | io::ErrorKind::NotFound
    ) || lacks_descriptors(error)
}

fn lacks_descriptors(error: &io::Error) -> bool {
    [Errno::MFILE, Errno::NFILE]
        .iter()
        .any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

fn reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "disk full".to_owned(),
        io::ErrorKind::FileTooLarge => "the file may not be longer".to_owned(),
        io::ErrorKind::ReadOnlyFilesystem => "the file system is read-only now".to_owned(),
        io::ErrorKind::NotFound => "its folder is gone".to_owned(),
        _ => io_reason(error),
    }
}

fn way_out(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "free some space and it goes on by itself; nothing is lost as long as the server keeps what comes"
        }
        io::ErrorKind::FileTooLarge => {
            "raise the limit of this process and it goes on by itself; --rotate keeps files below it"
        }
        io::ErrorKind::NotFound => "make the folder again and it goes on by itself",
        _ if lacks_descriptors(error) => "raise the limit of open files and it goes on by itself",
        _ => "let it be written again and it goes on by itself",
    }
}

/// 10 s: often enough for who looks, and no flood in a file of errors.
const TOLD_EVERY_NS: u64 = 10_000_000_000;
