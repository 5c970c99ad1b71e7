//! Where a reader begins, and what it is told about that.

use std::sync::PoisonError;
use std::time::Duration;

use lapwing_wire::control::Answer;
use lapwing_wire::position::{Offset, Position};
use lapwing_wire::start::Start;
use lapwing_wire::time::WallTime;

use super::Log;
use super::lineage::Resume;
use crate::clock::Now;
#[cfg(feature = "planted")]
use crate::planted::{self, Bug};

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
    /// The generation of the log that all this is of.
    pub generation: u16,
}

impl Log {
    /// Where a reader that asks for `start` begins. A position ahead of the log, or of another history, is a reset.
    #[must_use]
    pub fn grant(&self, start: Start, now: Now) -> Grant {
        let lineage = self.lineage.read().unwrap_or_else(PoisonError::into_inner);
        let generation = self.generation();
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
            Start::Offset(offset) if offset > next && offset <= self.reach() => Grant::at(offset, first, next),
            Start::Offset(offset) => Grant::from(offset, first, next),
            // It holds what lies behind the damage already, and goes on there when that is repaired.
            Start::Position(Position { epoch, offset })
                if self.is_damaged && epoch == lineage.current() && offset > next =>
            {
                Grant::at(offset, first, next)
            }
            Start::Position(Position { epoch, offset }) => match lineage.answer(epoch, offset, first, self.reach()) {
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
            generation,
            ..grant
        }
    }

    /// Whether memory goes back so far.
    pub(super) fn is_remembered(&self, now: Now, ago: Duration) -> bool {
        self.memory.since(now, ago).is_some_and(|(_, certain)| certain)
    }

    /// The first offset appended within the last `ago`.
    fn since(&self, now: Now, ago: Duration) -> Offset {
        if let Some(origin) = self.origin().filter(|_| !self.is_remembered(now, ago)) {
            // It was settled before; who did not wait begins with what memory has.
            let since = origin.since(ago).unwrap_or(self.memory.first());
            return since.clamp(self.first(), self.next());
        }
        let since = match (self.memory.since(now, ago), self.store()) {
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
            generation: 0,
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
