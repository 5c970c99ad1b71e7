//! A token bucket: so many a second, so many at once.

use std::time::Duration;

use super::tick::Tick;
use crate::config::Rate;

/// Eight bytes that hold one peer to a rate.
#[derive(Clone, Copy, Debug)]
pub struct Bucket {
    /// Tokens left, in thousandths.
    left: u32,
    /// When it was last filled; after 49 days the time wraps, which costs one peer one refill.
    filled: Tick,
}

impl Bucket {
    /// A full bucket.
    #[must_use]
    pub fn full(rate: Rate, now: Duration) -> Self {
        Self {
            left: thousandths(rate),
            filled: Tick::at(now),
        }
    }

    /// Takes one token, if there is one.
    pub fn take(&mut self, rate: Rate, now: Duration) -> bool {
        self.take_thousandths(1000, rate, now)
    }

    /// Takes a token for each KiB, if there are so many.
    pub fn take_bytes(&mut self, bytes: usize, rate: Rate, now: Duration) -> bool {
        self.take_thousandths(bytes as u64 * 1000 / 1024, rate, now)
    }

    fn take_thousandths(&mut self, cost: u64, rate: Rate, now: Duration) -> bool {
        let now = Tick::at(now);
        // Below 24 days, so the milliseconds fit.
        let passed = now.since(self.filled).as_millis() as u64;
        let filled = (u64::from(self.left) + passed * u64::from(rate.per_second)).min(u64::from(thousandths(rate)));
        self.filled = now;
        let left = filled.checked_sub(cost);
        // What is left is no more than what is in a full bucket.
        self.left = u32::try_from(left.unwrap_or(filled)).unwrap_or(u32::MAX);
        left.is_some()
    }
}

/// What a full bucket holds; rates above four million at once are cut to that.
fn thousandths(rate: Rate) -> u32 {
    rate.at_once.saturating_mul(1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_and_then_the_rate() {
        let limit = Rate::with_burst(50, 4);
        let mut bucket = Bucket::full(limit, Duration::ZERO);
        let mut passed = (0..1000).filter(|_| bucket.take(limit, Duration::ZERO)).count();
        assert_eq!(passed, 200);
        passed = (1..=1000)
            .filter(|ms| bucket.take(limit, Duration::from_millis(*ms)))
            .count();
        assert_eq!(passed, 50);
        assert!(!bucket.take(limit, Duration::from_millis(1000)));
        let later = Duration::from_secs(100);
        passed = (0..1000).filter(|_| bucket.take(limit, later)).count();
        assert_eq!(passed, 200);
    }

    #[test]
    fn bytes_are_counted_to_the_last() {
        let limit = Rate {
            per_second: 1,
            at_once: 2,
        };
        let mut bucket = Bucket::full(limit, Duration::ZERO);
        assert!(bucket.take_bytes(2048, limit, Duration::ZERO));
        assert!(!bucket.take_bytes(1024, limit, Duration::from_millis(999)));
        assert!(bucket.take_bytes(1024, limit, Duration::from_millis(1000)));
        assert!(
            !bucket.take_bytes(2049 + 1024, limit, Duration::from_secs(100)),
            "more than it ever holds"
        );
        assert!(bucket.take_bytes(0, limit, Duration::from_secs(100)));
        let largest = Rate::with_burst(u32::MAX, 2);
        assert!(Bucket::full(largest, Duration::ZERO).take_bytes(1 << 30, largest, Duration::ZERO));
    }
}
