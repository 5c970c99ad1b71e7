//! What the values of one column have in common, and where the first is that differs.

use lapwing_wire::dtype::Dtype;

use super::at::At;
use super::element::Element;
use super::leaf::{Leaf, Text};
use super::list::{Form, Measure, Token, tokens};

/// What the values of one column have in common.
#[derive(Clone, Debug, Default)]
pub struct Profile {
    /// The first number, in a list or by itself.
    pub number: Option<At>,
    /// The first `true` or `false`, likewise.
    pub bool: Option<At>,
    /// The first text.
    pub text: Option<At>,
    /// The first bytes.
    pub bytes: Option<At>,
    /// The first value that is only JSON: an object, or a list with text, objects or null in it.
    pub json: Option<At>,
    /// The first null.
    pub null: Option<At>,
    /// The first message without the field.
    pub absent: Option<At>,
    /// The shape of the first value that has one.
    pub shape: Option<(At, Vec<u64>)>,
    /// The first other shape.
    pub other_shape: Option<(At, Vec<u64>)>,
    /// The first list that has no shape.
    pub ragged: Option<At>,
    /// Numbers.
    pub numbers: Numbers,
    /// Texts.
    pub texts: Texts,
    /// Whether all lists with something in them are of one depth, which is it; 0 for none.
    depth: Option<usize>,
    is_of_several_depths: bool,
    empty_depth: usize,
}

/// What numbers have in common.
#[derive(Clone, Debug, Default)]
pub struct Numbers {
    min: i64,
    max: u64,
    /// The first below 0, and the first above what a signed type holds.
    negative: Option<At>,
    above_signed: Option<At>,
    /// The first with a fraction or an exponent.
    fraction: Option<At>,
    /// The first whole one beyond 64 bits.
    beyond: Option<At>,
    /// The first whole one that floating point rounds.
    rounded: Option<At>,
    /// The first that is beyond floating point.
    infinite: Option<At>,
}

/// What texts have in common.
#[derive(Clone, Debug, Default)]
pub struct Texts {
    /// The most characters that one has, and where.
    pub longest: Option<(u64, At)>,
    /// The first that is no text: half a pair of surrogates.
    pub unspeakable: Option<At>,
    /// The first that ends in a zero, which an array of fixed width cannot tell from none.
    pub ends_in_zero: Option<At>,
}

/// Why no type of numbers takes all of them as they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoType {
    /// Which number is in the way.
    pub what: &'static str,
    /// Where.
    pub at: At,
}

impl Profile {
    /// Takes a value.
    pub fn take(&mut self, leaf: &Leaf<'_>, at: At) {
        match leaf {
            Leaf::Null => first(&mut self.null, at),
            Leaf::Bool(_) => {
                first(&mut self.bool, at);
                self.of_shape(Vec::new(), at);
                self.of_depth(0);
            }
            Leaf::Number(token) => {
                first(&mut self.number, at);
                self.numbers.take(token, at);
                self.of_shape(Vec::new(), at);
                self.of_depth(0);
            }
            Leaf::Text(text) => {
                first(&mut self.text, at);
                self.texts.take(*text, at);
            }
            Leaf::List(list) => self.list(list, at),
            Leaf::Json(_) => first(&mut self.json, at),
            Leaf::Bytes(_) => first(&mut self.bytes, at),
        }
    }

    /// Notes a message without the field.
    pub fn misses(&mut self, at: At) {
        first(&mut self.absent, at);
    }

    /// The type that holds all numbers as they are; of none at all, as NumPy has it, the widest of floating point.
    pub fn element(&self) -> Result<Element, NoType> {
        match (self.bool, self.number) {
            (Some(_), None) => Ok(Element::Bool),
            (None, None) => Ok(Element::Number(Dtype::Float64)),
            _ => self.numbers.dtype().map(Element::Number),
        }
    }

    /// Which kinds of values there are, each with the first of it.
    #[must_use]
    pub fn kinds(&self) -> Vec<(&'static str, At)> {
        let kinds = [
            ("numbers", self.number),
            ("booleans", self.bool),
            ("text", self.text),
            ("bytes", self.bytes),
            ("objects or lists of them", self.json),
        ];
        kinds.into_iter().filter_map(|(word, at)| Some((word, at?))).collect()
    }

