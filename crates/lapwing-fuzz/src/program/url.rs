//! The URL that is typed for a stream, and that of a server.

use lapwing::client::target::Target;
use lapwing_wire::handshake::{RequestError, request};

use crate::Entry;
use crate::input::{assert_harmless, text};

/// A URL.
pub const ENTRY: Entry = Entry {
    name: "url",
    take,
    seeds: || {
        [
            ("plain", "ws://127.0.0.1:8765"),
            ("query", "wss://feed.example.org/a/b?token=abc&topics=users#x"),
            ("six", "ws://[::1]:80/?x=%20\u{e9}"),
            ("post", "http://localhost:8765/topics/orders/messages"),
            ("user", "wss://me:secret@example.org/"),
            ("none", "localhost"),
        ]
        .map(|(name, text)| (name, text.as_bytes().to_vec()))
        .into()
    },
};

fn take(data: &[u8]) {
    let Some(text) = text(data) else { return };
    for parsed in [Target::parse(text), Target::parse_server(text)] {
        let target = match parsed {
            Ok(target) => target,
            Err(error) => {
                assert_harmless(error);
                continue;
            }
        };
        assert_harmless(&target);
        assert_harmless(target.other_security());
        let path = target.path_and_query(None);
        let written = request(&target.host_header(), &path, "dGhlIHNhbXBsZSBub25jZQ==", &[], &[]);
        assert!(
            !matches!(written, Err(RequestError::Target { .. })),
            "{path:?} is fit for a request"
        );
        let _ = (target.own_wish(), target.split_topic(), target.address_text());
    }
}
