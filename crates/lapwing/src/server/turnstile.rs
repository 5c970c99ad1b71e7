//! How many come in a second: a burst at once, a few after a wait, the others not at all. Pure: time is an argument.

use std::time::Duration;

use crate::config::Rate;

/// Lets so many pass a second (the generic cell rate algorithm).
#[derive(Clone, Debug)]
pub struct Turnstile {
    rate: Rate,
    /// When the one behind the last would be due, if they came one by one.
    due: Duration,
}

/// What one who comes is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Passage {
    /// Come in.
    Now,
    /// Come in after so long.
    After(Duration),
    /// Come back later.
    Refused,
}

impl Turnstile {
    /// A turnstile that nobody has passed lately.
    #[must_use]
    pub fn new(rate: Rate) -> Self {
        Self {
            rate,
            due: Duration::ZERO,
        }
    }

    /// What one would be told who comes now.
    #[must_use]
    pub fn look(&self, now: Duration) -> Passage {
        let at_once = self.each() * self.rate.at_once.saturating_sub(1);
        match self.due.saturating_sub(now).saturating_sub(at_once) {
            Duration::ZERO => Passage::Now,
            wait if wait > WAIT_MAX => Passage::Refused,
            wait => Passage::After(wait),
        }
    }

    /// One comes.
    pub fn pass(&mut self, now: Duration) -> Passage {
        let passage = self.look(now);
        if passage != Passage::Refused {
            self.due = self.due.max(now) + self.each();
        }
        passage
    }

    /// Whether it is as if nobody had passed lately.
    #[must_use]
    pub fn is_at_rest(&self, now: Duration) -> bool {
        self.due <= now
    }

    fn each(&self) -> Duration {
        Duration::from_secs(1) / self.rate.per_second
    }
}

impl Passage {
    /// How long one waits who comes in; none for one who does not.
    #[must_use]
    pub fn wait(self) -> Option<Duration> {
        match self {
            Self::Now => Some(Duration::ZERO),
            Self::After(wait) => Some(wait),
            Self::Refused => None,
        }
    }
}

/// Nobody waits longer: by then a place in another server's queue is worth more.
const WAIT_MAX: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    fn crowd(turnstile: &mut Turnstile, count: usize, now: Duration) -> (usize, usize, usize) {
        let told: Vec<_> = (0..count).map(|_| turnstile.pass(now)).collect();
        let count = |is: fn(&Passage) -> bool| told.iter().filter(|told| is(told)).count();
        (
            count(|told| *told == Passage::Now),
            count(|told| matches!(told, Passage::After(_))),
            count(|told| *told == Passage::Refused),
        )
    }

    #[test]
    fn a_crowd_is_let_in_up_to_the_burst_then_waits_a_second_then_is_refused() {
        let mut turnstile = Turnstile::new(Rate {
            per_second: 500,
            at_once: 1000,
        });
        assert_eq!(crowd(&mut turnstile, 5000, Duration::from_secs(9)), (1000, 500, 3500));
        // A second later those who waited are in, and as many may wait again.
        assert_eq!(crowd(&mut turnstile, 5000, Duration::from_secs(10)), (0, 500, 4500));
        assert_eq!(crowd(&mut turnstile, 5000, Duration::from_secs(100)), (1000, 500, 3500));
    }

    #[test]
    fn who_waits_comes_in_at_the_rate() {
        let mut turnstile = Turnstile::new(Rate {
            per_second: 4,
            at_once: 1,
        });
        let waits = [0, 250, 500, 750, 1000].map(Duration::from_millis);
        assert_eq!(turnstile.pass(Duration::ZERO), Passage::Now);
        for wait in &waits[1..] {
            assert_eq!(turnstile.pass(Duration::ZERO), Passage::After(*wait));
        }
        assert_eq!(turnstile.pass(Duration::ZERO), Passage::Refused);
        assert_eq!(turnstile.pass(Duration::from_millis(1)), Passage::Refused);
        assert_eq!(
            turnstile.pass(Duration::from_millis(250)),
            Passage::After(Duration::from_secs(1))
        );
    }

    #[test]
    fn a_look_changes_nothing_and_after_a_while_it_is_at_rest() {
        let mut turnstile = Turnstile::new(Rate {
            per_second: 2,
            at_once: 1,
        });
        assert!(turnstile.is_at_rest(Duration::ZERO));
        for _ in 0..3 {
            assert_eq!(turnstile.look(Duration::ZERO), Passage::Now);
        }
        for told in [Passage::Now, Passage::After(Duration::from_millis(500))] {
            assert_eq!(
                (turnstile.look(Duration::ZERO), turnstile.pass(Duration::ZERO)),
                (told, told)
            );
        }
        assert!(!turnstile.is_at_rest(Duration::from_millis(999)));
        assert!(turnstile.is_at_rest(Duration::from_secs(1)));
    }

    #[test]
    fn within_the_rate_nobody_ever_waits() {
        let mut turnstile = Turnstile::new(Rate {
            per_second: 100,
            at_once: 1,
        });
        for tenth in 0..1000 {
            assert_eq!(turnstile.pass(Duration::from_millis(10 * tenth)), Passage::Now);
        }
    }
}
