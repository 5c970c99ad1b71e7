//! What is wanted next of one topic: in the history that it has, and in those that it left.

use lapwing_wire::position::{Epoch, Offset, Position};
use serde::{Deserialize, Serialize};

/// What is wanted next of one topic: all before it is there or told as missing.
///
/// A history that was left may come back, as when a topic was served from memory for a while. It is then gone on with where it was
/// left: each of its positions is recorded once. A history without a name compares with nothing, so it is forgotten with its end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wanted {
    /// The history that the topic has, where it has a name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    epoch: Option<Epoch>,
    /// The next offset of it.
    offset: Offset,
    /// The same of those that it left, the latest last; at most [`PAST_MAX`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    past: Vec<Position>,
}

impl Wanted {
    /// `offset` is wanted next, and no history was left.
    #[must_use]
    pub fn new(epoch: Option<Epoch>, offset: Offset) -> Self {
        Self {
            epoch,
            offset,
            past: Vec::new(),
        }
    }

    /// The history that the topic has, where it has a name.
    #[must_use]
    pub fn epoch(&self) -> Option<Epoch> {
        self.epoch
    }

    /// The next offset of it.
    #[must_use]
    pub fn offset(&self) -> Offset {
        self.offset
    }

    /// The same of the histories that it left, the latest last.
    #[must_use]
    pub fn past(&self) -> &[Position] {
        &self.past
    }

    /// Both, where the history has a name.
    #[must_use]
    pub fn position(&self) -> Option<Position> {
        let offset = self.offset;
        self.epoch.map(|epoch| Position { epoch, offset })
    }

    /// What is wanted next of a history that the topic has or left, if that is known.
    #[must_use]
    pub fn of(&self, epoch: Epoch) -> Option<Offset> {
        let mut known = self.past.iter().copied().chain(self.position());
        known.find(|known| known.epoch == epoch).map(|known| known.offset)
    }

    /// From now on it is `offset`; of another history, if `epoch` says so, and then the one before is left.
    pub fn go_on(&mut self, epoch: Option<Epoch>, offset: Offset) {
        if self.epoch != epoch {
            self.past.extend(self.position());
            self.past.retain(|left| Some(left.epoch) != epoch);
            let beyond = self.past.len().saturating_sub(PAST_MAX);
            self.past.drain(..beyond);
            self.epoch = epoch;
        }
        self.offset = offset;
    }
}

/// 32 histories, 2 KiB in a `positions` record: of one topic, none that comes back had so many after it.
pub const PAST_MAX: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    fn epoch(bits: usize) -> Epoch {
        Epoch::from_bits(bits as u128)
    }

    fn at(offset: usize) -> Offset {
        Offset::new(offset as u64)
    }

    #[test]
    fn a_history_that_was_left_is_known_by_its_name_and_one_without_a_name_is_not() {
        let mut wanted = Wanted::new(Some(epoch(1)), at(100));
        wanted.go_on(Some(epoch(2)), at(0));
        wanted.go_on(Some(epoch(2)), at(20));
        assert_eq!(
            (wanted.of(epoch(1)), wanted.of(epoch(2))),
            (Some(at(100)), Some(at(20)))
        );
        wanted.go_on(None, at(7));
        wanted.go_on(Some(epoch(1)), at(101));
        assert_eq!(
            (wanted.of(epoch(1)), wanted.of(epoch(2))),
            (Some(at(101)), Some(at(20)))
        );
        assert_eq!((wanted.of(epoch(3)), wanted.past.len()), (None, 1));
    }

    #[test]
    fn beyond_the_limit_the_one_that_was_left_first_is_forgotten() {
        let mut wanted = Wanted::new(Some(epoch(0)), at(5));
        (1..=PAST_MAX).for_each(|bits| wanted.go_on(Some(epoch(bits)), at(bits)));
        assert_eq!(wanted.of(epoch(0)), Some(at(5)));
        wanted.go_on(Some(epoch(PAST_MAX + 1)), at(0));
        assert_eq!((wanted.of(epoch(0)), wanted.of(epoch(1))), (None, Some(at(1))));
    }

    #[test]
    fn it_comes_back_from_its_record() {
        let mut wanted = Wanted::new(Some(epoch(1)), at(100));
        let text = serde_json::to_string(&wanted).expect("memory");
        assert_eq!(text, format!("{{\"epoch\":\"{}\",\"offset\":100}}", epoch(1)));
        wanted.go_on(None, at(3));
        let text = serde_json::to_string(&wanted).expect("memory");
        let past = format!("{{\"epoch\":\"{}\",\"offset\":100}}", epoch(1));
        assert_eq!(text, format!("{{\"offset\":3,\"past\":[{past}]}}"));
        assert_eq!(serde_json::from_str::<Wanted>(&text).expect("its own"), wanted);
    }
}
