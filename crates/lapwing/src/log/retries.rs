//! Publishes that were taken, so that a repeated one is recognised and appended once.

use std::collections::{HashMap, VecDeque};
use std::ops::Range;

use lapwing_wire::position::Offset;

/// What names one publish: a hash of what the publisher sends with every try of it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct RetryKey([u8; 16]);

impl RetryKey {
    /// The key of a publish that names itself, as with `Idempotency-Key`.
    #[must_use]
    pub fn of_key(key: &str) -> Self {
        Self::hash(&["key", key])
    }

    /// The key of a publish by its source and number.
    #[must_use]
    pub fn of_source(source: &str, sequence: u64) -> Self {
        Self::hash(&["source", source, &sequence.to_string()])
    }

    /// The key as it stands on disk.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// A key that was read from disk.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    fn hash(parts: &[&str]) -> Self {
        let mut hash = sha1_smol::Sha1::new();
        for part in parts {
            // The length goes first, so that parts cannot be shifted into each other.
            hash.update(&(part.len() as u64).to_le_bytes());
            hash.update(part.as_bytes());
        }
        let digest = hash.digest().bytes();
        Self(*digest.first_chunk().expect("a digest has 20 bytes"))
    }
}

/// How a publish names itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Named {
    /// Itself.
    pub key: RetryKey,
    /// The publish that must come before it.
    pub after: Option<RetryKey>,
}

impl Named {
    /// A publish that may come at any time.
    #[must_use]
    pub fn alone(key: RetryKey) -> Self {
        Self { key, after: None }
    }
}

/// The publishes of one topic that are remembered: while their messages are retained, and at most [`RETRIES_MAX`].
#[derive(Debug, Default)]
pub struct Retries {
    known: HashMap<RetryKey, Range<Offset>>,
    /// In the order of their offsets.
    order: VecDeque<RetryKey>,
}

impl Retries {
    /// The offsets of a publish that was taken before.
    #[must_use]
    pub fn find(&self, key: &RetryKey) -> Option<Range<Offset>> {
        self.known.get(key).cloned()
    }

    /// Remembers a publish.
    pub fn add(&mut self, key: RetryKey, offsets: Range<Offset>) {
        if self.order.len() == RETRIES_MAX {
            self.forget_oldest();
        }
        if self.known.insert(key, offsets).is_none() {
            self.order.push_back(key);
        }
    }

    /// Forgets those whose messages are all below `first`.
    pub fn forget_below(&mut self, first: Offset) {
        while self.order.front().is_some_and(|key| self.known[key].end <= first) {
            self.forget_oldest();
        }
    }

    /// Forgets those whose messages lie beyond `end`: they were never appended.
    pub fn forget_from(&mut self, end: Offset) {
        while self.order.back().is_some_and(|key| self.known[key].end > end) {
            if let Some(key) = self.order.pop_back() {
                self.known.remove(&key);
            }
        }
    }

    fn forget_oldest(&mut self) {
        if let Some(key) = self.order.pop_front() {
            self.known.remove(&key);
        }
    }
}

/// About 64 MiB, and far more than any publisher has on its way.
pub const RETRIES_MAX: usize = 1_000_000;

#[cfg(all(test, not(feature = "loom")))]
mod tests {
    use super::*;

    fn range(begin: u64, end: u64) -> Range<Offset> {
        Offset::new(begin)..Offset::new(end)
    }

    #[test]
    fn keys_differ_in_every_part() {
        let keys = [
            RetryKey::of_key("a"),
            RetryKey::of_key("b"),
            RetryKey::of_source("a", 1),
            RetryKey::of_source("a", 2),
            RetryKey::of_source("a1", 1),
            RetryKey::of_source("a", 11),
        ];
        for (at, key) in keys.iter().enumerate() {
            assert!(!keys[..at].contains(key), "{at}");
        }
        assert_eq!(RetryKey::of_source("a", 1), RetryKey::of_source("a", 1));
    }

    #[test]
    fn a_publish_is_remembered_while_its_messages_are() {
        let mut retries = Retries::default();
        retries.add(RetryKey::of_key("a"), range(0, 5));
        retries.add(RetryKey::of_key("b"), range(5, 6));
        retries.forget_below(Offset::new(4));
        assert_eq!(retries.find(&RetryKey::of_key("a")), Some(range(0, 5)));
        retries.forget_below(Offset::new(5));
        assert_eq!(retries.find(&RetryKey::of_key("a")), None);
        assert_eq!(retries.find(&RetryKey::of_key("b")), Some(range(5, 6)));
    }

    #[test]
    fn what_was_never_appended_is_forgotten() {
        let mut retries = Retries::default();
        retries.add(RetryKey::of_key("a"), range(0, 5));
        retries.add(RetryKey::of_key("b"), range(5, 7));
        retries.forget_from(Offset::new(5));
        assert_eq!(retries.find(&RetryKey::of_key("a")), Some(range(0, 5)));
        assert_eq!(retries.find(&RetryKey::of_key("b")), None);
    }

    #[test]
    fn the_oldest_goes_at_the_limit() {
        let mut retries = Retries::default();
        for n in 0..=RETRIES_MAX as u64 {
            retries.add(RetryKey::of_source("s", n), range(n, n + 1));
        }
        assert_eq!(retries.find(&RetryKey::of_source("s", 0)), None);
        assert!(retries.find(&RetryKey::of_source("s", 1)).is_some());
        assert_eq!((retries.known.len(), retries.order.len()), (RETRIES_MAX, RETRIES_MAX));
    }
}
