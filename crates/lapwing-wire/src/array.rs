//! A message of numbers as one binary frame: a header that says what and where it is, then the elements as they lie in memory.

use thiserror::Error;

use crate::dtype::Dtype;
use crate::numbers::{self, Axes};
use crate::position::Offset;
use crate::time::WallTime;
use crate::topic::TopicName;

/// Writes the arrays of one topic as messages, without the header of a WebSocket frame.
#[derive(Clone, Debug)]
pub struct ArrayWriter {
    topic: TopicName,
    number: u32,
    dtype: Dtype,
}

impl ArrayWriter {
    /// For messages of `topic`, which has this number on its server.
    #[must_use]
    pub fn new(topic: TopicName, number: u32, dtype: Dtype) -> Self {
        Self { topic, number, dtype }
    }

    /// The topic.
    #[must_use]
    pub fn topic(&self) -> &TopicName {
        &self.topic
    }

    /// The number of the topic.
    #[must_use]
    pub fn number(&self) -> u32 {
        self.number
    }

    /// The type of the elements.
    #[must_use]
    pub fn dtype(&self) -> Dtype {
        self.dtype
    }

    /// Appends the message of a compact JSON value; false, and nothing appended, when that is no array of the topic's type or
    /// longer than [`ELEMENTS_BYTES_MAX`].
    #[must_use]
    pub fn write(&self, offset: Offset, time: WallTime, value: &[u8], out: &mut Vec<u8>) -> bool {
        let (begin, rank, name) = (out.len(), numbers::rank(value), self.topic.as_str());
        let data = (FIXED_BYTES + 4 * rank + name.len()).next_multiple_of(ALIGNMENT);
        out.reserve(data);
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&self.dtype.code());
        out.extend_from_slice(&[rank as u8, name.len() as u8]);
        out.extend_from_slice(&self.number.to_le_bytes());
        out.extend_from_slice(&(data as u32).to_le_bytes());
        out.extend_from_slice(&offset.get().to_le_bytes());
        out.extend_from_slice(&time.nanos().div_euclid(NANOS_PER_MICRO).to_le_bytes());
        out.resize(begin + FIXED_BYTES + 4 * rank, 0);
        out.extend_from_slice(name.as_bytes());
        out.resize(begin + data, 0);
        let Some(axes) = numbers::read_lists(value, self.dtype, ELEMENTS_BYTES_MAX, out) else {
            out.truncate(begin);
            return false;
        };
        let shape = out[begin + FIXED_BYTES..].chunks_exact_mut(4);
        for (place, length) in shape.zip(axes.lengths()) {
            place.copy_from_slice(&length.to_le_bytes());
        }
        true
    }
}

/// A message of numbers as a client reads it, borrowed from the frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Array<'a> {
    /// Its topic.
    pub topic: &'a str,
    /// The number of the topic on its server.
    pub number: u32,
    /// Its place.
    pub offset: Offset,
    /// When the server appended it, in whole microseconds.
    pub time: WallTime,
    /// The type of its elements.
    pub dtype: Dtype,
    /// Its shape.
    pub axes: Axes,
    /// Its elements, little-endian, in row-major order: as many as its axes say.
    pub elements: &'a [u8],
}

impl<'a> Array<'a> {
    /// Parses a binary message of a Lapwing server. What it takes is no more than a server of ours sends: its value as text is
    /// bounded.
    pub fn parse(message: &'a [u8]) -> Result<Self, ArrayError> {
        let rest = message.strip_prefix(&MAGIC).ok_or(ArrayError::Magic)?;
        let head: &[u8; FIXED_BYTES - MAGIC.len()] = rest.first_chunk().ok_or(ArrayError::Short)?;
        let [kind, width, rank, name_bytes, head @ ..] = head;
        let dtype = Dtype::of_code([*kind, *width]).ok_or(ArrayError::Dtype)?;
        let number = u32::from_le_bytes(part(head, 0));
        let data = u32::from_le_bytes(part(head, 4)) as usize;
        let offset = Offset::new(u64::from_le_bytes(part(head, 8)));
        let micros = i64::from_le_bytes(part(head, 16));
        let nanos = micros.checked_mul(NANOS_PER_MICRO).ok_or(ArrayError::Time { micros })?;
        let behind = &message[FIXED_BYTES..];
        let (shape, behind) = behind
            .split_at_checked(4 * usize::from(*rank))
            .ok_or(ArrayError::Short)?;
        let name = behind.get(..usize::from(*name_bytes)).ok_or(ArrayError::Short)?;
        let header = FIXED_BYTES + shape.len() + name.len();
        if data < header || !data.is_multiple_of(ALIGNMENT) {
            return Err(ArrayError::Begin { data });
        }
        let elements = message.get(data..).ok_or(ArrayError::Short)?;
        let lengths = shape.chunks_exact(4).map(|length| u32::from_le_bytes(part(length, 0)));
        let axes = Axes::new(lengths).ok_or(ArrayError::Shape)?;
        let bytes = axes.elements().and_then(|count| count.checked_mul(dtype.bytes()));
        if bytes != Some(elements.len()) {
            return Err(ArrayError::Elements { bytes: elements.len() });
        }
        // Axes of length 1 cost a frame nothing, and its text two brackets for each element.
        let long = axes.lists().is_none_or(|lists| lists > LISTS_MAX);
        if long || elements.len() > ELEMENTS_BYTES_MAX {
            return Err(ArrayError::TooLong);
        }
        let topic = std::str::from_utf8(name).map_err(|_| ArrayError::Topic)?;
        TopicName::parse(topic).map_err(|_| ArrayError::Topic)?;
        let time = WallTime::from_nanos(nanos);
        Ok(Self {
            topic,
            number,
            offset,
            time,
            dtype,
            axes,
            elements,
        })
    }

