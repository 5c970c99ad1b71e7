//! A topic as Parquet: typed columns, in groups of rows.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use lapwing_wire::dtype::Dtype;
use lapwing_wire::position::Epoch;
use lapwing_wire::time::WallTime;
use parquet::basic::{Compression, LogicalType, Repetition, TimeUnit, Type as Physical};
use parquet::data_type::{BoolType, ByteArray, ByteArrayType, DoubleType, FloatType, Int32Type, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::file::writer::{SerializedColumnWriter, SerializedFileWriter};
use parquet::schema::types::{Type, TypePtr};

use super::draft::{Draft, Drafts, unwritable};
use super::element::Element;
use super::leaf::{DATA, DATA_BASE64, Leaf, Text};
use super::list::{Token, tokens};
use super::passage::Row;
use super::profile::Profile;
use super::refusal::Refusal;
use super::sink::Sink;
use super::survey::Topic;

/// Writes the messages of one topic as columns; holds one group of rows, which is 32 MiB or one message.
pub struct Columnar {
    topic: String,
    writer: SerializedFileWriter<Draft>,
    target: PathBuf,
    columns: Vec<Column>,
    epoch: Option<(Epoch, ByteArray)>,
    rows: usize,
}

/// What a column of a topic is in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Numbers or booleans, in lists of this depth; 0 for none.
    Numbers(Element, usize),
    /// Text.
    Text,
    /// JSON as text, since its values have no type in common.
    Json,
    /// Bytes.
    Bytes,
    /// A moment, in nanoseconds.
    Time,
}

struct Column {
    kind: Kind,
    values: Values,
    definitions: Vec<i16>,
    repetitions: Vec<i16>,
    bytes: usize,
}

enum Values {
    Bools(Vec<bool>),
    Int32s(Vec<i32>),
    Int64s(Vec<i64>),
    Floats(Vec<f32>),
    Doubles(Vec<f64>),
    Bytes(Vec<ByteArray>),
}

impl Columnar {
    /// Begins the file.
    pub fn begin(topic: &Topic, dtype: Option<Dtype>, target: &Path, drafts: &Drafts) -> Result<Self, Refusal> {
        let mut named = vec![
            ("offset".to_owned(), Kind::Numbers(Element::Number(Dtype::Int64), 0)),
            ("epoch".to_owned(), Kind::Text),
            ("time".to_owned(), Kind::Time),
            ("received".to_owned(), Kind::Time),
        ];
        let mut has_numbers = false;
        for (name, profile) in &topic.columns {
            let kind = kind(profile, dtype.filter(|_| name == DATA));
            has_numbers |= name == DATA && matches!(kind, Kind::Numbers(..));
            let name = match named[..BESIDE].iter().any(|(known, _)| known == name) {
                true => format!("{DATA}.{name}"),
                false if name == DATA_BASE64 && kind == Kind::Bytes => "data_bytes".to_owned(),
                false => name.clone(),
            };
            if named.iter().any(|(known, _)| *known == name) {
                return Err(Refusal::SameName {
                    topic: topic.name.to_string(),
                    name,
                });
            }
            named.push((name, kind));
        }
        if dtype.is_some() && !has_numbers {
            return Err(Refusal::NoNumbers {
                topic: topic.name.to_string(),
            });
        }
        let failed = |error| failed(target, error);
        let fields = named.iter().map(|(name, kind)| field(name, *kind));
        let fields = fields.collect::<Result<Vec<_>, _>>().map_err(failed)?;
        let schema = Type::group_type_builder("messages").with_fields(fields).build();
        let properties = WriterProperties::builder()
            .set_compression(Compression::SNAPPY)
            .set_statistics_enabled(EnabledStatistics::Chunk)
            .set_offset_index_disabled(true)
            .set_created_by(concat!("lapwing ", env!("CARGO_PKG_VERSION")).to_owned())
            .build();
        let file = drafts.begin(target)?;
        Ok(Self {
            topic: topic.name.to_string(),
            writer: SerializedFileWriter::new(file, Arc::new(schema.map_err(failed)?), Arc::new(properties))
                .map_err(failed)?,
            target: target.to_owned(),
            columns: named.iter().map(|(_, kind)| Column::new(*kind)).collect(),
            epoch: None,
            rows: 0,
        })
    }

