//! The type of an array's elements.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// The type of an element, called as NumPy calls it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the names say it")]
pub enum Dtype {
    Int8,
    Int16,
    Int32,
    #[default]
    Int64,
    Uint8,
    Uint16,
    Uint32,
    Uint64,
    Float32,
    Float64,
}

impl Dtype {
    /// Every type, in the order in which they are listed to people.
    pub const ALL: [Self; 10] = [
        Self::Int8,
        Self::Int16,
        Self::Int32,
        Self::Int64,
        Self::Uint8,
        Self::Uint16,
        Self::Uint32,
        Self::Uint64,
        Self::Float32,
        Self::Float64,
    ];

    /// The name that people type.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Int8 => "int8",
            Self::Int16 => "int16",
            Self::Int32 => "int32",
            Self::Int64 => "int64",
            Self::Uint8 => "uint8",
            Self::Uint16 => "uint16",
            Self::Uint32 => "uint32",
            Self::Uint64 => "uint64",
            Self::Float32 => "float32",
            Self::Float64 => "float64",
        }
    }

    /// How a binary frame calls it, as NumPy does: a kind and the bytes of an element.
    #[must_use]
    pub fn code(self) -> [u8; 2] {
        *match self {
            Self::Int8 => b"i1",
            Self::Int16 => b"i2",
            Self::Int32 => b"i4",
            Self::Int64 => b"i8",
            Self::Uint8 => b"u1",
            Self::Uint16 => b"u2",
            Self::Uint32 => b"u4",
            Self::Uint64 => b"u8",
            Self::Float32 => b"f4",
            Self::Float64 => b"f8",
        }
    }

    /// The type of this [`Dtype::code`].
    #[must_use]
    pub fn of_code(code: [u8; 2]) -> Option<Self> {
        Self::ALL.into_iter().find(|dtype| dtype.code() == code)
    }

    /// Bytes of an element.
    #[must_use]
    pub fn bytes(self) -> usize {
        usize::from(self.code()[1] - b'0')
    }

    /// The smallest and the largest integer of the type; nothing for floats.
    #[must_use]
    pub fn bounds(self) -> Option<(i128, i128)> {
        match self {
            Self::Int8 => Some((i8::MIN.into(), i8::MAX.into())),
            Self::Int16 => Some((i16::MIN.into(), i16::MAX.into())),
            Self::Int32 => Some((i32::MIN.into(), i32::MAX.into())),
            Self::Int64 => Some((i64::MIN.into(), i64::MAX.into())),
            Self::Uint8 => Some((u8::MIN.into(), u8::MAX.into())),
            Self::Uint16 => Some((u16::MIN.into(), u16::MAX.into())),
            Self::Uint32 => Some((u32::MIN.into(), u32::MAX.into())),
            Self::Uint64 => Some((u64::MIN.into(), u64::MAX.into())),
            Self::Float32 | Self::Float64 => None,
        }
    }
}

impl fmt::Display for Dtype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Dtype {
    type Err = DtypeError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let known = Self::ALL.into_iter().find(|dtype| dtype.as_str() == text);
        known.ok_or_else(|| DtypeError { found: text.into() })
    }
}

/// A text that names no element type.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
#[error("unknown dtype {found:?}; dtypes: int8, int16, int32, int64, uint8, uint16, uint32, uint64, float32, float64")]
pub struct DtypeError {
    /// What was typed.
    pub found: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_has_a_name_and_a_code() {
        for dtype in Dtype::ALL {
            assert_eq!(dtype.as_str().parse(), Ok(dtype));
            assert_eq!(Dtype::of_code(dtype.code()), Some(dtype));
            assert!(dtype.as_str().ends_with(&(8 * dtype.bytes()).to_string()));
        }
        assert_eq!(Dtype::of_code(*b"f2"), None);
    }
}
