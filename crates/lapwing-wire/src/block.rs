//! The timing of blocks of messages.

use std::fmt;
use std::num::NonZeroU64;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::position::Offset;

/// Times the blocks of one topic: block `k` of size `n` is the messages with offsets `k*n .. k*n + n`.
///
/// Blocks tile the run: each is timed from the last arrival of the block before it, so a pause between two blocks is
/// counted in the second. Timing every block from its own first message would hide it. Instants are the reader's own
/// monotonic clock, as time since an origin of its choice; nothing here reads a clock.
///
/// A feed without offsets is timed by giving the number of the arrival as the offset.
#[derive(Clone, Debug)]
pub struct BlockTimer {
    size: NonZeroU64,
    /// Offsets below this one were visible when the reader joined: they arrive as fast as the wire allows.
    live_from: Offset,
    open: Option<OpenBlock>,
    /// When the block before ended, none before the first.
    before: Option<Duration>,
    /// The block before ended when a disturbance let it, and not when its source did.
    before_disturbed: bool,
    /// Flags for the next message: something happened since the last.
    pending: Flags,
    /// When the first messages after a stall arrived: those that came in one go with it were held up by it too.
    stalled_at: Option<Duration>,
}

#[derive(Clone, Copy, Debug)]
struct OpenBlock {
    number: u64,
    first: Offset,
    last: Offset,
    first_at: Duration,
    last_at: Duration,
    messages: u64,
    bytes: u64,
    flags: Flags,
}

impl BlockTimer {
    /// Times blocks of `size`; offsets below `live_from` were already there at the join and are flagged `catchup`.
    #[must_use]
    pub fn new(size: NonZeroU64, live_from: Offset) -> Self {
        Self {
            size,
            live_from,
            open: None,
            before: None,
            before_disturbed: false,
            pending: Flags::NONE,
            stalled_at: None,
        }
    }

    /// How many messages make a block.
    #[must_use]
    pub fn size(&self) -> NonZeroU64 {
        self.size
    }

    /// Takes one arrival of `bytes`; gives the blocks that it ended: one left unfinished by a jump, and its own when it is the last.
    pub fn on_message(
        &mut self,
        offset: Offset,
        at: Duration,
        bytes: u64,
    ) -> impl Iterator<Item = BlockTiming> + use<> {
        let number = offset.get() / self.size;
        let unfinished = self
            .open
            .take_if(|open| open.number != number)
            .map(|open| self.end(open));
        let mut open = self.open.take().unwrap_or(OpenBlock {
            number,
            first: offset,
            last: offset,
            first_at: at,
            last_at: at,
            messages: 0,
            bytes: 0,
            flags: Flags::NONE,
        });
        open.last = offset;
        open.last_at = at;
        open.messages += 1;
        open.bytes += bytes;
        if self.pending.has(Flags::STALLED) {
            self.stalled_at = Some(at);
        }
        if self.stalled_at == Some(at) {
            open.flags = open.flags.with(Flags::STALLED);
        }
        open.flags = open.flags.with(std::mem::take(&mut self.pending));
        if offset < self.live_from {
            open.flags = open.flags.with(Flags::CATCHUP);
        }
        let ended = if (offset.get() + 1).is_multiple_of(self.size.get()) {
            Some(self.end(open))
        } else {
            self.open = Some(open);
            None
        };
        [unfinished, ended].into_iter().flatten()
    }

    /// Marks the block in which the next message lies: a reconnect, a gap or a stall lies before it.
    ///
    /// After a reconnect, offsets below `live_from` were visible before the reader was back.
    pub fn on_break(&mut self, flag: Flags, live_from: Option<Offset>) {
        self.pending = self.pending.with(flag);
        if let Some(live_from) = live_from {
            self.live_from = self.live_from.max(live_from);
        }
    }

    /// Begins anew after the history was lost: offsets of the new epoch have nothing to do with those before.
    pub fn on_reset(&mut self, live_from: Offset) -> Option<BlockTiming> {
        let unfinished = self.finish();
        *self = Self {
            pending: Flags::GAP,
            ..Self::new(self.size, live_from)
        };
        unfinished
    }

    /// Ends the block under way, for the last report.
    pub fn finish(&mut self) -> Option<BlockTiming> {
        let open = self.open.take()?;
        Some(self.end(open))
    }

    fn end(&mut self, open: OpenBlock) -> BlockTiming {
        let mut flags = open.flags;
        if open.messages < self.size.get() {
            flags = flags.with(Flags::PARTIAL);
        }
        if self.before.is_none() {
            flags = flags.with(Flags::FIRST);
        }
        let disturbed = DISTURBANCES.iter().any(|disturbance| open.flags.has(*disturbance));
        if std::mem::replace(&mut self.before_disturbed, disturbed) && !disturbed {
            flags = flags.with(Flags::AFTER);
        }
        let elapsed = self.before.map(|before| open.last_at.saturating_sub(before));
        self.before = Some(open.last_at);
        BlockTiming {
            block: open.number,
            size: self.size,
            first: open.first,
            last: open.last,
            messages: open.messages,
            bytes: open.bytes,
            elapsed,
            spread: open.last_at.saturating_sub(open.first_at),
            flags,
        }
    }
}

