//! One topic as one listener hears it: what came in order, what is missing, and how long blocks take.

use std::num::NonZeroU64;
use std::time::Duration;

use lapwing_wire::block::{BlockTimer, BlockTiming, Flags};
use lapwing_wire::position::Offset;

/// A topic followed by one listener.
pub struct Track {
    /// The number of the topic in this run.
    pub topic: usize,
    /// The offset that should come next.
    pub next: u64,
    /// The offset with which it began.
    pub from: u64,
    /// Messages that were announced as gone.
    pub announced: u64,
    /// Messages that came a second time.
    pub repeated: u64,
    /// Messages that came behind a later one.
    pub disordered: u64,
    /// Ranges passed over without a word, of which some may still come.
    holes: Vec<(u64, u64)>,
    /// Missing in ranges that are no longer held.
    lost: u64,
    /// The end that the server told, and when.
    owed: (u64, u64),
    /// When the latest message came.
    heard_at: u64,
    timings: Box<[Timing]>,
}

struct Timing {
    timer: BlockTimer,
    /// When the source made the last message of the block before.
    source_before: Option<u64>,
}

/// How a message relates to those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// The one that should come.
    Next,
    /// So many before it have not come, and nothing was said of them.
    Ahead(u64),
    /// One of those: it comes late.
    Behind,
    /// It was there already.
    Again,
}

/// The time of one block that counts, and its source's time for the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Block {
    /// Which of the sizes.
    pub size: usize,
    /// How long it took here.
    pub elapsed: Duration,
    /// How long its source took.
    pub source: Option<Duration>,
}

impl Track {
    /// Follows a topic from an offset; those below `live_from` were there at the join.
    #[must_use]
    pub fn new(topic: usize, from: u64, live_from: u64, sizes: &[NonZeroU64]) -> Self {
        let timing = |size: &NonZeroU64| Timing {
            timer: BlockTimer::new(*size, Offset::new(live_from)),
            source_before: None,
        };
        Self {
            topic,
            next: from,
            from,
            announced: 0,
            repeated: 0,
            disordered: 0,
            holes: Vec::new(),
            lost: 0,
            owed: (0, 0),
            heard_at: 0,
            timings: sizes.iter().map(timing).collect(),
        }
    }

    /// Takes the place of a message.
    pub fn on_message(&mut self, offset: u64) -> Order {
        if offset == self.next {
            self.next += 1;
            return Order::Next;
        }
        if offset > self.next {
            let missed = offset - self.next;
            self.hole(self.next, offset);
            self.next = offset + 1;
            return Order::Ahead(missed);
        }
        if self.fill(offset) {
            self.disordered += 1;
            return Order::Behind;
        }
        self.repeated += 1;
        Order::Again
    }

    /// Takes the news that offsets from `from` up to `to` will not come; gives how many of them had not.
    pub fn on_gap(&mut self, from: u64, to: u64) -> u64 {
        if to <= self.next {
            return 0;
        }
        let begin = from.max(self.next);
        // What lies before the gap was passed over as well, and that was not told.
        if begin > self.next {
            self.hole(self.next, begin);
        }
        self.next = to;
        self.announced += to - begin;
        self.timings
            .iter_mut()
            .for_each(|timing| timing.timer.on_break(Flags::GAP, None));
        to - begin
    }

    /// Takes the end of the topic as the server tells it at this moment.
    pub fn on_end_told(&mut self, next: u64, at: u64) {
        if next > self.owed.0 {
            self.owed = (next, at);
        }
    }

    /// Times a message that came in order or behind a gap: `at` is its arrival and `source` when it was made, on any one clock.
    pub fn on_arrival(
        &mut self,
        offset: u64,
        at: u64,
        source: Option<u64>,
        order: Order,
        mut block: impl FnMut(Block),
    ) {
        self.heard_at = at;
        for (size, timing) in self.timings.iter_mut().enumerate() {
            if matches!(order, Order::Ahead(_)) {
                timing.timer.on_break(Flags::GAP, None);
            }
            for ended in timing
                .timer
                .on_message(Offset::new(offset), Duration::from_nanos(at), 0)
            {
                // Only of a block that this message ends whole is its source's time known.
                let before = std::mem::replace(&mut timing.source_before, source);
                if let Some(elapsed) = BlockTiming::timed(&ended) {
                    let source = source
                        .zip(before)
                        .map(|(end, begin)| Duration::from_nanos(end.saturating_sub(begin)));
                    block(Block { size, elapsed, source });
                }
            }
        }
    }

    /// Messages that did not come although nothing was said of them.
    ///
    /// A tail counts when the server told of it well before `end`, and no message has come since: a listener that lags still has it on its way.
    #[must_use]
    pub fn silent(&self, end: u64) -> u64 {
        let (owed, at) = self.owed;
        let tail = match end.saturating_sub(at.max(self.heard_at)) >= TAIL_PATIENCE_NANOS {
            true => owed.saturating_sub(self.next),
            false => 0,
        };
        self.lost + self.holes.iter().map(|(from, to)| to - from).sum::<u64>() + tail
    }

