//! The files of tokens and keys: read at the start, and again when they change.

use std::io::Read as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use lapwing_wire::escape::escaped;
use lapwing_wire::time::{WallTime, micros_text};
use thiserror::Error;
use tokio::signal::unix::Signal;

use super::jwt::{KeyError, Keys, Rules};
use super::token::{LineError, Tokens};
use super::{Access, Keyring};
use crate::clock::Now;
use crate::config::AccessSpec;
use crate::reason::reason;
use crate::server::common::Common;
use crate::server::event::Event;
use crate::server::watched::Watched;
use crate::terminal::form;

/// The files, and how they looked when they were read last.
#[derive(Debug)]
pub struct Files {
    rules: Rules,
    tokens: Option<SecretFile>,
    keys: Option<SecretFile>,
    /// What they hold, as far as it could be read.
    keyring: Keyring,
    /// What was last said of tokens that let nobody in.
    warned: Option<String>,
}

impl Files {
    /// Reads them; none where no file is named, which lets everybody in.
    pub fn open(spec: &AccessSpec) -> Result<Option<Self>, FileError> {
        if spec.is_open() {
            return Ok(None);
        }
        let mut files = Self {
            rules: Rules {
                audiences: spec.audiences.clone(),
                issuers: spec.issuers.clone(),
            },
            tokens: spec.tokens.clone().map(SecretFile::new),
            keys: spec.jwt_keys.clone().map(SecretFile::new),
            keyring: Keyring::default(),
            warned: None,
        };
        files.read_tokens()?;
        files.read_keys()?;
        Ok(Some(files))
    }

    /// What is in force.
    #[must_use]
    pub fn access(&self) -> Access {
        Access::new(self.keyring.clone())
    }

    /// What is to be said of a tokens file by which nobody comes in, with the way out; once, until that is another sentence.
    #[must_use]
    pub fn warning(&mut self, now: WallTime) -> Option<String> {
        let warning = self.nobody_comes_in(now);
        let is_new = warning != self.warned;
        self.warned.clone_from(&warning);
        warning.filter(|_| is_new)
    }

    fn nobody_comes_in(&self, now: WallTime) -> Option<String> {
        let file = self.tokens.as_ref()?.shown();
        let tokens = &self.keyring.tokens;
        if tokens.is_empty() {
            return Some(format!(
                "{file} has no token in it, so nobody comes in by it: lapwing token new NAME --scope listen:TOPIC prints a line for it"
            ));
        }
        let ended = tokens.all_ended(now)?;
        let all = match tokens.len() {
            1 => "the one token".to_owned(),
            count => format!("all {} tokens", form::count(count as u64)),
        };
        Some(format!(
            "{all} in {file} ended, the last at {}, so nobody comes in by it: lapwing token new NAME --scope listen:TOPIC \
             prints another line for it",
            micros_text(ended)
        ))
    }

    fn read_tokens(&mut self) -> Result<String, FileError> {
        let Some(file) = &mut self.tokens else {
            return Ok(String::new());
        };
        let text = file.read()?;
        self.keyring.tokens = Tokens::parse(&text).map_err(|error| FileError::Line {
            path: file.shown(),
            error,
        })?;
        let count = form::counted(self.keyring.tokens.len() as u64, "token");
        Ok(format!("{}: {count}", file.shown()))
    }

    fn read_keys(&mut self) -> Result<String, FileError> {
        let Some(file) = &mut self.keys else {
            return Ok(String::new());
        };
        let text = file.read()?;
        self.keyring.keys = Keys::parse(&text, self.rules.clone()).map_err(|error| FileError::Keys {
            path: file.shown(),
            error,
        })?;
        let count = form::counted(self.keyring.keys.len() as u64, "key");
        Ok(format!("{}: {count}", file.shown()))
    }

    /// Reads again what has changed, or everything when that is asked for; gives what came of each.
    fn look(&mut self, all: bool) -> Vec<Result<String, FileError>> {
        let mut came = Vec::new();
        if self
            .tokens
            .as_mut()
            .is_some_and(|file| file.watched.have_changed() || all)
        {
            came.push(self.read_tokens());
        }
        if self
            .keys
            .as_mut()
            .is_some_and(|file| file.watched.have_changed() || all)
        {
            came.push(self.read_keys());
        }
        came
    }
}

/// Looks at the files each second, and whenever `hangup` says so (SIGHUP), until the task is aborted.
pub async fn watch(mut files: Files, common: Arc<Common>, mut hangup: Signal) {
    let mut every = tokio::time::interval(LOOK_EVERY);
    loop {
        let all = tokio::select! {
            _ = every.tick() => false,
            asked = hangup.recv() => asked.is_some(),
        };
        for came in files.look(all) {
            let failed = came.is_err();
            let text = match came {
                Ok(text) => {
                    common.access.replace(files.keyring.clone());
                    format!("{text} in force")
                }
                Err(error) => format!("{error}; what was read before stays in force"),
            };
            common.tell(Event::Access { text, failed });
            if let Some(text) = files.warning(Now::read().wall) {
                common.tell(Event::Access { text, failed: true });
            }
        }
    }
}

