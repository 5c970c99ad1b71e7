//! The topics of a server: fixed at start, each with its log.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use lapwing_wire::array::ArrayWriter;
use lapwing_wire::query::Encoding;
use lapwing_wire::topic::TopicName;
use tokio::sync::Notify;

use super::reporter::Crowd;
use crate::log::{Grant, Log};
use crate::session::Cursor;
use crate::source::spec::{Feed, TopicSpec};

/// A topic's place in the list: what a session's cursor names.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
pub struct TopicId(pub u32);

/// One topic that runs.
pub struct Topic {
    /// Its place.
    pub id: TopicId,
    /// What was asked of it.
    pub config: TopicSpec,
    /// Its messages.
    pub log: Arc<Log>,
    /// Offsets that clients were told they will not get, over all clients so far.
    pub missed: AtomicU64,
    /// The clients that report it.
    pub crowd: Arc<Crowd>,
    /// Told when a publish is taken that others may have to come after.
    pub published: Notify,
}

impl Topic {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &TopicName {
        &self.config.name
    }

    /// A cursor where it was granted, with its arrays in this form.
    #[must_use]
    pub fn cursor(&self, grant: &Grant, encoding: Encoding) -> Cursor {
        let cursor = Cursor::new(self.id.0, grant);
        match encoding {
            Encoding::Binary if self.log.arrays().is_some() => cursor.with_arrays(),
            Encoding::Binary | Encoding::Json => cursor,
        }
    }

    /// Whether publishers fill it.
    #[must_use]
    pub fn takes_pushes(&self) -> bool {
        self.config.source.feed == Feed::Push
    }
}

/// All topics, in the order in which they were asked for; then the server's own.
pub struct Topics(Vec<Topic>);

impl Topics {
    /// These topics, and those of the server's own; each has its place.
    #[must_use]
    pub fn new(mut topics: Vec<(TopicSpec, Arc<Log>)>, own: Vec<(TopicSpec, Arc<Log>)>) -> Self {
        topics.extend(own);
        let topic = |(at, (config, log)): (usize, (TopicSpec, Arc<Log>))| {
            let number = u32::try_from(at).expect("the number of topics is bounded");
            if let Some(dtype) = config.source.dtype {
                log.on_arrays(ArrayWriter::new(config.name.clone(), number, dtype));
            }
            Topic {
                id: TopicId(number),
                log,
                missed: AtomicU64::new(0),
                crowd: Arc::default(),
                published: Notify::new(),
                config,
            }
        };
        Self(topics.into_iter().enumerate().map(topic).collect())
    }

    /// Those that were asked for: what a client gets that names none.
    pub fn public(&self) -> impl Iterator<Item = &Topic> {
        self.0.iter().filter(|topic| !topic.name().is_reserved())
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Topic> {
        self.0.iter()
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The one at this place.
    #[must_use]
    pub fn get(&self, id: TopicId) -> &Topic {
        &self.0[id.0 as usize]
    }

    /// The one of this name.
    #[must_use]
    pub fn find(&self, name: &TopicName) -> Option<&Topic> {
        self.0.iter().find(|topic| topic.name() == name)
    }

    /// The names of those that somebody may know of, in words: `there are users, arrays`; of very many the first.
    #[must_use]
    pub fn there_are(&self, may: impl Fn(&TopicName) -> bool) -> String {
        let known = || self.public().map(Topic::name).filter(|name| may(name));
        let count = known().count();
        if count == 0 {
            return "there is none for this token".to_owned();
        }
        let names: Vec<_> = known().take(NAMED_MAX).map(TopicName::as_str).collect();
        let more = count - names.len();
        let more = if more == 0 {
            String::new()
        } else {
            format!(" and {more} more")
        };
        let are = if count == 1 { "is" } else { "are" };
        format!("there {are} {}{more}", names.join(", "))
    }
}

/// A sentence is no list.
const NAMED_MAX: usize = 20;
