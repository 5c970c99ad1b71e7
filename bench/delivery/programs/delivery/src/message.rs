//! The messages that every server here sends: Lapwing's envelope, 250 bytes, with an offset and the instant it was made.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::frame;

/// The length of a message in bytes. Lapwing's own are within a few bytes of it.
pub const MESSAGE_BYTES: usize = 250;

/// A feed of messages: one offset after the other.
#[derive(Default)]
pub struct Feed {
    offset: u64,
}

impl Feed {
    /// The next message.
    #[must_use]
    pub fn next_text(&mut self) -> String {
        let mut text = format!(
            r#"{{"topic":"feed","offset":{},"time":"{}","data":""#,
            self.offset,
            written(now())
        );
        text.extend(std::iter::repeat_n('x', MESSAGE_BYTES - 2 - text.len()));
        text.push_str("\"}");
        self.offset += 1;
        text
    }

    /// The frames of the next `count` messages, one behind the other.
    #[must_use]
    pub fn next_frames(&mut self, count: usize) -> Vec<u8> {
        let mut frames = Vec::with_capacity(count * (MESSAGE_BYTES + 4));
        for _ in 0..count {
            frame::write_text(&mut frames, self.next_text().as_bytes());
        }
        frames
    }
}

/// What a load wants to know of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrived {
    /// Its offset.
    pub offset: u64,
    /// When it was made, since 1970.
    pub made: Duration,
}

/// Reads the envelope's fixed layout; none if this is no such message.
#[must_use]
pub fn read(payload: &[u8]) -> Option<Arrived> {
    let rest = payload.strip_prefix(br#"{"topic":""#)?;
    let rest = &rest[rest.iter().position(|&byte| byte == b'"')?..];
    let rest = rest.strip_prefix(br#"","offset":"#)?;
    let digits = rest.iter().position(|byte| !byte.is_ascii_digit())?;
    let (offset, rest) = rest.split_at(digits);
    let time = rest.strip_prefix(br#","time":""#)?.get(..TIME_BYTES)?;
    Some(Arrived {
        offset: number(offset)?,
        made: read_time(time)?,
    })
}

/// The wall clock, since 1970.
#[must_use]
pub fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// RFC 3339, UTC, microseconds.
#[must_use]
fn written(since_1970: Duration) -> String {
    let seconds = since_1970.as_secs();
    let (year, month, day) = civil(seconds / DAY);
    let (hour, minute, second) = (seconds % DAY / 3600, seconds % 3600 / 60, seconds % 60);
    let micros = since_1970.subsec_micros();
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{micros:06}Z")
}

fn read_time(text: &[u8]) -> Option<Duration> {
    let part = |from: usize, to: usize| number(&text[from..to]);
    let days = days(part(0, 4)?, part(5, 7)?, part(8, 10)?);
    let seconds = days * DAY + part(11, 13)? * 3600 + part(14, 16)? * 60 + part(17, 19)?;
    Some(Duration::new(seconds, u32::try_from(part(20, 26)?).ok()? * 1000))
}

fn number(digits: &[u8]) -> Option<u64> {
    digits.iter().try_fold(0_u64, |value, byte| {
        let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
        value.checked_mul(10)?.checked_add(digit)
    })
}

/// Days since 1970 of a date: years begin in March here, so that a leap day is a year's last.
fn days(year: u64, month: u64, day: u64) -> u64 {
    let year = if month <= 2 { year - 1 } else { year };
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    year * 365 + year / 4 - year / 100 + year / 400 + of_year - DAYS_TO_1970
}

/// The date of a number of days since 1970.
fn civil(days_since_1970: u64) -> (u64, u64, u64) {
    let mut year = 1970 + days_since_1970 / 366;
    while days(year + 1, 1, 1) <= days_since_1970 {
        year += 1;
    }
    let month = (1..=12)
        .rev()
        .find(|&month| days(year, month, 1) <= days_since_1970)
        .unwrap_or(1);
    (year, month, days_since_1970 - days(year, month, 1) + 1)
}

const DAY: u64 = 86_400;
const DAYS_TO_1970: u64 = 719_468;
const TIME_BYTES: usize = "2026-11-21T19:00:00.123456Z".len();

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_read_as_it_was_written() {
        let mut feed = Feed { offset: 41 };
        let before = now();
        let text = feed.next_text();
        assert_eq!(text.len(), MESSAGE_BYTES);
        let arrived = read(text.as_bytes()).unwrap();
        assert_eq!(arrived.offset, 41);
        assert!(arrived.made + Duration::from_micros(1) > before && arrived.made <= now());
        assert_eq!(read(b"{\"type\":\"welcome\"}"), None);
    }

    #[test]
    fn times_are_those_of_the_calendar() {
        #[track_caller]
        fn check(seconds: u64, text: &str) {
            let instant = Duration::new(seconds, 123_456_000);
            assert_eq!(written(instant), text);
            assert_eq!(read_time(text.as_bytes()), Some(instant));
        }
        check(0, "1970-01-01T00:00:00.123456Z");
        check(951_782_399, "2000-02-28T23:59:59.123456Z");
        check(951_782_400, "2000-02-29T00:00:00.123456Z");
        check(1_735_689_599, "2024-12-31T23:59:59.123456Z");
        check(1_795_287_600, "2026-11-21T19:00:00.123456Z");
    }
}
