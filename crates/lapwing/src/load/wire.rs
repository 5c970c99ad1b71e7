//! The bytes of one listener: a socket that never waits, as it is or inside TLS.

use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;

use mio::net::TcpStream;
use mio::{Interest, Registry, Token};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use socket2::{Domain, Protocol, Socket, Type};

use super::sources::Sources;

/// A connection's bytes.
pub enum Wire {
    /// As they are.
    Plain(TcpStream),
    /// Inside TLS, which costs some 30 KiB.
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Wire {
    /// Begins to connect; it is open when it takes the first bytes. A source address without a free port is told as
    /// [`io::ErrorKind::AddrNotAvailable`].
    pub fn dial(
        target: SocketAddr,
        sources: &Sources,
        tls: Option<(&Arc<ClientConfig>, &ServerName<'static>)>,
    ) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address(target), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_nonblocking(true)?;
        // Commands are small and single: waiting for more of them would only make them late.
        socket.set_tcp_nodelay(true)?;
        if let Some(source) = sources.current() {
            let bound = socket.bind(&SocketAddr::new(source, 0).into());
            // bind says it in its own way that no port of the address is free.
            bound.map_err(|error| match error.kind() {
                io::ErrorKind::AddrInUse => io::ErrorKind::AddrNotAvailable.into(),
                _ => error,
            })?;
        }
        match socket.connect(&target.into()) {
            Err(error) if error.raw_os_error() != Some(rustix::io::Errno::INPROGRESS.raw_os_error()) => {
                return Err(error);
            }
            _ => {}
        }
        let stream = TcpStream::from_std(socket.into());
        let Some((config, name)) = tls else {
            return Ok(Self::Plain(stream));
        };
        let connection = ClientConnection::new(config.clone(), name.clone()).map_err(io::Error::other)?;
        Ok(Self::Tls(Box::new(StreamOwned::new(connection, stream))))
    }

    /// The error with which connecting failed, if it did.
    pub fn failed(&self) -> Option<io::Error> {
        self.stream().take_error().ok().flatten()
    }

    /// Has the poll watch it.
    pub fn watch(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        registry.register(self.stream_mut(), token, Interest::READABLE | Interest::WRITABLE)
    }

    /// Has the poll forget it.
    pub fn unwatch(&mut self, registry: &Registry) {
        // It may not have been watched in the first place.
        let _ = registry.deregister(self.stream_mut());
    }

    /// Sends what TLS itself has to say and could not yet.
    pub fn flush_tls(&mut self) -> io::Result<()> {
        if let Self::Tls(tls) = self {
            while tls.conn.wants_write() {
                tls.conn.write_tls(&mut tls.sock)?;
            }
        }
        Ok(())
    }

    fn stream(&self) -> &TcpStream {
        match self {
            Self::Plain(stream) => stream,
            Self::Tls(tls) => &tls.sock,
        }
    }

    fn stream_mut(&mut self) -> &mut TcpStream {
        match self {
            Self::Plain(stream) => stream,
            Self::Tls(tls) => &mut tls.sock,
        }
    }
}

impl Read for Wire {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.read(buffer),
            Self::Tls(tls) => match tls.read(buffer) {
                // Many servers end TLS without its goodbye; frames say for themselves where they end.
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(0),
                read => read,
            },
        }
    }
}

impl Write for Wire {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.write(bytes),
            Self::Tls(tls) => tls.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.flush_tls()
    }
}
