//! The form of what a command prints.

/// The form of what a command prints.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, clap::ValueEnum)]
pub enum OutputFormat {
    /// Sentences for people
    #[default]
    Text,
    /// One JSON object a line, for programs
    Json,
}
