//! A listener's file as it grows: how far it has come in each topic.

use std::collections::HashMap;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use crate::line::{self, Line, Proof};

/// What of a file's end is looked at first. All topics end at the same time, but a listener that catches up reads one after
/// the other, up to all that they keep.
const TAIL_BYTES: u64 = 256 << 20;

/// Reads a file as it grows, and knows the place of each topic in it.
#[derive(Debug)]
pub struct Follower {
    path: PathBuf,
    at: u64,
    rest: Vec<u8>,
    /// One above the last offset of each topic.
    pub places: HashMap<String, u64>,
    /// The listener has written down where it begins.
    pub has_positions: bool,
}

impl Follower {
    /// Begins close enough to the end that each topic has a line there.
    pub fn new(path: &Path) -> Self {
        let length = std::fs::metadata(path).map_or(0, |metadata| metadata.len());
        let at = length.saturating_sub(TAIL_BYTES);
        Self {
            path: path.to_owned(),
            at,
            rest: Vec::new(),
            places: HashMap::new(),
            has_positions: false,
        }
    }

    /// Reads what is new. A file that cannot be read has nothing new; the deadline of the drain then tells.
    pub fn read_on(&mut self) {
        let mut read = || {
            let mut file = std::fs::File::open(&self.path)?;
            file.seek(SeekFrom::Start(self.at))?;
            file.read_to_end(&mut self.rest)
        };
        let Ok(length) = read() else { return };
        self.at += length as u64;
        let whole = self
            .rest
            .iter()
            .rposition(|byte| *byte == b'\n')
            .map_or(0, |end| end + 1);
        for text in self.rest[..whole].split_inclusive(|byte| *byte == b'\n') {
            match line::read(text, Proof::Must) {
                Line::Message { topic, offset, .. } => {
                    self.places.insert(topic.into_owned(), offset + 1);
                }
                Line::Gap { topic, to, .. } => {
                    self.places.insert(topic, to);
                }
                Line::Reset { topic, first, .. } => {
                    self.places.insert(topic, first);
                }
                Line::Diverged { topic, at, .. } => {
                    self.places.insert(topic, at);
                }
                Line::Positions(_) => self.has_positions = true,
                _ => {}
            }
        }
        self.rest.drain(..whole);
    }
}
