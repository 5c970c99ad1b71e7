//! What keys mean, read from the bytes that a terminal sends for them.

/// Something that was asked for by a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    /// End, as Ctrl-C does.
    Quit,
    /// Show which keys there are, or no longer.
    Help,
    /// The next topic.
    NextTopic,
    /// Hold the picture still, or let it go on.
    Pause,
    /// Draw all of it anew.
    Redraw,
    /// Anything else.
    Other,
}

/// The keys in what a terminal sent at once. Keys with names, such as arrows, send sequences of letters, which are none of ours.
#[must_use]
pub fn keys(bytes: &[u8]) -> Vec<Key> {
    let mut keys = Vec::new();
    let mut rest = bytes;
    while let [byte, behind @ ..] = rest {
        rest = behind;
        keys.push(match *byte {
            b'q' | b'Q' => Key::Quit,
            b'?' => Key::Help,
            b't' => Key::NextTopic,
            b'p' => Key::Pause,
            CTRL_L => Key::Redraw,
            ESCAPE => {
                rest = behind_sequence(behind);
                Key::Other
            }
            _ => Key::Other,
        });
    }
    keys
}

/// What follows a sequence whose escape was read.
fn behind_sequence(bytes: &[u8]) -> &[u8] {
    match bytes {
        // Parameters, then one letter.
        [b'[', sequence @ ..] => {
            let end = sequence.iter().position(|byte| (0x40..=0x7e).contains(byte));
            end.map_or(&[][..], |end| &sequence[end + 1..])
        }
        [b'O', _, rest @ ..] | [_, rest @ ..] => rest,
        [] => bytes,
    }
}

const ESCAPE: u8 = 0x1b;
const CTRL_L: u8 = 0x0c;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_are_keys_and_sequences_are_not() {
        use Key::*;
        for (bytes, expect) in [
            (&b""[..], &[][..]),
            (b"q", &[Quit]),
            (b"t?p", &[NextTopic, Help, Pause]),
            (b"x\x0c", &[Other, Redraw]),
            (b"\x1b", &[Other]),
            (b"\x1b[A", &[Other]),
            // F5 with a modifier, and an arrow of another mode.
            (b"\x1b[15;5~q", &[Other, Quit]),
            (b"\x1bOQt", &[Other, NextTopic]),
            // With Alt, and cut off.
            (b"\x1bqp", &[Other, Pause]),
            (b"\x1b[1;", &[Other]),
            ("ü".as_bytes(), &[Other, Other]),
        ] {
            assert_eq!(keys(bytes), expect, "{bytes:?}");
        }
    }
}
