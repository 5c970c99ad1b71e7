//! One client's pace in one topic against the server's own: drift, how far behind, and when to say so.

use lapwing_wire::block::Flags;
use lapwing_wire::report::Report;

use super::skew::Skew;

/// The pace of one client in one topic.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Pace {
    /// The sum of drift since it came, and over how much of our time that is, in milliseconds.
    drift_ms: f64,
    ran_ms: f64,
    skew: Skew,
    slow_blocks: u64,
    /// How many reports in a row hold them.
    slow_reports: u64,
    good_blocks: u64,
    drifts: bool,
    /// It is behind by at least so much, where our own time for what it reports is not known any more.
    at_least_ms: f64,
}

/// A change that is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It begins to fall behind, after so many slow blocks.
    Slow(u64),
    /// It keeps up again.
    KeepsUp,
}

impl Pace {
    /// Takes a report and the server's own time for the same offsets; gives the drift, and a change if there is one.
    ///
    /// Slow begins after 2 blocks in a row with a drift above 5 % of the block (at least 20 ms), and ends after 3 below
    /// half of that. A report of several blocks is judged by its mean, which one hiccup at its end can make slow: where its median
    /// block is not, the next report has to agree. A report that holds a block which does not count says nothing about the pace, but does about how far
    /// behind the client is: its lateness is real, whatever made it late. Only what came before it had caught up is left out.
    pub fn on_report(&mut self, report: &Report, server_ms: Option<f64>) -> (Option<f64>, Option<Change>) {
        let joining =
            report.flags.has(Flags::FIRST) || report.flags.has(Flags::CATCHUP) && !report.flags.has(Flags::INTERRUPTED);
        if joining {
            let drifted = std::mem::take(self).drifts;
            return (None, drifted.then_some(Change::KeepsUp));
        }
        let (Some(span), Some(server_ms)) = (report.span_ms, server_ms) else {
            return (None, None);
        };
        self.at_least_ms = 0.0;
        let drift = span - server_ms;
        self.drift_ms += drift;
        self.ran_ms += server_ms;
        self.skew.add(self.ran_ms, self.drift_ms);
        if !report.is_wholly_timed() {
            return (None, None);
        }
        let per_block = drift / report.blocks as f64;
        let threshold = (server_ms / report.blocks as f64 * SLOW_SHARE).max(SLOW_MS_MIN);
        let median = report.elapsed_ms.map_or(0.0, |spans| spans.median);
        let most_are_slow = median - server_ms / report.blocks as f64 > threshold;
        if per_block > threshold {
            self.slow_blocks += report.blocks;
            self.slow_reports += 1;
            self.good_blocks = 0;
        } else {
            self.slow_blocks = 0;
            self.slow_reports = 0;
            self.good_blocks += if per_block < threshold / 2.0 { report.blocks } else { 0 };
        }
        (Some(drift), self.change(most_are_slow))
    }

    /// Takes a report of messages that are no longer held, so that our own time for them is not known: they reached the client at
    /// least `late_ms` after they were made. Whoever is so far behind that nobody remembers is slow, and not well.
    pub fn on_forgotten(&mut self, report: &Report, late_ms: f64) -> Option<Change> {
        if !report.is_wholly_timed() || late_ms <= SLOW_MS_MIN {
            return None;
        }
        self.at_least_ms = late_ms;
        self.slow_blocks += report.blocks;
        self.slow_reports += 1;
        self.good_blocks = 0;
        self.change(true)
    }

    /// How far behind the client is: the sum of drift since it came, without what its clock runs faster or slower than ours.
    #[must_use]
    pub fn behind_ms(&self) -> f64 {
        (self.drift_ms - self.skew.at(self.ran_ms)).max(self.at_least_ms)
    }

    /// Whether it falls behind, from the report that began it to the one that ended it.
    #[must_use]
    pub fn drifts(&self) -> bool {
        self.drifts
    }

    /// Whether its newest report that counts was slow, which alone is not told.
    #[must_use]
    pub fn may_drift(&self) -> bool {
        self.slow_reports > 0
    }

