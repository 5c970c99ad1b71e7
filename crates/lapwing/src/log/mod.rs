//! A topic's log: append-only, ordered by dense offsets, kept within bounds, read through cursors.
//!
//! A cursor is an offset and nothing else: the log does not know its readers, and a slow one is simply further behind.

mod appender;
pub mod batch;
pub mod bell;
pub mod committer;
pub mod cut;
pub mod deflated;
mod grant;
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

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError, RwLock};

use lapwing_wire::control::Level;
use lapwing_wire::envelope::EnvelopeWriter;
use lapwing_wire::position::{Epoch, Offset};
use lapwing_wire::topic::TopicName;

use crate::clock::Now;
use appender::Appender;
pub use appender::{AppendError, Appended, MESSAGE_BYTES_MAX};
use batch::Batch;
use bell::Ring;
use deflated::Deflated;
pub use grant::Grant;
use hold::Hold;
use lag::OnLag;
use lineage::Lineage;
use memory::{Memory, MemoryWriter};
use queue::Queue;
use reader::View;
use retention::Retention;
use retries::Retries;
use store::Store;

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
    /// Of envelopes, and of bare payloads.
    deflated: [Deflated; 2],
    /// Connections that follow this topic now.
    followers: AtomicUsize,
    joined: tokio::sync::Notify,
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
            deflated: Default::default(),
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

    /// What the readers of this view share that is compressed; none for a view that is not.
    #[must_use]
    pub fn deflated(&self, view: View) -> Option<&Deflated> {
        match view {
            View::Canonical | View::Payload | View::Events => None,
            View::Deflated => Some(&self.deflated[0]),
            View::DeflatedPayload => Some(&self.deflated[1]),
        }
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

    /// Whether it can be read, and takes nothing more before somebody has looked after it.
    #[must_use]
    pub fn is_read_only(&self) -> bool {
        matches!(self.lock().closed, Some(AppendError::ReadOnly { .. }))
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

    /// How many connections follow this topic.
    #[must_use]
    pub fn followers(&self) -> usize {
        self.followers.load(Ordering::Relaxed)
    }

    /// Bytes kept: in files if the topic is durable, otherwise in memory.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.store
            .as_ref()
            .map_or_else(|| self.memory.bytes(), |store| store.bytes())
    }

    /// Whether somebody follows this topic.
    #[must_use]
    pub fn is_followed(&self) -> bool {
        self.followers() > 0
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
}

#[cfg(all(test, not(feature = "loom")))]
mod tests;
