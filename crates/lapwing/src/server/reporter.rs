//! One client in one topic as its reports show it: its pace, how late it is, and whose fault that is.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use lapwing_wire::position::Offset;
use lapwing_wire::report::Report;
use lapwing_wire::time::WallTime;

use super::bucket::Bucket;
use super::cause::{Cause, Evidence, Judgement};
use super::lookback::Lookback;
use super::pace::{Change, Pace};
use super::topics::TopicId;
use crate::clock::Now;
use crate::config::Rate;
use crate::socket::path::Path;

/// How many clients report a topic, how many of them fall behind, and for which cause each receives as it does.
#[derive(Debug, Default)]
pub struct Crowd {
    reporting: AtomicUsize,
    drifting: AtomicUsize,
    causes: [AtomicUsize; Cause::ALL.len()],
}

/// What is known of a client that reports a topic.
#[derive(Debug)]
pub struct Reporter {
    /// The topic.
    pub topic: TopicId,
    crowd: Arc<Crowd>,
    bucket: Bucket,
    pace: Pace,
    judgement: Judgement,
    /// Another than that, as the newest report alone would have it.
    doubt: Option<Judgement>,
    lookback: Lookback,
    last: Option<Reported>,
    slow_since: Option<WallTime>,
    /// It was asked whether it is there since its last report.
    asked: bool,
    /// It was silent, and what became of that is not told yet.
    was_silent: bool,
    /// It is counted among those that fall behind.
    counted: bool,
}

/// The newest report of a topic.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Reported {
    /// When it came.
    pub at: Now,
    /// The last block covered.
    pub block: u64,
    /// How many messages make a block.
    pub block_size: u64,
    /// The last offset covered.
    pub last: Offset,
    /// The client's time for a block, the mean of those covered; none when they do not count.
    pub elapsed_ms: Option<f64>,
    /// The server's own, likewise.
    pub server_ms: Option<f64>,
    /// By how much all blocks covered took longer than here.
    pub drift_ms: Option<f64>,
    /// How long the last message was on its way.
    pub latency: Option<Latency>,
}

/// How long a message took from being appended here to arriving there.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Latency {
    /// The best guess, in milliseconds.
    pub ms: f64,
    /// By how much that may be wrong, either way.
    pub error_ms: f64,
}

/// What the server sees of its own when a report comes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sight {
    /// Its own time for the offsets of the report.
    pub server_ms: Option<f64>,
    /// When the last of them was appended, on the monotonic clock.
    pub appended: Option<u64>,
    /// Where none of them is held any more: for how long the oldest has been that still is.
    pub forgotten: Option<Duration>,
    /// Messages that wait in the log for this client.
    pub waiting: u64,
    /// For how long the oldest of them has.
    pub waited: Duration,
    /// The way to it, where the kernel tells.
    pub path: Option<Path>,
    /// The longest that giving everybody a turn took lately.
    pub late: Duration,
}

/// Something new about a client, to be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum News {
    /// It falls behind, after so many slow blocks.
    Slow(u64),
    /// It still does, but for another reason.
    Cause,
    /// It keeps up again.
    KeepsUp,
}

impl Crowd {
    /// How many report, and how many of them fall behind.
    #[must_use]
    pub fn counts(&self) -> (usize, usize) {
        let count = |of: &AtomicUsize| of.load(Ordering::Relaxed);
        (count(&self.reporting), count(&self.drifting))
    }

    /// How many report, by the cause.
    pub fn causes(&self) -> impl Iterator<Item = (Cause, usize)> {
        let count = |cause: Cause| self.causes[cause as usize].load(Ordering::Relaxed);
        Cause::ALL.into_iter().map(move |cause| (cause, count(cause)))
    }
}

