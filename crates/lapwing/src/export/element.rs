//! What the elements of a column are, and JSON tokens as their bytes.

use std::fmt;
use std::str::FromStr;

use lapwing_wire::dtype::Dtype;

/// What an element is. Its bytes stand lowest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Element {
    /// True or false, a byte.
    Bool,
    /// A number.
    Number(Dtype),
}

impl Element {
    /// As the header of an npy file has it.
    #[must_use]
    pub fn descr(self) -> String {
        let [kind, bytes] = self.code().map(char::from);
        // One byte alone has no order.
        let order = if bytes == '1' { '|' } else { '<' };
        format!("{order}{kind}{bytes}")
    }

    fn code(self) -> [u8; 2] {
        match self {
            Self::Bool => *b"b1",
            Self::Number(dtype) => dtype.code(),
        }
    }

    /// How many bytes one takes.
    #[must_use]
    pub fn bytes(self) -> usize {
        match self {
            Self::Bool => 1,
            Self::Number(dtype) => dtype.bytes(),
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
        let dtype = match self {
            Self::Bool => {
                out.push(whole::<bool>(token)?.into());
                return Some(());
            }
            Self::Number(dtype) => dtype,
        };
        match dtype {
            Dtype::Int8 => out.extend(whole::<i8>(token)?.to_le_bytes()),
            Dtype::Int16 => out.extend(whole::<i16>(token)?.to_le_bytes()),
            Dtype::Int32 => out.extend(whole::<i32>(token)?.to_le_bytes()),
            Dtype::Int64 => out.extend(whole::<i64>(token)?.to_le_bytes()),
            // "-0" is 0, and no unsigned type of Rust reads it.
            Dtype::Uint8 => out.extend(whole::<u8>(unsigned(token))?.to_le_bytes()),
            Dtype::Uint16 => out.extend(whole::<u16>(unsigned(token))?.to_le_bytes()),
            Dtype::Uint32 => out.extend(whole::<u32>(unsigned(token))?.to_le_bytes()),
            Dtype::Uint64 => out.extend(whole::<u64>(unsigned(token))?.to_le_bytes()),
            Dtype::Float32 => out.extend(float::<f32>(token)?.to_le_bytes()),
            Dtype::Float64 => out.extend(float::<f64>(token)?.to_le_bytes()),
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

impl From<Dtype> for Element {
    fn from(dtype: Dtype) -> Self {
        Self::Number(dtype)
    }
}

impl fmt::Display for Element {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bool => f.pad("bool"),
            Self::Number(dtype) => dtype.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(element: impl Into<Element>, token: &str, expect: Option<&[u8]>) {
        let element = element.into();
        let mut out = Vec::new();
        let fits = element.encode(token, &mut out);
        assert_eq!(fits.map(|()| out.as_slice()), expect, "{element} {token}");
        assert!(fits.is_none() || out.len() == element.bytes());
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
        check(Element::Bool, "true", Some(&[1]));
        check(Element::Bool, "1", None);
        for whole in [Dtype::Int64, Dtype::Uint64] {
            check(whole, "1.0", None);
            check(whole, "1e3", None);
            check(whole, "true", None);
        }
        check(Dtype::Float64, "inf", None);
        check(Dtype::Float32, "NaN", None);
    }

    #[test]
    fn the_header_of_an_npy_file_names_the_order_of_bytes_where_there_is_one() {
        let descr = |element: Element| element.descr();
        assert_eq!(descr(Element::Bool), "|b1");
        let numbers = Dtype::ALL.map(|dtype| descr(dtype.into()));
        assert_eq!(numbers.join(" "), "|i1 <i2 <i4 <i8 |u1 <u2 <u4 <u8 <f4 <f8");
    }
}
