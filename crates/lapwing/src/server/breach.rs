//! How often each limit was met: one count a limit, for the end of a run and for whoever watches.

use std::sync::atomic::{AtomicU64, Ordering};

use lapwing_wire::decoder::ProtocolError;
use lapwing_wire::deflate::InflateError;

use super::sums::Sums;

/// A limit that somebody was held to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Breach {
    /// No place for another connection.
    Connections,
    /// No place for another one from the same address.
    AddressConnections,
    /// No place for another one of the same bearer of a token.
    TokenConnections,
    /// More connections a second than are let in, for longer than they may wait.
    AcceptRate,
    /// More of them from the same address than its share.
    AddressAcceptRate,
    /// No descriptor for another connection.
    OpenFiles,
    /// A head that was not whole in time, or a connection on which no further request came.
    HandshakeTime,
    /// A head too long, or with too many headers.
    Head,
    /// A path and query too long.
    Url,
    /// A body too long.
    Body,
    /// A body that was not whole in time.
    BodyTime,
    /// A body with too many messages.
    BodyMessages,
    /// Too many bodies at once.
    Bodies,
    /// Nothing subscribed to in time.
    SubscribeTime,
    /// Too many topics on one connection.
    Subscriptions,
    /// A message too long, compressed or not.
    Message,
    /// A message in too many frames.
    Fragments,
    /// A message that was not whole in time.
    MessageTime,
    /// Too much of messages that are not whole at once.
    Unfinished,
    /// Too many compressed messages at once.
    Inflating,
    /// Too many messages a second.
    MessageRate,
    /// Too many bytes of messages a second.
    ByteRate,
    /// Too many commands a second.
    CommandRate,
    /// Too many pings and pongs a second.
    ControlRate,
    /// Too many reports a second.
    ReportRate,
    /// No pong in time.
    PongTime,
    /// A lagging client that takes nothing, or too little.
    StallTime,
    /// No place for another client of server-sent events.
    Events,
    /// Too many halves of frames for slow clients at once.
    Rests,
}

impl Breach {
    const ALL: [(Self, &'static str); 29] = [
        (Self::Connections, "connections"),
        (Self::AddressConnections, "connections_per_address"),
        (Self::TokenConnections, "connections_per_token"),
        (Self::AcceptRate, "accept_rate"),
        (Self::AddressAcceptRate, "accept_rate_per_address"),
        (Self::OpenFiles, "open_files"),
        (Self::HandshakeTime, "handshake_timeout"),
        (Self::Head, "head"),
        (Self::Url, "url"),
        (Self::Body, "body"),
        (Self::BodyTime, "body_timeout"),
        (Self::BodyMessages, "body_messages"),
        (Self::Bodies, "bodies"),
        (Self::SubscribeTime, "subscribe_timeout"),
        (Self::Subscriptions, "subscriptions"),
        (Self::Message, "message"),
        (Self::Fragments, "fragments"),
        (Self::MessageTime, "message_timeout"),
        (Self::Unfinished, "unfinished"),
        (Self::Inflating, "inflating"),
        (Self::MessageRate, "message_rate"),
        (Self::ByteRate, "byte_rate"),
        (Self::CommandRate, "command_rate"),
        (Self::ControlRate, "control_rate"),
        (Self::ReportRate, "report_rate"),
        (Self::PongTime, "pong_timeout"),
        (Self::StallTime, "stall_timeout"),
        (Self::Events, "events"),
        (Self::Rests, "rests"),
    ];

    /// The limit that a frame or a message broke; none when it broke the protocol.
    #[must_use]
    pub fn of_frame(error: &ProtocolError) -> Option<Self> {
        match error {
            ProtocolError::MessageTooBig { .. } => Some(Self::Message),
            ProtocolError::TooManyFragments { .. } => Some(Self::Fragments),
            ProtocolError::Deflated(error) => Self::of_inflating(error),
            _ => None,
        }
    }

    /// The limit that a compressed message broke; none when it is only broken.
    #[must_use]
    pub fn of_inflating(error: &InflateError) -> Option<Self> {
        match error {
            InflateError::TooBig { .. } => Some(Self::Message),
            InflateError::NoRoom => Some(Self::Inflating),
            InflateError::Broken => None,
        }
    }
}

/// The counts of all limits.
#[derive(Debug, Default)]
pub struct Breaches([AtomicU64; Breach::ALL.len()]);

impl Breaches {
    /// Somebody was held to this limit.
    pub fn count(&self, breach: Breach) {
        self.0[breach as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// How often somebody was held to this limit so far.
    #[must_use]
    pub fn of(&self, breach: Breach) -> u64 {
        self.0[breach as usize].load(Ordering::Relaxed)
    }

    /// Each limit's name, and how often somebody was held to it so far.
    pub fn each(&self) -> impl Iterator<Item = (&'static str, u64)> {
        Breach::ALL.iter().map(|(breach, name)| (*name, self.of(*breach)))
    }

    /// The limits that were met so far, by name.
    #[must_use]
    pub fn met(&self) -> Sums {
        self.each().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_limit_has_a_place_and_a_name_of_its_own() {
        let breaches = Breaches::default();
        for (nth, (breach, _)) in Breach::ALL.iter().enumerate() {
            assert_eq!(*breach as usize, nth);
            (0..=nth).for_each(|_| breaches.count(*breach));
        }
        let met = serde_json::to_value(breaches.met()).expect("serializable");
        assert_eq!(
            met.as_object().map(serde_json::Map::len),
            Some(Breach::ALL.len()),
            "{met}"
        );
        assert_eq!(breaches.of(Breach::AcceptRate), 4);
        assert_eq!(met["accept_rate"], 4);
    }
}
