//! Opening many connections, a bounded number of them at once.

use std::collections::VecDeque;
use std::io::{self, Write as _};
use std::net::{SocketAddr, TcpStream};

use delivery::{frame, handshake};
use socket2::{Domain, Protocol, Socket, Type};

/// Handshakes that are under way at once: no server's backlog is smaller.
const AT_ONCE: usize = 64;
/// The receive buffer of a client that reads nothing, and the largest segment it takes: small, so that its buffer is full at
/// once, and soon that of the server's socket, which the kernel measures in segments.
const STUCK_BUFFER_BYTES: usize = 4096;
const STUCK_SEGMENT_BYTES: u32 = 536;
/// What a client of NATS says first.
const NATS_OPENING: &[u8] = b"CONNECT {\"verbose\":false,\"protocol\":1}\r\nSUB feed 1\r\n";

/// Whom to call, and how often.
pub struct Dial<'a> {
    /// Where.
    pub server: SocketAddr,
    /// The path and query of the handshake.
    pub path: &'a str,
    /// Connections in all.
    pub clients: usize,
    /// Those among them that never read, spread evenly.
    pub stuck: usize,
    /// Whether the server speaks NATS in its frames.
    pub nats: bool,
}

/// Everyone who got through.
pub struct Dialled {
    /// Who reads; these sockets do not block.
    pub readers: Vec<TcpStream>,
    /// Who never does.
    pub stuck: Vec<TcpStream>,
}

impl Dial<'_> {
    /// Opens all connections; one that fails ends it.
    pub fn all(&self) -> io::Result<Dialled> {
        let mut dialled = Dialled {
            readers: Vec::with_capacity(self.clients),
            stuck: Vec::with_capacity(self.stuck),
        };
        let mut under_way = VecDeque::with_capacity(AT_ONCE);
        for number in 0..self.clients {
            if under_way.len() == AT_ONCE {
                self.finish(under_way.pop_front(), &mut dialled)?;
            }
            // As many whole steps of stuck/clients as there are stuck ones.
            let stuck = (number + 1) * self.stuck / self.clients > number * self.stuck / self.clients;
            under_way.push_back((self.begin(stuck)?, stuck));
        }
        while !under_way.is_empty() {
            self.finish(under_way.pop_front(), &mut dialled)?;
        }
        Ok(dialled)
    }

    fn begin(&self, stuck: bool) -> io::Result<TcpStream> {
        let socket = Socket::new(Domain::for_address(self.server), Type::STREAM, Some(Protocol::TCP))?;
        if stuck {
            socket.set_recv_buffer_size(STUCK_BUFFER_BYTES)?;
            socket.set_tcp_mss(STUCK_SEGMENT_BYTES)?;
        }
        socket.connect(&self.server.into())?;
        let mut socket = TcpStream::from(socket);
        socket.set_nodelay(true)?;
        handshake::ask(&mut socket, self.path, self.server)?;
        Ok(socket)
    }

    fn finish(&self, begun: Option<(TcpStream, bool)>, dialled: &mut Dialled) -> io::Result<()> {
        let Some((mut socket, stuck)) = begun else {
            return Ok(());
        };
        handshake::expect(&mut socket)?;
        if self.nats {
            let mut opening = Vec::new();
            frame::write_masked(&mut opening, NATS_OPENING);
            socket.write_all(&opening)?;
        }
        if stuck {
            dialled.stuck.push(socket);
        } else {
            socket.set_nonblocking(true)?;
            dialled.readers.push(socket);
        }
        Ok(())
    }
}
