//! One topic as it is shown: where it is, how fast it comes, how long its blocks took lately.

use std::collections::VecDeque;
use std::time::Duration;

use lapwing_wire::block::{BlockTiming, Flags};
use lapwing_wire::position::Offset;
use lapwing_wire::topic::TopicName;

/// One topic.
#[derive(Clone, Debug)]
pub struct TopicView {
    /// Its name.
    pub name: TopicName,
    /// The last offset that came.
    pub last: Option<Offset>,
    /// What is wanted next.
    next: Option<Offset>,
    /// Where it ended when the server last said so.
    end: Option<Offset>,
    /// The last blocks, oldest first.
    blocks: VecDeque<Bar>,
    /// How many messages came in each of the last seconds, in the place of the second modulo their number.
    counts: [u32; SECONDS],
    /// The newest of these seconds.
    second: u64,
    /// The second in which it was first followed.
    since: Option<u64>,
}

/// A block among others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bar {
    /// It took so long.
    Timed(Duration),
    /// One or more were not timed: interrupted, caught up, or with a gap.
    Broken,
}

impl TopicView {
    /// A topic of which nothing came yet.
    #[must_use]
    pub fn new(name: TopicName) -> Self {
        Self {
            name,
            last: None,
            next: None,
            end: None,
            blocks: VecDeque::new(),
            counts: [0; SECONDS],
            second: 0,
            since: None,
        }
    }

    /// It is followed from `from` on, since this second of the run.
    pub fn on_followed(&mut self, from: Offset, second: u64) {
        self.next.get_or_insert(from);
        self.go_on_to(second);
    }

    /// It goes on at `from`, and ends at `end` where that is known.
    pub fn on_granted(&mut self, from: Offset, end: Option<Offset>) {
        self.next = Some(from);
        self.end = end;
    }

    /// The server says where it ends.
    pub fn on_end(&mut self, end: Option<Offset>) {
        self.end = end;
    }

    /// What lies before `to` will not come.
    pub fn on_gap(&mut self, to: Offset) {
        self.next = self.next.max(Some(to));
    }

    /// A message came in this second of the run.
    pub fn on_message(&mut self, offset: Option<Offset>, second: u64) {
        self.go_on_to(second);
        let count = &mut self.counts[place(second)];
        *count = count.saturating_add(1);
        if let Some(offset) = offset {
            self.last = Some(offset);
            self.next = Some(offset.plus(1));
        }
    }

    /// A block ended.
    pub fn on_block(&mut self, timing: &BlockTiming) {
        let bar = match timing.timed() {
            Some(elapsed) => Bar::Timed(elapsed),
            // A run begins and ends with blocks that are not timed: nothing is broken there.
            None if self.blocks.is_empty() || timing.flags == Flags::PARTIAL => return,
            None if self.blocks.back() == Some(&Bar::Broken) => return,
            None => Bar::Broken,
        };
        if self.blocks.len() == BLOCKS_MAX {
            self.blocks.pop_front();
        }
        self.blocks.push_back(bar);
    }

    /// The last blocks, oldest first.
    #[must_use]
    pub fn blocks(&self) -> &VecDeque<Bar> {
        &self.blocks
    }

    /// How long the last blocks took that were timed, oldest first.
    pub fn timed(&self) -> impl DoubleEndedIterator<Item = Duration> + '_ {
        self.blocks.iter().filter_map(|bar| match bar {
            Bar::Timed(elapsed) => Some(*elapsed),
            Bar::Broken => None,
        })
    }

    /// Whether blocks before these are no longer known.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.blocks.len() == BLOCKS_MAX
    }

    /// What the server has beyond what came; unknown on a feed that does not say where it ends.
    #[must_use]
    pub fn lag(&self) -> Option<u64> {
        let (next, end) = (self.next?, self.end?);
        Some(if end > next { end.since(next) } else { 0 })
    }

    /// How many messages a second came in the whole seconds before `second`, ten at most; none before there is one.
    #[must_use]
    pub fn rate(&self, second: u64) -> Option<f64> {
        let whole = second.saturating_sub(self.since?).min(SECONDS as u64 - 1);
        let from = second - whole;
        let counts = (from..second)
            .filter(|at| *at <= self.second && at + SECONDS as u64 > self.second)
            .map(|at| u64::from(self.counts[place(at)]));
        (whole > 0).then(|| counts.sum::<u64>() as f64 / whole as f64)
    }

    fn go_on_to(&mut self, second: u64) {
        self.since.get_or_insert(second);
        let passed = second.saturating_sub(self.second).min(SECONDS as u64);
        for at in 0..passed {
            self.counts[place(second - at)] = 0;
        }
        self.second = self.second.max(second);
    }
}

fn place(second: u64) -> usize {
    (second % SECONDS as u64) as usize
}

/// Ten whole seconds, and the one under way.
const SECONDS: usize = 11;

/// As many as a distribution means something of, and more than the widest window has columns for.
pub const BLOCKS_MAX: usize = 1000;

#[cfg(test)]
mod tests {
    use lapwing_wire::block::Flags;

    use super::*;
    use crate::client::view::tests::{block, view};

    #[track_caller]
    fn check(ended: &[(u64, Flags)], expect: &[Bar]) {
        let mut view = view("sensor-1", &[("users", 0)]);
        for (ms, flags) in ended {
            block(&mut view, "users", 0, ms * 1000, *flags);
        }
        assert_eq!(view.topics[0].blocks().iter().copied().collect::<Vec<_>>(), expect);
    }

    fn timed(ms: u64) -> Bar {
        Bar::Timed(Duration::from_millis(ms))
    }

    #[test]
    fn an_interruption_is_one_mark_between_blocks() {
        check(&[(1, Flags::FIRST), (2, Flags::CATCHUP)], &[]);
        let held = [
            (1, Flags::NONE),
            (9, Flags::INTERRUPTED),
            (9, Flags::CATCHUP),
            (9, Flags::AFTER),
            (2, Flags::NONE),
        ];
        check(&held, &[timed(1), Bar::Broken, timed(2)]);
        // The last one, when it ends.
        check(&[(1, Flags::NONE), (2, Flags::PARTIAL)], &[timed(1)]);
    }
}
