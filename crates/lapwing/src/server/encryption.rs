//! TLS of this server: the certificate in use, and how it is exchanged while connections stay.

use std::fs::Metadata;
use std::net::IpAddr;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};

use tokio::signal::unix::Signal;
use tokio_rustls::TlsAcceptor;

use super::certificate::{Certificate, CertificateError};
use super::common::Common;
use super::event::Event;
use crate::config::{CertificateFiles, Limits, TlsSpec};

/// How this server encrypts.
pub struct Encryption {
    certificate: RwLock<Arc<Certificate>>,
    /// Where it comes from, and how the files looked when they were read; none for one that was made.
    files: Option<(CertificateFiles, Stamps)>,
}

impl Encryption {
    /// Reads the certificate, or makes one for a server that listens there.
    pub fn open(spec: &TlsSpec, listen: IpAddr) -> Result<Self, CertificateError> {
        let (certificate, files) = match spec {
            TlsSpec::SelfSigned => (Certificate::self_signed(listen)?, None),
            TlsSpec::Files(files) => {
                // Before they are read: what is written meanwhile shows as a change.
                let stamps = Stamps::of(files);
                (Certificate::read(files)?, Some((files.clone(), stamps)))
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
        let Some((files, mut used)) = self.files.clone() else {
            return;
        };
        let mut seen = used.clone();
        let mut every = tokio::time::interval(Limits::CERTIFICATE_INTERVAL);
        loop {
            let now = tokio::select! {
                _ = every.tick() => false,
                Some(()) = asked.recv() => true,
            };
            let of = files.clone();
            let Ok(found) = tokio::task::spawn_blocking(move || Stamps::of(&of)).await else {
                continue;
            };
            // Of two files one is written first: they are read when they have been the same for a while.
            let settled = found != used && found == seen;
            seen = found.clone();
            if now || settled {
                used = found;
                let this = self.clone();
                let of = files.clone();
                if let Ok(text) = tokio::task::spawn_blocking(move || this.exchange(&of)).await {
                    common.console.tell(Event::Certificate { text });
                }
            }
        }
    }

    /// Reads the files and uses what is in them; gives what came of it, as a sentence.
    fn exchange(&self, files: &CertificateFiles) -> String {
        match Certificate::read(files) {
            Ok(certificate) => {
                let text = format!(
                    "new connections get the certificate in {:?}, SHA-256 {}",
                    files.cert,
                    certificate.fingerprint()
                );
                *self.certificate.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(certificate);
                text
            }
            Err(error) => format!("{error}; the certificate from before stays in use"),
        }
    }
}

/// How the two files look from outside.
#[derive(Clone, PartialEq, Eq, Default)]
struct Stamps([Option<Stamp>; 2]);

impl Stamps {
    fn of(files: &CertificateFiles) -> Self {
        Self([&files.cert, &files.key].map(|path| Stamp::of(path)))
    }
}

/// How a file looks from outside: what differs when it was written, or when another is in its place.
#[derive(Clone, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    bytes: u64,
    written: (i64, i64),
}

impl Stamp {
    fn of(path: &Path) -> Option<Self> {
        let of = |found: Metadata| Self {
            device: found.dev(),
            inode: found.ino(),
            bytes: found.len(),
            written: (found.mtime(), found.mtime_nsec()),
        };
        std::fs::metadata(path).ok().map(of)
    }
}
