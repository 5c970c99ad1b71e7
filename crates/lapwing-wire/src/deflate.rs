//! Compressed messages: frames made shorter, and payloads made whole again within bounds (RFC 7692 section 7.2).
//!
//! No context is kept from one message to the next, so any number of connections share one of each; where one is kept, it lies
//! beside them (`context.rs`).

use std::sync::atomic::{AtomicUsize, Ordering};

use flate2::{Compress, Compression as Effort, Decompress, FlushCompress, FlushDecompress, Status};
use thiserror::Error;

use crate::close::CloseCode;
use crate::decoder::{Deflated, Event, ProtocolError};
use crate::frame::{self, HEADER_BYTES_MAX, Opcode};

/// Compresses frames. It takes its memory, about 300 KiB, with the first of them.
#[derive(Default)]
pub struct Deflater(Option<Compress>);

impl Deflater {
    /// Appends a server's frame with its payload compressed; gives `false`, and appends nothing, when that is not shorter.
    pub fn deflate(&mut self, frame: &[u8], out: &mut Vec<u8>) -> bool {
        let (opcode, payload) = frame::parts(frame);
        let compress = self.0.get_or_insert_with(|| Compress::new(EFFORT, false));
        compress.reset();
        let begin = out.len();
        let text = begin + HEADER_BYTES_MAX;
        out.resize(text + payload.len() + TAIL.len(), 0);
        let done = compress.compress(payload, &mut out[text..], FlushCompress::Sync);
        let bytes = compress.total_out() as usize;
        // What fills all of its room may not be whole, and is no shorter.
        let is_whole = done.is_ok() && text + bytes < out.len();
        out.truncate(text + bytes.saturating_sub(TAIL.len()));
        frame::place_header(out, begin, frame::server_header(opcode, out.len() - text).compressed());
        let is_shorter = is_whole && out.len() - begin < frame.len();
        if !is_shorter {
            out.truncate(begin);
        }
        is_shorter
    }
}

/// Makes compressed messages whole. It takes its memory, about 50 KiB, with the first of them, and keeps 64 KiB more.
#[derive(Default)]
pub struct Inflater {
    state: Option<Decompress>,
    message: Vec<u8>,
}

impl Inflater {
    /// Makes a message whole that is no longer than `bytes_max`. What more memory that takes comes out of `room`, until the
    /// message is let go.
    pub fn inflate<'a>(
        &'a mut self,
        deflated: Deflated<'_>,
        bytes_max: usize,
        room: &'a Room,
    ) -> Result<Inflated<'a>, InflateError> {
        self.inflate_behind(&[], deflated, bytes_max, room)
    }

    /// The same for a message that may refer to these bytes before it.
    pub(crate) fn inflate_behind<'a>(
        &'a mut self,
        context: &[u8],
        deflated: Deflated<'_>,
        bytes_max: usize,
        room: &'a Room,
    ) -> Result<Inflated<'a>, InflateError> {
        self.message.clear();
        if self.message.capacity() > KEPT_BYTES {
            self.message = Vec::new();
        }
        let mut inflating = Inflating {
            state: self.state.get_or_insert_with(|| Decompress::new(false)),
            bytes_max,
            inflated: Inflated {
                message: &mut self.message,
                opcode: deflated.opcode,
                room,
                taken: 0,
            },
        };
        inflating.run(context, deflated.payload)?;
        Ok(inflating.inflated)
    }

    /// The message that was made whole last, if it was told to stay.
    pub fn last(&self, opcode: Opcode) -> Result<Event<'_>, ProtocolError> {
        Event::new(opcode, &self.message)
    }
}

/// A message that was made whole, for as long as it is needed.
pub struct Inflated<'a> {
    message: &'a mut Vec<u8>,
    opcode: Opcode,
    room: &'a Room,
    /// How much of the room is taken for it.
    taken: usize,
}

impl Inflated<'_> {
    /// The message, as if it had not been compressed.
    pub fn event(&self) -> Result<Event<'_>, ProtocolError> {
        Event::new(self.opcode, self.message)
    }

    /// How long it is.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.message.len()
    }

    /// The message, whatever it is made of.
    pub(crate) fn payload(&self) -> &[u8] {
        self.message
    }

    /// Gives its room back and lets it stay in its inflater, up to the next one ([`Inflater::last`]).
    pub fn stay(mut self) {
        self.room.give(std::mem::take(&mut self.taken));
    }
}

