//! Lines of stdin as messages: JSON as it is, other text as a string, anything else refused by its number.

use std::borrow::Cow;
use std::io::{self, BufRead};

use lapwing_wire::json;
use thiserror::Error;

/// A line that became a message, or why not.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Line {
    /// Its number, from 1.
    pub number: u64,
    /// One JSON value on one line.
    pub message: Result<String, LineError>,
}

/// Why a line is no message.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum LineError {
    /// Bytes that are no text.
    #[error("is not UTF-8 at byte {at}")]
    NotUtf8 {
        /// Where, from 1.
        at: usize,
    },
    /// Over [`LINE_BYTES_MAX`], as it came or as a JSON string.
    #[error("has more than 1 MiB")]
    TooLong,
}

/// Reads the next line, of which no more than the limit is kept; none at the end.
pub fn next_line(input: &mut impl BufRead, number: u64) -> io::Result<Option<Line>> {
    let mut line = Vec::new();
    let mut too_long = false;
    loop {
        let found = match input.fill_buf() {
            Ok(found) => found,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        if found.is_empty() {
            if line.is_empty() && !too_long {
                return Ok(None);
            }
            break;
        }
        let end = found.iter().position(|&byte| byte == b'\n');
        let piece = &found[..end.unwrap_or(found.len())];
        too_long |= line.len() + piece.len() > LINE_BYTES_MAX + 1;
        if !too_long {
            line.extend_from_slice(piece);
        }
        let used = end.map_or(found.len(), |end| end + 1);
        input.consume(used);
        if end.is_some() {
            break;
        }
    }
    let line = line.strip_suffix(b"\r").unwrap_or(&line);
    let message = match too_long || line.len() > LINE_BYTES_MAX {
        true => Err(LineError::TooLong),
        false => message(line),
    };
    Ok(Some(Line { number, message }))
}

fn message(line: &[u8]) -> Result<String, LineError> {
    let text = std::str::from_utf8(line).map_err(|error| LineError::NotUtf8 {
        at: error.valid_up_to() + 1,
    })?;
    let message = match json::compact(text).map(Cow::into_owned) {
        Some(json) => json,
        None => serde_json::to_string(text).expect("a string has a form in JSON"),
    };
    match message.len() > LINE_BYTES_MAX {
        true => Err(LineError::TooLong),
        false => Ok(message),
    }
}

/// 1 MiB: what a server takes of one message of a publisher.
pub const LINE_BYTES_MAX: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    fn all(input: &[u8]) -> Vec<Result<String, LineError>> {
        let mut input = io::BufReader::with_capacity(7, input);
        let mut lines = Vec::new();
        while let Some(line) = next_line(&mut input, lines.len() as u64 + 1).expect("memory") {
            assert_eq!(line.number, lines.len() as u64 + 1);
            lines.push(line.message);
        }
        lines
    }

    #[test]
    fn json_stays_and_other_text_becomes_a_string() {
        let lines = all(b"{\"a\": 1.0}\nhello \"you\"\r\n\n\xff\nab\xc3\nlast");
        let ok = |text: &str| Ok(text.to_owned());
        assert_eq!(
            lines,
            [
                ok("{\"a\":1.0}"),
                ok("\"hello \\\"you\\\"\""),
                ok("\"\""),
                Err(LineError::NotUtf8 { at: 1 }),
                Err(LineError::NotUtf8 { at: 3 }),
                ok("\"last\""),
            ]
        );
    }

    #[test]
    fn the_limit_holds_at_its_value_and_one_beyond() {
        let digits = |count: usize| [vec![b'1'; count], b"\n2\n".to_vec()].concat();
        assert!(all(&digits(LINE_BYTES_MAX))[0].is_ok());
        let lines = all(&digits(LINE_BYTES_MAX + 1));
        assert_eq!(lines, [Err(LineError::TooLong), Ok("2".to_owned())]);
        let text = vec![b'x'; LINE_BYTES_MAX - 1];
        assert_eq!(all(&text), [Err(LineError::TooLong)]);
    }
}
