//! One server of NATS as a child process, with its folder and its ports.

use std::fs::{self, OpenOptions};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::monitor;
use crate::settings::{Ports, name};
use crate::trouble::Trouble;

/// So long a server may take to end after it was asked to.
const END: Duration = Duration::from_secs(20);

/// Lines of its log that are told when it has ended unasked.
const LAST_LINES: usize = 4;

/// How often it is looked whether it has.
const LOOK: Duration = Duration::from_millis(10);

/// One server of NATS. It is killed when it is dropped.
#[derive(Debug)]
pub struct Node {
    program: PathBuf,
    folder: PathBuf,
    number: usize,
    ports: Ports,
    child: Option<Child>,
}

impl Node {
    /// A server that was not started yet: its configuration is written into its folder.
    pub(crate) fn new(
        program: &Path,
        folder: PathBuf,
        number: usize,
        ports: Ports,
        configuration: &str,
    ) -> Result<Self, Trouble> {
        fs::create_dir_all(folder.join("store")).map_err(Trouble::file(&folder))?;
        let path = folder.join("nats.conf");
        fs::write(&path, configuration).map_err(Trouble::file(path))?;
        Ok(Self {
            program: program.to_owned(),
            folder,
            number,
            ports,
            child: None,
        })
    }

    /// What it is called in the cluster.
    pub fn name(&self) -> String {
        name(self.number)
    }

    /// Where clients connect.
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.ports.client))
    }

    /// What it has said.
    pub fn log(&self) -> PathBuf {
        self.folder.join("nats.log")
    }

    /// The end of that, in one line.
    pub(crate) fn last_words(&self) -> String {
        let said = fs::read_to_string(self.log()).unwrap_or_default();
        let lines: Vec<&str> = said.lines().collect();
        lines[lines.len().saturating_sub(LAST_LINES)..].join("; ")
    }

    /// Its process id, while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// Starts it, again with the same ports and what is in its folder; it is not ready yet then. One that runs goes on.
    pub fn start(&mut self) -> Result<(), Trouble> {
        if self.child.is_some() {
            return Ok(());
        }
        let log = self.log();
        let words = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&log)
            .map_err(Trouble::file(&log))?;
        let errors = words.try_clone().map_err(Trouble::file(&log))?;
        let child = Command::new(&self.program)
            .arg("--config")
            .arg(self.folder.join("nats.conf"))
            .stdin(Stdio::null())
            .stdout(words)
            .stderr(errors)
            .spawn()
            .map_err(|error| Trouble::Start {
                program: self.program.clone(),
                error,
            })?;
        self.child = Some(child);
        Ok(())
    }

    /// Whether its process lives, paused or not.
    pub fn is_running(&mut self) -> bool {
        let ended = |child: &mut Child| child.try_wait().map_or(true, |status| status.is_some());
        if self.child.as_mut().is_some_and(ended) {
            self.child = None;
        }
        self.child.is_some()
    }

    /// Ends it as the kernel does, and waits until it is gone.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            // It may have ended by itself.
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Asks it to end, and waits for that; one that does not is killed.
    pub fn stop(&mut self) {
        self.signal(Signal::TERM);
        let deadline = Instant::now() + END;
        while self.is_running() && Instant::now() < deadline {
            std::thread::sleep(LOOK);
        }
        self.kill();
    }

    /// It stands still.
    pub fn pause(&self) {
        self.signal(Signal::STOP);
    }

    /// It goes on.
    pub fn resume(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        // Not waited for while this value lives, so the id is still its own; one that has ended hears nothing.
        if let Some(child) = &self.child {
            let _ = kill_process(Pid::from_child(child), signal);
        }
    }

    /// What its monitoring port says to a path, such as `/varz`.
    pub fn ask(&self, path: &str) -> Option<Value> {
        monitor::ask(self.ports.monitor, path)
    }

    /// Whether it serves, its JetStream included.
    pub fn is_healthy(&self) -> bool {
        self.ask("/healthz").is_some_and(|health| health["status"] == "ok")
    }

    /// Copies what it stores to another folder; it must not run.
    pub fn copy_store(&self, to: &Path) -> Result<(), Trouble> {
        copy(&self.folder.join("store"), to)
    }

    /// Replaces what it stores by a copy from before, as a disk that lost what came since; it must not run.
    pub fn replace_store(&self, from: &Path) -> Result<(), Trouble> {
        let store = self.folder.join("store");
        fs::remove_dir_all(&store).map_err(Trouble::file(&store))?;
        copy(from, &store)
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.kill();
    }
}

fn copy(from: &Path, to: &Path) -> Result<(), Trouble> {
    fs::create_dir_all(to).map_err(Trouble::file(to))?;
    for entry in fs::read_dir(from).map_err(Trouble::file(from))? {
        let path = entry.map_err(Trouble::file(from))?.path();
        let Some(name) = path.file_name() else { continue };
        if path.is_dir() {
            copy(&path, &to.join(name))?;
        } else {
            fs::copy(&path, to.join(name)).map_err(Trouble::file(&path))?;
        }
    }
    Ok(())
}
