//! A thread that asks the disk to keep what was written, so that the feed need not wait for it.

use std::fs::File;
use std::io;
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};

/// Syncs one file at a time.
#[derive(Debug)]
pub struct Syncer {
    files: SyncSender<File>,
    results: Receiver<io::Result<()>>,
    busy: bool,
}

impl Syncer {
    /// Starts the thread; it ends with the syncer.
    pub fn start() -> io::Result<Self> {
        let (files, wanted) = sync_channel::<File>(1);
        let (done, results) = sync_channel(1);
        std::thread::Builder::new().name("sync".to_owned()).spawn(move || {
            for file in wanted {
                if done.send(file.sync_data()).is_err() {
                    return;
                }
            }
        })?;
        Ok(Self {
            files,
            results,
            busy: false,
        })
    }

    /// Begins to sync a file, unless another sync is under way; tells whether it did. An error says that there is no other handle
    /// of the file to be had, and nothing about what the disk keeps.
    pub fn begin(&mut self, file: &File) -> io::Result<bool> {
        if self.busy {
            return Ok(false);
        }
        let file = file.try_clone()?;
        self.busy = self.files.send(file).is_ok();
        Ok(self.busy)
    }

    /// Whether a sync has ended since this was asked; an error if it went wrong.
    pub fn poll(&mut self) -> io::Result<bool> {
        match self.results.try_recv() {
            Err(TryRecvError::Empty) => Ok(false),
            Err(TryRecvError::Disconnected) => Err(io::ErrorKind::BrokenPipe.into()),
            Ok(result) => {
                self.busy = false;
                result.map(|()| true)
            }
        }
    }

    /// Whether a sync is under way.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        self.busy
    }

    /// Waits for the sync under way.
    pub fn finish(&mut self) -> io::Result<()> {
        match std::mem::take(&mut self.busy) {
            true => self
                .results
                .recv()
                .unwrap_or_else(|_| Err(io::ErrorKind::BrokenPipe.into())),
            false => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_file_at_a_time_and_the_result_comes_back() {
        let mut syncer = Syncer::start().expect("a thread");
        let file = tempfile::tempfile().expect("a file");
        assert!(syncer.begin(&file).expect("a handle"));
        assert!(!syncer.begin(&file).expect("a handle"));
        syncer.finish().expect("synced");
        // A pipe cannot be synced: its error comes back as any other would.
        let (_reader, writer) = io::pipe().expect("a pipe");
        let writer: std::os::fd::OwnedFd = writer.into();
        assert!(syncer.begin(&File::from(writer)).expect("a handle"));
        assert_eq!(
            syncer.finish().expect_err("no file").kind(),
            io::ErrorKind::InvalidInput
        );
    }
}
