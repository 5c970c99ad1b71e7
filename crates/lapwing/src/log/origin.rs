//! The stream that a log is a copy of: what it keeps beyond the log's memory, and the way in for what is appended.

use std::future::Future;
use std::io;
use std::ops::Range;
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use lapwing_wire::control::Level;
use lapwing_wire::envelope::Kind;
use lapwing_wire::position::{Offset, Position};
use lapwing_wire::start::Start;

use super::batch::NewMessage;
use super::lineage::Lineage;
use super::retries::{Named, RetryKey};
use super::store::{Page, Store};
use super::{AppendError, Log};
use crate::clock::Now;

/// A stream kept elsewhere, which gives offsets to what is appended. Several servers copy it.
pub trait Origin: Send + Sync {
    /// The lowest offset that it keeps, as far as is known here.
    fn first(&self) -> Offset;

    /// Bytes that it keeps, as far as is known here.
    fn bytes(&self) -> u64;

    /// Bytes that it keeps at most.
    fn bytes_max(&self) -> u64;

    /// Its end, by an answer to a question that was asked at `asked` or later, in nanoseconds of the monotonic clock; otherwise
    /// it is asked now, and the log rings when there is an answer.
    fn end_since(&self, asked: u64) -> Option<Offset>;

    /// Its end, by the newest answer.
    fn end(&self) -> Offset;

    /// Whether it cannot be reached, so that it may have more than anybody here knows.
    fn is_stale(&self) -> bool;

    /// The offset of the first message appended within the last `ago`, by an answer of the last few seconds; otherwise it is asked now,
    /// and the log rings when there is an answer.
    fn since(&self, ago: Duration) -> Option<Offset>;

    /// How long a publish is recognised when it comes again.
    fn retry_window(&self) -> Duration;

    /// What lies at `cursor`. Blocks while it is brought.
    fn page(&self, cursor: Offset) -> io::Result<Page>;

    /// Appends these messages as publishers send them: all or none, and none that is there already under this name.
    fn publish(&self, named: Option<Named>, messages: Vec<Outbound>) -> Pending<Result<Taken, AppendError>>;

    /// Waits until this server alone may fill the topic.
    fn turn(&self) -> Pending<Box<dyn Turn>>;
}

/// The time in which one server alone fills a topic; it ends when this is let go.
pub trait Turn: Send + Sync {
    /// Appends these messages behind all that were appended in this turn and before it.
    fn append(&self, messages: Vec<Outbound>) -> Pending<Result<Range<Offset>, AppendError>>;

    /// Waits until the turn is over: another may have it.
    fn over(&self) -> Pending<()>;

    /// Where the turn began: so many messages were there before it.
    fn begin(&self) -> Offset;
}

/// Something that is awaited.
pub type Pending<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// A message on its way out of this server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outbound {
    /// What the payload is.
    pub kind: Kind,
    /// One compact JSON value, UTF-8 text, or bytes.
    pub payload: bytes::Bytes,
}

impl From<&NewMessage<'_>> for Outbound {
    fn from(message: &NewMessage<'_>) -> Self {
        Self {
            kind: message.kind,
            payload: bytes::Bytes::copy_from_slice(message.payload),
        }
    }
}

/// Messages that the origin has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taken {
    /// The offsets that it gave them.
    pub offsets: Range<Offset>,
    /// It had them already: this publish was taken before.
    pub repeated: bool,
}

impl Log {
    /// Whether it can be told now what a reader that asks for `start` gets. Of a copy that may be behind it is known when its origin
    /// has answered a question that was asked at `asked` or later; the log rings then.
    #[must_use]
    pub fn is_settled(&self, start: Start, asked: u64) -> bool {
        let Some(origin) = self.origin() else { return true };
        let (epoch, offset) = match start {
            Start::Position(Position { epoch, offset }) => (Some(epoch), offset),
            Start::Offset(offset) => (None, offset),
            Start::Ago(ago) => return self.is_remembered(Now::read(), ago) || origin.since(ago).is_some(),
            Start::Latest | Start::Earliest | Start::Last(_) => return true,
        };
        if epoch.is_some_and(|epoch| epoch != self.epoch()) {
            return true;
        }
        offset <= self.next().max(origin.end()) || origin.end_since(asked).is_some()
    }

    /// The end up to which a position may lie: that of the origin, where a copy is behind it.
    pub(super) fn reach(&self) -> Offset {
        self.origin()
            .map_or(self.next(), |origin| origin.end().max(self.next()))
    }

    /// Remembers that these offsets were published under this name.
    pub fn remember(&self, key: RetryKey, offsets: Range<Offset>) {
        self.lock().retries.add(key, offsets);
    }

    /// The offsets that were published under this name, if that is known.
    #[must_use]
    pub fn recall(&self, key: &RetryKey) -> Option<Range<Offset>> {
        self.lock().retries.find(key)
    }

    /// Begins anew: nothing of what this copy has is a part of its origin any more, which goes on at `next`. Whoever reads it must be
    /// let go; the generation tells.
    pub fn begin_anew(&self, lineage: Lineage, next: Offset) {
        let mut appender = self.lock();
        *self.lineage.write().unwrap_or_else(PoisonError::into_inner) = lineage;
        appender.writer.abandon();
        appender.retries.forget_from(Offset::ZERO);
        appender.taken = next;
        self.memory.forget_all(next);
        self.next.store(next.get(), Ordering::Release);
        drop(appender);
        self.ring();
    }

    /// How often the log has begun anew. What was granted in another generation means nothing in this one.
    #[must_use]
    pub fn generation(&self) -> u16 {
        self.memory.generation()
    }

    /// Something is known of the origin that readers may wait for.
    pub fn on_origin_answered(&self) {
        self.ring();
    }

    /// Messages of the origin, copied: of consecutive offsets from `offset` on, each with its own time.
    pub fn copy(&self, offset: Offset, messages: &[NewMessage<'_>], now: Now) -> Result<(), AppendError> {
        self.append_at(offset, messages, now).map(drop)
    }
}

/// What stands behind a log's memory.
pub(super) enum Backing {
    /// Nothing: what memory lets go is gone.
    Nothing,
    /// The files of a durable topic.
    Files(Arc<Store>),
    /// The stream that the log is a copy of.
    Stream(Arc<dyn Origin>),
}

impl Backing {
    /// What an acknowledgement means.
    pub(super) fn level(&self) -> Level {
        match self {
            Self::Nothing => Level::None,
            Self::Files(store) => store.level().into(),
            Self::Stream(_) => Level::External,
        }
    }
}
