//! Lines on their way into a log: cut, checked, held to a pace, appended.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use lapwing_wire::line::{Line, LineCutter, message_into};
use tokio::time::{Instant, sleep_until};

use super::SourceEvents;
use super::inlet::Inlet;
use super::pacer::{Pace, Pacer};
use super::payloads::Payloads;
use super::refused::Refused;
use crate::clock::Now;
use crate::log::MESSAGE_BYTES_MAX;

/// Takes bytes of a feed as they come and appends its lines. A line that cannot be taken is told with its number and reason,
/// and the feed goes on.
pub struct Feeder {
    inlet: Inlet,
    cutter: LineCutter,
    rein: Option<Rein>,
    origin: Instant,
    waiting: Payloads,
    refused: Refused,
    lines: u64,
}

impl Feeder {
    /// A feeder into a log, as fast as lines come or at a pace.
    #[must_use]
    pub fn new(inlet: Inlet, pace: Option<Pace>, events: Arc<dyn SourceEvents>) -> Self {
        Self {
            inlet,
            cutter: LineCutter::new(MESSAGE_BYTES_MAX),
            rein: pace.map(Rein::new),
            origin: Instant::now(),
            waiting: Payloads::default(),
            refused: Refused::new(events),
            lines: 0,
        }
    }

    /// Takes more bytes; returns when the lines that end in them are appended, so a paced feed holds back its reader.
    pub async fn feed(&mut self, bytes: &[u8]) {
        let Self {
            cutter,
            waiting,
            refused,
            lines,
            ..
        } = self;
        cutter.feed(bytes, |line| {
            *lines += 1;
            take(line, waiting, refused);
        });
        self.append().await;
    }

    /// The feed is over, or another begins: a last line without an end counts. Gives how many lines there were.
    pub async fn finish(&mut self) -> u64 {
        let Self {
            cutter,
            waiting,
            refused,
            lines,
            ..
        } = self;
        cutter.finish(|line| {
            *lines += 1;
            take(line, waiting, refused);
        });
        self.append().await;
        self.cutter = LineCutter::new(MESSAGE_BYTES_MAX);
        self.refused.finish();
        std::mem::take(&mut self.lines)
    }

    async fn append(&mut self) {
        let Some(rein) = &mut self.rein else {
            append(&mut self.inlet, &self.waiting, 0..self.waiting.len()).await;
            self.waiting.clear();
            // A feed that always has more would keep its thread for itself.
            tokio::task::yield_now().await;
            return;
        };
        if self.waiting.is_empty() {
            return;
        }
        rein.on_lines(self.origin.elapsed());
        let (mut at, end) = (0, self.waiting.len());
        loop {
            let due = rein.due(self.origin.elapsed(), (end - at) as u64);
            let due = at..end.min(at + usize::try_from(due).unwrap_or(usize::MAX));
            at = due.end;
            if append(&mut self.inlet, &self.waiting, due).await > Duration::ZERO {
                rein.on_held(self.origin.elapsed());
            }
            if at == end {
                self.waiting.clear();
                return;
            }
            sleep_until(self.origin + rein.next_at()).await;
        }
    }
}

/// Holds lines to a pace, although they come as they like. Short times without lines are made up for, so that reading the
/// next of them costs no rate; longer ones are not, so that nothing comes in a flood.
struct Rein {
    pace: Pace,
    pacer: Pacer,
    /// Since when no line waits.
    empty_since: Option<Duration>,
    /// How long none waited since a line last had to wait.
    idle: Duration,
}

impl Rein {
    fn new(pace: Pace) -> Self {
        Self {
            pace,
            pacer: Pacer::new(pace, Duration::ZERO),
            empty_since: Some(Duration::ZERO),
            idle: Duration::ZERO,
        }
    }

    /// Lines have come.
    fn on_lines(&mut self, now: Duration) {
        if let Some(since) = self.empty_since.take() {
            self.idle += now.saturating_sub(since);
        }
        // A schedule that is ahead stays: the next line still has to wait for its tick.
        if self.idle >= self.pace.interval().max(IDLE_MIN) && self.pacer.next_at() < now {
            self.pacer = Pacer::new(self.pace, now);
            self.idle = Duration::ZERO;
        }
    }

    /// Lines were held back; that is not made up for.
    fn on_held(&mut self, now: Duration) {
        self.pacer = Pacer::new(self.pace, now);
        self.idle = Duration::ZERO;
        self.empty_since = self.empty_since.map(|_| now);
    }

