//! A network that lets nothing through for a while: both ways, or one.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};

use crate::rig::{Program, Server, assert_holds, holds, listen, recorded, records, verify};
use crate::wires::{SERVER, Way, Wires};

/// A server at one end of a wire and a listener at the other.
struct Parted {
    wires: Wires,
    server: Server,
    listener: Program,
    file: PathBuf,
    published: Vec<Value>,
    _dir: tempfile::TempDir,
}

impl Parted {
    /// Starts both and lets ten messages pass.
    fn start(name: &str, limits: &[&str], count: &str) -> Option<Self> {
        let wires = Wires::lay(name)?;
        let args = [&["--open", "--topic", "feed=stdin"], limits].concat();
        let server = Server::from_command(wires.program_of_server(), &format!("{SERVER}:0"), &args);
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("feed.ndjson");
        let url = format!("ws://{}", server.address);
        let listener = listen(
            wires.program_of_client(),
            &url,
            &file,
            &["--block", "5", "--count", count],
        );
        listener.says("connected to");
        let mut parted = Self {
            wires,
            server,
            listener,
            file,
            published: Vec::new(),
            _dir: dir,
        };
        for count in [5, 10] {
            parted.publish(5);
            holds(&parted.file, "feed", count);
        }
        Some(parted)
    }

    /// Lines at the server's own end, which no network keeps from it.
    fn publish(&mut self, count: usize) {
        for _ in 0..count {
            let message = json!({ "n": self.published.len() });
            self.server.program.feed(&format!("{message}\n"));
            self.published.push(message);
        }
    }

    /// Waits for the listener's own end and proves what it has; gives its lines.
    fn prove(self) -> Vec<Value> {
        self.listener.ends_with(0);
        assert_holds(&self.file, "feed", &self.published);
        let lines = recorded(&self.file);
        assert!(records(&lines, "gap").is_empty() && records(&lines, "reset").is_empty());
        verify(&[], &[self.file]);
        lines
    }
}

/// Far from the silence after which either side gives the other up.
const SHORT: Duration = Duration::from_secs(2);

#[test]
fn a3_a_short_partition_breaks_no_connection_and_its_time_is_in_the_block() {
    let name = "a3_a_short_partition_breaks_no_connection_and_its_time_is_in_the_block";
    let Some(mut parted) = Parted::start(name, &[], "15") else {
        return;
    };
    parted.wires.part(&[Way::Down, Way::Up]);
    parted.publish(5);
    // How long the fault is, not how long anything else may take.
    std::thread::sleep(SHORT);
    assert_eq!(recorded_messages(&parted), 10, "nothing passes");
    parted.wires.heal(&[Way::Down, Way::Up]);
    holds(&parted.file, "feed", 15);
    assert_eq!(parted.server.events("joined").len(), 1);
    let lines = parted.prove();
    assert!(records(&lines, "reconnect").is_empty());
    // The listener did not stand still: its time counts, and says what the network did.
    let block = records(&lines, "block")[2];
    assert_eq!((&block["first"], &block["flags"]), (&json!(10), &json!([])), "{block}");
    let elapsed = block["elapsed_ms"].as_f64().expect("it has one before it");
    assert!(elapsed >= SHORT.as_secs_f64() * 1000.0, "{block}");
}

fn recorded_messages(parted: &Parted) -> usize {
    crate::rig::messages(&recorded(&parted.file), "feed").len()
}

/// A server that soon misses a pong, and whose listeners miss three heartbeats after 6 s: one after the other.
const SOON: [&str; 6] = ["--ping-interval", "1s", "--pong-timeout", "1s", "--heartbeat", "2s"];

#[test]
fn a4_a_long_partition_is_noticed_by_both_sides_and_resumed_once() {
    let name = "a4_a_long_partition_is_noticed_by_both_sides_and_resumed_once";
    notice_and_resume(name, &[Way::Down, Way::Up]);
}

#[test]
fn a5_a_partition_of_what_the_server_sends_is_noticed_by_both_sides_and_resumed_once() {
    let name = "a5_a_partition_of_what_the_server_sends_is_noticed_by_both_sides_and_resumed_once";
    notice_and_resume(name, &[Way::Down]);
}

fn notice_and_resume(name: &str, ways: &[Way]) {
    let Some(mut parted) = Parted::start(name, &SOON, "25") else {
        return;
    };
    parted.wires.part(ways);
    parted.publish(10);
    let left = parted.server.event("left", |_| true);
    assert_eq!(
        (&left["code"], &left["by"], &left["reason"]),
        (&json!(4408), &json!("server"), &json!("no pong for 1 s"))
    );
    parted.listener.says("lost the connection: nothing came for 6 s");
    parted.wires.heal(ways);
    holds(&parted.file, "feed", 20);
    parted.publish(5);
    let lines = parted.prove();
    assert_eq!(records(&lines, "reconnect").len(), 1);
}
