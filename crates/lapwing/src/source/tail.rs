//! A file that grows, followed as `tail -F` does: through rotation, truncation, and times when it is not there.

use std::fs::{File, Metadata};
use std::io::{Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::Duration;

use lapwing_wire::escape::escaped;

use super::feeder::Feeder;
use super::spec::TailFrom;
use super::{Ended, SourceEvents};
use crate::terminal::form;

/// Follows the file until the source is dropped.
pub async fn run(path: &Path, from: TailFrom, mut feeder: Feeder, events: &dyn SourceEvents) -> Ended {
    let name = escaped(&path.display().to_string());
    let mut open = match Tail::open(path, from) {
        Ok(tail) => {
            if tail.read > 0 {
                events.tell(format!(
                    "{name} is followed from its end; {} before that are left out (from=start reads them)",
                    form::bytes(tail.read)
                ));
            }
            Some(tail)
        }
        Err(error) => {
            events.tell(format!(
                "{name} cannot be read yet ({error}); it is followed from its start when it can"
            ));
            None
        }
    };
    let mut buffer = vec![0; 64 << 10];
    loop {
        if let Some(tail) = &mut open {
            match tail.read(&mut buffer) {
                Ok(0) => {}
                Ok(bytes) => {
                    feeder.feed(&buffer[..bytes]).await;
                    continue;
                }
                Err(error) => {
                    events.tell(format!("{name} broke ({error}); it is opened again"));
                    open = None;
                }
            }
        }
        // Everything there is has been read: see whether the name means another file now, or the file was cut.
        match std::fs::metadata(path) {
            Ok(now) if open.as_ref().is_some_and(|tail| tail.is(&now)) => {}
            Ok(_) => {
                if open.take().is_some() {
                    feeder.finish().await;
                    events.tell(format!("{name} is a new file, or was cut; it is read from its start"));
                }
                open = Tail::open(path, TailFrom::Start).ok();
                if open.is_some() {
                    continue;
                }
            }
            // Gone for now, as in the middle of a rotation: the old one is kept until there is a new one.
            Err(_) => {}
        }
        tokio::time::sleep(POLL).await;
    }
}

struct Tail {
    file: File,
    inode: (u64, u64),
    /// How far it was read, or skipped.
    read: u64,
}

impl Tail {
    fn open(path: &Path, from: TailFrom) -> std::io::Result<Self> {
        let mut file = File::open(path)?;
        let metadata = file.metadata()?;
        if metadata.is_dir() {
            return Err(std::io::ErrorKind::IsADirectory.into());
        }
        let read = match from {
            TailFrom::Start => 0,
            TailFrom::End => file.seek(SeekFrom::End(0))?,
        };
        Ok(Self {
            file,
            inode: (metadata.dev(), metadata.ino()),
            read,
        })
    }

    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let bytes = self.file.read(buffer)?;
        self.read += bytes as u64;
        Ok(bytes)
    }

    /// Whether a look by name still finds this file, and all that was read of it.
    fn is(&self, now: &Metadata) -> bool {
        (now.dev(), now.ino()) == self.inode && now.len() >= self.read
    }
}

/// How often a file that had nothing new is looked at.
const POLL: Duration = Duration::from_millis(100);
