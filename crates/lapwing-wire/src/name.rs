//! What a client calls itself.

use std::fmt;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// The name that a client gave itself: 1 to 64 characters, kept as they came.
///
/// It is text from outside: whoever shows it escapes it first ([`crate::escape`]). Two clients of one name are two clients.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ClientName(Box<str>);

impl ClientName {
    /// The longest name, in characters.
    pub const CHARS_MAX: usize = 64;

    /// Parses a name; spaces around it are dropped.
    pub fn parse(text: &str) -> Result<Self, ClientNameError> {
        let name = text.trim();
        match name.chars().count() {
            0 => Err(ClientNameError::Empty),
            chars if chars > Self::CHARS_MAX => Err(ClientNameError::TooLong { chars }),
            _ if is_number(name) => Err(ClientNameError::Reserved),
            _ => Ok(Self(name.into())),
        }
    }

    /// The name as text, not yet escaped.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ClientName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl TryFrom<String> for ClientName {
    type Error = ClientNameError;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::parse(&text)
    }
}

impl std::str::FromStr for ClientName {
    type Err = ClientNameError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

impl From<ClientName> for String {
    fn from(name: ClientName) -> Self {
        name.0.into()
    }
}

/// Whether this is how a server calls clients that gave no name: `client 5`.
#[must_use]
pub fn is_number(name: &str) -> bool {
    let number = name.strip_prefix("client ");
    number.is_some_and(|number| !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()))
}

/// Why a text is no client name.
#[derive(Debug, Error, Clone, Copy, PartialEq, Eq)]
pub enum ClientNameError {
    /// Nothing but spaces.
    #[error("a client's name needs 1 to 64 characters")]
    Empty,
    /// `client` and a number, which stands for a client without a name.
    #[error("names such as \"client 5\" are for clients that have none")]
    Reserved,
    /// More than [`ClientName::CHARS_MAX`] characters.
    #[error("a client's name has at most 64 characters, this one {chars}")]
    TooLong {
        /// How many characters were given.
        chars: usize,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_bounded() {
        assert_eq!(ClientName::parse(" sensor-1 ").expect("valid").as_str(), "sensor-1");
        assert!(ClientName::parse(&"é".repeat(64)).is_ok());
        assert_eq!(
            ClientName::parse(&"é".repeat(65)),
            Err(ClientNameError::TooLong { chars: 65 })
        );
        assert_eq!(ClientName::parse("  "), Err(ClientNameError::Empty));
        assert_eq!(ClientName::parse("client 5"), Err(ClientNameError::Reserved));
        assert!(ClientName::parse("client x").is_ok());
    }
}
