//! Random arrays of any shape and element type, as NumPy's `integers(low, high, shape, dtype)` gives them.
//!
//! Making the values and writing them are two steps: [`Arrays::next_values`] fills typed vectors that are reused from call
//! to call, and [`Arrays::write_next`] writes them as nested JSON lists. The generator is Xoshiro256++, keyed by seed and
//! stream; both it and the way a number is bounded are fixed here, so a seed gives the same values on every machine and
//! with every version.

use std::fmt;
use std::str::FromStr;

pub use lapwing_wire::dtype::Dtype;
use rand_chacha::rand_core::{Rng, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use thiserror::Error;

use super::seed::key_stream;

/// An endless row of arrays, one package of them per message.
///
/// ```
/// use lapwing::source::arrays::{ArraySpec, Arrays, Dtype};
///
/// let spec = ArraySpec::new("2x3".parse()?, Dtype::Uint8, None, Some(10), 1)?;
/// let mut message = Vec::new();
/// Arrays::new(&spec, 1, 0).write_next(&mut message);
/// assert_eq!(message, b"[[6,7,4],[4,6,0]]");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Arrays {
    /// The shape of a message: that of one array, below the size of the package if there is one.
    shape: Vec<usize>,
    range: Range,
    rng: Xoshiro256PlusPlus,
    values: Values,
}

impl Arrays {
    /// Rises whenever the same seed gives other values than before; stands beside the seed where a feed is described.
    pub const VERSION: u32 = 1;

    /// The arrays of `spec` that `seed` and `stream` stand for; topics of one seed take different streams.
    #[must_use]
    pub fn new(spec: &ArraySpec, seed: u64, stream: u64) -> Self {
        let mut key = [0; 32];
        key_stream(seed, stream).fill_bytes(&mut key);
        let shape = spec.message_shape();
        Self {
            range: spec.range(),
            rng: Xoshiro256PlusPlus::from_seed(key),
            values: Values::zeros(spec.dtype, shape.iter().product()),
            shape,
        }
    }

    /// Draws the values of the next message: all its arrays, one behind the other, each in row-major order.
    ///
    /// The values are drawn per message: the same seed with another shape or package is another row of numbers.
    pub fn next_values(&mut self) -> &Values {
        let Self { range, rng, values, .. } = self;
        match values {
            Values::Int8(values) => fill_integers(rng, *range, values),
            Values::Int16(values) => fill_integers(rng, *range, values),
            Values::Int32(values) => fill_integers(rng, *range, values),
            Values::Int64(values) => fill_integers(rng, *range, values),
            Values::Uint8(values) => fill_integers(rng, *range, values),
            Values::Uint16(values) => fill_integers(rng, *range, values),
            Values::Uint32(values) => fill_integers(rng, *range, values),
            Values::Uint64(values) => fill_integers(rng, *range, values),
            Values::Float32(values) => fill_f32(rng, values),
            Values::Float64(values) => fill_f64(rng, values),
        }
        values
    }

    /// Appends the next message to `out` as compact nested JSON lists, without a newline.
    pub fn write_next(&mut self, out: &mut Vec<u8>) {
        self.next_values();
        match &self.values {
            Values::Int8(values) => write_lists(&self.shape, values, out),
            Values::Int16(values) => write_lists(&self.shape, values, out),
            Values::Int32(values) => write_lists(&self.shape, values, out),
            Values::Int64(values) => write_lists(&self.shape, values, out),
            Values::Uint8(values) => write_lists(&self.shape, values, out),
            Values::Uint16(values) => write_lists(&self.shape, values, out),
            Values::Uint32(values) => write_lists(&self.shape, values, out),
            Values::Uint64(values) => write_lists(&self.shape, values, out),
            Values::Float32(values) => write_lists(&self.shape, values, out),
            Values::Float64(values) => write_lists(&self.shape, values, out),
        }
    }
}

