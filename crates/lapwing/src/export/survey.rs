//! What a recording holds, as far as it decides how it is exported: the first reading.

use std::collections::HashMap;

use lapwing_wire::position::Epoch;
use lapwing_wire::topic::TopicName;

use super::leaf::leaves;
use super::orphans::Orphans;
use super::passage::{Passage, Row};
use super::profile::Profile;
use super::refusal::Refusal;
use crate::recording::proof::Proven;

/// What a recording holds.
pub struct Survey {
    /// Its topics, in the order in which they begin.
    pub topics: Vec<Topic>,
    /// What is wrong with it.
    pub proven: Proven,
    /// What the server has lost of it.
    pub orphans: Orphans,
    /// How far its files were read.
    pub ends: Vec<u64>,
}

/// One topic of a recording.
pub struct Topic {
    /// Its name.
    pub name: TopicName,
    /// Its messages, each once.
    pub rows: u64,
    /// The checksums of their lines, summed up.
    pub digest: u32,
    /// The first and the last offset that it has.
    pub offsets: Option<(u64, u64)>,
    /// Of how many histories it has messages.
    pub histories: usize,
    /// Its columns, in the order in which they are first met.
    pub columns: Vec<(String, Profile)>,
    by_name: HashMap<String, usize>,
    /// In which row each column was last, counted from 1.
    seen: Vec<u64>,
    epochs: Vec<Option<Epoch>>,
}

impl Survey {
    /// Reads a recording to its end, twice where the server has lost some of it; `again` is told before the second time.
    ///
    /// Without `wanted` every topic counts. It holds what the columns have in common, no message.
    pub fn of(
        passage: &Passage<'_>,
        wanted: &dyn Fn(&[u8]) -> bool,
        columns_max: usize,
        again: &dyn Fn(),
    ) -> Result<Self, Refusal> {
        let first = Self::without(passage, &Orphans::default(), None, wanted, columns_max)?;
        if first.orphans.is_empty() {
            return Ok(first);
        }
        again();
        let second = Self::without(passage, &first.orphans, Some(&first.ends), wanted, columns_max)?;
        match second.orphans == first.orphans && second.ends == first.ends {
            true => Ok(Self {
                proven: first.proven,
                ..second
            }),
            false => Err(Refusal::Changed),
        }
    }

    fn without(
        passage: &Passage<'_>,
        orphans: &Orphans,
        ends: Option<&[u64]>,
        wanted: &dyn Fn(&[u8]) -> bool,
        columns_max: usize,
    ) -> Result<Self, Refusal> {
        let mut topics: Vec<Topic> = Vec::new();
        let mut recent = 0;
        let passed = passage.read(ends, orphans, wanted, &mut |row| {
            let name = &row.message.topic;
            if topics.get(recent).is_none_or(|topic| topic.name != *name) {
                recent = match topics.iter().position(|topic| topic.name == *name) {
                    Some(at) => at,
                    None => {
                        topics.push(Topic::new(name.clone()));
                        topics.len() - 1
                    }
                };
            }
            topics[recent].take(&row, columns_max)
        })?;
        Ok(Self {
            topics,
            proven: passed.proven,
            orphans: passed.orphans,
            ends: passed.ends,
        })
    }
}

impl Topic {
    fn new(name: TopicName) -> Self {
        Self {
            name,
            rows: 0,
            digest: 0,
            offsets: None,
            histories: 0,
            columns: Vec::new(),
            by_name: HashMap::new(),
            seen: Vec::new(),
            epochs: Vec::new(),
        }
    }

    /// Which column has this name.
    #[must_use]
    pub fn column(&self, name: &str) -> Option<usize> {
        self.by_name.get(name).copied()
    }

    fn take(&mut self, row: &Row<'_>, columns_max: usize) -> Result<(), Refusal> {
        self.rows += 1;
        self.digest = crc32c::crc32c_append(self.digest, row.seal);
        if let Some(offset) = row.message.offset {
            let first = self.offsets.map_or(offset.get(), |(first, _)| first);
            self.offsets = Some((first, offset.get()));
        }
        if self.epochs.last() != Some(&row.message.epoch) && !self.epochs.contains(&row.message.epoch) {
            self.epochs.push(row.message.epoch);
            self.histories += 1;
        }
        let mut count = 0;
        leaves(row.message, row.at, &mut |name, leaf| {
            let at = match self.by_name.get(name) {
                Some(at) => *at,
                None => self.begin(name, row, columns_max)?,
            };
            if self.seen[at] == self.rows {
                return Err(Refusal::Twice {
                    topic: self.name.to_string(),
                    name: name.to_owned(),
                    at: row.at,
                });
            }
            self.seen[at] = self.rows;
            self.columns[at].1.take(&leaf, row.at);
            count += 1;
            Ok(())
        })?;
        if count < self.columns.len() {
            let missing = self
                .seen
                .iter()
                .zip(&mut self.columns)
                .filter(|(seen, _)| **seen < self.rows);
            missing.for_each(|(_, (_, profile))| profile.misses(row.at));
        }
        Ok(())
    }

    fn begin(&mut self, name: &str, row: &Row<'_>, columns_max: usize) -> Result<usize, Refusal> {
        if self.columns.len() == columns_max {
            return Err(Refusal::TooManyColumns {
                topic: self.name.to_string(),
                max: columns_max,
                name: name.to_owned(),
                at: row.at,
            });
        }
        let mut profile = Profile::default();
        if self.rows > 1 {
            // The first message had none; by its offset it is known only where there are offsets.
            profile.absent = Some(match self.offsets {
                Some((first, _)) => super::at::At::Offset(first),
                None => super::at::At::Row(0),
            });
        }
        self.columns.push((name.to_owned(), profile));
        self.seen.push(0);
        let at = self.columns.len() - 1;
        self.by_name.insert(name.to_owned(), at);
        Ok(at)
    }
}
