//! Frames by hand, where a library would not send what is tested, or would hide what comes.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::time::Instant;

use super::PATIENCE;
use super::server::Server;

/// Opcodes (RFC 6455 section 11.8).
pub const CONTINUATION: u8 = 0x0;
pub const TEXT: u8 = 0x1;
pub const BINARY: u8 = 0x2;
pub const CLOSE: u8 = 0x8;
pub const PING: u8 = 0x9;
pub const PONG: u8 = 0xa;
/// The bit that ends a message.
pub const FIN: u8 = 0x80;
/// The bit of a compressed message (RFC 7692 section 6).
pub const RSV1: u8 = 0x40;

/// One frame as the server sent it.
#[derive(Debug, PartialEq, Clone)]
pub struct Frame {
    /// FIN, RSV and opcode.
    pub first_byte: u8,
    pub payload: Vec<u8>,
}

/// A connection after its handshake, with nothing between the test and the bytes.
pub struct Raw {
    stream: BufReader<TcpStream>,
}

impl Raw {
    /// Opens a plain stream.
    #[track_caller]
    pub fn follow(server: &Server, query: &str) -> Self {
        Self::open(server, query, b"")
    }

    /// Opens a plain stream and sends more bytes in the same write as the request.
    #[track_caller]
    pub fn open(server: &Server, query: &str, behind: &[u8]) -> Self {
        Self::on(
            TcpStream::connect(server.address()).expect("the server listens"),
            query,
            behind,
        )
    }

    /// Opens a plain stream on a socket that the test has made.
    #[track_caller]
    pub fn on(stream: TcpStream, query: &str, behind: &[u8]) -> Self {
        Self::try_on(stream, query, behind).expect("the server switches protocols")
    }

    /// As [`Raw::on`]; what came instead of a 101 otherwise.
    pub fn try_on(stream: TcpStream, query: &str, behind: &[u8]) -> Result<Self, String> {
        let host = stream.peer_addr().map_err(|error| error.to_string())?;
        let request = upgrade_request(&host.to_string(), &format!("/?{query}"));
        let request = [request.as_bytes(), behind].concat();
        Self::ask(stream, &request).map(|(raw, _)| raw)
    }

    /// Opens a stream with more lines in the head of its request; gives the head of the answer, too.
    #[track_caller]
    pub fn with_headers(server: &Server, query: &str, headers: &str) -> (Self, String) {
        let request = upgrade_request(&server.address().to_string(), &format!("/?{query}"));
        let request = request.replacen("\r\n", &format!("\r\n{headers}"), 1);
        let stream = TcpStream::connect(server.address()).expect("the server listens");
        Self::ask(stream, request.as_bytes()).expect("the server switches protocols")
    }

    /// Asks for a plain stream, and does not wait for the answer.
    #[track_caller]
    pub fn begin(server: &Server, query: &str) -> Asked {
        let request = upgrade_request(&server.address().to_string(), &format!("/?{query}"));
        let stream = TcpStream::connect(server.address()).expect("the server listens");
        Asked::new(stream, request.as_bytes()).expect("the kernel takes it")
    }

    /// Opens a stream at another path, with more lines in the head of its request; gives the head of the answer, too.
    #[track_caller]
    pub fn at(stream: TcpStream, target: &str, headers: &str) -> (Self, String) {
        let host = stream.peer_addr().expect("a connected socket");
        let request = upgrade_request(&host.to_string(), target);
        let request = request.replacen("\r\n", &format!("\r\n{headers}"), 1);
        Self::ask(stream, request.as_bytes()).expect("the server switches protocols")
    }

    fn ask(stream: TcpStream, request: &[u8]) -> Result<(Self, String), String> {
        Asked::new(stream, request)
            .map_err(|error| error.to_string())?
            .with_head()
    }

    /// Sends bytes as they are.
    #[track_caller]
    pub fn send(&mut self, bytes: &[u8]) {
        self.stream.get_mut().write_all(bytes).expect("the server reads");
    }

