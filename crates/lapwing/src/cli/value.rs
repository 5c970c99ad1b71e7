//! The values of flags: numbers, sizes and lengths of time as they are typed.

use std::fmt;
use std::marker::PhantomData;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU64;
use std::str::FromStr;
use std::time::Duration;

use lapwing_wire::query::Encoding;
use serde::Deserialize;
use serde::de::{Deserializer, Error, Visitor};

use super::misuse::Mistake;
use crate::source::spec::span;

/// A value as it was typed, readable or not: whoever knows its range says what is wrong with it, all mistakes at once.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Typed<T> {
    /// As it was typed.
    pub text: String,
    /// What it means, if anything.
    pub value: Option<T>,
}

impl<T: FromStr> FromStr for Typed<T> {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self {
            text: text.to_owned(),
            value: text.parse().ok(),
        })
    }
}

/// In a settings file: as text, or as a number.
impl<'de, T: FromStr> Deserialize<'de> for Typed<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TextOrNumber(PhantomData))
    }
}

struct TextOrNumber<T>(PhantomData<T>);

impl<T: FromStr> Visitor<'_> for TextOrNumber<T> {
    type Value = Typed<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number, or a text such as \"1MiB\"")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        text.parse().map_err(E::custom)
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Self::Value, E> {
        self.visit_str(&number.to_string())
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Self::Value, E> {
        self.visit_str(&number.to_string())
    }
}

/// In which form arrays are asked for.
#[derive(clap::ValueEnum, Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum ArraysAs {
    /// As text.
    #[default]
    Json,
    /// As binary frames.
    Binary,
}

impl From<ArraysAs> for Encoding {
    fn from(asked: ArraysAs) -> Self {
        match asked {
            ArraysAs::Json => Self::Json,
            ArraysAs::Binary => Self::Binary,
        }
    }
}

/// A number from 1 on.
pub fn at_least_one(text: &str) -> Result<NonZeroU64, Mistake> {
    let wrong = |why| Mistake::new(why, "write a whole number such as 5");
    match text.parse::<u64>() {
        Ok(number) => NonZeroU64::new(number).ok_or_else(|| wrong("is out of range: at least 1")),
        Err(_) => Err(wrong("is no whole number: at least 1")),
    }
}

/// Any whole number, none below 0.
pub fn whole_number(text: &str) -> Result<u64, Mistake> {
    let why = || format!("is no whole number: 0 to {}", u64::MAX);
    text.parse()
        .map_err(|_| Mistake::new(why(), "write a whole number such as 42"))
}

/// An address of this or another machine.
pub fn address(text: &str) -> Result<IpAddr, Mistake> {
    text.parse()
        .map_err(|_| Mistake::new("is no address", "write one such as 127.0.0.2 or ::1"))
}

/// An address and a port.
pub fn address_and_port(text: &str) -> Result<SocketAddr, Mistake> {
    let hint = "write an address and a port such as 127.0.0.1:8765 or [::1]:8765";
    text.parse().map_err(|_| Mistake::new("is no address and port", hint))
}

/// A length of time, in the grammar of a topic's settings.
pub fn time(text: &str) -> Result<Duration, Mistake> {
    let wrong = |why| Mistake::new(why, "write a number and a unit such as 500ms, 10s, 5m or 2h");
    let none = || wrong("is no length of time");
    // No length is below zero.
    let time = span(text)
        .and_then(|span| Duration::try_from(span).ok())
        .ok_or_else(none)?;
    match (TIME_MIN..=TIME_MAX).contains(&time) {
        true => Ok(time),
        false => Err(wrong("is out of range: 1ms to 366 days")),
    }
}

const TIME_MIN: Duration = Duration::from_millis(1);
const TIME_MAX: Duration = Duration::from_secs(366 * 24 * 3600);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_from_one_on_is_told_in_plain_words() {
        assert_eq!(at_least_one("1"), Ok(NonZeroU64::MIN));
        for (wrong, why) in [
            ("0", "is out of range: at least 1"),
            ("", "is no whole number: at least 1"),
            ("-1", "is no whole number: at least 1"),
            ("1.5", "is no whole number: at least 1"),
            ("99999999999999999999", "is no whole number: at least 1"),
        ] {
            assert_eq!(at_least_one(wrong).expect_err(wrong).to_string(), why, "{wrong}");
        }
    }

    #[test]
    fn a_length_of_time_has_a_unit() {
        assert_eq!(time("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(time("2h"), Ok(Duration::from_secs(7200)));
        assert_eq!(time("1h30m"), Ok(Duration::from_secs(5400)));
        assert_eq!(time("1ms"), Ok(TIME_MIN));
        assert_eq!(time("8784h"), Ok(TIME_MAX));
        for wrong in [
            "",
            "10",
            "s",
            "-1s",
            "1d",
            "99999999999999999999s",
            "0s",
            "999us",
            "8784h1ms",
            "9000h",
        ] {
            assert!(time(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_value_is_kept_as_it_was_typed() {
        let typed = |text: &str| text.parse::<Typed<u64>>().expect("any text will do");
        assert_eq!((typed("7").value, typed("x").value), (Some(7), None));
        assert_eq!(typed("-1").text, "-1");
        #[derive(Deserialize)]
        struct File {
            number: Typed<u64>,
            text: Typed<u64>,
        }
        let file: File = toml::from_str("number = -3\ntext = \"5\"").expect("a file");
        assert_eq!((file.number.text.as_str(), file.number.value), ("-3", None));
        assert_eq!(file.text.value, Some(5));
        assert!(toml::from_str::<File>("number = true\ntext = 5").is_err());
    }
}
