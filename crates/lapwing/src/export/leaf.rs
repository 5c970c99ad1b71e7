//! What a message holds, field by field: its leaves, with dotted names.

use std::borrow::Cow;
use std::fmt;

use lapwing_wire::envelope::Kind;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::at::At;
use super::refusal::Refusal;
use crate::recording::reader::RecordedMessage;

/// One value of a message.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Leaf<'a> {
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A number, as it is written.
    Number(&'a str),
    /// Text.
    Text(Text<'a>),
    /// A list, as JSON.
    List(&'a str),
    /// Something that has no fields of its own: an empty object, or one too deep.
    Json(&'a str),
    /// Bytes.
    Bytes(&'a [u8]),
}

/// Text, in one of two forms.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Text<'a> {
    /// As it is.
    Plain(&'a str),
    /// As a JSON string with its quotes.
    Quoted(&'a str),
}

impl<'a> Text<'a> {
    /// What it says; none for half a pair of surrogates, which JSON can hold and text cannot.
    #[must_use]
    pub fn said(self) -> Option<Cow<'a, str>> {
        match self {
            Self::Plain(text) => Some(Cow::Borrowed(text)),
            Self::Quoted(json) => match json[1..json.len() - 1].contains('\\') {
                false => Some(Cow::Borrowed(&json[1..json.len() - 1])),
                true => serde_json::from_str::<String>(json).ok().map(Cow::Owned),
            },
        }
    }
}

/// Tells each leaf of a message with its name: `data` for a message that is no object, `data_base64` for bytes.
pub fn leaves<'a>(
    message: &'a RecordedMessage,
    at: At,
    on: &mut dyn FnMut(&str, Leaf<'a>) -> Result<(), Refusal>,
) -> Result<(), Refusal> {
    let text = match message.kind {
        Kind::Bytes => return on(DATA_BASE64, Leaf::Bytes(&message.payload)),
        _ => std::str::from_utf8(&message.payload).map_err(|_| Refusal::Changed)?,
    };
    if message.kind == Kind::Text {
        return on(DATA, Leaf::Text(Text::Plain(text)));
    }
    match fields(text) {
        Some(fields) => below(fields, &mut String::new(), 1, at, on),
        None => on(DATA, value(text)),
    }
}

/// Tells the fields of an object below `name`.
fn below<'a>(
    fields: Fields<'a>,
    name: &mut String,
    depth: usize,
    at: At,
    on: &mut dyn FnMut(&str, Leaf<'a>) -> Result<(), Refusal>,
) -> Result<(), Refusal> {
    let above = name.len();
    for (key, json) in fields.0 {
        if depth > 1 {
            name.push('.');
        }
        name.push_str(&key);
        if name.len() > NAME_BYTES_MAX {
            return Err(Refusal::LongName { at, bytes: name.len() });
        }
        let inner = self::fields(json.get()).filter(|inner| depth < DEPTH_MAX && !inner.0.is_empty());
        match inner {
            Some(inner) => below(inner, name, depth + 1, at, on)?,
            None => on(name, value(json.get()))?,
        }
        name.truncate(above);
    }
    Ok(())
}

/// A JSON value that is looked into no further.
fn value(json: &str) -> Leaf<'_> {
    match json.as_bytes().first() {
        Some(b'n') => Leaf::Null,
        Some(b't') => Leaf::Bool(true),
        Some(b'f') => Leaf::Bool(false),
        Some(b'"') => Leaf::Text(Text::Quoted(json)),
        Some(b'[') => Leaf::List(json),
        Some(b'{') | None => Leaf::Json(json),
        Some(_) => Leaf::Number(json),
    }
}

/// The fields of an object; none for anything else, and for one with a key that is no text.
fn fields(json: &str) -> Option<Fields<'_>> {
    json.starts_with('{').then(|| serde_json::from_str(json).ok())?
}

struct Fields<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

#[derive(serde::Deserialize)]
struct Key<'a>(#[serde(borrow)] Cow<'a, str>);

impl<'de> Deserialize<'de> for Fields<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Fields<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Self::Value, M::Error> {
                let mut fields = Vec::new();
                while let Some((Key(key), value)) = map.next_entry()? {
                    fields.push((key, value));
                }
                Ok(Fields(fields))
            }
        }
        deserializer.deserialize_map(Object)
    }
}

