//! Where a client connects to: the URL that was typed.

use std::fmt;

use lapwing_wire::escape::escaped_cut;
use lapwing_wire::name::ClientName;
use lapwing_wire::topic::TopicName;
use thiserror::Error;

/// The URL of a stream: `ws://HOST:PORT/PATH?QUERY`, or `wss://…` for TLS.
///
/// Its Display is for people and recordings: values in the query that look like a secret are `***`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Target {
    /// Whether the stream is inside TLS.
    pub security: Security,
    /// Name or address, an IPv6 address without its brackets.
    pub host: String,
    /// The port.
    pub port: u16,
    /// The path, at least `/`, fit for a request.
    path: String,
    /// What stood behind the `?`, fit for a request.
    query: Option<String>,
}

/// Whether a stream is inside TLS.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Security {
    /// `ws://`
    Plain,
    /// `wss://`
    Tls,
}

impl Target {
    /// Parses the URL of a stream.
    pub fn parse(text: &str) -> Result<Self, TargetError> {
        let (scheme, rest) = split_scheme(text)?;
        match scheme.to_ascii_lowercase().as_str() {
            "ws" => Self::parse_rest(text, Security::Plain, rest),
            "wss" => Self::parse_rest(text, Security::Tls, rest),
            "http" => Err(TargetError::http(text, &format!("ws://{rest}"))),
            "https" => Err(TargetError::http(text, &format!("wss://{rest}"))),
            _ => Err(TargetError::scheme(text)),
        }
    }

    /// Parses the URL of a server, which may also begin with `http://` or `https://`.
    pub fn parse_server(text: &str) -> Result<Self, TargetError> {
        let (scheme, rest) = split_scheme(text)?;
        match scheme.to_ascii_lowercase().as_str() {
            "ws" | "http" => Self::parse_rest(text, Security::Plain, rest),
            "wss" | "https" => Self::parse_rest(text, Security::Tls, rest),
            _ => Err(TargetError::scheme(text)),
        }
    }

    /// What the `Host` header says: the port only where it is not the usual one.
    #[must_use]
    pub fn host_header(&self) -> String {
        match self.port == self.security.port() {
            true => self.host_text(),
            false => self.address_text(),
        }
    }

    /// Host and port, as in a message to people: `[::1]:8765`.
    #[must_use]
    pub fn address_text(&self) -> String {
        format!("{}:{}", self.host_text(), self.port)
    }

    /// Path and query of the request, with `name=` merged in where one is given.
    #[must_use]
    pub fn path_and_query(&self, name: Option<&ClientName>) -> String {
        let mut text = self.path.clone();
        let named = name.map(|name| {
            form_urlencoded::Serializer::new(String::new())
                .append_pair("name", name.as_str())
                .finish()
        });
        let own = self.query.clone().filter(|query| !query.is_empty());
        let parts: Vec<String> = own.into_iter().chain(named).collect();
        if !parts.is_empty() {
            text.push('?');
            text.push_str(&parts.join("&"));
        }
        text
    }

    /// The path alone.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// What stands behind the `?`, if there is one.
    #[must_use]
    pub fn query(&self) -> Option<&str> {
        self.query.as_deref()
    }

    /// Server and topic of a URL to which messages are posted: `http://HOST:PORT/topics/TOPIC/messages`.
    #[must_use]
    pub fn split_topic(&self) -> Option<(Self, TopicName)> {
        let (base, topic) = self.path.strip_suffix("/messages")?.rsplit_once("/topics/")?;
        let server = Self {
            path: if base.is_empty() {
                "/".to_owned()
            } else {
                base.to_owned()
            },
            ..self.clone()
        };
        Some((server, TopicName::parse(topic).ok()?))
    }

