//! The histories of a stream, which all servers agree about: where it lost its tail, a new one begins.
//!
//! They stand in a key-value bucket, a record for each topic, and change only by compare-and-set: whoever finds first that a stream
//! came back shorter says so, and the others take it over.

use async_nats::jetstream::kv::{self, Store, UpdateErrorKind};
use async_nats::jetstream::stream::StorageType;
use lapwing_wire::position::{Epoch, Offset};
use lapwing_wire::topic::TopicName;
use serde::{Deserialize, Serialize};

use super::link::Link;
use super::stream::Identity;
use super::{bucket, leader};
use crate::log::lineage::{EPOCHS_MAX, Lineage};

/// The record of one topic.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Record {
    /// Which stream it is of.
    stream: String,
    /// How often nothing could be said of where it lost messages.
    #[serde(default)]
    breaks: u32,
    /// The offsets at which it lost all that was behind them, since then.
    #[serde(default)]
    cuts: Vec<Offset>,
}

/// A topic's histories, as they were agreed about last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct History {
    record: Record,
    revision: u64,
}

/// What became of a stream that is not what it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// All at this offset and behind it was lost.
    From(Offset),
    /// Nobody can say from where on.
    Unknown,
}

impl History {
    /// Its epochs, oldest first.
    #[must_use]
    pub fn lineage(&self) -> Lineage {
        let epoch = |nth: usize| {
            let mut hash = sha1_smol::Sha1::new();
            hash.update(format!("{} {} {nth}", self.record.stream, self.record.breaks).as_bytes());
            let digest = hash.digest().bytes();
            Epoch::from_bits(u128::from_be_bytes(
                *digest.first_chunk().expect("a digest has 20 bytes"),
            ))
        };
        let begins = std::iter::once(Offset::ZERO).chain(self.record.cuts.iter().copied());
        let epochs = begins.enumerate().map(|(nth, begin)| (epoch(nth), begin)).collect();
        Lineage::from_epochs(epochs).unwrap_or_else(|| Lineage::new(epoch(self.record.cuts.len())))
    }

    /// What was agreed about this stream; a stream that nobody knew begins its first history.
    ///
    /// What this server `knew` before is not gone back from: the bucket may have lost its end as any stream may, and one offset would
    /// stand for two messages in the same history.
    pub async fn of(link: &Link, topic: &TopicName, stream: &Identity, knew: Option<&Self>) -> Result<Self, String> {
        let store = bucket(link).await?;
        loop {
            let (found, revision) = read(link, &store, topic).await?;
            let record = match settled(found, knew.map(|knew| &knew.record), &stream.text()) {
                Settled::Stands(record) => return Ok(Self { record, revision }),
                Settled::Due(record) => record,
            };
            if let Some(history) = put(&store, topic, record, revision).await? {
                return Ok(history);
            }
        }
    }

    /// Whether this is what stands there.
    pub async fn stands(&self, link: &Link, topic: &TopicName) -> Result<bool, String> {
        let (found, _) = read(link, &bucket(link).await?, topic).await?;
        Ok(found.as_ref() == Some(&self.record))
    }

    /// The stream has lost messages. Gives what is agreed about then: when another server has found it too, what that said.
    pub async fn lost(&self, link: &Link, topic: &TopicName, loss: Loss) -> Result<Option<Self>, String> {
        let mut record = self.record.clone();
        let behind_the_last = |at: Offset| record.cuts.last().is_none_or(|last| *last <= at);
        match loss {
            Loss::From(at) if behind_the_last(at) && record.cuts.len() + 1 < EPOCHS_MAX => record.cuts.push(at),
            Loss::From(_) | Loss::Unknown => {
                record.breaks = record.breaks.saturating_add(1);
                record.cuts.clear();
            }
        }
        put(&bucket(link).await?, topic, record, self.revision).await
    }
}

impl Record {
    /// Whether this is `before`, or what became of it.
    fn goes_on_from(&self, before: &Self) -> bool {
        self.breaks > before.breaks || (self.breaks == before.breaks && self.cuts.starts_with(&before.cuts))
    }
}

/// What follows from the record that was found.
#[derive(Debug, PartialEq, Eq)]
enum Settled {
    /// It is as it should be.
    Stands(Record),
    /// This one is to stand there.
    Due(Record),
}

fn settled(found: Option<Record>, knew: Option<&Record>, stream: &str) -> Settled {
    let found = found.filter(|record| record.stream == stream);
    let knew = knew.filter(|record| record.stream == stream);
    match (found, knew) {
        // Nobody can say what was agreed about in between.
        (Some(found), Some(knew)) if !found.goes_on_from(knew) => Settled::Due(Record {
            breaks: found.breaks.max(knew.breaks).saturating_add(1),
            cuts: Vec::new(),
            ..found
        }),
        (Some(found), _) => Settled::Stands(found),
        (None, Some(knew)) => Settled::Due(knew.clone()),
        (None, None) => Settled::Due(Record {
            stream: stream.to_owned(),
            breaks: 0,
            cuts: Vec::new(),
        }),
    }
}

