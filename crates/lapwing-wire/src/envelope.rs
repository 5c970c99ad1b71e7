//! The text around a message: topic, offset, time, and the data as it is.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use thiserror::Error;

use crate::position::Offset;
use crate::time::{TimeWriter, WallTime};
use crate::topic::TopicName;

/// What a payload is, which decides how it stands in the envelope and which frame it is without one.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
#[repr(u8)]
pub enum Kind {
    /// A JSON value, as it came less the white space between its tokens: `"data":{…}`.
    Json,
    /// Other text, as a JSON string: `"data":"…"`.
    Text,
    /// Bytes: `"data_base64":"…"`.
    Bytes,
}

/// Writes the envelopes of one topic; what does not change is made once.
#[derive(Clone, Debug)]
pub struct EnvelopeWriter {
    prefix: Vec<u8>,
    time: TimeWriter,
}

impl EnvelopeWriter {
    /// For messages of `topic`.
    #[must_use]
    pub fn new(topic: &TopicName) -> Self {
        Self {
            prefix: format!("{{\"topic\":\"{topic}\",\"offset\":").into_bytes(),
            time: TimeWriter::default(),
        }
    }

    /// Appends one envelope to `out`; returns where in `out` the value of `data` (or `data_base64`) begins and ends.
    ///
    /// A `Json` payload must be one compact JSON value and a `Text` payload UTF-8: the source has made sure.
    pub fn write(
        &mut self,
        offset: Offset,
        time: WallTime,
        kind: Kind,
        payload: &[u8],
        out: &mut Vec<u8>,
    ) -> std::ops::Range<usize> {
        out.extend_from_slice(&self.prefix);
        out.extend_from_slice(itoa::Buffer::new().format(offset.get()).as_bytes());
        out.extend_from_slice(b",\"time\":\"");
        self.time.micros(time, out);
        out.extend_from_slice(if kind == Kind::Bytes {
            b"\",\"data_base64\":"
        } else {
            b"\",\"data\":"
        });
        let begin = out.len();
        write_value(kind, payload, out);
        let end = out.len();
        out.push(b'}');
        begin..end
    }
}

/// Appends a payload as the JSON value that stands in the envelope.
pub fn write_value(kind: Kind, payload: &[u8], out: &mut Vec<u8>) {
    match kind {
        Kind::Json => out.extend_from_slice(payload),
        Kind::Text => {
            let text = String::from_utf8_lossy(payload);
            serde_json::to_writer(out, &*text).expect("a Vec takes every write");
        }
        Kind::Bytes => {
            out.push(b'"');
            let begin = out.len();
            out.resize(begin + base64::encoded_len(payload.len(), true).unwrap_or(0), 0);
            let written = STANDARD
                .encode_slice(payload, &mut out[begin..])
                .expect("the room was made above");
            out.truncate(begin + written);
            out.push(b'"');
        }
    }
}

/// Appends the payload that a value of an envelope stands for: the way back of [`write_value`].
pub fn write_payload(kind: Kind, value: &[u8], out: &mut Vec<u8>) -> Result<(), EnvelopeError> {
    match kind {
        Kind::Json => out.extend_from_slice(value),
        Kind::Text => {
            let text: std::borrow::Cow<'_, str> = serde_json::from_slice::<CowText<'_>>(value)?.0;
            out.extend_from_slice(text.as_bytes());
        }
        Kind::Bytes => {
            let text = serde_json::from_slice::<CowText<'_>>(value)?.0;
            STANDARD
                .decode_vec(text.as_bytes(), out)
                .map_err(|_| EnvelopeError::Base64)?;
        }
    }
    Ok(())
}

/// Whether [`write_payload`] makes a payload of this value, without making it: many times faster for what [`write_value`] writes.
#[must_use]
pub fn is_value(kind: Kind, value: &[u8]) -> bool {
    let inner = value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\""));
    let ours = match kind {
        Kind::Json => true,
        Kind::Text => inner.is_some_and(is_text),
        Kind::Bytes => inner.is_some_and(is_base64),
    };
    // JSON has other ways to write the same.
    ours || write_payload(kind, value, &mut Vec::new()).is_ok()
}

