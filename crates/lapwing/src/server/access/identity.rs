//! Who somebody is, as their token says, and what they may do until when.

use std::fmt;
use std::sync::Arc;

use lapwing_wire::escape::escaped_cut;
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
    /// When the token ends by the wall clock; it is honoured for [`LEEWAY_S`] longer. None for never.
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
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Subject {
    /// The name of a line in the tokens file.
    Token(Arc<str>),
    /// The claims `sub` and `iss` of a JWT (RFC 7519 section 4.1).
    Jwt {
        /// Whom it is about.
        subject: Arc<str>,
        /// Who says so, if it says that.
        issuer: Option<Arc<str>>,
    },
    /// A JWT that does not say whom it is about, so that nothing makes it one with another: what it signs has this digest.
    Nameless(Digest),
}

impl Subject {
    /// As a console shows it: escaped, and cut.
    #[must_use]
    pub fn shown(&self) -> String {
        let (mut text, left_out) = escaped_cut(&self.to_string(), SHOWN_BYTES_MAX);
        if left_out > 0 {
            text.push_str("...");
        }
        text
    }
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
    /// As it is: whoever issues JWTs chooses it. For a console there is [`Subject::shown`].
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Token(name) => f.write_str(name),
            Self::Jwt { subject, .. } => f.write_str(subject),
            Self::Nameless(_) => f.write_str("a token without a name"),
        }
    }
}

/// As long as the name of a line may be.
const SHOWN_BYTES_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(subject: &str, shown: &str) {
        let subject = Subject::Jwt {
            subject: subject.into(),
            issuer: Some("https://issuer.example".into()),
        };
        assert_eq!(subject.shown(), shown);
    }

    #[test]
    fn c14_who_somebody_is_cannot_drive_a_terminal_and_is_short() {
        assert_eq!(Subject::Token("web".into()).shown(), "web");
        check("ann@example.org", "ann@example.org");
        check("\u{1b}[2J\n\u{202e}ann", "\\u{1b}[2J\\n\\u{202e}ann");
        check(&"x".repeat(64), &"x".repeat(64));
        check(&"x".repeat(65), &format!("{}...", "x".repeat(64)));
        assert_eq!(Subject::Nameless(Digest::of(b"x")).shown(), "a token without a name");
    }
}
