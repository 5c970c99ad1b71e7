//! Who somebody is, as their token says, and what they may do until when.

use std::fmt;

use lapwing_wire::time::WallTime;

use super::LEEWAY_S;
use super::jwt::JwtError;
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

impl Identity {
    /// Whether the token has not ended yet, the leeway included.
    pub fn in_time(&self, now: WallTime) -> Result<(), JwtError> {
        let Some(expires) = self.expires else { return Ok(()) };
        let late_ns = now.nanos().saturating_sub(expires.nanos());
        if late_ns < LEEWAY_S as i64 * 1_000_000_000 {
            return Ok(());
        }
        Err(JwtError::Expired {
            ago_s: late_ns.unsigned_abs() / 1_000_000_000,
        })
    }
}

/// Who somebody is. Two tokens of one subject are the same somebody.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// The name of a line in the tokens file.
    Token(Box<str>),
    /// The claims `sub` and `iss` of a JWT, as far as it has them (RFC 7519 section 4.1).
    Jwt {
        /// Whom it is about.
        subject: Option<Box<str>>,
        /// Who says so.
        issuer: Option<Box<str>>,
    },
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
            Self::Jwt { subject, .. } => f.write_str(subject.as_deref().unwrap_or("a token without a name")),
        }
    }
}
