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
        // A command is stopped by its own source, which knows how; the others are simply dropped where they wait.
        let ended = match &self.spec.feed {
            Feed::Exec(command, restart) => {
                exec::run(command, *restart, self.feeder(), self.events.clone(), stopped).await
            }
            _ => tokio::select! {
                ended = self.fill() => ended,
                () = told(&mut stopped) => Ended::Stopped,
            },
        };
        if ended == Ended::OfItself {
            self.events.over();
            if self.spec.on_end == OnEnd::Close {
                self.log.end();
            }
        }
    }

    async fn fill(&self) -> Ended {
        let pace = self.spec.pace;
        match &self.spec.feed {
            Feed::Users(locale) => {
                let mut people = People::new(*locale, self.seed, self.stream());
                generate(
                    Generator::new(move |out| people.write_next(out)),
                    pace,
                    self.inlet(),
                    self.events.as_ref(),
                )
                .await
            }
            Feed::Arrays(spec) => {
                let mut arrays = Arrays::new(spec, self.seed, self.stream());
                generate(
                    Generator::new(move |out| arrays.write_next(out)),
                    pace,
                    self.inlet(),
                    self.events.as_ref(),
                )
                .await
            }
            Feed::Stdin => {
                let ended = pump(tokio::io::stdin(), &mut self.feeder()).await;
                self.events.tell(match ended {
                    Ok(lines) => format!(
                        "standard input has ended after {}",
                        crate::terminal::form::counted(lines, "line")
                    ),
                    Err(error) => format!("standard input broke: {}", reason(&error)),
                });
                Ended::OfItself
            }
            Feed::Tail(path, from) => tail::run(path, *from, self.feeder(), self.events.as_ref()).await,
            Feed::Replay(path, speed, only) => {
                replay::run(path, *speed, only.as_ref(), self.inlet(), self.events.clone()).await
            }
            Feed::Push | Feed::Own => std::future::pending().await,
            Feed::Exec(..) => Ended::OfItself,
        }
    }

    fn feeder(&self) -> Feeder {
        Feeder::new(self.inlet(), self.spec.pace, self.events.clone())
    }

    fn inlet(&self) -> Inlet {
        Inlet::new(self.log.clone(), self.events.clone())
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
