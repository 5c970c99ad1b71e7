//! One line of a recording as it is written: keys in a fixed order, the checksum last.

use lapwing_wire::envelope::{Kind, write_value};
use lapwing_wire::time::TimeWriter;

use super::arrival::{Arrival, Value};
use super::note::Note;
use crate::clock::Now;

/// Writes lines; keeps the text of the current second.
#[derive(Clone, Debug, Default)]
pub struct LineWriter {
    time: TimeWriter,
}

impl LineWriter {
    /// Appends the line of a message to `out`.
    ///
    /// A `Json` value must stand on one line, which the receiver has made sure of.
    pub fn message(&mut self, arrival: &Arrival<'_>, out: &mut Vec<u8>) {
        let begin = out.len();
        out.extend_from_slice(b"{\"topic\":\"");
        out.extend_from_slice(arrival.topic.as_str().as_bytes());
        out.push(b'"');
        if let Some(offset) = arrival.offset {
            out.extend_from_slice(b",\"offset\":");
            number(offset.get(), out);
        }
        if let Some(epoch) = arrival.epoch {
            out.extend_from_slice(b",\"epoch\":\"");
            digits::<32>(epoch.to_bits(), out);
            out.push(b'"');
        }
        if let Some(time) = arrival.time {
            out.extend_from_slice(b",\"time\":\"");
            out.extend_from_slice(time.as_bytes());
            out.push(b'"');
        }
        self.received(arrival.received, out);
        value(arrival.value, out);
        seal(begin, out);
    }

    /// Appends the line of a note to `out`.
    pub fn note(&mut self, note: &Note, now: Now, out: &mut Vec<u8>) {
        let begin = out.len();
        serde_json::to_writer(&mut *out, note).expect("a Vec takes every write");
        // It has a key at least, and the checksum brings the brace back.
        out.pop();
        self.received(now, out);
        seal(begin, out);
    }

    fn received(&mut self, now: Now, out: &mut Vec<u8>) {
        out.extend_from_slice(b",\"received\":\"");
        self.time.nanos(now.wall, out);
        out.extend_from_slice(b"\",\"mono\":");
        number(now.mono, out);
    }
}

/// Why a line is not whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SealError {
    /// It does not end in a checksum.
    Missing,
    /// The checksum is that of other bytes.
    Wrong,
}

/// Checks a line, given without its newline, against the checksum at its end.
pub fn check(line: &[u8]) -> Result<(), SealError> {
    let at = line.len().checked_sub(SEAL_BYTES).ok_or(SealError::Missing)?;
    let (body, seal) = line.split_at(at);
    let digits = seal
        .strip_prefix(SEAL_BEGIN)
        .and_then(|rest| rest.strip_suffix(SEAL_END))
        .ok_or(SealError::Missing)?;
    // One value has one form: a digit of the other case is damage as well.
    match hex(digits) == Some(crc32c::crc32c(body)) {
        true => Ok(()),
        false => Err(SealError::Wrong),
    }
}

/// The value of 8 lowercase hexadecimal digits.
fn hex(digits: &[u8]) -> Option<u32> {
    let digits: &[u8; 8] = digits.try_into().ok()?;
    digits.iter().try_fold(0, |value, digit| {
        let digit = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        Some(value << 4 | u32::from(digit))
    })
}

fn value(value: Value<'_>, out: &mut Vec<u8>) {
    match value {
        Value::Json(json) => {
            out.extend_from_slice(DATA);
            out.extend_from_slice(json.as_bytes());
        }
        Value::Base64(quoted) => {
            out.extend_from_slice(DATA_BASE64);
            out.extend_from_slice(quoted.as_bytes());
        }
        Value::Bytes(bytes) => {
            out.extend_from_slice(DATA_BASE64);
            write_value(Kind::Bytes, bytes, out);
        }
        Value::Array(array) => {
            out.extend_from_slice(DATA);
            array.write_value(out);
        }
        Value::Text(text) => {
            let begin = out.len();
            out.extend_from_slice(DATA);
            write_value(Kind::Text, text.as_bytes(), out);
            // Control characters grow sixfold in JSON; base64 keeps the longest text within the longest line.
            if out.len() - begin > TEXT_BYTES_MAX {
                out.truncate(begin);
                out.extend_from_slice(DATA_BASE64);
                write_value(Kind::Bytes, text.as_bytes(), out);
            }
        }
    }
}

/// Ends the line that began at `begin` and lacks its closing brace.
fn seal(begin: usize, out: &mut Vec<u8>) {
    let crc = crc32c::crc32c(&out[begin..]);
    out.extend_from_slice(SEAL_BEGIN);
    digits::<8>(u128::from(crc), out);
    out.extend_from_slice(SEAL_END);
    out.push(b'\n');
}

/// So many lowercase hexadecimal digits, the highest first: twice a line, and `format!` takes as long as all else of it.
fn digits<const COUNT: usize>(value: u128, out: &mut Vec<u8>) {
    let digit = |at: usize| b"0123456789abcdef"[(value >> (4 * (COUNT - 1 - at))) as usize & 15];
    out.extend_from_slice(&std::array::from_fn::<u8, COUNT, _>(digit));
}