    /// How many of the waiting lines are due.
    fn due(&mut self, now: Duration, waiting: u64) -> u64 {
        let due = self.pacer.due_at_most(now, waiting);
        if due < waiting {
            self.idle = Duration::ZERO;
        } else {
            self.empty_since = Some(now);
        }
        due
    }

    fn next_at(&self) -> Duration {
        self.pacer.next_at()
    }
}

/// Appends some of what waits; gives how long it was held back.
async fn append(inlet: &mut Inlet, waiting: &Payloads, which: Range<usize>) -> Duration {
    if which.is_empty() {
        return Duration::ZERO;
    }
    // An ended log takes no more, and its source is being dropped.
    inlet.append(&waiting.messages(which)).await.unwrap_or_default()
}

fn take(line: Line<'_>, waiting: &mut Payloads, refused: &mut Refused) {
    let taken = line
        .bytes
        .and_then(|bytes| waiting.push(|out| message_into(bytes, out)));
    if let Err(error) = taken {
        refused.tell(Now::read(), || format!("line {} is left out: {error}", line.number));
    }
}

/// Time without lines up to this, or up to a tick when that is longer, is made up for.
const IDLE_MIN: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use super::*;

    /// A feed on a clock of its own: reads take 50 us, and timers fire at whole milliseconds and then some.
    struct Story {
        rein: Rein,
        now: Duration,
    }

    impl Story {
        fn new(rate: &str) -> Self {
            Self {
                rein: Rein::new(Pace::parse_rate(rate).expect(rate)),
                now: Duration::ZERO,
            }
        }

        /// Lines that were there already, read together; returns when they are appended.
        fn feed(&mut self, mut lines: u64) {
            self.now += Duration::from_micros(50);
            self.rein.on_lines(self.now);
            loop {
                lines -= self.rein.due(self.now, lines);
                if lines == 0 {
                    return;
                }
                let millis = self.rein.next_at().max(self.now).as_millis() as u64 + 1;
                self.now = Duration::from_millis(millis) + Duration::from_micros(70);
            }
        }

        fn wait(&mut self, millis: u64) {
            self.now += Duration::from_millis(millis);
        }
    }

    #[track_caller]
    fn check_rate(rate: &str, a_read: u64, lines: u64, seconds: f64) {
        let mut story = Story::new(rate);
        for _ in 0..lines / a_read {
            story.feed(a_read);
        }
        let took = story.now.as_secs_f64();
        assert!((took - seconds).abs() < 0.005, "{rate} in reads of {a_read}: {took} s");
    }

    #[test]
    fn lines_that_are_always_there_come_at_exactly_their_rate() {
        for a_read in [7, 70, 700, 11_000] {
            check_rate("100000/s", a_read, 77_000 * 13, 10.01);
            check_rate("1000/s", a_read, 77_000, 77.0);
        }
        check_rate("7/s", 1, 70, 69.0 / 7.0);
    }

    #[test]
    fn short_times_without_lines_are_made_up_for() {
        let mut story = Story::new("1000/s");
        for _ in 0..100 {
            story.feed(100);
            story.wait(20);
        }
        assert!((story.now.as_secs_f64() - 10.0).abs() < 0.03, "{:?}", story.now);
    }

    #[test]
    fn longer_times_without_lines_are_not_made_up_for() {
        let mut story = Story::new("1000/s");
        story.feed(10);
        story.wait(3000);
        let again = story.now;
        story.feed(1000);
        let took = (story.now - again).as_secs_f64();
        assert!((0.998..1.005).contains(&took), "{took}");
    }

    #[test]
    fn a_feed_slower_than_its_pace_saves_up_a_tenth_of_a_second_and_no_more() {
        let mut story = Story::new("1000/s");
        for _ in 0..200 {
            story.feed(1);
            story.wait(50);
        }
        let rush = story.now;
        story.feed(1000);
        let took = (story.now - rush).as_secs_f64();
        assert!((0.85..1.005).contains(&took), "{took}");
    }

    #[test]
    fn a_line_that_comes_early_waits_for_its_tick() {
        let mut story = Story::new("1/s");
        story.feed(1);
        story.wait(300);
        story.feed(1);
        assert!(story.now >= Duration::from_secs(1), "{:?}", story.now);
        story.wait(1500);
        let again = story.now;
        story.feed(1);
        assert!(story.now - again < Duration::from_millis(1), "{:?}", story.now - again);
    }
}
