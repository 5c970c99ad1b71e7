//! Server-sent events as text (WHATWG HTML, "Server-sent events"): what is written, and the place that a client comes back with.

use serde::Serialize;
use thiserror::Error;

use crate::position::{Epoch, Offset, Position};
use crate::start::digits;

/// The type of a body of events.
pub const CONTENT_TYPE: &str = "text/event-stream";

/// A comment: nothing for the client's program, and a sign of life for whatever is on the way.
pub const HEARTBEAT: &[u8] = b":\n\n";

/// Appends one message: its envelope, which is one line, and the place behind it, so that who lost the connection comes back for the
/// next one.
pub fn write_message(epoch: Epoch, next: Offset, envelope: &[u8], out: &mut Vec<u8>) {
    write_id(Position { epoch, offset: next }, out);
    write_data(envelope, out);
}

/// Appends an event of this name with an object, and the place behind it, if it has one.
pub fn write_event(name: &str, place: Option<Position>, object: &impl Serialize, out: &mut Vec<u8>) {
    if let Some(place) = place {
        write_id(place, out);
    }
    out.extend_from_slice(b"event: ");
    out.extend_from_slice(name.as_bytes());
    out.push(b'\n');
    // Compact JSON is one line: what would end it is escaped.
    let object = serde_json::to_vec(object).expect("our own objects are values of JSON");
    write_data(&object, out);
}

/// Appends a place without an event: a client that is cut off before its first message comes back to it all the same.
pub fn write_place(place: Position, out: &mut Vec<u8>) {
    write_id(place, out);
    out.push(b'\n');
}

/// Appends how long a client waits before it comes back.
pub fn write_retry(retry_ms: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(b"retry: ");
    write_number(retry_ms, out);
    out.push(b'\n');
}

fn write_id(Position { epoch, offset }: Position, out: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    out.extend_from_slice(b"id: ");
    out.extend(
        (0..32)
            .rev()
            .map(|digit| HEX[(epoch.to_bits() >> (4 * digit)) as usize & 15]),
    );
    out.push(b':');
    write_number(offset.get(), out);
    out.push(b'\n');
}

fn write_data(line: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(b"data: ");
    out.extend_from_slice(line);
    out.extend_from_slice(b"\n\n");
}

fn write_number(number: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

/// The place in a `Last-Event-ID`: what [`write_message`] wrote as an id.
pub fn last_event_id(text: &str) -> Result<Position, LastEventIdError> {
    let (epoch, offset) = text.split_once(':').ok_or(LastEventIdError)?;
    Ok(Position {
        epoch: Epoch::parse(epoch).map_err(|_| LastEventIdError)?,
        offset: digits(offset).map(Offset::new).ok_or(LastEventIdError)?,
    })
}

/// The text is no id of ours.
#[derive(Debug, Error, Clone, Copy, PartialEq, Eq)]
#[error("Last-Event-ID is no id of this server, which are EPOCH:OFFSET; leave it out to begin anew")]
pub struct LastEventIdError;

#[cfg(test)]
mod tests {
    use super::*;

    fn text(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).expect("text")
    }

    const EPOCH: &str = "00d2e7b0c3a94f6e8b1d2a7c90e4f518";

    fn place(offset: u64) -> Position {
        Position {
            epoch: Epoch::parse(EPOCH).expect("valid"),
            offset: Offset::new(offset),
        }
    }

    #[test]
    fn an_event_is_lines_and_an_empty_one() {
        let message = text(|out| write_message(place(0).epoch, Offset::new(42), b"{\"offset\":41}", out));
        assert_eq!(message, format!("id: {EPOCH}:42\ndata: {{\"offset\":41}}\n\n"));
        let gap = text(|out| write_event("gap", Some(place(7)), &"a\nb\r", out));
        assert_eq!(gap, format!("id: {EPOCH}:7\nevent: gap\ndata: \"a\\nb\\r\"\n\n"));
        assert_eq!(text(|out| write_event("bye", None, &1, out)), "event: bye\ndata: 1\n\n");
        assert_eq!(text(|out| write_place(place(0), out)), format!("id: {EPOCH}:0\n\n"));
        assert_eq!(text(|out| write_retry(1500, out)), "retry: 1500\n");
    }

    #[test]
    fn an_id_comes_back_as_it_was_written_and_nothing_else_is_one() {
        for offset in [0, 1, u64::MAX] {
            assert_eq!(last_event_id(&format!("{EPOCH}:{offset}")), Ok(place(offset)));
        }
        for wrong in [
            "",
            "17",
            ":",
            ":17",
            EPOCH,
            &format!("{EPOCH}:"),
            &format!("{EPOCH}:-1"),
            &format!("{EPOCH}:+1"),
            &format!("{EPOCH}: 1"),
            &format!("{EPOCH}:1:1"),
            &format!("{EPOCH}:18446744073709551616"),
            &format!("{}:1", &EPOCH[1..]),
            &format!("{EPOCH}0:1"),
            &format!("@{EPOCH}:1"),
        ] {
            assert_eq!(last_event_id(wrong), Err(LastEventIdError), "{wrong:?}");
        }
    }
}
