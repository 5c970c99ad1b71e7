//! What happens on a server, in words for people and in fields for programs.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use lapwing_wire::block::Flags;
use lapwing_wire::close::CloseCode;
use lapwing_wire::control::{GapReason, Level};
use lapwing_wire::escape::escaped_cut;
use lapwing_wire::position::Offset;
use lapwing_wire::time::micros_text;
use lapwing_wire::topic::TopicName;
use serde::Serialize;

use super::cause::{Cause, Judgement};
use super::label::ClientLabel;
use super::sums::Sums;
use crate::clock::Now;
use crate::session::Mode;
use crate::terminal::form;

/// One thing that happened.
#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
pub enum Event {
    /// The server is ready; people get a banner instead.
    Ready {
        /// The address that it listens on.
        address: SocketAddr,
        /// What runs, by topic: the source as it was asked for.
        topics: BTreeMap<TopicName, String>,
        /// What becomes of clients that fall behind, by topic: `skip`, `close`, `latest`, `wait`.
        slow: BTreeMap<TopicName, &'static str>,
        /// What an acknowledgement means, by topic.
        level: BTreeMap<TopicName, Level>,
        /// Where durable topics are kept, if anywhere.
        #[serde(skip_serializing_if = "Option::is_none")]
        data: Option<PathBuf>,
        /// Whether many clients are sent to by one system call.
        io_uring: bool,
        /// Whether messages are compressed for clients that offer it.
        compression: bool,
        /// Whether messages to `/echo` go back.
        echo: bool,
        /// Whether everything is inside TLS.
        tls: bool,
        /// The SHA-256 fingerprint of the certificate, if it is.
        #[serde(skip_serializing_if = "Option::is_none")]
        fingerprint: Option<String>,
        /// Whether clients need a token.
        authentication: bool,
        /// The seed of all random feeds.
        seed: u64,
    },
    /// A client came.
    Joined {
        /// The connection's number.
        session: u64,
        /// How it is called.
        client: ClientLabel,
        /// Who it belongs to, as its token says; already harmless. None where no token is asked for.
        #[serde(skip_serializing_if = "Option::is_none")]
        who: Option<String>,
        /// From where.
        #[serde(serialize_with = "place_text")]
        address: SocketAddr,
        /// How it speaks: `plain`, `bare`, `lapwing.v1`, `echo` or `events`.
        mode: &'static str,
        /// Where it begins, by topic.
        from: Places,
        /// A client of this name left so long ago.
        #[serde(rename = "away_ms", with = "millis_option", skip_serializing_if = "Option::is_none")]
        away: Option<Duration>,
        /// Messages that wait for it already.
        waiting: u64,
    },
    /// A client went.
    Left {
        /// The connection's number.
        session: u64,
        /// How it is called.
        client: ClientLabel,
        /// Who it belonged to, as for [`Event::Joined`].
        #[serde(skip_serializing_if = "Option::is_none")]
        who: Option<String>,
        /// The close code, 1006 when there was none.
        #[serde(serialize_with = "code_number")]
        code: CloseCode,
        /// Who ended it.
        by: EndedBy,
        /// Why, in the words of whoever ended it.
        reason: String,
        /// From the handshake to the end.
        #[serde(rename = "stayed_ms", with = "millis")]
        stayed: Duration,
        /// Messages sent to it.
        messages: u64,
        /// Bytes of frames sent to it.
        bytes: u64,
        /// The last offset sent, by topic.
        last: Places,
        /// Offsets that it was told it will not get, by topic.
        #[serde(skip_serializing_if = "Tally::is_empty")]
        missed: Tally,
        /// Offsets that waited for it when it left, by topic; told of those who were too slow.
        #[serde(skip_serializing_if = "Tally::is_empty")]
        behind: Tally,
        /// Of those, the ones that were let go already: it is told when it comes back.
        #[serde(skip_serializing_if = "Tally::is_empty")]
        gone: Tally,
    },
    /// A client said something.
    Said {
        /// The connection's number.
        session: u64,
        /// Who.
        client: ClientLabel,
        /// From where.
        #[serde(serialize_with = "place_text")]
        address: SocketAddr,
        /// What.
        #[serde(flatten)]
        said: Said,
    },
    /// A client reported blocks.
    Report {
        /// The connection's number.
        session: u64,
        /// Who.
        client: ClientLabel,
        /// The topic.
        topic: TopicName,
        /// The last block covered.
        block: u64,
        /// How many blocks are covered.
        blocks: u64,
        /// How many messages make a block.
        block_size: u64,
        /// The first offset covered.
        first: Offset,
        /// The last offset covered.
        last: Offset,
        /// Messages received.
        messages: u64,
        /// The client's time for them, none when nothing in the report counts.
        #[serde(rename = "elapsed_ms", serialize_with = "tenths")]
        elapsed_ms: Option<f64>,
        /// First to last arrival (of the median block).
        #[serde(serialize_with = "tenth")]
        spread_ms: f64,
        /// The server's own time for the same offsets.
        #[serde(serialize_with = "tenths")]
        server_ms: Option<f64>,
        /// The client's time less the server's: positive when falling behind.
        #[serde(serialize_with = "tenths")]
        drift_ms: Option<f64>,
        /// The sum of drift so far.
        #[serde(serialize_with = "tenth")]
        behind_ms: f64,
        /// Whose fault it is that it takes so long.
        cause: Cause,
        /// The kernel's round trip, where it tells.
        #[serde(serialize_with = "hundredths", skip_serializing_if = "Option::is_none")]
        rtt_ms: Option<f64>,
        /// How long the last message was on its way.
        #[serde(serialize_with = "tenths", skip_serializing_if = "Option::is_none")]
        latency_ms: Option<f64>,
        /// By how much that may be wrong.
        #[serde(serialize_with = "hundredths", skip_serializing_if = "Option::is_none")]
        latency_error_ms: Option<f64>,
        /// Why it does not count, if so.
        flags: Flags,
    },
    /// A client begins to fall behind.
    Slow {
        /// The connection's number.
        session: u64,
        /// Who.
        client: ClientLabel,
        /// The topic.
        topic: TopicName,
        /// How far.
        #[serde(serialize_with = "tenth")]
        behind_ms: f64,
        /// After how many slow blocks; none when it was slow before and only the cause changed.
        #[serde(skip_serializing_if = "Option::is_none")]
        blocks: Option<u64>,
        /// Messages of the topic that wait here for it.
        waiting: u64,
        /// Bytes that the kernel holds for it, where it tells.
        #[serde(skip_serializing_if = "Option::is_none")]
        waits_bytes: Option<u64>,
        /// The kernel's round trip, where it tells.
        #[serde(serialize_with = "hundredths", skip_serializing_if = "Option::is_none")]
        rtt_ms: Option<f64>,
        /// Whose fault.
        cause: Cause,
        /// How that is known.
        why: Judgement,
    },
    /// A client sends no reports any more, and does not answer a ping.
    Silent {
        /// The connection's number.
        session: u64,
        /// Who.
        client: ClientLabel,
        /// The topic.
        topic: TopicName,
        /// Since its last report.
        #[serde(rename = "quiet_ms", with = "millis")]
        quiet: Duration,
        /// `silent`.
        cause: Cause,
        /// How that is known.
        why: Judgement,
    },
    /// A client keeps up again.
    KeepsUp {
        /// The connection's number.
        session: u64,
        /// Who.
        client: ClientLabel,
        /// The topic.
        topic: TopicName,
        /// How far behind it stays.
        #[serde(serialize_with = "tenth")]
        behind_ms: f64,
    },
    /// A client will not get some messages.
    Missed {
        /// The connection's number.
        session: u64,
        /// Who.
        client: ClientLabel,
        /// The topic.
        topic: TopicName,
        /// The first offset missed.
        from: Offset,
        /// The offset with which it goes on.
        to: Offset,
        /// Why.
        reason: GapReason,
    },
    /// Something about a source.
    Source {
        /// The topic that it fills.
        topic: TopicName,
        /// A sentence, already harmless.
        text: String,
    },
    /// Something about the files of a durable topic.
    Storage {
        /// The topic.
        topic: TopicName,
        /// A sentence, already harmless.
        text: String,
    },
    /// Something about the certificate that the server shows.
    Certificate {
        /// A sentence, already harmless.
        text: String,
        /// Whether someone should look: which level it has in the operator's log.
        #[serde(skip)]
        failed: bool,
    },
    /// Something about tokens and keys.
    Access {
        /// A sentence, already harmless; nothing secret stands in it.
        text: String,
        /// Whether someone should look, as for [`Event::Certificate`].
        #[serde(skip)]
        failed: bool,
    },
    /// Someone was held to a limit.
    Limit {
        /// A sentence, already harmless.
        text: String,
    },
    /// Another server that shares the topics came or went.
    Peer {
        /// How it is called; already harmless.
        peer: String,
        /// `there` or `gone`.
        state: &'static str,
        /// It did not say that it leaves: nothing was heard of it for so long.
        #[serde(
            rename = "silent_ms",
            with = "millis_option",
            skip_serializing_if = "Option::is_none"
        )]
        silent: Option<Duration>,
    },
    /// The server stops.
    Stopping {
        /// Why.
        signal: &'static str,
        /// Connections open then.
        clients: u64,
    },
    /// The server has stopped.
    Stopped {
        /// From start to end.
        #[serde(rename = "ran_ms", with = "millis")]
        ran: Duration,
        /// Connections, all in all.
        clients: u64,
        /// Messages sent.
        messages: u64,
        /// Bytes of frames sent.
        bytes: u64,
        /// Offsets that clients were told they will not get, by topic.
        #[serde(skip_serializing_if = "Tally::is_empty")]
        missed: Tally,
        /// How often each limit was met.
        #[serde(skip_serializing_if = "Sums::is_empty")]
        limits: Sums,
        /// How often somebody was refused for their token, by reason.
        #[serde(skip_serializing_if = "Sums::is_empty")]
        refused_tokens: Sums,
    },
    /// Lines that a slow terminal or pipe did not take.
    NotShown {
        /// How many.
        lines: u64,
        /// From whom, when all were from one.
        #[serde(skip_serializing_if = "Option::is_none")]
        client: Option<ClientLabel>,
    },
}

