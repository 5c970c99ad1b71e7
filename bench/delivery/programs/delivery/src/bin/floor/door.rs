//! The listening socket: who comes in has done the handshake and has a socket that never blocks.

use std::io;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};

use delivery::{handshake, open_files};

/// The door.
pub struct Door(TcpListener);

impl Door {
    /// Listens, and may have as many open files as this process is allowed.
    pub fn open(port: u16) -> io::Result<Self> {
        open_files::allow_all()?;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
        listener.set_nonblocking(true)?;
        Ok(Self(listener))
    }

    /// Lets in everyone who waits. Who fails in the handshake is forgotten.
    pub fn let_in(&self, mut each: impl FnMut(TcpStream)) {
        while let Ok((mut socket, _)) = self.0.accept() {
            if welcome(&mut socket).is_ok() {
                each(socket);
            }
        }
    }
}

impl AsFd for Door {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

fn welcome(socket: &mut TcpStream) -> io::Result<()> {
    socket.set_nonblocking(false)?;
    handshake::accept(socket)?;
    socket.set_nodelay(true)?;
    socket.set_nonblocking(true)
}
