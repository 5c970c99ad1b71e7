//! A connection's bytes, counted on their way: what has really gone out, whether more would go, and who ended it.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// What is known of a connection's bytes by those who do not see them pass. HTTP buffers what it is given, so whether a client takes
/// anything shows only here.
#[derive(Default)]
pub struct Meter {
    written: AtomicU64,
    /// It takes no more for now.
    blocked: AtomicBool,
    /// It took no more at some time since somebody asked.
    was_blocked: AtomicBool,
    end: AtomicU8,
}

/// How a connection ended, as far as its bytes tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It has not, or by us.
    Open,
    /// The peer sends no more: it closed.
    Closed,
    /// It broke.
    Reset,
    /// Nothing is heard of its machine any more.
    Silent,
}

impl Meter {
    /// Bytes that the socket took.
    #[must_use]
    pub fn written(&self) -> u64 {
        self.written.load(Ordering::Relaxed)
    }

    /// Whether it takes no more for now.
    #[must_use]
    pub fn is_blocked(&self) -> bool {
        self.blocked.load(Ordering::Relaxed)
    }

    /// Whether it took no more at some time since this was last asked.
    pub fn was_blocked(&self) -> bool {
        self.was_blocked.swap(false, Ordering::Relaxed)
    }

    /// How it ended.
    #[must_use]
    pub fn end(&self) -> End {
        match self.end.load(Ordering::Relaxed) {
            0 => End::Open,
            1 => End::Closed,
            2 => End::Reset,
            _ => End::Silent,
        }
    }

    fn on_written<T>(&self, outcome: &Poll<io::Result<T>>, bytes: impl FnOnce(&T) -> usize) {
        self.blocked.store(outcome.is_pending(), Ordering::Relaxed);
        match outcome {
            Poll::Pending => self.was_blocked.store(true, Ordering::Relaxed),
            Poll::Ready(Ok(written)) => {
                self.written.fetch_add(bytes(written) as u64, Ordering::Relaxed);
            }
            Poll::Ready(Err(error)) => self.on_error(error),
        }
    }

    fn on_error(&self, error: &io::Error) {
        let end = if error.kind() == io::ErrorKind::TimedOut { 3 } else { 2 };
        // The first to show counts: what follows an end is errors.
        let _ = self.end.compare_exchange(0, end, Ordering::Relaxed, Ordering::Relaxed);
    }

    fn on_read(&self, outcome: &Poll<io::Result<()>>, ended: bool) {
        match outcome {
            Poll::Ready(Ok(())) if ended => {
                let _ = self.end.compare_exchange(0, 1, Ordering::Relaxed, Ordering::Relaxed);
            }
            Poll::Ready(Err(error)) => self.on_error(error),
            _ => {}
        }
    }
}

/// A stream whose bytes are counted.
pub struct Metered<S> {
    stream: S,
    meter: Arc<Meter>,
}

impl<S> Metered<S> {
    /// Counts the bytes of `stream`.
    #[must_use]
    pub fn new(stream: S, meter: Arc<Meter>) -> Self {
        Self { stream, meter }
    }

    /// The stream itself.
    #[must_use]
    pub fn into_inner(self) -> S {
        self.stream
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Metered<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let outcome = Pin::new(&mut self.stream).poll_read(cx, buf);
        let ended = buf.filled().len() == before && buf.remaining() > 0;
        self.meter.on_read(&outcome, ended);
        outcome
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Metered<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.meter.on_written(&outcome, |written| *written);
        outcome
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.meter.on_written(&outcome, |written| *written);
        outcome
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let outcome = Pin::new(&mut self.stream).poll_flush(cx);
        // Inside TLS the records wait here, when the kernel takes no more; what is flushed is out.
        self.meter.on_written(&outcome, |()| 0);
        outcome
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

    use super::*;

    #[tokio::test]
    async fn what_went_out_is_counted_and_what_would_not_shows() {
        let (ours, mut theirs) = duplex(4);
        let meter = Arc::new(Meter::default());
        let mut ours = Metered::new(ours, meter.clone());
        ours.write_all(b"abc").await.expect("room");
        assert_eq!(
            (meter.written(), meter.is_blocked(), meter.was_blocked()),
            (3, false, false)
        );
        let more = tokio::spawn(async move {
            ours.write_all(b"defg").await.expect("room in the end");
            ours
        });
        while !meter.is_blocked() {
            tokio::task::yield_now().await;
        }
        let mut read = [0; 7];
        theirs.read_exact(&mut read).await.expect("it was written");
        let mut ours = more.await.expect("no panic");
        assert_eq!((meter.written(), meter.is_blocked()), (7, false));
        assert!(meter.was_blocked() && !meter.was_blocked());
        assert_eq!(meter.end(), End::Open);
        drop(theirs);
        assert_eq!(ours.read(&mut read).await.expect("an end"), 0);
        assert!(ours.write_all(b"x").await.is_err());
        assert_eq!(meter.end(), End::Closed, "the first counts");
    }
}
