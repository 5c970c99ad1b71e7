//! How much of a topic is kept: by bytes and by age, whichever comes first.

use std::time::Duration;

/// The bounds of one topic's log in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// At most so many bytes of frames and index, give or take one segment.
    pub bytes: u64,
    /// Every message for at least so long, unless `bytes` comes first.
    pub age: Duration,
}

impl Retention {
    /// 64 MiB and 60 s: a minute away is survived, and ten topics fit a small machine.
    pub const DEFAULT: Self = Self {
        bytes: 64 << 20,
        age: Duration::from_secs(60),
    };
    /// Less would not hold one segment of any use.
    pub const BYTES_MIN: u64 = 64 << 10;
    /// The largest segment.
    pub const SEGMENT_BYTES_MAX: u64 = 4 << 20;

    /// Frame bytes of a segment: a sixteenth of all, so that what goes at once is a small part.
    #[must_use]
    pub fn segment_bytes(&self) -> usize {
        usize::try_from((self.bytes / 16).clamp(4 << 10, Self::SEGMENT_BYTES_MAX)).expect("at most 4 MiB")
    }

    /// A segment is sealed when its first message is this old.
    #[must_use]
    pub fn segment_age(&self) -> Duration {
        self.age / 8
    }
}
