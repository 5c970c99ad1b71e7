//! A connection's place among those allowed, in all and from its address.

use std::net::IpAddr;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use super::census::Census;
use super::common::Common;
use super::network::Network;
use super::turnstile::Passage;
use crate::clock::Now;

/// Gives out the places of a server.
pub struct Seats {
    rows: Arc<Rows>,
    /// Where those sit who are not counted by address.
    free: Arc<Row>,
}

/// Why there is no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoSeat {
    /// All are taken.
    Full,
    /// All that one address may have are taken.
    Address,
}

impl Seats {
    /// The places that the limits allow, none of them taken.
    #[must_use]
    pub fn new(common: &Arc<Common>) -> Self {
        let limits = &common.limits;
        let rows = Arc::new(Rows {
            common: common.clone(),
            census: Mutex::new(Census::new(limits.address_connections_max, limits.address_accept_rate)),
        });
        Self {
            free: Arc::new(rows.row(None)),
            rows,
        }
    }

    /// Takes a place for a connection from this address; none when it is not to be counted by address.
    pub fn take(&self, address: Option<IpAddr>) -> Result<Seat, NoSeat> {
        let common = &self.rows.common;
        if common.open.fetch_add(1, Ordering::Relaxed) >= common.limits.connections_max {
            common.open.fetch_sub(1, Ordering::Relaxed);
            return Err(NoSeat::Full);
        }
        // From here on the seat gives its place back by itself.
        let mut seat = Seat(Place(self.free.clone()));
        seat.move_to(self, address)?;
        Ok(seat)
    }

    /// One who has a place from this address wants to come in: whether that is within the share of its network.
    pub fn pass(&self, address: IpAddr, now: Duration) -> Passage {
        self.rows.census().pass(Network::of_client(address), now)
    }
}

/// One connection's place; given back when it is dropped. It is one pointer, as there is one for each connection.
pub struct Seat(Place);

impl Seat {
    /// From now on it counts for this address, or for none.
    pub fn move_to(&mut self, seats: &Seats, address: Option<IpAddr>) -> Result<(), NoSeat> {
        let network = address.map(Network::of_client);
        if self.0.0.network == network {
            return Ok(());
        }
        self.0 = match network {
            Some(network) => seats.rows.take(network)?,
            None => Place(seats.free.clone()),
        };
        Ok(())
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.0.common.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The rows in which somebody sits, or sat lately.
struct Rows {
    common: Arc<Common>,
    census: Mutex<Census<Arc<Row>>>,
}

impl Rows {
    fn take(self: &Arc<Self>, network: Network) -> Result<Place, NoSeat> {
        let now = Duration::from_nanos(Now::read().mono);
        let row = self.census().take(network, now, || Arc::new(self.row(Some(network))));
        row.map(Place).ok_or(NoSeat::Address)
    }

    fn row(self: &Arc<Self>, network: Option<Network>) -> Row {
        Row {
            common: self.common.clone(),
            rows: Arc::downgrade(self),
            network,
        }
    }

    fn census(&self) -> MutexGuard<'_, Census<Arc<Row>>> {
        self.census.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The places of one address.
struct Row {
    common: Arc<Common>,
    rows: Weak<Rows>,
    /// Whose; none for those who are not counted.
    network: Option<Network>,
}

/// One place in a row.
struct Place(Arc<Row>);

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(network) = self.0.network
            && let Some(rows) = self.0.rows.upgrade()
        {
            rows.census().give_back(network);
        }
    }
}

/// A seat during the handshake: whoever is left holding it last gives it back, unless it moved on with the connection.
#[derive(Clone)]
pub struct SharedSeat(Arc<Mutex<Option<Seat>>>);

impl SharedSeat {
    /// Shares it.
    #[must_use]
    pub fn new(seat: Seat) -> Self {
        Self(Arc::new(Mutex::new(Some(seat))))
    }

    /// The seat itself, for the one who takes the connection over; nobody else gets it after that.
    #[must_use]
    pub fn take(&self) -> Option<Seat> {
        self.lock().take()
    }

    /// From now on it counts for this address, or for none.
    pub fn move_to(&self, seats: &Seats, address: Option<IpAddr>) -> Result<(), NoSeat> {
        self.lock().as_mut().map_or(Ok(()), |seat| seat.move_to(seats, address))
    }

    fn lock(&self) -> MutexGuard<'_, Option<Seat>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
