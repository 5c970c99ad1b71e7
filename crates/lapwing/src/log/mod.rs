//! A topic's log: append-only, ordered by dense offsets, kept within bounds, read through cursors.
//!
//! A cursor is an offset and nothing else: the log does not know its readers, and a slow one is simply further behind.

mod appender;
pub mod batch;
pub mod bell;
pub mod committer;
pub mod cut;
mod grant;
pub mod hold;
pub mod lag;
pub mod lineage;
pub mod memory;
pub mod newest;
pub mod origin;
pub mod queue;
pub mod reader;
pub mod retention;
pub mod retries;
pub mod segment;
pub mod store;

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError, RwLock};

use lapwing_wire::array::ArrayWriter;
use lapwing_wire::control::Level;
use lapwing_wire::envelope::EnvelopeWriter;
use lapwing_wire::position::{Epoch, Offset};
use lapwing_wire::topic::TopicName;

use crate::clock::Now;
use appender::Appender;
pub use appender::{AppendError, Appended, MESSAGE_BYTES_MAX};
use batch::Batch;
use bell::Ring;
pub use grant::Grant;
use hold::Hold;
use lag::OnLag;
use lineage::Lineage;
use memory::{Memory, MemoryWriter};
use newest::Shared;
use origin::{Backing, Origin};
use queue::Queue;
use reader::View;
use retention::Retention;
use retries::Retries;
use store::Store;

/// One topic's messages.
pub struct Log {
    topic: TopicName,
    lineage: RwLock<Lineage>,
    memory: Memory,
    backing: Backing,
    /// Its files were found damaged: what lies behind the damage is not shown, and nothing is appended before they are repaired.
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
    /// What its messages are as binary frames, where they are arrays.
    arrays: OnceLock<ArrayWriter>,
    /// Of compressed envelopes, of compressed bare payloads, and of arrays.
    shared: [Shared; 3],
    /// Connections that follow this topic now.
    followers: AtomicUsize,
    joined: tokio::sync::Notify,
}

impl Log {
    /// An empty log in memory; `epoch` must be random, it names this history.
    #[must_use]
    pub fn new(topic: TopicName, epoch: Epoch, retention: Retention) -> Self {
        let memory = Memory::new(retention, Offset::ZERO);
        let backing = Backing::Nothing;
        Self::with(topic, Lineage::new(epoch), memory, Retries::default(), backing, None)
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
        let lineage = store.lineage().clone();
        Self::with(topic, lineage, memory, retries, Backing::Files(store), closed)
    }

    /// A copy of a stream that several servers have, from `next` on; it holds a tail in memory.
    #[must_use]
    pub fn copy_of(topic: TopicName, origin: Arc<dyn Origin>, lineage: Lineage, next: Offset, tail: Retention) -> Self {
        let memory = Memory::new(tail, next);
        Self::with(
            topic,
            lineage,
            memory,
            Retries::default(),
            Backing::Stream(origin),
            None,
        )
    }

    fn with(
        topic: TopicName,
        lineage: Lineage,
        memory: Memory,
        retries: Retries,
        backing: Backing,
        closed: Option<AppendError>,
    ) -> Self {
        let next = memory.first();
        let is_damaged = closed.is_some();
        let envelope = EnvelopeWriter::new(&topic);
        Self {
            topic,
            lineage: RwLock::new(lineage),
            memory,
            backing,
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
            arrays: OnceLock::new(),
            shared: Default::default(),
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

    /// From now on its messages are arrays, and can be had as binary frames. It is told once, before anybody reads it.
    pub fn on_arrays(&self, arrays: ArrayWriter) {
        let _ = self.arrays.set(arrays);
    }

    /// What its messages are as binary frames, where they are arrays.
    #[must_use]
    pub fn arrays(&self) -> Option<&ArrayWriter> {
        self.arrays.get()
    }

    /// How many bytes the topic keeps at most: in files if it is durable, in the stream that it is a copy of, otherwise in memory.
    #[must_use]
    pub fn bytes_max(&self) -> u64 {
        match &self.backing {
            Backing::Files(store) => store.bytes_max(),
            Backing::Stream(origin) => origin.bytes_max(),
            Backing::Nothing => self.memory.retention().bytes,
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
        self.lineage.read().unwrap_or_else(PoisonError::into_inner).current()
    }

    /// What is held in memory.
    #[must_use]
    pub fn memory(&self) -> &Memory {
        &self.memory
    }

    /// The files of a durable topic.
    #[must_use]
    pub fn store(&self) -> Option<&Arc<Store>> {
        match &self.backing {
            Backing::Files(store) => Some(store),
            Backing::Nothing | Backing::Stream(_) => None,
        }
    }

    /// The stream that it is a copy of.
    #[must_use]
    pub fn origin(&self) -> Option<&Arc<dyn Origin>> {
        match &self.backing {
            Backing::Stream(origin) => Some(origin),
            Backing::Nothing | Backing::Files(_) => None,
        }
    }

    /// Whether it has more than what is in memory.
    #[must_use]
    pub fn is_backed(&self) -> bool {
        !matches!(self.backing, Backing::Nothing)
    }

    /// Whether it is a copy that may be behind, since its origin cannot be reached.
    #[must_use]
    pub fn is_stale(&self) -> bool {
        self.origin().is_some_and(|origin| origin.is_stale())
    }

    /// What the threads that read this view share; none for a view whose frames cost too little to share them.
    #[must_use]
    pub fn shared(&self, view: View) -> Option<&Shared> {
        match view {
            View::Canonical | View::Payload | View::Events => None,
            View::Deflated => Some(&self.shared[0]),
            View::DeflatedPayload => Some(&self.shared[1]),
            View::Arrays => Some(&self.shared[2]),
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
        self.backing.level()
    }

    /// The lowest offset retained.
    #[must_use]
    pub fn first(&self) -> Offset {
        match &self.backing {
            Backing::Files(store) => store.first(),
            Backing::Stream(origin) => origin.first().min(self.memory.first()),
            Backing::Nothing => self.memory.first(),
        }
    }

    /// Everything below was let go; what is missing at or above it never was. Not above [`Log::first`], which may lie behind
    /// a hole.
    #[must_use]
    pub fn let_go(&self) -> Offset {
        match &self.backing {
            Backing::Files(store) => store.first(),
            Backing::Stream(_) => self.first(),
            Backing::Nothing => self.memory.let_go(),
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
        self.store().map(|store| store.durable().min(self.next()))
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
        let held = self.holds() && !self.is_backed();
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
        match &self.backing {
            Backing::Files(store) => store.bytes(),
            Backing::Stream(origin) => origin.bytes(),
            Backing::Nothing => self.memory.bytes(),
        }
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
