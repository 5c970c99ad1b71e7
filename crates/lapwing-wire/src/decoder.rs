//! Frames as they come: a strict decoder over the caller's buffer (RFC 6455 sections 5, 7.4 and 8.1).

use thiserror::Error;

use crate::close::CloseCode;
use crate::deflate::InflateError;
use crate::extension::Compression;
use crate::frame::{
    CONTROL_BYTES_MAX, FIN, HEADER_BYTES_MAX, LENGTH_16, LENGTH_64, MASKED, Opcode, RESERVED, RSV1, Role,
};
use crate::mask::Mask;
use crate::utf8::{self, InvalidUtf8, Utf8};

/// Turns the bytes of one connection into events.
///
/// A frame that lies whole in the caller's buffer is unmasked there and borrowed: no copy, no allocation. Only what is
/// half received is kept, in a part that exists only for that time and grows by what came, never by what a header claims.
pub struct Decoder {
    open: Option<Box<Open>>,
    // Beside each connection stands a decoder, so both are as small as they can be.
    message_bytes_max: u32,
    fragments_max: u16,
    role: Role,
    state: State,
}

/// What may come.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// Frames, and whether messages may be compressed.
    Open(Compression),
    /// Nothing that counts.
    Ended,
}

impl Decoder {
    /// Begins a connection in which we are `role`, and no message is compressed.
    #[must_use]
    pub const fn new(role: Role, limits: DecoderLimits) -> Self {
        Self {
            open: None,
            message_bytes_max: limits.message_bytes_max,
            fragments_max: limits.fragments_max,
            role,
            state: State::Open(Compression::Off),
        }
    }

    /// The same, where this was agreed on.
    #[must_use]
    pub const fn with_compression(mut self, compression: Compression) -> Self {
        self.state = State::Open(compression);
        self
    }

    /// Takes bytes as they came, up to the end of the first event in them.
    ///
    /// The caller goes on behind `consumed` until a call gives no event: that call took everything, and it also frees
    /// the memory of a message that was put together. After an error or a close, all calls take everything and give nothing.
    pub fn decode<'a>(&'a mut self, input: &'a mut [u8]) -> Result<Decoded<'a>, ProtocolError> {
        if self.is_idle() {
            self.open = None;
        }
        let (consumed, found) = match self.find(input) {
            Ok(found) => found,
            Err(error) => return Err(self.end(error)),
        };
        let (kind, payload) = match found {
            Found::Nothing => {
                return Ok(Decoded { consumed, event: None });
            }
            Found::InInput { kind, start } => (kind, &input[start..consumed]),
            Found::Gathered { kind } => (kind, self.open.as_ref().map_or(&[][..], |open| &open.gathered)),
        };
        match kind.event(payload) {
            Ok(event) => {
                if matches!(event, Event::Close(_)) {
                    self.state = State::Ended;
                }
                Ok(Decoded {
                    consumed,
                    event: Some(event),
                })
            }
            Err(error) => {
                self.state = State::Ended;
                Err(error)
            }
        }
    }

