//! Why a recording is not exported, and what to do instead.

use std::path::PathBuf;

use lapwing_wire::escape::escaped_cut;

use super::at::At;
use super::element::Element;
use super::format::Format;

/// Why a recording is not exported.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// A file of the recording cannot be read.
    #[error("cannot read {}: {reason}", quoted(&file.display().to_string()))]
    Unreadable {
        /// Which.
        file: PathBuf,
        /// What the system says.
        reason: String,
    },
    /// A file cannot be written.
    #[error("cannot write {}: {reason}", quoted(&file.display().to_string()))]
    Unwritable {
        /// Which.
        file: PathBuf,
        /// What the system says.
        reason: String,
    },
    /// The file is there already.
    #[error("{} is there already", quoted(&file.display().to_string()))]
    Occupied {
        /// Which.
        file: PathBuf,
    },
    /// Between two readings the recording became another.
    #[error("the recording was changed by somebody else while it was read")]
    Changed,
    /// More columns than may be.
    #[error("topic {topic} has more than {max} fields: \"{}\" at {at} is one more", cut(name))]
    TooManyColumns {
        /// Of which topic.
        topic: String,
        /// The limit.
        max: usize,
        /// The first field beyond it.
        name: String,
        /// Where it is.
        at: At,
    },
    /// A field's name is too long.
    #[error(
        "a field at {at} has a name of {bytes} bytes; at most {} are taken",
        super::leaf::NAME_BYTES_MAX
    )]
    LongName {
        /// Where.
        at: At,
        /// How long.
        bytes: usize,
    },
    /// One message has a field twice.
    #[error("field \"{}\" stands twice in topic {topic} at {at}", cut(name))]
    Twice {
        /// Of which topic.
        topic: String,
        /// The field, with dots between the names of nested ones.
        name: String,
        /// Where.
        at: At,
    },
    /// Two fields would have one name in the file.
    #[error("two columns of topic {topic} would be called \"{}\"", cut(name))]
    SameName {
        /// Of which topic.
        topic: String,
        /// The name.
        name: String,
    },
    /// More histories of topics than are told apart.
    #[error("the recording has more than {max} histories")]
    TooManyHistories {
        /// The limit.
        max: usize,
    },
    /// There is something that this format has no arrays for.
    #[error("{} of topic {topic} holds {what} at {at}, and {} takes {}", column(name), format.name(), takes(*format))]
    NoArray {
        /// Of which topic.
        topic: String,
        /// In which column.
        name: String,
        /// What it holds.
        what: &'static str,
        /// Where.
        at: At,
        /// The format.
        format: Format,
    },
    /// The topic holds objects, and the format has room for one array.
    #[error(
        "topic {topic} holds objects with fields such as \"{}\", and npy takes one array",
        cut(name)
    )]
    Fields {
        /// Which topic.
        topic: String,
        /// One of them.
        name: String,
    },
    /// Arrays of several shapes.
    #[error(
        "{} of topic {topic} has no one shape: {first} at {first_at}, {other} at {other_at}",
        column(name)
    )]
    MixedShapes {
        /// Of which topic.
        topic: String,
        /// In which column.
        name: String,
        /// The first shape, as Python writes it.
        first: Box<str>,
        /// Where it is.
        first_at: At,
        /// The first other one.
        other: Box<str>,
        /// Where it is.
        other_at: At,
    },
    /// An array whose rows are not of one length.
    #[error(
        "{} of topic {topic} at {at} has lists of several lengths or depths in it",
        column(name)
    )]
    Ragged {
        /// Of which topic.
        topic: String,
        /// In which column.
        name: String,
        /// Where.
        at: At,
    },
    /// Numbers and something else.
    #[error(
        "{} of topic {topic} has no one type: {first} at {first_at}, {other} at {other_at}",
        column(name)
    )]
    MixedTypes {
        /// Of which topic.
        topic: String,
        /// In which column.
        name: String,
        /// The one.
        first: &'static str,
        /// Where it is first.
        first_at: At,
        /// The other.
        other: &'static str,
        /// Where it is first.
        other_at: At,
    },
    /// No type holds all numbers as they are.
    #[error(
        "{} of topic {topic} holds {what} at {at}, and no type of numbers takes all of it as it is",
        column(name)
    )]
    NoType {
        /// Of which topic.
        topic: String,
        /// In which column.
        name: String,
        /// Which number is in the way.
        what: &'static str,
        /// Where.
        at: At,
    },
    /// A number does not fit the type that was asked for.
    #[error("{} does not fit {element}: topic {topic} at {at}", cut(value))]
    Misfit {
        /// Of which topic.
        topic: String,
        /// The value.
        value: String,
        /// The type.
        element: Element,
        /// Where.
        at: At,
    },
    /// A type of numbers was asked for, and there are none.
    #[error("--dtype is for topics of numbers, and topic {topic} holds something else")]
    NoNumbers {
        /// Which topic.
        topic: String,
    },
    /// Text that is too long for a fixed width.
    #[error(
        "{} of topic {topic} has {chars} characters at {at}; at most {max} are taken",
        column(name)
    )]
    LongText {
        /// Of which topic.
        topic: String,
        /// In which column.
        name: String,
        /// How many.
        chars: u64,
        /// Where.
        at: At,
        /// The limit.
        max: u64,
    },
}

impl Refusal {
    /// What to do instead.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Unreadable { .. } => "name a file that lapwing listen --log wrote",
            Self::Unwritable { .. } => "nothing was written; name a file in a folder with room and the right to write",
            Self::Occupied { .. } => "--force replaces it, or name another file with --to",
            Self::Changed => {
                "try again; a recording that is being written is exported up to where it ended at the start"
            }
            Self::TooManyColumns { .. } => "--columns-max raises the limit up to 10000",
            Self::LongName { .. } | Self::Twice { .. } | Self::SameName { .. } => {
                "--topic exports another topic; with jq the recording can be made into any form"
            }
            Self::TooManyHistories { .. } => "name parts of the recording by themselves",
            Self::NoArray { .. } | Self::MixedTypes { .. } => {
                "--to FILE.csv or FILE.parquet takes it; --topic exports another topic"
            }
            Self::Fields { .. } => "--to FILE.npz has an array for each field; --topic exports another topic",
            Self::MixedShapes { .. } | Self::Ragged { .. } => {
                "--to FILE.csv and FILE.parquet take lists of any length; --topic exports another topic"
            }
            Self::NoType { .. } => "--dtype float64 rounds it; --to FILE.csv keeps every digit",
            Self::Misfit { .. } => "name a wider type with --dtype, or leave it out: then the numbers decide",
            Self::NoNumbers { .. } => "leave --dtype out, or name a topic of numbers with --topic",
            Self::LongText { .. } => {
                "an array has room for the longest text in every message: --text-max raises the limit, --to FILE.csv or FILE.parquet needs none"
            }
        }
    }
}

fn takes(format: Format) -> &'static str {
    match format {
        Format::Npy => "arrays of numbers",
        _ => "numbers, text and arrays of numbers",
    }
}

fn column(name: &str) -> String {
    match name {
        super::leaf::DATA => "data".to_owned(),
        name => format!("field \"{}\"", cut(name)),
    }
}

fn quoted(text: &str) -> String {
    lapwing_wire::escape::escaped(text)
}

/// Text from outside, harmless and short.
fn cut(text: &str) -> String {
    let (mut text, left_out) = escaped_cut(text, SHOWN_BYTES_MAX);
    if left_out > 0 {
        text.push_str("...");
    }
    text
}

/// Enough of a name or number to know it by.
const SHOWN_BYTES_MAX: usize = 64;
