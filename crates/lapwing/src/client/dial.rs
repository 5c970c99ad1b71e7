//! From a URL to an open connection: addresses, TCP, TLS, handshake, and every way in which that fails.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use lapwing_wire::decoder::DecoderLimits;
use lapwing_wire::escape::escaped_cut;
use lapwing_wire::extension::{Compression, OFFER};
use lapwing_wire::handshake::{self, HandshakeError, Refusal, RequestError, Response};
use lapwing_wire::name::ClientName;
use lapwing_wire::secret::Secret;
use rustls::pki_types::ServerName;
use rustls::{CertificateError, ClientConfig};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::connection::{Connection, Stream};
use super::entropy::Entropy;
use super::target::{Security, Target};
use super::tls;
use super::token::{TokenError, TokenSource, bearer};
use crate::failure::Failure;
use crate::reason::reason;

/// What is needed to connect, again and again.
#[derive(Clone, Debug)]
pub struct Dial {
    /// Where to.
    pub target: Target,
    /// What to call ourselves, in the query.
    pub name: Option<ClientName>,
    /// The subprotocols to offer.
    pub protocols: &'static [&'static str],
    /// Whether compression is offered; what is agreed on goes both ways.
    pub compression: Compression,
    /// What the server may send.
    pub limits: DecoderLimits,
    /// How much is read at once; [`READ_BYTES`](super::connection::READ_BYTES) suits a reader that keeps up.
    pub read_bytes: usize,
    /// For `wss://`.
    pub tls: Option<Arc<ClientConfig>>,
    /// What to show the server.
    pub token: TokenSource,
}

/// A connection behind its handshake.
pub struct Dialed {
    /// The connection.
    pub connection: Connection,
    /// The subprotocol that the server chose.
    pub protocol: Option<String>,
    /// The token that the server was shown.
    pub token: Option<Secret>,
}

impl Dial {
    /// Connects once.
    pub async fn connect(&self, entropy: &mut Entropy) -> Result<Dialed, DialError> {
        let token = self.token.read().map_err(DialError::Token)?;
        let mut stream = open(&self.target, self.tls.as_ref()).await?;
        let key = STANDARD.encode(entropy.bytes::<16>());
        let request = self.request(&key, token.as_ref()).map_err(DialError::Request)?;
        let answer = timeout(HANDSHAKE_WAIT, converse(&mut stream, &request)).await;
        let (response, early) = answer.map_err(|_| DialError::Silent)??;
        let accepted = response
            .check_offering(&key, self.protocols, self.compression)
            .map_err(DialError::from)?;
        let entropy = Entropy::from_seed(entropy.bytes());
        Ok(Dialed {
            connection: Connection::new(
                stream,
                &early,
                self.limits,
                self.read_bytes,
                entropy,
                accepted.deflation,
            ),
            protocol: accepted.protocol,
            token,
        })
    }

    fn request(&self, key: &str, token: Option<&Secret>) -> Result<Vec<u8>, RequestError> {
        let path = self.target.path_and_query(self.name.as_ref());
        let bearer = token.map(bearer);
        let mut headers = vec![USER_AGENT];
        headers.extend(bearer.as_deref().map(|bearer| ("Authorization", bearer)));
        if self.compression == Compression::Deflate {
            headers.push(("Sec-WebSocket-Extensions", OFFER));
        }
        handshake::request(&self.target.host_header(), &path, key, self.protocols, &headers)
    }
}

/// Opens the bytes to a server: TCP to the first of its addresses that takes us, and TLS where the URL says so.
pub async fn open(target: &Target, tls: Option<&Arc<ClientConfig>>) -> Result<Stream, DialError> {
    let stream = tcp(target).await?;
    match (target.security, tls) {
        (Security::Tls, Some(config)) => secure(stream, target, config.clone()).await,
        _ => Ok(Stream::Plain(stream)),
    }
}

