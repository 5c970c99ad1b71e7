//! What one connection keeps from each compressed message to the next (RFC 7692 section 7.1.1).

use flate2::{Compress, FlushCompress};

use crate::decoder::Deflated;
use crate::deflate::{EFFORT, InflateError, Inflated, Inflater, Room, TAIL};
use crate::extension::{Deflation, Direction, WINDOW_BITS_MIN};
use crate::frame::{HEADER_BYTES_MAX, Header, Opcode, Role, place_header, write_frame};
use crate::mask::Mask;

/// The compression of one connection, both ways.
///
/// It costs up to 32 KiB for what comes and, with the first message sent, up to 300 KiB for what goes: this is for those few that
/// compress for one peer alone. What goes out to many is compressed once for all of them, without a context.
pub struct Context {
    incoming: Direction,
    /// The end of what came, as far back as the next message may refer.
    seen: Vec<u8>,
    outgoing: Direction,
    compress: Option<Compress>,
}

impl Context {
    /// The compression that was agreed on, for the side that we are.
    #[must_use]
    pub fn new(agreed: Deflation, role: Role) -> Self {
        let (incoming, outgoing) = match role {
            Role::Server => (agreed.client, agreed.server),
            Role::Client => (agreed.server, agreed.client),
        };
        Self {
            incoming,
            seen: Vec::new(),
            outgoing,
            compress: None,
        }
    }

    /// Makes a message whole, as [`Inflater::inflate`] does. Each is to be given in its turn, until one fails.
    pub fn inflate<'a>(
        &mut self,
        inflater: &'a mut Inflater,
        deflated: Deflated<'_>,
        bytes_max: usize,
        room: &'a Room,
    ) -> Result<Inflated<'a>, InflateError> {
        let inflated = inflater.inflate_behind(&self.seen, deflated, bytes_max, room)?;
        if self.incoming.keeps_context {
            self.see(inflated.payload());
        }
        Ok(inflated)
    }

    fn see(&mut self, message: &[u8]) {
        // Some who are asked for a window of 8 bits use one of 9, since zlib does.
        let window = 1 << self.incoming.window_bits().max(WINDOW_BITS_MIN + 1);
        let new = &message[message.len().saturating_sub(window)..];
        let old = (self.seen.len() + new.len()).saturating_sub(window);
        self.seen.drain(..old);
        self.seen.extend_from_slice(new);
    }

    /// Appends a message as one compressed frame, or as it is where nothing compresses with the window agreed on.
    pub fn write_message(&mut self, out: &mut Vec<u8>, opcode: Opcode, payload: &[u8], mask: Option<[u8; 4]>) {
        if self.outgoing.window_bits() == WINDOW_BITS_MIN {
            return write_frame(out, opcode, payload, mask);
        }
        let begin = out.len();
        out.resize(begin + HEADER_BYTES_MAX, 0);
        match payload {
            // A flush with nothing before it gives nothing (RFC 7692 section 7.2.3.6).
            [] => out.push(0),
            payload => self.deflate(payload, out),
        }
        let header = Header::new(opcode, out.len() - begin - HEADER_BYTES_MAX, mask).compressed();
        place_header(out, begin, header);
        if let Some(key) = mask {
            Mask::new(key).apply(&mut out[begin + header.as_bytes().len()..]);
        }
    }

    fn deflate(&mut self, payload: &[u8], out: &mut Vec<u8>) {
        let bits = self.outgoing.window_bits();
        let compress = self
            .compress
            .get_or_insert_with(|| Compress::new_with_window_bits(EFFORT, false, bits));
        if !self.outgoing.keeps_context {
            compress.reset();
        }
        let (before, mut fed) = (compress.total_in(), 0);
        loop {
            // With less than that a flush might be marked twice.
            out.reserve(ROOM_BYTES_MIN.max((payload.len() - fed) / 2));
            // It fails only when there is nothing to do.
            let _ = compress.compress_vec(&payload[fed..], out, FlushCompress::Sync);
            fed = (compress.total_in() - before) as usize;
            if fed == payload.len() && out.len() < out.capacity() {
                break;
            }
        }
        debug_assert!(out.ends_with(&TAIL), "a flush ends with this");
        out.truncate(out.len() - TAIL.len());
    }
}

