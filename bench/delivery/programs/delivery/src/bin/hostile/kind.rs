//! What one of them does.

use std::time::Duration;

/// A way to be hostile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A head that comes byte by byte and never ends.
    SlowHead,
    /// Connected, and then nothing: the other end may be gone.
    HalfOpen,
    /// Asks for everything from the start, and reads nothing.
    SlowReader,
    /// Pings without end, whose pongs nobody reads.
    PingFlood,
    /// A message in fragments of one byte, without end.
    TinyFragments,
    /// A message of a megabyte of which the last byte never comes; every third claims a terabyte.
    HugeFrame,
    /// Random bytes where frames should be, or a request.
    Garbage,
    /// Connects and resets, at every stage of the handshake.
    Churn,
    /// Handshakes that are wrong, each in its way.
    BadHandshake,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::SlowHead,
        Self::HalfOpen,
        Self::SlowReader,
        Self::PingFlood,
        Self::TinyFragments,
        Self::HugeFrame,
        Self::Garbage,
        Self::Churn,
        Self::BadHandshake,
    ];

    /// Its name in the figures.
    pub const fn name(self) -> &'static str {
        match self {
            Self::SlowHead => "slow head",
            Self::HalfOpen => "half-open",
            Self::SlowReader => "slow reader",
            Self::PingFlood => "ping flood",
            Self::TinyFragments => "tiny fragments",
            Self::HugeFrame => "huge frame",
            Self::Garbage => "garbage",
            Self::Churn => "churn",
            Self::BadHandshake => "bad handshake",
        }
    }

    /// From one step to the next.
    pub const fn pause(self) -> Duration {
        Duration::from_millis(match self {
            Self::SlowHead | Self::HalfOpen => 2000,
            Self::SlowReader => 5000,
            Self::PingFlood | Self::TinyFragments | Self::HugeFrame => 500,
            Self::Garbage | Self::Churn | Self::BadHandshake => 1500,
        })
    }
}
