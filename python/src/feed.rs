//! A feed as Python holds it: the thread that listens, and the ways to what it gathered.

use std::os::fd::AsRawFd as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::Duration;

use lapwing::client::dial::io_reason;
use lapwing::client::listener::{self, Ending, Options, close_text};
use lapwing::client::log::{Form, Log, OnLogError};
use lapwing::client::scribe::Scribe;
use lapwing::client::targets::Targets;
use lapwing::client::watch::{Screen, Watch};
use lapwing::clock::Now;
use lapwing::failure::Failure;
use lapwing::recording::marks::Marks;
use lapwing::recording::note;
use lapwing::recording::recorder::{Keeping, Recorder};
use lapwing::recording::writer::OpenError;
use pyo3::IntoPyObjectExt as _;
use pyo3::prelude::*;
use tokio_util::sync::CancellationToken;

use crate::block::Block;
use crate::gatherer::{Gatherer, Wish};
use crate::ring::{Next, Ring};
use crate::settings::Wanted;
use crate::trouble::{Kind, Trouble};

/// A feed: what `lapwing.listen` holds. Everything that may wait gives the interpreter to others meanwhile.
#[pyclass(frozen, weakref, module = "lapwing._lapwing")]
pub struct Feed {
    ring: Arc<Ring>,
    wish: Arc<Wish>,
    stop: CancellationToken,
    thread: std::sync::Mutex<Option<JoinHandle<()>>>,
}

#[pymethods]
impl Feed {
    /// Begins to listen.
    #[new]
    fn new(wanted: Wanted, only_record: bool) -> PyResult<Self> {
        let targets = wanted.targets()?;
        // All that can be wrong is looked at before a file is touched.
        wanted.options(&targets, Marks::default())?;
        let (log, marks) = wanted.log.as_deref().map(open_log).transpose()?.unzip();
        let options = wanted.options(&targets, marks.unwrap_or_default())?;
        let start = start(&wanted, &options, &targets);
        let ring = Arc::new(Ring::new()?);
        let wish = Arc::new(Wish {
            nothing: only_record,
            fail_on_gap: wanted.fail_on_gap,
            connect_within: wanted.connect_within()?,
            ..Wish::default()
        });
        let stop = CancellationToken::new();
        let (to, by, until) = (ring.clone(), wish.clone(), stop.clone());
        let thread = std::thread::Builder::new().name("lapwing".to_owned());
        let thread = thread.spawn(move || {
            let told = Told(&to);
            let watch = log.map(|log| recording(log, start, options.resume.clone()));
            let end = watch.transpose().and_then(|watch| {
                let gatherer = Gatherer::new(to.clone(), by, options.block, watch);
                run(&options, &until, gatherer)
            });
            told.0.finish(end);
        })?;
        Ok(Self {
            ring,
            wish,
            stop,
            thread: std::sync::Mutex::new(Some(thread)),
        })
    }

    /// Waits until everything that was asked for is granted.
    fn connect(&self, py: Python<'_>) -> PyResult<()> {
        loop {
            if let Some(connected) = py.detach(|| self.ring.wait_connected(SIGNALS_EVERY)) {
                self.tell(py)?;
                return Ok(connected?);
            }
            py.check_signals()?;
        }
    }

    /// Whether it is connected; an error if it cannot be.
    fn is_connected(&self) -> PyResult<bool> {
        Ok(self.ring.wait_connected(Duration::ZERO).transpose()?.is_some())
    }

    /// The next messages, or None at the end.
    fn next(&self, py: Python<'_>, messages: bool) -> PyResult<Option<Block>> {
        self.wish(messages);
        loop {
            match self.ring.take() {
                Next::Nothing => {}
                next => return self.give(py, next),
            }
            match py.detach(|| self.ring.wait(SIGNALS_EVERY)) {
                Next::Nothing => py.check_signals()?,
                next => return self.give(py, next),
            }
            self.tell(py)?;
        }
    }

    /// The next messages if they are there, None at the end, and True if they are still to come.
    fn take<'py>(&self, py: Python<'py>, messages: bool) -> PyResult<Bound<'py, PyAny>> {
        self.wish(messages);
        match self.ring.take() {
            Next::Nothing => {
                self.tell(py)?;
                true.into_bound_py_any(py)
            }
            next => self.give(py, next)?.into_bound_py_any(py),
        }
    }

    /// Asks for a byte in the pipe once there is news; False when there is some already.
    fn arm(&self, connecting: bool) -> bool {
        self.ring.arm(connecting)
    }

    /// Takes that byte.
    fn answer(&self) {
        self.ring.answer();
    }

    /// Where the byte comes.
    fn fileno(&self) -> i32 {
        self.ring.bell().as_raw_fd()
    }

    /// Ends it: the last report, the close frame, the recording on the disk.
    fn close(&self, py: Python<'_>) {
        self.ring.close();
        self.stop.cancel();
        let thread = self.thread.lock().ok().and_then(|mut thread| thread.take());
        if let Some(thread) = thread {
            // It panics with a message of its own, and the ring tells of it.
            let _ = py.detach(|| thread.join());
        }
    }

    /// Waits until it ends by itself, and raises what ended it.
    fn join(&self, py: Python<'_>) -> PyResult<()> {
        while self.next(py, false)?.is_some() {}
        self.close(py);
        Ok(())
    }

    /// How the server calls us.
    #[getter]
    fn name(&self) -> Option<String> {
        self.ring.known().name
    }

    /// How many messages came, as far as was counted: five times a second, and at the end.
    #[getter]
    fn count(&self) -> u64 {
        self.ring.known().messages
    }

    /// How many offsets are missing.
    #[getter]
    fn missed(&self) -> u64 {
        self.ring.known().missed
    }

    /// How often another history began, or part of one was lost.
    #[getter]
    fn resets(&self) -> u64 {
        self.ring.known().resets
    }

    /// How often the connection was lost and came back.
    #[getter]
    fn reconnects(&self) -> u64 {
        self.ring.known().reconnects
    }
}

