//! The places in `lapwing-wire`.

mod arrays;
mod envelope;
mod frames;
mod handshake;
mod inflate;
mod json;
mod lines;
mod messages;
mod offers;
mod places;
mod query;
mod text;

use crate::Entry;

/// All of them.
pub const ENTRIES: &[Entry] = &[
    frames::READ,
    frames::WRITTEN,
    inflate::ENTRY,
    handshake::ANSWER,
    handshake::REQUEST,
    offers::ENTRY,
    messages::CLIENT,
    messages::SERVER,
    query::ENTRY,
    places::ENTRY,
    json::ENTRY,
    envelope::ENTRY,
    arrays::READ,
    arrays::WRITTEN,
    lines::ENTRY,
    text::ENTRY,
];
