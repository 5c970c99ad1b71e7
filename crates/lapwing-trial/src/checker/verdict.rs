//! What the checker found: violations, figures, and the slice of history around the first violation.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use crate::epoch::Epoch;

/// What must hold, by the numbers of `docs/reliability.md`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub enum Invariant {
    /// No two values at one position.
    I1,
    /// No message at two offsets of one epoch.
    I2,
    /// Every message was sent before, and is whole.
    I3,
    /// No position twice in a file.
    I4,
    /// Offsets rise in a file.
    I5,
    /// The next offset is the one before plus one, or a notice covers exactly the jump.
    I6,
    /// The epoch changes with a notice, or by lineage at the exact cut.
    I7,
    /// What was acknowledged is kept.
    I8,
    /// A durable topic keeps its epoch, and what is durable stays so.
    I9,
    /// After the faults every listener catches up, and every publish is taken.
    I10,
    /// A dump has every offset from the first to the next.
    I11,
    /// A publish is stored at most once, whole, and a publisher's in their order.
    I12,
    /// What is told as missing really is.
    I13,
    /// Memory, open files and threads return to where they were.
    I14,
    /// Blocks and clocks are told as they were.
    I15,
    /// Nobody was told `ok` while holding what the server had lost.
    I16,
    /// With `slow=wait` nothing that a connected listener had still to read is let go.
    I17,
    /// What was delivered is kept.
    P9,
}

/// A difference between what was promised and what happened.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Violation {
    /// What did not hold.
    pub invariant: Invariant,
    /// The topic.
    pub topic: String,
    /// The history, if it is about one.
    pub epoch: Option<Epoch>,
    /// The place, if it is about one.
    pub offset: Option<u64>,
    /// Publisher and number of the publish, if it is about one.
    pub publish: Option<(u32, u64)>,
    /// The evidence that shows it.
    pub origin: String,
    /// The line within that evidence, from 1.
    pub line: Option<u64>,
    /// When it happened, on the monotonic clock.
    pub at: Option<u64>,
    /// In a sentence.
    pub said: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {}", self.invariant, self.topic)?;
        if let Some(offset) = self.offset {
            write!(f, " {offset}")?;
        }
        if let Some(epoch) = self.epoch {
            write!(f, " of {epoch:?}")?;
        }
        write!(f, ": {}", self.said)?;
        match self.line {
            Some(line) => write!(f, " ({}, line {line})", self.origin),
            None if self.origin.is_empty() => Ok(()),
            None => write!(f, " ({})", self.origin),
        }
    }
}

/// What was counted.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Figures {
    /// Messages that were sent at least once.
    pub messages: u64,
    /// Messages that were acknowledged.
    pub acknowledged: u64,
    /// Publishes whose outcome was unknown at least once.
    pub unknown: u64,
    /// Answers that said that it was a repetition.
    pub repeated: u64,
    /// Bodies that waited in vain for room, by topics that hold back their sources.
    pub held: BTreeMap<String, u64>,
    /// Messages in the dumps.
    pub dumped: u64,
    /// Messages in the files.
    pub delivered: u64,
    /// Gaps that were told.
    pub gaps: u64,
    /// Offsets that were told as missing.
    pub missing: u64,
    /// New histories that were told.
    pub resets: u64,
    /// Lost ends that were told.
    pub diverged: u64,
    /// Lost connections that came back.
    pub reconnects: u64,
    /// Blocks that were timed.
    pub blocks: u64,
    /// Last lines that were not whole.
    pub torn: u64,
    /// Histories of all topics together.
    pub epochs: u64,
    /// Faults by kind.
    pub faults: BTreeMap<String, u64>,
}

/// The end of a check.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Verdict {
    /// The first violations of each kind, at most [`super::LISTED_MAX`].
    pub violations: Vec<Violation>,
    /// How many there are of each kind.
    pub counts: BTreeMap<Invariant, u64>,
    /// What was counted.
    pub figures: Figures,
    /// What stands around the first violation, in the order of time.
    pub slice: Vec<String>,
}

impl Verdict {
    /// Nothing differs from what was promised.
    pub fn is_proven(&self) -> bool {
        self.counts.is_empty()
    }

    /// The invariants that did not hold.
    pub fn broken(&self) -> Vec<Invariant> {
        self.counts.keys().copied().collect()
    }

    /// Takes a violation.
    pub(crate) fn take(&mut self, violation: Violation) {
        let count = self.counts.entry(violation.invariant).or_default();
        *count += 1;
        if *count <= super::LISTED_MAX {
            self.violations.push(violation);
        }
    }
}
