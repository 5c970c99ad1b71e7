//! Payloads of messages that were read together and wait to be appended.

use std::ops::Range;

use lapwing_wire::envelope::Kind;

use crate::log::batch::NewMessage;

/// Payloads one behind the other in one allocation, which stays for those that come next.
#[derive(Debug, Default)]
pub struct Payloads {
    bytes: Vec<u8>,
    /// What each is, and where it ends.
    ends: Vec<(Kind, usize)>,
}

impl Payloads {
    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Lets go of all.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
    }

    /// Adds the payload that `write` appends to what it is given; after an error of it none is added.
    pub fn push<E>(&mut self, write: impl FnOnce(&mut Vec<u8>) -> Result<Kind, E>) -> Result<(), E> {
        let begin = self.bytes.len();
        let kind = write(&mut self.bytes).inspect_err(|_| self.bytes.truncate(begin))?;
        self.ends.push((kind, self.bytes.len()));
        Ok(())
    }

    /// Some of them as messages.
    #[must_use]
    pub fn messages(&self, which: Range<usize>) -> Vec<NewMessage<'_>> {
        let mut begin = which.start.checked_sub(1).map_or(0, |before| self.ends[before].1);
        let message = |&(kind, end): &(Kind, usize)| {
            let payload = &self.bytes[begin..end];
            begin = end;
            NewMessage::new(kind, payload)
        };
        self.ends[which].iter().map(message).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_not_be_written_leaves_nothing_behind() {
        let mut payloads = Payloads::default();
        let mut push = |text: &str, made: Result<Kind, ()>| {
            payloads.push(|out| {
                out.extend_from_slice(text.as_bytes());
                made
            })
        };
        assert_eq!(push("1", Ok(Kind::Json)), Ok(()));
        assert_eq!(push("half", Err(())), Err(()));
        assert_eq!(push("", Ok(Kind::Text)), Ok(()));
        assert_eq!(push("b", Ok(Kind::Text)), Ok(()));
        let of = |which| {
            let messages = payloads.messages(which);
            messages
                .iter()
                .map(|message| (message.kind, message.payload.to_vec()))
                .collect::<Vec<_>>()
        };
        let all = [
            (Kind::Json, b"1".to_vec()),
            (Kind::Text, Vec::new()),
            (Kind::Text, b"b".to_vec()),
        ];
        assert_eq!(of(0..3), all);
        assert_eq!(of(1..3), all[1..]);
        assert_eq!(of(3..3), []);
    }
}
