//! The two clocks, read together.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use lapwing_wire::time::WallTime;
use rustix::time::{ClockId, clock_gettime};

/// One moment on both clocks: the wall's for people, the monotonic for durations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Now {
    /// Wall clock.
    pub wall: WallTime,
    /// Nanoseconds of the machine's monotonic clock: the same for all its processes until it starts anew.
    pub mono: u64,
}

impl Now {
    /// Reads both clocks.
    #[must_use]
    pub fn read() -> Self {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self {
            wall: WallTime::from_nanos(i64::try_from(wall.as_nanos()).unwrap_or(i64::MAX)),
            mono: nanos(ClockId::Monotonic),
        }
    }
}

/// How long this machine was suspended since it started: the monotonic clock stood still meanwhile. Nothing where the kernel has no
/// clock that goes on.
#[must_use]
pub fn asleep() -> Duration {
    #[cfg(target_os = "linux")]
    {
        // What passes between the two readings counts as sleep: far less than anybody looks for.
        let mono = nanos(ClockId::Monotonic);
        Duration::from_nanos(nanos(ClockId::Boottime).saturating_sub(mono))
    }
    #[cfg(not(target_os = "linux"))]
    Duration::ZERO
}

fn nanos(clock: ClockId) -> u64 {
    let now = clock_gettime(clock);
    let seconds = u64::try_from(now.tv_sec).unwrap_or_default();
    let nanos = u64::try_from(now.tv_nsec).unwrap_or_default();
    seconds.saturating_mul(1_000_000_000).saturating_add(nanos)
}
