//! Whom a client trusts: the system, a file of its user's choice, or anyone.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, SignatureScheme};
use rustls_platform_verifier::Verifier;
use thiserror::Error;

use super::dial::io_reason;

/// Whom to trust.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum Trust {
    /// Whom the operating system trusts.
    #[default]
    System,
    /// Also the certificates of a PEM file (`--ca`).
    File(PathBuf),
    /// Anyone (`--insecure`): whoever is on the way can read and change the feed.
    Anyone,
}

/// Makes the settings of TLS connections.
pub fn config(trust: &Trust) -> Result<Arc<ClientConfig>, TrustError> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier: Arc<dyn ServerCertVerifier> = match trust {
        Trust::System => Arc::new(Verifier::new(provider.clone())?),
        Trust::File(path) => Arc::new(Verifier::new_with_extra_roots(certificates(path)?, provider.clone())?),
        Trust::Anyone => Arc::new(TrustAnyone(provider.clone())),
    };
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    // WebSockets over HTTP/2 (RFC 8441) are another handshake.
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// Why nobody can be trusted.
#[derive(Debug, Error)]
pub enum TrustError {
    /// The file cannot be read, or holds something else.
    #[error("{path:?} is no file of certificates: {why}")]
    File {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The system's own certificates cannot be used.
    #[error("the system's certificates cannot be used: {}", trouble(.0))]
    System(#[from] rustls::Error),
}

/// What is wrong with a server's certificate, with dates where they matter.
#[must_use]
pub fn reason(error: &CertificateError) -> String {
    let date = |time: UnixTime| {
        let stamp = jiff::Timestamp::from_second(i64::try_from(time.as_secs()).unwrap_or(i64::MAX));
        stamp.map_or_else(
            |_| "an unknown day".to_owned(),
            |stamp| stamp.strftime("%Y-%m-%d").to_string(),
        )
    };
    match error {
        CertificateError::Expired => "it has expired".to_owned(),
        CertificateError::ExpiredContext { not_after, .. } => format!("it expired on {}", date(*not_after)),
        CertificateError::NotValidYet => "it is not valid yet".to_owned(),
        CertificateError::NotValidYetContext { not_before, .. } => {
            format!("it is valid from {} on", date(*not_before))
        }
        CertificateError::UnknownIssuer => "nobody trusted has signed it".to_owned(),
        CertificateError::NotValidForName => "it is for another name".to_owned(),
        CertificateError::NotValidForNameContext { presented, .. } => match presented.is_empty() {
            true => "it is for another name".to_owned(),
            false => {
                let names: Vec<_> = presented.iter().map(|name| plain_name(name)).collect();
                format!("it is for {}", names.join(", "))
            }
        },
        other if is_of_an_authority(other) => {
            "it is that of an authority, made to sign others and not to be shown by a server".to_owned()
        }
        CertificateError::BadEncoding => "it cannot be read".to_owned(),
        CertificateError::BadSignature => "its signature does not fit".to_owned(),
        CertificateError::Revoked => "it was withdrawn".to_owned(),
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            "it is not made for servers".to_owned()
        }
        _ => "it is not as certificates have to be".to_owned(),
    }
}

/// What went wrong in TLS itself, as a sentence about the server.
#[must_use]
pub fn trouble(error: &rustls::Error) -> String {
    use rustls::AlertDescription as Alert;
    let nothing_in_common = "no version or cipher of TLS is known to both sides";
    match error {
        rustls::Error::PeerIncompatible(_)
        | rustls::Error::AlertReceived(
            Alert::ProtocolVersion | Alert::HandshakeFailure | Alert::InsufficientSecurity,
        ) => nothing_in_common.to_owned(),
        rustls::Error::AlertReceived(Alert::UnrecognisedName) => "it does not go by this name".to_owned(),
        rustls::Error::AlertReceived(Alert::NoApplicationProtocol) | rustls::Error::NoApplicationProtocol => {
            "it does not speak HTTP/1.1".to_owned()
        }
        rustls::Error::AlertReceived(Alert::CertificateRequired | Alert::AccessDenied) => {
            "it wants to see a certificate of ours".to_owned()
        }
        rustls::Error::AlertReceived(Alert::InternalError) => "it had an error of its own".to_owned(),
        rustls::Error::AlertReceived(other) => format!("it broke off with alert {} of TLS", u8::from(*other)),
        rustls::Error::PeerMisbehaved(_)
        | rustls::Error::InappropriateMessage { .. }
        | rustls::Error::InappropriateHandshakeMessage { .. }
        | rustls::Error::PeerSentOversizedRecord
        | rustls::Error::DecryptError => "it broke the rules of TLS".to_owned(),
        _ => "TLS went wrong here".to_owned(),
    }
}

/// What helps against that.
#[must_use]
pub fn hint(error: &CertificateError) -> &'static str {
    match error {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "the server needs a new one; --insecure trusts anyone"
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "is the clock of this machine right? --insecure trusts anyone"
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            "connect by a name that the certificate has; --insecure trusts anyone"
        }
        other if is_of_an_authority(other) => {
            "openssl makes another with: -addext basicConstraints=critical,CA:FALSE; --insecure trusts anyone"
        }
        _ => "--ca FILE trusts the certificates in FILE, --insecure trusts anyone",
    }
}

