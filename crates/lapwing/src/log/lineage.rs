//! The histories of a log: which epochs it went through, and what a reader of each of them may be told.

use std::ops::Range;

use lapwing_wire::position::{Epoch, Offset};

/// Epochs and the offsets at which each began, oldest first; never empty.
///
/// Readers at or below the offset where an epoch ended hold nothing that the next one does not have: they go on in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lineage {
    epochs: Vec<(Epoch, Offset)>,
}

/// What follows for a reader that comes with a position.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resume {
    /// Everything from its position on is here.
    Ok {
        /// Where it goes on.
        from: Offset,
    },
    /// Its position is known, but messages behind it are no longer kept.
    Gap {
        /// What is gone.
        missing: Range<Offset>,
    },
    /// It holds messages that this log has lost: those from `at` on.
    Diverged {
        /// Where its history ended.
        at: Offset,
        /// Where it goes on: at `at`, or at the first message kept.
        from: Offset,
    },
    /// Its epoch is unknown, or it is ahead of the log: nothing can be said.
    Reset {
        /// Where it begins anew.
        from: Offset,
    },
}

impl Lineage {
    /// A log that begins with one epoch.
    #[must_use]
    pub fn new(epoch: Epoch) -> Self {
        Self {
            epochs: vec![(epoch, Offset::ZERO)],
        }
    }

    /// The lineage with these epochs, oldest first; none when it would be empty or its offsets fall.
    #[must_use]
    pub fn from_epochs(epochs: Vec<(Epoch, Offset)>) -> Option<Self> {
        let rises = epochs.windows(2).all(|pair| pair[0].1 <= pair[1].1);
        (!epochs.is_empty() && rises).then_some(Self { epochs })
    }

    /// All epochs with the offset at which each began, oldest first.
    #[must_use]
    pub fn epochs(&self) -> &[(Epoch, Offset)] {
        &self.epochs
    }

    /// The epoch of new messages.
    #[must_use]
    pub fn current(&self) -> Epoch {
        self.newest().0
    }

    /// Where the current epoch began.
    #[must_use]
    pub fn current_begin(&self) -> Offset {
        self.newest().1
    }

    /// The epoch that a message at `offset` belongs to.
    #[must_use]
    pub fn at(&self, offset: Offset) -> Epoch {
        let behind = self.epochs.partition_point(|&(_, begin)| begin <= offset);
        self.epochs[behind.saturating_sub(1)].0
    }

    /// A new history begins at `offset`. The oldest is forgotten beyond [`EPOCHS_MAX`]: its readers are told `reset`.
    ///
    /// # Panics
    /// When `offset` lies before the begin of the current epoch.
    pub fn branch(&mut self, epoch: Epoch, offset: Offset) {
        assert!(
            offset >= self.current_begin(),
            "a history does not begin before its parent"
        );
        if self.epochs.len() == EPOCHS_MAX {
            self.epochs.remove(0);
        }
        self.epochs.push((epoch, offset));
    }

    /// What a reader with the position `epoch`, `offset` is told by a log that holds `first` up to, not including, `next`.
    #[must_use]
    pub fn answer(&self, epoch: Epoch, offset: Offset, first: Offset, next: Offset) -> Resume {
        let Some(at) = self.epochs.iter().rposition(|&(known, _)| known == epoch) else {
            return Resume::Reset { from: first };
        };
        match self.epochs.get(at + 1) {
            Some(&(_, ended)) if offset > ended => Resume::Diverged {
                at: ended,
                from: ended.max(first),
            },
            _ if offset > next => Resume::Reset { from: first },
            _ if offset < first => Resume::Gap { missing: offset..first },
            _ => Resume::Ok { from: offset },
        }
    }

    fn newest(&self) -> (Epoch, Offset) {
        *self.epochs.last().expect("a lineage is never empty")
    }
}

/// A history begins with each power cut of a topic at level `os`; 1,024 of them fit 24 KiB, and no reader comes back after so many.
pub const EPOCHS_MAX: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn at(offset: u64) -> Offset {
        Offset::new(offset)
    }

    fn epoch(bits: u128) -> Epoch {
        Epoch::from_bits(bits)
    }

    /// Epoch 1 from 0, epoch 2 from 100, epoch 3 from 100 again, epoch 4 from 150; the log holds 90..200.
    #[track_caller]
    fn check(bits: u128, offset: u64, expect: Resume) {
        let mut lineage = Lineage::new(epoch(1));
        lineage.branch(epoch(2), at(100));
        lineage.branch(epoch(3), at(100));
        lineage.branch(epoch(4), at(150));
        assert_eq!(lineage.answer(epoch(bits), at(offset), at(90), at(200)), expect);
    }

    #[test]
    fn the_current_epoch_goes_on_up_to_the_end() {
        check(4, 200, Resume::Ok { from: at(200) });
        check(4, 90, Resume::Ok { from: at(90) });
        check(4, 201, Resume::Reset { from: at(90) });
        check(
            4,
            89,
            Resume::Gap {
                missing: at(89)..at(90),
            },
        );
    }

    #[test]
    fn an_ancestor_goes_on_up_to_where_it_ended() {
        check(1, 100, Resume::Ok { from: at(100) });
        check(
            1,
            101,
            Resume::Diverged {
                at: at(100),
                from: at(100),
            },
        );
        check(1, 3, Resume::Gap { missing: at(3)..at(90) });
        check(2, 100, Resume::Ok { from: at(100) });
        check(
            2,
            101,
            Resume::Diverged {
                at: at(100),
                from: at(100),
            },
        );
        check(3, 150, Resume::Ok { from: at(150) });
        check(
            3,
            500,
            Resume::Diverged {
                at: at(150),
                from: at(150),
            },
        );
    }

    #[test]
    fn an_unknown_epoch_is_a_reset_wherever_it_is() {
        check(9, 0, Resume::Reset { from: at(90) });
        check(9, 150, Resume::Reset { from: at(90) });
    }

    #[test]
    fn who_diverged_before_what_is_kept_goes_on_at_the_first() {
        let mut lineage = Lineage::new(epoch(1));
        lineage.branch(epoch(2), at(10));
        assert_eq!(
            lineage.answer(epoch(1), at(20), at(50), at(60)),
            Resume::Diverged {
                at: at(10),
                from: at(50)
            }
        );
    }

    #[test]
    fn a_message_belongs_to_the_epoch_that_began_before_it() {
        let mut lineage = Lineage::new(epoch(1));
        lineage.branch(epoch(2), at(100));
        assert_eq!(
            [0, 99, 100, 101].map(|offset| lineage.at(at(offset))),
            [epoch(1), epoch(1), epoch(2), epoch(2)]
        );
        assert_eq!(Lineage::from_epochs(Vec::new()), None);
        assert_eq!(Lineage::from_epochs(vec![(epoch(1), at(5)), (epoch(2), at(4))]), None);
    }

    #[test]
    fn the_oldest_epoch_is_forgotten_at_the_limit() {
        let mut lineage = Lineage::new(epoch(0));
        for bits in 1..=EPOCHS_MAX as u128 {
            lineage.branch(epoch(bits), at(7));
        }
        assert_eq!(lineage.epochs().len(), EPOCHS_MAX);
        assert_eq!(
            lineage.answer(epoch(0), at(0), at(0), at(9)),
            Resume::Reset { from: at(0) }
        );
    }
}
