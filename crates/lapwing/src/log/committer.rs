//! The one writer of a durable topic's files: a thread that writes what was taken meanwhile together, and then makes it visible.

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use lapwing_wire::control::Level;

use super::batch::Batch;
use super::store::StoreWriter;
use super::{AppendError, Log, Work};
use crate::clock::Now;

/// Who is told when messages could not be kept, on the committer's thread.
pub trait OnTrouble: Send {
    /// These could not.
    fn on_trouble(&mut self, error: &AppendError, now: Now);

    /// Messages are kept, perhaps again.
    fn on_recovered(&mut self);
}

/// A committer that runs.
///
/// Each durable topic has its own, so that a slow or broken disk under one topic holds up no other. Everything that is
/// published while one write is under way goes into the next: one `fdatasync` for all of it.
pub struct Committer {
    log: Arc<Log>,
    thread: JoinHandle<()>,
}

impl Committer {
    /// Starts it.
    pub fn start(log: Arc<Log>, writer: StoreWriter, trouble: impl OnTrouble + 'static) -> io::Result<Self> {
        let run = Run {
            log: log.clone(),
            writer,
            trouble: Box::new(trouble),
        };
        let thread = std::thread::Builder::new()
            .name("committer".to_owned())
            .stack_size(STACK_BYTES)
            .spawn(move || run.run())?;
        Ok(Self { log, thread })
    }

    /// Asks it to write what waits and to end; [`Committer::stop`] waits for that.
    pub fn begin_stop(&self) {
        self.log.stop_committer();
    }

    /// Writes what waits, marks the files as cleanly closed, and ends. Blocks until then.
    pub fn stop(self) {
        self.log.stop_committer();
        // A thread that panicked has told of it, and left files that the next start looks at as after a crash.
        let _ = self.thread.join();
    }
}

struct Run {
    log: Arc<Log>,
    writer: StoreWriter,
    trouble: Box<dyn OnTrouble>,
}

impl Run {
    fn run(mut self) {
        loop {
            match self.log.wait_for_work(RETIRE_INTERVAL) {
                Work::Batches(batches) => self.commit(&batches),
                Work::None => {}
                Work::Stop => break,
            }
            if self
                .writer
                .retire(Now::read(), |let_go| self.log.let_go_of_files(let_go))
            {
                self.log.ring();
            }
        }
        if let Err(error) = self.writer.close() {
            self.trouble.on_trouble(&error.into(), Now::read());
        }
    }

    fn commit(&mut self, batches: &[Batch]) {
        let mut written = 0;
        let mut failure = None;
        for batch in batches {
            if let Err(error) = self.writer.append(batch) {
                failure = Some(AppendError::from(error));
                break;
            }
            written += 1;
        }
        let syncs = self.log.level() == Level::Fsync;
        #[cfg(feature = "planted")]
        let syncs = syncs && !crate::planted::is(crate::planted::Bug::AckBeforeFsync);
        if written > 0
            && syncs
            && let Err(error) = self.writer.sync()
        {
            // Whether these bytes will be there after a crash nobody knows, so nobody is told that they are.
            written = 0;
            failure = Some(AppendError::from(error));
        }
        let now = Now::read();
        match &failure {
            Some(failure) => self.trouble.on_trouble(failure, now),
            None => self.trouble.on_recovered(),
        }
        self.log.on_written(&batches[..written], failure, now);
    }
}

/// How often files that are too old are looked for when nothing comes.
const RETIRE_INTERVAL: Duration = Duration::from_secs(1);
/// There may be many topics, and a committer calls nothing deep.
const STACK_BYTES: usize = 256 << 10;
