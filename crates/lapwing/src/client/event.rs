//! What a listener tells: everything that happens to a feed, in its order.

use std::collections::BTreeMap;
use std::time::Duration;

use lapwing_wire::block::BlockTiming;
use lapwing_wire::position::{Epoch, Offset};
use lapwing_wire::topic::TopicName;

use crate::clock::Now;
use crate::failure::Failure;
use crate::recording::arrival::Arrival;
use crate::recording::note::Missed;

/// Who is told; a listener itself prints and writes nothing.
///
/// The listener reads no further before a call returns: an observer that cannot write holds the feed back.
pub trait Observer {
    /// Something happened at `now`.
    fn on_event(&mut self, event: &Event<'_>, now: Now) -> Result<(), Halt>;

    /// Everything that came with one read has been told: the moment to show it.
    fn on_pause(&mut self) -> Result<(), Halt>;

    /// Time passes; comes five times a second, connected or not.
    fn on_tick(&mut self, now: Now) -> Result<(), Halt>;

    /// Whether it cannot take more now: nothing is read and nothing reported until it can.
    fn is_held(&self) -> bool {
        false
    }

    /// Whether arrays that come as binary frames are told as they came; if not, as the text that they stand for.
    fn takes_arrays(&self) -> bool {
        false
    }
}

/// Why an observer wants no more.
#[derive(Debug)]
pub enum Halt {
    /// Nobody looks any more (`| head`): end quietly.
    Quiet,
    /// Something failed.
    Failed(Failure),
}

/// What happened.
#[derive(Debug)]
pub enum Event<'a> {
    /// The first attempt to connect failed, with each server; it goes on until a server takes us.
    NoServer {
        /// Why.
        why: &'a str,
        /// The HTTP status with which a server said no, if there is one.
        status: Option<u16>,
        /// How many servers there are; of several `why` names the last that was tried.
        of: usize,
    },
    /// Of several servers one does not take us, and the next is tried; told once, until it does.
    PassedOver {
        /// Its URL.
        server: &'a str,
        /// Why; escaped.
        why: &'a str,
    },
    /// A wait before an attempt begins.
    Retry(Retry<'a>),
    /// Connected for the first time, and everything asked for is granted.
    Connected(Connected<'a>),
    /// One topic was granted from here on; comes before its first message.
    Granted {
        /// The topic.
        topic: &'a TopicName,
        /// Its history.
        epoch: Epoch,
        /// The first offset that is wanted.
        from: Offset,
        /// Where it ended then; as the server says it.
        end: Offset,
    },
    /// The server says where topics end now.
    Heartbeat {
        /// The end of each; as the server says it.
        ends: &'a BTreeMap<TopicName, Offset>,
    },
    /// A message.
    Message(&'a Arrival<'a>),
    /// A block ended.
    Block {
        /// Its topic.
        topic: &'a TopicName,
        /// Its timing.
        timing: &'a BlockTiming,
    },
    /// Offsets that will not come.
    Gap {
        /// The topic.
        topic: &'a TopicName,
        /// The first of them.
        from: Offset,
        /// The first behind them.
        to: Offset,
        /// Why.
        reason: Missed,
        /// For how long we were away, if that is how they were missed.
        away: Option<Duration>,
    },
    /// Another history: what came after `last` of the old one is unknown.
    Reset {
        /// The topic.
        topic: &'a TopicName,
        /// The history that follows, where it has a name.
        epoch: Option<Epoch>,
        /// Where it goes on for us.
        first: Offset,
        /// Whether it was there before.
        whence: Whence,
        /// The last offset of the old history that came.
        last: Option<Offset>,
    },
    /// The history goes on under another name: all that came of it is part of the new one.
    Continued {
        /// The topic.
        topic: &'a TopicName,
        /// Its name from now on.
        epoch: Epoch,
        /// What is wanted next.
        at: Offset,
    },
    /// The server lost what it had sent us from `at` on.
    Diverged {
        /// The topic.
        topic: &'a TopicName,
        /// The history that goes on.
        epoch: Epoch,
        /// From which offset on.
        at: Offset,
        /// The last offset that came, if any.
        last: Option<Offset>,
    },
    /// A message that had come before, and is dropped.
    Repeat {
        /// Its topic.
        topic: &'a TopicName,
    },
    /// Nothing has come of a topic that holds older messages.
    Silent {
        /// The topic.
        topic: &'a TopicName,
        /// How many messages it holds.
        retained: u64,
    },
    /// The server complains, and the connection lives on.
    Warned {
        /// What it says; not escaped.
        message: &'a str,
    },
    /// The wall clock was set, by so many milliseconds.
    ClockStep {
        /// Positive when it was set forward.
        ms: f64,
    },
    /// The connection was lost.
    Lost {
        /// Why, in a few words; escaped.
        why: &'a str,
    },
    /// Connected again, and everything asked for is granted.
    Back(Back<'a>),
}

/// Whether a history was there before.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Whence {
    /// It is new.
    New {
        /// Where it ends now, if the server said so.
        end: Option<Offset>,
    },
    /// It was, up to where it goes on now.
    Known {
        /// Where it ends now.
        end: Offset,
    },
}

/// A wait before an attempt.
#[derive(Clone, Copy, Debug)]
pub struct Retry<'a> {
    /// The attempt's number, from 1.
    pub attempt: u32,
    /// Which server is tried, where there are several.
    pub server: Option<&'a str>,
    /// How long until it.
    pub wait: Duration,
    /// When the connection was lost, or the first attempt was made; on the monotonic clock.
    pub since: Duration,
    /// Why the attempt before failed; escaped.
    pub why: &'a str,
}

/// What was granted on the first connection.
#[derive(Clone, Copy, Debug)]
pub struct Connected<'a> {
    /// What kind of feed it is.
    pub mode: Mode,
    /// Which server it is, where there are several.
    pub server: Option<&'a str>,
    /// How the server calls us; not escaped.
    pub name: Option<&'a str>,
    /// Every topic and its first offset; empty on a plain feed.
    pub grants: &'a [(TopicName, Offset)],
}

/// What was granted after a loss.
#[derive(Clone, Copy, Debug)]
pub struct Back<'a> {
    /// What kind of feed it is.
    pub mode: Mode,
    /// Which server it is, where there are several.
    pub server: Option<&'a str>,
    /// For how long we were away.
    pub down: Duration,
    /// Which attempt it was.
    pub attempt: u32,
    /// Why the connection had been lost.
    pub why: &'a str,
    /// Every topic and the offset with which it goes on.
    pub grants: &'a [(TopicName, Offset)],
    /// How much of the feed is known to be missing.
    pub missed: MissedMeanwhile,
}

/// What is known of what came while we were away.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MissedMeanwhile {
    /// Nothing is missing.
    Nothing,
    /// Something is, and was told as a gap.
    Told,
    /// Another history began, as was told.
    History,
    /// The feed has no positions.
    Unknown,
}

impl MissedMeanwhile {
    /// The worse of both: what one topic misses, the whole return does.
    #[must_use]
    pub fn worse(self, other: Self) -> Self {
        match (self, other) {
            (Self::History, _) | (_, Self::History) => Self::History,
            (Self::Told, _) | (_, Self::Told) => Self::Told,
            _ => self,
        }
    }
}

/// What kind of feed a connection carries.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    /// The subprotocol of Lapwing: positions, reports, resuming.
    Lapwing,
    /// Whatever any server sends.
    Plain,
}
