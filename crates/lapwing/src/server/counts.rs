//! What is counted for whoever watches, beside what delivery threads count for themselves.
//!
//! Nothing is counted by what a client makes up: topics are fixed at start, and every other key is one of a closed set.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use lapwing_wire::close::CloseCode;
use lapwing_wire::control::GapReason;
use lapwing_wire::report::Report;

use super::histogram::Histogram;
use super::topics::TopicId;
use crate::session::Mode;

/// The counts of a server.
pub struct Counts {
    topics: Box<[OfTopic]>,
    clients: [AtomicUsize; MODES.len()],
    came: AtomicU64,
    /// Connections that ended, by their close code.
    pub left: Numbered,
    /// Answers to publishers, by their status.
    pub published: Numbered,
    /// From a connection's being accepted to its 101.
    pub handshakes: Histogram,
    /// Handshakes of TLS.
    pub tls_handshakes: Histogram,
}

/// The counts of one topic.
pub struct OfTopic {
    gaps: [Gaps; REASONS.len()],
    /// Reports that were taken.
    pub reports: AtomicU64,
    /// How long blocks took, as clients report.
    pub blocks: Histogram,
    /// By how much longer than here, a block.
    pub behind: Histogram,
    /// By how much shorter.
    pub ahead: Histogram,
    /// How often messages could not be kept.
    pub failures: AtomicU64,
    /// Messages cannot be kept now.
    pub failing: AtomicBool,
    /// What was found in its files that somebody should know.
    pub findings: AtomicU64,
}

/// What clients were told they will not get, for one reason.
#[derive(Default)]
pub struct Gaps {
    /// How often.
    pub told: AtomicU64,
    /// How many messages.
    pub messages: AtomicU64,
}

/// A count for each of some numbers, and one for all others.
pub struct Numbered {
    known: &'static [u16],
    counts: Box<[AtomicU64]>,
}

impl Counts {
    /// Of so many topics, all nothing.
    #[must_use]
    pub fn new(topics: usize) -> Self {
        let of_topic = |_| OfTopic {
            gaps: Default::default(),
            reports: AtomicU64::new(0),
            blocks: Histogram::new(BLOCK_BOUNDS),
            behind: Histogram::new(DRIFT_BOUNDS),
            ahead: Histogram::new(DRIFT_BOUNDS),
            failures: AtomicU64::new(0),
            failing: AtomicBool::new(false),
            findings: AtomicU64::new(0),
        };
        Self {
            topics: (0..topics).map(of_topic).collect(),
            clients: Default::default(),
            came: AtomicU64::new(0),
            left: Numbered::new(CODES),
            published: Numbered::new(STATUSES),
            handshakes: Histogram::new(HANDSHAKE_BOUNDS),
            tls_handshakes: Histogram::new(HANDSHAKE_BOUNDS),
        }
    }

    /// Those of a topic.
    #[must_use]
    pub fn of(&self, topic: TopicId) -> &OfTopic {
        &self.topics[topic.0 as usize]
    }

    /// A client of this mode is here.
    pub fn on_came(&self, mode: Mode) {
        self.came.fetch_add(1, Ordering::Relaxed);
        self.clients[place(mode)].fetch_add(1, Ordering::Relaxed);
    }

    /// How many came so far.
    #[must_use]
    pub fn came(&self) -> u64 {
        self.came.load(Ordering::Relaxed)
    }

    /// It is gone.
    pub fn on_gone(&self, mode: Mode) {
        self.clients[place(mode)].fetch_sub(1, Ordering::Relaxed);
    }

    /// The clients that are here, by mode.
    pub fn clients(&self) -> impl Iterator<Item = (Mode, usize)> {
        MODES
            .iter()
            .map(|mode| (*mode, self.clients[place(*mode)].load(Ordering::Relaxed)))
    }

    /// A connection ended.
    pub fn on_left(&self, code: CloseCode) {
        self.left.add(code.get());
    }
}

impl OfTopic {
    /// A client was told that it will not get so many messages.
    pub fn on_gap(&self, reason: GapReason, messages: u64) {
        let gaps = &self.gaps[reason_place(reason)];
        gaps.told.fetch_add(1, Ordering::Relaxed);
        gaps.messages.fetch_add(messages, Ordering::Relaxed);
    }