    fn write_group(&mut self) -> Result<(), Refusal> {
        if self.rows == 0 {
            return Ok(());
        }
        let target = &self.target;
        let failed = |error| failed(target, error);
        let mut group = self.writer.next_row_group().map_err(failed)?;
        for column in &mut self.columns {
            if let Some(writer) = group.next_column().map_err(failed)? {
                column.write(writer).map_err(failed)?;
            }
        }
        group.close().map_err(failed)?;
        self.rows = 0;
        Ok(())
    }

    fn epoch(&mut self, epoch: Option<Epoch>) -> Option<ByteArray> {
        let epoch = epoch?;
        match &self.epoch {
            Some((known, text)) if *known == epoch => Some(text.clone()),
            _ => {
                let text = ByteArray::from(epoch.to_string().into_bytes());
                self.epoch = Some((epoch, text.clone()));
                Some(text)
            }
        }
    }
}

impl Sink for Columnar {
    fn row(&mut self, row: &Row<'_>, leaves: &[Option<Leaf<'_>>]) -> Result<(), Refusal> {
        let message = row.message;
        let epoch = self.epoch(message.epoch);
        let offset = message.offset.and_then(|offset| i64::try_from(offset.get()).ok());
        self.columns[0].put_int64(offset);
        self.columns[1].put_bytes(epoch);
        self.columns[2].put_int64(message.time.map(WallTime::nanos));
        self.columns[3].put_int64(Some(message.received.nanos()));
        for (column, leaf) in self.columns[BESIDE..].iter_mut().zip(leaves) {
            let misfit = |value: &str, element| Refusal::Misfit {
                topic: self.topic.clone(),
                value: value.to_owned(),
                element,
                at: row.at,
            };
            column.put(leaf.as_ref(), &misfit)?;
        }
        self.rows += 1;
        let bytes: usize = self.columns.iter().map(|column| column.bytes).sum();
        match bytes >= GROUP_BYTES {
            true => self.write_group(),
            false => Ok(()),
        }
    }

    fn finish(mut self: Box<Self>) -> Result<(), Refusal> {
        self.write_group()?;
        let target = self.target;
        self.writer
            .into_inner()
            .map_err(|error| failed(&target, error))?
            .finish()
    }
}

impl Column {
    fn new(kind: Kind) -> Self {
        let values = match kind {
            Kind::Numbers(element, _) => match physical(element) {
                Physical::BOOLEAN => Values::Bools(Vec::new()),
                Physical::FLOAT => Values::Floats(Vec::new()),
                Physical::DOUBLE => Values::Doubles(Vec::new()),
                Physical::INT64 => Values::Int64s(Vec::new()),
                _ => Values::Int32s(Vec::new()),
            },
            Kind::Time => Values::Int64s(Vec::new()),
            Kind::Text | Kind::Json | Kind::Bytes => Values::Bytes(Vec::new()),
        };
        Self {
            kind,
            values,
            definitions: Vec::new(),
            repetitions: Vec::new(),
            bytes: 0,
        }
    }

    fn put(&mut self, leaf: Option<&Leaf<'_>>, misfit: &dyn Fn(&str, Element) -> Refusal) -> Result<(), Refusal> {
        let leaf = match leaf {
            None | Some(Leaf::Null) => {
                self.level(0, 0);
                return Ok(());
            }
            Some(leaf) => leaf,
        };
        match (self.kind, leaf) {
            (Kind::Numbers(element, 0), Leaf::Number(token)) => {
                self.number(element, token).ok_or_else(|| misfit(token, element))?;
                self.level(1, 0);
            }
            (Kind::Numbers(Element::Bool, 0), Leaf::Bool(value)) => {
                let token = if *value { "true" } else { "false" };
                self.number(Element::Bool, token).ok_or(Refusal::Changed)?;
                self.level(1, 0);
            }
            (Kind::Numbers(element, depth), Leaf::List(list)) if depth > 0 => {
                self.list(list, element, depth, misfit)?
            }
            (Kind::Text, Leaf::Text(text)) => {
                let text = text.said().ok_or(Refusal::Changed)?;
                self.put_bytes(Some(ByteArray::from(text.as_bytes().to_vec())));
            }
            (Kind::Bytes, Leaf::Bytes(bytes)) => self.put_bytes(Some(ByteArray::from(bytes.to_vec()))),
            (Kind::Json, leaf) => self.put_bytes(Some(ByteArray::from(json(leaf)))),
            _ => return Err(Refusal::Changed),
        }
        Ok(())
    }

