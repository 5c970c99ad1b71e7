//! The loop of a publisher: gather lines, post them, retry until the server has them.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::dial::{DialError, Purpose, Verdict, io_reason};
use super::entropy::Entropy;
use super::event::Retry;
use super::gatherer::{Gathered, Gatherer, Rest};
use super::lines::LineError;
use super::post::{Ack, Letterbox, Post};
use super::servers::{Failed, Next, Servers};
use super::window::{Parcel, WINDOW_MAX, Window};
use crate::clock::Now;
use crate::failure::Failure;

/// Who is told how publishing goes.
pub trait Onlooker {
    /// Lines are on the server.
    fn on_ack(&mut self, ack: &Ack);
    /// A line was skipped.
    fn on_skipped(&mut self, number: u64, why: LineError);
    /// Of several servers this one does not take it, and another is tried at once; told once, until it does.
    fn on_passed_over(&mut self, server: &str, error: &DialError);
    /// A post failed, and another attempt follows. With several servers all were tried.
    fn on_retry(&mut self, error: &DialError, retry: &Retry<'_>);
    /// Messages were tried again for longer than the server recognises them: they may be there twice.
    fn on_unsure(&mut self, away: Duration, window: Duration, ack: &Ack);
    /// A server has lines again after [`Onlooker::on_retry`]; of several it is `server`.
    fn on_back(&mut self, server: Option<&str>);
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

/// Publishes what is gathered to one of these servers, at least one, until it ends, or until told to stop.
///
/// What one does not answer goes to the next under the same source and sequence.
pub async fn publish(
    to: &[Letterbox],
    gatherer: Gatherer,
    stop: &CancellationToken,
    onlooker: &mut impl Onlooker,
) -> Result<Finish, Failure> {
    let mut entropy = Entropy::from_system();
    let urls = to.iter().map(|to| to.target.to_string()).collect();
    let servers = Servers::new(urls, &mut || entropy.fraction());
    let publisher = Publisher {
        to: to.iter().cloned().map(Arc::new).collect(),
        onlooker,
        gatherer,
        end: None,
        window: Window::default(),
        posts: JoinSet::new(),
        idle: Vec::new(),
        servers,
        entropy,
        trouble: None,
    };
    publisher.run(stop).await
}

struct Publisher<'a, L> {
    to: Vec<Arc<Letterbox>>,
    onlooker: &'a mut L,
    gatherer: Gatherer,
    /// Nothing more is gathered, and how publishing ends when all of it is on the server.
    end: Option<Result<Finish, Failure>>,
    window: Window,
    /// Posts on their way; they end with their answers, and with this.
    posts: JoinSet<Posted>,
    /// Connections on which nothing is on its way.
    idle: Vec<Post>,
    servers: Servers,
    entropy: Entropy,
    /// The server does not take it at the moment.
    trouble: Option<Trouble>,
}

/// A post that was answered, or not.
struct Posted {
    post: Post,
    sequence: u64,
    answer: Result<Ack, DialError>,
}

struct Trouble {
    since: Duration,
    /// Whether people know of it.
    is_told: bool,
    /// When it is tried again; none while that is under way.
    again: Option<Instant>,
}

impl<L: Onlooker> Publisher<'_, L> {
    async fn run(mut self, stop: &CancellationToken) -> Result<Finish, Failure> {
        let mut stop_by = None;
        loop {
            self.post();
            if self.window.is_empty() {
                match self.end.take() {
                    Some(end) => return end,
                    None if stop_by.is_some() => return Ok(self.leave().await),
                    None => {}
                }
            }
            let has_room = self.end.is_none() && stop_by.is_none() && self.window.has_room();
            let again = self.trouble.as_ref().and_then(|trouble| trouble.again);
            tokio::select! {
                biased;
                () = stop.cancelled(), if stop_by.is_none() => {
                    if again.is_some() {
                        return Ok(self.leave().await);
                    }
                    self.begin_stop();
                    stop_by = Some(Instant::now() + LAST_WAIT);
                }
                Some(posted) = self.posts.join_next() => {
                    self.on_posted(posted.expect("who stops posts forgets them, and none panics"))?;
                    if stop_by.is_some() && self.trouble.is_some() {
                        return Ok(self.leave().await);
                    }
                }
                () = at(again) => self.try_again(),
                () = at(stop_by) => return Ok(self.leave().await),
                gathered = self.gatherer.next(), if has_room => self.on_gathered(gathered),
            }
        }
    }

