//! How the messages of a topic lie in arrays: columns of a fixed width.

use std::collections::HashSet;

use lapwing_wire::dtype::Dtype;
use lapwing_wire::time::WallTime;

use super::element::Element;
use super::format::Format;
use super::leaf::{DATA, Leaf};
use super::list::{Token, tokens};
use super::passage::Row;
use super::profile::Profile;
use super::refusal::Refusal;
use super::survey::Topic;

/// The columns of a topic: those of its messages, then what stands beside them.
pub struct Layout {
    topic: String,
    /// In the order in which they lie in a row.
    pub columns: Vec<Column>,
}

/// One column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// What it is called.
    pub name: String,
    /// What each of its cells is.
    pub cell: Cell,
}

/// What a cell is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cell {
    /// A number, or an array of them: that column of the topic.
    Numbers {
        /// Which column.
        column: usize,
        /// Their type.
        element: Element,
        /// How many there are in each direction; empty for a number by itself.
        shape: Vec<u64>,
    },
    /// Text of at most so many characters.
    Text {
        /// Which column.
        column: usize,
        /// How many.
        chars: u64,
    },
    /// Whether there is nothing in that column of the topic: null, or no such field.
    Missing {
        /// Which column.
        column: usize,
    },
    /// The offset; -1 where there is none.
    Offset,
    /// When the server appended it; no time where there is none.
    Time,
    /// When it was received.
    Received,
    /// The history of the offset.
    Epoch,
}

impl Layout {
    /// How a topic lies in arrays, if it can.
    pub fn of(topic: &Topic, format: Format, dtype: Option<Dtype>, text_chars_max: u64) -> Result<Self, Refusal> {
        let beside = [
            ("offsets", Cell::Offset),
            ("times", Cell::Time),
            ("received", Cell::Received),
            ("epochs", Cell::Epoch),
        ];
        let known: Vec<_> = beside.iter().map(|(name, _)| *name).collect();
        let mut columns = Vec::new();
        let mut has_numbers = false;
        for (column, (name, profile)) in topic.columns.iter().enumerate() {
            if format == Format::Npy && name != DATA {
                return Err(match name.as_str() {
                    super::leaf::DATA_BASE64 => no_array(topic, name, profile, format),
                    _ => Refusal::Fields {
                        topic: topic.name.to_string(),
                        name: name.clone(),
                    },
                });
            }
            let dtype = dtype.filter(|_| name == DATA);
            let cell = cell(topic, column, format, dtype, text_chars_max)?;
            has_numbers |= name == DATA && matches!(cell, Cell::Numbers { .. });
            let name = match known.contains(&name.as_str()) {
                true => format!("{DATA}.{name}"),
                false => name.clone(),
            };
            let missing = (profile.null.or(profile.absent)).map(|_| Column {
                name: format!("{name}.missing"),
                cell: Cell::Missing { column },
            });
            columns.push(Column { name, cell });
            columns.extend(missing);
        }
        if dtype.is_some() && !has_numbers {
            return Err(Refusal::NoNumbers {
                topic: topic.name.to_string(),
            });
        }
        for (name, cell) in beside {
            if cell != Cell::Epoch || topic.histories > 1 {
                let name = name.to_owned();
                columns.push(Column { name, cell });
            }
        }
        let mut names = HashSet::new();
        if let Some(twice) = columns.iter().find(|column| !names.insert(&column.name)) {
            return Err(Refusal::SameName {
                topic: topic.name.to_string(),
                name: twice.name.clone(),
            });
        }
        Ok(Self {
            topic: topic.name.to_string(),
            columns,
        })
    }