/// Offsets by topic, in the order in which the topics were asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Places(pub Vec<(TopicName, Offset)>);

impl Places {
    /// `users 13, arrays 35`.
    #[must_use]
    pub fn in_words(&self) -> String {
        self.0
            .iter()
            .map(|(topic, offset)| format!("{topic} {offset}"))
            .collect::<Vec<_>>()
            .join(", ")
    }

    /// As a map.
    #[must_use]
    pub fn to_map(&self) -> BTreeMap<TopicName, Offset> {
        self.0.iter().cloned().collect()
    }
}

impl Serialize for Places {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(topic, offset)| (topic, offset)))
    }
}

/// Counts by topic; a topic with none is not there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally(Vec<(TopicName, u64)>);

impl Tally {
    /// Counts so many more.
    pub fn add(&mut self, topic: &TopicName, count: u64) {
        match self.0.iter_mut().find(|(known, _)| known == topic) {
            _ if count == 0 => {}
            Some((_, sum)) => *sum += count,
            None => self.0.push((topic.clone(), count)),
        }
    }

    /// Whether nothing was counted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many topics were counted.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// `; WHAT 12 of users, 3 of arrays`, or nothing.
    fn behind_words(&self, what: &str) -> String {
        let counts = self
            .0
            .iter()
            .map(|(topic, count)| format!("{} of {topic}", form::count(*count)));
        match self.is_empty() {
            true => String::new(),
            false => format!("; {what} {}", counts.collect::<Vec<_>>().join(", ")),
        }
    }
}