    fn hole(&mut self, from: u64, to: u64) {
        if self.holes.len() == HOLES_MAX {
            let (from, to) = self.holes.remove(0);
            self.lost += to - from;
        }
        self.holes.push((from, to));
    }

    /// Takes an offset out of the holes, if it lies in one.
    fn fill(&mut self, offset: u64) -> bool {
        let Some(at) = self.holes.iter().position(|(from, to)| (*from..*to).contains(&offset)) else {
            return false;
        };
        let (from, to) = self.holes.swap_remove(at);
        self.holes.extend(
            [(from, offset), (offset + 1, to)]
                .into_iter()
                .filter(|(from, to)| from < to),
        );
        true
    }
}

/// Holes that are remembered, to tell what comes late from what comes twice.
const HOLES_MAX: usize = 64;

/// What was told so long before the end should have come: far longer than a frame takes, and a heartbeat is.
const TAIL_PATIENCE_NANOS: u64 = 2_000_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn track(from: u64) -> Track {
        Track::new(0, from, from, &[NonZeroU64::new(2).expect("not zero")])
    }

    #[track_caller]
    fn check(offsets: &[u64], expect: &[Order], silent: u64, repeated: u64, disordered: u64) {
        let mut track = track(10);
        let orders: Vec<Order> = offsets.iter().map(|offset| track.on_message(*offset)).collect();
        assert_eq!(orders, expect);
        let counted = (track.silent(0), track.repeated, track.disordered);
        assert_eq!(counted, (silent, repeated, disordered));
    }

    #[test]
    fn loss_repetition_and_disorder_are_told_apart() {
        use Order::{Again, Ahead, Behind, Next};
        check(&[10, 11, 12], &[Next; 3], 0, 0, 0);
        check(&[10, 14], &[Next, Ahead(3)], 3, 0, 0);
        check(&[10, 14, 12, 15], &[Next, Ahead(3), Behind, Next], 2, 0, 1);
        check(&[10, 10, 11], &[Next, Again, Next], 0, 1, 0);
        check(&[12, 11, 10, 11], &[Ahead(2), Behind, Behind, Again], 0, 1, 2);
        check(&[11, 9], &[Ahead(1), Again], 1, 1, 0);
    }

    #[test]
    fn what_is_announced_is_no_silent_loss() {
        let mut track = track(10);
        track.on_message(10);
        assert_eq!(track.on_gap(11, 20), 9);
        assert_eq!(track.on_message(20), Order::Next);
        assert_eq!((track.announced, track.silent(0)), (9, 0));
        assert_eq!(track.on_gap(15, 21), 0, "it came already");
        assert_eq!(track.on_gap(25, 30), 5);
        assert_eq!((track.announced, track.silent(0)), (14, 4), "21 to 24 were not told");
    }

    #[test]
    fn a_tail_is_missing_only_when_it_had_time_to_come() {
        let mut track = track(10);
        track.on_end_told(15, 1_000);
        assert_eq!(track.silent(2_000_000_999), 0);
        assert_eq!(track.silent(2_000_001_000), 5);
        let order = track.on_message(10);
        track.on_arrival(10, 1_500, None, order, |_| {});
        assert_eq!(
            (track.silent(2_000_001_499), track.silent(2_000_001_500)),
            (0, 4),
            "it lags, and then no more"
        );
        for offset in 11..15 {
            assert_eq!(track.on_message(offset), Order::Next);
        }
        assert_eq!(track.silent(u64::MAX), 0);
    }

    #[test]
    fn memory_for_holes_is_bounded_and_the_count_stays() {
        let mut track = track(0);
        for n in 0..1000 {
            assert_eq!(track.on_message(n * 2 + 1), Order::Ahead(1));
        }
        assert_eq!(track.silent(0), 1000);
        assert!(track.holes.len() <= HOLES_MAX);
    }

    #[test]
    fn a_block_has_its_own_time_and_its_sources() {
        let mut track = track(0);
        let mut blocks = Vec::new();
        for (offset, at, source) in [
            (0, 10, 1),
            (1, 20, 2),
            (2, 70, 3),
            (3, 90, 5),
            (6, 100, 9),
            (7, 110, 11),
        ] {
            let order = track.on_message(offset);
            track.on_arrival(offset, at, Some(source), order, |block| blocks.push(block));
        }
        let nanos = Duration::from_nanos;
        let only = Block {
            size: 0,
            elapsed: nanos(70),
            source: Some(nanos(3)),
        };
        assert_eq!(
            blocks,
            [only],
            "the first has none before it, the last lies behind a gap"
        );
    }
}
