//! A file cut into lines, without copying them.

use std::io::{self, Read};

use memchr::memchr;

use super::line::LINE_BYTES_MAX;

/// Cuts what it reads into lines.
///
/// It holds what one read gave and the line under way, which is at most [`LINE_BYTES_MAX`]: of a longer one only the length is told.
pub struct Lines<R> {
    input: R,
    buffer: Vec<u8>,
    /// What of the buffer is read and not given out yet.
    begin: usize,
    filled: usize,
    number: u64,
    at: u64,
}

/// One line of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line<'a> {
    /// Its number, from 1.
    pub number: u64,
    /// At which byte of the file it begins.
    pub at: u64,
    /// How many bytes it has in the file, its newline included.
    pub bytes: u64,
    /// What it says, without the newline.
    pub text: Text<'a>,
}

/// What a line says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Text<'a> {
    /// All of it.
    Whole(&'a [u8]),
    /// It is longer than any line that is written.
    TooLong,
    /// The file ends within it.
    Torn,
}

impl<R: Read> Lines<R> {
    /// Reads from `input`.
    #[must_use]
    pub fn new(input: R) -> Self {
        Self {
            input,
            buffer: vec![0; READ_BYTES],
            begin: 0,
            filled: 0,
            number: 0,
            at: 0,
        }
    }

    /// The next line, or none at the end.
    #[expect(
        clippy::should_implement_trait,
        reason = "a line borrows from the buffer, which an iterator's item cannot"
    )]
    pub fn next(&mut self) -> io::Result<Option<Line<'_>>> {
        let mut dropped = 0;
        let mut searched = 0;
        loop {
            if let Some(found) = memchr(b'\n', &self.buffer[self.begin + searched..self.filled]) {
                let text = self.begin..self.begin + searched + found;
                self.begin = text.end + 1;
                let bytes = dropped + text.len() as u64 + 1;
                let too_long = bytes > LINE_BYTES_MAX as u64;
                return Ok(Some(self.line(bytes, |buffer| match too_long {
                    true => Text::TooLong,
                    false => Text::Whole(&buffer[text]),
                })));
            }
            searched = self.filled - self.begin;
            if searched > LINE_BYTES_MAX {
                dropped += searched as u64;
                (self.begin, self.filled, searched) = (0, 0, 0);
            }
            if !self.fill()? {
                let bytes = dropped + searched as u64;
                self.begin = self.filled;
                return Ok((bytes > 0).then(|| self.line(bytes, |_| Text::Torn)));
            }
        }
    }

    fn line<'a>(&'a mut self, bytes: u64, text: impl FnOnce(&'a [u8]) -> Text<'a>) -> Line<'a> {
        self.number += 1;
        let at = self.at;
        self.at += bytes;
        Line {
            number: self.number,
            at,
            bytes,
            text: text(&self.buffer),
        }
    }

    /// Reads more behind what there is; false at the end of the input.
    fn fill(&mut self) -> io::Result<bool> {
        self.buffer.copy_within(self.begin..self.filled, 0);
        self.filled -= self.begin;
        self.begin = 0;
        if self.filled == self.buffer.len() {
            self.buffer.resize(self.buffer.len() * 2, 0);
        }
        loop {
            match self.input.read(&mut self.buffer[self.filled..]) {
                Ok(count) => {
                    self.filled += count;
                    return Ok(count > 0);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

/// 256 KiB: a few hundred lines a read, and it stays in the second-level cache.
const READ_BYTES: usize = 256 << 10;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Gives its bytes in pieces of the sizes said.
    struct Pieces<'a>(&'a [u8], Vec<usize>);

    impl Read for Pieces<'_> {
        fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
            let size = self
                .1
                .pop()
                .unwrap_or(usize::MAX)
                .max(1)
                .min(out.len())
                .min(self.0.len());
            out[..size].copy_from_slice(&self.0[..size]);
            self.0 = &self.0[size..];
            Ok(size)
        }
    }

    #[test]
    fn a_line_without_end_is_bounded() {
        let long = LINE_BYTES_MAX as u64 + 5_000_000;
        let mut lines = Lines::new(io::repeat(b'x').take(long));
        let line = lines.next().expect("memory").expect("one");
        assert_eq!((line.bytes, line.text), (long, Text::Torn));
        assert!(lines.buffer.len() <= 2 * LINE_BYTES_MAX, "{}", lines.buffer.len());
        assert_eq!(lines.next().expect("memory"), None);
    }

    #[test]
    fn a_line_at_the_limit_is_whole_and_one_beyond_is_too_long() {
        let mut text = vec![b'x'; LINE_BYTES_MAX - 1];
        text.push(b'\n');
        assert!(matches!(
            Lines::new(&text[..]).next().expect("memory").expect("one").text,
            Text::Whole(_)
        ));
        text.insert(0, b'x');
        text.extend_from_slice(b"next\n");
        let mut lines = Lines::new(&text[..]);
        let line = lines.next().expect("memory").expect("one");
        assert_eq!((line.bytes, line.text), (LINE_BYTES_MAX as u64 + 1, Text::TooLong));
        assert_eq!(lines.next().expect("memory").expect("two").text, Text::Whole(b"next"));
    }

    proptest! {
        #[test]
        fn lines_are_those_of_the_file_however_it_is_read(bytes in "[ab\n]{0,200}", sizes in proptest::collection::vec(1_usize..20, 0..50)) {
            let mut lines = Lines::new(Pieces(bytes.as_bytes(), sizes));
            let mut again = Vec::new();
            let mut count = 0;
            while let Some(line) = lines.next().expect("memory") {
                count += 1;
                prop_assert_eq!((line.number, line.at), (count, again.len() as u64));
                match line.text {
                    Text::Whole(text) => {
                        again.extend_from_slice(text);
                        again.push(b'\n');
                    }
                    Text::Torn => again.extend_from_slice(&bytes.as_bytes()[again.len()..]),
                    Text::TooLong => prop_assert!(false),
                }
                prop_assert_eq!(line.at + line.bytes, again.len() as u64);
            }
            prop_assert_eq!(again, bytes.as_bytes());
        }
    }
}
