//! HTTP requests as text, since what is wrong in them is what many tests are about.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};

use super::PATIENCE;
use super::server::Server;

/// An answer.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    head: String,
    pub body: String,
}

impl Answer {
    /// The value of a header, if it is there.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    /// The body as JSON.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("no JSON ({error}): {}", self.body))
    }
}

/// `GET` of a path.
#[track_caller]
pub fn get(server: &Server, target: &str) -> Answer {
    ask(server, "GET", target, &[], b"")
}

/// `POST` of a body.
#[track_caller]
pub fn post(server: &Server, target: &str, content_type: &str, body: impl AsRef<[u8]>) -> Answer {
    ask(server, "POST", target, &[("Content-Type", content_type)], body.as_ref())
}

/// A request with these headers; `Host` is the server's own unless it is among them.
#[track_caller]
pub fn ask(server: &Server, method: &str, target: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
    let mut head = format!("{method} {target} HTTP/1.1\r\n");
    if !headers.iter().any(|(name, _)| *name == "Host") {
        head.push_str(&format!("Host: {}\r\n", server.address()));
    }
    if !headers.iter().any(|(name, _)| *name == "Connection") {
        head.push_str("Connection: close\r\n");
    }
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    if method == "POST" {
        head.push_str(&format!("Content-Length: {}\r\n", body.len()));
    }
    head.push_str("\r\n");
    send(server.address(), &[head.as_bytes(), body].concat())
}

/// Sends bytes and reads one answer.
#[track_caller]
pub fn send(address: SocketAddr, request: &[u8]) -> Answer {
    let mut stream = open(address);
    // A server that has refused need not read the rest.
    let _ = stream.write_all(request);
    answer(&mut stream).expect("an answer comes")
}

/// A socket that waits no longer than a test does.
#[track_caller]
pub fn open(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).expect("the server listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("not zero");
    stream.set_write_timeout(Some(PATIENCE)).expect("not zero");
    stream
}

/// Reads one answer; none when the connection ends without one.
#[track_caller]
pub fn answer(stream: &mut TcpStream) -> Option<Answer> {
    let mut bytes = Vec::new();
    let mut piece = [0; 4096];
    loop {
        let text = String::from_utf8_lossy(&bytes);
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let mut answer = Answer {
                status: head
                    .split(' ')
                    .nth(1)
                    .and_then(|status| status.parse().ok())
                    .expect("a status line"),
                head: head.to_owned(),
                body: String::new(),
            };
            let length = answer
                .header("content-length")
                .map_or(0, |length| length.parse::<usize>().expect("a length is a number"));
            if body.len() >= length || answer.status == 101 {
                answer.body = body.to_owned();
                return Some(answer);
            }
        }
        match stream.read(&mut piece) {
            Ok(0) => return None,
            Ok(more) => bytes.extend_from_slice(&piece[..more]),
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return None,
            Err(error) => panic!("no answer: {error}"),
        }
    }
}