    /// Whether no frame and no message is half received.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.state == State::Ended || self.open.as_ref().is_none_or(|open| open.is_complete())
    }

    /// Whether a message or a single frame is unfinished, which the peer may not leave so for long.
    ///
    /// A peer that always has the next message begun is not late: a deadline starts anew with each text or binary event.
    #[must_use]
    pub fn message_open(&self) -> bool {
        !self.is_idle()
    }

    /// How many bytes are held beside the decoder itself, between calls.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        self.open.as_ref().map_or(0, |open| {
            let message = open.message.as_ref().map_or(0, |message| message.payload.capacity());
            size_of::<Open>() + open.gathered.capacity() + message
        })
    }

    /// Lets go of what is half received; nothing that comes after this counts.
    pub fn give_up(&mut self) {
        self.state = State::Ended;
        self.open = None;
    }

    /// Nothing that comes after this counts.
    fn end(&mut self, error: ProtocolError) -> ProtocolError {
        self.give_up();
        error
    }

    /// Goes through frames up to the one that ends an event.
    fn find(&mut self, input: &mut [u8]) -> Result<(usize, Found), ProtocolError> {
        let mut at = 0;
        while let State::Open(compression) = self.state {
            if self.open.as_ref().is_none_or(|open| open.frame.is_none()) {
                let Some((header, header_bytes)) = self.next_header(&input[at..], compression)? else {
                    break;
                };
                at += header_bytes;
                let payload_bytes = self.admit(&header)?;
                let payload = input[at..].get_mut(..payload_bytes);
                if let Some(payload) = payload.filter(|_| header.is_event()) {
                    if let Some(mut mask) = header.mask {
                        mask.apply(payload);
                    }
                    return Ok((
                        at + payload_bytes,
                        Found::InInput {
                            kind: header.kind,
                            start: at,
                        },
                    ));
                }
                self.open().begin(&header, payload_bytes);
            }
            let message_bytes_max = self.message_bytes_max as usize;
            let (taken, found) = self.open().receive(&mut input[at..], message_bytes_max)?;
            at += taken;
            match found {
                Some(kind) => return Ok((at, Found::Gathered { kind })),
                None if at == input.len() => break,
                None => {}
            }
        }
        Ok((input.len(), Found::Nothing))
    }

    /// The next header and how much of the input belongs to it; `None` keeps the input as a header's beginning.
    fn next_header(
        &mut self,
        input: &[u8],
        compression: Compression,
    ) -> Result<Option<(Header, usize)>, ProtocolError> {
        if self.open.as_ref().is_none_or(|open| open.header_bytes == 0) {
            if let Some(header) = Header::read(input, self.role, compression)? {
                return Ok(Some((header, header.header_bytes)));
            }
            if input.is_empty() {
                return Ok(None);
            }
        }
        let role = self.role;
        let open = self.open();
        for (index, &byte) in input.iter().enumerate() {
            open.header[open.header_bytes] = byte;
            open.header_bytes += 1;
            if let Some(header) = Header::read(&open.header[..open.header_bytes], role, compression)? {
                open.header_bytes = 0;
                return Ok(Some((header, index + 1)));
            }
        }
        Ok(None)
    }

    /// Decides whether the frame may come now, before a byte of it is kept; gives the length of its payload.
    fn admit(&self, header: &Header) -> Result<usize, ProtocolError> {
        let message = self.open.as_ref().and_then(|open| open.message.as_ref());
        let (before, fragments) = match (header.kind.opcode, message) {
            (opcode, _) if opcode.is_control() => return Ok(header.payload_bytes as usize),
            (Opcode::Continuation, None) => return Err(ProtocolError::NothingToContinue),
            (Opcode::Continuation, Some(message)) => (message.payload.len(), message.fragments),
            (_, None) => (0, 0),
            (_, Some(_)) => return Err(ProtocolError::MessageInsideMessage),
        };
        // The length has 63 bits and what came before fits in memory: the sum fits in 64.
        let bytes = header.payload_bytes + before as u64;
        if bytes > u64::from(self.message_bytes_max) {
            let limit = self.message_bytes_max;
            return Err(ProtocolError::MessageTooBig { bytes, limit });
        }
        if fragments >= self.fragments_max && self.fragments_max != DecoderLimits::ANY_FRAGMENTS {
            let limit = self.fragments_max;
            return Err(ProtocolError::TooManyFragments { limit });
        }
        Ok(header.payload_bytes as usize)
    }

    fn open(&mut self) -> &mut Open {
        self.open.get_or_insert_default()
    }
}

/// What one peer may make us keep.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DecoderLimits {
    /// The longest message, all its fragments together.
    pub message_bytes_max: u32,
    /// The most frames that one message comes in; empty ones count too. [`DecoderLimits::ANY_FRAGMENTS`] is no limit.
    pub fragments_max: u16,
}

impl DecoderLimits {
    /// A message may come in any number of frames.
    pub const ANY_FRAGMENTS: u16 = u16::MAX;
}

impl Default for DecoderLimits {
    /// 1 MiB suits a client's commands and what it publishes; 1,024 fragments are far more than libraries make.
    fn default() -> Self {
        Self {
            message_bytes_max: 1 << 20,
            fragments_max: 1024,
        }
    }
}

/// What one call of [`Decoder::decode`] gave.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Decoded<'a> {
    /// How much of the input is done with.
    pub consumed: usize,
    /// What ended there; without one the whole input was consumed.
    pub event: Option<Event<'a>>,
}

