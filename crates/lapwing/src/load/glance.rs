//! A text frame of a server, read by the layout of an envelope, without parsing what it carries.

use lapwing_wire::envelope::Message;
use lapwing_wire::layout::{number, text};

use crate::client::feed::OFFSET_MAX;

/// What a load test wants to know of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Glance<'a> {
    /// Its topic; not checked for being a name.
    pub topic: &'a str,
    /// Its place.
    pub offset: u64,
    /// When it was appended, as written there.
    pub time: &'a str,
    /// The payload, with what stands behind it.
    pub value: &'a [u8],
}

/// Reads an envelope; none is any other text.
///
/// What our own servers write is read by its layout, so that one thread can hear very much. An envelope in another layout is parsed.
#[must_use]
pub fn message(frame: &str) -> Option<Glance<'_>> {
    let rest = frame.strip_prefix("{\"topic\":")?;
    by_layout(rest.as_bytes()).or_else(|| {
        let message = Message::parse(frame).ok()?;
        let offset = message.offset.get();
        (offset < OFFSET_MAX).then_some(Glance {
            topic: message.topic,
            offset,
            time: message.time,
            value: message.value.as_bytes(),
        })
    })
}

fn by_layout(rest: &[u8]) -> Option<Glance<'_>> {
    let (topic, rest) = text(rest.strip_prefix(b"\"")?)?;
    let (offset, rest) = number(rest.strip_prefix(b",\"offset\":")?)?;
    let (time, rest) = text(rest.strip_prefix(b",\"time\":\"")?)?;
    let data = rest.strip_prefix(b",\"data\":");
    let value = data.or_else(|| rest.strip_prefix(b",\"data_base64\":"))?;
    (value.ends_with(b"}") && offset < OFFSET_MAX).then_some(Glance {
        topic: std::str::from_utf8(topic).ok()?,
        offset,
        time: std::str::from_utf8(time).ok()?,
        value,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_envelope_is_read_in_any_layout() {
        let ours = "{\"topic\":\"users\",\"offset\":41,\"time\":\"2026-11-21T19:00:00.123456Z\",\"data\":{\"a\":1}}";
        let glance = message(ours).expect("an envelope");
        assert_eq!((glance.topic, glance.offset), ("users", 41));
        assert_eq!(glance.time, "2026-11-21T19:00:00.123456Z");
        assert!(glance.value.starts_with(b"{\"a\":1}"));
        let other = ours.replace(",\"", ", \"");
        assert_eq!(message(&other).expect("an envelope").offset, 41);
        let bytes = ours.replace("\"data\":{\"a\":1}", "\"data_base64\":\"AAAA\"");
        assert_eq!(message(&bytes).expect("an envelope").topic, "users");
        for foreign in [
            "hello",
            "{\"a\":1}",
            "{\"topic\":\"users\",\"price\":1}",
            "{\"type\":\"welcome\"}",
            &ours.replace("41", "18446744073709551615"),
        ] {
            assert_eq!(message(foreign), None, "{foreign}");
        }
    }
}
