//! What the settings mean: every limit of the server in one place, with unit, default and reason.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use lapwing_wire::control::Level;
use lapwing_wire::extension::Compression;
use lapwing_wire::name::ClientName;
use lapwing_wire::secret::Secret;
use thiserror::Error;

use crate::source::spec::TopicSpec;

/// Everything that `lapwing serve` needs to know, checked.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where to listen.
    pub listen: SocketAddr,
    /// The topics and what fills them.
    pub topics: Vec<TopicSpec>,
    /// Where topics are kept, and how safely; none keeps all of them in memory.
    pub storage: Option<StorageSpec>,
    /// The broker whose streams the topics are copies of; none keeps them here.
    pub broker: Option<BrokerSpec>,
    /// What is asked of those who come.
    pub access: AccessSpec,
    /// The seed of all random feeds.
    pub seed: u64,
    /// Origins that may open a stream or publish beside the server's own, and so the host names that it answers to.
    pub allowed_origins: Vec<String>,
    /// Whether delivery sends to many clients by one system call; asked for only where that was tried.
    pub io_uring: bool,
    /// Whether messages are compressed for clients that offer permessage-deflate.
    pub compression: Compression,
    /// Whether `/echo` sends messages back.
    pub echo: bool,
    /// What encrypts connections; none serves in the clear.
    pub tls: Option<TlsSpec>,
    /// The limits.
    pub limits: Limits,
}

impl Config {
    /// What an acknowledgement means where a topic says nothing of it.
    #[must_use]
    pub fn level(&self) -> Level {
        match (&self.broker, &self.storage) {
            (Some(_), _) => Level::External,
            (None, Some(storage)) => storage.level,
            (None, None) => Level::None,
        }
    }

    /// Whether everything that is served is inside TLS.
    #[must_use]
    pub fn is_encrypted(&self) -> bool {
        self.tls.is_some()
    }
}

/// Which certificate is shown.
#[derive(Clone, Debug)]
pub enum TlsSpec {
    /// One that is read from files, again when they change.
    Files(CertificateFiles),
    /// One that is made at start, for development.
    SelfSigned,
}

/// Where a certificate and its key are, both PEM.
#[derive(Clone, Debug)]
pub struct CertificateFiles {
    /// The server's own certificate, and behind it those that lead to a trusted one.
    pub cert: PathBuf,
    /// The private key of the first.
    pub key: PathBuf,
}

/// Where durable topics are kept.
#[derive(Clone, Debug)]
pub struct StorageSpec {
    /// The directory.
    pub data: PathBuf,
    /// The level of topics that name none.
    pub level: Level,
}

/// How the broker is reached, and what the streams there are.
#[derive(Clone, Debug)]
pub struct BrokerSpec {
    /// Its addresses, which may hold a user and a password.
    pub urls: Vec<Secret>,
    /// A file of credentials.
    pub credentials: Option<PathBuf>,
    /// A file of certificates that the broker's must lead to; none for those that the system trusts.
    pub ca: Option<PathBuf>,
    /// How names of streams and subjects begin.
    pub prefix: String,
    /// How this server is called among all that share the streams; none for its address.
    pub name: Option<ClientName>,
    /// The most replicas that a topic asks for.
    pub replicas: u8,
    /// Whether a stream that is there with other settings is taken as it is.
    pub adopt: bool,
}

/// What is asked of those who come: nothing, unless a file says who may do what.
#[derive(Clone, Debug, Default)]
pub struct AccessSpec {
    /// The file of tokens.
    pub tokens: Option<PathBuf>,
    /// The file of keys that prove JWTs.
    pub jwt_keys: Option<PathBuf>,
    /// A JWT must be meant for one of these; without any it must be meant for nobody in particular.
    pub audiences: Vec<String>,
    /// A JWT must be from one of these; without any it may be from anyone who has the key.
    pub issuers: Vec<String>,
}

impl AccessSpec {
    /// Whether nobody is asked who they are.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.tokens.is_none() && self.jwt_keys.is_none()
    }
}

/// Whether a server may listen where strangers can reach it: with tokens and encryption both, or when `open` says that it is meant.
///
/// What comes by way of a proxy that ends TLS does not count as encrypted: the proxy may be the only one that connects, but nothing
/// here can know that. Such a proxy stands on this machine, where the server listens on loopback, or `open` says what it is.
pub fn strangers_allowed(
    listen: SocketAddr,
    authenticated: bool,
    encrypted: bool,
    open: bool,
) -> Result<(), StrangersError> {
    if open || listen.ip().to_canonical().is_loopback() {
        return Ok(());
    }
    match (authenticated, encrypted) {
        (true, true) => Ok(()),
        (false, false) => Err(StrangersError::Both),
        (false, true) => Err(StrangersError::Unauthenticated),
        (true, false) => Err(StrangersError::InTheClear),
    }
}

