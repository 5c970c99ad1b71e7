//! The flags of `serve` that name a broker, and what topics may ask for with one.

use std::io::Write as _;
#[cfg(feature = "nats")]
use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;
use lapwing_wire::escape::escaped;
use lapwing_wire::name::ClientName;
use lapwing_wire::secret::Secret;

use crate::config::BrokerSpec;
use crate::failure::Failure;
use crate::source::spec::{OnEnd, StartWhen, TopicSpec};

/// How the broker is reached; the settings file has the same names.
#[derive(Args, Debug, Default)]
pub struct BrokerArgs {
    /// Share the topics with other servers through NATS JetStream: nats://HOST:PORT, nats://USER:PASSWORD@HOST:PORT or tls://…, several with commas between [default: none]
    #[arg(long, value_name = "URL,…", env = "LAPWING_BROKER", hide_env = true, hide_env_values = true, value_parser = secret, help_heading = "Storage")]
    pub broker: Option<Secret>,
    /// A file of credentials for the broker, as nsc writes it [default: none]
    #[arg(long, value_name = "FILE", help_heading = "Storage", hide_short_help = true)]
    pub broker_credentials: Option<PathBuf>,
    /// A file of certificates (PEM), to one of which the broker's must lead; with it the way there is always encrypted [default: those of the system]
    #[arg(long, value_name = "FILE", help_heading = "Storage", hide_short_help = true)]
    pub broker_ca: Option<PathBuf>,
    /// How the names of streams and subjects begin: a topic's stream is PREFIX_TOPIC, its subject PREFIX.TOPIC [default: lapwing]
    #[arg(long, value_name = "NAME", help_heading = "Storage", hide_short_help = true)]
    pub broker_prefix: Option<String>,
    /// How this server is called where several are shown, 1 to 64 characters [default: the address that it listens on, or HOST:PORT where that is every one]
    #[arg(long, value_name = "NAME", help_heading = "Storage", hide_short_help = true)]
    pub server_name: Option<String>,
    /// Take streams that are there with other settings as they are [default: off]
    #[arg(long, help_heading = "Storage", hide_short_help = true)]
    pub adopt: bool,
}

impl BrokerArgs {
    /// What was typed, and where nothing was, what stands in the file.
    #[must_use]
    pub fn or(self, file: Self) -> Self {
        Self {
            broker: self.broker.or(file.broker),
            broker_credentials: self.broker_credentials.or(file.broker_credentials),
            broker_ca: self.broker_ca.or(file.broker_ca),
            broker_prefix: self.broker_prefix.or(file.broker_prefix),
            server_name: self.server_name.or(file.server_name),
            adopt: self.adopt || file.adopt,
        }
    }

