//! Random numbers of a client: keys of frames and handshakes, and the jitter between attempts.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng as _};

/// A generator that nobody outside can foresee (RFC 6455 section 10.3).
#[derive(Debug)]
pub struct Entropy(ChaCha8Rng);

impl Entropy {
    /// Seeded by the operating system.
    ///
    /// # Panics
    ///
    /// If the operating system has no random numbers, without which no TLS works either.
    #[must_use]
    pub fn from_system() -> Self {
        let mut seed = [0; 32];
        rustls::crypto::aws_lc_rs::default_provider()
            .secure_random
            .fill(&mut seed)
            .expect("the operating system gives random numbers");
        Self::from_seed(seed)
    }

    /// Seeded by hand, for tests.
    #[must_use]
    pub fn from_seed(seed: [u8; 32]) -> Self {
        Self(ChaCha8Rng::from_seed(seed))
    }

    /// A fresh key for a frame.
    pub fn mask(&mut self) -> [u8; 4] {
        self.0.next_u32().to_ne_bytes()
    }

    /// Bytes for a handshake or the name of a run.
    pub fn bytes<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        self.0.fill_bytes(&mut bytes);
        bytes
    }

    /// A fraction from 0 up to, not including, 1.
    pub fn fraction(&mut self) -> f64 {
        (self.0.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
    }
}
