//! Why a trial could not be run; a difference that was found is no trouble but a verdict.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

use crate::history::HistoryError;

/// Why a trial could not be run.
#[derive(Debug, Error)]
pub enum Trouble {
    /// A program could not be started.
    #[error("cannot start {program}: {error}")]
    Start {
        /// Which.
        program: String,
        /// Why.
        error: io::Error,
    },
    /// The server did not say that it is ready.
    #[error("the server was not ready within {seconds} s; its words are in {}", log.display())]
    NotReady {
        /// How long it had.
        seconds: u64,
        /// What it said.
        log: PathBuf,
    },
    /// A tool failed.
    #[error("{command} failed: {said}")]
    Tool {
        /// What was run.
        command: String,
        /// What it said.
        said: String,
    },
    /// A file could not be read or written.
    #[error("{}: {error}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// A socket of the trial itself failed.
    #[error("cannot {what}: {error}")]
    Socket {
        /// What was tried.
        what: &'static str,
        /// Why.
        error: io::Error,
    },
    /// The evidence could not be read.
    #[error(transparent)]
    History(#[from] HistoryError),
    /// NATS could not be run, or did not answer.
    #[error(transparent)]
    Nats(#[from] nats_cluster::Trouble),
    /// What was asked for cannot be.
    #[error("{0}")]
    Usage(String),
}

impl Trouble {
    /// Trouble with a file.
    pub fn file(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |error| Self::File { path, error }
    }
}
