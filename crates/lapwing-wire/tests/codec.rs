//! The codec against itself, cut at any place, and against an independent peer.

use std::collections::VecDeque;
use std::io::{self, Read, Write};

use lapwing_wire::close::CloseCode;
use lapwing_wire::decoder::{Decoded, Decoder, DecoderLimits, Deflated, Event, ProtocolError};
use lapwing_wire::deflate::{Deflater, InflateError, Inflater, Room};
use lapwing_wire::extension::Compression;
use lapwing_wire::frame::{self, Opcode, Role};
use proptest::collection::vec;
use proptest::prelude::*;
use tungstenite::protocol::WebSocketConfig;
use tungstenite::protocol::frame::coding::CloseCode as TheirCode;
use tungstenite::{Message, WebSocket};

const KEY: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

static ROOM: Room = Room::new(1 << 20);

const LIMITS: DecoderLimits = DecoderLimits {
    message_bytes_max: 5000,
    fragments_max: 8,
};

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
            Event::Text(text) => Seen::Text(text.into()),
            Event::Binary(bytes) => Seen::Binary(bytes.into()),
            Event::Ping(bytes) => Seen::Ping(bytes.into()),
            Event::Pong(bytes) => Seen::Pong(bytes.into()),
            Event::Close(body) => Seen::Close(body.map(|(code, reason)| (code, reason.into()))),
            Event::Deflated(_) => unreachable!("it was made whole before"),
        }
    }
}

