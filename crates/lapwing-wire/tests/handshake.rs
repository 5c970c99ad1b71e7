//! The handshake against an independent peer, and against answers that nobody meant well.

use std::io::{self, Cursor, Read, Write};

use lapwing_wire::handshake::{self, Accepted, BODY_BYTES_MAX, Response};
use proptest::collection::vec;
use proptest::prelude::*;

const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

/// A stream that reads what we wrote and keeps what the peer writes.
struct Pipe {
    incoming: Cursor<Vec<u8>>,
    outgoing: Vec<u8>,
}

impl Read for Pipe {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.incoming.read(buffer)? {
            0 => Err(io::ErrorKind::WouldBlock.into()),
            bytes => Ok(bytes),
        }
    }
}

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.outgoing.write(bytes)
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn another_implementation_accepts_our_request_and_we_its_answer() {
    let request = handshake::request("localhost:8765", "/ws?topics=users", KEY, &[], &[("X-Extra", "ü")]);
    let pipe = Pipe {
        incoming: Cursor::new(request.expect("the request is well formed")),
        outgoing: Vec::new(),
    };
    let peer = tungstenite::accept(pipe).unwrap_or_else(|error| panic!("refused: {error}"));
    let answer = &peer.get_ref().outgoing;
    let (response, consumed) = Response::parse(answer).expect("it is HTTP").expect("its head is whole");
    assert_eq!(consumed, answer.len());
    assert_eq!(
        response.check(KEY, &["lapwing.v1"]),
        Ok(Accepted {
            protocol: None,
            deflation: None
        })
    );
}

proptest! {
    #[test]
    fn the_accept_key_is_that_of_another_implementation(bits in any::<[u8; 16]>()) {
        let key = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, bits);
        prop_assert!(handshake::is_valid_key(&key));
        let theirs = tungstenite::handshake::derive_accept_key(key.as_bytes());
        prop_assert_eq!(handshake::accept_key(&key), theirs);
    }

    #[test]
    fn c15_any_answer_is_an_answer_or_an_error(
        status in prop_oneof![Just(101), Just(103), 100..600_u16],
        name in prop_oneof![Just("Location"), Just("Content-Length"), Just("Upgrade"), Just("Sec-WebSocket-Protocol")],
        value in vec(any::<u8>(), 0..40),
        body in vec(any::<u8>(), 0..2000),
        start in 0..80_usize,
    ) {
        let head = format!("HTTP/1.1 {status} What\r\n{name}: ");
        let bytes = [head.as_bytes(), &value, b"\r\n\r\n", &body].concat();
        for bytes in [&bytes[..], &bytes[start.min(bytes.len())..]] {
            if let Ok(Some((response, consumed))) = Response::parse(bytes) {
                prop_assert!(consumed <= bytes.len());
                prop_assert!(response.body.len() <= BODY_BYTES_MAX);
                let error = response.check(KEY, &["lapwing.v1"]).expect_err("it does not answer our key");
                let line = error.to_string();
                prop_assert!(!line.chars().any(char::is_control), "{line:?}");
                prop_assert!(line.len() < 4000, "{} bytes", line.len());
            }
        }
    }

    #[test]
    fn a_header_from_outside_never_panics(text in ".{0,300}") {
        prop_assert!(!handshake::is_valid_key(&text) || text.len() == 24);
        prop_assert_eq!(handshake::accept_key(&text).len(), 28);
        prop_assert_eq!(handshake::choose_protocol(&text, &["lapwing.v1"]), None);
        if let Ok(request) = handshake::request(&text, "/", KEY, &[&text], &[("A", &text)]) {
            let lines = request.iter().filter(|&&byte| byte == b'\n').count();
            prop_assert!(lines <= 9, "{lines} lines");
        }
    }
}
