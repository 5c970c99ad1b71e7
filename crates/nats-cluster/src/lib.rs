//! Real NATS servers for tests and trials: one, or a cluster of them, which are killed, paused, cut off and asked.
//!
//! The program is the `nats-server` that `LAPWING_NATS_SERVER` names (`scripts/nats-server` installs one). Each server has a folder
//! and ports of its own, and keeps both over a restart. All that is asked of them goes over their monitoring port or
//! through a small client of our own, so that what a test finds out does not pass through the code that it tests.
//!
//! ```no_run
//! # fn main() -> Result<(), nats_cluster::Trouble> {
//! let Some(program) = nats_cluster::program() else { return Ok(()) };
//! let mut cluster = nats_cluster::Cluster::start(&program, "/tmp/stage".as_ref(), &nats_cluster::Settings::three())?;
//! let mut client = cluster.client()?;
//! client.create_stream(&serde_json::json!({"name": "people", "subjects": ["people"], "num_replicas": 3}))?;
//! client.put("people", Some("first"), b"{}")?;
//! let leader = cluster.wait_for_leader("people")?;
//! cluster.node(leader).kill();
//! # Ok(())
//! # }
//! ```

mod client;
mod cluster;
mod gate;
mod monitor;
mod node;
mod ports;
mod settings;
mod trouble;

use std::path::PathBuf;

pub use client::{Client, Stored, Taken};
pub use cluster::Cluster;
pub use gate::Gate;
pub use node::Node;
pub use ports::free as free_ports;
pub use settings::{Access, Settings, Sync, Tls};
pub use trouble::Trouble;

/// The variable that names a nats-server.
pub const PROGRAM: &str = "LAPWING_NATS_SERVER";

/// The nats-server that the environment names.
pub fn program() -> Option<PathBuf> {
    std::env::var_os(PROGRAM)
        .filter(|path| !path.is_empty())
        .map(PathBuf::from)
}
