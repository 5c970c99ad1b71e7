//! When a paced server sends: instants planned from the start, so that a late one does not move those behind it.

use std::time::{Duration, Instant};

use crate::arguments::Arguments;

/// How a server's feed is paced, as each of them is told.
#[derive(Clone, Copy, Debug)]
pub enum Pace {
    /// `--burst` messages at once, each `--every-ms`.
    Every {
        /// From tick to tick.
        every: Duration,
        /// Messages a tick.
        burst: usize,
    },
    /// `--saturate`: as fast as can be.
    Saturate,
    /// Neither: nothing is sent.
    Idle,
}

impl Pace {
    /// What was typed.
    #[must_use]
    pub fn typed(arguments: &Arguments) -> Self {
        match arguments.value("--every-ms", 0) {
            _ if arguments.flag("--saturate") => Self::Saturate,
            0 => Self::Idle,
            every => Self::Every {
                every: Duration::from_millis(every),
                burst: arguments.value("--burst", 1),
            },
        }
    }
}

/// The ticks of a pace. One that comes late is followed by the next at once, until the schedule is met again.
pub struct Schedule {
    next: Instant,
    every: Duration,
}

impl Schedule {
    /// The first tick is one period from now.
    #[must_use]
    pub fn every(every: Duration) -> Self {
        Self {
            next: Instant::now() + every,
            every,
        }
    }

    /// How long until the tick that is due next; zero when it is due.
    #[must_use]
    pub fn wait(&self) -> Duration {
        self.next.saturating_duration_since(Instant::now())
    }

    /// The tick that was due is done.
    pub fn advance(&mut self) {
        self.next += self.every;
    }
}
