//! One connection's bytes: written from the log as they lie there, read into a buffer of the caller.

pub mod path;
#[cfg(test)]
mod tests;
pub mod tls;

use std::io::{self, Read as _};
use std::net::Shutdown;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::sync::atomic::{AtomicUsize, Ordering};

use mio::net::TcpStream;
use rustix::io::Errno;
use rustix::net::SendFlags;

use self::path::Path;
use self::tls::{PIECE_SEALED_BYTES_MAX, Tls};

/// A connected socket that never blocks. A plain one takes memory beside itself only while a frame is half out.
///
/// It keeps no queue. When the kernel takes only part of a frame, the rest of that one frame is copied here and goes out
/// first ([`Socket::keep`]), so that whatever comes next begins at a frame's boundary.
///
/// Of an encrypted one what was written is in records, whether or not the kernel has taken them: those that it has not go out
/// first, too.
pub struct Socket {
    stream: TcpStream,
    /// One pointer for all that most have not: tens of thousands of them are to be cheap.
    beside: Option<Box<Beside>>,
    /// The kernel takes no more until it says so.
    blocked: bool,
    /// The kernel knows that nothing more is sent.
    finished: bool,
}

impl Socket {
    /// Wraps a connected socket that was set to non-blocking.
    #[must_use]
    pub fn new(stream: TcpStream) -> Self {
        Self {
            stream,
            beside: None,
            blocked: false,
            finished: false,
        }
    }

    /// Wraps a connected socket that was set to non-blocking, and what encrypts it.
    #[must_use]
    pub fn encrypted(stream: TcpStream, tls: Box<Tls>) -> Self {
        let beside = Beside {
            rest: Vec::new(),
            sent: 0,
            booked: 0,
            tls: Some(tls),
        };
        Self {
            beside: Some(Box::new(beside)),
            ..Self::new(stream)
        }
    }

    /// Whether its bytes are encrypted: then nobody but this may write them.
    #[must_use]
    pub fn is_encrypted(&self) -> bool {
        self.tls().is_some()
    }

    /// The socket, to be registered with a poll.
    pub fn stream(&mut self) -> &mut TcpStream {
        &mut self.stream
    }

    /// Whether the kernel takes no more for now.
    #[must_use]
    pub fn is_blocked(&self) -> bool {
        self.blocked
    }

    /// The kernel says that it takes more; gives whether it had not before.
    pub fn on_writable(&mut self) -> bool {
        std::mem::take(&mut self.blocked)
    }

    /// Whether a frame is only half out, or records wait to be sent.
    #[must_use]
    pub fn has_rest(&self) -> bool {
        self.beside.as_ref().is_some_and(|beside| beside.has_rest())
    }

    /// Bytes that count as written and are not out: of a plain socket none.
    #[must_use]
    pub fn owed(&self) -> usize {
        self.tls().map_or(0, Tls::owed)
    }

