//! `lapwing serve`: what was typed, and the settings file.

use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs as _};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytesize::ByteSize;
use lapwing_wire::close::CloseCode;
use lapwing_wire::control::Level;
use lapwing_wire::escape::escaped;
use lapwing_wire::extension::Compression;
use lapwing_wire::secret::Secret;
use serde::Deserialize;
use tokio::signal::unix::{SignalKind, signal};

use super::broker::BrokerArgs;
use super::misuse::quoted;
use super::runtime::{self, broken};
use super::value::Typed;
use super::{End, in_form, reach, stop};
#[cfg(feature = "nats")]
use crate::broker::{Broker, BrokerError};
use crate::clock::Now;
#[cfg(feature = "nats")]
use crate::config::BrokerSpec;
use crate::config::{
    AccessSpec, CertificateFiles, Config, Limits, Rate, SHARE_AT_ONCE, StorageSpec, StrangersError, TlsSpec,
    connections_max, missing_files, possible_connections, raise_open_files, strangers_allowed,
};
use crate::failure::{Exit, Failure};
#[cfg(feature = "nats")]
use crate::mail::mail;
use crate::reason::reason;
use crate::server::Server;
use crate::server::accept;
use crate::server::access::files::Files;
use crate::server::certificate::Certificate;
use crate::server::console::Console;
use crate::server::encryption::Encryption;
use crate::server::event::Event;
use crate::server::fleet::Membership;
use crate::server::journal::levels::{Beside, Levels};
use crate::server::journal::{Journal, JournalSpec, life, target};
use crate::server::origin::Origins;
use crate::server::proxy::Proxies;
use crate::server::ring;
use crate::server::secrets::Secrets;
use crate::server::storage::{Storage, StorageError};
use crate::server::trust::Trust;
use crate::source::spec::{Feed, SourceSpec, TopicSpec, default_topics, nearest, parse_span, parse_topic};
use crate::terminal::form;
use crate::terminal::output::OutputFormat;
use crate::terminal::paint::{ColorChoice, Painter, Role};