/// Whether this is the inside of a JSON string as we write one. Folds look at every byte, so that they are done many at a time.
fn is_text(mut text: &[u8]) -> bool {
    let is_plain = |byte: u8| (byte.cast_signed() >= 0x20) & (byte != b'"') & (byte != b'\\');
    if text.iter().fold(true, |plain, &byte| plain & is_plain(byte)) {
        return true;
    }
    let has_control = text.iter().fold(false, |has, &byte| has | (byte < 0x20));
    if has_control || simdutf8::basic::from_utf8(text).is_err() {
        return false;
    }
    while let Some(at) = text.iter().position(|byte| matches!(byte, b'"' | b'\\')) {
        match &text[at..] {
            [b'\\', b'"' | b'\\' | b'b' | b'f' | b'n' | b'r' | b't', rest @ ..] => text = rest,
            [b'\\', b'u', b'0', b'0', b'0' | b'1', digit, rest @ ..] if digit.is_ascii_hexdigit() => text = rest,
            _ => return false,
        }
    }
    true
}

/// Whether these are whole groups of base64.
fn is_base64(text: &[u8]) -> bool {
    let is_digit = |byte: u8| {
        let is_letter = (byte | 0x20).wrapping_sub(b'a') < 26;
        is_letter | (byte.wrapping_sub(b'0') < 10) | (byte == b'+') | (byte == b'/')
    };
    let Some((groups, last)) = text.split_last_chunk::<4>() else {
        return text.is_empty();
    };
    // Only the last may be padded.
    let whole = groups.len().is_multiple_of(4) & groups.iter().fold(true, |all, &byte| all & is_digit(byte));
    whole && STANDARD.decode_slice(last, &mut [0; 3]).is_ok()
}

#[derive(Deserialize)]
struct CowText<'a>(#[serde(borrow)] std::borrow::Cow<'a, str>);

/// A message as a client reads it, borrowed from the frame.
#[derive(Debug, Clone)]
pub struct Message<'a> {
    /// Its topic.
    pub topic: &'a str,
    /// Its place.
    pub offset: Offset,
    /// When the server appended it, as written there.
    pub time: &'a str,
    /// Whether `value` is `data_base64`.
    pub base64: bool,
    /// The value of `data` or `data_base64`, exactly as it came.
    pub value: &'a str,
}

#[derive(Deserialize)]
struct RawMessage<'a> {
    topic: &'a str,
    offset: u64,
    time: &'a str,
    #[serde(borrow, default, deserialize_with = "there")]
    data: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "there")]
    data_base64: Option<&'a RawValue>,
}

/// A value that is there, be it `null`: that is a payload like any other.
///
/// # Errors
///
/// As the deserializer's.
pub fn there<'de, D: Deserializer<'de>>(value: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(value).map(Some)
}

impl<'a> Message<'a> {
    /// Parses a text frame of a Lapwing server; anything else is an error, and may be a control message.
    pub fn parse(text: &'a str) -> Result<Self, EnvelopeError> {
        let raw: RawMessage<'a> = serde_json::from_str(text)?;
        let (base64, value) = match (raw.data, raw.data_base64) {
            (Some(data), None) => (false, data.get()),
            (None, Some(data)) => (true, data.get()),
            _ => return Err(EnvelopeError::Data),
        };
        Ok(Self {
            topic: raw.topic,
            offset: Offset::new(raw.offset),
            time: raw.time,
            base64,
            value,
        })
    }
}

