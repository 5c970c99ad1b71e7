//! The beat of a listener, and what its lateness says.

use std::time::Duration;

use tokio::time::MissedTickBehavior;

use crate::clock::{Now, asleep};
use crate::recording::note::CLOCK_STEP_MS;

/// The beat by which everything is looked after, and what it says about ourselves.
#[derive(Default)]
pub struct Ticks {
    interval: Option<tokio::time::Interval>,
    /// Both clocks at the beat before, and how long the machine had been suspended until then.
    before: Option<(Now, Duration)>,
    /// How long reads were worked on since the beat before: time that we did not stand still.
    busy: Duration,
    /// A beat came so late that we must have stood still.
    pub stalled: bool,
    /// By how many milliseconds the wall clock moved against the monotonic one.
    pub clock_step: Option<f64>,
}

impl Ticks {
    /// What came at `began` is worked off: the beat was not late for that long.
    pub fn on_worked(&mut self, began: Now) {
        self.busy += Duration::from_nanos(Now::read().mono.saturating_sub(began.mono));
    }

    /// Waits for the next beat; may be dropped at any time.
    pub async fn next(&mut self) -> Now {
        let interval = self.interval.get_or_insert_with(|| {
            let mut interval = tokio::time::interval(TICK);
            interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
            interval
        });
        interval.tick().await;
        let now = Now::read();
        self.look(now, asleep());
        now
    }

    /// Compares the clocks with what they were at the last beat. Pure: the moment is an argument, and so is how long the machine has
    /// been suspended since it started.
    pub fn look(&mut self, now: Now, asleep: Duration) {
        let Some((before, asleep_before)) = self.before.replace((now, asleep)) else {
            return;
        };
        let mono = Duration::from_nanos(now.mono.saturating_sub(before.mono));
        // While the machine sleeps the wall clock goes on, and the monotonic one does not: that is no clock that was set.
        let slept = asleep.saturating_sub(asleep_before);
        self.stalled |= mono > TICK + STALL + std::mem::take(&mut self.busy) || slept > SLEEP;
        let wall = now.wall.nanos().saturating_sub(before.wall.nanos());
        let step = (wall as f64 - (mono + slept).as_nanos() as f64) / 1e6;
        if step.abs() > f64::from(CLOCK_STEP_MS) {
            self.clock_step = Some(self.clock_step.unwrap_or_default() + step);
        }
    }
}

/// Often enough that nobody sees a line late, and rare enough to cost nothing.
const TICK: Duration = Duration::from_millis(200);

/// A beat this much late is a stall: stopped, or suspended. Being slow is none, and shows in the block times.
const STALL: Duration = Duration::from_secs(2);

/// Less is the time between the readings of two clocks.
const SLEEP: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use lapwing_wire::time::WallTime;

    use super::*;

    fn at(wall_ms: i64, mono_ms: u64) -> Now {
        Now {
            wall: WallTime::from_nanos(1_795_287_600_000_000_000 + wall_ms * 1_000_000),
            mono: mono_ms * 1_000_000,
        }
    }

    #[track_caller]
    fn check(beats: &[(i64, u64)], step_ms: Option<f64>, stalled: bool) {
        let beats: Vec<_> = beats.iter().map(|&(wall, mono)| (wall, mono, 0)).collect();
        check_asleep(&beats, step_ms, stalled);
    }

    /// The same with how long the machine was suspended until each beat.
    #[track_caller]
    fn check_asleep(beats: &[(i64, u64, u64)], step_ms: Option<f64>, stalled: bool) {
        let mut ticks = Ticks::default();
        for &(wall, mono, asleep) in beats {
            ticks.look(at(wall, mono), Duration::from_millis(asleep));
        }
        assert_eq!(ticks.clock_step.map(f64::round), step_ms);
        assert_eq!(ticks.stalled, stalled);
    }

    #[test]
    fn g1_a_clock_that_is_set_is_a_step_and_no_stall() {
        check(&[(0, 0), (200, 200), (400, 400)], None, false);
        check(&[(0, 0), (200, 200), (-3_599_600, 400)], Some(-3_600_000.0), false);
        check(&[(0, 0), (3_600_200, 200), (3_600_400, 400)], Some(3_600_000.0), false);
        // A leap second that is smeared, or a clock that is corrected slowly.
        check(&[(0, 0), (201, 200), (402, 400), (650, 600)], None, false);
    }

    #[test]
    fn g4_a_machine_that_slept_is_a_stall_and_no_step() {
        const HOUR: i64 = 3_600_000;
        check_asleep(&[(0, 0, 7), (200, 200, 7), (HOUR, 400, HOUR as u64 - 393)], None, true);
        // Set while it slept, too.
        check_asleep(
            &[(0, 0, 0), (3 * HOUR + 200, 200, HOUR as u64)],
            Some(2.0 * HOUR as f64),
            true,
        );
        // Two clocks are never read at once.
        check_asleep(&[(0, 0, 7), (200, 200, 8), (400, 400, 7)], None, false);
    }

    #[test]
    fn standing_still_is_a_stall_and_no_step() {
        check(&[(0, 0), (200, 200), (3000, 3000)], None, true);
    }
}
