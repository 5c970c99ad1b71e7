//! Lines of stdin as messages: JSON as it is, other text as a string, anything else refused by its number.

use lapwing_wire::envelope::{Kind, write_value};
use lapwing_wire::json;
use lapwing_wire::line::{self, LineCutter};
use thiserror::Error;

use super::batch::Body;

/// Makes messages of bytes as they come.
#[derive(Debug)]
pub struct Lines {
    cutter: LineCutter,
}

/// What became of lines that were read together.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Piece {
    /// Their messages.
    pub body: Body,
    /// Numbers of the lines that are none, from 1, and why.
    pub skipped: Vec<(u64, LineError)>,
}

/// Why a line is no message.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum LineError {
    /// Bytes that are no text.
    #[error("is not UTF-8 at byte {at}")]
    NotUtf8 {
        /// Where, from 1.
        at: usize,
    },
    /// Over [`LINE_BYTES_MAX`], as it came or as a JSON string.
    #[error("has more than 1 MiB")]
    TooLong,
}

impl Default for Lines {
    fn default() -> Self {
        Self {
            cutter: LineCutter::new(LINE_BYTES_MAX),
        }
    }
}

impl Lines {
    /// Takes more bytes, and gives the lines that end in them to `each`, as many together as one publish holds.
    pub fn feed(&mut self, bytes: &[u8], mut each: impl FnMut(Piece)) {
        let mut piece = Piece::default();
        self.cutter.feed(bytes, |line| piece.take(line, &mut each));
        piece.give(&mut each);
    }

    /// There is no more: a last line without an end counts.
    pub fn finish(&mut self, mut each: impl FnMut(Piece)) {
        let mut piece = Piece::default();
        self.cutter.finish(|line| piece.take(line, &mut each));
        piece.give(&mut each);
    }
}

impl Piece {
    /// Takes a line; what was there before goes to `each` when there is no room for both.
    fn take(&mut self, line: line::Line<'_>, each: &mut impl FnMut(Self)) {
        let begin = self.body.bytes.len();
        if let Err(why) = line.bytes.map_err(LineError::from).and_then(|text| self.write(text)) {
            self.body.bytes.truncate(begin);
            self.skipped.push((line.number, why));
            return;
        }
        if let Some(body) = self.body.on_message(begin) {
            let skipped = std::mem::take(&mut self.skipped);
            each(Self { body, skipped });
        }
    }

    /// Appends the message of a line.
    fn write(&mut self, line: &[u8]) -> Result<(), LineError> {
        let text = std::str::from_utf8(line).map_err(|error| LineError::NotUtf8 {
            at: error.valid_up_to() + 1,
        })?;
        let out = &mut self.body.bytes;
        let begin = out.len();
        if !json::compact_into(text, out) {
            write_value(Kind::Text, line, out);
        }
        if out.len() - begin > LINE_BYTES_MAX {
            return Err(LineError::TooLong);
        }
        out.push(b'\n');
        Ok(())
    }

    fn give(&mut self, each: &mut impl FnMut(Self)) {
        if *self != Self::default() {
            each(std::mem::take(self));
        }
    }
}

impl From<line::LineError> for LineError {
    fn from(error: line::LineError) -> Self {
        match error {
            line::LineError::TooLong { .. } => Self::TooLong,
            line::LineError::NotUtf8 { at } => Self::NotUtf8 { at: at + 1 },
        }
    }
}

/// 1 MiB: what a server takes of one message of a publisher.
pub const LINE_BYTES_MAX: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    fn pieces(input: &[u8], read_bytes: usize) -> Vec<Piece> {
        let (mut lines, mut pieces) = (Lines::default(), Vec::new());
        for read in input.chunks(read_bytes) {
            lines.feed(read, |piece| pieces.push(piece));
        }
        lines.finish(|piece| pieces.push(piece));
        pieces
    }

    #[track_caller]
    fn check(input: &[u8], body: &str, skipped: &[(u64, LineError)]) {
        for read_bytes in [1, 7, input.len()] {
            let pieces = pieces(input, read_bytes);
            let bytes: Vec<u8> = pieces.iter().flat_map(|piece| piece.body.bytes.clone()).collect();
            assert_eq!(String::from_utf8(bytes).as_deref(), Ok(body));
            let count: u64 = pieces.iter().map(|piece| piece.body.count).sum();
            assert_eq!(count, body.lines().count() as u64);
            let found: Vec<_> = pieces.iter().flat_map(|piece| piece.skipped.clone()).collect();
            assert_eq!(found, skipped);
        }
    }

    #[test]
    fn json_stays_and_other_text_becomes_a_string() {
        check(
            b"{\"a\": 1.0}\nhello \"you\"\r\n\n\xff\nab\xc3\nlast",
            "{\"a\":1.0}\n\"hello \\\"you\\\"\"\n\"\"\n\"last\"\n",
            &[(4, LineError::NotUtf8 { at: 1 }), (5, LineError::NotUtf8 { at: 3 })],
        );
    }

    #[test]
    fn the_limit_holds_at_its_value_and_one_beyond() {
        let digits = |count: usize| [vec![b'1'; count], b"\n2\n".to_vec()].concat();
        let [most, next] = &pieces(&digits(LINE_BYTES_MAX), usize::MAX)[..] else {
            panic!("each goes alone");
        };
        assert_eq!((most.body.bytes.len(), most.body.count), (LINE_BYTES_MAX + 1, 1));
        assert_eq!(next.body.bytes, b"2\n");
        let too_long = [(1, LineError::TooLong)];
        let [piece] = &pieces(&digits(LINE_BYTES_MAX + 1), usize::MAX)[..] else {
            panic!("one is left out");
        };
        assert_eq!(
            (&piece.body.bytes[..], &piece.skipped[..]),
            (&b"2\n"[..], &too_long[..])
        );
        // Its quotes are too many.
        assert_eq!(pieces(&vec![b'x'; LINE_BYTES_MAX - 1], usize::MAX)[0].skipped, too_long);
    }

    #[test]
    fn a_thousand_lines_go_together() {
        let counts: Vec<_> = pieces(&b"1\n".repeat(2500), usize::MAX)
            .iter()
            .map(|piece| piece.body.count)
            .collect();
        assert_eq!(counts, [1000, 1000, 500]);
    }
}
