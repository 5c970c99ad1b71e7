//! The stage of every story: real servers of NATS in a folder of their own, or a line that says why there are none.

use std::io::Write as _;

use nats_cluster::{Cluster, Settings};
use tempfile::TempDir;

use crate::support::server::{Plan, Server};

/// Servers of NATS, which end with the story.
pub struct Stage {
    /// They.
    pub nats: Cluster,
    /// Where they, and whoever else plays, keep what they have.
    pub folder: TempDir,
}

impl Stage {
    /// Servers that take messages; nothing where there is no nats-server, which is then told as skipped.
    #[track_caller]
    pub fn set(test: &str, settings: &Settings) -> Option<Self> {
        let Some(program) = nats_cluster::program() else {
            skip(
                test,
                "LAPWING_NATS_SERVER names no nats-server; scripts/nats-server installs one",
            );
            return None;
        };
        let folder = tempfile::tempdir().expect("a folder can be made");
        let nats = Cluster::start(&program, folder.path(), settings).unwrap_or_else(|trouble| panic!("{trouble}"));
        Some(Self { nats, folder })
    }

    /// A server of ours with this topic, which these servers share with all others of them.
    #[track_caller]
    pub fn serve(&self, topic: &str, args: &[&str]) -> Server {
        let url = self.nats.url();
        let shared = ["--broker", &url, "--topic", topic];
        Plan::new(&[&shared[..], args].concat()).start()
    }
}

/// Says that a test could not run here, where `scripts/test` collects that.
#[expect(clippy::print_stdout, reason = "a skip is to be seen")]
fn skip(test: &str, why: &str) {
    println!("skipped: {why}");
    let Some(path) = std::env::var_os("LAPWING_SKIPS") else {
        return;
    };
    let file = std::fs::OpenOptions::new().append(true).create(true).open(path);
    writeln!(file.expect("a file of skips"), "nats-{test}: {why}").expect("room");
}
