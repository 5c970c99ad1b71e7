//! A server that does what a test says, over the WebSockets of another library.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use lapwing_wire::control::{Answer, ClientMessage, Gap, GapReason, Level, SUBPROTOCOL, ServerMessage};
use lapwing_wire::control::{Subscribe, Subscribed, Welcome};
use lapwing_wire::position::{Epoch, Offset};
use lapwing_wire::report::Report;
use lapwing_wire::topic::TopicName;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tungstenite::handshake::server::{Request, Response};
use tungstenite::protocol::CloseFrame;
use tungstenite::{Message, WebSocket};

use crate::program::DEADLINE;

pub struct Feed {
    listener: TcpListener,
}

pub trait Bytes: Read + Write + Send {}
impl<T: Read + Write + Send> Bytes for T {}

/// A listener that has come.
pub struct Guest {
    socket: WebSocket<Box<dyn Bytes>>,
    raw: TcpStream,
    /// The request's path and query.
    pub path: String,
}

impl Feed {
    pub fn bind() -> Self {
        Self::bind_at("127.0.0.1:0")
    }

    /// Binds where another feed was before.
    pub fn bind_at(address: &str) -> Self {
        let began = Instant::now();
        loop {
            match TcpListener::bind(address) {
                Ok(listener) => return Self { listener },
                Err(error) if began.elapsed() > DEADLINE => panic!("{address}: {error}"),
                Err(_) => std::thread::sleep(Duration::from_millis(20)),
            }
        }
    }

    pub fn address(&self) -> String {
        self.listener.local_addr().expect("bound").to_string()
    }

    pub fn url(&self) -> String {
        format!("ws://{}", self.address())
    }

    /// The next connection, before any handshake.
    #[track_caller]
    pub fn accept_tcp(&self) -> TcpStream {
        self.listener.set_nonblocking(true).expect("a socket");
        let began = Instant::now();
        loop {
            match self.listener.accept() {
                Ok((stream, _)) => {
                    stream.set_nonblocking(false).expect("a socket");
                    stream.set_read_timeout(Some(DEADLINE)).expect("a socket");
                    return stream;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock && began.elapsed() < DEADLINE => {
                    std::thread::sleep(Duration::from_millis(2));
                }
                Err(error) => panic!("nobody came: {error}"),
            }
        }
    }

    /// Whether somebody knocks within this time.
    pub fn is_called_within(&self, time: Duration) -> bool {
        self.listener.set_nonblocking(true).expect("a socket");
        let began = Instant::now();
        while began.elapsed() < time {
            if self.listener.accept().is_ok() {
                return true;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        false
    }

    /// The next listener, without a subprotocol.
    #[track_caller]
    pub fn accept_plain(&self) -> Guest {
        let raw = self.accept_tcp();
        let stream = raw.try_clone().expect("a socket");
        Guest::new(Box::new(stream), raw, false)
    }

    /// The next listener, with the subprotocol of Lapwing.
    #[track_caller]
    pub fn accept_lapwing(&self) -> Guest {
        let raw = self.accept_tcp();
        let stream = raw.try_clone().expect("a socket");
        Guest::new(Box::new(stream), raw, true)
    }

    /// The next listener inside TLS; none when it breaks the handshake off.
    #[track_caller]
    pub fn accept_tls(&self, config: Arc<rustls::ServerConfig>) -> Option<Guest> {
        let raw = self.accept_tcp();
        let connection = rustls::ServerConnection::new(config).expect("a valid configuration");
        let mut stream = rustls::StreamOwned::new(connection, raw.try_clone().expect("a socket"));
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock).ok()?;
        }
        Some(Guest::new(Box::new(stream), raw, false))
    }

    /// Reads one request and answers it with `answer` as it stands; gives the request.
    #[track_caller]
    pub fn answer(&self, answer: &str) -> String {
        let mut stream = self.accept_tcp();
        let request = read_head(&mut stream);
        stream.write_all(answer.as_bytes()).expect("it reads");
        request
    }
}

/// Reads up to the end of a head.
pub fn read_head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).expect("it sends a request") == 1 {
        head.push(byte[0]);
    }
    String::from_utf8(head).expect("ASCII")
}

impl Guest {
    fn new(stream: Box<dyn Bytes>, raw: TcpStream, lapwing: bool) -> Self {
        let mut path = String::new();
        #[expect(clippy::result_large_err, reason = "the form of the library")]
        let answer = |request: &Request, mut response: Response| {
            path = request.uri().to_string();
            if lapwing {
                let offered = request.headers().get("Sec-WebSocket-Protocol");
                assert_eq!(offered.expect("offered"), SUBPROTOCOL);
                let chosen = SUBPROTOCOL.parse().expect("ASCII");
                response.headers_mut().insert("Sec-WebSocket-Protocol", chosen);
            }
            Ok(response)
        };
        let socket = tungstenite::accept_hdr(stream, answer);
        let socket = socket.unwrap_or_else(|error| panic!("no handshake: {error}"));
        Self { socket, raw, path }
    }

    pub fn send(&mut self, text: &str) {
        self.socket.send(Message::text(text)).expect("it listens");
    }

    /// Sends, and says whether somebody still listens.
    pub fn try_send(&mut self, text: &str) -> bool {
        self.socket.send(Message::text(text)).is_ok()
    }

    pub fn send_bytes(&mut self, bytes: &[u8]) {
        self.socket.send(Message::binary(bytes.to_vec())).expect("it listens");
    }

