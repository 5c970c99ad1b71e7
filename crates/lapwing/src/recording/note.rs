//! What a recording holds beside messages.

use std::collections::BTreeMap;

use lapwing_wire::block::{BlockTiming, Flags};
use lapwing_wire::control::GapReason;
use lapwing_wire::position::{Epoch, Offset};
use lapwing_wire::topic::TopicName;
use serde::{Deserialize, Serialize};

use super::wanted::Wanted;

/// A record that is no message: it has a `"record"` key instead of `data`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "record", rename_all = "snake_case")]
pub enum Note {
    /// A listener begins; several in a file are several runs.
    Start(Start),
    /// What is wanted next of every topic followed: what lies before is in the file or told as missing.
    Positions {
        /// Topic by topic.
        topics: BTreeMap<TopicName, Wanted>,
    },
    /// Offsets `from` up to, not including, `to` did not come.
    Gap {
        /// The topic.
        topic: TopicName,
        /// The first offset missed.
        from: Offset,
        /// The offset with which the feed goes on.
        to: Offset,
        /// Why.
        reason: Missed,
    },
    /// Another history begins, or one comes back: nothing can be said about what came after the last message of the old one.
    Reset {
        /// The topic.
        topic: TopicName,
        /// The new history, where it has a name.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        epoch: Option<Epoch>,
        /// Where this file goes on in it: behind all that it holds of it already.
        first: Offset,
        /// The last offset of the old history in this file.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        last: Option<Offset>,
    },
    /// The history goes on under another name: all of it that stands above is part of the new one too.
    Continued {
        /// The topic.
        topic: TopicName,
        /// Its name from here on.
        epoch: Epoch,
        /// What is wanted next.
        at: Offset,
    },
    /// The server lost messages that this file holds: those from `at` on are orphans.
    Diverged {
        /// The topic.
        topic: TopicName,
        /// The history that goes on.
        epoch: Epoch,
        /// The first offset that the server no longer knows as it stands here.
        at: Offset,
        /// The offset behind the last orphan: those from `at` up to, not including, it stand above under the old history.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        to: Option<Offset>,
    },
    /// The first connection of a run that knows several servers.
    Connect {
        /// Which of them, without secrets.
        url: String,
    },
    /// The connection was lost and is back.
    Reconnect {
        /// For how long.
        down_ms: f64,
        /// How many attempts it took.
        attempts: u32,
        /// Why it was lost.
        why: String,
        /// Which of several servers it is now, without secrets.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        url: Option<String>,
    },
    /// The timing of one block.
    Block(Block),
    /// The wall clock was set: times before and after it do not compare. `mono` goes on.
    ClockStep {
        /// By how much, positive when it was set forward.
        ms: f64,
    },
}

/// The first record of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Start {
    /// Program and version.
    pub version: String,
    /// Where the feed comes from, without secrets; of several servers all, separated by commas.
    pub url: String,
    /// How the listener called itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// How many messages make a block.
    pub block_size: u64,
    /// The boot of this machine, where it has a name: `mono` compares within one boot and process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot: Option<String>,
}

/// Why messages did not come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Missed {
    /// Older than what the topic keeps.
    Retention,
    /// The topic's policy for slow clients jumped ahead.
    Policy,
    /// Damaged on the server's disk.
    Damage,
    /// Removed from the stream, or never there.
    Purge,
    /// They came while a plain connection was away.
    Away,
    /// The server skipped them without a word.
    Unannounced,
}

impl From<GapReason> for Missed {
    fn from(reason: GapReason) -> Self {
        match reason {
            GapReason::Retention => Self::Retention,
            GapReason::Policy => Self::Policy,
            GapReason::Damage => Self::Damage,
            GapReason::Purge => Self::Purge,
        }
    }
}

/// The timing of one block as it is recorded.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Block {
    /// The topic.
    pub topic: TopicName,
    /// Its number: first offset divided by size.
    pub block: u64,
    /// How many messages a whole block has.
    pub block_size: u64,
    /// The first offset that arrived of it.
    pub first: Offset,
    /// The last.
    pub last: Offset,
    /// How many messages arrived.
    pub messages: u64,
    /// Since the end of the block before; null for the first.
    pub elapsed_ms: Option<f64>,
    /// From the first arrival to the last.
    pub spread_ms: f64,
    /// Payload bytes on the wire.
    pub bytes: u64,
    /// Why it does not count, if so.
    pub flags: Flags,
}

impl Block {
    /// The record of a timing.
    #[must_use]
    pub fn new(topic: &TopicName, timing: &BlockTiming) -> Self {
        let ms = |span: std::time::Duration| span.as_micros() as f64 / 1000.0;
        Self {
            topic: topic.clone(),
            block: timing.block,
            block_size: timing.size.get(),
            first: timing.first,
            last: timing.last,
            messages: timing.messages,
            elapsed_ms: timing.elapsed.map(ms),
            spread_ms: ms(timing.spread),
            bytes: timing.bytes,
            flags: timing.flags,
        }
    }
}

/// A note with the moment it was made.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct StampedNote {
    /// What it says.
    #[serde(flatten)]
    pub note: Note,
    /// Wall clock, RFC 3339 with nanoseconds.
    pub received: String,
    /// Nanoseconds of the monotonic clock.
    pub mono: u64,
}

/// 100 ms: a wall clock that moves less against the monotonic one between two looks is corrected, not set, and no
/// [`Note::ClockStep`] says so.
pub const CLOCK_STEP_MS: u32 = 100;
