//! A run of frames in memory: a fixed allocation with one writer and any number of readers, without a lock between them.
//!
//! All `unsafe` of the log is in this file. What it rests on: a [`SegmentWriter`] is the only writer and cannot be cloned;
//! it writes only cells that are not yet visible; it makes them visible by one Release store of `visible`; readers look
//! only at cells below what they loaded with Acquire, and those never change again. Loom tries every interleaving of that
//! (feature `loom`).

use std::ops::Range;
use std::sync::Arc;

use lapwing_wire::envelope::Kind;
use lapwing_wire::position::Offset;
use lapwing_wire::time::WallTime;

use super::retention::Room;
use sync::{AtomicUsize, Ordering};

/// Frames that lie one behind the other, and an index that says where each ends and what it is.
pub struct Segment {
    base: Offset,
    frames: Cells<u8>,
    index: Cells<Entry>,
    /// How many entries may be read; published by Release, read by Acquire.
    visible: AtomicUsize,
}

/// What the index knows of one frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The message's offset; offsets rise, and may have holes.
    pub offset: Offset,
    /// Where its frame ends in the segment; it begins where the one before ends.
    pub end: u32,
    /// Where the value of its `data` begins, from the begin of the frame.
    pub value_begin: u32,
    /// Where that value ends, from the begin of the frame.
    pub value_end: u32,
    /// What its payload is.
    pub kind: Kind,
    /// Which of the topic's publishers appended it, 0 for the topic's own source.
    pub source: u32,
    /// That publisher's number for it.
    pub sequence: u64,
    /// When it was appended, on the wall clock.
    pub wall: WallTime,
    /// When it was appended, in nanoseconds of this process's monotonic clock.
    pub mono: u64,
}

impl Segment {
    /// A segment for at most `frame_bytes` of frames and `entries` of them, and its one writer.
    ///
    /// The memory is asked for at once but touched only as it fills, so an empty segment costs next to nothing.
    #[must_use]
    pub fn create(base: Offset, frame_bytes: usize, entries: usize) -> (SegmentWriter, Arc<Self>) {
        let segment = Arc::new(Self {
            base,
            frames: Cells::zeroed(frame_bytes),
            index: Cells::zeroed(entries),
            visible: AtomicUsize::new(0),
        });
        (
            SegmentWriter {
                segment: segment.clone(),
                last: None,
                entries: 0,
                bytes: 0,
            },
            segment,
        )
    }

    /// A segment that is whole from the start and never grows: frames read from disk. It takes the memory as it is.
    ///
    /// # Panics
    /// When the entries do not rise, or end elsewhere than the frames.
    #[must_use]
    pub fn sealed(base: Offset, frames: Vec<u8>, entries: Vec<Entry>) -> Arc<Self> {
        let rises = |pair: &[Entry]| pair[0].offset < pair[1].offset && pair[0].end <= pair[1].end;
        assert!(entries.windows(2).all(rises), "offsets and ends rise");
        assert_eq!(
            begin_of(&entries, entries.len()),
            frames.len(),
            "the last frame ends the bytes"
        );
        Arc::new(Self {
            base,
            visible: AtomicUsize::new(entries.len()),
            frames: Cells::filled(frames),
            index: Cells::filled(entries),
        })
    }

    /// The offset that its first message has, or would have.
    #[must_use]
    pub fn base(&self) -> Offset {
        self.base
    }

    /// Memory of frames and index; what is asked for counts, not only what is filled.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        (self.frames.len() + self.index.len() * size_of::<Entry>()) as u64
    }

    /// The index of what is visible now.
    #[must_use]
    pub fn entries(&self) -> &[Entry] {
        let visible = self.visible.load(Ordering::Acquire);
        // SAFETY: entries below `visible` were written before the Release store that this Acquire load saw.
        unsafe { self.index.read(0..visible) }
    }

    /// The bytes of the frames `run`, which must be visible: indices into [`Segment::entries`].
    ///
    /// # Panics
    /// When `run` is not within the visible entries.
    #[must_use]
    pub fn frames(&self, run: Range<usize>) -> &[u8] {
        let entries = self.entries();
        assert!(
            run.start <= run.end && run.end <= entries.len(),
            "frames {run:?} of {} visible ones",
            entries.len()
        );
        let begin = begin_of(entries, run.start);
        let end = begin_of(entries, run.end);
        // SAFETY: a visible entry's frame ends at its `end`, and those bytes were written before the entry became visible.
        unsafe { self.frames.read(begin..end) }
    }

    /// Where the entry of `offset` is, or of the first one behind it.
    #[must_use]
    pub fn find(&self, offset: Offset) -> usize {
        let entries = self.entries();
        // Offsets are dense but for rare holes, so the first guess nearly always holds.
        let guess = usize::try_from(offset.since(self.base)).unwrap_or(usize::MAX);
        match entries.get(guess) {
            Some(entry) if entry.offset == offset => guess,
            _ => entries.partition_point(|entry| entry.offset < offset),
        }
    }
}

