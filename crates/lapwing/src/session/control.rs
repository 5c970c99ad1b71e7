//! What a session says itself, between the frames of the log: control messages, pings, pongs, the close.

use lapwing_wire::close::{CloseCode, REASON_BYTES_MAX};
use lapwing_wire::frame::{self, Opcode};

/// Frames of our own that wait to go out, and the close. It takes memory only while there is something to say.
#[derive(Default)]
pub struct Control(Option<Box<Waiting>>);

#[derive(Default)]
struct Waiting {
    frames: Vec<u8>,
    /// The payload of the newest ping that is not answered yet, when much waits: older ones need no pong (RFC 6455 section 5.5.3).
    pong: Option<Vec<u8>>,
    closing: Option<(CloseCode, String)>,
    close_written: bool,
}

/// What is due of it.
pub enum Due<'a> {
    /// These frames.
    Frames(&'a [u8]),
    /// Nothing.
    Nothing,
    /// The close frame is out: nothing more is sent.
    Closed,
}

impl Control {
    /// What goes out next; the close comes behind everything else.
    pub fn due(&mut self) -> Due<'_> {
        let Some(waiting) = &mut self.0 else {
            return Due::Nothing;
        };
        if waiting.close_written {
            return Due::Closed;
        }
        if let Some(payload) = waiting.pong.take() {
            frame::write_frame(&mut waiting.frames, Opcode::Pong, &payload, None);
        }
        if waiting.frames.is_empty()
            && let Some((code, reason)) = &waiting.closing
        {
            frame::write_close(&mut waiting.frames, Some(*code), reason, None);
            waiting.close_written = true;
        }
        match waiting.frames.is_empty() {
            true => Due::Nothing,
            false => Due::Frames(&waiting.frames),
        }
    }

    /// The socket took `written` bytes of what was due; gives what it must keep: frames are never interleaved.
    pub fn on_written(&mut self, written: usize) -> Vec<u8> {
        let Some(waiting) = &mut self.0 else {
            return Vec::new();
        };
        let rest = waiting.frames.split_off(written);
        waiting.frames = Vec::new();
        if waiting.closing.is_none() {
            self.0 = None;
        }
        rest
    }

    /// Adds a text frame, unless the close is under way.
    pub fn say(&mut self, text: &str) {
        if self.closing().is_none() {
            frame::write_frame(&mut self.waiting().frames, Opcode::Text, text.as_bytes(), None);
        }
    }

    /// Adds a ping.
    pub fn ping(&mut self) {
        frame::write_frame(&mut self.waiting().frames, Opcode::Ping, b"lapwing", None);
    }

    /// Answers a ping, in its turn while little waits; then only the newest is answered.
    pub fn pong(&mut self, payload: &[u8]) {
        let waiting = self.waiting();
        match waiting.pong.is_none() && waiting.frames.len() < PONGS_HELD {
            true => frame::write_frame(&mut waiting.frames, Opcode::Pong, payload, None),
            false => waiting.pong = Some(payload.to_vec()),
        }
    }

    /// Where frames that were made elsewhere are added; none when the close is under way.
    pub fn frames(&mut self) -> Option<&mut Vec<u8>> {
        match self.closing() {
            None => Some(&mut self.waiting().frames),
            Some(_) => None,
        }
    }

    /// Ends the connection behind everything else; the first reason counts. It is cut to 123 bytes.
    pub fn close(&mut self, code: CloseCode, reason: &str) {
        let end = reason.floor_char_boundary(REASON_BYTES_MAX.min(reason.len()));
        self.waiting()
            .closing
            .get_or_insert_with(|| (code, reason[..end].to_owned()));
    }

    /// The close under way, if any: its code and reason.
    #[must_use]
    pub fn closing(&self) -> Option<(CloseCode, &str)> {
        let (code, reason) = self.0.as_ref()?.closing.as_ref()?;
        Some((*code, reason))
    }

    /// Whether there is nothing to say, and nothing was said that ends the connection.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// Bytes of frames that wait.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.0.as_ref().map_or(0, |waiting| waiting.frames.len())
    }

    fn waiting(&mut self) -> &mut Waiting {
        self.0.get_or_insert_default()
    }
}

/// With more than this waiting, a ping is answered only if it is the newest.
const PONGS_HELD: usize = 4 << 10;