/// The values of one message, in a vector of their own type.
#[derive(Debug, Clone, PartialEq)]
#[expect(missing_docs, reason = "each variant is named like its Dtype")]
pub enum Values {
    Int8(Vec<i8>),
    Int16(Vec<i16>),
    Int32(Vec<i32>),
    Int64(Vec<i64>),
    Uint8(Vec<u8>),
    Uint16(Vec<u16>),
    Uint32(Vec<u32>),
    Uint64(Vec<u64>),
    Float32(Vec<f32>),
    Float64(Vec<f64>),
}

impl Values {
    fn zeros(dtype: Dtype, len: usize) -> Self {
        match dtype {
            Dtype::Int8 => Self::Int8(vec![0; len]),
            Dtype::Int16 => Self::Int16(vec![0; len]),
            Dtype::Int32 => Self::Int32(vec![0; len]),
            Dtype::Int64 => Self::Int64(vec![0; len]),
            Dtype::Uint8 => Self::Uint8(vec![0; len]),
            Dtype::Uint16 => Self::Uint16(vec![0; len]),
            Dtype::Uint32 => Self::Uint32(vec![0; len]),
            Dtype::Uint64 => Self::Uint64(vec![0; len]),
            Dtype::Float32 => Self::Float32(vec![0.0; len]),
            Dtype::Float64 => Self::Float64(vec![0.0; len]),
        }
    }
}

/// What arrays look like; once made, it is known to make sense and to fit a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArraySpec {
    shape: Shape,
    dtype: Dtype,
    low: i128,
    high: i128,
    pack: u32,
}

impl ArraySpec {
    /// The largest message in bytes of JSON; the log takes no larger one from a source.
    pub const JSON_BYTES_MAX: u64 = 16 * 1024 * 1024;

    /// Where integers begin unless told otherwise.
    pub const LOW: i128 = 0;

    /// Below what integers stay unless told otherwise.
    pub const HIGH: i128 = 100;

    /// Checks the settings against each other.
    ///
    /// Integers are uniform in `low..high`, by default [`Self::LOW`] and [`Self::HIGH`]; floats are uniform in `[0, 1)` and
    /// take neither. A message is a list of `pack` arrays, or the bare array when `pack` is 1.
    pub fn new(
        shape: Shape,
        dtype: Dtype,
        low: Option<i128>,
        high: Option<i128>,
        pack: u32,
    ) -> Result<Self, ArraySpecError> {
        if pack == 0 {
            return Err(ArraySpecError::EmptyPack);
        }
        let spec = Self {
            shape,
            dtype,
            low: low.unwrap_or(Self::LOW),
            high: high.unwrap_or(Self::HIGH),
            pack,
        };
        match dtype.bounds() {
            Some((min, max)) => spec.check_range(min, max)?,
            None if low.is_some() || high.is_some() => return Err(ArraySpecError::RangeOfFloats { dtype }),
            None => {}
        }
        match spec.json_bytes_max() {
            Some(bytes) if bytes <= Self::JSON_BYTES_MAX => Ok(spec),
            bytes => Err(ArraySpecError::TooLarge {
                shape: spec.shape,
                dtype,
                pack,
                bytes,
            }),
        }
    }

    fn check_range(&self, min: i128, max: i128) -> Result<(), ArraySpecError> {
        let &Self { dtype, low, high, .. } = self;
        if low < min {
            return Err(ArraySpecError::LowTooSmall { low, dtype, min });
        }
        if high > max + 1 {
            return Err(ArraySpecError::HighTooLarge { high, dtype, max });
        }
        if low >= high {
            return Err(ArraySpecError::EmptyRange { low, high });
        }
        Ok(())
    }

    /// The shape of one array.
    #[must_use]
    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    /// The type of an element.
    #[must_use]
    pub fn dtype(&self) -> Dtype {
        self.dtype
    }

    /// How many arrays one message holds.
    #[must_use]
    pub fn pack(&self) -> u32 {
        self.pack
    }

