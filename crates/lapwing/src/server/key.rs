//! Which of a thread's connections.

/// A connection's place in its thread's list, in as little memory as a place needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key(u32);

impl Key {
    /// The connection at this place.
    #[must_use]
    pub fn new(place: usize) -> Self {
        Self(u32::try_from(place).expect("there are fewer connections than file numbers"))
    }

    /// Its place.
    #[must_use]
    pub fn place(self) -> usize {
        self.0 as usize
    }
}