    /// What clients were told they will not get, by the name of the reason.
    pub fn gaps(&self) -> impl Iterator<Item = (&'static str, &Gaps)> {
        REASONS
            .iter()
            .map(|(reason, name)| (*name, &self.gaps[reason_place(*reason)]))
    }

    /// A report was taken, with its drift from the server's own time where that is known.
    ///
    /// Of more than two blocks only the shortest, the median and the longest are told: the others count as the median. Drift is told
    /// of all together, and each has its share.
    pub fn on_report(&self, report: &Report, drift_ms: Option<f64>) {
        self.reports.fetch_add(1, Ordering::Relaxed);
        let blocks = report.blocks.min(BLOCKS_MAX);
        if let Some(spans) = &report.elapsed_ms {
            // Blocks that are not there are not counted, whatever it says.
            let count = spans.count.min(blocks);
            let shares = [(spans.min, 1), (spans.max, 1), (spans.median, u64::MAX)];
            let mut left = count;
            for (span_ms, share) in shares {
                let share = share.min(left);
                if share > 0 {
                    self.blocks.add_many(span(span_ms), share);
                }
                left -= share;
            }
        }
        if let Some(drift_ms) = drift_ms {
            let each = drift_ms / report.blocks as f64;
            let side = if each < 0.0 { &self.ahead } else { &self.behind };
            side.add_many(span(each.abs()), blocks);
        }
    }

    /// A message could not be kept.
    pub fn on_failure(&self) {
        self.failures.fetch_add(1, Ordering::Relaxed);
        self.failing.store(true, Ordering::Relaxed);
    }

    /// They are kept again.
    pub fn on_recovered(&self) {
        self.failing.store(false, Ordering::Relaxed);
    }
}

impl Numbered {
    fn new(known: &'static [u16]) -> Self {
        let counts = (0..=known.len()).map(|_| AtomicU64::new(0)).collect();
        Self { known, counts }
    }

    /// Counts one of this number.
    pub fn add(&self, number: u16) {
        let at = self.known.iter().position(|known| *known == number);
        self.counts[at.unwrap_or(self.known.len())].fetch_add(1, Ordering::Relaxed);
    }

    /// Each number with its count; none stands for all others.
    pub fn each(&self) -> impl Iterator<Item = (Option<u16>, u64)> {
        let numbers = self.known.iter().copied().map(Some).chain([None]);
        numbers.zip(self.counts.iter().map(|count| count.load(Ordering::Relaxed)))
    }
}

/// A mode's place in [`MODES`]: one that is new is not forgotten here.
fn place(mode: Mode) -> usize {
    match mode {
        Mode::Plain => 0,
        Mode::Bare => 1,
        Mode::LapwingV1 => 2,
        Mode::Echo => 3,
        Mode::Events => 4,
    }
}

/// A reason's place in [`REASONS`].
fn reason_place(reason: GapReason) -> usize {
    match reason {
        GapReason::Retention => 0,
        GapReason::Policy => 1,
        GapReason::Damage => 2,
        GapReason::Purge => 3,
    }
}

fn span(ms: f64) -> Duration {
    Duration::try_from_secs_f64(ms / 1000.0).unwrap_or_default()
}

/// A report counts for no more blocks than this: more than a second of a fast feed has, and few enough that one client that makes
/// them up does not drown all others at once.
const BLOCKS_MAX: u64 = 10_000;

const MODES: [Mode; 5] = [Mode::Plain, Mode::Bare, Mode::LapwingV1, Mode::Echo, Mode::Events];

/// As PROTOCOL.md names them.
const REASONS: [(GapReason, &str); 4] = [
    (GapReason::Retention, "retention"),
    (GapReason::Policy, "policy"),
    (GapReason::Damage, "damage"),
    (GapReason::Purge, "purge"),
];

/// Those that the server sends or sees by itself, and those that libraries of clients send. What else a client makes up is one.
const CODES: &[u16] = &[
    1000, 1001, 1002, 1003, 1005, 1006, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 4400, 4401, 4408, 4429, 4500, 4501,
    4503,
];

/// What a publisher may be answered.
const STATUSES: &[u16] = &[
    200, 201, 400, 401, 403, 404, 408, 409, 410, 412, 413, 415, 429, 500, 503, 507,
];

