//! Where a reader asks to begin in a topic.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use thiserror::Error;

use crate::position::{Epoch, Offset, Position};

/// Where a reader asks to begin: the text of `from=` and of a `subscribe` message.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Start {
    /// With the next message that is appended (`latest`).
    #[default]
    Latest,
    /// With the oldest message that is retained (`earliest`).
    Earliest,
    /// With this offset, of whatever epoch (`17`).
    Offset(Offset),
    /// With this offset of this epoch (`@EPOCH:17`).
    Position(Position),
    /// With the first message appended since this long ago (`-30s`).
    Ago(Duration),
    /// With the newest so many messages (`last:100`).
    Last(u64),
}

impl FromStr for Start {
    type Err = StartError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || StartError { text: text.to_owned() };
        match text {
            "latest" => return Ok(Self::Latest),
            "earliest" => return Ok(Self::Earliest),
            _ => {}
        }
        if let Some(count) = text.strip_prefix("last:") {
            return digits(count).map(Self::Last).ok_or_else(wrong);
        }
        if let Some(ago) = text.strip_prefix('-') {
            return span(ago).map(Self::Ago).ok_or_else(wrong);
        }
        if let Some(position) = text.strip_prefix('@') {
            let (epoch, offset) = position.split_once(':').ok_or_else(wrong)?;
            let epoch = Epoch::parse(epoch).map_err(|_| wrong())?;
            let offset = digits(offset).map(Offset::new).ok_or_else(wrong)?;
            return Ok(Self::Position(Position { epoch, offset }));
        }
        digits(text)
            .map(|offset| Self::Offset(Offset::new(offset)))
            .ok_or_else(wrong)
    }
}

impl fmt::Display for Start {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Latest => f.write_str("latest"),
            Self::Earliest => f.write_str("earliest"),
            Self::Offset(offset) => write!(f, "{offset}"),
            Self::Position(position) => write!(f, "@{}:{}", position.epoch, position.offset),
            // In the unit in which it was given: seconds may be more than fit as milliseconds.
            Self::Ago(ago) if ago.subsec_nanos() == 0 => write!(f, "-{}s", ago.as_secs()),
            Self::Ago(ago) => write!(f, "-{}ms", ago.as_millis()),
            Self::Last(count) => write!(f, "last:{count}"),
        }
    }
}

/// Digits alone: `u64::from_str` would also take a plus sign.
pub(crate) fn digits(text: &str) -> Option<u64> {
    if text.bytes().all(|b| b.is_ascii_digit()) {
        text.parse().ok()
    } else {
        None
    }
}

/// A span of time of one number and one unit: `500ms`, `30s`, `5m`, `2h`.
fn span(text: &str) -> Option<Duration> {
    let unit_at = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(unit_at);
    let number = digits(number)?;
    match unit {
        "ms" => Some(Duration::from_millis(number)),
        "s" => Some(Duration::from_secs(number)),
        "m" => Some(Duration::from_secs(number.checked_mul(60)?)),
        "h" => Some(Duration::from_secs(number.checked_mul(3600)?)),
        _ => None,
    }
}

/// The text names no place to begin.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
#[error("{text:?} is no place to begin: use latest, earliest, an offset, last:COUNT, -30s or @EPOCH:OFFSET")]
pub struct StartError {
    /// What was asked.
    pub text: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expect: Option<Start>) {
        assert_eq!(text.parse::<Start>().ok(), expect, "{text:?}");
    }

    #[test]
    fn every_way_to_begin_is_understood() {
        let epoch = Epoch::from_bits(7);
        check("latest", Some(Start::Latest));
        check("earliest", Some(Start::Earliest));
        check("0", Some(Start::Offset(Offset::ZERO)));
        check("last:100", Some(Start::Last(100)));
        check("-30s", Some(Start::Ago(Duration::from_secs(30))));
        check("-1500ms", Some(Start::Ago(Duration::from_millis(1500))));
        check("-2h", Some(Start::Ago(Duration::from_secs(7200))));
        check(
            &format!("@{epoch}:17"),
            Some(Start::Position(Position {
                epoch,
                offset: Offset::new(17),
            })),
        );
        for wrong in [
            "",
            "-",
            "+1",
            "-30",
            "-s",
            "last:",
            "last:-1",
            "@:1",
            "@7:1",
            "newest",
            "99999999999999999999",
        ] {
            check(wrong, None);
        }
    }

    #[test]
    fn a_start_reads_back_what_it_wrote() {
        let position = Position {
            epoch: Epoch::from_bits(1),
            offset: Offset::new(2),
        };
        for start in [
            Start::Latest,
            Start::Earliest,
            Start::Position(position),
            Start::Last(3),
            Start::Ago(Duration::from_millis(5)),
            Start::Ago(Duration::from_millis(u64::MAX)),
            Start::Ago(Duration::from_secs(u64::MAX)),
        ] {
            assert_eq!(start.to_string().parse(), Ok(start));
        }
    }
}
