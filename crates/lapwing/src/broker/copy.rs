//! One topic's stream as its log sees it: what is known of it, and the ways in and back.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::time::Duration;

use async_nats::jetstream::stream::{Info, State};
use lapwing_wire::control::Level;
use lapwing_wire::position::Offset;
use lapwing_wire::topic::TopicName;
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::archive::{self, Odd, offset_of};
use super::desk::{self, Fate};
use super::follower::Follower;
use super::history::History;
use super::link::Link;
use super::message::PublishKey;
use super::outlet::Outlet;
use super::past::{self, Pasts};
use super::stream::{Identity, MakeError, StreamSpec};
use super::turn::StreamTurn;
use super::{BrokerError, News};
use crate::clock::Now;
use crate::log::origin::{Origin, Outbound, Pending, Taken, Turn};
use crate::log::retention::Retention;
use crate::log::retries::Named;
use crate::log::store::Page;
use crate::log::{AppendError, Log};
use crate::source::spec::TopicSpec;

/// A stream and the log that copies it.
pub struct Copy {
    /// The connection.
    pub link: Arc<Link>,
    /// The stream.
    pub spec: StreamSpec,
    /// What is known of the stream.
    pub known: Known,
    /// Somebody asks for the stream's end.
    pub asked: Notify,
    /// Where messages of the last so many seconds begin, for those who asked lately.
    pub pasts: Pasts,
    /// How long the stream recognises what is published again.
    pub retry_window: Duration,
    /// Messages that no page may hold.
    pub odd: Odd,
    /// The stream that the log is a copy of. After the log: what is of this stream is never shown in the generation before.
    identity: Mutex<Identity>,
    /// Where news are told.
    pub news: Arc<News>,
    log: OnceLock<Weak<Log>>,
    /// When trouble that goes on was last told.
    told: Mutex<Option<Instant>>,
    runtime: Handle,
}

/// What is known of a stream, by its newest answer.
#[derive(Default)]
pub struct Known {
    first: AtomicU64,
    end: AtomicU64,
    bytes: AtomicU64,
    /// When the question was asked, in nanoseconds of the monotonic clock.
    asked: AtomicU64,
    /// Since when it cannot be reached, likewise; 0 while it can.
    stale_since: AtomicU64,
    bytes_max: u64,
    /// Answers come from two tasks.
    updating: Mutex<()>,
}

impl Known {
    /// The stream answered a question of that time. An answer to an older question than the newest that was answered says nothing new.
    pub fn update(&self, state: &State, asked: u64) {
        let _updating = self.updating.lock().unwrap_or_else(PoisonError::into_inner);
        if asked < self.asked.load(Ordering::Acquire) {
            return;
        }
        self.first
            .store(offset_of(state.first_sequence).get(), Ordering::Release);
        self.end.store(state.last_sequence, Ordering::Release);
        self.bytes.store(state.bytes, Ordering::Release);
        // Last: whoever sees it sees the answer.
        self.asked.store(asked, Ordering::Release);
    }

    /// Whether it cannot be reached; gives whether that is new.
    pub fn set_stale(&self, stale: bool) -> bool {
        let is_new = self.is_stale() != stale;
        if is_new {
            let since = if stale { Now::read().mono.max(1) } else { 0 };
            self.stale_since.store(since, Ordering::Release);
        }
        is_new
    }

    fn is_stale(&self) -> bool {
        self.stale_since.load(Ordering::Acquire) > 0
    }

    /// How long it cannot be reached.
    fn stale_for(&self) -> Duration {
        match self.stale_since.load(Ordering::Acquire) {
            0 => Duration::ZERO,
            since => Duration::from_nanos(Now::read().mono.saturating_sub(since)),
        }
    }

    fn end(&self) -> Offset {
        Offset::new(self.end.load(Ordering::Acquire))
    }
}

