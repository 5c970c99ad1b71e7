//! Publishing as Python does it: messages on their way to the thread that posts them, and what became of them.

use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use lapwing::client::batch::Body;
use lapwing::client::dial::DialError;
use lapwing::client::event::Retry;
use lapwing::client::gatherer::{Gatherer, PIECES_AHEAD};
use lapwing::client::lines::{LINE_BYTES_MAX, LineError, Piece};
use lapwing::client::post::{Ack, Letterbox};
use lapwing::client::publisher::{self, Finish, Onlooker};
use lapwing::client::target::Target;
use lapwing_wire::dtype::Dtype;
use lapwing_wire::numbers::{self, Axes};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use tokio::runtime::Runtime;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::feed::{SIGNALS_EVERY, no_runtime};
use crate::settings::{span, targets, topic, trust};
use crate::trouble::{Kind, Trouble};

/// A publisher. Everything that may wait gives the interpreter to others meanwhile.
#[pyclass(frozen, weakref, module = "lapwing._lapwing")]
pub struct Publisher {
    outlet: Mutex<Outlet>,
    post: Arc<Post>,
    patience: Option<Duration>,
    stop: CancellationToken,
}

/// What was sent and is not on its way yet.
struct Outlet {
    body: Body,
    /// None once nothing more may be sent.
    pieces: Option<mpsc::Sender<std::io::Result<Piece>>>,
    /// Only to wait for room.
    runtime: Runtime,
    thread: Option<JoinHandle<()>>,
    sent: u64,
}

/// What became of what waited.
enum Offered {
    /// Nothing waits any more.
    All,
    /// It still waits.
    NoRoom,
    /// It still waits, and the thread that posts takes nothing any more.
    NobodyThere,
}

/// What became of it.
#[derive(Default)]
struct Post {
    state: Mutex<State>,
    news: Condvar,
}

#[derive(Default)]
struct State {
    count: u64,
    first: Option<u64>,
    last: Option<u64>,
    epoch: Option<String>,
    /// Since when the server takes nothing, and why.
    trouble: Option<(Instant, String)>,
    /// What may be there twice, as of the last time.
    unsure: Option<String>,
    end: Option<Result<(), Trouble>>,
}

type Published = (u64, Option<u64>, Option<u64>, Option<String>);

#[pymethods]
impl Publisher {
    /// Begins to publish.
    #[new]
    fn new(
        url: &str,
        topic_name: &str,
        timeout: Option<f64>,
        token_file: Option<PathBuf>,
        ca: Option<PathBuf>,
        insecure: bool,
    ) -> PyResult<Self> {
        let targets = targets(url, Target::parse_server)?;
        let topic = topic(topic_name)?;
        let (tls, token) = trust(&targets, token_file, ca, insecure)?;
        let to = Letterbox::at_each(&targets, tls, token, topic);
        let patience = span("timeout", timeout)?;
        let (send, pieces) = mpsc::channel(PIECES_AHEAD);
        let (post, stop) = (Arc::new(Post::default()), CancellationToken::new());
        let (told, until) = (post.clone(), stop.clone());
        let thread = std::thread::Builder::new().name("lapwing-publish".to_owned());
        let thread = thread.spawn(move || run(&to, pieces, &until, &told))?;
        Ok(Self {
            outlet: Mutex::new(Outlet {
                body: Body::default(),
                pieces: Some(send),
                runtime: tokio::runtime::Builder::new_current_thread().enable_time().build()?,
                thread: Some(thread),
                sent: 0,
            }),
            post,
            patience,
            stop,
        })
    }

    /// Sends one compact JSON value.
    fn send(&self, py: Python<'_>, value: &str) -> PyResult<()> {
        self.take(py, value)
    }