/// Why a server does not listen where strangers can reach it; goes on behind "would serve strangers".
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum StrangersError {
    /// Neither is there.
    #[error("without authentication and in the clear")]
    Both,
    /// Anybody could listen.
    #[error("without authentication")]
    Unauthenticated,
    /// Anybody on the way could read the tokens.
    #[error("in the clear: whoever is on the way reads their tokens")]
    InTheClear,
}

/// So many a second, and so many at once after a quiet time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// In a second.
    pub per_second: u32,
    /// At once.
    pub at_once: u32,
}

impl Rate {
    /// So many a second, and `times` as many at once.
    #[must_use]
    pub const fn with_burst(per_second: u32, times: u32) -> Self {
        Self {
            per_second,
            at_once: per_second.saturating_mul(times),
        }
    }
}

/// The limits of a server.
#[derive(Clone, Debug)]
pub struct Limits {
    /// From accept to the end of the handshake, that of TLS included: a slow head is cut here.
    pub handshake_timeout: Duration,
    /// Connections at once; more are told 503. Default: 80 % of the open files allowed, the rest is for files and peers;
    /// where few are allowed, as many as the server does not need itself.
    pub connections_max: usize,
    /// Connections at once from one address (of IPv6 from one network of 64 bits); more are told 429. Those of this machine do
    /// not count, and behind a trusted proxy those count for whom it asks. Default: many people behind one address of a
    /// company, and too few to take all places.
    pub address_connections_max: usize,
    /// Connections at once of one bearer of tokens, whichever of their tokens they show; more are told 429. Default: what one
    /// address may have, so that a token that got into wrong hands takes no more than that.
    pub token_connections_max: usize,
    /// Connections that are let in from other machines; more wait up to a second, then they are told 503. Default: what one core
    /// greets with time to spare for delivery.
    pub accept_rate: Rate,
    /// Of those, the share of one address, counted as its connections are; more wait up to a second, then they are told 429.
    /// Default: a fifth of what all have and half of what comes at once, so that a company comes back within seconds and no
    /// network alone keeps others out.
    pub address_accept_rate: Rate,
    /// The head of a request, in bytes, at least what hyper reads at once (8 KiB).
    pub head_bytes_max: usize,
    /// Header lines of a request. Default: browsers behind two proxies send some thirty.
    pub headers_max: usize,
    /// The path and query of a request, in bytes. Default: a hundred topics with a place each.
    pub url_bytes_max: usize,
    /// A client of `lapwing.v1` that named no topic must subscribe to one by then: it holds a place for nothing.
    pub subscribe_timeout: Duration,
    /// Topics that one connection may follow: each is a cursor, looked at with every append.
    pub subscriptions_max: usize,
    /// Messages from one client. Default: more than a person or a sensor says, and less than takes a console.
    pub message_rate: Rate,
    /// Bytes of messages from one client, in KiB a second; at once as many, and one message of the largest size.
    pub message_kib_per_second: u32,
    /// Commands of `lapwing.v1`, and as many control frames.
    pub command_rate: Rate,
    /// Reports of one topic from one client. At once three times as many: the last of all comes when it comes, and clocks are not exact.
    pub report_rate: Rate,
    /// Messages of one published body: each costs far more than its bytes.
    pub body_messages_max: usize,
    /// Published bodies that are read at once, in bytes, over all connections.
    pub bodies_bytes_max: usize,
    /// Messages from clients that are not whole yet, in bytes, over all connections: of each client's message only what came
    /// is held, but ten thousand clients may begin one. Who would exceed it is closed with 1013.
    pub unfinished_bytes_max: usize,
    /// A message from a client; larger ones are closed with 1009.
    pub message_bytes_max: u32,
    /// Frames of one message from a client, empty ones too (CVE-2026-62389 of another library).
    pub fragments_max: u16,
    /// A fragmented message must be whole by then.
    pub fragment_timeout: Duration,
    /// A silent connection is pinged this often.
    pub ping_interval: Duration,
    /// A ping that left must be answered by then.
    pub pong_timeout: Duration,
    /// A lagging connection must take at least one byte in this time, and [`Limits::stall_rate`] over it.
    pub stall_timeout: Duration,
    /// Bytes a second that a lagging connection must take at least. Default: far less than any line of today carries.
    pub stall_rate: u32,
    /// From the first signal to the end: lagging clients are served so long.
    pub drain: Duration,
    /// A publish body.
    pub body_bytes_max: usize,
    /// Heartbeats on `lapwing.v1`.
    pub heartbeat: Duration,
    /// Topics of one server: each costs a source, a log and a row on the page.
    pub topics_max: usize,
    /// Clients of server-sent events at once; more are told 503. Default: each costs some ten times as much memory as a
    /// session, and nobody has so many who could not use WebSocket.
    pub events_max: usize,
    /// Lines that wait for a slow terminal, in bytes; what overflows is counted.
    pub console_bytes_max: usize,
}

