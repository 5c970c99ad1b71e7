//! Messages of one topic that are handed over together: what they say, behind each other in memory, and their timing.

use lapwing::clock::Now;
use lapwing::recording::arrival::{Arrival, Value};
use lapwing_wire::array::Array;
use lapwing_wire::block::BlockTiming;
use lapwing_wire::dtype::Dtype;
use lapwing_wire::numbers::Axes;
use lapwing_wire::position::Epoch;
use lapwing_wire::time::TimeReader;
use lapwing_wire::topic::TopicName;

use crate::elements::Elements;

/// Messages of one topic, in their order.
#[derive(Debug)]
pub struct Chunk {
    /// The topic; `-` on a feed that has none.
    pub topic: TopicName,
    /// The history that the offsets belong to, where it has a name.
    pub epoch: Option<Epoch>,
    /// Message by message.
    pub entries: Vec<Entry>,
    /// What those say that are no arrays.
    pub bytes: Vec<u8>,
    /// Arrays of the same shape and type that follow each other.
    pub runs: Vec<Run>,
    /// The timing, of what is a block.
    pub timing: Option<BlockTiming>,
}

/// One message.
#[derive(Debug, Clone, Copy)]
pub struct Entry {
    /// Its place, where the server gives one.
    pub offset: Option<u64>,
    /// When the server appended it, in nanoseconds since 1970, where it says so.
    pub time: Option<i64>,
    /// When it was received.
    pub received: Now,
    /// What it is.
    pub form: Form,
    /// Where what it says ends in the bytes; an array has nothing there.
    pub end: usize,
}

/// What a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// A JSON value.
    Json,
    /// Text.
    Text,
    /// Bytes as a JSON string of base64.
    Base64,
    /// Bytes.
    Bytes,
    /// An array.
    Array {
        /// In which run.
        run: usize,
        /// Which of it.
        at: usize,
    },
}

/// Arrays of one shape and type.
#[derive(Debug)]
pub struct Run {
    /// The type.
    pub dtype: Dtype,
    /// The shape of each.
    pub axes: Axes,
    /// How many.
    pub count: usize,
    /// The elements of all.
    pub elements: Elements,
}

impl Chunk {
    /// Without messages; `like` is one of the same topic whose size is expected again.
    pub fn new(topic: TopicName, epoch: Option<Epoch>, like: Option<Size>) -> Self {
        let Size { messages, bytes } = like.unwrap_or_default();
        Self {
            topic,
            epoch,
            entries: Vec::with_capacity(messages),
            bytes: Vec::with_capacity(bytes),
            runs: Vec::new(),
            timing: None,
        }
    }

    /// Takes a message; of arrays `ahead` more of the same kind are expected.
    pub fn push(&mut self, arrival: &Arrival<'_>, times: &mut TimeReader, ahead: usize) {
        let form = match arrival.value {
            Value::Json(text) => self.text(text.as_bytes(), Form::Json),
            Value::Text(text) => self.text(text.as_bytes(), Form::Text),
            Value::Base64(text) => self.text(text.as_bytes(), Form::Base64),
            Value::Bytes(bytes) => self.text(bytes, Form::Bytes),
            Value::Array(array) => self.array(array, ahead),
        };
        self.entries.push(Entry {
            offset: arrival.offset.map(|offset| offset.get()),
            time: arrival.time.and_then(|time| times.read(time)).map(|time| time.nanos()),
            received: arrival.received,
            form,
            end: self.bytes.len(),
        });
    }

    fn text(&mut self, bytes: &[u8], form: Form) -> Form {
        self.bytes.extend_from_slice(bytes);
        form
    }

    fn array(&mut self, array: &Array<'_>, ahead: usize) -> Form {
        let fits = |run: &Run| run.dtype == array.dtype && run.axes == array.axes;
        if !self.runs.last().is_some_and(fits) {
            let bytes = array.elements.len().saturating_mul(ahead.saturating_add(1));
            let bytes = bytes.min(AHEAD_BYTES_MAX.max(array.elements.len()));
            self.runs.push(Run {
                dtype: array.dtype,
                axes: array.axes,
                count: 0,
                elements: Elements::new(array.dtype, bytes / array.dtype.bytes()),
            });
        }
        let at = self.runs.len() - 1;
        let run = &mut self.runs[at];
        run.elements.extend(array.elements);
        run.count += 1;
        Form::Array {
            run: at,
            at: run.count - 1,
        }
    }