    /// A list as Parquet has it: what is there counts up the definitions, where a list goes on counts up the repetitions.
    fn list(
        &mut self,
        list: &str,
        element: Element,
        depth: usize,
        misfit: &dyn Fn(&str, Element) -> Refusal,
    ) -> Result<(), Refusal> {
        let mut counts = vec![0_u64; depth + 1];
        let (mut at, mut repetition) = (0, 0);
        for token in tokens(list).ok_or(Refusal::Changed)? {
            match token {
                Token::Open => {
                    at += 1;
                    *counts.get_mut(at).ok_or(Refusal::Changed)? = 0;
                }
                Token::Scalar(token) => {
                    if at != depth {
                        return Err(Refusal::Changed);
                    }
                    self.number(element, token).ok_or_else(|| misfit(token, element))?;
                    self.level(1 + depth as i16, repetition);
                    counts[at] += 1;
                    repetition = depth as i16;
                }
                Token::Close => {
                    if counts[at] == 0 {
                        self.level(at as i16, repetition);
                    }
                    at -= 1;
                    counts[at] += 1;
                    repetition = at as i16;
                }
            }
        }
        Ok(())
    }

    fn number(&mut self, element: Element, token: &str) -> Option<()> {
        let mut bytes = Vec::with_capacity(element.bytes());
        element.encode(token, &mut bytes)?;
        self.bytes += bytes.len();
        let mut wide = [0; 8];
        wide[..bytes.len()].copy_from_slice(&bytes);
        let bits = u64::from_le_bytes(wide);
        match &mut self.values {
            Values::Bools(values) => values.push(bits != 0),
            Values::Floats(values) => values.push(f32::from_bits(bits as u32)),
            Values::Doubles(values) => values.push(f64::from_bits(bits)),
            Values::Int64s(values) => values.push(bits as i64),
            Values::Int32s(values) => values.push(match element {
                // Narrow ones below 0 stay below 0.
                Element::Number(Dtype::Int8) => i32::from(bits as u8 as i8),
                Element::Number(Dtype::Int16) => i32::from(bits as u16 as i16),
                _ => bits as u32 as i32,
            }),
            Values::Bytes(_) => return None,
        }
        Some(())
    }

    fn put_int64(&mut self, value: Option<i64>) {
        if let (Some(value), Values::Int64s(values)) = (value, &mut self.values) {
            values.push(value);
            self.bytes += size_of::<i64>();
        }
        self.level(i16::from(value.is_some()), 0);
    }

    fn put_bytes(&mut self, value: Option<ByteArray>) {
        self.level(i16::from(value.is_some()), 0);
        if let (Some(value), Values::Bytes(values)) = (value, &mut self.values) {
            self.bytes += value.len() + size_of::<ByteArray>();
            values.push(value);
        }
    }

    fn level(&mut self, definition: i16, repetition: i16) {
        self.definitions.push(definition);
        self.repetitions.push(repetition);
        self.bytes += 2 * size_of::<i16>();
    }

    fn write(&mut self, mut writer: SerializedColumnWriter<'_>) -> Result<(), ParquetError> {
        let levels = Some(self.definitions.as_slice());
        let lists = matches!(self.kind, Kind::Numbers(_, 1..));
        let repeated = lists.then_some(self.repetitions.as_slice());
        match &mut self.values {
            Values::Bools(values) => writer.typed::<BoolType>().write_batch(values, levels, repeated)?,
            Values::Int32s(values) => writer.typed::<Int32Type>().write_batch(values, levels, repeated)?,
            Values::Int64s(values) => writer.typed::<Int64Type>().write_batch(values, levels, repeated)?,
            Values::Floats(values) => writer.typed::<FloatType>().write_batch(values, levels, repeated)?,
            Values::Doubles(values) => writer.typed::<DoubleType>().write_batch(values, levels, repeated)?,
            Values::Bytes(values) => writer.typed::<ByteArrayType>().write_batch(values, levels, repeated)?,
        };
        writer.close()?;
        *self = Self::new(self.kind);
        Ok(())
    }
}

