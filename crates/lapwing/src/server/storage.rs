//! The logs of a server's topics: in memory, or over the files of a data directory.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use lapwing_wire::control::Level;
use lapwing_wire::escape::escaped;
use lapwing_wire::position::Epoch;
use lapwing_wire::topic::TopicName;
use thiserror::Error;

use super::common::Common;
use super::event::Event;
use crate::clock::Now;
use crate::config::StorageSpec;
use crate::log::committer::{Committer, OnTrouble};
use crate::log::retention::Retention;
use crate::log::store::{self, DataDir, DataDirError, Notice, OpenError, StoreOptions, StoreWriter};
use crate::log::{AppendError, Log};
use crate::source::spec::TopicSpec;

/// Every topic's log, opened; nothing is written before [`Storage::start`].
pub struct Storage {
    topics: Vec<(TopicSpec, Arc<Log>)>,
    writers: Vec<(Arc<Log>, StoreWriter)>,
    notices: Vec<(TopicName, String)>,
    data: Option<DataDir>,
}

impl Storage {
    /// Opens the files of durable topics, as far as there is a directory, and begins the others empty.
    pub fn open(spec: Option<&StorageSpec>, topics: Vec<TopicSpec>) -> Result<Self, StorageError> {
        let data = spec.map(|spec| DataDir::open(&spec.data)).transpose()?;
        let default = spec.map_or(Level::None, |spec| spec.level);
        let mut storage = Self {
            topics: Vec::with_capacity(topics.len()),
            writers: Vec::new(),
            notices: Vec::new(),
            data,
        };
        storage.find_others(&topics, default);
        for topic in topics {
            let level = topic.source.keep.level(default);
            let retention = topic.source.keep.retention(level);
            let log = match level {
                // Copies are opened by what they are copies of.
                Level::None | Level::External => {
                    Arc::new(Log::new(topic.name.clone(), random_epoch(), retention).with_lag(topic.source.on_lag))
                }
                Level::Os => storage.open_durable(&topic, store::Level::Os, retention)?,
                Level::Fsync => storage.open_durable(&topic, store::Level::Fsync, retention)?,
            };
            storage.topics.push((topic, log));
        }
        Ok(storage)
    }

    /// Topics that are copies of streams elsewhere: nothing is written here.
    #[must_use]
    pub fn of_copies(topics: Vec<(TopicSpec, Arc<Log>)>) -> Self {
        Self {
            topics,
            writers: Vec::new(),
            notices: Vec::new(),
            data: None,
        }
    }

    /// Notes the topics that have files and are not served from them.
    fn find_others(&mut self, topics: &[TopicSpec], default: Level) {
        let Some(data) = &self.data else { return };
        let durable = |topic: &&TopicSpec| topic.source.keep.level(default) != Level::None;
        let known: Vec<_> = topics.iter().filter(durable).map(|topic| topic.name.clone()).collect();
        let others = data.other_topics(&known);
        let more = others.len().saturating_sub(OTHERS_TOLD_MAX);
        for (at, topic) in others.into_iter().take(OTHERS_TOLD_MAX).enumerate() {
            let mut text = match topics.iter().any(|served| served.name == topic) {
                true => "is served from memory; its files in the data directory are left as they are".to_owned(),
                false => format!("has files in the data directory and is not served; --topic {topic}=push serves them"),
            };
            if at + 1 == OTHERS_TOLD_MAX && more > 0 {
                text += &format!("; {more} more topics have files too");
            }
            self.notices.push((topic, text));
        }
    }

    fn open_durable(
        &mut self,
        spec: &TopicSpec,
        level: store::Level,
        retention: Retention,
    ) -> Result<Arc<Log>, StorageError> {
        let topic = &spec.name;
        let data = self
            .data
            .as_ref()
            .ok_or_else(|| StorageError::NoDirectory { topic: topic.clone() })?;
        let options = StoreOptions {
            level,
            bytes: retention.bytes,
            // What is held for its readers does not age.
            age: (retention.age < Duration::MAX && !spec.source.holds()).then_some(retention.age),
        };
        let opened = data
            .topic(topic, options, random_epoch(), Now::read())
            .map_err(StorageError::Topic)?;
        self.notices.extend(opened.notices.iter().map(told));
        let closed = opened.read_only.map(|found| AppendError::ReadOnly {
            why: found.notice.text(),
        });
        if closed.is_some() {
            let text = "is read-only: what it has can be read, and nothing is taken".to_owned();
            self.notices.push((topic.clone(), text));
        }
        let tail = Retention {
            bytes: Retention::TAIL.bytes.min(retention.bytes),
            ..Retention::TAIL
        };
        let log = Log::durable(topic.clone(), opened.store, opened.retries, closed, tail);
        let log = Arc::new(log.with_lag(spec.source.on_lag));
        self.writers.push((log.clone(), opened.writer));
        Ok(log)
    }

