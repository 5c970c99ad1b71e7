//! JSON text made compact without changing its tokens.

use std::borrow::Cow;

/// `text` without the white space between its tokens, or none when it is not one JSON value.
///
/// Tokens stay byte for byte: `1.0` is not `1`, `\u00e9` is not `é`, keys keep their order and their repetitions.
#[must_use]
pub fn compact(text: &str) -> Option<Cow<'_, str>> {
    let mut first = "";
    let mut joined = String::new();
    let is_json = scan(text, |run| {
        if first.is_empty() {
            first = run;
            return;
        }
        if joined.is_empty() {
            joined.reserve(text.len());
            joined.push_str(first);
        }
        joined.push_str(run);
    });
    is_json.then_some(match joined.is_empty() {
        true => Cow::Borrowed(first),
        false => Cow::Owned(joined),
    })
}

/// As [`compact`], appended to `out`; says whether it is one JSON value. When it is none, `out` stays as it was.
#[must_use]
pub fn compact_into(text: &str, out: &mut Vec<u8>) -> bool {
    let begin = out.len();
    let is_json = scan(text, |run| out.extend_from_slice(run.as_bytes()));
    if !is_json {
        out.truncate(begin);
    }
    is_json
}

/// Gives every run of text without white space between tokens to `each`, and says whether all of it is one JSON value.
fn scan<'a>(text: &'a str, each: impl FnMut(&'a str)) -> bool {
    let mut scanner = Scanner {
        text,
        bytes: text.as_bytes(),
        at: 0,
        run: 0,
        nest: Nest::default(),
        each,
    };
    scanner.text().is_some()
}

/// Checks one text from left to right, without a limit to its depth: nothing here calls itself.
struct Scanner<'a, F> {
    text: &'a str,
    bytes: &'a [u8],
    at: usize,
    /// Where the run under way begins.
    run: usize,
    nest: Nest,
    each: F,
}

/// Each step gives none where the text is no JSON.
impl<'a, F: FnMut(&'a str)> Scanner<'a, F> {
    fn text(&mut self) -> Option<()> {
        loop {
            self.value()?;
            loop {
                self.space();
                let Some(inside) = self.nest.innermost() else {
                    self.end_run(self.at);
                    return (self.at == self.bytes.len()).then_some(());
                };
                match (self.next()?, inside) {
                    (b',', Inside::Array) => break,
                    (b',', Inside::Object) => {
                        self.key()?;
                        break;
                    }
                    (b']', Inside::Array) | (b'}', Inside::Object) => self.nest.leave(),
                    _ => return None,
                }
            }
        }
    }

    /// A value, or the begin of one down to the first that holds no other.
    fn value(&mut self) -> Option<()> {
        loop {
            self.space();
            match self.next()? {
                b'"' => return self.string(),
                b'{' => {
                    self.space();
                    if self.passes(b'}') {
                        return Some(());
                    }
                    self.nest.enter(Inside::Object);
                    self.key()?;
                }
                b'[' => {
                    self.space();
                    if self.passes(b']') {
                        return Some(());
                    }
                    self.nest.enter(Inside::Array);
                }
                b'-' => {
                    let digit = self.next()?;
                    return self.number(digit);
                }
                b't' => return self.literal("rue"),
                b'f' => return self.literal("alse"),
                b'n' => return self.literal("ull"),
                digit => return self.number(digit),
            }
        }
    }

    /// A key and its colon.
    fn key(&mut self) -> Option<()> {
        self.space();
        (self.next()? == b'"').then_some(())?;
        self.string()?;
        self.space();
        (self.next()? == b':').then_some(())
    }

    /// A string, behind its first quote.
    fn string(&mut self) -> Option<()> {
        loop {
            while let Some(chunk) = self.bytes[self.at..].first_chunk()
                && is_plain(chunk)
            {
                self.at += chunk.len();
            }
            while let Some(word) = self.bytes[self.at..].first_chunk() {
                let plain = plain_bytes(u64::from_le_bytes(*word));
                self.at += plain;
                if plain < 8 {
                    break;
                }
            }
            match self.next()? {
                b'"' => return Some(()),
                b'\\' => self.escape()?,
                0..b' ' => return None,
                _ => {}
            }
        }
    }

    fn escape(&mut self) -> Option<()> {
        match self.next()? {
            b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => {}
            b'u' => {
                for _ in 0..4 {
                    self.next()?.is_ascii_hexdigit().then_some(())?;
                }
            }
            _ => return None,
        }
        Some(())
    }

    /// A number, behind its first digit.
    fn number(&mut self, first: u8) -> Option<()> {
        match first {
            b'0' => {}
            b'1'..=b'9' => self.digits(),
            _ => return None,
        }
        if self.passes(b'.') {
            self.next()?.is_ascii_digit().then_some(())?;
            self.digits();
        }
        if self.passes(b'e') || self.passes(b'E') {
            let _ = self.passes(b'+') || self.passes(b'-');
            self.next()?.is_ascii_digit().then_some(())?;
            self.digits();
        }
        Some(())
    }

    fn digits(&mut self) {
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
    }

    fn literal(&mut self, rest: &str) -> Option<()> {
        self.bytes[self.at..].starts_with(rest.as_bytes()).then_some(())?;
        self.at += rest.len();
        Some(())
    }

    /// Leaves out white space between tokens.
    fn space(&mut self) {
        let begin = self.at;
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.peek() {
            self.at += 1;
        }
        if self.at > begin {
            self.end_run(begin);
        }
    }

    /// The run ends here, and the next begins where we are.
    fn end_run(&mut self, end: usize) {
        if self.run < end {
            (self.each)(&self.text[self.run..end]);
        }
        self.run = self.at;
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn next(&mut self) -> Option<u8> {
        let byte = self.peek()?;
        self.at += 1;
        Some(byte)
    }

    fn passes(&mut self, byte: u8) -> bool {
        let is_next = self.peek() == Some(byte);
        self.at += usize::from(is_next);
        is_next
    }
}

