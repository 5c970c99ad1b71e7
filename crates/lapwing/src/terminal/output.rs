//! The form of what a command prints.

use serde::Deserialize;

/// The form of what a command prints.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, clap::ValueEnum, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OutputFormat {
    /// Sentences for people
    #[default]
    Text,
    /// One JSON object a line, for programs
    Json,
}
