//! One WebSocket connection of a client: bytes in, events out, and what waits to be sent.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use lapwing_wire::close::CloseCode;
use lapwing_wire::context::Context as Deflating;
use lapwing_wire::decoder::{Decoder, DecoderLimits, Deflated, Event, ProtocolError};
use lapwing_wire::deflate::{Inflater, Room};
use lapwing_wire::extension::{Compression, Deflation};
use lapwing_wire::frame::{Opcode, Role, write_close, write_frame};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use super::entropy::Entropy;
use crate::clock::Now;

/// An open connection.
///
/// [`Connection::turn`] does all waiting and may be dropped at any time: what is half read or half written stays here. Between
/// two turns [`Connection::event`] is called until it gives none.
pub struct Connection {
    stream: Stream,
    decoder: Decoder,
    input: Box<[u8]>,
    /// The part of `input` that was read and not yet decoded.
    read: std::ops::Range<usize>,
    output: Vec<u8>,
    /// How much of `output` is on its way.
    sent: usize,
    /// The answer to the latest ping, when much waits: only that one is owed (RFC 6455 section 5.5.3), so a flood of pings costs
    /// nothing.
    pong: Option<Vec<u8>>,
    entropy: Entropy,
    /// Compressed messages, where they were agreed on.
    compressed: Option<Box<Compressed>>,
    /// Nothing more can be sent; what the server sent before is still read.
    mute: bool,
}

/// Compressed messages, both ways.
struct Compressed {
    context: Deflating,
    inflater: Inflater,
    room: Room,
    message_bytes_max: usize,
}

impl Compressed {
    fn event(&mut self, message: Deflated<'_>) -> Result<Event<'_>, ProtocolError> {
        let inflated = self
            .context
            .inflate(&mut self.inflater, message, self.message_bytes_max, &self.room)?;
        inflated.stay();
        self.inflater.last(message.opcode)
    }
}

/// The bytes of a connection.
pub enum Stream {
    /// As they are.
    Plain(TcpStream),
    /// Inside TLS.
    Tls(Box<TlsStream<TcpStream>>),
}

/// What a turn brought.
#[derive(Clone, Copy, Debug)]
pub enum Turn {
    /// Bytes, all of which arrived at this moment as far as we can know.
    Read(Now),
    /// The end of the stream.
    Ended,
}

impl Connection {
    /// Takes over a stream behind its handshake; `early` are bytes that came with the answer. One read takes at most
    /// `read_bytes`, and all its messages have the same time of arrival. Messages are compressed as was agreed on, if it was.
    #[must_use]
    pub fn new(
        stream: Stream,
        early: &[u8],
        limits: DecoderLimits,
        read_bytes: usize,
        entropy: Entropy,
        agreed: Option<Deflation>,
    ) -> Self {
        let message_bytes_max = limits.message_bytes_max as usize;
        let compressed = agreed.map(|agreed| {
            Box::new(Compressed {
                context: Deflating::new(agreed, Role::Client),
                inflater: Inflater::default(),
                // One byte more than a message may have, to see whether there is one more.
                room: Room::new(message_bytes_max + 1),
                message_bytes_max,
            })
        });
        let compression = compressed.as_ref().map_or(Compression::Off, |_| Compression::Deflate);
        let mut input = vec![0; read_bytes.max(early.len())].into_boxed_slice();
        input[..early.len()].copy_from_slice(early);
        Self {
            stream,
            decoder: Decoder::new(Role::Client, limits).with_compression(compression),
            input,
            read: 0..early.len(),
            output: Vec::new(),
            sent: 0,
            pong: None,
            entropy,
            compressed,
            mute: false,
        }
    }

    /// Sends what waits and reads what came, whichever is possible first.
    pub async fn turn(&mut self) -> io::Result<Turn> {
        poll_fn(|context| self.poll_turn(context)).await
    }

