//! Names as they stand in user names and domains: lower-case ASCII letters and digits.

/// How a language writes ä, ö and ü without the dots.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Umlaut {
    /// Müller is mueller (German).
    Digraph,
    /// Möller is moller (everywhere else).
    Bare,
}

/// Folds `text` to `a-z 0-9`; all other characters are left out (O'Brien is obrien).
pub(super) fn fold(text: &str, umlaut: Umlaut) -> String {
    let mut folded = String::with_capacity(text.len());
    for c in text.chars().flat_map(char::to_lowercase) {
        match c {
            'a'..='z' | '0'..='9' => folded.push(c),
            _ => folded.push_str(letters(c, umlaut)),
        }
    }
    folded
}

/// Folds each word of `text` and joins them with hyphens, as in a domain ("Bygg & El" is bygg-el).
pub(super) fn slug(text: &str, umlaut: Umlaut) -> String {
    let words = text
        .split([' ', '-'])
        .map(|word| fold(word, umlaut))
        .filter(|word| !word.is_empty());
    words.collect::<Vec<_>>().join("-")
}

/// The letters for a character beyond ASCII, as far as the tables use it; else nothing.
pub(super) fn letters(c: char, umlaut: Umlaut) -> &'static str {
    match (c, umlaut) {
        ('ä', Umlaut::Digraph) => "ae",
        ('ö', Umlaut::Digraph) => "oe",
        ('ü', Umlaut::Digraph) => "ue",
        ('à' | 'á' | 'â' | 'ä' | 'å', _) => "a",
        ('ç' | 'ć' | 'č', _) => "c",
        ('è' | 'é' | 'ê' | 'ë', _) => "e",
        ('ì' | 'í' | 'î' | 'ï' | 'ı', _) => "i",
        ('ò' | 'ó' | 'ô' | 'ö', _) => "o",
        ('ù' | 'ú' | 'û' | 'ü', _) => "u",
        ('ş', _) => "s",
        ('ß', _) => "ss",
        ('œ', _) => "oe",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_lose_their_marks_as_the_language_does_it() {
        assert_eq!(fold("Müller-Weiß", Umlaut::Digraph), "muellerweiss");
        assert_eq!(fold("Åsa Öberg", Umlaut::Bare), "asaoberg");
        assert_eq!(fold("Anne-Sophie O'Brien", Umlaut::Bare), "annesophieobrien");
        assert_eq!(fold("Cœur Çelik Yılmaz", Umlaut::Bare), "coeurcelikyilmaz");
    }

    #[test]
    fn words_become_labels_of_a_domain() {
        assert_eq!(slug(" Bygg & El ", Umlaut::Bare), "bygg-el");
        assert_eq!(slug("-Apotheke", Umlaut::Bare), "apotheke");
        assert_eq!(slug(" & ", Umlaut::Bare), "");
    }
}