    /// The first of the keys with which a URL itself says what it wants (`topics`, `from`, `envelope`, `encoding`), if any.
    #[must_use]
    pub fn own_wish(&self) -> Option<&'static str> {
        let query = self.query.as_deref()?;
        form_urlencoded::parse(query.as_bytes()).find_map(|(key, _)| WISHES.into_iter().find(|wish| **wish == *key))
    }

    /// The same place with the other kind of security, as a hint.
    #[must_use]
    pub fn other_security(&self) -> String {
        let security = match self.security {
            Security::Plain => Security::Tls,
            Security::Tls => Security::Plain,
        };
        let port = match self.port == self.security.port() {
            true => security.port(),
            false => self.port,
        };
        Self {
            security,
            port,
            ..self.clone()
        }
        .to_string()
    }

    fn host_text(&self) -> String {
        match self.host.contains(':') {
            true => format!("[{}]", self.host),
            false => self.host.clone(),
        }
    }

    fn parse_rest(text: &str, security: Security, rest: &str) -> Result<Self, TargetError> {
        let url = || quoted(text);
        let (rest, fragment) = match rest.split_once('#') {
            Some((rest, _)) => (rest, true),
            None => (rest, false),
        };
        let authority_end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, tail) = rest.split_at(authority_end);
        if authority.contains('@') {
            return Err(TargetError::Credentials);
        }
        if fragment {
            return Err(TargetError::Fragment { url: url() });
        }
        let (host, port) = split_port(authority);
        let port = match port {
            None | Some("") => security.port(),
            Some(digits) if digits.bytes().all(|b| b.is_ascii_digit()) => match digits.parse() {
                Ok(port) if port > 0 => port,
                _ => return Err(TargetError::Port { url: url() }),
            },
            Some(_) => return Err(TargetError::Port { url: url() }),
        };
        if !is_host(host) {
            return Err(TargetError::Host { url: url() });
        }
        let (path, query) = match tail.split_once('?') {
            Some((path, query)) => (path, Some(fit(query))),
            None => (tail, None),
        };
        let path = if path.is_empty() { "/".to_owned() } else { fit(path) };
        Ok(Self {
            security,
            host: host.trim_matches(['[', ']']).to_ascii_lowercase(),
            port,
            path,
            query,
        })
    }
}

impl Security {
    /// The scheme of a stream's URL.
    #[must_use]
    pub const fn scheme(self) -> &'static str {
        match self {
            Self::Plain => "ws",
            Self::Tls => "wss",
        }
    }

    const fn port(self) -> u16 {
        match self {
            Self::Plain => 80,
            Self::Tls => 443,
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.security.scheme(), self.host_header())?;
        if self.path != "/" || self.query.is_some() {
            f.write_str(&self.path)?;
        }
        if let Some(query) = &self.query {
            write!(f, "?{}", without_secrets(query))?;
        }
        Ok(())
    }
}

/// Why a URL leads nowhere.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum TargetError {
    /// No scheme, or another one.
    #[error("{url} is no URL of a stream: it begins with neither ws:// nor wss://")]
    Scheme {
        /// What was typed.
        url: String,
        /// What was probably meant: the same with a scheme in front.
        meant: Option<String>,
    },
    /// A URL of a page.
    #[error("{url} is the URL of a page, a stream begins with ws:// or wss://")]
    Http {
        /// What was typed.
        url: String,
        /// What was probably meant, if that is a stream's.
        meant: Option<String>,
    },
    /// User and password.
    #[error("a URL with a user and password in it is not used: it ends in logs and process lists")]
    Credentials,
    /// A `#`.
    #[error("{url} has a #, which a stream's URL cannot have")]
    Fragment {
        /// What was typed.
        url: String,
    },
    /// A port that is none.
    #[error("{url} has no valid port: a number from 1 to 65535 stands behind the host")]
    Port {
        /// What was typed.
        url: String,
    },
    /// A host that is none.
    #[error("{url} has no valid host: a name in ASCII, an address such as 10.0.0.1, or [::1]")]
    Host {
        /// What was typed.
        url: String,
    },
}

impl TargetError {
    fn scheme(text: &str) -> Self {
        let whole = with_scheme(text);
        let is_place = !text.contains("://") && Target::parse(&whole).is_ok();
        Self::Scheme {
            url: quoted(text),
            meant: is_place.then(|| quoted(&whole)),
        }
    }

    fn http(text: &str, meant: &str) -> Self {
        Self::Http {
            url: quoted(text),
            meant: Target::parse(meant).is_ok().then(|| quoted(meant)),
        }
    }

