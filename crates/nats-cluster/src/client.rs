//! A small client of NATS and its JetStream: the text protocol over a socket, as much of it as tests need.

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::trouble::Trouble;

/// So long an answer may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Requests on their way at once when a stream is read.
const WINDOW: u64 = 256;

/// Bytes of the largest message that is read.
const MESSAGE_BYTES_MAX: usize = 64 << 20;

/// A connection to one server.
#[derive(Debug)]
pub struct Client {
    socket: BufReader<TcpStream>,
    /// Where answers come to: this, and a number.
    inbox: String,
    asked: u64,
}

/// What JetStream said to a message that it took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taken {
    /// Its place in the stream, from 1.
    pub sequence: u64,
    /// It was there already, under the same id.
    pub is_repeated: bool,
}

/// A message of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Its place, from 1.
    pub sequence: u64,
    /// Its subject.
    pub subject: String,
    /// Its headers, as they lie on the wire.
    pub headers: String,
    /// When it was stored, as RFC 3339 has it.
    pub time: String,
    /// Its payload.
    pub payload: Vec<u8>,
}

struct Message {
    subject: String,
    payload: Vec<u8>,
}

impl Client {
    /// Connects to a server, with user and password where it asks for them.
    pub fn connect(server: SocketAddr, login: Option<(&str, &str)>) -> Result<Self, Trouble> {
        Self::connect_as(server, |_| match login {
            Some((user, password)) => json!({"user": user, "pass": password}),
            None => Value::Null,
        })
    }

    /// Connects with the options that follow from the server's greeting, such as a signature of its nonce.
    pub fn connect_as(server: SocketAddr, login: impl FnOnce(&Value) -> Value) -> Result<Self, Trouble> {
        let socket = TcpStream::connect_timeout(&server, PATIENCE).map_err(Trouble::socket("connect to NATS"))?;
        let set = socket
            .set_nodelay(true)
            .and_then(|()| socket.set_read_timeout(Some(PATIENCE)))
            .and_then(|()| socket.set_write_timeout(Some(PATIENCE)));
        set.map_err(Trouble::socket("connect to NATS"))?;
        let port = socket.local_addr().map_or(0, |address| address.port());
        let mut client = Self {
            socket: BufReader::new(socket),
            inbox: format!("_INBOX.stage{}-{port}", std::process::id()),
            asked: 0,
        };
        let greeting = client.line()?;
        let info: Value = greeting
            .strip_prefix("INFO ")
            .and_then(|text| serde_json::from_str(text).ok())
            .unwrap_or_default();
        if info["tls_required"] == true {
            return Err(refused("connect", "it wants TLS, which this client does not speak"));
        }
        let mut options = json!({"verbose": false, "pedantic": true, "headers": true, "no_responders": true});
        if let (Some(options), Value::Object(own)) = (options.as_object_mut(), login(&info)) {
            options.extend(own);
        }
        let subscribe = format!("CONNECT {options}\r\nPING\r\nSUB {}.* 1\r\n", client.inbox);
        client.send(subscribe.as_bytes())?;
        loop {
            let line = client.line()?;
            match line.strip_prefix("-ERR ") {
                Some(said) => return Err(refused("connect", said)),
                None if line == "PONG" => return Ok(client),
                None => {}
            }
        }
    }

    /// Makes a stream, as `$JS.API.STREAM.CREATE` takes it.
    pub fn create_stream(&mut self, config: &Value) -> Result<Value, Trouble> {
        let name = config["name"].as_str().unwrap_or_default();
        self.api(&format!("STREAM.CREATE.{name}"), config)
    }

    /// What a stream is and holds; nothing where there is none.
    pub fn stream(&mut self, name: &str) -> Result<Option<Value>, Trouble> {
        match self.api(&format!("STREAM.INFO.{name}"), &Value::Null) {
            Ok(told) => Ok(Some(told)),
            Err(Trouble::Refused { said, .. }) if said.contains("10059") => Ok(None),
            Err(trouble) => Err(trouble),
        }
    }

    /// Deletes a stream with all that it holds.
    pub fn delete_stream(&mut self, name: &str) -> Result<(), Trouble> {
        self.api(&format!("STREAM.DELETE.{name}"), &Value::Null).map(drop)
    }

