//! What all evidence together says of one topic: which message stands at which position.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;

use crate::epoch::Epoch;
use crate::history::{Level, TopicSetup};
use crate::payload::Message;

/// A position that somebody has seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot {
    /// What stands there.
    pub message: Message,
    /// Who saw it first: an index of the checker's origins.
    pub witness: u16,
    /// It stands in a dump, too.
    pub dumped: bool,
    /// A listener has it, too.
    pub delivered: bool,
    /// When it was sent for the first time.
    pub invoked: u64,
}

/// Positions a chunk: offsets are dense, so a chunk is well filled.
const CHUNK: u64 = 1024;

/// The positions of one history.
#[derive(Debug)]
pub struct History {
    /// Its name.
    pub epoch: Epoch,
    chunks: BTreeMap<u64, Vec<Option<Slot>>>,
    /// The dump that has it, and its place in that dump's lineage.
    chain: Option<(usize, usize)>,
}

impl History {
    /// The slot of an offset.
    pub fn slot(&mut self, offset: u64) -> &mut Option<Slot> {
        let chunk = self
            .chunks
            .entry(offset / CHUNK)
            .or_insert_with(|| vec![None; CHUNK as usize]);
        &mut chunk[(offset % CHUNK) as usize]
    }

    /// What stands at an offset.
    pub fn at(&self, offset: u64) -> Option<&Slot> {
        self.chunks.get(&(offset / CHUNK))?[(offset % CHUNK) as usize].as_ref()
    }

    /// Every position that somebody has seen, in order.
    pub fn slots(&self) -> impl Iterator<Item = (u64, &Slot)> {
        self.chunks.iter().flat_map(|(number, chunk)| {
            (number * CHUNK..)
                .zip(chunk)
                .filter_map(|(offset, slot)| Some((offset, slot.as_ref()?)))
        })
    }
}

/// What the topic's log held at the end, or when its directory was wiped.
#[derive(Debug)]
pub struct Dump {
    /// Where it comes from.
    pub name: String,
    /// Histories by index with their starts, oldest first.
    pub lineage: Vec<(usize, u64)>,
    /// The lowest offset that is retained.
    pub first: Option<u64>,
    /// The offset that the next message gets, as the lineage record says.
    pub next: Option<u64>,
    /// One above the last line.
    pub end: Option<u64>,
    /// Ranges that the dump itself tells as missing.
    pub holes: Vec<Range<u64>>,
}

/// A topic.
#[derive(Debug)]
pub struct Topic {
    /// What was asked for.
    pub setup: TopicSetup,
    /// Its histories, in the order in which they were seen.
    pub histories: Vec<History>,
    by_epoch: HashMap<Epoch, usize>,
    /// Its dumps; the last is that of the end.
    pub dumps: Vec<Dump>,
    latest: Option<(Epoch, usize)>,
}

impl Topic {
    /// A topic of which nothing is known yet.
    pub fn new(setup: TopicSetup) -> Self {
        Self {
            setup,
            histories: Vec::new(),
            by_epoch: HashMap::new(),
            dumps: Vec::new(),
            latest: None,
        }
    }

    /// What the topic promises.
    pub fn level(&self) -> Level {
        self.setup.level
    }

    /// The index of a history, which is new when it is seen for the first time.
    pub fn history_of(&mut self, epoch: Epoch) -> usize {
        if let Some((latest, index)) = self.latest
            && latest == epoch
        {
            return index;
        }
        let next = self.histories.len();
        let index = *self.by_epoch.entry(epoch).or_insert(next);
        if index == next {
            self.histories.push(History {
                epoch,
                chunks: BTreeMap::new(),
                chain: None,
            });
        }
        self.latest = Some((epoch, index));
        index
    }

    /// Makes a history part of a dump's lineage.
    pub fn extend_lineage(&mut self, dump: usize, history: usize, start: u64) {
        if self.histories[history].chain.is_none() {
            self.histories[history].chain = Some((dump, self.dumps[dump].lineage.len()));
            self.dumps[dump].lineage.push((history, start));
        }
    }

    /// The history that an offset belongs to, when it is told as of a history that grew out of it.
    pub fn owner(&self, history: usize, offset: u64) -> usize {
        let Some((dump, mut place)) = self.histories[history].chain else {
            return history;
        };
        let lineage = &self.dumps[dump].lineage;
        while place > 0 && offset < lineage[place].1 {
            place -= 1;
        }
        lineage[place].0
    }

    /// Where the line of histories leaves `from` on its way to `to`; `None` unless `to` grew out of `from`.
    pub fn cut_between(&self, from: usize, to: usize) -> Option<u64> {
        let (dump, from) = self.histories[from].chain?;
        let (other, to) = self.histories[to].chain?;
        (dump == other && from < to).then(|| self.dumps[dump].lineage[from + 1].1)
    }

    /// The dump that must have an offset of a history, if the history's line was dumped and goes through that offset.
    pub fn dump_with(&self, history: usize, offset: u64) -> Option<&Dump> {
        let (dump, place) = self.histories[history].chain?;
        let dump = &self.dumps[dump];
        let is_cut = dump.lineage.get(place + 1).is_some_and(|(_, start)| offset >= *start);
        (!is_cut).then_some(dump)
    }

    /// The history and the offset with which the topic ends.
    pub fn end(&self) -> Option<(usize, u64)> {
        let dump = self.dumps.last()?;
        Some((dump.lineage.last()?.0, dump.next.or(dump.end)?))
    }
}
