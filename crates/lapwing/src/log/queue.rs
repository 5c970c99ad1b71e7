//! What a durable topic has taken and not yet written: batches for its committer, and who waits for them.

use tokio::sync::oneshot;

use lapwing_wire::position::Offset;

use super::AppendError;
use super::batch::Batch;

/// Batches that wait for the committer, and the publishers that wait for the batches.
#[derive(Debug, Default)]
pub struct Queue {
    batches: Vec<Batch>,
    /// Bytes of batches that wait or are being written.
    bytes: usize,
    /// Until the log's end has reached their offset; a repeated publish may wait for an earlier one than those before it.
    waiting: Vec<(Offset, oneshot::Sender<Result<(), AppendError>>)>,
}

/// Tells when the level is reached.
pub type Receipt = oneshot::Receiver<Result<(), AppendError>>;

impl Queue {
    /// Whether so many bytes more are too many: never when nothing waits, or one large publish could never be taken.
    #[must_use]
    pub fn is_full_for(&self, bytes: usize) -> bool {
        self.bytes > 0 && self.bytes + bytes > QUEUE_BYTES_MAX
    }

    /// Adds a batch; small ones that follow each other become one.
    pub fn push(&mut self, batch: &Batch) {
        self.bytes += batch.bytes();
        match self.batches.last_mut() {
            Some(last) if last.end() == batch.base && last.frames.len() + batch.frames.len() <= BATCH_BYTES_MAX => {
                last.extend(batch);
            }
            _ => self.batches.push(batch.clone()),
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

    /// The log now ends at `next`: those who waited for that learn it. `bytes` were written.
    pub fn on_written(&mut self, bytes: usize, next: Offset) {
        self.bytes -= bytes;
        for (_, waiting) in self.waiting.extract_if(.., |(end, _)| *end <= next) {
            // Who no longer waits has been gone for some time.
            let _ = waiting.send(Ok(()));
        }
    }

    /// Nothing that waits or was being written will be: everyone learns why.
    pub fn fail(&mut self, why: &AppendError) {
        self.batches.clear();
        self.bytes = 0;
        for (_, waiting) in self.waiting.drain(..) {
            let _ = waiting.send(Err(why.clone()));
        }
    }
}

/// Bytes of one topic that were taken and are not yet kept; beyond it publishers are told to come back.
pub const QUEUE_BYTES_MAX: usize = 8 << 20;
/// What is joined into one batch: enough to make its header cheap, little enough to be read at once.
const BATCH_BYTES_MAX: usize = 256 << 10;
