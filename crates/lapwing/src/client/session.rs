//! What a listener knows of one connection, beside its bytes.

use std::time::Duration;

use lapwing_wire::close::CloseCode;
use lapwing_wire::decoder::ProtocolError;
use lapwing_wire::position::Offset;
use lapwing_wire::secret::Secret;
use lapwing_wire::topic::TopicName;

use super::connection::Connection;
use super::event::{MissedMeanwhile, Mode};
use super::listener::Ending;
use super::servers::Failed;
use crate::clock::Now;

/// One connection, from its handshake to its end.
pub struct Session {
    /// What kind of feed it carries.
    pub mode: Mode,
    /// When it was opened.
    pub opened: Now,
    /// When anything last came.
    pub last_byte: Now,
    /// Whether the server was asked whether it lives, since then.
    pub pinged: bool,
    /// How often the server speaks by itself.
    pub heartbeat: Duration,
    /// How often it takes a report of one topic.
    pub report_interval: Duration,
    /// How it calls us.
    pub name: Option<String>,
    /// Topics that were asked for and not yet granted.
    pub awaited: Vec<TopicName>,
    /// Topics that were granted, and from where.
    pub grants: Vec<(TopicName, Offset)>,
    /// What is known of what came before it.
    pub missed: MissedMeanwhile,
    /// What topics hold that begin with their next message.
    pub retained: Vec<(TopicName, u64)>,
    /// Everything asked for is granted.
    pub ready: bool,
    /// How many messages came.
    pub messages: u64,
    /// How many had come when the last heartbeat told of more than that.
    pub awaits_tail_since: Option<u64>,
    /// When the server said to come back.
    pub bye: Option<Duration>,
    /// Topics that may have newer messages than the server knows of.
    pub stale: Vec<TopicName>,
    /// When it said to go to another server, where others have the same topics.
    pub elsewhere: Option<Duration>,
    /// The token that the server knows of us.
    pub token: Option<Secret>,
    /// It ends soon, and the server was not shown another one yet.
    pub expiring: bool,
    /// Texts to send once the frame at hand is done with.
    pub outbox: Vec<String>,
}

/// How one connection ended.
pub enum SessionEnd {
    /// We end.
    Over(Ending),
    /// The server closed it.
    Closed {
        /// With which code.
        code: CloseCode,
        /// What it said; not escaped.
        reason: String,
    },
    /// The server broke the protocol.
    Broken(ProtocolError),
    /// The server does not have what is wanted, and another one may.
    Refused {
        /// Whether that may change.
        failed: Failed,
        /// In a few words; escaped.
        why: String,
    },
    /// It ended in any other way.
    Lost {
        /// In a few words.
        why: String,
    },
}

impl Session {
    /// A connection that was opened at `now`.
    #[must_use]
    pub fn new(mode: Mode, token: Option<Secret>, now: Now) -> Self {
        Self {
            mode,
            opened: now,
            last_byte: now,
            pinged: false,
            heartbeat: WELCOME_WAIT / 3,
            report_interval: Duration::from_secs(1),
            name: None,
            awaited: Vec::new(),
            grants: Vec::new(),
            missed: MissedMeanwhile::Nothing,
            retained: Vec::new(),
            ready: false,
            messages: 0,
            awaits_tail_since: None,
            bye: None,
            stale: Vec::new(),
            elsewhere: None,
            token,
            expiring: false,
            outbox: Vec::new(),
        }
    }

    /// Takes a heartbeat: `behind` tells whether it names more than came. True when nothing came since one before it did, too.
    ///
    /// Frames come in order and a heartbeat comes only to who takes them: by the second one the tail is lost.
    pub fn on_heartbeat(&mut self, behind: bool) -> bool {
        let lost = behind && self.awaits_tail_since == Some(self.messages);
        self.awaits_tail_since = behind.then_some(self.messages);
        lost
    }

    /// Judges how long nothing came: a server of ours speaks by itself; of any other we ask whether it lives.
    pub fn judge_silence(&mut self, connection: &mut Connection, now: Now) -> Option<SessionEnd> {
        let silent = Duration::from_nanos(now.mono.saturating_sub(self.last_byte.mono));
        let limit = match self.mode {
            Mode::Lapwing => self.heartbeat * 3,
            Mode::Plain => PLAIN_SILENCE_MAX,
        };
        if silent >= limit {
            let why = format!("nothing came for {} s", silent.as_secs());
            return Some(SessionEnd::Lost { why });
        }
        if self.mode == Mode::Plain && silent >= limit / 2 && !self.pinged {
            connection.send_ping();
            self.pinged = true;
        }
        None
    }
}

/// Within this a server that chose the subprotocol says welcome.
const WELCOME_WAIT: Duration = Duration::from_secs(15);

/// A server cannot make us ask for its life all the time.
pub const HEARTBEAT_MIN: Duration = Duration::from_secs(1);

/// Nor wait for ever.
pub const HEARTBEAT_MAX: Duration = Duration::from_secs(600);

/// Feeds of others may be quiet for long; after half of it they are asked by a ping.
const PLAIN_SILENCE_MAX: Duration = Duration::from_secs(60);
