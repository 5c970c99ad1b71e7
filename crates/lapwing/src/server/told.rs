//! When something was last told that may come again and again.

use std::time::{Duration, Instant};

/// Lets it be told at most once a second.
#[derive(Default)]
pub struct Told(Option<Instant>);

impl Told {
    /// Whether it is to be told now; then it counts as told.
    pub fn is_due(&mut self) -> bool {
        let due = self.0.is_none_or(|told| told.elapsed() >= Duration::from_secs(1));
        if due {
            self.0 = Some(Instant::now());
        }
        due
    }
}
