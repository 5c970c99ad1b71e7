//! Which web pages may use this server: its own, and those that were named. Programs that are no browsers send no Origin.
//!
//! A server on loopback can be reached by every page that a browser on this machine has open, and by a page whose name was
//! bent to a local address (DNS rebinding). The first is told by `Origin`, the second by `Host`.
//!
//! A server that encrypts answers to the names in its certificate too: a browser that has come so far has seen that the name and
//! the server belong together.

use std::net::IpAddr;

use thiserror::Error;

/// Origins beside the server's own, and so also the host names it may be reached under.
#[derive(Clone, Debug, Default)]
pub struct Origins {
    allowed: Vec<String>,
}

/// How a server is reached.
#[derive(Clone, Copy)]
pub enum Reach<'a> {
    /// In the clear. A proxy in front of it may encrypt, so its own pages may come by either scheme.
    Clear,
    /// Inside TLS, with a certificate that says for which names it is.
    Encrypted(&'a dyn Fn(&str) -> bool),
}

impl Origins {
    /// Takes origins as in `--allow-origin`: scheme, host, and port if it is not the usual one.
    pub fn parse(origins: &[String]) -> Result<Self, OriginError> {
        let allowed = origins.iter().map(|origin| {
            let lower = origin.trim_end_matches('/').to_ascii_lowercase();
            match host_of_origin(&lower) {
                Some(host) if !host.is_empty() && !lower.contains('*') => Ok(lower),
                _ => Err(OriginError::NotAnOrigin { text: origin.clone() }),
            }
        });
        Ok(Self {
            allowed: allowed.collect::<Result<_, _>>()?,
        })
    }

    /// Checks the `Host` and `Origin` of a request, and `Sec-Fetch-Site` where a browser sends it.
    pub fn check(
        &self,
        reach: Reach<'_>,
        host: Option<&str>,
        origin: Option<&str>,
        fetch_site: Option<&str>,
    ) -> Result<(), OriginError> {
        let host = host.unwrap_or("").to_ascii_lowercase();
        if !self.is_own_host(reach, &host) {
            return Err(OriginError::Host { host });
        }
        let Some(origin) = origin else {
            // A browser that hides the origin still says where the page stands.
            return match fetch_site {
                Some("cross-site") => Err(OriginError::Hidden),
                _ => Ok(()),
            };
        };
        let origin = origin.to_ascii_lowercase();
        let own = host_of_origin(&origin).is_some_and(|authority| authority == host) && fits(reach, &origin);
        match own || self.allowed.contains(&origin) {
            true => Ok(()),
            false if host_of_origin(&origin).is_none() => Err(OriginError::Hidden),
            false => Err(OriginError::Origin { origin }),
        }
    }

    /// The origin to be named in CORS headers: one that was allowed, and is not the server's own.
    #[must_use]
    pub fn cors<'a>(&self, origin: Option<&'a str>) -> Option<&'a str> {
        origin.filter(|origin| self.allowed.contains(&origin.to_ascii_lowercase()))
    }

    /// An address cannot be bent by a name server, so any will do; of names only localhost, those that were allowed, and those
    /// of the certificate.
    fn is_own_host(&self, reach: Reach<'_>, host: &str) -> bool {
        let name = without_port(host);
        let literal = name
            .trim_start_matches('[')
            .trim_end_matches(']')
            .parse::<IpAddr>()
            .is_ok();
        literal
            || name == "localhost"
            || name.ends_with(".localhost")
            || self
                .allowed
                .iter()
                .any(|origin| host_of_origin(origin).is_some_and(|allowed| without_port(allowed) == name))
            || match reach {
                Reach::Clear => false,
                Reach::Encrypted(is_certified) => is_certified(name),
            }
    }
}

/// Whether a page of this origin can have come from a server that is reached like this.
fn fits(reach: Reach<'_>, origin: &str) -> bool {
    match reach {
        Reach::Clear => true,
        Reach::Encrypted(_) => origin.starts_with("https://"),
    }
}

/// The `host:port` of an origin.
fn host_of_origin(origin: &str) -> Option<&str> {
    let rest = origin
        .strip_prefix("http://")
        .or_else(|| origin.strip_prefix("https://"))?;
    (!rest.contains(['/', '@', '?', '#'])).then_some(rest)
}

fn without_port(host: &str) -> &str {
    match host.rfind(':') {
        Some(colon) if host[colon + 1..].bytes().all(|b| b.is_ascii_digit()) && !host.ends_with(']') => &host[..colon],
        _ => host,
    }
}

/// Why a page may not.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
pub enum OriginError {
    /// The server was reached under a name that is not its own.
    #[error(
        "this server does not answer to the host {host:?}; --allow-origin https://{host}, or http://{host} in the clear, would let it"
    )]
    Host {
        /// The name.
        host: String,
    },
    /// The page comes from somewhere else.
    #[error("a page from {origin} may not use this server; --allow-origin {origin} would let it")]
    Origin {
        /// Where it comes from.
        origin: String,
    },
    /// The page comes from somewhere else, and does not say from where.
    #[error("a page that hides its origin may not use this server")]
    Hidden,
    /// A setting that is no origin.
    #[error("{text:?} is no origin such as https://app.example.org")]
    NotAnOrigin {
        /// What was given.
        text: String,
    },
}

