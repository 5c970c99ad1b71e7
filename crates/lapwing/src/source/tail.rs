//! A file that grows, followed as `tail -F` does: through rotation, truncation, and times when it is not there.

use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::mem::Discriminant;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use lapwing_wire::escape::escaped;
use rustix::fs::OFlags;

use super::feeder::Feeder;
use super::spec::TailFrom;
use super::{Ended, SourceEvents};
use crate::reason::reason;
use crate::terminal::form;

/// Follows the file until the source is dropped. Each look at it is taken on a blocking thread, since a disk may be slow.
pub async fn run(path: &Path, from: TailFrom, mut feeder: Feeder, events: &dyn SourceEvents) -> Ended {
    let name = escaped(&path.display().to_string());
    let mut follower = Follower::new(path.to_owned(), from);
    loop {
        let looking = tokio::task::spawn_blocking(move || {
            let seen = follower.look();
            (follower, seen)
        });
        let seen;
        (follower, seen) = match looking.await {
            Ok(looked) => looked,
            // Only when the whole program ends.
            Err(_) => return Ended::Stopped,
        };
        match seen {
            Seen::Bytes(bytes) => {
                feeder.feed(&follower.buffer[..bytes]).await;
                continue;
            }
            Seen::Opened => continue,
            Seen::Another => {
                feeder.finish().await;
                events.tell(format!("{name} is a new file, or was cut; it is read from its start"));
            }
            Seen::LeftOut(bytes) => events.tell(format!(
                "{name} is followed from its end; {} before that are left out (from=start reads them)",
                form::bytes(bytes)
            )),
            Seen::NotYet(error) => events.tell(format!(
                "{name} cannot be read yet ({}); it is followed from its start when it can", reason(&error)
            )),
            Seen::NoFile(what) => events.tell(format!(
                "{name} is {what}, and only files are followed: use exec:cat {name}, or stdin; it is followed from its start \
                 when it is a file"
            )),
            Seen::Broken(error) => events.tell(format!("{name} broke ({}); it is opened again", reason(&error))),
            Seen::Nothing => {}
        }
        tokio::time::sleep(POLL).await;
    }
}

/// Follows a name through the files that it means in turn. It blocks.
struct Follower {
    path: PathBuf,
    buffer: Vec<u8>,
    state: State,
    /// The trouble that was told last, which is not told again while it lasts.
    trouble: Option<Discriminant<Seen>>,
}

enum State {
    /// Nothing was looked at yet.
    New(TailFrom),
    /// There was no file yet.
    Awaited,
    Open(File, Place),
    /// Reading failed here.
    Lost(Place),
}

/// A file, and how far it was read, or skipped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    inode: (u64, u64),
    read: u64,
}

/// What a look found.
#[derive(Debug)]
enum Seen {
    /// So many bytes are in the buffer.
    Bytes(usize),
    /// Nothing new, or nothing that was not told already.
    Nothing,
    /// It was opened; the next look reads.
    Opened,
    /// It was opened at its end, behind so many bytes.
    LeftOut(u64),
    /// The name means another file now, or the file was cut: what comes is no continuation.
    Another,
    /// It cannot be opened, for the first time.
    NotYet(io::Error),
    /// The name means something that cannot be followed.
    NoFile(&'static str),
    /// Reading failed.
    Broken(io::Error),
}

impl Follower {
    fn new(path: PathBuf, from: TailFrom) -> Self {
        Self {
            path,
            buffer: vec![0; READ_BYTES],
            state: State::New(from),
            trouble: None,
        }
    }

    fn look(&mut self) -> Seen {
        match self.read() {
            Ok(0) => {}
            Ok(bytes) => return Seen::Bytes(bytes),
            Err(error) => {
                if let State::Open(_, place) = self.state {
                    self.state = State::Lost(place);
                }
                return self.on_trouble(Seen::Broken(error));
            }
        }
        self.look_by_name()
    }

    /// Everything there is has been read: sees whether the name means another file now, or the file was cut.
    fn look_by_name(&mut self) -> Seen {
        let named = match std::fs::metadata(&self.path) {
            Ok(named) => named,
            Err(error) => return self.on_absence(error),
        };
        if let Some(what) = no_file(&named) {
            return self.on_trouble(Seen::NoFile(what));
        }
        if let State::Open(_, place) = self.state {
            if place.is_in(&named) {
                return Seen::Nothing;
            }
            // A line may have come between the last read and the rename, so the old file is left only when it has no more now.
            if place.inode != inode(&named)
                && let Ok(bytes @ 1..) = self.read()
            {
                return Seen::Bytes(bytes);
            }
        }
        self.open().unwrap_or_else(|error| self.on_absence(error))
    }

    /// Reads what comes next in the file that is open; nothing if there is none.
    fn read(&mut self) -> io::Result<usize> {
        let State::Open(file, place) = &mut self.state else {
            return Ok(0);
        };
        let bytes = file.read(&mut self.buffer)?;
        place.read += bytes as u64;
        self.trouble = None;
        Ok(bytes)
    }

    fn open(&mut self) -> io::Result<Seen> {
        // The name may have come to mean something else since the look: a pipe without a writer would block for ever.
        let mut file = OpenOptions::new()
            .read(true)
            .custom_flags((OFlags::NONBLOCK | OFlags::NOCTTY).bits().cast_signed())
            .open(&self.path)?;
        let now = file.metadata()?;
        if let Some(what) = no_file(&now) {
            return Ok(self.on_trouble(Seen::NoFile(what)));
        }
        let (read, seen) = match &self.state {
            State::New(TailFrom::End) if now.len() > 0 => (now.len(), Seen::LeftOut(now.len())),
            State::New(_) | State::Awaited => (0, Seen::Opened),
            // Not at once: what failed may fail again.
            State::Lost(place) if place.is_in(&now) => (place.read, Seen::Nothing),
            State::Lost(_) | State::Open(..) => (0, Seen::Another),
        };
        file.seek(SeekFrom::Start(read))?;
        let inode = inode(&now);
        self.state = State::Open(file, Place { inode, read });
        Ok(seen)
    }

