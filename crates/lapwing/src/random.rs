//! Random numbers from the operating system, for names that must not repeat; feeds have their own, seeded ones.

/// 64 random bits.
///
/// # Panics
///
/// As [`bytes()`].
#[must_use]
pub fn word() -> u64 {
    u64::from_ne_bytes(bytes())
}

/// So many random bytes.
///
/// # Panics
///
/// If the operating system has no random numbers, without which no TLS works either.
#[must_use]
pub fn bytes<const COUNT: usize>() -> [u8; COUNT] {
    let mut bytes = [0; COUNT];
    rustls::crypto::aws_lc_rs::default_provider()
        .secure_random
        .fill(&mut bytes)
        .expect("the operating system gives random numbers");
    bytes
}
