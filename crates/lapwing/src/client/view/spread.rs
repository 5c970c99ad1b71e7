//! How block times are distributed: how many took about how long.

use std::time::Duration;

/// A distribution in bins, with its percentiles.
#[derive(Debug, PartialEq, Eq)]
pub struct Spread {
    /// From where on each bin counts, and how many; the shortest first. The last one holds all that is longer.
    pub bins: Vec<(Duration, usize)>,
    /// Half took at most so long.
    pub p50: Duration,
    /// 99 of 100 took at most so long.
    pub p99: Duration,
    /// How many there are.
    pub count: usize,
}

/// Counts `times` in at most `bins` bins; none of nothing.
///
/// Bins are equally wide from the shortest time to the 98th percentile, so that one that took very long does not leave all others in
/// one bin.
#[must_use]
pub fn spread(times: impl Iterator<Item = Duration>, bins: usize) -> Option<Spread> {
    let mut times: Vec<Duration> = times.collect();
    times.sort_unstable();
    let (first, last) = (*times.first()?, *times.last()?);
    let quantile = |part: f64| times[((times.len() as f64 * part).ceil() as usize).clamp(1, times.len()) - 1];
    let end = quantile(0.98);
    let bins = bins.max(1);
    // No two bins read the same.
    let least = if last < Duration::from_secs(1) { TENTH_OF_MS } else { MS };
    let step = ((end - first) / u32::try_from(bins).unwrap_or(u32::MAX)).max(least);
    let mut counted: Vec<(Duration, usize)> = Vec::new();
    for time in &times {
        let at = ((*time - first).as_nanos() / step.as_nanos()).min(bins as u128 - 1) as usize;
        while counted.len() <= at {
            let from = first + step * counted.len() as u32;
            counted.push((from, 0));
        }
        counted[at].1 += 1;
    }
    Some(Spread {
        p50: quantile(0.5),
        p99: quantile(0.99),
        count: times.len(),
        bins: counted,
    })
}

/// The least differences that the forms of times show.
const TENTH_OF_MS: Duration = Duration::from_micros(100);
const MS: Duration = Duration::from_millis(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(micros: &[u64], bins: usize, expect: &[(u64, usize)], percentiles: (u64, u64)) {
        let spread = spread(micros.iter().map(|micros| Duration::from_micros(*micros)), bins).expect("something");
        let found: Vec<(u64, usize)> = spread
            .bins
            .iter()
            .map(|(from, count)| (from.as_micros() as u64, *count))
            .collect();
        assert_eq!(found, expect);
        assert_eq!(
            (spread.p50.as_micros() as u64, spread.p99.as_micros() as u64),
            percentiles
        );
        assert_eq!(spread.count, micros.len());
    }

    #[test]
    fn every_time_is_in_one_bin() {
        check(
            &[1000, 2000, 3000, 4000],
            3,
            &[(1000, 1), (2000, 1), (3000, 2)],
            (2000, 4000),
        );
        check(&[5000], 3, &[(5000, 1)], (5000, 5000));
        check(&[5000, 5000], 3, &[(5000, 2)], (5000, 5000));
        // 0.1 ms is the least that is told apart.
        check(&[5000, 5010], 3, &[(5000, 2)], (5000, 5010));
        check(
            &[2_000_000, 2_000_900, 2_001_100],
            3,
            &[(2_000_000, 2), (2_001_000, 1)],
            (2_000_900, 2_001_100),
        );
        assert_eq!(spread([].into_iter(), 3), None);
    }

    #[test]
    fn one_that_took_very_long_leaves_the_others_apart() {
        let mut times: Vec<u64> = (0..99).map(|at| 1000 + at * 10).collect();
        times.push(60_000_000);
        let found = spread(times.iter().map(|micros| Duration::from_micros(*micros)), 3).expect("something");
        assert!(found.bins.len() == 2 || found.bins.len() == 3, "{found:?}");
        assert!(found.bins[0].1 > 10, "{found:?}");
    }
}
