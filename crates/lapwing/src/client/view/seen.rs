//! A message that came, kept for who looks at it.

use lapwing_wire::escape::escaped;
use lapwing_wire::position::Offset;
use lapwing_wire::time::WallTime;

use crate::client::text::{Symbols, payload};
use crate::recording::arrival::{Arrival, Value};

/// A message, with the beginning of what it says.
///
/// Most are gone before anybody has looked, so that is kept as it came and made harmless by [`Seen::text`]. One that is no longer needed
/// becomes the next: a fast feed allocates nothing here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Its number among messages and sentences.
    pub number: u64,
    /// When it came.
    pub at: WallTime,
    /// The place of its topic among those of the view.
    pub topic: usize,
    /// Its place, where it has one.
    pub offset: Option<Offset>,
    form: Form,
    begin: String,
}

/// What a beginning is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// JSON, as it came.
    Json,
    /// Other text, as it came.
    Text,
    /// Words of ours about bytes.
    Words,
}

impl Seen {
    /// The message with this number, of the topic at this place; `old` is one whose memory it may have.
    #[must_use]
    pub fn new(number: u64, topic: usize, arrival: &Arrival<'_>, symbols: Symbols, old: Option<Self>) -> Self {
        let mut begin = old.map(|old| old.begin).unwrap_or_default();
        begin.clear();
        let form = match arrival.value {
            Value::Json(text) => {
                begin.push_str(beginning(text));
                Form::Json
            }
            Value::Text(text) => {
                begin.push_str(beginning(text));
                Form::Text
            }
            // Short, however long the message.
            Value::Bytes(_) | Value::Base64(_) | Value::Array(_) => {
                begin.push_str(&payload(arrival.value, TEXT_BYTES, symbols));
                Form::Words
            }
        };
        Self {
            number,
            at: arrival.received.wall,
            topic,
            offset: arrival.offset,
            form,
            begin,
        }
    }

    /// The beginning of what it says, as one line that drives no terminal.
    #[must_use]
    pub fn text(&self, symbols: Symbols) -> String {
        match self.form {
            Form::Json => payload(Value::Json(&self.begin), TEXT_BYTES, symbols),
            Form::Text => payload(Value::Text(&self.begin), TEXT_BYTES, symbols),
            Form::Words => escaped(&self.begin),
        }
    }
}

fn beginning(text: &str) -> &str {
    &text[..text.floor_char_boundary(TEXT_BYTES.min(text.len()))]
}

/// As much of a message as the widest window shows.
const TEXT_BYTES: usize = 1024;

#[cfg(test)]
mod tests {
    use lapwing_wire::topic::TopicName;

    use super::*;
    use crate::client::view::tests::{at, topic};

    fn seen(topic: &TopicName, value: Value<'_>, old: Option<Seen>) -> Seen {
        let arrival = Arrival {
            topic,
            offset: None,
            epoch: None,
            time: None,
            received: at(0),
            value,
            bytes: 0,
        };
        Seen::new(1, 0, &arrival, Symbols::Unicode, old)
    }

    #[test]
    fn what_is_shown_is_what_the_console_would_show() {
        let users = topic("users");
        let long = "\u{1b}é".repeat(5000);
        for value in [
            Value::Json("{\"a\":\"\u{202e}\"}"),
            Value::Json(&long),
            Value::Text("a\u{1b}[2J\r\n"),
            Value::Text(&long),
            Value::Bytes(&[10, 27, 44]),
            Value::Bytes(long.as_bytes()),
            Value::Base64("\"Chss\""),
        ] {
            let shown = seen(&users, value, None).text(Symbols::Unicode);
            assert_eq!(shown, payload(value, TEXT_BYTES, Symbols::Unicode), "{value:?}");
            assert!(!shown.chars().any(char::is_control), "{shown:?}");
        }
    }

    #[test]
    fn a_message_takes_the_memory_of_an_old_one_and_never_more_than_a_beginning() {
        let users = topic("users");
        let long = seen(&users, Value::Text(&"é".repeat(5000)), None);
        assert_eq!(long.begin.len(), TEXT_BYTES);
        let (memory, room) = (long.begin.as_ptr(), long.begin.capacity());
        let next = seen(&users, Value::Json("7"), Some(long));
        assert_eq!((next.begin.as_ptr(), next.begin.capacity()), (memory, room));
        assert_eq!(next.text(Symbols::Unicode), "7");
    }
}
