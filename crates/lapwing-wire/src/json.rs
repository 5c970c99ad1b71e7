//! JSON text made compact without changing its tokens.

use std::borrow::Cow;

use serde_json::value::RawValue;

/// `text` without the white space between its tokens, or none when it is not one JSON value.
///
/// Tokens stay byte for byte: `1.0` is not `1`, `\u00e9` is not `é`, keys keep their order and their repetitions.
#[must_use]
pub fn compact(text: &str) -> Option<Cow<'_, str>> {
    let value: &RawValue = serde_json::from_str(text).ok()?;
    let value = value.get();
    let mut spaces = Spaces::default();
    if !value.bytes().any(|byte| spaces.is_between_tokens(byte)) {
        return Some(Cow::Borrowed(value));
    }
    let mut spaces = Spaces::default();
    let kept = value.chars().filter(|&c| match u8::try_from(c) {
        Ok(byte) if c.is_ascii() => !spaces.is_between_tokens(byte),
        _ => true,
    });
    Some(Cow::Owned(kept.collect()))
}

/// Tells white space between tokens from that inside strings; trusts that the text is JSON.
#[derive(Default)]
struct Spaces {
    in_string: bool,
    escaped: bool,
}

impl Spaces {
    fn is_between_tokens(&mut self, byte: u8) -> bool {
        if self.in_string {
            match byte {
                _ if self.escaped => self.escaped = false,
                b'\\' => self.escaped = true,
                b'"' => self.in_string = false,
                _ => {}
            }
            return false;
        }
        self.in_string = byte == b'"';
        matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(text: &str, expect: Option<&str>) {
        assert_eq!(compact(text).as_deref(), expect, "{text:?}");
    }

    #[test]
    fn white_space_goes_and_tokens_stay() {
        check(
            " { \"a b\" : [ 1.0 , \"\\\" x\\\\\" ,\n\t true ] } ",
            Some("{\"a b\":[1.0,\"\\\" x\\\\\",true]}"),
        );
        check("\"é \\u00e9\"", Some("\"é \\u00e9\""));
        check("{\"a\":1,\"a\":2}", Some("{\"a\":1,\"a\":2}"));
        check("-0.0e+10", Some("-0.0e+10"));
        for wrong in ["", "hello", "{", "1 2", "[1,]", "\"a\nb\"", "NaN", "'x'"] {
            check(wrong, None);
        }
    }

    proptest! {
        #[test]
        fn strings_are_never_changed(text in ".{0,60}") {
            let json = serde_json::to_string(&text).expect("a string has a form in JSON");
            let (spaced, expect) = (format!(" [ {json} ] "), format!("[{json}]"));
            let made = compact(&spaced);
            prop_assert_eq!(made.as_deref(), Some(expect.as_str()));
        }
    }
}
