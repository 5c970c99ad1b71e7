//! Why a server of NATS could not be run, or did not answer.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use thiserror::Error;

/// Why a server of NATS could not be run, or did not answer.
#[derive(Debug, Error)]
pub enum Trouble {
    /// The program could not be started.
    #[error("cannot start {}: {error}", program.display())]
    Start {
        /// Which.
        program: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// It ended before it was ready.
    #[error("{name} ended before it was ready; it said: {said}")]
    Ended {
        /// Which server.
        name: String,
        /// Its last words.
        said: String,
    },
    /// It runs and did not become what was waited for.
    #[error("{what} did not come within {} s; the servers' words are in {}", waited.as_secs(), folder.display())]
    NotReady {
        /// What was waited for.
        what: String,
        /// How long.
        waited: Duration,
        /// Where their logs are.
        folder: PathBuf,
    },
    /// A file or folder of a server could not be made.
    #[error("{}: {error}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// A connection failed.
    #[error("cannot {what}: {error}")]
    Socket {
        /// What was tried.
        what: &'static str,
        /// Why.
        error: io::Error,
    },
    /// A server answered no.
    #[error("the server of NATS refused to {what}: {said}")]
    Refused {
        /// What was asked.
        what: String,
        /// Its answer.
        said: String,
    },
}

impl Trouble {
    /// Trouble with a file.
    pub(crate) fn file(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |error| Self::File { path, error }
    }

    /// Trouble with a connection.
    pub(crate) fn socket(what: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |error| Self::Socket { what, error }
    }
}
