//! Nested JSON lists of numbers, made raw little-endian elements, and back.

use crate::dtype::Dtype;

/// The lengths of an array along its axes, outermost first: 1 to 32 of them, none of them 0.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Axes {
    lengths: [u32; Self::MAX],
    rank: usize,
}

impl Axes {
    /// The most axes: what every version of NumPy reads.
    pub const MAX: usize = 32;

    /// These lengths; none when there are too few, too many, or one is 0.
    #[must_use]
    pub fn new(lengths: impl ExactSizeIterator<Item = u32>) -> Option<Self> {
        let mut axes = Self::of_rank(lengths.len())?;
        for (axis, length) in axes.lengths.iter_mut().zip(lengths) {
            *axis = length;
        }
        axes.lengths().iter().all(|length| *length > 0).then_some(axes)
    }

    /// The lengths, outermost first.
    #[must_use]
    pub fn lengths(&self) -> &[u32] {
        &self.lengths[..self.rank]
    }

    /// How many elements there are; none when that is beyond counting.
    #[must_use]
    pub fn elements(&self) -> Option<usize> {
        self.product(self.rank)
    }

    /// How many lists there are, the outermost included; none when that is beyond counting.
    #[must_use]
    pub fn lists(&self) -> Option<usize> {
        (0..self.rank).try_fold(0_usize, |lists, depth| lists.checked_add(self.product(depth)?))
    }

    fn of_rank(rank: usize) -> Option<Self> {
        let lengths = [0; Self::MAX];
        (1..=Self::MAX).contains(&rank).then_some(Self { lengths, rank })
    }

    fn product(&self, axes: usize) -> Option<usize> {
        let mut lengths = self.lengths[..axes].iter();
        lengths.try_fold(1_usize, |product, &length| product.checked_mul(length as usize))
    }
}

/// How many lists open at the beginning of a text: the rank of the array that it may be.
#[must_use]
pub fn rank(text: &[u8]) -> usize {
    text.iter()
        .take(Axes::MAX + 1)
        .take_while(|byte| **byte == b'[')
        .count()
}

/// Appends the elements of compact nested lists to `out`, at most so many bytes; none when they are no array of `dtype`. What was
/// appended then is of no use.
///
/// Every list of a depth must have the same length, which is not 0. An integer is written in digits alone, and lies in the
/// range of its type; a number is the nearest float of its type, and no infinite one.
#[must_use]
pub fn read_lists(text: &[u8], dtype: Dtype, bytes_max: usize, out: &mut Vec<u8>) -> Option<Axes> {
    match dtype {
        Dtype::Int8 => read::<i8>(text, bytes_max, out),
        Dtype::Int16 => read::<i16>(text, bytes_max, out),
        Dtype::Int32 => read::<i32>(text, bytes_max, out),
        Dtype::Int64 => read::<i64>(text, bytes_max, out),
        Dtype::Uint8 => read::<u8>(text, bytes_max, out),
        Dtype::Uint16 => read::<u16>(text, bytes_max, out),
        Dtype::Uint32 => read::<u32>(text, bytes_max, out),
        Dtype::Uint64 => read::<u64>(text, bytes_max, out),
        Dtype::Float32 => read::<f32>(text, bytes_max, out),
        Dtype::Float64 => read::<f64>(text, bytes_max, out),
    }
}

/// Appends elements as compact nested lists, floats in their shortest form. There must be as many as the axes say.
pub fn write_lists(axes: &Axes, dtype: Dtype, elements: &[u8], out: &mut Vec<u8>) {
    let axes = axes.lengths();
    match dtype {
        Dtype::Int8 => write::<i8>(axes, elements, out),
        Dtype::Int16 => write::<i16>(axes, elements, out),
        Dtype::Int32 => write::<i32>(axes, elements, out),
        Dtype::Int64 => write::<i64>(axes, elements, out),
        Dtype::Uint8 => write::<u8>(axes, elements, out),
        Dtype::Uint16 => write::<u16>(axes, elements, out),
        Dtype::Uint32 => write::<u32>(axes, elements, out),
        Dtype::Uint64 => write::<u64>(axes, elements, out),
        Dtype::Float32 => write::<f32>(axes, elements, out),
        Dtype::Float64 => write::<f64>(axes, elements, out),
    }
}

