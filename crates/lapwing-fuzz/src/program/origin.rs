//! `Host`, `Origin` and `Sec-Fetch-Site` of a request.

use std::net::IpAddr;

use lapwing::server::origin::{Origins, Reach};

use crate::Entry;
use crate::input::{assert_harmless, text};

/// Lines: host, origin, fetch site, an origin that is allowed, and the name in the certificate, if there is one.
pub const ENTRY: Entry = Entry {
    name: "origin",
    take,
    seeds: || {
        [
            (
                "own",
                "localhost:8765\nhttp://localhost:8765\nsame-origin\nhttps://app.example.org",
            ),
            (
                "allowed",
                "app.example.org\nhttps://app.example.org\ncross-site\nhttps://app.example.org",
            ),
            (
                "foreign",
                "127.0.0.1:8765\nhttps://evil.example\ncross-site\nhttps://app.example.org",
            ),
            ("bent", "evil.example\nhttp://evil.example\n\nhttps://app.example.org"),
            (
                "brackets",
                "[::1]:8765\nhttp://[::1]:8765\n\nhttps://app.example.org:444/",
            ),
            ("hidden", "[::1]\nnull\n\nx"),
            (
                "certified",
                "feed.example.org:443\nhttps://feed.example.org:443\n\n\nfeed.example.org",
            ),
            (
                "downgraded",
                "feed.example.org\nhttp://feed.example.org\n\n\nfeed.example.org",
            ),
        ]
        .map(|(name, text)| (name, text.as_bytes().to_vec()))
        .into()
    },
};

fn take(data: &[u8]) {
    let Some(text) = text(data) else { return };
    let lines: Vec<&str> = text.split('\n').collect();
    let line = |at: usize| lines.get(at).copied().filter(|line| !line.is_empty());
    let allowed: Vec<String> = line(3).map(str::to_owned).into_iter().collect();
    let origins = Origins::parse(&allowed).unwrap_or_else(|error| {
        assert_harmless(error);
        Origins::default()
    });
    let certified = line(4);
    let is_certified = |name: &str| certified.is_some_and(|certified| certified.eq_ignore_ascii_case(name));
    let reach = match certified {
        None => Reach::Clear,
        Some(_) => Reach::Encrypted(&is_certified),
    };
    let checked = origins.check(reach, line(0), line(1), line(2));
    if let Err(error) = checked {
        assert!([403, 421].contains(&error.status()));
        return;
    }
    let host = line(0).unwrap_or("").to_ascii_lowercase();
    let name = host.rsplit_once(':').map_or(&*host, |(name, _)| name);
    let own = [&*host, name].iter().any(|name| {
        let address = name.trim_start_matches('[').trim_end_matches(']');
        address.parse::<IpAddr>().is_ok() || *name == "localhost" || name.ends_with(".localhost")
    });
    let is_allowed = |text: &str| allowed.iter().any(|origin| origin.to_ascii_lowercase().contains(text));
    let own = own || is_certified(&host) || is_certified(name);
    assert!(own || is_allowed(name), "a host of somebody else");
    match line(1) {
        None => assert_ne!(line(2), Some("cross-site")),
        Some(origin) => {
            let origin = origin.to_ascii_lowercase();
            let schemes = match certified {
                None => &["http://", "https://"][..],
                Some(_) => &["https://"],
            };
            let of_host = schemes.iter().any(|scheme| origin == format!("{scheme}{host}"));
            assert!(of_host || is_allowed(&origin), "a page of somebody else");
            let named = origins.cors(line(1)).map(str::to_ascii_lowercase);
            assert!(named.is_none_or(|named| is_allowed(&named)));
        }
    }
}