/// The flags of `lapwing serve`.
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES, after_long_help = DETAILS)]
pub struct ServeArgs {
    /// A topic and what fills it, may be repeated: users, arrays, stdin, file:PATH, exec:COMMAND or push, with settings behind a ? [default: users and arrays]
    #[arg(long = "topic", value_name = "NAME=SOURCE", help_heading = "Feed")]
    topics: Vec<String>,
    /// The same random feed on every machine [default: random, printed]
    #[arg(long, value_name = "N", allow_negative_numbers = true, help_heading = "Feed")]
    seed: Option<Typed<u64>>,
    /// Settings from a TOML file; flags go before it [default: none]
    #[arg(long, value_name = "FILE", help_heading = "Feed")]
    config: Option<PathBuf>,
    /// Keep topics in this directory, so that they survive a restart [default: in memory only]
    #[arg(long, value_name = "DIR", help_heading = "Storage")]
    data: Option<PathBuf>,
    /// When a message counts as kept: fsync (on stable storage) or os (handed to the operating system); needs --data [default: fsync]
    #[arg(long, value_enum, value_name = "LEVEL", help_heading = "Storage")]
    durability: Option<Durability>,
    #[command(flatten)]
    broker: BrokerArgs,
    /// Address and port; port 0 takes any free one [default: 127.0.0.1:8765]
    #[arg(long, value_name = "ADDR", help_heading = "Reach")]
    listen: Option<String>,
    /// Serve whoever can reach an address that is not this machine's own, also without authentication or in the clear [default: off]
    #[arg(long, help_heading = "Reach")]
    open: bool,
    /// Ask everybody for a token of this file: a line NAME SHA256 SCOPE,… for each; lapwing token new makes them [default: none]
    #[arg(long, value_name = "FILE", help_heading = "Reach")]
    tokens: Option<PathBuf>,
    /// Ask everybody for a JWT that a key of this file proves: JWKS, a public key in PEM form, or a line HS256 SECRET [default: none]
    #[arg(long, value_name = "FILE", help_heading = "Reach", hide_short_help = true)]
    jwt_keys: Option<PathBuf>,
    /// A JWT must be meant for this audience (aud); may be repeated [default: none, and then it may name none]
    #[arg(long, value_name = "NAME", help_heading = "Reach", hide_short_help = true)]
    jwt_audience: Vec<String>,
    /// A JWT must be from this issuer (iss); may be repeated [default: any]
    #[arg(long, value_name = "NAME", help_heading = "Reach", hide_short_help = true)]
    jwt_issuer: Vec<String>,
    /// A web page's origin that may listen and publish, beside our own page; may be repeated [default: none]
    #[arg(long = "allow-origin", value_name = "ORIGIN", help_heading = "Reach")]
    allow_origin: Vec<String>,
    /// Encrypt, with this certificate and those that vouch for it, in PEM form; the port then serves wss:// and https:// only. Read again when the file changes and on SIGHUP [default: none]
    #[arg(long, value_name = "FILE", help_heading = "Reach")]
    tls_cert: Option<PathBuf>,
    /// The private key of that certificate, in PEM form without a passphrase [default: none]
    #[arg(long, value_name = "FILE", help_heading = "Reach")]
    tls_key: Option<PathBuf>,
    /// Encrypt with a certificate that is made at start, for development; listen, publish and bench take it with --insecure [default: off]
    #[arg(long, help_heading = "Reach")]
    tls_self_signed: bool,
    /// Proxies that are believed when they say for whom they ask (X-Forwarded-For, Forwarded), several separated by commas; limits for each address then count for that one [default: none]
    #[arg(
        long = "trust-proxy",
        value_name = "ADDR[,ADDR…]",
        help_heading = "Reach",
        hide_short_help = true
    )]
    trust_proxy: Vec<String>,
    /// Send to many clients by one system call: auto (where the kernel has io_uring and allows it), on (or do not start) or off [default: auto]
    #[arg(
        long,
        value_enum,
        value_name = "WHEN",
        env = "LAPWING_IO_URING",
        hide_env = true,
        help_heading = "Limits",
        hide_short_help = true
    )]
    io_uring: Option<IoUring>,
    /// Compress messages for clients that offer permessage-deflate, each message once for all of them: off, or on (10 to 50 µs of CPU a message, whatever the number of clients; a random person gets 1.4 times shorter, a long array 2.3 times) [default: off]
    #[arg(
        long,
        value_enum,
        value_name = "WHEN",
        help_heading = "Limits",
        hide_short_help = true
    )]
    compression: Option<Compress>,
    /// Send every message to ws://ADDR/echo back to its sender, whatever it says, up to 64MiB: for tests of clients, and of this server by the Autobahn suite [default: off]
    #[arg(long, help_heading = "Limits", hide_short_help = true)]
    echo: bool,
    /// Connections at once [default: 80 % of the open files allowed]
    #[arg(
        long,
        value_name = "N",
        allow_negative_numbers = true,
        help_heading = "Limits",
        hide_short_help = true
    )]
    max_connections: Option<Typed<u64>>,
    /// Connections at once from one address (of IPv6 from one network of 64 bits), those of this machine apart [default: 1000]
    #[arg(
        long,
        value_name = "N",
        allow_negative_numbers = true,
        help_heading = "Limits",
        hide_short_help = true
    )]
    max_connections_per_address: Option<Typed<u64>>,
    /// Connections at once with tokens of one name, or with JWTs of the same sub and iss, where tokens are asked for [default: 1000]
    #[arg(
        long,
        value_name = "N",
        allow_negative_numbers = true,
        help_heading = "Limits",
        hide_short_help = true
    )]
    max_connections_per_token: Option<Typed<u64>>,
    /// Connections that are let in a second from other machines, twice as many at once; the others wait up to 1s: 1 to 1000000 [default: 500]
    #[arg(
        long,
        value_name = "N",
        allow_negative_numbers = true,
        help_heading = "Limits",
        hide_short_help = true
    )]
    max_accept_rate: Option<Typed<u64>>,
    /// Of those, connections that are let in a second from one address (of IPv6 from one network of 64 bits), five times as many at once; the others wait up to 1s: 1 to 1000000 [default: a fifth of all that are let in]
    #[arg(
        long,
        value_name = "N",
        allow_negative_numbers = true,
        help_heading = "Limits",
        hide_short_help = true
    )]
    max_accept_rate_per_address: Option<Typed<u64>>,
    /// The head of a request: 8KiB to 1MiB [default: 16KiB]
    #[arg(
        long,
        value_name = "SIZE",
        allow_negative_numbers = true,
        help_heading = "Limits",
        hide_short_help = true
    )]
    max_head: Option<Typed<ByteSize>>,
    /// Header lines of a request: 16 to 1000 [default: 64]
    #[arg(
        long,
        value_name = "N",
        allow_negative_numbers = true,
        help_heading = "Limits",
        hide_short_help = true
    )]
    max_headers: Option<Typed<u64>>,
    /// Path and query of a request: 64B to 60KiB [default: 8KiB]
    #[arg(
        long,
        value_name = "SIZE",
        allow_negative_numbers = true,
        help_heading = "Limits",
        hide_short_help = true
    )]
    max_url: Option<Typed<ByteSize>>,
    /// A message from a client, at most 64MiB [default: 1MiB]
    #[arg(
        long,
        value_name = "SIZE",
        allow_negative_numbers = true,
        help_heading = "Limits",
        hide_short_help = true
    )]
    max_message: Option<Typed<ByteSize>>,
    /// Frames of one message from a client, empty ones too: 1 to 65535 [default: 1024]
    #[arg(
        long,
        value_name = "N",
        allow_negative_numbers = true,
        help_heading = "Limits",
        hide_short_help = true
    )]
    max_fragments: Option<Typed<u64>>,
    /// Messages from clients that are not whole yet, of all clients together, at least one of the largest: to 2GiB [default: 256MiB]
    #[arg(
        long,
        value_name = "SIZE",
        allow_negative_numbers = true,
        help_heading = "Limits",
        hide_short_help = true
    )]
    max_unfinished: Option<Typed<ByteSize>>,
    /// Messages a second from a client, five times as many at once: 1 to 800000 [default: 1000]
    #[arg(
        long,
        value_name = "N",
        allow_negative_numbers = true,
        help_heading = "Limits",
        hide_short_help = true
    )]
    max_message_rate: Option<Typed<u64>>,
    /// Bytes of messages a second from a client, and one message of the largest size at once: 1KiB to 1GiB [default: 8MiB]
    #[arg(
        long,
        value_name = "SIZE",
        allow_negative_numbers = true,
        help_heading = "Limits",
        hide_short_help = true
    )]
    max_byte_rate: Option<Typed<ByteSize>>,
    /// Commands of lapwing.v1 a second from a client, and as many pings and pongs, four times as many at once: 1 to 1000000 [default: 50]
    #[arg(
        long,
        value_name = "N",
        allow_negative_numbers = true,
        help_heading = "Limits",
        hide_short_help = true
    )]
    max_command_rate: Option<Typed<u64>>,
    /// Reports of a topic a second from a client, three times as many at once: 1 to 1000 [default: 1]
    #[arg(
        long,
        value_name = "N",
        allow_negative_numbers = true,
        help_heading = "Limits",
        hide_short_help = true
    )]
    max_report_rate: Option<Typed<u64>>,
    /// Topics that one connection follows: 1 to 10000 [default: 100]
    #[arg(
        long,
        value_name = "N",
        allow_negative_numbers = true,
        help_heading = "Limits",
        hide_short_help = true
    )]
    max_subscriptions: Option<Typed<u64>>,
    /// Topics of this server: 1 to 10000 [default: 1000]
    #[arg(
        long,
        value_name = "N",
        allow_negative_numbers = true,
        help_heading = "Limits",
        hide_short_help = true
    )]
    max_topics: Option<Typed<u64>>,
    /// Clients of server-sent events at once: 1 to 1000000 [default: 10000]
    #[arg(
        long,
        value_name = "N",
        allow_negative_numbers = true,
        help_heading = "Limits",
        hide_short_help = true
    )]
    max_events: Option<Typed<u64>>,
    /// A published body, at most 64MiB [default: 1MiB]
    #[arg(
        long,
        value_name = "SIZE",
        allow_negative_numbers = true,
        help_heading = "Limits",
        hide_short_help = true
    )]
    max_body: Option<Typed<ByteSize>>,
    /// Messages of one published body: 1 to 1000000 [default: 10000]
    #[arg(
        long,
        value_name = "N",
        allow_negative_numbers = true,
        help_heading = "Limits",
        hide_short_help = true
    )]
    max_body_messages: Option<Typed<u64>>,
    /// Published bodies that are read at once, of all publishers together, at least one of the largest: to 2GiB [default: 64MiB]
    #[arg(
        long,
        value_name = "SIZE",
        allow_negative_numbers = true,
        help_heading = "Limits",
        hide_short_help = true
    )]
    max_bodies: Option<Typed<ByteSize>>,
    /// A handshake, or the head of a request, must be whole by then: 100ms to 5m [default: 10s]
    #[arg(
        long,
        value_name = "TIME",
        allow_hyphen_values = true,
        help_heading = "Limits",
        hide_short_help = true
    )]
    handshake_timeout: Option<String>,
    /// A client of lapwing.v1 that named no topic must subscribe to one by then: 100ms to 5m [default: 5s]
    #[arg(
        long,
        value_name = "TIME",
        allow_hyphen_values = true,
        help_heading = "Limits",
        hide_short_help = true
    )]
    subscribe_timeout: Option<String>,
    /// A silent client is asked this often whether it is there: 100ms to 5m [default: 20s]
    #[arg(
        long,
        value_name = "TIME",
        allow_hyphen_values = true,
        help_heading = "Limits",
        hide_short_help = true
    )]
    ping_interval: Option<String>,
    /// It must answer by then: 100ms to 5m [default: 10s]
    #[arg(
        long,
        value_name = "TIME",
        allow_hyphen_values = true,
        help_heading = "Limits",
        hide_short_help = true
    )]
    pong_timeout: Option<String>,
    /// A lagging client that takes nothing for so long is let go: 100ms to 5m [default: 30s]
    #[arg(
        long,
        value_name = "TIME",
        allow_hyphen_values = true,
        help_heading = "Limits",
        hide_short_help = true
    )]
    stall_timeout: Option<String>,
    /// A lagging client takes at least so much a second over that time: 1B to 1GiB [default: 256B]
    #[arg(
        long,
        value_name = "SIZE",
        allow_negative_numbers = true,
        help_heading = "Limits",
        hide_short_help = true
    )]
    stall_rate: Option<Typed<ByteSize>>,
    /// A client's message that was begun must be whole by then: 100ms to 5m [default: 30s]
    #[arg(
        long,
        value_name = "TIME",
        allow_hyphen_values = true,
        help_heading = "Limits",
        hide_short_help = true
    )]
    message_timeout: Option<String>,
    /// Clients of lapwing.v1 hear the ends of their topics this often: 100ms to 5m [default: 10s]
    #[arg(
        long,
        value_name = "TIME",
        allow_hyphen_values = true,
        help_heading = "Limits",
        hide_short_help = true
    )]
    heartbeat: Option<String>,
    /// After a stop, clients that lag are served so long: 0s to 5m [default: 5s]
    #[arg(
        long,
        value_name = "TIME",
        allow_hyphen_values = true,
        help_heading = "Limits",
        hide_short_help = true
    )]
    drain: Option<String>,
    /// What to print: text, or json with one event a line
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT", help_heading = "Output")]
    output: OutputFormat,
    /// Short for --output json
    #[arg(long, help_heading = "Output")]
    json: bool,
    /// What the operator's log tells beside the console: off, error, warn, info, debug or trace, and for single targets as in info,lapwing::http=debug; life events are left to the console unless they are named (lapwing::event=info) or there is a file [default: warn; in a file info]
    #[arg(
        long,
        value_name = "LEVEL[,TARGET=LEVEL…]",
        env = "LAPWING_LOG",
        hide_env = true,
        help_heading = "Output",
        hide_short_help = true
    )]
    log_level: Option<String>,
    /// How the operator's log is written: text, or json with one object a line [default: the form of the output]
    #[arg(
        long,
        value_enum,
        value_name = "FORMAT",
        help_heading = "Output",
        hide_short_help = true
    )]
    log_format: Option<OutputFormat>,
    /// Write the operator's log behind what this file holds; it is opened again on SIGHUP, as logrotate wants it [default: standard error]
    #[arg(long, value_name = "FILE", help_heading = "Output", hide_short_help = true)]
    log_file: Option<PathBuf>,
}

