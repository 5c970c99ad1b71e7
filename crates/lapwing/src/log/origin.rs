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

    /// What lies at `cursor`. Blocks while it is brought, and for a while where the origin is away.
    fn page(&self, cursor: Offset) -> io::Result<Page>;

    /// Appends these messages as publishers send them: all or none, and none that is there already under this name.
    fn publish(&self, named: Option<Named>, messages: Vec<Outbound>) -> Pending<Result<Taken, AppendError>>;

    /// Waits until this server alone may fill the topic.
    fn turn(&self) -> Pending<Box<dyn Turn>>;

    /// A way in for what this server alone has, beside all others: like a turn, which is never over.
    fn outlet(&self) -> Box<dyn Turn>;
}

/// The time in which one server alone fills a topic; it ends when this is let go.
pub trait Turn: Send + Sync {
    /// Appends these messages behind all that were appended in this turn and before it.
    fn append(&self, messages: Vec<Outbound>) -> Pending<Result<(), AppendError>>;

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
        // Held to the end: a grant is of one history or of the other.
        let mut current = self.lineage.write().unwrap_or_else(PoisonError::into_inner);
        *current = lineage;
        appender.writer.abandon();
        appender.retries.forget_from(Offset::ZERO);
        appender.taken = next;
        // Meanwhile there is nothing to be read: no reader shall take the new end for one of the old list.
        self.next.store(0, Ordering::Release);
        self.memory.forget_all(next);
        self.next.store(next.get(), Ordering::Release);
        drop(current);
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