impl Reporter {
    /// A client that reports for the first time; at most at this rate.
    #[must_use]
    pub fn new(topic: TopicId, crowd: &Arc<Crowd>, rate: Rate, now: Duration) -> Self {
        crowd.reporting.fetch_add(1, Ordering::Relaxed);
        let judgement = Judgement::of(&Evidence::default());
        crowd.causes[judgement.cause() as usize].fetch_add(1, Ordering::Relaxed);
        Self {
            topic,
            crowd: crowd.clone(),
            bucket: Bucket::full(rate, now),
            pace: Pace::default(),
            judgement,
            doubt: None,
            lookback: Lookback::default(),
            last: None,
            slow_since: None,
            asked: false,
            was_silent: false,
            counted: false,
        }
    }

    /// Whether another report may come now.
    pub fn may_report(&mut self, rate: Rate, now: Duration) -> bool {
        self.bucket.take(rate, now)
    }

    /// Takes a report that is plausible; gives what is new.
    pub fn on_report(&mut self, report: &Report, sight: &Sight, now: Now) -> Option<News> {
        let (drift_ms, mut change) = self.pace.on_report(report, sight.server_ms);
        if let (Some(held), Some(age_ms)) = (sight.forgotten, report.age_ms) {
            change = change.or(self.pace.on_forgotten(report, held.as_secs_f64() * 1e3 - age_ms));
        }
        let blocks = report.blocks as f64;
        let counts = drift_ms.is_some();
        self.last = Some(Reported {
            at: now,
            block: report.last_block,
            block_size: report.block_size.get(),
            last: report.last,
            // Also where our own time is not known: what it is compared with may be gone, who is so far behind is slow all the same.
            elapsed_ms: report
                .elapsed_ms
                .filter(|spans| spans.count == report.blocks)
                .map(|spans| spans.total / blocks),
            server_ms: sight.server_ms.filter(|_| counts).map(|ms| ms / blocks),
            drift_ms,
            latency: latency(report, sight, now),
        });
        self.count(self.pace.drifts());
        self.asked = false;
        let before = self.judgement;
        let judged = self.judge(sight, now);
        self.settle(judged, change.is_some());
        let was_silent = std::mem::take(&mut self.was_silent);
        match change {
            Some(Change::Slow(blocks)) => {
                self.slow_since = Some(now.wall);
                Some(News::Slow(blocks))
            }
            Some(Change::KeepsUp) => {
                self.slow_since = None;
                Some(News::KeepsUp)
            }
            // One slow block is told of nobody; but that it keeps up would be wrong of this one.
            None if was_silent && !self.pace.drifts() && self.pace.may_drift() => {
                self.was_silent = true;
                None
            }
            None if was_silent && !self.pace.drifts() => {
                self.slow_since = None;
                Some(News::KeepsUp)
            }
            None if before.cause() != self.judgement.cause() => Some(News::Cause),
            None => None,
        }
    }

    fn judge(&mut self, sight: &Sight, now: Now) -> Judgement {
        let seen = self.lookback.on_report(now.mono, sight.path, self.pace.behind_ms());
        let (reporting, drifting) = self.crowd.counts();
        Judgement::of(&Evidence {
            drifts: self.pace.drifts(),
            fell_behind: seen.fell_behind,
            waited: sight.waited,
            way: seen.way,
            late: sight.late,
            reporting,
            drifting,
        })
    }

    /// Takes a judgement. While the client is slow another cause is believed when two reports in a row have it: what is seen when
    /// one comes is a moment, and who reads a cause that flips learns nothing.
    fn settle(&mut self, judged: Judgement, changed: bool) {
        let is_news = judged.cause() != self.judgement.cause();
        let doubted = is_news && !changed && self.is_slow() && self.pace.drifts();
        let before = self.doubt.take();
        if doubted && before.is_none_or(|before| before.cause() != judged.cause()) {
            self.doubt = Some(judged);
        } else {
            self.is_judged(judged);
        }
    }

    /// Whether it was judged to be slow by its reports.
    fn is_slow(&self) -> bool {
        self.judgement.cause().is_trouble() && self.judgement != Judgement::NoAnswer
    }

