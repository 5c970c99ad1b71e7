//! A frame of a server, read by the layout of an envelope or of an array, without parsing what it carries.

use lapwing_wire::array::Array;
use lapwing_wire::envelope::Message;
use lapwing_wire::layout::{number, text};
use lapwing_wire::time::WallTime;

use crate::client::feed::OFFSET_MAX;

/// What a load test wants to know of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Glance<'a> {
    /// Its topic; not checked for being a name.
    pub topic: &'a str,
    /// Its place.
    pub offset: u64,
    /// When it was appended.
    pub time: Time<'a>,
    /// The payload as text, with what stands behind it; nothing of an array.
    pub value: &'a [u8],
}

/// When a message was appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Time<'a> {
    /// As written in an envelope.
    Text(&'a str),
    /// As an array has it.
    Wall(WallTime),
}

/// Reads a binary frame; none is any other than an array.
#[must_use]
pub fn array(frame: &[u8]) -> Option<Glance<'_>> {
    let array = Array::parse(frame).ok()?;
    let offset = array.offset.get();
    (offset < OFFSET_MAX).then_some(Glance {
        topic: array.topic,
        offset,
        time: Time::Wall(array.time),
        value: &[],
    })
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
            time: Time::Text(message.time),
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
        time: Time::Text(std::str::from_utf8(time).ok()?),
        value,
    })
}

#[cfg(test)]
mod tests {
    use lapwing_wire::array::ArrayWriter;
    use lapwing_wire::dtype::Dtype;
    use lapwing_wire::envelope::{EnvelopeWriter, Kind};
    use lapwing_wire::position::Offset;
    use lapwing_wire::time::WallTime;
    use lapwing_wire::topic::TopicName;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_envelope_is_read_in_any_layout() {
        let ours = "{\"topic\":\"users\",\"offset\":41,\"time\":\"2026-11-21T19:00:00.123456Z\",\"data\":{\"a\":1}}";
        let glance = message(ours).expect("an envelope");
        assert_eq!((glance.topic, glance.offset), ("users", 41));
        assert_eq!(glance.time, Time::Text("2026-11-21T19:00:00.123456Z"));
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

    #[test]
    fn an_array_has_a_topic_a_place_and_a_time() {
        let time = WallTime::from_nanos(1_795_287_600_123_456_000);
        let frame = |offset| {
            let mut frame = Vec::new();
            let writer = ArrayWriter::new(TopicName::parse("n").expect("valid"), 3, Dtype::Int8);
            assert!(writer.write(Offset::new(offset), time, b"[1,2]", &mut frame));
            frame
        };
        let ours = frame(41);
        let glance = array(&ours).expect("an array");
        assert_eq!((glance.topic, glance.offset, glance.time), ("n", 41, Time::Wall(time)));
        assert_eq!(array(&ours[..ours.len() - 1]), None);
        assert_eq!(array(&frame(OFFSET_MAX)), None);
    }

    proptest! {
        #[test]
        fn an_envelope_of_ours_says_the_same_to_a_parser(offset in 0..OFFSET_MAX, wall in 0..i64::MAX, payload in ".{0,40}", bytes in any::<bool>()) {
            let kind = if bytes { Kind::Bytes } else { Kind::Text };
            let mut frame = Vec::new();
            let topic = TopicName::parse("a-topic_9").expect("valid");
            EnvelopeWriter::new(&topic).write(Offset::new(offset), WallTime::from_nanos(wall), kind, payload.as_bytes(), &mut frame);
            let frame = String::from_utf8(frame).expect("UTF-8");
            let parsed = Message::parse(&frame).expect("ours");
            let glance = by_layout(&frame.as_bytes()["{\"topic\":".len()..]).expect("ours");
            prop_assert_eq!((glance.topic, glance.offset, glance.time), (parsed.topic, parsed.offset.get(), Time::Text(parsed.time)));
            prop_assert!(glance.value.starts_with(parsed.value.as_bytes()));
        }

        #[test]
        fn any_text_is_read_or_left(text in ".{0,80}", begin in 0_usize..90) {
            let good = "{\"topic\":\"t\",\"offset\":1,\"time\":\"2026-11-21T19:00:00.123456Z\",\"data\":1}";
            let _ = message(&format!("{}{text}", &good[..begin.min(good.len())]));
        }
    }
}
