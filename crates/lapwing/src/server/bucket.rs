//! A token bucket: so many a second, so many at once.

use std::time::Duration;

/// Eight bytes that hold one peer to a rate.
#[derive(Clone, Copy, Debug)]
pub struct Bucket {
    /// Tokens left, in thousandths.
    left: u32,
    /// When it was last filled, in milliseconds; wraps after 49 days, which costs one peer one refill.
    filled_ms: u32,
}

impl Bucket {
    /// A full bucket.
    #[must_use]
    pub fn full(burst: u32, now: Duration) -> Self {
        Self {
            left: burst * 1000,
            filled_ms: millis(now),
        }
    }

    /// Takes one token, if there is one.
    pub fn take(&mut self, (per_second, burst): (u32, u32), now: Duration) -> bool {
        let now_ms = millis(now);
        let passed = u64::from(now_ms.wrapping_sub(self.filled_ms));
        let filled = u64::from(self.left) + passed * u64::from(per_second);
        self.left = u32::try_from(filled.min(u64::from(burst) * 1000)).expect("bursts are small");
        self.filled_ms = now_ms;
        let has = self.left >= 1000;
        if has {
            self.left -= 1000;
        }
        has
    }
}

fn millis(time: Duration) -> u32 {
    // Cut on purpose: only differences count.
    time.as_millis() as u32
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
