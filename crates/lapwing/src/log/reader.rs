//! How a thread reads a log: its own list of segments, looked up without a lock while nothing was sealed or let go.

use std::collections::VecDeque;
use std::io;
use std::ops::Range;
use std::sync::Arc;

use lapwing_wire::control::GapReason;
use lapwing_wire::position::Offset;

use super::Log;
use super::segment::{Entry, Segment, begin_of};
use super::store::Page;
use super::stored::{Stored, View};

/// One thread's way to read one view of one log; any number of cursors share it.
pub struct Reader {
    log: Arc<Log>,
    view: View,
    version: u64,
    segments: VecDeque<Arc<Stored>>,
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
        if view == View::Payload {
            log.on_payload_reader();
        }
        let mut reader = Self {
            log,
            view,
            version: u64::MAX,
            segments: VecDeque::new(),
            pages: VecDeque::new(),
        };
        reader.refresh();
        reader
    }

    /// The log.
    #[must_use]
    pub fn log(&self) -> &Arc<Log> {
        &self.log
    }

    /// Brings the list of segments up to date: an atomic load while nothing was sealed or let go. Gives the visible end up to
    /// which the list is complete, and whether the log ends there.
    ///
    /// The end is looked at before the list. The other way round an append between the two looks would count as seen though
    /// the list lacks it, and whoever waits for a new end would sleep over it.
    pub fn refresh(&mut self) -> (Offset, bool) {
        let ended = self.log.has_ended();
        let next = self.log.next();
        let version = self.log.memory().version();
        if version != self.version {
            self.log.memory().copy_segments(&mut self.segments);
            self.version = version;
        }
        (next, ended)
    }

    /// What lies at `cursor`: at most about `bytes_max` of frames, but at least one whole frame.
    #[must_use]
    pub fn read(&self, cursor: Offset, bytes_max: usize) -> Next<'_> {
        // The end is looked at before the segments: an append in between is seen at the next turn, its bell is rung.
        let ended = self.log.has_ended();
        let next = self.log.next();
        // Offsets at the front may have been let go while this list still holds them: what is here can be read.
        if cursor >= next {
            return if ended { Next::Ended } else { Next::CaughtUp };
        }
        if self
            .segments
            .front()
            .is_none_or(|stored| cursor < stored.canonical().base())
            && let Some(store) = self.log.store()
        {
            return self.read_loaded(cursor, store.first(), next, bytes_max);
        }
        let holding = self
            .segments
            .partition_point(|stored| stored.canonical().base() <= cursor)
            .saturating_sub(1);
        for stored in self.segments.range(holding..) {
            if let Some(found) = read_segment(stored.view(self.view), cursor, next, bytes_max) {
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

    /// Whether the list of segments is behind the log's.
    #[must_use]
    pub fn is_stale(&self) -> bool {
        self.version != self.log.memory().version()
    }

    /// Takes a page, so that [`Reader::read`] finds what is on it.
    pub fn put(&mut self, page: Page) {
        self.pages.truncate(PAGES_MAX - 1);
        self.pages.push_front(page);
    }

    /// Reads at a cursor that is behind what is in memory.
    fn read_loaded(&self, cursor: Offset, first: Offset, next: Offset, bytes_max: usize) -> Next<'_> {
        if cursor < first {
            return Next::Missed(cursor..first);
        }
        let found = self.pages.iter().find_map(|page| match page {
            Page::Missing { offsets, reason } if offsets.contains(&cursor) => {
                Some(Next::Lost(cursor..offsets.end.min(next), *reason))
            }
            Page::Frames(stored) if stored.canonical().base() <= cursor => {
                read_segment(stored.view(self.view), cursor, next, bytes_max)
            }
            Page::Missing { .. } | Page::Frames(_) | Page::End => None,
        });
        found.unwrap_or(Next::OnDisk)
    }
}

/// Brings what lies at `cursor` of a durable topic from its files. Blocks while the disk is read.
pub fn fetch(log: &Log, cursor: Offset) -> io::Result<Page> {
    let store = log.store().ok_or(io::ErrorKind::NotFound)?;
    let page = store.page(cursor)?;
    let found = match &page {
        Page::Frames(stored) => {
            let entries = stored.canonical().entries();
            stored.canonical().base() <= cursor && entries.last().is_some_and(|last| cursor <= last.offset)
        }
        Page::Missing { offsets, .. } => offsets.contains(&cursor),
        Page::End => false,
    };
    // Retention may have overtaken the cursor in between: the next read says so.
    match found || cursor < log.first() {
        true => Ok(page),
        false => Err(io::Error::other(format!("offset {cursor} is in no file"))),
    }
}

/// Pages that one thread holds of one topic, each of about 128 KiB.
const PAGES_MAX: usize = 4;

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

impl Drop for Reader {
    fn drop(&mut self) {
        if self.view == View::Payload {
            self.log.memory().on_payload_reader_gone();
        }
    }
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
    let fit = rest
        .partition_point(|entry| entry.end as usize - begin <= bytes_max)
        .max(1);
    let dense = |entry: &Entry, nth: usize| entry.offset.since(rest[0].offset) == nth as u64;
    let count = if dense(&rest[fit - 1], fit - 1) {
        fit
    } else {
        (1..fit).find(|&nth| !dense(&rest[nth], nth)).unwrap_or(fit)
    };
    Some(Run {
        bytes: segment.frames(at..at + count),
        entries: &rest[..count],
        begin,
    })
}

impl<'a> Run<'a> {
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
        let ends = |entry: &Entry| entry.end as usize - self.begin;
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
