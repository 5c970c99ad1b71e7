//! Lines of a feed: the same however the bytes are cut, and none over the limit.

use lapwing_wire::envelope::Kind;
use lapwing_wire::json::compact;
use lapwing_wire::line::{LineCutter, LineError, message_into};

use crate::Entry;
use crate::input::{Input, pieces};

/// What stdin, a file or a command gives.
pub const ENTRY: Entry = Entry {
    name: "lines",
    take,
    seeds: || {
        vec![
            ("json", b"\x20\x05{\"a\": 1}\n[2]\r\nno json\n\nlast".to_vec()),
            ("too-long", b"\x03\x05abc\nabcd\nabc\r\nabcd\r\n\r\n".to_vec()),
            ("no-utf8", b"\x20\x05a\xffb\nc".to_vec()),
            ("carriage-returns", b"\x02\x01\r\r\r\n\r\n\rab\r".to_vec()),
        ]
    },
};

fn take(data: &[u8]) {
    let mut input = Input::new(data);
    let (limit, cut) = (usize::from(input.byte()), input.byte());
    let bytes = input.rest();
    let expect = expected(bytes, limit);
    for lines in [
        cut_into(limit, [bytes]),
        cut_into(limit, pieces(bytes, cut)),
        cut_into(limit, pieces(bytes, 0)),
    ] {
        assert_eq!(lines, expect);
    }
    for line in expect.into_iter().flatten() {
        message(&line);
    }
}

fn cut_into<'a>(limit: usize, pieces: impl IntoIterator<Item = &'a [u8]>) -> Vec<Result<Vec<u8>, LineError>> {
    let mut cutter = LineCutter::new(limit);
    let mut lines = Vec::new();
    let mut each = |line: lapwing_wire::line::Line<'_>| {
        lines.push(line.bytes.map(<[u8]>::to_vec));
        assert_eq!(line.number, lines.len() as u64);
    };
    pieces.into_iter().for_each(|piece| cutter.feed(piece, &mut each));
    cutter.finish(&mut each);
    lines
}

/// What a line is, said once more and simply.
fn expected(bytes: &[u8], limit: usize) -> Vec<Result<Vec<u8>, LineError>> {
    let mut lines: Vec<&[u8]> = bytes.split(|&byte| byte == b'\n').collect();
    if lines.last() == Some(&&b""[..]) {
        lines.pop();
    }
    let line = |line: &[u8]| {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        match line.len() {
            bytes if bytes > limit => Err(LineError::TooLong { bytes, limit }),
            _ => Ok(line.to_vec()),
        }
    };
    lines.into_iter().map(line).collect()
}

fn message(line: &[u8]) {
    let mut out = b"before".to_vec();
    let made = message_into(line, &mut out);
    let payload = &out[b"before".len()..];
    match (made, std::str::from_utf8(line)) {
        (Ok(Kind::Json), Ok(text)) => assert_eq!(Some(payload), compact(text).as_deref().map(str::as_bytes)),
        (Ok(Kind::Text), Ok(text)) => {
            assert_eq!(payload, line);
            assert!(compact(text).is_none());
        }
        (Err(error), Err(expect)) => {
            assert_eq!(
                error,
                LineError::NotUtf8 {
                    at: expect.valid_up_to()
                }
            );
            assert!(payload.is_empty(), "what is no text leaves nothing behind");
        }
        (made, text) => panic!("{made:?} of {text:?}"),
    }
}
