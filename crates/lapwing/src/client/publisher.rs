//! The loop of a publisher: gather lines, post them, retry until the server has them.

use std::io::BufReader;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use super::backoff::Backoff;
use super::batch::Batch;
use super::dial::{DialError, Purpose, Verdict};
use super::entropy::Entropy;
use super::event::Retry;
use super::lines::{Line, LineError, next_line};
use super::post::{Ack, Letterbox, Post};
use crate::clock::Now;
use crate::failure::Failure;

/// Who is told how publishing goes.
pub trait Onlooker {
    /// Lines are on the server.
    fn on_ack(&mut self, ack: &Ack);
    /// A line was skipped.
    fn on_skipped(&mut self, number: u64, why: LineError);
    /// A post failed, and another attempt follows.
    fn on_retry(&mut self, error: &DialError, retry: &Retry<'_>);
    /// The server has lines again after [`Onlooker::on_retry`].
    fn on_back(&mut self);
}

/// How publishing ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Finish {
    /// Everything that could be read is on the server.
    Done,
    /// We were told to stop.
    Asked {
        /// So many messages were written to a connection, and no answer came.
        unknown: u64,
        /// So many are on no server.
        unsent: u64,
        /// What is known of the lines behind these.
        rest: Rest,
    },
}

/// What is known of lines that were not read before we stopped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rest {
    /// There are none, or none had come.
    Nothing,
    /// There are more than could be counted.
    More,
}

/// Publishes the lines of stdin until it ends, or until told to stop.
pub async fn publish(
    to: &Letterbox,
    stop: &CancellationToken,
    onlooker: &mut impl Onlooker,
) -> Result<Finish, Failure> {
    let mut lines = stdin();
    let mut publisher = Publisher {
        to,
        stop,
        onlooker,
        post: Post::default(),
        entropy: Entropy::from_system(),
    };
    let mut batch = Batch::default();
    let mut held = None;
    loop {
        let more = publisher.gather(&mut lines, &mut batch, &mut held).await?;
        if batch.count > 0 {
            match publisher.deliver(&batch).await? {
                Delivery::Acked => {}
                Delivery::Unknown => return Ok(asked(batch.count, u64::from(held.is_some()), &mut lines).await),
                Delivery::Unsent => return Ok(asked(0, batch.count + u64::from(held.is_some()), &mut lines).await),
            }
        }
        batch = batch.following();
        if !more {
            return Ok(match stop.is_cancelled() {
                true => asked(0, u64::from(held.is_some()), &mut lines).await,
                false => Finish::Done,
            });
        }
    }
}

struct Publisher<'a, L> {
    to: &'a Letterbox,
    stop: &'a CancellationToken,
    onlooker: &'a mut L,
    post: Post,
    entropy: Entropy,
}

/// What became of a batch.
enum Delivery {
    /// The server has it.
    Acked,
    /// We were told to stop, and it was written to a connection.
    Unknown,
    /// We were told to stop, and the server cannot have it.
    Unsent,
}

