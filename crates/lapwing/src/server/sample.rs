//! Reports as tests make them: of topic `arrays`, in blocks of 5 messages.

use std::num::NonZeroU64;

use lapwing_wire::block::Flags;
use lapwing_wire::position::Offset;
use lapwing_wire::report::{Report, Spans};
use lapwing_wire::topic::TopicName;

/// A report of so many blocks from `first_block` on, which says nothing of any time.
pub fn report(first_block: u64, blocks: u64) -> Report {
    Report {
        topic: TopicName::parse("arrays").expect("valid"),
        epoch: None,
        block_size: NonZeroU64::new(5).expect("not zero"),
        first_block,
        last_block: first_block + blocks - 1,
        blocks,
        first: Offset::new(first_block * 5),
        last: Offset::new((first_block + blocks) * 5 - 1),
        messages: blocks * 5,
        bytes: 0,
        elapsed_ms: None,
        span_ms: None,
        spread_ms: spans(blocks, 0.0, 0.0, 0.0),
        flags: Flags::NONE,
        reconnects: 0,
        age_ms: None,
        time: String::new(),
    }
}

/// So many spans, of which these are the shortest, the median and the longest; their sum is that of the two ends.
pub fn spans(count: u64, min: f64, median: f64, max: f64) -> Spans {
    Spans {
        count,
        total: min + max,
        min,
        median,
        max,
    }
}