impl Serialize for Tally {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(topic, count)| (topic, count)))
    }
}

/// Who ended a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum EndedBy {
    /// The client.
    Client,
    /// This server.
    Server,
    /// Neither said so: the connection broke.
    Network,
}

/// What a client said: cut to the console's limit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Said {
    /// Text, harmless already.
    Text {
        /// The text.
        text: String,
        /// Bytes that were left out.
        #[serde(skip_serializing_if = "is_zero")]
        left_out: usize,
    },
    /// Bytes.
    Bytes {
        /// How many.
        binary_bytes: usize,
        /// The first of them, in hexadecimal.
        begins: String,
    },
}

impl Said {
    /// Text from outside.
    #[must_use]
    pub fn text(text: &str, bytes_max: usize) -> Self {
        let (text, left_out) = escaped_cut(text, bytes_max);
        Self::Text { text, left_out }
    }

    /// Bytes from outside.
    #[must_use]
    pub fn bytes(bytes: &[u8]) -> Self {
        let begins = bytes.iter().take(HEX_BYTES).map(|byte| format!("{byte:02x}")).collect();
        Self::Bytes {
            binary_bytes: bytes.len(),
            begins,
        }
    }

    fn in_words(&self) -> String {
        match self {
            Self::Text { text, left_out: 0 } => format!("\"{text}\""),
            Self::Text { text, left_out } => format!("\"{text}\" and {} more bytes", form::count(*left_out as u64)),
            Self::Bytes { binary_bytes: 0, .. } => "0 bytes".to_owned(),
            Self::Bytes { binary_bytes, begins } => {
                let more = if *binary_bytes > HEX_BYTES { "..." } else { "" };
                format!("{}: {begins}{more}", form::counted(*binary_bytes as u64, "byte"))
            }
        }
    }
}

