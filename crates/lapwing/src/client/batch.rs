//! The messages of one publish: a body of NDJSON.

use hyper::body::Bytes;

use super::lines::LINE_BYTES_MAX;

/// Messages one a line, at most as many as go into one publish.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Body {
    /// One message a line.
    pub bytes: Vec<u8>,
    /// How many.
    pub count: u64,
}

impl Body {
    /// Whether `other` still has room.
    #[must_use]
    pub fn has_room(&self, other: &Self) -> bool {
        self.fits(other.count, other.bytes.len())
    }

    /// Whether a message still has room.
    #[must_use]
    pub fn has_room_for(&self, message: &str) -> bool {
        self.fits(1, message.len() + 1)
    }

    fn fits(&self, count: u64, bytes: usize) -> bool {
        self.count == 0 || (self.count + count <= MESSAGES_MAX && self.bytes.len() + bytes <= BODY_BYTES_MAX)
    }

    /// Whether nothing more has room.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.count >= MESSAGES_MAX || self.bytes.len() >= BODY_BYTES_MAX
    }

    /// Takes a message.
    pub fn push(&mut self, message: &str) {
        self.bytes.extend_from_slice(message.as_bytes());
        self.bytes.push(b'\n');
        self.count += 1;
    }

    /// Counts the message whose bytes were appended from `begin` on. When it has no room, it begins another body, and this gives
    /// the one before it.
    pub fn on_message(&mut self, begin: usize) -> Option<Self> {
        if self.count == 0 || (self.count < MESSAGES_MAX && self.bytes.len() <= BODY_BYTES_MAX) {
            self.count += 1;
            return None;
        }
        let message = Self {
            bytes: self.bytes.split_off(begin),
            count: 1,
        };
        Some(std::mem::replace(self, message))
    }

    /// Takes all of another.
    pub fn append(&mut self, other: Self) {
        if self.count == 0 {
            *self = other;
            return;
        }
        self.bytes.extend_from_slice(&other.bytes);
        self.count += other.count;
    }

    /// It in its place: so many messages of this run came before.
    #[must_use]
    pub fn numbered(mut self, sequence: u64) -> Batch {
        // A server needs no newline behind the last message, and takes none behind the longest.
        self.bytes.pop_if(|byte| *byte == b'\n');
        Batch {
            sequence,
            body: self.bytes.into(),
            count: self.count,
        }
    }
}

/// A body and its place among those of this run.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Batch {
    /// How many messages of this run came before.
    pub sequence: u64,
    /// One message a line, the last without a newline.
    pub body: Bytes,
    /// How many.
    pub count: u64,
}

const MESSAGES_MAX: u64 = 1000;

/// As large as one message may be, with its newline.
const BODY_BYTES_MAX: usize = LINE_BYTES_MAX + 1;

#[cfg(test)]
mod tests {
    use super::*;

    fn body(count: u64, bytes: usize) -> Body {
        Body {
            bytes: vec![b'1'; bytes],
            count,
        }
    }

    #[test]
    fn a_body_is_full_by_count_or_by_bytes() {
        let mut most = body(999, 1998);
        assert!(most.has_room(&body(1, 2)) && !most.has_room(&body(2, 4)) && !most.is_full());
        most.append(body(1, 2));
        assert_eq!((most.count, most.bytes.len(), most.is_full()), (1000, 2000, true));
        assert!(body(999, 1998).has_room_for("1") && !most.has_room_for("1"));
        let large = body(1, BODY_BYTES_MAX - 10);
        assert!(large.has_room_for("123456789") && !large.has_room_for("1234567890"));
        assert!(large.has_room(&body(1, 10)) && !large.has_room(&body(1, 11)));
        assert!(Body::default().has_room(&body(1, BODY_BYTES_MAX)));
        assert!(body(1, BODY_BYTES_MAX).is_full());
    }
}
