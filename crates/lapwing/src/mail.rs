//! Letters between servers that share topics: bounded ways out and in, which know neither what is said nor what carries it.

use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use tokio::sync::{mpsc, watch};

/// A letter on its way out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Letter {
    /// Who gets it.
    pub circle: Circle,
    /// What it says, at most [`LETTER_BYTES_MAX`].
    pub text: Bytes,
}

/// Which of the servers get a letter, the one that writes it included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Circle {
    /// All of them.
    All,
    /// Those that somebody watches.
    Watchers,
}

/// The server's end.
pub struct Mailbox {
    out: Mutex<Option<mpsc::Sender<Letter>>>,
    inbox: Mutex<Option<mpsc::Receiver<Bytes>>>,
    watches: watch::Sender<bool>,
}

/// The end of what carries them.
pub struct Carrier {
    /// What goes out; its end says that this server leaves.
    pub out: mpsc::Receiver<Letter>,
    /// What comes in.
    pub inbox: mpsc::Sender<Bytes>,
    /// Whether this server is one of [`Circle::Watchers`].
    pub watches: watch::Receiver<bool>,
}

/// Both ends, nothing between them yet.
#[must_use]
pub fn mail() -> (Mailbox, Carrier) {
    let (send, out) = mpsc::channel(LETTERS_MAX);
    let (inbox, received) = mpsc::channel(LETTERS_MAX);
    let (watches, watched) = watch::channel(false);
    let mailbox = Mailbox {
        out: Mutex::new(Some(send)),
        inbox: Mutex::new(Some(received)),
        watches,
    };
    let carrier = Carrier {
        out,
        inbox,
        watches: watched,
    };
    (mailbox, carrier)
}

impl Mailbox {
    /// Puts a letter on its way; false when it is lost, since as many wait as may. Never waits.
    pub fn send(&self, letter: Letter) -> bool {
        debug_assert!(letter.text.len() <= LETTER_BYTES_MAX, "{} bytes", letter.text.len());
        let out = self.out.lock().unwrap_or_else(PoisonError::into_inner);
        out.as_ref().is_some_and(|out| out.try_send(letter).is_ok())
    }

    /// From now on this server is one of [`Circle::Watchers`], or is not.
    pub fn set_watching(&self, watches: bool) {
        self.watches
            .send_if_modified(|now| std::mem::replace(now, watches) != watches);
    }

    /// What comes in; whoever asks first has it.
    pub fn take_inbox(&self) -> Option<mpsc::Receiver<Bytes>> {
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Nothing more goes out behind what is on its way.
    pub fn close(&self) {
        *self.out.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

/// A letter has at most so many bytes: what a broker takes at once by default is four times that.
pub const LETTER_BYTES_MAX: usize = 256 << 10;
/// Letters that wait in each direction: 16 MiB, were all as long as they may be.
const LETTERS_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    fn letter() -> Letter {
        Letter {
            circle: Circle::All,
            text: Bytes::from_static(b"x"),
        }
    }

    #[test]
    fn what_finds_no_room_is_lost_and_nobody_waits() {
        let (mailbox, mut carrier) = mail();
        assert!((0..LETTERS_MAX).all(|_| mailbox.send(letter())));
        assert!(!mailbox.send(letter()), "one beyond");
        assert!(carrier.out.try_recv().is_ok());
        assert!(mailbox.send(letter()), "there is room again");
    }

    #[test]
    fn what_is_on_its_way_when_the_server_leaves_still_goes() {
        let (mailbox, mut carrier) = mail();
        assert!(mailbox.send(letter()));
        mailbox.close();
        assert!(!mailbox.send(letter()));
        assert_eq!(carrier.out.blocking_recv(), Some(letter()));
        assert_eq!(carrier.out.blocking_recv(), None);
    }
}
