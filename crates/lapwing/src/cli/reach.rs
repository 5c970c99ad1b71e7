//! Where a server is reached that listens on every address: what its banner shows can be opened and pasted.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

/// Host and port for a URL. `name` is one by which the server is known, `own` an address of this machine.
#[must_use]
pub fn authority(listen: SocketAddr, name: Option<&str>, own: Option<IpAddr>) -> String {
    let port = listen.port();
    if !listen.ip().is_unspecified() {
        return listen.to_string();
    }
    match (name, own) {
        (Some(name), _) => format!("{name}:{port}"),
        (None, Some(own)) => SocketAddr::new(own, port).to_string(),
        (None, None) if listen.is_ipv4() => SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port).to_string(),
        (None, None) => SocketAddr::new(Ipv6Addr::LOCALHOST.into(), port).to_string(),
    }
}

/// The address by which this machine would reach others of the kind of `listen`, if it could. Nothing is sent to find out.
#[must_use]
pub fn own_address(listen: SocketAddr) -> Option<IpAddr> {
    // Addresses for documentation (RFC 5737, RFC 3849), which are nobody's: only the route to them is looked up.
    let nobody: IpAddr = match listen.is_ipv4() {
        true => Ipv4Addr::new(192, 0, 2, 1).into(),
        false => Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1).into(),
    };
    let socket = UdpSocket::bind(SocketAddr::new(listen.ip(), 0)).ok()?;
    socket.connect(SocketAddr::new(nobody, 9)).ok()?;
    let own = socket.local_addr().ok()?.ip();
    (!own.is_unspecified()).then_some(own)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(listen: &str, name: Option<&str>, own: Option<&str>, expect: &str) {
        let own = own.map(|own| own.parse().expect("an address"));
        let listen = listen.parse().expect("an address");
        assert_eq!(authority(listen, name, own), expect);
    }

    #[test]
    fn item_7_a_server_on_every_address_is_shown_where_it_can_be_reached() {
        check("127.0.0.1:8765", None, Some("10.0.0.5"), "127.0.0.1:8765");
        check(
            "10.0.0.7:8765",
            Some("feed.example.org"),
            Some("10.0.0.5"),
            "10.0.0.7:8765",
        );
        check("0.0.0.0:8765", None, Some("10.0.0.5"), "10.0.0.5:8765");
        check("0.0.0.0:8765", None, None, "127.0.0.1:8765");
        check(
            "0.0.0.0:8765",
            Some("feed.example.org"),
            Some("10.0.0.5"),
            "feed.example.org:8765",
        );
        check("[::]:8765", None, Some("2001:db8::5"), "[2001:db8::5]:8765");
        check("[::]:8765", None, None, "[::1]:8765");
    }
}
