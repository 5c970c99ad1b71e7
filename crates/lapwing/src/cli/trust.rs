//! Whom a client trusts, and what it shows to be trusted: flags that every client has.

use std::path::PathBuf;
use std::sync::Arc;

use rustls::ClientConfig;

use crate::client::target::{Security, Target};
use crate::client::tls::{self, Trust};
use crate::client::token::{TokenError, TokenSource};
use crate::failure::Failure;

/// The flags.
#[derive(clap::Args, Debug)]
pub struct TrustArgs {
    /// Also trust the certificates in this PEM file, for TLS [default: whom the system trusts]
    #[arg(long, value_name = "FILE", conflicts_with = "insecure", help_heading = "What")]
    ca: Option<PathBuf>,
    /// Trust any certificate: whoever is on the way can read and change everything [default: off]
    #[arg(long, help_heading = "What")]
    insecure: bool,
    /// A file with the token to show the server [default: LAPWING_TOKEN]
    ///
    /// It is read anew for each connection, and for each post. Without it the variable LAPWING_TOKEN of the environment holds the token, if
    /// there is one. A token is never an argument, which stands in the list of processes.
    #[arg(long, value_name = "FILE", help_heading = "What")]
    token_file: Option<PathBuf>,
}

impl TrustArgs {
    /// What TLS needs where the URL asks for it.
    pub fn tls(&self, target: &Target) -> Result<Option<Arc<ClientConfig>>, Failure> {
        if target.security == Security::Plain {
            return Ok(None);
        }
        let trust = match (&self.ca, self.insecure) {
            (Some(path), _) => Trust::File(path.clone()),
            (None, true) => Trust::Anyone,
            (None, false) => Trust::System,
        };
        let config = tls::config(&trust)
            .map_err(|error| Failure::usage(error.to_string(), "--ca takes a file with certificates in PEM form"))?;
        Ok(Some(config))
    }

    /// What to show the server, if anything; a file that is of no use now is told before anything starts.
    pub fn token(&self) -> Result<TokenSource, Failure> {
        let wrong = |error: TokenError| Failure::usage(error.to_string(), error.hint());
        let source = TokenSource::new(self.token_file.clone()).map_err(wrong)?;
        source.read().map_err(wrong)?;
        Ok(source)
    }
}