    /// Sends bytes as far as the server takes them: it may close at any of them.
    pub fn send_if_taken(&mut self, bytes: &[u8]) {
        // A server that has closed need not read the rest.
        let _ = self.stream.get_mut().write_all(bytes);
    }

    /// Sends bytes; gives whether the server took all of them.
    pub fn try_send(&mut self, bytes: &[u8]) -> bool {
        self.stream.get_mut().write_all(bytes).is_ok()
    }

    /// The way to the server, for another thread.
    pub fn writer(&self) -> TcpStream {
        self.stream.get_ref().try_clone().expect("a socket")
    }

    /// The next frame; none when the connection has ended.
    #[track_caller]
    pub fn frame(&mut self) -> Option<Frame> {
        let mut byte = [0];
        match self.stream.read(&mut byte) {
            Ok(1) => {}
            Ok(_) => return None,
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return None,
            Err(error) => panic!("no frame: {error}"),
        }
        let first_byte = byte[0];
        let mut take = |bytes: &mut [u8]| self.stream.read_exact(bytes).expect("a frame is whole");
        take(&mut byte);
        assert_eq!(byte[0] & 0x80, 0, "a server does not mask");
        let length = match byte[0] {
            126 => {
                let mut length = [0; 2];
                take(&mut length);
                u64::from(u16::from_be_bytes(length))
            }
            127 => {
                let mut length = [0; 8];
                take(&mut length);
                u64::from_be_bytes(length)
            }
            length => u64::from(length),
        };
        let mut payload = vec![0; usize::try_from(length).expect("fits memory")];
        take(&mut payload);
        Some(Frame { first_byte, payload })
    }

    /// The code and reason of the close frame, whatever comes before it.
    #[track_caller]
    pub fn closed(&mut self) -> (u16, String) {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            let frame = self.frame().expect("a close frame comes before the end");
            if frame.first_byte == FIN | CLOSE {
                let (code, reason) = frame.payload.split_at(2);
                return (
                    u16::from_be_bytes([code[0], code[1]]),
                    String::from_utf8(reason.to_vec()).expect("a reason is text"),
                );
            }
        }
        panic!("no close frame came")
    }
}

/// A connection that has asked, and has not been answered.
pub struct Asked(TcpStream);

impl Asked {
    fn new(mut stream: TcpStream, request: &[u8]) -> std::io::Result<Self> {
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        stream.write_all(request)?;
        Ok(Self(stream))
    }

    /// The connection when it is answered with a 101; what came instead otherwise.
    pub fn finish(self) -> Result<Raw, String> {
        self.with_head().map(|(raw, _)| raw)
    }

    fn with_head(self) -> Result<(Raw, String), String> {
        let mut stream = BufReader::new(self.0);
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            let read = stream.read_line(&mut head).map_err(|error| error.to_string())?;
            if read == 0 {
                return Err(format!("the head ended: {head:?}"));
            }
        }
        if head.starts_with("HTTP/1.1 101 ") {
            Ok((Raw { stream }, head))
        } else {
            Err(head)
        }
    }
}

/// A request for a stream as a good client sends it.
pub fn upgrade_request(host: &str, target: &str) -> String {
    format!(
        "GET {target} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
}

/// A masked frame, as a client must send it.
pub fn masked(first_byte: u8, payload: &[u8]) -> Vec<u8> {
    const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];
    let mut frame = header(first_byte, 0x80, payload.len() as u64);
    frame.extend_from_slice(&MASK);
    frame.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    frame
}

/// The begin of a frame, which may claim any length.
pub fn header(first_byte: u8, mask_bit: u8, length: u64) -> Vec<u8> {
    let mut header = vec![first_byte];
    match length {
        0..=125 => header.push(mask_bit | u8::try_from(length).expect("checked")),
        126..=0xffff => {
            header.push(mask_bit | 126);
            header.extend_from_slice(&u16::try_from(length).expect("checked").to_be_bytes());
        }
        _ => {
            header.push(mask_bit | 127);
            header.extend_from_slice(&length.to_be_bytes());
        }
    }
    header
}
