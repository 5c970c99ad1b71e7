//! The control messages of the subprotocol `lapwing.v1`: JSON text frames with a `"type"`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::dtype::Dtype;
use crate::position::{Epoch, Offset, Position};
use crate::query::Encoding;
use crate::report::Report;
use crate::secret::Secret;
use crate::start::{Start, StartError};
use crate::topic::TopicName;

/// The subprotocol's name in `Sec-WebSocket-Protocol`.
pub const SUBPROTOCOL: &str = "lapwing.v1";

/// The name under which plain mode may be offered. A browser that offers a protocol wants one of its own back, so a token
/// offered as one needs this beside it.
pub const PLAIN_PROTOCOL: &str = "lapwing.plain";

/// How an offer begins that is a token: behind it stands the token in base64url without padding (RFC 4648 section 5).
/// It is never chosen, so it is never sent back.
pub const TOKEN_PROTOCOL: &str = "lapwing.token.";

/// How every control message from the server begins, and no data message: its writer puts `type` first.
pub const CONTROL_PREFIX: &str = "{\"type\":";

/// What the server says between data messages.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ServerMessage {
    /// First on every connection.
    Welcome(Welcome),
    /// A topic is followed from now on; comes before its first message.
    Subscribed(Subscribed),
    /// A topic is no longer followed; nothing of it comes after this.
    Unsubscribed {
        /// The topic.
        topic: TopicName,
    },
    /// Messages that this client will not get.
    Gap(Gap),
    /// Sent about every `heartbeat_ms` while the client takes what is sent.
    Heartbeat {
        /// The server's wall clock, RFC 3339.
        time: String,
        /// For every topic followed, the offset of its next message: more than the client has means a tail is under way.
        next: BTreeMap<TopicName, Offset>,
        /// The topics followed that may have newer messages elsewhere: the server cannot reach the stream behind them.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        stale: Vec<TopicName>,
    },
    /// A command was not obeyed; the connection lives on.
    Error {
        /// A word for programs: `bad_command`, `unknown_topic`, `not_allowed`, `too_many_topics`, `bad_report`, `too_many_reports`.
        code: String,
        /// A sentence for people.
        message: String,
        /// The topic it is about.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        topic: Option<TopicName>,
    },
    /// The token ends soon, and with it this connection, unless another one comes before.
    Expiring {
        /// How long it will still be served, in milliseconds.
        in_ms: u64,
    },
    /// Another token was taken.
    Authorized {
        /// How long it will be served now, in milliseconds; none when the token has no end.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        in_ms: Option<u64>,
    },
    /// The server is about to close this connection.
    Bye {
        /// Why, in words.
        reason: String,
        /// When to come back, in milliseconds; without it the close code says whether, and the client when.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        retry_ms: Option<u64>,
        /// When to go to another server, in milliseconds, where the client knows one with the same topics.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        elsewhere_ms: Option<u64>,
        /// For every topic followed, the offset of its next message when the server stopped.
        next: BTreeMap<TopicName, Offset>,
    },
}

/// The greeting.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Welcome {
    /// Number of this connection on this server, from 1.
    pub session: u64,
    /// How the server calls this client.
    pub name: String,
    /// Program and version: `lapwing/0.1.0`.
    pub server: String,
    /// The public topics that this client may listen to.
    pub topics: Vec<TopicName>,
    /// A report of one topic is taken at most this often.
    pub report_interval_ms: u64,
    /// A heartbeat comes about this often.
    pub heartbeat_ms: u64,
}

/// What was granted for one topic.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Subscribed {
    /// The topic.
    pub topic: TopicName,
    /// The history that the offsets belong to.
    pub epoch: Epoch,
    /// The lowest offset retained.
    pub first: Offset,
    /// The offset of the next message to be appended.
    pub next: Offset,
    /// All below it are on stable storage; none where nothing is stored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub durable: Option<Offset>,
    /// What an acknowledgement means: `none`, `os`, `fsync`, `external`.
    pub level: Level,
    /// The offset granted: delivery begins here.
    pub from: Offset,
    /// How the grant relates to what was asked.
    pub answer: Answer,
    /// With `gap`: the first offset asked for that is gone; those up to `from` are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missing_from: Option<Offset>,
    /// With `diverged`: from this offset on the client holds messages that the server has lost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub diverged_at: Option<Offset>,
    /// The number that binary frames of this topic carry; none when all its messages are text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub number: Option<u32>,
    /// Of what type the elements in them are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dtype: Option<Dtype>,
}

