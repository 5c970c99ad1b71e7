//! The two clocks, read together.

use std::time::{SystemTime, UNIX_EPOCH};

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
        let mono = clock_gettime(ClockId::Monotonic);
        let seconds = u64::try_from(mono.tv_sec).unwrap_or_default();
        let nanos = u64::try_from(mono.tv_nsec).unwrap_or_default();
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self {
            wall: WallTime::from_nanos(i64::try_from(wall.as_nanos()).unwrap_or(i64::MAX)),
            mono: seconds.saturating_mul(1_000_000_000).saturating_add(nanos),
        }
    }
}
