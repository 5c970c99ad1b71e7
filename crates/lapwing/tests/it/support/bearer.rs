//! Tokens: the file that knows them, and those who show them.

use std::net::TcpStream;
use std::path::PathBuf;

use lapwing::server::access::token::Digest;
use rustix::process::Signal;

use super::client::Client;
use super::http::{Answer, ask};
use super::server::Server;

/// A file of tokens or keys, in a folder of its own.
pub struct Secrets {
    folder: tempfile::TempDir,
}

impl Secrets {
    /// A file with this text.
    pub fn new(text: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = Self { folder };
        file.write(text);
        file
    }

    /// A tokens file with these lines: name, token, and what stands behind its hash.
    pub fn tokens(lines: &[(&str, &str, &str)]) -> Self {
        Self::new(&lines_of(lines))
    }

    /// Its path, for a flag.
    pub fn path(&self) -> String {
        self.folder.path().join("secrets").display().to_string()
    }

    /// Replaces it by another file in one step.
    pub fn write(&self, text: &str) {
        let new: PathBuf = self.folder.path().join("new");
        std::fs::write(&new, text).unwrap();
        std::fs::rename(new, self.path()).unwrap();
    }

    /// Replaces it, has the server read it, and waits until that tells what came of it.
    #[track_caller]
    pub fn change(&self, server: &Server, text: &str, told: &str) {
        self.write(text);
        server.signal(Signal::HUP);
        server.event("access", |event| {
            event["text"].as_str().is_some_and(|text| text.contains(told))
        });
    }
}

/// Lines of a tokens file.
pub fn lines_of(lines: &[(&str, &str, &str)]) -> String {
    let line = |(name, token, rest): &(&str, &str, &str)| format!("{name} {} {rest}\n", Digest::of(token.as_bytes()));
    lines.iter().map(line).collect()
}

/// Asks for a stream with these headers.
#[track_caller]
pub fn ask_stream(server: &Server, target: &str, headers: &[(&str, &str)]) -> Answer {
    let upgrade = [
        ("Upgrade", "websocket"),
        ("Connection", "Upgrade"),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];
    ask(server, "GET", target, &[headers, &upgrade].concat(), b"")
}

/// Asks for a stream and shows a token.
#[track_caller]
pub fn ask_with(server: &Server, target: &str, token: &str) -> Answer {
    ask_stream(server, target, &[("Authorization", &format!("Bearer {token}"))])
}

/// Speaks `lapwing.v1` and shows a token.
#[track_caller]
pub fn speak_with(server: &Server, query: &str, token: &str) -> Client {
    let stream = TcpStream::connect(server.address()).expect("the server listens");
    let bearer = format!("Bearer {token}");
    let headers = [
        ("Authorization", bearer.as_str()),
        ("Sec-WebSocket-Protocol", "lapwing.v1"),
    ];
    Client::with_headers(stream, server, query, &headers)
}

/// Follows as a plain client does and shows a token.
#[track_caller]
pub fn follow_with(server: &Server, query: &str, token: &str) -> Client {
    let stream = TcpStream::connect(server.address()).expect("the server listens");
    Client::with_headers(stream, server, query, &[("Authorization", &format!("Bearer {token}"))])
}