impl Feed {
    fn wish(&self, messages: bool) {
        self.wish.messages.store(messages, Ordering::Relaxed);
    }

    fn give(&self, py: Python<'_>, next: Next) -> PyResult<Option<Block>> {
        match next {
            Next::Chunk(chunk) => Ok(Some(Block::new(*chunk))),
            Next::Nothing => Ok(None),
            Next::End(end) => {
                self.tell(py)?;
                end?;
                Ok(None)
            }
        }
    }

    /// Gives what is to be told to the logger `lapwing`.
    fn tell(&self, py: Python<'_>) -> PyResult<()> {
        let notes = self.ring.notes();
        if notes.is_empty() {
            return Ok(());
        }
        let logger = py.import("logging")?.call_method1("getLogger", ("lapwing",))?;
        for note in notes {
            let level = if note.warning { "warning" } else { "info" };
            logger.call_method1(level, ("%s", note.text))?;
        }
        Ok(())
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        // The thread ends by itself; nobody can wait for it here.
        self.ring.close();
        self.stop.cancel();
    }
}

/// Tells the ring of an end, whatever happens.
struct Told<'a>(&'a Ring);

impl Drop for Told<'_> {
    fn drop(&mut self) {
        let trouble = Trouble::new(
            Kind::Other,
            "the thread of the feed panicked: this is a mistake of Lapwing",
        );
        // Where an end was told, that stays.
        self.0.finish(Err(trouble));
    }
}

/// Listens until the end.
fn run(options: &Options, stop: &CancellationToken, mut gatherer: Gatherer) -> Result<(), Trouble> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let ended = match runtime {
        Ok(runtime) => runtime.block_on(listener::listen(options, stop, &mut gatherer)),
        Err(error) => Err(no_runtime(&error)),
    };
    match ended {
        Ok(Ending::Stopped { code, reason }) => gatherer.finish(None).and(Err(Trouble::new(
            Kind::Refused(code.get().to_string()),
            format!("stopped: {}", close_text(code, &reason)),
        ))),
        Ok(_) => gatherer.finish(None),
        Err(failure) => gatherer.finish(Some(failure)),
    }
}

/// Why a thread cannot begin.
pub fn no_runtime(error: &std::io::Error) -> Failure {
    Failure::failed(
        format!("cannot start: {}", io_reason(error)),
        "is the system out of resources?",
    )
}

fn start(wanted: &Wanted, options: &Options, targets: &Targets) -> note::Start {
    note::Start {
        version: concat!("lapwing/", env!("CARGO_PKG_VERSION")).to_owned(),
        url: targets.to_string(),
        name: wanted.name.clone(),
        block_size: options.block.get(),
        boot: boot(),
    }
}

fn recording(log: Log, start: note::Start, behind: Marks) -> Result<Watch, Trouble> {
    let scribe = Scribe::new(start, behind);
    Watch::new(Some(log), Screen::Nothing, scribe, Now::read())
        .map_err(|_| Trouble::new(Kind::Log, "the recording cannot be begun"))
}

fn open_log(path: &Path) -> Result<(Log, Marks), Trouble> {
    let wrong = |why: String| Trouble::new(Kind::Log, format!("{}: {why}", path.display()));
    let opened = Recorder::open(path, Keeping::default(), Now::read());
    let (recorder, found) = opened.map_err(|error| match error {
        OpenError::Held { by } => {
            let by = by.map(|process| format!(" (process {process})")).unwrap_or_default();
            wrong(format!(
                "it is being written by another listener{by}; give this one its own file"
            ))
        }
        OpenError::Foreign | OpenError::Recording => {
            wrong("it holds something else: its first line is no record of Lapwing; name a new file".to_owned())
        }
        OpenError::Io(error) => wrong(format!("it cannot be written: {}", io_reason(&error))),
    })?;
    // Who waits for messages is not to wait for a disk without knowing why.
    Ok((
        Log::new(recorder, Form::Ndjson, OnLogError::Exit),
        found.checkpoint.marks,
    ))
}

fn boot() -> Option<String> {
    let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    Some(id.trim().to_owned())
}

/// 50 ms: so soon is Ctrl-C obeyed.
pub const SIGNALS_EVERY: Duration = Duration::from_millis(50);