/// The record of a topic and its revision, 0 where nothing stands there. Of the leader: with a replica that is behind, every record would
/// seem to have gone back.
async fn read(link: &Link, store: &Store, topic: &TopicName) -> Result<(Option<Record>, u64), String> {
    let subject = format!("{}{topic}", store.prefix);
    let newest = leader::newest(link, &store.stream_name, &subject).await?;
    let newest = newest.map(|stored| stored.message);
    let revision = newest.as_ref().map_or(0, |message| message.sequence);
    let record = newest.and_then(|message| serde_json::from_slice(&message.payload).ok());
    Ok((record, revision))
}

/// Writes a record in place of that with this revision, 0 where there is none; none when somebody else was quicker.
async fn put(store: &Store, topic: &TopicName, record: Record, revision: u64) -> Result<Option<History>, String> {
    let text = serde_json::to_vec(&record).expect("every field has a form in JSON");
    match store.update(topic.as_str(), text.into(), revision).await {
        Ok(revision) => Ok(Some(History { record, revision })),
        Err(error) if error.kind() == UpdateErrorKind::WrongLastRevision => Ok(None),
        Err(error) => Err(error.to_string()),
    }
}

async fn bucket(link: &Link) -> Result<Store, String> {
    let settings = kv::Config {
        description: "where the streams of Lapwing's topics lost messages".to_owned(),
        storage: StorageType::File,
        ..kv::Config::default()
    };
    bucket::open(link, "histories", settings).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::lineage::Resume;

    fn record(breaks: u32, cuts: &[u64]) -> Record {
        Record {
            stream: STREAM.to_owned(),
            breaks,
            cuts: cuts.iter().map(|&at| Offset::new(at)).collect(),
        }
    }

    fn history(breaks: u32, cuts: &[u64]) -> Lineage {
        let record = record(breaks, cuts);
        History { record, revision: 1 }.lineage()
    }

    #[test]
    fn a_record_that_is_there_stands_unless_it_goes_back() {
        let check = |found: Record, knew: Record, due: Option<Record>| {
            let settled = settled(Some(found.clone()), Some(&knew), STREAM);
            let expect = due.map_or(Settled::Stands(found), Settled::Due);
            assert_eq!(settled, expect, "{knew:?}");
        };
        check(record(0, &[5]), record(0, &[5]), None);
        check(record(0, &[5, 9]), record(0, &[5]), None);
        check(record(1, &[]), record(0, &[5]), None);
        check(record(0, &[]), record(0, &[5]), Some(record(1, &[])));
        check(record(0, &[4, 9]), record(0, &[5]), Some(record(1, &[])));
        check(record(1, &[7]), record(3, &[]), Some(record(4, &[])));
        // As nobody but a stranger would write it.
        check(record(0, &[]), record(u32::MAX, &[]), Some(record(u32::MAX, &[])));
    }

    #[test]
    fn a_record_that_is_gone_is_what_is_known_of_it() {
        let of_another = || Record {
            stream: "lapwing_arrays 16 C".to_owned(),
            ..record(2, &[])
        };
        for found in [None, Some(of_another())] {
            assert_eq!(
                settled(found.clone(), Some(&record(1, &[5])), STREAM),
                Settled::Due(record(1, &[5]))
            );
            for knew in [None, Some(of_another())] {
                assert_eq!(
                    settled(found.clone(), knew.as_ref(), STREAM),
                    Settled::Due(record(0, &[]))
                );
            }
        }
    }

    #[test]
    fn every_server_derives_the_same_epochs() {
        assert_eq!(history(0, &[5]).epochs(), history(0, &[5]).epochs());
        assert_ne!(history(0, &[]).current(), history(1, &[]).current());
        assert_ne!(history(0, &[]).current(), history(0, &[5]).current());
    }

    #[test]
    fn whoever_has_what_was_lost_is_told_from_where_on() {
        let before = history(0, &[]).current();
        let at = |offset| history(0, &[100]).answer(before, Offset::new(offset), Offset::ZERO, Offset::new(120));
        assert_eq!(at(100), Resume::Ok { from: Offset::new(100) });
        let diverged = Resume::Diverged {
            at: Offset::new(100),
            from: Offset::new(100),
        };
        assert_eq!(at(110), diverged);
        let reset = Resume::Reset { from: Offset::ZERO };
        assert_eq!(
            history(1, &[]).answer(before, Offset::new(1), Offset::ZERO, Offset::new(120)),
            reset
        );
    }

    const STREAM: &str = "lapwing_arrays 17 C";
}
