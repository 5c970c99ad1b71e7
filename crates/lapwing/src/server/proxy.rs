//! Which proxies are believed when they say for whom they ask (`X-Forwarded-For`, and `Forwarded` of RFC 7239).

use std::net::{IpAddr, SocketAddr};

use http::HeaderMap;
use thiserror::Error;

use super::network::{Network, NoNetwork};

/// The proxies that are believed; nobody else is.
#[derive(Clone, Debug, Default)]
pub struct Proxies(Vec<Network>);

impl Proxies {
    /// Takes addresses and ranges as in `--trust-proxy`, several separated by commas.
    pub fn parse(texts: &[String]) -> Result<Self, NoNetwork> {
        let parts = texts.iter().flat_map(|text| text.split(','));
        parts
            .map(|part| part.trim().parse())
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// Whether this address is one of them.
    #[must_use]
    pub fn trusts(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.holds(address))
    }

    /// Who asks: the peer, unless that is a proxy of ours. Then it is the last one named who is none: what stands before it was
    /// written by whoever it names, and may be made up.
    ///
    /// A port is known only where the proxy told it; otherwise it is 0.
    pub fn client(&self, peer: SocketAddr, headers: &HeaderMap) -> Result<SocketAddr, Contradiction> {
        if !self.trusts(peer.ip()) {
            return Ok(peer);
        }
        let x_forwarded_for = headers.contains_key("x-forwarded-for").then(|| {
            let hops = values(headers, "x-forwarded-for").flat_map(|value| value.split(','));
            self.last_stranger(peer, hops.map(hop))
        });
        let forwarded = headers.contains_key("forwarded").then(|| {
            let hops = values(headers, "forwarded").flat_map(|value| split_outside_quotes(value, ','));
            self.last_stranger(peer, hops.map(|element| for_of(element).and_then(hop)))
        });
        match (x_forwarded_for, forwarded) {
            // A proxy writes one of them, and hands on the other as it came.
            (Some(one), Some(other)) if one.ip() != other.ip() => Err(Contradiction { one, other }),
            (Some(client), _) | (None, Some(client)) => Ok(client),
            (None, None) => Ok(peer),
        }
    }

    fn last_stranger(&self, peer: SocketAddr, hops: impl Iterator<Item = Option<SocketAddr>>) -> SocketAddr {
        let hops: Vec<_> = hops.collect();
        let mut client = peer;
        for hop in hops.into_iter().rev() {
            // A name that hides who it is (RFC 7239 section 6.3), or nonsense: whoever wrote it stands for it.
            let Some(hop) = hop else { break };
            client = hop;
            if !self.trusts(hop.ip()) {
                break;
            }
        }
        client
    }
}

/// Two headers that name two clients.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("X-Forwarded-For says that {} asks, and Forwarded says {}: the proxy should write one and drop the other", one.ip(), other.ip())]
pub struct Contradiction {
    /// As of `X-Forwarded-For`.
    one: SocketAddr,
    /// As of `Forwarded`.
    other: SocketAddr,
}

/// The values of a header, in their order; what is no text is nonsense, and is kept as such.
fn values<'a>(headers: &'a HeaderMap, name: &str) -> impl Iterator<Item = &'a str> {
    headers.get_all(name).iter().map(|value| value.to_str().unwrap_or("?"))
}

/// `192.0.2.7`, `192.0.2.7:4711`, `2001:db8::1`, `[2001:db8::1]`, `[2001:db8::1]:4711`.
fn hop(text: &str) -> Option<SocketAddr> {
    let text = text.trim();
    let bare = text
        .strip_prefix('[')
        .and_then(|text| text.strip_suffix(']'))
        .unwrap_or(text);
    let address = match bare.parse::<IpAddr>() {
        Ok(address) => SocketAddr::new(address, 0),
        Err(_) => text.parse().ok()?,
    };
    Some(SocketAddr::new(address.ip().to_canonical(), address.port()))
}

/// The value of `for=` in an element such as `for="[2001:db8::1]:4711";proto=https`.
fn for_of(element: &str) -> Option<&str> {
    let mut pairs = split_outside_quotes(element, ';').filter_map(|pair| pair.split_once('='));
    let (_, value) = pairs.find(|(name, _)| name.trim().eq_ignore_ascii_case("for"))?;
    let value = value.trim();
    Some(
        value
            .strip_prefix('"')
            .and_then(|value| value.strip_suffix('"'))
            .unwrap_or(value),
    )
}