    /// What the message at this place says, as it stands in the bytes; of an array nothing.
    pub fn said(&self, at: usize) -> &[u8] {
        let begin = at.checked_sub(1).map_or(0, |before| self.entries[before].end);
        &self.bytes[begin..self.entries[at].end]
    }

    /// How large it is.
    pub fn size(&self) -> Size {
        Size {
            messages: self.entries.len(),
            bytes: self.bytes.len(),
        }
    }

    /// About how much memory it takes.
    pub fn memory(&self) -> usize {
        let of_run = |run: &Run| {
            let each = run.axes.elements().unwrap_or(0) * run.dtype.bytes();
            run.count * each
        };
        self.entries.len() * size_of::<Entry>() + self.bytes.len() + self.runs.iter().map(of_run).sum::<usize>()
    }
}

/// How large a chunk is.
#[derive(Debug, Clone, Copy, Default)]
pub struct Size {
    messages: usize,
    bytes: usize,
}

/// 64 MiB: what is expected is not always what comes.
const AHEAD_BYTES_MAX: usize = 64 << 20;

#[cfg(test)]
mod tests {
    use lapwing_wire::array::ArrayWriter;
    use lapwing_wire::position::Offset;
    use lapwing_wire::time::WallTime;

    use super::*;

    fn topic() -> TopicName {
        TopicName::parse("t").expect("valid")
    }

    fn frame(value: &str, dtype: Dtype) -> Vec<u8> {
        let mut frame = Vec::new();
        let writer = ArrayWriter::new(topic(), 0, dtype);
        assert!(writer.write(Offset::ZERO, WallTime::from_nanos(0), value.as_bytes(), &mut frame));
        frame
    }

    fn push(chunk: &mut Chunk, value: Value<'_>) {
        let topic = topic();
        let arrival = Arrival {
            topic: &topic,
            offset: Some(Offset::new(chunk.entries.len() as u64)),
            epoch: None,
            time: Some("2026-11-21T19:00:00.123456Z"),
            received: Now::default(),
            value,
            bytes: 0,
        };
        chunk.push(&arrival, &mut TimeReader::default(), 2);
    }

    #[test]
    fn what_each_message_says_is_found_again() {
        let (small, wide) = (frame("[1,2]", Dtype::Int8), frame("[3,4]", Dtype::Int64));
        let [small, wide] = [&small, &wide].map(|frame| Array::parse(frame).expect("an array"));
        let mut chunk = Chunk::new(topic(), None, None);
        for value in [
            Value::Json("{}"),
            Value::Array(&small),
            Value::Array(&small),
            Value::Text(""),
            Value::Array(&wide),
            Value::Bytes(b"\xff"),
            Value::Array(&small),
        ] {
            push(&mut chunk, value);
        }
        let said: Vec<_> = (0..chunk.entries.len()).map(|at| chunk.said(at)).collect();
        assert_eq!(said, [&b"{}"[..], b"", b"", b"", b"", b"\xff", b""]);
        let forms: Vec<_> = chunk.entries.iter().map(|entry| entry.form).collect();
        assert_eq!(forms[2], Form::Array { run: 0, at: 1 });
        assert_eq!(forms[4], Form::Array { run: 1, at: 0 });
        assert_eq!(forms[6], Form::Array { run: 2, at: 0 });
        assert_eq!(chunk.runs[0].elements, Elements::Int8(vec![1, 2, 1, 2]));
        assert_eq!(chunk.runs[1].elements, Elements::Int64(vec![3, 4]));
        let bytes = 7 * size_of::<Entry>() + 3 + 4 + 16 + 2;
        assert_eq!(chunk.memory(), bytes);
    }
}
