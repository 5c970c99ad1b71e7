//! Text from outside: escaped, checked while it arrives, unmasked, read by its layout.

use lapwing_wire::escape::{escaped, escaped_cut};
use lapwing_wire::layout;
use lapwing_wire::mask::Mask;
use lapwing_wire::utf8::{InvalidUtf8, Utf8, whole};

use crate::Entry;
use crate::input::{Input, pieces, text};

/// Any bytes.
pub const ENTRY: Entry = Entry {
    name: "text",
    take,
    seeds: || {
        vec![
            (
                "terminal",
                "\x05a\u{1b}[2J\u{9b}31m\u{202e}\u{feff}\r\nb".as_bytes().to_vec(),
            ),
            (
                "cut-characters",
                b"\x05\xe2\x82\xac\xf0\x9d\x84\x9e\xed\xa0\x80".to_vec(),
            ),
            ("number", b"\x0518446744073709551615,".to_vec()),
            ("quoted", b"\x05abc\",\"def\\\"".to_vec()),
        ]
    },
};

fn take(data: &[u8]) {
    let mut input = Input::new(data);
    let cut = input.byte();
    let bytes = input.rest();
    checked(bytes, cut);
    unmasked(bytes, cut);
    by_layout(bytes);
    if let Some(text) = text(bytes) {
        let safe = escaped(text);
        assert!(!safe.chars().any(char::is_control));
        assert_eq!(escaped(&safe), safe, "what is harmless stays as it is");
        let (short, left) = escaped_cut(text, usize::from(cut));
        assert!(safe.starts_with(&short) && left <= text.len());
    }
}

fn checked(bytes: &[u8], cut: u8) {
    let expect = std::str::from_utf8(bytes).map(|_| ()).map_err(|error| InvalidUtf8 {
        at: error.valid_up_to(),
    });
    assert_eq!(whole(bytes).map(|_| ()), expect);
    for choice in [cut, 0] {
        let mut utf8 = Utf8::new();
        let fed = pieces(bytes, choice).try_for_each(|piece| utf8.feed(piece));
        assert_eq!(fed.and_then(|()| utf8.finish()), expect);
    }
}

fn unmasked(bytes: &[u8], cut: u8) {
    let key = [cut, 0xfa, 0x21, bytes.len() as u8];
    let expect: Vec<u8> = bytes
        .iter()
        .zip(key.iter().cycle())
        .map(|(byte, key)| byte ^ key)
        .collect();
    let mut mask = Mask::new(key);
    let in_pieces = pieces(bytes, cut).flat_map(|piece| {
        let mut piece = piece.to_vec();
        mask.apply(&mut piece);
        piece
    });
    assert_eq!(in_pieces.collect::<Vec<_>>(), expect);
}

fn by_layout(bytes: &[u8]) {
    if let Some((found, rest)) = layout::text(bytes) {
        assert_eq!([found, b"\"", rest].concat(), bytes);
        assert!(!found.contains(&b'"') && !found.contains(&b'\\'));
    }
    if let Some((number, rest)) = layout::number(bytes) {
        assert_eq!([number.to_string().as_bytes(), rest].concat(), bytes);
    }
}