    /// Appends the cell of one column as its bytes.
    pub fn encode(
        &self,
        column: &Column,
        row: &Row<'_>,
        leaves: &[Option<Leaf<'_>>],
        out: &mut Vec<u8>,
    ) -> Result<(), Refusal> {
        let message = row.message;
        let leaf = |column: &usize| {
            leaves
                .get(*column)
                .copied()
                .flatten()
                .filter(|leaf| *leaf != Leaf::Null)
        };
        match &column.cell {
            Cell::Missing { column } => out.push(leaf(column).is_none().into()),
            cell @ (Cell::Numbers { column, .. } | Cell::Text { column, .. }) if leaf(column).is_none() => {
                if !self.may_miss(*column) {
                    return Err(Refusal::Changed);
                }
                out.resize(out.len() + cell.bytes(), 0);
            }
            Cell::Offset => {
                let offset = message.offset.and_then(|offset| i64::try_from(offset.get()).ok());
                out.extend(offset.unwrap_or(-1).to_le_bytes());
            }
            Cell::Time => out.extend(message.time.map_or(NO_TIME, WallTime::nanos).to_le_bytes()),
            Cell::Received => out.extend(message.received.nanos().to_le_bytes()),
            Cell::Epoch => {
                let digits = message.epoch.map(|epoch| epoch.to_string()).unwrap_or_default();
                let mut cell = [0; EPOCH_BYTES];
                cell[..digits.len().min(EPOCH_BYTES)]
                    .copy_from_slice(&digits.as_bytes()[..digits.len().min(EPOCH_BYTES)]);
                out.extend(cell);
            }
            Cell::Numbers { column, element, shape } => {
                let misfit = |value: &str| Refusal::Misfit {
                    topic: self.topic.clone(),
                    value: value.to_owned(),
                    element: *element,
                    at: row.at,
                };
                let mut count = 0;
                let mut number = |token: &str| {
                    count += 1;
                    element.encode(token, out).ok_or_else(|| misfit(token))
                };
                match leaf(column) {
                    Some(Leaf::Number(token)) => number(token)?,
                    Some(Leaf::Bool(value)) => number(if value { "true" } else { "false" })?,
                    Some(Leaf::List(list)) => {
                        for token in tokens(list).ok_or(Refusal::Changed)? {
                            if let Token::Scalar(token) = token {
                                number(token)?;
                            }
                        }
                    }
                    _ => return Err(Refusal::Changed),
                }
                if count != shape.iter().product::<u64>() {
                    return Err(Refusal::Changed);
                }
            }
            Cell::Text { column, chars } => {
                let Some(Leaf::Text(text)) = leaf(column) else {
                    return Err(Refusal::Changed);
                };
                let text = text.said().ok_or(Refusal::Changed)?;
                let filled = out.len() + *chars as usize * CHAR_BYTES;
                out.extend(text.chars().flat_map(|c| u32::from(c).to_le_bytes()));
                if out.len() > filled {
                    return Err(Refusal::Changed);
                }
                out.resize(filled, 0);
            }
        }
        Ok(())
    }

    /// Whether a column of the topic has another beside it that says where there is nothing.
    fn may_miss(&self, of: usize) -> bool {
        let says = |column: &Column| matches!(column.cell, Cell::Missing { column } if column == of);
        self.columns.iter().any(says)
    }
}

impl Cell {
    /// The type of it in the header of an npy file.
    #[must_use]
    pub fn descr(&self) -> String {
        match self {
            Self::Numbers { element, .. } => element.descr(),
            Self::Text { chars, .. } => format!("<U{chars}"),
            Self::Missing { .. } => Element::Bool.descr(),
            Self::Offset => Element::Number(Dtype::Int64).descr(),
            Self::Time | Self::Received => "<M8[ns]".to_owned(),
            Self::Epoch => format!("|S{EPOCH_BYTES}"),
        }
    }

    /// The shape of one cell.
    #[must_use]
    pub fn shape(&self) -> &[u64] {
        match self {
            Self::Numbers { shape, .. } => shape,
            _ => &[],
        }
    }

    /// How many bytes it takes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        match self {
            // As many elements as the text of a message has.
            Self::Numbers { element, shape, .. } => shape.iter().product::<u64>() as usize * element.bytes(),
            Self::Text { chars, .. } => *chars as usize * CHAR_BYTES,
            Self::Missing { .. } => 1,
            Self::Offset | Self::Time | Self::Received => 8,
            Self::Epoch => EPOCH_BYTES,
        }
    }
}

