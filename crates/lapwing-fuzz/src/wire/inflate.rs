//! Compressed messages: within their limit, and what another use of the same library makes of them.

use flate2::{Decompress, FlushDecompress, Status};
use lapwing_wire::decoder::Deflated;
use lapwing_wire::deflate::{Deflater, InflateError, Inflater, Room};
use lapwing_wire::frame::{self, Opcode};

use crate::Entry;
use crate::input::Input;

/// A compressed payload, and a payload to be compressed.
pub const ENTRY: Entry = Entry {
    name: "inflate",
    take,
    seeds: || {
        vec![
            // RFC 7692 sections 7.2.3.1, 7.2.3.3 and 7.2.3.4.
            ("hello", b"\x20\xf2\x48\xcd\xc9\xc9\x07\x00".to_vec()),
            ("stored", b"\x20\x00\x05\x00\xfa\xff\x48\x65\x6c\x6c\x6f\x00".to_vec()),
            ("last-block", b"\x20\xf3\x48\xcd\xc9\xc9\x07\x00\x00".to_vec()),
            (
                "two-blocks",
                b"\x20\xf2\x48\x05\x00\x00\x00\xff\xff\xca\xc9\xc9\x07\x00".to_vec(),
            ),
            ("text", b"\x01{\"a\":[1,2,3,1,2,3,1,2,3,1,2,3,1,2,3,1,2,3]}".to_vec()),
        ]
    },
};

fn take(data: &[u8]) {
    let mut input = Input::new(data);
    let limit = usize::from(input.byte()) * 16;
    let payload = input.rest();
    bounded(payload, limit);
    there_and_back(payload);
}

/// No message is longer than its limit, and the limit changes nothing else.
fn bounded(payload: &[u8], limit: usize) {
    let room = Room::new(WHOLE_MAX + 1);
    let opcode = Opcode::Binary;
    let mut inflater = Inflater::default();
    let mut inflate = |limit| {
        let inflated = inflater.inflate(Deflated { opcode, payload }, limit, &room);
        inflated.map(|inflated| inflated.bytes())
    };
    let (whole, within) = (inflate(WHOLE_MAX), inflate(limit));
    match (&whole, &within) {
        (Ok(bytes), _) if *bytes > limit => assert_eq!(within, Err(InflateError::TooBig { limit })),
        // What is broken, or still longer, behind the limit is not looked at.
        (Err(_), Err(InflateError::TooBig { .. })) => {}
        _ => assert_eq!(within, whole),
    }
    assert_ne!(whole, Err(InflateError::NoRoom), "room is given back");
    match reference(payload) {
        Some(expect) => assert_eq!(whole, Ok(expect)),
        None => assert!(whole.is_err(), "{whole:?} of what is no deflated message"),
    }
}

/// How long a payload is in one go into a buffer that is large enough.
fn reference(payload: &[u8]) -> Option<usize> {
    const END: [u8; 6] = [0, 0, 0xff, 0xff, 3, 0];
    let bytes = [payload, &END].concat();
    let mut out = vec![0; WHOLE_MAX + 1];
    let mut state = Decompress::new(false);
    let (mut read, mut wrote) = (0, 0);
    let ended = loop {
        let status = state
            .decompress(&bytes[read..], &mut out[wrote..], FlushDecompress::None)
            .ok()?;
        let before = (read, wrote);
        (read, wrote) = (state.total_in() as usize, state.total_out() as usize);
        match status {
            Status::StreamEnd => break true,
            _ if (read, wrote) == before => break false,
            _ => {}
        }
    };
    let behind = if read <= payload.len() {
        &payload[read..]
    } else {
        &bytes[read..]
    };
    (ended && matches!(behind, [] | [0]) && wrote <= WHOLE_MAX).then_some(wrote)
}

/// What we compress we make whole again.
fn there_and_back(payload: &[u8]) {
    let (mut frame, mut deflated) = (Vec::new(), Vec::new());
    frame::write_frame(&mut frame, Opcode::Binary, payload, None);
    if !Deflater::default().deflate(&frame, &mut deflated) {
        assert!(deflated.is_empty(), "what gets no shorter leaves nothing behind");
        return;
    }
    assert!(deflated.len() < frame.len());
    let (opcode, short) = frame::parts(&deflated);
    let room = Room::new(WHOLE_MAX + 1);
    let mut inflater = Inflater::default();
    let inflated = inflater.inflate(Deflated { opcode, payload: short }, payload.len(), &room);
    let inflated = inflated.expect("it is our own");
    let event = inflated.event().expect("bytes are always whole");
    assert_eq!(event, lapwing_wire::decoder::Event::Binary(payload));
}

/// Large enough for several pieces of the memory that an inflater takes, and small enough to be quick.
const WHOLE_MAX: usize = 3 << 16;