/// How safely topics are kept that do not say it themselves.
#[derive(clap::ValueEnum, Deserialize, Clone, Copy, Debug)]
#[serde(rename_all = "kebab-case")]
enum Durability {
    /// On stable storage: survives a power cut.
    Fsync,
    /// Handed to the operating system: survives the end of this process, however it comes.
    Os,
}

/// Whether delivery uses io_uring.
#[derive(clap::ValueEnum, Deserialize, Clone, Copy, Debug, Default)]
#[serde(rename_all = "kebab-case")]
enum IoUring {
    /// Where the kernel has it and allows it.
    #[default]
    Auto,
    /// Or the server does not start.
    On,
    /// Never: one system call for each client.
    Off,
}

impl IoUring {
    /// Whether it does, and why it does not where it might.
    fn decide(self) -> Result<(bool, Option<String>), Failure> {
        match self {
            Self::Off => Ok((false, None)),
            Self::Auto => Ok(match ring::probe() {
                Ok(()) => (true, None),
                Err(error) => (false, Some(reason(&error).to_string())),
            }),
            Self::On => ring::probe().map(|()| (true, None)).map_err(|error| {
                Failure::failed(
                    format!("io_uring is not to be had here: {}", reason(&error)),
                    "containers often forbid it, and kernels before 6.1 lack what is needed; without --io-uring each client has a system call of its own",
                )
            }),
        }
    }
}

/// Whether messages are compressed.
#[derive(clap::ValueEnum, Deserialize, Clone, Copy, Debug, Default)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Compress {
    /// None is.
    #[default]
    Off,
    /// Those of a connection whose other side offers or takes permessage-deflate.
    On,
}

impl From<Compress> for Compression {
    fn from(asked: Compress) -> Self {
        match asked {
            Compress::Off => Self::Off,
            Compress::On => Self::Deflate,
        }
    }
}

/// The settings file: the same names as the flags.
#[derive(Deserialize, Debug, Default)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
struct SettingsFile {
    /// `NAME = "SOURCE"`.
    topic: std::collections::BTreeMap<String, String>,
    seed: Option<Typed<u64>>,
    data: Option<PathBuf>,
    durability: Option<Durability>,
    broker: Option<Secret>,
    broker_credentials: Option<PathBuf>,
    broker_ca: Option<PathBuf>,
    broker_prefix: Option<String>,
    server_name: Option<String>,
    adopt: bool,
    listen: Option<String>,
    open: bool,
    tokens: Option<PathBuf>,
    jwt_keys: Option<PathBuf>,
    jwt_audience: Vec<String>,
    jwt_issuer: Vec<String>,
    allow_origin: Vec<String>,
    tls_cert: Option<PathBuf>,
    tls_key: Option<PathBuf>,
    tls_self_signed: bool,
    trust_proxy: Vec<String>,
    io_uring: Option<IoUring>,
    compression: Option<Compress>,
    echo: bool,
    max_connections: Option<Typed<u64>>,
    max_connections_per_address: Option<Typed<u64>>,
    max_connections_per_token: Option<Typed<u64>>,
    max_accept_rate: Option<Typed<u64>>,
    max_accept_rate_per_address: Option<Typed<u64>>,
    max_head: Option<Typed<ByteSize>>,
    max_headers: Option<Typed<u64>>,
    max_url: Option<Typed<ByteSize>>,
    max_message: Option<Typed<ByteSize>>,
    max_fragments: Option<Typed<u64>>,
    max_unfinished: Option<Typed<ByteSize>>,
    max_message_rate: Option<Typed<u64>>,
    max_byte_rate: Option<Typed<ByteSize>>,
    max_command_rate: Option<Typed<u64>>,
    max_report_rate: Option<Typed<u64>>,
    max_subscriptions: Option<Typed<u64>>,
    max_topics: Option<Typed<u64>>,
    max_events: Option<Typed<u64>>,
    max_body: Option<Typed<ByteSize>>,
    max_body_messages: Option<Typed<u64>>,
    max_bodies: Option<Typed<ByteSize>>,
    handshake_timeout: Option<String>,
    subscribe_timeout: Option<String>,
    ping_interval: Option<String>,
    pong_timeout: Option<String>,
    stall_timeout: Option<String>,
    stall_rate: Option<Typed<ByteSize>>,
    message_timeout: Option<String>,
    heartbeat: Option<String>,
    drain: Option<String>,
    log_level: Option<String>,
    log_format: Option<OutputFormat>,
    log_file: Option<PathBuf>,
}

/// What was typed and written, checked.
struct Settings {
    config: Config,
    trust: Trust,
    journal: JournalSpec,
    /// Why there is no io_uring, where it would have been used.
    no_ring: Option<String>,
}

/// Serves until told to stop.
pub fn run(args: ServeArgs, color: ColorChoice) -> End {
    raise_open_files();
    let format = if args.json { OutputFormat::Json } else { args.output };
    in_form(format == OutputFormat::Json, start(args, format, color))
}

fn start(args: ServeArgs, format: OutputFormat, color: ColorChoice) -> End {
    let Settings {
        config,
        trust,
        journal,
        no_ring,
    } = configure(args, format)?;
    let file = journal.file.clone();
    let journal = Journal::start(journal, color).map_err(|error| cannot_log(file.as_deref(), &error))?;
    if let Some(why) = no_ring {
        tracing::info!(target: target::DELIVERY, why, "no io_uring: each client has a system call of its own");
    }
    let hangup = file.is_some().then(|| journal.clone());
    let end = open(config, trust, hangup, format, color);
    journal.finish(Duration::from_secs(1));
    end
}

/// Opens what the server needs, and serves. What stands in `hangup` opens its file again on SIGHUP.
fn open(config: Config, trust: Trust, hangup: Option<Journal>, format: OutputFormat, color: ColorChoice) -> End {
    let files = Files::open(&config.access).map_err(|error| Failure::usage(error.to_string(), error.hint()))?;
    let listener = accept::listen(config.listen).map_err(|error| cannot_listen(config.listen, &error))?;
    let runtime = runtime::on_many_threads()?;
    let encryption = match &config.tls {
        None => None,
        Some(spec) => {
            let opened = Encryption::open(spec, config.listen.ip());
            Some(Arc::new(
                opened.map_err(|error| Failure::usage(error.to_string(), error.hint()))?,
            ))
        }
    };
    let secrets = Secrets {
        encryption,
        access: files,
    };
    let exit = match config.broker.clone() {
        #[cfg(feature = "nats")]
        Some(spec) => runtime.block_on(share(&spec, config, trust, secrets, listener, hangup, format, color)),
        // Without NATS none is asked for.
        _ => {
            let storage = Storage::open(config.storage.as_ref(), config.topics.clone()).map_err(cannot_keep)?;
            let started = |_: &Server| {};
            runtime.block_on(serve(
                config, storage, None, trust, secrets, listener, hangup, format, color, started,
            ))
        }
    };
    // A thread that waits for standard input would hold the process; nothing of it is needed any more.
    runtime.shutdown_background();
    exit
}

