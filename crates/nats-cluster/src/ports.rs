//! Ports of this machine that nobody has, and that nobody gets by chance while a server is down.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher as _, Hasher as _};
use std::io;
use std::net::{Ipv4Addr, TcpListener};

/// Below those that the kernel gives to connections: a server that comes back must find its port free.
const LOWEST: u16 = 11_000;

/// One above the highest.
const HIGHEST: u16 = 32_000;

/// So many are tried for one.
const TRIES: u32 = 1_000;

/// So many different ports, all of them free now.
pub fn free(count: usize) -> io::Result<Vec<u16>> {
    // Held until all are found, so that none is found twice.
    let mut held: Vec<TcpListener> = Vec::with_capacity(count);
    let chance = RandomState::new();
    for throw in 0..TRIES * count as u32 {
        if held.len() == count {
            break;
        }
        let mut hasher = chance.build_hasher();
        hasher.write_u32(throw);
        let port = LOWEST + (hasher.finish() % u64::from(HIGHEST - LOWEST)) as u16;
        held.extend(TcpListener::bind((Ipv4Addr::LOCALHOST, port)));
    }
    if held.len() < count {
        return Err(io::ErrorKind::AddrInUse.into());
    }
    held.iter().map(|listener| Ok(listener.local_addr()?.port())).collect()
}

#[cfg(test)]
mod tests {
    use super::{HIGHEST, LOWEST, free};

    #[test]
    fn ports_are_different_and_below_those_of_connections() {
        let mut ports = free(9).expect("nine are free");
        assert!(ports.iter().all(|port| (LOWEST..HIGHEST).contains(port)), "{ports:?}");
        ports.sort_unstable();
        ports.dedup();
        assert_eq!(ports.len(), 9);
    }
}
