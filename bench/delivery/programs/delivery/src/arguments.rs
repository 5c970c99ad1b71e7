//! What was typed: `--name value` pairs, and flags without a value.

use std::str::FromStr;

/// The arguments of this process.
pub struct Arguments(Vec<String>);

impl Arguments {
    /// Those that were typed.
    #[must_use]
    pub fn typed() -> Self {
        Self(std::env::args().skip(1).collect())
    }

    /// Whether a flag such as `--saturate` was given.
    #[must_use]
    pub fn flag(&self, name: &str) -> bool {
        self.0.iter().any(|typed| typed == name)
    }

    /// The text behind `name`.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<&str> {
        let at = self.0.iter().position(|typed| typed == name)?;
        self.0.get(at + 1).map(String::as_str)
    }

    /// The value behind `name`, or `default` where it was not given.
    ///
    /// # Panics
    ///
    /// If what stands there cannot be read: these programs are started by a script, which made a mistake.
    #[must_use]
    pub fn value<T: FromStr>(&self, name: &str, default: T) -> T {
        match self.text(name) {
            None => default,
            Some(text) => text
                .parse()
                .unwrap_or_else(|_| panic!("{name} {text:?} cannot be read")),
        }
    }
}
