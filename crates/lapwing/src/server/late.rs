//! The longest span of the last ten seconds, written by one thread and read by any, without a lock.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// What was longest lately.
#[derive(Debug, Default)]
pub struct Late([AtomicU64; SLOTS]);

impl Late {
    /// A span that ended at `now`, in nanoseconds of the monotonic clock. Only one thread may call this: of two at the same time one
    /// may be lost.
    pub fn add(&self, now: u64, span: Duration) {
        let second = second_of(now);
        let micros = u32::try_from(span.as_micros()).unwrap_or(u32::MAX);
        let slot = &self.0[second as usize % SLOTS];
        let (held, longest) = parts(slot.load(Ordering::Relaxed));
        let longest = if held == second { longest.max(micros) } else { micros };
        // Both in one word: a reader never sees the one without the other.
        slot.store(u64::from(second) << 32 | u64::from(longest), Ordering::Relaxed);
    }

    /// The longest of the last ten seconds, the one that `now` lies in among them; nothing when there was none.
    #[must_use]
    pub fn longest(&self, now: u64) -> Duration {
        let now = second_of(now);
        let recent = |(second, _): &(u32, u32)| now.wrapping_sub(*second) < SECONDS;
        let slots = self.0.iter().map(|slot| parts(slot.load(Ordering::Relaxed)));
        let longest = slots.filter(recent).map(|(_, micros)| micros).max();
        Duration::from_micros(longest.unwrap_or(0).into())
    }
}

/// The second that a moment lies in; in 136 years two have the same name.
fn second_of(mono: u64) -> u32 {
    (mono / 1_000_000_000 + SECONDS as u64) as u32
}

fn parts(slot: u64) -> (u32, u32) {
    ((slot >> 32) as u32, slot as u32)
}

/// What `longest` looks back.
const SECONDS: u32 = 10;
/// More than it looks back, so that the slot that is written next is not one that still counts.
const SLOTS: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    /// Adds spans in milliseconds at these milliseconds, and asks at another.
    #[track_caller]
    fn check(spans: &[(u64, u64)], at_ms: u64, longest_ms: u64) {
        let late = Late::default();
        for (now, span) in spans {
            late.add(now * 1_000_000, Duration::from_millis(*span));
        }
        assert_eq!(late.longest(at_ms * 1_000_000), Duration::from_millis(longest_ms));
    }

    #[test]
    fn the_longest_of_the_last_ten_seconds_counts_and_nothing_older() {
        check(&[], 0, 0);
        check(&[], 1_000_000, 0);
        check(&[(0, 7)], 0, 7);
        check(&[(100, 7), (200, 9), (300, 8)], 400, 9);
        check(&[(100, 7), (5_000, 3)], 9_999, 7);
        check(&[(100, 7), (5_000, 3)], 10_000, 3);
        check(&[(100, 7), (5_000, 3)], 15_000, 0);
        check(&[(100, 7), (16_100, 3)], 16_200, 3);
    }

    #[test]
    fn spans_beyond_what_a_slot_holds_are_as_long_as_it_can_say() {
        let late = Late::default();
        late.add(5, Duration::from_secs(1 << 40));
        assert_eq!(late.longest(5), Duration::from_micros(u32::MAX.into()));
    }
}