    /// Purges what lies below a sequence, or everything.
    pub fn purge(&mut self, name: &str, below: Option<u64>) -> Result<(), Trouble> {
        let request = below.map_or(Value::Null, |below| json!({"seq": below}));
        self.api(&format!("STREAM.PURGE.{name}"), &request).map(drop)
    }

    /// Deletes one message.
    pub fn delete(&mut self, name: &str, sequence: u64) -> Result<(), Trouble> {
        self.api(&format!("STREAM.MSG.DELETE.{name}"), &json!({"seq": sequence}))
            .map(drop)
    }

    /// Has the leader of a stream step down.
    pub fn step_down(&mut self, name: &str) -> Result<(), Trouble> {
        self.api(&format!("STREAM.LEADER.STEPDOWN.{name}"), &Value::Null)
            .map(drop)
    }

    /// Stores a message, under an id if it has one, and waits for the acknowledgement.
    pub fn put(&mut self, subject: &str, id: Option<&str>, payload: &[u8]) -> Result<Taken, Trouble> {
        let id = id.map(|id| ("Nats-Msg-Id", id));
        self.put_with(subject, id.as_slice(), payload)
    }

    /// Stores a message with these headers, and waits for the acknowledgement.
    pub fn put_with(&mut self, subject: &str, headers: &[(&str, &str)], payload: &[u8]) -> Result<Taken, Trouble> {
        let reply = self.ask(subject, headers, payload)?;
        self.taken(&reply)
    }

    fn taken(&mut self, reply: &str) -> Result<Taken, Trouble> {
        let said = told(&self.answer(reply)?.payload, "store a message")?;
        Ok(Taken {
            sequence: said["seq"].as_u64().unwrap_or_default(),
            is_repeated: said["duplicate"] == true,
        })
    }

    /// Stores a message behind these bytes in place of headers, whatever they are.
    pub fn put_behind(&mut self, subject: &str, head: &[u8], payload: &[u8]) -> Result<Taken, Trouble> {
        let reply = self.send_behind(subject, head, payload)?;
        self.taken(&reply)
    }

    /// Reads a stream from its first to its last message, as its leader has it. Sequences that it does not hold are left out.
    pub fn read(&mut self, name: &str, mut take: impl FnMut(Stored)) -> Result<(), Trouble> {
        let info = self.api(&format!("STREAM.INFO.{name}"), &Value::Null)?;
        let end = |key: &str| info["state"][key].as_u64().unwrap_or_default();
        let (mut next, last) = (end("first_seq").max(1), end("last_seq"));
        let subject = format!("$JS.API.STREAM.MSG.GET.{name}");
        while next <= last {
            let run: Vec<u64> = (next..=last).take(WINDOW as usize).collect();
            next += run.len() as u64;
            let mut replies = HashMap::new();
            for sequence in &run {
                let request = json!({"seq": sequence}).to_string();
                replies.insert(self.ask(&subject, &[], request.as_bytes())?, *sequence);
            }
            let mut found = Vec::with_capacity(run.len());
            while !replies.is_empty() {
                let message = self.message()?;
                let Some(sequence) = replies.remove(&message.subject) else {
                    continue;
                };
                match told(&message.payload, "read a stream") {
                    Ok(said) => found.push(stored(sequence, &said["message"])?),
                    Err(Trouble::Refused { said, .. }) if said.contains("10037") => {}
                    Err(trouble) => return Err(trouble),
                }
            }
            found.sort_by_key(|message| message.sequence);
            found.into_iter().for_each(&mut take);
        }
        Ok(())
    }

    /// Asks the API of JetStream.
    pub fn api(&mut self, subject: &str, request: &Value) -> Result<Value, Trouble> {
        let body = if request.is_null() {
            String::new()
        } else {
            request.to_string()
        };
        let reply = self.ask(&format!("$JS.API.{subject}"), &[], body.as_bytes())?;
        told(&self.answer(&reply)?.payload, subject)
    }

    fn ask(&mut self, subject: &str, headers: &[(&str, &str)], payload: &[u8]) -> Result<String, Trouble> {
        let lines: String = headers
            .iter()
            .map(|(name, value)| format!("{name}: {value}\r\n"))
            .collect();
        let head = match lines.as_str() {
            "" => String::new(),
            lines => format!("NATS/1.0\r\n{lines}\r\n"),
        };
        self.send_behind(subject, head.as_bytes(), payload)
    }