    fn change(&mut self, most_are_slow: bool) -> Option<Change> {
        let agreed = most_are_slow || self.slow_reports >= SLOW_REPORTS;
        if !self.drifts && self.slow_blocks >= SLOW_BLOCKS && agreed {
            self.drifts = true;
            self.good_blocks = 0;
            return Some(Change::Slow(self.slow_blocks));
        }
        if self.drifts && self.good_blocks >= GOOD_BLOCKS {
            self.drifts = false;
            return Some(Change::KeepsUp);
        }
        None
    }
}

const SLOW_SHARE: f64 = 0.05;
const SLOW_MS_MIN: f64 = 20.0;
const SLOW_BLOCKS: u64 = 2;
const SLOW_REPORTS: u64 = 2;
const GOOD_BLOCKS: u64 = 3;

#[cfg(test)]
mod tests {
    use lapwing_wire::report::Spans;

    use super::super::sample::{self, spans};
    use super::*;

    fn report(blocks: u64, total: f64, flags: Flags) -> Report {
        let spans = Spans {
            total,
            ..spans(blocks, 0.0, total / blocks as f64, total)
        };
        Report {
            elapsed_ms: Some(spans),
            span_ms: Some(total),
            spread_ms: spans,
            flags,
            ..sample::report(0, blocks)
        }
    }

    #[track_caller]
    fn check(blocks: &[(f64, f64)], changes: &[Option<Change>], behind_ms: f64) {
        let mut pace = Pace::default();
        let told: Vec<_> = blocks
            .iter()
            .map(|(c, s)| pace.on_report(&report(1, *c, Flags::NONE), Some(*s)).1)
            .collect();
        assert_eq!(told, changes);
        assert!((pace.behind_ms() - behind_ms).abs() < 1e-6, "{}", pace.behind_ms());
    }

    #[test]
    fn slow_is_told_after_two_blocks_and_ends_after_three_good_ones() {
        let slow = (6000.0, 2000.0);
        let good = (2000.0, 2000.0);
        let fast = (500.0, 2000.0);
        check(
            &[good, slow, slow, slow, fast, good, good, good],
            &[
                None,
                None,
                Some(Change::Slow(2)),
                None,
                None,
                None,
                Some(Change::KeepsUp),
                None,
            ],
            12_000.0 - 1500.0,
        );
        check(&[slow, good, slow, good], &[None; 4], 8000.0);
    }

    #[test]
    fn small_drift_is_no_news() {
        check(&[(2099.0, 2000.0); 5], &[None; 5], 495.0);
        check(&[(119.0, 100.0); 5], &[None; 5], 95.0);
    }

    #[test]
    fn lateness_is_kept_whatever_made_it_but_is_no_slow_pace() {
        let mut pace = Pace::default();
        let stalled = report(1, 5000.0, Flags::STALLED);
        assert_eq!(pace.on_report(&stalled, Some(2000.0)), (None, None));
        assert_eq!(pace.behind_ms(), 3000.0);
        let (drift, change) = pace.on_report(&report(3, 3000.0, Flags::NONE), Some(6000.0));
        assert_eq!((drift, change, pace.behind_ms()), (Some(-3000.0), None, 0.0));
        assert_eq!(pace.on_report(&report(1, 9e9, Flags::NONE), None), (None, None));
        assert_eq!(pace.behind_ms(), 0.0);
    }

    #[test]
    fn what_came_before_it_had_caught_up_is_left_out() {
        let mut pace = Pace::default();
        pace.on_report(&report(2, 12_000.0, Flags::NONE), Some(4000.0));
        assert!(pace.drifts());
        let (_, change) = pace.on_report(&report(5, 1.0, Flags::CATCHUP), Some(60_000.0));
        assert_eq!((change, &pace), (Some(Change::KeepsUp), &Pace::default()));
        let back = Flags::INTERRUPTED.with(Flags::CATCHUP);
        pace.on_report(&report(1, 3300.0, back), Some(2000.0));
        assert_eq!(pace.behind_ms(), 1300.0);
    }

