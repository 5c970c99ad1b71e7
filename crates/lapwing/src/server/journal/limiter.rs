//! How often one kind of line is told: so many at once and a second; the rest is counted, and the count told. Pure: time is an argument.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::Duration;

use crate::config::{Limits, Rate};
use crate::server::bucket::Bucket;

/// What is known of each kind that has come. Kinds are places in the code, so there are no more of them than those.
pub struct Limiter<K, L> {
    rate: Rate,
    kinds: HashMap<K, State<L>>,
}

struct State<L> {
    bucket: Bucket,
    /// What the kind is called.
    label: Option<L>,
    /// How many were not told.
    more: u64,
    /// Since when.
    since: Duration,
}

/// What becomes of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is told, as the first of its kind: its kind wants a label.
    First,
    /// It is told.
    Tell,
    /// It is the first of some that are not: their sum will be due.
    Begin,
    /// It is counted only.
    Count,
}

/// Lines of one kind that were not told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Untold<L> {
    /// What the kind is called.
    pub label: L,
    /// How many.
    pub count: u64,
    /// Within which time.
    pub within: Duration,
}

impl<K: Hash + Eq, L: Clone> Limiter<K, L> {
    /// With nothing known.
    #[must_use]
    pub fn new(rate: Rate) -> Self {
        Self {
            rate,
            kinds: HashMap::new(),
        }
    }

    /// A line of this kind comes now.
    pub fn come(&mut self, kind: K, now: Duration) -> Verdict {
        let rate = self.rate;
        let state = self.kinds.entry(kind).or_insert_with(|| State {
            bucket: Bucket::full(rate, now),
            label: None,
            more: 0,
            since: now,
        });
        // While some are counted all are: a line between them would look as if it were the only one.
        if state.more == 0 && state.bucket.take(rate, now) {
            return match state.label {
                None => Verdict::First,
                Some(_) => Verdict::Tell,
            };
        }
        state.more += 1;
        if state.more > 1 {
            return Verdict::Count;
        }
        state.since = now;
        Verdict::Begin
    }

    /// Calls a kind so from now on.
    pub fn label(&mut self, kind: &K, label: L) {
        if let Some(state) = self.kinds.get_mut(kind) {
            state.label = Some(label);
        }
    }

    /// Whether any were not told.
    #[must_use]
    pub fn owes(&self) -> bool {
        self.kinds.values().any(|state| state.more > 0)
    }

    /// The sums that are due: those begun [`Limits::LOG_SUMMED_EVERY`] ago, or all.
    pub fn due(&mut self, now: Duration, all: bool) -> Vec<Untold<L>> {
        let due = |state: &&mut State<L>| {
            state.more > 0 && (all || now.saturating_sub(state.since) >= Limits::LOG_SUMMED_EVERY)
        };
        let states = self.kinds.values_mut().filter(due);
        // One that was not labelled yet is on its way to be, on another thread: next time.
        states
            .filter_map(|state| {
                let label = state.label.clone()?;
                let count = std::mem::take(&mut state.more);
                let within = now.saturating_sub(state.since);
                Some(Untold { label, count, within })
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: Rate = Rate {
        per_second: 10,
        at_once: 50,
    };

    fn come(limiter: &mut Limiter<u8, &'static str>, kind: u8, count: usize, ms: u64) -> usize {
        let verdicts = (0..count).map(|_| limiter.come(kind, Duration::from_millis(ms)));
        let told: Vec<_> = verdicts
            .filter(|verdict| matches!(verdict, Verdict::First | Verdict::Tell))
            .collect();
        limiter.label(&kind, "kind");
        told.len()
    }

    #[test]
    fn a_burst_is_told_and_what_follows_is_counted_until_its_sum_is_due() {
        let mut limiter = Limiter::new(RATE);
        assert_eq!(come(&mut limiter, 1, 50, 0), 50, "at the limit");
        assert!(!limiter.owes());
        assert_eq!(come(&mut limiter, 1, 1, 0), 0, "one beyond");
        assert_eq!(come(&mut limiter, 1, 411, 5000), 0, "and whatever comes before the sum");
        assert!(limiter.owes());
        assert_eq!(limiter.due(Duration::from_millis(9999), false), []);
        let sum = Untold {
            label: "kind",
            count: 412,
            within: Duration::from_secs(10),
        };
        assert_eq!(limiter.due(Duration::from_secs(10), false), [sum]);
        assert!(!limiter.owes());
        assert_eq!(come(&mut limiter, 1, 60, 10_000), 50, "rested meanwhile");
    }

    #[test]
    fn a_kind_is_not_held_to_what_another_does() {
        let mut limiter = Limiter::new(RATE);
        assert_eq!(come(&mut limiter, 1, 1000, 0), 50);
        assert_eq!(come(&mut limiter, 2, 20, 0), 20);
        assert_eq!(
            limiter.due(Duration::from_secs(1), true).len(),
            1,
            "at the end all are told"
        );
    }

    #[test]
    fn the_first_of_a_kind_asks_for_its_label_and_the_first_untold_for_a_look() {
        let mut limiter = Limiter::new(Rate {
            per_second: 1,
            at_once: 1,
        });
        let now = Duration::ZERO;
        assert_eq!(limiter.come(1, now), Verdict::First);
        assert_eq!(limiter.come(1, now), Verdict::Begin);
        assert_eq!(limiter.come(1, now), Verdict::Count);
        assert_eq!(limiter.due(now, true), [], "nobody knows what to call them");
        limiter.label(&1, "kind");
        assert_eq!(limiter.due(now, true).len(), 1);
        assert_eq!(limiter.come(1, Duration::from_secs(1)), Verdict::Tell);
    }
}
