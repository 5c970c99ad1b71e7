//! What a process of the trial writes down as it happens: events, one a line.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use crate::history::Event;

/// A file of events.
#[derive(Debug)]
pub struct Journal(Mutex<File>);

impl Journal {
    /// A new file in the folder `events` of a trial.
    pub fn new(folder: &Path, name: &str) -> io::Result<Self> {
        File::create(folder.join("events").join(format!("{name}.ndjson"))).map(|file| Self(Mutex::new(file)))
    }

    /// Writes an event, at once: what happens next may be the end.
    pub fn note(&self, event: &Event) {
        let Ok(mut line) = serde_json::to_vec(event) else {
            return;
        };
        line.push(b'\n');
        // Evidence that cannot be written is missed by the checker, which then finds messages that nobody sent.
        let _ = self.0.lock().unwrap_or_else(PoisonError::into_inner).write_all(&line);
    }
}