    fn on_absence(&mut self, error: io::Error) -> Seen {
        match self.state {
            // Gone for now, as in the middle of a rotation: the old one is kept until there is a new one.
            State::Open(..) if error.kind() == io::ErrorKind::NotFound => Seen::Nothing,
            _ => self.on_trouble(Seen::NotYet(error)),
        }
    }

    fn on_trouble(&mut self, seen: Seen) -> Seen {
        if let State::New(_) = self.state {
            self.state = State::Awaited;
        }
        if self.trouble.replace(std::mem::discriminant(&seen)) == Some(std::mem::discriminant(&seen)) {
            return Seen::Nothing;
        }
        seen
    }
}

impl Place {
    /// Whether this is that file, and has all that was read of it.
    fn is_in(&self, now: &Metadata) -> bool {
        self.inode == inode(now) && now.len() >= self.read
    }
}

fn inode(file: &Metadata) -> (u64, u64) {
    (file.dev(), file.ino())
}

/// What it is instead, when it is no file that could grow.
fn no_file(what: &Metadata) -> Option<&'static str> {
    let kind = what.file_type();
    match () {
        () if kind.is_file() => None,
        () if kind.is_dir() => Some("a directory"),
        () if kind.is_fifo() => Some("a pipe"),
        () if kind.is_socket() => Some("a socket"),
        () => Some("a device"),
    }
}

/// One read; its lines are appended together.
const READ_BYTES: usize = 64 << 10;
/// How often a file that had nothing new is looked at.
const POLL: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use tempfile::TempDir;

    use super::*;

    /// A follower of `log` in a folder of its own.
    struct Story {
        folder: TempDir,
        follower: Follower,
    }

    impl Story {
        fn new(content: &str) -> Self {
            let folder = tempfile::tempdir().expect("a folder");
            let path = folder.path().join("log");
            std::fs::write(&path, content).expect("written");
            let follower = Follower::new(path, TailFrom::Start);
            Self { folder, follower }
        }

        fn path(&self, name: &str) -> PathBuf {
            self.folder.path().join(name)
        }

        fn append(&self, name: &str, text: &str) {
            let mut file = OpenOptions::new().append(true).open(self.path(name)).expect("opened");
            file.write_all(text.as_bytes()).expect("written");
        }

        /// Looks until there is nothing new; gives what was read, and `|` where another file began.
        fn read(&mut self) -> String {
            let mut all = String::new();
            loop {
                match self.follower.look() {
                    Seen::Bytes(bytes) => all += std::str::from_utf8(&self.follower.buffer[..bytes]).expect("text"),
                    Seen::Another => all += "|",
                    Seen::Opened => {}
                    Seen::Nothing => return all,
                    seen => panic!("{seen:?}"),
                }
            }
        }

        /// What a failed read leaves.
        fn lose(&mut self) {
            let State::Open(_, place) = self.follower.state else {
                panic!("it is open")
            };
            self.follower.state = State::Lost(place);
        }

        fn rotate(&self) {
            std::fs::rename(self.path("log"), self.path("log.1")).expect("renamed");
        }
    }

    #[test]
    fn a_line_written_after_the_last_read_and_before_the_rename_is_not_lost() {
        let mut story = Story::new("one\n");
        assert_eq!(story.read(), "one\n");
        story.rotate();
        std::fs::write(story.path("log"), "three\n").expect("written");
        assert_eq!(story.follower.read().expect("readable"), 0);
        story.append("log.1", "two\n");
        assert!(matches!(story.follower.look_by_name(), Seen::Bytes(4)));
        assert_eq!(story.read(), "|three\n");
    }

    #[test]
    fn a_file_that_broke_is_read_on_where_it_was() {
        let mut story = Story::new("one\n");
        assert_eq!(story.read(), "one\n");
        story.lose();
        story.append("log", "two\n");
        assert_eq!(story.read(), "", "not at once");
        assert_eq!(story.read(), "two\n");
    }

    #[test]
    fn another_file_in_place_of_one_that_broke_is_read_from_its_start() {
        let mut story = Story::new("one\n");
        assert_eq!(story.read(), "one\n");
        story.lose();
        story.rotate();
        std::fs::write(story.path("log"), "two\n").expect("written");
        assert_eq!(story.read(), "|two\n");
        story.lose();
        std::fs::write(story.path("log"), "3\n").expect("cut and written");
        assert_eq!(story.read(), "|3\n");
    }

    #[test]
    fn a_trouble_is_told_once_while_it_lasts() {
        let mut story = Story::new("");
        std::fs::remove_file(story.path("log")).expect("removed");
        assert!(matches!(story.follower.look(), Seen::NotYet(_)));
        assert!(matches!(story.follower.look(), Seen::Nothing));
        std::fs::create_dir(story.path("log")).expect("created");
        assert!(matches!(story.follower.look(), Seen::NoFile("a directory")));
        assert!(matches!(story.follower.look(), Seen::Nothing));
        std::fs::remove_dir(story.path("log")).expect("removed");
        std::fs::write(story.path("log"), "one\n").expect("written");
        assert_eq!(story.read(), "one\n");
    }
}
