//! The frame as it is written: header, payload, mask (RFC 6455 section 5.2).

use crate::close::{CloseCode, REASON_BYTES_MAX};
use crate::mask::Mask;

/// Which end of the connection we are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// Frames come masked and go unmasked.
    Server,
    /// Frames come unmasked and go masked.
    Client,
}

/// What a frame carries (RFC 6455 section 11.8).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Opcode {
    /// A further part of a fragmented message.
    Continuation,
    /// Text, or the first part of it.
    Text,
    /// Bytes, or the first part of them.
    Binary,
    /// The end of the connection.
    Close,
    /// Asks for a pong.
    Ping,
    /// Answers a ping, or says unasked that the peer lives.
    Pong,
}

impl Opcode {
    /// Reads the four bits of a header; `None` is a reserved opcode.
    #[must_use]
    pub const fn from_bits(bits: u8) -> Option<Self> {
        match bits {
            0x0 => Some(Self::Continuation),
            0x1 => Some(Self::Text),
            0x2 => Some(Self::Binary),
            0x8 => Some(Self::Close),
            0x9 => Some(Self::Ping),
            0xa => Some(Self::Pong),
            _ => None,
        }
    }

    /// The four bits of a header.
    #[must_use]
    pub const fn to_bits(self) -> u8 {
        match self {
            Self::Continuation => 0x0,
            Self::Text => 0x1,
            Self::Binary => 0x2,
            Self::Close => 0x8,
            Self::Ping => 0x9,
            Self::Pong => 0xa,
        }
    }

    /// Whether such a frame may stand between the parts of a message, and is short and never fragmented.
    #[must_use]
    pub const fn is_control(self) -> bool {
        matches!(self, Self::Close | Self::Ping | Self::Pong)
    }
}

/// The header of a frame with FIN set: a few bytes by value, so that a frame can be laid out without a buffer between.
#[derive(Clone, Copy, Debug)]
pub struct Header {
    bytes: [u8; HEADER_BYTES_MAX],
    len: u8,
}

impl Header {
    /// The header for a payload of this length, which is written in its shortest form.
    #[must_use]
    pub fn new(opcode: Opcode, payload_bytes: usize, mask: Option<[u8; 4]>) -> Self {
        let mut header = Self {
            bytes: [0; HEADER_BYTES_MAX],
            len: 0,
        };
        let masked = if mask.is_some() { MASKED } else { 0 };
        header.push(&[FIN | opcode.to_bits()]);
        match payload_bytes {
            0..=125 => header.push(&[masked | payload_bytes as u8]),
            126..=0xffff => {
                header.push(&[masked | LENGTH_16]);
                header.push(&(payload_bytes as u16).to_be_bytes());
            }
            _ => {
                header.push(&[masked | LENGTH_64]);
                header.push(&(payload_bytes as u64).to_be_bytes());
            }
        }
        header.push(mask.as_ref().map_or(&[], |key| &key[..]));
        header
    }

    /// The header of the same frame with its payload compressed (RFC 7692 section 6).
    #[must_use]
    pub fn compressed(mut self) -> Self {
        self.bytes[0] |= RSV1;
        self
    }

    /// The bytes as they go on the wire.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }

    fn push(&mut self, bytes: &[u8]) {
        let start = usize::from(self.len);
        self.bytes[start..start + bytes.len()].copy_from_slice(bytes);
        self.len += bytes.len() as u8;
    }
}

/// The header of a server's frame: FIN set, no mask, so the same bytes fit every client.
#[must_use]
pub fn server_header(opcode: Opcode, payload_bytes: usize) -> Header {
    Header::new(opcode, payload_bytes, None)
}

/// How long the header of an unmasked frame is.
#[must_use]
pub const fn header_bytes(payload_bytes: usize) -> usize {
    match payload_bytes {
        0..=125 => 2,
        126..=0xffff => 4,
        _ => 10,
    }
}

/// How long an unmasked frame is, header and payload.
#[must_use]
pub const fn frame_bytes(payload_bytes: usize) -> usize {
    header_bytes(payload_bytes) + payload_bytes
}

/// Appends a whole frame.
///
/// A client must give a fresh random key as `mask` (RFC 6455 section 5.3), a server none.
///
/// # Panics
///
/// If a control frame is given more than [`CONTROL_BYTES_MAX`] bytes.
pub fn write_frame(out: &mut Vec<u8>, opcode: Opcode, payload: &[u8], mask: Option<[u8; 4]>) {
    assert!(
        !opcode.is_control() || payload.len() <= CONTROL_BYTES_MAX,
        "a control frame carries at most {CONTROL_BYTES_MAX} bytes, not {}",
        payload.len()
    );
    let header = Header::new(opcode, payload.len(), mask);
    out.reserve(header.as_bytes().len() + payload.len());
    out.extend_from_slice(header.as_bytes());
    let start = out.len();
    out.extend_from_slice(payload);
    if let Some(key) = mask {
        Mask::new(key).apply(&mut out[start..]);
    }
}

/// Puts a header before a payload that was written before its length was known, behind [`HEADER_BYTES_MAX`] bytes of room from
/// `begin` on; gives by how much the payload moved to the front.
pub fn place_header(out: &mut Vec<u8>, begin: usize, header: Header) -> usize {
    let header = header.as_bytes();
    let spare = HEADER_BYTES_MAX - header.len();
    out[begin..begin + header.len()].copy_from_slice(header);
    out.copy_within(begin + HEADER_BYTES_MAX.., begin + header.len());
    out.truncate(out.len() - spare);
    spare
}