    /// Takes the topics with their logs.
    pub fn take_topics(&mut self) -> Vec<(TopicSpec, Arc<Log>)> {
        std::mem::take(&mut self.topics)
    }

    /// Starts what writes, and tells what was found when the files were opened.
    pub fn start(self, common: &Arc<Common>) -> io::Result<Keeping> {
        for (topic, text) in self.notices {
            count_finding(common, &topic);
            common.tell(Event::Storage { topic, text });
        }
        let committer = |(log, writer): (Arc<Log>, StoreWriter)| {
            let events = Trouble {
                common: common.clone(),
                topic: log.topic().clone(),
                told: None,
            };
            Committer::start(log, writer, events)
        };
        let committers = self.writers.into_iter().map(committer).collect::<io::Result<_>>()?;
        Ok(Keeping {
            committers,
            data: self.data,
        })
    }
}

/// Tells what readers of files, and those who delete them, have found since the last time.
pub fn tell_findings(common: &Common) {
    let stores = common.topics.iter().filter_map(|topic| topic.log.store());
    for (topic, text) in stores
        .flat_map(|store| store.take_notices())
        .map(|notice| told(&notice))
    {
        count_finding(common, &topic);
        common.tell(Event::Storage { topic, text });
    }
}

/// Of a topic that is not served only the console tells.
fn count_finding(common: &Common, topic: &TopicName) {
    if let Some(topic) = common.topics.find(topic) {
        common.counts.of(topic.id).findings.fetch_add(1, Ordering::Relaxed);
    }
}

/// A finding and what to do about it.
fn told(notice: &Notice) -> (TopicName, String) {
    let text = match notice.finding.advice() {
        Some(advice) => format!("{}; {advice}", notice.text()),
        None => notice.text(),
    };
    (notice.topic.clone(), escaped(&text))
}

/// Durable topics that are being written.
pub struct Keeping {
    committers: Vec<Committer>,
    data: Option<DataDir>,
}

impl Keeping {
    /// Writes what waits, marks every topic as cleanly closed, and lets go of the directory. A disk that does not answer is
    /// waited for no longer than 30 s: the next start finds the topics as after a crash.
    pub async fn stop(self) {
        let stop = tokio::task::spawn_blocking(move || {
            self.committers.iter().for_each(Committer::begin_stop);
            self.committers.into_iter().for_each(Committer::stop);
            drop(self.data);
        });
        // A committer that panicked is looked after at the next start, too.
        let _ = tokio::time::timeout(CLOSE_MAX, stop).await;
    }
}

/// Tells on the console what a committer could not keep.
struct Trouble {
    common: Arc<Common>,
    topic: TopicName,
    /// When it was last told: a full disk is refused many times a second.
    told: Option<Now>,
}

impl OnTrouble for Trouble {
    fn on_trouble(&mut self, error: &AppendError, now: Now) {
        if let Some(topic) = self.common.topics.find(&self.topic) {
            self.common.counts.of(topic.id).on_failure();
        }
        let since = |told: Now| Duration::from_nanos(now.mono.saturating_sub(told.mono));
        if self.told.is_none_or(|told| since(told) >= TROUBLE_INTERVAL) {
            self.told = Some(now);
            self.common.tell(Event::Storage {
                topic: self.topic.clone(),
                text: error.to_string(),
            });
        }
    }

    fn on_recovered(&mut self) {
        if self.told.take().is_some() {
            if let Some(topic) = self.common.topics.find(&self.topic) {
                self.common.counts.of(topic.id).on_recovered();
            }
            self.common.tell(Event::Storage {
                topic: self.topic.clone(),
                text: "messages are kept again".to_owned(),
            });
        }
    }
}

/// Why a server's storage could not be opened.
#[derive(Debug, Error)]
pub enum StorageError {
    /// The directory itself.
    #[error(transparent)]
    Directory(#[from] DataDirError),
    /// A durable topic without a directory.
    #[error("topic {topic} is to be durable and there is no data directory")]
    NoDirectory {
        /// The topic.
        topic: TopicName,
    },
    /// A topic in it.
    #[error(transparent)]
    Topic(OpenError),
}

/// A name for a history, never drawn twice.
pub(super) fn random_epoch() -> Epoch {
    #[cfg(feature = "planted")]
    if crate::planted::is(crate::planted::Bug::EpochKept) {
        return Epoch::from_bits(1);
    }
    Epoch::from_bits(u128::from(crate::random::word()) << 64 | u128::from(crate::random::word()))
}

/// Far longer than a slow disk takes for what may wait to be written.
const CLOSE_MAX: Duration = Duration::from_secs(30);
/// A disk that stays full is told of this often.
const TROUBLE_INTERVAL: Duration = Duration::from_secs(10);
/// Topics that are not served are named up to so many: a start shall not scroll away.
const OTHERS_TOLD_MAX: usize = 20;
