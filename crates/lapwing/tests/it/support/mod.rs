//! What the tests tell their stories with: a real server, real clients, and patience.

pub mod bearer;
pub mod client;
pub mod events;
pub mod faults;
pub mod frames;
pub mod http;
pub mod lines;
pub mod report;
pub mod scrape;
pub mod secure;
pub mod server;

use std::time::{Duration, Instant};

/// So long a test waits for what must come. Far longer than it takes: other work may have the machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Waits until `holds`, which is asked again and again.
#[track_caller]
pub fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "never came: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A number from the environment, such as how many clients a long run has.
pub fn wanted(variable: &str, otherwise: usize) -> usize {
    let told = std::env::var(variable).ok();
    told.map_or(otherwise, |told| told.parse().expect("a number"))
}
