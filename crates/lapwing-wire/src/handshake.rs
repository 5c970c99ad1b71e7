//! The opening handshake, both sides of it (RFC 6455 section 4).

use std::fmt;

use base64::Engine;
use base64::alphabet;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD};
use sha1_smol::Sha1;
use thiserror::Error;

use crate::escape::escaped_cut;
use crate::extension::{self, AnswerError, Compression, Deflation};

/// What a request says that wants to open a WebSocket; a header that came several times is joined with commas, one that
/// did not come is empty.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct UpgradeRequest<'a> {
    /// The method.
    pub method: &'a str,
    /// Whether it is HTTP/1.1 or later.
    pub http_1_1_or_later: bool,
    /// How many `Host` headers came.
    pub host_count: usize,
    /// Whether a body is announced, by `Content-Length` other than 0 or by `Transfer-Encoding`.
    pub has_body: bool,
    /// `Connection`.
    pub connection: &'a str,
    /// `Upgrade`.
    pub upgrade: &'a str,
    /// `Sec-WebSocket-Version`.
    pub version: &'a str,
    /// `Sec-WebSocket-Key`.
    pub key: &'a str,
}

/// Checks what RFC 6455 section 4.2.1 asks of a request. Origin, path and rights are not looked at.
pub fn check_upgrade(request: &UpgradeRequest<'_>) -> Result<(), UpgradeError> {
    if request.method != "GET" {
        let method = clip(request.method);
        return Err(UpgradeError::Method { method });
    }
    if !request.http_1_1_or_later {
        return Err(UpgradeError::HttpVersion);
    }
    if request.host_count != 1 {
        let count = request.host_count;
        return Err(UpgradeError::Host { count });
    }
    if request.has_body {
        return Err(UpgradeError::Body);
    }
    if !has_token(request.upgrade, "websocket") {
        let found = clip(request.upgrade);
        return Err(UpgradeError::Upgrade { found });
    }
    if !has_token(request.connection, "upgrade") {
        let found = clip(request.connection);
        return Err(UpgradeError::Connection { found });
    }
    if request.version != VERSION {
        let found = clip(request.version);
        return Err(UpgradeError::Version { found });
    }
    if !is_valid_key(request.key) {
        let found = clip(request.key);
        return Err(UpgradeError::Key { found });
    }
    Ok(())
}

/// Why a request opens no WebSocket; its Display is the body of the answer.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
pub enum UpgradeError {
    /// Another method than GET.
    #[error("a WebSocket is opened with GET, not with {method:?}")]
    Method {
        /// The method that came.
        method: String,
    },
    /// HTTP/1.0.
    #[error("a WebSocket needs HTTP/1.1")]
    HttpVersion,
    /// No or several `Host` headers.
    #[error("a request has one Host header, this one {count}")]
    Host {
        /// How many came.
        count: usize,
    },
    /// A body, which would be taken for frames.
    #[error("a request that opens a WebSocket has no body")]
    Body,
    /// No `Upgrade: websocket`.
    #[error("this is a WebSocket: header Upgrade must say \"websocket\", not {found:?}")]
    Upgrade {
        /// What it said.
        found: String,
    },
    /// No `Connection: Upgrade`.
    #[error("header Connection must say \"Upgrade\", not {found:?}: a proxy that does not know WebSockets changes it")]
    Connection {
        /// What it said.
        found: String,
    },
    /// A version other than 13.
    #[error("header Sec-WebSocket-Version must be 13, not {found:?}")]
    Version {
        /// What it said.
        found: String,
    },
    /// A key that is not 16 bytes in base64.
    #[error("header Sec-WebSocket-Key must be 16 bytes in base64 (24 characters), not {found:?}")]
    Key {
        /// What it said.
        found: String,
    },
}

impl UpgradeError {
    /// The status of the answer. With 426 go `Upgrade: websocket` and `Sec-WebSocket-Version: 13`, with 405 `Allow: GET`.
    #[must_use]
    pub const fn status(&self) -> u16 {
        match self {
            Self::Method { .. } => 405,
            Self::HttpVersion => 505,
            Self::Upgrade { .. } | Self::Version { .. } => 426,
            Self::Host { .. } | Self::Body | Self::Connection { .. } | Self::Key { .. } => 400,
        }
    }
}

