//! The name of a topic.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// The name of a topic: 1 to 64 of `A-Z a-z 0-9 _ -`, checked once where it enters.
///
/// One that begins with `$` is reserved for topics that the server keeps about itself.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TopicName(Box<str>);

impl TopicName {
    /// The longest name, in bytes.
    pub const BYTES_MAX: usize = 64;

    /// Parses a name that a person or a peer wrote.
    pub fn parse(text: &str) -> Result<Self, TopicNameError> {
        if text.is_empty() {
            return Err(TopicNameError::Empty);
        }
        if text.len() > Self::BYTES_MAX {
            return Err(TopicNameError::TooLong { bytes: text.len() });
        }
        let allowed = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        match text.strip_prefix('$').unwrap_or(text).chars().find(|&c| !allowed(c)) {
            Some(found) => Err(TopicNameError::Character { found }),
            None if text == "$" => Err(TopicNameError::Empty),
            None => Ok(Self(text.into())),
        }
    }

    /// Whether it belongs to the server itself: it is in no default set, and nobody publishes to it.
    #[must_use]
    pub fn is_reserved(&self) -> bool {
        self.0.starts_with('$')
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TopicName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for TopicName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl FromStr for TopicName {
    type Err = TopicNameError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

impl TryFrom<String> for TopicName {
    type Error = TopicNameError;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::parse(&text)
    }
}

impl From<TopicName> for String {
    fn from(name: TopicName) -> Self {
        name.0.into()
    }
}

/// Why a text is no topic name.
#[derive(Debug, Error, Clone, Copy, PartialEq, Eq)]
pub enum TopicNameError {
    /// Nothing at all.
    #[error("a topic name needs 1 to 64 characters")]
    Empty,
    /// More than [`TopicName::BYTES_MAX`] bytes.
    #[error("a topic name has at most 64 characters, this one {bytes}")]
    TooLong {
        /// How many bytes were given.
        bytes: usize,
    },
    /// A character outside the allowed set.
    #[error("a topic name is made of A-Z a-z 0-9 _ and -, not {found:?}")]
    Character {
        /// The first such character.
        found: char,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expect: Result<(), TopicNameError>) {
        assert_eq!(TopicName::parse(text).map(|_| ()), expect, "{text:?}");
    }

    #[test]
    fn names_are_checked_at_the_edge() {
        check("users", Ok(()));
        check("a_B-9", Ok(()));
        check(&"x".repeat(64), Ok(()));
        check(&"x".repeat(65), Err(TopicNameError::TooLong { bytes: 65 }));
        check("", Err(TopicNameError::Empty));
        check("$clients", Ok(()));
        check("$", Err(TopicNameError::Empty));
        check("$$a", Err(TopicNameError::Character { found: '$' }));
        check("a$", Err(TopicNameError::Character { found: '$' }));
        let own = |name| TopicName::parse(name).expect("valid").is_reserved();
        assert!(own("$clients") && !own("clients"));
        check("a b", Err(TopicNameError::Character { found: ' ' }));
        check("ü", Err(TopicNameError::Character { found: 'ü' }));
    }
}
