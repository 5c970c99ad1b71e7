//! Frames: the same however they are cut, within their limits, and never more lenient than another implementation.

use std::collections::VecDeque;
use std::io::{self, Read, Write};

use lapwing_wire::close::CloseCode;
use lapwing_wire::decoder::{Decoded, Decoder, DecoderLimits, Event, ProtocolError};
use lapwing_wire::deflate::{InflateError, Inflater, Room};
use lapwing_wire::extension::Compression;
use lapwing_wire::frame::{self, CONTROL_BYTES_MAX, Opcode, Role};
use tungstenite::protocol::WebSocketConfig;
use tungstenite::{Message, WebSocket};

use crate::input::{Input, pieces};
use crate::{Entry, Seeds};

/// Any bytes as frames.
pub const READ: Entry = Entry {
    name: "frames",
    take: read,
    seeds,
};

/// Messages as this crate writes them, fragmented or not, read back.
pub const WRITTEN: Entry = Entry {
    name: "frames_written",
    take: written,
    seeds: || {
        vec![
            (
                "two",
                b"\x00\x05\x00\x00\x05hello\x03\x00\x03abc\x04\x00\x02xy".to_vec(),
            ),
            (
                "fragments",
                b"\x01\x02\x10\x00\x09\xe2\x82\xac\xe2\x82\xac\xe2\x82\xac\x01\x00\x00".to_vec(),
            ),
        ]
    },
};

static ROOM: Room = Room::new(1 << 20);

fn read(data: &[u8]) {
    let mut input = Input::new(data);
    let (choice, cut) = (input.byte(), input.byte());
    let role = if choice & 1 == 0 { Role::Server } else { Role::Client };
    let compression = if choice & 2 == 0 {
        Compression::Off
    } else {
        Compression::Deflate
    };
    let limits = match choice & 4 {
        0 => DecoderLimits {
            message_bytes_max: 5000,
            fragments_max: 8,
        },
        _ => DecoderLimits {
            message_bytes_max: 200,
            fragments_max: 3,
        },
    };
    let bytes = input.rest();
    let feed = || Feed::new(role, compression, limits);
    let whole = feed().all([bytes]);
    for other in [feed().all(pieces(bytes, cut)), feed().all(pieces(bytes, 0))] {
        assert_eq!((&whole.seen, whole.error), (&other.seen, other.error));
        assert_eq!(whole.decoder.is_idle(), other.decoder.is_idle());
    }
    if compression == Compression::Off {
        compare(&whole, role, limits, bytes);
    }
}

/// What the other one refuses we refuse, and up to an error both read the same.
fn compare(ours: &Feed, role: Role, limits: DecoderLimits, bytes: &[u8]) {
    let (theirs, failed) = read_by_other(role, limits, bytes);
    if let Some((Seen::Close(Some((code, _))), before)) = ours.seen.split_last()
        && code.get() == 1014
    {
        // Registered with IANA, and unknown to the other.
        return assert_eq!(theirs.get(..before.len()), Some(before));
    }
    let common = ours.seen.len().min(theirs.len());
    assert_eq!(ours.seen[..common], theirs[..common]);
    if ours.error.is_none() {
        assert_eq!(ours.seen.len(), theirs.len());
        // The other goes on after a close to see the stream end, so only bytes before it count.
        let closed = matches!(ours.seen.last(), Some(Seen::Close(_)));
        assert!(closed || !failed, "another implementation refuses what we take");
    }
}

fn written(data: &[u8]) {
    let mut input = Input::new(data);
    let (choice, cut) = (input.byte(), input.byte());
    let role = if choice & 1 == 0 { Role::Server } else { Role::Client };
    let mask = (role == Role::Server).then_some([0x37, choice, 0x21, cut]);
    let limits = DecoderLimits {
        message_bytes_max: 1 << 16,
        fragments_max: 64,
    };
    let (mut bytes, mut meaning) = (Vec::new(), Vec::new());
    while !input.is_empty() {
        let (kind, fragments) = {
            let byte = input.byte();
            (byte % 5, usize::from(byte >> 4))
        };
        let length = usize::from(input.short() % 2000);
        let payload = input.take(length);
        let control = &payload[..payload.len().min(CONTROL_BYTES_MAX)];
        match kind {
            0 => {
                let text = String::from_utf8_lossy(payload).into_owned();
                fragmented(&mut bytes, Opcode::Text, text.as_bytes(), fragments, mask);
                meaning.push(Seen::Text(text));
            }
            1 => {
                fragmented(&mut bytes, Opcode::Binary, payload, fragments, mask);
                meaning.push(Seen::Binary(payload.to_vec()));
            }
            2 => {
                frame::write_frame(&mut bytes, Opcode::Ping, control, mask);
                meaning.push(Seen::Ping(control.to_vec()));
            }
            3 => {
                frame::write_frame(&mut bytes, Opcode::Pong, control, mask);
                meaning.push(Seen::Pong(control.to_vec()));
            }
            _ => {
                let reason = String::from_utf8_lossy(payload);
                let code = CloseCode::new(3000 + length as u16 % 2000);
                frame::write_close(&mut bytes, Some(code), &reason, mask);
                let kept = &reason[..reason.floor_char_boundary(123)];
                meaning.push(Seen::Close(Some((code, kept.to_owned()))));
                break;
            }
        }
    }
    let feed = || Feed::new(role, Compression::Off, limits);
    for feed in [feed().all([&bytes[..]]), feed().all(pieces(&bytes, cut))] {
        assert_eq!((&feed.seen, feed.error), (&meaning, None));
        assert!(feed.decoder.is_idle());
    }
    assert_eq!(read_by_other(role, limits, &bytes), (meaning, false));
}