impl Drop for Inflated<'_> {
    fn drop(&mut self) {
        if self.taken > 0 {
            *self.message = Vec::new();
            self.room.give(self.taken);
        }
    }
}

/// A message that is being made whole.
struct Inflating<'a> {
    state: &'a mut Decompress,
    bytes_max: usize,
    inflated: Inflated<'a>,
}

impl Inflating<'_> {
    fn run(&mut self, context: &[u8], payload: &[u8]) -> Result<(), InflateError> {
        self.state.reset(false);
        if !context.is_empty() {
            // Without a header it is taken at any time.
            self.state.set_dictionary(context).map_err(|_| InflateError::Broken)?;
        }
        let behind_last_block = match self.feed(payload)? {
            None => self.feed(&END)?,
            found => found,
        };
        match behind_last_block {
            // Who ends with a last block of its own puts an empty byte behind it (RFC 7692 section 7.2.3.4).
            Some([] | [0]) => self.check(),
            Some(_) | None => Err(InflateError::Broken),
        }
    }

    /// Inflates all of these bytes; gives what lies behind the last block, if one says that it is the last.
    fn feed<'b>(&mut self, mut bytes: &'b [u8]) -> Result<Option<&'b [u8]>, InflateError> {
        loop {
            self.grow()?;
            let (message, before) = (&mut *self.inflated.message, self.state.total_in());
            let status = self.state.decompress_vec(bytes, message, FlushDecompress::None);
            let status = status.map_err(|_| InflateError::Broken)?;
            bytes = &bytes[(self.state.total_in() - before) as usize..];
            match status {
                Status::StreamEnd => return Ok(Some(bytes)),
                Status::Ok | Status::BufError if bytes.is_empty() && message.len() < message.capacity() => {
                    return Ok(None);
                }
                Status::Ok | Status::BufError => {}
            }
        }
    }

    /// Makes room for more, unless there is too much already.
    fn grow(&mut self) -> Result<(), InflateError> {
        if self.inflated.message.len() < self.inflated.message.capacity() {
            return Ok(());
        }
        self.check()?;
        let Inflated {
            message, room, taken, ..
        } = &mut self.inflated;
        // One byte more than a message may have, to see whether there is one more.
        let capacity = (2 * message.capacity()).min(self.bytes_max + 1).max(KEPT_BYTES);
        let more = if capacity > KEPT_BYTES { capacity - *taken } else { 0 };
        if !room.take(more) {
            return Err(InflateError::NoRoom);
        }
        *taken += more;
        message.reserve_exact(capacity - message.len());
        Ok(())
    }

    fn check(&self) -> Result<(), InflateError> {
        match self.inflated.message.len() > self.bytes_max {
            true => Err(InflateError::TooBig { limit: self.bytes_max }),
            false => Ok(()),
        }
    }
}

/// Memory for messages that are made whole at the same time, shared by all who do so.
pub struct Room(AtomicUsize);

impl Room {
    /// Room for so many bytes.
    #[must_use]
    pub const fn new(bytes: usize) -> Self {
        Self(AtomicUsize::new(bytes))
    }

    fn take(&self, bytes: usize) -> bool {
        self.0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(bytes))
            .is_ok()
    }

    fn give(&self, bytes: usize) {
        self.0.fetch_add(bytes, Ordering::Relaxed);
    }
}

/// Why a message cannot be made whole; its Display is short ASCII and fits the reason of the close frame.
#[derive(Debug, Error, Clone, Copy, PartialEq, Eq)]
pub enum InflateError {
    /// No deflated data, or not all of it.
    #[error("a compressed message that cannot be inflated")]
    Broken,
    /// A message that would be longer than it may be.
    #[error("a compressed message inflates to more than the limit of {limit} bytes")]
    TooBig {
        /// The limit.
        limit: usize,
    },
    /// All room is taken by messages of others.
    #[error("no room to inflate a message now retry=1000")]
    NoRoom,
}

impl InflateError {
    /// The code to close with (RFC 6455 section 7.4.1).
    #[must_use]
    pub const fn close_code(&self) -> CloseCode {
        match self {
            Self::Broken => CloseCode::INVALID_DATA,
            Self::TooBig { .. } => CloseCode::TOO_BIG,
            Self::NoRoom => CloseCode::TRY_LATER,
        }
    }
}