    /// What they mean for these topics; `stored` says whether a directory keeps topics, too.
    pub fn spec(self, topics: &[TopicSpec], stored: bool) -> Result<Option<BrokerSpec>, Failure> {
        let Some(broker) = self.broker else {
            return match (
                &self.broker_credentials,
                &self.broker_ca,
                &self.broker_prefix,
                &self.server_name,
                self.adopt,
            ) {
                (None, None, None, None, false) => needs_none(topics).map(|()| None),
                _ => Err(Failure::usage(
                    "--broker-credentials, --broker-ca, --broker-prefix, --server-name and --adopt are of no use without a broker",
                    "add --broker nats://HOST:4222",
                )),
            };
        };
        if !cfg!(feature = "nats") {
            return Err(Failure::usage(
                "this lapwing was built without NATS, which --broker needs",
                "build it with: cargo build --release --features nats",
            ));
        }
        let urls: Vec<_> = broker.reveal().split(',').map(str::trim).map(Secret::new).collect();
        if urls.len() > URLS_MAX {
            return Err(Failure::usage(
                format!("--broker names {} addresses, and takes at most {URLS_MAX}", urls.len()),
                "one is enough: a cluster tells of its others",
            ));
        }
        let is_address = |url: &Secret| {
            let rest = SCHEMES.iter().find_map(|scheme| url.reveal().strip_prefix(scheme));
            rest.is_some_and(|rest| !rest.is_empty())
        };
        if !urls.iter().all(is_address) {
            return Err(Failure::usage(
                "--broker has an address that does not begin with nats:// or tls://, which is not shown as it may hold a password",
                "write nats://HOST:4222, several of them with commas between",
            ));
        }
        let prefix = self.broker_prefix.unwrap_or_else(|| "lapwing".to_owned());
        let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        if prefix.is_empty() || prefix.len() > PREFIX_BYTES_MAX || !prefix.chars().all(is_name) {
            return Err(Failure::usage(
                format!("--broker-prefix {:?} is no name of streams", escaped(&prefix)),
                format!("it has 1 to {PREFIX_BYTES_MAX} of A-Z a-z 0-9 _ and -"),
            ));
        }
        let name = self.server_name.as_deref().map(ClientName::parse).transpose();
        let name = name.map_err(|error| {
            let typed = escaped(self.server_name.as_deref().unwrap_or_default());
            Failure::usage(
                format!("--server-name {typed:?} is no name of a server: {error}"),
                "a server is called by 1 to 64 characters, such as lapwing-1",
            )
        })?;
        if stored {
            return Err(Failure::usage(
                "--data keeps topics here, and with --broker the streams there keep them",
                "leave one of them out",
            ));
        }
        topics.iter().try_for_each(fits)?;
        Ok(Some(BrokerSpec {
            urls,
            credentials: self.broker_credentials,
            ca: self.broker_ca,
            prefix,
            name,
            adopt: self.adopt,
            replicas: topics
                .iter()
                .filter_map(|topic| topic.source.keep.replicas)
                .max()
                .unwrap_or(1),
        }))
    }
}

/// Whether no topic asks for what only a broker has.
fn needs_none(topics: &[TopicSpec]) -> Result<(), Failure> {
    let asks = |topic: &&TopicSpec| topic.source.keep.replicas.is_some() || topic.source.keep.storage.is_some();
    match topics.iter().find(asks) {
        Some(topic) => Err(Failure::usage(
            format!(
                "replicas= and storage= of topic {} mean nothing without a broker",
                topic.name
            ),
            "add --broker nats://HOST:4222, or leave them out",
        )),
        None => Ok(()),
    }
}

/// Whether a topic can be shared by several servers as it is asked for.
fn fits(topic: &TopicSpec) -> Result<(), Failure> {
    let (source, name) = (&topic.source, &topic.name);
    let wrong = if source.holds() {
        "slow=wait holds back its source for the clients of one server"
    } else if source.keep.level.is_some() {
        "durability= is for files here"
    } else if source.on_end == OnEnd::Close {
        "end=close ends a topic on one server"
    } else if source.start == StartWhen::Listener {
        "start=listener waits for a client of one server"
    } else {
        return Ok(());
    };
    Err(Failure::usage(
        format!("topic {name}: {wrong}, and with --broker several have it"),
        "leave it out",
    ))
}

/// How a server is called that listens there and was given no name.
#[cfg(feature = "nats")]
pub fn default_name(address: SocketAddr) -> ClientName {
    let host = rustix::system::uname();
    let host = host.nodename().to_string_lossy();
    let named = match address.ip().is_unspecified() {
        true => ClientName::parse(&format!("{host}:{}", address.port())),
        false => ClientName::parse(&address.to_string()),
    };
    named
        .or_else(|_| ClientName::parse(&address.to_string()))
        .expect("an address is short, and no number")
}

/// Tells one line before there is a console: the server waits.
pub fn tell(text: String) {
    // Nobody may read it.
    let _ = writeln!(std::io::stderr(), "{text}");
}

fn secret(text: &str) -> Result<Secret, std::convert::Infallible> {
    Ok(Secret::new(text))
}

const SCHEMES: [&str; 2] = ["nats://", "tls://"];
/// Far more than a cluster has.
const URLS_MAX: usize = 16;
/// A stream's name has at most 255, and the topic's own is a part of it.
const PREFIX_BYTES_MAX: usize = 64;
