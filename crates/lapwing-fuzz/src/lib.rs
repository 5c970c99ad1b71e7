//! Every place where bytes from outside enter Lapwing, as a function of bytes that checks what must hold there.
//!
//! libFuzzer calls them from `fuzz/`, and `tests/seeds.rs` with the seeds that are kept. None of them sleeps, opens a socket or
//! touches a file, and the same bytes always do the same. A mistake that bytes show is a panic.

mod input;
#[cfg(feature = "program")]
mod program;
mod wire;

/// One place where bytes enter.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// Its name: of its target in `fuzz/targets`, and of its folder in `fuzz/seeds`.
    pub name: &'static str,
    /// Takes bytes, and panics where they show a mistake.
    pub take: fn(&[u8]),
    /// Bytes to begin with, each under a name.
    pub seeds: fn() -> Seeds,
}

/// Bytes to begin with, each under a name.
pub type Seeds = Vec<(&'static str, Vec<u8>)>;

/// All of them that this build has.
#[must_use]
pub fn entries() -> Vec<Entry> {
    let wire = wire::ENTRIES.iter();
    #[cfg(feature = "program")]
    let wire = wire.chain(program::ENTRIES);
    wire.copied().collect()
}

/// Gives bytes to the entry of this name.
///
/// # Panics
/// When there is none of this name, and where the bytes show a mistake.
pub fn take(name: &str, bytes: &[u8]) {
    let entries = wire::ENTRIES.iter();
    #[cfg(feature = "program")]
    let mut entries = entries.chain(program::ENTRIES);
    #[cfg(not(feature = "program"))]
    let mut entries = entries;
    let entry = entries.find(|entry| entry.name == name);
    (entry.unwrap_or_else(|| panic!("there is no entry {name}")).take)(bytes);
}