/// Enough to tell one kind of data from another.
const HEX_BYTES: usize = 8;

impl Event {
    /// The word in the second column, so that `grep ' slow '` works.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Ready { .. } => "ready",
            Self::Joined { .. } => "join",
            Self::Left { .. } => "left",
            Self::Said { .. } => "says",
            Self::Report { .. } => "block",
            Self::Slow { .. } | Self::Silent { .. } => "slow",
            Self::KeepsUp { .. } => "ok",
            Self::Missed { .. } => "gap",
            Self::Source { .. } => "source",
            Self::Storage { .. } => "disk",
            Self::Certificate { .. } => "tls",
            Self::Access { .. } => "access",
            Self::Limit { .. } | Self::NotShown { .. } => "limit",
            Self::Peer { .. } => "server",
            Self::Stopping { .. } | Self::Stopped { .. } => "stop",
        }
    }

    /// About how much memory an event holds.
    #[must_use]
    pub fn weight(&self) -> usize {
        let text = match self {
            Self::Said {
                said: Said::Text { text, .. },
                ..
            } => text.len(),
            Self::Source { text, .. }
            | Self::Storage { text, .. }
            | Self::Certificate { text, .. }
            | Self::Access { text, .. }
            | Self::Limit { text } => text.len(),
            Self::Left {
                who,
                reason,
                last,
                missed,
                behind,
                gone,
                ..
            } => {
                let who = who.as_ref().map_or(0, String::len);
                who + reason.len() + (last.0.len() + missed.len() + behind.len() + gone.len()) * PLACE_BYTES
            }
            Self::Peer { peer, .. } => peer.len(),
            Self::Joined { who, from, .. } => who.as_ref().map_or(0, String::len) + from.0.len() * PLACE_BYTES,
            _ => 0,
        };
        size_of::<Self>() + 64 + text
    }

    /// As one JSON object: `event`, `time`, and the fields.
    #[must_use]
    pub fn to_json(&self, now: Now) -> String {
        #[derive(Serialize)]
        struct Line<'a> {
            event: &'static str,
            time: String,
            #[serde(flatten)]
            fields: &'a Event,
        }
        let line = Line {
            event: self.key(),
            time: micros_text(now.wall),
            fields: self,
        };
        serde_json::to_string(&line).expect("every field has a form in JSON")
    }

    /// The value of `event` in JSON.
    #[must_use]
    pub fn key(&self) -> &'static str {
        match self {
            Self::Ready { .. } => "ready",
            Self::Joined { .. } => "joined",
            Self::Left { .. } => "left",
            Self::Said { .. } => "said",
            Self::Report { .. } => "report",
            Self::Slow { .. } => "slow",
            Self::Silent { .. } => "silent",
            Self::KeepsUp { .. } => "keeps_up",
            Self::Missed { .. } => "gap",
            Self::Source { .. } => "source",
            Self::Storage { .. } => "storage",
            Self::Certificate { .. } => "certificate",
            Self::Access { .. } => "access",
            Self::Limit { .. } => "limit",
            Self::Peer { .. } => "peer",
            Self::Stopping { .. } => "stopping",
            Self::Stopped { .. } => "stopped",
            Self::NotShown { .. } => "not_shown",
        }
    }

    /// Whether it is data, for stdout, or talk, for stderr.
    #[must_use]
    pub fn is_data(&self) -> bool {
        matches!(self, Self::Said { .. } | Self::Report { .. })
    }

    /// The client that it is about.
    #[must_use]
    pub fn client(&self) -> Option<&ClientLabel> {
        match self {
            Self::Joined { client, .. }
            | Self::Left { client, .. }
            | Self::Said { client, .. }
            | Self::Report { client, .. }
            | Self::Slow { client, .. }
            | Self::Silent { client, .. }
            | Self::KeepsUp { client, .. }
            | Self::Missed { client, .. } => Some(client),
            _ => None,
        }
    }

    /// The sentence.
    #[must_use]
    pub fn sentence(&self) -> String {
        match self {
            Self::Ready { address, .. } => format!("ready on {address}"),
            Self::Joined {
                client,
                who,
                address,
                mode,
                from,
                away,
                waiting,
                ..
            } => {
                let places = match from.0.is_empty() {
                    true if *mode == Mode::Echo.as_str() => "its messages go back".to_owned(),
                    true => "no topic yet".to_owned(),
                    false => from.in_words(),
                };
                let wait = match waiting {
                    0 => String::new(),
                    waiting => format!("; {} to catch up", form::counted(*waiting, "message")),
                };
                let address = place(address);
                let who = who.as_ref().map_or(String::new(), |who| format!(" as \"{who}\""));
                match away {
                    Some(away) => {
                        let away = form::short_span(*away);
                        format!("{client} is back after {away}{who}: {places}{wait}")
                    }
                    None => format!("{client} joined from {address} ({mode}){who}: {places}{wait}"),
                }
            }
            Self::Left {
                client,
                code,
                by,
                reason,
                stayed,
                messages,
                bytes,
                last,
                missed,
                behind,
                gone,
                ..
            } => {
                let why = match (by, reason.as_str()) {
                    (EndedBy::Client, "") => "it closed".to_owned(),
                    (EndedBy::Client, reason) => format!("it closed: \"{reason}\""),
                    (EndedBy::Server, "") => "we closed".to_owned(),
                    (EndedBy::Server, reason) => format!("{reason}, we closed"),
                    (EndedBy::Network, reason) => reason.to_owned(),
                };
                let had = format!("{}, {}", form::counted(*messages, "message"), form::bytes(*bytes));
                let last = if last.0.is_empty() {
                    String::new()
                } else {
                    format!(", {}", last.in_words())
                };
                format!(
                    "{client} left after {}: {code}, {why}; {had}{last}{}{}{}",
                    form::short_span(*stayed),
                    missed.behind_words("missed"),
                    behind.behind_words("behind by"),
                    gone.behind_words("no longer kept")
                )
            }
            Self::Said {
                client, address, said, ..
            } => format!("{client} ({}): {}", place(address), said.in_words()),
            Self::Report { .. } => self.report_sentence(),
            Self::Slow { .. } => self.slow_sentence(),
            Self::Silent {
                client, topic, quiet, ..
            } => format!(
                "{client} is silent on {topic}: no report for {}, no answer to a ping (stopped or unreachable)",
                form::short_span(*quiet)
            ),
            Self::KeepsUp {
                client,
                topic,
                behind_ms,
                ..
            } => {
                format!("{client} keeps up with {topic} again, {} behind", behind(*behind_ms))
            }
            Self::Missed {
                client,
                topic,
                from,
                to,
                reason,
                ..
            } => {
                let last = to.get().saturating_sub(1);
                let count = form::counted(to.since(*from), "message");
                let why = match reason {
                    GapReason::Retention => "it was further behind than the topic keeps",
                    GapReason::Policy => "the topic's policy jumped ahead",
                    GapReason::Damage => "damaged",
                    GapReason::Purge => "removed",
                };
                format!("{client} missed {topic} {from}-{last} ({count}): {why}")
            }
            Self::Source { topic, text } | Self::Storage { topic, text } => format!("{topic}: {text}"),
            Self::Limit { text } | Self::Certificate { text, .. } | Self::Access { text, .. } => text.clone(),
            Self::Peer { peer, state, silent } => match silent {
                Some(silent) => format!(
                    "server {peer} is {state}: nothing was heard of it for {}",
                    form::short_span(*silent)
                ),
                None if *state == "gone" => format!("server {peer} is gone: it has stopped"),
                None => format!("server {peer} is {state}"),
            },
            Self::Stopping { signal, clients } => {
                format!(
                    "{signal}: telling {} and stopping; once more ends at once",
                    form::counted(*clients, "client")
                )
            }
            Self::Stopped {
                ran,
                clients,
                messages,
                bytes,
                missed,
                limits,
                refused_tokens,
            } => format!(
                "stopped after {}: {}, {}, {} sent{}{}{}",
                form::short_span(*ran),
                form::counted(*clients, "client"),
                form::counted(*messages, "message"),
                form::bytes(*bytes),
                missed.behind_words("missed"),
                limits.behind_words("limits met"),
                refused_tokens.behind_words("tokens refused")
            ),
            Self::NotShown { lines, client } => {
                let from = client
                    .as_ref()
                    .map_or(String::new(), |client| format!(" from {client}"));
                format!(
                    "{}{from} not shown: this output was not read fast enough",
                    form::counted(*lines, "line")
                )
            }
        }
    }

    fn slow_sentence(&self) -> String {
        let Self::Slow {
            client,
            topic,
            behind_ms,
            blocks,
            waiting,
            waits_bytes,
            rtt_ms,
            cause,
            why,
            ..
        } = self
        else {
            return String::new();
        };
        let mut seen = match (waiting, waits_bytes.unwrap_or(0)) {
            (0, 0) => "nothing waits here".to_owned(),
            (0, bytes) => format!("{} on their way", form::bytes(bytes)),
            (waiting, _) => format!("{} here for it", form::counted(*waiting, "message")),
        };
        if let Some(ms) = rtt_ms {
            seen += &format!(", round trip {}", form::fine_span(Duration::from_secs_f64(ms / 1e3)));
        }
        let verdict = match blocks {
            Some(blocks) => format!("after {}:", form::counted(*blocks, "block")),
            None => "still, and now it is:".to_owned(),
        };
        format!(
            "{client} is {} behind on {topic} {verdict} {} ({seen}: {})",
            behind(*behind_ms),
            cause.as_str(),
            why.brief()
        )
    }

    fn report_sentence(&self) -> String {
        let Self::Report {
            client,
            topic,
            block,
            blocks,
            messages,
            elapsed_ms,
            spread_ms,
            drift_ms,
            flags,
            ..
        } = self
        else {
            return String::new();
        };
        let which = match blocks {
            1 => format!("block {block} of {topic} ({})", form::counted(*messages, "message")),
            blocks => format!(
                "blocks {}-{block} of {topic} ({}, {})",
                (block + 1).saturating_sub(*blocks),
                form::count(*blocks),
                form::counted(*messages, "message")
            ),
        };
        let time = match elapsed_ms {
            Some(ms) => format!(" in {}", form::signed_ms(*ms)),
            None => format!(", spread {}", form::signed_ms(*spread_ms)),
        };
        let drift = drift_ms.map_or(String::new(), |ms| format!(", drift {}", form::signed_ms(ms)));
        let flags: Vec<_> = flags.names().collect();
        let why = if flags.is_empty() {
            String::new()
        } else {
            format!(" ({}, not counted)", flags.join(", "))
        };
        format!("{client} received {which}{time}{drift}{why}")
    }
}