/// Serves copies of a broker's streams.
#[cfg(feature = "nats")]
#[expect(clippy::too_many_arguments, reason = "one caller, which has just opened them all")]
async fn share(
    spec: &BrokerSpec,
    config: Config,
    trust: Trust,
    secrets: Secrets,
    listener: std::net::TcpListener,
    journal: Option<Journal>,
    format: OutputFormat,
    color: ColorChoice,
) -> End {
    let failed = |error: BrokerError| match &error {
        BrokerError::Usage { .. } => Failure::usage(error.to_string(), error.hint()),
        BrokerError::Refused { .. } | BrokerError::Slow => Failure::failed(error.to_string(), error.hint()),
    };
    let opened = async {
        let mut broker = Broker::connect(spec, super::broker::tell).await?;
        let mut topics = Vec::new();
        for topic in &config.topics {
            topics.push((topic.clone(), broker.open(topic).await?));
        }
        broker.start().await?;
        Ok((broker, Storage::of_copies(topics)))
    };
    let (mut broker, storage) = tokio::select! {
        opened = opened => opened.map_err(failed)?,
        // Nothing has begun that would have to be stopped.
        _ = tokio::signal::ctrl_c() => return Ok(Exit::Done),
    };
    let address = listener.local_addr().unwrap_or(config.listen);
    let (mailbox, carrier) = mail();
    let membership = Membership {
        name: spec
            .name
            .clone()
            .unwrap_or_else(|| super::broker::default_name(address)),
        id: broker.server().to_owned(),
        mailbox,
    };
    broker.carry(carrier);
    let started = |server: &Server| broker.tell_to(|topic| server.events_of(topic));
    let exit = serve(
        config,
        storage,
        Some(membership),
        trust,
        secrets,
        listener,
        journal,
        format,
        color,
        started,
    )
    .await;
    broker.stop().await;
    exit
}

#[expect(clippy::too_many_arguments, reason = "two callers, which have just opened them all")]
async fn serve(
    config: Config,
    storage: Storage,
    membership: Option<Membership>,
    trust: Trust,
    mut secrets: Secrets,
    listener: std::net::TcpListener,
    journal: Option<Journal>,
    format: OutputFormat,
    color: ColorChoice,
    started: impl FnOnce(&Server),
) -> End {
    stop::outlive_file_limits().map_err(broken)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(broken)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(broken)?;
    // Before anyone is told that we are here: from then on it means to read the files again, and not to end.
    let _hangup = secrets
        .come_from_files()
        .then(|| signal(SignalKind::hangup()))
        .transpose()
        .map_err(broken)?;
    if let Some(journal) = journal {
        let mut hangup = signal(SignalKind::hangup()).map_err(broken)?;
        // Ends with the runtime.
        tokio::spawn(async move {
            while hangup.recv().await.is_some() {
                journal.reopen();
            }
        });
    }
    let certificate = secrets.encryption.as_ref().map(|encryption| encryption.certificate());
    let console = Console::start(format, color, config.limits.console_bytes_max);
    let address = listener.local_addr().map_err(broken)?;
    // What is told before there is a server, for those who watch it later.
    let mut early = vec![ready(address, &config, certificate.as_deref())];
    life::note(&early[0]);
    match format {
        OutputFormat::Text => banner(address, &config, certificate.as_deref(), color),
        OutputFormat::Json => console.tell(early[0].clone()),
    }
    let limit = too_few_files(&config).map(|text| Event::Limit { text });
    let by_tokens = secrets.access.as_mut();
    let warning = by_tokens.and_then(|files| files.warning(Now::read().wall));
    let warning = warning.map(|text| Event::Access { text, failed: true });
    for event in [limit, warning].into_iter().flatten() {
        life::note(&event);
        console.tell(event.clone());
        early.push(event);
    }
    let server = Server::start(
        config,
        storage,
        trust,
        secrets,
        listener,
        console.clone(),
        &early,
        membership,
    )
    .map_err(broken)?;
    started(&server);
    let (code, why, name) = tokio::select! {
        _ = interrupt.recv() => (CloseCode::GOING_AWAY, "server stopped", "Ctrl-C"),
        _ = terminate.recv() => (CloseCode::RESTART, "server restarts", "SIGTERM"),
    };
    tokio::select! {
        () = server.stop(code, why, name) => {}
        _ = interrupt.recv() => std::process::exit(Exit::Interrupted as i32),
        _ = terminate.recv() => std::process::exit(Exit::Interrupted as i32),
    }
    console.finish(Duration::from_secs(1));
    Ok(Exit::Done)
}

/// What programs, and the operator's log, are told when the server is ready.
fn ready(address: SocketAddr, config: &Config, certificate: Option<&Certificate>) -> Event {
    let topics = || config.topics.iter();
    let default = config.level();
    Event::Ready {
        address,
        topics: topics()
            .map(|topic| (topic.name.clone(), topic.source.text.clone()))
            .collect(),
        slow: topics()
            .map(|topic| (topic.name.clone(), topic.source.on_lag.as_str()))
            .collect(),
        level: topics()
            .map(|topic| (topic.name.clone(), topic.source.keep.level(default)))
            .collect(),
        data: config.storage.as_ref().map(|storage| storage.data.clone()),
        io_uring: config.io_uring,
        compression: config.compression == Compression::Deflate,
        echo: config.echo,
        tls: config.is_encrypted(),
        fingerprint: certificate.map(|certificate| certificate.fingerprint().to_owned()),
        authentication: !config.access.is_open(),
        seed: config.seed,
    }
}

/// A log that cannot be written where the operator said is a mistake in what was typed.
fn cannot_log(file: Option<&Path>, error: &std::io::Error) -> Failure {
    let shown = file.map_or(String::new(), |file| escaped(&file.display().to_string()));
    Failure::usage(
        format!("cannot write the log to {shown:?}: {}", reason(error)),
        "name another file with --log-file, or leave it out for standard error",
    )
}

/// What the operator's log is to tell, how and where; what was typed goes before the settings file.
fn journal(
    level: Option<String>,
    form: Option<OutputFormat>,
    file: Option<PathBuf>,
    output: OutputFormat,
) -> Result<JournalSpec, Failure> {
    let beside = if file.is_some() {
        Beside::Nothing
    } else {
        Beside::Console
    };
    let levels = Levels::parse(level.as_deref().unwrap_or(""), beside).map_err(|error| {
        Failure::usage(
            error.to_string(),
            "write --log-level (LAPWING_LOG, log-level) as info, or as info,lapwing::http=debug",
        )
    })?;
    let format = form.unwrap_or(output);
    Ok(JournalSpec { levels, format, file })
}

