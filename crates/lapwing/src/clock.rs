//! The two clocks of this process, read together.

use std::sync::OnceLock;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use lapwing_wire::time::WallTime;

/// One moment on both clocks: the wall's for people, the monotonic for durations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Now {
    /// Wall clock.
    pub wall: WallTime,
    /// Nanoseconds of the monotonic clock since this process first asked.
    pub mono: u64,
}

impl Now {
    /// Reads both clocks.
    #[must_use]
    pub fn read() -> Self {
        static ORIGIN: OnceLock<Instant> = OnceLock::new();
        let mono = ORIGIN.get_or_init(Instant::now).elapsed();
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let nanos = |span: std::time::Duration| u64::try_from(span.as_nanos()).unwrap_or(u64::MAX);
        Self {
            wall: WallTime::from_nanos(i64::try_from(wall.as_nanos()).unwrap_or(i64::MAX)),
            mono: nanos(mono),
        }
    }
}