/// How a grant relates to what was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// As asked: nothing is missing.
    Ok,
    /// Offsets `missing_from` up to `from` are no longer retained.
    Gap,
    /// The client holds messages that the server has lost; delivery goes on at `from`.
    Diverged,
    /// Another history: nothing can be said about what is missing; delivery begins at `first`.
    Reset,
}

/// What an acknowledgement means, and what survives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// In memory.
    #[default]
    None,
    /// Written to the operating system.
    Os,
    /// On stable storage.
    Fsync,
    /// As safe as the JetStream stream behind the topic makes it.
    External,
}

/// Offsets that a client will not get: `from` up to, not including, `to`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gap {
    /// The topic.
    pub topic: TopicName,
    /// The first offset missed.
    pub from: Offset,
    /// The offset with which delivery goes on.
    pub to: Offset,
    /// Why.
    pub reason: GapReason,
}

/// Why messages are missed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GapReason {
    /// Older than what the topic keeps.
    Retention,
    /// The topic's policy for slow clients jumped ahead.
    Policy,
    /// Damaged on disk.
    Damage,
    /// Removed from the stream, or never there.
    Purge,
}

/// What a client says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ClientMessage {
    /// Follow a topic.
    Subscribe(Subscribe),
    /// Follow it no longer.
    Unsubscribe {
        /// The topic.
        topic: TopicName,
    },
    /// Another token, in place of the one that this connection was opened with.
    Auth {
        /// The token.
        token: Secret,
    },
    /// The timing of blocks.
    Report(Box<Report>),
    /// Text for the server's console.
    Say {
        /// The text.
        text: String,
    },
}

/// A wish to follow one topic: with `epoch` and `offset` to resume, with `from` to begin, with neither from `latest`.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Subscribe {
    /// The topic; none means every public one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub topic: Option<TopicName>,
    /// The history of `offset`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub epoch: Option<Epoch>,
    /// The next offset wanted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub offset: Option<Offset>,
    /// Where to begin, as in the URL's `from=`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// The form of arrays; none for what the URL says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub encoding: Option<Encoding>,
}

impl Subscribe {
    /// A wish for `topic` from `start`.
    #[must_use]
    pub fn new(topic: Option<TopicName>, start: Start) -> Self {
        match start {
            Start::Position(Position { epoch, offset }) => Self {
                topic,
                epoch: Some(epoch),
                offset: Some(offset),
                ..Self::default()
            },
            Start::Latest => Self {
                topic,
                ..Self::default()
            },
            start => Self {
                topic,
                from: Some(start.to_string()),
                ..Self::default()
            },
        }
    }

    /// Where it asks to begin.
    pub fn start(&self) -> Result<Start, StartError> {
        match (self.epoch, self.offset, &self.from) {
            (Some(epoch), Some(offset), _) => Ok(Start::Position(Position { epoch, offset })),
            (None, Some(offset), _) => Ok(Start::Offset(offset)),
            (_, None, Some(from)) => from.parse(),
            (_, None, None) => Ok(Start::Latest),
        }
    }
}

impl ServerMessage {
    /// The text of its frame.
    #[must_use]
    pub fn to_text(&self) -> String {
        serde_json::to_string(self).expect("every field has a form in JSON")
    }
}

impl ClientMessage {
    /// The text of its frame.
    #[must_use]
    pub fn to_text(&self) -> String {
        serde_json::to_string(self).expect("every field has a form in JSON")
    }

