//! Wall-clock times as text: RFC 3339, UTC.

use jiff::Timestamp;

/// Nanoseconds since 1970-01-01T00:00:00Z; fits until the year 2262.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default, Hash)]
pub struct WallTime(i64);

impl WallTime {
    /// Wraps nanoseconds since the epoch of Unix.
    #[must_use]
    pub const fn from_nanos(nanos: i64) -> Self {
        Self(nanos)
    }

    /// Nanoseconds since the epoch of Unix.
    #[must_use]
    pub const fn nanos(self) -> i64 {
        self.0
    }

    /// Parses an RFC 3339 time with any offset from UTC.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let time: Timestamp = text.parse().ok()?;
        i64::try_from(time.as_nanosecond()).ok().map(Self)
    }
}

/// Writes wall times, formatting each second only once: a feed has many messages a second.
#[derive(Clone, Debug, Default)]
pub struct TimeWriter {
    second: Option<i64>,
    text: String,
}

impl TimeWriter {
    /// `2026-11-21T19:00:00.123456Z`, six digits: the time in an envelope.
    pub fn micros(&mut self, time: WallTime, out: &mut Vec<u8>) {
        self.write(time, 6, out);
    }

    /// `2026-11-21T19:00:00.123456789Z`, nine digits: the time in a recording.
    pub fn nanos(&mut self, time: WallTime, out: &mut Vec<u8>) {
        self.write(time, 9, out);
    }

    fn write(&mut self, time: WallTime, digits: usize, out: &mut Vec<u8>) {
        let second = time.0.div_euclid(NANOS_PER_SECOND);
        let nanos = time.0.rem_euclid(NANOS_PER_SECOND);
        if self.second != Some(second) {
            let whole = Timestamp::from_second(second).unwrap_or(Timestamp::UNIX_EPOCH);
            self.text = whole.strftime("%Y-%m-%dT%H:%M:%S.").to_string();
            self.second = Some(second);
        }
        out.extend_from_slice(self.text.as_bytes());
        let mut fraction = [b'0'; 9];
        let mut rest = nanos;
        for digit in fraction.iter_mut().rev() {
            *digit = b'0' + (rest % 10) as u8;
            rest /= 10;
        }
        out.extend_from_slice(&fraction[..digits]);
        out.push(b'Z');
    }
}

/// Reads the times of envelopes, looking at each second only once: a feed has many messages a second.
#[derive(Clone, Debug, Default)]
pub struct TimeReader {
    /// The text of the second read last, `2026-11-21T19:00:00.`, and its beginning.
    second: Option<([u8; SECOND_BYTES], i64)>,
}

impl TimeReader {
    /// What a time says; in the form of an envelope it costs next to nothing, in any other form of RFC 3339 it is parsed.
    pub fn read(&mut self, text: &str) -> Option<WallTime> {
        let Some((second, micros)) = micros_form(text.as_bytes()) else {
            return WallTime::parse(text);
        };
        match self.second {
            Some((known, begin)) if known == *second => begin.checked_add(micros * 1000).map(WallTime),
            _ => {
                let time = WallTime::parse(text)?;
                // Of the first and of the last second that there is, not all fits.
                self.second = time.0.checked_sub(micros * 1000).map(|begin| (*second, begin));
                Some(time)
            }
        }
    }
}

/// The second and the microseconds of `2026-11-21T19:00:00.123456Z`; whether there is such a second is not looked at.
fn micros_form(text: &[u8]) -> Option<(&[u8; SECOND_BYTES], i64)> {
    let (second, rest) = text.split_first_chunk()?;
    let digits: &[u8; 6] = rest.strip_suffix(b"Z")?.try_into().ok()?;
    let whole = second[SECOND_BYTES - 1] == b'.' && digits.iter().all(u8::is_ascii_digit);
    let micros = digits.iter().fold(0, |sum, digit| sum * 10 + i64::from(digit & 15));
    whole.then_some((second, micros))
}

/// The length of `2026-11-21T19:00:00.`.
const SECOND_BYTES: usize = 20;

/// One wall time as text with six digits; for many, keep a [`TimeWriter`].
#[must_use]
pub fn micros_text(time: WallTime) -> String {
    let mut out = Vec::with_capacity(27);
    TimeWriter::default().micros(time, &mut out);
    String::from_utf8(out).expect("digits and separators are ASCII")
}

const NANOS_PER_SECOND: i64 = 1_000_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_read_back_what_they_wrote() {
        let mut writer = TimeWriter::default();
        for nanos in [
            0,
            1,
            999_999_999,
            1_795_287_600_123_456_789,
            1_795_287_600_000_000_000,
            -1,
        ] {
            let mut out = Vec::new();
            writer.nanos(WallTime::from_nanos(nanos), &mut out);
            let text = String::from_utf8(out).expect("ASCII");
            assert_eq!(WallTime::parse(&text), Some(WallTime::from_nanos(nanos)), "{text}");
        }
    }

    #[test]
    fn a_reader_reads_what_a_parser_reads() {
        let mut reader = TimeReader::default();
        for text in [
            "2026-11-21T19:00:00.123456Z",
            "2026-11-21T19:00:00.000001Z",
            "2026-11-21T19:00:01.999999Z",
            "2026-11-21T19:00:01.5Z",
            "2026-11-21T19:00:01Z",
            "2026-11-21T20:00:01.000000+01:00",
            "2026-13-21T19:00:01.000000Z",
            "2026-11-21T19:00:01.00000xZ",
            "",
        ] {
            assert_eq!(reader.read(text), WallTime::parse(text), "{text}");
        }
    }

    #[test]
    fn the_first_and_the_last_second_are_read_as_a_parser_reads_them() {
        let mut reader = TimeReader::default();
        for text in [
            "2262-04-11T23:47:16.000000Z",
            "2262-04-11T23:47:16.854775Z",
            "2262-04-11T23:47:16.999999Z",
            "1677-09-21T00:12:43.145225Z",
            "1677-09-21T00:12:43.000000Z",
            "1677-09-21T00:12:43.999999Z",
        ] {
            assert_eq!(reader.read(text), WallTime::parse(text), "{text}");
        }
    }

    #[test]
    fn an_envelope_has_six_digits() {
        let time = WallTime::parse("2026-11-21T19:00:00.123456789Z").expect("valid");
        assert_eq!(micros_text(time), "2026-11-21T19:00:00.123456Z");
    }
}
