//! Copies one stream into its log: one ordered consumer, made anew at the right place whenever it ends, and a look at the stream once
//! a second.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::jetstream;
use async_nats::jetstream::consumer::DeliverPolicy;
use async_nats::jetstream::consumer::pull::OrderedConfig;
use async_nats::jetstream::stream::Info;
use futures_util::StreamExt as _;
use lapwing_wire::position::Offset;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

use super::archive::{offset_of, sequence_of, wall_of};
use super::copy::{Copy, begin_of};
use super::history::{History, Loss};
use super::message::{self, MessageId, PublishKey};
use super::stream::{Identity, MakeError};
use super::{TARGET, leader};
use crate::clock::Now;
use crate::log::batch::NewMessage;
use crate::log::retention::Retention;
use crate::log::{AppendError, Log};
use crate::source::payloads::Payloads;
use crate::terminal::form;

/// What copies a stream.
pub struct Follower {
    copy: Arc<Copy>,
    log: Arc<Log>,
    identity: Identity,
    history: History,
    tail: Retention,
    watch: Arc<Watch>,
    /// It was followed before, and that has ended.
    has_followed: bool,
    /// Something came of the consumer under way.
    has_begun: bool,
    /// The last message copied: its sequence, and the time that the stream gave it.
    last: Option<(u64, i128)>,
}

/// What the two tasks of a follower tell each other.
#[derive(Default)]
struct Watch {
    /// The stream is not what is being copied.
    changed: Notify,
    /// It is being copied.
    following: AtomicBool,
    /// Everything that was there at the start is here.
    filled: Notify,
    is_filled: AtomicBool,
    /// Nothing lies below this that has not been copied.
    settled: AtomicU64,
}

impl Watch {
    fn on_filled(&self) {
        self.is_filled.store(true, Ordering::Release);
        self.filled.notify_waiters();
    }
}

impl Follower {
    /// Copies `copy` into `log`, once it is started.
    #[must_use]
    pub fn new(copy: Arc<Copy>, log: Arc<Log>, identity: Identity, history: History, tail: Retention) -> Self {
        Self {
            copy,
            log,
            identity,
            history,
            tail,
            watch: Arc::default(),
            has_followed: false,
            has_begun: false,
            last: None,
        }
    }

    /// Where it copies to.
    #[must_use]
    pub fn log(&self) -> &Arc<Log> {
        &self.log
    }

    /// Waits until everything is copied that was there at the start.
    pub fn filled(&self) -> impl Future<Output = ()> + Send + use<> {
        let watch = self.watch.clone();
        async move {
            loop {
                let filled = watch.filled.notified();
                if watch.is_filled.load(Ordering::Acquire) {
                    return;
                }
                filled.await;
            }
        }
    }

    /// Starts its tasks; they go on until they are aborted.
    pub fn start(self) -> [JoinHandle<()>; 2] {
        let looking = look(
            self.copy.clone(),
            self.log.clone(),
            self.watch.clone(),
            self.identity.clone(),
        );
        [tokio::spawn(self.run()), tokio::spawn(looking)]
    }

    async fn run(mut self) {
        let mut failures = 0;
        loop {
            let began = Instant::now();
            let end = self.follow().await;
            self.watch.following.store(false, Ordering::Release);
            if let Err(why) = &end {
                tracing::warn!(target: TARGET, topic = self.log.topic().as_str(), why, "copying ended; it begins again");
            }
            failures = if began.elapsed() > SETTLED_AFTER {
                0
            } else {
                failures + 1
            };
            let pause = AGAIN * u32::min(failures, 10);
            tokio::time::sleep(pause + Duration::from_millis(crate::random::word() % 50)).await;
        }
    }