/// Cuts at a character where it does not stand within quotes; no address needs an escape in them.
fn split_outside_quotes(text: &str, at: char) -> impl Iterator<Item = &str> {
    let mut quoted = false;
    text.split(move |c| {
        quoted ^= c == '"';
        c == at && !quoted
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Behind 10.0.0.0/8 and ::1: who asks, when a peer sends these headers.
    #[track_caller]
    fn check(peer: &str, headers: &[(&'static str, &str)], expected: &str) {
        let proxies = Proxies::parse(&["10.0.0.0/8, ::1".to_owned()]).expect("valid");
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, value.parse().expect("a value"));
        }
        let client = proxies.client(peer.parse().expect("an address"), &map);
        let told = client.map_or_else(|error| error.to_string(), |client| client.to_string());
        assert_eq!(told, expected, "{headers:?}");
    }

    const FOR: &str = "x-forwarded-for";
    const STANDARD: &str = "forwarded";

    #[test]
    fn d11_only_a_trusted_proxy_is_believed() {
        check("192.0.2.1:5", &[(FOR, "198.51.100.7")], "192.0.2.1:5");
        check("192.0.2.1:5", &[(STANDARD, "for=198.51.100.7")], "192.0.2.1:5");
        check("127.0.0.1:5", &[(FOR, "198.51.100.7")], "127.0.0.1:5");
        check("10.1.1.1:5", &[(FOR, "198.51.100.7")], "198.51.100.7:0");
        check("[::1]:5", &[(FOR, "198.51.100.7:4711")], "198.51.100.7:4711");
        check("10.1.1.1:5", &[], "10.1.1.1:5");
    }

    #[test]
    fn d11_what_the_client_wrote_itself_is_passed_over() {
        check("10.1.1.1:5", &[(FOR, "1.1.1.1, 198.51.100.7")], "198.51.100.7:0");
        check(
            "10.1.1.1:5",
            &[(FOR, "1.1.1.1, 198.51.100.7, 10.2.2.2")],
            "198.51.100.7:0",
        );
        check(
            "10.1.1.1:5",
            &[(FOR, "1.1.1.1"), (FOR, "198.51.100.7")],
            "198.51.100.7:0",
        );
        check(
            "10.1.1.1:5",
            &[(STANDARD, "for=1.1.1.1, for=198.51.100.7;by=10.1.1.1")],
            "198.51.100.7:0",
        );
        // All of them ours: the first one asked itself.
        check("10.1.1.1:5", &[(FOR, "10.3.3.3, 10.2.2.2")], "10.3.3.3:0");
    }

    #[test]
    fn d11_what_is_no_address_stands_for_whoever_wrote_it() {
        for hidden in [
            "unknown",
            "_secret",
            "",
            "198.51.100.7.8",
            "evil.example",
            "198.51.100.7 x",
        ] {
            check("10.1.1.1:5", &[(FOR, hidden)], "10.1.1.1:5");
        }
        check("10.1.1.1:5", &[(FOR, "198.51.100.7, unknown, 10.2.2.2")], "10.2.2.2:0");
        check("10.1.1.1:5", &[(STANDARD, "proto=https;by=10.1.1.1")], "10.1.1.1:5");
        check("10.1.1.1:5", &[(STANDARD, "for=_hidden")], "10.1.1.1:5");
    }

    #[test]
    fn every_form_of_an_address_is_read() {
        let v6 = "[2001:db8::1]:0";
        check("10.1.1.1:5", &[(FOR, "2001:db8::1")], v6);
        check("10.1.1.1:5", &[(FOR, "[2001:db8::1]")], v6);
        check("10.1.1.1:5", &[(STANDARD, "For=\"[2001:db8::1]\" ; proto=http")], v6);
        check(
            "10.1.1.1:5",
            &[(STANDARD, "proto=http;for=\"[2001:db8::1]:4711\"")],
            "[2001:db8::1]:4711",
        );
        check(
            "10.1.1.1:5",
            &[(STANDARD, "for=198.51.100.7;host=\"a,b;for=9.9.9.9\"")],
            "198.51.100.7:0",
        );
        check("10.1.1.1:5", &[(FOR, "::ffff:198.51.100.7")], "198.51.100.7:0");
    }

    #[test]
    fn d11_two_headers_must_name_the_same_client() {
        check(
            "10.1.1.1:5",
            &[(FOR, "198.51.100.7"), (STANDARD, "for=\"198.51.100.7:80\"")],
            "198.51.100.7:0",
        );
        check(
            "10.1.1.1:5",
            &[(FOR, "198.51.100.7"), (STANDARD, "for=1.1.1.1")],
            "X-Forwarded-For says that 198.51.100.7 asks, and Forwarded says 1.1.1.1: the proxy should write one and drop the other",
        );
    }

    proptest::proptest! {
        #[test]
        fn d11_no_header_panics_and_the_client_is_the_peer_or_stands_there(
            x in "[ -~]{0,60}", forwarded in "(for=|[ -~]){0,20}", address in "[0-9a-f.:\\[\\]\", =fory;]{0,40}",
        ) {
            let proxies = Proxies::parse(&["10.0.0.0/8".to_owned()]).expect("valid");
            let peer: SocketAddr = "10.0.0.1:1".parse().expect("an address");
            for (name, value) in [(FOR, &x), (STANDARD, &forwarded), (FOR, &address), (STANDARD, &address)] {
                let mut headers = HeaderMap::new();
                headers.insert(name, value.parse().expect("visible ASCII"));
                let client = proxies.client(peer, &headers).expect("one header contradicts nothing");
                // Any address has a colon or a dot, and none comes from nowhere.
                proptest::prop_assert!(client == peer || value.contains(['.', ':']));
            }
        }
    }
}
