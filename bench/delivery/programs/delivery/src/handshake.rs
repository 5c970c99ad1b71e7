//! The opening handshake, as small as it can be: the key is always that of RFC 6455 section 1.3, so its answer is known.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use rustix::net::RecvFlags;

const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";
const END: &[u8] = b"\r\n\r\n";
/// Who does not finish in this time has failed.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// The server's side: reads one request and answers it. The socket is a blocking one meanwhile.
///
/// # Errors
///
/// When the socket fails, or what comes is no handshake with the known key.
pub fn accept(socket: &mut TcpStream) -> io::Result<()> {
    socket.set_read_timeout(Some(PATIENCE))?;
    let (mut head, mut read) = (Vec::new(), [0; 4096]);
    while !head.ends_with(END) {
        match socket.read(&mut read)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            count => head.extend_from_slice(&read[..count]),
        }
    }
    if !head.windows(KEY.len()).any(|part| part == KEY.as_bytes()) {
        return Err(io::Error::other("only the sample key of RFC 6455 is answered"));
    }
    socket.write_all(
        format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: {ACCEPT}\r\n\r\n"
        )
        .as_bytes(),
    )
}

/// The client's side, first half.
///
/// # Errors
///
/// When the socket fails.
pub fn ask(socket: &mut TcpStream, path: &str, server: SocketAddr) -> io::Result<()> {
    socket.write_all(
        format!(
            "GET {path} HTTP/1.1\r\nHost: {server}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n\r\n"
        )
        .as_bytes(),
    )
}

/// The client's side, second half: takes the answer, and not one byte behind it.
///
/// # Errors
///
/// When the socket fails, or the answer is not the right one; the error has its head.
pub fn expect(socket: &mut TcpStream) -> io::Result<()> {
    socket.set_read_timeout(Some(PATIENCE))?;
    let mut read = [0; 4096];
    let length = loop {
        let (count, _) = rustix::net::recv(&*socket, &mut read[..], RecvFlags::PEEK)?;
        if let Some(length) = answer(&read[..count])? {
            break length;
        }
        if count == 0 || count == read.len() {
            return Err(io::Error::other("no answer to the handshake"));
        }
        std::thread::sleep(Duration::from_micros(50));
    };
    socket.read_exact(&mut read[..length])
}

/// The length of the answer that begins `read`, once it is whole.
///
/// # Errors
///
/// When it is not the right one; the error is what the server said.
pub fn answer(read: &[u8]) -> io::Result<Option<usize>> {
    let Some(length) = read.windows(END.len()).position(|part| part == END) else {
        return Ok(None);
    };
    let head = String::from_utf8_lossy(&read[..length]);
    if head.starts_with("HTTP/1.1 101") && head.contains(ACCEPT) {
        return Ok(Some(length + END.len()));
    }
    Err(io::Error::other(String::from_utf8_lossy(read).into_owned()))
}
