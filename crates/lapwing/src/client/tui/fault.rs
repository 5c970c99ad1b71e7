//! Faults that a test plants in a debug build; a release does not have this file.

/// Panics when the environment asks for it in this thread: the terminal must be given back whichever it is.
pub fn panic_in(thread: &str) {
    let planted = std::env::var("LAPWING_FAULT").is_ok_and(|fault| fault.strip_prefix("panic-in-") == Some(thread));
    if planted {
        panic!("planted by LAPWING_FAULT");
    }
}
