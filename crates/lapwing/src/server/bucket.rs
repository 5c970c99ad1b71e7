//! A token bucket: so many a second, so many at once.

use std::time::Duration;

use super::tick::Tick;

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
    pub fn full(burst: u32, now: Duration) -> Self {
        Self {
            left: burst * 1000,
            filled: Tick::at(now),
        }
    }

    /// Takes one token, if there is one.
    pub fn take(&mut self, (per_second, burst): (u32, u32), now: Duration) -> bool {
        let now = Tick::at(now);
        // Below 24 days, so the milliseconds fit.
        let passed = now.since(self.filled).as_millis() as u64;
        let filled = u64::from(self.left) + passed * u64::from(per_second);
        self.left = u32::try_from(filled.min(u64::from(burst) * 1000)).expect("bursts are small");
        self.filled = now;
        let has = self.left >= 1000;
        if has {
            self.left -= 1000;
        }
        has
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_and_then_the_rate() {
        let limit = (50, 200);
        let mut bucket = Bucket::full(limit.1, Duration::ZERO);
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
}
