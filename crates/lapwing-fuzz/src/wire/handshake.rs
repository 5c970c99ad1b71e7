//! The opening handshake: a server's answer as it comes, a client's request as it is written and checked.

use lapwing_wire::handshake::{self, HandshakeError, Response, UpgradeRequest};

use crate::Entry;
use crate::input::{Input, assert_harmless, pieces, text};

/// What a server answers to our request.
pub const ANSWER: Entry = Entry {
    name: "handshake_answer",
    take: answer,
    seeds: || {
        let accepted = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                        Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n";
        vec![
            ("accepted", format!("\x05{accepted}\r\n\u{1}frame").into_bytes()),
            (
                "protocol",
                format!("\x05{accepted}Sec-WebSocket-Protocol: lapwing.v1\r\n\r\n").into_bytes(),
            ),
            (
                "extension",
                format!("\x05{accepted}Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n").into_bytes(),
            ),
            (
                "hint-before",
                format!("\x05HTTP/1.1 100 Continue\r\n\r\n{accepted}\r\n").into_bytes(),
            ),
            (
                "refused",
                b"\x05HTTP/1.1 503 Busy\r\nRetry-After: 5\r\nContent-Length: 12\r\n\r\ntoo many now".to_vec(),
            ),
            (
                "moved",
                b"\x05HTTP/1.1 302 Found\r\nLocation: wss://elsewhere.example/\r\n\r\n".to_vec(),
            ),
            ("old", b"\x05HTTP/1.0 101 Yes\r\n\r\n".to_vec()),
            (
                "direction-mark",
                "\x05HTTP/1.1 403 No\r\n\r\nnot \u{202e}you".as_bytes().to_vec(),
            ),
            ("foreign", b"\x05SSH-2.0-OpenSSH_9.7\r\n".to_vec()),
        ]
    },
};

/// What a client asks for, and what we ask for.
pub const REQUEST: Entry = Entry {
    name: "handshake_request",
    take: request,
    seeds: || {
        vec![
            (
                "upgrade",
                b"GET\n\x01\nUpgrade\nwebsocket\n13\ndGhlIHNhbXBsZSBub25jZQ==".to_vec(),
            ),
            (
                "list",
                b"GET\n\x01\nkeep-alive, upgrade\nh2c, WebSocket\n13\nAAAAAAAAAAAAAAAAAAAAAB==".to_vec(),
            ),
            ("old-version", b"GET\n\x01\nUpgrade\nwebsocket\n8\nabc".to_vec()),
            (
                "ours",
                b"localhost:8765\n/?name=a\nlapwing.v1\nUser-Agent\nlapwing/0.1.0".to_vec(),
            ),
            ("injected", b"localhost\r\nX: y\n/\na\nb\nc".to_vec()),
        ]
    },
};

/// The key of RFC 6455 section 1.3.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

fn answer(data: &[u8]) {
    let mut input = Input::new(data);
    let cut = input.byte();
    let bytes = input.rest();
    let whole = Response::parse(bytes);
    let mut came = 0;
    for piece in pieces(bytes, cut) {
        came += piece.len();
        match (Response::parse(&bytes[..came]), &whole) {
            (Ok(None), _) => {}
            (Ok(Some((early, used))), Ok(Some((whole, whole_used)))) => {
                assert_eq!((early.status, &early.headers), (whole.status, &whole.headers));
                assert!(whole.body.starts_with(&early.body));
                if early.status == 101 {
                    assert_eq!(
                        (used, &early),
                        (*whole_used, whole),
                        "what follows is none of the answer"
                    );
                }
            }
            (Err(_), Err(_)) => break,
            (early, whole) => panic!("{early:?} of its beginning, {whole:?} of all"),
        }
    }
    match whole {
        Ok(Some((response, used))) => {
            assert!(used <= bytes.len());
            assert!(response.body.len() <= handshake::BODY_BYTES_MAX);
            let _ = response.is_whole();
            match response.check(KEY, &["lapwing.v1"]) {
                Ok(accepted) => {
                    assert_eq!(response.status, 101);
                    assert!(matches!(accepted.protocol.as_deref(), None | Some("lapwing.v1")));
                }
                Err(error) => assert_harmless(error),
            }
        }
        Ok(None) => {}
        Err(error @ HandshakeError::HeadTooLong) => {
            assert!(bytes.len() >= handshake::HEAD_BYTES_MAX);
            assert_harmless(error);
        }
        Err(error) => assert_harmless(error),
    }
}

fn request(data: &[u8]) {
    let Some(text) = text(data) else { return };
    let parts: Vec<&str> = text.split('\n').collect();
    let part = |at: usize| parts.get(at).copied().unwrap_or("");
    check(&UpgradeRequest {
        method: part(0),
        http_1_1_or_later: part(1).len() == 1,
        host_count: part(1).len(),
        has_body: part(1).len() > 2,
        connection: part(2),
        upgrade: part(3),
        version: part(4),
        key: part(5),
    });
    write(part(0), part(1), part(2), (part(3), part(4)));
}

fn check(request: &UpgradeRequest<'_>) {
    match handshake::check_upgrade(request) {
        Ok(()) => {
            assert_eq!(
                (request.method, request.host_count, request.has_body),
                ("GET", 1, false)
            );
            assert!(handshake::is_valid_key(request.key));
            assert_eq!(handshake::accept_key(request.key).len(), 28);
        }
        Err(error) => {
            assert!((400..=505).contains(&error.status()));
            assert_harmless(error);
        }
    }
}

/// What is written is read by another parser as exactly what was meant, or is not written.
fn write(host: &str, path: &str, protocol: &str, extra: (&str, &str)) {
    let protocols: &[&str] = if protocol.is_empty() { &[] } else { &[protocol] };
    let bytes = match handshake::request(host, path, KEY, protocols, &[extra]) {
        Ok(bytes) => bytes,
        Err(error) => return assert_harmless(error),
    };
    let mut headers = [httparse::EMPTY_HEADER; 8];
    let mut request = httparse::Request::new(&mut headers);
    let parsed = request.parse(&bytes);
    assert_eq!(
        parsed,
        Ok(httparse::Status::Complete(bytes.len())),
        "one request and nothing behind it"
    );
    assert_eq!((request.method, request.path), (Some("GET"), Some(path)));
    let header = |name: &str| {
        let mut named = request
            .headers
            .iter()
            .filter(|header| header.name.eq_ignore_ascii_case(name));
        named.next().map(|header| header.value.to_vec())
    };
    let trimmed = |value: &str| value.trim_matches([' ', '\t']).as_bytes().to_vec();
    assert_eq!(header("Host"), Some(trimmed(host)));
    assert_eq!(header("Sec-WebSocket-Key"), Some(KEY.into()));
    assert_eq!(request.headers.len(), 6 + protocols.len());
}
