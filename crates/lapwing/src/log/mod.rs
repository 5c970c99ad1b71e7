//! A topic's log: append-only, ordered by dense offsets, kept within bounds, read through cursors.
//!
//! A cursor is an offset and nothing else: the log does not know its readers, and a slow one is simply further behind.

pub mod batch;
pub mod bell;
pub mod committer;
pub mod cut;
pub mod hold;
pub mod lag;
pub mod lineage;
pub mod memory;
pub mod queue;
pub mod reader;
pub mod retention;
pub mod retries;
pub mod segment;
pub mod store;

use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use lapwing_wire::control::{Answer, Level};
use lapwing_wire::envelope::EnvelopeWriter;
use lapwing_wire::position::{Epoch, Offset, Position};
use lapwing_wire::start::Start;
use lapwing_wire::time::WallTime;
use lapwing_wire::topic::TopicName;
use thiserror::Error;

use crate::clock::Now;
#[cfg(feature = "planted")]
use crate::planted::{self, Bug};
use batch::{Batch, NewMessage};
use bell::Ring;
use hold::Hold;
use lag::OnLag;
use lineage::{Lineage, Resume};
use memory::{Memory, MemoryWriter};
use queue::{Queue, Receipt};
use retention::Retention;
use retries::{Retries, RetryKey};
use store::{Store, WriteError};

/// One topic's messages.
pub struct Log {
    topic: TopicName,
    lineage: Lineage,
    memory: Memory,
    /// The files of a durable topic.
    store: Option<Arc<Store>>,
    /// They were found damaged: what lies behind the damage is not shown, and nothing is appended before they are repaired.
    is_damaged: bool,
    on_lag: OnLag,
    hold: Hold,
    /// Everything that only an appender needs; readers never take this lock.
    appender: Mutex<Appender>,
    /// The committer of a durable topic waits here for batches.
    work: Condvar,
    /// The visible end: everything below may be delivered.
    next: AtomicU64,
    ended: AtomicBool,
    bells: RwLock<Vec<Arc<dyn Ring>>>,
    /// Connections that follow this topic now.
    followers: AtomicUsize,
    joined: tokio::sync::Notify,
}

struct Appender {
    envelope: EnvelopeWriter,
    /// Of a topic in memory; that of a durable one is the committer's.
    writer: MemoryWriter,
    /// Made here first, so that an append that fails half way leaves nothing behind.
    batch: Batch,
    retries: Retries,
    /// The end of what was taken; of a durable topic not all of it is written and visible.
    taken: Offset,
    queue: Queue,
    /// Why nothing more is taken.
    closed: Option<AppendError>,
    /// The committer shall end when everything is written.
    stopping: bool,
}

/// Messages that have their offsets.
#[derive(Debug)]
pub struct Appended {
    /// The offsets.
    pub offsets: Range<Offset>,
    /// They had them already: this publish was taken before.
    pub repeated: bool,
    receipt: Option<Receipt>,
}

impl Appended {
    fn nothing(at: Offset) -> Self {
        Self {
            offsets: at..at,
            repeated: false,
            receipt: None,
        }
    }

    /// Waits until the messages are kept at the topic's level, and visible; of a topic in memory they are at once.
    pub async fn kept(self) -> Result<Range<Offset>, AppendError> {
        match self.receipt {
            Some(receipt) => receipt
                .await
                .unwrap_or(Err(AppendError::Stopped))
                .map(|()| self.offsets),
            None => Ok(self.offsets),
        }
    }

