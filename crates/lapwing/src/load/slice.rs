//! What one thread did in one second, and how hard it was for it.

use std::time::Duration;

use super::crowd::Heard;
use super::times::Times;

/// A second of one thread, or the part of it before a border.
#[derive(Clone, Default)]
pub struct Slice {
    /// When it began and ended, on the monotonic clock.
    pub begin: u64,
    /// The end.
    pub end: u64,
    /// Messages that came.
    pub messages: u64,
    /// Their payload bytes, the envelope included.
    pub bytes: u64,
    /// Latency of what came, the messages of the warm-up too.
    pub latency: Times,
    /// Messages passed over, announced or not.
    pub missed: u64,
    /// Messages that came twice or late.
    pub astray: u64,
    /// Connections that were opened.
    pub opened: u64,
    /// Connections that the server or the network ended.
    pub ended: u64,
    /// Messages that all listeners of this thread have.
    pub heard: Vec<Heard>,
    /// What it cost.
    pub strain: Strain,
}

/// How hard a thread of the tester worked.
#[derive(Clone, Default)]
pub struct Strain {
    /// Time on a core.
    pub busy: Duration,
    /// Time in which it would have run, and no core was free; where the system tells it.
    pub waited: Duration,
    /// The time in which that was.
    pub over: Duration,
    /// For each read, how long what it brought may have waited for its turn.
    pub read_late: Times,
    /// Reads that left something behind because the buffer was full.
    pub reads_full: u64,
}

impl Strain {
    /// Takes another second of the same thread.
    pub fn add(&mut self, other: &Self) {
        self.busy += other.busy;
        self.waited += other.waited;
        self.over += other.over;
        self.read_late.add(&other.read_late);
        self.reads_full += other.reads_full;
    }

    /// The part of a core that was used.
    #[must_use]
    pub fn share(&self) -> f64 {
        part(self.busy, self.over)
    }

    /// The part of the time in which no core was free.
    #[must_use]
    pub fn starved(&self) -> f64 {
        part(self.waited, self.over)
    }

    /// The part of the reads that left something behind.
    #[must_use]
    pub fn crowded(&self) -> f64 {
        self.reads_full as f64 / self.read_late.count().max(1) as f64
    }
}

fn part(of: Duration, whole: Duration) -> f64 {
    match whole.is_zero() {
        true => 0.0,
        false => of.as_secs_f64() / whole.as_secs_f64(),
    }
}