/// The answer to a client's key (RFC 6455 section 4.2.2).
#[must_use]
pub fn accept_key(key: &str) -> String {
    let mut sha1 = Sha1::new();
    sha1.update(key.as_bytes());
    sha1.update(b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    STANDARD.encode(sha1.digest().bytes())
}

/// Whether a key is 16 bytes in base64.
#[must_use]
pub fn is_valid_key(key: &str) -> bool {
    let mut bytes = [0; 18];
    key.len() == 24 && matches!(KEY_BASE64.decode_slice(key, &mut bytes), Ok(16))
}

/// The first protocol the client offered that is supported; without one the answer names none.
#[must_use]
pub fn choose_protocol<'a>(offered: &str, supported: &[&'a str]) -> Option<&'a str> {
    tokens(offered).find_map(|token| supported.iter().find(|&&name| name == token).copied())
}

/// A client's request, ready to be sent.
///
/// `host` is as in the URL (with a port unless it is the usual one), `key` is 16 random bytes in base64.
pub fn request(
    host: &str,
    path_and_query: &str,
    key: &str,
    protocols: &[&str],
    extra_headers: &[(&str, &str)],
) -> Result<Vec<u8>, RequestError> {
    let protocols = protocols.join(", ");
    let mut headers = vec![
        ("Host", host),
        ("Upgrade", "websocket"),
        ("Connection", "Upgrade"),
        ("Sec-WebSocket-Key", key),
        ("Sec-WebSocket-Version", VERSION),
    ];
    if !protocols.is_empty() {
        headers.push(("Sec-WebSocket-Protocol", &protocols));
    }
    headers.extend(extra_headers);

    let in_target = |byte: u8| byte.is_ascii_graphic() && byte != b'#';
    if !path_and_query.starts_with('/') || !path_and_query.bytes().all(in_target) {
        let found = clip(path_and_query);
        return Err(RequestError::Target { found });
    }
    let mut request = format!("GET {path_and_query} HTTP/1.1\r\n");
    for (name, value) in headers {
        if name.is_empty() || !name.bytes().all(is_token) {
            let found = clip(name);
            return Err(RequestError::HeaderName { found });
        }
        if value.bytes().any(|byte| byte.is_ascii_control()) {
            let (name, found) = (clip(name), clip(value));
            return Err(RequestError::HeaderValue { name, found });
        }
        request.extend([name, ": ", value, "\r\n"]);
    }
    request.push_str("\r\n");
    Ok(request.into_bytes())
}

/// Why a request cannot be written: it would not be the one that was meant.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
pub enum RequestError {
    /// A path that does not begin with `/` or holds a character that must be escaped.
    #[error("path {found:?} must begin with / and be escaped")]
    Target {
        /// The path.
        found: String,
    },
    /// A header name with a character that has no place there.
    #[error("{found:?} is no name of a header")]
    HeaderName {
        /// The name.
        found: String,
    },
    /// A header value with a line break or another control character.
    #[error("header {name} holds a control character: {found:?}")]
    HeaderValue {
        /// The name.
        name: String,
        /// The value.
        found: String,
    },
}

/// A server's answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Response {
    /// The status; 101 is the one that was hoped for.
    pub status: u16,
    /// What the server calls the status; may be empty.
    pub reason: String,
    /// All headers in their order.
    pub headers: Vec<(String, String)>,
    /// The beginning of a refusal's body, at most [`BODY_BYTES_MAX`].
    pub body: Vec<u8>,
}

