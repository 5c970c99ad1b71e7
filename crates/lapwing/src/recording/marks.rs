//! What is wanted next of each topic, as a recording goes on.

use std::collections::BTreeMap;

use lapwing_wire::position::{Epoch, Offset};
use lapwing_wire::topic::TopicName;

use super::note::Note;
use super::wanted::Wanted;

/// Topic by topic what is wanted next: all before it is in the recording or told as missing.
///
/// The writer and whoever reads a recording to go on with it follow the same rule here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Marks(BTreeMap<TopicName, Wanted>);

impl Marks {
    /// Takes a message.
    pub fn on_message(&mut self, topic: &TopicName, epoch: Option<Epoch>, offset: Offset) {
        self.set(topic, epoch, offset.plus(1));
    }

    /// Takes a note.
    pub fn on_note(&mut self, note: &Note) {
        match note {
            Note::Gap { topic, to, .. } => {
                let epoch = self.0.get(topic).and_then(Wanted::epoch);
                self.set(topic, epoch, *to);
            }
            Note::Reset {
                topic, epoch, first, ..
            } => self.set(topic, *epoch, *first),
            Note::Continued { topic, epoch, at } | Note::Diverged { topic, epoch, at, .. } => {
                self.set(topic, Some(*epoch), *at)
            }
            Note::Positions { topics } => self
                .0
                .extend(topics.iter().map(|(topic, wanted)| (topic.clone(), wanted.clone()))),
            Note::Start(_)
            | Note::Connect { .. }
            | Note::Reconnect { .. }
            | Note::Block(_)
            | Note::ClockStep { .. } => {}
        }
    }

    /// Takes what is wanted next of one topic.
    pub fn set(&mut self, topic: &TopicName, epoch: Option<Epoch>, offset: Offset) {
        match self.0.get_mut(topic) {
            Some(wanted) => wanted.go_on(epoch, offset),
            None => {
                self.0.insert(topic.clone(), Wanted::new(epoch, offset));
            }
        }
    }

    /// What is wanted next of one topic, if anything is known of it.
    #[must_use]
    pub fn get(&self, topic: &TopicName) -> Option<&Wanted> {
        self.0.get(topic)
    }

    /// All of them, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&TopicName, &Wanted)> {
        self.0.iter()
    }

    /// Whether no topic is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// As a record.
    #[must_use]
    pub fn to_note(&self) -> Note {
        Note::Positions { topics: self.0.clone() }
    }
}