    /// How deep all lists are; none when they differ. Empty ones are as deep as it takes.
    #[must_use]
    pub fn depth(&self) -> Option<usize> {
        let depth = self.depth.unwrap_or(self.empty_depth);
        (!self.is_of_several_depths && self.empty_depth <= depth).then_some(depth)
    }

    fn list(&mut self, list: &str, at: At) {
        let Some(tokens) = tokens(list) else {
            return first(&mut self.json, at);
        };
        let mut measure = Measure::default();
        let mut is_empty = true;
        for token in tokens {
            measure.take(token);
            let Token::Scalar(scalar) = token else { continue };
            is_empty = false;
            match scalar {
                "true" | "false" => first(&mut self.bool, at),
                "null" => first(&mut self.json, at),
                number => {
                    first(&mut self.number, at);
                    self.numbers.take(number, at);
                }
            }
        }
        let depth = match measure.finish() {
            Form::Rectangular(shape) => {
                let depth = shape.len();
                self.of_shape(shape, at);
                depth
            }
            Form::Ragged { depth } => {
                first(&mut self.ragged, at);
                depth
            }
            Form::Irregular => {
                first(&mut self.ragged, at);
                self.is_of_several_depths = true;
                return;
            }
        };
        match is_empty {
            true => self.empty_depth = self.empty_depth.max(depth),
            false => self.of_depth(depth),
        }
    }

    fn of_shape(&mut self, shape: Vec<u64>, at: At) {
        match &self.shape {
            None => self.shape = Some((at, shape)),
            Some((_, known)) if *known != shape && self.other_shape.is_none() => self.other_shape = Some((at, shape)),
            Some(_) => {}
        }
    }

    fn of_depth(&mut self, depth: usize) {
        self.is_of_several_depths |= *self.depth.get_or_insert(depth) != depth;
    }
}

impl Numbers {
    fn take(&mut self, token: &str, at: At) {
        if token.bytes().any(|byte| matches!(byte, b'.' | b'e' | b'E')) {
            first(&mut self.fraction, at);
            self.finite(token, at);
        } else if let Ok(number) = token.parse::<i64>() {
            match u64::try_from(number) {
                Ok(number) => self.max = self.max.max(number),
                Err(_) => first(&mut self.negative, at),
            }
            self.min = self.min.min(number);
            if number.unsigned_abs() > EXACT_MAX {
                self.round(token, at);
            }
        } else if let Ok(number) = token.parse::<u64>() {
            self.max = self.max.max(number);
            first(&mut self.above_signed, at);
            self.round(token, at);
        } else {
            first(&mut self.beyond, at);
            first(&mut self.rounded, at);
            self.finite(token, at);
        }
    }

    fn finite(&mut self, token: &str, at: At) {
        if !token.parse::<f64>().is_ok_and(f64::is_finite) {
            first(&mut self.infinite, at);
        }
    }

    fn round(&mut self, token: &str, at: At) {
        let same = |number: i128| number as f64 as i128 == number;
        if !token.parse().is_ok_and(same) {
            first(&mut self.rounded, at);
        }
    }

    fn dtype(&self) -> Result<Dtype, NoType> {
        let no = |what, at| Err(NoType { what, at });
        match (self.fraction, self.infinite, self.rounded, self.beyond) {
            (_, Some(at), _, _) => no("a number beyond float64", at),
            (Some(_), _, Some(at), _) => no("a whole number that float64 would round, beside fractions", at),
            (Some(_), ..) => Ok(Dtype::Float64),
            (None, _, _, Some(at)) => no("a whole number of more than 64 bits", at),
            (None, ..) => match (self.negative, self.above_signed) {
                (Some(_), Some(at)) => no("a whole number beyond int64, beside some below 0", at),
                (None, Some(_)) => Ok(Dtype::Uint64),
                _ => Ok(Dtype::Int64),
            },
        }
    }
}

impl Texts {
    fn take(&mut self, text: Text<'_>, at: At) {
        let Some(said) = text.said() else {
            return first(&mut self.unspeakable, at);
        };
        let chars = said.chars().count() as u64;
        if self.longest.is_none_or(|(most, _)| chars > most) {
            self.longest = Some((chars, at));
        }
        if said.ends_with('\0') {
            first(&mut self.ends_in_zero, at);
        }
    }
}

fn first(known: &mut Option<At>, at: At) {
    known.get_or_insert(at);
}