/// In seconds. Whoever sets the size of a block chooses how long one takes, from a millisecond to minutes.
pub const BLOCK_BOUNDS: &[f64] = &[
    0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0,
];

/// In seconds. Below 20 ms drift is no news; a client that is slow loses seconds with each block.
pub const DRIFT_BOUNDS: &[f64] = &[0.001, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0];

/// In seconds. On one machine a handshake takes under a millisecond, far away a quarter of a second, and 10 s is the limit.
pub const HANDSHAKE_BOUNDS: &[f64] = &[
    0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0,
];

#[cfg(test)]
mod tests {
    use lapwing_wire::report::Spans;

    use super::super::sample::{self, spans};
    use super::*;

    fn report(blocks: u64, elapsed_ms: Option<Spans>) -> Report {
        Report {
            elapsed_ms,
            ..sample::report(0, blocks)
        }
    }

    fn filled(histogram: &Histogram) -> Vec<(f64, u64)> {
        let buckets = histogram.spread().buckets.into_iter();
        buckets.filter(|(_, count)| *count > 0).collect()
    }

    #[test]
    fn blocks_of_a_report_count_as_the_shortest_the_longest_and_the_median() {
        for (blocks, told, expected) in [
            (1, spans(1, 40.0, 40.0, 40.0), vec![(0.05, 1)]),
            (2, spans(2, 4.0, 4.0, 400.0), vec![(0.005, 1), (0.5, 1)]),
            (3, spans(3, 4.0, 40.0, 400.0), vec![(0.005, 1), (0.05, 1), (0.5, 1)]),
            (9, spans(9, 4.0, 40.0, 400.0), vec![(0.005, 1), (0.05, 7), (0.5, 1)]),
            (3, spans(1, 40.0, 40.0, 40.0), vec![(0.05, 1)]),
            (3, spans(0, 0.0, 0.0, 0.0), vec![]),
            (2, spans(u64::MAX, 4.0, 4.0, 400.0), vec![(0.005, 1), (0.5, 1)]),
            (
                1 << 40,
                spans(1 << 40, 4.0, 40.0, 400.0),
                vec![(0.005, 1), (0.05, 9_998), (0.5, 1)],
            ),
        ] {
            let counts = Counts::new(1);
            counts.of(TopicId(0)).on_report(&report(blocks, Some(told)), None);
            assert_eq!(filled(&counts.of(TopicId(0)).blocks), expected, "{told:?}");
        }
    }

    #[test]
    fn drift_is_shared_by_the_blocks_of_a_report_and_has_a_direction() {
        let counts = Counts::new(1);
        let topic = counts.of(TopicId(0));
        topic.on_report(&report(4, None), Some(80.0));
        topic.on_report(&report(1, None), Some(0.0));
        topic.on_report(&report(2, None), Some(-400.0));
        topic.on_report(&report(2, None), None);
        assert_eq!(filled(&topic.behind), [(0.001, 1), (0.02, 4)]);
        assert_eq!(filled(&topic.ahead), [(0.25, 2)]);
        assert_eq!(topic.reports.load(Ordering::Relaxed), 4);
    }

    #[test]
    fn numbers_that_are_not_known_are_one() {
        let codes = Numbered::new(CODES);
        for code in [1000, 4400, 4000, 4999, 3000, 1000] {
            codes.add(code);
        }
        let counted: Vec<_> = codes.each().filter(|(_, count)| *count > 0).collect();
        assert_eq!(counted, [(Some(1000), 2), (Some(4400), 1), (None, 3)]);
    }

    #[test]
    fn every_code_that_has_a_meaning_is_known() {
        for code in (1000..5000).map(CloseCode::new) {
            assert_eq!(CODES.contains(&code.get()), !code.meaning().is_empty(), "{code}");
        }
    }

    #[test]
    fn modes_and_reasons_have_their_places_and_the_names_of_the_protocol() {
        for (nth, mode) in MODES.into_iter().enumerate() {
            assert_eq!(place(mode), nth);
        }
        for (nth, (reason, name)) in REASONS.into_iter().enumerate() {
            assert_eq!(reason_place(reason), nth);
            assert_eq!(serde_json::to_value(reason).expect("a text"), name);
        }
    }
}
