//! What fills a topic's log: one source a topic, each a task of its own.

pub mod account;
pub mod arrays;
pub mod exec;
pub mod feeder;
pub mod generator;
pub mod inlet;
pub mod pacer;
pub mod payloads;
pub mod people;
pub mod refused;
pub mod replay;
mod seed;
pub mod spec;
pub mod tail;

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::log::Log;
use crate::log::origin::{Origin, Turn};
use crate::reason::reason;
use arrays::Arrays;
use feeder::Feeder;
use generator::Generator;
use inlet::Inlet;
use people::People;
use spec::{Feed, OnEnd, SourceSpec, StartWhen};

/// Where a source tells what people should know: a line it could not take, a command that died.
pub trait SourceEvents: Send + Sync {
    /// Tells one sentence, already harmless for a terminal.
    fn tell(&self, text: String);

    /// Nothing more will come of it.
    fn over(&self) {}
}

/// A source that runs.
pub struct Source {
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Source {
    /// Starts a source; `seed` is the server's.
    #[must_use]
    pub fn start(spec: &SourceSpec, log: Arc<Log>, seed: u64, events: Arc<dyn SourceEvents>) -> Self {
        let (stop, stopped) = watch::channel(false);
        let run = Run {
            spec: spec.clone(),
            log,
            seed,
            events,
            stopped,
        };
        Self {
            stop,
            task: tokio::spawn(run.run()),
        }
    }

    /// Stops it: nothing is appended after this. A command gets SIGTERM, and SIGKILL if that does not end it.
    pub async fn stop(mut self) {
        // A source that has ended no longer listens.
        let _ = self.stop.send(true);
        if tokio::time::timeout(STOP_MAX, &mut self.task).await.is_err() {
            self.task.abort();
        }
    }
}

/// Everything that a running source needs.
struct Run {
    spec: SourceSpec,
    log: Arc<Log>,
    seed: u64,
    events: Arc<dyn SourceEvents>,
    stopped: watch::Receiver<bool>,
}

impl Run {
    async fn run(self) {
        let mut stopped = self.stopped.clone();
        if self.spec.start == StartWhen::Listener {
            tokio::select! {
                () = self.log.followed() => {}
                () = told(&mut stopped) => return,
            }
        }
        let ended = match (self.log.origin(), &self.spec.feed) {
            // Publishers on any server fill it.
            (None, _) | (Some(_), Feed::Push | Feed::Own) => self.fill_until(None, stopped).await,
            // Each server has another one.
            (Some(origin), Feed::Stdin) => self.fill_until(Some(origin.outlet().into()), stopped).await,
            (Some(origin), _) => self.take_turns(origin, stopped).await,
        };
        if ended == Ended::OfItself {
            self.events.over();
            if self.spec.on_end == OnEnd::Close {
                self.log.end();
            }
        }
    }

    /// Fills what several servers copy, whenever it is this one's turn.
    async fn take_turns(&self, origin: &Arc<dyn Origin>, mut stopped: watch::Receiver<bool>) -> Ended {
        loop {
            let turn: Arc<dyn Turn> = tokio::select! {
                turn = origin.turn() => turn.into(),
                () = told(&mut stopped) => return Ended::Stopped,
            };
            self.events
                .tell(format!("this server fills the topic, from offset {} on", turn.begin()));
            let (stop, over) = watch::channel(false);
            let filled = self.fill_until(Some(turn.clone()), over);
            tokio::pin!(filled);
            let stops = tokio::select! {
                // While the turn lasts nobody else begins anew what has come to its end.
                ended = &mut filled => {
                    tokio::select! {
                        () = turn.over() => {}
                        () = told(&mut stopped) => {}
                    }
                    return ended;
                }
                () = turn.over() => false,
                () = told(&mut stopped) => true,
            };
            // A command must be ended before another server starts its own, as far as that is in our hands.
            let _ = stop.send(true);
            filled.await;
            if stops {
                return Ended::Stopped;
            }
            self.events.tell("another server fills the topic now".to_owned());
        }
    }

    /// Fills until it is told to stop, or there is nothing more.
    async fn fill_until(&self, turn: Option<Arc<dyn Turn>>, mut stopped: watch::Receiver<bool>) -> Ended {
        // A command is stopped by its own source, which knows how; the others are simply dropped where they wait.
        match &self.spec.feed {
            Feed::Exec(command, restart) => {
                exec::run(command, *restart, self.feeder(turn), self.events.clone(), stopped).await
            }
            _ => tokio::select! {
                ended = self.fill(turn) => ended,
                () = told(&mut stopped) => Ended::Stopped,
            },
        }
    }