    /// Copies until something changes.
    async fn follow(&mut self) -> Result<(), String> {
        let asked = Now::read().mono;
        let made = self.copy.spec.look_or_make(&self.copy.link).await;
        let info = made.map_err(|(MakeError::Later(why) | MakeError::Refused(why))| why)?;
        self.agree(&info).await?;
        self.copy.known.update(&info.state, asked);
        if std::mem::replace(&mut self.has_followed, true) {
            // Where it does not come so, as a long one over a narrow line, the consumer may bring it.
            if let Err(why) = self.step(info.state.last_sequence).await {
                tracing::warn!(target: TARGET, topic = self.log.topic().as_str(), why, "the next message could not be had by itself");
            }
        }
        let (link, from) = (&self.copy.link, self.log.next());
        let stream = link
            .context
            .get_stream_no_info(&self.copy.spec.name)
            .await
            .map_err(text)?;
        let config = OrderedConfig {
            deliver_policy: DeliverPolicy::ByStartSequence {
                start_sequence: sequence_of(from),
            },
            ..OrderedConfig::default()
        };
        let consumer = stream.create_consumer(config).await.map_err(text)?;
        let waiting = consumer.cached_info().num_pending;
        if waiting == 0 {
            self.watch.settled.store(info.state.last_sequence, Ordering::Release);
            self.watch.on_filled();
        }
        self.has_begun = false;
        let watch = self.watch.clone();
        watch.following.store(true, Ordering::Release);
        let filled_at = info.state.last_sequence;
        let mut messages = consumer.messages().await.map_err(text)?.ready_chunks(CHUNK_MAX);
        let superseded = self.superseded();
        tokio::pin!(superseded);
        loop {
            tokio::select! {
                chunk = messages.next() => self.take(chunk.ok_or("the consumer has ended")?, filled_at)?,
                () = watch.changed.notified() => return Ok(()),
                () = &mut superseded => return Ok(()),
            }
        }
    }

    /// Takes the next message from the stream's leader, and those behind it where it is one that no consumer brings: such a message may be
    /// what the copying ended at.
    async fn step(&mut self, filled_at: u64) -> Result<(), String> {
        let mut steps = 1;
        while steps > 0 {
            let (copy, next) = (self.copy.clone(), self.log.next());
            let Some(stored) = leader::from(&copy.link, &copy.spec.name, sequence_of(next)).await? else {
                break;
            };
            steps = if stored.is_odd { STEPS } else { steps - 1 };
            let message = copy.odd.note(stored);
            let (mut run, now) = (Run::default(), Now::read());
            let arrival = Arrival {
                sequence: message.sequence,
                time: message.time.unix_timestamp_nanos(),
                payload: &message.payload,
                headers: Some(&message.headers),
            };
            self.push(&mut run, &arrival, filled_at, now);
            self.append(run, now);
        }
        Ok(())
    }

    /// Waits until what the servers have agreed about is no longer what is known here. While it cannot be asked, nothing is known to be another.
    fn superseded(&self) -> impl Future<Output = ()> + Send + use<> {
        let (copy, topic, history) = (self.copy.clone(), self.log.topic().clone(), self.history.clone());
        async move {
            loop {
                tokio::time::sleep(AGREED_INTERVAL).await;
                if history.stands(&copy.link, &topic).await == Ok(false) {
                    return;
                }
            }
        }
    }

    /// Appends what came to the log: as long as offsets follow each other, at once.
    fn take<E: std::fmt::Display>(
        &mut self,
        chunk: Vec<Result<jetstream::Message, E>>,
        filled_at: u64,
    ) -> Result<(), String> {
        let now = Now::read();
        let mut run = Run::default();
        let gathered = self.gather(chunk, filled_at, &mut run, now);
        // What came before an error came.
        self.append(run, now);
        gathered
    }

    /// Takes what came into runs, and appends each but the last.
    fn gather<E: std::fmt::Display>(
        &mut self,
        chunk: Vec<Result<jetstream::Message, E>>,
        filled_at: u64,
        run: &mut Run,
        now: Now,
    ) -> Result<(), String> {
        for message in chunk {
            let message = message.map_err(text)?;
            let info = message.info().map_err(text)?;
            let (sequence, time) = (info.stream_sequence, info.published.unix_timestamp_nanos());
            let offset = offset_of(sequence);
            if run.end().is_some_and(|end| end != offset) {
                self.append(std::mem::take(run), now);
            }
            // The library makes a consumer anew that has vanished, whatever became of the stream meanwhile: that is for us to find out.
            let is_another = info.consumer_sequence == 1 && std::mem::replace(&mut self.has_begun, true);
            if is_another || offset < self.log.next() {
                return Err("the consumer was made anew".to_owned());
            }
            self.has_begun = true;
            run.fills |= info.pending == 0;
            let arrival = Arrival {
                sequence,
                time,
                payload: &message.payload,
                headers: message.headers.as_ref(),
            };
            self.push(run, &arrival, filled_at, now);
        }
        Ok(())
    }

