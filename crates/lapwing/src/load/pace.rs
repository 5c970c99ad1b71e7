//! Who set the pace of blocks: their source, or their delivery.

use std::time::Duration;

use super::books::{BlockBook, TopicBook};

/// Who set the pace.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Pace {
    /// Blocks took as long as their source took to make them.
    Source,
    /// They took longer.
    Delivery,
    /// The tester was the bottleneck.
    Tester,
    /// The source's own time is not known: a foreign feed, or no block that counts.
    Unknown,
}

impl Pace {
    /// The mark behind a figure.
    #[must_use]
    pub fn mark(self) -> &'static str {
        match self {
            Self::Source => "=",
            Self::Delivery => "!",
            Self::Tester => "?",
            Self::Unknown => " ",
        }
    }

    /// In words.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::Source => "source-limited",
            Self::Delivery => "delivery-limited",
            Self::Tester => "tester-limited",
            Self::Unknown => "",
        }
    }
}

/// Judges by what a median would not show, because messages may come in bursts.
///
/// The blocks of one listener tile its time, so their mean is longer than the source's when it falls further and further behind. Where it catches
/// up in between, some blocks came late: together by a good part of the time. Who missed messages could not keep up either.
#[must_use]
pub fn of(topic: &TopicBook, block: &BlockBook) -> Pace {
    let (Some(elapsed), Some(source)) = (block.elapsed.mean(), block.source.mean()) else {
        return if topic.announced > 0 {
            Pace::Delivery
        } else {
            Pace::Unknown
        };
    };
    let behind = elapsed > source.mul_f64(1.0 + TOLERANCE) + MEAN_TOLERANCE_LEAST;
    let late = block.late.as_secs_f64() > source.as_secs_f64() * block.source.count() as f64 * TOLERANCE;
    match topic.announced > 0 || behind || late {
        true => Pace::Delivery,
        false => Pace::Source,
    }
}

/// By how much a block may take longer than its making without being late: what also makes a server call a client slow.
#[must_use]
pub fn lateness(source: Duration) -> Duration {
    source.mul_f64(TOLERANCE).max(LATE_LEAST)
}

/// A twentieth is within what a run of some seconds shows by chance.
const TOLERANCE: f64 = 0.05;

/// Finer than what clocks and wake-ups of a busy machine give.
const MEAN_TOLERANCE_LEAST: Duration = Duration::from_micros(20);

const LATE_LEAST: Duration = Duration::from_millis(20);

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(blocks_ms: &[(u64, u64)], announced: u64, expect: Pace) {
        let mut book = BlockBook::default();
        for (elapsed, source) in blocks_ms {
            book.take(Duration::from_millis(*elapsed), Some(Duration::from_millis(*source)));
        }
        let topic = TopicBook {
            announced,
            ..TopicBook::default()
        };
        assert_eq!(of(&topic, &book), expect);
    }

    #[test]
    fn delivery_sets_the_pace_when_blocks_take_longer_than_their_making() {
        check(&[(100, 100), (100, 100)], 0, Pace::Source);
        check(&[(104, 100), (104, 100)], 0, Pace::Source);
        check(&[(110, 100), (110, 100)], 0, Pace::Delivery);
        check(&[(100, 100)], 7, Pace::Delivery);
        check(&[], 0, Pace::Unknown);
        check(&[], 7, Pace::Delivery);
    }

    #[test]
    fn bursts_are_jitter_while_short_and_delivery_when_long() {
        check(&[(0, 10), (20, 10), (0, 10), (20, 10)], 0, Pace::Source);
        check(&[(0, 10), (0, 10), (0, 10), (40, 10)], 0, Pace::Delivery);
        let mut once = vec![(100, 100); 100];
        once[50] = (200, 100);
        once[51] = (0, 100);
        check(&once, 0, Pace::Source);
        once[50] = (2000, 100);
        check(&once, 0, Pace::Delivery);
    }
}