    /// Appends its value as compact JSON: the text that it was made of, where floats stand in that in their shortest form.
    pub fn write_value(&self, out: &mut Vec<u8>) {
        numbers::write_lists(&self.axes, self.dtype, self.elements, out);
    }
}

/// The bytes at a place that is known to be there.
fn part<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    *bytes[at..].first_chunk().expect("the length was checked before")
}

/// Why a binary message is no array.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
pub enum ArrayError {
    /// It begins in another way, or is of another version.
    #[error("a binary frame that does not begin as an array of version 1")]
    Magic,
    /// It ends within its header.
    #[error("an array that ends within its header")]
    Short,
    /// A type that there is not.
    #[error("an array of an unknown dtype")]
    Dtype,
    /// A time that is none.
    #[error("an array with a time of {micros} microseconds, beyond the year 2262")]
    Time {
        /// Since 1970.
        micros: i64,
    },
    /// Its elements begin within its header, or not aligned.
    #[error("an array whose elements begin at {data}: no multiple of 8 behind its header")]
    Begin {
        /// Where they begin.
        data: usize,
    },
    /// No axes, too many, or one without length.
    #[error("an array needs 1 to 32 axes, none of length 0")]
    Shape,
    /// Its elements are not as many as its shape says.
    #[error("an array with {bytes} bytes of elements, which is not what its shape says")]
    Elements {
        /// How many bytes there are.
        bytes: usize,
    },
    /// Beyond [`ELEMENTS_BYTES_MAX`] or [`LISTS_MAX`].
    #[error("an array of more than 16 MiB, or of more than 8,388,608 lists")]
    TooLong,
    /// A topic's name that is none.
    #[error("an array whose topic has no valid name")]
    Topic,
}