async fn tcp(target: &Target) -> Result<TcpStream, DialError> {
    let found = tokio::net::lookup_host((target.host.as_str(), target.port)).await;
    let addresses: Vec<_> = found
        .map_err(|error| DialError::Resolve {
            host: target.host.clone(),
            error,
        })?
        .collect();
    let mut tried = Vec::new();
    for address in addresses {
        match timeout(CONNECT_WAIT, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => {
                // Reports are small and single: waiting for more of them would only make them late.
                let _ = stream.set_nodelay(true);
                return Ok(stream);
            }
            Ok(Err(error)) => tried.push((address, error)),
            Err(_) => tried.push((address, io::ErrorKind::TimedOut.into())),
        }
    }
    Err(DialError::Connect { tried })
}

async fn secure(stream: TcpStream, target: &Target, config: Arc<ClientConfig>) -> Result<Stream, DialError> {
    let name = ServerName::try_from(target.host.clone()).map_err(|_| DialError::Resolve {
        host: target.host.clone(),
        error: io::Error::new(io::ErrorKind::InvalidInput, "no certificate can have this name"),
    })?;
    let connector = tokio_rustls::TlsConnector::from(config);
    match timeout(HANDSHAKE_WAIT, connector.connect(name, stream)).await {
        Ok(Ok(stream)) => Ok(Stream::Tls(Box::new(stream))),
        Ok(Err(error)) => Err(DialError::of_tls(error)),
        Err(_) => Err(DialError::Silent),
    }
}

/// Sends the request and reads the answer, with the bytes that came behind it.
async fn converse(stream: &mut Stream, request: &[u8]) -> Result<(Response, Vec<u8>), DialError> {
    stream.write_all(request).await.map_err(DialError::Lost)?;
    stream.flush().await.map_err(DialError::Lost)?;
    let mut came = Vec::new();
    let mut ended = false;
    loop {
        if came.starts_with(&TLS_ALERT) {
            return Err(DialError::TlsNeeded);
        }
        match Response::parse(&came).map_err(DialError::Handshake)? {
            None if ended => return Err(DialError::Lost(io::ErrorKind::UnexpectedEof.into())),
            None => ended = stream.read_buf(&mut came).await.map_err(DialError::Lost)? == 0,
            Some((response, used)) if response.status == 101 => return Ok((response, came.split_off(used))),
            Some((response, _)) if ended || response.is_whole() => return Ok((response, Vec::new())),
            // The rest of a body whose end is not announced is not worth waiting for.
            Some((response, _)) => {
                let more = timeout(BODY_WAIT, stream.read_buf(&mut came)).await;
                if !matches!(more, Ok(Ok(count)) if count > 0) {
                    return Ok((response, Vec::new()));
                }
            }
        }
    }
}

/// Why there is no connection.
#[derive(Debug)]
pub enum DialError {
    /// The host has no address.
    Resolve {
        /// The host.
        host: String,
        /// What the system says.
        error: io::Error,
    },
    /// None of its addresses takes us.
    Connect {
        /// Each address and what it said.
        tried: Vec<(SocketAddr, io::Error)>,
    },
    /// It took us and then said nothing in time.
    Silent,
    /// The connection ended before the handshake did.
    Lost(io::Error),
    /// The server answers in TLS, the URL does not say so.
    TlsNeeded,
    /// The URL says TLS, the server does not speak it.
    TlsNotSpoken,
    /// The server's certificate is not trusted.
    Certificate(CertificateError),
    /// TLS went wrong otherwise.
    Tls(rustls::Error),
    /// The server said no.
    Refused(Box<Refusal>),
    /// The server answers, but not as a WebSocket server does.
    Handshake(HandshakeError),
    /// The request cannot be written.
    Request(RequestError),
    /// There is no token to show.
    Token(TokenError),
}

/// What a connection is for, which decides what helps.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Purpose {
    /// To receive.
    Listen,
    /// To send.
    Publish,
}

/// What to do after a failed attempt.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// Try again, after this time if the server said one.
    Retry(Option<Duration>),
    /// It will not be different the next time.
    Stop,
}

