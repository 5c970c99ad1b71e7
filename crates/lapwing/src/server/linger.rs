//! The end of a connection of HTTP: what its peer still sends is read and thrown away for a while.
//!
//! Who closes a socket with bytes unread resets the connection, and a reset overtakes an answer that the peer has not read yet
//! (RFC 9112 section 9.6). So the end is told first, and the rest is read until the peer ends too, up to a bound of bytes and time.

use std::future::Future as _;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

use crate::config::Limits;

/// A stream that ends in this way when it is shut down.
pub struct Lingering<S> {
    stream: S,
    unread: Unread,
    /// Our side has ended, and the other has so long to do the same.
    ended: Option<Pin<Box<Sleep>>>,
    /// Bytes that are still thrown away.
    left: usize,
}

/// Whether the peer may be in the middle of something that nobody will read.
#[derive(Clone)]
pub struct Unread(Arc<Shared>);

struct Shared {
    unread: AtomicBool,
    ended: AtomicBool,
}

impl Unread {
    /// Of a connection whose first request has not come.
    #[must_use]
    pub fn new() -> Self {
        Self(Arc::new(Shared {
            unread: AtomicBool::new(true),
            ended: AtomicBool::new(false),
        }))
    }

    /// From now on it is, or it is not.
    pub fn set(&self, unread: bool) {
        self.0.unread.store(unread, Ordering::Relaxed);
    }

    /// Whether our side has ended, so that all was answered that will be.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.0.ended.load(Ordering::Relaxed)
    }
}

impl Default for Unread {
    fn default() -> Self {
        Self::new()
    }
}

impl<S> Lingering<S> {
    /// Of this stream, whose user says in `unread` how it stands.
    pub fn new(stream: S, unread: Unread) -> Self {
        Self {
            stream,
            unread,
            ended: None,
            left: Limits::UNREAD_BYTES_MAX,
        }
    }

    /// The stream itself.
    pub fn into_inner(self) -> S {
        self.stream
    }
}

impl<S: AsyncRead + Unpin> Lingering<S> {
    /// Throws away what is there, and with `unread` what comes, until the peer ends or the bound is reached.
    fn poll_rest(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let mut bytes = [0; PIECE_BYTES];
        while self.left > 0 {
            let mut piece = ReadBuf::new(&mut bytes);
            match Pin::new(&mut self.stream).poll_read(context, &mut piece) {
                Poll::Ready(Ok(())) if piece.filled().is_empty() => return Poll::Ready(()),
                Poll::Ready(Ok(())) => self.left = self.left.saturating_sub(piece.filled().len()),
                Poll::Ready(Err(_)) => return Poll::Ready(()),
                Poll::Pending if self.unread.0.unread.load(Ordering::Relaxed) => return Poll::Pending,
                Poll::Pending => return Poll::Ready(()),
            }
        }
        Poll::Ready(())
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Lingering<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Lingering<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.ended.is_none() {
            ready!(Pin::new(&mut this.stream).poll_shutdown(context))?;
            this.unread.0.ended.store(true, Ordering::Relaxed);
            this.ended = Some(Box::pin(sleep(Limits::UNREAD_TIMEOUT)));
        }
        if this.poll_rest(context).is_ready() {
            return Poll::Ready(Ok(()));
        }
        match &mut this.ended {
            Some(late) => late.as_mut().poll(context).map(Ok),
            None => Poll::Ready(Ok(())),
        }
    }
}

/// On the stack of a task.
const PIECE_BYTES: usize = 4096;
