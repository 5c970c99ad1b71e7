//! The mask that every frame of a client wears (RFC 6455 section 5.3).

/// A masking key and the place in it: pieces of one payload, given in order, go on where the piece before ended.
///
/// Masking and unmasking are the same operation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Mask {
    /// The key, turned so that its first byte meets the next byte of the payload.
    key: [u8; 4],
}

impl Mask {
    /// Begins a payload.
    #[must_use]
    pub const fn new(key: [u8; 4]) -> Self {
        Self { key }
    }

    /// Masks or unmasks the next piece in place.
    pub fn apply(&mut self, piece: &mut [u8]) {
        let [a, b, c, d] = self.key;
        let wide = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
        let mut chunks = piece.chunks_exact_mut(8);
        for chunk in &mut chunks {
            let word = u64::from_ne_bytes(chunk.try_into().expect("chunks_exact gives chunks of 8"));
            chunk.copy_from_slice(&(word ^ wide).to_ne_bytes());
        }
        for (byte, key) in chunks.into_remainder().iter_mut().zip([a, b, c, d, a, b, c]) {
            *byte ^= key;
        }
        self.key.rotate_left(piece.len() % 4);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

    /// The definition of the RFC: byte `i` meets byte `i % 4` of the key.
    fn masked(payload: &[u8]) -> Vec<u8> {
        payload.iter().enumerate().map(|(i, byte)| byte ^ KEY[i % 4]).collect()
    }

    #[track_caller]
    fn check(payload: &[u8], cuts: &[usize]) {
        let mut bytes = payload.to_vec();
        let mut mask = Mask::new(KEY);
        let mut rest = &mut bytes[..];
        for &cut in cuts {
            let (piece, behind) = rest.split_at_mut(cut);
            mask.apply(piece);
            rest = behind;
        }
        mask.apply(rest);
        assert_eq!(bytes, masked(payload), "{} bytes, cut {cuts:?}", payload.len());
    }

    #[test]
    fn the_example_of_the_rfc_holds() {
        let mut hello = [0x7f, 0x9f, 0x4d, 0x51, 0x58];
        Mask::new(KEY).apply(&mut hello);
        assert_eq!(&hello, b"Hello");
    }

    #[test]
    fn any_two_cuts_give_the_same_bytes() {
        let payload: Vec<u8> = (0..40).collect();
        for length in 0..payload.len() {
            for first in 0..=length {
                for second in 0..=length - first {
                    check(&payload[..length], &[first, second]);
                }
            }
        }
    }
}
