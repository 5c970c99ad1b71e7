//! A commit batch: messages that become durable together or not at all.

use std::ops::Range;

use lapwing_wire::position::Offset;

use crate::log::retries::RetryKey;
use crate::log::segment::Entry;

/// Messages of consecutive offsets on their way to disk, their frames one behind the other.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    /// The offset of the first message; at or beyond the end of the store, offsets between are a hole.
    pub base: Offset,
    /// One entry a message; `end` is where its frame ends in `frames`.
    pub entries: Vec<Entry>,
    /// The canonical frames.
    pub frames: Vec<u8>,
    /// The publishes that lie in this batch, with the offsets of each.
    pub keys: Vec<(RetryKey, Range<Offset>)>,
}