/// The opcode and the payload of a frame as a server writes it: whole and unmasked.
///
/// # Panics
///
/// If it is no such frame.
#[must_use]
pub fn parts(frame: &[u8]) -> (Opcode, &[u8]) {
    let opcode = Opcode::from_bits(frame[0] & !(FIN | RESERVED)).expect("a frame that was written has an opcode");
    let header_bytes = match frame[1] {
        LENGTH_16 => 4,
        LENGTH_64 => 10,
        _ => 2,
    };
    (opcode, &frame[header_bytes..])
}

/// Appends a close frame; a reason over [`REASON_BYTES_MAX`] is cut at a character.
///
/// Without a code, or with one that may not be sent, the frame says nothing: the peer then sees 1005.
pub fn write_close(out: &mut Vec<u8>, code: Option<CloseCode>, reason: &str, mask: Option<[u8; 4]>) {
    let mut body = [0; CONTROL_BYTES_MAX];
    let mut len = 0;
    if let Some(code) = code.filter(|code| code.may_be_sent()) {
        let reason = &reason[..reason.floor_char_boundary(REASON_BYTES_MAX)];
        len = 2 + reason.len();
        body[..2].copy_from_slice(&code.get().to_be_bytes());
        body[2..len].copy_from_slice(reason.as_bytes());
    }
    write_frame(out, Opcode::Close, &body[..len], mask);
}

/// The longest header: 2 bytes, a length of 8, a key of 4.
pub const HEADER_BYTES_MAX: usize = 14;

/// The most that a control frame carries (RFC 6455 section 5.5).
pub const CONTROL_BYTES_MAX: usize = 125;

/// The bit of a message's last frame.
pub(crate) const FIN: u8 = 0x80;
/// The three bits for extensions.
pub(crate) const RESERVED: u8 = 0x70;
/// The one of them that says that a message is compressed (RFC 7692 section 6).
pub(crate) const RSV1: u8 = 0x40;
/// The bit that says a key follows.
pub(crate) const MASKED: u8 = 0x80;
/// In place of a length: two bytes of length follow.
pub(crate) const LENGTH_16: u8 = 126;
/// In place of a length: eight bytes of length follow.
pub(crate) const LENGTH_64: u8 = 127;

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

    #[track_caller]
    fn check_header(payload_bytes: usize, expect: &[u8]) {
        let header = server_header(Opcode::Binary, payload_bytes);
        assert_eq!(header.as_bytes(), expect, "{payload_bytes}");
        assert_eq!(header_bytes(payload_bytes), expect.len(), "{payload_bytes}");
        assert_eq!(frame_bytes(payload_bytes), expect.len() + payload_bytes);
    }

    #[track_caller]
    fn check_close(code: Option<CloseCode>, reason: &str, expect: &[u8]) {
        let mut out = Vec::new();
        write_close(&mut out, code, reason, None);
        assert_eq!(out[0], 0x88);
        assert_eq!(usize::from(out[1]), expect.len());
        assert_eq!(&out[2..], expect, "{code:?} {reason:?}");
    }

    #[test]
    fn the_length_is_written_in_its_shortest_form() {
        check_header(0, &[0x82, 0]);
        check_header(125, &[0x82, 125]);
        check_header(126, &[0x82, 126, 0, 126]);
        check_header(0xffff, &[0x82, 126, 0xff, 0xff]);
        check_header(0x1_0000, &[0x82, 127, 0, 0, 0, 0, 0, 1, 0, 0]);
    }

    #[test]
    fn the_examples_of_the_rfc_hold() {
        let mut out = Vec::new();
        write_frame(&mut out, Opcode::Text, b"Hello", None);
        assert_eq!(out, b"\x81\x05Hello");
        out.clear();
        write_frame(&mut out, Opcode::Text, b"Hello", Some(KEY));
        assert_eq!(out, b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58");
    }

    #[test]
    fn the_longest_header_fits() {
        let header = Header::new(Opcode::Binary, 0x1_0000, Some(KEY));
        assert_eq!(header.as_bytes().len(), HEADER_BYTES_MAX);
    }

    #[test]
    fn c10_a_reason_is_cut_at_a_character_and_a_forbidden_code_is_not_sent() {
        check_close(None, "not sent", b"");
        check_close(Some(CloseCode::NO_STATUS), "not sent", b"");
        check_close(Some(CloseCode::NORMAL), "", b"\x03\xe8");
        check_close(Some(CloseCode::NORMAL), "bye", b"\x03\xe8bye");
        let exact = "x".repeat(123);
        let expect = [b"\x03\xe8", exact.as_bytes()].concat();
        check_close(Some(CloseCode::NORMAL), &exact, &expect);
        check_close(Some(CloseCode::NORMAL), &"x".repeat(124), &expect);
        let euros = "€".repeat(42); // 126 bytes: 123 is a boundary
        let expect = [b"\x03\xe8", "€".repeat(41).as_bytes()].concat();
        check_close(Some(CloseCode::NORMAL), &euros, &expect);
        let shifted = format!("a{euros}");
        let expect = [b"\x03\xe8a", "€".repeat(40).as_bytes()].concat();
        check_close(Some(CloseCode::NORMAL), &shifted, &expect);
    }

    #[test]
    fn every_opcode_reads_back() {
        for bits in 0..16 {
            let opcode = Opcode::from_bits(bits);
            assert_eq!(opcode.is_none(), matches!(bits, 3..=7 | 11..=15), "{bits}");
            assert!(opcode.is_none_or(|opcode| opcode.to_bits() == bits), "{bits}");
        }
    }
}
