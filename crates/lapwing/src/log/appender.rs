//! What appends to a log: messages get their offsets and frames in one order, and go into memory or to the committer.

use std::ops::Range;
use std::sync::MutexGuard;

use lapwing_wire::envelope::EnvelopeWriter;
use lapwing_wire::position::Offset;
use thiserror::Error;

use super::Log;
use super::batch::{Batch, NewMessage};
use super::memory::MemoryWriter;
use super::queue::{self, Queue, Receipt};
use super::retries::{Named, Retries, RetryKey};
use super::store::WriteError;
use crate::clock::Now;
#[cfg(feature = "planted")]
use crate::planted::{self, Bug};

/// What an appender needs; the next to come waits for its lock.
pub(super) struct Appender {
    pub(super) envelope: EnvelopeWriter,
    /// Of a topic in memory; that of a durable one is the committer's.
    pub(super) writer: MemoryWriter,
    /// Made here first, so that an append that fails half way leaves nothing behind.
    pub(super) batch: Batch,
    pub(super) retries: Retries,
    /// The end of what was taken; of a durable topic not all of it is written and visible.
    pub(super) taken: Offset,
    pub(super) queue: Queue,
    /// Why nothing more is taken.
    pub(super) closed: Option<AppendError>,
    /// The committer shall end when everything is written.
    pub(super) stopping: bool,
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

impl Log {
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

    /// Appends what was not appended before under this name; gives the offsets it has, and whether it had them already.
    pub fn append_once(&self, named: Named, messages: &[NewMessage<'_>], now: Now) -> Result<Appended, AppendError> {
        let Named { key, after } = named;
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
        if after.is_some_and(|after| appender.retries.find(&after).is_none()) {
            return Err(AppendError::Early);
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
        let receipt = if self.store().is_some() {
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

    /// The appender's lock. What another appender left half done when it panicked was never visible, and is let go: of a topic in
    /// memory what it had written of it, which of a durable one only the committer does.
    pub(super) fn lock(&self) -> MutexGuard<'_, Appender> {
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
    pub(super) fn has_room(&self) -> bool {
        self.make_room(&mut self.lock())
    }

    /// As [`Log::has_room`]. Of a durable topic the committer lets go, and what it can let go counts as room.
    fn make_room(&self, appender: &mut Appender) -> bool {
        if !self.holds() {
            return true;
        }
        let mut places = self.hold.places();
        let floor = places.floor();
        let (needed, room) = match self.store() {
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
    /// It names another publish that must come before it, and that is not here.
    #[error("the publish that it must come after is not here")]
    Early,
    /// More is taken than the disk can follow with.
    #[error("{} MiB wait to be written already; try again", queue::QUEUE_BYTES_MAX >> 20)]
    Busy,
    /// There is no room on the disk; there may be again.
    #[error("{why}")]
    Full {
        /// What the system says.
        why: String,
    },
    /// The stream behind the topic cannot be reached, or does not answer. Whether it took the messages may not be known.
    #[error("{why}")]
    Unreachable {
        /// What is known.
        why: String,
    },
    /// They are more, or larger, than the stream behind the topic takes at once.
    #[error("{why}")]
    OverLimit {
        /// What, the limit, and the way out.
        why: String,
    },
    /// The stream behind the topic refuses them.
    #[error("{why}")]
    Refused {
        /// What it says.
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
    pub(super) fn broken() -> Self {
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
