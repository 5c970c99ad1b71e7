//! What lies between the bytes of an encrypted connection and its socket: records out, records in (RFC 8446 section 5).

use std::io::{self, IoSlice, Read as _, Write};

use mio::net::TcpStream;
use rustix::io::Errno;
use rustix::net::SendAncillaryBuffer;
use rustls::ServerConnection;

use super::FLAGS;

/// A TLS connection behind its handshake, apart from its socket.
///
/// It holds at most one piece of [`PIECE_BYTES_MAX`] as records that the kernel has not taken: nothing more is sealed until they
/// are out.
pub struct Tls {
    connection: ServerConnection,
    /// Bytes of records that the kernel did not take.
    pending: usize,
    /// What of them its user counts as written.
    owed: usize,
}

impl Tls {
    /// Takes over from whoever did the handshake; what has come and was not read yet stays in it.
    #[must_use]
    pub fn new(mut connection: ServerConnection) -> Self {
        connection.set_buffer_limit(Some(PIECE_BYTES_MAX));
        Self {
            connection,
            pending: 0,
            owed: 0,
        }
    }

    /// Bytes of records that wait for the kernel, as of the last [`Tls::send`].
    #[must_use]
    pub fn pending(&self) -> usize {
        self.pending
    }

    /// Of the bytes that were sealed, those that are not out.
    #[must_use]
    pub fn owed(&self) -> usize {
        self.owed
    }

    /// Whether there are records to send: ours, or an answer to one of the peer's.
    #[must_use]
    pub fn wants_write(&self) -> bool {
        self.connection.wants_write()
    }

    /// Makes records of the first of these bytes, a piece at most, and sends what the kernel takes; gives how many bytes are in
    /// records now. Only when nothing is left of the piece before.
    pub fn write(&mut self, stream: &TcpStream, bytes: &[u8]) -> io::Result<usize> {
        let piece = &bytes[..bytes.len().min(PIECE_BYTES_MAX)];
        let sealed = self.connection.writer().write(piece)?;
        if sealed == 0 && !self.wants_write() {
            return Err(io::ErrorKind::WriteZero.into());
        }
        self.owed = sealed;
        self.send(stream)?;
        Ok(sealed)
    }

    /// Sends records until all are out or the kernel takes no more.
    pub fn send(&mut self, stream: &TcpStream) -> io::Result<()> {
        self.pending = 0;
        while self.connection.wants_write() && self.pending == 0 {
            let mut kernel = Kernel { stream, left: 0 };
            self.connection.write_tls(&mut kernel)?;
            self.pending = kernel.left;
        }
        self.owed = self.owed.min(self.pending);
        Ok(())
    }

    /// Reads what has come: `None` when nothing has, `Some(0)` when nothing will.
    pub fn read(&mut self, stream: &TcpStream, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        loop {
            match self.connection.reader().read(buffer) {
                Ok(bytes) => return Ok(Some(bytes)),
                // Whether an end was meant is for the close frame to say (RFC 6455 section 7.1.4), so both ends of TLS are one.
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(Some(0)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
            match self.connection.read_tls(&mut &*stream) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            }
            if let Err(error) = self.connection.process_new_packets() {
                // The alert that says what was wrong; the peer may be gone.
                let _ = self.send(stream);
                return Err(io::Error::new(io::ErrorKind::InvalidData, error));
            }
        }
    }

    /// Says that nothing more is sent (RFC 8446 section 6.1); goes out with the next [`Tls::send`].
    pub fn close(&mut self) {
        self.connection.send_close_notify();
    }
}

/// The kernel as a place to write to, which notes what it did not take.
struct Kernel<'s> {
    stream: &'s TcpStream,
    left: usize,
}

impl Kernel<'_> {
    fn hand(&mut self, asked: usize, send: impl Fn(&TcpStream) -> Result<usize, Errno>) -> io::Result<usize> {
        let written = loop {
            match send(self.stream) {
                Ok(written) => break written,
                Err(Errno::AGAIN) => break 0,
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        };
        self.left = asked - written;
        Ok(written)
    }
}

impl Write for Kernel<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.hand(bytes.len(), |stream| rustix::net::send(stream, bytes, FLAGS))
    }

    fn write_vectored(&mut self, records: &[IoSlice<'_>]) -> io::Result<usize> {
        if let [record] = records {
            return self.write(record);
        }
        let asked = records.iter().map(|record| record.len()).sum();
        self.hand(asked, |stream| {
            rustix::net::sendmsg(stream, records, &mut SendAncillaryBuffer::default(), FLAGS)
        })
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// 64 KiB, as one write to one socket: this much of one connection is held as records.
pub const PIECE_BYTES_MAX: usize = 64 << 10;
/// A piece as records: each of at most 16 KiB takes a header, a tag and a byte for its type, far less than 256 bytes in all versions.
pub const PIECE_SEALED_BYTES_MAX: usize = PIECE_BYTES_MAX + 5 * 256;
