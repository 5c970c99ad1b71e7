//! Files that are written under another name, and get theirs when all of them are whole.

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::refusal::Refusal;
use crate::reason::reason;
use crate::recording::parts::sync_folder;

/// The files of one export. What is not kept is removed when this is dropped, or by another thread ([`Drafts::discarder`]).
#[derive(Debug, Default)]
pub struct Drafts {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    /// Under which name each is written, and which it gets.
    files: Vec<(PathBuf, PathBuf)>,
    is_kept: bool,
    is_discarded: bool,
}

/// Whether a file that is there already may be replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replace {
    /// It stays.
    Never,
    /// It is replaced.
    Force,
}

impl Drafts {
    /// A way for another thread to remove them before it ends the process; gives false when they are kept already.
    ///
    /// From then on whoever would begin or keep one waits for that end.
    pub fn discarder(&self) -> impl FnOnce() -> bool + Send + 'static {
        let state = Arc::clone(&self.state);
        move || {
            let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
            state.discard();
            state.is_discarded = !state.is_kept;
            state.is_discarded
        }
    }

    /// Begins the file that will be called `target`.
    pub fn begin(&self, target: &Path) -> Result<Draft, Refusal> {
        let mut state = self.state();
        let (file, name) = create(target).map_err(|error| unwritable(target, &error))?;
        state.files.push((name, target.to_owned()));
        Ok(Draft {
            file: BufWriter::with_capacity(BUFFER_BYTES, file),
            target: target.to_owned(),
        })
    }

    /// A file beside `target` that has no name and goes when it is closed.
    pub fn nameless(&self, target: &Path) -> Result<File, Refusal> {
        // Nobody can stop it between both.
        let _state = self.state();
        let nameless = create(target).and_then(|(file, name)| std::fs::remove_file(name).map(|()| file));
        nameless.map_err(|error| unwritable(target, &error))
    }

    /// Gives all files their names, the first begun last: where it is, all others are.
    pub fn keep(&self, replace: Replace) -> Result<(), Refusal> {
        let mut state = self.state();
        for (_, target) in &state.files {
            if replace == Replace::Never && target.symlink_metadata().is_ok() {
                return Err(Refusal::Occupied { file: target.clone() });
            }
        }
        while let Some((name, target)) = state.files.pop() {
            let kept = std::fs::rename(&name, &target).and_then(|()| sync_folder(&target));
            if let Err(error) = kept {
                state.files.push((name, target.clone()));
                return Err(unwritable(&target, &error));
            }
        }
        state.is_kept = true;
        Ok(())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.is_discarded {
            drop(state);
            loop {
                std::thread::park();
            }
        }
        state
    }
}

impl Drop for Drafts {
    fn drop(&mut self) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).discard();
    }
}

impl State {
    fn discard(&mut self) {
        for (name, _) in self.files.drain(..) {
            // It may be gone; whoever cannot remove it can do nothing else about it.
            let _ = std::fs::remove_file(name);
        }
    }
}

/// A file under way.
#[derive(Debug)]
pub struct Draft {
    file: BufWriter<File>,
    target: PathBuf,
}

impl Draft {
    /// Appends bytes.
    pub fn put(&mut self, bytes: &[u8]) -> Result<(), Refusal> {
        self.file
            .write_all(bytes)
            .map_err(|error| unwritable(&self.target, &error))
    }

    /// Asks the disk to keep it.
    pub fn finish(mut self) -> Result<(), Refusal> {
        let kept = self.file.flush().and_then(|()| self.file.get_ref().sync_all());
        kept.map_err(|error| unwritable(&self.target, &error))
    }

    /// What it will be called.
    #[must_use]
    pub fn target(&self) -> &Path {
        &self.target
    }
}

impl Write for Draft {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Seek for Draft {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.file.seek(to)
    }
}

/// What the system says of a file that cannot be written.
#[must_use]
pub fn unwritable(target: &Path, error: &io::Error) -> Refusal {
    Refusal::Unwritable {
        file: target.to_owned(),
        reason: reason(error),
    }
}

/// A new file beside `target`; what a crash has left there stays as it is.
fn create(target: &Path) -> io::Result<(File, PathBuf)> {
    let stem = target.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let mut attempt = 0;
    loop {
        let name = target.with_file_name(format!(".{stem}.{}-{attempt}.part", std::process::id()));
        match OpenOptions::new().read(true).write(true).create_new(true).open(&name) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && attempt < ATTEMPTS_MAX => attempt += 1,
            made => return made.map(|file| (file, name)),
        }
    }
}

const BUFFER_BYTES: usize = 256 << 10;

/// More would mean that something else takes these names on purpose.
const ATTEMPTS_MAX: u32 = 1000;

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(folder).expect("there");
        let mut names: Vec<_> = entries
            .map(|entry| entry.expect("readable").file_name().into_string().expect("UTF-8"))
            .collect();
        names.sort();
        names
    }

    #[test]
    fn files_get_their_names_together_or_not_at_all() {
        let dir = tempfile::tempdir().expect("a folder");
        let (one, two) = (dir.path().join("one"), dir.path().join("two"));
        {
            let drafts = Drafts::default();
            let mut draft = drafts.begin(&one).expect("room");
            draft.put(b"1").expect("room");
            drafts.begin(&two).expect("room").finish().expect("room");
            draft.finish().expect("room");
            drafts.nameless(&one).expect("room");
            assert_eq!(names(dir.path()).len(), 2, "both by other names");
        }
        assert_eq!(names(dir.path()), [""; 0], "nobody kept them");
        let drafts = Drafts::default();
        drafts.begin(&one).expect("room").finish().expect("room");
        drafts.begin(&two).expect("room").finish().expect("room");
        std::fs::write(&two, "mine").expect("room");
        let refused = drafts.keep(Replace::Never);
        assert_eq!(refused, Err(Refusal::Occupied { file: two.clone() }));
        drafts.keep(Replace::Force).expect("room");
        assert_eq!(names(dir.path()), ["one", "two"]);
        assert_eq!(std::fs::read(&two).expect("there"), b"");
        assert!(!drafts.discarder()(), "it is too late");
    }

    #[test]
    fn another_thread_removes_them() {
        let dir = tempfile::tempdir().expect("a folder");
        let drafts = Drafts::default();
        let _draft = drafts.begin(&dir.path().join("one")).expect("room");
        let discard = drafts.discarder();
        assert!(std::thread::spawn(discard).join().expect("no panic"));
        assert_eq!(names(dir.path()), [""; 0]);
    }
}