/// What was typed and what stands in the file, checked; all mistakes are told together.
fn configure(args: ServeArgs, output: OutputFormat) -> Result<Settings, Failure> {
    let file = args
        .config
        .as_deref()
        .map_or_else(|| Ok(SettingsFile::default()), read_file)?;
    let mut wrong = Vec::new();
    let mut note = |failure: Failure| wrong.push(failure);
    let mut topics = Vec::new();
    let from_file = file.topic.iter().map(|(name, source)| format!("{name}={source}"));
    let typed = if args.topics.is_empty() {
        from_file.collect()
    } else {
        args.topics
    };
    for text in &typed {
        match parse_topic(text) {
            Ok(topic) => topics.push(topic),
            Err(failure) => note(failure),
        }
    }
    if typed.is_empty() {
        topics = default_topics();
    }
    let mut limits = Limits::default();
    let storage =
        storage(args.data.or(file.data), args.durability.or(file.durability), &topics).unwrap_or_else(|failure| {
            note(failure);
            None
        });
    let broker = args
        .broker
        .or(BrokerArgs {
            broker: file.broker,
            broker_credentials: file.broker_credentials,
            broker_ca: file.broker_ca,
            broker_prefix: file.broker_prefix,
            server_name: file.server_name,
            adopt: file.adopt,
        })
        .spec(&topics, storage.is_some());
    let broker = broker.unwrap_or_else(|failure| {
        note(failure);
        None
    });
    let listen = args
        .listen
        .or(file.listen)
        .unwrap_or_else(|| DEFAULT_ADDRESS.to_string());
    let repeated = |typed: Vec<String>, written: Vec<String>| if typed.is_empty() { written } else { typed };
    let access = AccessSpec {
        tokens: args.tokens.or(file.tokens),
        jwt_keys: args.jwt_keys.or(file.jwt_keys),
        audiences: repeated(args.jwt_audience, file.jwt_audience),
        issuers: repeated(args.jwt_issuer, file.jwt_issuer),
    };
    check_access(&access).unwrap_or_else(&mut note);
    let tls = tls(
        args.tls_cert.or(file.tls_cert),
        args.tls_key.or(file.tls_key),
        args.tls_self_signed || file.tls_self_signed,
    )
    .unwrap_or_else(|failure| {
        note(failure);
        None
    });
    let listen = address(&listen, !access.is_open(), tls.is_some(), args.open || file.open).unwrap_or_else(|failure| {
        note(failure);
        SocketAddr::from(([127, 0, 0, 1], 0))
    });
    let allowed_origins = repeated(args.allow_origin, file.allow_origin);
    let origins = Origins::parse(&allowed_origins).unwrap_or_else(|error| {
        note(Failure::usage(
            format!("{error}, in --allow-origin"),
            "an origin is a scheme, a host, and a port if it is not the usual one",
        ));
        Origins::default()
    });
    let trusted = if args.trust_proxy.is_empty() {
        file.trust_proxy
    } else {
        args.trust_proxy
    };
    let proxies = Proxies::parse(&trusted).unwrap_or_else(|error| {
        note(Failure::usage(
            format!("{error}, in --trust-proxy"),
            "name the addresses from which your proxies connect, such as 127.0.0.1 or 10.0.0.0/8,::1",
        ));
        Proxies::default()
    });
    let mut span = |typed: Option<String>, written: Option<String>, name: &str, place: &mut Duration, min: Duration| {
        let shown = match (&typed, &written) {
            (Some(text), _) => format!("--{name} {}", quoted(text)),
            (None, Some(text)) => format!("{name} = {}", quoted(text)),
            (None, None) => return,
        };
        match parse_span(&typed.or(written).unwrap_or_default(), min, LIMIT_SPAN_MAX) {
            Ok(span) => *place = span,
            Err(why) => note(Failure::usage(
                format!("{shown} {why}"),
                "write a length of time such as 500ms or 20s",
            )),
        }
    };
    span(
        args.handshake_timeout,
        file.handshake_timeout,
        "handshake-timeout",
        &mut limits.handshake_timeout,
        LIMIT_SPAN_MIN,
    );
    span(
        args.subscribe_timeout,
        file.subscribe_timeout,
        "subscribe-timeout",
        &mut limits.subscribe_timeout,
        LIMIT_SPAN_MIN,
    );
    span(
        args.ping_interval,
        file.ping_interval,
        "ping-interval",
        &mut limits.ping_interval,
        LIMIT_SPAN_MIN,
    );
    span(
        args.pong_timeout,
        file.pong_timeout,
        "pong-timeout",
        &mut limits.pong_timeout,
        LIMIT_SPAN_MIN,
    );
    span(
        args.stall_timeout,
        file.stall_timeout,
        "stall-timeout",
        &mut limits.stall_timeout,
        LIMIT_SPAN_MIN,
    );
    span(
        args.message_timeout,
        file.message_timeout,
        "message-timeout",
        &mut limits.fragment_timeout,
        LIMIT_SPAN_MIN,
    );
    span(
        args.heartbeat,
        file.heartbeat,
        "heartbeat",
        &mut limits.heartbeat,
        LIMIT_SPAN_MIN,
    );
    span(args.drain, file.drain, "drain", &mut limits.drain, Duration::ZERO);
    let asked = args.max_message.or(file.max_message);
    if let Some(bytes) = size(
        asked,
        "max-message",
        1..=MESSAGE_MAX,
        u64::from(limits.message_bytes_max),
        &mut note,
    ) {
        limits.message_bytes_max = bytes;
    }
    let asked = args.max_body.or(file.max_body);
    if let Some(bytes) = size(
        asked,
        "max-body",
        1..=MESSAGE_MAX,
        limits.body_bytes_max as u64,
        &mut note,
    ) {
        limits.body_bytes_max = bytes as usize;
    }
    let asked = args.max_head.or(file.max_head);
    if let Some(bytes) = size(
        asked,
        "max-head",
        8 << 10..=1 << 20,
        limits.head_bytes_max as u64,
        &mut note,
    ) {
        limits.head_bytes_max = bytes as usize;
    }
    let asked = args.max_url.or(file.max_url);
    if let Some(bytes) = size(asked, "max-url", 64..=60 << 10, limits.url_bytes_max as u64, &mut note) {
        limits.url_bytes_max = bytes as usize;
    }
    let asked = args.max_byte_rate.or(file.max_byte_rate);
    if let Some(bytes) = size(
        asked,
        "max-byte-rate",
        1 << 10..=1 << 30,
        u64::from(limits.message_kib_per_second) << 10,
        &mut note,
    ) {
        limits.message_kib_per_second = bytes / 1024;
    }
    let asked = args.max_bodies.or(file.max_bodies);
    if let Some(bytes) = size(
        asked,
        "max-bodies",
        limits.body_bytes_max as u64..=2 << 30,
        limits.bodies_bytes_max as u64,
        &mut note,
    ) {
        limits.bodies_bytes_max = bytes as usize;
    }
    let asked = args.max_unfinished.or(file.max_unfinished);
    let largest = u64::from(limits.message_bytes_max);
    if let Some(bytes) = size(
        asked,
        "max-unfinished",
        largest..=2 << 30,
        limits.unfinished_bytes_max as u64,
        &mut note,
    ) {
        limits.unfinished_bytes_max = bytes as usize;
    }
    let asked = args.stall_rate.or(file.stall_rate);
    if let Some(bytes) = size(
        asked,
        "stall-rate",
        1..=1 << 30,
        u64::from(limits.stall_rate),
        &mut note,
    ) {
        limits.stall_rate = bytes;
    }
    let asked = args.max_headers.or(file.max_headers);
    if let Some(most) = number(asked, "max-headers", 16..=1000, limits.headers_max as u64, &mut note) {
        limits.headers_max = most as usize;
    }
    let asked = args.max_fragments.or(file.max_fragments);
    if let Some(most) = number(
        asked,
        "max-fragments",
        1..=u64::from(u16::MAX),
        limits.fragments_max.into(),
        &mut note,
    ) {
        limits.fragments_max = u16::try_from(most).unwrap_or(u16::MAX);
    }
    let asked = args.max_accept_rate.or(file.max_accept_rate);
    if let Some(most) = number(
        asked,
        "max-accept-rate",
        1..=RATE_MAX,
        limits.accept_rate.per_second.into(),
        &mut note,
    ) {
        limits.accept_rate = Rate::with_burst(most as u32, 2);
        limits.address_accept_rate = Limits::share_of(most as u32);
    }
    let asked = args.max_accept_rate_per_address.or(file.max_accept_rate_per_address);
    if let Some(most) = number(
        asked,
        "max-accept-rate-per-address",
        1..=RATE_MAX,
        limits.address_accept_rate.per_second.into(),
        &mut note,
    ) {
        limits.address_accept_rate = Rate::with_burst(most as u32, SHARE_AT_ONCE);
    }
    let asked = args.max_message_rate.or(file.max_message_rate);
    if let Some(most) = number(
        asked,
        "max-message-rate",
        1..=800_000,
        limits.message_rate.per_second.into(),
        &mut note,
    ) {
        limits.message_rate = Rate::with_burst(most as u32, 5);
    }
    let asked = args.max_command_rate.or(file.max_command_rate);
    if let Some(most) = number(
        asked,
        "max-command-rate",
        1..=RATE_MAX,
        limits.command_rate.per_second.into(),
        &mut note,
    ) {
        limits.command_rate = Rate::with_burst(most as u32, 4);
    }
    let asked = args.max_report_rate.or(file.max_report_rate);
    if let Some(most) = number(
        asked,
        "max-report-rate",
        1..=1000,
        limits.report_rate.per_second.into(),
        &mut note,
    ) {
        limits.report_rate = Rate::with_burst(most as u32, 3);
    }
    let asked = args.max_subscriptions.or(file.max_subscriptions);
    if let Some(most) = number(
        asked,
        "max-subscriptions",
        1..=10_000,
        limits.subscriptions_max as u64,
        &mut note,
    ) {
        limits.subscriptions_max = most as usize;
    }
    let asked = args.max_topics.or(file.max_topics);
    if let Some(most) = number(asked, "max-topics", 1..=10_000, limits.topics_max as u64, &mut note) {
        limits.topics_max = most as usize;
    }
    let asked = args.max_events.or(file.max_events);
    if let Some(most) = number(asked, "max-events", 1..=RATE_MAX, limits.events_max as u64, &mut note) {
        limits.events_max = most as usize;
    }
    let asked = args.max_body_messages.or(file.max_body_messages);
    if let Some(most) = number(
        asked,
        "max-body-messages",
        1..=RATE_MAX,
        limits.body_messages_max as u64,
        &mut note,
    ) {
        limits.body_messages_max = most as usize;
    }
    check_topics(&topics, limits.topics_max).unwrap_or_else(&mut note);
    limits.connections_max = match args.max_connections.or(file.max_connections) {
        Some(asked) => places(&asked, "max-connections", &mut note),
        None => connections_max(topic_files(&topics, storage.as_ref())),
    };
    if let Some(asked) = args.max_connections_per_address.or(file.max_connections_per_address) {
        limits.address_connections_max = places(&asked, "max-connections-per-address", &mut note);
    }
    if let Some(asked) = args.max_connections_per_token.or(file.max_connections_per_token) {
        limits.token_connections_max = places(&asked, "max-connections-per-token", &mut note);
    }
    let seed = match args.seed.or(file.seed) {
        Some(asked) => number(Some(asked), "seed", 0..=u64::MAX, SEED_SHOWN, &mut note),
        None => Some(crate::random::word() % SEED_SHOWN),
    };
    let journal = journal(
        args.log_level.or(file.log_level),
        args.log_format.or(file.log_format),
        args.log_file.or(file.log_file),
        output,
    )
    .unwrap_or_else(|failure| {
        note(failure);
        JournalSpec {
            levels: Levels::none(),
            format: output,
            file: None,
        }
    });
    Failure::all(wrong)?;
    let (io_uring, no_ring) = args.io_uring.or(file.io_uring).unwrap_or_default().decide()?;
    Ok(Settings {
        config: Config {
            listen,
            topics,
            storage,
            broker,
            access,
            seed: seed.unwrap_or_default(),
            allowed_origins,
            io_uring,
            compression: args.compression.or(file.compression).unwrap_or_default().into(),
            echo: args.echo || file.echo,
            tls,
            limits,
        },
        trust: Trust { origins, proxies },
        journal,
        no_ring,
    })
}