/// Why a text is no envelope.
#[derive(Debug, Error)]
pub enum EnvelopeError {
    /// It is not the JSON of an envelope.
    #[error("not an envelope: {0}")]
    Json(#[from] serde_json::Error),
    /// It has neither or both of `data` and `data_base64`.
    #[error("an envelope has either data or data_base64")]
    Data,
    /// `data_base64` is not base64.
    #[error("data_base64 is not base64")]
    Base64,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(kind: Kind, payload: &[u8], expect: &str) {
        let topic = TopicName::parse("users").expect("valid");
        let time = WallTime::parse("2026-11-21T19:00:00.123456Z").expect("valid");
        let mut out = b"before".to_vec();
        let range = EnvelopeWriter::new(&topic).write(Offset::new(41), time, kind, payload, &mut out);
        assert_eq!(std::str::from_utf8(&out[6..]), Ok(expect));
        let message = Message::parse(expect).expect("our own envelope");
        assert_eq!(
            (message.topic, message.offset.get(), message.time),
            ("users", 41, "2026-11-21T19:00:00.123456Z")
        );
        assert_eq!(message.value.as_bytes(), &out[range.clone()]);
        let mut back = Vec::new();
        write_payload(kind, &out[range], &mut back).expect("our own value");
        assert_eq!(back, payload);
    }

    #[test]
    fn each_kind_stands_in_its_envelope_and_comes_back() {
        let begin = "{\"topic\":\"users\",\"offset\":41,\"time\":\"2026-11-21T19:00:00.123456Z\",";
        check(Kind::Json, b"{\"a\":1.0}", &format!("{begin}\"data\":{{\"a\":1.0}}}}"));
        check(
            Kind::Text,
            "a \"b\" \u{1b}é".as_bytes(),
            &format!("{begin}\"data\":\"a \\\"b\\\" \\u001bé\"}}"),
        );
        check(Kind::Json, b"null", &format!("{begin}\"data\":null}}"));
        check(
            Kind::Bytes,
            &[0, 255, 10],
            &format!("{begin}\"data_base64\":\"AP8K\"}}"),
        );
        check(Kind::Bytes, b"", &format!("{begin}\"data_base64\":\"\"}}"));
    }

    #[track_caller]
    fn check_value(kind: Kind, value: &[u8]) {
        let made = write_payload(kind, value, &mut Vec::new()).is_ok();
        let text = String::from_utf8_lossy(value);
        assert_eq!(is_value(kind, value), made, "{kind:?} {text}");
    }

    #[test]
    fn a_value_is_one_of_which_a_payload_can_be_made() {
        let values = [
            "",
            "\"",
            "\"\"",
            "\"a\"",
            "\"a",
            "a",
            " \"a\"",
            "1",
            "\"a\"b\"",
            "\"\\\"",
            "\"\\\\\"",
            "\"\\n\"",
            "\"\\x\"",
            "\"\\/\"",
            "\"\\u001b\"",
            "\"\\u00\"",
            "\"\\u00g0\"",
            "\"\\ud83d\"",
            "\"\\ud83d\\ude00\"",
            "\"é\"",
            "\"\u{7f}\"",
            "\"\n\"",
            "\"\u{1f}\"",
            "\"AAAA\"",
            "\"AAA=\"",
            "\"AA==\"",
            "\"A===\"",
            "\"====\"",
            "\"AB==\"",
            "\"AAA=AAAA\"",
            "\"AA\\u0041A\"",
            "\"+/09\"",
            "\"AAA-\"",
            "\"AAAAA\"",
            "\"[\\]^\"",
            "\"@AAA\"",
        ];
        for kind in [Kind::Json, Kind::Text, Kind::Bytes] {
            values.iter().for_each(|value| check_value(kind, value.as_bytes()));
            check_value(kind, b"\"\xff\"");
            check_value(kind, b"\"\xc3\"");
        }
    }

    proptest! {
        #[test]
        fn every_payload_has_a_value(bytes: Vec<u8>, text: String) {
            for (kind, payload) in [(Kind::Text, text.as_bytes()), (Kind::Bytes, &bytes)] {
                let mut value = Vec::new();
                write_value(kind, payload, &mut value);
                prop_assert!(is_value(kind, &value));
            }
        }

        #[test]
        fn a_value_that_was_changed_is_one_exactly_when_a_payload_can_be_made(text: String, at: usize, byte: u8) {
            for kind in [Kind::Text, Kind::Bytes] {
                let mut value = Vec::new();
                write_value(kind, text.as_bytes(), &mut value);
                let at = at % value.len();
                value[at] = byte;
                check_value(kind, &value);
            }
        }
    }

    #[test]
    fn what_is_no_envelope_is_refused() {
        for text in [
            "",
            "{}",
            "[1]",
            "{\"type\":\"heartbeat\"}",
            "{\"topic\":\"a\",\"offset\":1,\"time\":\"x\"}",
        ] {
            assert!(Message::parse(text).is_err(), "{text}");
        }
    }
}
