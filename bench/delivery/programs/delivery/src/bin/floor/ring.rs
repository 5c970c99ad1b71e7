//! io_uring: up to 512 sends a system call.

use std::io;
use std::os::fd::AsRawFd as _;

use io_uring::{IoUring, opcode, types};
use rustix::io::Errno;

use crate::sender::{Sent, Turn};

/// Sends of one submission.
const BATCH: usize = 512;
/// Never wait for room, never raise a signal: so each send completes while it is submitted.
const FLAGS: i32 = 0x40 | 0x4000;

/// A ring that only this thread uses.
pub struct Ring(IoUring);

impl Ring {
    /// A ring with room for one batch.
    pub fn new() -> io::Result<Self> {
        let ring = IoUring::builder()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .build(BATCH as u32)?;
        Ok(Self(ring))
    }

    /// Like `Sender::send_all`.
    pub fn send_all<'a>(&mut self, turns: impl Iterator<Item = Turn<'a>>, sent: &mut Vec<Sent>) -> io::Result<()> {
        let mut turns = turns.peekable();
        while turns.peek().is_some() {
            let first = sent.len();
            for turn in turns.by_ref().take(BATCH) {
                self.push(turn, sent.len())?;
                sent.push(Err(Errno::AGAIN));
            }
            self.0.submit_and_wait(sent.len() - first)?;
            for done in self.0.completion() {
                sent[done.user_data() as usize] =
                    usize::try_from(done.result()).map_err(|_| Errno::from_raw_os_error(-done.result()));
            }
        }
        Ok(())
    }

    fn push(&mut self, turn: Turn<'_>, number: usize) -> io::Result<()> {
        let length = u32::try_from(turn.bytes.len()).map_err(io::Error::other)?;
        let entry = opcode::Send::new(types::Fd(turn.socket.as_raw_fd()), turn.bytes.as_ptr(), length)
            .flags(FLAGS)
            .build()
            .user_data(number as u64);
        // SAFETY: socket and bytes outlive `send_all`, and that waits for the completion of every entry it pushed.
        unsafe { self.0.submission().push(&entry) }.map_err(io::Error::other)
    }
}