impl DialError {
    /// What to do.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        match self {
            Self::Resolve { .. } | Self::Connect { .. } | Self::Silent | Self::Lost(_) | Self::Tls(_) => {
                Verdict::Retry(None)
            }
            Self::Refused(refusal) if matches!(refusal.status, 408 | 429 | 500..=599) => {
                Verdict::Retry(refusal.retry_after.as_deref().and_then(retry_after))
            }
            Self::TlsNeeded
            | Self::TlsNotSpoken
            | Self::Certificate(_)
            | Self::Refused(_)
            | Self::Handshake(_)
            | Self::Request(_)
            | Self::Token(_) => Verdict::Stop,
        }
    }

    /// The HTTP status with which a server said no.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Refused(refusal) => Some(refusal.status),
            _ => None,
        }
    }

    /// The failure, for who gives up now.
    #[must_use]
    pub fn failure(&self, target: &Target, purpose: Purpose) -> Failure {
        let at = target.address_text();
        match self {
            Self::TlsNeeded => Failure::failed(
                format!("{at} answers in TLS, but the URL begins with ws://"),
                format!("use {}", target.other_security()),
            ),
            Self::TlsNotSpoken => Failure::failed(
                format!("{at} does not speak TLS, but the URL begins with wss://"),
                format!("use {}", target.other_security()),
            ),
            Self::Certificate(error) => Failure::failed(
                format!(
                    "the certificate of {} is not trusted: {}",
                    target.host,
                    tls::reason(error)
                ),
                tls::hint(error),
            ),
            Self::Refused(refusal) => {
                let (sentence, hint) = refusal_sentence(refusal, purpose);
                Failure::failed(sentence, hint).refused(refusal.status)
            }
            Self::Handshake(error) => Failure::failed(
                format!("{target} is no stream: {error}"),
                "is it the address of a WebSocket server, and the right path?",
            ),
            Self::Request(error) => Failure::usage(error.to_string(), "escape it in the URL"),
            Self::Token(error) => Failure::failed(error.to_string(), error.hint()),
            Self::Resolve { .. } | Self::Connect { .. } | Self::Silent | Self::Lost(_) | Self::Tls(_) => {
                Failure::failed(
                    format!("no server at {target}: {self}"),
                    "start one with: lapwing serve",
                )
            }
        }
    }

    /// What an error of a stream inside TLS says.
    #[must_use]
    pub fn of_tls(error: io::Error) -> Self {
        let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
        match inner {
            Some(rustls::Error::InvalidCertificate(error)) => Self::Certificate(error.clone()),
            Some(rustls::Error::InvalidMessage(_)) => Self::TlsNotSpoken,
            Some(other) => Self::Tls(other.clone()),
            None => Self::Lost(error),
        }
    }
}

impl From<HandshakeError> for DialError {
    fn from(error: HandshakeError) -> Self {
        match error {
            HandshakeError::Refused(refusal) if wants_tls(&refusal) => Self::TlsNeeded,
            HandshakeError::Refused(refusal) => Self::Refused(refusal),
            error => Self::Handshake(error),
        }
    }
}

impl fmt::Display for DialError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Resolve { host, error } => {
                let said = io_reason(error);
                let said = said.rsplit(": ").next().unwrap_or_default();
                write!(f, "no address of {host} is known: {said}")
            }
            Self::Connect { tried } => f.write_str(&connect_reason(tried)),
            Self::Silent => write!(f, "no answer within {} s", HANDSHAKE_WAIT.as_secs()),
            Self::Lost(error) => f.write_str(&io_reason(error)),
            Self::TlsNeeded => f.write_str("it answers in TLS"),
            Self::TlsNotSpoken => f.write_str("it does not speak TLS"),
            Self::Certificate(error) => write!(f, "its certificate is not trusted: {}", tls::reason(error)),
            Self::Tls(error) => f.write_str(&tls::trouble(error)),
            Self::Refused(refusal) => f.write_str(&refusal_sentence(refusal, Purpose::Listen).0),
            Self::Handshake(error) => error.fmt(f),
            Self::Request(error) => error.fmt(f),
            Self::Token(error) => error.fmt(f),
        }
    }
}