    /// A way out.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            Self::Http { meant: Some(meant), .. } | Self::Scheme { meant: Some(meant), .. } => format!("use {meant}"),
            Self::Credentials => "leave the part before the @ out".to_owned(),
            Self::Fragment { .. } => "write %23 where a # belongs to the path or query".to_owned(),
            _ => "write it like ws://127.0.0.1:8765 or wss://feed.example.org/path".to_owned(),
        }
    }
}

fn split_scheme(text: &str) -> Result<(&str, &str), TargetError> {
    text.split_once("://").ok_or_else(|| TargetError::scheme(text))
}

/// The URL that was meant by one without `://`: its scheme may be there, with a character too few behind it.
fn with_scheme(text: &str) -> String {
    for (word, scheme) in [("wss", "wss"), ("ws", "ws"), ("https", "wss"), ("http", "ws")] {
        if let Some((head, rest)) = text.split_at_checked(word.len())
            && head.eq_ignore_ascii_case(word)
            && (rest.starts_with(":/") || rest.starts_with("//"))
        {
            return format!("{scheme}://{}", rest.trim_start_matches([':', '/']));
        }
    }
    format!("ws://{text}")
}

fn split_port(authority: &str) -> (&str, Option<&str>) {
    let host_end = authority.rfind(']').map_or(0, |at| at + 1);
    match authority[host_end..].find(':') {
        Some(at) => (&authority[..host_end + at], Some(&authority[host_end + at + 1..])),
        None => (authority, None),
    }
}

fn is_host(host: &str) -> bool {
    if let Some(inner) = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return inner.parse::<std::net::Ipv6Addr>().is_ok();
    }
    let letter = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    !host.is_empty() && host.len() <= 253 && host.chars().all(letter)
}