    /// Takes one message into a run that ends before it.
    fn push(&mut self, run: &mut Run, arrival: &Arrival<'_>, filled_at: u64, now: Now) {
        let offset = offset_of(arrival.sequence);
        message::take(arrival.payload, arrival.headers, &mut run.payloads);
        run.push(offset, moment(arrival.time, now, arrival.sequence <= filled_at));
        if let Some(id) = MessageId::of(arrival.headers)
            && let PublishKey::Publisher(key) = id.publish
            && id.at + 1 == id.of
        {
            let begin = offset.get().saturating_sub(u64::from(id.at));
            run.keys.push((key, Offset::new(begin)..offset.next()));
        }
        self.last = Some((arrival.sequence, arrival.time));
        run.fills |= arrival.sequence >= filled_at;
    }

    fn append(&self, run: Run, now: Now) {
        if let Some(begin) = run.begin {
            let mut messages = run.payloads.messages(0..run.payloads.len());
            for (message, at) in messages.iter_mut().zip(&run.moments) {
                message.at = Some(*at);
            }
            self.copy_in(begin, &messages, now);
            for (key, offsets) in run.keys {
                self.log.remember(key, offsets);
            }
        }
        if run.fills {
            self.watch.on_filled();
        }
    }

    /// Appends a run; one that holds a message over the limit goes in one by one, and that one is a hole.
    fn copy_in(&self, begin: Offset, messages: &[NewMessage<'_>], now: Now) {
        if self.log.copy(begin, messages, now).is_ok() {
            return;
        }
        let mut at = begin;
        for message in messages {
            match self.log.copy(at, std::slice::from_ref(message), now) {
                Ok(()) => {}
                Err(error @ AppendError::TooLarge { .. }) => {
                    self.copy.news.tell(format!("offset {at} is left out: {error}"));
                    self.log.leave_out(at, now);
                }
                // The server is stopping.
                Err(_) => return,
            }
            at = at.next();
        }
    }

    /// Finds out whether the stream is what has been copied so far, and agrees with the other servers about what it is.
    async fn agree(&mut self, info: &Info) -> Result<(), String> {
        let (copy, topic) = (self.copy.clone(), self.log.topic().clone());
        let identity = Identity::of(info);
        let history = History::of(&copy.link, &topic, &identity, Some(&self.history)).await?;
        if identity != self.identity {
            if let Err(error) = copy.spec.check(&copy.link, info).await {
                copy.tell_now_and_then(|| format!("{error}; {}", error.hint()));
                return Err(error.to_string());
            }
            self.begin_anew(history, identity, info, "the stream is another one".to_owned());
            return Ok(());
        }
        if history.lineage() != self.history.lineage() {
            let what = "the servers have agreed that the stream has lost messages".to_owned();
            self.begin_anew(history, identity, info, what);
            return Ok(());
        }
        self.history = history;
        let Some((loss, what)) = self.loss(info).await? else {
            return Ok(());
        };
        match self.history.lost(&copy.link, &topic, loss).await? {
            Some(history) => {
                self.begin_anew(history, identity, info, what);
                Ok(())
            }
            None => Err("another server has found the same".to_owned()),
        }
    }

    /// What the stream has lost of what was copied, if anything.
    async fn loss(&self, info: &Info) -> Result<Option<(Loss, String)>, String> {
        let (last, next) = (info.state.last_sequence, self.log.next().get());
        if last < next {
            let what = format!("the stream came back shorter: offsets {last} to {} are lost", next - 1);
            return Ok(Some((Loss::From(Offset::new(last)), what)));
        }
        let Some((sequence, time)) = self.last else {
            return Ok(None);
        };
        let (link, name) = (&self.copy.link, &self.copy.spec.name);
        // Of one that is not there it was let go, or removed.
        let stored = leader::at(link, name, sequence).await?;
        Ok(stored
            .filter(|stored| stored.message.time.unix_timestamp_nanos() != time)
            .map(|_| {
                let what = format!(
                    "offset {} of the stream is another message than it was",
                    offset_of(sequence)
                );
                (Loss::Unknown, what)
            }))
    }

    fn begin_anew(&mut self, history: History, identity: Identity, info: &Info, why: String) {
        self.copy
            .news
            .tell(format!("{why}; a new history begins, and clients are told"));
        self.log.begin_anew(history.lineage(), begin_of(&info.state, self.tail));
        self.copy.on_anew(identity.clone());
        self.last = None;
        self.history = history;
        self.identity = identity;
    }
}

/// A message of the stream as it came.
struct Arrival<'a> {
    sequence: u64,
    time: i128,
    payload: &'a [u8],
    headers: Option<&'a HeaderMap>,
}