/// What `openssl req -x509` makes unless it is told otherwise (RFC 5280 section 4.2.1.9). The library has no name of its own for it.
fn is_of_an_authority(error: &CertificateError) -> bool {
    matches!(error, CertificateError::Other(other) if format!("{other:?}").contains("CaUsedAsEndEntity"))
}

/// A name as people write it: the library has `DnsName("feed.example.org")`.
fn plain_name(presented: &str) -> &str {
    presented.split('"').nth(1).unwrap_or(presented)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TrustError> {
    let wrong = |why: String| TrustError::File {
        path: path.to_owned(),
        why,
    };
    let found = CertificateDer::pem_file_iter(path).map_err(|error| wrong(pem_reason(&error)))?;
    let found: Vec<_> = found
        .collect::<Result<_, _>>()
        .map_err(|error| wrong(pem_reason(&error)))?;
    match found.is_empty() {
        true => Err(wrong("no certificate in PEM form is in it".to_owned())),
        false => Ok(found),
    }
}

fn pem_reason(error: &pem::Error) -> String {
    match error {
        pem::Error::Io(error) => io_reason(error),
        other => other.to_string(),
    }
}

/// Takes any certificate; signatures are still checked, so that the peer is at least one peer.
#[derive(Debug)]
struct TrustAnyone(Arc<CryptoProvider>);

impl ServerCertVerifier for TrustAnyone {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use rustls::{AlertDescription, Error, PeerIncompatible};

    use super::*;

    #[test]
    fn d10_what_went_wrong_in_tls_is_told_in_words() {
        let nothing = "no version or cipher of TLS is known to both sides";
        for (error, expect) in [
            (Error::AlertReceived(AlertDescription::HandshakeFailure), nothing),
            (
                Error::PeerIncompatible(PeerIncompatible::NoCipherSuitesInCommon),
                nothing,
            ),
            (
                Error::AlertReceived(AlertDescription::UnrecognisedName),
                "it does not go by this name",
            ),
            (
                Error::AlertReceived(AlertDescription::Unknown(0xfe)),
                "it broke off with alert 254 of TLS",
            ),
            (Error::DecryptError, "it broke the rules of TLS"),
            (Error::General("Other".to_owned()), "TLS went wrong here"),
        ] {
            assert_eq!(trouble(&error), expect, "{error:?}");
        }
        assert_eq!(reason(&CertificateError::BadEncoding), "it cannot be read");
        assert_eq!(
            reason(&CertificateError::ApplicationVerificationFailure),
            "it is not as certificates have to be"
        );
    }
}