/// What a column is in the file.
#[must_use]
pub fn kind(profile: &Profile, dtype: Option<Dtype>) -> Kind {
    let kinds = profile.kinds();
    match (kinds.as_slice(), profile.depth()) {
        ([("bytes", _)], _) if profile.shape.is_none() && profile.ragged.is_none() => Kind::Bytes,
        ([("text", _)], _) if profile.shape.is_none() && profile.texts.unspeakable.is_none() => Kind::Text,
        ([("numbers", _)], Some(depth)) => match dtype.map(Element::Number).or_else(|| profile.element().ok()) {
            Some(element) => Kind::Numbers(element, depth),
            None => Kind::Json,
        },
        ([("booleans", _)], Some(depth)) => Kind::Numbers(Element::Bool, depth),
        ([], Some(depth @ 1..)) => Kind::Numbers(Element::Number(dtype.unwrap_or(Dtype::Float64)), depth),
        // Nothing but null is text that is nowhere.
        ([], _) if profile.shape.is_none() && profile.ragged.is_none() => Kind::Text,
        _ => Kind::Json,
    }
}

/// The JSON of a value that shares its column with others.
fn json(leaf: &Leaf<'_>) -> Vec<u8> {
    match leaf {
        Leaf::Null => b"null".to_vec(),
        Leaf::Bool(value) => value.to_string().into_bytes(),
        Leaf::Number(json) | Leaf::List(json) | Leaf::Json(json) | Leaf::Text(Text::Quoted(json)) => {
            json.as_bytes().to_vec()
        }
        Leaf::Text(Text::Plain(text)) => serde_json::Value::from(*text).to_string().into_bytes(),
        Leaf::Bytes(bytes) => bytes.to_vec(),
    }
}

/// How a column stands in the schema: every value may be null.
fn field(name: &str, kind: Kind) -> Result<TypePtr, ParquetError> {
    let of = |name, physical, logical, repetition| {
        let builder = Type::primitive_type_builder(name, physical);
        builder
            .with_logical_type(logical)
            .with_repetition(repetition)
            .build()
            .map(Arc::new)
    };
    let optional = Repetition::OPTIONAL;
    match kind {
        Kind::Text | Kind::Json => of(name, Physical::BYTE_ARRAY, Some(LogicalType::String), optional),
        Kind::Bytes => of(name, Physical::BYTE_ARRAY, None, optional),
        Kind::Time => {
            let moment = LogicalType::timestamp(true, TimeUnit::NANOS);
            of(name, Physical::INT64, Some(moment), optional)
        }
        Kind::Numbers(element, 0) => of(name, physical(element), logical(element), optional),
        Kind::Numbers(element, depth) => {
            let mut inner = of("element", physical(element), logical(element), Repetition::REQUIRED)?;
            for at in (1..=depth).rev() {
                let list = Type::group_type_builder("list")
                    .with_repetition(Repetition::REPEATED)
                    .with_fields(vec![inner])
                    .build()?;
                let (name, repetition) = match at {
                    1 => (name, optional),
                    _ => ("element", Repetition::REQUIRED),
                };
                let group = Type::group_type_builder(name)
                    .with_logical_type(Some(LogicalType::List))
                    .with_repetition(repetition)
                    .with_fields(vec![Arc::new(list)])
                    .build()?;
                inner = Arc::new(group);
            }
            Ok(inner)
        }
    }
}

fn physical(element: Element) -> Physical {
    match element {
        Element::Bool => Physical::BOOLEAN,
        Element::Number(Dtype::Float32) => Physical::FLOAT,
        Element::Number(Dtype::Float64) => Physical::DOUBLE,
        Element::Number(Dtype::Int64 | Dtype::Uint64) => Physical::INT64,
        Element::Number(_) => Physical::INT32,
    }
}

