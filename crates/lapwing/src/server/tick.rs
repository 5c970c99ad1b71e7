//! A moment of a delivery thread in four bytes, for what is kept for each connection.

use std::num::NonZeroU32;
use std::time::Duration;

/// A moment, in milliseconds of a thread's time.
///
/// It wraps after 49 days, so only differences below 24 days mean something; what is timed here is over in minutes.
/// It is never zero, so that `Option<Tick>` is as small: once in 49 days it is a millisecond late.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tick(NonZeroU32);

impl Tick {
    /// This moment of the thread's time, cut to whole milliseconds.
    #[must_use]
    pub fn at(time: Duration) -> Self {
        // Cut on purpose: only differences count.
        let millis = time.as_millis() as u32;
        Self(NonZeroU32::new(millis.wrapping_add(1)).unwrap_or(NonZeroU32::MIN))
    }

    /// How long this is after `earlier`; nothing when it is before.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        let passed = self.0.get().wrapping_sub(earlier.0.get()).cast_signed();
        Duration::from_millis(u64::try_from(passed).unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(earlier_ms: u64, later_ms: u64, expect_ms: u64) {
        let at = |ms| Tick::at(Duration::from_millis(ms));
        assert_eq!(at(later_ms).since(at(earlier_ms)), Duration::from_millis(expect_ms));
    }

    #[test]
    fn only_the_difference_counts() {
        let wrap = 1 << 32;
        check(1, 1, 0);
        check(0, 20_000, 20_000);
        check(1000, 31_000, 30_000);
        check(31_000, 1000, 0);
        check(wrap - 5, wrap + 5, 10);
        check(3 * wrap + 7, 3 * wrap + 86_400_007, 86_400_000);
        assert_eq!(size_of::<Option<Tick>>(), 4);
    }
}
