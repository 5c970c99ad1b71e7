//! One connection's bytes: written from the log as they lie there, read into a buffer of the caller.

use std::io::{self, Read as _};
use std::net::Shutdown;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::sync::atomic::{AtomicUsize, Ordering};

use mio::net::TcpStream;
use rustix::io::Errno;
use rustix::net::SendFlags;

/// A connected socket that never blocks. It takes memory beside itself only while a frame is half out.
///
/// It keeps no queue. When the kernel takes only part of a frame, the rest of that one frame is copied here and goes out
/// first ([`Socket::keep`]), so that whatever comes next begins at a frame's boundary.
pub struct Socket {
    stream: TcpStream,
    rest: Option<Box<Rest>>,
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
            rest: None,
            blocked: false,
            finished: false,
        }
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

    /// Whether a frame is only half out.
    #[must_use]
    pub fn has_rest(&self) -> bool {
        self.rest.is_some()
    }

    /// Writes as much as the kernel takes at once; gives how much that was.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        debug_assert!(self.rest.is_none(), "a frame must not begin inside another");
        let written = write(&self.stream, bytes)?;
        self.on_written(written, bytes.len());
        Ok(written)
    }

    /// The socket, for whoever writes to many of them at once; what came of it goes to [`Socket::on_written`].
    #[must_use]
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }

    /// Somebody else wrote to it: it took `written` of `asked` bytes.
    pub fn on_written(&mut self, written: usize, asked: usize) {
        self.blocked = written < asked;
    }

    /// Keeps the rest of a frame that was cut. Refused when all connections together hold [`REST_BYTES_MAX`] already.
    pub fn keep(&mut self, rest: &[u8]) -> Result<(), RestsFull> {
        if rest.is_empty() {
            return Ok(());
        }
        if RESTS.fetch_add(rest.len(), Ordering::Relaxed) + rest.len() > REST_BYTES_MAX {
            RESTS.fetch_sub(rest.len(), Ordering::Relaxed);
            return Err(RestsFull);
        }
        let bytes = rest.to_vec();
        self.rest = Some(Box::new(Rest { bytes, sent: 0 }));
        Ok(())
    }

    /// Writes more of the kept rest; gives how many bytes went out.
    pub fn flush(&mut self) -> io::Result<usize> {
        let Some(rest) = &mut self.rest else { return Ok(0) };
        let written = write(&self.stream, &rest.bytes[rest.sent..])?;
        rest.sent += written;
        self.blocked = rest.sent < rest.bytes.len();
        if !self.blocked {
            self.forget_rest();
        }
        Ok(written)
    }

    /// Reads what has come: `None` when nothing has, `Some(0)` when nothing will.
    pub fn read(&mut self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
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
        if !std::mem::replace(&mut self.finished, true) {
            // The peer may be gone already.
            let _ = self.stream.shutdown(Shutdown::Write);
        }
    }

    fn forget_rest(&mut self) {
        if let Some(rest) = self.rest.take() {
            RESTS.fetch_sub(rest.bytes.len(), Ordering::Relaxed);
        }
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.forget_rest();
    }
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

/// The rest of a frame that was cut.
struct Rest {
    bytes: Vec<u8>,
    sent: usize,
}

/// The rests of cut frames of all connections together are at their limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RestsFull;

/// 256 MiB: a thousand readers stuck in frames of 256 KiB.
pub const REST_BYTES_MAX: usize = 256 << 20;

static RESTS: AtomicUsize = AtomicUsize::new(0);
