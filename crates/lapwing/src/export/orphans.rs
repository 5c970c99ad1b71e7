//! Messages of a recording that the server has lost since, as `diverged` records tell.

use std::collections::HashMap;

use lapwing_wire::position::Epoch;
use lapwing_wire::topic::TopicName;

use super::refusal::Refusal;
use crate::recording::note::Note;

/// A line: in which file of the recording, and which of it.
pub type Line = (usize, u64);

/// Which messages are orphans: what stands above a `diverged` record, in that history, from an offset on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Orphans {
    /// By lineage: the lines of its records in order, each with the least offset that it or a later one takes away.
    by_lineage: HashMap<usize, Vec<(Line, u64)>>,
}

impl Orphans {
    /// Whether nothing is taken away.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_lineage.is_empty()
    }

    /// Whether the message of this line is taken away by what stands below it.
    #[must_use]
    pub fn takes(&self, lineage: usize, line: Line, offset: u64) -> bool {
        let Some(records) = self.by_lineage.get(&lineage) else {
            return false;
        };
        let below = records.partition_point(|(at, _)| *at <= line);
        records.get(below).is_some_and(|(_, least)| offset >= *least)
    }

    fn add(&mut self, lineage: usize, line: Line, from: u64) {
        let records = self.by_lineage.entry(lineage).or_default();
        for (_, least) in records.iter_mut().rev() {
            if *least <= from {
                break;
            }
            *least = from;
        }
        records.push((line, from));
    }
}

/// Follows which histories go on under another name: those are one lineage.
#[derive(Debug, Default)]
pub struct Lineages {
    topics: HashMap<TopicName, Topic>,
    count: usize,
    found: Orphans,
}

#[derive(Debug, Default)]
struct Topic {
    current: Option<(Option<Epoch>, usize)>,
    known: HashMap<Option<Epoch>, usize>,
}

impl Lineages {
    /// The lineage of a message.
    pub fn on_message(&mut self, topic: &TopicName, epoch: Option<Epoch>) -> Result<usize, Refusal> {
        if let Some((current, lineage)) = self.topics.get(topic).and_then(|topic| topic.current)
            && current == epoch
        {
            return Ok(lineage);
        }
        let known = self.topics.entry(topic.clone()).or_default();
        let lineage = match known.known.get(&epoch) {
            Some(lineage) => *lineage,
            None => {
                if self.count == HISTORIES_MAX {
                    return Err(Refusal::TooManyHistories { max: HISTORIES_MAX });
                }
                self.count += 1;
                known.known.insert(epoch, self.count);
                self.count
            }
        };
        known.current = Some((epoch, lineage));
        Ok(lineage)
    }

    /// Takes what stands between messages.
    pub fn on_note(&mut self, note: &Note, line: Line) -> Result<(), Refusal> {
        match note {
            Note::Reset { topic, epoch, .. } => self.on_message(topic, *epoch).map(drop),
            Note::Continued { topic, epoch, .. } => self.go_on(topic, *epoch).map(drop),
            Note::Diverged { topic, epoch, at, .. } => {
                if let Some(lineage) = self.go_on(topic, *epoch)? {
                    self.found.add(lineage, line, at.get());
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// The orphans of all that was taken.
    #[must_use]
    pub fn finish(self) -> Orphans {
        self.found
    }

    /// Goes on under another name; gives the lineage, if there is anything above.
    fn go_on(&mut self, topic: &TopicName, epoch: Epoch) -> Result<Option<usize>, Refusal> {
        let Some(known) = self.topics.get_mut(topic) else {
            return Ok(None);
        };
        let Some((_, lineage)) = known.current else {
            return Ok(None);
        };
        if known.known.len() >= HISTORIES_MAX {
            return Err(Refusal::TooManyHistories { max: HISTORIES_MAX });
        }
        known.known.insert(Some(epoch), lineage);
        known.current = Some((Some(epoch), lineage));
        Ok(Some(lineage))
    }
}

/// As many as `verify` tells apart.
const HISTORIES_MAX: usize = 10_000;

#[cfg(test)]
mod tests {
    use lapwing_wire::position::Offset;

    use super::*;

    fn diverged(epoch: u128, at: u64) -> Note {
        Note::Diverged {
            topic: topic(),
            epoch: Epoch::from_bits(epoch),
            at: Offset::new(at),
            to: None,
        }
    }

    fn topic() -> TopicName {
        TopicName::parse("users").expect("valid")
    }

    fn on(lineages: &mut Lineages, epoch: u128) -> usize {
        let lineage = lineages.on_message(&topic(), Some(Epoch::from_bits(epoch)));
        lineage.expect("few histories")
    }

    #[test]
    fn what_stands_above_is_lost_and_what_stands_below_is_not() {
        let mut lineages = Lineages::default();
        let first = on(&mut lineages, 1);
        lineages.on_note(&diverged(2, 50), (0, 60)).expect("few");
        assert_eq!(on(&mut lineages, 2), first, "it goes on under another name");
        lineages.on_note(&diverged(3, 65), (1, 5)).expect("few");
        let orphans = lineages.finish();
        for (line, offset, expect) in [
            ((0, 10), 49, false),
            ((0, 11), 50, true),
            ((0, 59), 64, true),
            ((0, 61), 50, false),
            ((0, 61), 64, false),
            ((1, 4), 65, true),
            ((1, 6), 65, false),
        ] {
            assert_eq!(orphans.takes(first, line, offset), expect, "{line:?} {offset}");
        }
        assert!(!orphans.takes(first + 1, (0, 11), 50), "another lineage");
    }

    #[test]
    fn a_second_loss_that_goes_further_back_takes_from_both() {
        let mut lineages = Lineages::default();
        let lineage = on(&mut lineages, 1);
        lineages.on_note(&diverged(2, 50), (0, 60)).expect("few");
        lineages.on_note(&diverged(3, 40), (0, 70)).expect("few");
        let orphans = lineages.finish();
        assert!(orphans.takes(lineage, (0, 10), 45));
        assert!(!orphans.takes(lineage, (0, 10), 39));
        assert!(!orphans.takes(lineage, (0, 71), 45));
    }

    #[test]
    fn histories_have_a_limit() {
        let mut lineages = Lineages::default();
        for epoch in 0..HISTORIES_MAX as u128 {
            on(&mut lineages, epoch);
        }
        let one_more = lineages.on_message(&topic(), Some(Epoch::from_bits(u128::MAX)));
        assert_eq!(one_more, Err(Refusal::TooManyHistories { max: HISTORIES_MAX }));
        assert!(lineages.on_note(&diverged(u128::MAX, 1), (0, 1)).is_err());
        assert!(
            Lineages::default().on_note(&diverged(2, 1), (0, 1)).is_ok(),
            "nothing stands above"
        );
    }
}
