//! The certificate that this server shows, with its key: read from files, or made for development.

use std::fmt::Write as _;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Span;
use jiff::civil::Date;
use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, KeyPair, date_time_ymd};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use rustls::server::NoServerSessionStorage;
use rustls::{InconsistentKeys, ServerConfig, SupportedCipherSuite};
use thiserror::Error;

use crate::config::CertificateFiles;

/// A certificate in use.
pub struct Certificate {
    settings: Arc<ServerConfig>,
    /// The certificate itself, and behind it those that lead to a trusted one.
    chain: Vec<CertificateDer<'static>>,
    fingerprint: String,
}

impl Certificate {
    /// Reads a chain and its key, both PEM; the key may be PKCS #8, SEC 1 or PKCS #1, and must belong to the first certificate.
    pub fn read(files: &CertificateFiles) -> Result<Self, CertificateError> {
        let chain = chain(&files.cert)?;
        let key = PrivateKeyDer::from_pem_file(&files.key).map_err(|error| CertificateError::Key {
            path: files.key.clone(),
            why: reason(&error, "there is no unencrypted private key in PEM form in it"),
        })?;
        Self::new(chain, key).map_err(|error| match error {
            rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => CertificateError::Mismatch {
                cert: files.cert.clone(),
                key: files.key.clone(),
            },
            source => CertificateError::Unusable {
                cert: files.cert.clone(),
                key: files.key.clone(),
                source,
            },
        })
    }

    /// Makes one for this machine's own names and for `listen`, valid for a year; nothing of it is kept anywhere but in memory.
    pub fn self_signed(listen: IpAddr) -> Result<Self, CertificateError> {
        let mut names = vec!["localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()];
        let own = listen.to_string();
        if !listen.is_unspecified() && !names.contains(&own) {
            names.push(own);
        }
        let mut params = CertificateParams::new(names)?;
        let common_name = "lapwing serve --tls-self-signed";
        params.distinguished_name.push(DnType::CommonName, common_name);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let today = jiff::Zoned::now().with_time_zone(jiff::tz::TimeZone::UTC).date();
        // A day earlier: the clocks of others may be behind.
        let midnight =
            |day: Date| date_time_ymd(day.year().into(), day.month().unsigned_abs(), day.day().unsigned_abs());
        params.not_before = midnight(today.yesterday().unwrap_or(today));
        params.not_after = midnight(today.saturating_add(Span::new().days(SELF_SIGNED_DAYS)));
        let key = KeyPair::generate()?;
        let certificate = params.self_signed(&key)?;
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        Self::new(vec![certificate.der().clone()], key).map_err(CertificateError::Made)
    }

    /// Of a chain, its own certificate first, and the key of that.
    fn new(chain: Vec<CertificateDer<'static>>, key: PrivateKeyDer<'static>) -> Result<Self, rustls::Error> {
        let own = chain.first().cloned().ok_or(rustls::Error::NoCertificatesPresented)?;
        let fingerprint = fingerprint(&own);
        let mut settings = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(chain.clone(), key)?;
        // WebSockets over HTTP/2 (RFC 8441) are another handshake; browsers take what is offered here.
        settings.alpn_protocols = vec![b"http/1.1".to_vec()];
        // Who comes back, and many do at once, need not do the whole handshake again. What that takes is kept by the client, sealed
        // with keys of this very certificate: another certificate is seen by everyone.
        settings.ticketer = aws_lc_rs::Ticketer::new()?;
        settings.session_storage = Arc::new(NoServerSessionStorage {});
        settings.send_tls13_tickets = 1;
        Ok(Self {
            settings: Arc::new(settings),
            chain,
            fingerprint,
        })
    }

    /// The server's own, without those that vouch for it.
    fn own(&self) -> &CertificateDer<'static> {
        &self.chain[0]
    }

    /// What a handshake needs to show it.
    #[must_use]
    pub fn settings(&self) -> Arc<ServerConfig> {
        self.settings.clone()
    }

    /// Whether another one is shown as this one is: the same certificate, and the same ones behind it. Then its key is the same, too.
    #[must_use]
    pub fn is_shown_as(&self, other: &Self) -> bool {
        self.chain == other.chain
    }

    /// Whether it is for this host, as a client decides that: a `*` in it stands for one label at the beginning (RFC 9525 section 6).
    #[must_use]
    pub fn is_for(&self, host: &str) -> bool {
        let certificate = webpki::EndEntityCert::try_from(self.own());
        certificate.is_ok_and(|certificate| {
            ServerName::try_from(host).is_ok_and(|name| certificate.verify_is_valid_for_subject_name(&name).is_ok())
        })
    }

    /// The first name in it that is a whole one, to be shown.
    #[must_use]
    pub fn name(&self) -> Option<String> {
        let certificate = webpki::EndEntityCert::try_from(self.own()).ok()?;
        let mut names = certificate.valid_dns_names();
        names.find(|name| !name.starts_with('*')).map(str::to_owned)
    }

    /// The SHA-256 fingerprint, as OpenSSL and browsers write it: `AB:01:…`.
    #[must_use]
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }
}