/// The timing of one block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockTiming {
    /// Its number: first offset divided by size.
    pub block: u64,
    /// How many messages a whole block has.
    pub size: NonZeroU64,
    /// The first offset that arrived of it.
    pub first: Offset,
    /// The last offset that arrived of it.
    pub last: Offset,
    /// How many messages arrived.
    pub messages: u64,
    /// Their payload bytes on the wire.
    pub bytes: u64,
    /// From the last arrival of the block before to the last of this one; none for the first block after a join.
    pub elapsed: Option<Duration>,
    /// From the first arrival to the last.
    pub spread: Duration,
    /// Why it does not count, if so.
    pub flags: Flags,
}

impl BlockTiming {
    /// The time that counts for percentiles and drift: of a block without any flag.
    #[must_use]
    pub fn timed(&self) -> Option<Duration> {
        self.elapsed.filter(|_| self.flags.is_empty())
    }
}

/// Why a block's time does not count.
#[derive(Clone, Copy, PartialEq, Eq, Default, Hash)]
pub struct Flags(u8);

impl Flags {
    /// It counts.
    pub const NONE: Self = Self(0);
    /// The first block after a join: there is no block before it to be timed from.
    pub const FIRST: Self = Self(1);
    /// Some of its messages did not arrive, or not yet.
    pub const PARTIAL: Self = Self(2);
    /// Some of its messages were there before the reader joined or was back.
    pub const CATCHUP: Self = Self(4);
    /// The connection was lost within it.
    pub const INTERRUPTED: Self = Self(8);
    /// Offsets were skipped within it.
    pub const GAP: Self = Self(16);
    /// The reader's process stood still within it: stopped, or its machine suspended.
    pub const STALLED: Self = Self(32);
    /// The block before was caught up, interrupted or stalled: this one is timed from an end that says nothing.
    pub const AFTER: Self = Self(64);

    /// Both together.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether all of `other` are among these.
    #[must_use]
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether the block counts.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Their names, in a fixed order.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        NAMES
            .iter()
            .filter(move |(flag, _)| self.has(*flag))
            .map(|(_, name)| *name)
    }
}

/// What makes the end of a block say nothing about its source.
const DISTURBANCES: [Flags; 3] = [Flags::CATCHUP, Flags::INTERRUPTED, Flags::STALLED];

const NAMES: [(Flags, &str); 7] = [
    (Flags::FIRST, "first"),
    (Flags::PARTIAL, "partial"),
    (Flags::CATCHUP, "catchup"),
    (Flags::INTERRUPTED, "interrupted"),
    (Flags::GAP, "gap"),
    (Flags::STALLED, "stalled"),
    (Flags::AFTER, "after"),
];

impl fmt::Debug for Flags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.names()).finish()
    }
}

impl Serialize for Flags {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.names())
    }
}

impl<'de> Deserialize<'de> for Flags {
    /// Names that this version does not know are ignored: a later client may send more.
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let names = Vec::<String>::deserialize(deserializer)?;
        let known = |name: &String| NAMES.iter().find(|(_, known)| known == name).map(|(flag, _)| *flag);
        Ok(names.iter().filter_map(known).fold(Self::NONE, Self::with))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn timer(size: u64, live_from: u64) -> BlockTimer {
        BlockTimer::new(NonZeroU64::new(size).expect("not zero"), Offset::new(live_from))
    }

