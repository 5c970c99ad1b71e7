//! The figures of a run as one object for programs.

use lapwing_wire::time::micros_text;
use serde_json::{Value, json};

use super::bottleneck;
use super::outcome::{Outcome, Second, per_second};
use super::publisher::Published;
use super::slice::Strain;
use super::times::millis;

/// The object: the unit is in the key, unknown is `null`.
#[must_use]
pub fn of(outcome: &Outcome) -> Value {
    let verdict = outcome.verdict();
    let plan = &outcome.plan;
    let books = &outcome.books;
    json!({
        "verdict": verdict.word(),
        "why": verdict.why(),
        "url": plan.target.to_string(),
        "version": env!("CARGO_PKG_VERSION"),
        "time": micros_text(outcome.began),
        "clients": plan.clients,
        "threads": plan.threads,
        "connected": books.connected,
        "not_connected": books.refused,
        "not_tried": outcome.untried(),
        "ended": books.ended,
        "ramp_ms": millis(outcome.ramp),
        "measured_ms": millis(outcome.measured),
        "asked_ms": millis(plan.time),
        "interrupted": outcome.cut.map(super::outcome::Cut::word),
        "messages": outcome.messages,
        "bytes": outcome.bytes,
        "messages_per_second": outcome.rate(),
        "bytes_per_second": outcome.byte_rate(),
        "foreign_frames": books.foreign,
        "latency": books.latency.json(),
        "latency_from": outcome.latency_from(),
        "before_made": books.before_made,
        "first_to_last": outcome.first_to_last.json(),
        "connect": books.connect.json(),
        "topics": topics(outcome),
        "published": outcome.published.as_ref().map(published),
        "tester": tester(outcome),
        "timeline": outcome.timeline.iter().map(second).collect::<Vec<_>>(),
    })
}

fn topics(outcome: &Outcome) -> Vec<Value> {
    let named = outcome.books.topics.iter().zip(&outcome.topics);
    let topic = |(book, name): (&super::books::TopicBook, &String)| {
        let blocks = book.blocks.iter().zip(&outcome.plan.blocks).map(|(block, size)| {
            json!({
                "size": size,
                "elapsed": block.elapsed.json(),
                "source": block.source.json(),
                "pace": outcome.pace(book, block).words(),
            })
        });
        json!({
            "topic": name,
            "followers": book.followers,
            "first": book.from,
            "last": book.next.and_then(|next| next.checked_sub(1)).filter(|last| *last >= book.from),
            "messages": book.messages,
            "missed_silently": book.silent,
            "missed_announced": book.announced,
            "repeated": book.repeated,
            "out_of_order": book.disordered,
            "blocks": blocks.collect::<Vec<_>>(),
        })
    };
    named.map(topic).collect()
}

fn published(published: &Published) -> Value {
    json!({
        "sent": published.sent,
        "acknowledged": published.acked,
        "refused": published.refused,
        "late": published.late,
        "latest_ms": millis(published.latest),
        "held": published.held,
    })
}

fn tester(outcome: &Outcome) -> Value {
    let strain = &outcome.strain;
    let most = |part: fn(&Strain) -> f64| strain.iter().map(part).fold(0.0, f64::max);
    json!({
        "bottleneck": outcome.bottleneck(),
        "core_share": most(Strain::share),
        "waited_for_core_share": most(Strain::starved),
        "read_late_p99_ms": bottleneck::reading_late(strain).map(millis),
        "reads_that_filled_the_buffer": strain.iter().map(|strain| strain.reads_full).sum::<u64>(),
    })
}

fn second(second: &Second) -> Value {
    json!({
        "at_s": second.at.as_secs_f64(),
        "measured": second.measured,
        "messages_per_second": per_second(second.messages, second.length),
        "bytes_per_second": per_second(second.bytes, second.length),
        "p50_ms": second.latency.map(|(p50, _)| millis(p50)),
        "p99_ms": second.latency.map(|(_, p99)| millis(p99)),
        "missed": second.missed,
        "repeated_or_late": second.astray,
        "opened": second.opened,
        "ended": second.ended,
    })
}
