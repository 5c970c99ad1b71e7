//! A topic's log: append-only, ordered by dense offsets, kept within bounds, read through cursors.
//!
//! A cursor is an offset and nothing else: the log does not know its readers, and a slow one is simply further behind.

pub mod bell;
pub mod hold;
pub mod lag;
pub mod reader;
pub mod retention;
pub mod retries;
pub mod segment;
pub mod stored;

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use lapwing_wire::control::{Answer, Level};
use lapwing_wire::envelope::{EnvelopeWriter, Kind};
use lapwing_wire::frame::{self, Opcode};
use lapwing_wire::position::{Epoch, Offset, Position};
use lapwing_wire::start::Start;
use lapwing_wire::topic::TopicName;
use thiserror::Error;

use crate::clock::Now;
use bell::Ring;
use hold::Hold;
use lag::OnLag;
use retention::Retention;
use retries::{Retries, RetryKey};
use segment::{Entry, Segment, SegmentWriter};
use stored::{Stored, push_payload};

/// One topic's messages.
pub struct Log {
    topic: TopicName,
    epoch: Epoch,
    retention: Retention,
    on_lag: OnLag,
    hold: Hold,
    /// Everything that only an appender needs; readers never take this lock.
    appender: Mutex<Appender>,
    /// The segments, oldest first; the last may still grow. Readers keep their own list and look here when `version` moved.
    segments: RwLock<VecDeque<Arc<Stored>>>,
    version: AtomicU64,
    first: AtomicU64,
    let_go: AtomicU64,
    /// The visible end: everything below may be delivered.
    next: AtomicU64,
    ended: AtomicBool,
    bells: RwLock<Vec<Arc<dyn Ring>>>,
    payload_readers: AtomicUsize,
    /// Connections that follow this topic now.
    followers: AtomicUsize,
    joined: tokio::sync::Notify,
}

struct Appender {
    envelope: EnvelopeWriter,
    active: Option<Active>,
    frame: Vec<u8>,
    retries: Retries,
}

struct Active {
    stored: Arc<Stored>,
    canonical: SegmentWriter,
    payload: Option<SegmentWriter>,
    began: u64,
}

/// A message on its way into a log.
#[derive(Clone, Copy, Debug)]
pub struct NewMessage<'a> {
    /// What the payload is.
    pub kind: Kind,
    /// One compact JSON value, UTF-8 text, or bytes.
    pub payload: &'a [u8],
    /// Which publisher, 0 for the topic's own source.
    pub source: u32,
    /// The publisher's number for it.
    pub sequence: u64,
}

impl<'a> NewMessage<'a> {
    /// A message of the topic's own source.
    #[must_use]
    pub fn new(kind: Kind, payload: &'a [u8]) -> Self {
        Self {
            kind,
            payload,
            source: 0,
            sequence: 0,
        }
    }
}

/// Where a reader begins, and how that relates to what it asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grant {
    /// Delivery begins here.
    pub from: Offset,
    /// As asked, or not.
    pub answer: Answer,
    /// With [`Answer::Gap`]: the first offset asked for that is gone.
    pub missing_from: Option<Offset>,
    /// The lowest offset retained.
    pub first: Offset,
    /// The offset of the next message.
    pub next: Offset,
}

impl Log {
    /// An empty log; `epoch` must be random, it names this history.
    #[must_use]
    pub fn new(topic: TopicName, epoch: Epoch, retention: Retention) -> Self {
        let envelope = EnvelopeWriter::new(&topic);
        Self {
            topic,
            epoch,
            retention,
            on_lag: OnLag::default(),
            hold: Hold::default(),
            appender: Mutex::new(Appender {
                envelope,
                active: None,
                frame: Vec::new(),
                retries: Retries::default(),
            }),
            segments: RwLock::default(),
            version: AtomicU64::new(0),
            first: AtomicU64::new(0),
            let_go: AtomicU64::new(0),
            next: AtomicU64::new(0),
            ended: AtomicBool::new(false),
            bells: RwLock::default(),
            payload_readers: AtomicUsize::new(0),
            followers: AtomicUsize::new(0),
            joined: tokio::sync::Notify::new(),
        }
    }

    /// The same log with this policy for clients that fall behind.
    #[must_use]
    pub fn with_lag(self, on_lag: OnLag) -> Self {
        Self { on_lag, ..self }
    }

