//! Lines of a feed: cut out of bytes as they come, and made into messages.

use thiserror::Error;

use crate::envelope::Kind;
use crate::json;

/// Cuts bytes into lines, in pieces of any size. A line over the limit is told once and skipped to its end.
#[derive(Debug)]
pub struct LineCutter {
    line_bytes_max: usize,
    /// The begin of a line whose end has not come.
    open: Vec<u8>,
    /// The line under way is over the limit: its rest is dropped.
    skipping: Option<Skipped>,
    number: u64,
}

/// One line, without its end (`\n` or `\r\n`).
#[derive(Debug, PartialEq, Eq)]
pub struct Line<'a> {
    /// Its number, from 1.
    pub number: u64,
    /// Its bytes, or why there are none.
    pub bytes: Result<&'a [u8], LineError>,
}

impl LineCutter {
    /// A cutter for lines of at most so many bytes.
    #[must_use]
    pub fn new(line_bytes_max: usize) -> Self {
        Self {
            line_bytes_max,
            open: Vec::new(),
            skipping: None,
            number: 0,
        }
    }

    /// Takes more bytes and gives every line that ends in them to `each`.
    pub fn feed(&mut self, mut bytes: &[u8], mut each: impl FnMut(Line<'_>)) {
        while let Some(end) = memchr::memchr(b'\n', bytes) {
            let (line, rest) = (&bytes[..end], &bytes[end + 1..]);
            bytes = rest;
            self.end_line(line, &mut each);
        }
        self.keep(bytes);
    }

    /// The feed is over: what is left without an end of line is a line too.
    pub fn finish(&mut self, mut each: impl FnMut(Line<'_>)) {
        if !self.open.is_empty() || self.skipping.is_some() {
            self.end_line(&[], &mut each);
        }
    }

    fn keep(&mut self, bytes: &[u8]) {
        // One more than the limit: a `\r` that belongs to the end of the line may be waiting.
        if self.skipping.is_none() && self.open.len() + bytes.len() <= self.line_bytes_max + 1 {
            self.open.extend_from_slice(bytes);
            return;
        }
        let open = std::mem::take(&mut self.open);
        let skipped = self.skipping.get_or_insert(Skipped::default());
        skipped.add(&open);
        skipped.add(bytes);
    }

    fn end_line(&mut self, last: &[u8], each: &mut impl FnMut(Line<'_>)) {
        self.number += 1;
        let (number, limit) = (self.number, self.line_bytes_max);
        let line = if self.open.is_empty() && self.skipping.is_none() {
            last
        } else {
            self.keep(last);
            &self.open
        };
        if let Some(skipped) = self.skipping.take() {
            let bytes = skipped.bytes - usize::from(skipped.ends_in_cr);
            each(Line {
                number,
                bytes: Err(LineError::TooLong { bytes, limit }),
            });
            return;
        }
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let bytes = if line.len() <= limit {
            Ok(line)
        } else {
            Err(LineError::TooLong {
                bytes: line.len(),
                limit,
            })
        };
        each(Line { number, bytes });
        self.open.clear();
    }
}

/// What is known of a line that is too long to keep.
#[derive(Debug, Default)]
struct Skipped {
    bytes: usize,
    ends_in_cr: bool,
}

impl Skipped {
    fn add(&mut self, bytes: &[u8]) {
        self.bytes += bytes.len();
        if let Some(last) = bytes.last() {
            self.ends_in_cr = *last == b'\r';
        }
    }
}

/// A line as a message, appended to `out`: JSON as data, compacted without changing its tokens, or other text as it is.
pub fn message_into(line: &[u8], out: &mut Vec<u8>) -> Result<Kind, LineError> {
    let text = simdutf8::compat::from_utf8(line).map_err(|error| LineError::NotUtf8 {
        at: error.valid_up_to(),
    })?;
    if json::compact_into(text, out) {
        return Ok(Kind::Json);
    }
    out.extend_from_slice(line);
    Ok(Kind::Text)
}

/// Why a line is no message.
#[derive(Debug, Error, Clone, Copy, PartialEq, Eq)]
pub enum LineError {
    /// Over the limit.
    #[error("{bytes} bytes are over the limit of {limit}")]
    TooLong {
        /// Its bytes.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// Not UTF-8.
    #[error("invalid UTF-8 at byte {at}")]
    NotUtf8 {
        /// The first byte that is wrong, from 0.
        at: usize,
    },
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn cut(pieces: &[&[u8]], limit: usize) -> Vec<(u64, Result<Vec<u8>, LineError>)> {
        let mut cutter = LineCutter::new(limit);
        let mut lines = Vec::new();
        let mut take = |line: Line<'_>| lines.push((line.number, line.bytes.map(<[u8]>::to_vec)));
        for piece in pieces {
            cutter.feed(piece, &mut take);
        }
        cutter.finish(&mut take);
        lines
    }

    #[test]
    fn lines_end_in_lf_or_crlf_or_with_the_feed() {
        let line = |number, text: &str| (number, Ok(text.as_bytes().to_vec()));
        assert_eq!(
            cut(&[b"a\nb\r\n\nc"], 10),
            [line(1, "a"), line(2, "b"), line(3, ""), line(4, "c")]
        );
        assert_eq!(cut(&[b"a\n"], 10), [line(1, "a")]);
        assert_eq!(cut(&[b""], 10), []);
    }

    #[test]
    fn a_line_at_the_limit_passes_and_one_beyond_is_told_once() {
        let long = Err(LineError::TooLong { bytes: 5, limit: 4 });
        let four = |number| (number, Ok(b"aaaa".to_vec()));
        for pieces in [
            &[&b"aaaa\nbbbbb\naaaa\r\n"[..]][..],
            &[b"aa", b"aa\nbbb", b"bb\naa", b"aa\r", b"\n"],
        ] {
            assert_eq!(cut(pieces, 4), [four(1), (2, long.clone()), four(3)]);
        }
    }

    proptest! {
        #[test]
        fn where_the_bytes_are_cut_does_not_matter(bytes in prop::collection::vec(prop::sample::select(b"ab\r\n".to_vec()), 0..40), cuts in prop::collection::vec(0usize..40, 0..5)) {
            let mut cuts: Vec<usize> = cuts.into_iter().map(|at| at.min(bytes.len())).collect();
            cuts.extend([0, bytes.len()]);
            cuts.sort_unstable();
            let pieces: Vec<&[u8]> = cuts.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect();
            prop_assert_eq!(cut(&pieces, 6), cut(&[&bytes[..]], 6));
        }
    }

    #[track_caller]
    fn check(line: &[u8], expect: Result<(Kind, &str), LineError>) {
        let mut out = b"before".to_vec();
        let made = message_into(line, &mut out);
        let payload = String::from_utf8(out[6..].to_vec()).expect("UTF-8");
        assert_eq!(made.map(|kind| (kind, payload.as_str())), expect);
    }

    #[test]
    fn json_becomes_data_and_other_lines_strings() {
        check(b" {\"a\": [1, 2.50]} ", Ok((Kind::Json, "{\"a\":[1,2.50]}")));
        check(b"42", Ok((Kind::Json, "42")));
        check(b"{broken", Ok((Kind::Text, "{broken")));
        check(b"", Ok((Kind::Text, "")));
        check(b"plain text", Ok((Kind::Text, "plain text")));
        check(b"ab\xff", Err(LineError::NotUtf8 { at: 2 }));
    }
}
