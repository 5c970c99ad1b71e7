//! The random words behind every generated feed: one ChaCha8 key stream per seed and stream.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

/// Opens the key stream of `seed` and `stream`: the same words on every machine and with every version.
///
/// The seed is the cipher's key and the stream its nonce, so that two topics of one seed share nothing. The key is spelled
/// out here because `seed_from_u64` and `StdRng` may give other words in another release.
pub(super) fn key_stream(seed: u64, stream: u64) -> ChaCha8Rng {
    let mut key = [0; 32];
    key[..8].copy_from_slice(&seed.to_le_bytes());
    let mut rng = ChaCha8Rng::from_seed(key);
    rng.set_stream(stream);
    rng
}

#[cfg(test)]
mod tests {
    use rand_chacha::rand_core::Rng;

    use super::*;

    #[test]
    fn the_words_of_a_seed_never_change() {
        // Strombergson's published ChaCha8 vector for the all-zero 256-bit key and nonce begins 3e 00 ef 2f 89 5f 40 d6.
        let mut rng = key_stream(0, 0);
        assert_eq!([rng.next_u32(), rng.next_u32()], [0x2fef_003e, 0xd640_5f89]);
    }

    #[test]
    fn seed_and_stream_both_matter() {
        let first = |seed, stream| key_stream(seed, stream).next_u64();
        assert_eq!(first(1, 2), first(1, 2));
        assert_ne!(first(1, 2), first(2, 1));
        assert_ne!(first(1, 2), first(1, 3));
    }
}