    /// The message of the origin at this offset is not copied: a hole, also while nothing stands behind it.
    pub fn leave_out(&self, offset: Offset, now: Now) {
        let mut appender = self.lock();
        if offset < appender.taken {
            return;
        }
        appender.taken = offset.next();
        self.become_visible(&mut appender, offset.next(), now);
        drop(appender);
        self.ring();
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

#[cfg(all(test, not(feature = "loom")))]
mod tests {
    use std::sync::atomic::AtomicU64;

    use lapwing_wire::control::{Answer, GapReason};
    use lapwing_wire::position::Epoch;
    use lapwing_wire::topic::TopicName;

    use super::*;
    use crate::log::reader::{self, Next, Reader, View};
    use crate::log::retention::Retention;

    /// A stream that says what the test wants.
    #[derive(Default)]
    struct Far {
        end: AtomicU64,
        asked: AtomicU64,
    }

    impl Far {
        fn answer(&self, end: u64, asked: u64) {
            self.end.store(end, Ordering::Release);
            self.asked.store(asked, Ordering::Release);
        }
    }

    struct FarOrigin(Arc<Far>);

    impl Origin for FarOrigin {
        fn first(&self) -> Offset {
            Offset::ZERO
        }
        fn bytes(&self) -> u64 {
            0
        }
        fn bytes_max(&self) -> u64 {
            1 << 20
        }
        fn end_since(&self, asked: u64) -> Option<Offset> {
            (self.0.asked.load(Ordering::Acquire) >= asked).then(|| self.end())
        }
        fn end(&self) -> Offset {
            Offset::new(self.0.end.load(Ordering::Acquire))
        }
        fn is_stale(&self) -> bool {
            false
        }
        fn since(&self, _: Duration) -> Option<Offset> {
            None
        }
        fn retry_window(&self) -> Duration {
            Duration::ZERO
        }
        fn page(&self, cursor: Offset) -> io::Result<Page> {
            Ok(Page::Missing {
                offsets: cursor..cursor.next(),
                reason: GapReason::Purge,
            })
        }
        fn publish(&self, _: Option<Named>, _: Vec<Outbound>) -> Pending<Result<Taken, AppendError>> {
            Box::pin(std::future::pending())
        }
        fn turn(&self) -> Pending<Box<dyn Turn>> {
            Box::pin(std::future::pending())
        }
        fn outlet(&self) -> Box<dyn Turn> {
            unreachable!("no source fills it")
        }
    }

    const HERE: Epoch = Epoch::from_bits(1);

    fn copy(messages: u64) -> (Arc<Far>, Arc<Log>) {
        let far = Arc::<Far>::default();
        let topic = TopicName::parse("t").expect("valid");
        let origin = Arc::new(FarOrigin(far.clone()));
        let log = Log::copy_of(topic, origin, Lineage::new(HERE), Offset::ZERO, Retention::TAIL);
        put(&log, 0..messages);
        far.answer(messages, 0);
        (far, Arc::new(log))
    }

    fn put(log: &Log, offsets: Range<u64>) {
        for offset in offsets {
            let payload = offset.to_string();
            let message = NewMessage::new(Kind::Json, payload.as_bytes());
            log.copy(Offset::new(offset), &[message], Now::read()).expect("open");
        }
    }

    fn position(offset: u64) -> Start {
        Start::Position(Position {
            epoch: HERE,
            offset: Offset::new(offset),
        })
    }

    #[test]
    fn what_lies_ahead_of_a_copy_is_known_when_its_origin_has_been_asked_since() {
        let (far, log) = copy(5);
        for start in [
            Start::Latest,
            Start::Earliest,
            position(5),
            Start::Offset(Offset::new(3)),
        ] {
            assert!(log.is_settled(start, 7), "{start}");
        }
        for start in [position(6), Start::Offset(Offset::new(6))] {
            assert!(!log.is_settled(start, 7), "{start}: nobody knows yet");
        }
        far.answer(5, 6);
        assert!(!log.is_settled(position(6), 7), "that was asked before it came");
        far.answer(5, 7);
        assert!(log.is_settled(position(6), 7));
        assert_eq!(log.grant(position(6), Now::read()).answer, Answer::Reset);
        far.answer(9, 7);
        assert!(
            log.is_settled(position(8), 8),
            "the stream has it, whenever that was asked"
        );
        let grant = log.grant(position(8), Now::read());
        assert_eq!((grant.answer, grant.from), (Answer::Ok, Offset::new(8)));
        let grant = log.grant(Start::Offset(Offset::new(8)), Now::read());
        assert_eq!((grant.answer, grant.from), (Answer::Ok, Offset::new(8)));
    }

    #[test]
    fn who_is_ahead_of_a_copy_waits_for_it() {
        let (far, log) = copy(5);
        far.answer(9, 0);
        let mut reader = Reader::new(log.clone(), View::Canonical);
        let cursor = log.grant(position(7), Now::read()).from;
        assert!(matches!(reader.read(cursor, 1024), Next::CaughtUp));
        put(&log, 5..9);
        reader.refresh();
        let Next::Frames(run) = reader.read(cursor, 1024) else {
            panic!("the copy has come so far")
        };
        let offsets: Vec<_> = run.entries().iter().map(|entry| entry.offset.get()).collect();
        assert_eq!(offsets, [7, 8]);
    }

    #[test]
    fn what_is_left_out_is_missed_though_nothing_stands_behind_it() {
        let (_, log) = copy(5);
        let mut reader = Reader::new(log.clone(), View::Canonical);
        log.leave_out(Offset::new(5), Now::read());
        log.leave_out(Offset::new(3), Now::read());
        reader.refresh();
        let missed = Offset::new(5)..Offset::new(6);
        assert!(matches!(reader.read(Offset::new(5), 1024), Next::Missed(range) if range == missed));
        assert!(matches!(reader.read(Offset::new(3), 1024), Next::Frames(_)));
        put(&log, 6..7);
        reader.refresh();
        assert!(matches!(reader.read(Offset::new(5), 1024), Next::Missed(range) if range == missed));
        assert!(matches!(reader.read(Offset::new(6), 1024), Next::Frames(_)));
    }

    #[test]
    fn nothing_of_one_history_is_read_in_another() {
        let (_, log) = copy(5);
        let mut reader = Reader::new(log.clone(), View::Canonical);
        let before = log.grant(position(2), Now::read());
        // It is on its way when the history ends.
        let page = reader::fetch(&log, Offset::new(2)).expect("it answers");
        let mut lineage = Lineage::new(HERE);
        lineage.branch(Epoch::from_bits(2), Offset::new(3));
        log.begin_anew(lineage, Offset::new(1));
        assert_ne!(before.generation, log.generation());
        assert_eq!((log.first(), log.next()), (Offset::ZERO, Offset::new(1)));
        put(&log, 1..4);
        assert_eq!(reader.generation(), before.generation, "it has not looked yet");
        reader.refresh();
        assert_eq!(reader.generation(), log.generation());
        reader.put(page);
        // The page would say that it is gone.
        assert!(matches!(reader.read(Offset::new(2), 1024), Next::Frames(_)));
        let after = log.grant(position(5), Now::read());
        assert_eq!(
            (after.answer, after.diverged_at),
            (Answer::Diverged, Some(Offset::new(3)))
        );
        assert_eq!(log.grant(position(2), Now::read()).answer, Answer::Ok);
    }
}
