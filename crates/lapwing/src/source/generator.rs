//! A source that makes its messages itself, at a pace.

use std::time::Duration;

use lapwing_wire::envelope::Kind;
use tokio::time::{Instant, sleep_until};

use super::SourceEvents;
use super::account::Account;
use super::inlet::Inlet;
use super::pacer::{Pace, Pacer};
use crate::log::AppendError;
use crate::log::batch::NewMessage;

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

    /// Appends at the pace until the log ends. It tells what it let go when the machine is too slow for that. When it was held back, its
    /// schedule begins anew: what was not made then is not made up for.
    pub async fn run(mut self, pace: Pace, mut inlet: Inlet, events: &dyn SourceEvents) {
        let origin = Instant::now();
        let mut pacer = Pacer::new(pace, Duration::ZERO);
        let mut account = Account::new(Duration::ZERO);
        loop {
            let mut due = pacer.due_at_most(origin.elapsed(), BATCH_MAX);
            if due == 0 {
                sleep_until(origin + pacer.next_at()).await;
            }
            while due > 0 {
                let made = self.make(due);
                match self.append(&mut inlet).await {
                    Ok(Duration::ZERO) => due -= made,
                    Ok(_) => {
                        pacer = Pacer::new(pace, origin.elapsed());
                        account = Account::new(origin.elapsed());
                        break;
                    }
                    Err(_) => return,
                }
                if let Some(told) = account.on_made(pacer.skipped(), origin.elapsed()) {
                    events.tell(told);
                }
                // Making messages waits for nothing, so others on this thread, and a stop, would wait for all that are due. A
                // single message is small enough: at most what a log takes, some tens of milliseconds.
                tokio::task::yield_now().await;
            }
        }
    }

    /// Appends what was made; gives how long it was held back.
    async fn append(&mut self, inlet: &mut Inlet) -> Result<Duration, AppendError> {
        let mut begin = 0;
        let messages: Vec<_> = self
            .ends
            .iter()
            .map(|end| NewMessage::new(Kind::Json, &self.bytes[std::mem::replace(&mut begin, *end)..*end]))
            .collect();
        inlet.append(&messages).await
    }

    /// Makes at most so many messages, and no more after [`BATCH_BYTES_MAX`]; gives how many.
    fn make(&mut self, count: u64) -> u64 {
        self.bytes.clear();
        self.ends.clear();
        while (self.ends.len() as u64) < count && self.bytes.len() < BATCH_BYTES_MAX {
            (self.write_next)(&mut self.bytes);
            self.ends.push(self.bytes.len());
        }
        self.ends.len() as u64
    }
}

/// Messages that are taken from the schedule at once.
const BATCH_MAX: u64 = 10_000;
/// Bytes made before they are appended.
const BATCH_BYTES_MAX: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    use lapwing_wire::position::Epoch;
    use lapwing_wire::topic::TopicName;

    use super::*;
    use crate::log::Log;
    use crate::log::retention::Retention;
    use crate::source::tests::Told;

    /// Lets a generator of messages of half a batch run on one thread; gives how many it made between turns of another task.
    fn made_between_turns(pace: Pace) -> Vec<u64> {
        let made = Arc::new(AtomicU64::new(0));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
        runtime.expect("a runtime").block_on(async {
            let log = Arc::new(Log::new(
                TopicName::parse("t").expect("valid"),
                Epoch::from_bits(1),
                Retention::DEFAULT,
            ));
            let counter = made.clone();
            let generator = Generator::new(move |out| {
                counter.fetch_add(1, Ordering::Relaxed);
                out.push(b'"');
                out.resize(out.len() + BATCH_BYTES_MAX / 2, b'x');
                out.push(b'"');
            });
            let told = Arc::new(Told::default());
            let inlet = Inlet::new(log, None, told.clone());
            let mut between = Vec::new();
            tokio::select! {
                biased;
                () = generator.run(pace, inlet, told.as_ref()) => {}
                () = async {
                    for _ in 0..20 {
                        tokio::task::yield_now().await;
                        between.push(made.swap(0, Ordering::Relaxed));
                    }
                } => {}
            }
            between
        })
    }

    #[test]
    fn a_tick_of_a_gigabyte_lets_others_have_their_turns_and_a_stop_end_it() {
        let between = made_between_turns(Pace::every(Duration::from_secs(1), 2000));
        assert!(between.iter().all(|made| (1..=4).contains(made)), "{between:?}");
    }
}