impl Response {
    /// Parses what has come since the request was sent: the answer and how many bytes it took, or `None` when its head
    /// is not whole.
    ///
    /// Behind a 101 frames may follow at once. A refusal takes all bytes; for more of its body the caller reads on and
    /// parses all of it again, until [`Response::is_whole`], the end of the stream or the end of its patience.
    pub fn parse(bytes: &[u8]) -> Result<Option<(Response, usize)>, HandshakeError> {
        let mut start = 0;
        loop {
            let head_bytes = &bytes[start..bytes.len().min(HEAD_BYTES_MAX)];
            let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
            let mut head = httparse::Response::new(&mut headers);
            let end = match head.parse(head_bytes) {
                Ok(httparse::Status::Complete(length)) => start + length,
                Ok(httparse::Status::Partial) if bytes.len() < HEAD_BYTES_MAX => return Ok(None),
                Ok(httparse::Status::Partial) => return Err(HandshakeError::HeadTooLong),
                Err(httparse::Error::TooManyHeaders) => return Err(HandshakeError::TooManyHeaders),
                Err(error) => return Err(HandshakeError::NotHttp { error }),
            };
            let status = head.code.unwrap_or_default();
            if head.version != Some(1) && status == 101 {
                return Err(HandshakeError::HttpVersion);
            }
            match status {
                101 => return Ok(Some((Response::new(&head, &[]), end))),
                // Hints before the answer (RFC 9110 section 15.2).
                100..=199 => start = end,
                _ => return Ok(Some((Response::new(&head, &bytes[end..]), bytes.len()))),
            }
        }
    }

    /// Checks that the answer opens the WebSocket that was asked for (RFC 6455 section 4.1).
    pub fn check(&self, key: &str, offered_protocols: &[&str]) -> Result<Accepted, HandshakeError> {
        self.check_offering(key, offered_protocols, Compression::Off)
    }

    /// The same where [`extension::OFFER`] was offered, if it was.
    pub fn check_offering(
        &self,
        key: &str,
        offered_protocols: &[&str],
        offered: Compression,
    ) -> Result<Accepted, HandshakeError> {
        if self.status != 101 {
            return Err(HandshakeError::Refused(Box::new(self.refusal())));
        }
        let upgrade = self.joined("Upgrade");
        if !upgrade.trim().eq_ignore_ascii_case("websocket") {
            let found = clip(&upgrade);
            return Err(HandshakeError::Upgrade { found });
        }
        let connection = self.joined("Connection");
        if !has_token(&connection, "upgrade") {
            let found = clip(&connection);
            return Err(HandshakeError::Connection { found });
        }
        let accept = self.joined("Sec-WebSocket-Accept");
        if accept.trim() != accept_key(key) {
            let found = clip(&accept);
            return Err(HandshakeError::Accept { found });
        }
        let extensions = self.joined("Sec-WebSocket-Extensions");
        let deflation = match offered {
            Compression::Deflate => extension::agreed(&extensions)?,
            Compression::Off if tokens(&extensions).next().is_some() => {
                let found = clip(&extensions);
                return Err(HandshakeError::Extension { found });
            }
            Compression::Off => None,
        };
        let protocol = self.joined("Sec-WebSocket-Protocol");
        let protocol = protocol.trim();
        if !protocol.is_empty() && !offered_protocols.contains(&protocol) {
            let found = clip(protocol);
            return Err(HandshakeError::Protocol { found });
        }
        Ok(Accepted {
            protocol: (!protocol.is_empty()).then(|| protocol.to_owned()),
            deflation,
        })
    }

    /// The first header of this name, whatever its case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.named(name).next()
    }

    /// Whether nothing more belongs to the answer, as far as it says its length, or nothing more of it is kept.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        let announced = self.header("Content-Length").and_then(|length| length.parse().ok());
        self.status == 101 || self.body.len() >= announced.unwrap_or(BODY_BYTES_MAX).min(BODY_BYTES_MAX)
    }

    fn new(head: &httparse::Response<'_, '_>, body: &[u8]) -> Self {
        let header = |header: &httparse::Header<'_>| {
            let value = String::from_utf8_lossy(header.value).into_owned();
            (header.name.to_owned(), value)
        };
        Self {
            status: head.code.unwrap_or_default(),
            reason: head.reason.unwrap_or_default().to_owned(),
            headers: head.headers.iter().map(header).collect(),
            body: body[..body.len().min(BODY_BYTES_MAX)].to_vec(),
        }
    }

    fn refusal(&self) -> Refusal {
        let header = |name| self.header(name).map(str::to_owned);
        Refusal {
            status: self.status,
            reason: self.reason.clone(),
            retry_after: header("Retry-After"),
            location: header("Location"),
            body: String::from_utf8_lossy(&self.body).into_owned(),
        }
    }

    fn named(&self, name: &str) -> impl Iterator<Item = &str> {
        let named = self
            .headers
            .iter()
            .filter(move |header| header.0.eq_ignore_ascii_case(name));
        named.map(|header| header.1.as_str())
    }

    fn joined(&self, name: &str) -> String {
        self.named(name).collect::<Vec<_>>().join(", ")
    }
}

