//! The addresses of this machine from which a load test connects: one has only so many ports.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// Addresses to connect from, used up one after the other.
#[derive(Clone, Debug)]
pub struct Sources {
    given: Vec<IpAddr>,
    /// Towards a loopback address every other one of its net will do.
    loopback: bool,
    at: usize,
}

impl Sources {
    /// The addresses that were given; without any the system chooses, and towards `target` on this machine further ones follow.
    #[must_use]
    pub fn new(given: &[IpAddr], target: SocketAddr) -> Self {
        Self {
            given: given.to_vec(),
            loopback: matches!(target.ip(), IpAddr::V4(address) if address.is_loopback()),
            at: 0,
        }
    }

    /// Where to connect from now; none leaves it to the system.
    #[must_use]
    pub fn current(&self) -> Option<IpAddr> {
        match (self.given.get(self.at), self.at) {
            (Some(address), _) => Some(*address),
            (None, 0) => None,
            (None, at) => u8::try_from(at + 1)
                .ok()
                .map(|last| Ipv4Addr::new(127, 0, 0, last).into()),
        }
    }

    /// The ports of the current address are used up: goes on to the next, and says whether there is one.
    pub fn advance(&mut self) -> bool {
        let many = match self.given.len() {
            0 if self.loopback => LOOPBACK_MAX,
            0 => 1,
            given => given,
        };
        let more = self.at + 1 < many;
        self.at += usize::from(more);
        more
    }
}

/// From 127.0.0.1 to 127.0.0.254.
const LOOPBACK_MAX: usize = 254;

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(given: &[&str], target: &str, expect: &[Option<&str>]) {
        let given: Vec<IpAddr> = given.iter().map(|text| text.parse().expect("an address")).collect();
        let mut sources = Sources::new(&given, target.parse().expect("an address"));
        let mut used = vec![sources.current()];
        while sources.advance() && used.len() < 4 {
            used.push(sources.current());
        }
        let expect: Vec<Option<IpAddr>> = expect
            .iter()
            .map(|text| text.map(|text| text.parse().expect("valid")))
            .collect();
        assert_eq!(used, expect);
    }

    #[test]
    fn given_addresses_are_used_in_their_order() {
        check(
            &["10.0.0.1", "10.0.0.2"],
            "10.0.0.9:1",
            &[Some("10.0.0.1"), Some("10.0.0.2")],
        );
        check(&["127.0.0.9"], "127.0.0.1:1", &[Some("127.0.0.9")]);
    }

    #[test]
    fn without_any_the_system_chooses_and_loopback_has_more() {
        check(&[], "10.0.0.9:1", &[None]);
        check(&[], "[::1]:1", &[None]);
        let loopback = [None, Some("127.0.0.2"), Some("127.0.0.3"), Some("127.0.0.4")];
        check(&[], "127.0.0.1:1", &loopback);
    }
}
