//! What was found on disk that somebody should know, each with a sentence and a way out.

use std::ops::Range;
use std::path::PathBuf;

use lapwing_wire::position::{Epoch, Offset};
use lapwing_wire::topic::TopicName;

/// A finding about the files of one topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// The topic.
    pub topic: TopicName,
    /// The file that it was found in.
    pub file: PathBuf,
    /// What it is.
    pub finding: Finding,
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// A write that never came to its end, cut off; nothing in it was acknowledged.
    TornTail {
        /// Where in the file it began.
        position: u64,
        /// How many bytes were cut, over all files.
        bytes: u64,
        /// The offset of the next message.
        next: Offset,
    },
    /// The machine stopped at level `os`: the newest messages may be lost, so a new history begins.
    NewHistory {
        /// Its name.
        epoch: Epoch,
        /// Where it begins.
        at: Offset,
    },
    /// The directory is a copy: the original may have gone on, so a new history begins.
    Copied {
        /// Its name.
        epoch: Epoch,
        /// Where it begins.
        at: Offset,
    },
    /// Bytes that were once good are not any more. The topic is read-only from here on, or, when it was found by a reader,
    /// these offsets are told as missing.
    Damage {
        /// Where in the file the damage begins.
        position: u64,
        /// How many bytes lie between what is good before and behind.
        bytes: u64,
        /// The offsets that lie there; the end is the first good one behind, or what was once acknowledged.
        offsets: Range<Offset>,
    },
    /// A whole segment file between others is gone.
    MissingSegment {
        /// What it held.
        offsets: Range<Offset>,
    },
    /// The log ends before what was once on stable storage.
    Behind {
        /// Where it ends.
        next: Offset,
        /// Everything below was on stable storage.
        durable: Offset,
    },
    /// An index file was missing or wrong, and was made anew from its segment.
    IndexRebuilt {
        /// In what way it was wrong.
        why: IndexFault,
    },
    /// The state file was missing or wrong, and was made anew from the segments.
    StateRebuilt,
    /// A segment that retention let go could not be deleted.
    NotDeleted {
        /// What the system says.
        error: String,
    },
    /// The files failed when nobody waited for them: nothing more is kept until the topic is opened again.
    Failed {
        /// What was tried.
        doing: &'static str,
        /// What the system says.
        error: String,
    },
}

/// In what way an index file was wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IndexFault {
    /// There is none.
    Missing,
    /// It is no index of that segment, or its checksum is wrong.
    Damaged,
    /// It speaks of another length than its segment has.
    Stale,
}

impl std::fmt::Display for Notice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.topic, self.text())
    }
}

impl Notice {
    /// What was found, where the topic is named beside it.
    #[must_use]
    pub fn text(&self) -> String {
        let file = self.file.display();
        match &self.finding {
            Finding::TornTail { position, bytes, next } => format!(
                "{bytes} bytes of an unfinished write were cut from {file} at byte {position}; as far as the files tell, nothing in them was \
                 acknowledged, the next message has offset {next}"
            ),
            Finding::NewHistory { epoch, at } => format!(
                "whether the newest messages are all there is not certain (the machine or a write stopped, or the state file was \
                 lost), so a new history {epoch} begins at offset {at}"
            ),
            Finding::Copied { epoch, at } => format!(
                "{file} is a copy of the directory that was written, which may have gone on, so a new history {epoch} begins \
                 at offset {at}"
            ),
            Finding::Damage {
                position,
                bytes,
                offsets,
            } => format!(
                "{file} is damaged at byte {position}: {bytes} bytes, {}; nothing was cut",
                named(offsets)
            ),
            Finding::MissingSegment { offsets } => format!(
                "the segment file before {file} is gone, with {}; they are told as missing",
                named(offsets)
            ),
            Finding::Behind { next, durable } => {
                format!("{file} ends at offset {next}, but all below {durable} was on stable storage; nothing was cut")
            }
            Finding::IndexRebuilt { why } => {
                let why = match why {
                    IndexFault::Missing => "missing",
                    IndexFault::Damaged => "damaged",
                    IndexFault::Stale => "of another length than its segment",
                };
                format!("the index {file} was {why}, and was made anew; nothing is lost")
            }
            Finding::StateRebuilt => {
                format!("{file} was missing or damaged, and was made anew from the segments")
            }
            Finding::NotDeleted { error } => {
                format!("{file} is no longer kept but cannot be deleted: {error}")
            }
            Finding::Failed { doing, error } => {
                format!("the files in {file} failed to {doing} ({error}); nothing more is kept until a restart")
            }
        }
    }
}

/// Offsets by the first and the last, as gaps are told everywhere.
fn named(offsets: &Range<Offset>) -> String {
    match offsets.end.since(offsets.start) {
        0 => "no offsets".to_owned(),
        1 => format!("offset {}", offsets.start),
        _ => format!("offsets {}-{}", offsets.start, offsets.end.get() - 1),
    }
}

impl Finding {
    /// What to do about it, when there is something.
    #[must_use]
    pub fn advice(&self) -> Option<&'static str> {
        match self {
            Self::Damage { .. } | Self::Behind { .. } => Some(
                "restore the directory from a copy, or make the loss explicit with: lapwing log repair DIR (with no server on it)",
            ),
            Self::MissingSegment { .. } => Some(
                "restore the file from a copy, or make the loss explicit with: lapwing log repair DIR (with no server on it)",
            ),
            Self::NotDeleted { .. } => Some("look at the permissions of the directory"),
            Self::Failed { .. } => Some("look at the disk: what was not yet synced may be lost when the machine stops"),
            Self::TornTail { .. }
            | Self::NewHistory { .. }
            | Self::Copied { .. }
            | Self::IndexRebuilt { .. }
            | Self::StateRebuilt => None,
        }
    }

    /// Whether messages are lost by it that somebody may have seen.
    #[must_use]
    pub fn is_loss(&self) -> bool {
        matches!(
            self,
            Self::NewHistory { .. }
                | Self::Copied { .. }
                | Self::Damage { .. }
                | Self::MissingSegment { .. }
                | Self::Behind { .. }
        )
    }
}

/// Why a topic takes no messages: it was found damaged when it was opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadOnly {
    /// What was found.
    pub notice: Notice,
}
