//! Faults that a test plants in a debug build; a release does not have this file.

use std::sync::LazyLock;
use std::time::Duration;

use super::event::Said;

/// What the environment asks for.
static PLANTED: LazyLock<String> = LazyLock::new(|| std::env::var("LAPWING_FAULT").unwrap_or_default());

/// Panics when the environment asks for it and a client says the word: one session's error must stay its own.
pub fn on_said(said: &Said) {
    if *PLANTED == "panic-on-said" && matches!(said, Said::Text { text, .. } if text == "panic") {
        panic!("planted by LAPWING_FAULT");
    }
}

/// Lets everybody wait for their turn when the environment asks for it, as a machine does that has too much to do: clients must be
/// told that it is us.
pub fn before_turns() {
    if *PLANTED == "late-turns" {
        std::thread::sleep(Duration::from_millis(100));
    }
}