/// What the system says of a failed read, write or connect, in few words.
#[must_use]
pub fn io_reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "connection refused".to_owned(),
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => "reset".to_owned(),
        io::ErrorKind::ConnectionAborted => "aborted".to_owned(),
        io::ErrorKind::TimedOut => "no answer".to_owned(),
        io::ErrorKind::UnexpectedEof => "it ended the connection".to_owned(),
        io::ErrorKind::HostUnreachable => "host unreachable".to_owned(),
        io::ErrorKind::NetworkUnreachable => "network unreachable".to_owned(),
        _ => reason(error),
    }
}

/// One address needs no name, which stands in the sentence around it; of several each is named, since that is the riddle.
fn connect_reason(tried: &[(SocketAddr, io::Error)]) -> String {
    match tried {
        [] => "it has no address".to_owned(),
        [(_, error)] => io_reason(error),
        tried => {
            let each = tried
                .iter()
                .map(|(address, error)| format!("{address}: {}", io_reason(error)));
            each.collect::<Vec<_>>().join(", ")
        }
    }
}

/// What the server says in its refusal, as a sentence and a hint.
///
/// Our own servers answer with a sentence as text, and with a hint on a line of its own; many others with JSON or a page.
#[must_use]
pub fn refusal_sentence(refusal: &Refusal, purpose: Purpose) -> (String, String) {
    let status = status_text(refusal);
    let (said, hint) = said(&refusal.body);
    if let Some((sentence, of_token)) = said.as_deref().and_then(|said| token_sentence(said, purpose)) {
        return (format!("{sentence} ({status})"), hint.unwrap_or(of_token));
    }
    let sentence = match &said {
        Some(said) => format!("the server refused: {said} ({status})"),
        None => format!("the server answered {status}"),
    };
    let (location, _) = escaped_cut(refusal.location.as_deref().unwrap_or_default(), 200);
    let hint = hint.unwrap_or_else(|| match (refusal.status, purpose) {
        (400, _)
            if said
                .as_deref()
                .is_some_and(|said| said.starts_with("unknown key ") || said.contains(" does not belong in a URL")) =>
        {
            "leave it out of the URL".to_owned()
        }
        (400, _)
            if said
                .as_deref()
                .is_some_and(|said| said.starts_with("this port speaks TLS")) =>
        {
            "begin the URL with wss:// or https://".to_owned()
        }
        (400, Purpose::Listen) if said.is_some() => "look at the URL, also behind its ?".to_owned(),
        (300..=399, _) if !location.is_empty() => format!("it has moved to {location}"),
        (401, _) => "--token-file FILE, or LAPWING_TOKEN in the environment, tells it who you are".to_owned(),
        (403, _) => "it wants to know who you are, or you may not have this".to_owned(),
        (404, Purpose::Listen) => "look at the path of the URL and at --topics".to_owned(),
        (404 | 409, Purpose::Publish) => "a topic takes messages with: lapwing serve --topic NAME=push".to_owned(),
        (409, Purpose::Listen) => "--from earliest begins with what there is".to_owned(),
        (429 | 503, _) => "it has too much to do; try again later".to_owned(),
        // What 500 says of a topic stays so until somebody has looked after its files.
        (500, Purpose::Publish) => {
            "trying again does not help: whoever runs the server looks after the topic's files, \
                                    which lapwing log dump DIR shows, and starts it anew"
                .to_owned()
        }
        (500..=599, _) => "the server has a problem of its own; try again later".to_owned(),
        (_, Purpose::Listen) => "is it the address of a WebSocket server, and the right path?".to_owned(),
        (_, Purpose::Publish) => "is it the address of a Lapwing server?".to_owned(),
    });
    (sentence, hint)
}