    /// The topic.
    #[must_use]
    pub fn topic(&self) -> &TopicName {
        &self.topic
    }

    /// The name of this history.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// What is kept.
    #[must_use]
    pub fn retention(&self) -> Retention {
        self.retention
    }

    /// What becomes of clients that fall behind.
    #[must_use]
    pub fn on_lag(&self) -> OnLag {
        self.on_lag
    }

    /// Whether it holds back its source rather than let go what a reader has still to read.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.on_lag == OnLag::Wait
    }

    /// What an acknowledgement means.
    #[must_use]
    pub fn level(&self) -> Level {
        Level::None
    }

    /// The lowest offset retained.
    #[must_use]
    pub fn first(&self) -> Offset {
        Offset::new(self.first.load(Ordering::Acquire))
    }

    /// Everything below was let go; what is missing at or above it never was. Not above [`Log::first`], which may lie behind
    /// a hole.
    #[must_use]
    pub fn let_go(&self) -> Offset {
        Offset::new(self.let_go.load(Ordering::Acquire))
    }

    /// The visible end: the offset of the next message.
    #[must_use]
    pub fn next(&self) -> Offset {
        Offset::new(self.next.load(Ordering::Acquire))
    }

    /// Whether nothing more will come.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    /// Appends messages at the end, visible all at once, and wakes those who follow; gives their offsets.
    pub fn append(&self, messages: &[NewMessage<'_>], now: Now) -> Result<Range<Offset>, AppendError> {
        self.append_at(self.next(), messages, now)
    }

    /// Appends messages from `offset` on, which may lie beyond the end: the offsets between are a hole, read as missed.
    pub fn append_at(
        &self,
        offset: Offset,
        messages: &[NewMessage<'_>],
        now: Now,
    ) -> Result<Range<Offset>, AppendError> {
        let mut appender = self.lock();
        self.open(&mut appender, messages)?;
        Ok(self.append_locked(appender, offset, messages, now, Fit::Whole))
    }

    /// Appends as many of these messages as there is room for, in their order: all, unless the topic holds back its source.
    pub fn append_fitting(&self, messages: &[NewMessage<'_>], now: Now) -> Result<Range<Offset>, AppendError> {
        let appender = self.lock();
        check(self.has_ended(), messages)?;
        Ok(self.append_locked(appender, self.next(), messages, now, Fit::Part))
    }

    /// Appends what was not appended before under this key; gives the offsets it has, and whether it had them already.
    pub fn append_once(
        &self,
        key: RetryKey,
        messages: &[NewMessage<'_>],
        now: Now,
    ) -> Result<(Range<Offset>, bool), AppendError> {
        let mut appender = self.lock();
        if let Some(offsets) = appender.retries.find(&key) {
            return Ok((offsets, true));
        }
        self.open(&mut appender, messages)?;
        // Remembered under the same lock: a second try that comes at the same time waits for the first.
        let begin = self.next();
        appender.retries.add(key, begin..begin.plus(messages.len() as u64));
        Ok((self.append_locked(appender, begin, messages, now, Fit::Whole), false))
    }

    /// Whether these messages may be appended now, all of them.
    fn open(&self, appender: &mut Appender, messages: &[NewMessage<'_>]) -> Result<(), AppendError> {
        check(self.has_ended(), messages)?;
        match self.make_room(appender, self.next()) {
            true => Ok(()),
            false => Err(AppendError::Full),
        }
    }

    fn append_locked(
        &self,
        mut appender: MutexGuard<'_, Appender>,
        offset: Offset,
        messages: &[NewMessage<'_>],
        now: Now,
        fit: Fit,
    ) -> Range<Offset> {
        // Another publisher may have come between the caller's look at the end and the lock.
        let begin = offset.max(self.next());
        let mut next = begin;
        for message in messages {
            if !self.push(&mut appender, next, message, now, fit) {
                break;
            }
            next = next.next();
        }
        if let Some(active) = &appender.active {
            active.publish();
        }
        self.next.store(next.get(), Ordering::Release);
        self.retire(now);
        appender.retries.forget_below(self.first());
        drop(appender);
        // Ring after unlocking: a reader that wakes may want a view, which takes this lock.
        self.ring();
        begin..next
    }

    /// Seals and lets go what is older than the topic keeps; called now and then, so that a quiet topic forgets too.
    pub fn tick(&self, now: Now) {
        let mut appender = self.lock();
        let old = appender.active.as_ref().is_some_and(|active| self.is_old(active, now));
        if old {
            appender.active = None;
        }
        let gone = self.retire(now);
        drop(appender);
        if gone {
            // Readers hold on to what they know of until they look again.
            self.ring();
        }
    }

    /// Ends the log: nothing more is appended, and readers learn it when they have read everything.
    pub fn end(&self) {
        // Under the lock, so that no append is half way past its check.
        let appender = self.lock();
        self.ended.store(true, Ordering::Release);
        drop(appender);
        self.ring();
    }

    /// Where a reader that asks for `start` begins. A position ahead of the log, or of another history, is a reset.
    #[must_use]
    pub fn grant(&self, start: Start, now: Now) -> Grant {
        let (first, next) = (self.first(), self.next());
        let at = |from: Offset| Grant {
            from,
            answer: Answer::Ok,
            missing_from: None,
            first,
            next,
        };
        match start {
            Start::Latest => at(next),
            Start::Earliest => at(first),
            Start::Last(count) => at(Offset::new(next.get().saturating_sub(count)).max(first)),
            Start::Ago(ago) => at(self.since(now, ago)),
            Start::Position(Position { epoch, .. }) if epoch != self.epoch => Grant {
                answer: Answer::Reset,
                ..at(first)
            },
            Start::Offset(offset) | Start::Position(Position { offset, .. }) => {
                if offset > next {
                    Grant {
                        answer: Answer::Reset,
                        ..at(first)
                    }
                } else if offset < first {
                    Grant {
                        answer: Answer::Gap,
                        missing_from: Some(offset),
                        ..at(first)
                    }
                } else {
                    at(offset)
                }
            }
        }
    }

    /// The monotonic instants at which `offset` and `last` were appended, when both are still retained.
    #[must_use]
    pub fn instants(&self, offset: Offset, last: Offset) -> Option<(u64, u64)> {
        let segments = self.segments.read().unwrap_or_else(PoisonError::into_inner);
        let of = |offset: Offset| {
            let at = segments
                .partition_point(|stored| stored.canonical().base() <= offset)
                .checked_sub(1)?;
            let segment = segments[at].canonical();
            segment
                .entries()
                .get(segment.find(offset))
                .filter(|entry| entry.offset == offset)
                .map(|entry| entry.mono)
        };
        Some((of(offset)?, of(last)?))
    }

    /// Bytes retained: frames and index of all segments.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.segments
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .iter()
            .map(|stored| stored.bytes())
            .sum()
    }

    /// From now on this bell is rung at every append.
    pub fn attach(&self, bell: Arc<dyn Ring>) {
        self.bells.write().unwrap_or_else(PoisonError::into_inner).push(bell);
    }

    /// A connection follows this topic from now on.
    pub fn on_follow(&self) {
        self.followers.fetch_add(1, Ordering::Relaxed);
        self.joined.notify_waiters();
    }

    /// A connection follows it no longer.
    pub fn on_unfollow(&self) {
        self.followers.fetch_sub(1, Ordering::Relaxed);
    }

    /// Whether somebody follows this topic.
    #[must_use]
    pub fn is_followed(&self) -> bool {
        self.followers.load(Ordering::Relaxed) > 0
    }

    /// Waits until somebody follows this topic.
    pub async fn followed(&self) {
        loop {
            let joined = self.joined.notified();
            if self.is_followed() {
                return;
            }
            joined.await;
        }
    }

    fn ring(&self) {
        for bell in self.bells.read().unwrap_or_else(PoisonError::into_inner).iter() {
            bell.ring();
        }
    }

    /// The appender's lock. What another appender left half done when it panicked was never visible, and is let go.
    fn lock(&self) -> MutexGuard<'_, Appender> {
        self.appender.lock().unwrap_or_else(|poisoned| {
            self.appender.clear_poison();
            let mut appender = poisoned.into_inner();
            appender.active = None;
            appender.retries.forget_from(self.next());
            appender
        })
    }

    /// Writes a message behind the last; gives whether there was room.
    fn push(&self, appender: &mut Appender, offset: Offset, message: &NewMessage<'_>, now: Now, fit: Fit) -> bool {
        let Appender {
            envelope,
            active,
            frame,
            ..
        } = appender;
        let (value_begin, value_end) = write_canonical(envelope, offset, message, now, frame);
        let keep = active
            .as_ref()
            .is_some_and(|a| a.canonical.has_room(frame.len()) && !self.is_old(a, now));
        if !keep {
            if fit == Fit::Part && !self.let_go_of_read(offset) {
                return false;
            }
            *active = Some(self.roll(active.take(), offset, frame.len(), now));
        }
        let active = active.as_mut().expect("there is one, or it was made above");
        let entry = Entry {
            offset,
            end: 0,
            value_begin,
            value_end,
            kind: message.kind,
            source: message.source,
            sequence: message.sequence,
            wall: now.wall,
            mono: now.mono,
        };
        active.canonical.push(frame, entry);
        if let Some(payload) = &mut active.payload {
            push_payload(payload, frame, &entry);
        }
        true
    }

    /// Seals the active segment and begins one that has room for at least `frame_bytes`.
    fn roll(&self, sealed: Option<Active>, base: Offset, frame_bytes: usize, now: Now) -> Active {
        let used = sealed.map(|active| {
            active.publish();
            active.canonical.used()
        });
        let room = self.retention.next_room(used);
        let (canonical, segment) = Segment::create(base, room.bytes.max(frame_bytes), room.entries);
        let stored = Arc::new(Stored::new(segment));
        let wanted = self.payload_readers.load(Ordering::SeqCst) > 0;
        let payload = if wanted { stored.begin_payload() } else { None };
        self.change(|segments| segments.push_back(stored.clone()));
        Active {
            stored,
            canonical,
            payload,
            began: now.mono,
        }
    }

    /// Whether there is room for more, after letting go what was read: always, unless the topic holds back its source.
    fn has_room(&self) -> bool {
        self.make_room(&mut self.lock(), self.next())
    }

    fn make_room(&self, appender: &mut Appender, end: Offset) -> bool {
        if !self.holds() {
            return true;
        }
        let room = self.let_go_of_read(end);
        if self.first() == self.next() {
            // Nothing is left, so the active segment went too.
            appender.active = None;
        }
        room
    }

    /// In a topic that holds back its source: lets go of whole segments that everyone has read, as far as it takes to have
    /// room; says whether there is some. The newest segment ends at `end`.
    fn let_go_of_read(&self, end: Offset) -> bool {
        if !self.holds() {
            return true;
        }
        let mut places = self.hold.places();
        let floor = places.floor();
        let (mut gone, mut needed) = (0, None);
        {
            let segments = self.segments.read().unwrap_or_else(PoisonError::into_inner);
            let mut bytes: u64 = segments.iter().map(|stored| stored.bytes()).sum();
            for (at, stored) in segments.iter().enumerate() {
                if bytes < self.retention.bytes {
                    break;
                }
                let end = segments.get(at + 1).map_or(end, |next| next.canonical().base());
                if floor.is_none_or(|floor| floor < end) {
                    needed = Some(end);
                    break;
                }
                bytes -= stored.bytes();
                gone += 1;
            }
        }
        self.hold.on_looked(&mut places, needed);
        if gone > 0 {
            self.let_go_of(gone);
        }
        needed.is_none()
    }

    fn is_old(&self, active: &Active, now: Now) -> bool {
        // What is held for its readers does not age.
        !self.holds() && age(now, active.began) >= self.retention.segment_age()
    }

    /// Lets go of whole segments from the front while there is too much, or their last message is too old; says whether any went.
    fn retire(&self, now: Now) -> bool {
        if self.holds() {
            return false;
        }
        let mut gone = 0;
        {
            let segments = self.segments.read().unwrap_or_else(PoisonError::into_inner);
            let mut bytes: u64 = segments.iter().map(|stored| stored.bytes()).sum();
            for (at, stored) in segments.iter().enumerate() {
                let last = stored.canonical().entries().last();
                let old = last.is_none_or(|last| age(now, last.mono) >= self.retention.age);
                // The last one may still grow, and what it holds is within the bound of one segment.
                let newest = at + 1 == segments.len();
                if (bytes <= self.retention.bytes || newest) && !old {
                    break;
                }
                bytes -= stored.bytes();
                gone += 1;
            }
        }
        if gone > 0 {
            self.let_go_of(gone);
        }
        gone > 0
    }

    /// Lets go of so many segments from the front.
    fn let_go_of(&self, count: usize) {
        self.change(|segments| {
            segments.drain(..count);
            self.let_go.store(self.front(segments), Ordering::Release);
        });
    }

    /// The offset with which what is retained begins.
    fn front(&self, segments: &VecDeque<Arc<Stored>>) -> u64 {
        segments.front().map_or(self.next.load(Ordering::Relaxed), |stored| {
            stored.canonical().base().get()
        })
    }

    /// Changes the list of segments, and lets readers know.
    fn change(&self, change: impl FnOnce(&mut VecDeque<Arc<Stored>>)) {
        let mut segments = self.segments.write().unwrap_or_else(PoisonError::into_inner);
        change(&mut segments);
        self.first.store(self.front(&segments), Ordering::Release);
        self.version.fetch_add(1, Ordering::Release);
    }

    /// The first offset appended within the last `ago`.
    fn since(&self, now: Now, ago: Duration) -> Offset {
        let segments = self.segments.read().unwrap_or_else(PoisonError::into_inner);
        for stored in segments.iter() {
            let entries = stored.canonical().entries();
            let at = entries.partition_point(|entry| age(now, entry.mono) > ago);
            if let Some(entry) = entries.get(at) {
                return entry.offset;
            }
        }
        self.next()
    }

    /// Counts a reader of bare payloads, and makes sure that the segment being written has that view.
    fn on_payload_reader(&self) {
        let mut appender = self.lock();
        self.payload_readers.fetch_add(1, Ordering::SeqCst);
        if let Some(active) = &mut appender.active
            && active.payload.is_none()
        {
            active.payload = active.stored.begin_payload();
        }
    }

    fn on_payload_reader_gone(&self) {
        self.payload_readers.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Active {
    fn publish(&self) {
        if let Some(payload) = &self.payload {
            payload.publish();
        }
        self.canonical.publish();
    }
}

/// Makes the canonical frame of a message in `frame`; says where in it the value of `data` begins and ends.
fn write_canonical(
    envelope: &mut EnvelopeWriter,
    offset: Offset,
    message: &NewMessage<'_>,
    now: Now,
    frame: &mut Vec<u8>,
) -> (u32, u32) {
    frame.clear();
    // The header's length depends on the text's: leave room for the longest, then close up the front.
    frame.resize(frame::HEADER_BYTES_MAX, 0);
    let value = envelope.write(offset, now.wall, message.kind, message.payload, frame);
    let header = frame::server_header(Opcode::Text, frame.len() - frame::HEADER_BYTES_MAX);
    let header = header.as_bytes();
    let spare = frame::HEADER_BYTES_MAX - header.len();
    frame[spare..frame::HEADER_BYTES_MAX].copy_from_slice(header);
    frame.drain(..spare);
    let place = |at: usize| u32::try_from(at - spare).expect("a message is far smaller than 4 GiB");
    (place(value.start), place(value.end))
}

fn check(ended: bool, messages: &[NewMessage<'_>]) -> Result<(), AppendError> {
    if ended {
        return Err(AppendError::Ended);
    }
    match messages
        .iter()
        .map(|message| message.payload.len())
        .find(|&bytes| bytes > MESSAGE_BYTES_MAX)
    {
        Some(bytes) => Err(AppendError::TooLarge { bytes }),
        None => Ok(()),
    }
}

fn age(now: Now, mono: u64) -> Duration {
    Duration::from_nanos(now.mono.saturating_sub(mono))
}

/// The largest payload that a log takes, in bytes: sources may send so much, sockets and publishers less.
pub const MESSAGE_BYTES_MAX: usize = 16 << 20;

/// Whether messages are appended whole, or as many as there is room for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fit {
    Whole,
    Part,
}

/// Why nothing was appended.
#[derive(Debug, Error, Clone, Copy, PartialEq, Eq)]
pub enum AppendError {
    /// The log has ended.
    #[error("the topic has ended")]
    Ended,
    /// A message over the limit.
    #[error("a message of {bytes} bytes is over the limit of 16 MiB")]
    TooLarge {
        /// Its payload.
        bytes: usize,
    },
    /// The topic holds back its source, and is full.
    #[error("the topic is full, and waits for its slowest reader")]
    Full,
}

#[cfg(all(test, not(feature = "loom")))]
mod tests;
