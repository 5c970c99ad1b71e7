//! What a text frame is: a message of Lapwing, a control message, or anything at all.

use std::borrow::Cow;

use lapwing_wire::array::Array;
use lapwing_wire::control::{CONTROL_PREFIX, ServerMessage};
use lapwing_wire::envelope::Message;
use lapwing_wire::json;

use super::event::Mode;

/// What a text frame says.
#[derive(Debug)]
pub enum Said<'a> {
    /// A message in Lapwing's envelope.
    Message(Message<'a>),
    /// Something about the stream.
    Control(ServerMessage),
    /// A control message that a later server sends and this version does not know.
    UnknownControl,
    /// JSON of any other server, on one line.
    Json(Cow<'a, str>),
    /// Other text.
    Text(&'a str),
}

/// Reads a text frame.
///
/// An envelope is recognised in every mode: a plain client of a Lapwing server gets them too.
#[must_use]
pub fn read(text: &str, mode: Mode) -> Said<'_> {
    if mode == Mode::Lapwing && text.starts_with(CONTROL_PREFIX) {
        return match serde_json::from_str(text) {
            Ok(control) => Said::Control(control),
            Err(_) => Said::UnknownControl,
        };
    }
    if text.starts_with(ENVELOPE_PREFIX)
        && let Ok(message) = Message::parse(text)
        && message.offset.get() < OFFSET_MAX
    {
        return Said::Message(message);
    }
    json::compact(text).map_or(Said::Text(text), Said::Json)
}

/// An array of Lapwing's; none when a binary frame is anything else.
#[must_use]
pub fn array(frame: &[u8]) -> Option<Array<'_>> {
    let array = Array::parse(frame).ok()?;
    (array.offset.get() < OFFSET_MAX).then_some(array)
}

/// The value of an envelope on one line: a server of ours sends it so, but it is the server that says so.
#[must_use]
pub fn one_line(value: &str) -> Cow<'_, str> {
    // Piece by piece without a way out: that is done many bytes at once.
    let has_control = |piece: &[u8]| piece.iter().fold(false, |any, byte| any | (*byte < b' '));
    match value.as_bytes().chunks(64).any(has_control) {
        true => json::compact(value).unwrap_or(Cow::Borrowed("null")),
        false => Cow::Borrowed(value),
    }
}

/// How every envelope begins.
const ENVELOPE_PREFIX: &str = "{\"topic\":";

/// No honest log is this long, and sums of smaller offsets fit.
pub const OFFSET_MAX: u64 = 1 << 62;

#[cfg(test)]
mod tests {
    use super::*;

    const ENVELOPE: &str = "{\"topic\":\"users\",\"offset\":41,\"time\":\"2026-11-21T19:00:00Z\",\"data\":{\"a\":1}}";

    #[test]
    fn envelopes_are_messages_in_every_mode() {
        for mode in [Mode::Plain, Mode::Lapwing] {
            assert!(matches!(read(ENVELOPE, mode), Said::Message(m) if m.value == "{\"a\":1}"));
        }
    }

    #[test]
    fn control_messages_exist_only_in_the_subprotocol() {
        let heartbeat = "{\"type\":\"heartbeat\",\"time\":\"x\",\"next\":{}}";
        assert!(matches!(read(heartbeat, Mode::Lapwing), Said::Control(_)));
        assert!(matches!(read(heartbeat, Mode::Plain), Said::Json(json) if json == heartbeat));
        assert!(matches!(
            read("{\"type\":\"later\"}", Mode::Lapwing),
            Said::UnknownControl
        ));
    }

    #[test]
    fn everything_else_is_json_or_text() {
        assert!(matches!(read("{ \"a\" : 1.0 }", Mode::Plain), Said::Json(json) if json == "{\"a\":1.0}"));
        assert!(matches!(read("hello", Mode::Plain), Said::Text("hello")));
        let absurd = ENVELOPE.replace("41", "18446744073709551615");
        assert!(matches!(read(&absurd, Mode::Lapwing), Said::Json(_)));
        assert_eq!(one_line("[1,\n2]"), "[1,2]");
    }
}
