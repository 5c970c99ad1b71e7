//! One thing that is wrong with a recording, or that it tells as missing.

use lapwing_wire::topic::TopicName;

use crate::recording::note::Missed;
use crate::recording::reader::Damage;

/// Something that is wrong, or missing and told.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    /// Where it was found.
    pub place: Place,
    /// Of which topic.
    pub topic: Option<TopicName>,
    /// What it is.
    pub what: What,
}

/// A line of a recording.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// In which of the files given, from 0.
    pub part: usize,
    /// In which line of it, from 1.
    pub line: u64,
}

/// What a finding is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum What {
    /// Offsets `from` up to, not including, `to` are not there, and nothing says so.
    Missing {
        /// The first.
        from: u64,
        /// The first that is there.
        to: u64,
    },
    /// Offsets `from` up to, not including, `to`, one after the other, that have come before.
    Repeated {
        /// The first.
        from: u64,
        /// The first behind them.
        to: u64,
    },
    /// Offsets `from` up to, not including, `to`, one after the other, that came behind a later one.
    OutOfOrder {
        /// The first.
        from: u64,
        /// The first behind them.
        to: u64,
    },
    /// Offsets that did not come, as the recording says.
    Gap {
        /// The first.
        from: u64,
        /// The first that came.
        to: u64,
        /// Why.
        reason: Missed,
    },
    /// Another history began, as the recording says: what came behind `last` of the old one is unknown.
    Reset {
        /// The last offset of the old one.
        last: u64,
    },
    /// The server lost what stands above, as the recording says.
    Orphaned {
        /// The first offset.
        from: u64,
        /// The first behind them.
        to: u64,
    },
    /// The history is another one, and nothing says so.
    HistoryChanged,
    /// A record says that `said` is to come next, and it is `next`.
    Contradiction {
        /// What the record says.
        said: u64,
        /// What is to come by the lines above.
        next: u64,
    },
    /// The wall clock went back, and no record says that it was set.
    TimeBack {
        /// By how many nanoseconds.
        by_ns: u64,
    },
    /// The monotonic clock went back.
    MonoBack {
        /// By how many nanoseconds.
        by_ns: u64,
    },
    /// A line that is not as it was written.
    Damaged(Damage),
    /// A compressed file that cannot be taken apart from here on.
    Unpackable,
    /// An intact line that says nothing that can be understood.
    NotUnderstood,
    /// The file ends within a line.
    Torn {
        /// How much of it is there.
        bytes: u64,
    },
    /// More topics than are looked at.
    TooManyTopics,
}

impl Finding {
    /// What was found at `place`, and of which topic.
    pub(super) fn new(place: Place, topic: Option<TopicName>, what: What) -> Self {
        Self { place, topic, what }
    }

    /// Takes a repeat of the offset behind it as part of itself: a run that is there twice is one finding.
    pub(super) fn goes_on_with(&mut self, next: &Self) -> bool {
        if (self.place.part, &self.topic) != (next.place.part, &next.topic) {
            return false;
        }
        match (&mut self.what, next.what) {
            (What::Repeated { to, .. }, What::Repeated { from, to: end })
            | (What::OutOfOrder { to, .. }, What::OutOfOrder { from, to: end })
                if *to == from =>
            {
                *to = end;
                true
            }
            _ => false,
        }
    }
}
