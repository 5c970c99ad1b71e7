//! How a thread reads a log: its own list of segments, looked up without a lock while nothing was sealed or let go.

use std::collections::VecDeque;
use std::io;
use std::ops::Range;
use std::sync::Arc;

use lapwing_wire::control::GapReason;
use lapwing_wire::deflate::Deflater;
use lapwing_wire::position::Offset;

use super::Log;
use super::cut::Cuts;
use super::segment::{Entry, Segment, begin_of};
use super::store::Page;

/// A form in which the frames of a log can be had.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum View {
    /// Text frames with the envelope: what the log holds.
    Canonical,
    /// The bare payload: text frames for JSON and text, binary frames for bytes.
    Payload,
    /// Envelopes, compressed where that is shorter and they are new.
    Deflated,
    /// Bare payloads, compressed likewise.
    DeflatedPayload,
    /// Envelopes as server-sent events: text, and no frames.
    Events,
    /// Binary frames of the messages that are arrays, and envelopes of all others.
    Arrays,
}

/// One thread's way to read one view of one log; any number of cursors share it.
pub struct Reader {
    view: View,
    held: Held,
    /// Of a view that the log does not hold: what was made of it.
    cuts: Option<Cuts>,
}

/// The canonical frames, as far as this thread knows of them.
struct Held {
    log: Arc<Log>,
    version: u64,
    /// The log's generation that the segments are of.
    generation: u16,
    segments: VecDeque<Arc<Segment>>,
    /// What was brought last of what is no longer in memory, newest first: laggards at a few places share it.
    pages: VecDeque<Page>,
}

/// What lies at a cursor.
pub enum Next<'a> {
    /// Frames, one behind the other.
    Frames(Run<'a>),
    /// These offsets are gone, or never were; reading goes on at the end of the range.
    Missed(Range<Offset>),
    /// These offsets are not in the files, and why; reading goes on at the end of the range.
    Lost(Range<Offset>, GapReason),
    /// They are in a file: what [`fetch`] brings goes to [`Reader::put`] first.
    OnDisk,
    /// Nothing yet.
    CaughtUp,
    /// Nothing, and nothing will come.
    Ended,
}

/// Frames of consecutive offsets, as one slice.
#[derive(Clone, Copy)]
pub struct Run<'a> {
    bytes: &'a [u8],
    entries: &'a [Entry],
    /// Where in the segment the slice begins.
    begin: usize,
}

impl Reader {
    /// A reader of one view.
    #[must_use]
    pub fn new(log: Arc<Log>, view: View) -> Self {
        let generation = log.generation();
        let mut reader = Self {
            view,
            cuts: (view != View::Canonical).then(|| Cuts::new(&log, view, generation)),
            held: Held {
                log,
                version: u64::MAX,
                generation,
                segments: VecDeque::new(),
                pages: VecDeque::new(),
            },
        };
        reader.refresh();
        reader
    }

    /// What it reads.
    #[must_use]
    pub fn view(&self) -> View {
        self.view
    }

    /// The log.
    #[must_use]
    pub fn log(&self) -> &Arc<Log> {
        &self.held.log
    }

    /// Brings the list of segments up to date: an atomic load while nothing was sealed or let go. Gives the visible end up to
    /// which the list is complete, and whether the log ends there.
    ///
    /// The end is looked at before the list. The other way round an append between the two looks would count as seen though
    /// the list lacks it, and whoever waits for a new end would sleep over it.
    pub fn refresh(&mut self) -> (Offset, bool) {
        let held = &mut self.held;
        let ended = held.log.has_ended();
        let next = held.log.next();
        let version = held.log.memory().version();
        if version != held.version {
            let generation = held.log.memory().copy_segments(&mut held.segments);
            held.version = version;
            if std::mem::replace(&mut held.generation, generation) != generation {
                held.pages.clear();
                self.cuts = (self.view != View::Canonical).then(|| Cuts::new(&held.log, self.view, generation));
            }
        }
        (next, ended)
    }

    /// The generation of the log that it reads: a cursor of another one means nothing here.
    #[must_use]
    pub fn generation(&self) -> u16 {
        self.held.generation
    }

    /// When the first message at `offset` or behind it was appended, in nanoseconds of the monotonic clock; none when there is none in
    /// memory.
    #[must_use]
    pub fn appended(&self, offset: Offset) -> Option<u64> {
        let segments = self.held.segments.range(self.held.holding(offset)..);
        let mut entries = segments.filter_map(|segment| segment.entries().get(segment.find(offset)));
        Some(entries.next()?.mono)
    }