/// Where the frame of entry `at` begins; for `at` one beyond the last, where the last ends.
#[must_use]
pub fn begin_of(entries: &[Entry], at: usize) -> usize {
    match at.checked_sub(1) {
        Some(before) => entries[before].end as usize,
        None => 0,
    }
}

/// The one writer of a segment.
pub struct SegmentWriter {
    segment: Arc<Segment>,
    last: Option<Offset>,
    entries: usize,
    bytes: usize,
}

impl SegmentWriter {
    /// Whether a frame of `frame_bytes` fits.
    #[must_use]
    pub fn has_room(&self, frame_bytes: usize) -> bool {
        self.entries < self.segment.index.len() && frame_bytes <= self.segment.frames.len() - self.bytes
    }

    /// Writes a frame behind the last, not yet visible; `entry.end` is filled in here.
    ///
    /// # Panics
    /// When there is no room ([`SegmentWriter::has_room`]), or the offset does not rise.
    pub fn push(&mut self, frame: &[u8], mut entry: Entry) {
        assert!(self.has_room(frame.len()), "the segment is full");
        assert!(self.last < Some(entry.offset), "offsets rise");
        let end = self.bytes + frame.len();
        entry.end = u32::try_from(end).expect("a segment is far smaller than 4 GiB");
        // SAFETY: this is the only writer, the cells from `bytes` and `entries` on were never made visible, and they exist
        // since `has_room` was asked.
        unsafe {
            self.segment.frames.write(self.bytes, frame);
            self.segment.index.write(self.entries, &[entry]);
        }
        self.bytes = end;
        self.entries += 1;
        self.last = Some(entry.offset);
    }

    /// Makes everything pushed so far visible, at once.
    pub fn publish(&self) {
        self.segment.visible.store(self.entries, Ordering::Release);
    }

    /// The segment that this writes.
    #[must_use]
    pub fn segment(&self) -> &Arc<Segment> {
        &self.segment
    }

    /// What of it is used.
    #[must_use]
    pub fn used(&self) -> Room {
        Room {
            bytes: self.bytes,
            entries: self.entries,
        }
    }
}

/// A type for which all bytes zero are a valid value, so that a large allocation need not be touched.
///
/// # Safety
/// All bytes zero must be a valid value of the type.
unsafe trait Zeroable: Copy {}
// SAFETY: 0 is a number.
unsafe impl Zeroable for u8 {}
// SAFETY: all fields are numbers but `kind`, whose variant 0 the line below holds in place.
unsafe impl Zeroable for Entry {}
const _: () = assert!(Kind::Json as u8 == 0);

/// A fixed number of cells, each written once by one writer and read by many afterwards.
struct Cells<T> {
    cells: Box<[std::cell::UnsafeCell<T>]>,
    /// Under loom each cell has a shadow that loom watches: a read of a cell that was not handed over is a found race.
    #[cfg(feature = "loom")]
    shadow: Box<[loom::cell::UnsafeCell<()>]>,
}

// SAFETY: the cells hold plain data; who may touch which cell when is the contract of `read` and `write`.
unsafe impl<T: Send> Send for Cells<T> {}
// SAFETY: as above.
unsafe impl<T: Send + Sync> Sync for Cells<T> {}

impl<T: Zeroable> Cells<T> {
    fn zeroed(len: usize) -> Self {
        // SAFETY: all bytes zero are a valid T, and UnsafeCell<T> has the layout of T.
        let cells = unsafe { Box::<[std::cell::UnsafeCell<T>]>::new_zeroed_slice(len).assume_init() };
        Self {
            cells,
            #[cfg(feature = "loom")]
            shadow: (0..len).map(|_| loom::cell::UnsafeCell::new(())).collect(),
        }
    }

    /// Cells that were all written before.
    fn filled(cells: Vec<T>) -> Self {
        Self {
            #[cfg(feature = "loom")]
            shadow: cells.iter().map(|_| loom::cell::UnsafeCell::new(())).collect(),
            cells: cells.into_iter().map(std::cell::UnsafeCell::new).collect(),
        }
    }

    fn len(&self) -> usize {
        self.cells.len()
    }

