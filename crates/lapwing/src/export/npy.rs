//! The header of an npy file (NEP 1, version 1.0).

/// What stands before the elements: `rows` of `shape` each, or as many numbers where that is empty.
///
/// Its length is a multiple of 64, as NumPy writes it, so that the elements can be mapped into memory.
#[must_use]
pub fn header(descr: &str, rows: u64, shape: &[u64]) -> Vec<u8> {
    let mut dict = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({rows},");
    for length in shape {
        dict.push_str(&format!(" {length},"));
    }
    if !shape.is_empty() {
        dict.pop();
    }
    dict.push_str("), }");
    let before = MAGIC.len() + 2;
    let bytes = (before + dict.len() + 1).next_multiple_of(ALIGNED);
    dict.push_str(&" ".repeat(bytes - before - dict.len() - 1));
    dict.push('\n');
    // 32 lengths of 20 digits are far below 64 KiB.
    let length = u16::try_from(dict.len()).expect("a shape has at most 32 lengths");
    [MAGIC, &length.to_le_bytes(), dict.as_bytes()].concat()
}

const MAGIC: &[u8] = b"\x93NUMPY\x01\x00";
const ALIGNED: usize = 64;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn it_is_as_numpy_writes_it() {
        let header = header("<i8", 300, &[10]);
        assert_eq!(header.len(), 128);
        assert_eq!(&header[..10], b"\x93NUMPY\x01\x00\x76\x00");
        let text = std::str::from_utf8(&header[10..]).expect("ASCII");
        assert!(text.starts_with("{'descr': '<i8', 'fortran_order': False, 'shape': (300, 10), } "));
        assert!(text.ends_with(" \n"));
        let text = String::from_utf8(super::header("<M8[ns]", 0, &[])[10..].to_vec()).expect("ASCII");
        assert!(text.contains("'shape': (0,), }"), "{text}");
    }

    proptest! {
        #[test]
        fn any_shape_comes_back(rows in any::<u64>(), shape in proptest::collection::vec(any::<u64>(), 0..=31)) {
            let header = header("<f8", rows, &shape);
            let length = usize::from(u16::from_le_bytes([header[8], header[9]]));
            prop_assert_eq!(header.len(), 10 + length);
            prop_assert_eq!(header.len() % 64, 0);
            prop_assert_eq!(header.last(), Some(&b'\n'));
            let text = std::str::from_utf8(&header[10..]).expect("ASCII");
            let inside = text.split_once("'shape': (").and_then(|(_, rest)| rest.split_once(')')).expect("a shape").0;
            let lengths: Vec<u64> = inside.split(',').map(str::trim).filter(|l| !l.is_empty()).map(|l| l.parse().expect("digits")).collect();
            prop_assert_eq!(lengths, [&[rows], shape.as_slice()].concat());
            // Python takes (5) for a number and (5,) for a tuple.
            prop_assert_eq!(inside.ends_with(','), shape.is_empty());
        }
    }
}
