//! JSON made compact: valid exactly where another parser says so, and with its tokens unchanged.

use lapwing_wire::json::{compact, compact_into};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::Entry;
use crate::input::text;

/// Any text.
pub const ENTRY: Entry = Entry {
    name: "json",
    take,
    seeds: || {
        [
            (
                "object",
                "{ \"a\" : [ 1 , -2.5e+3 , true , null ] , \"\\u00e9\" : \"x y\" }",
            ),
            ("numbers", "[0, -0, 0.10, 1E5, 01]"),
            (
                "string",
                "\"a long string without an escape, and then one: \\\" \\n \\ud83d\"",
            ),
            ("nested", "[[[[[[[[{\"a\":[[[[{}]]]]}]]]]]]]]"),
            ("two", "1 2"),
            ("control", "\"a\u{1}\""),
            ("spaces", " \t\r\n \"a\" \n"),
        ]
        .map(|(name, text)| (name, text.as_bytes().to_vec()))
        .into()
    },
};

fn take(data: &[u8]) {
    let Some(text) = text(data) else { return };
    let ours = compact(text);
    let theirs: Result<&RawValue, _> = serde_json::from_str(text);
    assert_eq!(ours.is_some(), theirs.is_ok(), "both know JSON: {theirs:?}");
    let mut out = b"before".to_vec();
    assert_eq!(compact_into(text, &mut out), ours.is_some());
    let Some(ours) = ours else {
        return assert_eq!(out, b"before", "what is no JSON leaves nothing behind");
    };
    assert_eq!(&out[b"before".len()..], ours.as_bytes());
    assert_eq!(compact(&ours).as_deref(), Some(&*ours), "it is as compact as can be");
    // Numbers that are too large and halves of characters are no values for it.
    if let Ok(value) = serde_json::from_str::<Value>(text) {
        assert_eq!(serde_json::from_str::<Value>(&ours).ok(), Some(value));
    }
}