/// A whole message or control frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Event<'a> {
    /// A text message.
    Text(&'a str),
    /// A binary message.
    Binary(&'a [u8]),
    /// Either of them, still compressed; only where that was agreed on.
    Deflated(Deflated<'a>),
    /// Asks for a pong with the same bytes.
    Ping(&'a [u8]),
    /// Answers a ping.
    Pong(&'a [u8]),
    /// The peer ends the connection, with a code that may be sent or without any.
    Close(Option<(CloseCode, &'a str)>),
}

/// A compressed message; [`Inflater::inflate`](crate::deflate::Inflater::inflate) makes it whole.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Deflated<'a> {
    /// What it is.
    pub opcode: Opcode,
    /// What came of it, all of its frames together.
    pub payload: &'a [u8],
}

impl<'a> Event<'a> {
    pub(crate) fn new(opcode: Opcode, payload: &'a [u8]) -> Result<Self, ProtocolError> {
        Ok(match opcode {
            Opcode::Text => Event::Text(utf8::whole(payload).map_err(ProtocolError::text)?),
            Opcode::Binary | Opcode::Continuation => Event::Binary(payload),
            Opcode::Ping => Event::Ping(payload),
            Opcode::Pong => Event::Pong(payload),
            Opcode::Close => Event::Close(close_body(payload)?),
        })
    }
}

/// Why the connection cannot go on; its Display is short ASCII and fits the reason of the close frame.
#[derive(Debug, Error, Clone, Copy, PartialEq, Eq)]
pub enum ProtocolError {
    /// An extension's bit, without an extension or where that has none.
    #[error("reserved bits {bits:03b} are set, and nothing that was agreed on gives them a meaning here")]
    ReservedBits {
        /// RSV1, RSV2 and RSV3.
        bits: u8,
    },
    /// An opcode that has no meaning.
    #[error("opcode {opcode} is reserved")]
    ReservedOpcode {
        /// The four bits.
        opcode: u8,
    },
    /// A client's frame without a key.
    #[error("a client must mask its frames")]
    NotMasked,
    /// A server's frame with a key.
    #[error("a server must not mask its frames")]
    Masked,
    /// A control frame without FIN.
    #[error("a control frame must not be fragmented")]
    ControlFragmented,
    /// A control frame with an extended length.
    #[error("a control frame carries at most 125 bytes, this one more")]
    ControlTooLong,
    /// A length that fits in a shorter form.
    #[error("length {bytes} is not in its shortest form")]
    LengthNotShortest {
        /// The length.
        bytes: u64,
    },
    /// A length whose top bit is set.
    #[error("length {bytes} has its top bit set")]
    LengthTopBit {
        /// The length.
        bytes: u64,
    },
    /// A continuation without a beginning.
    #[error("a continuation frame came, but no message is open")]
    NothingToContinue,
    /// A new message before the end of the last one.
    #[error("a new message began inside a fragmented one")]
    MessageInsideMessage,
    /// Text that is not UTF-8.
    #[error("text is not UTF-8 at byte {at}")]
    Text {
        /// Where in the message the bad character begins.
        at: usize,
    },
    /// Half a close code.
    #[error("a close body of 1 byte has no room for a code")]
    CloseBody,
    /// A close code that may not be sent.
    #[error("close code {code} may not be sent")]
    CloseCode {
        /// The code.
        code: CloseCode,
    },
    /// A close reason that is not UTF-8.
    #[error("the close reason is not UTF-8 at byte {at}")]
    CloseReason {
        /// Where in the reason the bad character begins.
        at: usize,
    },
    /// A message over [`DecoderLimits::message_bytes_max`].
    #[error("message of {bytes} bytes is over the limit of {limit}")]
    MessageTooBig {
        /// How long the message would be, as far as its frames were announced.
        bytes: u64,
        /// The limit.
        limit: u32,
    },
    /// A message over [`DecoderLimits::fragments_max`].
    #[error("message has more than {limit} fragments")]
    TooManyFragments {
        /// The limit.
        limit: u16,
    },
    /// A compressed message that cannot be made whole.
    #[error(transparent)]
    Deflated(#[from] InflateError),
}

impl ProtocolError {
    /// The code to close with (RFC 6455 section 7.4.1).
    #[must_use]
    pub const fn close_code(&self) -> CloseCode {
        match self {
            Self::ReservedBits { .. }
            | Self::ReservedOpcode { .. }
            | Self::NotMasked
            | Self::Masked
            | Self::ControlFragmented
            | Self::ControlTooLong
            | Self::LengthNotShortest { .. }
            | Self::LengthTopBit { .. }
            | Self::NothingToContinue
            | Self::MessageInsideMessage
            | Self::CloseBody
            | Self::CloseCode { .. } => CloseCode::PROTOCOL,
            Self::Text { .. } | Self::CloseReason { .. } => CloseCode::INVALID_DATA,
            Self::MessageTooBig { .. } | Self::TooManyFragments { .. } => CloseCode::TOO_BIG,
            Self::Deflated(error) => error.close_code(),
        }
    }

    const fn text(invalid: InvalidUtf8) -> Self {
        Self::Text { at: invalid.at }
    }
}

/// Where an event's payload lies.
enum Found {
    /// The input holds no end of an event.
    Nothing,
    /// From `start` to the end of what was consumed.
    InInput { kind: Kind, start: usize },
    /// In [`Open::gathered`].
    Gathered { kind: Kind },
}

/// What a frame carries, or a message.
#[derive(Clone, Copy)]
struct Kind {
    opcode: Opcode,
    is_deflated: bool,
}

impl Kind {
    fn event(self, payload: &[u8]) -> Result<Event<'_>, ProtocolError> {
        let opcode = self.opcode;
        match self.is_deflated {
            true => Ok(Event::Deflated(Deflated { opcode, payload })),
            false => Event::new(opcode, payload),
        }
    }
}

/// What is half received, and the payload that was put together last.
#[derive(Default)]
struct Open {
    /// The beginning of a header.
    header: [u8; HEADER_BYTES_MAX],
    header_bytes: usize,
    frame: Option<Frame>,
    message: Option<Message>,
    /// A control frame that came in pieces, or the message whose event was given last.
    gathered: Vec<u8>,
}

impl Open {
    fn is_complete(&self) -> bool {
        self.header_bytes == 0 && self.frame.is_none() && self.message.is_none()
    }

    /// Takes up a frame that [`Decoder::admit`] let in.
    fn begin(&mut self, header: &Header, payload_bytes: usize) {
        if header.kind.opcode.is_control() {
            self.gathered.clear();
        } else {
            let message = self.message.get_or_insert_with(|| Message::new(header.kind));
            message.fragments = message.fragments.saturating_add(1);
        }
        self.frame = Some(Frame {
            kind: header.kind,
            fin: header.fin,
            mask: header.mask,
            missing: payload_bytes,
        });
    }

    /// Takes what the input has of the frame's payload; gives what it is when that ends an event.
    fn receive(&mut self, input: &mut [u8], bytes_max: usize) -> Result<(usize, Option<Kind>), ProtocolError> {
        let Some(frame) = &mut self.frame else {
            return Ok((0, None));
        };
        let taken = frame.missing.min(input.len());
        let piece = &mut input[..taken];
        if let Some(mask) = &mut frame.mask {
            mask.apply(piece);
        }
        frame.missing -= taken;
        match &mut self.message {
            Some(message) if !frame.kind.opcode.is_control() => {
                let bytes_max = match frame.fin {
                    true => message.payload.len() + taken + frame.missing,
                    false => bytes_max,
                };
                message.take(piece, bytes_max)?;
            }
            _ => self.gathered.extend_from_slice(piece),
        }
        if frame.missing > 0 {
            return Ok((taken, None));
        }
        let (kind, fin) = (frame.kind, frame.fin);
        self.frame = None;
        if kind.opcode.is_control() {
            return Ok((taken, Some(kind)));
        }
        match self.message.take_if(|_| fin) {
            Some(message) => {
                let kind = message.kind;
                self.gathered = message.finish()?;
                Ok((taken, Some(kind)))
            }
            None => Ok((taken, None)),
        }
    }
}

/// The frame whose payload is arriving.
struct Frame {
    kind: Kind,
    fin: bool,
    mask: Option<Mask>,
    /// How many bytes of the payload have not come yet.
    missing: usize,
}

/// The message whose end has not come yet.
struct Message {
    kind: Kind,
    fragments: u16,
    utf8: Utf8,
    payload: Vec<u8>,
}

impl Message {
    const fn new(kind: Kind) -> Self {
        Self {
            kind,
            fragments: 0,
            utf8: Utf8::new(),
            payload: Vec::new(),
        }
    }

    /// Text is checked at once, unless it is compressed: a bad byte ends the connection while its frame is still arriving.
    fn take(&mut self, piece: &[u8], bytes_max: usize) -> Result<(), ProtocolError> {
        if self.kind.opcode == Opcode::Text && !self.kind.is_deflated {
            self.utf8.feed(piece).map_err(ProtocolError::text)?;
        }
        let needed = self.payload.len() + piece.len();
        if needed > self.payload.capacity() {
            // Doubling, but never past what the message may become.
            let capacity = needed.max(bytes_max.min(2 * self.payload.capacity()));
            self.payload.reserve_exact(capacity - self.payload.len());
        }
        self.payload.extend_from_slice(piece);
        Ok(())
    }

    fn finish(self) -> Result<Vec<u8>, ProtocolError> {
        self.utf8.finish().map_err(ProtocolError::text)?;
        Ok(self.payload)
    }
}

/// A header as it came (RFC 6455 section 5.2).
#[derive(Clone, Copy)]
struct Header {
    kind: Kind,
    fin: bool,
    mask: Option<Mask>,
    payload_bytes: u64,
    header_bytes: usize,
}

impl Header {
    /// Reads a header, and fails at its first byte that is wrong; `None` is one whose end has not come yet.
    fn read(input: &[u8], role: Role, compression: Compression) -> Result<Option<Self>, ProtocolError> {
        let Some((&first, rest)) = input.split_first() else {
            return Ok(None);
        };
        let fin = first & FIN != 0;
        let bits = first & 0x0f;
        let opcode = Opcode::from_bits(bits);
        let begins_message = matches!(opcode, Some(Opcode::Text | Opcode::Binary));
        let is_deflated = compression == Compression::Deflate && begins_message && first & RSV1 != 0;
        let allowed = if is_deflated { RSV1 } else { 0 };
        if first & RESERVED & !allowed != 0 {
            let bits = (first & RESERVED) >> 4;
            return Err(ProtocolError::ReservedBits { bits });
        }
        let opcode = opcode.ok_or(ProtocolError::ReservedOpcode { opcode: bits })?;
        if opcode.is_control() && !fin {
            return Err(ProtocolError::ControlFragmented);
        }

        let Some((&second, rest)) = rest.split_first() else {
            return Ok(None);
        };
        match (role, second & MASKED != 0) {
            (Role::Server, false) => return Err(ProtocolError::NotMasked),
            (Role::Client, true) => return Err(ProtocolError::Masked),
            _ => {}
        }
        let short = second & !MASKED;
        if opcode.is_control() && usize::from(short) > CONTROL_BYTES_MAX {
            return Err(ProtocolError::ControlTooLong);
        }

        let Some((payload_bytes, rest)) = read_length(short, rest)? else {
            return Ok(None);
        };
        let (mask, rest) = match role {
            Role::Client => (None, rest),
            Role::Server => match rest.split_first_chunk() {
                Some((&key, rest)) => (Some(Mask::new(key)), rest),
                None => return Ok(None),
            },
        };
        Ok(Some(Self {
            kind: Kind { opcode, is_deflated },
            fin,
            mask,
            payload_bytes,
            header_bytes: input.len() - rest.len(),
        }))
    }

    /// Whether the frame is an event by itself.
    fn is_event(&self) -> bool {
        self.fin && self.kind.opcode != Opcode::Continuation
    }
}

/// The payload's length and what lies behind it.
fn read_length(short: u8, input: &[u8]) -> Result<Option<(u64, &[u8])>, ProtocolError> {
    let (bytes, shortest, rest) = match short {
        LENGTH_16 => match input.split_first_chunk() {
            Some((&bytes, rest)) => (u64::from(u16::from_be_bytes(bytes)), 126, rest),
            None => return Ok(None),
        },
        LENGTH_64 => match input.split_first_chunk() {
            Some((&bytes, rest)) => (u64::from_be_bytes(bytes), 0x1_0000, rest),
            None => return Ok(None),
        },
        _ => return Ok(Some((u64::from(short), input))),
    };
    if bytes < shortest {
        return Err(ProtocolError::LengthNotShortest { bytes });
    }
    if bytes >> 63 != 0 {
        return Err(ProtocolError::LengthTopBit { bytes });
    }
    Ok(Some((bytes, rest)))
}

/// The body of a close frame (RFC 6455 section 5.5.1).
fn close_body(payload: &[u8]) -> Result<Option<(CloseCode, &str)>, ProtocolError> {
    let Some((&code, reason)) = payload.split_first_chunk() else {
        return match payload {
            [] => Ok(None),
            _ => Err(ProtocolError::CloseBody),
        };
    };
    let code = CloseCode::new(u16::from_be_bytes(code));
    if !code.may_be_sent() {
        return Err(ProtocolError::CloseCode { code });
    }
    let reason = utf8::whole(reason).map_err(|invalid| ProtocolError::CloseReason { at: invalid.at })?;
    Ok(Some((code, reason)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::close::REASON_BYTES_MAX;

    const LIMITS: DecoderLimits = DecoderLimits {
        message_bytes_max: 1000,
        fragments_max: 4,
    };

    /// Every event in the bytes, as text, and the error that ended them.
    fn events(role: Role, bytes: &[u8], pieces: usize) -> (Vec<String>, Option<ProtocolError>) {
        let mut decoder = Decoder::new(role, LIMITS);
        let mut events = Vec::new();
        for piece in bytes.chunks(pieces) {
            let mut piece = piece.to_vec();
            let mut rest = &mut piece[..];
            loop {
                let decoded = match decoder.decode(rest) {
                    Ok(decoded) => decoded,
                    Err(error) => return (events, Some(error)),
                };
                let consumed = decoded.consumed;
                match decoded.event {
                    Some(event) => events.push(format!("{event:?}")),
                    None => break,
                }
                rest = &mut rest[consumed..];
            }
        }
        (events, None)
    }

    /// Without a copy and byte by byte: always the same events.
    #[track_caller]
    fn check_role(role: Role, bytes: &[u8], expect: &[&str], error: Option<ProtocolError>) {
        for pieces in [usize::MAX, 1, 2, 3, 7] {
            let (events, ended) = events(role, bytes, pieces);
            assert_eq!(events, expect, "{bytes:x?} in pieces of {pieces}");
            assert_eq!(ended, error, "{bytes:x?} in pieces of {pieces}");
        }
    }

    #[track_caller]
    fn check(bytes: &[u8], expect: &[&str]) {
        check_role(Role::Client, bytes, expect, None);
    }

    #[track_caller]
    fn check_error(bytes: &[u8], code: CloseCode, error: ProtocolError) {
        check_role(Role::Client, bytes, &[], Some(error));
        assert_eq!(error.close_code(), code, "{error}");
    }

    #[test]
    fn the_decoder_of_an_idle_connection_is_small() {
        assert_eq!(size_of::<Decoder>(), 16);
    }

    #[test]
    fn the_examples_of_the_rfc_hold() {
        check(b"\x81\x05Hello", &[r#"Text("Hello")"#]);
        check(b"\x01\x03Hel\x80\x02lo", &[r#"Text("Hello")"#]);
        check(b"\x89\x05Hello", &["Ping([72, 101, 108, 108, 111])"]);
        check_role(
            Role::Server,
            b"\x8a\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58",
            &["Pong([72, 101, 108, 108, 111])"],
            None,
        );
        let mut binary = b"\x82\x7e\x01\x00".to_vec();
        binary.resize(4 + 256, 7);
        check(&binary, &[&format!("Binary({:?})", [7; 256])]);
    }

    #[test]
    fn c12_the_bit_of_compressed_messages_counts_where_it_was_agreed_on_and_nowhere_else() {
        let kind = |bytes: &[u8], compression| {
            let mut decoder = Decoder::new(Role::Client, LIMITS).with_compression(compression);
            let mut bytes = bytes.to_vec();
            decoder
                .decode(&mut bytes)
                .map(|decoded| decoded.event.map(|event| format!("{event:?}")))
        };
        for (first, opcode) in [(0xc1, "Text"), (0xc2, "Binary")] {
            let frame = [first, 1, 0];
            let deflated = format!("Deflated(Deflated {{ opcode: {opcode}, payload: [0] }})");
            assert_eq!(kind(&frame, Compression::Deflate), Ok(Some(deflated)));
            let error = ProtocolError::ReservedBits { bits: 4 };
            assert_eq!(kind(&frame, Compression::Off), Err(error));
        }
        // In fragments only the first says so, and text is not looked at before it is inflated.
        let deflated = "Deflated(Deflated { opcode: Text, payload: [255, 254] })".to_owned();
        assert_eq!(
            kind(b"\x41\x01\xff\x80\x01\xfe", Compression::Deflate),
            Ok(Some(deflated))
        );
        for (frames, bits) in [
            (&b"\x41\x01\xff\xc0\x01\xfe"[..], 4),
            (b"\x01\x01a\xc0\x01b", 4),
            (b"\x41\x01\xff\xc9\x00", 4),
            (b"\xc8\x00", 4),
            (b"\xc9\x00", 4),
            (b"\xca\x00", 4),
            (b"\xc3\x00", 4),
            (b"\xa1\x00", 2),
            (b"\xe1\x00", 6),
            (b"\xd2\x00", 5),
        ] {
            let error = ProtocolError::ReservedBits { bits };
            assert_eq!(kind(frames, Compression::Deflate), Err(error), "{frames:x?}");
            assert_eq!(error.close_code(), CloseCode::PROTOCOL);
        }
    }

    #[test]
    fn empty_messages_and_empty_fragments_are_messages() {
        check(b"\x81\0\x82\0", &[r#"Text("")"#, "Binary([])"]);
        check(b"\x01\0\0\0\x80\0", &[r#"Text("")"#]);
    }

    #[test]
    fn control_frames_between_fragments_come_at_once() {
        check(
            b"\x01\x01a\x89\x01p\0\x01b\x8a\0\x80\x01c\x81\x01d",
            &["Ping([112])", "Pong([])", r#"Text("abc")"#, r#"Text("d")"#],
        );
        check(b"\x01\x01a\x88\x02\x03\xe8\x80\x01b", &[r#"Close(Some((1000, "")))"#]);
    }

    #[test]
    fn nothing_is_heard_after_a_close() {
        check(b"\x88\0\x81\x01a\xff\xff", &["Close(None)"]);
        check(b"\x88\x05\x0f\xa0bye\xff", &[r#"Close(Some((4000, "bye")))"#]);
    }

    #[test]
    fn nothing_is_heard_after_an_error() {
        let mut decoder = Decoder::new(Role::Client, LIMITS);
        assert!(decoder.decode(&mut b"\x01\x05abc".to_vec()).is_ok());
        assert!(decoder.decode(&mut b"\xff".to_vec()).is_err());
        assert!(decoder.is_idle() && decoder.held_bytes() == 0);
        let mut more = b"\x81\x01a".to_vec();
        let decoded = decoder.decode(&mut more);
        let expect = Decoded {
            consumed: 3,
            event: None,
        };
        assert_eq!(decoded, Ok(expect));
    }

    #[test]
    fn c2_a_client_must_mask() {
        check_role(Role::Server, b"\x81\x01a", &[], Some(ProtocolError::NotMasked));
        assert_eq!(ProtocolError::NotMasked.close_code(), CloseCode::PROTOCOL);
    }

    #[test]
    fn c3_a_server_must_not_mask() {
        check_error(b"\x81\x81\0\0\0\0a", CloseCode::PROTOCOL, ProtocolError::Masked);
    }

    #[test]
    fn c4_a_huge_length_is_refused_at_its_header() {
        for bits in [10, 36, 62] {
            let bytes = 1_u64 << bits;
            let limit = LIMITS.message_bytes_max;
            let frame = match bits {
                10 => b"\x82\x7e\x04\0".to_vec(),
                _ => [&b"\x82\x7f"[..], &bytes.to_be_bytes()].concat(),
            };
            check_error(
                &frame,
                CloseCode::TOO_BIG,
                ProtocolError::MessageTooBig { bytes, limit },
            );
        }
        let bytes = 1_u64 << 63;
        let frame = [&b"\x82\x7f"[..], &bytes.to_be_bytes()].concat();
        check_error(&frame, CloseCode::PROTOCOL, ProtocolError::LengthTopBit { bytes });
    }

    #[test]
    fn c4_memory_grows_by_what_came() {
        let limits = DecoderLimits {
            message_bytes_max: 1 << 31,
            fragments_max: 4,
        };
        let mut decoder = Decoder::new(Role::Client, limits);
        let mut frame = [&b"\x82\x7f"[..], &(1_u64 << 31).to_be_bytes(), &[0; 5000]].concat();
        for piece in frame.chunks_mut(100) {
            assert!(decoder.decode(piece).is_ok_and(|decoded| decoded.event.is_none()));
        }
        assert!(decoder.held_bytes() < 12_000, "{}", decoder.held_bytes());
        assert!(decoder.message_open());
    }

    #[test]
    fn c5_the_limit_holds_for_a_message_whole_or_in_fragments() {
        let limit = LIMITS.message_bytes_max;
        let whole = |bytes: u16| {
            let mut frame = vec![0x82, 0x7e];
            frame.extend(bytes.to_be_bytes());
            frame.resize(4 + usize::from(bytes), 1);
            frame
        };
        check(&whole(1000), &[&format!("Binary({:?})", [1; 1000])]);
        let error = ProtocolError::MessageTooBig { bytes: 1001, limit };
        check_error(&whole(1001)[..4], CloseCode::TOO_BIG, error);

        let mut fragments = whole(999);
        fragments[0] = 0x02;
        let exact = [&fragments[..], b"\x80\x01\x01"].concat();
        check(&exact, &[&format!("Binary({:?})", [1; 1000])]);
        let beyond = [&fragments[..], b"\x80\x02"].concat();
        check_error(&beyond, CloseCode::TOO_BIG, error);
    }

    #[test]
    fn c6_every_fragment_counts_also_the_empty_ones() {
        check(b"\x02\0\0\0\0\0\x80\0", &["Binary([])"]);
        let error = ProtocolError::TooManyFragments { limit: 4 };
        check_error(b"\x02\0\0\0\0\0\0\0\x80\0", CloseCode::TOO_BIG, error);
        check_error(b"\x02\x01a\0\x01b\0\x01c\0\x01d\0\x01e", CloseCode::TOO_BIG, error);
    }

    #[test]
    fn where_any_number_of_fragments_is_allowed_the_limit_of_the_message_still_holds() {
        let limits = |fragments_max| DecoderLimits {
            message_bytes_max: 70_000,
            fragments_max,
        };
        let continue_with = |decoder: &mut Decoder, payload: &[u8], times: usize| {
            let mut frames = [&[0, payload.len() as u8], payload].concat().repeat(times);
            decoder.decode(&mut frames).map(|decoded| decoded.event.is_some())
        };
        for (fragments_max, beyond) in [(u16::MAX - 1, false), (DecoderLimits::ANY_FRAGMENTS, true)] {
            let mut decoder = Decoder::new(Role::Client, limits(fragments_max));
            assert!(decoder.decode(&mut [2, 0]).is_ok());
            assert_eq!(continue_with(&mut decoder, b"", 65_533), Ok(false));
            assert_eq!(continue_with(&mut decoder, b"", 100_000).is_ok(), beyond);
        }
        let mut decoder = Decoder::new(Role::Client, limits(DecoderLimits::ANY_FRAGMENTS));
        assert!(decoder.decode(&mut [2, 0]).is_ok());
        assert_eq!(continue_with(&mut decoder, b"a", 70_000), Ok(false));
        let error = ProtocolError::MessageTooBig {
            bytes: 70_001,
            limit: 70_000,
        };
        assert_eq!(continue_with(&mut decoder, b"a", 1), Err(error));
    }

    #[test]
    fn c7_an_unfinished_message_is_seen_and_a_finished_one_forgotten() {
        let mut decoder = Decoder::new(Role::Client, LIMITS);
        for (bytes, open) in [
            (&b"\x81"[..], true),
            (b"\x02h", true),
            (b"i", false),
            (b"\x01\0", true),
            (b"\x89\0", true),
            (b"\x80\0", false),
            (b"\x89", true),
            (b"\0", false),
        ] {
            let mut bytes = bytes.to_vec();
            let mut rest = &mut bytes[..];
            while let Ok(Decoded {
                consumed,
                event: Some(_),
            }) = decoder.decode(rest)
            {
                rest = &mut rest[consumed..];
            }
            assert_eq!(decoder.message_open(), open, "after {bytes:x?}");
            assert_eq!(decoder.is_idle(), !open, "after {bytes:x?}");
            assert_eq!(decoder.held_bytes() > 0, open, "after {bytes:x?}");
        }
    }

    #[test]
    fn c8_a_control_frame_is_short_and_whole() {
        let mut longest = vec![0x89, 125];
        longest.resize(127, b'a');
        check(&longest, &[&format!("Ping({:?})", [b'a'; 125])]);
        for first in [0x88, 0x89, 0x8a] {
            check_error(
                &[first, 126, 0, 126],
                CloseCode::PROTOCOL,
                ProtocolError::ControlTooLong,
            );
            check_error(&[first, 127], CloseCode::PROTOCOL, ProtocolError::ControlTooLong);
            let error = ProtocolError::ControlFragmented;
            check_error(&[first & 0x7f, 0], CloseCode::PROTOCOL, error);
        }
    }

    #[test]
    fn c8_reserved_bits_and_opcodes_are_refused() {
        for bits in 1..8 {
            let error = ProtocolError::ReservedBits { bits };
            check_error(&[0x81 | bits << 4, 0], CloseCode::PROTOCOL, error);
        }
        for opcode in [3, 4, 5, 6, 7, 11, 12, 13, 14, 15] {
            let error = ProtocolError::ReservedOpcode { opcode };
            check_error(&[0x80 | opcode, 0], CloseCode::PROTOCOL, error);
        }
    }

    #[test]
    fn a_length_must_be_in_its_shortest_form() {
        for (frame, bytes) in [
            (&b"\x82\x7e\0\0"[..], 0),
            (b"\x82\x7e\0\x7d", 125),
            (b"\x82\x7f\0\0\0\0\0\0\0\x7e", 126),
            (b"\x82\x7f\0\0\0\0\0\0\xff\xff", 65535),
        ] {
            check_error(frame, CloseCode::PROTOCOL, ProtocolError::LengthNotShortest { bytes });
        }
    }

    #[test]
    fn fragments_must_belong_together() {
        let error = ProtocolError::NothingToContinue;
        check_error(b"\x80\0", CloseCode::PROTOCOL, error);
        check_error(b"\0\0", CloseCode::PROTOCOL, error);
        check_role(Role::Client, b"\x81\0\x80\0", &[r#"Text("")"#], Some(error));
        let error = ProtocolError::MessageInsideMessage;
        check_error(b"\x01\x01a\x81\x01b", CloseCode::PROTOCOL, error);
        check_error(b"\x01\x01a\x02\x01b", CloseCode::PROTOCOL, error);
    }

    #[test]
    fn c9_invalid_text_is_refused_across_fragments_and_inside_a_frame_that_still_arrives() {
        check(b"\x01\x02\xe2\x82\0\0\x80\x01\xac", &[r#"Text("€")"#]);
        let at = |at| ProtocolError::Text { at };
        check_error(b"\x81\x03a\xffb", CloseCode::INVALID_DATA, at(1));
        check_error(b"\x81\x02\xe2\x82", CloseCode::INVALID_DATA, at(0));
        check_error(b"\x01\x02\xe2\x82\x80\x01a", CloseCode::INVALID_DATA, at(0));
        check_error(b"\x01\x02\xe2\x82\x80\0", CloseCode::INVALID_DATA, at(0));
        // Autobahn 6.4.3 and 6.4.4: 100 bytes are announced, the second is bad, and no more come.
        check_error(b"\x81\x64a\xff", CloseCode::INVALID_DATA, at(1));
        check_error(b"\x81\x64\xf4\x90", CloseCode::INVALID_DATA, at(0));
        check(b"\x01\x02\xe2\x82", &[]);
    }

    #[test]
    fn binary_is_not_checked_as_text() {
        check(b"\x82\x02\xff\xfe", &["Binary([255, 254])"]);
        check(b"\x02\x01\xff\x80\x01\xfe", &["Binary([255, 254])"]);
    }

    #[test]
    fn c10_a_close_needs_a_code_that_may_be_sent() {
        check_error(b"\x88\x01\x03", CloseCode::PROTOCOL, ProtocolError::CloseBody);
        for code in [0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000] {
            let [high, low] = u16::to_be_bytes(code);
            let code = CloseCode::new(code);
            let error = ProtocolError::CloseCode { code };
            check_error(&[0x88, 2, high, low], CloseCode::PROTOCOL, error);
        }
        let error = ProtocolError::CloseReason { at: 2 };
        check_error(b"\x88\x05\x03\xe8ok\xff", CloseCode::INVALID_DATA, error);
        let mut longest = vec![0x88, 125, 0x03, 0xe8];
        longest.resize(127, b'x');
        let expect = format!("Close(Some((1000, {:?})))", "x".repeat(REASON_BYTES_MAX));
        check(&longest, &[&expect]);
    }

    #[test]
    fn c13_a_whole_frame_is_unmasked_where_it_lies() {
        let mut input = b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58rest".to_vec();
        let place = input.as_ptr_range();
        let mut decoder = Decoder::new(Role::Server, LIMITS);
        let decoded = decoder.decode(&mut input).expect("the frame is valid");
        assert_eq!(decoded.consumed, 11);
        let Some(Event::Text("Hello")) = decoded.event else {
            panic!("{decoded:?}");
        };
        let Some(Event::Text(text)) = decoded.event else {
            panic!("{decoded:?}");
        };
        assert!(place.contains(&text.as_ptr()));
        assert_eq!(decoder.held_bytes(), 0);
    }

    #[test]
    fn every_error_fits_a_close_reason() {
        let (bytes, at, limit) = (u64::MAX, usize::MAX, u32::MAX);
        let code = CloseCode::new(u16::MAX);
        for error in [
            ProtocolError::ReservedBits { bits: 7 },
            ProtocolError::ReservedOpcode { opcode: 15 },
            ProtocolError::NotMasked,
            ProtocolError::Masked,
            ProtocolError::ControlFragmented,
            ProtocolError::ControlTooLong,
            ProtocolError::LengthNotShortest { bytes },
            ProtocolError::LengthTopBit { bytes },
            ProtocolError::NothingToContinue,
            ProtocolError::MessageInsideMessage,
            ProtocolError::Text { at },
            ProtocolError::CloseBody,
            ProtocolError::CloseCode { code },
            ProtocolError::CloseReason { at },
            ProtocolError::MessageTooBig { bytes, limit },
            ProtocolError::TooManyFragments { limit: u16::MAX },
        ] {
            let reason = error.to_string();
            assert!(reason.is_ascii() && reason.len() <= REASON_BYTES_MAX, "{reason}");
            assert!(error.close_code().may_be_sent(), "{reason}");
        }
    }
}