fn read<T: Element>(text: &[u8], bytes_max: usize, out: &mut Vec<u8>) -> Option<Axes> {
    let mut axes = Axes::of_rank(rank(text))?;
    let (innermost, limit) = (axes.rank - 1, out.len() + bytes_max);
    // Of the lists that are open, how many entries they have.
    let mut counts = [0_u32; Axes::MAX];
    let mut rest = &text[axes.rank..];
    loop {
        let (element, behind) = T::read(rest)?;
        element.put(out);
        if out.len() > limit {
            return None;
        }
        counts[innermost] += 1;
        let (mut end, mut behind) = behind.split_first()?;
        let mut depth = innermost;
        while *end == b']' {
            let length = &mut axes.lengths[depth];
            if *length != 0 && *length != counts[depth] {
                return None;
            }
            *length = counts[depth];
            counts[depth] = 0;
            if depth == 0 {
                return behind.is_empty().then_some(axes);
            }
            depth -= 1;
            counts[depth] += 1;
            (end, behind) = behind.split_first()?;
        }
        if *end != b',' {
            return None;
        }
        let opening = innermost - depth;
        rest = behind.get(opening..)?;
        if behind[..opening].iter().any(|byte| *byte != b'[') {
            return None;
        }
    }
}

fn write<T: Element>(axes: &[u32], elements: &[u8], out: &mut Vec<u8>) {
    let (entry_bytes, inner) = match axes {
        [] => return,
        [_] => (size_of::<T>(), &axes[..0]),
        [outer, inner @ ..] => (elements.len() / *outer as usize, inner),
    };
    out.push(b'[');
    for (place, entry) in elements.chunks_exact(entry_bytes.max(1)).enumerate() {
        if place > 0 {
            out.push(b',');
        }
        match inner {
            [] => T::take(entry).write(out),
            _ => write::<T>(inner, entry, out),
        }
    }
    out.push(b']');
}

/// A number that stands in an array.
trait Element: Copy {
    /// The number that a text begins with, and what stands behind it.
    fn read(text: &[u8]) -> Option<(Self, &[u8])>;

    /// Appends it as JSON.
    fn write(self, out: &mut Vec<u8>);

    /// Appends it little-endian.
    fn put(self, out: &mut Vec<u8>);

    /// Takes it back from as many bytes as it has.
    fn take(bytes: &[u8]) -> Self;
}

macro_rules! elements {
    ($read:ident, $write:ident: $($number:ty),*) => {$(
        impl Element for $number {
            #[inline]
            fn read(text: &[u8]) -> Option<(Self, &[u8])> {
                $read(text)
            }

            #[inline]
            fn write(self, out: &mut Vec<u8>) {
                $write(self, out);
            }

            #[inline]
            fn put(self, out: &mut Vec<u8>) {
                out.extend_from_slice(&self.to_le_bytes());
            }

            #[inline]
            fn take(bytes: &[u8]) -> Self {
                Self::from_le_bytes(bytes.try_into().expect("chunks have the size of an element"))
            }
        }
    )*};
}

elements!(read_signed, write_integer: i8, i16, i32, i64);
elements!(read_unsigned, write_integer: u8, u16, u32, u64);
elements!(read_float, write_float: f32, f64);

#[inline]
fn read_signed<T: TryFrom<i64>>(text: &[u8]) -> Option<(T, &[u8])> {
    let (integer, rest) = match text.split_first()? {
        (b'-', digits) => match read_digits(digits)? {
            // There is no such integer: -0.0 is meant, or nothing good.
            (0, _) => return None,
            (size, rest) => (0_i64.checked_sub_unsigned(size)?, rest),
        },
        _ => {
            let (size, rest) = read_digits(text)?;
            (i64::try_from(size).ok()?, rest)
        }
    };
    Some((T::try_from(integer).ok()?, rest))
}

#[inline]
fn read_unsigned<T: TryFrom<u64>>(text: &[u8]) -> Option<(T, &[u8])> {
    let (integer, rest) = read_digits(text)?;
    Some((T::try_from(integer).ok()?, rest))
}

/// A whole number in digits, without a zero in front.
#[inline]
fn read_digits(text: &[u8]) -> Option<(u64, &[u8])> {
    let mut number = 0_u64;
    let mut count = 0;
    while let Some(digit) = text
        .get(count)
        .map(|byte| byte.wrapping_sub(b'0'))
        .filter(|digit| *digit < 10)
    {
        number = match count {
            // So many digits always fit.
            ..19 => number * 10 + u64::from(digit),
            _ => number.checked_mul(10)?.checked_add(u64::from(digit))?,
        };
        count += 1;
    }
    let plain = count == 1 || (count > 1 && text[0] != b'0');
    plain.then(|| (number, &text[count..]))
}

