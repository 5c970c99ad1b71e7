//! Arrays as binary frames, both ways.

use lapwing_wire::array::{Array, ArrayWriter};
use lapwing_wire::dtype::Dtype;
use lapwing_wire::json::compact;
use lapwing_wire::position::Offset;
use lapwing_wire::time::WallTime;
use lapwing_wire::topic::TopicName;

use crate::Entry;
use crate::input::{Input, text};

/// Any bytes as a binary frame.
pub const READ: Entry = Entry {
    name: "array",
    take: read,
    seeds: || {
        vec![
            ("integers", frame(Dtype::Int16, "[[1,-2,3],[4,5,-32768]]")),
            ("large", frame(Dtype::Uint64, "[18446744073709551615,0]")),
            ("floats", frame(Dtype::Float32, "[[[0.1],[-2.5]]]")),
            (
                "deep",
                frame(Dtype::Int8, &format!("{}7{}", "[".repeat(32), "]".repeat(32))),
            ),
        ]
    },
};

/// Any text as the value of a message, made an array.
pub const WRITTEN: Entry = Entry {
    name: "array_written",
    take: written,
    seeds: || {
        [
            ("integers", "\x00[[1,-2],[3,127]]"),
            ("beyond", "\x00[128]"),
            ("unsigned", "\x07[18446744073709551615]"),
            ("floats", "\x08[0.1,1e-7,-0,1E+3]"),
            ("doubles", "\x09[[0.1],[1.7976931348623157e308]]"),
            ("ragged", "\x03[[1],[2,3]]"),
            ("none", "\x03{\"a\":[1]}"),
        ]
        .map(|(name, text)| (name, text.as_bytes().to_vec()))
        .into()
    },
};

fn topic() -> TopicName {
    TopicName::parse("orders").expect("valid")
}

fn frame(dtype: Dtype, value: &str) -> Vec<u8> {
    let mut frame = Vec::new();
    let time = WallTime::from_nanos(1_795_287_600_123_456_000);
    let is_array = ArrayWriter::new(topic(), 1, dtype).write(Offset::new(41), time, value.as_bytes(), &mut frame);
    assert!(is_array, "{value}");
    frame
}

fn read(data: &[u8]) {
    let Ok(array) = Array::parse(data) else { return };
    let mut value = Vec::new();
    array.write_value(&mut value);
    let value = text(&value).expect("numbers and brackets");
    let json = compact(value).expect("a value is JSON");
    assert_eq!(json, value, "and compact");
    let writer = ArrayWriter::new(
        TopicName::parse(array.topic).expect("checked"),
        array.number,
        array.dtype,
    );
    let mut again = Vec::new();
    if writer.write(array.offset, array.time, value.as_bytes(), &mut again) {
        let again = Array::parse(&again).expect("our own");
        assert_eq!(again, array, "what is written again is the same");
    } else {
        assert!(value.contains("null"), "a float that is infinite or none");
    }
}

fn written(data: &[u8]) {
    let mut input = Input::new(data);
    let dtype = Dtype::ALL[usize::from(input.byte()) % Dtype::ALL.len()];
    let Some(value) = text(input.rest()) else { return };
    // What a log holds is JSON without white space.
    let Some(value) = compact(value) else { return };
    let mut frame = b"before".to_vec();
    let time = WallTime::from_nanos(-1000);
    if !ArrayWriter::new(topic(), u32::MAX, dtype).write(Offset::new(u64::MAX), time, value.as_bytes(), &mut frame) {
        return assert_eq!(frame, b"before", "nothing is left behind");
    }
    let array = Array::parse(&frame[b"before".len()..]).expect("our own");
    assert_eq!((array.topic, array.number), ("orders", u32::MAX));
    assert_eq!(
        (array.offset, array.time, array.dtype),
        (Offset::new(u64::MAX), time, dtype)
    );
    let mut back = Vec::new();
    array.write_value(&mut back);
    match dtype.bounds() {
        Some(_) => assert_eq!(text(&back), Some(&*value), "integers are those of the text"),
        None => {
            let mut again = Vec::new();
            assert!(ArrayWriter::new(topic(), u32::MAX, dtype).write(array.offset, time, &back, &mut again));
            assert_eq!(again, frame[b"before".len()..], "floats are those that were read");
        }
    }
}