/// Escapes what may not stand in a request; what is escaped already stays.
fn fit(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_graphic() {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

fn without_secrets(query: &str) -> String {
    let part = |part: &str| match part.split_once('=') {
        Some((key, _)) if is_secret(key) => format!("{key}=***"),
        _ => part.to_owned(),
    };
    query.split('&').map(part).collect::<Vec<_>>().join("&")
}

fn is_secret(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    SECRET_PARTS.iter().any(|part| key.contains(part))
}

/// What was typed, as it stands in a sentence: quoted, escaped, short, and without what stands before an `@`.
fn quoted(text: &str) -> String {
    let query = text.split_once('?');
    let text = match query {
        Some((before, query)) => format!("{before}?{}", without_secrets(query)),
        None => text.to_owned(),
    };
    let (text, left_out) = escaped_cut(&text, 200);
    match left_out {
        0 => format!("\"{text}\""),
        _ => format!("\"{text}...\""),
    }
}

const WISHES: [&str; 4] = ["topics", "from", "envelope", "encoding"];

const SECRET_PARTS: [&str; 9] = [
    "token",
    "key",
    "secret",
    "auth",
    "pass",
    "jwt",
    "sig",
    "ticket",
    "credential",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, host_header: &str, path_and_query: &str, shown: &str) {
        let target = Target::parse(text).expect(text);
        assert_eq!(target.host_header(), host_header);
        assert_eq!(target.path_and_query(None), path_and_query);
        assert_eq!(target.to_string(), shown);
    }

    #[test]
    fn urls_are_taken_apart() {
        check("ws://127.0.0.1:8765", "127.0.0.1:8765", "/", "ws://127.0.0.1:8765");
        check("ws://Host", "host", "/", "ws://host");
        check("wss://h:443/a/b?x=1", "h", "/a/b?x=1", "wss://h/a/b?x=1");
        check("ws://h:443", "h:443", "/", "ws://h:443");
        check("ws://[::1]:80/", "[::1]", "/", "ws://[::1]");
        check(
            "WS://h?a=b c&d=é",
            "h",
            "/?a=b%20c&d=%C3%A9",
            "ws://h/?a=b%20c&d=%C3%A9",
        );
        check(
            "wss://h/?listenKey=abc&x=1",
            "h",
            "/?listenKey=abc&x=1",
            "wss://h/?listenKey=***&x=1",
        );
    }

    #[track_caller]
    fn check_refused(text: &str, sentence: &str, hint: &str) {
        let error = Target::parse(text).expect_err(text);
        assert_eq!(error.to_string(), sentence);
        assert_eq!(error.hint(), hint);
    }

    #[test]
    fn what_leads_nowhere_says_why() {
        let form = "write it like ws://127.0.0.1:8765 or wss://feed.example.org/path";
        check_refused(
            "http://h:1/x",
            "\"http://h:1/x\" is the URL of a page, a stream begins with ws:// or wss://",
            "use \"ws://h:1/x\"",
        );
        check_refused(
            "localhost:8765",
            "\"localhost:8765\" is no URL of a stream: it begins with neither ws:// nor wss://",
            "use \"ws://localhost:8765\"",
        );
        // What would be refused as well is not proposed.
        for wrong in ["http://h:port", "https://h:0/x", "http://a b"] {
            let sentence = format!("\"{wrong}\" is the URL of a page, a stream begins with ws:// or wss://");
            check_refused(wrong, &sentence, form);
        }
        for (wrong, meant) in [
            ("ws:/h:1", "ws://h:1"),
            ("WSS//h/x", "wss://h/x"),
            ("http:/h", "ws://h"),
            ("https:/h", "wss://h"),
            ("wsh:1", "ws://wsh:1"),
        ] {
            let sentence = format!("\"{wrong}\" is no URL of a stream: it begins with neither ws:// nor wss://");
            check_refused(wrong, &sentence, &format!("use \"{meant}\""));
        }
        for wrong in ["ftp://h", "h:port", "me@h", "ws:/", "http:/h:x"] {
            let sentence = format!("\"{wrong}\" is no URL of a stream: it begins with neither ws:// nor wss://");
            check_refused(wrong, &sentence, form);
        }
        check_refused(
            "ws://me:secret@h",
            "a URL with a user and password in it is not used: it ends in logs and process lists",
            "leave the part before the @ out",
        );
        for wrong in ["ws://h:0", "ws://h:65536", "ws://h:x", "ws://h:+1"] {
            let sentence = format!("\"{wrong}\" has no valid port: a number from 1 to 65535 stands behind the host");
            check_refused(wrong, &sentence, form);
        }
        for wrong in ["ws://", "ws:///x", "ws://a b", "ws://[::g]", "ws://ü"] {
            let sentence =
                format!("\"{wrong}\" has no valid host: a name in ASCII, an address such as 10.0.0.1, or [::1]");
            check_refused(wrong, &sentence, form);
        }
        assert!(Target::parse("ws://h/#x").is_err());
        assert!(Target::parse_server("http://h").is_ok());
    }

    #[test]
    fn a_url_to_post_to_names_server_and_topic() {
        let split = |url: &str| {
            let (server, topic) = Target::parse_server(url).expect(url).split_topic()?;
            Some((server.to_string(), topic.to_string()))
        };
        let place = |server: &str| Some((server.to_owned(), "orders".to_owned()));
        assert_eq!(split("http://h:1/topics/orders/messages"), place("ws://h:1"));
        assert_eq!(split("https://h/a/topics/orders/messages"), place("wss://h/a"));
        assert_eq!(split("http://h:1/topics/orders"), None);
        assert_eq!(split("http://h:1/topics//messages"), None);
        assert_eq!(split("http://h:1"), None);
    }

    #[test]
    fn a_name_joins_the_query() {
        let name = ClientName::parse("sensor 1&é").expect("valid");
        let merged = |url: &str| Target::parse(url).expect(url).path_and_query(Some(&name));
        assert_eq!(merged("ws://h"), "/?name=sensor+1%26%C3%A9");
        assert_eq!(merged("ws://h/ws?a=1"), "/ws?a=1&name=sensor+1%26%C3%A9");
    }

    #[test]
    fn a_url_may_have_its_own_wishes() {
        let wish = |url: &str| Target::parse(url).expect(url).own_wish();
        assert_eq!(wish("ws://h?envelope=off"), Some("envelope"));
        assert_eq!(wish("ws://h?x=topics"), None);
    }

    #[test]
    fn the_other_security_keeps_the_place() {
        let other = |url: &str| Target::parse(url).expect(url).other_security();
        assert_eq!(other("ws://h/x"), "wss://h/x");
        assert_eq!(other("wss://h:8765"), "ws://h:8765");
        assert_eq!(other("ws://h:443"), "wss://h");
    }
}
