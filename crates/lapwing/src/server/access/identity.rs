//! Who somebody is, as their token says, and what they may do until when.

use std::fmt;

use lapwing_wire::time::WallTime;

use super::scope::Scopes;
use super::token::Digest;

/// Somebody whose token was found to be good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Who.
    pub subject: Subject,
    /// What they may do.
    pub scopes: Scopes,
    /// When the token ends by the wall clock; it is honoured for [`LEEWAY_S`](super::LEEWAY_S) longer. None for never.
    pub expires: Option<WallTime>,
    /// What it was that made the token good; when that is withdrawn, so is this.
    pub proof: Proof,
}

/// Who somebody is. Two tokens of one subject are the same somebody.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// The name of a line in the tokens file.
    Token(Box<str>),
    /// The claims `sub` and `iss` of a JWT (RFC 7519 section 4.1).
    Jwt {
        /// Whom it is about.
        subject: Box<str>,
        /// Who says so, if it says that.
        issuer: Option<Box<str>>,
    },
    /// A JWT that does not say whom it is about, so that nothing makes it one with another: what it signs has this digest.
    Nameless(Digest),
}

/// What makes a token good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proof {
    /// The line of the tokens file with this digest.
    Line(Digest),
    /// The key with this digest.
    Key(Digest),
}

impl fmt::Display for Subject {
    /// For a console: escape it, since whoever issues JWTs chooses it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Token(name) => f.write_str(name),
            Self::Jwt { subject, .. } => f.write_str(subject),
            Self::Nameless(_) => f.write_str("a token without a name"),
        }
    }
}
