//! How long things took: counts by length, which any thread may add to without a lock.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Counts of spans by their length.
#[derive(Debug)]
pub struct Histogram {
    bounds: &'static [f64],
    /// One for each bound, and one for what is longer than all of them.
    counts: Box<[AtomicU64]>,
    sum_us: AtomicU64,
}

/// What a histogram holds at a moment.
#[derive(Clone, Debug, PartialEq)]
pub struct Spread {
    /// Upper bounds in seconds, the last one infinite, each with how many were longer than the bound before it and no longer than this.
    pub buckets: Vec<(f64, u64)>,
    /// How many in all.
    pub count: u64,
    /// Their sum in seconds.
    pub sum: f64,
}

impl Histogram {
    /// An empty one with these bounds in seconds, which rise.
    #[must_use]
    pub fn new(bounds: &'static [f64]) -> Self {
        Self {
            bounds,
            counts: (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect(),
            sum_us: AtomicU64::new(0),
        }
    }

    /// Counts one span.
    pub fn add(&self, span: Duration) {
        self.add_many(span, 1);
    }

    /// Counts so many spans of this length. Longer than an hour counts as an hour: some are told by clients, and one that lies is
    /// not to drown what the others say.
    pub fn add_many(&self, span: Duration, times: u64) {
        let span = span.min(SPAN_MAX);
        let at = self.bounds.partition_point(|bound| *bound < span.as_secs_f64());
        self.counts[at].fetch_add(times, Ordering::Relaxed);
        let micros = u64::try_from((span.as_nanos() + 500) / 1000).unwrap_or(u64::MAX);
        self.sum_us.fetch_add(micros.saturating_mul(times), Ordering::Relaxed);
    }

    /// What it holds now.
    #[must_use]
    pub fn spread(&self) -> Spread {
        let bounds = self.bounds.iter().copied().chain([f64::INFINITY]);
        let counts = self.counts.iter().map(|count| count.load(Ordering::Relaxed));
        let buckets: Vec<_> = bounds.zip(counts).collect();
        Spread {
            count: buckets.iter().map(|(_, count)| count).sum(),
            sum: self.sum_us.load(Ordering::Relaxed) as f64 / 1e6,
            buckets,
        }
    }
}

impl Spread {
    /// Adds what another one of the same bounds holds.
    pub fn merge(&mut self, other: &Self) {
        for (own, other) in self.buckets.iter_mut().zip(&other.buckets) {
            own.1 += other.1;
        }
        self.count += other.count;
        self.sum += other.sum;
    }
}

/// No span that anybody asks about is longer.
const SPAN_MAX: Duration = Duration::from_secs(3600);

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: &[f64] = &[0.001, 0.01, 1.0];

    #[track_caller]
    fn check(spans_ms: &[f64], counts: [u64; 4], sum: f64) {
        let histogram = Histogram::new(BOUNDS);
        spans_ms
            .iter()
            .for_each(|ms| histogram.add(Duration::from_secs_f64(ms / 1000.0)));
        let spread = histogram.spread();
        let got: Vec<_> = spread.buckets.iter().map(|(_, count)| *count).collect();
        assert_eq!(got, counts, "{spans_ms:?}");
        assert_eq!(spread.count, spans_ms.len() as u64);
        assert!((spread.sum - sum).abs() < 1e-9, "{} is not {sum}", spread.sum);
    }

    #[test]
    fn a_span_is_counted_under_the_first_bound_that_is_not_below_it() {
        check(&[], [0; 4], 0.0);
        check(&[0.0, 1.0], [2, 0, 0, 0], 0.001);
        check(&[1.001, 10.0], [0, 2, 0, 0], 0.011_001);
        check(&[1000.0, 1000.001, 60_000.0], [0, 0, 1, 2], 62.000_001);
    }

    #[test]
    fn what_is_longer_than_an_hour_counts_as_an_hour() {
        check(&[1e12], [0, 0, 0, 1], 3600.0);
    }

    #[test]
    fn two_of_the_same_bounds_are_added_bucket_by_bucket() {
        let (one, other) = (Histogram::new(BOUNDS), Histogram::new(BOUNDS));
        one.add(Duration::from_micros(7812));
        other.add_many(Duration::from_micros(7813), 2);
        other.add(Duration::from_secs(2));
        let mut spread = one.spread();
        spread.merge(&other.spread());
        assert_eq!(spread.buckets, [(0.001, 0), (0.01, 3), (1.0, 0), (f64::INFINITY, 1)]);
        assert_eq!(spread.count, 4);
        assert!((spread.sum - 2.023_438).abs() < 1e-9, "{}", spread.sum);
    }
}