    fn is_judged(&mut self, judgement: Judgement) {
        let before = std::mem::replace(&mut self.judgement, judgement);
        self.crowd.causes[before.cause() as usize].fetch_sub(1, Ordering::Relaxed);
        self.crowd.causes[judgement.cause() as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Whether a report should have come long ago: the topic, whose end is `next`, has had three blocks more, and the client three
    /// times as long as a block took it, but 3 s at least. Then it is worth asking whether it is there.
    #[must_use]
    pub fn is_overdue(&self, next: Offset, now: Now) -> bool {
        self.last.is_some_and(|last| {
            let blocks = next.since(last.last.next()) / last.block_size;
            let usual = Duration::from_secs_f64(last.elapsed_ms.unwrap_or(0.0) / 1e3);
            let quiet = Duration::from_nanos(now.mono.saturating_sub(last.at.mono));
            blocks >= OVERDUE_BLOCKS && quiet > (usual * OVERDUE_BLOCKS as u32).max(OVERDUE_MIN)
        })
    }

    /// Whether to ask it whether it is there: once for each report that is overdue.
    pub fn asks(&mut self) -> bool {
        !std::mem::replace(&mut self.asked, true)
    }

    /// It owes a report, and does not answer a ping either; gives whether that is news.
    pub fn on_silent(&mut self, now: Now) -> bool {
        let news = self.judgement != Judgement::NoAnswer;
        self.is_judged(Judgement::NoAnswer);
        self.was_silent = true;
        self.slow_since.get_or_insert(now.wall);
        news
    }

    /// Whose fault it is that it receives as it does.
    #[must_use]
    pub fn judgement(&self) -> Judgement {
        self.judgement
    }

    /// How far behind it is, in milliseconds.
    #[must_use]
    pub fn behind_ms(&self) -> f64 {
        self.pace.behind_ms()
    }

    /// Its newest report.
    #[must_use]
    pub fn last(&self) -> Option<&Reported> {
        self.last.as_ref()
    }

    /// Since when it does not keep up, if so.
    #[must_use]
    pub fn slow_since(&self) -> Option<WallTime> {
        self.slow_since
    }

    fn count(&mut self, drifts: bool) {
        match (std::mem::replace(&mut self.counted, drifts), drifts) {
            (false, true) => self.crowd.drifting.fetch_add(1, Ordering::Relaxed),
            (true, false) => self.crowd.drifting.fetch_sub(1, Ordering::Relaxed),
            _ => return,
        };
    }
}

impl Drop for Reporter {
    fn drop(&mut self) {
        self.count(false);
        self.crowd.causes[self.judgement.cause() as usize].fetch_sub(1, Ordering::Relaxed);
        self.crowd.reporting.fetch_sub(1, Ordering::Relaxed);
    }
}

/// How long the last message was on its way, without an agreement of clocks: it was appended here, the report of it came here, and the
/// client says how long it kept it. What is left are two ways, and the report's is between nothing and the whole of a round trip.
fn latency(report: &Report, sight: &Sight, now: Now) -> Option<Latency> {
    let both_ways = now.mono.checked_sub(sight.appended?)? as f64 / 1e6 - report.age_ms?;
    let back = sight.path?.round_trip_min?.as_secs_f64() * 1e3;
    (both_ways >= 0.0).then(|| Latency {
        ms: (both_ways - back / 2.0).max(0.0),
        error_ms: back / 2.0,
    })
}

const OVERDUE_BLOCKS: u64 = 3;
const OVERDUE_MIN: Duration = Duration::from_secs(3);

#[cfg(test)]
mod tests {
    use lapwing_wire::report::Spans;

    use super::super::sample::{self, spans};
    use super::*;

    const RATE: Rate = Rate {
        per_second: 1,
        at_once: 3,
    };

    /// A report of block `block` of size 5, which took the client so long.
    fn report(block: u64, ms: f64) -> Report {
        let spans = Spans {
            total: ms,
            ..spans(1, ms, ms, ms)
        };
        Report {
            bytes: 500,
            elapsed_ms: Some(spans),
            span_ms: Some(ms),
            spread_ms: spans,
            age_ms: Some(1.0),
            ..sample::report(block, 1)
        }
    }

    fn at(ms: u64) -> Now {
        Now {
            wall: WallTime::from_nanos(ms.cast_signed() * 1_000_000),
            mono: ms * 1_000_000,
        }
    }

    fn sight() -> Sight {
        Sight {
            server_ms: Some(2000.0),
            path: Some(Path {
                round_trip: Duration::from_micros(400),
                round_trip_min: Some(Duration::from_micros(200)),
                ..Path::default()
            }),
            ..Sight::default()
        }
    }

    #[test]
    fn a_block_has_its_time_also_where_ours_is_not_known() {
        let crowd = Arc::default();
        let mut one = reporter(&crowd);
        let unknown = Sight {
            server_ms: None,
            ..sight()
        };
        one.on_report(&report(1, 3000.0), &unknown, at(3000));
        let last = one.last().expect("it was told");
        assert_eq!(
            (last.elapsed_ms, last.server_ms, last.drift_ms),
            (Some(3000.0), None, None)
        );
    }

    fn reporter(crowd: &Arc<Crowd>) -> Reporter {
        Reporter::new(TopicId(0), crowd, RATE, Duration::ZERO)
    }

    fn causes(crowd: &Crowd) -> Vec<(Cause, usize)> {
        crowd.causes().filter(|(_, count)| *count > 0).collect()
    }

    #[test]
    fn a_client_turns_slow_and_keeps_up_again_and_is_counted_meanwhile() {
        let crowd = Arc::new(Crowd::default());
        let mut slow = reporter(&crowd);
        let mut block = 0;
        let mut told = |slow: &mut Reporter, ms| {
            block += 1;
            slow.on_report(&report(block, ms), &sight(), at(block * 2000))
        };
        assert_eq!(told(&mut slow, 6000.0), None);
        assert_eq!(told(&mut slow, 6000.0), Some(News::Slow(2)));
        assert_eq!((slow.judgement().cause(), crowd.counts()), (Cause::ClientSlow, (1, 1)));
        assert_eq!(causes(&crowd), [(Cause::ClientSlow, 1)]);
        assert_eq!(slow.slow_since(), Some(at(4000).wall));
        assert_eq!(told(&mut slow, 2000.0), None);
        assert_eq!(told(&mut slow, 2000.0), None);
        assert_eq!(told(&mut slow, 2000.0), Some(News::KeepsUp));
        assert_eq!(
            (slow.judgement().cause(), crowd.counts()),
            (Cause::SourceLimited, (1, 0))
        );
        assert_eq!((slow.behind_ms(), slow.slow_since()), (8000.0, None));
        assert_eq!(causes(&crowd), [(Cause::SourceLimited, 1)]);
        assert_eq!(told(&mut slow, 6000.0), None);
        assert_eq!(told(&mut slow, 6000.0), Some(News::Slow(2)));
        drop(slow);
        assert_eq!((crowd.counts(), causes(&crowd)), ((0, 0), vec![]));
    }

    #[test]
    fn when_most_fall_behind_together_the_cause_changes() {
        let crowd = Arc::new(Crowd::default());
        let mut three = [reporter(&crowd), reporter(&crowd), reporter(&crowd)];
        let mut told = |block| {
            three
                .each_mut()
                .map(|one| one.on_report(&report(block, 6000.0), &sight(), at(block * 2000)))
        };
        assert_eq!(told(1), [None; 3]);
        assert_eq!(told(2), [Some(News::Slow(2)); 3]);
        // The first was judged when nobody else was slow, and its second report since says so, too.
        assert_eq!(told(3), [None; 3]);
        assert_eq!(told(4), [Some(News::Cause), None, None]);
        assert!(three.iter().all(|one| one.judgement().cause() == Cause::ServerSlow));
    }

    /// A way on which so much was lost since the connection began.
    fn lost(retransmits: u32) -> Sight {
        let path = sight().path.map(|path| Path { retransmits, ..path });
        Sight { path, ..sight() }
    }

    #[test]
    fn what_was_lost_before_it_reported_is_not_held_against_the_network() {
        let crowd = Arc::new(Crowd::default());
        let mut one = reporter(&crowd);
        one.on_report(&report(1, 6000.0), &lost(7), at(2000));
        one.on_report(&report(2, 6000.0), &lost(7), at(4000));
        assert_eq!(one.judgement().cause(), Cause::ClientSlow);
        assert_eq!(one.on_report(&report(3, 6000.0), &lost(12), at(6000)), None);
        assert_eq!(one.judgement().cause(), Cause::ClientSlow);
        let news = one.on_report(&report(4, 6000.0), &lost(12), at(8000));
        assert_eq!((one.judgement().cause(), news), (Cause::NetworkSlow, Some(News::Cause)));
    }

    #[test]
    fn a_cause_that_is_seen_now_and_then_is_not_told_each_time() {
        let crowd = Arc::new(Crowd::default());
        let mut one = reporter(&crowd);
        let us = Sight {
            waited: Duration::from_secs(1),
            ..sight()
        };
        let seen = [
            sight(),
            sight(),
            us,
            sight(),
            us,
            sight(),
            sight(),
            us,
            us,
            sight(),
            us,
            sight(),
            sight(),
        ];
        let causes: Vec<Cause> = seen
            .iter()
            .enumerate()
            .map(|(nth, seen)| {
                let block = nth as u64 + 1;
                one.on_report(&report(block, 6000.0), seen, at(block * 2000));
                one.judgement().cause()
            })
            .collect();
        let (client, us) = (Cause::ClientSlow, Cause::ServerSlow);
        assert_eq!(
            causes[1..],
            [
                client, client, client, client, client, client, client, us, us, us, us, client
            ]
        );
    }

    #[test]
    fn who_was_silent_and_keeps_up_is_slow_since_no_time() {
        let crowd = Arc::new(Crowd::default());
        let mut one = reporter(&crowd);
        one.on_report(&report(1, 2000.0), &sight(), at(2000));
        assert!(one.on_silent(at(9000)));
        assert_eq!(one.slow_since(), Some(at(9000).wall));
        let news = one.on_report(&report(2, 2000.0), &sight(), at(10_000));
        assert_eq!((news, one.slow_since()), (Some(News::KeepsUp), None));
    }

    /// Who takes so long for a block that it owes a report, and answers no ping as it reads that late too.
    #[test]
    fn who_was_silent_and_is_slow_is_not_told_to_keep_up() {
        for (after, expect) in [
            ([6000.0, 6000.0, 6000.0], [None, Some(News::Slow(2)), None]),
            ([6000.0, 2000.0, 2000.0], [None, Some(News::KeepsUp), None]),
            (
                [2000.0, 6000.0, 6000.0],
                [Some(News::KeepsUp), None, Some(News::Slow(2))],
            ),
        ] {
            let mut one = reporter(&Arc::default());
            one.on_report(&report(1, 2000.0), &sight(), at(2000));
            assert!(one.on_silent(at(9000)));
            let mut block = 1;
            let told = after.map(|ms| {
                block += 1;
                one.on_report(&report(block, ms), &sight(), at(10_000 + block * 2000))
            });
            assert_eq!(told, expect, "{after:?}");
            assert_eq!(one.slow_since().is_some(), one.pace.drifts(), "{after:?}");
        }
    }

    /// A report whose blocks do not count gives no drift, which is not a drift of nothing.
    #[test]
    fn who_is_slow_is_not_our_fault_because_a_report_does_not_count() {
        let crowd = Arc::new(Crowd::default());
        let mut one = reporter(&crowd);
        let late = |server_ms| Sight {
            server_ms,
            late: Duration::from_millis(80),
            ..sight()
        };
        for block in 1..4 {
            one.on_report(&report(block, 6000.0), &late(Some(2000.0)), at(block * 2000));
        }
        for block in 4..40 {
            one.on_report(&report(block, 6000.0), &late(None), at(block * 2000));
            assert_eq!(one.judgement(), Judgement::ReadsLate, "{block}");
        }
    }

    /// Many short blocks in a report: each drifts by little, and all together by more than we were ever late.
    #[test]
    fn who_falls_behind_by_little_in_each_of_many_blocks_is_not_our_fault() {
        let crowd = Arc::new(Crowd::default());
        let mut one = reporter(&crowd);
        for second in 1..8 {
            let (first, last) = (second * 10, second * 10 + 9);
            let many = Report {
                first_block: first,
                last_block: last,
                blocks: 10,
                first: Offset::new(first * 5),
                last: Offset::new(last * 5 + 4),
                messages: 50,
                elapsed_ms: Some(Spans {
                    count: 10,
                    ..report(1, 1500.0).elapsed_ms.expect("timed")
                }),
                ..report(1, 1500.0)
            };
            let sight = Sight {
                server_ms: Some(1000.0),
                late: Duration::from_millis(80),
                ..sight()
            };
            one.on_report(&many, &sight, at(second * 1500));
            assert!(
                second == 1 || one.judgement() == Judgement::ReadsLate,
                "{second}: {:?}",
                one.judgement()
            );
        }
    }

    #[test]
    fn who_owes_a_report_for_three_blocks_and_answers_nothing_is_silent_until_it_reports() {
        let crowd = Arc::new(Crowd::default());
        let mut one = reporter(&crowd);
        assert!(!one.is_overdue(Offset::new(500), at(60_000)), "it never reported");
        one.on_report(&report(1, 2000.0), &sight(), at(4000));
        assert!(
            !one.is_overdue(Offset::new(24), at(60_000)),
            "there is nothing to report"
        );
        assert!(!one.is_overdue(Offset::new(25), at(10_000)));
        assert!(one.is_overdue(Offset::new(25), at(10_001)));
        assert!(one.on_silent(at(10_001)) && !one.on_silent(at(11_000)));
        assert_eq!(one.judgement().cause(), Cause::Silent);
        assert_eq!(causes(&crowd), [(Cause::Silent, 1)]);
        assert_eq!(
            one.on_report(&report(2, 2000.0), &sight(), at(12_000)),
            Some(News::KeepsUp)
        );
        // Who needs long for its blocks has as long.
        one.on_report(&report(3, 9000.0), &sight(), at(12_000));
        assert!(!one.is_overdue(Offset::new(90), at(39_000)) && one.is_overdue(Offset::new(90), at(39_001)));
        // Of short ones nobody has to report more than once a second.
        one.on_report(&report(4, 1.0), &sight(), at(12_000));
        assert!(!one.is_overdue(Offset::new(900), at(15_000)) && one.is_overdue(Offset::new(900), at(15_001)));
    }

    #[test]
    fn the_way_of_a_message_needs_no_agreement_of_clocks() {
        let crowd = Arc::new(Crowd::default());
        let mut one = reporter(&crowd);
        let sight = |appended_ms: u64| Sight {
            appended: Some(appended_ms * 1_000_000),
            ..sight()
        };
        one.on_report(&report(1, 2000.0), &sight(1990), at(2000));
        let latency = one.last().expect("reported").latency.expect("known");
        assert!(
            (latency.ms - 8.9).abs() < 1e-6 && (latency.error_ms - 0.1).abs() < 1e-6,
            "{latency:?}"
        );
        // It says that it kept it for longer than there was time.
        one.on_report(&report(2, 2000.0), &sight(4000), at(4000));
        assert_eq!(one.last().expect("reported").latency, None);
    }
}
