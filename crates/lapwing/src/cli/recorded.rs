//! Recordings as they are named on the command line: their files in order, and what is read of them.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use indicatif::ProgressBar;
use lapwing_wire::escape::escaped;

use crate::recording::{input, parts};

/// Files that belong together, in the order in which they were written.
pub(super) struct Recording {
    pub(super) base: PathBuf,
    /// Whether the whole of it was named, or parts of it by themselves.
    named: Named,
    pub(super) files: Vec<PathBuf>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Named {
    Whole,
    Parts,
}

impl Recording {
    /// Which files belong together: the parts of one recording, by their names.
    pub(super) fn all(files: &[PathBuf]) -> Vec<Self> {
        let mut recordings: Vec<Self> = Vec::new();
        for file in files {
            let part = parts::split(file);
            let by_name = if part.is_some() { Named::Parts } else { Named::Whole };
            let base = part.map_or_else(|| file.clone(), |(base, _)| base);
            let found = match file == Path::new(STDIN) {
                true => vec![file.clone()],
                false => parts::all(file),
            };
            match recordings.iter_mut().find(|known| known.base == base) {
                Some(known) => {
                    known.files.extend(found);
                    if by_name == Named::Whole {
                        known.named = Named::Whole;
                    }
                }
                None => recordings.push(Self {
                    base,
                    named: by_name,
                    files: found,
                }),
            }
        }
        for recording in &mut recordings {
            let number = |file: &PathBuf| parts::split(file).map_or(u64::MAX, |(_, number)| number);
            recording.files.sort_by_key(|file| (number(file), file.clone()));
            recording.files.dedup_by_key(|file| number(file));
        }
        recordings
    }

    /// How it is called, escaped.
    pub(super) fn name(&self) -> String {
        match (self.files.as_slice(), self.named) {
            ([only], _) => named(only),
            ([first, last], Named::Parts) => format!("{} and {}", named(first), named(last)),
            ([first, .., last], Named::Parts) => format!("{} to {}", named(first), named(last)),
            _ => named(&self.base),
        }
    }

    /// How large its files are together.
    pub(super) fn bytes(&self) -> u64 {
        let sizes = self
            .files
            .iter()
            .filter_map(|file| Some(std::fs::metadata(file).ok()?.len()));
        sizes.sum()
    }
}

/// A name from the command line, harmless for a terminal.
pub(super) fn named(file: &Path) -> String {
    match file == Path::new(STDIN) {
        true => "stdin".to_owned(),
        false => escaped(&file.display().to_string()),
    }
}

/// Opens a file; what is read of it moves the bar.
pub(super) fn watched(file: &Path, bar: &ProgressBar) -> io::Result<input::Input> {
    match file == Path::new(STDIN) {
        true => input::plain(io::stdin()),
        false => File::open(file).and_then(|opened| input::plain(Watched(opened, bar.clone()))),
    }
}

struct Watched(File, ProgressBar);

impl Read for Watched {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let count = self.0.read(out)?;
        self.1.inc(count as u64);
        Ok(count)
    }
}

/// What stands for stdin.
pub(super) const STDIN: &str = "-";
