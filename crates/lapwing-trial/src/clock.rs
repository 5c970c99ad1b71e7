//! The monotonic clock that all processes of one machine share.

/// Nanoseconds of `CLOCK_MONOTONIC`, as in the recordings.
pub fn mono() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    let (seconds, nanos) = (
        u64::try_from(now.tv_sec).unwrap_or(0),
        u64::try_from(now.tv_nsec).unwrap_or(0),
    );
    seconds * 1_000_000_000 + nanos
}