    /// How many bytes of JSON a message may need; nothing when that is beyond counting.
    fn json_bytes_max(&self) -> Option<u64> {
        let digits = |number: i128| number.to_string().len() as u64;
        let width = match self.dtype {
            // 2^-24, the smallest step, has 12 characters, and nine digits with an exponent have 14.
            Dtype::Float32 => 16,
            // 17 digits with point and exponent have 22.
            Dtype::Float64 => 24,
            _ => digits(self.low).max(digits(self.high - 1)),
        };
        let (mut lists, mut elements) = (0_u64, 1_u64);
        for size in self.message_shape() {
            lists = lists.checked_add(elements)?;
            elements = elements.checked_mul(size as u64)?;
        }
        // All elements and all lists but the outermost are entries, and every entry but the first of its list has a comma.
        elements.checked_mul(width + 1)?.checked_add(2 * lists)
    }

    /// Where integers begin, and below what they stay.
    #[must_use]
    pub fn bounds(&self) -> (i128, i128) {
        (self.low, self.high)
    }

    /// The shape of a message: that of one array, below the size of the package if there is one.
    #[must_use]
    pub fn message_shape(&self) -> Vec<usize> {
        let pack = (self.pack > 1).then_some(self.pack as usize);
        pack.into_iter().chain(self.shape.0.iter().copied()).collect()
    }

    fn range(&self) -> Range {
        // 2^64 values wrap to a span of 0, which stands for them.
        Range {
            low: self.low,
            span: (self.high - self.low) as u64,
        }
    }
}

/// Ten integers from 0 to 99, one array per message.
impl Default for Shape {
    /// Ten elements in a row.
    fn default() -> Self {
        Self(vec![10])
    }
}

impl Default for ArraySpec {
    fn default() -> Self {
        Self {
            shape: Shape::default(),
            dtype: Dtype::Int64,
            low: Self::LOW,
            high: Self::HIGH,
            pack: 1,
        }
    }
}

/// Why array settings do not go together.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
pub enum ArraySpecError {
    /// No integer is left between the bounds.
    #[error("low={low} is not below high={high} (high itself is never drawn)")]
    EmptyRange {
        /// The smallest integer.
        low: i128,
        /// The bound above all integers.
        high: i128,
    },
    /// The smallest integer is no value of the type.
    #[error("low={low} does not fit {dtype}, which starts at {min}")]
    LowTooSmall {
        /// The smallest integer.
        low: i128,
        /// The type.
        dtype: Dtype,
        /// The smallest value of the type.
        min: i128,
    },
    /// The largest integer is no value of the type.
    #[error("high={high} does not fit {dtype}, which ends at {max} (high may be {})", max + 1)]
    HighTooLarge {
        /// The bound above all integers.
        high: i128,
        /// The type.
        dtype: Dtype,
        /// The largest value of the type.
        max: i128,
    },
    /// Bounds for floats, which have none to set.
    #[error("{dtype} is uniform from 0 to 1: leave out low and high, or choose an integer dtype")]
    RangeOfFloats {
        /// The type.
        dtype: Dtype,
    },
    /// Messages without arrays.
    #[error("pack=0 leaves nothing to send: at least 1")]
    EmptyPack,
    /// A message beyond [`ArraySpec::JSON_BYTES_MAX`].
    #[error(
        "shape={shape} with pack={pack} may need {} bytes of JSON as {dtype}; a message has at most {}",
        bytes.map_or_else(|| "uncountable".into(), |bytes| bytes.to_string()),
        ArraySpec::JSON_BYTES_MAX
    )]
    TooLarge {
        /// The shape of one array.
        shape: Shape,
        /// The type of an element.
        dtype: Dtype,
        /// How many arrays a message holds.
        pack: u32,
        /// What a message may need; nothing when that is more than 2^64.
        bytes: Option<u64>,
    },
}

/// The lengths of an array along its axes, outermost first: 1 to 8 of them, none of them 0.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Shape(Vec<usize>);

impl Shape {
    /// The most axes.
    pub const AXES_MAX: usize = 8;

    /// The lengths, outermost first.
    #[must_use]
    pub fn axes(&self) -> &[usize] {
        &self.0
    }
}

impl FromStr for Shape {
    type Err = ShapeError;

