//! UTF-8 that is checked while it arrives (RFC 6455 section 8.1).

use thiserror::Error;

/// Checks one text whose pieces come in order, and fails at the first byte that no continuation can mend.
///
/// Between pieces it carries the beginning of one character, at most 3 bytes.
#[derive(Clone, Copy, Default, Debug)]
pub struct Utf8 {
    /// How many bytes are proven to be whole characters.
    valid: usize,
    /// The beginning of the character at `valid`; the fourth place is for the byte that completes it.
    carry: [u8; 4],
    carried: u8,
}

impl Utf8 {
    /// Begins a text.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            valid: 0,
            carry: [0; 4],
            carried: 0,
        }
    }

    /// Takes the next piece.
    pub fn feed(&mut self, mut piece: &[u8]) -> Result<(), InvalidUtf8> {
        while self.carried > 0 {
            let Some((&byte, rest)) = piece.split_first() else {
                return Ok(());
            };
            piece = rest;
            self.complete(byte)?;
        }
        let Err(error) = simdutf8::compat::from_utf8(piece) else {
            self.valid += piece.len();
            return Ok(());
        };
        let (_, tail) = piece.split_at(error.valid_up_to());
        self.valid += error.valid_up_to();
        if error.error_len().is_some() {
            return Err(InvalidUtf8 { at: self.valid });
        }
        for (place, &byte) in self.carry.iter_mut().zip(tail) {
            *place = byte;
            self.carried += 1;
        }
        Ok(())
    }

    /// Ends the text: a character that was begun must be complete.
    pub fn finish(&self) -> Result<(), InvalidUtf8> {
        match self.carried {
            0 => Ok(()),
            _ => Err(InvalidUtf8 { at: self.valid }),
        }
    }

    /// Adds one byte to the character that was begun.
    fn complete(&mut self, byte: u8) -> Result<(), InvalidUtf8> {
        self.carry[usize::from(self.carried)] = byte;
        self.carried += 1;
        match std::str::from_utf8(&self.carry[..usize::from(self.carried)]) {
            Ok(_) => {
                self.valid += usize::from(self.carried);
                self.carried = 0;
                Ok(())
            }
            Err(error) if error.error_len().is_none() => Ok(()),
            Err(_) => Err(InvalidUtf8 { at: self.valid }),
        }
    }
}

/// Checks a text that lies there whole; the place of an error is the same as that of [`Utf8`].
pub fn whole(bytes: &[u8]) -> Result<&str, InvalidUtf8> {
    // The basic check is the fastest and says only yes or no; the place is looked for once something is wrong.
    simdutf8::basic::from_utf8(bytes).map_err(|_| InvalidUtf8 {
        at: std::str::from_utf8(bytes).map_or_else(|error| error.valid_up_to(), str::len),
    })
}

/// The bytes are not UTF-8.
#[derive(Debug, Error, Clone, Copy, PartialEq, Eq)]
#[error("invalid UTF-8 at byte {at}")]
pub struct InvalidUtf8 {
    /// Where the bad character begins.
    pub at: usize,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn feed(pieces: &[&[u8]]) -> Result<(), InvalidUtf8> {
        let mut utf8 = Utf8::new();
        for piece in pieces {
            utf8.feed(piece)?;
        }
        utf8.finish()
    }

    /// Whole, cut at every place, and byte by byte: always the same answer.
    #[track_caller]
    fn check(bytes: &[u8], expect: Result<(), InvalidUtf8>) {
        assert_eq!(whole(bytes).map(|_| ()), expect, "{bytes:x?} whole");
        for cut in 0..=bytes.len() {
            let (left, right) = bytes.split_at(cut);
            assert_eq!(feed(&[left, right]), expect, "{bytes:x?} cut at {cut}");
        }
        let single: Vec<&[u8]> = bytes.chunks(1).collect();
        assert_eq!(feed(&single), expect, "{bytes:x?} byte by byte");
    }

    /// How many bytes a byte-by-byte reader takes up to and with the one that fails.
    #[track_caller]
    fn check_fails_at(bytes: &[u8], expect: usize) {
        let mut utf8 = Utf8::new();
        let failed = bytes.iter().position(|&byte| utf8.feed(&[byte]).is_err());
        assert_eq!(failed, Some(expect), "{bytes:x?}");
    }

    #[test]
    fn characters_of_every_length_pass_at_every_cut() {
        for text in [
            "",
            "plain",
            "κόσμε",
            "€\u{d7ff}\u{e000}\u{fffd}",
            "𝄞\u{10000}\u{10ffff}",
            "a\0b",
        ] {
            check(text.as_bytes(), Ok(()));
            check(text.repeat(50).as_bytes(), Ok(()));
        }
    }

    #[test]
    fn c9_invalid_text_fails_wherever_it_is_cut() {
        for (bytes, at) in [
            (&b"\x80"[..], 0),
            (b"ok\xff", 2),
            (b"\xc0\xaf", 0),
            (b"a\xe0\x80\xaf", 1),
            (b"\xed\xa0\x80", 0),
            (b"\xf4\x90\x80\x80", 0),
            (b"\xf8\x88\x80\x80\x80", 0),
            (
                b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xf4\x90\x80\x80edited",
                11,
            ),
            (b"half \xf0\x9d\x84", 5),
        ] {
            check(bytes, Err(InvalidUtf8 { at }));
            let long = [&[b'x'; 200][..], bytes].concat();
            check(&long, Err(InvalidUtf8 { at: 200 + at }));
        }
    }

    #[test]
    fn c9_the_first_bad_byte_fails_not_the_last_of_the_character() {
        check_fails_at(b"\xf4\x90", 1);
        check_fails_at(b"\xe0\x80", 1);
        check_fails_at(b"\xed\xa0", 1);
        check_fails_at(b"\xf0\x9d\x84a", 3);
        check_fails_at(b"\xc1", 0);
        check_fails_at(b"\xf5", 0);
    }
}