/// A number that was asked for, if any, and if it is one that can be; `usual` is one.
fn number(
    asked: Option<Typed<u64>>,
    name: &str,
    range: RangeInclusive<u64>,
    usual: u64,
    note: &mut impl FnMut(Failure),
) -> Option<u64> {
    let Typed { text, value } = asked?;
    let fits = value.filter(|asked| range.contains(asked));
    if fits.is_none() {
        let why = value.map_or("is no whole number", |_| "is out of range");
        let (least, most) = (range.start(), range.end());
        note(Failure::usage(
            format!("--{name} {} {why}: {least} to {most}", quoted(&text)),
            format!("write a whole number such as {usual}"),
        ));
    }
    fits
}

/// How many may be connected at once.
fn places(asked: &Typed<u64>, name: &str, note: &mut impl FnMut(Failure)) -> usize {
    if asked.value == Some(0) {
        note(Failure::usage(format!("--{name} 0 would serve nobody"), "at least 1"));
        return 1;
    }
    let most = number(Some(asked.clone()), name, 1..=CONNECTIONS_MAX, 1000, note);
    most.map_or(1, |most| most as usize)
}

/// A size that was asked for, if any, and if it is one that can be; `usual` is one, unless another setting is in its way.
fn size(
    asked: Option<Typed<ByteSize>>,
    name: &str,
    range: RangeInclusive<u64>,
    usual: u64,
    note: &mut impl FnMut(Failure),
) -> Option<u32> {
    let Typed { text, value } = asked?;
    let fits = value.map(|asked| asked.as_u64()).filter(|asked| range.contains(asked));
    if fits.is_none() {
        let why = value.map_or("is no size", |_| "is out of range");
        let short = |bytes: u64| form::bytes(bytes).replace(".0 ", "").replace(' ', "");
        let (least, most) = (*range.start(), *range.end());
        note(Failure::usage(
            format!("--{name} {} {why}: {} to {}", quoted(&text), short(least), short(most)),
            format!("write a size such as {}", short(usual.clamp(least, most))),
        ));
    }
    fits.and_then(|bytes| u32::try_from(bytes).ok())
}

/// Open files that these topics take beside those of connections, at most: segments and their state, pipes, and what is followed.
fn topic_files(topics: &[TopicSpec], storage: Option<&StorageSpec>) -> usize {
    let files = |topic: &TopicSpec| {
        let kept = match topic
            .source
            .keep
            .level(storage.map_or(Level::None, |storage| storage.level))
        {
            Level::None => 0,
            Level::External => 0,
            Level::Os | Level::Fsync => 3,
        };
        kept + match topic.source.feed {
            Feed::Exec(..) => 3,
            Feed::Tail(..) | Feed::Replay(..) => 2,
            Feed::Users(_) | Feed::Arrays(_) | Feed::Stdin | Feed::Push | Feed::Own => 0,
        }
    };
    topics.iter().map(files).sum()
}

/// What is told at the start when more connections are allowed than there are open files for.
fn too_few_files(config: &Config) -> Option<String> {
    let connections = config.limits.connections_max;
    let own = topic_files(&config.topics, config.storage.as_ref());
    let (missing, files) = missing_files(connections, own)?;
    Some(format!(
        "{} (--max-connections) and what the server needs itself are {} more than the {} open files that it may have: \
         raise that with ulimit -n, or LimitNOFILE= of systemd, or allow fewer",
        form::counted(connections as u64, "connection"),
        form::count(missing as u64),
        form::count(files as u64),
    ))
}

/// What encrypts connections: a certificate and its key, or one that is made.
fn tls(cert: Option<PathBuf>, key: Option<PathBuf>, self_signed: bool) -> Result<Option<TlsSpec>, Failure> {
    match (cert, key, self_signed) {
        (None, None, false) => Ok(None),
        (None, None, true) => Ok(Some(TlsSpec::SelfSigned)),
        (Some(cert), Some(key), false) => Ok(Some(TlsSpec::Files(CertificateFiles { cert, key }))),
        (Some(_), None, false) => Err(Failure::usage(
            "--tls-cert is of no use without its key",
            "add --tls-key FILE",
        )),
        (None, Some(_), false) => Err(Failure::usage(
            "--tls-key is of no use without its certificate",
            "add --tls-cert FILE",
        )),
        (_, _, true) => Err(Failure::usage(
            "--tls-self-signed makes a certificate, and --tls-cert or --tls-key names one",
            "leave one of them out",
        )),
    }
}

/// Where topics are kept, which must be said when one is to be kept.
fn storage(
    data: Option<PathBuf>,
    durability: Option<Durability>,
    topics: &[TopicSpec],
) -> Result<Option<StorageSpec>, Failure> {
    if let Some(data) = data {
        let level = match durability {
            None | Some(Durability::Fsync) => Level::Fsync,
            Some(Durability::Os) => Level::Os,
        };
        return Ok(Some(StorageSpec { data, level }));
    }
    let lost = |what: String| Failure::usage(format!("{what} keeps nothing without a directory"), "add --data DIR");
    if durability.is_some() {
        return Err(lost("--durability".to_owned()));
    }
    let durable = |topic: &&TopicSpec| topic.source.keep.level(Level::None) != Level::None;
    match topics.iter().find(durable) {
        Some(topic) => Err(lost(format!("durability= of topic {}", topic.name))),
        None => Ok(None),
    }
}

/// A directory that cannot be used is no failure of the program: another is named, or this one is looked after.
fn cannot_keep(error: StorageError) -> Failure {
    let hint = match &error {
        StorageError::Directory(error) => error.hint(),
        StorageError::NoDirectory { .. } => "add --data DIR",
        StorageError::Topic(_) => "nothing in the directory was touched; the sentence names the file to look at",
    };
    Failure::failed(error.to_string(), hint)
}

fn read_file(path: &Path) -> Result<SettingsFile, Failure> {
    let shown = escaped(&path.display().to_string());
    let text = std::fs::read_to_string(path).map_err(|error| {
        Failure::usage(
            format!("cannot read the settings file {shown:?}: {}", reason(&error)),
            "name another file with --config",
        )
    })?;
    parse_file(&text, &shown)
}