/// Whether none of these ends a string, begins an escape or is a control character: a few instructions, since nothing here branches.
fn is_plain(chunk: &[u8; 16]) -> bool {
    let plain = |byte: u8| (byte >= b' ') & (byte != b'"') & (byte != b'\\');
    chunk.iter().fold(true, |all, &byte| all & plain(byte))
}

/// How many bytes of a word, from its lowest, neither end a string nor begin an escape nor are control characters.
fn plain_bytes(word: u64) -> usize {
    const ONES: u64 = u64::MAX / 255;
    const HIGH: u64 = ONES * 0x80;
    // The top bit of each byte that is less than `least`, at most 0x80; above the first such byte some are wrong.
    let below = |word: u64, least: u64| word.wrapping_sub(ONES * least) & !word & HIGH;
    let quote = below(word ^ (ONES * u64::from(b'"')), 1);
    let escape = below(word ^ (ONES * u64::from(b'\\')), 1);
    let found = quote | escape | below(word, u64::from(b' '));
    found.trailing_zeros() as usize / 8
}

/// What a value stands in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Inside {
    Array,
    Object,
}

/// What the value under way stands in, from the outside to the inside. Up to 64 deep it allocates nothing.
#[derive(Default)]
struct Nest {
    depth: usize,
    /// The innermost, one bit each; the last in the lowest bit.
    objects: u64,
    /// Those around them, 64 at a time.
    outer: Vec<u64>,
}

impl Nest {
    fn enter(&mut self, inside: Inside) {
        if self.depth > 0 && self.depth.is_multiple_of(64) {
            self.outer.push(self.objects);
        }
        self.objects = self.objects << 1 | u64::from(inside == Inside::Object);
        self.depth += 1;
    }

    fn leave(&mut self) {
        self.objects >>= 1;
        self.depth -= 1;
        if self.depth.is_multiple_of(64) {
            self.objects = self.outer.pop().unwrap_or_default();
        }
    }

