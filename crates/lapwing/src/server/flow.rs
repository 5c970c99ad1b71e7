//! How a topic is filled, of late: sampled once a second, and compared with what was asked of its source. Pure: time and counts are
//! arguments.

use std::collections::VecDeque;
use std::time::Duration;

use crate::source::pacer::Pace;

/// What is known of one topic.
#[derive(Debug)]
pub struct Flow {
    pace: Option<Pace>,
    /// The last of them, newest last.
    samples: VecDeque<Sample>,
    judge: Option<Judge>,
    slow: Option<Slow>,
}

/// What had come in all at some moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Sample {
    /// When.
    pub at: Duration,
    /// Messages.
    pub messages: u64,
    /// Bytes of messages.
    pub bytes: u64,
}

/// Means of the last ten seconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rates {
    /// Messages a second.
    pub messages: f64,
    /// Bytes a second.
    pub bytes: f64,
}

/// What began or ended with a sample.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Change {
    /// Three ticks' worth of messages are missing.
    Slow {
        /// How long nothing has come at all, if nothing has.
        quiet: Option<Duration>,
    },
    /// In three ticks all came again, or nothing is expected any more; how long that was not so.
    Over(Duration),
}

/// Counts what is missing, tick by tick. A tick is that of the source, or a second where that is longer.
#[derive(Debug)]
struct Judge {
    last: Sample,
    /// Since when nothing has come.
    came: Duration,
    /// Messages that are missing, up to three ticks' worth.
    missing: f64,
}

#[derive(Debug)]
struct Slow {
    since: Duration,
    /// What was asked and what came in the ticks that are looked at now.
    asked: f64,
    came: u64,
    ticks: u32,
}

impl Flow {
    /// Of a topic whose source is held to this pace, if it is to one.
    #[must_use]
    pub fn new(pace: Option<Pace>) -> Self {
        Self {
            pace,
            samples: VecDeque::new(),
            judge: None,
            slow: None,
        }
    }

    /// Takes what has come until now. A source that is `excused` (it has not begun, is over, or is held back) is not judged.
    pub fn on_tick(&mut self, now: Sample, excused: bool) -> Option<Change> {
        let before = self.samples.back().copied();
        if self.samples.len() > SECONDS {
            self.samples.pop_front();
        }
        self.samples.push_back(now);
        let pace = self.pace?;
        // Whoever slept was not there to see whether anything came.
        let slept = before.is_some_and(|before| now.at.saturating_sub(before.at) > SLEPT);
        if excused || slept {
            self.judge = None;
            return self
                .slow
                .take()
                .filter(|_| excused)
                .map(|slow| Change::Over(now.at - slow.since));
        }
        let judge = self.judge.get_or_insert(Judge {
            last: now,
            came: now.at,
            missing: 0.0,
        });
        if before.is_some_and(|before| before.messages < now.messages) {
            judge.came = now.at;
        }
        let tick = pace.interval().max(Duration::from_secs(1));
        let passed = now.at.saturating_sub(judge.last.at);
        // What is sampled each second is a little early now and then.
        if passed + EARLY < tick {
            return None;
        }
        let (asked, came) = (
            pace.per_second() * passed.as_secs_f64(),
            now.messages - judge.last.messages,
        );
        judge.last = now;
        let most = TICKS * pace.per_second() * tick.as_secs_f64();
        judge.missing = (judge.missing + asked * KEPT - came as f64).clamp(0.0, most);
        match &mut self.slow {
            None if judge.missing > most * NEARLY => {
                self.slow = Some(Slow {
                    since: now.at,
                    asked: 0.0,
                    came: 0,
                    ticks: 0,
                });
                let quiet = now.at - judge.came;
                Some(Change::Slow {
                    quiet: (quiet + EARLY >= tick).then_some(quiet),
                })
            }
            None => None,
            Some(slow) => {
                (slow.asked, slow.came, slow.ticks) = (slow.asked + asked, slow.came + came, slow.ticks + 1);
                if f64::from(slow.ticks) < TICKS {
                    return None;
                }
                // Half a tick may be under way.
                let kept = slow.came as f64 + f64::from(pace.burst()) / 2.0 >= slow.asked * KEPT;
                let since = slow.since;
                (slow.asked, slow.came, slow.ticks) = (0.0, 0, 0);
                kept.then(|| {
                    self.slow = None;
                    judge.missing = 0.0;
                    Change::Over(now.at - since)
                })
            }
        }
    }