/// How a column lies in an array, if it can.
fn cell(
    topic: &Topic,
    column: usize,
    format: Format,
    dtype: Option<Dtype>,
    text_chars_max: u64,
) -> Result<Cell, Refusal> {
    let (name, profile) = &topic.columns[column];
    let refused = |what, at| Refusal::NoArray {
        topic: topic.name.to_string(),
        name: name.clone(),
        what,
        at,
        format,
    };
    if profile.bytes.is_some() || profile.json.is_some() {
        return Err(no_array(topic, name, profile, format));
    }
    for (hole, what) in [(profile.null, "null"), (profile.absent, "nothing")] {
        if let Some(at) = hole.filter(|_| format == Format::Npy) {
            return Err(refused(what, at));
        }
    }
    if let [(first, first_at), (other, other_at), ..] = profile.kinds()[..] {
        return Err(Refusal::MixedTypes {
            topic: topic.name.to_string(),
            name: name.clone(),
            first,
            first_at,
            other,
            other_at,
        });
    }
    if let Some((chars, at)) = profile.texts.longest
        && format == Format::Npz
    {
        if chars > text_chars_max {
            return Err(Refusal::LongText {
                topic: topic.name.to_string(),
                name: name.clone(),
                chars,
                at,
                max: text_chars_max,
            });
        }
        for (wrong, what) in [
            (profile.texts.unspeakable, "half a pair of surrogates"),
            (profile.texts.ends_in_zero, "text that ends in a zero"),
        ] {
            if let Some(at) = wrong {
                return Err(refused(what, at));
            }
        }
        // NumPy takes a width of 0 for a width that is still to be found.
        return Ok(Cell::Text {
            column,
            chars: chars.max(1),
        });
    }
    if let Some(at) = profile.text {
        return Err(refused("text", at));
    }
    if profile.kinds().is_empty() && profile.shape.is_none() && profile.ragged.is_none() {
        // Nothing but null: text that is nowhere.
        return Ok(Cell::Text { column, chars: 1 });
    }
    if let Some(at) = profile.ragged {
        return Err(Refusal::Ragged {
            topic: topic.name.to_string(),
            name: name.clone(),
            at,
        });
    }
    let shape = match (&profile.shape, &profile.other_shape) {
        (Some((first_at, first)), Some((other_at, other))) => {
            return Err(Refusal::MixedShapes {
                topic: topic.name.to_string(),
                name: name.clone(),
                first: tuple(first).into(),
                first_at: *first_at,
                other: tuple(other).into(),
                other_at: *other_at,
            });
        }
        (Some((_, shape)), None) => shape.clone(),
        (None, _) => Vec::new(),
    };
    let element = match (dtype, profile.bool) {
        (Some(dtype), None) => Element::Number(dtype),
        _ => profile.element().map_err(|no| Refusal::NoType {
            topic: topic.name.to_string(),
            name: name.clone(),
            what: no.what,
            at: no.at,
        })?,
    };
    Ok(Cell::Numbers { column, element, shape })
}

fn no_array(topic: &Topic, name: &str, profile: &Profile, format: Format) -> Refusal {
    let (what, at) = match (profile.bytes, profile.json) {
        (Some(at), _) => ("bytes", at),
        (None, at) => (
            "objects, or lists with text, objects or null in them,",
            at.unwrap_or(super::at::At::Row(0)),
        ),
    };
    Refusal::NoArray {
        topic: topic.name.to_string(),
        name: name.to_owned(),
        what,
        at,
        format,
    }
}

/// A shape as Python writes it.
#[must_use]
pub fn tuple(shape: &[u64]) -> String {
    match shape {
        [only] => format!("({only},)"),
        shape => {
            let lengths: Vec<_> = shape.iter().map(u64::to_string).collect();
            format!("({})", lengths.join(", "))
        }
    }
}

/// NumPy's "not a time".
const NO_TIME: i64 = i64::MIN;

/// 32 hexadecimal digits.
const EPOCH_BYTES: usize = 32;

/// NumPy's text has four bytes a character.
const CHAR_BYTES: usize = 4;
