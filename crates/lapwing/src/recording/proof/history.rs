//! One history of one topic, as far as a recording has it.

use lapwing_wire::position::{Epoch, Offset};
use lapwing_wire::topic::TopicName;

use super::finding::What;
use crate::recording::note::Missed;

/// One history of one topic, as far as the recording has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct History {
    /// The topic; `-` for a feed without offsets.
    pub topic: TopicName,
    /// Its name, where it has one.
    pub epoch: Option<Epoch>,
    /// The first and the last offset; none for a feed without offsets.
    pub offsets: Option<(Offset, Offset)>,
    /// How many messages.
    pub messages: u64,
    /// How many offsets are missing without a word, repeated or out of order.
    pub wrong: u64,
    /// How many offsets are told as gone, or as lost by the server.
    pub announced: u64,
}

impl History {
    pub(super) fn new(topic: TopicName, epoch: Option<Epoch>) -> Self {
        Self {
            topic,
            epoch,
            offsets: None,
            messages: 0,
            wrong: 0,
            announced: 0,
        }
    }

    /// A message came at its place.
    pub(super) fn came(&mut self, offset: u64) {
        self.messages += 1;
        let offset = Offset::new(offset);
        let first = self.offsets.map_or(offset, |(first, _)| first);
        self.offsets = Some((first, offset));
    }

    /// Counts what was found of it.
    pub(super) fn count(&mut self, what: What) {
        let add = |count: &mut u64, more: u64| *count = count.saturating_add(more);
        match what {
            What::Missing { from, to }
            | What::Gap {
                from,
                to,
                reason: Missed::Unannounced,
            } => add(&mut self.wrong, to - from),
            What::Repeated { .. } | What::OutOfOrder { .. } | What::Contradiction { .. } => add(&mut self.wrong, 1),
            What::Gap { from, to, .. } | What::Orphaned { from, to } => add(&mut self.announced, to - from),
            _ => {}
        }
    }
}