    /// What was asked, in messages a second.
    #[must_use]
    pub fn asked(&self) -> Option<f64> {
        self.pace.map(|pace| pace.per_second())
    }

    /// Whether fewer come than were asked.
    #[must_use]
    pub fn is_slow(&self) -> bool {
        self.slow.is_some()
    }

    /// Means of the last ten seconds, or of as many as there were; none before the second sample, or before the source's first tick is over.
    #[must_use]
    pub fn rates(&self) -> Option<Rates> {
        let last = self.samples.back()?;
        let span = |first: &Sample| last.at.saturating_sub(first.at);
        // Over a tick and a half nothing or twice as much seems to have come.
        let whole = self.samples.iter().find(|first| self.is_whole(span(first)));
        let first = whole.or_else(|| self.samples.front().filter(|_| self.samples.len() > SECONDS))?;
        let seconds = span(first).as_secs_f64();
        (seconds > 0.0).then(|| Rates {
            messages: (last.messages - first.messages) as f64 / seconds,
            bytes: (last.bytes - first.bytes) as f64 / seconds,
        })
    }

    /// Whether a span holds as much of each tick as of any other.
    fn is_whole(&self, span: Duration) -> bool {
        let tick = self.pace.as_ref().map_or(Duration::ZERO, Pace::interval);
        if tick <= Duration::from_secs(1) {
            return !span.is_zero();
        }
        let ticks = (span.as_secs_f64() / tick.as_secs_f64()).round();
        ticks >= 1.0 && (span.as_secs_f64() - ticks * tick.as_secs_f64()).abs() <= EARLY.as_secs_f64()
    }
}

