//! What a client reports of its blocks: at most once a second and topic, covering all blocks since the report before.

use std::num::NonZeroU64;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::block::{BlockTiming, Flags};
use crate::position::{Epoch, Offset};
use crate::topic::TopicName;

/// One report of one topic.
///
/// It comes from a client and is not trusted: [`Report::is_plausible`] is asked before anything is made of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// The topic.
    pub topic: TopicName,
    /// The history that the offsets belong to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epoch: Option<Epoch>,
    /// How many messages make a block.
    pub block_size: NonZeroU64,
    /// The number of the first block covered.
    pub first_block: u64,
    /// The number of the last block covered.
    pub last_block: u64,
    /// How many blocks are covered.
    pub blocks: u64,
    /// The first offset that arrived.
    pub first: Offset,
    /// The last offset that arrived.
    pub last: Offset,
    /// How many messages arrived.
    pub messages: u64,
    /// Their payload bytes on the wire.
    pub bytes: u64,
    /// The time of the blocks that count (those without a flag), none when none counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub elapsed_ms: Option<Spans>,
    /// From the end of the block before the first one covered to the end of the last, whatever their flags; none when there
    /// was no block before. It telescopes: summed over reports it is the time of the whole run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub span_ms: Option<f64>,
    /// First to last arrival, over all blocks covered.
    pub spread_ms: Spans,
    /// All flags of all blocks covered.
    #[serde(default)]
    pub flags: Flags,
    /// How often this client has reconnected so far.
    #[serde(default)]
    pub reconnects: u64,
    /// From the arrival of `last` until the report was made, on the client's clock: so the server can tell how long `last` was on
    /// its way, without an agreement of clocks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub age_ms: Option<f64>,
    /// The client's wall clock when it reported, RFC 3339.
    pub time: String,
}

/// A number of spans of time in milliseconds, summed up.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Spans {
    /// How many.
    pub count: u64,
    /// Their sum.
    pub total: f64,
    /// The shortest.
    pub min: f64,
    /// The median (of an even sample when there were very many).
    pub median: f64,
    /// The longest.
    pub max: f64,
}

impl Report {
    /// Whether every block covered counts, so that its total can be compared with the server's own clock.
    #[must_use]
    pub fn is_wholly_timed(&self) -> bool {
        self.flags.is_empty() && self.elapsed_ms.is_some_and(|spans| spans.count == self.blocks)
    }

    /// Whether the numbers can be true: finite, not negative, in order, within bounds.
    #[must_use]
    pub fn is_plausible(&self) -> bool {
        let spans = |s: &Spans| {
            let all = [s.total, s.min, s.median, s.max];
            all.iter().all(|ms| ms.is_finite() && (0.0..=SPAN_MS_MAX).contains(ms))
                && s.min <= s.median
                && s.median <= s.max
        };
        let covered = self
            .last_block
            .checked_sub(self.first_block)
            .and_then(|blocks| blocks.checked_add(1));
        self.first <= self.last
            && self.first.get() / self.block_size == self.first_block
            && self.last.get() / self.block_size == self.last_block
            && self.blocks >= 1
            && covered.is_some_and(|covered| self.blocks <= covered)
            && self.messages <= self.last.since(self.first).saturating_add(1)
            && spans(&self.spread_ms)
            && self.elapsed_ms.as_ref().is_none_or(spans)
            && [self.span_ms, self.age_ms]
                .into_iter()
                .flatten()
                .all(|ms| (0.0..=SPAN_MS_MAX).contains(&ms))
            && self.time.len() <= 40
    }
}

/// A year in milliseconds: no block takes longer.
const SPAN_MS_MAX: f64 = 366.0 * 24.0 * 3600.0 * 1000.0;

/// Gathers the blocks of one topic until the next report is due.
#[derive(Clone, Debug, Default)]
pub struct ReportBuilder {
    covered: Option<Covered>,
    elapsed: Sample,
    spread: Sample,
}

