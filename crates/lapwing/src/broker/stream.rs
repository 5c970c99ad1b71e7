//! A topic's stream: its name, what is asked of it, and what it is.

use std::fmt::Debug;
use std::time::Duration;

use async_nats::jetstream::ErrorCode;
use async_nats::jetstream::context::{CreateStreamErrorKind, GetStreamErrorKind};
use async_nats::jetstream::stream::{Config, DiscardPolicy, Info, RetentionPolicy, StorageType};
use lapwing_wire::control::Level;
use lapwing_wire::topic::TopicName;

use super::BrokerError;
use super::link::Link;
use crate::source::spec::{StreamStorage, TopicSpec};

/// What a topic asks of its stream.
#[derive(Clone, Debug)]
pub struct StreamSpec {
    /// The topic.
    pub topic: TopicName,
    /// The stream.
    pub name: String,
    /// Where its messages are published.
    pub subject: String,
    config: Config,
}

impl StreamSpec {
    /// What this topic asks for.
    #[must_use]
    pub fn new(link: &Link, topic: &TopicSpec) -> Self {
        let (name, subject) = (
            format!("{}_{}", link.prefix, topic.name),
            format!("{}.{}", link.prefix, topic.name),
        );
        let keep = topic.source.keep;
        let retention = keep.retention(Level::External);
        let config = Config {
            name: name.clone(),
            subjects: vec![subject.clone()],
            description: Some(format!("topic {} of Lapwing", topic.name)),
            retention: RetentionPolicy::Limits,
            discard: DiscardPolicy::Old,
            max_bytes: i64::try_from(retention.bytes).unwrap_or(i64::MAX),
            // Nanoseconds in 64 bits there; no limit is 0.
            max_age: match retention.age {
                Duration::MAX => Duration::ZERO,
                age => age,
            },
            num_replicas: usize::from(keep.replicas.unwrap_or(1)),
            storage: match keep.storage {
                Some(StreamStorage::Memory) => StorageType::Memory,
                Some(StreamStorage::File) | None => StorageType::File,
            },
            duplicate_window: DUPLICATE_WINDOW.min(match retention.age {
                Duration::MAX => DUPLICATE_WINDOW,
                age => age,
            }),
            allow_direct: true,
            allow_atomic_publish: true,
            ..Config::default()
        };
        Self {
            topic: topic.name.clone(),
            name,
            subject,
            config,
        }
    }

    /// What the stream is now; none when there is none.
    pub async fn look(&self, link: &Link) -> Result<Option<Info>, String> {
        match link.context.get_stream(&self.name).await {
            Ok(stream) => Ok(Some(stream.cached_info().clone())),
            Err(error) => match error.kind() {
                GetStreamErrorKind::JetStream(error) if error.error_code() == ErrorCode::STREAM_NOT_FOUND => Ok(None),
                _ => Err(error.to_string()),
            },
        }
    }

    /// What the stream is; it is made where there is none.
    pub async fn look_or_make(&self, link: &Link) -> Result<Info, MakeError> {
        match self.look(link).await.map_err(MakeError::Later)? {
            Some(info) => Ok(info),
            None => self.make(link).await,
        }
    }

    async fn make(&self, link: &Link) -> Result<Info, MakeError> {
        match link.context.create_stream(self.config.clone()).await {
            Ok(stream) => Ok(stream.cached_info().clone()),
            Err(error) => Err(match error.kind() {
                CreateStreamErrorKind::TimedOut | CreateStreamErrorKind::JetStreamUnavailable => {
                    MakeError::Later(error.to_string())
                }
                CreateStreamErrorKind::JetStream(error)
                    // Several servers begin at once.
                    if error.error_code() == ErrorCode::STREAM_NAME_EXIST || error.code() == 503 =>
                {
                    MakeError::Later(error.to_string())
                }
                _ => MakeError::Refused(error.to_string()),
            }),
        }
    }

    /// Whether a stream that is there is what the topic asks for. One that is adopted keeps its limits, and is only given what the
    /// copying and publishing need.
    pub async fn check(&self, link: &Link, info: &Info) -> Result<(), BrokerError> {
        let (wanted, found) = (&self.config, &info.config);
        let differences = differences(wanted, found);
        if !differences.is_empty() && !link.adopt {
            return Err(BrokerError::Usage {
                what: format!(
                    "stream {} is there already, and differs from what topic {} asks for: {}",
                    self.name,
                    self.topic,
                    differences.join("; ")
                ),
                hint: format!(
                    "change the topic's settings, choose another --broker-prefix, or take it as it is with --adopt; `nats stream info {}` shows it",
                    self.name
                ),
            });
        }
        if !found.subjects.contains(&self.subject) {
            return Err(BrokerError::Usage {
                what: format!(
                    "stream {} does not hold the subject {}, where messages of topic {} are published",
                    self.name, self.subject, self.topic
                ),
                hint: "add the subject to the stream, or choose another --broker-prefix".to_owned(),
            });
        }
        if found.allow_direct && found.allow_atomic_publish {
            return Ok(());
        }
        let config = Config {
            allow_direct: true,
            allow_atomic_publish: true,
            ..found.clone()
        };
        let updated = link.context.update_stream(config).await;
        updated.map(drop).map_err(|error| BrokerError::Refused {
            what: format!(
                "stream {} cannot be given direct gets and atomic publishes: {error}",
                self.name
            ),
        })
    }
}

/// Why there is no stream yet.
#[derive(Debug)]
pub enum MakeError {
    /// It may be made soon.
    Later(String),
    /// It will not.
    Refused(String),
}

/// What of a stream is not as a topic asks, in words.
fn differences(wanted: &Config, found: &Config) -> Vec<String> {
    let compared: [(&str, &dyn Debug, &dyn Debug); 7] = [
        ("max_bytes", &wanted.max_bytes, &found.max_bytes),
        ("max_age", &wanted.max_age, &found.max_age),
        ("replicas", &wanted.num_replicas, &found.num_replicas),
        ("storage", &wanted.storage, &found.storage),
        ("subjects", &wanted.subjects, &found.subjects),
        ("retention", &wanted.retention, &found.retention),
        ("discard", &wanted.discard, &found.discard),
    ];
    let texts = compared.map(|(what, wanted, found)| (what, format!("{wanted:?}"), format!("{found:?}")));
    let differ = texts.iter().filter(|(_, wanted, found)| wanted != found);
    differ
        .map(|(what, wanted, found)| format!("{what} is {found}, not {wanted}"))
        .collect()
}

/// What makes one stream another than all that had its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    name: String,
    /// Nanoseconds since 1970.
    created: i128,
    cluster: String,
}

impl Identity {
    /// Of a stream.
    #[must_use]
    pub fn of(info: &Info) -> Self {
        Self {
            name: info.config.name.clone(),
            created: info.created.unix_timestamp_nanos(),
            cluster: info
                .cluster
                .as_ref()
                .and_then(|cluster| cluster.name.clone())
                .unwrap_or_default(),
        }
    }

    /// In one line.
    #[must_use]
    pub fn text(&self) -> String {
        format!("{} {} {}", self.name, self.created, self.cluster)
    }
}

/// The default of JetStream: a publisher that tries again for longer may publish twice.
pub const DUPLICATE_WINDOW: Duration = Duration::from_secs(120);
