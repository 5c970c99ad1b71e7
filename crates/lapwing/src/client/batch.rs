//! The messages of one publish: a body of NDJSON.

use super::lines::LINE_BYTES_MAX;

/// Messages that are published together, and the number of the first of them in this run.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Batch {
    /// How many messages of this run came before.
    pub sequence: u64,
    /// One message a line.
    pub body: Vec<u8>,
    /// How many.
    pub count: u64,
}

impl Batch {
    /// Whether `message` still has room.
    #[must_use]
    pub fn has_room(&self, message: &str) -> bool {
        self.count == 0 || (self.count < MESSAGES_MAX && self.body.len() + message.len() < BODY_BYTES_MAX)
    }

    /// Takes a message.
    pub fn push(&mut self, message: &str) {
        self.body.extend_from_slice(message.as_bytes());
        self.body.push(b'\n');
        self.count += 1;
    }

    /// The next batch, empty.
    #[must_use]
    pub fn following(&self) -> Self {
        Self {
            sequence: self.sequence + self.count,
            ..Self::default()
        }
    }
}

const MESSAGES_MAX: u64 = 1000;

/// As large as one message may be, with its newline.
const BODY_BYTES_MAX: usize = LINE_BYTES_MAX + 1;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_full_by_count_or_by_bytes() {
        let mut batch = Batch::default();
        (0..MESSAGES_MAX).for_each(|_| batch.push("1"));
        assert!(!batch.has_room("1"));
        assert_eq!(batch.following().sequence, 1000);
        let mut batch = Batch::default();
        let half = "1".repeat(LINE_BYTES_MAX / 2);
        assert!(batch.has_room(&half));
        batch.push(&half);
        assert!(!batch.has_room(&half));
        assert!(Batch::default().has_room(&"1".repeat(LINE_BYTES_MAX)));
    }
}