/// Checks what a settings file says by itself: its keys, the kinds of their values, its topics.
pub fn check_file(text: &str) -> Result<(), Failure> {
    let file = parse_file(text, "lapwing.toml")?;
    let topics = file.topic.iter().map(|(name, source)| format!("{name}={source}"));
    let topics: Result<Vec<_>, _> = topics.map(|topic| parse_topic(&topic)).collect();
    let most = file
        .max_topics
        .and_then(|most| most.value)
        .map(|most| usize::try_from(most).unwrap_or(usize::MAX));
    check_topics(&topics?, most.unwrap_or(Limits::default().topics_max))
}

fn parse_file(text: &str, shown: &str) -> Result<SettingsFile, Failure> {
    toml::from_str(text).map_err(|error| {
        let place = error.span().map_or(String::new(), |span| {
            let before = &text[..span.start.min(text.len())];
            format!(" line {}", before.matches('\n').count() + 1)
        });
        let said = error.message();
        let unknown = said
            .strip_prefix("unknown field `")
            .and_then(|rest| rest.split_once('`'));
        let (what, hint) = match unknown {
            Some((key, _)) => {
                let what = format!("unknown key {}", quoted(key));
                (what, nearest_key(key).map(|key| format!("did you mean {key}?")))
            }
            None => (escaped(said), None),
        };
        Failure::usage(
            format!("in the settings file {shown:?}{place}: {what}"),
            hint.unwrap_or_else(|| "its keys are the flags without --; topics stand under [topic]".to_owned()),
        )
    })
}

/// The key of the settings file that was meant, if one is near.
fn nearest_key(typed: &str) -> Option<String> {
    let flags = <ServeArgs as clap::Args>::augment_args(clap::Command::new("serve"));
    let keys: Vec<&str> = flags.get_arguments().filter_map(clap::Arg::get_long).collect();
    let keys = keys.iter().filter(|key| !FLAGS_ONLY.contains(key)).copied();
    nearest(&typed.to_ascii_lowercase().replace('_', "-"), keys).map(str::to_owned)
}

/// What no topic can tell alone: a name given twice, standard input wanted twice, too many.
fn check_topics(topics: &[TopicSpec], most: usize) -> Result<(), Failure> {
    if topics.len() > most {
        return Err(Failure::usage(
            format!("{} topics, at most {most} can run", topics.len()),
            "allow more with --max-topics, or start another server for the others",
        ));
    }
    for (at, topic) in topics.iter().enumerate() {
        if topics[..at].iter().any(|other| other.name == topic.name) {
            return Err(Failure::usage(
                format!("topic {} is given twice", topic.name),
                "choose another name for one of them",
            ));
        }
    }
    let stdin: Vec<_> = topics
        .iter()
        .filter(|topic| topic.source.feed == Feed::Stdin)
        .map(|topic| topic.name.as_str())
        .collect();
    match stdin.len() {
        0 | 1 => Ok(()),
        _ => Err(Failure::usage(
            format!("standard input cannot fill several topics: {}", stdin.join(", ")),
            "leave it to one of them",
        )),
    }
}

/// What JWTs must say means nothing without keys that prove them.
fn check_access(access: &AccessSpec) -> Result<(), Failure> {
    let said = [("--jwt-audience", &access.audiences), ("--jwt-issuer", &access.issuers)];
    match said.iter().find(|(_, names)| !names.is_empty()) {
        Some((flag, _)) if access.jwt_keys.is_none() => Err(Failure::usage(
            format!("{flag} means nothing without keys that prove a JWT"),
            "add --jwt-keys FILE",
        )),
        _ => Ok(()),
    }
}

fn address(text: &str, authenticated: bool, encrypted: bool, open: bool) -> Result<SocketAddr, Failure> {
    let hint = "write an address and a port such as 127.0.0.1:8765 or [::1]:8765";
    let wrong = |why: &str, hint: &str| Failure::usage(format!("--listen {} {why}", quoted(text)), hint);
    let found: Vec<SocketAddr> = match (text.parse(), text.rsplit_once(':')) {
        (Ok(address), _) => vec![address],
        (Err(_), None) => return Err(wrong("names no port", hint)),
        (Err(_), Some((_, port))) if port.parse::<u16>().is_err() => {
            return Err(wrong("names no port from 0 to 65535", hint));
        }
        (Err(_), Some(("", port))) => {
            let hint = format!(
                "write 127.0.0.1:{port} for this machine, or 0.0.0.0:{port} with --open for all who can reach it"
            );
            return Err(wrong("names no address", &hint));
        }
        (Err(_), Some((name, _))) if name.contains(':') => return Err(wrong("is no address", hint)),
        (Err(_), Some(_)) => text
            .to_socket_addrs()
            .map_err(|_| wrong("is no address: nothing is known by that name", hint))?
            .collect(),
    };
    // Of localhost's two addresses the older one: that is where most clients look first.
    let Some(address) = found.iter().find(|found| found.is_ipv4()).or(found.first()) else {
        return Err(wrong("is no address: nothing is known by that name", hint));
    };
    strangers_allowed(*address, authenticated, encrypted, open).map_err(|error| {
        let hint = match error {
            StrangersError::Both | StrangersError::Unauthenticated => {
                "add --open if that is meant; without it others are served with --tokens and --tls-cert only, this machine always"
            }
            StrangersError::InTheClear => {
                "add --tls-cert and --tls-key, or --open if that is meant, as behind a proxy that speaks TLS"
            }
        };
        Failure::usage(format!("--listen {text} would serve strangers, {error}"), hint)
    })?;
    Ok(*address)
}

fn cannot_listen(address: SocketAddr, error: &std::io::Error) -> Failure {
    let (why, hint) = match error.kind() {
        std::io::ErrorKind::AddrInUse => {
            let any = SocketAddr::new(address.ip(), 0);
            (
                "address already in use".to_owned(),
                format!("is another server running? --listen {any} takes any free port"),
            )
        }
        std::io::ErrorKind::PermissionDenied => (
            "permission denied".to_owned(),
            "ports below 1024 need more rights; choose a higher one with --listen".to_owned(),
        ),
        std::io::ErrorKind::AddrNotAvailable => (
            "this machine does not have that address".to_owned(),
            "choose one of its own with --listen, or 0.0.0.0 with --open for all".to_owned(),
        ),
        _ => (reason(error), "choose another address with --listen".to_owned()),
    };
    Failure::usage(format!("cannot listen on {address}: {why}"), hint)
}