    /// Parses the text of a frame; the error is a sentence for the client that sent it.
    pub fn parse(text: &str) -> Result<Self, String> {
        serde_json::from_str(text).map_err(|error| format!("not a command of {SUBPROTOCOL}: {error}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topic(name: &str) -> TopicName {
        TopicName::parse(name).expect("valid")
    }

    #[test]
    fn control_messages_begin_with_their_type() {
        let gap = Gap {
            topic: topic("users"),
            from: Offset::new(3),
            to: Offset::new(9),
            reason: GapReason::Retention,
        };
        let text = ServerMessage::Gap(gap.clone()).to_text();
        assert_eq!(
            text,
            "{\"type\":\"gap\",\"topic\":\"users\",\"from\":3,\"to\":9,\"reason\":\"retention\"}"
        );
        assert!(text.starts_with(CONTROL_PREFIX));
        assert_eq!(
            serde_json::from_str::<ServerMessage>(&text).expect("our own"),
            ServerMessage::Gap(gap)
        );
        let next = BTreeMap::from([(topic("users"), Offset::new(66))]);
        let heartbeat = ServerMessage::Heartbeat {
            time: "2026-11-21T19:00:00Z".to_owned(),
            next,
            stale: vec![topic("users")],
        };
        let text = heartbeat.to_text();
        assert!(text.starts_with(CONTROL_PREFIX), "{text}");
        assert_eq!(
            serde_json::from_str::<ServerMessage>(&text).expect("our own"),
            heartbeat
        );
    }

    #[test]
    fn a_subscribe_says_where_to_begin() {
        let epoch = Epoch::from_bits(5);
        let position = Start::Position(Position {
            epoch,
            offset: Offset::new(7),
        });
        for start in [
            Start::Latest,
            Start::Earliest,
            Start::Last(3),
            Start::Offset(Offset::new(2)),
            position,
        ] {
            let wish = ClientMessage::Subscribe(Subscribe::new(Some(topic("users")), start));
            let Ok(ClientMessage::Subscribe(back)) = ClientMessage::parse(&wish.to_text()) else {
                panic!("{}", wish.to_text())
            };
            assert_eq!(back.start(), Ok(start));
        }
    }

    #[test]
    fn a_subscribe_may_say_in_which_form_arrays_come() {
        let wish = ClientMessage::Subscribe(Subscribe {
            topic: Some(topic("arrays")),
            encoding: Some(Encoding::Binary),
            ..Subscribe::default()
        });
        let text = r#"{"type":"subscribe","topic":"arrays","encoding":"binary"}"#;
        assert_eq!(wish.to_text(), text);
        assert_eq!(ClientMessage::parse(text), Ok(wish));
        let error = ClientMessage::parse(&text.replace("binary", "msgpack")).expect_err("there is none");
        assert!(error.contains("`json` or `binary`"), "{error}");
    }

    #[test]
    fn a_token_goes_over_the_wire_and_into_no_log() {
        let auth = ClientMessage::Auth {
            token: Secret::new("abc"),
        };
        assert_eq!(auth.to_text(), "{\"type\":\"auth\",\"token\":\"abc\"}");
        assert_eq!(ClientMessage::parse(&auth.to_text()), Ok(auth.clone()));
        assert_eq!(format!("{auth:?}"), "Auth { token: *** }");
        // What cannot be read is not repeated, since it may be a token in the wrong place.
        let error = ClientMessage::parse("{\"type\":\"auth\",\"token\":{\"abc\":1}}").expect_err("no text");
        assert!(!error.contains("abc"), "{error}");
    }

    #[test]
    fn commands_of_people_are_understood() {
        let parsed = ClientMessage::parse("{\"type\":\"subscribe\",\"topic\":\"users\",\"from\":\"last:5\"}");
        assert!(matches!(parsed, Ok(ClientMessage::Subscribe(s)) if s.start() == Ok(Start::Last(5))));
        assert!(
            matches!(ClientMessage::parse("{\"type\":\"say\",\"text\":\"hi\"}"), Ok(ClientMessage::Say { text }) if text == "hi")
        );
        for wrong in [
            "",
            "[]",
            "{}",
            "{\"type\":\"dance\"}",
            "{\"type\":\"subscribe\",\"topic\":\"a b\"}",
        ] {
            assert!(ClientMessage::parse(wrong).is_err(), "{wrong}");
        }
    }
}