/// Why there is no certificate to show.
#[derive(Debug, Error)]
pub enum CertificateError {
    /// The chain cannot be read.
    #[error("{path:?} is no file of certificates: {why}")]
    Chain {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The key cannot be read.
    #[error("{path:?} is no file of a private key: {why}")]
    Key {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// They are not of one pair.
    #[error("the key in {key:?} does not belong to the certificate in {cert:?}")]
    Mismatch {
        /// The chain.
        cert: PathBuf,
        /// The key.
        key: PathBuf,
    },
    /// They are what they should be, and still of no use.
    #[error("{cert:?} and {key:?} cannot be used: {}", unusable(source))]
    Unusable {
        /// The chain.
        cert: PathBuf,
        /// The key.
        key: PathBuf,
        /// What the TLS library says.
        source: rustls::Error,
    },
    /// None could be made.
    #[error("no certificate can be made: {0}")]
    Make(#[from] rcgen::Error),
    /// The one that was made is of no use.
    #[error("the certificate that was made cannot be used: {}", unusable(.0))]
    Made(rustls::Error),
}

impl CertificateError {
    /// The way out.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Chain { .. } => {
                "--tls-cert takes PEM: the server's certificate first, then those between it and a trusted one"
            }
            Self::Key { .. } => {
                "--tls-key takes PEM without a passphrase: PRIVATE KEY, EC PRIVATE KEY or RSA PRIVATE KEY"
            }
            Self::Mismatch { .. } => {
                "name the two files of one pair; in --tls-cert the server's own certificate stands first"
            }
            Self::Unusable { .. } | Self::Make(_) | Self::Made(_) => {
                "an ECDSA key (P-256, P-384), Ed25519 or RSA of 2048 bits and more will do"
            }
        }
    }
}

fn chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, CertificateError> {
    let wrong = |why: String| CertificateError::Chain {
        path: path.to_owned(),
        why,
    };
    let nothing = "there is no certificate in PEM form in it";
    let read = || CertificateDer::pem_file_iter(path)?.collect::<Result<Vec<_>, _>>();
    let found = read().map_err(|error| wrong(reason(&error, nothing)))?;
    match found.is_empty() {
        true => Err(wrong(nothing.to_owned())),
        false => Ok(found),
    }
}

fn reason(error: &pem::Error, nothing: &str) -> String {
    match error {
        pem::Error::NoItemsFound => nothing.to_owned(),
        pem::Error::Io(error) => match error.kind() {
            io::ErrorKind::NotFound => "it is not there".to_owned(),
            io::ErrorKind::PermissionDenied => "it may not be read".to_owned(),
            io::ErrorKind::IsADirectory => "it is a directory".to_owned(),
            _ => crate::reason::reason(error),
        },
        _ => "its PEM is damaged".to_owned(),
    }
}

/// Why a certificate and a key are of no use although both could be read.
fn unusable(error: &rustls::Error) -> &'static str {
    match error {
        rustls::Error::InvalidCertificate(_) => "the certificate is not as certificates have to be",
        rustls::Error::InconsistentKeys(_) => "whether they belong together cannot be told",
        // All that the library says of a key that it does not take.
        _ => "the key is of a kind or length that is not taken",
    }
}

fn fingerprint(certificate: &CertificateDer<'_>) -> String {
    let SupportedCipherSuite::Tls13(suite) = aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256 else {
        unreachable!("its name says so");
    };
    let hash = suite.common.hash_provider.hash(certificate);
    let mut text = String::new();
    for (at, byte) in hash.as_ref().iter().enumerate() {
        let colon = if at > 0 { ":" } else { "" };
        // Writing to a String cannot fail.
        let _ = write!(text, "{colon}{byte:02X}");
    }
    text
}

/// Longer than a server for development runs, short enough for those that refuse certificates of many years.
const SELF_SIGNED_DAYS: i64 = 365;

#[cfg(test)]
mod tests {
    use super::*;

    fn certificate(names: &[&str]) -> Certificate {
        let key = KeyPair::generate().expect("there is randomness");
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let params = CertificateParams::new(names).expect("names");
        let certificate = params.self_signed(&key).expect("its own key");
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        Certificate::new(vec![certificate.der().clone()], key).expect("a pair")
    }

    #[track_caller]
    fn check(names: &[&str], host: &str, expect: bool) {
        assert_eq!(certificate(names).is_for(host), expect, "{host} for {names:?}");
    }

    #[test]
    fn e12_a_certificate_is_for_the_names_in_it_and_a_star_is_one_label() {
        let names = ["feed.example.org", "*.wild.example.org", "127.0.0.1"];
        for own in [
            "feed.example.org",
            "FEED.example.org",
            "a.wild.example.org",
            "127.0.0.1",
        ] {
            check(&names, own, true);
        }
        for other in [
            "example.org",
            "wild.example.org",
            "a.b.wild.example.org",
            ".wild.example.org",
            "xwild.example.org",
            "feed.example.org.evil.example",
            "feed.example.org:8765",
            "127.0.0.2",
            "*.wild.example.org",
            "",
            " ",
        ] {
            check(&names, other, false);
        }
        check(&[], "feed.example.org", false);
    }

    #[test]
    fn the_name_that_is_shown_is_a_whole_one() {
        let check = |names: &[&str], expect: Option<&str>| {
            assert_eq!(certificate(names).name().as_deref(), expect, "{names:?}");
        };
        check(
            &["127.0.0.1", "*.example.org", "feed.example.org", "b.example.org"],
            Some("feed.example.org"),
        );
        check(&["127.0.0.1", "*.example.org"], None);
    }
}
