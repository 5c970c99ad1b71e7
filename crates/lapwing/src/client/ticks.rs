//! The beat of a listener, and what its lateness says.

use std::time::Duration;

use tokio::time::MissedTickBehavior;

use crate::clock::Now;

/// The beat by which everything is looked after, and what it says about ourselves.
#[derive(Default)]
pub struct Ticks {
    interval: Option<tokio::time::Interval>,
    before: Option<Now>,
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
        if let Some(before) = self.before.replace(now) {
            let mono = Duration::from_nanos(now.mono.saturating_sub(before.mono));
            self.stalled |= mono > TICK + STALL + std::mem::take(&mut self.busy);
            let wall = now.wall.nanos().saturating_sub(before.wall.nanos());
            let step = (wall as f64 - mono.as_nanos() as f64) / 1e6;
            if step.abs() > CLOCK_STEP_MS {
                self.clock_step = Some(self.clock_step.unwrap_or_default() + step);
            }
        }
        now
    }
}

/// Often enough that nobody sees a line late, and rare enough to cost nothing.
const TICK: Duration = Duration::from_millis(200);

/// A beat this much late is a stall: stopped, or suspended. Being slow is none, and shows in the block times.
const STALL: Duration = Duration::from_secs(2);

/// Slower corrections of the clock are drift, not steps.
const CLOCK_STEP_MS: f64 = 100.0;