impl From<Message> for Seen {
    fn from(message: Message) -> Self {
        match message {
            Message::Text(text) => Seen::Text(text.as_str().into()),
            Message::Binary(bytes) => Seen::Binary(bytes.into()),
            Message::Ping(bytes) => Seen::Ping(bytes.into()),
            Message::Pong(bytes) => Seen::Pong(bytes.into()),
            Message::Close(body) => Seen::Close(body.map(|close| {
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
    seen: Vec<Seen>,
    error: Option<ProtocolError>,
    held_bytes_max: usize,
}

impl Feed {
    fn new(role: Role) -> Self {
        Self {
            decoder: Decoder::new(role, LIMITS),
            inflater: Inflater::default(),
            seen: Vec::new(),
            error: None,
            held_bytes_max: 0,
        }
    }

    /// The same, where compression was agreed on.
    fn compressed(role: Role) -> Self {
        Self {
            decoder: Decoder::new(role, LIMITS).with_compression(Compression::Deflate),
            ..Self::new(role)
        }
    }

    /// Takes one read's worth, as every caller does.
    fn take(&mut self, piece: &[u8]) {
        let mut piece = piece.to_vec();
        let mut rest = &mut piece[..];
        loop {
            let decoded = self.decoder.decode(rest);
            let (consumed, event) = match decoded {
                Ok(Decoded { consumed, event }) => (consumed, event.map(|event| made_whole(event, &mut self.inflater))),
                Err(error) => {
                    assert_eq!(self.error, None, "an error is told once");
                    self.error = Some(error);
                    return;
                }
            };
            self.held_bytes_max = self.held_bytes_max.max(self.decoder.held_bytes());
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
fn made_whole(event: Event<'_>, inflater: &mut Inflater) -> Seen {
    let Event::Deflated(deflated) = event else {
        return event.into();
    };
    match inflater.inflate(deflated, LIMITS.message_bytes_max as usize, &ROOM) {
        Ok(inflated) => inflated.event().map_or(Seen::Broken(InflateError::Broken), Seen::from),
        Err(error) => Seen::Broken(error),
    }
}

/// Everything in one piece.
fn whole(mut feed: Feed, bytes: &[u8]) -> Feed {
    feed.take(bytes);
    feed
}

/// The same bytes, cut at these places.
fn cut(mut feed: Feed, bytes: &[u8], places: &[prop::sample::Index]) -> Feed {
    let mut places: Vec<usize> = places.iter().map(|place| place.index(bytes.len() + 1)).collect();
    places.sort_unstable();
    let mut start = 0;
    for end in places.into_iter().chain([bytes.len()]) {
        feed.take(&bytes[start..end]);
        start = end;
    }
    feed
}

/// The key that frames going to `role` wear.
fn mask_to(role: Role) -> Option<[u8; 4]> {
    (role == Role::Server).then_some(KEY)
}

fn other(role: Role) -> Role {
    match role {
        Role::Server => Role::Client,
        Role::Client => Role::Server,
    }
}

/// One frame of a message that may go on: what this crate never writes but must read.
fn write_fragment(out: &mut Vec<u8>, opcode: Opcode, fin: bool, payload: &[u8], mask: Option<[u8; 4]>) {
    let start = out.len();
    frame::write_frame(out, opcode, payload, mask);
    if !fin {
        out[start] &= 0x7f;
    }
}

/// One thing that a peer may say; a message is cut into fragments with control frames between them.
#[derive(Clone, Debug)]
enum Say {
    Message {
        seen: Seen,
        deflate: bool,
        cuts: Vec<prop::sample::Index>,
        between: Vec<Seen>,
    },
    Control(Seen),
}

impl Say {
    /// Appends the frames and what they mean.
    fn write(&self, out: &mut Vec<u8>, meaning: &mut Vec<Seen>, mask: Option<[u8; 4]>) {
        match self {
            Say::Control(control) => {
                write_control(out, control, mask);
                meaning.push(control.clone());
            }
            Say::Message {
                seen,
                deflate,
                cuts,
                between,
            } => {
                let (mut opcode, payload) = match seen {
                    Seen::Text(text) => (Opcode::Text, text.as_bytes()),
                    Seen::Binary(bytes) => (Opcode::Binary, &bytes[..]),
                    _ => unreachable!("only messages are fragmented"),
                };
                let deflated = deflate.then(|| deflated(opcode, payload)).flatten();
                let payload = deflated.as_deref().unwrap_or(payload);
                let begin = out.len();
                let mut places: Vec<usize> = cuts.iter().map(|cut| cut.index(payload.len() + 1)).collect();
                places.sort_unstable();
                let mut start = 0;
                let mut between = between.iter();
                for place in places {
                    write_fragment(out, opcode, false, &payload[start..place], mask);
                    opcode = Opcode::Continuation;
                    start = place;
                    if let Some(control) = between.next() {
                        write_control(out, control, mask);
                        meaning.push(control.clone());
                    }
                }
                write_fragment(out, opcode, true, &payload[start..], mask);
                out[begin] |= if deflated.is_some() { 0x40 } else { 0 };
                meaning.push(seen.clone());
            }
        }
    }
}

/// The payload compressed, if it gets shorter.
fn deflated(opcode: Opcode, payload: &[u8]) -> Option<Vec<u8>> {
    let (mut frame, mut out) = (Vec::new(), Vec::new());
    frame::write_frame(&mut frame, opcode, payload, None);
    let shorter = Deflater::default().deflate(&frame, &mut out);
    shorter.then(|| frame::parts(&out).1.to_vec())
}

fn write_control(out: &mut Vec<u8>, control: &Seen, mask: Option<[u8; 4]>) {
    match control {
        Seen::Ping(bytes) => frame::write_frame(out, Opcode::Ping, bytes, mask),
        Seen::Pong(bytes) => frame::write_frame(out, Opcode::Pong, bytes, mask),
        Seen::Close(None) => frame::write_close(out, None, "", mask),
        Seen::Close(Some((code, reason))) => frame::write_close(out, Some(*code), reason, mask),
        _ => unreachable!("not a control frame"),
    }
}

fn a_role() -> impl Strategy<Value = Role> {
    prop_oneof![Just(Role::Server), Just(Role::Client)]
}

fn a_control() -> impl Strategy<Value = Seen> {
    let bytes = || vec(any::<u8>(), 0..=125);
    prop_oneof![bytes().prop_map(Seen::Ping), bytes().prop_map(Seen::Pong)]
}

fn a_message() -> impl Strategy<Value = Seen> {
    let text = prop_oneof![".{0,40}", ".{100,200}"];
    let lengths = prop_oneof![0..10_usize, 120..130_usize, 300..400_usize];
    let binary = lengths.prop_flat_map(|length| vec(any::<u8>(), length));
    prop_oneof![text.prop_map(Seen::Text), binary.prop_map(Seen::Binary)]
}

fn a_say(deflate: impl Strategy<Value = bool>) -> impl Strategy<Value = Say> {
    let message = (
        a_message(),
        deflate,
        vec(any::<prop::sample::Index>(), 0..8),
        vec(a_control(), 0..3),
    );
    let message = message.prop_map(|(seen, deflate, cuts, between)| Say::Message {
        seen,
        deflate,
        cuts,
        between,
    });
    prop_oneof![3 => message, 1 => a_control().prop_map(Say::Control)]
}

/// Bytes that are nearly frames: right and wrong headers, lengths of all kinds, payloads too short and too long.
fn nearly_frames() -> impl Strategy<Value = Vec<u8>> {
    let first = prop_oneof![
        4 => prop_oneof![Just(0x81_u8), Just(0x82), Just(0x01), Just(0x02), Just(0x00), Just(0x80), Just(0x89), Just(0x8a)],
        1 => Just(0x88),
        1 => any::<u8>(),
    ];
    let length = prop_oneof![
        6 => (0..40_u8).prop_map(|bytes| vec![bytes]),
        1 => (0..5100_u16).prop_map(|bytes| [&[126][..], &bytes.to_be_bytes()].concat()),
        1 => any::<u64>().prop_map(|bytes| [&[127][..], &bytes.to_be_bytes()].concat()),
    ];
    let payload = prop_oneof![2 => vec(32..127_u8, 0..40), 1 => vec(any::<u8>(), 0..40)];
    let exact = (first.clone(), payload.clone(), any::<bool>()).prop_map(|(first, payload, masked)| {
        let mut out = vec![first, payload.len() as u8];
        let start = out.len();
        if masked {
            out[1] |= 0x80;
            out.extend(KEY);
        }
        out.extend(payload);
        if masked {
            lapwing_wire::mask::Mask::new(KEY).apply(&mut out[start + 4..]);
        }
        out
    });
    let loose = (first, length, payload, any::<bool>()).prop_map(|(first, mut length, payload, masked)| {
        length[0] |= if masked { 0x80 } else { 0 };
        let key = if masked { &KEY[..] } else { &[] };
        [&[first], &length[..], key, &payload[..]].concat()
    });
    vec(prop_oneof![8 => exact, 1 => loose], 1..12).prop_map(|frames| frames.concat())
}

/// Headers and keys of `role`'s peer, whatever they were before.
fn as_if_to(role: Role, bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = bytes;
    while let [first, second, behind @ ..] = rest {
        let masked = second & 0x80 != 0;
        let length = usize::from(second & 0x7f);
        let start = if masked { 4 } else { 0 };
        if length > 125 || behind.len() < start + length {
            break;
        }
        let mut payload = behind[start..start + length].to_vec();
        if masked {
            lapwing_wire::mask::Mask::new(KEY).apply(&mut payload);
        }
        out.push(*first);
        match mask_to(role) {
            Some(key) => {
                lapwing_wire::mask::Mask::new(key).apply(&mut payload);
                out.push(0x80 | length as u8);
                out.extend(key);
            }
            None => out.push(length as u8),
        }
        out.extend(payload);
        rest = &behind[start + length..];
    }
    out.extend(rest);
    out
}

/// Sets the bit of compressed messages in the headers of these short frames, where it is asked for.
fn say_compressed(bytes: &mut [u8], compressed: &[bool]) {
    let mut rest = bytes;
    for compressed in compressed {
        let [first, second, ..] = rest else { return };
        *first |= if *compressed { 0x40 } else { 0 };
        let key = if *second & 0x80 != 0 { 4 } else { 0 };
        let frame = 2 + key + usize::from(*second & 0x7f);
        rest = rest.get_mut(frame..).unwrap_or_default();
    }
}

/// A stream whose other end is the test itself.
#[derive(Default)]
struct Pipe {
    incoming: VecDeque<u8>,
    outgoing: Vec<u8>,
}

impl Read for Pipe {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.incoming.is_empty() {
            true => Err(io::ErrorKind::WouldBlock.into()),
            false => self.incoming.read(buffer),
        }
    }
}

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.outgoing.write(bytes)
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// An independent implementation in the role `role`.
fn peer(role: Role, incoming: &[u8]) -> WebSocket<Pipe> {
    let role = match role {
        Role::Server => tungstenite::protocol::Role::Server,
        Role::Client => tungstenite::protocol::Role::Client,
    };
    let config = WebSocketConfig::default()
        .max_message_size(Some(LIMITS.message_bytes_max as usize))
        .max_frame_size(Some(LIMITS.message_bytes_max as usize));
    let pipe = Pipe {
        incoming: incoming.iter().copied().collect(),
        outgoing: Vec::new(),
    };
    WebSocket::from_raw_socket(pipe, role, Some(config))
}

/// All that the peer reads, and whether an error ended it.
fn read_by_peer(role: Role, bytes: &[u8]) -> (Vec<Seen>, bool) {
    let mut peer = peer(role, bytes);
    let mut seen = Vec::new();
    loop {
        match peer.read() {
            Ok(message) => seen.push(Seen::from(message)),
            Err(tungstenite::Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => return (seen, false),
            Err(tungstenite::Error::ConnectionClosed | tungstenite::Error::AlreadyClosed) => return (seen, false),
            Err(_) => return (seen, true),
        }
    }
}

proptest! {
    #[test]
    fn frames_mean_the_same_wherever_they_are_cut(
        role in a_role(),
        says in vec(a_say(Just(false)), 0..6),
        places in vec(any::<prop::sample::Index>(), 0..12),
    ) {
        let (mut bytes, mut meaning) = (Vec::new(), Vec::new());
        for say in &says {
            say.write(&mut bytes, &mut meaning, mask_to(role));
        }
        let one_piece = whole(Feed::new(role), &bytes);
        prop_assert_eq!((&one_piece.seen, one_piece.error), (&meaning, None));
        let cut = cut(Feed::new(role), &bytes, &places);
        prop_assert_eq!((&cut.seen, cut.error), (&meaning, None));
        prop_assert!(cut.decoder.is_idle());
    }

    #[test]
    fn compressed_messages_mean_the_same_wherever_they_are_cut(
        role in a_role(),
        says in vec(a_say(any::<bool>()), 0..6),
        places in vec(any::<prop::sample::Index>(), 0..12),
    ) {
        let (mut bytes, mut meaning) = (Vec::new(), Vec::new());
        for say in &says {
            say.write(&mut bytes, &mut meaning, mask_to(role));
        }
        for feed in [whole(Feed::compressed(role), &bytes), cut(Feed::compressed(role), &bytes, &places)] {
            prop_assert_eq!((&feed.seen, feed.error), (&meaning, None));
            prop_assert!(feed.decoder.is_idle());
        }
    }

    #[test]
    fn c11_garbage_that_says_it_is_compressed_is_the_same_wherever_it_is_cut(
        role in a_role(),
        bytes in nearly_frames(),
        compressed in vec(any::<bool>(), 12),
        places in vec(any::<prop::sample::Index>(), 0..12),
    ) {
        let mut bytes = as_if_to(role, &bytes);
        say_compressed(&mut bytes, &compressed);
        let one_piece = whole(Feed::compressed(role), &bytes);
        let cut = cut(Feed::compressed(role), &bytes, &places);
        prop_assert_eq!((&one_piece.seen, one_piece.error), (&cut.seen, cut.error));
    }

    #[test]
    fn c11_garbage_is_never_inflated_beyond_the_limit_and_never_panics(
        payload in prop_oneof![vec(any::<u8>(), 0..200), "[a-d]{0,200}".prop_map(|text| {
            deflated(Opcode::Text, text.as_bytes()).unwrap_or_default()
        })],
        flip in prop::option::of((any::<prop::sample::Index>(), any::<u8>())),
        limit in 0..300_usize,
    ) {
        let mut payload = payload;
        if let Some((place, byte)) = flip && !payload.is_empty() {
            let place = place.index(payload.len());
            payload[place] ^= byte;
        }
        let opcode = Opcode::Binary;
        let mut inflater = Inflater::default();
        let whole = inflater.inflate(Deflated { opcode, payload: &payload }, usize::MAX >> 1, &ROOM).map(|whole| whole.bytes());
        let within = inflater.inflate(Deflated { opcode, payload: &payload }, limit, &ROOM).map(|within| within.bytes());
        match whole {
            Ok(bytes) if bytes > limit => prop_assert_eq!(within, Err(InflateError::TooBig { limit })),
            // What is broken behind the limit is not looked at.
            Err(_) if within == Err(InflateError::TooBig { limit }) => {}
            whole => prop_assert_eq!(within, whole),
        }
    }

    #[test]
    fn nearly_frames_fail_the_same_wherever_they_are_cut(
        role in a_role(),
        bytes in nearly_frames(),
        places in vec(any::<prop::sample::Index>(), 0..12),
    ) {
        for bytes in [&bytes, &as_if_to(role, &bytes)] {
            let one_piece = whole(Feed::new(role), bytes);
            let cut = cut(Feed::new(role), bytes, &places);
            prop_assert_eq!(&one_piece.seen, &cut.seen);
            prop_assert_eq!(one_piece.error, cut.error);
            let mut single = Feed::new(role);
            bytes.iter().for_each(|byte| single.take(&[*byte]));
            prop_assert_eq!(&one_piece.seen, &single.seen);
            prop_assert_eq!(one_piece.error, single.error);
        }
    }

    #[test]
    fn c15_garbage_never_panics_and_never_holds_more_than_the_limit(
        role in a_role(),
        garbage in vec(any::<u8>(), 0..600),
        frames in vec(nearly_frames(), 0..4),
        places in vec(any::<prop::sample::Index>(), 0..12),
    ) {
        let frames = as_if_to(role, &frames.concat());
        for bytes in [&garbage, &[&frames[..], &garbage].concat()] {
            let feed = cut(Feed::new(role), bytes, &places);
            let came = 2 * bytes.len();
            let bound = came.min(LIMITS.message_bytes_max as usize + 64 * 1024) + 512;
            prop_assert!(feed.held_bytes_max <= bound, "{} of {bound}", feed.held_bytes_max);
        }
    }

    #[test]
    fn c9_text_with_any_bytes_is_judged_like_the_standard_library(
        bytes in prop_oneof![vec(any::<u8>(), 0..12), ".{0,12}".prop_map(String::into_bytes)],
        flip in prop::option::of((any::<prop::sample::Index>(), any::<u8>())),
        fragment in any::<prop::sample::Index>(),
        places in vec(any::<prop::sample::Index>(), 0..6),
    ) {
        let mut bytes = bytes;
        if let Some((place, byte)) = flip && !bytes.is_empty() {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        let expect = match std::str::from_utf8(&bytes) {
            Ok(text) => (vec![Seen::Text(text.into())], None),
            Err(error) => (vec![], Some(ProtocolError::Text { at: error.valid_up_to() })),
        };
        let (first, second) = bytes.split_at(fragment.index(bytes.len() + 1));
        let mut frames = Vec::new();
        write_fragment(&mut frames, Opcode::Text, false, first, Some(KEY));
        write_fragment(&mut frames, Opcode::Continuation, true, second, Some(KEY));
        let mut one = Vec::new();
        frame::write_frame(&mut one, Opcode::Text, &bytes, Some(KEY));
        for frames in [frames, one] {
            let feed = cut(Feed::new(Role::Server), &frames, &places);
            prop_assert_eq!((feed.seen, feed.error), expect.clone());
        }
    }

    #[test]
    fn a_close_reads_back_with_its_reason_cut(role in a_role(), code in 3000..5000_u16, reason in ".{0,140}") {
        let mut bytes = Vec::new();
        frame::write_close(&mut bytes, Some(CloseCode::new(code)), &reason, mask_to(role));
        let kept = &reason[..reason.floor_char_boundary(123)];
        let expect = Seen::Close(Some((CloseCode::new(code), kept.into())));
        prop_assert_eq!(whole(Feed::new(role), &bytes).seen, vec![expect.clone()]);
        prop_assert_eq!(read_by_peer(role, &bytes).0, vec![expect]);
    }

    #[test]
    fn another_implementation_reads_what_we_write(role in a_role(), says in vec(a_say(Just(false)), 0..6)) {
        let (mut bytes, mut meaning) = (Vec::new(), Vec::new());
        for say in &says {
            say.write(&mut bytes, &mut meaning, mask_to(role));
        }
        prop_assert_eq!(read_by_peer(role, &bytes), (meaning, false));
    }

    #[test]
    fn we_read_what_another_implementation_writes(
        role in a_role(),
        messages in vec(prop_oneof![a_message(), a_control()], 0..6),
        places in vec(any::<prop::sample::Index>(), 0..12),
    ) {
        let mut peer = peer(other(role), &[]);
        for message in messages.clone() {
            let message = match message {
                Seen::Text(text) => Message::text(text),
                Seen::Binary(bytes) => Message::binary(bytes),
                Seen::Ping(bytes) => Message::Ping(bytes.into()),
                Seen::Pong(bytes) => Message::Pong(bytes.into()),
                Seen::Close(_) | Seen::Broken(_) => unreachable!("not generated"),
            };
            peer.send(message).expect("the pipe takes everything");
        }
        let close = tungstenite::protocol::CloseFrame { code: TheirCode::Away, reason: "done".into() };
        peer.close(Some(close)).expect("the pipe takes everything");
        let expect: Vec<Seen> = messages
            .into_iter()
            .chain([Seen::Close(Some((CloseCode::GOING_AWAY, "done".into())))])
            .collect();
        let feed = cut(Feed::new(role), &peer.get_ref().outgoing, &places);
        prop_assert_eq!((feed.seen, feed.error), (expect, None));
    }

    /// We are never more lenient: what the other refuses we refuse, and up to an error both read the same.
    #[test]
    fn another_implementation_refuses_nothing_that_we_take(role in a_role(), bytes in nearly_frames()) {
        for bytes in [&bytes, &as_if_to(role, &bytes)] {
            let ours = whole(Feed::new(role), bytes);
            let (theirs, failed) = read_by_peer(role, bytes);
            let common = ours.seen.len().min(theirs.len());
            prop_assert_eq!(&ours.seen[..common], &theirs[..common]);
            if ours.error.is_none() {
                prop_assert_eq!(ours.seen.len(), theirs.len());
                // The other goes on after a close to see the stream end, so only bytes before it count.
                let closed = matches!(ours.seen.last(), Some(Seen::Close(_)));
                prop_assert!(closed || !failed);
            }
        }
    }
}

/// Every way to cut a text with one bad character into three fragments, each read byte by byte.
#[test]
fn c9_invalid_text_is_refused_at_every_split() {
    for bad in [
        &b"\xff"[..],
        b"\xc0\xaf",
        b"\xed\xa0\x80",
        b"\xe0\x80\x80",
        b"\xf4\x90\x80\x80",
        b"\xf0\x9d\x84",
    ] {
        let text = [b"a\xe2\x82\xac", bad].concat();
        let expect = ProtocolError::Text { at: 4 };
        for first in 0..=text.len() {
            for second in first..=text.len() {
                let mut frames = Vec::new();
                write_fragment(&mut frames, Opcode::Text, false, &text[..first], None);
                write_fragment(&mut frames, Opcode::Continuation, false, &text[first..second], None);
                write_fragment(&mut frames, Opcode::Continuation, true, &text[second..], None);
                let feed = whole(Feed::new(Role::Client), &frames);
                assert_eq!(feed.error, Some(expect), "{text:x?} cut at {first} and {second}");
                let mut feed = Feed::new(Role::Client);
                frames.iter().for_each(|byte| feed.take(&[*byte]));
                assert_eq!(feed.error, Some(expect), "{text:x?} cut at {first} and {second}");
            }
        }
    }
}

/// A message at the limit is taken and held within it, one byte more is not.
#[test]
fn c5_a_message_in_small_reads_is_held_within_its_limit() {
    let limit = LIMITS.message_bytes_max as usize;
    for fin in [true, false] {
        let mut bytes = Vec::new();
        write_fragment(&mut bytes, Opcode::Binary, fin, &vec![7; limit], Some(KEY));
        if !fin {
            write_fragment(&mut bytes, Opcode::Continuation, true, b"", Some(KEY));
        }
        let mut feed = Feed::new(Role::Server);
        bytes.chunks(100).for_each(|piece| feed.take(piece));
        assert_eq!((feed.seen, feed.error), (vec![Seen::Binary(vec![7; limit])], None));
        assert!(feed.held_bytes_max <= limit + 512, "{}", feed.held_bytes_max);
    }
    let mut bytes = Vec::new();
    frame::write_frame(&mut bytes, Opcode::Binary, &vec![7; limit + 1], Some(KEY));
    let bytes_claimed = limit as u64 + 1;
    let error = ProtocolError::MessageTooBig {
        bytes: bytes_claimed,
        limit: LIMITS.message_bytes_max,
    };
    assert_eq!(whole(Feed::new(Role::Server), &bytes[..8]).error, Some(error));
}

/// Two million frames without an end cost nothing: the ninth ends it.
#[test]
fn c6_a_flood_of_fragments_ends_at_the_limit() {
    for payload in [&b""[..], b"x"] {
        let mut bytes = Vec::new();
        write_fragment(&mut bytes, Opcode::Binary, false, payload, Some(KEY));
        for _ in 0..LIMITS.fragments_max {
            write_fragment(&mut bytes, Opcode::Continuation, false, payload, Some(KEY));
        }
        let feed = whole(Feed::new(Role::Server), &bytes);
        let limit = LIMITS.fragments_max;
        assert_eq!(feed.error, Some(ProtocolError::TooManyFragments { limit }));
        assert!(feed.held_bytes_max <= 512, "{}", feed.held_bytes_max);
    }
}