/// Writes a message in so many frames and one more.
fn fragmented(out: &mut Vec<u8>, opcode: Opcode, payload: &[u8], cuts: usize, mask: Option<[u8; 4]>) {
    let length = payload.len() / (cuts + 1);
    let mut opcode = opcode;
    let mut rest = payload;
    for left in (0..=cuts).rev() {
        let piece = if left == 0 { rest } else { &rest[..length] };
        rest = &rest[piece.len()..];
        let begin = out.len();
        frame::write_frame(out, opcode, piece, mask);
        if left > 0 {
            out[begin] &= 0x7f;
        }
        opcode = Opcode::Continuation;
    }
}

/// What came out, by value, so that it outlives the buffers.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Seen {
    Text(String),
    Binary(Vec<u8>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(Option<(CloseCode, String)>),
    Broken(InflateError),
}

impl From<Event<'_>> for Seen {
    fn from(event: Event<'_>) -> Self {
        match event {
            Event::Text(text) => Self::Text(text.into()),
            Event::Binary(bytes) => Self::Binary(bytes.into()),
            Event::Ping(bytes) => Self::Ping(bytes.into()),
            Event::Pong(bytes) => Self::Pong(bytes.into()),
            Event::Close(body) => Self::Close(body.map(|(code, reason)| (code, reason.into()))),
            Event::Deflated(_) => unreachable!("it was made whole before"),
        }
    }
}

impl From<Message> for Seen {
    fn from(message: Message) -> Self {
        match message {
            Message::Text(text) => Self::Text(text.as_str().into()),
            Message::Binary(bytes) => Self::Binary(bytes.into()),
            Message::Ping(bytes) => Self::Ping(bytes.into()),
            Message::Pong(bytes) => Self::Pong(bytes.into()),
            Message::Close(body) => Self::Close(body.map(|close| {
                let code = CloseCode::new(close.code.into());
                (code, close.reason.as_str().into())
            })),
            Message::Frame(_) => unreachable!("reading gives whole messages"),
        }
    }
}

/// A decoder and all that it gave.
struct Feed {
    decoder: Decoder,
    inflater: Inflater,
    limits: DecoderLimits,
    came: usize,
    seen: Vec<Seen>,
    error: Option<ProtocolError>,
}

impl Feed {
    fn new(role: Role, compression: Compression, limits: DecoderLimits) -> Self {
        Self {
            decoder: Decoder::new(role, limits).with_compression(compression),
            inflater: Inflater::default(),
            limits,
            came: 0,
            seen: Vec::new(),
            error: None,
        }
    }

    /// Takes these pieces, each as one read.
    fn all<'a>(mut self, pieces: impl IntoIterator<Item = &'a [u8]>) -> Self {
        pieces.into_iter().for_each(|piece| self.take(piece));
        self
    }

    /// Takes one read's worth, as every caller does.
    fn take(&mut self, piece: &[u8]) {
        let mut piece = piece.to_vec();
        self.came += piece.len();
        let mut rest = &mut piece[..];
        loop {
            let (consumed, event) = match self.decoder.decode(rest) {
                Ok(Decoded { consumed, event }) => {
                    let limit = self.limits.message_bytes_max as usize;
                    (
                        consumed,
                        event.map(|event| made_whole(event, &mut self.inflater, limit)),
                    )
                }
                Err(error) => {
                    assert_eq!(self.error, None, "an error is told once");
                    self.error = Some(error);
                    return;
                }
            };
            // Twice what came while it grows; one message, one control frame, and the part itself.
            let bound = (2 * self.came).min(self.limits.message_bytes_max as usize) + 1024;
            assert!(
                self.decoder.held_bytes() <= bound,
                "{} of {bound}",
                self.decoder.held_bytes()
            );
            assert!(consumed <= rest.len());
            rest = &mut rest[consumed..];
            match event {
                Some(event) => self.seen.push(event),
                None => {
                    assert!(rest.is_empty(), "without an event everything is consumed");
                    let held = self.decoder.held_bytes() > 0;
                    assert_eq!(held, !self.decoder.is_idle(), "only what is half received is kept");
                    return;
                }
            }
        }
    }
}

