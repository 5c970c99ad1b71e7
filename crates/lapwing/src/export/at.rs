//! Which message is meant, for whoever looks for it.

use std::fmt;

/// A message of one topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    /// By its offset.
    Offset(u64),
    /// By how many of the topic come before it, in a feed without offsets.
    Row(u64),
}

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Offset(offset) => write!(f, "offset {offset}"),
            Self::Row(row) => write!(f, "message {}", row + 1),
        }
    }
}