/// What runs and where; each line names the flag that changes it.
fn banner(address: SocketAddr, config: &Config, certificate: Option<&Certificate>, color: ColorChoice) {
    let topics = &config.topics;
    let default_level = config.level();
    let paint = Painter::stderr(color);
    let reach = match (
        address.ip().is_loopback(),
        config.access.is_open(),
        config.is_encrypted(),
    ) {
        (true, true, _) => "for this machine only (--listen ADDR --open serves others)",
        (true, false, _) => "for this machine only, and for who has a token (--listen ADDR --open serves others)",
        (false, true, true) => "for everyone who can reach it, without authentication (--open)",
        (false, true, false) => "for everyone who can reach it, without authentication and in the clear (--open)",
        (false, false, true) => "for everyone who can reach it and has a token",
        (false, false, false) => "for everyone who can reach it and has a token, in the clear (--open)",
    };
    let mut text = String::new();
    let head = paint.paint(Role::Heading, concat!("Lapwing ", env!("CARGO_PKG_VERSION")));
    let label = |word: &'static str| paint.paint(Role::Heading, format!("{word:<8}"));
    // Writing to a String cannot fail.
    let _ = writeln!(text, "{head} is ready, {reach}");
    let (stream, page) = if config.is_encrypted() {
        ("wss", "https")
    } else {
        ("ws", "http")
    };
    let name = match &config.tls {
        Some(TlsSpec::Files(_)) => certificate.and_then(Certificate::name),
        _ => None,
    };
    let at = reach::authority(address, name.as_deref(), reach::own_address(address));
    let _ = writeln!(text, "  {} {stream}://{at}       Page   {page}://{at}", label("Stream"));
    if address.ip().is_unspecified() {
        let _ = writeln!(
            text,
            "  {:<8} and every other address of this machine (--listen {address})",
            ""
        );
    }
    if let Some(certificate) = certificate {
        let whose = match &config.tls {
            Some(TlsSpec::Files(files)) => escaped(&files.cert.display().to_string()),
            _ => "made for this run, so that clients need --insecure (--tls-cert names one to be trusted)".to_owned(),
        };
        let print = certificate.fingerprint();
        let _ = writeln!(text, "  {} {whose}\n  {:<8} SHA-256 {print}", label("TLS"), "");
    }
    let name_width = topics.iter().map(|topic| topic.name.as_str().len()).max().unwrap_or(0);
    let source_width = topics
        .iter()
        .map(|topic| topic.source.text.len())
        .max()
        .unwrap_or(0)
        .min(48);
    for (at, topic) in topics.iter().enumerate() {
        let level = topic.source.keep.level(default_level);
        let _ = writeln!(
            text,
            "  {} {:<name_width$}   {:<source_width$}   keeps {}{}; {} when a client is slow",
            label(if at == 0 { "Topics" } else { "" }),
            topic.name,
            escaped(&topic.source.text),
            keeps(&topic.source, level),
            match level {
                Level::None if config.storage.is_some() => " in memory",
                Level::None => "",
                Level::Os => " on disk (os)",
                Level::Fsync => " on disk (fsync)",
                Level::External => " in the stream",
            },
            topic.source.on_lag.as_str(),
        );
    }
    let seed = config.seed;
    let _ = match (&config.storage, &config.broker) {
        (None, Some(broker)) => writeln!(
            text,
            "  {} NATS JetStream, streams {}_*: shared with every server that names them     Seed  {seed}",
            label("Storage"),
            broker.prefix
        ),
        (None, None) => writeln!(
            text,
            "  {} memory: a restart begins a new history     Seed  {seed}",
            label("Storage")
        ),
        (Some(storage), _) => writeln!(
            text,
            "  {} {}     Seed  {seed}",
            label("Storage"),
            escaped(&storage.data.display().to_string())
        ),
    };
    let _ = writeln!(
        text,
        "  {} room for {}{}",
        label("Clients"),
        room(config),
        match config.compression {
            Compression::Off => "",
            Compression::Deflate => "; compressed for those that offer it (--compression)",
        }
    );
    if config.echo {
        let _ = writeln!(
            text,
            "  {} messages to /echo go back to who sent them (--echo)",
            label("Echo")
        );
    }
    let events = config.topics.first().filter(|_| config.access.is_open());
    let or = match (&config.tls, events) {
        (Some(TlsSpec::SelfSigned), _) | (_, None) => "open the page in a browser".to_owned(),
        (_, Some(topic)) => format!("curl -N {page}://{at}/topics/{}/events", topic.name),
    };
    let _ = writeln!(
        text,
        "  {} {}     or     {or}",
        label("Try"),
        match &config.tls {
            None if address == DEFAULT_ADDRESS => "lapwing listen".to_owned(),
            None | Some(TlsSpec::Files(_)) => format!("lapwing listen {stream}://{at}"),
            Some(TlsSpec::SelfSigned) => format!("lapwing listen {stream}://{at} --insecure"),
        }
    );
    use std::io::Write as _;
    // A closed stderr is no reason not to serve.
    let _ = std::io::stderr().write_all(text.as_bytes());
}

/// For how many connections there is room, as many as were asked for or as there are open files for.
fn room(config: &Config) -> String {
    let asked = config.limits.connections_max;
    let own = topic_files(&config.topics, config.storage.as_ref());
    let possible = possible_connections(asked, own);
    let connections = form::counted(possible as u64, "connection");
    match possible < asked {
        false => format!("{connections} (--max-connections)"),
        true => format!("{connections}: no more files may be open (ulimit -n)"),
    }
}

/// What a topic keeps, whichever comes first: one that holds back its source forgets nothing for its age.
fn keeps(source: &SourceSpec, level: Level) -> String {
    let retention = source.keep.retention(level);
    let bytes = whole_bytes(retention.bytes);
    if source.holds() || retention.age == Duration::MAX {
        return bytes;
    }
    format!("{} or {bytes}", whole_span(retention.age))
}

/// `60 s`, `5 m`: bounds are told without a fraction.
fn whole_span(span: Duration) -> String {
    match span.as_secs() {
        seconds if seconds <= 120 => format!("{} s", span.as_secs_f64()),
        seconds if seconds % 3600 == 0 => format!("{} h", seconds / 3600),
        seconds if seconds % 60 == 0 => format!("{} min", seconds / 60),
        seconds => format!("{seconds} s"),
    }
}

fn whole_bytes(bytes: u64) -> String {
    form::bytes(bytes).replace(".0 ", " ")
}

/// Where a listener looks, too, when it is not told.
const DEFAULT_ADDRESS: SocketAddr = SocketAddr::new(IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 8765);
/// Flags that are no keys of the settings file.
const FLAGS_ONLY: &[&str] = &["config", "output", "json"];
const LIMIT_SPAN_MIN: Duration = Duration::from_millis(100);
const LIMIT_SPAN_MAX: Duration = Duration::from_secs(300);
/// Frames are parsed in memory: what is not 64 MiB long is no message.
const MESSAGE_MAX: u64 = 64 << 20;
/// Above this a rate is none.
const RATE_MAX: u64 = 1_000_000;
/// More than any system lets one process open.
const CONNECTIONS_MAX: u64 = 1_000_000_000;
/// A seed that was drawn is short enough to be typed again.
const SEED_SHOWN: u64 = 100_000;

const EXAMPLES: &str = "\
More with --help: the limits, and the settings of each source (locale=de, shape=2x3, keep=5m …)

Examples:
  vmstat 1 | lapwing serve --topic vm=stdin           a command's output, live
  lapwing serve --topic orders=push                   filled by HTTP and lapwing publish
  lapwing serve --topic 'r=file:feed.ndjson?speed=10' a recording, ten times as fast
  lapwing serve --topic 'users=users?every=10ms'      a hundred random people a second";

const DETAILS: &str = "\
Sources and their settings (NAME=SOURCE?key=value&key=value):
  users            one random person a message      every=1s burst=1 locale=en
                   locales: en, en-GB, en-AU, de, fr, sv, mixed
  arrays           random arrays, as NumPy's integers(low, high, shape, dtype)
                   every=2s burst=5 pack=1 shape=10 low=0 high=100 dtype=int64
  stdin            lines of standard input; JSON lines become data, others strings
  file:PATH        lines of a file as it grows      from=end
  file:PATH?speed=1    a recording with its timing; speed=10, speed=max; only=TOPIC of it
  exec:COMMAND     lines of a command's output      restart=on-failure (always, never)
  push             what is posted to /topics/NAME/messages
Settings of every source:
  every=1s burst=1, or rate=1000/s    the pace: 1ms to 24h, 1 to 100000 messages a tick
  keep=60s keep_bytes=64MiB           what is kept, whichever comes first; on disk 1GiB of any age
  durability=fsync (os, none)         with --data: when a message counts as kept
  dtype=float32                       stdin, file, exec, push: messages are arrays of this type, which
                                      clients may have as binary frames (encoding=binary)
  slow=skip                           a client that is slower than what is kept misses some, and is told
                                      close: it is closed, and comes back; latest: once its socket
                                      was full it goes on with the newest; wait: nothing is missed,
                                      the source is held back (keep= does not apply)
  end=keep (close)                    what follows the end of a source
  start=now (listener)                whether it waits for the first listener

Examples:
  vmstat 1 | lapwing serve --topic vm=stdin           a command's output, live
  lapwing serve --topic orders=push                   filled by HTTP and lapwing publish
  lapwing serve --topic 'r=file:feed.ndjson?speed=10' a recording, ten times as fast
  lapwing serve --topic 'users=users?every=10ms'      a hundred random people a second

Exit codes: 0 stopped, 1 failed, 2 wrong use, 130 ended at once by a second signal";
