//! The runtime of a command, and what is said where it cannot start.

use std::io;

use tokio::runtime::{Builder, Runtime};

use crate::failure::Failure;
use crate::reason::reason;

/// A runtime that works where it is waited for.
pub fn on_one_thread() -> Result<Runtime, Failure> {
    Builder::new_current_thread().enable_all().build().map_err(broken)
}

/// A runtime with threads of its own.
pub fn on_many_threads() -> Result<Runtime, Failure> {
    Builder::new_multi_thread().enable_all().build().map_err(broken)
}

/// What a command cannot do without is not to be had.
pub fn broken(error: io::Error) -> Failure {
    Failure::failed(
        format!("cannot start: {}", reason(&error)),
        "is the system out of threads or files?",
    )
}
