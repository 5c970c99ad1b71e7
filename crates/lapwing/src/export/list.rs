//! A JSON list of plain values, told token by token without a tree.

use memchr::memchr2;

/// What stands in a list, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Token<'a> {
    /// A list begins.
    Open,
    /// It ends.
    Close,
    /// A number, `true`, `false` or `null`, as it is written.
    Scalar(&'a str),
}

/// The tokens of a valid JSON list; none if it holds text or objects.
#[must_use]
pub fn tokens(list: &str) -> Option<Tokens<'_>> {
    let is_plain = memchr2(b'"', b'{', list.as_bytes()).is_none();
    is_plain.then_some(Tokens { rest: list })
}

/// Goes through a list.
#[derive(Clone, Debug)]
pub struct Tokens<'a> {
    rest: &'a str,
}

impl<'a> Iterator for Tokens<'a> {
    type Item = Token<'a>;

    fn next(&mut self) -> Option<Token<'a>> {
        let between = |byte: &u8| matches!(byte, b',' | b' ' | b'\t' | b'\r' | b'\n');
        let bytes = self.rest.as_bytes();
        let begin = bytes.iter().position(|byte| !between(byte))?;
        let end = match bytes[begin] {
            b'[' | b']' => begin + 1,
            _ => {
                let ends = |byte: &u8| between(byte) || *byte == b']';
                let length = bytes[begin..].iter().position(ends);
                length.map_or(bytes.len(), |length| begin + length)
            }
        };
        let (token, rest) = (&self.rest[begin..end], &self.rest[end..]);
        self.rest = rest;
        Some(match token {
            "[" => Token::Open,
            "]" => Token::Close,
            scalar => Token::Scalar(scalar),
        })
    }
}

/// What lists lie in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Form {
    /// Lists of one depth that agree in their lengths: how long those of each depth are.
    Rectangular(Vec<u64>),
    /// Lists of one depth, of several lengths.
    Ragged {
        /// How deep.
        depth: usize,
    },
    /// Values and lists beside each other, or deeper than an array can be.
    Irregular,
}

/// Measures a list as it is told token by token.
#[derive(Clone, Debug, Default)]
pub struct Measure {
    depth: usize,
    counts: Vec<u64>,
    lengths: Vec<Option<u64>>,
    scalars_at: Option<usize>,
    is_ragged: bool,
    is_irregular: bool,
}

impl Measure {
    /// Takes the next token.
    pub fn take(&mut self, token: Token<'_>) {
        match token {
            Token::Open => {
                if let Some(above) = self.depth.checked_sub(1) {
                    self.counts[above] += 1;
                }
                if self.depth == DEPTH_MAX {
                    self.is_irregular = true;
                }
                if self.depth == self.counts.len() {
                    self.counts.push(0);
                    self.lengths.push(None);
                }
                self.counts[self.depth] = 0;
                self.depth += 1;
            }
            Token::Scalar(_) => {
                self.is_irregular |= *self.scalars_at.get_or_insert(self.depth) != self.depth;
                if let Some(at) = self.depth.checked_sub(1) {
                    self.counts[at] += 1;
                }
            }
            Token::Close => {
                self.depth = self.depth.saturating_sub(1);
                let count = self.counts[self.depth];
                self.is_ragged |= *self.lengths[self.depth].get_or_insert(count) != count;
            }
        }
    }

    /// What it was.
    #[must_use]
    pub fn finish(self) -> Form {
        let depth = self.lengths.len();
        if self.is_irregular || self.scalars_at.is_some_and(|at| at != depth) {
            return Form::Irregular;
        }
        match self.is_ragged {
            true => Form::Ragged { depth },
            false => Form::Rectangular(self.lengths.into_iter().map(Option::unwrap_or_default).collect()),
        }
    }
}

/// Lists in lists in a message: NumPy had 32 dimensions at most for most of its life, and one is the messages themselves.
pub const DEPTH_MAX: usize = 31;

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(list: &str, expect: Form) {
        let mut measure = Measure::default();
        tokens(list).expect("plain").for_each(|token| measure.take(token));
        assert_eq!(measure.finish(), expect, "{list}");
    }

    #[test]
    fn lists_that_agree_have_a_shape() {
        check("[]", Form::Rectangular(vec![0]));
        check("[1,2,3]", Form::Rectangular(vec![3]));
        check("[ [1, 2] ,\n[3,4],[5,6]]", Form::Rectangular(vec![3, 2]));
        check("[[],[]]", Form::Rectangular(vec![2, 0]));
        check("[[[true]],[[null]]]", Form::Rectangular(vec![2, 1, 1]));
        check("[[1],[2,3]]", Form::Ragged { depth: 2 });
        check("[[],[2]]", Form::Ragged { depth: 2 });
        check("[1,[2]]", Form::Irregular);
        check("[[1],2]", Form::Irregular);
        check("[[[]],[1]]", Form::Irregular);
    }

    #[test]
    fn depth_has_a_limit() {
        let nested = |depth: usize| format!("{}7{}", "[".repeat(depth), "]".repeat(depth));
        check(&nested(DEPTH_MAX), Form::Rectangular(vec![1; DEPTH_MAX]));
        check(&nested(DEPTH_MAX + 1), Form::Irregular);
        check(&nested(100_000), Form::Irregular);
    }

    #[test]
    fn text_and_objects_are_not_gone_through() {
        assert!(tokens("[\"a\"]").is_none());
        assert!(tokens("[1,{}]").is_none());
        let all: Vec<_> = tokens("[-1.5e3,null]").expect("plain").collect();
        assert_eq!(
            all,
            [
                Token::Open,
                Token::Scalar("-1.5e3"),
                Token::Scalar("null"),
                Token::Close
            ]
        );
    }
}
