//! Whom a server believes: what pages say of their origin, and proxies of their clients.

use super::origin::Origins;
use super::proxy::Proxies;

/// Without any of them pages of its own origin, and no proxy.
#[derive(Default)]
pub struct Trust {
    /// Which pages may use this server.
    pub origins: Origins,
    /// Which proxies are believed when they say for whom they ask.
    pub proxies: Proxies,
}