    /// Posts what may be posted now: while the server takes nothing, the first alone.
    fn post(&mut self) {
        let most = match &self.trouble {
            None => WINDOW_MAX,
            Some(trouble) => usize::from(trouble.again.is_none()),
        };
        while let Some(Parcel { batch, after }) = self.window.post(most) {
            let mut post = self.idle.pop().unwrap_or_default();
            let to = self.to[self.servers.current()].clone();
            self.posts.spawn(async move {
                let answer = post.send(&to, &batch, after).await;
                Posted {
                    post,
                    sequence: batch.sequence,
                    answer,
                }
            });
        }
    }

    fn on_gathered(&mut self, gathered: Gathered) {
        match gathered {
            Gathered::Batch(batch) => self.window.push(batch),
            Gathered::Skipped(skipped) => {
                for (number, why) in skipped {
                    self.onlooker.on_skipped(number, why);
                }
            }
            Gathered::End => self.end = Some(Ok(Finish::Done)),
            Gathered::Failed(error) => {
                let sentence = format!("cannot read stdin: {}", io_reason(&error));
                self.end = Some(Err(Failure::failed(sentence, "what came before is published")));
            }
        }
    }

    fn on_posted(&mut self, posted: Posted) -> Result<(), Failure> {
        let Posted { post, sequence, answer } = posted;
        self.window.on_answer(sequence, post.wrote(), answer);
        if post.is_open() {
            self.idle.push(post);
        }
        while let Some(settled) = self.window.settle() {
            match settled {
                Ok(ack) => self.on_ack(&ack),
                Err(error) => return self.on_failure(&error),
            }
        }
        Ok(())
    }

    fn on_ack(&mut self, ack: &Ack) {
        self.servers.on_success();
        if let Some(trouble) = self.trouble.take() {
            if trouble.is_told {
                self.onlooker.on_back(self.servers.named());
            }
            let away = Duration::from_nanos(Now::read().mono).saturating_sub(trouble.since);
            let window = ack.retry_window_ms.map(Duration::from_millis);
            if let Some(window) = window.filter(|window| away > *window) {
                self.onlooker.on_unsure(away, window, ack);
            }
        }
        self.onlooker.on_ack(ack);
    }

    /// The first was not taken, so the others will not be.
    fn on_failure(&mut self, error: &DialError) -> Result<(), Failure> {
        self.posts = JoinSet::new();
        self.idle.clear();
        // What 500 says of a topic stays so until somebody has looked after its files.
        let verdict = match error.status() {
            Some(500) => Verdict::Stop,
            _ => error.verdict(),
        };
        let to = &self.to[self.servers.current()];
        let failed = match verdict {
            Verdict::Retry(told) => Failed::ForNow(told),
            Verdict::Stop => {
                let failure = error.failure(&to.target, Purpose::Publish);
                // What we show is the same for all servers.
                if matches!(error, DialError::Token(_)) {
                    return Err(failure);
                }
                Failed::ForGood(failure)
            }
        };
        let now = Duration::from_nanos(Now::read().mono);
        let passed = self.servers.news();
        let chance = &mut || self.entropy.fraction();
        let Next { wait, begins_round } = self.servers.after_failure(failed, now, chance)?;
        if let Some(passed) = passed {
            self.onlooker.on_passed_over(&passed, error);
        }
        let (since, was_told) = match &self.trouble {
            Some(trouble) => (trouble.since, trouble.is_told),
            None => (now, false),
        };
        self.trouble = Some(Trouble {
            since,
            is_told: was_told || begins_round,
            again: Some(Instant::now() + wait),
        });
        if begins_round {
            let why = error.to_string();
            let retry = Retry {
                attempt: self.servers.attempt(),
                server: self.servers.named(),
                wait,
                since,
                why: &why,
            };
            self.onlooker.on_retry(error, &retry);
        }
        Ok(())
    }

    fn try_again(&mut self) {
        if let Some(trouble) = &mut self.trouble {
            trouble.again = None;
        }
    }

    /// Nothing more is read; what was gathered is still posted.
    fn begin_stop(&mut self) {
        if self.end.is_none()
            && let Some(batch) = self.gatherer.give_early()
        {
            self.window.push(batch);
        }
    }

    /// Ends with messages left.
    async fn leave(&mut self) -> Finish {
        self.window.abandon();
        let (unknown, unsent) = self.window.unknown_and_unsent();
        let (left, rest) = self.gatherer.count_rest(COUNT_WAIT).await;
        Finish::Asked {
            unknown,
            unsent: unsent + left,
            rest,
        }
    }
}

/// Waits until then, or for ever.
async fn at(instant: Option<Instant>) {
    match instant {
        Some(instant) => sleep_until(instant).await,
        None => std::future::pending().await,
    }
}

/// How long answers are waited for after the first Ctrl-C.
const LAST_WAIT: Duration = Duration::from_secs(1);

/// And how long lines are counted that it left over: the end is to come within two seconds, all in all.
const COUNT_WAIT: Duration = Duration::from_millis(500);