/// What client and server agreed on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Accepted {
    /// The protocol the server chose among the offered ones.
    pub protocol: Option<String>,
    /// How messages may be compressed.
    pub deflation: Option<Deflation>,
}

/// An answer other than 101, with what helps to understand it. It is the server's text: Display escapes it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Refusal {
    /// The status.
    pub status: u16,
    /// What the server calls the status; may be empty.
    pub reason: String,
    /// When to come back, in seconds or as a date.
    pub retry_after: Option<String>,
    /// Where to go instead.
    pub location: Option<String>,
    /// The beginning of the body.
    pub body: String,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.status)?;
        let line = self.body.lines().find(|line| !line.trim().is_empty());
        for (before, text) in [
            (" ", Some(self.reason.as_str())),
            (": ", line),
            ("; moved to ", self.location.as_deref()),
            ("; retry after ", self.retry_after.as_deref()),
        ] {
            if let Some(text) = text.filter(|text| !text.is_empty()) {
                write!(f, "{before}{}", escaped_cut(text.trim(), CLIP_BYTES_MAX).0)?;
            }
        }
        Ok(())
    }
}

/// Why no WebSocket was opened.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
pub enum HandshakeError {
    /// The answer is not HTTP.
    #[error("the server does not speak HTTP: {error}")]
    NotHttp {
        /// What the parser says.
        error: httparse::Error,
    },
    /// 101 in an HTTP version that has no upgrade.
    #[error("the server answers in HTTP/1.0, which has no WebSockets")]
    HttpVersion,
    /// A head over [`HEAD_BYTES_MAX`].
    #[error("the server's answer has a head of more than {HEAD_BYTES_MAX} bytes")]
    HeadTooLong,
    /// More than [`HEADERS_MAX`] headers.
    #[error("the server's answer has more than {HEADERS_MAX} headers")]
    TooManyHeaders,
    /// Another status than 101.
    #[error("the server refused: {0}")]
    Refused(Box<Refusal>),
    /// No `Upgrade: websocket`.
    #[error("the server's header Upgrade says {found:?}, not \"websocket\"")]
    Upgrade {
        /// What it said.
        found: String,
    },
    /// No `Connection: Upgrade`.
    #[error("the server's header Connection says {found:?}, not \"Upgrade\"")]
    Connection {
        /// What it said.
        found: String,
    },
    /// The answer to another key.
    #[error("the server's header Sec-WebSocket-Accept {found:?} does not answer our key")]
    Accept {
        /// What it said.
        found: String,
    },
    /// What was offered of compression is not what was answered.
    #[error(transparent)]
    Compression(#[from] AnswerError),
    /// An extension, although none was offered.
    #[error("the server uses an extension that was not offered: {found:?}")]
    Extension {
        /// What it said.
        found: String,
    },
    /// A protocol that was not offered, or several.
    #[error("the server chose a protocol that was not offered: {found:?}")]
    Protocol {
        /// What it said.
        found: String,
    },
}

/// The elements of a comma-separated header.
fn tokens(header: &str) -> impl Iterator<Item = &str> {
    header.split(',').map(str::trim).filter(|token| !token.is_empty())
}

fn has_token(header: &str, expect: &str) -> bool {
    tokens(header).any(|token| token.eq_ignore_ascii_case(expect))
}

/// A character of a header's name (RFC 9110 section 5.6.2).
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// The beginning of a text that somebody else wrote.
fn clip(text: &str) -> String {
    text[..text.floor_char_boundary(CLIP_BYTES_MAX)].to_owned()
}

/// The one version of the protocol (RFC 6455 section 4.1).
pub const VERSION: &str = "13";

/// The longest head of an answer.
pub const HEAD_BYTES_MAX: usize = 16 * 1024;

/// The most headers of an answer.
pub const HEADERS_MAX: usize = 64;

/// How much of a refusal's body is kept: enough for a sentence and the page around it.
pub const BODY_BYTES_MAX: usize = 1024;

/// How much of a foreign text an error quotes.
const CLIP_BYTES_MAX: usize = 200;

/// Keys written by hand often leave the last, unused bits set; browsers' and libraries' never do.
const KEY_BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true),
);

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
    const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

    const GOOD: UpgradeRequest<'_> = UpgradeRequest {
        method: "GET",
        http_1_1_or_later: true,
        host_count: 1,
        has_body: false,
        connection: "keep-alive, Upgrade",
        upgrade: "WebSocket",
        version: "13",
        key: KEY,
    };

    #[track_caller]
    fn check_refused(request: UpgradeRequest<'_>, status: u16, says: &str) {
        let error = check_upgrade(&request).expect_err("must be refused");
        assert_eq!(error.status(), status, "{error}");
        assert!(error.to_string().contains(says), "{error}");
    }

    /// What becomes of an answer: the protocol, or the error in words.
    fn answer(bytes: &[u8]) -> Result<Option<String>, String> {
        let (response, _) = Response::parse(bytes)
            .map_err(|error| error.to_string())?
            .ok_or("unfinished")?;
        let accepted = response.check(KEY, &["lapwing.v1", "other"]);
        accepted
            .map(|accepted| accepted.protocol)
            .map_err(|error| error.to_string())
    }

    /// A 101 whose header `name` is replaced by these lines.
    #[track_caller]
    fn check_answer(name: &str, lines: &str, expect: Result<Option<&str>, &str>) {
        let mut text = "HTTP/1.1 101 Switching Protocols\r\n".to_owned();
        for line in [
            "Upgrade: websocket\r\n",
            "Connection: Upgrade\r\n",
            &format!("Sec-WebSocket-Accept: {ACCEPT}\r\n"),
        ] {
            if !line.starts_with(&format!("{name}:")) {
                text.push_str(line);
            }
        }
        text.extend([lines, "\r\n"]);
        match (answer(text.as_bytes()), expect) {
            (Ok(protocol), Ok(expect)) => assert_eq!(protocol.as_deref(), expect, "{lines}"),
            (Err(error), Err(says)) => assert!(error.contains(says), "{error}"),
            (found, _) => panic!("{lines}: {found:?} instead of {expect:?}"),
        }
    }

    #[track_caller]
    fn check_refusal(bytes: &[u8], expect: &str) {
        assert_eq!(answer(bytes), Err(format!("the server refused: {expect}")));
    }

    #[test]
    fn the_example_of_the_rfc_holds() {
        assert_eq!(accept_key(KEY), ACCEPT);
        assert!(is_valid_key(KEY));
        assert_eq!(check_upgrade(&GOOD), Ok(()));
    }

    #[test]
    fn d6_a_request_that_opens_no_websocket_is_told_why() {
        check_refused(UpgradeRequest { method: "POST", ..GOOD }, 405, "GET");
        let http_1_0 = UpgradeRequest {
            http_1_1_or_later: false,
            ..GOOD
        };
        check_refused(http_1_0, 505, "HTTP/1.1");
        check_refused(UpgradeRequest { upgrade: "", ..GOOD }, 426, "websocket");
        check_refused(UpgradeRequest { upgrade: "h2c", ..GOOD }, 426, "h2c");
        let keep_alive = UpgradeRequest {
            connection: "keep-alive",
            ..GOOD
        };
        check_refused(keep_alive, 400, "keep-alive");
        check_refused(UpgradeRequest { version: "8", ..GOOD }, 426, "13");
        check_refused(UpgradeRequest { version: "", ..GOOD }, 426, "13");
        check_refused(
            UpgradeRequest {
                version: "13, 13",
                ..GOOD
            },
            426,
            "13",
        );
        check_refused(UpgradeRequest { key: "", ..GOOD }, 400, "24 characters");
        check_refused(UpgradeRequest { key: "abc", ..GOOD }, 400, "abc");
    }

    #[test]
    fn d5_two_hosts_or_a_body_are_refused() {
        check_refused(UpgradeRequest { host_count: 0, ..GOOD }, 400, "0");
        check_refused(UpgradeRequest { host_count: 2, ..GOOD }, 400, "2");
        check_refused(UpgradeRequest { has_body: true, ..GOOD }, 400, "body");
    }

    #[test]
    fn a_key_is_16_bytes_in_base64() {
        for (key, valid) in [
            (KEY, true),
            ("AAAAAAAAAAAAAAAAAAAAAA==", true),
            ("AAAAAAAAAAAAAAAAAAAAAB==", true),
            ("", false),
            ("AAAAAAAAAAAAAAAAAAAAAAA=", false),
            ("AAAAAAAAAAAAAAAAAAAAAAAA", false),
            ("AAAAAAAAAAAAAAAAAAAAAA", false),
            ("AAAAAAAAAAAAAAAAAAAAA===", false),
            ("AAAAAAAAAAAAAAAAAAAAA_==", false),
            (" AAAAAAAAAAAAAAAAAAAAA==", false),
            ("AAAAAAAAAAAAAAAAAAAAAA==, AAAAAAAAAAAAAAAAAAAAAA==", false),
        ] {
            assert_eq!(is_valid_key(key), valid, "{key:?}");
        }
    }

    #[test]
    fn the_clients_first_choice_wins_and_case_counts() {
        for (offered, expect) in [
            ("lapwing.v1", Some("lapwing.v1")),
            ("b, lapwing.v1", Some("b")),
            ("unknown,lapwing.v1 ,b", Some("lapwing.v1")),
            ("Lapwing.v1", None),
            ("", None),
            (" , ,", None),
        ] {
            assert_eq!(choose_protocol(offered, &["lapwing.v1", "b"]), expect, "{offered:?}");
        }
    }

    #[test]
    fn a_request_says_what_the_rfc_asks_for() {
        let token = [("Authorization", "Bearer x")];
        let request = request("localhost:8765", "/ws?topics=a", KEY, &["lapwing.v1", "b"], &token);
        let expect = "GET /ws?topics=a HTTP/1.1\r\nHost: localhost:8765\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
            Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\
            Sec-WebSocket-Protocol: lapwing.v1, b\r\nAuthorization: Bearer x\r\n\r\n";
        assert_eq!(request, Ok(expect.as_bytes().to_vec()));
    }

    #[test]
    fn nothing_is_smuggled_into_a_request() {
        for path in ["", "ws", "/a b", "/a\r\nX: y", "/ü", "/#top"] {
            let found = path.to_owned();
            let error = RequestError::Target { found };
            assert_eq!(request("h", path, KEY, &[], &[]), Err(error));
        }
        assert!(request("h\r\nX: y", "/", KEY, &[], &[]).is_err());
        assert!(request("h", "/", KEY, &["a\nb"], &[]).is_err());
        for (name, value) in [("A", "b\r\nc"), ("A", "b\0"), ("A b", "c"), ("", "c"), ("A:", "c")] {
            assert!(request("h", "/", KEY, &[], &[(name, value)]).is_err(), "{name:?}");
        }
    }

    #[test]
    fn a_good_answer_is_accepted() {
        check_answer("", "", Ok(None));
        check_answer("Upgrade", "UPGRADE: WebSocket\r\n", Ok(None));
        check_answer("Connection", "connection: keep-alive, upgrade\r\n", Ok(None));
        check_answer("", "Sec-WebSocket-Protocol: lapwing.v1\r\n", Ok(Some("lapwing.v1")));
    }

    #[test]
    fn an_answer_to_something_else_is_an_error() {
        check_answer("Upgrade", "", Err("Upgrade"));
        check_answer("Upgrade", "Upgrade: h2c\r\n", Err("h2c"));
        check_answer("Connection", "Connection: close\r\n", Err("close"));
        check_answer("Sec-WebSocket-Accept", "", Err("Accept"));
        let other = "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOO=\r\n";
        check_answer("Sec-WebSocket-Accept", other, Err("does not answer"));
        check_answer("", "Sec-WebSocket-Protocol: lapwing.v2\r\n", Err("lapwing.v2"));
        let two = "Sec-WebSocket-Protocol: lapwing.v1, other\r\n";
        check_answer("", two, Err("lapwing.v1, other"));
        let twice = "Sec-WebSocket-Protocol: other\r\nSec-WebSocket-Protocol: other\r\n";
        check_answer("", twice, Err("other, other"));
        let deflate = "Sec-WebSocket-Extensions: permessage-deflate\r\n";
        check_answer("", deflate, Err("permessage-deflate"));
    }

    #[test]
    fn a_refusal_is_kept_for_the_user() {
        check_refusal(
            b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 7\r\n\r\n",
            "503 Service Unavailable; retry after 7",
        );
        check_refusal(
            b"HTTP/1.1 404 Not Found\r\n\r\n\r\nno topic \"x\"\nmore",
            "404 Not Found: no topic \"x\"",
        );
        check_refusal(b"HTTP/1.0 301\r\nLocation: wss://h/\r\n\r\n", "301; moved to wss://h/");
        check_refusal(b"HTTP/1.1 400 Bad\r\n\r\n\x1b[2Jboo\x07", r"400 Bad: \u{1b}[2Jboo\u{7}");
        let turned = "HTTP/1.1 400 Bad\r\n\r\nnot \u{202e}you";
        check_refusal(turned.as_bytes(), r"400 Bad: not \u{202e}you");
    }

    #[test]
    fn a_refusal_is_whole_when_its_body_is() {
        let head = "HTTP/1.1 400 Bad Request\r\nContent-Length: 4\r\n\r\n";
        for (body, whole) in [("", false), ("wo", false), ("word", true)] {
            let bytes = format!("{head}{body}");
            let (response, consumed) = Response::parse(bytes.as_bytes())
                .expect("it is HTTP")
                .expect("its head is whole");
            assert_eq!(response.is_whole(), whole, "{body:?}");
            assert_eq!((consumed, response.body), (bytes.len(), body.into()));
        }
    }

    #[test]
    fn frames_behind_the_answer_are_left_for_the_decoder() {
        let hint = "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n";
        let head = format!(
            "{hint}HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: {ACCEPT}\r\n\r\n"
        );
        let bytes = [head.as_bytes(), b"\x81\x02hi"].concat();
        for cut in 0..head.len() {
            assert_eq!(Response::parse(&bytes[..cut]), Ok(None), "cut at {cut}");
        }
        let parsed = Response::parse(&bytes).map(|parsed| parsed.map(|(_, consumed)| consumed));
        assert_eq!(parsed, Ok(Some(head.len())));
        assert_eq!(answer(&bytes), Ok(None));
    }

    #[test]
    fn d3_a_head_has_limits() {
        let status = "HTTP/1.1 101 Switching Protocols\r\n";
        let unfinished = |bytes: usize| format!("{status}A: {}", "x".repeat(bytes - status.len() - 3));
        assert_eq!(Response::parse(unfinished(HEAD_BYTES_MAX - 1).as_bytes()), Ok(None));
        let error = Err(HandshakeError::HeadTooLong);
        assert_eq!(Response::parse(unfinished(HEAD_BYTES_MAX).as_bytes()), error);
        let late_end = format!("{}\r\n\r\n", unfinished(HEAD_BYTES_MAX - 1));
        assert_eq!(Response::parse(late_end.as_bytes()), error);

        let headers = |count| format!("{status}{}\r\n", "A: b\r\n".repeat(count));
        assert!(Response::parse(headers(HEADERS_MAX).as_bytes()).is_ok());
        let error = Err(HandshakeError::TooManyHeaders);
        assert_eq!(Response::parse(headers(HEADERS_MAX + 1).as_bytes()), error);
    }

    #[test]
    fn what_is_not_http_is_named_so() {
        for bytes in [&b"SSH-2.0-OpenSSH\r\n"[..], b"\x15\x03\x01\0\x02\x02", b"\x81\x02hi"] {
            let error = Response::parse(bytes).expect_err("it is not HTTP");
            assert!(
                error.to_string().starts_with("the server does not speak HTTP"),
                "{error}"
            );
        }
        let old = b"HTTP/1.0 101 Switching Protocols\r\n\r\n";
        assert_eq!(Response::parse(old), Err(HandshakeError::HttpVersion));
    }
}