const ROOM_BYTES_MIN: usize = 256;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::decoder::{Decoder, DecoderLimits, Event};
    use crate::extension::{Compression, agree_in_full, agreed};

    const LIMIT: usize = 1 << 20;
    /// What does not compress gets a little longer.
    const LIMITS: DecoderLimits = DecoderLimits {
        message_bytes_max: 2 << 20,
        fragments_max: 1,
    };

    /// Sends messages from one side to the other, over the wire; gives how many bytes the frames had.
    #[track_caller]
    fn check(agreed: Deflation, from: Role, messages: &[Vec<u8>]) -> Vec<usize> {
        let (to, mask) = match from {
            Role::Server => (Role::Client, None),
            Role::Client => (Role::Server, Some([1, 2, 3, 4])),
        };
        let (mut sender, mut receiver) = (Context::new(agreed, from), Context::new(agreed, to));
        let (mut inflater, room) = (Inflater::default(), Room::new(LIMIT + 1));
        let mut decoder = Decoder::new(to, LIMITS).with_compression(Compression::Deflate);
        let frames = messages.iter().map(|message| {
            let mut frame = Vec::new();
            sender.write_message(&mut frame, Opcode::Binary, message, mask);
            let bytes = frame.len();
            let event = decoder.decode(&mut frame).expect("a frame").event;
            match event.expect("a whole one") {
                Event::Deflated(deflated) => {
                    let inflated = receiver.inflate(&mut inflater, deflated, LIMIT, &room);
                    let inflated = inflated.expect("a message");
                    assert_eq!(inflated.event(), Ok(Event::Binary(message)));
                }
                event => assert_eq!(event, Event::Binary(message)),
            }
            bytes
        });
        frames.collect()
    }

    fn both(direction: Direction) -> Deflation {
        Deflation {
            server: direction,
            client: direction,
        }
    }

    fn noise(bytes: usize) -> Vec<u8> {
        let mut state = 1_u32;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        };
        (0..bytes).map(|_| next()).collect()
    }

    #[test]
    fn a_context_makes_the_second_message_short_as_far_as_the_window_reaches() {
        for role in [Role::Server, Role::Client] {
            for (keeps_context, window_bits, bytes, is_short) in [
                (true, 15, 30_000, true),
                (false, 15, 30_000, false),
                (true, 15, 33_000, false),
                (true, 9, 200, true),
                (true, 9, 600, false),
                (false, 9, 200, false),
                (true, 8, 200, false),
            ] {
                let agreed = both(Direction {
                    keeps_context,
                    window_bits: Some(window_bits),
                });
                let sent = check(agreed, role, &[noise(bytes), noise(bytes)]);
                assert_eq!(sent[1] < sent[0] / 4, is_short, "{agreed:?} {sent:?}");
            }
        }
    }

    #[test]
    fn empty_messages_and_large_ones_go_between_others() {
        let messages = [
            b"".to_vec(),
            b"a".to_vec(),
            Vec::new(),
            vec![7; LIMIT],
            Vec::new(),
            noise(LIMIT),
            b"a".to_vec(),
        ];
        for keeps_context in [true, false] {
            for window_bits in 8..=15 {
                let agreed = both(Direction {
                    keeps_context,
                    window_bits: Some(window_bits),
                });
                check(agreed, Role::Server, &messages);
                check(agreed, Role::Client, &messages);
            }
        }
    }

    #[test]
    fn a_last_block_ends_its_message_and_not_the_context() {
        let agreed = agree_in_full("permessage-deflate").expect("an offer");
        let mut context = Context::new(agreed, Role::Server);
        let (mut inflater, room) = (Inflater::default(), Room::new(LIMIT + 1));
        // RFC 7692 sections 7.2.3.2 and 7.2.3.4: the second refers to the first, which ended with a last block.
        for payload in [&b"\xf3\x48\xcd\xc9\xc9\x07\x00\x00"[..], b"\xf2\x00\x11\x00\x00"] {
            let deflated = Deflated {
                opcode: Opcode::Text,
                payload,
            };
            let inflated = context
                .inflate(&mut inflater, deflated, LIMIT, &room)
                .expect("a message");
            assert_eq!(inflated.event(), Ok(Event::Text("Hello")));
        }
    }

    #[test]
    fn what_refers_to_nothing_is_broken() {
        for answer in ["permessage-deflate", "permessage-deflate; server_no_context_takeover"] {
            let agreed = agreed(answer).expect("an answer").expect("not none");
            let mut context = Context::new(agreed, Role::Client);
            let (mut inflater, room) = (Inflater::default(), Room::new(LIMIT + 1));
            let mut inflate = |payload: &[u8]| {
                let deflated = Deflated {
                    opcode: Opcode::Text,
                    payload,
                };
                let inflated = context.inflate(&mut inflater, deflated, LIMIT, &room);
                inflated.map(|inflated| inflated.bytes())
            };
            assert_eq!(inflate(b"\xf2\x00\x11\x00\x00"), Err(InflateError::Broken));
            assert_eq!(inflate(b"\xf2\x48\xcd\xc9\xc9\x07\x00"), Ok(5));
            let again = inflate(b"\xf2\x00\x11\x00\x00");
            assert_eq!(again.is_ok(), agreed.server.keeps_context, "{answer}");
        }
    }

    proptest! {
        #[test]
        fn whatever_was_agreed_on_messages_come_as_they_went(
            keeps_context: bool,
            window_bits in 8_u8..=15,
            messages in proptest::collection::vec(proptest::collection::vec(0_u8..4, 0..5000), 1..8),
        ) {
            let agreed = both(Direction { keeps_context, window_bits: Some(window_bits) });
            check(agreed, Role::Server, &messages);
            check(agreed, Role::Client, &messages);
        }
    }
}
