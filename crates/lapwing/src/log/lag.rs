//! What becomes of a client that is slower than its topic.

/// The policy of one topic for clients that fall behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum OnLag {
    /// Overtaken by retention, it goes on with the oldest message, and is told what it missed.
    #[default]
    Skip,
    /// Overtaken by retention, it is closed with 4400, and comes back to be told.
    Close,
    /// When its socket takes messages again after it took no more, it goes on with the newest one, and is told.
    Latest,
    /// Nothing is let go that a connected client has still to read: the source is held back.
    Wait,
}

impl OnLag {
    /// All of them, as they are listed for people.
    pub const ALL: [Self; 4] = [Self::Skip, Self::Close, Self::Latest, Self::Wait];

    /// Its name in settings and events.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Skip => "skip",
            Self::Close => "close",
            Self::Latest => "latest",
            Self::Wait => "wait",
        }
    }
}
