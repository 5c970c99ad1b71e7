//! Where a feed's people live.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

/// The country whose names, cities and phone numbers the people have; the United States unless told otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Locale {
    /// `en`, also `en-US`: the United States.
    #[default]
    En,
    /// `en-GB`: the United Kingdom.
    EnGb,
    /// `en-AU`: Australia.
    EnAu,
    /// `de`: Germany.
    De,
    /// `fr`: France.
    Fr,
    /// `sv`: Sweden.
    Sv,
    /// `mixed`: each person from a country of their own.
    Mixed,
}

impl Locale {
    /// Every choice, in the order in which they are listed to people.
    pub const ALL: [Self; 7] = [
        Self::En,
        Self::EnGb,
        Self::EnAu,
        Self::De,
        Self::Fr,
        Self::Sv,
        Self::Mixed,
    ];

    /// Every country: what `mixed` draws from, in this order.
    pub(super) const COUNTRIES: [Self; 6] = [Self::En, Self::EnGb, Self::EnAu, Self::De, Self::Fr, Self::Sv];

    /// The name that people type.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::En => "en",
            Self::EnGb => "en-GB",
            Self::EnAu => "en-AU",
            Self::De => "de",
            Self::Fr => "fr",
            Self::Sv => "sv",
            Self::Mixed => "mixed",
        }
    }
}

impl fmt::Display for Locale {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Locale {
    type Err = LocaleError;

    /// Takes `en-gb` and `en_GB` for `en-GB`: locales are written in all three ways.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let typed = text.replace('_', "-");
        if typed.eq_ignore_ascii_case("en-US") {
            return Ok(Self::En);
        }
        let known = Self::ALL
            .into_iter()
            .find(|locale| typed.eq_ignore_ascii_case(locale.as_str()));
        known.ok_or_else(|| LocaleError { found: text.into() })
    }
}

/// A text that names no locale.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
#[error("unknown locale {found:?}; locales: en, en-GB, en-AU, de, fr, sv, mixed")]
pub struct LocaleError {
    /// What was typed.
    pub found: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expect: Result<Locale, &str>) {
        assert_eq!(
            text.parse::<Locale>().map_err(|error| error.to_string()),
            expect.map_err(String::from),
            "{text:?}"
        );
    }

    #[test]
    fn locales_are_read_as_people_write_them() {
        check("en", Ok(Locale::En));
        check("en-US", Ok(Locale::En));
        check("EN_gb", Ok(Locale::EnGb));
        check("mixed", Ok(Locale::Mixed));
        check(
            "xx",
            Err("unknown locale \"xx\"; locales: en, en-GB, en-AU, de, fr, sv, mixed"),
        );
        check(
            "",
            Err("unknown locale \"\"; locales: en, en-GB, en-AU, de, fr, sv, mixed"),
        );
    }

    #[test]
    fn each_name_reads_back_and_stands_in_the_error() {
        let listed = LocaleError { found: String::new() }.to_string();
        for locale in Locale::ALL {
            assert_eq!(locale.to_string().parse(), Ok(locale));
            assert!(listed.contains(locale.as_str()), "{locale}");
        }
    }
}