    /// Makes what [`Reader::read`] will give at `cursor`, in a view that the log does not hold.
    pub fn prepare(&mut self, cursor: Offset, deflater: &mut Deflater) {
        let Some(cuts) = &mut self.cuts else { return };
        if cursor >= self.held.log.next() || cuts.hold(cursor) {
            return;
        }
        let mut from = cursor;
        let reads = if self.view == View::Payload { READS_PER_CUT } else { 1 };
        for _ in 0..reads {
            let Next::Frames(run) = self.held.read(from, CUT_FROM_BYTES) else {
                break;
            };
            match cuts.push(&run, deflater) {
                Some(next) => from = next,
                None => break,
            }
        }
    }

    /// What lies at `cursor`: at most about `bytes_max` of frames, but at least one whole frame.
    ///
    /// In a view that the log does not hold, frames are found where [`Reader::prepare`] was asked for them.
    #[must_use]
    pub fn read(&self, cursor: Offset, bytes_max: usize) -> Next<'_> {
        let Some(cuts) = &self.cuts else {
            return self.held.read(cursor, bytes_max);
        };
        if let Some(run) = cuts.read(cursor, bytes_max) {
            return Next::Frames(run);
        }
        match self.held.read(cursor, bytes_max) {
            // They came after the cursor was prepared, and their bell is rung.
            Next::Frames(_) => Next::CaughtUp,
            other => other,
        }
    }

    /// Whether the list of segments is behind the log's.
    #[must_use]
    pub fn is_stale(&self) -> bool {
        self.held.is_stale()
    }

    /// Takes a page, so that [`Reader::read`] finds what is on it. One of another generation is let go.
    pub fn put(&mut self, fetched: Fetched) {
        if fetched.generation == self.held.generation {
            self.held.pages.truncate(PAGES_MAX - 1);
            self.held.pages.push_front(fetched.page);
        }
    }
}

impl Held {
    fn read(&self, cursor: Offset, bytes_max: usize) -> Next<'_> {
        // The end is looked at before the segments: an append in between is seen at the next turn, its bell is rung.
        let ended = self.log.has_ended();
        let next = self.log.next();
        // Offsets at the front may have been let go while this list still holds them: what is here can be read.
        if cursor >= next {
            return if ended { Next::Ended } else { Next::CaughtUp };
        }
        if self.segments.front().is_none_or(|segment| cursor < segment.base()) && self.log.is_backed() {
            return self.read_loaded(cursor, self.log.first(), next, bytes_max);
        }
        for segment in self.segments.range(self.holding(cursor)..) {
            if let Some(found) = read_segment(segment, cursor, next, bytes_max) {
                return found;
            }
        }
        // With an old list it cannot be told whether the messages are gone or not yet seen; a refresh comes first.
        if self.is_stale() {
            Next::CaughtUp
        } else {
            Next::Missed(cursor..next)
        }
    }

    /// Which segment holds an offset, if one does. Most cursors are in the newest, so that one is looked at first.
    fn holding(&self, offset: Offset) -> usize {
        match self.segments.back() {
            Some(newest) if newest.base() <= offset => self.segments.len() - 1,
            _ => self
                .segments
                .partition_point(|segment| segment.base() <= offset)
                .saturating_sub(1),
        }
    }

    fn is_stale(&self) -> bool {
        self.version != self.log.memory().version()
    }

    /// Reads at a cursor that is behind what is in memory.
    fn read_loaded(&self, cursor: Offset, first: Offset, next: Offset, bytes_max: usize) -> Next<'_> {
        let found = self.pages.iter().find_map(|page| match page {
            Page::Missing { offsets, reason } if offsets.contains(&cursor) => {
                Some(Next::Lost(cursor..offsets.end.min(next), *reason))
            }
            Page::Frames(segment) if segment.base() <= cursor => read_segment(segment, cursor, next, bytes_max),
            Page::Missing { .. } | Page::Frames(_) | Page::End => None,
        });
        // What is here can be read also when its file was let go meanwhile.
        match found {
            Some(found) => found,
            None if cursor < first => Next::Missed(cursor..first),
            None => Next::OnDisk,
        }
    }
}

/// A page that was brought for a reader.
pub struct Fetched {
    page: Page,
    /// The log's generation when it was asked for.
    generation: u16,
}

