//! The pace of a source: a schedule, not a sleep after work, so that the rate does not drift.

use std::time::Duration;

/// So many messages, so often. It is kept as it was asked for, in whole numbers: 600,000 a second are three ticks each
/// 5,000 ns, and a period rounded to nanoseconds would make them 599,880.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// In this many nanoseconds,
    span_ns: u128,
    /// so many ticks lie evenly. Both are in lowest terms.
    ticks: u128,
    /// Messages a tick.
    burst: u32,
}

impl Pace {
    /// A tick of `burst` messages each `every`.
    #[must_use]
    pub fn every(every: Duration, burst: u32) -> Self {
        Self::in_lowest_terms(every.as_nanos(), 1, burst)
    }

    /// `1000/s`, `60/m`, `5/h`: that many single messages, evenly spread; at most 1,000,000 a second.
    pub fn parse_rate(text: &str) -> Result<Self, String> {
        let wrong = || "is no rate such as 1000/s, 60/m or 5/h".to_owned();
        let (number, unit) = text.split_once('/').ok_or_else(wrong)?;
        let seconds: u32 = match unit {
            "s" => 1,
            "m" => 60,
            "h" => 3600,
            _ => return Err(wrong()),
        };
        let number = number.parse::<f64>().map_err(|_| wrong())?;
        if !(1.0 / 86_400.0..=1e6).contains(&(number / f64::from(seconds))) {
            return Err("is out of range: one a day to 1000000/s".to_owned());
        }
        // Nine digits behind the point are kept; whole numbers are exact.
        let ticks = number.trunc() as u128 * NANO + (number.fract() * NANO as f64).round() as u128;
        Ok(Self::in_lowest_terms(u128::from(seconds) * NANO * NANO, ticks, 1))
    }

    /// The same rate in ticks of `burst` messages.
    #[must_use]
    pub fn in_bursts_of(self, burst: u32) -> Self {
        Self::in_lowest_terms(self.span_ns * u128::from(burst), self.ticks, burst)
    }

    /// Messages a tick.
    #[must_use]
    pub fn burst(&self) -> u32 {
        self.burst
    }

    /// Messages a second.
    #[must_use]
    pub fn per_second(&self) -> f64 {
        f64::from(self.burst) * self.ticks as f64 / self.span_ns as f64 * NANO as f64
    }

    /// From tick to tick, rounded up.
    #[must_use]
    pub fn interval(&self) -> Duration {
        self.time_of(1)
    }

    fn in_lowest_terms(span_ns: u128, ticks: u128, burst: u32) -> Self {
        let common = greatest_common_divisor(span_ns, ticks).max(1);
        Self {
            // A pace that never waits would divide by nothing.
            span_ns: (span_ns / common).max(1),
            ticks: ticks / common,
            burst,
        }
    }

    /// Ticks that fit into a time. It cannot overflow: 584 years are 2^64 ns, and `ticks` is below 2^62.
    fn ticks_in(&self, time: Duration) -> u128 {
        time.as_nanos().min(u128::from(u64::MAX)) * self.ticks / self.span_ns
    }

    /// When tick `tick` is due after the first; rounded up, so that it is due then.
    fn time_of(&self, tick: u128) -> Duration {
        let nanos = tick.saturating_mul(self.span_ns).div_ceil(self.ticks);
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }
}

fn greatest_common_divisor(mut a: u128, mut b: u128) -> u128 {
    while b > 0 {
        (a, b) = (b, a % b);
    }
    a
}

/// Says what is due. Ticks lie at whole multiples from the first, so lateness of one does not move the next; what fell
/// due while the process could not run is made up for, up to [`CATCH_UP_MAX`] of it.
#[derive(Clone, Debug)]
pub struct Pacer {
    pace: Pace,
    /// When the first tick was due.
    origin: Duration,
    /// Messages given out, or let go.
    given: u128,
    skipped: u64,
}

impl Pacer {
    /// A schedule whose first tick is due at `now`.
    #[must_use]
    pub fn new(pace: Pace, now: Duration) -> Self {
        Self {
            pace,
            origin: now,
            given: 0,
            skipped: 0,
        }
    }

    /// Messages due at `now` and not yet given out.
    pub fn due(&mut self, now: Duration) -> u64 {
        self.due_at_most(now, u64::MAX)
    }

    /// As [`Pacer::due`], but not more than `count`: the others stay due.
    pub fn due_at_most(&mut self, now: Duration, count: u64) -> u64 {
        let Some(since) = now.checked_sub(self.origin) else {
            return 0;
        };
        let burst = u128::from(self.pace.burst);
        let reached = (self.pace.ticks_in(since) + 1) * burst;
        let most = self.pace.ticks_in(CATCH_UP_MAX).max(1) * burst;
        let let_go = reached.saturating_sub(self.given).saturating_sub(most);
        self.skipped = self.skipped.saturating_add(u64::try_from(let_go).unwrap_or(u64::MAX));
        self.given += let_go;
        let due = u64::try_from(reached.saturating_sub(self.given)).unwrap_or(u64::MAX);
        let due = due.min(count);
        self.given += u128::from(due);
        due
    }

    /// When the next tick is due.
    #[must_use]
    pub fn next_at(&self) -> Duration {
        let tick = self.given / u128::from(self.pace.burst);
        self.origin.saturating_add(self.pace.time_of(tick))
    }

