//! A place in a topic's log: offset, epoch, and both together.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use thiserror::Error;

/// The place of one message in its topic: dense from 0. As a position it means "the next one that I want".
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Offset(u64);

impl Offset {
    /// The first offset of every log.
    pub const ZERO: Offset = Offset(0);

    /// Wraps a number.
    #[must_use]
    pub const fn new(offset: u64) -> Self {
        Self(offset)
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The offset behind this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }

    /// The offset before this one, or none before 0.
    #[must_use]
    pub const fn previous(self) -> Option<Self> {
        match self.0.checked_sub(1) {
            Some(offset) => Some(Self(offset)),
            None => None,
        }
    }

    /// This offset and `count` more; stays at the end of the number range.
    #[must_use]
    pub const fn plus(self, count: u64) -> Self {
        Self(self.0.saturating_add(count))
    }

    /// How many offsets lie from `earlier` up to this one; 0 when it is not earlier.
    #[must_use]
    pub const fn since(self, earlier: Offset) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

impl fmt::Display for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Debug for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// The name of one history of a log: 128 random bits, written as 32 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch(u128);

impl Epoch {
    /// Wraps 128 random bits; `lapwing-wire` draws none itself.
    #[must_use]
    pub const fn from_bits(bits: u128) -> Self {
        Self(bits)
    }

    /// The bits.
    #[must_use]
    pub const fn to_bits(self) -> u128 {
        self.0
    }

    /// Parses 32 hexadecimal digits.
    pub fn parse(text: &str) -> Result<Self, EpochError> {
        let hex = text.len() == 32 && text.bytes().all(|b| b.is_ascii_hexdigit());
        match u128::from_str_radix(text, 16) {
            Ok(bits) if hex => Ok(Self(bits)),
            _ => Err(EpochError),
        }
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Epoch {
    type Err = EpochError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

impl Serialize for Epoch {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Epoch {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

/// The text is no epoch.
#[derive(Debug, Error, Clone, Copy, PartialEq, Eq)]
#[error("an epoch is 32 hexadecimal digits")]
pub struct EpochError;

/// An epoch and the offset wanted next in it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Position {
    /// Which history.
    pub epoch: Epoch,
    /// The next offset wanted.
    pub offset: Offset,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_epoch_reads_back_what_it_wrote() {
        let epoch = Epoch::from_bits(0x51d2_e7b0);
        assert_eq!(epoch.to_string().len(), 32);
        assert_eq!(Epoch::parse(&epoch.to_string()), Ok(epoch));
        for wrong in [
            "",
            "51d2e7b0",
            "+0000000000000000000000000000001",
            &"g".repeat(32),
            &"0".repeat(33),
        ] {
            assert_eq!(Epoch::parse(wrong), Err(EpochError), "{wrong:?}");
        }
    }

    #[test]
    fn distance_never_goes_below_zero() {
        assert_eq!(Offset::new(7).since(Offset::new(3)), 4);
        assert_eq!(Offset::new(3).since(Offset::new(7)), 0);
        assert_eq!(Offset::ZERO.previous(), None);
    }
}
