//! What a durable topic has taken and not yet written: batches for its committer, and who waits for them.

use tokio::sync::oneshot;

use lapwing_wire::position::Offset;

use super::AppendError;
use super::batch::{BATCH_BYTES_MAX, Batch};

/// Batches that wait for the committer, and the publishers that wait for the batches.
#[derive(Debug, Default)]
pub struct Queue {
    batches: Vec<Batch>,
    /// Batches that were written: their memory is for those that come.
    spares: Vec<Batch>,
    /// Bytes of batches that wait or are being written.
    bytes: usize,
    /// Until the log's end has reached their offset; a repeated publish may wait for an earlier one than those before it.
    waiting: Vec<(Offset, Waiter)>,
}

/// Tells when the level is reached.
pub type Receipt = oneshot::Receiver<Result<(), AppendError>>;

type Waiter = oneshot::Sender<Result<(), AppendError>>;

/// Those whose messages are kept now, and who do not know it yet.
#[must_use]
pub struct Kept(Vec<(Offset, Waiter)>);

impl Queue {
    /// Whether so many bytes more are too many: never when nothing waits, or one large publish could never be taken.
    #[must_use]
    pub fn is_full_for(&self, bytes: usize) -> bool {
        self.bytes > 0 && self.bytes + bytes > QUEUE_BYTES_MAX
    }

    /// Adds a batch; small ones that follow each other become one. What is left in `batch` is only its memory, or other.
    pub fn push(&mut self, batch: &mut Batch) {
        self.bytes += batch.bytes();
        match self.batches.last_mut() {
            Some(last) if last.end() == batch.base && last.frames.len() + batch.frames.len() <= BATCH_BYTES_MAX => {
                last.extend(batch);
            }
            _ => {
                let spare = self.spares.pop().unwrap_or_default();
                self.batches.push(std::mem::replace(batch, spare));
            }
        }
    }

    /// Waits until the log ends at `end` or behind it.
    pub fn wait(&mut self, end: Offset) -> Receipt {
        let (sender, receipt) = oneshot::channel();
        self.waiting.push((end, sender));
        receipt
    }

    /// Everything that waits to be written, for the committer.
    pub fn take(&mut self) -> Vec<Batch> {
        std::mem::take(&mut self.batches)
    }

    /// Takes back a few of the batches that were written.
    pub fn reuse(&mut self, written: &mut Vec<Batch>) {
        let room = SPARES_MAX - self.spares.len();
        // One that gave its memory away is of no use, and one that is too large would be held for nothing.
        let fits = |batch: &mut Batch| (1..=BATCH_BYTES_MAX * 2).contains(&batch.frames.capacity());
        self.spares.extend(written.extract_if(.., fits).take(room));
    }

    /// Nothing has come for a while: memory is not held for what may come.
    pub fn rest(&mut self) {
        self.spares = Vec::new();
    }

    /// Whether nothing waits to be written.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.batches.is_empty()
    }

    /// Whether nothing waits and nothing is being written.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.bytes == 0
    }

    /// The log now ends at `next`; gives those who waited for that. `bytes` were written.
    pub fn on_written(&mut self, bytes: usize, next: Offset) -> Kept {
        self.bytes -= bytes;
        Kept(self.waiting.extract_if(.., |(end, _)| *end <= next).collect())
    }

    /// Nothing that waits or was being written will be: everyone learns why.
    pub fn fail(&mut self, why: &AppendError) {
        self.batches.clear();
        self.bytes = 0;
        for (_, waiter) in self.waiting.drain(..) {
            let _ = waiter.send(Err(why.clone()));
        }
    }
}

impl Kept {
    /// Wakes them. Nobody may hold the log's lock then: they take it for what they publish next.
    pub fn tell(self) {
        for (_, waiter) in self.0 {
            // Who no longer waits has been gone for some time.
            let _ = waiter.send(Ok(()));
        }
    }
}

/// Bytes of one topic that were taken and are not yet kept; beyond it publishers are told to come back.
pub const QUEUE_BYTES_MAX: usize = 8 << 20;
/// One is being written while another fills.
const SPARES_MAX: usize = 2;

#[cfg(all(test, not(feature = "loom")))]
mod tests {
    use lapwing_wire::envelope::{EnvelopeWriter, Kind};
    use lapwing_wire::topic::TopicName;

    use super::*;
    use crate::clock::Now;
    use crate::log::batch::NewMessage;

    fn fill(batch: &mut Batch, base: u64, payload_bytes: usize) {
        let payload = format!("\"{}\"", "x".repeat(payload_bytes));
        let mut envelope = EnvelopeWriter::new(&TopicName::parse("t").expect("valid"));
        batch.begin(Offset::new(base));
        batch.push(
            &mut envelope,
            &NewMessage::new(Kind::Json, payload.as_bytes()),
            Now::default(),
        );
    }

    #[test]
    fn memory_of_what_was_written_is_used_for_what_comes() {
        let (mut queue, mut batch) = (Queue::default(), Batch::default());
        fill(&mut batch, 0, 1000);
        queue.push(&mut batch);
        let mut written = queue.take();
        let memory = written[0].frames.as_ptr();
        queue.reuse(&mut written);
        fill(&mut batch, 1, 1000);
        queue.push(&mut batch);
        assert_eq!(batch.frames.as_ptr(), memory);
    }

    #[test]
    fn little_memory_is_held_for_what_may_come() {
        let mut queue = Queue::default();
        let mut written: Vec<_> = [1 << 20, 10, 20, 30]
            .map(|bytes| {
                let mut batch = Batch::default();
                fill(&mut batch, 0, bytes);
                batch
            })
            .into();
        written.push(Batch::default());
        queue.reuse(&mut written);
        assert_eq!((queue.spares.len(), written.len()), (SPARES_MAX, 3));
        assert!(queue.spares.iter().all(|spare| spare.frames.len() < 1000));
        queue.rest();
        assert!(queue.spares.is_empty());
    }
}