    /// Decodes the next event of what was read; a ping is already answered, a compressed message is whole.
    pub fn event(&mut self) -> Result<Option<Event<'_>>, ProtocolError> {
        let decoded = self.decoder.decode(&mut self.input[self.read.clone()])?;
        self.read.start += decoded.consumed;
        match (decoded.event, &mut self.compressed) {
            (Some(Event::Deflated(message)), Some(compressed)) => return compressed.event(message).map(Some),
            (Some(Event::Ping(payload)), _) if self.pong.is_none() && self.output.len() < PONGS_HELD => {
                let mask = self.entropy.mask();
                write_frame(&mut self.output, Opcode::Pong, payload, Some(mask));
            }
            (Some(Event::Ping(payload)), _) => self.pong = Some(payload.to_vec()),
            _ => {}
        }
        Ok(decoded.event)
    }

    /// Queues a text message.
    pub fn send_text(&mut self, text: &str) {
        let mask = self.entropy.mask();
        write_frame(&mut self.output, Opcode::Text, text.as_bytes(), Some(mask));
    }

    /// Queues a message, compressed where that was agreed on.
    pub fn send_message(&mut self, opcode: Opcode, payload: &[u8]) {
        let mask = Some(self.entropy.mask());
        match &mut self.compressed {
            Some(compressed) => compressed
                .context
                .write_message(&mut self.output, opcode, payload, mask),
            None => write_frame(&mut self.output, opcode, payload, mask),
        }
    }

    /// Queues a ping.
    pub fn send_ping(&mut self) {
        let mask = self.entropy.mask();
        write_frame(&mut self.output, Opcode::Ping, b"", Some(mask));
    }

    /// Queues the close frame.
    pub fn send_close(&mut self, code: Option<CloseCode>, reason: &str) {
        let mask = self.entropy.mask();
        write_close(&mut self.output, code, reason, Some(mask));
    }

    /// Waits until everything queued is with the operating system, or nothing can be sent any more.
    pub async fn flush(&mut self) {
        poll_fn(|context| self.poll_send(context)).await;
    }

    fn poll_turn(&mut self, context: &mut Context<'_>) -> Poll<io::Result<Turn>> {
        if !self.read.is_empty() {
            return Poll::Ready(Ok(Turn::Read(Now::read())));
        }
        // Pending or not: reading goes on while the peer takes nothing.
        let _ = self.poll_send(context);
        let mut buffer = ReadBuf::new(&mut self.input);
        match ready!(Pin::new(&mut self.stream).poll_read(context, &mut buffer)) {
            Ok(()) => {}
            // Many servers end TLS without its goodbye; frames say for themselves where they end.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Poll::Ready(Ok(Turn::Ended)),
            Err(error) => return Poll::Ready(Err(error)),
        }
        self.read = 0..buffer.filled().len();
        Poll::Ready(Ok(match self.read.is_empty() {
            true => Turn::Ended,
            false => Turn::Read(Now::read()),
        }))
    }

    fn poll_send(&mut self, context: &mut Context<'_>) -> Poll<()> {
        while !self.mute {
            if self.sent == self.output.len() {
                self.output.clear();
                self.sent = 0;
                let Some(pong) = self.pong.take() else {
                    return match ready!(Pin::new(&mut self.stream).poll_flush(context)) {
                        Ok(()) => Poll::Ready(()),
                        Err(_) => {
                            self.mute = true;
                            Poll::Ready(())
                        }
                    };
                };
                let mask = self.entropy.mask();
                write_frame(&mut self.output, Opcode::Pong, &pong, Some(mask));
            }
            match ready!(Pin::new(&mut self.stream).poll_write(context, &self.output[self.sent..])) {
                Ok(count) if count > 0 => self.sent += count,
                _ => self.mute = true,
            }
        }
        Poll::Ready(())
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(context, buffer),
            Self::Tls(stream) => Pin::new(stream).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(context),
            Self::Tls(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}

/// With more than this waiting, a ping is answered only if it is the newest.
const PONGS_HELD: usize = 4 << 10;

/// 64 KiB: as much as a server of ours writes at once.
pub const READ_BYTES: usize = 64 << 10;
