//! What a fuzzer gives: bytes, some of which choose and the others are what comes in.

use lapwing_wire::escape::escaped;

/// Bytes from the front of which choices are taken.
pub struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// The next choice; 0 when nothing is left.
    pub fn byte(&mut self) -> u8 {
        let Some((&byte, rest)) = self.0.split_first() else {
            return 0;
        };
        self.0 = rest;
        byte
    }

    /// The next two as a number.
    pub fn short(&mut self) -> u16 {
        u16::from_be_bytes([self.byte(), self.byte()])
    }

    /// So many of the next bytes, or as many as are left.
    pub fn take(&mut self, count: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(count.min(self.0.len()));
        self.0 = rest;
        taken
    }

    /// All that is left.
    pub fn rest(self) -> &'a [u8] {
        self.0
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// The same bytes in pieces, as a network may deliver them: single bytes for choice 0, else pieces whose lengths the choice
/// decides. Empty ones are among them.
pub fn pieces(bytes: &[u8], choice: u8) -> impl Iterator<Item = &[u8]> {
    let (mut rest, mut state) = (bytes, u32::from(choice) << 8 | 1);
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        // Marsaglia's xorshift: it only has to differ.
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        let most = [1, 3, 17, 300][(state >> 9) as usize % 4];
        let length = if choice == 0 { 1 } else { state as usize % (most + 1) };
        let (piece, behind) = rest.split_at(length.min(rest.len()));
        rest = behind;
        Some(piece)
    })
}

/// Bytes as text, where they are any.
pub fn text(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok()
}

/// A sentence for people must not drive their terminal, whatever it quotes.
#[track_caller]
pub fn assert_harmless(sentence: impl ToString) {
    let sentence = sentence.to_string();
    assert_eq!(escaped(&sentence), sentence, "a sentence that could drive a terminal");
}