impl Limits {
    /// Bytes of a client's message that the console shows.
    pub const SAID_BYTES_MAX: usize = 1024;
    /// Compressed messages of clients that are made whole at the same time, in bytes, over all connections: the largest that may
    /// be allowed, and the byte by which a larger one shows.
    pub const INFLATING_BYTES_MAX: usize = (64 << 20) + 1;
    /// A message to `/echo`: test suites send large ones, in as many frames as they like.
    pub const ECHO_BYTES_MAX: u32 = 64 << 20;
    /// A publish into a topic that holds back its source waits so long for room, then it is told 503: less than clients of HTTP
    /// have patience for.
    pub const HELD_PUBLISH_MAX: Duration = Duration::from_secs(5);
    /// Who comes from another server, where it was further than this one is, waits so long until it is known whether the stream
    /// behind the topic is; then it is told to come again.
    pub const SETTLE_MAX: Duration = Duration::from_secs(5);
    /// A publish that came before the one it must come after waits so long for it, then it is told 412: they took different
    /// connections, and one packet may have been sent again on the way.
    pub const EARLY_PUBLISH_MAX: Duration = Duration::from_secs(1);
    /// Lines of the operator's log that wait for whoever reads it, in bytes; what overflows is counted.
    /// Default: some five hundred lines, since no kind has more than a few a second.
    pub const LOG_BYTES_MAX: usize = 128 << 10;
    /// One text in it: a message, or the value of a field. What is longer is cut.
    pub const LOG_TEXT_BYTES_MAX: usize = 1024;
    /// Lines of one kind in it: enough to see what happens, and no more than a disk takes of a flood.
    pub const LOG_RATE: Rate = Rate {
        per_second: 10,
        at_once: 50,
    };
    /// What was not told of a kind is told as a sum this long after the first of it.
    pub const LOG_SUMMED_EVERY: Duration = Duration::from_secs(10);
    /// Levels that may be given for single targets.
    pub const LOG_TARGETS_MAX: usize = 64;
    /// One write to one socket, in bytes: large enough to be cheap, small enough that no session starves another.
    pub const WRITE_BYTES_MAX: usize = 64 << 10;
    /// What a client of server-sent events is given at once, in bytes: HTTP buffers as much again, so a stuck one holds little.
    pub const EVENTS_WRITE_BYTES_MAX: usize = 16 << 10;
    /// A client of server-sent events that loses its connection waits so long before it comes back, and up to a second more.
    pub const EVENTS_RETRY_MS: u64 = 2000;
    /// The files of the certificate are looked at this often; a change is taken when they look the same twice.
    pub const CERTIFICATE_INTERVAL: Duration = Duration::from_secs(2);
    /// Of a request that was answered before it was whole, so much is read and thrown away, so that the answer is not lost: as much
    /// as the largest body that can be allowed, since many clients send all of it before they look for an answer.
    pub const UNREAD_BYTES_MAX: usize = 64 << 20;
    /// And for so long.
    pub const UNREAD_TIMEOUT: Duration = Duration::from_secs(5);
    /// After our close frame, so long for the peer's.
    pub const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);
    /// And when the server stops, for it and for answers of HTTP: somebody waits at the terminal.
    pub const STOP_CLOSE_TIMEOUT: Duration = Duration::from_secs(1);
    /// Returning clients are spread so that no more than this many come back a second.
    pub const RETURNS_PER_SECOND: u64 = 500;
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            handshake_timeout: Duration::from_secs(10),
            connections_max: connections_max(0),
            address_connections_max: 1000,
            token_connections_max: 1000,
            accept_rate: Rate::with_burst(500, 2),
            address_accept_rate: Self::share_of(500),
            head_bytes_max: 16 << 10,
            headers_max: 64,
            url_bytes_max: 8 << 10,
            subscribe_timeout: Duration::from_secs(5),
            subscriptions_max: 100,
            message_rate: Rate::with_burst(1000, 5),
            message_kib_per_second: 8 << 10,
            command_rate: Rate::with_burst(50, 4),
            report_rate: Rate::with_burst(1, 3),
            body_messages_max: 10_000,
            bodies_bytes_max: 64 << 20,
            unfinished_bytes_max: 256 << 20,
            message_bytes_max: 1 << 20,
            fragments_max: 1024,
            fragment_timeout: Duration::from_secs(30),
            ping_interval: Duration::from_secs(20),
            pong_timeout: Duration::from_secs(10),
            stall_timeout: Duration::from_secs(30),
            stall_rate: 256,
            drain: Duration::from_secs(5),
            body_bytes_max: 1 << 20,
            heartbeat: Duration::from_secs(10),
            topics_max: 1000,
            events_max: 10_000,
            console_bytes_max: 8 << 20,
        }
    }
}