impl<L: Onlooker> Publisher<'_, L> {
    /// Fills a batch: waits for its first message, then takes what comes within [`GATHER`]; gives whether more may come.
    async fn gather(
        &mut self,
        lines: &mut mpsc::Receiver<std::io::Result<Line>>,
        batch: &mut Batch,
        held: &mut Option<String>,
    ) -> Result<bool, Failure> {
        if let Some(message) = held.take() {
            batch.push(&message);
        }
        let mut until = None;
        loop {
            let deadline = match batch.count {
                0 => Instant::now() + Duration::from_secs(3600),
                _ => *until.get_or_insert_with(|| Instant::now() + GATHER),
            };
            let line = tokio::select! {
                biased;
                () = self.stop.cancelled() => return Ok(false),
                line = timeout_at(deadline, lines.recv()) => line,
            };
            match line {
                Err(_) if batch.count == 0 => {}
                Err(_) => return Ok(true),
                Ok(None) => return Ok(false),
                Ok(Some(Err(error))) => {
                    return Err(Failure::failed(
                        format!("cannot read stdin: {}", super::dial::io_reason(&error)),
                        "what came before is published",
                    ));
                }
                Ok(Some(Ok(Line { number, message }))) => match message {
                    Err(why) => self.onlooker.on_skipped(number, why),
                    Ok(message) if batch.has_room(&message) => batch.push(&message),
                    Ok(message) => {
                        *held = Some(message);
                        return Ok(true);
                    }
                },
            }
        }
    }

    /// Posts a batch until the server has it, or until told to stop.
    async fn deliver(&mut self, batch: &Batch) -> Result<Delivery, Failure> {
        let mut backoff = Backoff::default();
        let mut doubt = false;
        let mut since = None;
        loop {
            let sent = {
                let mut send = std::pin::pin!(self.post.send(self.to, batch));
                tokio::select! {
                    biased;
                    sent = &mut send => sent,
                    () = self.stop.cancelled() => match tokio::time::timeout(LAST_WAIT, &mut send).await {
                        Ok(sent) => sent,
                        Err(_) => Err(DialError::Silent),
                    },
                }
            };
            // These say that it was not taken; after any other end of a post it may have been.
            let declined =
                matches!(&sent, Err(DialError::Refused(refusal)) if matches!(refusal.status, 408 | 429 | 503 | 507));
            doubt |= self.post.wrote() && !declined;
            let error = match sent {
                Ok(ack) => {
                    if since.is_some() {
                        self.onlooker.on_back();
                    }
                    self.onlooker.on_ack(&ack);
                    return Ok(Delivery::Acked);
                }
                Err(error) => error,
            };
            let unsure = match doubt {
                true => Delivery::Unknown,
                false => Delivery::Unsent,
            };
            // What 500 says of a topic stays so until somebody has looked after its files.
            let verdict = match error.status() {
                Some(500) => Verdict::Stop,
                _ => error.verdict(),
            };
            let Verdict::Retry(told) = verdict else {
                return Err(error.failure(&self.to.target, Purpose::Publish));
            };
            if self.stop.is_cancelled() {
                return Ok(unsure);
            }
            let since = *since.get_or_insert_with(|| Duration::from_nanos(Now::read().mono));
            let wait = backoff.next(told, self.entropy.fraction());
            let why = error.to_string();
            let retry = Retry {
                attempt: backoff.attempt(),
                wait,
                since,
                why: &why,
            };
            self.onlooker.on_retry(&error, &retry);
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = self.stop.cancelled() => return Ok(unsure),
            }
        }
    }
}

/// We were told to stop with `unsent` messages at hand: those behind them are counted as far as they are there already.
async fn asked(unknown: u64, mut unsent: u64, lines: &mut mpsc::Receiver<std::io::Result<Line>>) -> Finish {
    let until = Instant::now() + LAST_WAIT;
    let rest = loop {
        match timeout_at(until.min(Instant::now() + QUIET), lines.recv()).await {
            Ok(Some(Ok(line))) if Instant::now() < until => unsent += u64::from(line.message.is_ok()),
            Ok(Some(Ok(_))) => break Rest::More,
            Ok(None | Some(Err(_))) | Err(_) => break Rest::Nothing,
        }
    };
    Finish::Asked { unknown, unsent, rest }
}

/// Lines of stdin, read by a thread of their own: a read of a terminal cannot be cancelled.
///
/// At most [`LINES_AHEAD`] wait, so that a fast producer is held back by a slow server.
fn stdin() -> mpsc::Receiver<std::io::Result<Line>> {
    let (send, receive) = mpsc::channel(LINES_AHEAD);
    let read = move || {
        let mut input = BufReader::with_capacity(64 << 10, std::io::stdin());
        for number in 1.. {
            let line = next_line(&mut input, number).transpose();
            let Some(line) = line else { return };
            let failed = line.is_err();
            if send.blocking_send(line).is_err() || failed {
                return;
            }
        }
    };
    // Without the thread the channel is closed: the input ends before it began.
    let _ = std::thread::Builder::new().name("stdin".to_owned()).spawn(read);
    receive
}

/// Lines that come within this time travel together.
const GATHER: Duration = Duration::from_millis(10);

/// Input that is silent for so long after the first Ctrl-C has nothing more that could be counted.
const QUIET: Duration = Duration::from_millis(250);

/// How long an answer is waited for after the first Ctrl-C, and how long lines are counted that it left over.
const LAST_WAIT: Duration = Duration::from_secs(1);

const LINES_AHEAD: usize = 64;