/// A topic's name on the heap, and its offset.
const PLACE_BYTES: usize = 100;

/// An address as people read it: where a proxy did not tell the port, there is none.
#[must_use]
pub fn place(address: &SocketAddr) -> String {
    match address.port() {
        0 => address.ip().to_string(),
        _ => address.to_string(),
    }
}

fn behind(ms: f64) -> String {
    form::short_span(Duration::from_secs_f64(ms.max(0.0) / 1e3))
}

/// An address as text; where a proxy did not tell the port, without one.
pub fn place_text<S: serde::Serializer>(address: &SocketAddr, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&place(address))
}

fn is_zero(number: &usize) -> bool {
    *number == 0
}

fn code_number<S: serde::Serializer>(code: &CloseCode, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u16(code.get())
}

/// Milliseconds with one digit: finer than anything that was measured.
pub fn tenth<S: serde::Serializer>(ms: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    // Adding 0 leaves no -0.0, which reads like a number that was cut.
    serializer.serialize_f64((ms * 10.0).round() / 10.0 + 0.0)
}

/// Milliseconds with two digits: for what lasts microseconds.
pub fn hundredths<S: serde::Serializer>(ms: &Option<f64>, serializer: S) -> Result<S::Ok, S::Error> {
    match ms {
        Some(ms) => serializer.serialize_f64((ms * 100.0).round() / 100.0),
        None => serializer.serialize_none(),
    }
}