/// What a server of ours says of our token, as a sentence and a hint; none when it speaks of something else.
#[must_use]
pub fn token_sentence(said: &str, purpose: Purpose) -> Option<(String, String)> {
    let it = said.strip_prefix("the token ")?;
    let sentence = format!("the server refused the token: it {}", it.replacen("; ", ", ", 1));
    let Some((has, needed)) = it.strip_prefix("has ").and_then(|it| it.split_once("; ")) else {
        return Some((
            sentence,
            "give one that is in force, with --token-file FILE or in LAPWING_TOKEN".to_owned(),
        ));
    };
    let listens = has.split(", ").filter_map(|scope| scope.strip_prefix("listen:"));
    let may: Vec<_> = listens.filter(|topic| *topic != "*").collect();
    let mut hint = "ask for a token with that scope".to_owned();
    if purpose == Purpose::Listen && needed.starts_with("topic ") && !may.is_empty() {
        hint.push_str(&format!(", or leave the topic out: --topics {}", may.join(",")));
    }
    Some((sentence, hint))
}

fn status_text(refusal: &Refusal) -> String {
    let (reason, _) = escaped_cut(refusal.reason.trim(), 60);
    match reason.is_empty() {
        true => refusal.status.to_string(),
        false => format!("{} {reason}", refusal.status),
    }
}

/// The sentence and the hint in a body.
fn said(body: &str) -> (Option<String>, Option<String>) {
    let short = |text: &str| Some(escaped_cut(text.trim(), 400).0).filter(|text| !text.is_empty());
    if let Ok(serde_json::Value::Object(object)) = serde_json::from_str(body) {
        let text = |key: &str| object.get(key).and_then(|value| value.as_str()).and_then(short);
        return (text("error").or_else(|| text("message")), text("hint"));
    }
    if body.trim_start().starts_with('<') {
        return (None, None);
    }
    let mut lines = body.lines().filter(|line| !line.trim().is_empty());
    let sentence = lines.next().map(|line| line.strip_prefix("error: ").unwrap_or(line));
    let hint = lines.find_map(|line| line.strip_prefix("hint: "));
    (sentence.and_then(short), hint.and_then(short))
}

/// Servers that speak HTTP on a port for TLS only to say so.
fn wants_tls(refusal: &Refusal) -> bool {
    let said = ["this port speaks TLS", "HTTPS port", "HTTPS server"];
    refusal.status == 400 && said.iter().any(|said| refusal.body.contains(said))
}

/// Seconds, or a date of the kind that HTTP uses, seen from now.
fn retry_after(text: &str) -> Option<Duration> {
    if let Ok(seconds) = text.trim().parse::<u64>() {
        return Some(Duration::from_secs(seconds.min(RETRY_SECONDS_MAX)));
    }
    let when = jiff::fmt::rfc2822::parse(text.trim()).ok()?.timestamp();
    let wait = when.duration_since(jiff::Timestamp::now()).as_secs().max(0);
    Some(Duration::from_secs(wait.unsigned_abs().min(RETRY_SECONDS_MAX)))
}

/// A fatal or warning alert of any TLS version: the answer of a TLS server to a request in plain text.
pub const TLS_ALERT: [u8; 2] = [0x15, 0x03];

/// For one address; a name with several must not hold us up for minutes.
pub const CONNECT_WAIT: Duration = Duration::from_secs(5);

/// How a client of ours calls itself in its handshake.
pub const USER_AGENT: (&str, &str) = ("User-Agent", concat!("lapwing/", env!("CARGO_PKG_VERSION")));

/// As long as our own servers give a client for its half.
pub const HANDSHAKE_WAIT: Duration = Duration::from_secs(10);

/// For the rest of a refusal.
const BODY_WAIT: Duration = Duration::from_secs(1);

