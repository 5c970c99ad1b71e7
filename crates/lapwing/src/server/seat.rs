//! A connection's place among those allowed.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};

use super::common::Common;

/// One connection's place; given back when it is dropped.
pub struct Seat(Arc<Common>);

impl Seat {
    /// Takes a place, unless all are taken.
    #[must_use]
    pub fn take(common: &Arc<Common>) -> Option<Self> {
        let open = &common.open;
        if open.fetch_add(1, Ordering::Relaxed) >= common.limits.connections_max {
            open.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        Some(Self(common.clone()))
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
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
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}