/// Brings what lies at `cursor` from what stands behind the memory of a topic: files, or a stream elsewhere. Blocks meanwhile.
pub fn fetch(log: &Log, cursor: Offset) -> io::Result<Fetched> {
    let generation = log.generation();
    let page = match (log.store(), log.origin()) {
        (Some(store), _) => store.page(cursor)?,
        (None, Some(origin)) => origin.page(cursor)?,
        (None, None) => return Err(io::ErrorKind::NotFound.into()),
    };
    let found = match &page {
        Page::Frames(segment) => {
            let last = segment.entries().last();
            segment.base() <= cursor && last.is_some_and(|last| cursor <= last.offset)
        }
        Page::Missing { offsets, .. } => offsets.contains(&cursor),
        Page::End => false,
    };
    // Retention may have overtaken the cursor in between: the next read says so.
    match found || cursor < log.first() {
        true => Ok(Fetched { page, generation }),
        false => Err(io::Error::other(format!("offset {cursor} is in no file"))),
    }
}

/// Pages that one thread holds of one topic, each of about 128 KiB.
const PAGES_MAX: usize = 4;
/// Canonical frames that are looked at together when others are made of them.
const CUT_FROM_BYTES: usize = 64 << 10;
/// Short payloads lie in long envelopes: more are looked at until a write is full, and no more than this for one turn. To
/// compress takes longer than to cut, so that is done of one read a turn.
const READS_PER_CUT: usize = 4;

/// What lies at `cursor` in a segment that begins at it or before it; none when the segment ends before it.
fn read_segment(segment: &Segment, cursor: Offset, next: Offset, bytes_max: usize) -> Option<Next<'_>> {
    let at = segment.find(cursor);
    let entry = segment.entries().get(at)?;
    if entry.offset != cursor {
        return Some(Next::Missed(cursor..entry.offset.min(next)));
    }
    // What lies beyond the visible end belongs to an append that is not whole yet.
    Some(match run(segment, at, bytes_max, next) {
        Some(run) => Next::Frames(run),
        None => Next::CaughtUp,
    })
}

/// The frames from entry `at` on: of consecutive offsets below `end`, at least one, and no more than `bytes_max` beyond
/// that; none when not even the first is below `end`.
fn run(segment: &Segment, at: usize, bytes_max: usize, end: Offset) -> Option<Run<'_>> {
    let entries = segment.entries();
    let begin = begin_of(entries, at);
    let visible = entries[at..].partition_point(|entry| entry.offset < end);
    let rest = &entries[at..at + visible];
    if rest.is_empty() {
        return None;
    }
    let fit = fitting(rest, begin, bytes_max);
    let dense = |entry: &Entry, nth: usize| entry.offset.since(rest[0].offset) == nth as u64;
    let count = if dense(&rest[fit - 1], fit - 1) {
        fit
    } else {
        (1..fit).find(|&nth| !dense(&rest[nth], nth)).unwrap_or(fit)
    };
    Some(Run::new(segment.frames(at..at + count), &rest[..count], begin))
}

/// How many of these frames, of which the first begins at `begin`, are no longer than `bytes_max` together; at least one.
#[must_use]
pub fn fitting(entries: &[Entry], begin: usize, bytes_max: usize) -> usize {
    entries
        .partition_point(|entry| entry.end as usize - begin <= bytes_max)
        .max(1)
}

impl<'a> Run<'a> {
    /// Frames that begin at `begin` of what their entries count from.
    #[must_use]
    pub fn new(bytes: &'a [u8], entries: &'a [Entry], begin: usize) -> Self {
        Self { bytes, entries, begin }
    }

    /// Where in its bytes the frame of one of its entries ends.
    #[must_use]
    pub fn end_of(&self, entry: &Entry) -> usize {
        entry.end as usize - self.begin
    }

    /// All frames as bytes for a socket.
    #[must_use]
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The frames' index entries.
    #[must_use]
    pub fn entries(&self) -> &'a [Entry] {
        self.entries
    }

    /// What it means that a socket took the first `written` bytes.
    #[must_use]
    pub fn split(&self, written: usize) -> Split<'a> {
        let ends = |entry: &Entry| self.end_of(entry);
        let whole = self.entries.partition_point(|entry| ends(entry) <= written);
        let whole_end = whole.checked_sub(1).map_or(0, |last| ends(&self.entries[last]));
        // A frame cut in the middle is the socket's to finish: the cursor goes behind it.
        let cut = written > whole_end;
        let taken = whole + usize::from(cut);
        let rest = if cut {
            &self.bytes[written..ends(&self.entries[whole])]
        } else {
            &[]
        };
        Split {
            taken,
            last: taken.checked_sub(1).map(|last| self.entries[last].offset),
            rest,
        }
    }
}

/// How far a write came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Split<'a> {
    /// How many frames went out, the cut one included.
    pub taken: usize,
    /// The offset of the last of them.
    pub last: Option<Offset>,
    /// What of the cut frame the socket still has to send.
    pub rest: &'a [u8],
}