fn number(number: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

/// The longest line with its newline: a message of 64 MiB as base64 is 85.4 MiB, and 4 MiB are left for what stands before it.
pub const LINE_BYTES_MAX: usize = 90 << 20;

const TEXT_BYTES_MAX: usize = 86 << 20;
const DATA: &[u8] = b",\"data\":";
const DATA_BASE64: &[u8] = b",\"data_base64\":";
const SEAL_BEGIN: &[u8] = b",\"crc\":\"";
const SEAL_END: &[u8] = b"\"}";

/// How many bytes the checksum takes at the end of a line, without the newline.
pub const SEAL_BYTES: usize = SEAL_BEGIN.len() + 8 + SEAL_END.len();

#[cfg(test)]
mod tests {
    use lapwing_wire::array::{Array, ArrayWriter};
    use lapwing_wire::dtype::Dtype;
    use lapwing_wire::position::{Epoch, Offset};
    use lapwing_wire::time::WallTime;
    use lapwing_wire::topic::TopicName;

    use super::*;

    const RECEIVED: Now = Now {
        wall: WallTime::from_nanos(1_795_287_600_100_395_112),
        mono: 81_233_904_417,
    };

    #[track_caller]
    fn check_line(arrival: &Arrival<'_>, expect: &str) {
        let mut out = Vec::new();
        LineWriter::default().message(arrival, &mut out);
        let line = out.strip_suffix(b"\n").expect("a line ends");
        assert_eq!(check(line), Ok(()));
        let text = std::str::from_utf8(line).expect("UTF-8");
        let body = &text[..text.len() - SEAL_BYTES];
        assert_eq!(body, expect);
        assert!(serde_json::from_str::<serde_json::Value>(text).is_ok(), "{text}");
    }

    #[test]
    fn a_message_of_lapwing_and_one_of_a_foreign_feed() {
        let arrays = TopicName::parse("arrays").expect("valid");
        let none = TopicName::parse("-").expect("valid");
        let arrival = Arrival {
            topic: &arrays,
            offset: Some(Offset::new(35)),
            epoch: Some(Epoch::from_bits(7)),
            time: Some("2026-11-21T19:00:14.1Z"),
            received: RECEIVED,
            value: Value::Json("[83,7]"),
            bytes: 60,
        };
        check_line(
            &arrival,
            "{\"topic\":\"arrays\",\"offset\":35,\"epoch\":\"00000000000000000000000000000007\",\
             \"time\":\"2026-11-21T19:00:14.1Z\",\"received\":\"2026-11-21T19:00:00.100395112Z\",\
             \"mono\":81233904417,\"data\":[83,7]",
        );
        let foreign = Arrival {
            topic: &none,
            offset: None,
            epoch: None,
            time: None,
            value: Value::Text("a\n\u{1b}\"b"),
            ..arrival
        };
        let begin = "{\"topic\":\"-\",\"received\":\"2026-11-21T19:00:00.100395112Z\",\"mono\":81233904417";
        check_line(&foreign, &format!("{begin},\"data\":\"a\\n\\u001b\\\"b\""));
        let bytes = Arrival {
            value: Value::Bytes(&[0, 255, 10]),
            ..foreign
        };
        check_line(&bytes, &format!("{begin},\"data_base64\":\"AP8K\""));
        let base64 = Arrival {
            value: Value::Base64("\"AP8K\""),
            ..foreign
        };
        check_line(&base64, &format!("{begin},\"data_base64\":\"AP8K\""));
    }

    #[test]
    fn an_array_is_recorded_as_the_text_that_it_stands_for() {
        let topic = TopicName::parse("n").expect("valid");
        let mut frame = Vec::new();
        let writer = ArrayWriter::new(topic.clone(), 3, Dtype::Float32);
        assert!(writer.write(Offset::new(35), RECEIVED.wall, b"[[0.1,1],[2.50,-3]]", &mut frame));
        let array = Array::parse(&frame).expect("an array");
        let arrival = Arrival {
            topic: &topic,
            offset: Some(array.offset),
            epoch: None,
            time: None,
            received: RECEIVED,
            value: Value::Array(&array),
            bytes: frame.len() as u64,
        };
        check_line(
            &arrival,
            "{\"topic\":\"n\",\"offset\":35,\"received\":\"2026-11-21T19:00:00.100395112Z\",\"mono\":81233904417,\"data\":[[0.1,1.0],[2.5,-3.0]]",
        );
    }

    #[test]
    fn a_note_is_sealed_too() {
        let mut out = Vec::new();
        LineWriter::default().note(&Note::ClockStep { ms: -3.5 }, RECEIVED, &mut out);
        let line = out.strip_suffix(b"\n").expect("a line ends");
        assert_eq!(check(line), Ok(()));
        assert!(line.starts_with(
            b"{\"record\":\"clock_step\",\"ms\":-3.5,\"received\":\"2026-11-21T19:00:00.100395112Z\",\"mono\":"
        ));
    }
}
