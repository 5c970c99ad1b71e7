//! TLS of this server: the certificate in use, and how it is exchanged while connections stay.

use std::net::IpAddr;
use std::sync::{Arc, PoisonError, RwLock};

use tokio::signal::unix::Signal;
use tokio_rustls::TlsAcceptor;

use super::certificate::{Certificate, CertificateError};
use super::common::Common;
use super::event::Event;
use super::watched::Watched;
use crate::config::{CertificateFiles, Limits, TlsSpec};

/// How this server encrypts.
pub struct Encryption {
    certificate: RwLock<Arc<Certificate>>,
    /// Where it comes from, and how the files looked when they were read; none for one that was made.
    files: Option<(CertificateFiles, Watched)>,
}

impl Encryption {
    /// Reads the certificate, or makes one for a server that listens there.
    pub fn open(spec: &TlsSpec, listen: IpAddr) -> Result<Self, CertificateError> {
        let (certificate, files) = match spec {
            TlsSpec::SelfSigned => (Certificate::self_signed(listen)?, None),
            TlsSpec::Files(files) => {
                // Of two files one is written first: both are read again when both have been the same for a while.
                let watched = Watched::new(vec![files.cert.clone(), files.key.clone()]);
                (Certificate::read(files)?, Some((files.clone(), watched)))
            }
        };
        Ok(Self {
            certificate: RwLock::new(Arc::new(certificate)),
            files,
        })
    }

    /// Whether it may be exchanged: then a hangup (SIGHUP) asks for that.
    #[must_use]
    pub fn is_from_files(&self) -> bool {
        self.files.is_some()
    }

    /// Begins handshakes, with the certificate in use now.
    #[must_use]
    pub fn acceptor(&self) -> TlsAcceptor {
        self.certificate().settings().into()
    }

    /// The certificate in use.
    #[must_use]
    pub fn certificate(&self) -> Arc<Certificate> {
        self.certificate.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Reads the files again when they have changed and when a signal comes, until the task is aborted.
    ///
    /// New connections get the new certificate; those that are there keep theirs. What cannot be used changes nothing.
    pub async fn renew(self: Arc<Self>, mut asked: Signal, common: Arc<Common>) {
        let Some((files, mut watched)) = self.files.clone() else {
            return;
        };
        let mut every = tokio::time::interval(Limits::CERTIFICATE_INTERVAL);
        loop {
            let now = tokio::select! {
                _ = every.tick() => false,
                Some(()) = asked.recv() => true,
            };
            let (this, of, mut looked_at) = (self.clone(), files.clone(), watched.clone());
            let looked = tokio::task::spawn_blocking(move || {
                let text = (looked_at.have_changed() || now).then(|| {
                    looked_at.mark();
                    this.exchange(&of)
                });
                (looked_at, text)
            });
            let Ok((looked_at, text)) = looked.await else { continue };
            watched = looked_at;
            if let Some(exchanged) = text {
                let failed = exchanged.is_err();
                let text = exchanged.unwrap_or_else(|text| text);
                common.tell(Event::Certificate { text, failed });
            }
        }
    }

    /// Reads the files and uses what is in them; gives what came of it, as a sentence, also where that is nothing.
    fn exchange(&self, files: &CertificateFiles) -> Result<String, String> {
        match Certificate::read(files) {
            // It stays as it is: who comes back need not do the whole handshake again.
            Ok(certificate) if certificate.is_shown_as(&self.certificate()) => Ok(format!(
                "the certificate in {:?} is the one in use already, SHA-256 {}",
                files.cert,
                certificate.fingerprint()
            )),
            Ok(certificate) => {
                let text = format!(
                    "new connections get the certificate in {:?}, SHA-256 {}",
                    files.cert,
                    certificate.fingerprint()
                );
                *self.certificate.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(certificate);
                Ok(text)
            }
            Err(error) => Err(format!("{error}; the certificate from before stays in use")),
        }
    }
}
