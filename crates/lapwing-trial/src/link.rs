//! The link between all programs of a trial, the loopback of its own network namespace: packets are lost on it, or it is narrow.
//!
//! A proxy bends bytes between two sockets of ours; here the kernel's own TCP has to cope. All are bent at once, server,
//! listeners and publishers.

use std::process::Stdio;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::process::Command;
use tokio::time::sleep;

use crate::disk::has_tool;
use crate::trouble::Trouble;

/// Packets of a hundred that are lost.
const LOST_PERCENT: u64 = 5;

/// Bytes that pass a narrow link at once: several packets of 1500, which is why `scripts/trial` gives the loopback that
/// size. Of its own it has packets of 64 KiB, and not one of them would ever pass.
const BURST_BYTES: u64 = 16 << 10;

/// What would wait longer is lost, as in a router.
const LATENCY_MS: u64 = 400;

/// How the link is bent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bend {
    /// Some packets are lost.
    Loss,
    /// So many kilobits a second pass, both ways together.
    Throttle {
        /// How many.
        kbit: u64,
    },
}

impl Bend {
    /// Why the link cannot be bent so here; nothing if it can.
    pub async fn why_not(self) -> Option<String> {
        let tool = self.tool();
        if !has_tool(tool) {
            return Some(format!("{tool} is missing"));
        }
        if std::env::var_os("LAPWING_TRIAL_NAMESPACE").is_none() {
            return Some("not in a network namespace of its own".to_owned());
        }
        // A kernel may know the tool and not what is asked of it.
        let link = Link::default();
        let trouble = link.bend(self, Duration::ZERO).await.err()?;
        // Half of it may have been done; what failed once may fail again.
        let _ = link.straighten().await;
        Some(trouble.to_string())
    }

    fn tool(self) -> &'static str {
        match self {
            Self::Loss => "nft",
            Self::Throttle { .. } => "tc",
        }
    }

    async fn begin(self) -> Result<(), Trouble> {
        match self {
            Self::Loss => {
                self.run("add table inet trial").await?;
                self.run("add chain inet trial input { type filter hook input priority 0 ; }")
                    .await?;
                let rule = format!("add rule inet trial input numgen random mod 100 < {LOST_PERCENT} drop");
                self.run(&rule).await
            }
            Self::Throttle { kbit } => {
                let shape = format!("tbf rate {kbit}kbit burst {BURST_BYTES}b latency {LATENCY_MS}ms");
                self.run(&format!("qdisc add dev lo root {shape}")).await
            }
        }
    }

    async fn end(self) -> Result<(), Trouble> {
        match self {
            Self::Loss => self.run("delete table inet trial").await,
            Self::Throttle { .. } => self.run("qdisc del dev lo root").await,
        }
    }

    async fn run(self, words: &str) -> Result<(), Trouble> {
        let tool = self.tool();
        let mut command = Command::new(tool);
        let output = command
            .args(words.split(' '))
            .stdin(Stdio::null())
            .output()
            .await
            .map_err(|error| Trouble::Start {
                program: tool.to_owned(),
                error,
            })?;
        if output.status.success() {
            return Ok(());
        }
        Err(Trouble::Tool {
            command: format!("{tool} {words}"),
            said: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        })
    }
}

/// The link, and how it is bent now.
#[derive(Debug, Default)]
pub struct Link(Mutex<Option<Bend>>);

impl Link {
    /// Bends it for a while. Dropped meanwhile, it stays bent until it is straightened.
    pub async fn bend(&self, bend: Bend, lasts: Duration) -> Result<(), Trouble> {
        self.replace(Some(bend));
        bend.begin().await?;
        sleep(lasts).await;
        self.straighten().await
    }

    /// Takes away what bends it, if something does.
    pub async fn straighten(&self) -> Result<(), Trouble> {
        match self.replace(None) {
            Some(bend) => bend.end().await,
            None => Ok(()),
        }
    }

    fn replace(&self, bend: Option<Bend>) -> Option<Bend> {
        std::mem::replace(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner), bend)
    }
}
