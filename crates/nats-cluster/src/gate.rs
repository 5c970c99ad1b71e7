//! A way to a server that can be shut: bytes stand still, or connections end and none is made.

use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

/// Bytes a read.
const READ_BYTES: usize = 64 << 10;

/// How often it is looked whether a shut gate is open again.
const LOOK: Duration = Duration::from_millis(5);

/// So long a server may take to accept.
const DIAL: Duration = Duration::from_secs(2);

/// A way to a server that can be shut. Its connections end when it is dropped.
#[derive(Debug)]
pub struct Gate {
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    is_still: AtomicBool,
    is_refusing: AtomicBool,
    has_ended: AtomicBool,
    sockets: Mutex<Vec<TcpStream>>,
}

impl Shared {
    fn sockets(&self) -> std::sync::MutexGuard<'_, Vec<TcpStream>> {
        self.sockets.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn cut(&self) {
        for socket in self.sockets().drain(..) {
            // It may have ended by itself.
            let _ = socket.shutdown(Shutdown::Both);
        }
    }
}

impl Gate {
    /// An open gate before a server, on a port of its own.
    pub fn before(server: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared::default());
        let own = Arc::clone(&shared);
        thread::spawn(move || {
            for client in listener.incoming() {
                if own.has_ended.load(Ordering::Relaxed) {
                    return;
                }
                if let Ok(client) = client
                    && !own.is_refusing.load(Ordering::Relaxed)
                {
                    let own = Arc::clone(&own);
                    thread::spawn(move || carry(&client, server, &own));
                }
            }
        });
        Ok(Self { address, shared })
    }

    /// Where one comes in.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on nothing passes either way, and nobody is told: a partition.
    pub fn hold(&self) {
        self.shared.is_still.store(true, Ordering::Relaxed);
    }

    /// All connections end, and whoever comes is cut off.
    pub fn shut(&self) {
        self.shared.is_refusing.store(true, Ordering::Relaxed);
        self.shared.cut();
    }

    /// All connections end; new ones are made.
    pub fn cut(&self) {
        self.shared.cut();
    }

    /// Everything passes again.
    pub fn open(&self) {
        self.shared.is_refusing.store(false, Ordering::Relaxed);
        self.shared.is_still.store(false, Ordering::Relaxed);
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.shared.has_ended.store(true, Ordering::Relaxed);
        self.shared.is_still.store(false, Ordering::Relaxed);
        self.shared.cut();
        // The listener's thread wakes up and finds that it is over.
        let _ = TcpStream::connect_timeout(&self.address, DIAL);
    }
}

fn carry(client: &TcpStream, server: SocketAddr, shared: &Arc<Shared>) {
    while shared.is_still.load(Ordering::Relaxed) {
        thread::sleep(LOOK);
    }
    let Ok(server) = TcpStream::connect_timeout(&server, DIAL) else {
        let _ = client.shutdown(Shutdown::Both);
        return;
    };
    let (Ok(client_in), Ok(client_out)) = (client.try_clone(), client.try_clone()) else {
        return;
    };
    let (Ok(server_in), Ok(server_out)) = (server.try_clone(), server.try_clone()) else {
        return;
    };
    let _ = client.set_nodelay(true);
    let _ = server.set_nodelay(true);
    let mut kept = shared.sockets();
    kept.extend(client.try_clone());
    kept.push(server);
    drop(kept);
    let up = Arc::clone(shared);
    thread::spawn(move || pass(client_in, server_out, &up));
    pass(server_in, client_out, shared);
}

fn pass(mut from: TcpStream, mut to: TcpStream, shared: &Shared) {
    let mut buffer = vec![0; READ_BYTES];
    while let Ok(length @ 1..) = from.read(&mut buffer) {
        while shared.is_still.load(Ordering::Relaxed) {
            thread::sleep(LOOK);
        }
        if to.write_all(&buffer[..length]).is_err() {
            break;
        }
    }
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
}

#[cfg(test)]
mod tests {
    use super::Gate;
    use std::io::{Read as _, Write as _};
    use std::net::{TcpListener, TcpStream};
    use std::time::Duration;

    /// A server that sends back what comes.
    fn echo() -> std::net::SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let address = listener.local_addr().expect("it is bound");
        std::thread::spawn(move || {
            for mut socket in listener.incoming().map_while(Result::ok) {
                std::thread::spawn(move || {
                    let mut copy = socket.try_clone().expect("a socket can be cloned");
                    std::io::copy(&mut copy, &mut socket)
                });
            }
        });
        address
    }

    fn says_back(socket: &mut TcpStream, said: [u8; 1]) -> bool {
        let mut heard = [0];
        socket.write_all(&said).is_ok() && socket.read_exact(&mut heard).is_ok() && heard == said
    }

    #[test]
    fn what_is_held_comes_when_the_gate_is_open_again() {
        let gate = Gate::before(echo()).expect("a port is free");
        let mut socket = TcpStream::connect(gate.address()).expect("it listens");
        assert!(says_back(&mut socket, *b"a"));
        gate.hold();
        socket
            .set_read_timeout(Some(Duration::from_millis(200)))
            .expect("a socket has timeouts");
        assert!(!says_back(&mut socket, *b"b"));
        gate.open();
        socket.set_read_timeout(None).expect("a socket has timeouts");
        let mut heard = [0];
        socket.read_exact(&mut heard).expect("it comes");
        assert_eq!(heard, *b"b");
    }

    #[test]
    fn a_shut_gate_ends_connections_and_makes_none_until_it_is_open() {
        let gate = Gate::before(echo()).expect("a port is free");
        let mut socket = TcpStream::connect(gate.address()).expect("it listens");
        assert!(says_back(&mut socket, *b"a"));
        gate.shut();
        assert!(!says_back(&mut socket, *b"b"));
        let mut socket = TcpStream::connect(gate.address()).expect("it listens");
        assert!(!says_back(&mut socket, *b"c"));
        gate.open();
        let mut socket = TcpStream::connect(gate.address()).expect("it listens");
        assert!(says_back(&mut socket, *b"d"));
    }
}
