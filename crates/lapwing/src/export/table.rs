//! A topic as CSV (RFC 4180): a row for each message.

use std::borrow::Cow;
use std::collections::HashSet;
use std::io;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use lapwing_wire::time::{TimeWriter, WallTime};

use super::draft::{Draft, Drafts, unwritable};
use super::leaf::{DATA, Leaf};
use super::list::{Token, tokens};
use super::passage::Row;
use super::profile::Profile;
use super::refusal::Refusal;
use super::sink::Sink;
use super::survey::Topic;

/// Writes the messages of one topic as rows of text.
pub struct Table {
    writer: csv::Writer<Draft>,
    target: PathBuf,
    /// How many cells each column has, where it has one for each number of a list.
    elements: Vec<Option<u64>>,
    time: TimeWriter,
    cell: Vec<u8>,
}

impl Table {
    /// Begins the file with its row of names. Lists that agree have a column for each number, while there are at most `columns_max`.
    pub fn begin(topic: &Topic, columns_max: usize, target: &Path, drafts: &Drafts) -> Result<Self, Refusal> {
        let mut names: Vec<_> = BESIDE.map(str::to_owned).into();
        names.extend(Self::names(topic, columns_max));
        let mut known = HashSet::new();
        if let Some(twice) = names.iter().find(|name| !known.insert(*name)) {
            return Err(Refusal::SameName {
                topic: topic.name.to_string(),
                name: twice.clone(),
            });
        }
        let mut writer = csv::WriterBuilder::new()
            .terminator(csv::Terminator::CRLF)
            .from_writer(drafts.begin(target)?);
        writer.write_record(&names).map_err(|error| failed(target, error))?;
        Ok(Self {
            writer,
            target: target.to_owned(),
            elements: elements(topic, columns_max),
            time: TimeWriter::default(),
            cell: Vec::new(),
        })
    }

    /// What the columns of the messages are called.
    #[must_use]
    pub fn names(topic: &Topic, columns_max: usize) -> Vec<String> {
        let mut names = Vec::new();
        for ((name, profile), elements) in topic.columns.iter().zip(elements(topic, columns_max)) {
            let name = match BESIDE.contains(&name.as_str()) {
                true => format!("{DATA}.{name}"),
                false => name.clone(),
            };
            match (elements, &profile.shape) {
                (Some(count), Some((_, shape))) => names.extend((0..count).map(|at| element(&name, shape, at))),
                _ => names.push(name),
            }
        }
        names
    }

    fn put(&mut self, cell: &[u8]) -> Result<(), Refusal> {
        self.writer
            .write_field(cell)
            .map_err(|error| failed(&self.target, error))
    }

    fn put_time(&mut self, time: Option<WallTime>) -> Result<(), Refusal> {
        self.cell.clear();
        match time {
            // As the server wrote it.
            Some(time) if time.nanos() % 1000 == 0 => self.time.micros(time, &mut self.cell),
            Some(time) => self.time.nanos(time, &mut self.cell),
            None => {}
        }
        let cell = std::mem::take(&mut self.cell);
        self.put(&cell)?;
        self.cell = cell;
        Ok(())
    }
}

impl Sink for Table {
    fn row(&mut self, row: &Row<'_>, leaves: &[Option<Leaf<'_>>]) -> Result<(), Refusal> {
        let message = row.message;
        let offset = message.offset.map(|offset| offset.get().to_string());
        self.put(offset.unwrap_or_default().as_bytes())?;
        let epoch = message.epoch.map(|epoch| epoch.to_string());
        self.put(epoch.unwrap_or_default().as_bytes())?;
        self.put_time(message.time)?;
        self.put_time(Some(message.received))?;
        for (column, leaf) in leaves.iter().enumerate() {
            match (self.elements.get(column).copied().flatten(), leaf) {
                (Some(count), Some(Leaf::List(list))) => {
                    let mut left = count;
                    for token in tokens(list).ok_or(Refusal::Changed)? {
                        if let Token::Scalar(number) = token {
                            self.put(number.as_bytes())?;
                            left = left.checked_sub(1).ok_or(Refusal::Changed)?;
                        }
                    }
                    if left > 0 {
                        return Err(Refusal::Changed);
                    }
                }
                (Some(count), None | Some(Leaf::Null)) => (0..count).try_for_each(|_| self.put(b""))?,
                (Some(_), _) => return Err(Refusal::Changed),
                (None, leaf) => self.put(&text(*leaf))?,
            }
        }
        let ended = self.writer.write_record(None::<&[u8]>);
        ended.map_err(|error| failed(&self.target, error))
    }

    fn finish(self: Box<Self>) -> Result<(), Refusal> {
        let target = self.target;
        let file = self.writer.into_inner();
        file.map_err(|error| unwritable(&target, error.error()))?.finish()
    }
}

