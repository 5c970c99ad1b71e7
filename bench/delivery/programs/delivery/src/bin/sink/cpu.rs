//! The CPU time of another process, from the scheduler's own counters: ticks are too coarse for a window of seconds.

use std::fs;
use std::io;
use std::time::Duration;

/// What all threads of a process have had of their cores.
#[derive(Clone, Copy, Default)]
pub struct Cpu {
    /// How long they ran.
    pub ran: Duration,
    /// How long they could have run while others did.
    pub waited: Duration,
}

impl Cpu {
    /// So far. A thread that has ended is not counted; no server here ends threads while it is measured.
    pub fn of(process: u32) -> io::Result<Self> {
        let mut cpu = Self::default();
        for task in fs::read_dir(format!("/proc/{process}/task"))? {
            let text = fs::read_to_string(task?.path().join("schedstat"))?;
            let mut nanos = text
                .split(' ')
                .map_while(|field| field.parse().ok().map(Duration::from_nanos));
            let (Some(ran), Some(waited)) = (nanos.next(), nanos.next()) else {
                return Err(io::Error::other(format!("schedstat has no times: {text:?}")));
            };
            cpu.ran += ran;
            cpu.waited += waited;
        }
        Ok(cpu)
    }

    /// What came since an earlier reading.
    pub fn since(self, earlier: Self) -> Self {
        Self {
            ran: self.ran.saturating_sub(earlier.ran),
            waited: self.waited.saturating_sub(earlier.waited),
        }
    }
}
