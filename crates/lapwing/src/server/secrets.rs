//! What a server reads from files again while it runs: its certificate, and who may do what.

use std::io;
use std::sync::Arc;

use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinHandle;

use super::access::files::{self, Files};
use super::common::Common;
use super::encryption::Encryption;

/// Without any of them nothing is encrypted, and everybody may do everything.
#[derive(Default)]
pub struct Secrets {
    /// The certificate in use, if connections are encrypted.
    pub encryption: Option<Arc<Encryption>>,
    /// The tokens and keys, if clients need one.
    pub access: Option<Files>,
}

impl Secrets {
    /// Whether anything of this is read from files, and so again on a hangup.
    #[must_use]
    pub fn come_from_files(&self) -> bool {
        self.access.is_some() || self.exchanged().is_some()
    }

    /// Reads them again on a hangup and when their files change, until the tasks are aborted.
    ///
    /// # Errors
    ///
    /// When the signal cannot be waited for.
    pub fn renew(self, common: &Arc<Common>) -> io::Result<Vec<JoinHandle<()>>> {
        let mut tasks = Vec::new();
        if let Some(encryption) = self.exchanged() {
            let hangup = signal(SignalKind::hangup())?;
            tasks.push(tokio::spawn(encryption.renew(hangup, common.clone())));
        }
        if let Some(files) = self.access {
            let hangup = signal(SignalKind::hangup())?;
            tasks.push(tokio::spawn(files::watch(files, common.clone(), hangup)));
        }
        Ok(tasks)
    }

    fn exchanged(&self) -> Option<Arc<Encryption>> {
        self.encryption.clone().filter(|encryption| encryption.is_from_files())
    }
}