/// What stands in a cell: numbers as they came, text as it is, lists and objects as JSON, bytes as base64, and nothing for null.
fn text(leaf: Option<Leaf<'_>>) -> Cow<'_, [u8]> {
    match leaf {
        None | Some(Leaf::Null) => Cow::Borrowed(b""),
        Some(Leaf::Bool(true)) => Cow::Borrowed(b"true"),
        Some(Leaf::Bool(false)) => Cow::Borrowed(b"false"),
        Some(Leaf::Number(json) | Leaf::List(json) | Leaf::Json(json)) => Cow::Borrowed(json.as_bytes()),
        Some(Leaf::Text(text)) => match (text.said(), text) {
            (Some(Cow::Borrowed(said)), _) => Cow::Borrowed(said.as_bytes()),
            (Some(Cow::Owned(said)), _) => Cow::Owned(said.into_bytes()),
            (None, super::leaf::Text::Plain(json) | super::leaf::Text::Quoted(json)) => Cow::Borrowed(json.as_bytes()),
        },
        Some(Leaf::Bytes(bytes)) => Cow::Owned(STANDARD.encode(bytes).into_bytes()),
    }
}

/// Which columns have a cell for each number of their lists.
fn elements(topic: &Topic, columns_max: usize) -> Vec<Option<u64>> {
    let of = |profile: &Profile| {
        let shape = profile.shape.as_ref().map(|(_, shape)| shape)?;
        let agrees = profile.other_shape.is_none() && profile.ragged.is_none() && !shape.is_empty();
        let only = profile.json.is_none() && profile.text.is_none() && profile.bytes.is_none();
        let count: u64 = shape.iter().product();
        (agrees && only && count > 0).then_some(count)
    };
    let elements: Vec<_> = topic.columns.iter().map(|(_, profile)| of(profile)).collect();
    let all = elements
        .iter()
        .map(|count| count.unwrap_or(1))
        .fold(0, u64::saturating_add);
    match all <= columns_max as u64 {
        true => elements,
        false => vec![None; topic.columns.len()],
    }
}

/// The name of one number of a list: its place in each direction.
fn element(name: &str, shape: &[u64], mut at: u64) -> String {
    let mut places = Vec::with_capacity(shape.len());
    for length in shape.iter().rev() {
        places.push((at % length).to_string());
        at /= length;
    }
    places.push(name.to_owned());
    places.reverse();
    places.join(".")
}

fn failed(target: &Path, error: csv::Error) -> Refusal {
    match error.into_kind() {
        csv::ErrorKind::Io(error) => unwritable(target, &error),
        _ => unwritable(target, &io::Error::other("a row has another length than its head")),
    }
}

/// What stands before the columns of the messages.
const BESIDE: [&str; 4] = ["offset", "epoch", "time", "received"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_a_list_are_called_by_their_place() {
        let names: Vec<_> = (0..6).map(|at| element("data", &[3, 2], at)).collect();
        assert_eq!(
            names,
            ["data.0.0", "data.0.1", "data.1.0", "data.1.1", "data.2.0", "data.2.1"]
        );
        assert_eq!(element("data", &[10], 9), "data.9");
    }
}
