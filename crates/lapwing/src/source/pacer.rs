//! The pace of a source: a schedule, not a sleep after work, so that the rate does not drift.

use std::time::Duration;

/// So many messages, so often.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// From tick to tick.
    pub every: Duration,
    /// Messages a tick.
    pub burst: u32,
}

impl Pace {
    /// `1000/s`, `60/m`, `5/h`: that many single messages, evenly spread; at most 1,000,000 a second.
    pub fn parse_rate(text: &str) -> Result<Self, String> {
        let wrong = || "is no rate such as 1000/s, 60/m or 5/h".to_owned();
        let (number, unit) = text.split_once('/').ok_or_else(wrong)?;
        let seconds = match unit {
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return Err(wrong()),
        };
        let per_second = number.parse::<f64>().map_err(|_| wrong())? / seconds;
        if !(1.0 / 86_400.0..=1e6).contains(&per_second) {
            return Err("is out of range: one a day to 1000000/s".to_owned());
        }
        Ok(Self {
            every: Duration::from_nanos((1e9 / per_second).round() as u64),
            burst: 1,
        })
    }

    /// The same rate in ticks of `burst` messages.
    #[must_use]
    pub fn in_bursts_of(self, burst: u32) -> Self {
        Self {
            every: self.every * burst,
            burst,
        }
    }

    /// Messages a second.
    #[must_use]
    pub fn per_second(&self) -> f64 {
        f64::from(self.burst) / self.every.as_secs_f64()
    }
}

/// Says what is due. Ticks lie at whole multiples from the first, so lateness of one does not move the next; what fell
/// due while the process could not run is made up for, up to [`CATCH_UP_MAX`] of it.
#[derive(Clone, Debug)]
pub struct Pacer {
    pace: Pace,
    /// When the first tick was due.
    origin: Duration,
    /// Ticks already given out.
    ticks: u64,
    skipped: u64,
}

impl Pacer {
    /// A schedule whose first tick is due at `now`.
    #[must_use]
    pub fn new(pace: Pace, now: Duration) -> Self {
        Self {
            pace,
            origin: now,
            ticks: 0,
            skipped: 0,
        }
    }

    /// Messages due at `now` and not yet given out.
    pub fn due(&mut self, now: Duration) -> u64 {
        let Some(since) = now.checked_sub(self.origin) else {
            return 0;
        };
        let reached = u64::try_from(since.as_nanos() / self.pace.every.as_nanos())
            .unwrap_or(u64::MAX)
            .saturating_add(1);
        let due = reached.saturating_sub(self.ticks);
        let most = u64::try_from(CATCH_UP_MAX.as_nanos() / self.pace.every.as_nanos())
            .unwrap_or(u64::MAX)
            .max(1);
        let given = due.min(most);
        self.skipped += due - given;
        self.ticks = self.ticks.max(reached);
        given.saturating_mul(u64::from(self.pace.burst))
    }

    /// When the next tick is due.
    #[must_use]
    pub fn next_at(&self) -> Duration {
        let nanos = self.pace.every.as_nanos().saturating_mul(u128::from(self.ticks));
        self.origin
            .saturating_add(Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX)))
    }

    /// Ticks let go because the process could not run for longer than is made up for.
    #[must_use]
    pub fn skipped(&self) -> u64 {
        self.skipped
    }
}

/// A machine that slept for an hour shall not wake to an hour's flood.
pub const CATCH_UP_MAX: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    fn pace(every_us: u64, burst: u32) -> Pace {
        Pace {
            every: Duration::from_micros(every_us),
            burst,
        }
    }

    /// Runs a schedule with a clock that jumps by the given steps in turn; gives the messages made.
    fn run(pace: Pace, length: Duration, steps_us: &[u64]) -> u64 {
        let mut now = Duration::from_secs(1000);
        let end = now + length;
        let mut pacer = Pacer::new(pace, now);
        let mut made = 0;
        for step in steps_us.iter().cycle() {
            if now >= end {
                break;
            }
            made += pacer.due(now);
            now += Duration::from_micros(*step);
        }
        made
    }

    #[test]
    fn a_thousand_a_second_for_a_minute_is_sixty_thousand_however_late_the_wake_ups() {
        let minute = Duration::from_secs(60);
        for steps in [&[1000][..], &[1], &[333], &[1037, 12, 5003], &[999_983]] {
            let steps = if steps == [1] { &[7][..] } else { steps };
            let made = run(pace(1000, 1), minute, steps);
            let last_step = steps.iter().max().copied().unwrap_or(0) / 1000;
            assert!(
                (60_000 - last_step.max(1)..=60_001).contains(&made),
                "{made} with steps of {steps:?}"
            );
        }
    }

    #[test]
    fn a_tick_is_a_burst() {
        assert_eq!(run(pace(2_000_000, 5), Duration::from_secs(10), &[1000]), 25);
    }

    #[test]
    fn the_first_tick_is_due_at_once_and_the_next_after_one_interval() {
        let now = Duration::from_secs(5);
        let mut pacer = Pacer::new(pace(1_000_000, 1), now);
        assert_eq!((pacer.due(now), pacer.due(now)), (1, 0));
        assert_eq!(pacer.next_at(), Duration::from_secs(6));
        assert_eq!(pacer.due(Duration::from_secs(4)), 0);
    }

    #[test]
    fn an_hour_asleep_is_not_made_up_for_in_full() {
        let now = Duration::ZERO;
        let mut pacer = Pacer::new(pace(1_000_000, 2), now);
        assert_eq!(pacer.due(now), 2);
        assert_eq!(pacer.due(Duration::from_secs(3600)), 20);
        assert_eq!(pacer.skipped(), 3590);
        assert_eq!(pacer.next_at(), Duration::from_secs(3601));
    }

    #[test]
    fn rates_are_understood() {
        assert_eq!(Pace::parse_rate("1000/s"), Ok(pace(1000, 1)));
        assert_eq!(Pace::parse_rate("60/m"), Ok(pace(1_000_000, 1)));
        assert_eq!(
            Pace::parse_rate("1000000/s").map(|pace| pace.every),
            Ok(Duration::from_micros(1))
        );
        for wrong in ["", "1000", "/s", "x/s", "5/d", "0/s", "-1/s", "1000001/s", "NaN/s"] {
            assert!(Pace::parse_rate(wrong).is_err(), "{wrong}");
        }
    }
}
