//! A line of a recording or of a dump, read apart from the product's own reader.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::crc::crc32c;
use crate::epoch::Epoch;
use crate::payload::{self, Payload};

/// What one line says. Lines that the checker has no use for are [`Line::Other`].
#[derive(Clone, Debug, PartialEq)]
pub enum Line<'a> {
    /// A message at its place.
    Message {
        /// The topic.
        topic: Cow<'a, str>,
        /// Its history; a feed without the subprotocol has none.
        epoch: Option<Epoch>,
        /// Its place.
        offset: u64,
        /// When it was received, monotonic; a dump has none.
        mono: Option<u64>,
        /// What it turned out to be.
        payload: Payload,
    },
    /// A run of the listener begins.
    Start {
        /// When.
        mono: Option<u64>,
    },
    /// What the listener wants next.
    Positions(Vec<(String, Option<Epoch>, u64)>),
    /// Offsets that will not come.
    Gap {
        /// The topic.
        topic: String,
        /// The first that is missing.
        from: u64,
        /// The next that is not.
        to: u64,
        /// In one word.
        reason: String,
        /// When it was told.
        mono: Option<u64>,
    },
    /// Another history begins, and nothing can be said of what is missing.
    Reset {
        /// The topic.
        topic: String,
        /// The new history.
        epoch: Option<Epoch>,
        /// Where delivery begins in it.
        first: u64,
        /// The last offset of the old one.
        last: Option<u64>,
        /// When it was told.
        mono: Option<u64>,
    },
    /// The history goes on under another name, and misses nothing.
    Continued {
        /// The topic.
        topic: String,
        /// Its name from `at` on.
        epoch: Epoch,
        /// What is wanted next.
        at: u64,
        /// When it was told.
        mono: Option<u64>,
    },
    /// The server lost what it had sent from `at` on.
    Diverged {
        /// The topic.
        topic: String,
        /// The history that goes on at `at`.
        epoch: Epoch,
        /// The first offset that was lost.
        at: u64,
        /// When it was told.
        mono: Option<u64>,
    },
    /// The connection was lost and is back.
    Reconnect {
        /// When it was back with everything.
        mono: Option<u64>,
        /// When it was lost.
        lost: Option<u64>,
    },
    /// The timing of a block.
    Block(Block),
    /// In a dump: the histories of the topic with their starts, and what is retained. The trial writes it there.
    Lineage {
        /// The topic.
        topic: String,
        /// Every history with the offset at which it begins, oldest first.
        lineage: Vec<(Epoch, u64)>,
        /// The lowest offset that is retained.
        first: u64,
        /// The offset that the next message gets.
        next: u64,
    },
    /// Ends in a newline, but is not what was written.
    Damaged(&'static str),
    /// Has no newline: a write that did not come to its end.
    Torn,
    /// Something else that is whole.
    Other,
}

/// The timing of a block, as the listener wrote it.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Block {
    /// The topic.
    pub topic: String,
    /// Messages a block.
    pub block_size: u64,
    /// The first offset that arrived.
    pub first: u64,
    /// The last offset that arrived.
    pub last: u64,
    /// How many arrived.
    pub messages: u64,
    /// From the end of the block before to the end of this one.
    pub elapsed_ms: Option<f64>,
    /// From the first arrival to the last.
    pub spread_ms: f64,
    /// Why it does not count.
    #[serde(default)]
    pub flags: Vec<String>,
    /// When it was written.
    pub mono: Option<u64>,
}

/// Bytes of the proof at the end of a recorded line: `,"crc":"xxxxxxxx"}`.
const PROOF_BYTES: usize = 18;

/// Whether a line must carry its checksum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proof {
    /// As in a recording.
    Must,
    /// As in a dump: it is checked where it is there.
    May,
}

/// Reads one line with its newline.
pub fn read(line: &[u8], proof: Proof) -> Line<'_> {
    let Some(line) = line.strip_suffix(b"\n") else {
        return Line::Torn;
    };
    match is_proven(line) {
        Some(true) => {}
        Some(false) => return Line::Damaged("its checksum does not fit"),
        None if proof == Proof::May => {}
        None => return Line::Damaged("it has no checksum"),
    }
    let said = if line.starts_with(br#"{"record":"#) {
        read_record(line)
    } else {
        read_message(line)
    };
    said.unwrap_or(Line::Damaged("it is not what a recording may say"))
}