fn logical(element: Element) -> Option<LogicalType> {
    let Element::Number(dtype) = element else { return None };
    let (least, _) = dtype.bounds()?;
    let bits = i8::try_from(dtype.bytes() * 8).ok()?;
    Some(LogicalType::integer(bits, least < 0))
}

fn failed(target: &Path, error: ParquetError) -> Refusal {
    let error = match error {
        ParquetError::External(error) => match error.downcast::<std::io::Error>() {
            Ok(error) => *error,
            Err(error) => std::io::Error::other(error),
        },
        error => std::io::Error::other(error),
    };
    unwritable(target, &error)
}

/// Columns that stand before those of the messages.
const BESIDE: usize = 4;

/// 32 MiB: groups large enough to be read fast, and the memory that it takes to write them.
const GROUP_BYTES: usize = 32 << 20;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::at::At;

    /// Definitions and repetitions of lists, as the format's own page lays them out.
    #[track_caller]
    fn check(depth: usize, lists: &[&str], definitions: &[i16], repetitions: &[i16]) {
        let mut column = Column::new(Kind::Numbers(Element::Number(Dtype::Int64), depth));
        for list in lists {
            let leaf = match *list {
                "null" => None,
                list => Some(Leaf::List(list)),
            };
            column
                .put(leaf.as_ref(), &|_, _| Refusal::Changed)
                .expect("they are of one depth");
        }
        assert_eq!(
            (column.definitions.as_slice(), column.repetitions.as_slice()),
            (definitions, repetitions),
            "{lists:?}"
        );
    }

    #[test]
    fn lists_have_the_levels_of_the_format() {
        check(
            1,
            &["[1,2,3]", "[]", "null", "[4]"],
            &[2, 2, 2, 1, 0, 2],
            &[0, 1, 1, 0, 0, 0],
        );
        check(2, &["[[1,2],[3]]", "[[],[4]]"], &[3, 3, 3, 2, 3], &[0, 2, 1, 0, 1]);
        check(2, &["[]", "[[]]", "null"], &[1, 2, 0], &[0, 0, 0]);
        check(3, &["[[[1],[2,3]],[[4]]]"], &[4, 4, 4, 4], &[0, 2, 3, 1]);
    }

    #[test]
    fn a_column_is_of_the_type_that_all_values_have() {
        let of = |leaves: &[Leaf<'_>], dtype| {
            let mut profile = Profile::default();
            leaves.iter().for_each(|leaf| profile.take(leaf, At::Row(0)));
            kind(&profile, dtype)
        };
        let (one, text) = (Leaf::Number("1"), Leaf::Text(Text::Plain("a")));
        assert_eq!(of(&[one], None), Kind::Numbers(Element::Number(Dtype::Int64), 0));
        assert_eq!(
            of(&[one], Some(Dtype::Float32)),
            Kind::Numbers(Element::Number(Dtype::Float32), 0)
        );
        assert_eq!(of(&[Leaf::Null, text], None), Kind::Text);
        assert_eq!(of(&[Leaf::Null], None), Kind::Text);
        assert_eq!(of(&[text, one], None), Kind::Json);
        assert_eq!(of(&[text, Leaf::List("[1]")], None), Kind::Json);
        assert_eq!(of(&[text, Leaf::List("[]")], None), Kind::Json);
        assert_eq!(
            of(&[Leaf::List("[]"), Leaf::List("[[1],[]]")], None),
            Kind::Numbers(Element::Number(Dtype::Int64), 2)
        );
        assert_eq!(of(&[Leaf::List("[true]")], None), Kind::Numbers(Element::Bool, 1));
        assert_eq!(
            of(&[Leaf::List("[]")], None),
            Kind::Numbers(Element::Number(Dtype::Float64), 1)
        );
        assert_eq!(of(&[one, Leaf::List("[1]")], None), Kind::Json);
        assert_eq!(of(&[Leaf::Bytes(b"")], None), Kind::Bytes);
        assert_eq!(of(&[Leaf::Number("18446744073709551616")], None), Kind::Json);
        assert_eq!(of(&[Leaf::Text(Text::Quoted("\"\\ud800\""))], None), Kind::Json);
    }
}
