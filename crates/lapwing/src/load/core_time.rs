//! How much of a core the calling thread had, and for how long it waited for one.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// Readings of one thread since it began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CoreTime {
    /// On a core.
    pub busy: Duration,
    /// Ready to run, while no core was free. Zero where the system does not tell it.
    pub waited: Duration,
}

impl CoreTime {
    /// Reads both for the calling thread.
    #[must_use]
    pub fn read() -> Self {
        let busy = clock_gettime(ClockId::ThreadCPUTime);
        let seconds = Duration::from_secs(u64::try_from(busy.tv_sec).unwrap_or_default());
        Self {
            busy: seconds + Duration::from_nanos(u64::try_from(busy.tv_nsec).unwrap_or_default()),
            waited: std::fs::read_to_string("/proc/thread-self/schedstat")
                .ok()
                .and_then(|text| waited(&text))
                .unwrap_or_default(),
        }
    }

    /// What was added since an earlier reading.
    #[must_use]
    pub fn since(self, earlier: Self) -> Self {
        Self {
            busy: self.busy.saturating_sub(earlier.busy),
            waited: self.waited.saturating_sub(earlier.waited),
        }
    }
}

/// The second number of three: nanoseconds on a run queue.
fn waited(schedstat: &str) -> Option<Duration> {
    schedstat.split(' ').nth(1)?.parse().ok().map(Duration::from_nanos)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_takes_time_on_a_core() {
        let before = CoreTime::read();
        let mut sum = 0_u64;
        while CoreTime::read().since(before).busy < Duration::from_millis(5) {
            sum = sum.wrapping_mul(31).wrapping_add(1);
        }
        assert_ne!(sum, 0);
        assert_eq!(waited("123 456 7\n"), Some(Duration::from_nanos(456)));
        assert_eq!(waited("x"), None);
    }
}