    /// Reads `10`, `2x3` or `2,3`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let axis = |length: &str| match length.trim().parse() {
            Ok(0) => Err(ShapeError::EmptyAxis { text: text.into() }),
            Ok(length) => Ok(length),
            Err(_) => Err(ShapeError::Axis {
                text: text.into(),
                found: length.into(),
            }),
        };
        let axes = text.split(['x', ',']).map(axis).collect::<Result<Vec<usize>, _>>()?;
        if axes.len() > Self::AXES_MAX {
            return Err(ShapeError::TooManyAxes { axes: axes.len() });
        }
        Ok(Self(axes))
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (axis, length) in self.0.iter().enumerate() {
            write!(f, "{}{length}", if axis > 0 { "x" } else { "" })?;
        }
        Ok(())
    }
}

/// Why a text is no shape.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
pub enum ShapeError {
    /// A length that is no number.
    #[error("shape {text:?} is not made of lengths such as 10 or 2x3: {found:?} is not a whole number")]
    Axis {
        /// The whole text.
        text: String,
        /// The part that is no number.
        found: String,
    },
    /// A length of 0.
    #[error("shape {text:?} holds nothing: each length is at least 1")]
    EmptyAxis {
        /// The whole text.
        text: String,
    },
    /// More than [`Shape::AXES_MAX`] lengths.
    #[error("a shape has at most {} lengths, this one {axes}", Shape::AXES_MAX)]
    TooManyAxes {
        /// How many lengths were given.
        axes: usize,
    },
}

/// The integers from `low` on, `span` of them; a span of 0 stands for 2^64.
#[derive(Clone, Copy)]
struct Range {
    low: i128,
    span: u64,
}

/// An integer that can be drawn and written.
trait Integer: itoa::Integer + Copy {
    /// `low + offset`; wraps where the two are cut to the type, and is right in it.
    fn above(low: i128, offset: u64) -> Self;
}

macro_rules! integers {
    ($($integer:ty),*) => {$(
        impl Integer for $integer {
            #[inline]
            fn above(low: i128, offset: u64) -> Self {
                (low as Self).wrapping_add(offset as Self)
            }
        }

        impl Json for $integer {
            #[inline]
            fn write(self, out: &mut Vec<u8>) {
                out.extend_from_slice(itoa::Buffer::new().format(self).as_bytes());
            }
        }
    )*};
}

integers!(i8, i16, i32, i64, u8, u16, u32, u64);

/// Fills `values` with integers of `range`, each equally likely.
///
/// Spans of up to 2^32 take half a random word per value, larger ones a whole word.
fn fill_integers<T: Integer>(rng: &mut Xoshiro256PlusPlus, range: Range, values: &mut [T]) {
    let Range { low, span } = range;
    if let Ok(span) = u32::try_from(span)
        && span > 0
    {
        // How many of the 2^32 halves are one too many to be shared out evenly.
        let unfair = span.wrapping_neg() % span;
        for pair in values.chunks_mut(2) {
            let word = rng.next_u64();
            for (value, half) in pair.iter_mut().zip([word as u32, (word >> 32) as u32]) {
                *value = T::above(low, u64::from(bounded_u32(rng, half, span, unfair)));
            }
        }
    } else if span > 0 {
        let unfair = span.wrapping_neg() % span;
        for value in values {
            *value = T::above(low, bounded_u64(rng, span, unfair));
        }
    } else {
        for value in values {
            *value = T::above(low, rng.next_u64());
        }
    }
}

/// Brings the random `half` below `span`, drawing again when it is one of the unfair ones (Lemire 2019).
#[inline]
fn bounded_u32(rng: &mut Xoshiro256PlusPlus, half: u32, span: u32, unfair: u32) -> u32 {
    let mut product = u64::from(half) * u64::from(span);
    while (product as u32) < unfair {
        product = u64::from(rng.next_u64() as u32) * u64::from(span);
    }
    (product >> 32) as u32
}

/// A number below `span` from whole words, as [`bounded_u32`] from halves.
#[inline]
fn bounded_u64(rng: &mut Xoshiro256PlusPlus, span: u64, unfair: u64) -> u64 {
    loop {
        let product = u128::from(rng.next_u64()) * u128::from(span);
        if product as u64 >= unfair {
            return (product >> 64) as u64;
        }
    }
}

