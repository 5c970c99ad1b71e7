//! The connection to NATS: one for all topics, which comes back by itself.

use std::collections::BTreeSet;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_nats::connection::State;
use async_nats::jetstream::{self, Context};
use async_nats::{Client, ConnectErrorKind, ConnectOptions, ServerAddr};
use lapwing_wire::topic::TopicName;

use super::{BrokerError, News};
use crate::config::BrokerSpec;

/// A connection, and how things are named over it.
pub struct Link {
    /// The connection.
    pub client: Client,
    /// The same for JetStream.
    pub context: Context,
    /// How names of streams and subjects begin.
    pub prefix: String,
    /// Whether streams that were made otherwise are taken as they are.
    pub adopt: bool,
    /// How many replicas the buckets have that topics share: as many as the stream that has most.
    pub replicas: usize,
    /// This server among all that share the streams.
    pub server: String,
    news: Mutex<Vec<(TopicName, Arc<News>)>>,
    /// Buckets that were looked at.
    seen: Mutex<BTreeSet<String>>,
}

impl Link {
    /// Connects, and waits while nothing answers.
    pub async fn open(spec: &BrokerSpec, waiting: impl Fn(String) + Send + 'static) -> Result<Self, BrokerError> {
        let addresses = spec.urls.iter().map(|url| url.reveal().parse::<ServerAddr>());
        let addresses = addresses
            .collect::<io::Result<Vec<_>>>()
            .map_err(|error| BrokerError::Usage {
                what: format!("--broker has an address that is none: {error}"),
                hint: "write nats://HOST:PORT, several of them with commas between".to_owned(),
            })?;
        let mut told = false;
        let client = loop {
            match options(spec).await?.connect(&addresses[..]).await {
                Ok(client) => break client,
                Err(error) if refuses(error.kind()) => {
                    return Err(BrokerError::Usage {
                        what: format!("the broker does not let this server in: {error}"),
                        hint: "see --broker-credentials, --broker-ca, and the user and password in --broker".to_owned(),
                    });
                }
                Err(error) => {
                    if !std::mem::replace(&mut told, true) {
                        waiting(format!("the broker does not answer ({error}); waiting for it"));
                    }
                    tokio::time::sleep(AGAIN).await;
                }
            }
        };
        let context = jetstream::context::ContextBuilder::new()
            .timeout(ANSWER_MAX)
            .max_ack_inflight(ACKS_MAX)
            .backpressure_on_inflight(true)
            .build(client.clone());
        Ok(Self {
            client,
            context,
            prefix: spec.prefix.clone(),
            adopt: spec.adopt,
            replicas: usize::from(spec.replicas),
            server: format!("{:016x}", crate::random::word()),
            news: Mutex::default(),
            seen: Mutex::default(),
        })
    }

    /// Whether it stands now.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.client.connection_state() == State::Connected
    }

    /// Whether this bucket is looked at for the first time. What a cluster refuses once it would refuse each time.
    pub fn is_first_look(&self, bucket: &str) -> bool {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.insert(bucket.to_owned())
    }

    /// The longest payload that the broker takes, with room for our headers.
    #[must_use]
    pub fn payload_bytes_max(&self) -> usize {
        self.client.server_info().max_payload.saturating_sub(HEADER_BYTES_MAX)
    }

    /// Where news of a topic will be told.
    pub fn news_of(&self, topic: &TopicName) -> Arc<News> {
        let news = Arc::<News>::default();
        let mut all = self.news.lock().unwrap_or_else(PoisonError::into_inner);
        all.push((topic.clone(), news.clone()));
        news
    }

    /// All topics with the places where their news is told.
    pub fn news(&self) -> Vec<(TopicName, Arc<News>)> {
        self.news.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Sends what is still to be sent, and leaves.
    pub async fn close(&self) {
        // What cannot be sent any more within a moment is lost with the connection; nobody was told that it is kept.
        let _ = tokio::time::timeout(CLOSE_MAX, self.client.drain()).await;
    }
}

async fn options(spec: &BrokerSpec) -> Result<ConnectOptions, BrokerError> {
    let mut options = ConnectOptions::new()
        .name("lapwing")
        .connection_timeout(CONNECT_MAX)
        .request_timeout(Some(ANSWER_MAX))
        .ping_interval(PING_INTERVAL)
        .subscription_capacity(WAITING_MAX)
        .reconnect_delay_callback(|attempts| {
            let spread = crate::random::word() % 100;
            Duration::from_millis(spread) + AGAIN * u32::try_from(attempts.min(4)).unwrap_or(4)
        });
    if let Some(file) = &spec.credentials {
        options = options
            .credentials_file(file)
            .await
            .map_err(|error| BrokerError::Usage {
                what: format!("the credentials in {} cannot be used: {error}", file.display()),
                hint: "--broker-credentials names a .creds file, as nsc writes it".to_owned(),
            })?;
    }
    if let Some(file) = &spec.ca {
        options = options.add_root_certificates(file.clone()).require_tls(true);
    }
    Ok(options)
}

/// Whether coming again changes nothing.
fn refuses(kind: ConnectErrorKind) -> bool {
    match kind {
        ConnectErrorKind::Authentication
        | ConnectErrorKind::AuthorizationViolation
        | ConnectErrorKind::ServerParse
        | ConnectErrorKind::Tls => true,
        ConnectErrorKind::Dns | ConnectErrorKind::TimedOut | ConnectErrorKind::Io | ConnectErrorKind::MaxReconnects => {
            false
        }
    }
}

/// A broker that is there answers far sooner; a leader is found again within this.
pub const ANSWER_MAX: Duration = Duration::from_secs(3);
/// Names, kinds and batches take less.
const HEADER_BYTES_MAX: usize = 512;
const CONNECT_MAX: Duration = Duration::from_secs(3);
const CLOSE_MAX: Duration = Duration::from_secs(1);
const AGAIN: Duration = Duration::from_millis(250);
/// Two of them without an answer end a connection.
const PING_INTERVAL: Duration = Duration::from_secs(2);
/// Messages that came and were not yet copied; 256 bytes each make 16 MiB.
const WAITING_MAX: usize = 64 << 10;
/// Publishes that wait for their acknowledgement.
const ACKS_MAX: usize = 16 << 10;
