//! How much of what a recording holds, and whether that proves it.

use super::finding::What;
use crate::recording::note::Missed;

/// How much of what there is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Messages, those without offsets among them.
    pub messages: u64,
    /// Messages without offsets, of which nothing can be proven.
    pub unplaced: u64,
    /// Whole lines of any kind.
    pub records: u64,
    /// Records of kinds that a later version writes.
    pub unknown: u64,
    /// How often the connection was lost and came back.
    pub reconnects: u64,
    /// How often the wall clock was set.
    pub clock_steps: u64,
    /// Offsets missing without a word.
    pub missing: u64,
    /// Offsets that came again.
    pub repeated: u64,
    /// Offsets that came too late.
    pub out_of_order: u64,
    /// Offsets told as gone.
    pub announced: u64,
    /// New histories: what came between is unknown, and told.
    pub resets: u64,
    /// Messages that the server lost after it had sent them, as told.
    pub orphaned: u64,
    /// Histories that changed, and records that say otherwise than the lines above.
    pub contradictions: u64,
    /// Lines that are not as they were written.
    pub damaged: u64,
    /// Ends within a line.
    pub torn: u64,
    /// Times that go back.
    pub back: u64,
    /// Findings that are counted and not held.
    pub findings_beyond: u64,
    /// Histories that are counted and not held.
    pub histories_beyond: u64,
}

impl Tally {
    /// Counts what was found.
    pub(super) fn count(&mut self, what: What) {
        let add = |count: &mut u64, more: u64| *count = count.saturating_add(more);
        match what {
            // The server skipped them without a word: the recorder saw it, nobody announced it.
            What::Missing { from, to }
            | What::Gap {
                from,
                to,
                reason: Missed::Unannounced,
            } => add(&mut self.missing, to - from),
            What::Gap { from, to, .. } => add(&mut self.announced, to - from),
            What::Repeated { .. } => self.repeated += 1,
            What::OutOfOrder { .. } => self.out_of_order += 1,
            What::Reset { .. } => self.resets += 1,
            What::Orphaned { from, to } => add(&mut self.orphaned, to - from),
            What::HistoryChanged | What::Contradiction { .. } => self.contradictions += 1,
            What::TimeBack { .. } | What::MonoBack { .. } => self.back += 1,
            What::Damaged(_) | What::Unpackable | What::NotUnderstood | What::TooManyTopics => self.damaged += 1,
            What::Torn { .. } => self.torn += 1,
        }
    }

    /// Whether each offset is there once and in order, nothing is damaged, and nothing is told as gone unless that is allowed.
    #[must_use]
    pub fn is_proven(&self, gaps: Gaps) -> bool {
        let wrong = [
            self.missing,
            self.repeated,
            self.out_of_order,
            self.contradictions,
            self.damaged,
            self.torn,
            self.back,
        ];
        let told = [self.announced, self.resets, self.orphaned];
        let sound = wrong.iter().all(|&count| count == 0) && self.records > 0;
        sound && (gaps == Gaps::Allowed || told.iter().all(|&count| count == 0))
    }
}

/// Whether what a recording tells as gone may be gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gaps {
    /// It may.
    Allowed,
    /// Nothing may.
    Refused,
}