    /// Writes as much as the kernel takes at once, or of an encrypted connection one piece; gives how much that was. Then the rest
    /// of a frame that was cut is to be kept ([`Socket::keep`]), even if there is none.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        debug_assert!(!self.has_rest(), "a frame must not begin inside another");
        if let Some(tls) = tls_of(&mut self.beside) {
            let sealed = tls.write(&self.stream, bytes)?;
            self.blocked = tls.pending() > 0;
            return Ok(sealed);
        }
        let written = write(&self.stream, bytes)?;
        self.on_written(written, bytes.len());
        Ok(written)
    }

    /// The socket, for whoever writes to many of them at once; what came of it goes to [`Socket::on_written`].
    #[must_use]
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }

    /// The way to the peer, where the kernel tells.
    #[must_use]
    pub fn path(&self) -> Option<Path> {
        Path::of(self.fd())
    }

    /// Somebody else wrote to it: it took `written` of `asked` bytes.
    pub fn on_written(&mut self, written: usize, asked: usize) {
        self.blocked = written < asked;
    }

    /// Keeps the rest of a frame that was cut. Refused when all connections together hold [`REST_BYTES_MAX`] already, the records
    /// of what was written before it included.
    pub fn keep(&mut self, rest: &[u8]) -> Result<(), RestsFull> {
        self.keep_within(REST_BYTES_MAX, rest)
    }

    /// The same for one who is to leave room for others: refused when all together hold so many bytes.
    pub fn keep_within(&mut self, rests_bytes_max: usize, rest: &[u8]) -> Result<(), RestsFull> {
        if rest.is_empty() && self.tls().is_none_or(|tls| tls.pending() == 0) {
            return Ok(());
        }
        let beside = self.beside.get_or_insert_default();
        beside.book(beside.held_with(rest.len()), rests_bytes_max)?;
        beside.rest = rest.to_vec();
        beside.sent = 0;
        Ok(())
    }

    /// Writes more of what is kept; gives how many bytes of the rest that was.
    pub fn flush(&mut self) -> io::Result<usize> {
        let Some(beside) = &mut self.beside else { return Ok(0) };
        let rest = &beside.rest[beside.sent..];
        let written = match &mut beside.tls {
            None => {
                let written = write(&self.stream, rest)?;
                self.blocked = written < rest.len();
                written
            }
            Some(tls) => {
                tls.send(&self.stream)?;
                let written = match tls.pending() {
                    0 if !rest.is_empty() => tls.write(&self.stream, rest)?,
                    _ => 0,
                };
                self.blocked = tls.pending() > 0;
                written
            }
        };
        beside.sent += written;
        self.forget_what_is_out();
        Ok(written)
    }

    /// Reads what has come: `None` when nothing has, `Some(0)` when nothing will.
    pub fn read(&mut self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        if let Some(tls) = tls_of(&mut self.beside) {
            return tls.read(&self.stream, buffer);
        }
        loop {
            match self.stream.read(buffer) {
                Ok(bytes) => return Ok(Some(bytes)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Says that nothing more is sent; what the kernel holds still goes out.
    pub fn finish(&mut self) {
        // Only once: to say so wakes our own poll, and whoever said it again at each waking would never sleep.
        if std::mem::replace(&mut self.finished, true) {
            return;
        }
        if let Some(tls) = tls_of(&mut self.beside) {
            tls.close();
            // The peer may be gone already. If it takes nothing now, the rest of this follows when it does.
            let _ = tls.send(&self.stream);
            self.blocked = tls.pending() > 0;
        }
        if !self.blocked {
            self.shut_down();
        }
    }

    fn shut_down(&mut self) {
        // The peer may be gone already.
        let _ = self.stream.shutdown(Shutdown::Write);
    }

    fn tls(&self) -> Option<&Tls> {
        self.beside.as_ref()?.tls.as_deref()
    }

    fn forget_what_is_out(&mut self) {
        let Some(beside) = &mut self.beside else { return };
        if beside.sent == beside.rest.len() {
            beside.rest = Vec::new();
            beside.sent = 0;
        }
        beside.release(beside.held_with(beside.rest.len()));
        if beside.has_rest() {
            return;
        }
        match beside.tls {
            None => self.beside = None,
            Some(_) if self.finished => self.shut_down(),
            Some(_) => {}
        }
    }
}

/// What encrypts a connection, apart from its socket.
fn tls_of(beside: &mut Option<Box<Beside>>) -> Option<&mut Tls> {
    beside.as_mut()?.tls.as_deref_mut()
}

fn write(stream: &TcpStream, bytes: &[u8]) -> io::Result<usize> {
    loop {
        // By a bare system call: the C library's function is a point where a thread may be cancelled, and twice the way.
        match rustix::net::send(stream, bytes, FLAGS) {
            Ok(written) => return Ok(written),
            Err(Errno::AGAIN) => return Ok(0),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// A peer that is gone is an error, and no signal to this process.
#[cfg(target_os = "linux")]
const FLAGS: SendFlags = SendFlags::NOSIGNAL;
/// Where that cannot be said, the runtime ignores the signal.
#[cfg(not(target_os = "linux"))]
const FLAGS: SendFlags = SendFlags::empty();

/// What a plain connection has beside its socket while a frame is half out, and an encrypted one always.
#[derive(Default)]
struct Beside {
    /// The rest of a frame that was cut; empty when there is none.
    rest: Vec<u8>,
    /// So much of it went out, or into records.
    sent: usize,
    /// What counts of this connection in [`RESTS`].
    booked: usize,
    tls: Option<Box<Tls>>,
}

impl Beside {
    fn has_rest(&self) -> bool {
        !self.rest.is_empty() || self.tls.as_ref().is_some_and(|tls| tls.wants_write())
    }

    /// Bytes that are held with a rest of this length: it is sent as records one piece at a time.
    fn held_with(&self, rest: usize) -> usize {
        let records = match &self.tls {
            None => 0,
            Some(tls) if rest == 0 => tls.pending(),
            Some(_) => PIECE_SEALED_BYTES_MAX,
        };
        rest + records
    }

    /// Counts so many bytes as held, if there is room among so many of all.
    fn book(&mut self, bytes: usize, rests_bytes_max: usize) -> Result<(), RestsFull> {
        let more = bytes.saturating_sub(self.booked);
        if RESTS.fetch_add(more, Ordering::Relaxed) + more > rests_bytes_max {
            RESTS.fetch_sub(more, Ordering::Relaxed);
            return Err(RestsFull);
        }
        self.booked += more;
        self.release(bytes);
        Ok(())
    }

    /// Counts no more than so many bytes as held.
    fn release(&mut self, bytes: usize) {
        let less = self.booked.saturating_sub(bytes);
        RESTS.fetch_sub(less, Ordering::Relaxed);
        self.booked -= less;
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        self.release(0);
    }
}

/// Bytes that are held for a slow client elsewhere, within the same room; given back when it is dropped.
pub struct Held(usize);

impl Held {
    /// Counts so many bytes as held.
    pub fn book(bytes: usize) -> Result<Self, RestsFull> {
        let held = Self(bytes);
        match RESTS.fetch_add(bytes, Ordering::Relaxed) + bytes > REST_BYTES_MAX {
            true => Err(RestsFull),
            false => Ok(held),
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        RESTS.fetch_sub(self.0, Ordering::Relaxed);
    }
}

/// The rests of cut frames, and the records that wait, of all connections together are at their limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RestsFull;

/// 256 MiB: a thousand readers stuck in frames of 256 KiB.
pub const REST_BYTES_MAX: usize = 256 << 20;

static RESTS: AtomicUsize = AtomicUsize::new(0);