/// Messages of consecutive offsets that have come and are not yet appended.
#[derive(Default)]
struct Run {
    begin: Option<Offset>,
    payloads: Payloads,
    moments: Vec<Now>,
    keys: Vec<(crate::log::retries::RetryKey, std::ops::Range<Offset>)>,
    /// With them everything is here that was there at the start.
    fills: bool,
}

impl Run {
    fn end(&self) -> Option<Offset> {
        Some(self.begin?.plus(self.moments.len() as u64))
    }

    fn push(&mut self, offset: Offset, at: Now) {
        self.begin.get_or_insert(offset);
        self.moments.push(at);
    }
}

/// When a message was appended: on the wall clock as the stream says; on ours when it came, or, of those that were there before, as long
/// ago as the wall clocks say.
fn moment(time: i128, now: Now, is_old: bool) -> Now {
    let wall = wall_of(time);
    let ago = if is_old {
        now.wall.nanos().saturating_sub(wall.nanos()).max(0)
    } else {
        0
    };
    let mono = now.mono.saturating_sub(u64::try_from(ago).unwrap_or(0));
    Now { wall, mono }
}

/// Looks at the stream once a second, and when somebody asks.
async fn look(copy: Arc<Copy>, log: Arc<Log>, watch: Arc<Watch>, mut identity: Identity) {
    let (mut failures, mut stuck, mut stale_since) = (0, None::<(Offset, Instant)>, None::<Instant>);
    loop {
        let was_asked = timeout(LOOK_INTERVAL, copy.asked.notified()).await.is_ok();
        let asked = Now::read().mono;
        let (next, generation) = (log.next(), log.generation());
        match copy.spec.look(&copy.link).await {
            Ok(Some(info)) => {
                failures = 0;
                let found = Identity::of(&info);
                let is_shorter = info.state.last_sequence < next.get() && log.generation() == generation;
                if std::mem::replace(&mut identity, found) != identity || is_shorter {
                    watch.changed.notify_one();
                } else {
                    copy.known.update(&info.state, asked);
                }
                let behind = info.state.last_sequence > log.next().get().max(watch.settled.load(Ordering::Acquire));
                stuck = match stuck {
                    _ if !behind || !watch.following.load(Ordering::Acquire) => None,
                    Some((at, since)) if at == log.next() => Some((at, since)),
                    _ => Some((log.next(), Instant::now())),
                };
                if stuck.is_some_and(|(_, since)| since.elapsed() > STUCK_MAX) {
                    stuck = None;
                    watch.changed.notify_one();
                }
            }
            Ok(None) => watch.changed.notify_one(),
            Err(_) => failures += 1,
        }
        let stale = !copy.link.is_up() || failures > 1 || !watch.following.load(Ordering::Acquire);
        if copy.known.set_stale(stale) {
            let news = match (stale, stale_since.take()) {
                (true, _) => {
                    stale_since = Some(Instant::now());
                    "the broker cannot be reached: clients get what is here, and are told that it may not be all"
                        .to_owned()
                }
                (false, Some(since)) => {
                    format!("the broker is there again after {}", form::short_span(since.elapsed()))
                }
                (false, None) => "the broker is there again".to_owned(),
            };
            // The first look may come before the copying has begun.
            if watch.is_filled.load(Ordering::Acquire) {
                copy.news.tell(news);
            }
        }
        if was_asked {
            log.on_origin_answered();
        }
    }
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

/// Appended at once at most: some hundred microseconds of work.
const CHUNK_MAX: usize = 1024;
/// Behind one message that no consumer brings there may be more.
const STEPS: u32 = 64;
/// So soon a server learns what others have agreed about a stream that is here as it was.
const AGREED_INTERVAL: Duration = Duration::from_secs(10);
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// Something is to come and does not: the consumer may be gone.
const STUCK_MAX: Duration = Duration::from_secs(2);
const AGAIN: Duration = Duration::from_millis(100);
const SETTLED_AFTER: Duration = Duration::from_secs(10);