    #[test]
    fn who_is_farther_behind_than_anybody_remembers_is_slow() {
        let mut pace = Pace::default();
        assert_eq!(
            pace.on_forgotten(&report(1, 3000.0, Flags::NONE), 20.0),
            None,
            "that is no lateness"
        );
        assert_eq!(
            pace.on_forgotten(&report(1, 3000.0, Flags::CATCHUP), 4000.0),
            None,
            "it still catches up"
        );
        assert_eq!(pace.behind_ms(), 0.0);
        assert_eq!(pace.on_forgotten(&report(1, 3000.0, Flags::NONE), 4000.0), None);
        let slow = pace.on_forgotten(&report(1, 3000.0, Flags::NONE), 4100.0);
        assert_eq!(
            (slow, pace.behind_ms(), pace.drifts()),
            (Some(Change::Slow(2)), 4100.0, true)
        );
        // It jumped to what is held, and keeps up from there.
        for _ in 0..2 {
            assert_eq!(pace.on_report(&report(1, 1000.0, Flags::NONE), Some(1000.0)).1, None);
        }
        let (_, change) = pace.on_report(&report(1, 1000.0, Flags::NONE), Some(1000.0));
        assert_eq!((change, pace.behind_ms()), (Some(Change::KeepsUp), 0.0));
    }

    #[test]
    fn a_clock_that_runs_slower_than_ours_leaves_nobody_behind() {
        let mut pace = Pace::default();
        for _ in 0..300 {
            pace.on_report(&report(1, 2000.2, Flags::NONE), Some(2000.0));
        }
        // 100 millionths of ten minutes were 60 ms.
        assert!(pace.behind_ms().abs() < 2.0, "{}", pace.behind_ms());
        pace.on_report(&report(1, 2500.2, Flags::NONE), Some(2000.0));
        assert!((pace.behind_ms() - 500.0).abs() < 5.0, "{}", pace.behind_ms());
    }

    #[test]
    fn a_clock_that_runs_200_millionths_too_fast_for_a_day_leaves_nobody_behind() {
        let mut pace = Pace::default();
        for second in (0..86_400).step_by(2) {
            // What a network and a scheduler add comes and goes.
            let late = if second % 14 == 0 { 3.0 } else { 0.0 };
            let early = if second % 14 == 2 { 3.0 } else { 0.0 };
            let (_, change) = pace.on_report(&report(1, 2000.4 + late - early, Flags::NONE), Some(2000.0));
            assert_eq!(change, None);
            // Of the first minute are 12 ms: a slope is told only then.
            let most = if second < 120 { 24.0 + 3.0 } else { 5.0 };
            assert!(pace.behind_ms().abs() < most, "{} after {second} s", pace.behind_ms());
        }
    }

    /// A report of four blocks of 250 ms: three as they were made, and one with so much more.
    fn hiccup(more_ms: f64) -> Report {
        let mut four = report(4, 1000.0 + more_ms, Flags::NONE);
        four.elapsed_ms = four.elapsed_ms.map(|spans| Spans { median: 250.0, ..spans });
        four
    }

    #[test]
    fn one_hiccup_at_the_end_of_a_report_is_no_slow_pace_and_one_in_each_is() {
        let mut pace = Pace::default();
        let mut told = |report: &Report| pace.on_report(report, Some(1000.0)).1;
        for _ in 0..5 {
            assert_eq!(told(&hiccup(300.0)), None);
            assert_eq!(told(&report(4, 700.0, Flags::NONE)), None);
        }
        assert_eq!(told(&hiccup(300.0)), None);
        assert_eq!(told(&hiccup(300.0)), Some(Change::Slow(8)));
    }

    #[test]
    fn many_blocks_in_a_report_count_as_many() {
        let mut pace = Pace::default();
        let (drift, change) = pace.on_report(&report(4, 800.0, Flags::NONE), Some(400.0));
        assert_eq!((drift, change), (Some(400.0), Some(Change::Slow(4))));
    }
}
