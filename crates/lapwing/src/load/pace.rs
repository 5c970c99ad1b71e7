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

/// Judges by the mean: the blocks of one listener tile its time, so their mean is longer than the source's only when it falls further and
/// further behind. A median would be misled by bursts. Who missed messages could not keep up either.
#[must_use]
pub fn of(topic: &TopicBook, block: &BlockBook) -> Pace {
    match (block.elapsed.mean(), block.source.mean()) {
        _ if topic.announced > 0 => Pace::Delivery,
        (Some(elapsed), Some(source)) if elapsed > source.mul_f64(TOLERANCE) + TOLERANCE_LEAST => Pace::Delivery,
        (Some(_), Some(_)) => Pace::Source,
        _ => Pace::Unknown,
    }
}

/// A twentieth is within what a run of some seconds shows by chance.
const TOLERANCE: f64 = 1.05;

/// Finer than what clocks and wake-ups of a busy machine give.
const TOLERANCE_LEAST: Duration = Duration::from_micros(20);

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(elapsed_ms: &[u64], source_ms: &[u64], announced: u64, expect: Pace) {
        let mut block = BlockBook::default();
        elapsed_ms.iter().for_each(|ms| block.elapsed.record(ms * 1_000_000));
        source_ms.iter().for_each(|ms| block.source.record(ms * 1_000_000));
        let topic = TopicBook {
            announced,
            ..TopicBook::default()
        };
        assert_eq!(of(&topic, &block), expect);
    }

    #[test]
    fn delivery_sets_the_pace_when_blocks_take_longer_than_their_making() {
        check(&[100, 100], &[100, 100], 0, Pace::Source);
        check(&[0, 200], &[100, 100], 0, Pace::Source);
        check(&[104, 104], &[100, 100], 0, Pace::Source);
        check(&[110, 110], &[100, 100], 0, Pace::Delivery);
        check(&[100], &[100], 7, Pace::Delivery);
        check(&[100], &[], 0, Pace::Unknown);
        check(&[], &[], 0, Pace::Unknown);
    }
}