    async fn fill(&self, turn: Option<Arc<dyn Turn>>) -> Ended {
        let seed = self.seed(turn.as_deref());
        let pace = self.spec.pace;
        match &self.spec.feed {
            Feed::Users(locale) => {
                let mut people = People::new(*locale, seed, self.stream());
                generate(
                    Generator::new(move |out| people.write_next(out)),
                    pace,
                    self.inlet(turn),
                    self.events.as_ref(),
                )
                .await
            }
            Feed::Arrays(spec) => {
                let mut arrays = Arrays::new(spec, seed, self.stream());
                generate(
                    Generator::new(move |out| arrays.write_next(out)),
                    pace,
                    self.inlet(turn),
                    self.events.as_ref(),
                )
                .await
            }
            Feed::Stdin => {
                let ended = pump(tokio::io::stdin(), &mut self.feeder(turn)).await;
                self.events.tell(match ended {
                    Ok(lines) => format!(
                        "standard input has ended after {}",
                        crate::terminal::form::counted(lines, "line")
                    ),
                    Err(error) => format!("standard input broke: {}", reason(&error)),
                });
                Ended::OfItself
            }
            Feed::Tail(path, from) => tail::run(path, *from, self.feeder(turn), self.events.as_ref()).await,
            Feed::Replay(path, speed, only) => {
                replay::run(path, *speed, only.as_ref(), self.inlet(turn), self.events.clone()).await
            }
            Feed::Push | Feed::Own => std::future::pending().await,
            Feed::Exec(..) => Ended::OfItself,
        }
    }

    fn feeder(&self, turn: Option<Arc<dyn Turn>>) -> Feeder {
        Feeder::new(self.inlet(turn), self.spec.pace, self.events.clone())
    }

    fn inlet(&self, turn: Option<Arc<dyn Turn>>) -> Inlet {
        Inlet::new(self.log.clone(), turn, self.events.clone())
    }

    /// The seed of random numbers: the server's, and another one for whoever goes on where others have begun, so that nothing is made
    /// again that is there already.
    fn seed(&self, turn: Option<&dyn Turn>) -> u64 {
        let begin = turn.map_or(0, |turn| turn.begin().get());
        self.seed ^ begin.wrapping_mul(GOLDEN)
    }

    /// One stream of random numbers a topic, by its name: other topics and their order do not matter.
    fn stream(&self) -> u64 {
        u64::from(crc32c::crc32c(self.log.topic().as_str().as_bytes()))
    }
}

/// How a source came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// There is nothing more.
    OfItself,
    /// It was stopped.
    Stopped,
}

async fn generate(generator: Generator, pace: Option<pacer::Pace>, inlet: Inlet, events: &dyn SourceEvents) -> Ended {
    let Some(pace) = pace else { return Ended::OfItself };
    generator.run(pace, inlet, events).await;
    Ended::OfItself
}

/// Waits until the source is told to stop.
pub async fn told(stopped: &mut watch::Receiver<bool>) {
    // The other end is dropped only after it has told.
    let _ = stopped.wait_for(|stopped| *stopped).await;
}

/// Feeds everything that can be read, line by line; gives how many lines there were.
pub async fn pump(mut input: impl AsyncRead + Unpin, feeder: &mut Feeder) -> std::io::Result<u64> {
    let mut buffer = vec![0; READ_BYTES];
    loop {
        match input.read(&mut buffer).await {
            Ok(0) => return Ok(feeder.finish().await),
            Ok(bytes) => feeder.feed(&buffer[..bytes]).await,
            Err(error) => {
                feeder.finish().await;
                return Err(error);
            }
        }
    }
}

/// An odd number without a pattern in its bits (2^64 by the golden ratio): seeds that differ by a little come to differ in all bits.
const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;
/// One read; its lines are appended together.
const READ_BYTES: usize = 64 << 10;
/// Longer than a command has between SIGTERM and SIGKILL.
pub const STOP_MAX: Duration = Duration::from_secs(4);

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::SourceEvents;

    /// Remembers what a source told.
    #[derive(Default)]
    pub struct Told(Mutex<Vec<String>>);

    impl Told {
        /// What was told since the last look.
        pub fn take(&self) -> Vec<String> {
            std::mem::take(&mut *self.0.lock().expect("no test panics while it holds this"))
        }
    }

    impl SourceEvents for Told {
        fn tell(&self, text: String) {
            self.0.lock().expect("no test panics while it holds this").push(text);
        }
    }
}