/// Whether the checksum at the end fits; `None` if there is none.
fn is_proven(line: &[u8]) -> Option<bool> {
    let (told, proof) = line.split_at_checked(line.len().checked_sub(PROOF_BYTES)?)?;
    let digits = proof.strip_prefix(br#","crc":""#)?.strip_suffix(br#""}"#)?;
    Some(format!("{:08x}", crc32c(told)).as_bytes() == digits)
}

#[derive(Deserialize)]
struct WireMessage<'a> {
    #[serde(borrow)]
    topic: Cow<'a, str>,
    offset: u64,
    #[serde(borrow)]
    epoch: Option<&'a str>,
    mono: Option<u64>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
}

fn read_message(line: &[u8]) -> Option<Line<'_>> {
    let said: WireMessage<'_> = serde_json::from_slice(line).ok()?;
    Some(Line::Message {
        topic: said.topic,
        epoch: match said.epoch {
            Some(text) => Some(Epoch::parse(text)?),
            None => None,
        },
        offset: said.offset,
        mono: said.mono,
        payload: said
            .data
            .map_or(Payload::Broken, |data| payload::read(data.get().as_bytes())),
    })
}

#[derive(Deserialize)]
#[serde(tag = "record", rename_all = "snake_case")]
enum WireRecord {
    Start {
        mono: Option<u64>,
    },
    Positions {
        topics: std::collections::BTreeMap<String, WirePosition>,
    },
    Gap {
        topic: String,
        from: u64,
        to: u64,
        reason: String,
        mono: Option<u64>,
    },
    Reset {
        topic: String,
        epoch: Option<Epoch>,
        first: u64,
        last: Option<u64>,
        mono: Option<u64>,
    },
    Continued {
        topic: String,
        epoch: Epoch,
        at: u64,
        mono: Option<u64>,
    },
    Diverged {
        topic: String,
        epoch: Epoch,
        at: u64,
        mono: Option<u64>,
    },
    Reconnect {
        mono: Option<u64>,
        down_ms: Option<f64>,
    },
    Block(Block),
    Lineage {
        topic: String,
        lineage: Vec<(Epoch, u64)>,
        first: u64,
        next: u64,
    },
    #[serde(other)]
    Other,
}

#[derive(Deserialize)]
struct WirePosition {
    epoch: Option<Epoch>,
    offset: u64,
}

fn read_record(line: &[u8]) -> Option<Line<'static>> {
    Some(match serde_json::from_slice(line).ok()? {
        WireRecord::Start { mono } => Line::Start { mono },
        WireRecord::Positions { topics } => Line::Positions(
            topics
                .into_iter()
                .map(|(topic, wanted)| (topic, wanted.epoch, wanted.offset))
                .collect(),
        ),
        WireRecord::Gap {
            topic,
            from,
            to,
            reason,
            mono,
        } => Line::Gap {
            topic,
            from,
            to,
            reason,
            mono,
        },
        WireRecord::Reset {
            topic,
            epoch,
            first,
            last,
            mono,
        } => Line::Reset {
            topic,
            epoch,
            first,
            last,
            mono,
        },
        WireRecord::Continued { topic, epoch, at, mono } => Line::Continued { topic, epoch, at, mono },
        WireRecord::Diverged { topic, epoch, at, mono } => Line::Diverged { topic, epoch, at, mono },
        WireRecord::Reconnect { mono, down_ms } => Line::Reconnect {
            mono,
            lost: mono
                .zip(down_ms)
                .map(|(mono, down)| mono.saturating_sub((down * 1e6) as u64)),
        },
        WireRecord::Block(block) => Line::Block(block),
        WireRecord::Lineage {
            topic,
            lineage,
            first,
            next,
        } => Line::Lineage {
            topic,
            lineage,
            first,
            next,
        },
        WireRecord::Other => Line::Other,
    })
}

