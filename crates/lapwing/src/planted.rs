//! Bugs planted on purpose, one at a time, to see that a trial finds them; never in a release.

use std::sync::OnceLock;

#[cfg(not(debug_assertions))]
compile_error!("planted bugs cannot be compiled into a release");

/// A bug that can be planted; `LAPWING_PLANTED` names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    /// A publish that is tried again is appended again.
    RetryTwice,
    /// The last acknowledged batch is forgotten at a start, and its offsets are given out anew.
    OffsetReused,
    /// A publish is acknowledged before it is on stable storage.
    AckBeforeFsync,
    /// A history that was lost goes on under its old name.
    EpochKept,
    /// A write that a kill cut in half counts as whole.
    TornTail,
    /// Messages that are gone are not told as gone.
    SilentGap,
    /// A listener that comes back goes on one too far.
    ResumeOffByOne,
    /// A listener that comes back records its last message again.
    ReplayedOne,
    /// Two messages change places.
    Reordered,
    /// A topic that should hold back its source lets go what a client has still to read.
    HeldLetGo,
}

/// Whether this bug is planted.
#[must_use]
pub fn is(bug: Bug) -> bool {
    static PLANTED: OnceLock<Option<Bug>> = OnceLock::new();
    let planted = PLANTED.get_or_init(|| {
        let name = std::env::var("LAPWING_PLANTED").ok()?;
        NAMES.iter().find(|(known, _)| *known == name).map(|(_, bug)| *bug)
    });
    *planted == Some(bug)
}

const NAMES: [(&str, Bug); 10] = [
    ("retry-twice", Bug::RetryTwice),
    ("offset-reused", Bug::OffsetReused),
    ("ack-before-fsync", Bug::AckBeforeFsync),
    ("epoch-kept", Bug::EpochKept),
    ("torn-tail", Bug::TornTail),
    ("silent-gap", Bug::SilentGap),
    ("resume-off-by-one", Bug::ResumeOffByOne),
    ("replayed-one", Bug::ReplayedOne),
    ("reordered", Bug::Reordered),
    ("held-let-go", Bug::HeldLetGo),
];