    /// The cells in `range`.
    ///
    /// # Safety
    /// They must have been written, that write must happen before this read, and nobody may write them again.
    unsafe fn read(&self, range: Range<usize>) -> &[T] {
        #[cfg(feature = "loom")]
        self.shadow[range.clone()].iter().for_each(|cell| cell.with(|_| ()));
        let cells = &self.cells[range];
        // SAFETY: UnsafeCell<T> has the layout of T, and by the contract nobody writes these cells any more.
        unsafe { std::slice::from_raw_parts(cells.as_ptr().cast::<T>(), cells.len()) }
    }

    /// Writes `values` from cell `at` on.
    ///
    /// # Safety
    /// Only one thread writes, and nobody may have been told of these cells yet.
    unsafe fn write(&self, at: usize, values: &[T]) {
        #[cfg(feature = "loom")]
        self.shadow[at..at + values.len()]
            .iter()
            .for_each(|cell| cell.with_mut(|_| ()));
        let cells = &self.cells[at..at + values.len()];
        // SAFETY: the slice above is in bounds; by the contract no reference to these cells exists elsewhere.
        unsafe { std::ptr::copy_nonoverlapping(values.as_ptr(), cells.as_ptr().cast::<T>().cast_mut(), values.len()) };
    }
}

/// The real atomics, or loom's.
mod sync {
    #[cfg(feature = "loom")]
    pub use loom::sync::atomic::{AtomicUsize, Ordering};
    #[cfg(not(feature = "loom"))]
    pub use std::sync::atomic::{AtomicUsize, Ordering};
}

#[cfg(test)]
pub(crate) fn entry(offset: u64) -> Entry {
    Entry {
        offset: Offset::new(offset),
        end: 0,
        value_begin: 0,
        value_end: 0,
        kind: Kind::Json,
        source: 0,
        sequence: 0,
        wall: WallTime::default(),
        mono: 0,
    }
}

#[cfg(all(test, not(feature = "loom")))]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_seen_before_it_is_published() {
        let (mut writer, segment) = Segment::create(Offset::new(5), 16, 4);
        writer.push(b"abc", entry(5));
        writer.push(b"de", entry(6));
        assert!(segment.entries().is_empty());
        writer.publish();
        assert_eq!(segment.frames(0..2), b"abcde");
        assert_eq!(segment.frames(1..2), b"de");
        assert_eq!(segment.frames(2..2), b"");
    }

    #[test]
    fn room_ends_with_bytes_or_with_entries() {
        let (mut writer, _) = Segment::create(Offset::ZERO, 4, 2);
        assert!(writer.has_room(4) && !writer.has_room(5));
        writer.push(b"a", entry(0));
        writer.push(b"b", entry(1));
        assert!(!writer.has_room(1));
    }

    #[test]
    fn offsets_are_found_across_holes() {
        let (mut writer, segment) = Segment::create(Offset::new(10), 64, 8);
        for offset in [10, 11, 15, 16, 40] {
            writer.push(b"x", entry(offset));
        }
        writer.publish();
        for (offset, at) in [
            (0, 0),
            (10, 0),
            (11, 1),
            (12, 2),
            (15, 2),
            (16, 3),
            (17, 4),
            (40, 4),
            (41, 5),
        ] {
            assert_eq!(segment.find(Offset::new(offset)), at, "{offset}");
        }
    }

    #[test]
    fn a_sealed_segment_is_visible_whole() {
        let entries = [(5, 3), (6, 5)].map(|(offset, end)| Entry { end, ..entry(offset) });
        let segment = Segment::sealed(Offset::new(5), b"abcde".to_vec(), entries.to_vec());
        assert_eq!(
            (segment.frames(0..2), segment.frames(1..2)),
            (&b"abcde"[..], &b"de"[..])
        );
        assert_eq!(segment.find(Offset::new(6)), 1);
    }

    #[test]
    fn an_empty_frame_is_a_frame() {
        let (mut writer, segment) = Segment::create(Offset::ZERO, 4, 4);
        writer.push(b"", entry(0));
        writer.push(b"a", entry(1));
        writer.publish();
        assert_eq!((segment.frames(0..1), segment.frames(1..2)), (&b""[..], &b"a"[..]));
    }
}

#[cfg(all(test, feature = "loom"))]
mod loom_tests {
    use super::*;

    #[test]
    fn a_reader_sees_whole_frames_or_none() {
        loom::model(|| {
            let (mut writer, segment) = Segment::create(Offset::ZERO, 4, 2);
            let reader = loom::thread::spawn(move || {
                for _ in 0..2 {
                    let visible = segment.entries().len();
                    let bytes = segment.frames(0..visible);
                    assert_eq!(bytes, &b"abcd"[..visible * 2]);
                }
            });
            writer.push(b"ab", entry(0));
            writer.publish();
            writer.push(b"cd", entry(1));
            writer.publish();
            reader.join().expect("the reader holds");
        });
    }
}