    /// Messages let go because they were due for longer than is made up for.
    #[must_use]
    pub fn skipped(&self) -> u64 {
        self.skipped
    }
}

/// A machine that slept for an hour shall not wake to an hour's flood.
pub const CATCH_UP_MAX: Duration = Duration::from_secs(10);
const NANO: u128 = 1_000_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn pace(every_us: u64, burst: u32) -> Pace {
        Pace::every(Duration::from_micros(every_us), burst)
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
        assert_eq!(pacer.skipped(), 2 * 3590);
        assert_eq!(pacer.next_at(), Duration::from_secs(3601));
    }

    #[test]
    fn rates_are_understood() {
        assert_eq!(Pace::parse_rate("1000/s"), Ok(pace(1000, 1)));
        assert_eq!(Pace::parse_rate("60/m"), Ok(pace(1_000_000, 1)));
        assert_eq!(Pace::parse_rate("1000000/s"), Ok(pace(1, 1)));
        assert_eq!(Pace::parse_rate("0.1/s"), Ok(pace(10_000_000, 1)));
        assert_eq!(Pace::parse_rate("2.5/m"), Ok(pace(24_000_000, 1)));
        assert_eq!(Pace::parse_rate("1e3/s"), Ok(pace(1000, 1)));
        for wrong in ["", "1000", "/s", "x/s", "5/d", "0/s", "-1/s", "1000001/s", "NaN/s"] {
            assert!(Pace::parse_rate(wrong).is_err(), "{wrong}");
        }
    }

    #[track_caller]
    fn check_rate(rate: &str, length: Duration, expect: u64) {
        let pace = Pace::parse_rate(rate).expect(rate);
        // Wake-ups that fit no period.
        let made = run(pace, length, &[1037, 12, 5003, 999_983]);
        let late = (pace.per_second() * 1.0).ceil() as u64;
        assert!((expect - late..=expect + 1).contains(&made), "{rate}: {made}");
        let mut pacer = Pacer::new(pace, Duration::ZERO);
        let mut made = 0;
        for second in 0..=length.as_secs() {
            made += pacer.due(Duration::from_secs(second));
        }
        // The first is due at once, so the end of the time has one more.
        assert_eq!(made, expect + 1, "{rate}");
    }

    #[test]
    fn a_rate_is_kept_exactly_also_when_its_period_is_no_whole_number_of_nanoseconds() {
        let minute = Duration::from_secs(60);
        check_rate("600000/s", minute, 36_000_000);
        check_rate("7/s", minute, 420);
        check_rate("1000000/s", minute, 60_000_000);
        check_rate("999999/s", minute, 59_999_940);
        check_rate("7/m", Duration::from_secs(3600), 420);
    }

    #[test]
    fn a_tick_is_due_at_the_time_that_was_foretold_and_not_before() {
        for rate in ["7/s", "600000/s", "1000000/s", "999983/s", "17/h"] {
            let mut pacer = Pacer::new(Pace::parse_rate(rate).expect(rate), Duration::ZERO);
            for tick in 0..1000 {
                let at = pacer.next_at();
                let before = at.checked_sub(Duration::from_nanos(1));
                assert_eq!(before.map_or(0, |before| pacer.due(before)), 0, "{rate} {tick}");
                assert_eq!(pacer.due(at), 1, "{rate} {tick}");
            }
        }
    }

    #[test]
    fn no_pace_overflows_in_five_hundred_years() {
        let long = Duration::from_nanos(u64::MAX);
        let fastest = Pace::parse_rate("1000000/s").expect("at the limit");
        let uneven = Pace::parse_rate("3599999999.75/h").expect("below the limit");
        let slowest = Pace::every(Duration::from_secs(24 * 3600), 100_000);
        for pace in [
            fastest,
            fastest.in_bursts_of(100_000),
            uneven.in_bursts_of(99_999),
            slowest,
        ] {
            let mut pacer = Pacer::new(pace, Duration::ZERO);
            let due = pacer.due(long);
            assert!(due >= u64::from(pace.burst), "{pace:?} {due}");
            assert_eq!(pacer.due(long), 0, "{pace:?}");
            assert!(pacer.next_at() >= long, "{pace:?}");
        }
        let mut pacer = Pacer::new(slowest, Duration::ZERO);
        assert_eq!(pacer.due(Duration::from_secs(24 * 3600)), 100_000);
        assert_eq!(pacer.skipped(), 100_000, "a tick is the least that is made up for");
    }

    #[test]
    fn what_is_not_taken_stays_due() {
        let mut pacer = Pacer::new(pace(1000, 5), Duration::ZERO);
        let now = Duration::from_millis(2);
        assert_eq!(pacer.due_at_most(now, 7), 7);
        assert_eq!(
            pacer.next_at(),
            Duration::from_millis(1),
            "three of the second tick are left"
        );
        assert_eq!(pacer.due_at_most(now, 100), 8);
        assert_eq!(pacer.due_at_most(now, 100), 0);
        assert_eq!(pacer.next_at(), Duration::from_millis(3));
    }

    #[test]
    fn a_rate_in_bursts_is_the_same_rate() {
        let pace = Pace::parse_rate("600000/s").expect("a rate").in_bursts_of(7);
        assert!((pace.per_second() - 600_000.0).abs() < 1e-6);
        assert_eq!(run(pace, Duration::from_secs(7), &[1000]) % 7, 0);
    }
}