impl Copy {
    /// Opens a topic's stream, and gives the log that copies it and what will fill that.
    pub async fn open(link: Arc<Link>, topic: &TopicSpec) -> Result<(Arc<Log>, Follower), BrokerError> {
        let spec = StreamSpec::new(&link, topic);
        let info = found_or_made(&link, &spec).await?;
        spec.check(&link, &info).await?;
        let identity = Identity::of(&info);
        let history = agreed(&link, &topic.name, &identity).await?;
        let keep = topic.source.keep.retention(Level::External);
        let copy = Arc::new(Self {
            news: link.news_of(&topic.name),
            link,
            spec,
            known: Known {
                bytes_max: keep.bytes,
                ..Known::default()
            },
            asked: Notify::new(),
            pasts: Pasts::default(),
            odd: Odd::default(),
            identity: Mutex::new(identity.clone()),
            retry_window: info.config.duplicate_window,
            log: OnceLock::new(),
            told: Mutex::default(),
            runtime: Handle::current(),
        });
        copy.known.update(&info.state, 0);
        let tail = Retention {
            bytes: Retention::TAIL.bytes.min(keep.bytes),
            ..Retention::TAIL
        };
        let origin = Arc::new(CopyOrigin(copy.clone()));
        let next = begin_of(&info.state, tail);
        let log = Log::copy_of(topic.name.clone(), origin, history.lineage(), next, tail);
        let log = Arc::new(log.with_lag(topic.source.on_lag));
        // It is set once, here.
        let _ = copy.log.set(Arc::downgrade(&log));
        let follower = Follower::new(copy, log.clone(), identity, history, tail);
        Ok((log, follower))
    }

    /// The stream that the log is a copy of.
    pub fn identity(&self) -> Identity {
        self.identity.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The log has begun anew, as a copy of this stream.
    pub fn on_anew(&self, identity: Identity) {
        *self.identity.lock().unwrap_or_else(PoisonError::into_inner) = identity;
        self.odd.forget();
    }

    /// Tells what would be told again and again: at most so often.
    pub fn tell_now_and_then(&self, text: impl FnOnce() -> String) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.is_none_or(|told| told.elapsed() >= TOLD_INTERVAL) {
            *told = Some(Instant::now());
            self.news.tell(text());
        }
    }

    /// Those of these messages that the broker takes; it is told which it does not.
    pub fn without_large(&self, messages: Vec<Outbound>) -> Vec<Outbound> {
        let most = self.link.payload_bytes_max();
        let (fitting, large): (Vec<_>, Vec<_>) =
            messages.into_iter().partition(|message| message.payload.len() <= most);
        for message in large {
            let bytes = message.payload.len();
            self.news.tell(format!(
                "a message of {bytes} bytes is left out: the broker takes at most {most} (its max_payload, without our headers)"
            ));
        }
        fitting
    }

    /// The log that copies it, while there is one.
    pub fn log(&self) -> Option<Arc<Log>> {
        self.log.get()?.upgrade()
    }

    async fn publish(&self, named: Option<Named>, messages: &[Outbound]) -> Result<Taken, AppendError> {
        if let Some(named) = named
            && let Some(offsets) = self.recall(named).await?
        {
            return Ok(Taken {
                offsets,
                repeated: true,
            });
        }
        if !self.link.is_up() {
            return Err(AppendError::Unreachable {
                why: "the broker cannot be reached; nothing was appended".to_owned(),
            });
        }
        self.check(messages)?;
        let key = named.map(|named| PublishKey::Publisher(named.key));
        match desk::publish(&self.link, &self.spec.subject, key, None, messages).await {
            Fate::Taken(taken) => Ok(taken),
            Fate::Refused(why) => Err(why),
            Fate::There | Fate::Underway => self.found(named, messages.len()).await,
            Fate::Overtaken => Err(unknown("another publish came in between")),
            Fate::Unknown(why) => Err(unknown(&why)),
        }
    }

