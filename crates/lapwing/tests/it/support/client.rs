//! A WebSocket client that others wrote (tungstenite), blocking.

use std::net::TcpStream;
use std::time::Instant;

use serde::Deserialize;
use serde_json::Value;
use tungstenite::client::IntoClientRequest as _;
use tungstenite::protocol::WebSocketConfig;
use tungstenite::protocol::frame::CloseFrame;
use tungstenite::{Error, Message as Frame, WebSocket};

use super::PATIENCE;
use super::server::Server;

/// Follows topics as a plain client does: no subprotocol, what is wanted stands in the query.
#[track_caller]
pub fn follow(server: &Server, query: &str) -> Client {
    connect(server, query, None)
}

/// Opens a connection that speaks `lapwing.v1`.
#[track_caller]
pub fn speak(server: &Server, query: &str) -> Client {
    connect(server, query, Some("lapwing.v1"))
}

/// As [`follow`], with a kernel that takes little, so that the client lags as soon as it does not read.
#[track_caller]
pub fn follow_slowly(server: &Server, query: &str) -> Client {
    Client::on(narrow(server), server, query, None)
}

/// As [`speak`], with a kernel that takes little.
#[track_caller]
pub fn speak_slowly(server: &Server, query: &str) -> Client {
    Client::on(narrow(server), server, query, Some("lapwing.v1"))
}

/// A socket of whose bytes the kernel takes little.
pub fn narrow(server: &Server) -> TcpStream {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
    socket.set_recv_buffer_size(4096).expect("a size");
    socket.connect(&server.address().into()).expect("the server listens");
    socket.into()
}

#[track_caller]
fn connect(server: &Server, query: &str, protocol: Option<&'static str>) -> Client {
    let stream = TcpStream::connect(server.address()).expect("the server listens");
    Client::on(stream, server, query, protocol)
}

/// A connected client.
pub struct Client {
    socket: WebSocket<TcpStream>,
}

/// A message as it came.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Message {
    /// Its topic.
    pub topic: String,
    /// Its place.
    pub offset: u64,
    /// When it was appended.
    pub time: String,
    /// What it says; null for bytes.
    #[serde(default)]
    pub data: Value,
    /// Its bytes, if it has no text.
    pub data_base64: Option<String>,
}

/// What a client hears.
#[derive(Clone, Debug, PartialEq)]
pub enum Heard {
    /// A text frame.
    Text(String),
    /// A binary frame.
    Binary(Vec<u8>),
    /// The close frame, its code and reason.
    Close(u16, String),
    /// The connection broke, and how.
    Broken(String),
}

impl Client {
    /// A client on a socket that the test has made.
    #[track_caller]
    pub fn on(stream: TcpStream, server: &Server, query: &str, protocol: Option<&'static str>) -> Self {
        let headers: Vec<_> = protocol
            .map(|protocol| ("Sec-WebSocket-Protocol", protocol))
            .into_iter()
            .collect();
        Self::with_headers(stream, server, query, &headers)
    }

