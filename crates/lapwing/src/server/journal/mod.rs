//! The operator's log: what this server and its libraries tell by `tracing`, beside the console, which is for people. Here it is called
//! the journal, since a log is where a topic keeps its messages.
//!
//! Whoever tells something never waits: it goes into a bounded queue, and a thread writes it. What overflows is counted, and so is
//! what one place in the code tells too often.

pub mod collector;
pub mod entry;
pub mod levels;
pub mod life;
pub mod limiter;
pub mod request;
pub mod sink;
pub mod target;

use std::borrow::Cow;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::RecvTimeoutError;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tracing::Level;

use crate::clock::Now;
use crate::config::Limits;
use crate::reason::reason;
use crate::terminal::form;
use crate::terminal::lane::{Lane, Queue};
use crate::terminal::output::OutputFormat;
use crate::terminal::paint::{ColorChoice, Painter};
use collector::{Collector, Kind, Logged, most_logged};
use entry::{Entry, Label};
use levels::Levels;
use limiter::{Limiter, Verdict};
use sink::Sink;

/// What is told, how and where.
#[derive(Clone, Debug)]
pub struct JournalSpec {
    /// What.
    pub levels: Levels,
    /// How.
    pub format: OutputFormat,
    /// The file; none for standard error.
    pub file: Option<PathBuf>,
}

/// The operator's log of this process.
#[derive(Clone)]
pub struct Journal {
    lane: Arc<Lane<Item>>,
    state: Arc<State>,
}

/// What the thread is given.
enum Item {
    Entry(Now, Entry),
    /// Something was not told whose sum is to be told in time.
    Look,
    Reopen,
}

struct State {
    limiter: Mutex<Limiter<Kind, Label>>,
    /// What the queue had no room for, and what could not be written.
    lost: AtomicU64,
}

impl State {
    fn limiter(&self) -> MutexGuard<'_, Limiter<Kind, Label>> {
        self.limiter.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Journal {
    /// Opens the file, if there is one, and from now on takes what the whole process tells. A process has one journal: a second
    /// is told nothing.
    pub fn start(spec: JournalSpec, color: ColorChoice) -> io::Result<Self> {
        let JournalSpec { levels, format, file } = spec;
        let (sink, paint) = match file {
            Some(path) => (Sink::file(path)?, Painter::PLAIN),
            None => (Sink::error(), Painter::stderr(color)),
        };
        let state = Arc::new(State {
            limiter: Mutex::new(Limiter::new(Limits::LOG_RATE)),
            lost: AtomicU64::new(0),
        });
        let writer = Writer {
            sink,
            paint,
            format,
            state: state.clone(),
            told_lost: None,
        };
        let journal = Self {
            lane: Arc::new(Lane::start("journal", move |queue| writer.run(&queue))),
            state,
        };
        let collector = || Collector::new(levels.clone(), journal.clone());
        // Both fail only where there is one already.
        let _ = tracing::subscriber::set_global_default(collector());
        if log::set_boxed_logger(Box::new(Logged(collector()))).is_ok() {
            log::set_max_level(most_logged(levels.most()));
        }
        Ok(journal)
    }

    /// Takes a line of a kind, unless there were too many of it; returns at once.
    pub fn tell(&self, kind: Kind, make: impl FnOnce() -> Entry) {
        let now = Duration::from_nanos(Now::read().mono);
        let verdict = self.state.limiter().come(kind.clone(), now);
        match verdict {
            Verdict::Count => {}
            Verdict::Begin => self.lane.push(0, || Item::Look),
            Verdict::First | Verdict::Tell => {
                let entry = make();
                if verdict == Verdict::First {
                    self.state.limiter().label(&kind, entry.label());
                }
                let weight = entry.weight();
                match self.lane.has_room(weight, Limits::LOG_BYTES_MAX) {
                    true => self.lane.push(weight, || Item::Entry(Now::read(), entry)),
                    false => {
                        self.state.lost.fetch_add(1, Ordering::Relaxed);
                    }
                }
            }
        }
    }

    /// Opens the file anew, behind what was told so far.
    pub fn reopen(&self) {
        self.lane.push(0, || Item::Reopen);
    }

    /// Writes what waits, but waits no longer than `patience`.
    pub fn finish(&self, patience: Duration) {
        self.lane.finish(Instant::now() + patience);
    }
}

/// The thread's own side.
struct Writer {
    sink: Sink,
    paint: Painter,
    format: OutputFormat,
    state: Arc<State>,
    /// When it was last told that lines were lost.
    told_lost: Option<Instant>,
}

impl Writer {
    fn run(mut self, queue: &Queue<Item>) {
        loop {
            let owes = self.state.limiter().owes() || self.state.lost.load(Ordering::Relaxed) > 0;
            match queue.take(owes.then_some(LOOK_EVERY)) {
                Ok(Item::Entry(now, entry)) => self.write(now, &entry),
                Ok(Item::Reopen) => self.reopen(),
                Ok(Item::Look) | Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            if self.told_lost.is_none_or(|told| told.elapsed() >= LOOK_EVERY) {
                self.tell_lost();
            }
            self.tell_sums(false);
        }
        self.tell_sums(true);
        self.tell_lost();
    }

    fn tell_lost(&mut self) {
        let lost = self.state.lost.swap(0, Ordering::Relaxed);
        if lost == 0 {
            return;
        }
        self.told_lost = Some(Instant::now());
        let entry = Entry::new(Level::WARN, Cow::Borrowed(target::JOURNAL))
            .with_message(format_args!("{} not written: {LOST_WHY}", form::counted(lost, "line")))
            .with_number("lost", lost);
        if !self.put(Now::read(), &entry) {
            self.state.lost.fetch_add(lost, Ordering::Relaxed);
        }
    }

    fn tell_sums(&mut self, all: bool) {
        let now = Now::read();
        let due = self.state.limiter().due(Duration::from_nanos(now.mono), all);
        for untold in due {
            self.write(now, &untold.label.summed(untold.count, untold.within));
        }
    }

    fn reopen(&mut self) {
        let (level, message) = match self.sink.reopen() {
            Ok(()) => (Level::INFO, "the log file was opened again".to_owned()),
            Err(error) => (
                Level::WARN,
                format!(
                    "the log file cannot be opened again ({}); the one from before is used",
                    reason(&error)
                ),
            ),
        };
        let entry = Entry::new(level, Cow::Borrowed(target::JOURNAL)).with_message(message);
        self.write(Now::read(), &entry);
    }

    /// Writes a line; one that cannot be written counts as lost.
    fn write(&mut self, now: Now, entry: &Entry) {
        if !self.put(now, entry) {
            self.state.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn put(&mut self, now: Now, entry: &Entry) -> bool {
        let line = match self.format {
            OutputFormat::Text => entry.to_text(now.wall, self.paint),
            OutputFormat::Json => entry.to_json(now.wall),
        };
        self.sink.write(&line)
    }
}

/// While there are sums to tell.
const LOOK_EVERY: Duration = Duration::from_secs(1);
const LOST_WHY: &str = "whatever takes them was full or too slow";