/// The column of what is no object.
pub const DATA: &str = "data";

/// The column of bytes.
pub const DATA_BASE64: &str = "data_base64";

/// Objects in objects whose fields are columns; what lies deeper is JSON.
const DEPTH_MAX: usize = 32;

/// 1 KiB: a name is for people, and every column holds its own.
pub const NAME_BYTES_MAX: usize = 1024;

#[cfg(test)]
mod tests {
    use lapwing_wire::time::WallTime;
    use lapwing_wire::topic::TopicName;

    use super::*;

    fn told(kind: Kind, payload: &[u8]) -> Result<Vec<(String, String)>, Refusal> {
        let message = RecordedMessage {
            topic: TopicName::parse("users").expect("valid"),
            offset: None,
            epoch: None,
            time: None,
            received: WallTime::default(),
            mono_ns: 0,
            kind,
            payload: payload.to_vec(),
        };
        let mut told = Vec::new();
        leaves(&message, At::Row(0), &mut |name, leaf| {
            told.push((name.to_owned(), format!("{leaf:?}")));
            Ok(())
        })?;
        Ok(told)
    }

    #[track_caller]
    fn check(kind: Kind, payload: &str, expect: &[(&str, &str)]) {
        let told = told(kind, payload.as_bytes()).expect("short names");
        let told: Vec<_> = told.iter().map(|(name, leaf)| (name.as_str(), leaf.as_str())).collect();
        assert_eq!(told, expect, "{payload}");
    }

    #[test]
    fn fields_have_dotted_names_and_all_else_is_data() {
        check(
            Kind::Json,
            r#"{"a":1.50,"b":{"c":null,"d":{"e":"x"}},"f":[1],"g":{}}"#,
            &[
                ("a", r#"Number("1.50")"#),
                ("b.c", "Null"),
                ("b.d.e", r#"Text(Quoted("\"x\""))"#),
                ("f", r#"List("[1]")"#),
                ("g", r#"Json("{}")"#),
            ],
        );
        check(Kind::Json, "[1,2]", &[("data", r#"List("[1,2]")"#)]);
        check(Kind::Json, "true", &[("data", "Bool(true)")]);
        check(Kind::Json, "{}", &[]);
        check(Kind::Text, "{no", &[("data", r#"Text(Plain("{no"))"#)]);
        check(Kind::Bytes, "\0", &[("data_base64", "Bytes([0])")]);
        // A key that is no text keeps the object whole.
        check(Kind::Json, r#"{"\ud800":1}"#, &[("data", r#"Json("{\"\\ud800\":1}")"#)]);
    }

    #[test]
    fn objects_too_deep_stay_json_and_names_too_long_are_refused() {
        let deep = |depth: usize| format!("{}1{}", "{\"a\":".repeat(depth), "}".repeat(depth));
        let name = |depth: usize| told(Kind::Json, deep(depth).as_bytes()).expect("short")[0].clone();
        assert_eq!(name(DEPTH_MAX).1, "Number(\"1\")");
        assert!(name(DEPTH_MAX + 1).1.starts_with("Json"));
        let long = |bytes: usize| told(Kind::Json, format!("{{\"{}\":1}}", "k".repeat(bytes)).as_bytes());
        assert!(long(NAME_BYTES_MAX).is_ok());
        assert!(
            matches!(long(NAME_BYTES_MAX + 1), Err(Refusal::LongName { bytes, .. }) if bytes == NAME_BYTES_MAX + 1)
        );
    }

    #[test]
    fn text_says_what_it_says() {
        let said = |text: Text<'static>| text.said().map(Cow::into_owned);
        assert_eq!(said(Text::Quoted(r#""a\n\u00e9""#)).as_deref(), Some("a\né"));
        assert_eq!(said(Text::Quoted(r#""a""#)).as_deref(), Some("a"));
        assert_eq!(said(Text::Plain("\\")).as_deref(), Some("\\"));
        assert_eq!(said(Text::Quoted(r#""\ud800""#)), None);
    }
}
