//! What one listener's file says, line after line: where it stands in each topic.

use std::collections::HashMap;

use super::Place;

/// A listener's place in one topic.
#[derive(Debug, Default)]
pub struct Track {
    /// The history that it follows.
    pub history: Option<usize>,
    /// The offset that must come next.
    pub expected: Option<u64>,
    /// What the file has: history, first offset, one above the last.
    spans: Vec<(usize, u64, u64)>,
    /// The offset before which the connection was lost, or something else came between, latest last.
    pub disturbed: Option<u64>,
    /// When its latest message came.
    pub latest: Option<u64>,
    /// Nanoseconds of the blocks that count.
    pub clean_ns: f64,
    /// What a topic that holds back its source let go, until something says that the listener had been away: whoever comes
    /// back writes down first what it missed, and then that it is back.
    pub let_go: Option<ToldGap>,
}

/// A gap that was told.
#[derive(Clone, Debug)]
pub struct ToldGap {
    /// Of which topic.
    pub topic: usize,
    /// In which history.
    pub history: usize,
    /// The first offset that is missing.
    pub from: u64,
    /// The next that is not.
    pub to: u64,
    /// The file that says so.
    pub origin: String,
    /// The line that says so.
    pub line: u64,
    /// When it was told.
    pub at: Option<u64>,
}

impl ToldGap {
    /// Where it stands.
    pub fn place(&self) -> Place<'_> {
        Place {
            origin: &self.origin,
            line: self.line,
            at: self.at,
        }
    }
}

impl Track {
    /// Notes that the file has a position.
    pub fn has_now(&mut self, history: usize, offset: u64) {
        match self.spans.last_mut() {
            Some((of, _, end)) if *of == history && *end == offset => *end += 1,
            _ => self.spans.push((history, offset, offset + 1)),
        }
    }

    /// Whether the file has a position already.
    pub fn has(&self, history: usize, offset: u64) -> bool {
        self.spans
            .iter()
            .any(|(of, start, end)| *of == history && (*start..*end).contains(&offset))
    }

    /// One above the last offset that the file has.
    pub fn end(&self) -> Option<u64> {
        self.spans.last().map(|(.., end)| *end)
    }

    /// The highest offset that the file has of a history, plus one.
    pub fn end_of(&self, history: usize) -> Option<u64> {
        self.spans
            .iter()
            .filter(|(of, ..)| *of == history)
            .map(|(_, _, end)| *end)
            .max()
    }
}

/// A listener's file so far.
#[derive(Debug, Default)]
pub struct Reader {
    /// Its index among the checker's origins.
    pub witness: u16,
    /// It must have everything from offset 0 on.
    pub from_start: bool,
    /// It must have caught up at the end.
    pub to_end: bool,
    /// Topics that it follows.
    pub follows: Vec<usize>,
    /// Its places, by topic.
    pub tracks: HashMap<usize, Track>,
    /// The latest time of the monotonic clock.
    pub mono: Option<u64>,
    /// The first time of the monotonic clock in the file.
    pub began: Option<u64>,
    /// A line without a newline was read; nothing may follow.
    pub torn: bool,
}
