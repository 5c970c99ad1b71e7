//! The types of numbers in arrays, and numbers as their bytes.

use std::fmt;
use std::str::FromStr;

/// What the elements of an array are. Bytes stand lowest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dtype {
    /// True or false, a byte.
    Bool,
    /// Whole numbers of 8 bits.
    Int8,
    /// Whole numbers of 16 bits.
    Int16,
    /// Whole numbers of 32 bits.
    Int32,
    /// Whole numbers of 64 bits.
    Int64,
    /// Whole numbers of 8 bits, none below 0.
    Uint8,
    /// Whole numbers of 16 bits, none below 0.
    Uint16,
    /// Whole numbers of 32 bits, none below 0.
    Uint32,
    /// Whole numbers of 64 bits, none below 0.
    Uint64,
    /// Floating point of 32 bits.
    Float32,
    /// Floating point of 64 bits.
    Float64,
}

impl Dtype {
    /// Those that can be asked for.
    pub const NUMBERS: [Self; 10] = [
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

    /// As NumPy calls it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Bool => "bool",
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

    /// As the header of an npy file has it.
    #[must_use]
    pub fn descr(self) -> &'static str {
        match self {
            Self::Bool => "|b1",
            Self::Int8 => "|i1",
            Self::Int16 => "<i2",
            Self::Int32 => "<i4",
            Self::Int64 => "<i8",
            Self::Uint8 => "|u1",
            Self::Uint16 => "<u2",
            Self::Uint32 => "<u4",
            Self::Uint64 => "<u8",
            Self::Float32 => "<f4",
            Self::Float64 => "<f8",
        }
    }

    /// How many bytes one takes.
    #[must_use]
    pub fn size(self) -> usize {
        match self {
            Self::Bool | Self::Int8 | Self::Uint8 => 1,
            Self::Int16 | Self::Uint16 => 2,
            Self::Int32 | Self::Uint32 | Self::Float32 => 4,
            Self::Int64 | Self::Uint64 | Self::Float64 => 8,
        }
    }

    /// Appends a JSON token as one element; none if it does not fit.
    ///
    /// A whole type takes no fraction, not even `1.0`; a floating one rounds, but never to infinity.
    #[must_use]
    pub fn encode(self, token: &str, out: &mut Vec<u8>) -> Option<()> {
        fn whole<T: FromStr>(token: &str) -> Option<T> {
            token.parse().ok()
        }
        match self {
            Self::Bool => out.push(whole::<bool>(token)?.into()),
            Self::Int8 => out.extend(whole::<i8>(token)?.to_le_bytes()),
            Self::Int16 => out.extend(whole::<i16>(token)?.to_le_bytes()),
            Self::Int32 => out.extend(whole::<i32>(token)?.to_le_bytes()),
            Self::Int64 => out.extend(whole::<i64>(token)?.to_le_bytes()),
            // "-0" is 0, and no unsigned type of Rust reads it.
            Self::Uint8 => out.extend(whole::<u8>(unsigned(token))?.to_le_bytes()),
            Self::Uint16 => out.extend(whole::<u16>(unsigned(token))?.to_le_bytes()),
            Self::Uint32 => out.extend(whole::<u32>(unsigned(token))?.to_le_bytes()),
            Self::Uint64 => out.extend(whole::<u64>(unsigned(token))?.to_le_bytes()),
            Self::Float32 => out.extend(float::<f32>(token)?.to_le_bytes()),
            Self::Float64 => out.extend(float::<f64>(token)?.to_le_bytes()),
        }
        Some(())
    }
}

fn unsigned(token: &str) -> &str {
    if token == "-0" { "0" } else { token }
}

/// The value of a JSON number; none for what is no number, or beyond the largest.
fn float<T: FromStr + Copy + Into<f64>>(token: &str) -> Option<T> {
    let value: T = token.parse().ok()?;
    value.into().is_finite().then_some(value)
}

impl fmt::Display for Dtype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Dtype {
    type Err = UnknownDtype;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let known = Self::NUMBERS.into_iter().find(|dtype| dtype.name() == text);
        known.ok_or(UnknownDtype)
    }
}

/// No type of numbers has this name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no type of numbers")]
pub struct UnknownDtype;

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(dtype: Dtype, token: &str, expect: Option<&[u8]>) {
        let mut out = Vec::new();
        let fits = dtype.encode(token, &mut out);
        assert_eq!(fits.map(|()| out.as_slice()), expect, "{dtype} {token}");
        assert!(fits.is_none() || out.len() == dtype.size());
    }

    #[test]
    fn numbers_at_the_edge_fit_and_those_beyond_do_not() {
        check(Dtype::Int8, "-128", Some(&[0x80]));
        check(Dtype::Int8, "-129", None);
        check(Dtype::Int8, "127", Some(&[0x7f]));
        check(Dtype::Int8, "128", None);
        check(Dtype::Int16, "-32768", Some(&[0, 0x80]));
        check(Dtype::Int16, "32768", None);
        check(Dtype::Int32, "2147483647", Some(&[0xff, 0xff, 0xff, 0x7f]));
        check(Dtype::Int32, "2147483648", None);
        check(Dtype::Int64, "9223372036854775807", Some(&i64::MAX.to_le_bytes()));
        check(Dtype::Int64, "9223372036854775808", None);
        check(Dtype::Uint8, "255", Some(&[255]));
        check(Dtype::Uint8, "256", None);
        check(Dtype::Uint8, "-1", None);
        check(Dtype::Uint8, "-0", Some(&[0]));
        check(Dtype::Uint16, "65536", None);
        check(Dtype::Uint32, "4294967296", None);
        check(Dtype::Uint64, "18446744073709551615", Some(&u64::MAX.to_le_bytes()));
        check(Dtype::Uint64, "18446744073709551616", None);
        check(Dtype::Float32, "1e38", Some(&1e38_f32.to_le_bytes()));
        check(Dtype::Float32, "1e39", None);
        check(Dtype::Float64, "1e308", Some(&1e308_f64.to_le_bytes()));
        check(Dtype::Float64, "1e309", None);
        check(Dtype::Float64, "-0", Some(&(-0.0_f64).to_le_bytes()));
        check(Dtype::Bool, "true", Some(&[1]));
        check(Dtype::Bool, "1", None);
        for whole in [Dtype::Int64, Dtype::Uint64] {
            check(whole, "1.0", None);
            check(whole, "1e3", None);
            check(whole, "true", None);
        }
        check(Dtype::Float64, "inf", None);
        check(Dtype::Float32, "NaN", None);
    }

    #[test]
    fn only_the_names_of_numpy_are_names() {
        for dtype in Dtype::NUMBERS {
            assert_eq!(dtype.name().parse(), Ok(dtype));
        }
        for wrong in ["", "int", "<i8", "bool", "Int64", "float16", "object"] {
            assert_eq!(wrong.parse::<Dtype>(), Err(UnknownDtype), "{wrong}");
        }
    }
}