/// How every array begins, the version of its layout last.
pub const MAGIC: [u8; 4] = *b"LWA\x01";
/// The most bytes of elements: as much as a message may be long.
pub const ELEMENTS_BYTES_MAX: usize = 16 << 20;
/// The most lists: the text of so many is longer than a message may be.
pub const LISTS_MAX: usize = 8 << 20;
/// The header up to the shape.
const FIXED_BYTES: usize = 32;
/// Where elements begin in a message: such that every type of them is aligned.
const ALIGNMENT: usize = 8;
const NANOS_PER_MICRO: i64 = 1000;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn topic(name: &str) -> TopicName {
        TopicName::parse(name).expect("valid")
    }

    fn time() -> WallTime {
        WallTime::parse("2026-11-21T19:00:00.123456Z").expect("valid")
    }

    fn message(value: &str, dtype: Dtype) -> Option<Vec<u8>> {
        let mut out = Vec::new();
        let writer = ArrayWriter::new(topic("arrays"), 1, dtype);
        writer
            .write(Offset::new(41), time(), value.as_bytes(), &mut out)
            .then_some(out)
    }

    #[test]
    fn the_header_is_laid_out_as_it_is_documented() {
        let frame = message("[[1,2,3],[4,5,-6]]", Dtype::Int16).expect("an array");
        let micros: i64 = 1_795_287_600_123_456;
        let mut expect = b"LWA\x01i2\x02\x06\x01\0\0\0\x30\0\0\0".to_vec();
        expect.extend_from_slice(&41_u64.to_le_bytes());
        expect.extend_from_slice(&micros.to_le_bytes());
        expect.extend_from_slice(b"\x02\0\0\0\x03\0\0\0arrays\0\0");
        expect.extend_from_slice(b"\x01\0\x02\0\x03\0\x04\0\x05\0\xfa\xff");
        assert_eq!(frame, expect);
        let array = Array::parse(&frame).expect("our own");
        assert_eq!(
            (array.topic, array.number, array.offset.get(), array.time),
            ("arrays", 1, 41, time())
        );
        assert_eq!((array.dtype, array.axes.lengths()), (Dtype::Int16, &[2, 3][..]));
    }

    #[test]
    fn what_is_no_array_leaves_nothing_behind() {
        let mut out = b"before".to_vec();
        let writer = ArrayWriter::new(topic("t"), 0, Dtype::Int8);
        for value in ["{\"a\":1}", "[1,128]", "[]", "null", "[1.0]"] {
            assert!(
                !writer.write(Offset::ZERO, time(), value.as_bytes(), &mut out),
                "{value}"
            );
            assert_eq!(out, b"before");
        }
    }

    #[test]
    fn elements_are_at_most_as_long_as_a_message() {
        let value = |count: usize| format!("[{}1]", "1,".repeat(count - 1));
        let most = ELEMENTS_BYTES_MAX / 8;
        assert!(message(&value(most), Dtype::Float64).is_some_and(|frame| Array::parse(&frame).is_ok()));
        assert!(message(&value(most + 1), Dtype::Float64).is_none());
    }

    #[track_caller]
    fn check_wrong(change: impl FnOnce(&mut Vec<u8>), error: ArrayError) {
        let mut frame = message("[[1,2],[3,4]]", Dtype::Int32).expect("an array");
        change(&mut frame);
        assert_eq!(Array::parse(&frame), Err(error));
    }

    #[test]
    fn what_is_wrong_is_said() {
        check_wrong(Vec::clear, ArrayError::Magic);
        check_wrong(|frame| frame[3] = 2, ArrayError::Magic);
        check_wrong(|frame| frame.truncate(31), ArrayError::Short);
        check_wrong(|frame| frame.truncate(40), ArrayError::Short);
        check_wrong(|frame| frame[4] = b'x', ArrayError::Dtype);
        check_wrong(|frame| frame[6] = 0, ArrayError::Shape);
        check_wrong(|frame| frame[32] = 0, ArrayError::Shape);
        check_wrong(|frame| frame[32] = 3, ArrayError::Elements { bytes: 16 });
        check_wrong(|frame| frame.push(0), ArrayError::Elements { bytes: 17 });
        check_wrong(|frame| frame[12] = 49, ArrayError::Begin { data: 49 });
        check_wrong(|frame| frame[12] = 40, ArrayError::Begin { data: 40 });
        check_wrong(|frame| frame[40] = b' ', ArrayError::Topic);
        check_wrong(|frame| frame[7] = 0, ArrayError::Topic);
        check_wrong(
            |frame| frame[24..32].copy_from_slice(&i64::MAX.to_le_bytes()),
            ArrayError::Time { micros: i64::MAX },
        );
    }

    #[test]
    fn a_short_frame_is_no_long_text() {
        let bomb = |axes: &[u32], elements: usize| {
            let mut frame = MAGIC.to_vec();
            frame.extend_from_slice(&[b'u', b'1', axes.len() as u8, 1]);
            let data = (32 + 4 * axes.len() + 1).next_multiple_of(8);
            frame.extend_from_slice(&0_u32.to_le_bytes());
            frame.extend_from_slice(&(data as u32).to_le_bytes());
            frame.resize(32, 0);
            axes.iter()
                .for_each(|length| frame.extend_from_slice(&length.to_le_bytes()));
            frame.push(b't');
            frame.resize(data + elements, 0);
            Array::parse(&frame).map(|array| array.axes.lists())
        };
        let mut axes = [1; 32];
        axes[0] = (LISTS_MAX as u32 - 1) / 31;
        assert!(bomb(&axes, axes[0] as usize).is_ok_and(|lists| lists <= Some(LISTS_MAX)));
        axes[0] += 1;
        assert_eq!(bomb(&axes, axes[0] as usize), Err(ArrayError::TooLong));
        assert_eq!(bomb(&[u32::MAX; 3], 8), Err(ArrayError::Elements { bytes: 8 }));
        assert!(bomb(&[ELEMENTS_BYTES_MAX as u32], ELEMENTS_BYTES_MAX).is_ok());
        assert_eq!(
            bomb(&[ELEMENTS_BYTES_MAX as u32 + 1], ELEMENTS_BYTES_MAX + 1),
            Err(ArrayError::TooLong)
        );
    }

    proptest! {
        #[test]
        fn every_message_comes_back(
            rows in 1_usize..5, columns in 1_usize..5, numbers: [i64; 4], name in "[a-z]{1,64}", number: u32, offset: u64, micros in -1i64 << 52..1 << 52,
        ) {
            let row: Vec<i64> = numbers.iter().cycle().take(columns).copied().collect();
            let value = serde_json::to_string(&vec![row; rows]).expect("numbers");
            let time = WallTime::from_nanos(micros * 1000);
            let mut out = Vec::new();
            prop_assert!(ArrayWriter::new(topic(&name), number, Dtype::Int64).write(Offset::new(offset), time, value.as_bytes(), &mut out));
            let array = Array::parse(&out).expect("our own");
            prop_assert_eq!((array.topic, array.number, array.offset.get(), array.time), (&*name, number, offset, time));
            prop_assert_eq!((out.len() - array.elements.len()) % 8, 0);
            let mut back = Vec::new();
            array.write_value(&mut back);
            prop_assert_eq!(String::from_utf8_lossy(&back), value);
        }

        #[test]
        fn no_bytes_make_it_panic(at in 0_usize..64, byte: u8, cut in 0_usize..80) {
            let mut frame = message("[[1,2],[3,4]]", Dtype::Int64).expect("an array");
            let at = at % frame.len();
            frame[at] = byte;
            frame.truncate(frame.len().saturating_sub(cut));
            if let Ok(array) = Array::parse(&frame) {
                array.write_value(&mut Vec::new());
            }
        }
    }
}
