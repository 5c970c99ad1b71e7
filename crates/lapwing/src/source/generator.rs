//! A source that makes its messages itself, at a pace.

use std::time::Duration;

use lapwing_wire::envelope::Kind;
use tokio::time::{Instant, sleep_until};

use super::pacer::{Pace, Pacer};
use crate::clock::Now;
use crate::log::{Log, NewMessage};

/// Makes one JSON message after another.
pub struct Generator {
    write_next: WriteNext,
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

/// Appends one compact JSON value.
type WriteNext = Box<dyn FnMut(&mut Vec<u8>) + Send>;

impl Generator {
    /// A generator that calls `write_next` for each message; it appends one compact JSON value.
    pub fn new(write_next: impl FnMut(&mut Vec<u8>) + Send + 'static) -> Self {
        Self {
            write_next: Box::new(write_next),
            bytes: Vec::new(),
            ends: Vec::new(),
        }
    }

    /// Appends at the pace until the log ends.
    pub async fn run(mut self, pace: Pace, log: &Log) {
        let origin = Instant::now();
        let mut pacer = Pacer::new(pace, Duration::ZERO);
        loop {
            let mut due = pacer.due(origin.elapsed());
            while due > 0 {
                let batch = due.min(BATCH_MAX);
                due -= batch;
                if !self.append(batch, log) {
                    return;
                }
                if due > 0 {
                    tokio::task::yield_now().await;
                }
            }
            sleep_until(origin + pacer.next_at()).await;
        }
    }

    /// Makes and appends so many messages, or as many as fit [`BATCH_BYTES_MAX`] and then the rest; false when the log has ended.
    fn append(&mut self, mut count: u64, log: &Log) -> bool {
        while count > 0 {
            self.bytes.clear();
            self.ends.clear();
            while count > 0 && self.bytes.len() < BATCH_BYTES_MAX {
                (self.write_next)(&mut self.bytes);
                self.ends.push(self.bytes.len());
                count -= 1;
            }
            let mut begin = 0;
            let messages: Vec<_> = self
                .ends
                .iter()
                .map(|end| NewMessage::new(Kind::Json, &self.bytes[std::mem::replace(&mut begin, *end)..*end]))
                .collect();
            if log.append(&messages, Now::read()).is_err() {
                return false;
            }
        }
        true
    }
}

/// Messages made before others get their turn.
const BATCH_MAX: u64 = 10_000;
/// Bytes made before they are appended.
const BATCH_BYTES_MAX: usize = 1 << 20;