    type Told = (u64, u64, Option<u64>, u64, Vec<&'static str>);

    /// Feeds (offset, millisecond) pairs and gives (block, messages, elapsed ms, spread ms, flags) for each block ended.
    fn run(timer: &mut BlockTimer, arrivals: &[(u64, u64)]) -> Vec<Told> {
        let tell = |t: BlockTiming| {
            let elapsed = t.elapsed.map(|e| e.as_millis() as u64);
            (
                t.block,
                t.messages,
                elapsed,
                t.spread.as_millis() as u64,
                t.flags.names().collect(),
            )
        };
        let mut told = Vec::new();
        for &(offset, ms) in arrivals {
            told.extend(
                timer
                    .on_message(Offset::new(offset), Duration::from_millis(ms), 10)
                    .map(tell),
            );
        }
        told
    }

    #[test]
    fn blocks_tile_the_run_so_a_pause_between_two_is_counted() {
        let mut timer = timer(2, 0);
        let told = run(&mut timer, &[(0, 10), (1, 11), (2, 500), (3, 501), (4, 502), (5, 700)]);
        assert_eq!(
            told,
            [
                (0, 2, None, 1, vec!["first"]),
                (1, 2, Some(490), 1, vec![]),
                (2, 2, Some(199), 198, vec![])
            ]
        );
    }

    #[test]
    fn a_join_inside_a_block_makes_it_partial() {
        let mut timer = timer(5, 0);
        let told = run(
            &mut timer,
            &[(13, 0), (14, 1), (15, 2), (16, 3), (17, 4), (18, 5), (19, 6)],
        );
        assert_eq!(
            told,
            [(2, 2, None, 1, vec!["first", "partial"]), (3, 5, Some(5), 4, vec![])]
        );
    }

    #[test]
    fn what_was_there_at_the_join_is_catchup() {
        let mut timer = timer(2, 3);
        let told = run(&mut timer, &[(0, 0), (1, 0), (2, 0), (3, 9), (4, 10), (5, 11)]);
        let flags: Vec<_> = told.iter().map(|t| t.4.clone()).collect();
        assert_eq!(flags, [vec!["first", "catchup"], vec!["catchup"], vec!["after"]]);
    }

    #[test]
    fn a_jump_over_the_end_of_a_block_leaves_it_unfinished_and_flagged() {
        let mut timer = timer(3, 0);
        run(&mut timer, &[(0, 0), (1, 1), (2, 2), (3, 3)]);
        timer.on_break(Flags::GAP, None);
        let told = run(&mut timer, &[(7, 10), (8, 11), (9, 12), (10, 13), (11, 14)]);
        assert_eq!(
            told,
            [
                (1, 1, Some(1), 0, vec!["partial"]),
                (2, 2, Some(8), 1, vec!["partial", "gap"]),
                (3, 3, Some(3), 2, vec![])
            ]
        );
    }

    #[test]
    fn a_reconnect_flags_the_block_it_lies_in() {
        let mut timer = timer(2, 0);
        run(&mut timer, &[(0, 0), (1, 1), (2, 2)]);
        timer.on_break(Flags::INTERRUPTED, Some(Offset::new(4)));
        let told = run(&mut timer, &[(3, 50), (4, 51), (5, 52)]);
        assert_eq!(
            told,
            [
                (1, 2, Some(49), 48, vec!["catchup", "interrupted"]),
                (2, 2, Some(2), 1, vec!["after"])
            ]
        );
    }

    #[test]
    fn a_stall_flags_everything_that_it_held_up() {
        let mut timer = timer(1, 0);
        run(&mut timer, &[(0, 0), (1, 10)]);
        timer.on_break(Flags::STALLED, None);
        let told = run(&mut timer, &[(2, 3000), (3, 3000), (4, 3000), (5, 3010)]);
        let flags: Vec<_> = told.iter().map(|t| (t.2, t.4.clone())).collect();
        let stalled = || vec!["stalled"];
        assert_eq!(
            flags,
            [
                (Some(2990), stalled()),
                (Some(0), stalled()),
                (Some(0), stalled()),
                (Some(10), vec!["after"])
            ]
        );
    }

    #[test]
    fn blocks_of_one_are_timed_from_message_to_message() {
        let mut timer = timer(1, 0);
        let told = run(&mut timer, &[(0, 5), (1, 7)]);
        assert_eq!(told, [(0, 1, None, 0, vec!["first"]), (1, 1, Some(2), 0, vec![])]);
    }

    #[test]
    fn the_end_gives_the_block_under_way() {
        let mut timer = timer(5, 0);
        assert_eq!(timer.finish(), None);
        run(&mut timer, &[(0, 1), (1, 4)]);
        let last = timer.finish().expect("two messages are open");
        assert_eq!(
            (last.messages, last.bytes, last.flags.has(Flags::PARTIAL)),
            (2, 20, true)
        );
        assert_eq!(timer.finish(), None);
    }

    #[test]
    fn a_new_history_begins_with_a_first_block() {
        let mut timer = timer(2, 0);
        run(&mut timer, &[(8, 0), (9, 1), (10, 2)]);
        assert_eq!(timer.on_reset(Offset::ZERO).expect("one open").block, 5);
        let told = run(&mut timer, &[(0, 50), (1, 51), (2, 60), (3, 61)]);
        assert_eq!(
            told,
            [(0, 2, None, 1, vec!["first", "gap"]), (1, 2, Some(10), 1, vec![])]
        );
    }

    #[test]
    fn flags_survive_the_wire_and_unknown_ones_are_ignored() {
        let flags = Flags::GAP.with(Flags::FIRST);
        let text = serde_json::to_string(&flags).expect("serializable");
        assert_eq!(text, "[\"first\",\"gap\"]");
        assert_eq!(
            serde_json::from_str::<Flags>("[\"gap\",\"tired\",\"first\"]").expect("valid"),
            flags
        );
    }
}