#[inline]
fn read_float<T: Float>(text: &[u8]) -> Option<(T, &[u8])> {
    let is_part = |byte: &u8| matches!(byte, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E');
    let end = text.iter().position(|byte| !is_part(byte))?;
    // Rust reads more than JSON allows: a sign or a point in front.
    let (b'0'..=b'9' | b'-') = text.first()? else {
        return None;
    };
    let number: T = std::str::from_utf8(&text[..end]).ok()?.parse().ok()?;
    number.is_finite().then(|| (number, &text[end..]))
}

/// What the two kinds of floats share.
trait Float: std::str::FromStr {
    fn is_finite(&self) -> bool;
}

impl Float for f32 {
    #[inline]
    fn is_finite(&self) -> bool {
        Self::is_finite(*self)
    }
}

impl Float for f64 {
    #[inline]
    fn is_finite(&self) -> bool {
        Self::is_finite(*self)
    }
}

#[inline]
fn write_integer(integer: impl itoa::Integer, out: &mut Vec<u8>) {
    out.extend_from_slice(itoa::Buffer::new().format(integer).as_bytes());
}

/// An infinite one, which no server of ours sends, becomes `null`.
#[inline]
fn write_float(float: impl serde::Serialize, out: &mut Vec<u8>) {
    serde_json::to_writer(out, &float).expect("a vector takes every byte");
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(text: &str, dtype: Dtype, lengths: Option<&[u32]>) {
        let mut elements = b"before".to_vec();
        let axes = read_lists(text.as_bytes(), dtype, 1 << 20, &mut elements);
        assert_eq!(axes.as_ref().map(Axes::lengths), lengths, "{text} as {dtype}");
        let Some(axes) = axes else { return };
        assert_eq!(
            axes.elements().map(|count| count * dtype.bytes()),
            Some(elements.len() - 6)
        );
        let mut back = Vec::new();
        write_lists(&axes, dtype, &elements[6..], &mut back);
        assert_eq!(String::from_utf8_lossy(&back), text);
    }

    #[test]
    fn lists_of_one_shape_are_arrays() {
        check("[1]", Dtype::Int8, Some(&[1]));
        check("[1,2,3]", Dtype::Uint16, Some(&[3]));
        check("[[1,2,3],[4,5,6]]", Dtype::Int32, Some(&[2, 3]));
        check("[[[1],[2]]]", Dtype::Int64, Some(&[1, 2, 1]));
        check("[[0.5,-1.0],[1e+20,0.1]]", Dtype::Float64, Some(&[2, 2]));
        let deep = |depth: usize| format!("{}7{}", "[".repeat(depth), "]".repeat(depth));
        check(&deep(32), Dtype::Int8, Some(&[1; 32]));
        check(&deep(33), Dtype::Int8, None);
    }

    #[test]
    fn what_has_no_shape_is_no_array() {
        for text in [
            "",
            "1",
            "[",
            "[]",
            "[[]]",
            "[[],[]]",
            "[1",
            "[1,",
            "[1,]",
            "[1]]",
            "[1]x",
            "[,1]",
            "[1,[2]]",
            "[[1],2]",
            "[[1,2],[3]]",
            "[[1],[2,3]]",
            "[[[1]],[[2],[3]]]",
            "[[1][2]]",
            "[1 ,2]",
            "[null]",
            "[true]",
            "[\"1\"]",
            "{\"a\":1}",
            "[{}]",
            "\"[1]\"",
        ] {
            Dtype::ALL.into_iter().for_each(|dtype| check(text, dtype, None));
        }
    }

    #[test]
    fn integers_are_those_of_their_type_in_digits() {
        for dtype in Dtype::ALL {
            let Some((min, max)) = dtype.bounds() else { continue };
            check(&format!("[{min},{max},0]"), dtype, Some(&[3]));
            check(&format!("[{}]", min - 1), dtype, None);
            check(&format!("[{}]", max + 1), dtype, None);
            for wrong in [
                "1.0",
                "1e0",
                "-0",
                "01",
                "-",
                "-01",
                "+1",
                "00",
                "99999999999999999999999",
                "0x1",
            ] {
                check(&format!("[{wrong}]"), dtype, None);
                check(&format!("[1,{wrong},2]"), dtype, None);
            }
        }
    }

    #[test]
    fn floats_are_the_nearest_and_finite() {
        let read = |text: &str, dtype| {
            let mut out = Vec::new();
            read_lists(text.as_bytes(), dtype, 8, &mut out).map(|_| out)
        };
        for (text, single, double) in [
            ("[1]", Some(1.0_f32), Some(1.0_f64)),
            ("[-0]", Some(-0.0), Some(-0.0)),
            ("[1E2]", Some(100.0), Some(100.0)),
            ("[0.1000000000000000055511151231257827]", Some(0.1), Some(0.1)),
            ("[3.4028235e38]", Some(f32::MAX), Some(3.402_823_5e38)),
            ("[1e39]", None, Some(1e39)),
            ("[1e400]", None, None),
            ("[1e-400]", Some(0.0), Some(0.0)),
            ("[.5]", None, None),
            ("[+1]", None, None),
            ("[1-1]", None, None),
            ("[inf]", None, None),
            ("[NaN]", None, None),
        ] {
            assert_eq!(
                read(text, Dtype::Float32),
                single.map(|float| float.to_le_bytes().to_vec()),
                "{text}"
            );
            assert_eq!(
                read(text, Dtype::Float64),
                double.map(|float| float.to_le_bytes().to_vec()),
                "{text}"
            );
        }
    }

    #[test]
    fn elements_are_bounded_at_the_limit() {
        let read = |bytes_max| read_lists(b"[[1,2],[3,4]]", Dtype::Int16, bytes_max, &mut b"before".to_vec());
        assert!(read(8).is_some());
        assert!(read(7).is_none());
    }

    #[test]
    fn axes_are_counted_without_overflow() {
        let axes = |lengths: &[u32]| Axes::new(lengths.iter().copied());
        assert_eq!(axes(&[]), None);
        assert_eq!(axes(&[2, 0]), None);
        assert_eq!(axes(&[1; 33]), None);
        let small = axes(&[2, 3, 4]).expect("an array");
        assert_eq!((small.elements(), small.lists()), (Some(24), Some(1 + 2 + 6)));
        let large = axes(&[u32::MAX; 3]).expect("an array");
        assert_eq!(
            (large.elements(), large.lists()),
            (None, Some(1 + 0xffff_ffff + 0xffff_ffff * 0xffff_ffff))
        );
    }

    fn nested(axes: &[u32], bits: &mut impl FnMut() -> u64, dtype: Dtype) -> String {
        match axes {
            [] => {
                let bits = bits();
                match dtype {
                    Dtype::Int8 => (bits as i8).to_string(),
                    Dtype::Int16 => (bits as i16).to_string(),
                    Dtype::Int32 => (bits as i32).to_string(),
                    Dtype::Int64 => (bits as i64).to_string(),
                    Dtype::Uint8 => (bits as u8).to_string(),
                    Dtype::Uint16 => (bits as u16).to_string(),
                    Dtype::Uint32 => (bits as u32).to_string(),
                    Dtype::Uint64 => bits.to_string(),
                    Dtype::Float32 => serde_json::to_string(&finite32(bits)).expect("a number"),
                    Dtype::Float64 => serde_json::to_string(&finite64(bits)).expect("a number"),
                }
            }
            [outer, inner @ ..] => {
                let entries: Vec<String> = (0..*outer).map(|_| nested(inner, bits, dtype)).collect();
                format!("[{}]", entries.join(","))
            }
        }
    }

    fn finite32(bits: u64) -> f32 {
        Some(f32::from_bits(bits as u32))
            .filter(|float| float.is_finite())
            .unwrap_or(0.5)
    }

    fn finite64(bits: u64) -> f64 {
        Some(f64::from_bits(bits))
            .filter(|float| float.is_finite())
            .unwrap_or(0.5)
    }

    proptest! {
        #[test]
        fn every_array_comes_back_byte_for_byte(
            axes in proptest::collection::vec(1_u32..4, 1..=6),
            dtype in proptest::sample::select(Dtype::ALL.to_vec()),
            seed: u64,
        ) {
            let mut state = seed;
            let mut bits = || {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                state ^ state >> 29
            };
            check(&nested(&axes, &mut bits, dtype), dtype, Some(&axes));
        }

        #[test]
        fn whatever_is_read_is_what_another_parser_reads(text in "[\\[\\],0-2.e-]{0,12}") {
            let mut out = Vec::new();
            if let Some(axes) = read_lists(text.as_bytes(), Dtype::Float64, 1 << 10, &mut out) {
                let mut back = Vec::new();
                write_lists(&axes, Dtype::Float64, &out, &mut back);
                // Both may be lenient about the form of a number, but not about that of the lists.
                let numbers = |text: &str| text.matches(|c: char| "[],".contains(c)).collect::<String>();
                prop_assert_eq!(numbers(&text), numbers(&String::from_utf8(back).expect("JSON")));
            }
        }

        #[test]
        fn integers_are_read_as_another_parser_does(text in "\\[-?[0-9]{1,21}(,-?[0-9]{1,3}){0,3}\\]") {
            let theirs: Option<Vec<i64>> = serde_json::from_str(&text).ok();
            let mut ours = Vec::new();
            let read = read_lists(text.as_bytes(), Dtype::Int64, 1 << 10, &mut ours);
            // It reads -0 as a float or as 0.
            if !text.split(['[', ',', ']']).any(|token| token == "-0") {
                let theirs = theirs.map(|numbers| numbers.iter().flat_map(|number| number.to_le_bytes()).collect::<Vec<u8>>());
                prop_assert_eq!(read.map(|_| ours), theirs);
            }
        }
    }
}