    /// As [`Client::on`], with these headers in its handshake.
    #[track_caller]
    pub fn with_headers(stream: TcpStream, server: &Server, query: &str, headers: &[(&'static str, &str)]) -> Self {
        Self::open(stream, server, query, headers).unwrap_or_else(|error| panic!("no stream at ?{query}: {error}"))
    }

    /// As [`Client::with_headers`]; none when the server refuses.
    pub fn try_with_headers(
        stream: TcpStream,
        server: &Server,
        query: &str,
        headers: &[(&'static str, &str)],
    ) -> Option<Self> {
        Self::open(stream, server, query, headers).ok()
    }

    fn open(stream: TcpStream, server: &Server, query: &str, headers: &[(&'static str, &str)]) -> Result<Self, String> {
        stream.set_read_timeout(Some(PATIENCE)).expect("not zero");
        stream.set_write_timeout(Some(PATIENCE)).expect("not zero");
        stream.set_nodelay(true).expect("a TCP socket");
        let mut request = format!("{}/?{query}", server.url())
            .into_client_request()
            .expect("a valid URL");
        for (name, value) in headers {
            request
                .headers_mut()
                .insert(*name, value.parse().expect("a header value"));
        }
        // What sources may append is larger than its own limit for a frame.
        let config = WebSocketConfig::default().max_frame_size(None).max_message_size(None);
        match tungstenite::client::client_with_config(request, stream, Some(config)) {
            Ok((socket, _)) => Ok(Self { socket }),
            Err(error) => Err(error.to_string()),
        }
    }

    /// What comes next; pings and pongs are left to the library.
    #[track_caller]
    pub fn hear(&mut self) -> Heard {
        loop {
            return match self.socket.read() {
                Ok(Frame::Text(text)) => Heard::Text(text.as_str().to_owned()),
                Ok(Frame::Binary(bytes)) => Heard::Binary(bytes.to_vec()),
                Ok(Frame::Close(close)) => {
                    // The answer to it goes out with the flush.
                    let _ = self.socket.flush();
                    let CloseFrame { code, reason } = close.expect("the server always gives a code");
                    Heard::Close(code.into(), reason.as_str().to_owned())
                }
                Ok(_) => continue,
                Err(Error::Io(error)) if error.kind() == std::io::ErrorKind::WouldBlock => {
                    panic!("nothing more came")
                }
                Err(error) => Heard::Broken(error.to_string()),
            };
        }
    }

    /// The next text frame.
    #[track_caller]
    pub fn text(&mut self) -> String {
        match self.hear() {
            Heard::Text(text) => text,
            other => panic!("no text but {other:?}"),
        }
    }

    /// The next frame, which must be a message.
    #[track_caller]
    pub fn message(&mut self) -> Message {
        let text = self.text();
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("no message ({error}): {text}"))
    }

    /// The next so many frames, which must be messages.
    #[track_caller]
    pub fn messages(&mut self, count: usize) -> Vec<Message> {
        (0..count).map(|_| self.message()).collect()
    }

    /// The data of the next so many messages.
    #[track_caller]
    pub fn data(&mut self, count: usize) -> Vec<Value> {
        self.messages(count).into_iter().map(|message| message.data).collect()
    }

    /// The next frame, which must be a control message of this type.
    #[track_caller]
    pub fn control(&mut self, kind: &str) -> Value {
        let text = self.text();
        let control: Value = serde_json::from_str(&text).expect("every text frame is JSON");
        assert_eq!(control["type"], kind, "{text}");
        control
    }

    /// The next control message of this type, whatever comes before it.
    #[track_caller]
    pub fn find_control(&mut self, kind: &str) -> Value {
        // Heartbeats come for ever, so the wait for each frame is no bound.
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            let control: Value = serde_json::from_str(&self.text()).expect("every text frame is JSON");
            if control["type"] == kind {
                return control;
            }
        }
        panic!("no {kind} came")
    }

    /// Code and reason with which the server closes, whatever comes before.
    #[track_caller]
    pub fn closed(&mut self) -> (u16, String) {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            match self.hear() {
                Heard::Close(code, reason) => return (code, reason),
                Heard::Broken(how) => panic!("no close frame before the end: {how}"),
                _ => {}
            }
        }
        panic!("no close frame came")
    }

    /// Sends text.
    #[track_caller]
    pub fn say(&mut self, text: &str) {
        self.socket.send(Frame::text(text)).expect("the server listens");
    }

    /// Sends a command of `lapwing.v1`.
    #[track_caller]
    pub fn command(&mut self, command: &Value) {
        self.say(&command.to_string());
    }

    /// Sends bytes.
    #[track_caller]
    pub fn say_bytes(&mut self, bytes: &[u8]) {
        self.socket
            .send(Frame::binary(bytes.to_vec()))
            .expect("the server listens");
    }

    /// Closes with code and reason, and waits for the answer.
    #[track_caller]
    pub fn close(mut self, code: u16, reason: &'static str) {
        let close = CloseFrame {
            code: code.into(),
            reason: reason.into(),
        };
        self.socket.close(Some(close)).expect("the server listens");
        while self.socket.read().is_ok() {}
    }

    /// The socket beneath.
    pub fn stream(&mut self) -> &mut TcpStream {
        self.socket.get_mut()
    }
}