    /// Sends an array: its elements, little-endian and in row-major order.
    fn send_array(&self, py: Python<'_>, elements: &[u8], code: &str, shape: Vec<u32>) -> PyResult<()> {
        let dtype = code.as_bytes().try_into().ok().and_then(Dtype::of_code);
        let (Some(dtype), Some(axes)) = (dtype, Axes::new(shape.into_iter())) else {
            return Err(PyValueError::new_err("no array that could be published"));
        };
        let mut text = Vec::new();
        numbers::write_lists(&axes, dtype, elements, &mut text);
        self.take(py, &String::from_utf8_lossy(&text))
    }

    /// Waits until all is on the server: how many messages, the first and the last offset, and their history.
    fn finish(&self, py: Python<'_>) -> PyResult<Published> {
        self.flush(py)?;
        self.lock().pieces = None;
        loop {
            let ended = py.detach(|| self.post.wait(SIGNALS_EVERY));
            if let Some(end) = ended {
                end?;
                self.tell(py)?;
                let state = self.post.state();
                return Ok((state.count, state.first, state.last, state.epoch.clone()));
            }
            self.look(py)?;
        }
    }

    /// Ends it at once; what is on its way may arrive.
    fn close(&self, py: Python<'_>) {
        self.stop.cancel();
        let thread = {
            let mut outlet = self.lock();
            outlet.pieces = None;
            outlet.thread.take()
        };
        if let Some(thread) = thread {
            // It panics with a message of its own, and the post tells of it.
            let _ = py.detach(|| thread.join());
        }
    }
}

impl Publisher {
    fn lock(&self) -> MutexGuard<'_, Outlet> {
        self.outlet.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives what is to be told to the logger `lapwing`.
    fn tell(&self, py: Python<'_>) -> PyResult<()> {
        let unsure = self.post.state().unsure.take();
        if let Some(text) = unsure {
            let logger = py.import("logging")?.call_method1("getLogger", ("lapwing",))?;
            logger.call_method1("warning", ("%s", text))?;
        }
        Ok(())
    }

    fn take(&self, py: Python<'_>, value: &str) -> PyResult<()> {
        if value.len() > LINE_BYTES_MAX {
            let sent = self.lock().sent;
            let text = format!(
                "item {sent} has {} bytes as JSON; a message may have {LINE_BYTES_MAX}: publish it in parts",
                value.len()
            );
            return Err(PyValueError::new_err(text));
        }
        if !self.lock().body.has_room_for(value) {
            self.flush(py)?;
        }
        let mut outlet = self.lock();
        if outlet.pieces.is_none() {
            return Err(PyValueError::new_err(
                "nothing can be sent any more: this publisher was finished",
            ));
        }
        outlet.body.push(value);
        outlet.sent += 1;
        // While there is room it goes at once, so nothing waits for more; else it waits for as many as go together.
        outlet.offer();
        Ok(())
    }

    /// Puts what waits on its way as soon as there is room.
    fn flush(&self, py: Python<'_>) -> PyResult<()> {
        loop {
            let offered = py.detach(|| self.lock().offer_within(SIGNALS_EVERY));
            match offered {
                Offered::All => return Ok(()),
                Offered::NoRoom => {}
                // Then it has ended, or does so now.
                Offered::NobodyThere => drop(py.detach(|| self.post.wait(SIGNALS_EVERY))),
            }
            self.look(py)?;
        }
    }

    /// Looks whether it is time to give up.
    fn look(&self, py: Python<'_>) -> PyResult<()> {
        let (trouble, end) = {
            let state = self.post.state();
            (state.trouble.clone(), state.end.clone())
        };
        if let Some(end) = end {
            end?;
        }
        if let (Some((since, why)), Some(patience)) = (trouble, self.patience)
            && since.elapsed() >= patience
        {
            self.close(py);
            let text = format!("nothing was taken for {:.1} s: {why}", patience.as_secs_f64());
            return Err(Trouble::new(Kind::Connect, text).into());
        }
        py.check_signals().inspect_err(|_| self.stop.cancel())
    }
}

