//! The histories of a stream, which all servers agree about: where it lost its tail, a new one begins.
//!
//! They stand in a key-value bucket, a record for each topic, and change only by compare-and-set: whoever finds first that a stream
//! came back shorter says so, and the others take it over.

use async_nats::jetstream::kv::{self, CreateErrorKind, Store, UpdateErrorKind};
use async_nats::jetstream::stream::StorageType;
use lapwing_wire::position::{Epoch, Offset};
use lapwing_wire::topic::TopicName;
use serde::{Deserialize, Serialize};

use super::bucket;
use super::link::Link;
use super::stream::Identity;
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
    pub async fn of(link: &Link, topic: &TopicName, stream: &Identity) -> Result<Self, String> {
        let store = bucket(link).await?;
        loop {
            let entry = store.entry(topic.as_str()).await.map_err(|error| error.to_string())?;
            let known = entry.as_ref().filter(|entry| entry.operation == kv::Operation::Put);
            let record = known.and_then(|entry| serde_json::from_slice::<Record>(&entry.value).ok());
            if let (Some(entry), Some(record)) = (&entry, record)
                && record.stream == stream.text()
            {
                let revision = entry.revision;
                return Ok(Self { record, revision });
            }
            let record = Record {
                stream: stream.text(),
                breaks: 0,
                cuts: Vec::new(),
            };
            if let Some(history) = put(&store, topic, record, known.map(|entry| entry.revision)).await? {
                return Ok(history);
            }
        }
    }

    /// The stream has lost messages. Gives what is agreed about then: when another server has found it too, what that said.
    pub async fn lost(&self, link: &Link, topic: &TopicName, loss: Loss) -> Result<Option<Self>, String> {
        let mut record = self.record.clone();
        let behind_the_last = |at: Offset| record.cuts.last().is_none_or(|last| *last <= at);
        match loss {
            Loss::From(at) if behind_the_last(at) && record.cuts.len() + 1 < EPOCHS_MAX => record.cuts.push(at),
            Loss::From(_) | Loss::Unknown => {
                record.breaks += 1;
                record.cuts.clear();
            }
        }
        put(&bucket(link).await?, topic, record, Some(self.revision)).await
    }
}

/// Writes a record in place of that with this revision; none when somebody else was quicker.
async fn put(
    store: &Store,
    topic: &TopicName,
    record: Record,
    revision: Option<u64>,
) -> Result<Option<History>, String> {
    let text = serde_json::to_vec(&record).expect("every field has a form in JSON");
    let put = match revision {
        None => match store.create(topic.as_str(), text.into()).await {
            Err(error) if error.kind() == CreateErrorKind::AlreadyExists => return Ok(None),
            created => created.map_err(|error| error.to_string()),
        },
        Some(revision) => match store.update(topic.as_str(), text.into(), revision).await {
            Err(error) if error.kind() == UpdateErrorKind::WrongLastRevision => return Ok(None),
            updated => updated.map_err(|error| error.to_string()),
        },
    };
    put.map(|revision| Some(History { record, revision }))
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

    fn history(breaks: u32, cuts: &[u64]) -> Lineage {
        let record = Record {
            stream: "lapwing_arrays 17 C".to_owned(),
            breaks,
            cuts: cuts.iter().map(|&at| Offset::new(at)).collect(),
        };
        History { record, revision: 1 }.lineage()
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
}