#[derive(Clone, Copy, Debug)]
struct Covered {
    size: NonZeroU64,
    first_block: u64,
    last_block: u64,
    blocks: u64,
    first: Offset,
    last: Offset,
    messages: u64,
    bytes: u64,
    flags: Flags,
    span: Option<Duration>,
}

impl ReportBuilder {
    /// Takes the timing of one block.
    pub fn on_block(&mut self, timing: &BlockTiming) {
        let covered = self.covered.get_or_insert(Covered {
            size: timing.size,
            first_block: timing.block,
            last_block: timing.block,
            blocks: 0,
            first: timing.first,
            last: timing.last,
            messages: 0,
            bytes: 0,
            flags: Flags::NONE,
            span: Some(Duration::ZERO),
        });
        covered.span = covered.span.zip(timing.elapsed).map(|(span, elapsed)| span + elapsed);
        covered.last_block = timing.block;
        covered.last = timing.last;
        covered.blocks += 1;
        covered.messages += timing.messages;
        covered.bytes += timing.bytes;
        covered.flags = covered.flags.with(timing.flags);
        if let Some(elapsed) = timing.timed() {
            self.elapsed.add(elapsed);
        }
        self.spread.add(timing.spread);
    }

    /// Whether nothing waits to be reported.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.covered.is_none()
    }

    /// The report of everything taken since the last one, none when there was nothing. `age` is how long ago the last message of it
    /// arrived.
    pub fn take(
        &mut self,
        topic: &TopicName,
        epoch: Option<Epoch>,
        reconnects: u64,
        age: Duration,
        time: String,
    ) -> Option<Report> {
        let covered = self.covered.take()?;
        let report = Report {
            topic: topic.clone(),
            epoch,
            block_size: covered.size,
            first_block: covered.first_block,
            last_block: covered.last_block,
            blocks: covered.blocks,
            first: covered.first,
            last: covered.last,
            messages: covered.messages,
            bytes: covered.bytes,
            elapsed_ms: self.elapsed.spans(),
            span_ms: covered.span.map(ms),
            spread_ms: self.spread.spans().expect("a block was taken, so a spread was"),
            flags: covered.flags,
            reconnects,
            age_ms: Some(ms(age)),
            time,
        };
        self.elapsed = Sample::default();
        self.spread = Sample::default();
        Some(report)
    }
}

/// Sum, extremes and median of many spans in bounded memory: beyond the bound every other one is kept, then every fourth …
#[derive(Clone, Debug)]
struct Sample {
    kept: Vec<Duration>,
    stride: u64,
    count: u64,
    total: Duration,
    min: Duration,
    max: Duration,
}

impl Default for Sample {
    fn default() -> Self {
        Self {
            kept: Vec::new(),
            stride: 1,
            count: 0,
            total: Duration::ZERO,
            min: Duration::MAX,
            max: Duration::ZERO,
        }
    }
}

impl Sample {
    fn add(&mut self, span: Duration) {
        if self.count.is_multiple_of(self.stride) {
            if self.kept.len() == SAMPLE_MAX {
                let mut keep = false;
                self.kept.retain(|_| {
                    keep = !keep;
                    keep
                });
                self.stride *= 2;
            }
            self.kept.push(span);
        }
        self.count += 1;
        self.total += span;
        self.min = self.min.min(span);
        self.max = self.max.max(span);
    }

    fn spans(&mut self) -> Option<Spans> {
        if self.count == 0 {
            return None;
        }
        self.kept.sort_unstable();
        let median = self.kept[self.kept.len() / 2].clamp(self.min, self.max);
        Some(Spans {
            count: self.count,
            total: ms(self.total),
            min: ms(self.min),
            median: ms(median),
            max: ms(self.max),
        })
    }
}

/// Milliseconds with the microseconds as fraction: finer than any network, short as text.
fn ms(span: Duration) -> f64 {
    span.as_micros() as f64 / 1000.0
}

