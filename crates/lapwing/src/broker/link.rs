//! The connection to NATS: one for all topics, which comes back by itself.

use std::collections::BTreeSet;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_nats::connection::State;
use async_nats::jetstream::{self, Context};
use async_nats::{Client, ConnectError, ConnectErrorKind, ConnectOptions, ServerAddr};
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
            match options(spec, &addresses).await?.connect(&addresses[..]).await {
                Ok(client) => break client,
                Err(error) if is_final(&error) => {
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

async fn options(spec: &BrokerSpec, addresses: &[ServerAddr]) -> Result<ConnectOptions, BrokerError> {
    let mut options = signed_in(addresses)?
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

/// As whom the addresses say: the library reads of them only where to go. A user without a password is a token, as elsewhere with NATS.
fn signed_in(addresses: &[ServerAddr]) -> Result<ConnectOptions, BrokerError> {
    let named = addresses.iter().filter(|address| address.has_user_pass());
    let mut users: Vec<_> = named
        .map(|address| (address.username().map(decoded), address.password().map(decoded)))
        .collect();
    users.dedup();
    let options = ConnectOptions::new();
    match users.pop() {
        Some(_) if !users.is_empty() => Err(BrokerError::Usage {
            what: "the addresses in --broker have different users, or passwords".to_owned(),
            hint: "write the same in each, or in the first alone".to_owned(),
        }),
        Some((Some(user), Some(password))) => Ok(options.user_and_password(user, password)),
        Some((Some(token), None)) => Ok(options.token(token)),
        _ => Ok(options),
    }
}

/// A part of an address, as it was meant (RFC 3986 section 2.1).
fn decoded(part: &str) -> String {
    // In a query a plus would be a blank.
    let part = part.replace('+', "%2B");
    form_urlencoded::parse(part.as_bytes())
        .map(|(name, _)| name.into_owned())
        .collect()
}

/// Whether coming again changes nothing.
fn is_final(error: &ConnectError) -> bool {
    match error.kind() {
        ConnectErrorKind::Authentication
        | ConnectErrorKind::AuthorizationViolation
        | ConnectErrorKind::ServerParse
        | ConnectErrorKind::Tls => true,
        // A certificate that is not trusted, for one; a connection that ends is of another kind.
        ConnectErrorKind::Io => {
            let source = std::error::Error::source(error).and_then(|source| source.downcast_ref::<io::Error>());
            source.is_some_and(|source| source.kind() == io::ErrorKind::InvalidData)
        }
        ConnectErrorKind::Dns | ConnectErrorKind::TimedOut | ConnectErrorKind::MaxReconnects => false,
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
