//! What a client reports, as tests make it.

use serde_json::{Value, json};

/// A report of blocks `first..=last` of 5 messages of this topic, that took so long in all.
pub fn report(topic: &str, first: u64, last: u64, elapsed_ms: f64) -> Value {
    let blocks = last - first + 1;
    let each = elapsed_ms / blocks as f64;
    json!({
        "type": "report", "topic": topic, "block_size": 5, "first_block": first, "last_block": last, "blocks": blocks,
        "first": first * 5, "last": last * 5 + 4, "messages": blocks * 5, "bytes": 500,
        "elapsed_ms": {"count": blocks, "total": elapsed_ms, "min": each, "median": each, "max": each},
        "span_ms": elapsed_ms,
        "spread_ms": {"count": blocks, "total": 1.0, "min": 0.1, "median": 0.1, "max": 0.1},
        "flags": [], "reconnects": 0, "time": "2026-11-21T19:00:00Z",
    })
}