/// 4,096 spans are 64 KiB, and place a median well.
const SAMPLE_MAX: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::block::BlockTimer;

    fn report_of(arrivals: impl Iterator<Item = (u64, u64)>, size: u64) -> Report {
        let mut timer = BlockTimer::new(NonZeroU64::new(size).expect("not zero"), Offset::ZERO);
        let mut builder = ReportBuilder::default();
        for (offset, ms) in arrivals {
            for timing in timer.on_message(Offset::new(offset), Duration::from_millis(ms), 100) {
                builder.on_block(&timing);
            }
        }
        let topic = TopicName::parse("arrays").expect("valid");
        let report = builder
            .take(
                &topic,
                None,
                0,
                Duration::from_millis(3),
                "2026-11-21T19:00:00Z".to_owned(),
            )
            .expect("blocks were taken");
        assert!(builder.is_empty());
        report
    }

    #[test]
    fn a_report_covers_all_blocks_since_the_last() {
        let report = report_of((0..20).map(|n| (n, n * 10)), 5);
        assert_eq!((report.first_block, report.last_block, report.blocks), (0, 3, 4));
        assert_eq!(
            (report.first.get(), report.last.get(), report.messages, report.bytes),
            (0, 19, 20, 2000)
        );
        let elapsed = report.elapsed_ms.expect("three blocks count");
        assert_eq!(
            (elapsed.count, elapsed.total, elapsed.min, elapsed.max),
            (3, 150.0, 50.0, 50.0)
        );
        assert_eq!(report.span_ms, None, "there was no block before the first");
        assert_eq!(report.spread_ms.median, 40.0);
        assert!(report.flags.has(Flags::FIRST) && !report.is_wholly_timed());
        assert!(report.is_plausible());
    }

    #[test]
    fn very_many_blocks_stay_bounded() {
        let report = report_of((0..100_000).map(|n| (n, n)), 1);
        let elapsed = report.elapsed_ms.expect("timed");
        assert_eq!((elapsed.count, elapsed.median, elapsed.total), (99_999, 1.0, 99_999.0));
        let mut sample = Sample::default();
        (0..1_000_000).for_each(|n| sample.add(Duration::from_micros(n)));
        assert!(sample.kept.len() <= SAMPLE_MAX);
        let median = sample.spans().expect("taken").median;
        assert!((490.0..510.0).contains(&median), "{median}");
    }

    #[test]
    fn a_report_survives_the_wire() {
        let report = report_of((0..20).map(|n| (n, n * 10)), 5);
        let text = serde_json::to_string(&report).expect("serializable");
        assert_eq!(serde_json::from_str::<Report>(&text).expect("our own"), report);
    }

    #[test]
    fn numbers_that_cannot_be_true_are_seen() {
        let good = report_of((0..20).map(|n| (n, n * 10)), 5);
        let spoil = |change: fn(&mut Report)| {
            let mut report = good.clone();
            change(&mut report);
            report.is_plausible()
        };
        assert!(!spoil(|r| r.first = Offset::new(20)));
        assert!(!spoil(|r| r.last_block = 0));
        assert!(!spoil(|r| r.last = Offset::new(u64::MAX)));
        assert!(!spoil(|r| r.blocks = 0));
        assert!(!spoil(|r| r.messages = 21));
        assert!(!spoil(|r| r.spread_ms.max = f64::NAN));
        assert!(!spoil(|r| r.spread_ms.min = -1.0));
        assert!(!spoil(|r| r.spread_ms.median = r.spread_ms.max + 1.0));
        assert!(!spoil(
            |r| r.elapsed_ms = r.elapsed_ms.map(|e| Spans { total: 1e300, ..e })
        ));
        assert!(!spoil(|r| r.span_ms = Some(f64::INFINITY)));
        assert!(!spoil(|r| r.age_ms = Some(-0.1)));
        assert!(!spoil(|r| r.age_ms = Some(f64::NAN)));
        assert!(!spoil(|r| r.time = "x".repeat(41)));
    }
}
