//! Text from outside made harmless for a terminal or a log line.

/// Appends `text` to `out` with every character escaped that could drive a terminal or change how the rest reads.
///
/// Control characters (C0, DEL, C1), line and paragraph separators, and the marks that turn the reading direction become
/// `\n`, `\t`, `\r` or `\u{…}`. A backslash stays as it is: the aim is safety, not a way back.
pub fn escape_into(text: &str, out: &mut String) {
    for c in text.chars() {
        match c {
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if drives(c) => {
                out.push_str("\\u{");
                out.push_str(&format!("{:x}", c as u32));
                out.push('}');
            }
            c => out.push(c),
        }
    }
}

/// [`escape_into`] as a new text.
#[must_use]
pub fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    escape_into(text, &mut out);
    out
}

/// At most `bytes_max` bytes of `text`, escaped, with how many bytes were left out.
#[must_use]
pub fn escaped_cut(text: &str, bytes_max: usize) -> (String, usize) {
    let end = text.floor_char_boundary(bytes_max.min(text.len()));
    (escaped(&text[..end]), text.len() - end)
}

fn drives(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_drives_a_terminal_passes() {
        assert_eq!(escaped("a\x1b[31mred\x07\n\t\r"), "a\\u{1b}[31mred\\u{7}\\n\\t\\r");
        assert_eq!(
            escaped("\u{9b}31m \u{202e}abc\u{2069}"),
            "\\u{9b}31m \\u{202e}abc\\u{2069}"
        );
        assert_eq!(escaped("grüße 日本 🙂 \\ \""), "grüße 日本 🙂 \\ \"");
        for code in (0..0x20).chain(0x7f..0xa0) {
            let c = char::from_u32(code).expect("below the surrogates");
            assert!(!escaped(&c.to_string()).chars().any(char::is_control), "{code:x}");
        }
    }

    #[test]
    fn a_cut_keeps_whole_characters_and_counts_the_rest() {
        assert_eq!(escaped_cut("ééé", 3), ("é".to_owned(), 4));
        assert_eq!(escaped_cut("abc", 3), ("abc".to_owned(), 0));
    }
}
