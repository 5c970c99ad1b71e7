//! The colours of pictures and of the pages that hold them, in light and in dark.

/// The names that a style uses, each with its colour.
pub type Palette = [(&'static str, &'static str)];

/// On white, and in print. Contrast of text is at least 4.5 to 1, as it is in [`DARK`].
pub const LIGHT: &Palette = &[
    ("page", "#fff"),
    ("panel", "#f5f6f7"),
    ("text", "#1a1d21"),
    ("muted", "#5a626b"),
    ("grid", "#d5d9dd"),
    ("good", "#007a55"),
    ("bad", "#b3261e"),
    ("c0", "#1f6fb2"),
    ("c1", "#b04a00"),
    ("c2", "#007a55"),
    ("c3", "#7a1f6b"),
    ("c4", "#5a626b"),
];

/// For a display that is dark.
pub const DARK: &Palette = &[
    ("page", "#14171a"),
    ("panel", "#1d2125"),
    ("text", "#e8eaed"),
    ("muted", "#a3abb4"),
    ("grid", "#363c42"),
    ("good", "#2fbf8f"),
    ("bad", "#ff8a80"),
    ("c0", "#5fa8f5"),
    ("c1", "#ffa05c"),
    ("c2", "#2fbf8f"),
    ("c3", "#f08bd8"),
    ("c4", "#a3abb4"),
];

/// `style` for both, for a page: its names are variables. Print has a white page whatever the display has.
#[must_use]
pub fn with_variables(style: &str) -> String {
    let root = |palette: &Palette| {
        let names = palette.iter().map(|(name, colour)| format!("--{name}:{colour}"));
        format!(":root{{{}}}", names.collect::<Vec<_>>().join(";"))
    };
    format!("{}{ON_DARK}{{{}}}{style}", root(LIGHT), root(DARK))
}

/// `style` for both, for a picture by itself: many programs that show pictures know no variables, so it stands there once for each.
#[must_use]
pub fn written_out(style: &str) -> String {
    let with = |palette: &Palette| {
        let put = |style: String, (name, colour): &(&str, &str)| style.replace(&format!("var(--{name})"), colour);
        palette.iter().fold(style.to_owned(), put)
    };
    format!("{}{ON_DARK}{{{}}}", with(LIGHT), with(DARK))
}

const ON_DARK: &str = "@media screen and (prefers-color-scheme:dark)";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_style_is_there_for_light_and_for_dark() {
        let style = ".grid{stroke:var(--grid)}";
        assert!(with_variables(style).ends_with(style));
        assert_eq!(
            written_out(style),
            ".grid{stroke:#d5d9dd}@media screen and (prefers-color-scheme:dark){.grid{stroke:#363c42}}"
        );
    }

    #[test]
    fn both_have_the_same_names() {
        let names = |palette: &Palette| palette.iter().map(|(name, _)| *name).collect::<Vec<_>>();
        assert_eq!(names(LIGHT), names(DARK));
    }
}