impl Outlet {
    fn offer(&mut self) {
        let Some(pieces) = &self.pieces else { return };
        if let Ok(room) = pieces.try_reserve() {
            room.send(Ok(Piece {
                body: std::mem::take(&mut self.body),
                skipped: Vec::new(),
            }));
        }
    }

    /// Puts what waits on its way, if there is room within this time.
    fn offer_within(&mut self, most: Duration) -> Offered {
        let Some(pieces) = &self.pieces else {
            return Offered::All;
        };
        if self.body.count == 0 {
            return Offered::All;
        }
        let room = self
            .runtime
            .block_on(async { tokio::time::timeout(most, pieces.reserve()).await });
        match room {
            Ok(Ok(room)) => {
                room.send(Ok(Piece {
                    body: std::mem::take(&mut self.body),
                    skipped: Vec::new(),
                }));
                Offered::All
            }
            Ok(Err(_)) => Offered::NobodyThere,
            Err(_) => Offered::NoRoom,
        }
    }
}

impl Post {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait(&self, most: Duration) -> Option<Result<(), Trouble>> {
        let state = self.state();
        let waited = self.news.wait_timeout_while(state, most, |state| state.end.is_none());
        waited.unwrap_or_else(PoisonError::into_inner).0.end.clone()
    }

    fn finish(&self, end: Result<(), Trouble>) {
        self.state().end.get_or_insert(end);
        self.news.notify_all();
    }
}

/// Who is told how it goes.
struct Teller<'a>(&'a Post);

impl Onlooker for Teller<'_> {
    fn on_ack(&mut self, ack: &Ack) {
        let mut state = self.0.state();
        state.count += ack.count;
        state.first.get_or_insert(ack.first.get());
        state.last = Some(ack.last.get());
        state.epoch = ack.epoch.map(|epoch| epoch.to_string());
        state.trouble = None;
    }

    fn on_unsure(&mut self, away: Duration, window: Duration, ack: &Ack) {
        let text = format!(
            "tried for {:.1} s, and a repeated message is recognised for {:.1} s: {} messages from offset {} on may be there twice",
            away.as_secs_f64(),
            window.as_secs_f64(),
            ack.count,
            ack.first
        );
        self.0.state().unsure = Some(text);
    }

    fn on_skipped(&mut self, _: u64, _: LineError) {}

    fn on_passed_over(&mut self, _: &str, _: &DialError) {}

    fn on_retry(&mut self, error: &DialError, _: &Retry<'_>) {
        let mut state = self.0.state();
        let since = state.trouble.as_ref().map_or_else(Instant::now, |(since, _)| *since);
        state.trouble = Some((since, error.to_string()));
    }

    fn on_back(&mut self, _: Option<&str>) {
        self.0.state().trouble = None;
    }
}

fn run(to: &[Letterbox], pieces: mpsc::Receiver<std::io::Result<Piece>>, stop: &CancellationToken, post: &Post) {
    struct Told<'a>(&'a Post);
    impl Drop for Told<'_> {
        fn drop(&mut self) {
            let trouble = Trouble::new(
                Kind::Other,
                "the thread that publishes panicked: this is a mistake of Lapwing",
            );
            // Where an end was told, that stays.
            self.0.finish(Err(trouble));
        }
    }
    let told = Told(post);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let finish = match runtime {
        Ok(runtime) => runtime.block_on(publisher::publish(
            to,
            Gatherer::of_pieces(pieces),
            stop,
            &mut Teller(post),
        )),
        Err(error) => Err(no_runtime(&error)),
    };
    told.0.finish(match finish {
        Ok(Finish::Done) => Ok(()),
        Ok(Finish::Asked { unknown, unsent, .. }) => {
            let text = format!("publishing was ended: {unsent} messages were not sent, and {unknown} may have arrived");
            Err(Trouble::new(Kind::Other, text))
        }
        Err(failure) => Err(Trouble::of(Kind::Connect, &failure)),
    });
}
