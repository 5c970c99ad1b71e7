//! A failure for the person at the command line: what is wrong, with the value and the limit, and a way out.

use std::fmt;

/// How a command ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Exit {
    /// Done.
    Done = 0,
    /// It failed.
    Failed = 1,
    /// Used wrongly; nothing was started.
    Usage = 2,
    /// It ran, but did not prove what was asked (`--fail-on-gap`).
    NotProven = 3,
    /// Ended at once by a second Ctrl-C.
    Interrupted = 130,
}

/// One or more sentences with hints, and the exit code they stand for.
///
/// Sentences have no capital at the start and no stop at the end; what the user typed stands in them quoted and escaped.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Failure {
    /// The exit code.
    pub exit: Exit,
    /// What is wrong, each with its way out if there is one.
    pub sentences: Vec<(String, Option<String>)>,
    /// The code with which a server said no, the first of several, if that is it: an HTTP status, or the code of an `error`.
    pub refused: Option<String>,
}

impl Failure {
    /// A wrong use: exit code 2.
    #[must_use]
    pub fn usage(sentence: impl Into<String>, hint: impl Into<String>) -> Self {
        Self {
            exit: Exit::Usage,
            sentences: vec![(sentence.into(), Some(hint.into()))],
            refused: None,
        }
    }

    /// Something failed on the way: exit code 1.
    #[must_use]
    pub fn failed(sentence: impl Into<String>, hint: impl Into<String>) -> Self {
        Self {
            exit: Exit::Failed,
            sentences: vec![(sentence.into(), Some(hint.into()))],
            refused: None,
        }
    }

    /// All mistakes of one command line told together; none is success.
    pub fn all(failures: Vec<Self>) -> Result<(), Self> {
        let Some(first) = failures.first() else {
            return Ok(());
        };
        let (exit, refused) = (first.exit, first.refused.clone());
        Err(Self {
            exit,
            sentences: failures.into_iter().flat_map(|failure| failure.sentences).collect(),
            refused,
        })
    }

    /// The same, as the answer of a server that said no with this code.
    #[must_use]
    pub fn refused(self, code: impl ToString) -> Self {
        Self {
            refused: Some(code.to_string()),
            ..self
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (sentence, hint)) in self.sentences.iter().enumerate() {
            if at > 0 {
                writeln!(f)?;
            }
            write!(f, "error: {sentence}")?;
            if let Some(hint) = hint {
                write!(f, "\nhint: {hint}")?;
            }
        }
        Ok(())
    }
}

impl std::error::Error for Failure {}
