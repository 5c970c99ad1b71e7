//! The places in `lapwing`.

mod accept;
mod access;
mod disk;
mod feed;
mod forwarded;
mod grants;
mod letters;
mod origin;
mod publish;
mod recording;
mod settings;
mod store;
mod url;

use crate::Entry;

/// All of them.
pub const ENTRIES: &[Entry] = &[
    accept::ENTRY,
    access::CREDENTIAL,
    access::JWT,
    access::KEYS,
    access::TOKENS,
    feed::ENTRY,
    forwarded::ENTRY,
    grants::ENTRY,
    letters::ENTRY,
    origin::ENTRY,
    publish::ENTRY,
    recording::READ,
    recording::WRITTEN,
    settings::FILE,
    settings::TOPIC,
    store::DIRECTORY,
    store::FILES,
    url::ENTRY,
];
