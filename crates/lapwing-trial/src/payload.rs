//! What a publisher of the trial sends: a JSON object that says who sent it and proves that it is whole.

use crate::crc::crc32c;
use crate::dice::Dice;

/// Which message this is: a publisher, the number of its body, and the place within the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Message {
    /// The publisher.
    pub source: u32,
    /// The number of the body among the publisher's.
    pub sequence: u64,
    /// The place within the body.
    pub part: u32,
    /// CRC-32C of the payload up to its proof; part of what is compared.
    pub hash: u32,
}

/// What a payload turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Payload {
    /// One of ours, whole.
    Intact(Message),
    /// Not one of ours, or changed on its way.
    Broken,
}

/// Bytes of the proof at the end: `,"h":"xxxxxxxx"}`.
const PROOF_BYTES: usize = 16;

/// Most characters of ordinary filling; about 250 bytes on the average.
const FILLING_MAX: u64 = 400;

/// One message in so many is large, so that frames have long lengths and are cut by every write.
const LARGE_ONCE_IN: u64 = 400;

/// Characters of a large message.
const LARGE_FILLING: u64 = 40_000;

/// What filling is made of: characters of one to four bytes and escapes, which a server must hand on as they came.
const FILLING: &[&str] = &[
    "a", "7", " ", "é", "✓", "🐦", "\\n", "\\u00e9", "\\\"", "/", "{", "}", "[", ",", ":",
];

/// Makes the payload of a message.
pub fn make(source: u32, sequence: u64, part: u32, dice: &mut Dice) -> (String, Message) {
    let longest = if dice.once_in(LARGE_ONCE_IN) {
        LARGE_FILLING
    } else {
        FILLING_MAX
    };
    let length = dice.within(0, longest);
    let mut text = format!(r#"{{"s":{source},"n":{sequence},"i":{part},"x":""#);
    // A few throws serve a whole filling; a throw for each character would be the cost of a publisher.
    let (mut at, step) = (dice.throw(), dice.throw() | 1);
    for _ in 0..length {
        at = at.wrapping_add(step).rotate_left(5);
        text.push_str(FILLING[usize::try_from(at % FILLING.len() as u64).unwrap_or(0)]);
    }
    text.push('"');
    let hash = crc32c(text.as_bytes());
    text.push_str(&format!(r#","h":"{hash:08x}"}}"#));
    (
        text,
        Message {
            source,
            sequence,
            part,
            hash,
        },
    )
}

/// Reads a payload, as bytes of JSON.
pub fn read(bytes: &[u8]) -> Payload {
    read_intact(bytes).map_or(Payload::Broken, Payload::Intact)
}

fn read_intact(bytes: &[u8]) -> Option<Message> {
    let (told, proof) = bytes.split_at_checked(bytes.len().checked_sub(PROOF_BYTES)?)?;
    let digits = proof.strip_prefix(br#","h":""#)?.strip_suffix(br#""}"#)?;
    let hash = u32::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
    let (source, rest) = number(told.strip_prefix(br#"{"s":"#)?)?;
    let (sequence, rest) = number(rest.strip_prefix(br#","n":"#)?)?;
    let (part, rest) = number(rest.strip_prefix(br#","i":"#)?)?;
    let message = Message {
        source: source.try_into().ok()?,
        sequence,
        part: part.try_into().ok()?,
        hash,
    };
    (rest.starts_with(br#","x":""#) && crc32c(told) == hash).then_some(message)
}

fn number(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let digits = bytes.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (digits, rest) = bytes.split_at(digits);
    Some((std::str::from_utf8(digits).ok()?.parse().ok()?, rest))
}

#[cfg(test)]
mod tests {
    use super::{Payload, make, read};
    use crate::dice::Dice;

    #[test]
    fn a_payload_tells_what_it_is_and_any_change_shows() {
        let mut dice = Dice::new(3);
        for sequence in 0..200 {
            let (text, message) = make(4, sequence, 2, &mut dice);
            assert!(serde_json::from_str::<serde_json::Value>(&text).is_ok(), "{text}");
            assert_eq!(read(text.as_bytes()), Payload::Intact(message));
            if text.len() > 1000 {
                continue;
            }
            for place in 0..text.len() {
                let mut changed = text.clone().into_bytes();
                changed[place] ^= 1;
                assert_eq!(read(&changed), Payload::Broken, "changed at {place}: {text}");
            }
        }
        assert_eq!(read(b"{}"), Payload::Broken);
        assert_eq!(read(b""), Payload::Broken);
    }
}