/// Rates are means over so many.
const SECONDS: usize = 10;
/// So many ticks' worth must be missing, and so many must be whole again.
const TICKS: f64 = 3.0;
/// The part of what was asked that is enough.
const KEPT: f64 = 0.95;
/// Of a source that gives nothing, three ticks' worth less what is tolerated are missing after three ticks.
const NEARLY: f64 = KEPT - 0.001;
const EARLY: Duration = Duration::from_millis(100);
/// Samples come each second; further apart than this the machine slept or stood still.
const SLEPT: Duration = Duration::from_secs(4);

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs a topic for so many seconds, in each of which `made` gives what has come in all; gives what began and ended, and when.
    fn run(pace: Pace, seconds: u64, made: impl Fn(u64) -> u64) -> Vec<(u64, Change)> {
        let mut flow = Flow::new(Some(pace));
        let tick = |second| {
            // A little early or late, as a timer is.
            let jitter = [0, 3, 1, 7, 2][second as usize % 5];
            let sample = Sample {
                at: Duration::from_millis(1000 * second + jitter),
                messages: made(second),
                bytes: 0,
            };
            Some((second, flow.on_tick(sample, false)?))
        };
        (0..=seconds).filter_map(tick).collect()
    }

    fn every(seconds: u64, burst: u32) -> Pace {
        Pace::every(Duration::from_secs(seconds), burst)
    }

    fn thousand() -> Pace {
        Pace::every(Duration::from_millis(1), 1)
    }

    #[track_caller]
    fn check(told: &[(u64, Change)], expect: &[(u64, bool)]) {
        let told: Vec<_> = told
            .iter()
            .map(|(second, change)| (*second, matches!(change, Change::Slow { .. })))
            .collect();
        assert_eq!(told, expect);
    }

    #[test]
    fn a_pace_that_is_kept_is_never_slow() {
        check(&run(thousand(), 600, |second| second * 1000), &[]);
        check(&run(thousand(), 600, |second| second * 951), &[]);
        check(&run(every(2, 5), 600, |second| (second / 2 + 1) * 5), &[]);
        check(&run(every(2, 5), 600, |second| second.div_ceil(2) * 5), &[]);
        check(&run(every(24 * 3600, 5), 7200, |_| 5), &[]);
        // Two at once, and then none.
        check(&run(every(2, 1), 600, |second| second / 4 * 2), &[]);
    }

    #[test]
    fn a_source_that_gives_nothing_is_slow_after_three_ticks() {
        check(&run(thousand(), 60, |second| second.min(10) * 1000), &[(13, true)]);
        let told = run(every(2, 5), 60, |second| (second.min(10) / 2 + 1) * 5);
        check(&told, &[(16, true)]);
        let Change::Slow { quiet: Some(quiet) } = told[0].1 else {
            panic!("{told:?}")
        };
        assert_eq!(quiet.as_secs(), 6, "the last came with the tick at 10 s");
        check(&run(every(10, 1), 200, |second| second.min(50) / 10), &[(80, true)]);
    }

    #[test]
    fn a_source_that_gives_too_little_is_slow_in_the_end_and_stays_so() {
        check(&run(thousand(), 600, |second| second * 500), &[(7, true)]);
        check(&run(thousand(), 600, |second| second * 900), &[(57, true)]);
        check(&run(every(2, 1), 600, |second| second / 4), &[(14, true)]);
    }

    #[test]
    fn a_source_that_gives_what_was_asked_again_is_on_time_after_three_ticks() {
        let told = run(thousand(), 120, |second| match second {
            ..=10 => second * 1000,
            11..=40 => 10_000,
            _ => 10_000 + (second - 40) * 1000,
        });
        check(&told, &[(13, true), (43, false)]);
        assert!(
            matches!(told[1].1, Change::Over(span) if span.as_secs() == 30),
            "{told:?}"
        );
        let told = run(every(2, 1), 120, |second| match second {
            ..=10 => second / 2,
            11..=40 => 5,
            _ => 5 + (second - 40) / 2,
        });
        check(&told, &[(16, true), (46, false)]);
    }

    #[test]
    fn nobody_is_judged_who_is_excused_or_while_the_machine_slept() {
        let mut flow = Flow::new(Some(thousand()));
        let sample = |second, messages| Sample {
            at: Duration::from_secs(second),
            messages,
            bytes: 0,
        };
        for second in 0..60 {
            assert_eq!(flow.on_tick(sample(second, 0), true), None);
        }
        assert_eq!(flow.on_tick(sample(60, 0), false), None);
        assert_eq!(flow.on_tick(sample(4000, 0), false), None, "it slept for an hour");
        assert_eq!(flow.on_tick(sample(4001, 0), false), None);
        assert!((4002..4005).any(|second| flow.on_tick(sample(second, 0), false).is_some()));
        assert!(flow.is_slow());
        assert_eq!(
            flow.on_tick(sample(4010, 0), true),
            Some(Change::Over(Duration::from_secs(6)))
        );
        assert!(!flow.is_slow());
        let mut unpaced = Flow::new(None);
        assert!((0..60).all(|second| unpaced.on_tick(sample(second, 0), false).is_none()));
    }

    #[test]
    fn rates_are_means_of_the_last_ten_seconds() {
        let mut flow = Flow::new(None);
        assert_eq!(flow.rates(), None);
        for second in 0..100 {
            let sample = Sample {
                at: Duration::from_secs(second),
                messages: if second < 50 { second * 10 } else { 490 + second },
                bytes: second * 100,
            };
            flow.on_tick(sample, false);
            let expect = match second {
                0 => continue,
                1..50 => 10.0,
                60.. => 1.0,
                _ => continue,
            };
            let rates = flow.rates().expect("more than one sample");
            assert_eq!((rates.messages, rates.bytes), (expect, 100.0), "{second}");
        }
    }

    #[test]
    fn rates_are_taken_over_whole_ticks() {
        for (pace, each) in [(every(2, 5), 2), (every(3, 1), 3), (every(1, 7), 1)] {
            let mut flow = Flow::new(Some(pace));
            for second in 0..100 {
                let messages = (second / each + 1) * u64::from(pace.burst());
                let at = Duration::from_millis(second * 1000 + [0, 30, 10, 70, 20][second as usize % 5]);
                flow.on_tick(Sample { at, messages, bytes: 0 }, false);
                let Some(rates) = flow.rates() else {
                    assert!(second < each, "{second}");
                    continue;
                };
                assert!(second >= each, "{second}");
                let off = (rates.messages / pace.per_second() - 1.0).abs();
                assert!(off < 0.1, "{rates:?} at {second} s");
            }
        }
        // Of a longer tick than is looked at, what came is told as it is.
        let mut flow = Flow::new(Some(every(60, 1)));
        let told = (0..=10).map(|second| {
            let at = Duration::from_secs(second);
            flow.on_tick(
                Sample {
                    at,
                    messages: 1,
                    bytes: 0,
                },
                false,
            );
            flow.rates().map(|rates| rates.messages)
        });
        assert_eq!(told.filter(Option::is_some).collect::<Vec<_>>(), [Some(0.0)]);
    }
}
