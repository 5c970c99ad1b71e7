//! One topic of a recording: what is to come next of it, and what did not come.

use lapwing_wire::position::Epoch;
use lapwing_wire::topic::TopicName;

/// One topic, as of the lines so far.
#[derive(Debug)]
pub(super) struct Topic {
    pub(super) name: TopicName,
    pub(super) epoch: Option<Epoch>,
    /// The same, as it stands in a line.
    pub(super) epoch_text: Option<[u8; 32]>,
    /// What is to come next; none before anything is known.
    pub(super) next: Option<u64>,
    /// Which of the histories it is in; none where it is beyond those that are held.
    pub(super) history: Option<usize>,
    /// Offsets that did not come: one of them that comes later is out of order and no repeat.
    missing: Vec<(u64, u64)>,
}

/// A history that a topic has left: enough to know what comes again, should it come back.
#[derive(Debug)]
pub(super) struct Left {
    /// What was to come next.
    pub(super) next: u64,
    history: Option<usize>,
    missing: Vec<(u64, u64)>,
}

impl Left {
    /// A history of which earlier files have everything below `next`.
    pub(super) fn before(next: u64) -> Self {
        Self {
            next,
            history: None,
            missing: Vec::new(),
        }
    }
}

impl Topic {
    /// A topic of which nothing is known.
    pub(super) fn new(name: TopicName) -> Self {
        Self {
            name,
            epoch: None,
            epoch_text: None,
            next: None,
            history: None,
            missing: Vec::new(),
        }
    }

    /// Begins a history; without `next` its first message says where.
    pub(super) fn begin(&mut self, epoch: Option<Epoch>, next: Option<u64>, history: Option<usize>) {
        self.epoch = epoch;
        self.epoch_text = epoch.and_then(|epoch| epoch.to_string().into_bytes().try_into().ok());
        self.next = next;
        self.history = history;
        self.missing.clear();
    }

    /// What is known of the history that it has, if that has a name.
    pub(super) fn left(&self) -> Option<(Epoch, Left)> {
        let newest = self.missing.len().saturating_sub(LEFT_MISSING_MAX);
        let left = Left {
            next: self.next?,
            history: self.history,
            missing: self.missing[newest..].to_vec(),
        };
        Some((self.epoch?, left))
    }

    /// Goes on with a history that it had left.
    pub(super) fn come_back(&mut self, epoch: Epoch, left: Left) {
        self.begin(Some(epoch), Some(left.next), left.history);
        self.missing = left.missing;
    }

    /// Goes on under another name at `next`, where what did not come before is still missing.
    pub(super) fn go_on(&mut self, epoch: Epoch, next: u64, history: Option<usize>) {
        let mut missing = std::mem::take(&mut self.missing);
        missing.retain_mut(|(from, to)| {
            *to = (*to).min(next);
            from < to
        });
        self.begin(Some(epoch), Some(next), history);
        self.missing = missing;
    }

    /// Whether `offset` is one of those that did not come.
    pub(super) fn misses(&self, offset: u64) -> bool {
        self.missing.iter().any(|&(from, to)| (from..to).contains(&offset))
    }

    /// Goes on behind offsets that did not come.
    pub(super) fn miss(&mut self, from: u64, to: u64) {
        let is_full = self.missing.len() == MISSING_MAX;
        match self.missing.last_mut() {
            Some(last) if last.1 == from => last.1 = to,
            // The last one says whether anything came behind it.
            Some(last) if is_full => *last = (from, to),
            _ => self.missing.push((from, to)),
        }
        self.next = Some(to);
    }

    /// Whether nothing from `from` on has come, and all of it up to what comes next is found missing.
    pub(super) fn misses_all_from(&self, from: u64) -> bool {
        let behind = self.missing.last().filter(|(_, to)| Some(*to) == self.next);
        behind.is_some_and(|missing| (missing.0..missing.1).contains(&from))
    }
}

/// Ranges of one topic among which a late offset is looked for.
const MISSING_MAX: usize = 1000;

/// The same of a history that it has left.
const LEFT_MISSING_MAX: usize = 16;
