//! A message as it lies in a stream: what its headers say, and what becomes of its payload.

use std::fmt;

use async_nats::HeaderMap;
use lapwing_wire::envelope::Kind;
use lapwing_wire::line::message_into;

use crate::log::origin::Outbound;
use crate::log::retries::RetryKey;
use crate::source::payloads::Payloads;

/// What a payload is, where it is not JSON: `text` or `bytes`.
pub const KIND: &str = "Lapwing-Kind";

/// The headers of a message on its way out.
#[must_use]
pub fn headers(message: &Outbound) -> HeaderMap {
    let mut headers = HeaderMap::new();
    match message.kind {
        Kind::Json => {}
        Kind::Text => headers.insert(KIND, "text"),
        Kind::Bytes => headers.insert(KIND, "bytes"),
    }
    headers
}

/// Takes the payload of a message that came. Anybody with access to the stream may have put it there: it is checked whatever it says.
pub fn take(payload: &[u8], headers: Option<&HeaderMap>, into: &mut Payloads) {
    let kind = headers.and_then(|headers| headers.get(KIND)).map(AsRef::<str>::as_ref);
    let written = into.push(|out| match kind {
        Some("bytes") => Err(()),
        Some("text") => {
            std::str::from_utf8(payload).map_err(|_| ())?;
            out.extend_from_slice(payload);
            Ok(Kind::Text)
        }
        _ => message_into(payload, out).map_err(|_| ()),
    });
    if written.is_err() {
        let _: Result<(), ()> = into.push(|out| {
            out.extend_from_slice(payload);
            Ok(Kind::Bytes)
        });
    }
}

/// Names one publish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PublishKey {
    /// Of a publisher, who may try it again on any server and at any time.
    Publisher(RetryKey),
    /// Of a server in its turn to fill the topic, which alone tries it again.
    Server(RetryKey),
    /// Of a server that publishes what it alone has, and alone tries it again.
    Outlet(RetryKey),
}

/// Names one message of a publish: which publish, and which of its messages. It is the message's `Nats-Msg-Id`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MessageId {
    /// The publish.
    pub publish: PublishKey,
    /// Which message of it, from 0.
    pub at: u32,
    /// How many it has.
    pub of: u32,
}

impl MessageId {
    /// What a message is called, if it is called so.
    #[must_use]
    pub fn of(headers: Option<&HeaderMap>) -> Option<Self> {
        Self::parse(headers?.get(async_nats::header::NATS_MESSAGE_ID)?.as_ref())
    }

    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.strip_prefix(PREFIX)?.split('.');
        let (who, key, at, of) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let bits = u128::from_str_radix(key, 16).ok().filter(|_| key.len() == 32)?;
        let key = RetryKey::from_bytes(bits.to_be_bytes());
        let id = Self {
            publish: match who {
                PUBLISHER => PublishKey::Publisher(key),
                SERVER => PublishKey::Server(key),
                OUTLET => PublishKey::Outlet(key),
                _ => return None,
            },
            at: at.parse().ok()?,
            of: of.parse().ok()?,
        };
        (parts.next().is_none() && id.at < id.of).then_some(id)
    }
}

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (who, key) = match &self.publish {
            PublishKey::Publisher(key) => (PUBLISHER, key),
            PublishKey::Server(key) => (SERVER, key),
            PublishKey::Outlet(key) => (OUTLET, key),
        };
        let key = u128::from_be_bytes(*key.as_bytes());
        write!(f, "{PREFIX}{who}.{key:032x}.{}.{}", self.at, self.of)
    }
}

const PREFIX: &str = "lapwing.";
const PUBLISHER: &str = "p";
const SERVER: &str = "s";
const OUTLET: &str = "o";

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(payload: &[u8], kind: Option<&str>) -> (Kind, Vec<u8>) {
        let headers = kind.map(|kind| {
            let mut headers = HeaderMap::new();
            headers.insert(KIND, kind);
            headers
        });
        let mut into = Payloads::default();
        take(payload, headers.as_ref(), &mut into);
        let messages = into.messages(0..into.len());
        assert_eq!(messages.len(), 1);
        (messages[0].kind, messages[0].payload.to_vec())
    }

    #[test]
    fn whatever_lies_in_a_stream_is_a_message() {
        for (payload, kind, expect) in [
            (&b"{ \"a\": 1 }"[..], None, (Kind::Json, &b"{\"a\":1}"[..])),
            (b"not json", None, (Kind::Text, b"not json")),
            (b"17", Some("text"), (Kind::Text, b"17")),
            (b"17", Some("bytes"), (Kind::Bytes, b"17")),
            (b"\xff\xfe", None, (Kind::Bytes, b"\xff\xfe")),
            (b"\xff\xfe", Some("text"), (Kind::Bytes, b"\xff\xfe")),
            (b"1", Some("unheard of"), (Kind::Json, b"1")),
            (b"", None, (Kind::Text, b"")),
        ] {
            let (kind, payload) = (taken(payload, kind), payload);
            assert_eq!((kind.0, &kind.1[..]), expect, "{payload:?}");
        }
    }

    #[test]
    fn names_of_messages_are_read_as_they_were_written() {
        let key = RetryKey::of_source("a", 7);
        for publish in [PublishKey::Publisher(key), PublishKey::Server(key)] {
            let id = MessageId { publish, at: 2, of: 3 };
            assert_eq!(MessageId::parse(&id.to_string()), Some(id));
        }
        for strange in [
            "",
            "lapwing.",
            "lapwing.p.00.0.1",
            "lapwing.x.00000000000000000000000000000000.0.1",
            "other.p.00000000000000000000000000000000.0.1",
            "lapwing.p.00000000000000000000000000000000.1.1",
            "lapwing.p.00000000000000000000000000000000.0.1.2",
        ] {
            assert_eq!(MessageId::parse(strange), None, "{strange}");
        }
    }
}