    fn page(&self, cursor: Offset) -> io::Result<Page> {
        if !self.link.is_up() {
            return Err(io::ErrorKind::NotConnected.into());
        }
        let end = self.log().map_or(cursor, |log| log.next());
        self.runtime.block_on(archive::page(self, cursor, end))
    }

    /// Whether JetStream takes these messages, all or none.
    fn check(&self, messages: &[Outbound]) -> Result<(), AppendError> {
        if messages.len() > desk::BATCH_MAX {
            return Err(AppendError::OverLimit {
                why: format!(
                    "{} messages in one body, and JetStream takes at most {} all or none; send fewer at once",
                    messages.len(),
                    desk::BATCH_MAX
                ),
            });
        }
        let most = self.link.payload_bytes_max();
        match messages
            .iter()
            .map(|message| message.payload.len())
            .find(|&bytes| bytes > most)
        {
            Some(bytes) => Err(AppendError::OverLimit {
                why: format!(
                    "a message of {bytes} bytes is over the {most} bytes that the broker takes (its max_payload, without our headers)"
                ),
            }),
            None => Ok(()),
        }
    }

    /// The offsets of a publish that was taken before, as far as that is known here; an error when the one that it must come after
    /// does not come.
    async fn recall(&self, named: Named) -> Result<Option<std::ops::Range<Offset>>, AppendError> {
        let Some(log) = self.log() else {
            return Err(AppendError::Stopped);
        };
        let began = Instant::now();
        loop {
            if let Some(offsets) = log.recall(&named.key) {
                return Ok(Some(offsets));
            }
            match named.after {
                Some(after) if log.recall(&after).is_none() => {}
                _ => return Ok(None),
            }
            if began.elapsed() >= EARLY_MAX {
                return Err(AppendError::Early);
            }
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
    }

    /// The stream has it under this name, or will soon. It need not be in memory here: another server may have taken it, long ago.
    async fn found(&self, named: Option<Named>, count: usize) -> Result<Taken, AppendError> {
        let began = Instant::now();
        while let Some(named) = named
            && began.elapsed() < EARLY_MAX
        {
            let key = PublishKey::Publisher(named.key);
            if let Some(offsets) = desk::find(&self.link, &self.spec.subject, key, count).await {
                return Ok(Taken {
                    offsets,
                    repeated: true,
                });
            }
            tokio::time::sleep(ASK_INTERVAL).await;
        }
        Err(unknown("these messages were published before, and are not found"))
    }
}

/// How the log sees it.
struct CopyOrigin(Arc<Copy>);

impl Origin for CopyOrigin {
    fn first(&self) -> Offset {
        Offset::new(self.0.known.first.load(Ordering::Acquire))
    }

    fn bytes(&self) -> u64 {
        self.0.known.bytes.load(Ordering::Acquire)
    }

    fn bytes_max(&self) -> u64 {
        self.0.known.bytes_max
    }

    fn end_since(&self, asked: u64) -> Option<Offset> {
        if self.0.known.asked.load(Ordering::Acquire) >= asked {
            return Some(self.0.known.end());
        }
        self.0.asked.notify_one();
        None
    }

    fn end(&self) -> Offset {
        self.0.known.end()
    }

    fn is_stale(&self) -> bool {
        self.0.known.is_stale()
    }

    fn since(&self, ago: Duration) -> Option<Offset> {
        if let Some(offset) = self.0.pasts.find(ago) {
            return Some(offset);
        }
        if self.0.pasts.begin(ago) {
            let copy = self.0.clone();
            self.0.runtime.spawn(async move { past::ask(&copy, ago).await });
        }
        None
    }

    fn retry_window(&self) -> Duration {
        self.0.retry_window
    }