impl OriginError {
    /// The HTTP status: 421 for a wrong host (RFC 9110 section 15.5.20), 403 for a wrong origin.
    #[must_use]
    pub fn status(&self) -> u16 {
        match self {
            Self::Host { .. } => 421,
            Self::Origin { .. } | Self::Hidden | Self::NotAnOrigin { .. } => 403,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(host: &str, origin: Option<&str>, status: Option<u16>) {
        let origins =
            Origins::parse(&["https://app.example.org".to_owned(), "http://ui.local:3000/".to_owned()]).expect("valid");
        assert_eq!(
            origins
                .check(Reach::Clear, Some(host), origin, None)
                .map_err(|e| e.status()),
            status.map_or(Ok(()), Err),
            "{host} {origin:?}"
        );
    }

    #[test]
    fn e11_only_own_and_allowed_origins_pass() {
        check("127.0.0.1:8765", None, None);
        check("127.0.0.1:8765", Some("http://127.0.0.1:8765"), None);
        check("localhost:8765", Some("http://LOCALHOST:8765"), None);
        check("127.0.0.1:8765", Some("https://app.example.org"), None);
        check("127.0.0.1:8765", Some("http://ui.local:3000"), None);
        check("127.0.0.1:8765", Some("http://127.0.0.1:9999"), Some(403));
        check("127.0.0.1:8765", Some("http://localhost:8765"), Some(403));
        check("127.0.0.1:8765", Some("http://evil.example"), Some(403));
        check("127.0.0.1:8765", Some("null"), Some(403));
        check("127.0.0.1:8765", Some("http://evil.example/127.0.0.1:8765"), Some(403));
        check("127.0.0.1:8765", Some("http://evil@127.0.0.1:8765"), Some(403));
        check(
            "127.0.0.1:8765",
            Some("https://app.example.org.evil.example"),
            Some(403),
        );
    }

    #[test]
    fn e12_a_bent_name_is_refused() {
        for host in [
            "evil.example",
            "evil.example:8765",
            "",
            "127.0.0.1.evil.example",
            "localhost.evil.example",
        ] {
            check(host, None, Some(421));
        }
        for host in [
            "localhost",
            "app.localhost:1",
            "[::1]:8765",
            "[::1]",
            "10.1.2.3:80",
            "app.example.org:443",
            "ui.local",
        ] {
            check(host, None, None);
        }
    }

    /// The same for a server inside TLS whose certificate is for `feed.example.org`.
    #[track_caller]
    fn check_encrypted(host: &str, origin: Option<&str>, status: Option<u16>) {
        let origins = Origins::parse(&["http://ui.local:3000".to_owned()]).expect("valid");
        let reach = Reach::Encrypted(&|name| name == "feed.example.org");
        assert_eq!(
            origins.check(reach, Some(host), origin, None).map_err(|e| e.status()),
            status.map_or(Ok(()), Err),
            "{host} {origin:?}"
        );
    }

    #[test]
    fn e11_inside_tls_the_servers_own_pages_come_by_https() {
        for host in ["feed.example.org", "feed.example.org:8765", "[::1]:8765", "localhost"] {
            check_encrypted(host, Some(&format!("https://{host}")), None);
            check_encrypted(host, Some(&format!("http://{host}")), Some(403));
            check_encrypted(host, Some("http://ui.local:3000"), None);
            check_encrypted(host, Some("https://ui.local:3000"), Some(403));
        }
        check_encrypted("feed.example.org:8765", Some("https://feed.example.org"), Some(403));
        check_encrypted("feed.example.org", Some("https://other.example.org"), Some(403));
        // In the clear a proxy may be the one that encrypts.
        check("127.0.0.1:8765", Some("https://127.0.0.1:8765"), None);
    }

    #[test]
    fn e12_inside_tls_the_names_of_the_certificate_are_the_servers_own() {
        check_encrypted("FEED.example.org:8765", None, None);
        for host in ["example.org", "other.example.org", "feed.example.org.evil.example", ""] {
            check_encrypted(host, None, Some(421));
        }
        check("feed.example.org", None, Some(421));
    }

    #[test]
    fn a_page_that_hides_its_origin_is_still_told() {
        let check = |site| Origins::default().check(Reach::Clear, Some("localhost"), None, Some(site));
        assert!(check("cross-site").is_err());
        assert!(check("same-origin").is_ok());
        assert!(check("none").is_ok());
    }

    #[test]
    fn settings_that_are_no_origins_are_refused() {
        for wrong in [
            "",
            "*",
            "example.org",
            "https://",
            "https://a/b",
            "https://*.example.org",
            "ftp://a",
        ] {
            assert!(Origins::parse(&[wrong.to_owned()]).is_err(), "{wrong}");
        }
    }
}
