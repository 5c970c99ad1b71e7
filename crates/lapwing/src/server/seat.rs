//! A connection's place among those allowed.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::common::Common;

/// One connection's place; given back when it is dropped.
pub struct Seat(Arc<Common>);

impl Seat {
    /// Takes a place, unless all are taken.
    #[must_use]
    pub fn take(common: &Arc<Common>) -> Option<Arc<Self>> {
        let open = &common.open;
        if open.fetch_add(1, Ordering::Relaxed) >= common.limits.connections_max {
            open.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        Some(Arc::new(Self(common.clone())))
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}
