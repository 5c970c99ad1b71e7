//! The messages of a log that are held in memory: all that a topic keeps, or the tail of a durable one.

use std::collections::VecDeque;
use std::mem;
use std::sync::atomic::{AtomicI64, AtomicU16, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use lapwing_wire::position::Offset;
use lapwing_wire::time::WallTime;

use super::batch::{BATCH_BYTES_MAX, Batch};
use super::retention::Retention;
use super::segment::{Entry, Segment, SegmentWriter};
use crate::clock::Now;

/// Segments, oldest first; the last may still grow.
pub struct Memory {
    retention: Retention,
    /// Readers keep their own list and look here when `version` moved.
    segments: RwLock<VecDeque<Arc<Segment>>>,
    version: AtomicU64,
    /// How often everything was let go at once; changes only under the lock of the segments.
    generation: AtomicU16,
    first: AtomicU64,
    let_go: AtomicU64,
    /// Of everything that was shown, whether it is still held or not.
    shown: AtomicU64,
    shown_bytes: AtomicU64,
    /// Nanoseconds of the wall clock, 0 before anything was shown.
    newest: AtomicI64,
}

/// What has come into a log since the server started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shown {
    /// Messages.
    pub messages: u64,
    /// Bytes of their frames.
    pub bytes: u64,
    /// When the newest was appended, on the wall clock.
    pub newest: Option<WallTime>,
}

/// The one writer's side of it.
#[derive(Default)]
pub struct MemoryWriter {
    active: Option<Active>,
}

struct Active {
    segment: SegmentWriter,
    began: u64,
}

impl Memory {
    /// Nothing yet; the first message will have the offset `next`.
    #[must_use]
    pub fn new(retention: Retention, next: Offset) -> Self {
        Self {
            retention,
            segments: RwLock::default(),
            version: AtomicU64::new(0),
            generation: AtomicU16::new(0),
            first: AtomicU64::new(next.get()),
            let_go: AtomicU64::new(next.get()),
            shown: AtomicU64::new(0),
            shown_bytes: AtomicU64::new(0),
            newest: AtomicI64::new(0),
        }
    }

    /// From now on nothing is let go for its age.
    pub fn never_age(&mut self) {
        self.retention.age = Duration::MAX;
    }

    /// What is kept.
    #[must_use]
    pub fn retention(&self) -> Retention {
        self.retention
    }

    /// The lowest offset held, or the next one when none is.
    #[must_use]
    pub fn first(&self) -> Offset {
        Offset::new(self.first.load(Ordering::Acquire))
    }

    /// Everything below was let go; what is missing at or above it never was. Not above [`Memory::first`], which may lie behind
    /// a hole.
    #[must_use]
    pub fn let_go(&self) -> Offset {
        Offset::new(self.let_go.load(Ordering::Acquire))
    }

    /// How often the list of segments has changed.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// How often everything was let go at once, as another history began.
    #[must_use]
    pub fn generation(&self) -> u16 {
        self.generation.load(Ordering::Acquire)
    }

    /// Brings a reader's list of segments up to date; gives the generation that they are of.
    pub fn copy_segments(&self, into: &mut VecDeque<Arc<Segment>>) -> u16 {
        let segments = self.segments.read().unwrap_or_else(PoisonError::into_inner);
        into.clone_from(&segments);
        self.generation()
    }