    /// As [`Appended::kept`], for a thread that may wait.
    pub fn kept_blocking(self) -> Result<Range<Offset>, AppendError> {
        match self.receipt {
            Some(receipt) => receipt
                .blocking_recv()
                .unwrap_or(Err(AppendError::Stopped))
                .map(|()| self.offsets),
            None => Ok(self.offsets),
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
    /// The first offset that was asked for and is gone.
    pub missing_from: Option<Offset>,
    /// With [`Answer::Diverged`]: what the reader holds from here on is no part of this history.
    pub diverged_at: Option<Offset>,
    /// What is gone below it was let go; what is missing from it on never was.
    pub let_go: Offset,
    /// The lowest offset retained.
    pub first: Offset,
    /// The offset of the next message.
    pub next: Offset,
}

impl Log {
    /// An empty log in memory; `epoch` must be random, it names this history.
    #[must_use]
    pub fn new(topic: TopicName, epoch: Epoch, retention: Retention) -> Self {
        let memory = Memory::new(retention, Offset::ZERO);
        Self::with(topic, Lineage::new(epoch), memory, Retries::default(), None, None)
    }

    /// A log over the files of a durable topic, of which it holds a tail in memory. Its [`committer::Committer`] writes.
    #[must_use]
    pub fn durable(
        topic: TopicName,
        store: Arc<Store>,
        retries: Retries,
        closed: Option<AppendError>,
        tail: Retention,
    ) -> Self {
        let memory = Memory::new(tail, store.next());
        Self::with(topic, store.lineage().clone(), memory, retries, Some(store), closed)
    }

    fn with(
        topic: TopicName,
        lineage: Lineage,
        memory: Memory,
        retries: Retries,
        store: Option<Arc<Store>>,
        closed: Option<AppendError>,
    ) -> Self {
        let next = memory.first();
        let is_damaged = closed.is_some();
        let envelope = EnvelopeWriter::new(&topic);
        Self {
            topic,
            lineage,
            memory,
            store,
            is_damaged,
            on_lag: OnLag::default(),
            hold: Hold::default(),
            appender: Mutex::new(Appender {
                envelope,
                writer: MemoryWriter::default(),
                batch: Batch::default(),
                retries,
                taken: next,
                queue: Queue::default(),
                closed,
                stopping: false,
            }),
            work: Condvar::new(),
            next: AtomicU64::new(next.get()),
            ended: AtomicBool::new(false),
            bells: RwLock::default(),
            followers: AtomicUsize::new(0),
            joined: tokio::sync::Notify::new(),
        }
    }

    /// The same log with this policy for clients that fall behind.
    #[must_use]
    pub fn with_lag(mut self, on_lag: OnLag) -> Self {
        self.on_lag = on_lag;
        if self.holds() {
            self.memory.never_age();
        }
        self
    }

    /// How many bytes the topic keeps at most: in files if it is durable, otherwise in memory.
    #[must_use]
    pub fn bytes_max(&self) -> u64 {
        match &self.store {
            Some(store) => store.bytes_max(),
            None => self.memory.retention().bytes,
        }
    }

    /// The topic.
    #[must_use]
    pub fn topic(&self) -> &TopicName {
        &self.topic
    }

    /// The name of this history.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.lineage.current()
    }

    /// What is held in memory.
    #[must_use]
    pub fn memory(&self) -> &Memory {
        &self.memory
    }

    /// The files of a durable topic.
    #[must_use]
    pub fn store(&self) -> Option<&Arc<Store>> {
        self.store.as_ref()
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
        self.store.as_ref().map_or(Level::None, |store| store.level().into())
    }

    /// The lowest offset retained.
    #[must_use]
    pub fn first(&self) -> Offset {
        match &self.store {
            Some(store) => store.first(),
            None => self.memory.first(),
        }
    }

    /// Everything below was let go; what is missing at or above it never was. Not above [`Log::first`], which may lie behind
    /// a hole.
    #[must_use]
    pub fn let_go(&self) -> Offset {
        match &self.store {
            Some(store) => store.first(),
            None => self.memory.let_go(),
        }
    }

    /// The visible end: the offset of the next message.
    #[must_use]
    pub fn next(&self) -> Offset {
        Offset::new(self.next.load(Ordering::Acquire))
    }

    /// Everything below is on stable storage; none for a topic in memory.
    #[must_use]
    pub fn durable_end(&self) -> Option<Offset> {
        self.store.as_ref().map(|store| store.durable().min(self.next()))
    }

    /// Whether nothing more will come.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    /// Appends messages at the end, visible all at once, and wakes those who follow; gives their offsets.
    pub fn append(&self, messages: &[NewMessage<'_>], now: Now) -> Result<Appended, AppendError> {
        self.take(self.lock(), Offset::ZERO, None, messages, usize::MAX, now)
    }

    /// Appends messages from `offset` on, which may lie beyond the end: the offsets between are a hole, read as missed.
    pub fn append_at(&self, offset: Offset, messages: &[NewMessage<'_>], now: Now) -> Result<Appended, AppendError> {
        self.take(self.lock(), offset, None, messages, usize::MAX, now)
    }

    /// Appends as many of these messages as there is room for, in their order: all, unless the topic holds back its source.
    pub fn append_fitting(&self, messages: &[NewMessage<'_>], now: Now) -> Result<Appended, AppendError> {
        let mut appender = self.lock();
        let taking = &mut *appender;
        if !self.holds() {
            return self.take(appender, Offset::ZERO, None, messages, usize::MAX, now);
        }
        if !self.make_room(taking) {
            let end = taking.taken;
            return taking.check(messages).map(|()| Appended::nothing(end));
        }
        // As much as a segment holds at once, so that the bound is passed by no more than that.
        let frame_bytes = self.memory.retention().segment_bytes();
        self.take(appender, Offset::ZERO, None, messages, frame_bytes, now)
    }

    /// Appends what was not appended before under this key; gives the offsets it has, and whether it had them already.
    pub fn append_once(&self, key: RetryKey, messages: &[NewMessage<'_>], now: Now) -> Result<Appended, AppendError> {
        let mut appender = self.lock();
        let known = appender.retries.find(&key);
        #[cfg(feature = "planted")]
        let known = known.filter(|_| !planted::is(Bug::RetryTwice));
        if let Some(offsets) = known {
            // The first try may not be written yet; then both learn it together.
            let receipt = (offsets.end > self.next()).then(|| appender.queue.wait(offsets.end));
            return Ok(Appended {
                offsets,
                repeated: true,
                receipt,
            });
        }
        self.take(appender, Offset::ZERO, Some(key), messages, usize::MAX, now)
    }

    /// Takes the first of these messages: as many as have frames within `frame_bytes`, but at least one.
    fn take(
        &self,
        mut appender: MutexGuard<'_, Appender>,
        offset: Offset,
        key: Option<RetryKey>,
        messages: &[NewMessage<'_>],
        frame_bytes: usize,
        now: Now,
    ) -> Result<Appended, AppendError> {
        let taking = &mut *appender;
        taking.check(messages)?;
        if !self.make_room(taking) {
            return Err(AppendError::Held);
        }
        let begin = offset.max(taking.taken);
        taking.batch.begin(begin);
        taking.batch.reserve(messages, frame_bytes);
        for message in messages {
            taking.batch.push(&mut taking.envelope, message, now);
            if taking.batch.frames.len() > frame_bytes && taking.batch.entries.len() > 1 {
                taking.batch.pop();
                break;
            }
        }
        let offsets = begin..taking.batch.end();
        // Remembered under the same lock: a second try that comes at the same time waits for the first.
        taking.batch.keys.extend(key.map(|key| (key, offsets.clone())));
        let receipt = if self.store.is_some() {
            if taking.queue.is_full_for(taking.batch.bytes()) {
                return Err(AppendError::Busy);
            }
            taking.queue.push(&mut taking.batch);
            Some(taking.queue.wait(offsets.end))
        } else {
            self.memory.show(&mut taking.writer, &mut taking.batch, now);
            None
        };
        if let Some(key) = key {
            taking.retries.add(key, offsets.clone());
        }
        taking.taken = offsets.end;
        // Wake others after unlocking: the committer takes the lock first, and others may append while readers are woken.
        if receipt.is_some() {
            drop(appender);
            self.work.notify_one();
        } else {
            self.become_visible(taking, offsets.end, now);
            drop(appender);
            self.ring();
        }
        Ok(Appended {
            offsets,
            repeated: false,
            receipt,
        })
    }

    /// Moves the visible end, and lets go of what is too much then.
    fn become_visible(&self, appender: &mut Appender, next: Offset, now: Now) {
        self.next.store(next.get(), Ordering::Release);
        self.retire(now);
        appender.retries.forget_below(self.first());
    }

    /// Lets go of what memory holds too much or too long, unless its readers hold it there; says whether anything went.
    fn retire(&self, now: Now) -> bool {
        let held = self.holds() && self.store.is_none();
        !held && self.memory.retire(now, self.next())
    }

    /// Waits for batches to write, at most `patience`.
    fn wait_for_work(&self, patience: Duration) -> Work {
        let waiting = self.work.wait_timeout_while(self.lock(), patience, |appender| {
            appender.queue.is_empty() && !appender.stopping
        });
        let (mut appender, _) = waiting.unwrap_or_else(PoisonError::into_inner);
        match appender.queue.take() {
            batches if !batches.is_empty() => Work::Batches(batches),
            _ if appender.stopping => {
                // Nobody writes after this.
                appender.closed.get_or_insert(AppendError::Stopped);
                Work::Stop
            }
            _ => {
                appender.queue.rest();
                Work::None
            }
        }
    }

    /// The committer has written these batches, and brings them into memory as `writer`.
    fn on_written(&self, writer: &mut MemoryWriter, mut written: Vec<Batch>, now: Now) {
        let Some(end) = written.last().map(Batch::end) else {
            return;
        };
        let bytes = written.iter().map(Batch::bytes).sum();
        // Without the lock: nobody looks behind the visible end, and publishers go on meanwhile.
        for batch in &mut written {
            self.memory.show(writer, batch, now);
        }
        let mut appender = self.lock();
        self.become_visible(&mut appender, end, now);
        let kept = appender.queue.on_written(bytes, end);
        appender.queue.reuse(&mut written);
        self.end_if_settled(&appender);
        drop(appender);
        kept.tell();
        self.ring();
    }

    /// Everything that was taken and is not yet kept is lost.
    fn on_lost(&self, why: AppendError) {
        let mut appender = self.lock();
        appender.queue.fail(&why);
        appender.taken = self.next();
        let end = appender.taken;
        appender.retries.forget_from(end);
        if !matches!(why, AppendError::Full { .. }) {
            appender.closed.get_or_insert(why);
        }
        self.end_if_settled(&appender);
        drop(appender);
        self.ring();
    }

    /// Readers learn that nothing more will come when all that was taken is kept.
    fn end_if_settled(&self, appender: &Appender) {
        if appender.closed == Some(AppendError::Ended) && appender.queue.is_settled() {
            self.ended.store(true, Ordering::Release);
        }
    }

    /// The committer shall write what waits, and end.
    fn stop_committer(&self) {
        self.lock().stopping = true;
        self.work.notify_one();
    }

    /// Seals and lets go what is older than the topic keeps; called now and then, so that a quiet topic forgets too.
    pub fn tick(&self, now: Now) {
        let mut appender = self.lock();
        self.memory.seal_old(&mut appender.writer, now);
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
        let mut appender = self.lock();
        appender.closed.get_or_insert(AppendError::Ended);
        if appender.queue.is_settled() {
            self.ended.store(true, Ordering::Release);
        }
        drop(appender);
        self.ring();
    }

    /// Where a reader that asks for `start` begins. A position ahead of the log, or of another history, is a reset.
    #[must_use]
    pub fn grant(&self, start: Start, now: Now) -> Grant {
        let (first, next) = (self.first(), self.next());
        #[cfg(feature = "planted")]
        if planted::is(Bug::ResumeOffByOne)
            && let Start::Position(Position { offset, .. }) = start
            && (first..next).contains(&offset)
        {
            return Grant::at(offset.next(), first, next);
        }
        let grant = match start {
            Start::Latest => Grant::at(next, first, next),
            Start::Earliest => Grant::at(first, first, next),
            Start::Last(count) => Grant::at(Offset::new(next.get().saturating_sub(count)).max(first), first, next),
            Start::Ago(ago) => Grant::at(self.since(now, ago), first, next),
            Start::Offset(offset) => Grant::from(offset, first, next),
            // It holds what lies behind the damage already, and goes on there when that is repaired.
            Start::Position(Position { epoch, offset })
                if self.is_damaged && epoch == self.epoch() && offset > next =>
            {
                Grant::at(offset, first, next)
            }
            Start::Position(Position { epoch, offset }) => match self.lineage.answer(epoch, offset, first, next) {
                Resume::Ok { from } => Grant::at(from, first, next),
                Resume::Gap { missing } => Grant {
                    answer: Answer::Gap,
                    missing_from: Some(missing.start),
                    ..Grant::at(missing.end, first, next)
                },
                Resume::Diverged { at, from } => Grant {
                    answer: Answer::Diverged,
                    diverged_at: Some(at),
                    missing_from: (at < from).then_some(at),
                    ..Grant::at(from, first, next)
                },
                Resume::Reset { from } => Grant {
                    answer: Answer::Reset,
                    ..Grant::at(from, first, next)
                },
            },
        };
        Grant {
            // Looked at behind `first`: a hole may so count as let go, but nothing that was let go as a hole.
            let_go: self.let_go().min(grant.from),
            ..grant
        }
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
            appender.writer.abandon();
            let taken = appender.taken;
            appender.retries.forget_from(taken);
            appender
        })
    }

    /// Whether there is room for more, after letting go what was read: always, unless the topic holds back its source.
    fn has_room(&self) -> bool {
        self.make_room(&mut self.lock())
    }

    /// As [`Log::has_room`]. Of a durable topic the committer lets go, and what it can let go counts as room.
    fn make_room(&self, appender: &mut Appender) -> bool {
        if !self.holds() {
            return true;
        }
        let mut places = self.hold.places();
        let floor = places.floor();
        let (needed, room) = match &self.store {
            None => {
                let needed = self.memory.let_go_of_read(floor, self.next());
                (needed, needed.is_none())
            }
            Some(store) => {
                let needed = store.full_until();
                let read = needed.is_none_or(|needed| floor.is_some_and(|floor| floor >= needed));
                (needed, read)
            }
        };
        self.hold.on_looked(&mut places, needed);
        drop(places);
        if self.memory.first() == self.next() {
            // Nothing is left, so the active segment went too.
            appender.writer.abandon();
        }
        room
    }

    /// Has files let go below the offset that it gives: where the source is held back, only what every reader has read, and
    /// nobody is granted a place there meanwhile.
    fn let_go_of_files(&self, below: &mut dyn FnMut(Offset)) {
        if self.holds() {
            let places = self.hold.places();
            below(places.floor().unwrap_or_default());
        } else {
            below(Offset::new(u64::MAX));
        }
    }

    /// The first offset appended within the last `ago`.
    fn since(&self, now: Now, ago: Duration) -> Offset {
        let since = match (self.memory.since(now, ago), &self.store) {
            // Everything in memory is young enough: what is in files may be too, and has only its wall time.
            (found, Some(store)) if !found.is_some_and(|(_, certain)| certain) => {
                // What cannot be read now is told to whoever gets there.
                let stored = store.since(before(now.wall, ago)).ok().flatten().unwrap_or(self.next());
                found.map_or(stored, |(offset, _)| offset.min(stored)).max(self.first())
            }
            (found, _) => found.map_or(self.next(), |(offset, _)| offset),
        };
        // Memory may hold what is not visible yet.
        since.min(self.next())
    }
}

impl Appender {
    fn check(&self, messages: &[NewMessage<'_>]) -> Result<(), AppendError> {
        if let Some(closed) = &self.closed {
            return Err(closed.clone());
        }
        let sizes = messages.iter().map(|message| message.payload.len());
        match sizes.into_iter().find(|&bytes| bytes > MESSAGE_BYTES_MAX) {
            Some(bytes) => Err(AppendError::TooLarge { bytes }),
            None => Ok(()),
        }
    }
}

impl Grant {
    /// As asked.
    fn at(from: Offset, first: Offset, next: Offset) -> Self {
        Self {
            from,
            answer: Answer::Ok,
            missing_from: None,
            diverged_at: None,
            let_go: first,
            first,
            next,
        }
    }

    /// From `offset`, if that can be.
    fn from(offset: Offset, first: Offset, next: Offset) -> Self {
        #[cfg(feature = "planted")]
        let offset = if planted::is(Bug::SilentGap) {
            offset.max(first)
        } else {
            offset
        };
        if offset > next {
            Self {
                answer: Answer::Reset,
                ..Self::at(first, first, next)
            }
        } else if offset < first {
            Self {
                answer: Answer::Gap,
                missing_from: Some(offset),
                ..Self::at(first, first, next)
            }
        } else {
            Self::at(offset, first, next)
        }
    }
}

fn before(wall: WallTime, span: Duration) -> WallTime {
    let nanos = i64::try_from(span.as_nanos()).unwrap_or(i64::MAX);
    WallTime::from_nanos(wall.nanos().saturating_sub(nanos))
}

/// What the committer finds to do.
enum Work {
    Batches(Vec<Batch>),
    None,
    Stop,
}

/// The largest payload that a log takes, in bytes: sources may send so much, sockets and publishers less.
pub const MESSAGE_BYTES_MAX: usize = 16 << 20;

/// Why nothing was appended.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
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
    Held,
    /// More is taken than the disk can follow with.
    #[error("{} MiB wait to be written already; try again", queue::QUEUE_BYTES_MAX >> 20)]
    Busy,
    /// There is no room on the disk; there may be again.
    #[error("{why}")]
    Full {
        /// What the system says.
        why: String,
    },
    /// Nothing is written any more; a server that starts again takes it.
    #[error("the server is stopping")]
    Stopped,
    /// The topic can be read, and is not written any more before somebody has looked after it.
    #[error("{why}")]
    ReadOnly {
        /// What happened.
        why: String,
    },
}

impl AppendError {
    fn broken() -> Self {
        Self::ReadOnly {
            why: "an error in this server; nothing more is kept until a restart".to_owned(),
        }
    }
}

impl From<WriteError> for AppendError {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::Full { .. } | WriteError::Shortage { .. } => Self::Full { why: error.to_string() },
            WriteError::Failed { .. } | WriteError::ReadOnly { .. } => Self::ReadOnly { why: error.to_string() },
        }
    }
}

#[cfg(all(test, not(feature = "loom")))]
mod tests;
