//! How many sends are handed to the kernel: one call each, or through io_uring.

use std::io;
use std::os::fd::BorrowedFd;

use rustix::io::Errno;
use rustix::net::SendFlags;

use crate::ring::Ring;

/// One socket's turn: these bytes, as far as it takes them.
#[derive(Clone, Copy)]
pub struct Turn<'a> {
    /// Where to.
    pub socket: BorrowedFd<'a>,
    /// What.
    pub bytes: &'a [u8],
}

/// Bytes that a socket took, or why it took none.
pub type Sent = Result<usize, Errno>;

/// The way to the kernel.
pub enum Sender {
    /// `send()`, one call a turn.
    Calls,
    /// `IORING_OP_SEND`, many turns a call.
    Ring(Box<Ring>),
}

impl Sender {
    /// One of both.
    pub fn new(io_uring: bool) -> io::Result<Self> {
        Ok(if io_uring {
            Self::Ring(Box::new(Ring::new()?))
        } else {
            Self::Calls
        })
    }

    /// Gives each turn its send; `sent` then holds what became of each, in the same order.
    pub fn send_all<'a>(&mut self, turns: impl Iterator<Item = Turn<'a>>, sent: &mut Vec<Sent>) -> io::Result<()> {
        sent.clear();
        match self {
            Self::Calls => {
                sent.extend(turns.map(|turn| send(turn)));
                Ok(())
            }
            Self::Ring(ring) => ring.send_all(turns, sent),
        }
    }
}

/// One `send()` that never waits.
pub fn send(turn: Turn<'_>) -> Sent {
    rustix::net::send(turn.socket, turn.bytes, SendFlags::NOSIGNAL | SendFlags::DONTWAIT)
}