    fn innermost(&self) -> Option<Inside> {
        match (self.depth, self.objects & 1) {
            (0, _) => None,
            (_, 0) => Some(Inside::Array),
            _ => Some(Inside::Object),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(text: &str, expect: Option<&str>) {
        assert_eq!(compact(text).as_deref(), expect, "{text:?}");
        let mut out = b"before".to_vec();
        assert_eq!(compact_into(text, &mut out), expect.is_some(), "{text:?}");
        assert_eq!(&out[6..], expect.unwrap_or_default().as_bytes(), "{text:?}");
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

    #[test]
    fn nothing_is_too_deep() {
        for depth in [1, 63, 64, 65, 128, 129, 100_000] {
            let begin = "[{\"a\": ".repeat(depth);
            let whole = format!("{begin}0{}", "} ]".repeat(depth));
            let expect = whole.replace(' ', "");
            check(&whole, Some(&expect));
            check(&whole[..whole.len() - 1], None);
            check(&format!("{begin}0{}", "] }".repeat(depth)), None);
        }
    }

    /// Another parser's opinion.
    fn is_json(text: &str) -> bool {
        serde_json::from_str::<&serde_json::value::RawValue>(text).is_ok()
    }

    #[test]
    fn tokens_are_those_of_the_grammar() {
        let tokens = [
            "0",
            "-0",
            "-",
            "00",
            "01",
            "-01",
            "1.",
            ".1",
            "1.0",
            "1e",
            "1e+",
            "1e5",
            "1E-05",
            "1.5e+3",
            "+1",
            "1e5.0",
            "0x1",
            "true",
            "tru",
            "truex",
            "nul",
            "null",
            "false",
            "falsey",
            "\"",
            "\"\\\"",
            "\"\\x\"",
            "\"\\u12g4\"",
            "\"\\u12\"",
            "\"\\uD800\"",
            "\"\\/\\b\\f\"",
            "\"\u{7f}\"",
            "\"\u{1f}\"",
            "\"\t\"",
            "\"123456\u{1f}8901\"",
            "\"12345678\\\"\"",
            "\"1234567\"8",
            "[,]",
            "[1 2]",
            "{\"a\"}",
            "{\"a\":}",
            "{\"a\":1,}",
            "{1:2}",
            "{,}",
            "[]]",
            "[}",
            "{]",
            "[] ",
            "\u{a0}1",
            "\u{feff}1",
            "\u{b}1",
        ];
        for token in tokens {
            for text in [
                token.to_owned(),
                format!("[{token}]"),
                format!("{{\"k\":{token} , \"l\" : 1}}"),
            ] {
                assert_eq!(compact(&text).is_some(), is_json(&text), "{text:?}");
            }
        }
    }

    #[test]
    fn what_ends_a_string_is_found_at_every_place() {
        for at in 0..50 {
            for special in ["\"", "\\", "\\n", "\u{1f}", "\u{0}", "\u{7f}", "é", " "] {
                let text = format!("\"{}{special}{}\"", "x".repeat(at), "y".repeat(50 - at));
                assert_eq!(compact(&text).is_some(), is_json(&text), "{text:?}");
            }
        }
    }

    proptest! {
        #[test]
        fn another_parser_agrees(text in "[\\[\\]{}:,\" \n\\\\0-2.eEu+\\-tnulé\u{1f}]{0,14}") {
            prop_assert_eq!(compact(&text).is_some(), is_json(&text));
        }

        #[test]
        fn what_is_compact_is_the_same_value(value in "[a-c\\\\\" ]{0,20}", spaces in "[ \n\t\r]{0,3}") {
            let whole = serde_json::json!({ value.as_str(): [1.5, { "k": value.as_str() }, null] });
            let text = serde_json::to_string_pretty(&whole).expect("a value has a form");
            let made = compact(&format!("{spaces}{text}{spaces}")).map(Cow::into_owned);
            prop_assert_eq!(made, Some(whole.to_string()));
        }

        #[test]
        fn strings_are_never_changed(text in ".{0,60}") {
            let json = serde_json::to_string(&text).expect("a string has a form in JSON");
            let (spaced, expect) = (format!(" [ {json} ] "), format!("[{json}]"));
            let made = compact(&spaced);
            prop_assert_eq!(made.as_deref(), Some(expect.as_str()));
        }
    }
}