/// Higher ones make JSON hardly shorter (1.43 times with 3 as with 9 for people), and may take many times as long.
pub(crate) const EFFORT: Effort = Effort::new(3);
/// What a flush ends with, and nobody sends (RFC 7692 section 7.2.1).
pub(crate) const TAIL: [u8; 4] = [0, 0, 0xff, 0xff];
/// What is not sent, and a last block behind it: whoever comes to its end has come to the end of all blocks before it.
const END: [u8; 6] = [0, 0, 0xff, 0xff, 3, 0];
/// Short messages need no more than that, and so it stays.
const KEPT_BYTES: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: usize = 1 << 20;

    /// A frame of this text.
    fn frame(text: &str) -> Vec<u8> {
        let mut frame = Vec::new();
        frame::write_frame(&mut frame, Opcode::Text, text.as_bytes(), None);
        frame
    }

    /// The payload of this text, compressed.
    fn deflated(text: &str) -> Vec<u8> {
        let mut out = Vec::new();
        assert!(
            Deflater::default().deflate(&frame(text), &mut out),
            "{text:?} gets shorter"
        );
        frame::parts(&out).1.to_vec()
    }

    fn text(payload: &[u8]) -> Deflated<'_> {
        let opcode = Opcode::Text;
        Deflated { opcode, payload }
    }

    fn inflate(payload: &[u8], bytes_max: usize) -> Result<String, InflateError> {
        let (mut inflater, room) = (Inflater::default(), Room::new(64 * LIMIT));
        let inflated = inflater.inflate(text(payload), bytes_max, &room)?;
        match inflated.event() {
            Ok(Event::Text(text)) => Ok(text.to_owned()),
            other => panic!("{other:?}"),
        }
    }

    /// 512 MiB of zeroes in about 510 KiB.
    fn bomb() -> Vec<u8> {
        let mut compress = Compress::new(Effort::best(), false);
        let mut mebibyte = vec![0; 1 << 12];
        let done = compress.compress(&vec![0; 1 << 20], &mut mebibyte, FlushCompress::Full);
        assert!(matches!(done, Ok(Status::Ok)));
        mebibyte.truncate(compress.total_out() as usize);
        let bomb = mebibyte.repeat(512);
        assert!(bomb.len() < 600 << 10, "{}", bomb.len());
        bomb
    }

    #[test]
    fn the_examples_of_the_rfc_are_inflated() {
        for (payload, expect) in [
            (&b"\xf2\x48\xcd\xc9\xc9\x07\x00"[..], "Hello"),
            (b"\x00\x05\x00\xfa\xff\x48\x65\x6c\x6c\x6f\x00", "Hello"),
            (b"\xf3\x48\xcd\xc9\xc9\x07\x00\x00", "Hello"),
            (b"\xf2\x48\x05\x00\x00\x00\xff\xff\xca\xc9\xc9\x07\x00", "Hello"),
            (b"\x00", ""),
        ] {
            assert_eq!(inflate(payload, 5).as_deref(), Ok(expect), "{payload:x?}");
        }
        // A last block without the empty byte behind it, as some write it.
        assert_eq!(inflate(b"\xf3\x48\xcd\xc9\xc9\x07\x00", 5).as_deref(), Ok("Hello"));
    }

    #[test]
    fn what_is_compressed_is_inflated_to_the_same_and_says_no_block_is_the_last() {
        for text in [
            "abc".repeat(50),
            "x".repeat(70_000),
            format!("[{}]", "1.5,\u{e9},".repeat(40_000)),
        ] {
            let payload = deflated(&text);
            assert_eq!(inflate(&payload, text.len()).as_ref(), Ok(&text));
            let mut out = Vec::with_capacity(text.len() + 1);
            let whole = [&payload[..], &TAIL].concat();
            let status = Decompress::new(false).decompress_vec(&whole, &mut out, FlushDecompress::None);
            assert!(matches!(status, Ok(Status::Ok)), "{status:?}");
            assert_eq!(out, text.into_bytes());
        }
    }

    #[test]
    fn what_does_not_get_shorter_is_left_as_it_is() {
        let mut deflater = Deflater::default();
        for text in ["", "a", "short", "abcdefghijklmnopqrstuvwxyz0123456789"] {
            let mut out = b"before".to_vec();
            assert!(!deflater.deflate(&frame(text), &mut out), "{text:?}");
            assert_eq!(out, b"before");
        }
        // Of two bytes no one can be saved in a header of four.
        assert!(deflater.deflate(&frame(&"a".repeat(126)), &mut Vec::new()));
    }

    #[test]
    fn the_limit_holds_for_the_message_as_it_was() {
        for bytes in [0, 1, 100, KEPT_BYTES - 1, KEPT_BYTES, KEPT_BYTES + 1, LIMIT] {
            let text = "z".repeat(bytes);
            let payload = if bytes < 100 {
                [&[0, bytes as u8, 0, !(bytes as u8), 0xff], text.as_bytes(), &[0]].concat()
            } else {
                deflated(&text)
            };
            assert_eq!(inflate(&payload, bytes).as_ref(), Ok(&text));
            if let Some(limit) = bytes.checked_sub(1) {
                assert_eq!(inflate(&payload, limit), Err(InflateError::TooBig { limit }));
            }
        }
    }

    #[test]
    fn what_is_broken_or_cut_is_told_as_such() {
        let whole = deflated(&"broken ".repeat(50));
        for cut in 0..whole.len() {
            assert_eq!(inflate(&whole[..cut], LIMIT), Err(InflateError::Broken), "cut at {cut}");
        }
        let last = b"\xf3\x48\xcd\xc9\xc9\x07\x00";
        for payload in [
            &b"\x06"[..],
            b"\x07",
            b"\xff\xff\xff",
            &[last, &last[..]].concat(),
            &[last, &[0, 0][..]].concat(),
        ] {
            assert_eq!(inflate(payload, LIMIT), Err(InflateError::Broken), "{payload:x?}");
        }
    }

    #[test]
    fn compressed_text_is_checked_when_it_is_whole() {
        let (mut inflater, room) = (Inflater::default(), Room::new(LIMIT));
        let payload = b"\x00\x02\x00\xfd\xff\xc3\x28\x00";
        let inflated = inflater.inflate(text(payload), LIMIT, &room);
        let error = inflated.map(|inflated| inflated.event().map(|_| ()));
        assert_eq!(error, Ok(Err(ProtocolError::Text { at: 0 })));
    }

    #[test]
    fn c11_a_bomb_costs_no_more_than_the_limit() {
        let bomb = bomb();
        let (mut inflater, room) = (Inflater::default(), Room::new(LIMIT + 1));
        for _ in 0..3 {
            let end = inflater.inflate(text(&bomb), LIMIT, &room).map(|whole| whole.bytes());
            assert_eq!(end, Err(InflateError::TooBig { limit: LIMIT }));
            assert_eq!(
                room.0.load(Ordering::Relaxed),
                LIMIT + 1,
                "all of the room is given back"
            );
            assert!(inflater.message.capacity() <= KEPT_BYTES);
        }
    }

    #[test]
    fn c11_many_bombs_at_once_share_one_room() {
        let bomb = bomb();
        let room = Room::new(2 * LIMIT + 2);
        let zeroes = "0".repeat(LIMIT);
        let large = deflated(&zeroes);
        let mut inflaters: [Inflater; 3] = Default::default();
        let [first, second, third] = &mut inflaters;
        let held = [first, second].map(|inflater| {
            inflater
                .inflate(text(&large), LIMIT, &room)
                .map(|held| (held.bytes(), held))
        });
        assert!(held.iter().all(|held| matches!(held, Ok((LIMIT, _)))));
        for payload in [&bomb, &large] {
            let end = third.inflate(text(payload), LIMIT, &room).map(|whole| whole.bytes());
            assert_eq!(end, Err(InflateError::NoRoom));
        }
        // Short messages take none of it.
        let end = third
            .inflate(text(b"\xf2\x48\xcd\xc9\xc9\x07\x00"), LIMIT, &room)
            .map(|whole| whole.bytes());
        assert_eq!(end, Ok(5));
        drop(held);
        let end = third.inflate(text(&large), LIMIT, &room).map(|whole| whole.bytes());
        assert_eq!(end, Ok(LIMIT));
    }

    #[test]
    fn the_reasons_fit_a_close_frame() {
        for error in [
            InflateError::Broken,
            InflateError::TooBig { limit: usize::MAX },
            InflateError::NoRoom,
        ] {
            assert!(error.to_string().len() <= crate::close::REASON_BYTES_MAX, "{error}");
        }
    }
}
