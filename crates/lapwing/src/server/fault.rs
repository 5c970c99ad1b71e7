//! Faults that a test plants in a debug build; a release does not have this file.

use super::event::Said;

/// Panics when the environment asks for it and a client says the word: one session's error must stay its own.
pub fn on_said(said: &Said) {
    let planted = std::env::var("LAPWING_FAULT").is_ok_and(|fault| fault == "panic-on-said");
    if planted && matches!(said, Said::Text { text, .. } if text == "panic") {
        panic!("planted by LAPWING_FAULT");
    }
}
