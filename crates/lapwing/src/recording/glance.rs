//! The line of a message read by its fixed layout, without parsing what it says.

use lapwing_wire::layout::{number, text};

use super::line::SEAL_BYTES;

/// What stands before the payload of a message, as the writer lays it out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Glance<'a> {
    /// Its topic; not checked for being a name.
    pub topic: &'a [u8],
    /// Its place, where it has one.
    pub offset: Option<u64>,
    /// The history: 32 digits, not checked for being any.
    pub epoch: Option<&'a [u8; 32]>,
    /// When it was received: in this form earlier is less, byte by byte.
    pub received: &'a [u8; RECEIVED_BYTES],
    /// The same on the monotonic clock.
    pub mono: u64,
}

/// Reads a line of which the checksum fits; none when it is laid out otherwise, and then only a parser knows what it says.
///
/// The payload is not looked at: the checksum says that it is as it was written.
#[must_use]
pub fn message(line: &[u8]) -> Option<Glance<'_>> {
    let (topic, rest) = text(line.strip_prefix(b"{\"topic\":\"")?)?;
    let (offset, rest) = match rest.strip_prefix(b",\"offset\":") {
        Some(rest) => number(rest).map(|(offset, rest)| (Some(offset), rest))?,
        None => (None, rest),
    };
    let (epoch, rest) = match rest.strip_prefix(b",\"epoch\":\"") {
        Some(rest) => {
            let (epoch, rest) = rest.split_first_chunk()?;
            (Some(epoch), rest.strip_prefix(b"\"")?)
        }
        None => (None, rest),
    };
    let rest = match rest.strip_prefix(b",\"time\":\"") {
        Some(rest) => text(rest)?.1,
        None => rest,
    };
    let (received, rest) = rest.strip_prefix(b",\"received\":\"")?.split_first_chunk()?;
    let (mono, rest) = number(rest.strip_prefix(b"\",\"mono\":")?)?;
    let known = rest.starts_with(b",\"data\":") || rest.starts_with(b",\"data_base64\":");
    (known && is_time(received)).then_some(Glance {
        topic,
        offset,
        epoch,
        received,
        mono,
    })
}

/// When the record of a block was made; none for any other line. What else it says is no proof of anything.
#[must_use]
pub fn block(line: &[u8]) -> Option<(&[u8; RECEIVED_BYTES], u64)> {
    let body = line.strip_prefix(b"{\"record\":\"block\"")?;
    let body = &body[..body.len().checked_sub(SEAL_BYTES)?];
    let digits = body.iter().rev().take_while(|byte| byte.is_ascii_digit()).count();
    let (rest, mono) = body.split_at(body.len() - digits);
    let (mono, _) = number(mono)?;
    let (rest, received) = rest.strip_suffix(b"\",\"mono\":")?.split_last_chunk()?;
    let known = rest.ends_with(b",\"received\":\"") && is_time(received);
    known.then_some((received, mono))
}

/// Whether it has the form of `2026-11-21T19:00:14.100395112Z`; not whether there is such a day.
fn is_time(text: &[u8; RECEIVED_BYTES]) -> bool {
    text.iter().zip(TIME_FORM).all(|(byte, form)| match form {
        b'0' => byte.is_ascii_digit(),
        form => byte == form,
    })
}

/// The length of a time with nanoseconds.
pub const RECEIVED_BYTES: usize = 30;

const TIME_FORM: &[u8; RECEIVED_BYTES] = b"0000-00-00T00:00:00.000000000Z";

#[cfg(test)]
mod tests {
    use lapwing_wire::position::{Epoch, Offset};
    use lapwing_wire::time::WallTime;
    use lapwing_wire::topic::TopicName;
    use proptest::prelude::*;

    use super::*;
    use crate::clock::Now;
    use crate::recording::arrival::{Arrival, Value};
    use crate::recording::line::LineWriter;

    #[test]
    fn a_line_laid_out_otherwise_is_left_to_the_parser() {
        let good =
            "{\"topic\":\"t\",\"offset\":1,\"received\":\"2026-11-21T19:00:14.100395112Z\",\"mono\":5,\"data\":1";
        assert_eq!(message(good.as_bytes()).expect("ours").mono, 5);
        for (what, with) in [
            ("\"topic\":\"t\"", "\"topic\":\"\\u0074\""),
            ("\"offset\":1", "\"offset\": 1"),
            ("\"offset\":1", "\"offset\":01"),
            ("\"offset\":1", "\"offset\":18446744073709551615"),
            ("\"offset\":1", "\"later\":1"),
            ("100395112Z", "10039511Z"),
            ("T19", "t19"),
            (",\"data\":1", ",\"later\":1"),
        ] {
            assert_eq!(message(good.replace(what, with).as_bytes()), None, "{with}");
        }
    }

    proptest! {
        #[test]
        fn any_line_of_ours_is_read_as_it_was_meant(
            offset in proptest::option::of(0..10_u64.pow(19)), epoch in any::<Option<u128>>(), mono in 0..10_u64.pow(19),
            wall in 0..i64::MAX, timed in any::<bool>(), bytes in any::<bool>(),
        ) {
            let topic = TopicName::parse("a-topic_9").expect("valid");
            let arrival = Arrival {
                topic: &topic,
                offset: offset.map(Offset::new),
                epoch: epoch.map(Epoch::from_bits),
                time: timed.then_some("2026-11-21T19:00:00.123456Z"),
                received: Now { wall: WallTime::from_nanos(wall), mono },
                value: if bytes { Value::Bytes(b"\0") } else { Value::Json("{\"topic\":\"other\"}") },
                bytes: 0,
            };
            let mut line = Vec::new();
            LineWriter::default().message(&arrival, &mut line);
            let glance = message(&line).expect("ours");
            prop_assert_eq!((glance.topic, glance.offset, glance.mono), (&b"a-topic_9"[..], offset, mono));
            prop_assert_eq!(glance.epoch.map(|epoch| epoch.to_vec()), epoch.map(|epoch| format!("{epoch:032x}").into_bytes()));
            let received = std::str::from_utf8(glance.received).expect("ASCII");
            prop_assert_eq!(WallTime::parse(received), Some(WallTime::from_nanos(wall)));
        }

        #[test]
        fn any_bytes_are_read_or_left(bytes in proptest::collection::vec(any::<u8>(), 0..200), begin in 0_usize..90) {
            let good = b"{\"topic\":\"t\",\"offset\":1,\"received\":\"2026-11-21T19:00:14.100395112Z\",\"mono\":5,\"data\":1";
            let line = [&good[..begin.min(good.len())], &bytes].concat();
            let _ = message(&line);
        }
    }
}
