//! Whose fault it is that a client receives late, where it is the network's, and where a clock is wrong: named the same on the
//! console, in `$clients` and in `$reports`.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::rig::{Program, Server, eventually, lapwing, listen, nanos, recorded, skip};
use crate::wires::{SERVER, Way, Wires};

const FULL_OR_LOSSY: &str = "The way to the client is full or loses packets.";
const AS_MADE: &str = "The block took as long as the source took to make it.";

/// A server at one end of the wires, and who listens to it: one beside it, one behind the wires, and one that watches both.
struct Scene {
    server: Server,
    watcher: Program,
    _near: Program,
    _far: Program,
}

impl Scene {
    /// Everybody is there, and keeps up.
    fn of(wires: &Wires, folder: &Path, source: &str) -> Self {
        // Who watches comes from the machine itself.
        let topic = format!("feed={source}");
        let server = Server::from_command(wires.program_of_server(), "0.0.0.0:0", &["--open", "--topic", &topic]);
        let port = server.address.port();
        let here = format!("ws://127.0.0.1:{port}");
        let scene = Self {
            watcher: watch(wires.program_of_server(), &here),
            _near: listen(
                wires.program_of_server(),
                &here,
                &folder.join("near"),
                &["--name", "near"],
            ),
            _far: listen(
                wires.program_of_client(),
                &format!("ws://{SERVER}:{port}"),
                &folder.join("far"),
                &["--name", "far"],
            ),
            server,
        };
        scene.sees("far", "source-limited", AS_MADE);
        scene
    }

    /// Waits until this client's cause is told in `$reports`, five times in a row so that it is none that flips, and in `$clients`.
    #[track_caller]
    fn sees(&self, name: &str, cause: &str, why: &str) {
        sees(&self.watcher, name, cause, why);
    }

    /// The far one is slow for the network's sake and for nothing else, and the near one is not.
    #[track_caller]
    fn blames_the_network(&self) {
        let slow = self.server.event("slow", |told| told["client"] == "far");
        assert_eq!(
            (&slow["cause"], &slow["why"]),
            (&"network slow".into(), &FULL_OR_LOSSY.into()),
            "{slow}"
        );
        self.sees("far", "network slow", FULL_OR_LOSSY);
        self.sees("near", "source-limited", AS_MADE);
        let told = self.server.events("slow");
        assert!(
            told.iter()
                .all(|told| told["client"] == "far" && told["cause"] == "network slow"),
            "{told:#?}"
        );
    }
}

/// Follows what the server tells of its clients.
fn watch(mut command: Command, url: &str) -> Program {
    command.args([
        "listen",
        url,
        "--topics",
        "$clients,$reports",
        "--from",
        "earliest",
        "--output",
        "json",
        "--no-report",
    ]);
    let watcher = Program::start(command);
    watcher.shows("\"topic\":\"$clients\"");
    watcher
}

#[track_caller]
fn sees(watcher: &Program, name: &str, cause: &str, why: &str) {
    eventually(&format!("{name} is {cause}: {why}"), || {
        let lines = watcher.shown();
        let messages = lines
            .iter()
            .rev()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let (reports, rows): (Vec<Value>, Vec<Value>) = messages
            .filter(|message| message["data"]["client"] == name)
            .partition(|message| message["topic"] == "$reports");
        let is_so = |message: &&Value| message["data"]["cause"] == cause;
        let newest = reports.iter().take(5).filter(is_so).count();
        newest == 5 && rows.first().is_some_and(|row| is_so(&row) && row["data"]["why"] == why)
    });
}

/// Where congestion control waits for losses, and where it keeps the queue short.
#[test]
fn item_9_a_narrow_line_is_the_networks_fault_whatever_controls_congestion() {
    let name = "item_9_a_narrow_line_is_the_networks_fault_whatever_controls_congestion";
    for control in ["reno", "bbr"] {
        let Some(wires) = Wires::lay(name) else {
            return;
        };
        if !wires.control_congestion(control) {
            skip(name, &format!("this kernel has no {control}"));
            continue;
        }
        let dir = tempfile::tempdir().expect("a directory");
        let scene = Scene::of(&wires, dir.path(), "arrays?every=20ms&burst=5&shape=100&high=1000000");
        if !wires.narrow_to(name, "500kbit", &["latency", "400ms"]) {
            return;
        }
        scene.blames_the_network();
        wires.widen();
        scene.server.event("keeps_up", |told| told["client"] == "far");
        scene.sees("far", "source-limited", AS_MADE);
    }
}