impl Limits {
    /// The share of one address where so many a second are let in of all: a fifth, and half of what all may be at once.
    #[must_use]
    pub fn share_of(accepted_per_second: u32) -> Rate {
        Rate::with_burst(accepted_per_second.div_ceil(5), SHARE_AT_ONCE)
    }

    /// The bytes of messages that one client may send, in KiB.
    #[must_use]
    pub fn byte_rate(&self) -> Rate {
        Rate {
            per_second: self.message_kib_per_second,
            at_once: self.message_kib_per_second + self.message_bytes_max.div_ceil(1024),
        }
    }

    /// How often a client may report a topic.
    #[must_use]
    pub fn report_interval(&self) -> Duration {
        Duration::from_secs(1) / self.report_rate.per_second
    }
}

/// What one address may be at once, in seconds of its share.
pub const SHARE_AT_ONCE: u32 = 5;

/// Connections that fit beside the files of these topics: 80 % of the open files allowed, the rest is for files and peers; where
/// few are allowed, as many as the server does not need itself.
#[must_use]
pub fn connections_max(topic_files: usize) -> usize {
    let files = open_files();
    (files / 5 * 4)
        .min(files.saturating_sub(own_files() + topic_files))
        .max(1)
}

/// Open files that are missing for so many connections beside these topics' files, and how many this process may have; none
/// when they suffice.
#[must_use]
pub fn missing_files(connections: usize, topic_files: usize) -> Option<(usize, usize)> {
    let needed = (own_files() + topic_files).saturating_add(connections);
    let files = open_files();
    (needed > files).then(|| (needed - files, files))
}

/// How many of so many connections there are open files for, beside these topics' files.
#[must_use]
pub fn possible_connections(connections: usize, topic_files: usize) -> usize {
    connections
        .min(open_files().saturating_sub(own_files() + topic_files))
        .max(1)
}

fn own_files() -> usize {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    OWN_FILES + 2 * cores
}

/// Open files that this process needs beside its connections and two for each delivery thread: the standard streams, the
/// listening socket, polls and signals (12 in all), and a few for those who are being refused.
const OWN_FILES: usize = 16;

/// Open files that this process may have.
fn open_files() -> usize {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    limit
        .current
        .map_or(usize::MAX, |files| usize::try_from(files).unwrap_or(usize::MAX))
}

/// Raises the limit of open files to what this process is allowed; gives the limit then in force.
pub fn raise_open_files() -> usize {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    // It may be refused, and then the old limit is what there is.
    let _ = setrlimit(
        Resource::Nofile,
        Rlimit {
            current: limit.maximum,
            maximum: limit.maximum,
        },
    );
    open_files()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(listen: &str, authenticated: bool, encrypted: bool, open: bool, expect: Result<(), StrangersError>) {
        let listen = listen.parse().expect("an address");
        assert_eq!(
            strangers_allowed(listen, authenticated, encrypted, open),
            expect,
            "{listen}"
        );
    }

    #[test]
    fn e15_strangers_are_served_with_tokens_and_encryption_or_when_that_is_meant() {
        for local in ["127.0.0.1:1", "127.9.9.9:1", "[::1]:1", "[::ffff:127.0.0.1]:1"] {
            check(local, false, false, false, Ok(()));
        }
        for reachable in [
            "0.0.0.0:1",
            "10.0.0.1:1",
            "[::]:1",
            "[fe80::1]:1",
            "[::ffff:10.0.0.1]:1",
        ] {
            check(reachable, false, false, false, Err(StrangersError::Both));
            check(reachable, false, true, false, Err(StrangersError::Unauthenticated));
            check(reachable, true, false, false, Err(StrangersError::InTheClear));
            check(reachable, true, true, false, Ok(()));
            check(reachable, false, false, true, Ok(()));
        }
    }
}
