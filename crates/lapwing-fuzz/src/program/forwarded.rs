//! `X-Forwarded-For` and `Forwarded` (RFC 7239) of a request, and the proxies that are believed.

use std::net::SocketAddr;

use http::HeaderMap;
use http::header::{FORWARDED, HeaderName, HeaderValue};
use lapwing::server::proxy::Proxies;

use crate::Entry;
use crate::input::{assert_harmless, text};

/// Lines: proxies, then headers; one that begins with `for=` or has `;` in it is `Forwarded`, others are the older one.
pub const ENTRY: Entry = Entry {
    name: "forwarded",
    take,
    seeds: || {
        [
            ("older", "10.0.0.0/8\n192.0.2.7, 10.0.0.9"),
            (
                "newer",
                "10.0.0.0/8,::1\nfor=\"[2001:db8::7]:4711\";proto=https, for=10.0.0.9",
            ),
            ("both", "10.0.0.1\n192.0.2.7\nfor=192.0.2.7"),
            ("hidden", "10.0.0.1\nfor=_hidden, for=unknown"),
            ("quotes", "10.0.0.1\nfor=\"192.0.2.7\\\", 198.51.100.1\""),
        ]
        .map(|(name, text)| (name, text.as_bytes().to_vec()))
        .into()
    },
};

fn take(data: &[u8]) {
    let Some(text) = text(data) else { return };
    let mut lines = text.split('\n');
    let proxies = match Proxies::parse(&[lines.next().unwrap_or("").to_owned()]) {
        Ok(proxies) => proxies,
        Err(error) => return assert_harmless(error),
    };
    let mut headers = HeaderMap::new();
    for line in lines {
        let Ok(value) = HeaderValue::from_str(line) else { return };
        let name = match line.starts_with("for=") || line.contains(';') {
            true => FORWARDED,
            false => HeaderName::from_static("x-forwarded-for"),
        };
        headers.append(name, value);
    }
    let stranger = SocketAddr::from(([203, 0, 113, 5], 4711));
    let proxy = SocketAddr::from(([10, 0, 0, 1], 4711));
    for peer in [stranger, proxy] {
        match proxies.client(peer, &headers) {
            // Who is not believed is who asks, whatever it writes.
            Ok(client) if !proxies.trusts(peer.ip()) => assert_eq!(client, peer),
            // And behind a proxy somebody is found who was named, in the form in which addresses are written.
            Ok(client) if client != peer && client.is_ipv4() && !text.contains(':') => {
                assert!(text.contains(&client.ip().to_string()), "{client}");
            }
            Ok(_) => {}
            Err(error) => {
                assert!(proxies.trusts(peer.ip()), "a header of a stranger is not looked at");
                assert_harmless(error);
            }
        }
    }
}
