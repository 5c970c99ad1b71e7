//! Text made harmless for HTML and XML.

use lapwing_wire::escape::escaped;

/// `text` as it may stand between tags and in quoted attributes; what would drive a display is shown as its code.
#[must_use]
pub fn text(text: &str) -> String {
    let visible = escaped(text);
    let mut out = String::with_capacity(visible.len());
    for c in visible.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            // No document in XML may hold them, not even as numbers.
            '\u{fffe}' | '\u{ffff}' => out.push_str(&format!("\\u{{{:x}}}", c as u32)),
            c => out.push(c),
        }
    }
    out
}

/// A table with a heading row; the first column is text, the others are numbers.
#[must_use]
pub fn table(heading: &[String], rows: &[Vec<String>]) -> String {
    let cells = |tag: &str, row: &[String]| {
        row.iter()
            .map(|cell| format!("<{tag}>{}</{tag}>", text(cell)))
            .collect::<String>()
    };
    let body: String = rows
        .iter()
        .map(|row| format!("<tr>{}</tr>", cells("td", row)))
        .collect();
    format!(
        "<div class=\"wide\"><table><thead><tr>{}</tr></thead><tbody>{body}</tbody></table></div>",
        cells("th", heading)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_from_outside_becomes_markup() {
        assert_eq!(
            text("<script a='b'>\"&\u{1b}"),
            "&lt;script a=&#39;b&#39;&gt;&quot;&amp;\\u{1b}"
        );
        assert_eq!(text("\u{0}\u{fffe}\u{ffff}"), "\\u{0}\\u{fffe}\\u{ffff}");
        let table = table(&["<a>".to_owned()], &[vec!["<b>".to_owned()]]);
        assert!(!table.contains("<a>") && !table.contains("<b>"), "{table}");
    }
}