    /// Bytes held: frames and index of all segments.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        let segments = self.segments.read().unwrap_or_else(PoisonError::into_inner);
        segments.iter().map(|segment| segment.bytes()).sum()
    }

    /// The largest segment held, in bytes of frames and index.
    #[cfg(all(test, not(feature = "loom")))]
    pub(super) fn segment_bytes_max(&self) -> u64 {
        let segments = self.segments.read().unwrap_or_else(PoisonError::into_inner);
        segments.iter().map(|segment| segment.bytes()).max().unwrap_or(0)
    }

    /// Takes all of a batch, to be read as soon as the log's end is behind it. A long one may give its memory away.
    pub fn show(&self, writer: &mut MemoryWriter, batch: &mut Batch, now: Now) {
        self.count(batch);
        #[cfg(feature = "planted")]
        if crate::planted::is(crate::planted::Bug::Reordered) && batch.entries.len() > 1 {
            self.show_reordered(writer, batch, now);
            return;
        }
        // No longer than a segment that is filled, so that the bound of the topic holds as well.
        if (BATCH_BYTES_MAX + 1..=self.retention.segment_bytes()).contains(&batch.frames.len()) {
            self.adopt(writer, batch);
        } else {
            self.copy(writer, batch.frames().map(|(entry, frame)| (*entry, frame)), now);
        }
    }

    fn count(&self, batch: &Batch) {
        let Some(last) = batch.entries.last() else { return };
        self.newest.store(last.wall.nanos(), Ordering::Relaxed);
        self.shown.fetch_add(batch.entries.len() as u64, Ordering::Relaxed);
        self.shown_bytes.fetch_add(batch.frames.len() as u64, Ordering::Relaxed);
    }

    /// What was shown so far, whether it is still held or not.
    #[must_use]
    pub fn shown(&self) -> Shown {
        let newest = self.newest.load(Ordering::Relaxed);
        Shown {
            messages: self.shown.load(Ordering::Relaxed),
            bytes: self.shown_bytes.load(Ordering::Relaxed),
            newest: (newest != 0).then(|| WallTime::from_nanos(newest)),
        }
    }

    /// A batch becomes a segment of its own, without a copy.
    fn adopt(&self, writer: &mut MemoryWriter, batch: &mut Batch) {
        // Its memory may be mostly unused; the next one begins small again.
        writer.active = None;
        let segment = Segment::sealed(batch.base, mem::take(&mut batch.frames), mem::take(&mut batch.entries));
        self.change(batch.base, |segments| segments.push_back(segment));
    }

    fn copy<'a>(&self, writer: &mut MemoryWriter, frames: impl Iterator<Item = (Entry, &'a [u8])>, now: Now) {
        for (entry, frame) in frames {
            self.push(writer, entry, frame, now);
        }
        if let Some(active) = &writer.active {
            active.segment.publish();
        }
    }

    /// The first two messages change places.
    #[cfg(feature = "planted")]
    fn show_reordered(&self, writer: &mut MemoryWriter, batch: &Batch, now: Now) {
        let mut frames: Vec<_> = batch.frames().map(|(entry, frame)| (*entry, frame)).collect();
        let (first, second) = (frames[0].0.offset, frames[1].0.offset);
        frames.swap(0, 1);
        (frames[0].0.offset, frames[1].0.offset) = (first, second);
        self.copy(writer, frames.into_iter(), now);
    }

    fn push(&self, writer: &mut MemoryWriter, entry: Entry, frame: &[u8], now: Now) {
        let fits = writer
            .active
            .as_ref()
            .is_some_and(|active| active.segment.has_room(frame.len()) && !self.is_old(active, now));
        if !fits {
            writer.active = Some(self.roll(writer.active.take(), entry.offset, frame.len(), now));
        }
        let active = writer.active.as_mut().expect("there is one, or it was made above");
        active.segment.push(frame, entry);
    }

    /// Seals a segment that is old, so that it can be let go.
    pub fn seal_old(&self, writer: &mut MemoryWriter, now: Now) {
        if writer.active.as_ref().is_some_and(|active| self.is_old(active, now)) {
            writer.active = None;
        }
    }

    /// Seals the active segment and begins one that has room for at least `frame_bytes`.
    fn roll(&self, sealed: Option<Active>, base: Offset, frame_bytes: usize, now: Now) -> Active {
        let used = sealed.map(|active| {
            active.segment.publish();
            active.segment.used()
        });
        let room = self.retention.next_room(used);
        let (writer, segment) = Segment::create(base, room.bytes.max(frame_bytes), room.entries);
        self.change(base, |segments| segments.push_back(segment));
        Active {
            segment: writer,
            began: now.mono,
        }
    }

    fn is_old(&self, active: &Active, now: Now) -> bool {
        age(now, active.began) >= self.retention.segment_age()
    }

    /// Lets go of whole segments from the front while there is too much, or their last message is too old; says whether any
    /// went. `next` is the end of the log.
    pub fn retire(&self, now: Now, next: Offset) -> bool {
        let mut gone = 0;
        {
            let segments = self.segments.read().unwrap_or_else(PoisonError::into_inner);
            let mut bytes: u64 = segments.iter().map(|segment| segment.bytes()).sum();
            for (at, segment) in segments.iter().enumerate() {
                let newest = at + 1 == segments.len();
                // One without messages that is not the newest never had any; the newest is about to be filled.
                let old = match segment.entries().last() {
                    Some(last) => age(now, last.mono) >= self.retention.age,
                    None => !newest,
                };
                // The last one may still grow, and what it holds is within the bound of one segment.
                if (bytes <= self.retention.bytes || newest) && !old {
                    break;
                }
                bytes -= segment.bytes();
                gone += 1;
            }
        }
        if gone > 0 {
            self.let_go_of(gone, next);
        }
        gone > 0
    }

    /// Lets go of whole segments that everyone has read, those below `floor`, as far as it takes to have room for more; gives
    /// the place that must be read up to when there is none. The newest segment ends at `next`.
    pub fn let_go_of_read(&self, floor: Option<Offset>, next: Offset) -> Option<Offset> {
        let (mut gone, mut needed) = (0, None);
        {
            let segments = self.segments.read().unwrap_or_else(PoisonError::into_inner);
            let mut bytes: u64 = segments.iter().map(|segment| segment.bytes()).sum();
            for (at, segment) in segments.iter().enumerate() {
                if bytes < self.retention.bytes {
                    break;
                }
                let end = segments.get(at + 1).map_or(next, |next| next.base());
                if floor.is_none_or(|floor| floor < end) {
                    needed = Some(end);
                    break;
                }
                bytes -= segment.bytes();
                gone += 1;
            }
        }
        if gone > 0 {
            self.let_go_of(gone, next);
        }
        needed
    }

    /// Lets go of so many segments from the front.
    fn let_go_of(&self, count: usize, next: Offset) {
        self.change(next, |segments| {
            segments.drain(..count);
            self.let_go.store(front(segments, next).get(), Ordering::Release);
        });
    }

    /// Lets go of everything, as another history begins: its first message will have the offset `next`.
    pub fn forget_all(&self, next: Offset) {
        self.change(next, |segments| {
            segments.clear();
            self.let_go.store(next.get(), Ordering::Release);
            self.generation.fetch_add(1, Ordering::AcqRel);
        });
    }

    /// Changes the list of segments, and lets readers know.
    fn change(&self, next: Offset, change: impl FnOnce(&mut VecDeque<Arc<Segment>>)) {
        let mut segments = self.segments.write().unwrap_or_else(PoisonError::into_inner);
        change(&mut segments);
        self.first.store(front(&segments, next).get(), Ordering::Release);
        self.version.fetch_add(1, Ordering::Release);
    }

    /// The first offset appended within the last `ago`, and whether all that was appended before it is known to be older.
    #[must_use]
    pub fn since(&self, now: Now, ago: Duration) -> Option<(Offset, bool)> {
        let segments = self.segments.read().unwrap_or_else(PoisonError::into_inner);
        let first = segments.front()?.base();
        segments.iter().find_map(|segment| {
            let entries = segment.entries();
            let at = entries.partition_point(|entry| age(now, entry.mono) > ago);
            entries.get(at).map(|entry| (entry.offset, entry.offset > first))
        })
    }

    /// The monotonic instant at which the newest message was appended, if it is held.
    #[must_use]
    pub fn newest(&self) -> Option<u64> {
        let segments = self.segments.read().unwrap_or_else(PoisonError::into_inner);
        let newest = segments.iter().rev().find_map(|segment| segment.entries().last());
        newest.map(|entry| entry.mono)
    }

    /// The monotonic instants at which `offset` and `last` were appended, when both are still held.
    #[must_use]
    pub fn instants(&self, offset: Offset, last: Offset) -> Option<(u64, u64)> {
        let segments = self.segments.read().unwrap_or_else(PoisonError::into_inner);
        let of = |offset: Offset| {
            let at = segments
                .partition_point(|segment| segment.base() <= offset)
                .checked_sub(1)?;
            let segment = &segments[at];
            segment
                .entries()
                .get(segment.find(offset))
                .filter(|entry| entry.offset == offset)
                .map(|entry| entry.mono)
        };
        Some((of(offset)?, of(last)?))
    }
}

impl MemoryWriter {
    /// Leaves the segment as it was last published: what follows goes into another.
    pub fn abandon(&mut self) {
        self.active = None;
    }
}

/// The offset with which these segments begin, or the log's end.
fn front(segments: &VecDeque<Arc<Segment>>, next: Offset) -> Offset {
    segments.front().map_or(next, |segment| segment.base())
}

fn age(now: Now, mono: u64) -> Duration {
    Duration::from_nanos(now.mono.saturating_sub(mono))
}