/// The same, where there is one.
pub fn tenths<S: serde::Serializer>(ms: &Option<f64>, serializer: S) -> Result<S::Ok, S::Error> {
    match ms {
        Some(ms) => tenth(ms, serializer),
        None => serializer.serialize_none(),
    }
}

mod millis {
    use std::time::Duration;
    pub fn serialize<S: serde::Serializer>(span: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        super::tenth(&(span.as_secs_f64() * 1e3), serializer)
    }
}

mod millis_option {
    use std::time::Duration;
    pub fn serialize<S: serde::Serializer>(span: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
        super::tenths(&span.map(|span| span.as_secs_f64() * 1e3), serializer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn label(name: &str) -> ClientLabel {
        ClientLabel::new(2, Some(&lapwing_wire::name::ClientName::parse(name).expect("valid")))
    }

    fn topic(name: &str) -> TopicName {
        TopicName::parse(name).expect("valid")
    }

    fn address() -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], 52144))
    }

    #[test]
    fn sentences_begin_with_the_client() {
        let places = Places(vec![
            (topic("users"), Offset::new(13)),
            (topic("arrays"), Offset::new(35)),
        ]);
        let joined = |who: Option<&str>, away, waiting| Event::Joined {
            session: 1,
            client: label("sensor-1"),
            who: who.map(str::to_owned),
            address: address(),
            mode: "lapwing.v1",
            from: places.clone(),
            away,
            waiting,
        };
        assert_eq!(
            joined(None, None, 0).sentence(),
            "sensor-1 joined from 127.0.0.1:52144 (lapwing.v1): users 13, arrays 35"
        );
        assert_eq!(
            joined(Some("web"), None, 0).sentence(),
            "sensor-1 joined from 127.0.0.1:52144 (lapwing.v1) as \"web\": users 13, arrays 35"
        );
        assert_eq!(
            joined(None, Some(Duration::from_millis(1302)), 6).sentence(),
            "sensor-1 is back after 1.3 s: users 13, arrays 35; 6 messages to catch up"
        );
        assert_eq!(
            joined(Some("web"), Some(Duration::from_millis(1302)), 0).sentence(),
            "sensor-1 is back after 1.3 s as \"web\": users 13, arrays 35"
        );
        let left = |missed, behind, gone| Event::Left {
            session: 2,
            client: ClientLabel::new(2, None),
            who: None,
            code: CloseCode::NORMAL,
            by: EndedBy::Client,
            reason: String::new(),
            stayed: Duration::from_millis(1463),
            messages: 5,
            bytes: 520,
            last: Places(vec![(topic("arrays"), Offset::new(54))]),
            missed,
            behind,
            gone,
        };
        assert_eq!(
            left(Tally::default(), Tally::default(), Tally::default()).sentence(),
            "client 2 left after 1.5 s: 1000, it closed; 5 messages, 520 B, arrays 54"
        );
        let users = |count| Tally(vec![(topic("users"), count)]);
        assert_eq!(
            left(users(12), users(4212), users(3900)).sentence(),
            "client 2 left after 1.5 s: 1000, it closed; 5 messages, 520 B, arrays 54; missed 12 of users; \
             behind by 4,212 of users; no longer kept 3,900 of users"
        );
    }

    #[test]
    fn c14_what_a_client_says_cannot_drive_a_terminal() {
        let said = |said| Event::Said {
            session: 2,
            client: label("\u{1b}[2Jx"),
            address: address(),
            said,
        };
        let text = said(Said::text("a\u{1b}[31m\nb", 1024)).sentence();
        assert_eq!(text, "\\u{1b}[2Jx (127.0.0.1:52144): \"a\\u{1b}[31m\\nb\"");
        let long = said(Said::text(&"x".repeat(1025), 1024)).sentence();
        assert!(long.ends_with("x\" and 1 more bytes"), "{long}");
        let bytes = said(Said::bytes(&[0, 1, 255, 3, 4, 5, 6, 7, 8])).sentence();
        assert!(bytes.ends_with(": 9 bytes: 0001ff0304050607..."), "{bytes}");
    }

    #[test]
    fn a_report_says_block_time_and_drift() {
        let report = |blocks, flags, elapsed_ms| Event::Report {
            session: 1,
            client: label("sensor-1"),
            topic: topic("arrays"),
            block: 8,
            blocks,
            block_size: 5,
            first: Offset::new(40),
            last: Offset::new(44),
            messages: 5 * blocks,
            elapsed_ms,
            spread_ms: 0.1,
            server_ms: elapsed_ms,
            drift_ms: elapsed_ms.map(|_| -0.01),
            behind_ms: 0.0,
            cause: Cause::SourceLimited,
            rtt_ms: Some(0.2),
            latency_ms: None,
            latency_error_ms: None,
            flags,
        };
        assert_eq!(
            report(1, Flags::NONE, Some(1999.96)).sentence(),
            "sensor-1 received block 8 of arrays (5 messages) in 2.000 s, drift 0.0 ms"
        );
        assert_eq!(
            report(3, Flags::NONE, Some(6000.0)).sentence(),
            "sensor-1 received blocks 6-8 of arrays (3, 15 messages) in 6.000 s, drift 0.0 ms"
        );
        assert_eq!(
            report(1, Flags::FIRST, None).sentence(),
            "sensor-1 received block 8 of arrays (5 messages), spread 0.1 ms (first, not counted)"
        );
        let json = serde_json::to_string(&report(1, Flags::NONE, Some(1999.96))).expect("serializable");
        assert!(
            json.contains("\"elapsed_ms\":2000.0,\"spread_ms\":0.1,\"server_ms\":2000.0,\"drift_ms\":0.0"),
            "{json}"
        );
    }
}