/// Up to here floating point of 64 bits holds every whole number.
const EXACT_MAX: u64 = 1 << 53;

#[cfg(test)]
mod tests {
    use super::*;

    fn of(values: &[&str]) -> Profile {
        let mut profile = Profile::default();
        for (at, value) in values.iter().enumerate() {
            let leaf = match value.as_bytes()[0] {
                b'[' => Leaf::List(value),
                b'"' => Leaf::Text(Text::Quoted(value)),
                b't' | b'f' => Leaf::Bool(value.starts_with('t')),
                b'n' => Leaf::Null,
                b'{' => Leaf::Json(value),
                _ => Leaf::Number(value),
            };
            profile.take(&leaf, At::Offset(at as u64));
        }
        profile
    }

    #[track_caller]
    fn check(values: &[&str], expect: Result<Element, u64>) {
        let told = of(values).element().map_err(|no| no.at);
        assert_eq!(told, expect.map_err(At::Offset), "{values:?}");
    }

    #[test]
    fn the_numbers_decide_their_type() {
        check(&["1", "-2"], Ok(Element::Number(Dtype::Int64)));
        check(&["9223372036854775807"], Ok(Element::Number(Dtype::Int64)));
        check(&["-9223372036854775808"], Ok(Element::Number(Dtype::Int64)));
        check(&["0", "9223372036854775808"], Ok(Element::Number(Dtype::Uint64)));
        check(&["18446744073709551615"], Ok(Element::Number(Dtype::Uint64)));
        check(&["0", "18446744073709551616"], Err(1));
        check(&["-1", "0", "9223372036854775808"], Err(2));
        check(&["1", "2.5"], Ok(Element::Number(Dtype::Float64)));
        check(&["1e3"], Ok(Element::Number(Dtype::Float64)));
        check(&["0.5", "9007199254740992"], Ok(Element::Number(Dtype::Float64)));
        check(&["0.5", "9007199254740993"], Err(1));
        check(&["0.5", "9007199254740994"], Ok(Element::Number(Dtype::Float64)));
        check(&["0.5", "18446744073709551616"], Err(1));
        check(&["0", "1e309"], Err(1));
        check(&["true", "false"], Ok(Element::Bool));
        check(&["[true]"], Ok(Element::Bool));
        check(&["[[1,2],[3,4.5]]"], Ok(Element::Number(Dtype::Float64)));
        check(&["[]"], Ok(Element::Number(Dtype::Float64)));
    }

    #[test]
    fn the_first_that_differs_is_known() {
        let profile = of(&["[1,2]", "[3,4]", "[5]", "[[6]]", "[7,[8]]"]);
        assert_eq!(profile.shape, Some((At::Offset(0), vec![2])));
        assert_eq!(profile.other_shape, Some((At::Offset(2), vec![1])));
        assert_eq!(profile.ragged, Some(At::Offset(4)));
        let profile = of(&["null", "1", "true", "\"abc\"", "\"ab\\u0000\"", "\"\\ud800\"", "{}"]);
        let kinds = [
            ("numbers", 1),
            ("booleans", 2),
            ("text", 3),
            ("objects or lists of them", 6),
        ];
        assert_eq!(profile.kinds(), kinds.map(|(word, at)| (word, At::Offset(at))));
        assert_eq!(profile.null, Some(At::Offset(0)));
        assert_eq!(profile.texts.longest, Some((3, At::Offset(3))));
        assert_eq!(profile.texts.ends_in_zero, Some(At::Offset(4)));
        assert_eq!(profile.texts.unspeakable, Some(At::Offset(5)));
        assert_eq!(of(&["[1,null]", "[\"a\"]"]).json, Some(At::Offset(0)));
    }

    #[test]
    fn lists_of_any_length_have_one_depth() {
        for (values, depth) in [
            (&["[1]", "[1,2]", "[]"][..], Some(1)),
            (&["[[1]]", "[[1],[2,3]]", "[]", "[[]]"], Some(2)),
            (&["[]", "[[]]"], Some(2)),
            (&["1", "2"], Some(0)),
            (&["1", "[2]"], None),
            (&["[1]", "[[]]"], None),
            (&["[1,[2]]"], None),
        ] {
            assert_eq!(of(values).depth(), depth, "{values:?}");
        }
    }
}