/// Fills `values` with multiples of 2^-24 below 1, half a random word each.
fn fill_f32(rng: &mut Xoshiro256PlusPlus, values: &mut [f32]) {
    for pair in values.chunks_mut(2) {
        let word = rng.next_u64();
        for (value, half) in pair.iter_mut().zip([word as u32, (word >> 32) as u32]) {
            *value = (half >> 8) as f32 / (1_u32 << 24) as f32;
        }
    }
}

/// Fills `values` with multiples of 2^-53 below 1, as NumPy does.
fn fill_f64(rng: &mut Xoshiro256PlusPlus, values: &mut [f64]) {
    for value in values {
        *value = (rng.next_u64() >> 11) as f64 / (1_u64 << 53) as f64;
    }
}

/// An element that can be written as a JSON number.
trait Json: Copy {
    fn write(self, out: &mut Vec<u8>);
}

impl Json for f32 {
    #[inline]
    fn write(self, out: &mut Vec<u8>) {
        serde_json::to_writer(out, &self).expect("a vector takes every byte");
    }
}

impl Json for f64 {
    #[inline]
    fn write(self, out: &mut Vec<u8>) {
        serde_json::to_writer(out, &self).expect("a vector takes every byte");
    }
}

/// Writes `values` as lists nested by `shape`, whose product is their number.
fn write_lists<T: Json>(shape: &[usize], values: &[T], out: &mut Vec<u8>) {
    out.push(b'[');
    match shape {
        [] | [_] => {
            for (place, value) in values.iter().enumerate() {
                if place > 0 {
                    out.push(b',');
                }
                value.write(out);
            }
        }
        [outer, inner @ ..] => {
            for (place, part) in values.chunks_exact(values.len() / outer).enumerate() {
                if place > 0 {
                    out.push(b',');
                }
                write_lists(inner, part, out);
            }
        }
    }
    out.push(b']');
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    /// Reads `dtype shape`, then `low..high` and `pack=N` if they are there.
    fn spec(text: &str) -> Result<ArraySpec, ArraySpecError> {
        let mut parts = text.split(' ');
        let dtype = parts.next().unwrap().parse().unwrap();
        let shape = parts.next().unwrap().parse().unwrap();
        let (mut low, mut high, mut pack) = (None, None, 1);
        for part in parts {
            match (part.split_once(".."), part.strip_prefix("pack=")) {
                (Some(ends), _) => (low, high) = (Some(ends.0.parse().unwrap()), Some(ends.1.parse().unwrap())),
                (_, Some(count)) => pack = count.parse().unwrap(),
                _ => panic!("{part}"),
            }
        }
        ArraySpec::new(shape, dtype, low, high, pack)
    }

    /// The range of all values of an integer type, as [`spec`] reads it; nothing for floats.
    fn whole(dtype: Dtype) -> String {
        dtype
            .bounds()
            .map_or_else(String::new, |(min, max)| format!(" {min}..{}", max + 1))
    }

    fn json(spec: &ArraySpec, seed: u64, stream: u64) -> String {
        let mut out = Vec::new();
        Arrays::new(spec, seed, stream).write_next(&mut out);
        String::from_utf8(out).unwrap()
    }

    /// The numbers of a message, whatever its nesting.
    fn numbers(value: &Value) -> Vec<Value> {
        match value {
            Value::Array(entries) => entries.iter().flat_map(numbers).collect(),
            number => vec![number.clone()],
        }
    }

    #[track_caller]
    fn check_shape(value: &Value, shape: &[usize]) {
        let Some((length, rest)) = shape.split_first() else {
            assert!(value.is_number(), "{value}");
            return;
        };
        assert_eq!(value.as_array().map(Vec::len), Some(*length), "{value}");
        for entry in value.as_array().unwrap() {
            check_shape(entry, rest);
        }
    }

    #[track_caller]
    fn check_spec(text: &str, expect: Result<(), &str>) {
        let found = spec(text).map(|_| ()).map_err(|error| error.to_string());
        assert_eq!(found, expect.map_err(String::from), "{text}");
    }

    #[test]
    fn bounds_must_leave_something() {
        check_spec("int64 10 0..1", Ok(()));
        check_spec(
            "int64 10 100..100",
            Err("low=100 is not below high=100 (high itself is never drawn)"),
        );
        check_spec(
            "int64 10 7..3",
            Err("low=7 is not below high=3 (high itself is never drawn)"),
        );
        check_spec("int64 10 pack=0", Err("pack=0 leaves nothing to send: at least 1"));
    }

    #[test]
    fn bounds_must_fit_the_type() {
        for dtype in Dtype::ALL {
            check_spec(&format!("{dtype} 10{}", whole(dtype)), Ok(()));
        }
        check_spec(
            "uint8 10 0..257",
            Err("high=257 does not fit uint8, which ends at 255 (high may be 256)"),
        );
        check_spec("uint8 10 -1..9", Err("low=-1 does not fit uint8, which starts at 0"));
        check_spec(
            "int8 10 -129..0",
            Err("low=-129 does not fit int8, which starts at -128"),
        );
        check_spec(
            "uint64 10 0..18446744073709551617",
            Err(
                "high=18446744073709551617 does not fit uint64, which ends at 18446744073709551615 \
                 (high may be 18446744073709551616)",
            ),
        );
        check_spec(
            "float64 10 0..2",
            Err("float64 is uniform from 0 to 1: leave out low and high, or choose an integer dtype"),
        );
    }

    #[test]
    fn a_message_has_at_most_16_mib() {
        // Two digits and a comma for each element, and the brackets.
        let fits = (ArraySpec::JSON_BYTES_MAX - 2) / 3;
        check_spec(&format!("int64 {fits}"), Ok(()));
        check_spec(
            &format!("int64 {}", fits + 1),
            Err("shape=5592405 with pack=1 may need 16777217 bytes of JSON as int64; a message has at most 16777216"),
        );
        check_spec(
            "int64 2000x2000 pack=2",
            Err("shape=2000x2000 with pack=2 may need 24008006 bytes of JSON as int64; a message has at most 16777216"),
        );
        check_spec(
            "int8 18446744073709551615x9",
            Err(
                "shape=18446744073709551615x9 with pack=1 may need uncountable bytes of JSON as int8; \
                 a message has at most 16777216",
            ),
        );
    }

    #[test]
    fn no_message_is_larger_than_foreseen() {
        for dtype in Dtype::ALL {
            for shape in ["1", "7", "3x4", "200x1x1x1x1x1x1x1"] {
                let spec = spec(&format!("{dtype} {shape}{} pack=3", whole(dtype))).unwrap();
                let bytes_max = spec.json_bytes_max().unwrap();
                for seed in 0..50 {
                    assert!(json(&spec, seed, 0).len() as u64 <= bytes_max, "{dtype} {shape}");
                }
            }
        }
    }

    #[track_caller]
    fn check_shape_text(text: &str, expect: Result<&[usize], &str>) {
        let found = text.parse::<Shape>().map_err(|error| error.to_string());
        assert_eq!(
            found.as_ref().map(Shape::axes).map_err(String::as_str),
            expect,
            "{text:?}"
        );
    }

    #[test]
    fn shapes_are_read_in_both_ways_of_writing() {
        check_shape_text("10", Ok(&[10]));
        check_shape_text("2x3", Ok(&[2, 3]));
        check_shape_text("2,3", Ok(&[2, 3]));
        check_shape_text("2, 3", Ok(&[2, 3]));
        check_shape_text("1x2x3x4x5x6x7x8", Ok(&[1, 2, 3, 4, 5, 6, 7, 8]));
        check_shape_text("1x1x1x1x1x1x1x1x1", Err("a shape has at most 8 lengths, this one 9"));
        check_shape_text("0", Err("shape \"0\" holds nothing: each length is at least 1"));
        check_shape_text(
            "2x",
            Err("shape \"2x\" is not made of lengths such as 10 or 2x3: \"\" is not a whole number"),
        );
        check_shape_text(
            "-1",
            Err("shape \"-1\" is not made of lengths such as 10 or 2x3: \"-1\" is not a whole number"),
        );
        assert_eq!("2,3".parse::<Shape>().unwrap().to_string(), "2x3");
    }

    #[test]
    fn dtypes_read_back_and_stand_in_the_error() {
        let listed = "int".parse::<Dtype>().unwrap_err().to_string();
        assert!(listed.starts_with("unknown dtype \"int\"; dtypes: int8, "), "{listed}");
        for dtype in Dtype::ALL {
            assert_eq!(dtype.to_string().parse(), Ok(dtype));
            assert!(listed.contains(dtype.as_str()), "{dtype}");
        }
    }

    #[track_caller]
    fn check_first(text: &str, expect: &str) {
        assert_eq!(json(&spec(text).unwrap(), 1, 0), expect, "{text}");
    }

    #[test]
    fn the_values_of_a_seed_never_change() {
        check_first("int64 10", "[64,75,40,47,65,5,51,17,92,3]");
        check_first("int8 2x2 -128..128 pack=2", "[[[37,64],[-25,-7]],[[38,-115],[3,-84]]]");
        check_first(
            "uint64 2 0..18446744073709551616",
            "[13901993650194184182,8721386040675597087]",
        );
        check_first("int64 2 -1099511627776..1099511627776", "[557735158603,-59841393969]");
        check_first("float32 2", "[0.64672035,0.75362855]");
        check_first("float64 2", "[0.753628585871011,0.47278728461926167]");
    }

    #[test]
    fn seed_and_stream_both_matter() {
        let spec = ArraySpec::default();
        assert_eq!(json(&spec, 7, 1), json(&spec, 7, 1));
        assert_ne!(json(&spec, 7, 1), json(&spec, 7, 2));
        assert_ne!(json(&spec, 7, 1), json(&spec, 8, 1));
    }

    #[test]
    fn a_package_is_a_list_of_arrays() {
        for (pack, shape) in [(1, vec![2, 3]), (5, vec![5, 2, 3])] {
            let message = json(&spec(&format!("int32 2x3 pack={pack}")).unwrap(), 1, 0);
            check_shape(&serde_json::from_str(&message).unwrap(), &shape);
        }
    }

    #[test]
    fn both_ends_are_drawn_and_high_never() {
        for dtype in Dtype::ALL.into_iter().filter(|dtype| dtype.bounds().is_some()) {
            let (min, max) = dtype.bounds().unwrap();
            for (low, high) in [(3, 9), (min, min + 6), (max - 5, max + 1), (0, 1)] {
                let message = json(&spec(&format!("{dtype} 1000 {low}..{high}")).unwrap(), 1, 0);
                let numbers = numbers(&serde_json::from_str(&message).unwrap());
                let drawn: Vec<i128> = numbers
                    .iter()
                    .map(|number| number.to_string().parse().unwrap())
                    .collect();
                assert_eq!(
                    (drawn.iter().min(), drawn.iter().max()),
                    (Some(&low), Some(&(high - 1))),
                    "{dtype}"
                );
            }
        }
    }

    #[test]
    fn a_type_is_drawn_from_end_to_end() {
        for dtype in Dtype::ALL {
            let message = json(&spec(&format!("{dtype} 20000{}", whole(dtype))).unwrap(), 1, 0);
            let (low, high) = dtype
                .bounds()
                .map_or((0.0, 1.0), |(min, max)| (min as f64, max as f64 + 1.0));
            let mut tenths = [0_u32; 10];
            for number in numbers(&serde_json::from_str(&message).unwrap()) {
                let share = (number.as_f64().unwrap() - low) / (high - low);
                tenths[((share * 10.0) as usize).min(9)] += 1;
            }
            // Of 256 values, tenths hold 25 or 26: allow for that beside chance.
            assert!(
                tenths.iter().all(|count| (1_800..2_200).contains(count)),
                "{dtype}: {tenths:?}"
            );
        }
    }

    /// The sum of squared deviations in units of what chance explains: about `span`, whatever the number of draws.
    fn chi_squared(low: i128, span: usize, dtype: Dtype) -> f64 {
        let spec = spec(&format!("{dtype} 100000 {low}..{}", low + span as i128)).unwrap();
        let mut counts = vec![0_u32; span];
        for number in numbers(&serde_json::from_str(&json(&spec, 1, 0)).unwrap()) {
            counts[usize::try_from(i128::from(number.as_i64().unwrap()) - low).unwrap()] += 1;
        }
        let expected = 100_000.0 / span as f64;
        counts
            .iter()
            .map(|&count| (f64::from(count) - expected).powi(2) / expected)
            .sum()
    }

    #[test]
    fn every_value_is_equally_likely() {
        for (low, span, dtype) in [(0, 10, Dtype::Int64), (-50, 100, Dtype::Int8), (0, 256, Dtype::Uint8)] {
            let (degrees, found) = (span as f64 - 1.0, chi_squared(low, span, dtype));
            let allowed = 5.0 * (2.0 * degrees).sqrt();
            assert!(
                (degrees - allowed..degrees + allowed).contains(&found),
                "{found} for {span} values"
            );
        }
    }

    #[test]
    fn a_span_that_does_not_divide_a_word_is_not_skewed() {
        // 3 * 2^30 values: without drawing again, the first third would come up half of the time.
        for (span, dtype) in [(3_i128 << 30, Dtype::Uint32), (3 << 62, Dtype::Uint64)] {
            let spec = spec(&format!("{dtype} 60000 0..{span}")).unwrap();
            let numbers = numbers(&serde_json::from_str(&json(&spec, 1, 0)).unwrap());
            let first = numbers
                .iter()
                .filter(|number| i128::from(number.as_u64().unwrap()) < span / 3)
                .count();
            assert!((19_400..20_600).contains(&first), "{dtype}: {first}");
        }
    }

    proptest! {
        #[test]
        fn a_message_has_its_shape_and_keeps_its_bounds(
            axes in proptest::collection::vec(1_usize..4, 1..=8),
            dtype in proptest::sample::select(Dtype::ALL.to_vec()),
            ends: (i64, i64),
            pack in 1_u32..4,
            seed: u64,
        ) {
            let range = dtype.bounds().map(|(min, max)| {
                let (low, high) = (i128::from(ends.0.min(ends.1)), i128::from(ends.0.max(ends.1)));
                let low = low.clamp(min, max);
                (low, high.clamp(low + 1, max + 1))
            });
            let spec = ArraySpec::new(Shape(axes.clone()), dtype, range.map(|r| r.0), range.map(|r| r.1), pack).unwrap();
            let message: Value = serde_json::from_str(&json(&spec, seed, 0)).unwrap();
            let shape: Vec<usize> = (pack > 1).then_some(pack as usize).into_iter().chain(axes).collect();
            check_shape(&message, &shape);
            for number in numbers(&message) {
                match range {
                    Some((low, high)) => prop_assert!((low..high).contains(&number.to_string().parse().unwrap())),
                    None => prop_assert!((0.0..1.0).contains(&number.as_f64().unwrap())),
                }
            }
        }

        #[test]
        fn floats_are_written_so_that_they_read_back(seed: u64) {
            for dtype in [Dtype::Float32, Dtype::Float64] {
                let spec = spec(&format!("{dtype} 10")).unwrap();
                let text = json(&spec, seed, 0);
                // Not through serde_json, which reads the last digit of a float only roughly.
                let texts = text.trim_matches(['[', ']']).split(',');
                match Arrays::new(&spec, seed, 0).next_values() {
                    Values::Float32(drawn) => {
                        prop_assert_eq!(&texts.map(|text| text.parse().unwrap()).collect::<Vec<f32>>(), drawn);
                    }
                    Values::Float64(drawn) => {
                        prop_assert_eq!(&texts.map(|text| text.parse().unwrap()).collect::<Vec<f64>>(), drawn);
                    }
                    other => panic!("{other:?}"),
                }
            }
        }
    }
}
