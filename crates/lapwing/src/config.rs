//! What the settings mean: every limit of the server in one place, with unit, default and reason.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use lapwing_wire::control::Level;
use lapwing_wire::extension::Compression;

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

/// The limits of a server.
#[derive(Clone, Debug)]
pub struct Limits {
    /// From accept to the end of the handshake, that of TLS included: a slow head is cut here.
    pub handshake_timeout: Duration,
    /// Connections at once; more are told 503. Default: 80 % of the open files allowed, the rest is for files and peers;
    /// where few are allowed, as many as the server does not need itself.
    pub connections_max: usize,
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
    /// A lagging connection must take at least one byte in this time, and [`Limits::LAG_RATE_MIN`] a second over it.
    pub stall_timeout: Duration,
    /// From the first signal to the end: lagging clients are served so long.
    pub drain: Duration,
    /// A publish body.
    pub body_bytes_max: usize,
    /// Heartbeats on `lapwing.v1`.
    pub heartbeat: Duration,
    /// Lines that wait for a slow terminal, in bytes; what overflows is counted.
    pub console_bytes_max: usize,
}

impl Limits {
    /// Bytes a second that a lagging connection must take at least.
    pub const LAG_RATE_MIN: u64 = 256;
    /// Topics that one connection may follow.
    pub const SUBSCRIPTIONS_MAX: usize = 100;
    /// Topics of one server: each costs a source, a log and a row on the page.
    pub const TOPICS_MAX: usize = 1000;
    /// Commands of `lapwing.v1`, and control frames, a second and at once.
    pub const COMMANDS: (u32, u32) = (50, 200);
    /// Bytes of a client's message that the console shows.
    pub const SAID_BYTES_MAX: usize = 1024;
    /// The head of a request, in bytes.
    pub const HEAD_BYTES_MAX: usize = 16 << 10;
    /// Header lines of a request.
    pub const HEADERS_MAX: usize = 64;
    /// The path and query of a request, in bytes.
    pub const URL_BYTES_MAX: usize = 8 << 10;
    /// Messages of one published body: each costs far more than its bytes.
    pub const BODY_MESSAGES_MAX: usize = 10_000;
    /// Published bodies that are read at once, in bytes, over all connections.
    pub const BODIES_BYTES_MAX: usize = 64 << 20;
    /// Compressed messages of clients that are made whole at the same time, in bytes, over all connections: the largest that may
    /// be allowed, and the byte by which a larger one shows.
    pub const INFLATING_BYTES_MAX: usize = (64 << 20) + 1;
    /// A message to `/echo`: test suites send large ones, in as many frames as they like.
    pub const ECHO_BYTES_MAX: u32 = 64 << 20;
    /// A publish into a topic that holds back its source waits so long for room, then it is told 503: less than clients of HTTP
    /// have patience for.
    pub const HELD_PUBLISH_MAX: Duration = Duration::from_secs(5);
    /// A publish that came before the one it must come after waits so long for it, then it is told 412: they took different
    /// connections, and one packet may have been sent again on the way.
    pub const EARLY_PUBLISH_MAX: Duration = Duration::from_secs(1);
    /// One write to one socket, in bytes: large enough to be cheap, small enough that no session starves another.
    pub const WRITE_BYTES_MAX: usize = 64 << 10;
    /// Connections without a place that are told so inside TLS, at once: each costs a handshake. Others are closed without a word.
    pub const TLS_REFUSALS_MAX: usize = 64;
    /// The files of the certificate are looked at this often; a change is taken when they look the same twice.
    pub const CERTIFICATE_INTERVAL: Duration = Duration::from_secs(2);
    /// A report of one topic is taken this often.
    pub const REPORT_INTERVAL: Duration = Duration::from_secs(1);
    /// After our close frame, so long for the peer's.
    pub const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);
    /// Returning clients are spread so that no more than this many come back a second.
    pub const RETURNS_PER_SECOND: u64 = 500;
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            handshake_timeout: Duration::from_secs(10),
            connections_max: connections_max(),
            message_bytes_max: 1 << 20,
            fragments_max: 1024,
            fragment_timeout: Duration::from_secs(30),
            ping_interval: Duration::from_secs(20),
            pong_timeout: Duration::from_secs(10),
            stall_timeout: Duration::from_secs(30),
            drain: Duration::from_secs(5),
            body_bytes_max: 1 << 20,
            heartbeat: Duration::from_secs(10),
            console_bytes_max: 8 << 20,
        }
    }
}

fn connections_max() -> usize {
    let files = open_files();
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let own = OWN_FILES + 2 * cores;
    (files / 5 * 4).min(files.saturating_sub(own)).max(1)
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
