//! Where a client is, in little memory.

use std::net::{SocketAddr, SocketAddrV4, SocketAddrV6};

/// A socket address in half the size of [`SocketAddr`], which has room for the longer kind in each.
#[derive(Debug)]
pub struct Address(Kind);

#[derive(Debug)]
enum Kind {
    V4(SocketAddrV4),
    V6(Box<SocketAddrV6>),
}

impl Address {
    /// The address as the rest of the program knows it.
    #[must_use]
    pub fn get(&self) -> SocketAddr {
        match &self.0 {
            Kind::V4(address) => SocketAddr::V4(*address),
            Kind::V6(address) => SocketAddr::V6(**address),
        }
    }
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Self {
        Self(match address {
            SocketAddr::V4(address) => Kind::V4(address),
            SocketAddr::V6(address) => Kind::V6(Box::new(address)),
        })
    }
}