impl Line<'_> {
    /// The topic, of a line that is about one.
    pub fn topic(&self) -> Option<&str> {
        match self {
            Self::Message { topic, .. } => Some(topic),
            Self::Gap { topic, .. }
            | Self::Reset { topic, .. }
            | Self::Continued { topic, .. }
            | Self::Diverged { topic, .. }
            | Self::Lineage { topic, .. } => Some(topic),
            Self::Block(block) => Some(&block.topic),
            _ => None,
        }
    }

    /// The same line for as long as one likes.
    pub fn into_owned(self) -> Line<'static> {
        match self {
            Self::Message {
                topic,
                epoch,
                offset,
                mono,
                payload,
            } => Line::Message {
                topic: Cow::Owned(topic.into_owned()),
                epoch,
                offset,
                mono,
                payload,
            },
            Self::Start { mono } => Line::Start { mono },
            Self::Positions(wanted) => Line::Positions(wanted),
            Self::Gap {
                topic,
                from,
                to,
                reason,
                mono,
            } => Line::Gap {
                topic,
                from,
                to,
                reason,
                mono,
            },
            Self::Reset {
                topic,
                epoch,
                first,
                last,
                mono,
            } => Line::Reset {
                topic,
                epoch,
                first,
                last,
                mono,
            },
            Self::Continued { topic, epoch, at, mono } => Line::Continued { topic, epoch, at, mono },
            Self::Diverged { topic, epoch, at, mono } => Line::Diverged { topic, epoch, at, mono },
            Self::Reconnect { mono, lost } => Line::Reconnect { mono, lost },
            Self::Block(block) => Line::Block(block),
            Self::Lineage {
                topic,
                lineage,
                first,
                next,
            } => Line::Lineage {
                topic,
                lineage,
                first,
                next,
            },
            Self::Damaged(why) => Line::Damaged(why),
            Self::Torn => Line::Torn,
            Self::Other => Line::Other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Line, Proof, read};
    use crate::crc::crc32c;
    use crate::dice::Dice;
    use crate::payload::{self, Payload};

    fn proven(line: &str) -> String {
        format!("{line},\"crc\":\"{:08x}\"}}\n", crc32c(line.as_bytes()))
    }

    #[test]
    fn a_message_is_read_as_it_stands_in_a_recording() {
        let (data, message) = payload::make(1, 2, 3, &mut Dice::new(1));
        let line = proven(&format!(
            r#"{{"topic":"a","offset":35,"epoch":"51d2e7b0c3a94f6e8b1d2a7c90e4f518","time":"2026-11-21T19:00:14.100311Z","received":"x","mono":81,"data":{data}"#
        ));
        let Line::Message {
            topic,
            offset,
            mono,
            payload,
            epoch,
        } = read(line.as_bytes(), Proof::Must)
        else {
            panic!("{line}");
        };
        assert_eq!(
            (topic.as_ref(), offset, mono, payload),
            ("a", 35, Some(81), Payload::Intact(message))
        );
        assert_eq!(
            epoch.map(|epoch| epoch.to_string()).as_deref(),
            Some("51d2e7b0c3a94f6e8b1d2a7c90e4f518")
        );
    }

    #[test]
    fn a_line_that_was_changed_is_damaged_and_one_without_its_end_is_torn() {
        let line = proven(r#"{"record":"gap","topic":"a","from":1,"to":3,"reason":"retention","mono":5"#);
        assert!(matches!(
            read(line.as_bytes(), Proof::Must),
            Line::Gap { from: 1, to: 3, .. }
        ));
        assert!(matches!(
            read(line.replace("\"to\":3", "\"to\":4").as_bytes(), Proof::Must),
            Line::Damaged(_)
        ));
        assert_eq!(read(line.trim_end().as_bytes(), Proof::Must), Line::Torn);
        assert!(matches!(
            read(b"{\"record\":\"start\"}\n", Proof::Must),
            Line::Damaged(_)
        ));
        assert!(matches!(
            read(b"{\"record\":\"start\"}\n", Proof::May),
            Line::Start { mono: None }
        ));
    }

    #[test]
    fn records_of_a_kind_that_is_not_known_are_passed_over() {
        assert_eq!(
            read(proven(r#"{"record":"weather","mono":5"#).as_bytes(), Proof::Must),
            Line::Other
        );
    }
}