    fn send_behind(&mut self, subject: &str, head: &[u8], payload: &[u8]) -> Result<String, Trouble> {
        self.asked += 1;
        let reply = format!("{}.{}", self.inbox, self.asked);
        let mut bytes = if head.is_empty() {
            format!("PUB {subject} {reply} {}\r\n", payload.len()).into_bytes()
        } else {
            let whole = head.len() + payload.len();
            format!("HPUB {subject} {reply} {} {whole}\r\n", head.len()).into_bytes()
        };
        bytes.extend_from_slice(head);
        bytes.extend_from_slice(payload);
        bytes.extend_from_slice(b"\r\n");
        self.send(&bytes)?;
        Ok(reply)
    }

    /// The answer to one request; late ones to others are thrown away.
    fn answer(&mut self, reply: &str) -> Result<Message, Trouble> {
        loop {
            let message = self.message()?;
            if message.subject == reply {
                return Ok(message);
            }
        }
    }

    fn message(&mut self) -> Result<Message, Trouble> {
        loop {
            let line = self.line()?;
            let words: Vec<&str> = line.split(' ').collect();
            match words.as_slice() {
                ["PING"] => self.send(b"PONG\r\n")?,
                ["-ERR", ..] => return Err(refused("go on", &line)),
                ["MSG", subject, .., length] => {
                    let (subject, payload) = ((*subject).to_owned(), self.body(length)?);
                    return Ok(Message { subject, payload });
                }
                ["HMSG", subject, .., head, length] => {
                    let (subject, whole) = ((*subject).to_owned(), self.body(length)?);
                    let head = head.parse().unwrap_or(0).min(whole.len());
                    if whole.starts_with(b"NATS/1.0 503") {
                        return Err(refused("answer", "nobody is there who would (503)"));
                    }
                    let payload = whole[head..].to_vec();
                    return Ok(Message { subject, payload });
                }
                _ => {}
            }
        }
    }

    fn body(&mut self, length: &str) -> Result<Vec<u8>, Trouble> {
        let length: usize = length.parse().unwrap_or(usize::MAX);
        if length > MESSAGE_BYTES_MAX {
            return Err(refused("send a message", "it is larger than 64 MiB"));
        }
        let mut payload = vec![0; length + 2];
        self.socket
            .read_exact(&mut payload)
            .map_err(Trouble::socket("read from NATS"))?;
        payload.truncate(length);
        Ok(payload)
    }

    fn line(&mut self) -> Result<String, Trouble> {
        let mut line = String::new();
        match self.socket.read_line(&mut line) {
            Ok(0) => Err(Trouble::Socket {
                what: "read from NATS",
                error: std::io::ErrorKind::UnexpectedEof.into(),
            }),
            Ok(_) => Ok(line.trim_end().to_owned()),
            Err(error) => Err(Trouble::socket("read from NATS")(error)),
        }
    }

    fn send(&mut self, bytes: &[u8]) -> Result<(), Trouble> {
        self.socket
            .get_mut()
            .write_all(bytes)
            .map_err(Trouble::socket("write to NATS"))
    }
}

fn refused(what: &str, said: &str) -> Trouble {
    Trouble::Refused {
        what: what.to_owned(),
        said: said.to_owned(),
    }
}

/// An answer of the API, unless it is an error.
fn told(payload: &[u8], what: &str) -> Result<Value, Trouble> {
    let said: Value = serde_json::from_slice(payload).map_err(|error| refused(what, &error.to_string()))?;
    match said.get("error") {
        Some(error) => Err(refused(what, &error.to_string())),
        None => Ok(said),
    }
}

fn stored(sequence: u64, message: &Value) -> Result<Stored, Trouble> {
    let bytes = |key: &str| {
        let text = message[key].as_str().unwrap_or_default();
        STANDARD
            .decode(text)
            .map_err(|error| refused("read a stream", &error.to_string()))
    };
    Ok(Stored {
        sequence,
        subject: message["subject"].as_str().unwrap_or_default().to_owned(),
        time: message["time"].as_str().unwrap_or_default().to_owned(),
        headers: String::from_utf8_lossy(&bytes("hdrs")?).into_owned(),
        payload: bytes("data")?,
    })
}
