//! The one writer of a durable topic's files: a thread that writes what was taken meanwhile together, and then makes it visible.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use lapwing_wire::control::Level;
use lapwing_wire::position::Offset;

use super::appender::Appender;
use super::batch::Batch;
use super::memory::MemoryWriter;
use super::store::StoreWriter;
use super::{AppendError, Log};
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
        let run = Committing {
            log: log.clone(),
            writer,
            memory: MemoryWriter::default(),
            trouble: Box::new(trouble),
        };
        let thread = std::thread::Builder::new()
            .name("committer".to_owned())
            .stack_size(STACK_BYTES)
            .spawn(move || {
                let log = run.log.clone();
                // Publishers wait for answers, and must not wait for ever for an error of ours.
                if catch_unwind(AssertUnwindSafe(|| run.run())).is_err() {
                    log.on_lost(AppendError::broken());
                }
            })?;
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

struct Committing {
    log: Arc<Log>,
    writer: StoreWriter,
    memory: MemoryWriter,
    trouble: Box<dyn OnTrouble>,
}

impl Committing {
    fn run(mut self) {
        loop {
            match self.log.wait_for_work(RETIRE_INTERVAL) {
                Work::Batches(batches) => self.commit(batches),
                Work::None => self.on_quiet(),
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

    /// Nothing has come for a while.
    fn on_quiet(&mut self) {
        if let Err(error) = self.writer.note_durable() {
            self.conclude(Vec::new(), Some(error.into()));
        }
    }

    fn commit(&mut self, mut batches: Vec<Batch>) {
        let mut written = 0;
        let mut failure = None;
        for batch in &batches {
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
        batches.truncate(written);
        self.conclude(batches, failure);
    }

    /// Tells what came of it: the log, and people where something is to be told.
    fn conclude(&mut self, written: Vec<Batch>, failure: Option<AppendError>) {
        let now = Now::read();
        match &failure {
            Some(failure) => self.trouble.on_trouble(failure, now),
            None => self.trouble.on_recovered(),
        }
        self.log.on_written(&mut self.memory, written, now);
        if let Some(failure) = failure {
            self.log.on_lost(failure);
        }
    }
}

impl Log {
    /// Waits for batches to write, at most `patience`.
    fn wait_for_work(&self, patience: Duration) -> Work {
        let waiting = self.work.wait_timeout_while(self.lock(), patience, |appender| {
            appender.queue.is_empty() && !appender.stopping
        });
        let (mut appender, _) = waiting.unwrap_or_else(PoisonError::into_inner);
        match appender.queue.take() {
            batches if !batches.is_empty() => Work::Batches(batches),
            _ if appender.stopping => {
                // Nobody writes after this.
                appender.closed.get_or_insert(AppendError::Stopped);
                Work::Stop
            }
            _ => {
                appender.queue.rest();
                Work::None
            }
        }
    }

    /// The committer has written these batches, and brings them into memory as `writer`.
    fn on_written(&self, writer: &mut MemoryWriter, mut written: Vec<Batch>, now: Now) {
        let Some(end) = written.last().map(Batch::end) else {
            return;
        };
        let bytes = written.iter().map(Batch::bytes).sum();
        // Without the lock: nobody looks behind the visible end, and publishers go on meanwhile.
        for batch in &mut written {
            self.memory.show(writer, batch, now);
        }
        let mut appender = self.lock();
        self.become_visible(&mut appender, end, now);
        let kept = appender.queue.on_written(bytes, end);
        appender.queue.reuse(&mut written);
        self.end_if_settled(&appender);
        drop(appender);
        kept.tell();
        self.ring();
    }

    /// Everything that was taken and is not yet kept is lost.
    fn on_lost(&self, why: AppendError) {
        let mut appender = self.lock();
        appender.queue.fail(&why);
        appender.taken = self.next();
        let end = appender.taken;
        appender.retries.forget_from(end);
        if !matches!(why, AppendError::Full { .. }) {
            appender.closed.get_or_insert(why);
        }
        self.end_if_settled(&appender);
        drop(appender);
        self.ring();
    }

    /// Readers learn that nothing more will come when all that was taken is kept.
    fn end_if_settled(&self, appender: &Appender) {
        if appender.closed == Some(AppendError::Ended) && appender.queue.is_settled() {
            self.ended.store(true, Ordering::Release);
        }
    }

    /// The committer shall write what waits, and end.
    fn stop_committer(&self) {
        self.lock().stopping = true;
        self.work.notify_one();
    }

    /// Has files let go below the offset that it gives: where the source is held back, only what every reader has read, and
    /// nobody is granted a place there meanwhile.
    fn let_go_of_files(&self, below: &mut dyn FnMut(Offset)) {
        if self.holds() {
            let places = self.hold.places();
            below(places.floor().unwrap_or_default());
        } else {
            below(Offset::new(u64::MAX));
        }
    }
}

/// What the committer finds to do.
enum Work {
    Batches(Vec<Batch>),
    None,
    Stop,
}

/// How often files that are too old are looked for when nothing comes.
const RETIRE_INTERVAL: Duration = Duration::from_secs(1);
/// There may be many topics, and a committer calls nothing deep.
const STACK_BYTES: usize = 256 << 10;

#[cfg(all(test, not(feature = "loom")))]
mod tests {
    use lapwing_wire::envelope::Kind;
    use lapwing_wire::position::{Epoch, Offset};
    use lapwing_wire::topic::TopicName;

    use super::*;
    use crate::log::batch::NewMessage;
    use crate::log::retention::Retention;
    use crate::log::store::{self, DataDir, Opened, StoreOptions};

    struct Untroubled;

    impl OnTrouble for Untroubled {
        fn on_trouble(&mut self, _: &AppendError, _: Now) {}
        fn on_recovered(&mut self) {}
    }

    fn opened(data: &DataDir) -> (Arc<Log>, StoreWriter) {
        let topic = TopicName::parse("t").expect("valid");
        let options = StoreOptions {
            level: store::Level::Os,
            bytes: 1 << 20,
            age: None,
        };
        let opened = data.topic(&topic, options, Epoch::from_bits(1), Now::read());
        let Opened {
            store, writer, retries, ..
        } = opened.expect("it opens");
        (
            Arc::new(Log::durable(topic, store, retries, None, Retention::TAIL)),
            writer,
        )
    }

    fn append(log: &Log) -> Result<u64, AppendError> {
        let appended = log.append(&[NewMessage::new(Kind::Json, b"1")], Now::read())?;
        appended.kept_blocking().map(|offsets| offsets.start.get())
    }

    #[test]
    fn an_error_of_ours_in_the_committer_answers_whoever_waits_and_whoever_comes() {
        let dir = tempfile::tempdir().expect("a directory");
        let data = DataDir::open(&dir.path().join("data")).expect("a data directory");
        let (log, mut writer) = opened(&data);
        let mut envelope = lapwing_wire::envelope::EnvelopeWriter::new(log.topic());
        let mut batch = Batch::default();
        batch.begin(Offset::ZERO);
        batch.push(&mut envelope, &NewMessage::new(Kind::Json, b"0"), Now::read());
        // Behind the log's back: the next append gets an offset that is there, and the writer does not stand for that.
        writer.append(&batch).expect("room");
        let committer = Committer::start(log.clone(), writer, Untroubled).expect("a thread");
        assert_eq!(append(&log), Err(AppendError::broken()));
        assert_eq!(append(&log), Err(AppendError::broken()));
        assert_eq!(log.next(), Offset::ZERO);
        committer.stop();
    }

    #[test]
    fn whoever_comes_when_the_committer_has_ended_is_told_so() {
        let dir = tempfile::tempdir().expect("a directory");
        let data = DataDir::open(&dir.path().join("data")).expect("a data directory");
        let (log, writer) = opened(&data);
        let committer = Committer::start(log.clone(), writer, Untroubled).expect("a thread");
        assert_eq!(append(&log), Ok(0));
        committer.stop();
        assert_eq!(append(&log), Err(AppendError::Stopped));
        drop(log);
        let (log, _) = opened(&data);
        assert_eq!(log.next(), Offset::new(1));
    }
}