/// What an event is, its message inflated if it came compressed; a text that is none then counts as broken, too.
fn made_whole(event: Event<'_>, inflater: &mut Inflater, bytes_max: usize) -> Seen {
    let Event::Deflated(deflated) = event else {
        return event.into();
    };
    match inflater.inflate(deflated, bytes_max, &ROOM) {
        Ok(inflated) => {
            assert!(inflated.bytes() <= bytes_max, "no longer than it may be");
            inflated.event().map_or(Seen::Broken(InflateError::Broken), Seen::from)
        }
        Err(error) => Seen::Broken(error),
    }
}

/// All that another implementation reads in this role, and whether an error ended it.
fn read_by_other(role: Role, limits: DecoderLimits, bytes: &[u8]) -> (Vec<Seen>, bool) {
    let role = match role {
        Role::Server => tungstenite::protocol::Role::Server,
        Role::Client => tungstenite::protocol::Role::Client,
    };
    let config = WebSocketConfig::default()
        .read_buffer_size(4096)
        .max_message_size(Some(limits.message_bytes_max as usize))
        .max_frame_size(Some(limits.message_bytes_max as usize));
    let pipe = Pipe(bytes.iter().copied().collect());
    let mut other = WebSocket::from_raw_socket(pipe, role, Some(config));
    let mut seen = Vec::new();
    loop {
        match other.read() {
            Ok(message) => seen.push(Seen::from(message)),
            Err(tungstenite::Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => return (seen, false),
            Err(tungstenite::Error::ConnectionClosed | tungstenite::Error::AlreadyClosed) => return (seen, false),
            Err(_) => return (seen, true),
        }
    }
}

/// A stream that has these bytes and takes all others.
struct Pipe(VecDeque<u8>);

impl Read for Pipe {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.0.is_empty() {
            true => Err(io::ErrorKind::WouldBlock.into()),
            false => self.0.read(buffer),
        }
    }
}

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn seeds() -> Seeds {
    let masked = |opcode, payload: &[u8]| {
        let mut out = vec![0, 7];
        frame::write_frame(&mut out, opcode, payload, Some([0x37, 0xfa, 0x21, 0x3d]));
        out
    };
    let plain = |choice: u8, frames: &[u8]| [&[choice, 7], frames].concat();
    vec![
        ("masked-text", masked(Opcode::Text, b"hello")),
        ("masked-ping", masked(Opcode::Ping, b"are you there")),
        ("masked-126", masked(Opcode::Binary, &[7; 126])),
        ("masked-close", masked(Opcode::Close, b"\x03\xe8done")),
        ("text", plain(1, b"\x81\x05hello")),
        ("fragments", plain(1, b"\x01\x02\xe2\x82\x89\x01p\x00\x00\x80\x01\xac")),
        (
            "two-lengths",
            plain(1, &[&b"\x82\x7e\x00\x7e"[..], &[1; 126], b"\x81\x00"].concat()),
        ),
        ("long-claim", plain(1, b"\x82\x7f\x00\x00\x00\x01\x00\x00\x00\x00ab")),
        ("top-bit", plain(1, b"\x82\x7f\x80\x00\x00\x00\x00\x00\x00\x00")),
        ("not-shortest", plain(1, b"\x82\x7e\x00\x7d")),
        ("close", plain(1, b"\x88\x02\x03\xe8\x81\x00")),
        ("bad-text", plain(5, b"\x81\x64a\xff")),
        ("flood", plain(5, b"\x02\x00\x00\x00\x00\x00\x00\x00\x80\x00")),
        // "Hello" of RFC 7692 section 7.2.3.1, whole and in two fragments.
        ("deflated", plain(3, b"\xc1\x07\xf2\x48\xcd\xc9\xc9\x07\x00")),
        (
            "deflated-fragments",
            plain(3, b"\x41\x03\xf2\x48\xcd\x80\x04\xc9\xc9\x07\x00"),
        ),
        (
            "deflated-bomb",
            plain(3, b"\xc2\x0a\xed\xc1\x01\x01\x00\x00\x00\x80\x90\xfe"),
        ),
    ]
}
