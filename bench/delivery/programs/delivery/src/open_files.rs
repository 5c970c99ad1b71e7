//! The limit of open files: each connection is one.

use std::io;

use rustix::process::{Resource, getrlimit, setrlimit};

/// Allows this process as many as it may have.
///
/// # Errors
///
/// When the system refuses.
pub fn allow_all() -> io::Result<()> {
    let mut files = getrlimit(Resource::Nofile);
    files.current = files.maximum;
    Ok(setrlimit(Resource::Nofile, files)?)
}