    fn page(&self, cursor: Offset) -> io::Result<Page> {
        let (copy, began) = (&self.0, Instant::now());
        loop {
            let page = copy.page(cursor);
            let is_away = !copy.link.is_up() || copy.known.is_stale();
            // Since it is known to be away, however many have waited behind each other by then.
            if page.is_ok() || !is_away || began.elapsed().max(copy.known.stale_for()) >= AWAY_MAX {
                return page;
            }
            // Only threads that may wait ask for pages.
            std::thread::sleep(AGAIN);
        }
    }

    fn publish(&self, named: Option<Named>, messages: Vec<Outbound>) -> Pending<Result<Taken, AppendError>> {
        let copy = self.0.clone();
        Box::pin(async move { copy.publish(named, &messages).await })
    }

    fn turn(&self) -> Pending<Box<dyn Turn>> {
        let copy = self.0.clone();
        Box::pin(async move { Box::new(StreamTurn::take(copy).await) as Box<dyn Turn> })
    }

    fn outlet(&self) -> Box<dyn Turn> {
        Box::new(Outlet::new(self.0.clone()))
    }
}

/// The stream, made where there was none; a cluster that has just begun is waited for.
async fn found_or_made(link: &Link, spec: &StreamSpec) -> Result<Info, BrokerError> {
    let began = Instant::now();
    loop {
        let why = match spec.look_or_make(link).await {
            Ok(info) => return Ok(info),
            Err(MakeError::Refused(why)) => {
                return Err(BrokerError::Refused {
                    what: format!("stream {} cannot be made: {why}", spec.name),
                });
            }
            Err(MakeError::Later(why)) => why,
        };
        if began.elapsed() >= OPEN_MAX {
            return Err(BrokerError::Refused {
                what: format!("stream {} cannot be had: {why}", spec.name),
            });
        }
        tokio::time::sleep(AGAIN).await;
    }
}

/// The stream's history; a cluster that has just begun is waited for.
async fn agreed(link: &Link, topic: &TopicName, identity: &Identity) -> Result<History, BrokerError> {
    let began = Instant::now();
    loop {
        match History::of(link, topic, identity, None).await {
            Ok(history) => return Ok(history),
            Err(what) if began.elapsed() >= OPEN_MAX => return Err(BrokerError::Refused { what }),
            Err(_) => tokio::time::sleep(AGAIN).await,
        }
    }
}

/// Where a copy begins: so far back as its memory has room for, by the messages' mean length.
pub fn begin_of(state: &State, tail: Retention) -> Offset {
    let first = offset_of(state.first_sequence.max(1));
    let mean = state.bytes.checked_div(state.messages).unwrap_or(0) + OVERHEAD_BYTES;
    let room = (tail.bytes / mean).min(FILL_MESSAGES_MAX);
    Offset::new(state.last_sequence.saturating_sub(room)).max(first)
}

fn unknown(why: &str) -> AppendError {
    AppendError::Unreachable {
        why: format!(
            "the broker did not confirm it ({why}); whether the messages were taken is not known: send them again under the same name"
        ),
    }
}

/// Each message has an envelope and a row in the index here.
const OVERHEAD_BYTES: u64 = 150;
/// A start shall take no longer than a moment.
const FILL_MESSAGES_MAX: u64 = 100_000;
/// A publish that must come after another waits so long for it.
const EARLY_MAX: Duration = crate::config::Limits::EARLY_PUBLISH_MAX;
const LOOK_INTERVAL: Duration = Duration::from_millis(5);
/// The broker is asked this often about a publish that is on its way.
const ASK_INTERVAL: Duration = Duration::from_millis(50);
/// Who needs a page while the broker is away waits so long for it, as who joins does; then another server may have it.
const AWAY_MAX: Duration = crate::config::Limits::SETTLE_MAX;
/// Trouble that goes on is told this often.
const TOLD_INTERVAL: Duration = Duration::from_secs(10);
/// A cluster has elected its leaders by then.
const OPEN_MAX: Duration = Duration::from_secs(30);
const AGAIN: Duration = Duration::from_millis(300);
