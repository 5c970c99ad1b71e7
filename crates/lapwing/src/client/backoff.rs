//! When to try again: exponential, with full jitter, and as servers say.

use std::time::Duration;

/// Counts attempts and says how long to wait before the next.
///
/// Full jitter: the wait is anywhere from 0 to the cap, which doubles each time that all servers were tried, so that a thousand clients
/// of one server do not come back together. Chance comes in as an argument.
#[derive(Clone, Debug, Default)]
pub struct Backoff {
    attempt: u32,
    /// How often every server was tried.
    round: u32,
}

impl Backoff {
    /// The number of the attempt that waits or runs, from 1; 0 while there is none.
    #[must_use]
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    /// Whether no wait came before this one since the last connection that lived.
    #[must_use]
    pub fn is_fresh(&self) -> bool {
        self.round <= 1
    }

    /// The wait before the next attempt at our own pace; `chance` is from 0 up to, not including, 1.
    pub fn next(&mut self, chance: f64) -> Duration {
        self.told_for_all(Duration::ZERO);
        self.cap().mul_f64(chance)
    }

    /// The same where every server said how long to wait: that goes before our own pace.
    pub fn told_for_all(&mut self, wait: Duration) -> Duration {
        self.round = self.round.saturating_add(1);
        self.at_once();
        wait
    }

    /// Another server is tried at once: only the attempt counts.
    pub fn at_once(&mut self) {
        self.attempt = self.attempt.saturating_add(1);
    }

    /// Judges a connection that ended: one that lived and brought something makes the next attempt a first one again.
    pub fn on_connection(&mut self, lived: Duration, messages: u64) {
        if lived >= STABLE_AFTER && messages > 0 {
            *self = Self::default();
        }
    }

    fn cap(&self) -> Duration {
        let doublings = self.round.saturating_sub(1).min(16);
        (BASE * 2_u32.pow(doublings)).min(CAP)
    }
}

/// What a server said, give or take 20 %.
#[must_use]
pub fn around(told: Duration, chance: f64) -> Duration {
    told.mul_f64(0.8 + 0.4 * chance)
}

/// The first attempt comes within a quarter of a second.
pub const BASE: Duration = Duration::from_millis(250);

/// No wait of our own is longer: a server that is back is found within half a minute.
pub const CAP: Duration = Duration::from_secs(30);

/// A connection that ends sooner counts as a failed attempt.
pub const STABLE_AFTER: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_doubles_up_to_its_cap() {
        let mut backoff = Backoff::default();
        let waits: Vec<_> = (0..12).map(|_| backoff.next(0.999_999_9).as_millis()).collect();
        let expect = [
            249, 499, 999, 1999, 3999, 7999, 15999, 29999, 29999, 29999, 29999, 29999,
        ];
        assert_eq!(waits, expect);
        assert_eq!(backoff.attempt(), 12);
        assert_eq!(Backoff::default().next(0.0), Duration::ZERO);
        let mut tired = Backoff {
            attempt: u32::MAX,
            round: u32::MAX,
        };
        assert!(tired.next(0.5) <= CAP);
    }

    #[test]
    fn what_the_server_said_is_kept_within_a_fifth() {
        let told = Duration::from_secs(10);
        assert_eq!(around(told, 0.0), Duration::from_secs(8));
        assert!(around(told, 0.999_999) <= Duration::from_secs(12));
    }

    #[test]
    fn another_server_at_once_does_not_slow_us_down() {
        let mut backoff = Backoff::default();
        backoff.at_once();
        assert_eq!((backoff.attempt(), backoff.next(0.5)), (1, BASE / 2));
        backoff.told_for_all(Duration::ZERO);
        assert_eq!((backoff.attempt(), backoff.next(0.5)), (3, BASE * 2));
    }

    #[test]
    fn only_a_connection_that_lived_and_spoke_starts_anew() {
        let after = |lived: u64, messages| {
            let mut backoff = Backoff { attempt: 5, round: 5 };
            backoff.on_connection(Duration::from_secs(lived), messages);
            backoff.attempt()
        };
        assert_eq!((after(9, 1000), after(60, 0), after(10, 1)), (5, 5, 0));
    }
}