/// What fills a deep queue fills the client's window as well, which looks like a client that takes nothing.
#[test]
fn item_9_a_narrow_line_with_a_deep_queue_is_no_client_without_room() {
    let name = "item_9_a_narrow_line_with_a_deep_queue_is_no_client_without_room";
    let Some(wires) = Wires::lay(name) else {
        return;
    };
    if !wires.control_congestion("reno") {
        return skip(name, "this kernel has no reno");
    }
    let dir = tempfile::tempdir().expect("a directory");
    let scene = Scene::of(&wires, dir.path(), "arrays?every=20ms&burst=5&shape=100&high=1000000");
    if wires.narrow_to(name, "500kbit", &["limit", "2mb"]) {
        scene.blames_the_network();
    }
}

#[test]
fn item_9_a_line_that_loses_packets_is_the_networks_fault() {
    let name = "item_9_a_line_that_loses_packets_is_the_networks_fault";
    let Some(wires) = Wires::lay(name) else {
        return;
    };
    if !wires.control_congestion("reno") {
        return skip(name, "this kernel has no reno");
    }
    let dir = tempfile::tempdir().expect("a directory");
    // 2 MB a second, in blocks so short that each second has some even where little comes through.
    let scene = Scene::of(&wires, dir.path(), "arrays?every=2ms&burst=1&shape=600&high=1000000");
    wires.lose(20, &[Way::Down]);
    scene.blames_the_network();
}

#[test]
fn item_9_a_client_whose_clock_is_five_minutes_off_is_as_fast_as_it_is() {
    let name = "item_9_a_client_whose_clock_is_five_minutes_off_is_as_fast_as_it_is";
    let Some(library) = lapwing_trial::wall::library() else {
        return skip(name, "libfaketime is not there");
    };
    let server = Server::start(&["--topic", "feed=users?every=50ms"]);
    let url = format!("ws://{}", server.address);
    let watcher = watch(Command::new(lapwing()), &url);
    let dir = tempfile::tempdir().expect("a directory");
    let clocks = [("ahead", 300), ("behind", -300)];
    let listeners = clocks.map(|(client, off)| {
        let mut command = Command::new(lapwing());
        command
            .env("LD_PRELOAD", &library)
            .env("FAKETIME", format!("{off:+}s"))
            .env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
        listen(command, &url, &dir.path().join(client), &["--name", client])
    });
    for (client, _) in clocks {
        sees(&watcher, client, "source-limited", AS_MADE);
    }
    for listener in listeners {
        listener.signal(rustix::process::Signal::INT);
        listener.ends_with(0);
    }
    assert!(server.events("slow").is_empty());
    for (client, off) in clocks {
        let lines = recorded(&dir.path().join(client));
        let way_ms = |offset: &Value| {
            let is_it =
                |line: &&Value| line["topic"] == "feed" && line["record"].is_null() && line["offset"] == *offset;
            let line = lines.iter().find(is_it).expect("it is in the file");
            let way = nanos(&line["received"]) - nanos(&line["time"]) - i128::from(off) * 1_000_000_000;
            // Midnight may lie between them.
            ((way + DAY / 2).rem_euclid(DAY) - DAY / 2) as f64 / 1e6
        };
        let (mut above, mut worst): (Vec<f64>, f64) = (Vec::new(), 0.0);
        for report in server.events("report") {
            let (Some(latency), true) = (report["latency_ms"].as_f64(), report["client"] == client) else {
                continue;
            };
            let error = report["latency_error_ms"].as_f64().expect("an error stands beside it");
            let truth = way_ms(&report["last"]);
            worst = worst.max(truth - latency - error);
            above.push(latency - truth - error);
        }
        // Half a tenth of a millisecond is what rounding takes, and the clock of the day is moved a little now and then.
        assert!(worst < 1.0, "{client}: later than told by {worst} ms");
        above.sort_by(f64::total_cmp);
        assert!(above.len() >= 5, "{above:?}");
        // Reports wait for a busy machine: then the message was earlier than told.
        assert!(above[above.len() / 2] < 50.0, "{client}: {above:?}");
    }
}

/// Nanoseconds of a day.
const DAY: i128 = 86_400_000_000_000;