/// An hour, so that a server cannot send a client to sleep for ever.
const RETRY_SECONDS_MAX: u64 = 3600;

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(status: u16, body: &str) -> Refusal {
        Refusal {
            status,
            reason: "Why Not".to_owned(),
            retry_after: Some("3".to_owned()),
            location: None,
            body: body.to_owned(),
        }
    }

    #[test]
    fn the_servers_sentence_is_told_whatever_its_form() {
        let told = |status, body: &str| refusal_sentence(&refusal(status, body), Purpose::Listen);
        assert_eq!(
            told(
                404,
                "no topic \"x\"; topics: users, arrays\nhint: ask for one of them\n"
            ),
            (
                "the server refused: no topic \"x\"; topics: users, arrays (404 Why Not)".to_owned(),
                "ask for one of them".to_owned()
            )
        );
        assert_eq!(
            told(403, "{\"error\":\"not \\u001b[31myou\"}").0,
            "the server refused: not \\u{1b}[31myou (403 Why Not)"
        );
        assert_eq!(
            told(
                400,
                "unknown key \"token\" in the query; known are topics, from, encoding, envelope and name"
            ),
            (
                "the server refused: unknown key \"token\" in the query; known are topics, from, encoding, envelope and \
                 name (400 Why Not)"
                    .to_owned(),
                "leave it out of the URL".to_owned()
            )
        );
        assert_eq!(told(404, "<html><title>x</title>").0, "the server answered 404 Why Not");
    }

    #[test]
    fn what_a_server_says_of_the_token_is_told_with_the_way_out() {
        let told = |status, body: &str, purpose| refusal_sentence(&refusal(status, body), purpose);
        let needs = "the token has listen:users, publish:x; topic \"orders\" needs listen:orders";
        assert_eq!(
            told(403, needs, Purpose::Listen),
            (
                "the server refused the token: it has listen:users, publish:x, topic \"orders\" needs listen:orders (403 Why Not)"
                    .to_owned(),
                "ask for a token with that scope, or leave the topic out: --topics users".to_owned()
            )
        );
        let (_, hint) = told(
            403,
            "the token has listen:*; topic \"x\" needs publish:x",
            Purpose::Publish,
        );
        assert_eq!(hint, "ask for a token with that scope");
        let (sentence, hint) = told(401, "the token expired 31 s ago", Purpose::Listen);
        assert_eq!(
            sentence,
            "the server refused the token: it expired 31 s ago (401 Why Not)"
        );
        assert!(hint.contains("--token-file"), "{hint}");
        let (_, hint) = told(401, "this server wants a token", Purpose::Listen);
        assert!(hint.starts_with("--token-file FILE"), "{hint}");
    }

    #[test]
    fn only_what_may_change_is_tried_again() {
        let verdict = |status| DialError::Refused(Box::new(refusal(status, ""))).verdict();
        for status in [301, 400, 401, 403, 404, 409, 426] {
            assert_eq!(verdict(status), Verdict::Stop, "{status}");
        }
        for status in [429, 500, 502, 503] {
            assert_eq!(
                verdict(status),
                Verdict::Retry(Some(Duration::from_secs(3))),
                "{status}"
            );
        }
        assert_eq!(DialError::Silent.verdict(), Verdict::Retry(None));
        assert_eq!(DialError::TlsNeeded.verdict(), Verdict::Stop);
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        assert_eq!(retry_after("120"), Some(Duration::from_secs(120)));
        assert_eq!(retry_after("999999"), Some(Duration::from_secs(3600)));
        assert_eq!(retry_after("Sun, 06 Nov 1994 08:49:37 GMT"), Some(Duration::ZERO));
        assert_eq!(retry_after("soon"), None);
    }

    #[test]
    fn several_addresses_are_each_named() {
        let refused = || io::Error::from(io::ErrorKind::ConnectionRefused);
        let v4: SocketAddr = "127.0.0.1:8765".parse().expect("valid");
        let v6: SocketAddr = "[::1]:8765".parse().expect("valid");
        let one = DialError::Connect {
            tried: vec![(v4, refused())],
        };
        assert_eq!(one.to_string(), "connection refused");
        let two = DialError::Connect {
            tried: vec![(v6, refused()), (v4, refused())],
        };
        assert_eq!(
            two.to_string(),
            "[::1]:8765: connection refused, 127.0.0.1:8765: connection refused"
        );
    }
}
