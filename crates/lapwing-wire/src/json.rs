//! JSON as it came, less the white space between its tokens.

use serde::Deserialize as _;
use serde::de::IgnoredAny;

/// Appends `text` to `out` without the white space between its tokens; the tokens stay byte for byte as they are.
///
/// An error, with nothing appended, when `text` is not one JSON value (RFC 8259), or nested deeper than 128.
pub fn compact_into(text: &str, out: &mut Vec<u8>) -> Result<(), serde_json::Error> {
    let mut parser = serde_json::Deserializer::from_str(text);
    IgnoredAny::deserialize(&mut parser)?;
    parser.end()?;
    let mut in_string = false;
    let mut escaped = false;
    for &byte in text.as_bytes() {
        if in_string {
            in_string = escaped || byte != b'"';
            escaped = byte == b'\\' && !escaped;
        } else if byte == b'"' {
            in_string = true;
        } else if matches!(byte, b' ' | b'\t' | b'\n' | b'\r') {
            continue;
        }
        out.push(byte);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[track_caller]
    fn check(text: &str, expect: Option<&str>) {
        let mut out = Vec::new();
        let made = compact_into(text, &mut out).is_ok();
        assert_eq!(made.then(|| String::from_utf8(out).expect("UTF-8 stays UTF-8")).as_deref(), expect, "{text:?}");
    }

    #[test]
    fn white_space_goes_and_tokens_stay() {
        check(" { \"a b\" : [ 1.50 , 2e+03 ,\t-0 ] }\r\n", Some("{\"a b\":[1.50,2e+03,-0]}"));
        check("\" \\\" \\\\\" ", Some("\" \\\" \\\\\""));
        check("12345678901234567890.10", Some("12345678901234567890.10"));
        check("null", Some("null"));
    }

    #[test]
    fn what_is_no_json_is_no_json() {
        for text in ["", " ", "{", "1 2", "{} {}", "NaN", "'a'", "[1,]", "tru"] {
            check(text, None);
        }
        check(&"[".repeat(10_000), None);
    }

    proptest! {
        #[test]
        fn compacting_pretty_json_changes_no_value(text in "[a-z \\\\\"\\n{}:,é]{0,20}", number: i64) {
            let value = serde_json::json!({ text.clone(): [number, text], "x": null });
            let mut out = Vec::new();
            compact_into(&serde_json::to_string_pretty(&value).unwrap(), &mut out).unwrap();
            prop_assert_eq!(out, serde_json::to_vec(&value).unwrap());
        }
    }
}