/// A file of secrets that may change.
#[derive(Debug)]
struct SecretFile {
    path: PathBuf,
    watched: Watched,
}

impl SecretFile {
    fn new(path: PathBuf) -> Self {
        Self {
            watched: Watched::new(vec![path.clone()]),
            path,
        }
    }

    fn read(&mut self) -> Result<String, FileError> {
        self.watched.mark();
        let unreadable = |error| FileError::Unreadable {
            path: self.shown(),
            error,
        };
        let mut text = String::new();
        let file = std::fs::File::open(&self.path).map_err(unreadable)?;
        file.take(FILE_BYTES_MAX + 1)
            .read_to_string(&mut text)
            .map_err(unreadable)?;
        match text.len() as u64 > FILE_BYTES_MAX {
            true => Err(FileError::TooLong { path: self.shown() }),
            false => Ok(text),
        }
    }

    fn shown(&self) -> String {
        escaped(&self.path.display().to_string())
    }
}

/// Why a file is of no use. Nothing that stands in it is repeated.
#[derive(Debug, Error)]
pub enum FileError {
    /// It cannot be read.
    #[error("cannot read {path}: {}", reason(error))]
    Unreadable {
        /// Which; escaped.
        path: String,
        /// What the system says.
        error: std::io::Error,
    },
    /// It is too long to be one.
    #[error("{path} has more than {FILE_BYTES_MAX} bytes")]
    TooLong {
        /// Which; escaped.
        path: String,
    },
    /// A line of the tokens file.
    #[error("{path} {error}")]
    Line {
        /// Which; escaped.
        path: String,
        /// What is wrong.
        error: LineError,
    },
    /// The file of keys.
    #[error("{path}: {error}")]
    Keys {
        /// Which; escaped.
        path: String,
        /// What is wrong.
        error: KeyError,
    },
}

impl FileError {
    /// A way out.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Unreadable { .. } => "name a file that is there, and that this user may read",
            Self::TooLong { .. } => "is it the right file? A line for each token, or a set of keys",
            Self::Line { .. } => "lapwing token new NAME --scope listen:TOPIC prints a line as it should be",
            Self::Keys { .. } => "--jwt-keys takes a JWKS file, a public key in PEM form, or a line HS256 SECRET",
        }
    }
}

const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Ten thousand tokens with two scopes each have about half of that.
const FILE_BYTES_MAX: u64 = 4 << 20;

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn spec(tokens: &Path) -> AccessSpec {
        AccessSpec {
            tokens: Some(tokens.to_owned()),
            ..AccessSpec::default()
        }
    }

    #[test]
    fn a_change_is_taken_when_the_file_keeps_still_and_a_broken_one_changes_nothing() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("tokens");
        let line = |name: &str, hash: u8| format!("{name} {hash:064x} listen:users\n");
        std::fs::write(&path, line("a", 1)).expect("written");
        let mut files = Files::open(&spec(&path)).expect("valid").expect("a file is named");
        assert!(files.look(false).is_empty(), "nothing has changed");
        std::fs::write(&path, line("a", 1) + &line("b", 2)).expect("written");
        assert!(files.look(false).is_empty(), "it may still be written");
        let came = files.look(false);
        assert!(
            came.len() == 1 && came[0].as_ref().is_ok_and(|text| text.ends_with(": 2 tokens")),
            "{came:?}"
        );
        assert!(files.look(false).is_empty());
        std::fs::write(&path, "nonsense\n").expect("written");
        files.look(false);
        assert!(matches!(files.look(false).as_slice(), [Err(FileError::Line { .. })]));
        assert_eq!(files.keyring.tokens.len(), 2);
        assert!(files.look(false).is_empty(), "told once");
        std::fs::remove_file(&path).expect("there");
        files.look(false);
        assert!(matches!(
            files.look(false).as_slice(),
            [Err(FileError::Unreadable { .. })]
        ));
        assert!(files.look(false).is_empty(), "told once");
        std::fs::write(&path, line("c", 3)).expect("written");
        assert!(matches!(files.look(true).as_slice(), [Ok(_)]), "asked for");
        assert_eq!(files.keyring.tokens.len(), 1);
    }

    #[test]
    fn a_file_as_long_as_is_allowed_and_a_byte_longer() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("tokens");
        let comment = |bytes: u64| format!("#{}", "x".repeat(bytes as usize - 1));
        std::fs::write(&path, comment(FILE_BYTES_MAX)).expect("written");
        assert!(Files::open(&spec(&path)).is_ok());
        std::fs::write(&path, comment(FILE_BYTES_MAX + 1)).expect("written");
        assert!(matches!(Files::open(&spec(&path)), Err(FileError::TooLong { .. })));
    }
}