    /// A message in Lapwing's envelope.
    pub fn message(&mut self, topic: &str, offset: u64) {
        self.send(&format!(
            "{{\"topic\":\"{topic}\",\"offset\":{offset},\"time\":\"2026-11-21T19:00:00.123456Z\",\"data\":[{offset}]}}"
        ));
    }

    pub fn messages(&mut self, topic: &str, offsets: std::ops::Range<u64>) {
        offsets.for_each(|offset| self.message(topic, offset));
    }

    pub fn welcome(&mut self, topics: &[&str]) {
        self.control(&ServerMessage::Welcome(Welcome {
            session: 1,
            name: "sensor-1".to_owned(),
            server: "lapwing/0".to_owned(),
            topics: topics.iter().map(|name| topic(name)).collect(),
            report_interval_ms: 1000,
            heartbeat_ms: 10_000,
        }));
    }

    /// Greets, and grants each topic from `next` on.
    pub fn welcome_and_grant(&mut self, epoch: u128, topics: &[(&str, u64)]) {
        self.welcome(&topics.iter().map(|(name, _)| *name).collect::<Vec<_>>());
        for (name, next) in topics {
            let wish = self.subscribe();
            assert_eq!(wish.topic.expect("named").as_str(), *name);
            self.grant(&granted(name, epoch, *next));
        }
    }

    pub fn grant(&mut self, granted: &Subscribed) {
        self.control(&ServerMessage::Subscribed(granted.clone()));
    }

    pub fn gap(&mut self, name: &str, from: u64, to: u64) {
        self.control(&ServerMessage::Gap(Gap {
            topic: topic(name),
            from: Offset::new(from),
            to: Offset::new(to),
            reason: GapReason::Policy,
        }));
    }

    pub fn bye(&mut self, retry_ms: u64) {
        self.goodbye(Some(retry_ms), None);
    }

    /// Says when to come back, and when to go elsewhere.
    pub fn goodbye(&mut self, retry_ms: Option<u64>, elsewhere_ms: Option<u64>) {
        self.control(&ServerMessage::Bye {
            reason: "restart".to_owned(),
            retry_ms,
            elsewhere_ms,
            next: BTreeMap::new(),
        });
    }

    pub fn control(&mut self, message: &ServerMessage) {
        self.send(&message.to_text());
    }

    /// The next thing the listener says; none when it closes, and then what it closed with.
    #[track_caller]
    pub fn said(&mut self) -> Result<ClientMessage, Option<CloseFrame>> {
        loop {
            match self.socket.read().expect("it speaks or closes") {
                Message::Text(text) => return Ok(ClientMessage::parse(&text).expect("a command")),
                Message::Close(close) => {
                    // The answer is sent with the next call.
                    let _ = self.socket.flush();
                    return Err(close);
                }
                _ => {}
            }
        }
    }

    #[track_caller]
    pub fn subscribe(&mut self) -> Subscribe {
        match self.said() {
            Ok(ClientMessage::Subscribe(subscribe)) => subscribe,
            other => panic!("no subscribe: {other:?}"),
        }
    }

    #[track_caller]
    pub fn report(&mut self) -> Report {
        match self.said() {
            Ok(ClientMessage::Report(report)) => *report,
            other => panic!("no report: {other:?}"),
        }
    }

    /// All reports up to the close, and its code.
    #[track_caller]
    pub fn until_closed(mut self) -> (Vec<Report>, Option<u16>) {
        let mut reports = Vec::new();
        loop {
            match self.said() {
                Ok(ClientMessage::Report(report)) => reports.push(*report),
                Ok(_) => {}
                Err(close) => return (reports, close.map(|close| close.code.into())),
            }
        }
    }

    pub fn close(mut self, code: u16, reason: &str) {
        let frame = CloseFrame {
            code: code.into(),
            reason: reason.into(),
        };
        self.socket.close(Some(frame)).expect("it listens");
        // The answer, or the end.
        while self.socket.read().is_ok() {}
    }

    /// Ends as a killed process does: without a word.
    pub fn vanish(self) {
        self.raw.shutdown(std::net::Shutdown::Both).expect("open");
    }
}

/// A grant of everything from `next` on, of a topic that holds all before it.
pub fn granted(name: &str, epoch: u128, next: u64) -> Subscribed {
    Subscribed {
        topic: topic(name),
        epoch: Epoch::from_bits(epoch),
        first: Offset::ZERO,
        next: Offset::new(next),
        durable: None,
        level: Level::None,
        from: Offset::new(next),
        answer: Answer::Ok,
        missing_from: None,
        diverged_at: None,
        number: None,
        dtype: None,
    }
}

/// A self-signed certificate for 127.0.0.1, as server settings and as PEM.
pub fn certificate() -> (Arc<rustls::ServerConfig>, String) {
    let signed = rcgen::generate_simple_self_signed(["localhost".to_owned(), "127.0.0.1".to_owned()]).expect("a key");
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(signed.signing_key.serialize_der()));
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the defaults")
        .with_no_client_auth()
        .with_single_cert(vec![signed.cert.der().clone()], key)
        .expect("a matching key");
    (Arc::new(config), signed.cert.pem())
}

pub fn topic(name: &str) -> TopicName {
    TopicName::parse(name).expect("valid")
}

impl Guest {
    /// Waits until something has come, and leaves it there.
    pub fn peek(&mut self, byte: &mut [u8; 1]) {
        self.raw.peek(byte).expect("something comes");
    }

    /// Sends again and again until `done`, or until nobody listens.
    pub fn keep_sending(&mut self, text: &str, done: impl Fn() -> bool) {
        let began = Instant::now();
        while !done() && began.elapsed() < DEADLINE {
            if !self.try_send(text) {
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}
