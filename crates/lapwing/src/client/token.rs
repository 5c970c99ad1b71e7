//! The token that a client shows: from a file, read anew for each connection, or from the environment.
//!
//! It is never a flag: what was typed stands in the list of processes.

use std::io::{self, Read as _};
use std::path::PathBuf;

use lapwing_wire::escape::escaped;
use lapwing_wire::secret::Secret;
use thiserror::Error;

use crate::reason::reason;

/// Where the token is.
#[derive(Clone, Debug, Default)]
pub enum TokenSource {
    /// There is none.
    #[default]
    Nowhere,
    /// In this file, which somebody may replace.
    File(PathBuf),
    /// It was in the environment when we were started.
    Known(Secret),
}

impl TokenSource {
    /// What was asked for: a file goes before the environment's `LAPWING_TOKEN`.
    pub fn new(file: Option<PathBuf>) -> Result<Self, TokenError> {
        match (file, std::env::var_os(VARIABLE)) {
            (Some(path), _) => Ok(Self::File(path)),
            (None, Some(text)) if !text.is_empty() => {
                let text = text.into_string().map_err(|_| TokenError::Variable)?;
                token_in(&text).map(Self::Known).ok_or(TokenError::Variable)
            }
            (None, _) => Ok(Self::Nowhere),
        }
    }

    /// The token as it is now.
    pub fn read(&self) -> Result<Option<Secret>, TokenError> {
        match self {
            Self::Nowhere => Ok(None),
            Self::Known(token) => Ok(Some(token.clone())),
            Self::File(path) => {
                let shown = || escaped(&path.display().to_string());
                let unreadable = |error| TokenError::Unreadable { path: shown(), error };
                let mut text = String::new();
                let file = std::fs::File::open(path).map_err(unreadable)?;
                file.take(FILE_BYTES_MAX)
                    .read_to_string(&mut text)
                    .map_err(unreadable)?;
                token_in(&text)
                    .map(Some)
                    .ok_or_else(|| TokenError::File { path: shown() })
            }
        }
    }
}

/// The value of the header `Authorization` for a token.
#[must_use]
pub fn bearer(token: &Secret) -> String {
    format!("Bearer {}", token.reveal())
}

/// The one word that a text is, if it is one that may be a token.
fn token_in(text: &str) -> Option<Secret> {
    let token = text.trim();
    let fits = !token.is_empty() && token.len() <= TOKEN_BYTES_MAX && token.bytes().all(|byte| byte.is_ascii_graphic());
    fits.then(|| Secret::new(token))
}

/// Why there is no token although there should be one. Nothing of it is repeated.
#[derive(Debug, Error)]
pub enum TokenError {
    /// The file cannot be read.
    #[error("cannot read the token in {path}: {}", reason(error))]
    Unreadable {
        /// Which; escaped.
        path: String,
        /// What the system says.
        error: io::Error,
    },
    /// The file holds something else.
    #[error("{path} holds no token: one word of ASCII, at most {TOKEN_BYTES_MAX} bytes")]
    File {
        /// Which; escaped.
        path: String,
    },
    /// The environment does.
    #[error("{VARIABLE} holds no token: one word of ASCII, at most {TOKEN_BYTES_MAX} bytes")]
    Variable,
}

impl TokenError {
    /// A way out.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Unreadable { .. } | Self::File { .. } => {
                "--token-file takes a file with the token, and nothing else in it"
            }
            Self::Variable => "leave the variable out, or put the token into it, and nothing else",
        }
    }
}

/// Where a token may stand that is in no file.
pub const VARIABLE: &str = "LAPWING_TOKEN";

/// As long as a server of ours takes.
const TOKEN_BYTES_MAX: usize = 8 << 10;

/// White space around it aside, no file with a token is longer.
const FILE_BYTES_MAX: u64 = 64 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_one_word() {
        let found = |text: &str| token_in(text).map(|token| token.reveal().to_owned());
        assert_eq!(found(" abc.d-e \n").as_deref(), Some("abc.d-e"));
        for wrong in ["", "\n", "a b", "a\nb", "ä"] {
            assert_eq!(found(wrong), None, "{wrong:?}");
        }
        let longest = "x".repeat(TOKEN_BYTES_MAX);
        assert_eq!(found(&longest), Some(longest.clone()));
        assert_eq!(found(&format!("{longest}x")), None);
    }

    #[test]
    fn a_file_is_read_each_time() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("token");
        let source = TokenSource::File(path.clone());
        assert!(matches!(source.read(), Err(TokenError::Unreadable { .. })));
        for token in ["one", "two"] {
            std::fs::write(&path, token).expect("written");
            assert_eq!(source.read().expect("there").expect("one").reveal(), token);
        }
        std::fs::write(&path, "secret and more").expect("written");
        let error = source.read().expect_err("two words").to_string();
        assert!(!error.contains("secret and"), "{error}");
    }
}
