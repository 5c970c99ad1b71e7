//! Two network namespaces and a wire between them, on which packets can be dropped each way.

use std::io::Write as _;
use std::process::{Command, Stdio};

use crate::rig::{Program, lapwing, skip};

/// Which way packets go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// From the server to the client.
    Down,
    /// From the client to the server.
    Up,
}

/// The two ends, each held by a process that waits for its end of input; they end with this value, or with the test.
pub struct Wires {
    server: Program,
    client: Program,
}

/// The server's own address on the wire.
pub const SERVER: &str = "10.77.0.1";

impl Wires {
    /// Lays the wire; none where this user may not, and then the test `name` is told as skipped.
    pub fn lay(name: &str) -> Option<Self> {
        let holder = || {
            let mut command = Command::new("unshare");
            command.args(["--net", "sh", "-c", "ip link set lo up && echo up && exec cat"]);
            command
        };
        let can = holder().stdin(Stdio::null()).stderr(Stdio::null()).output();
        if !can.is_ok_and(|ran| ran.status.success()) {
            skip(name, "no network namespace may be made here");
            return None;
        }
        let wires = Self {
            server: Program::start(holder()),
            client: Program::start(holder()),
        };
        wires.server.shows("up");
        wires.client.shows("up");
        let theirs = wires.client.id().to_string();
        let laid = run(
            wires.at(&wires.server, "ip"),
            &[
                "link", "add", "wire", "type", "veth", "peer", "name", "wire", "netns", &theirs,
            ],
        );
        if !laid || !run(wires.at(&wires.server, "nft"), &["list", "tables"]) {
            skip(name, "no wire between network namespaces, or no nft here");
            return None;
        }
        for (end, address) in [(&wires.server, "10.77.0.1/24"), (&wires.client, "10.77.0.2/24")] {
            assert!(run(wires.at(end, "ip"), &["address", "add", address, "dev", "wire"]));
            assert!(run(wires.at(end, "ip"), &["link", "set", "wire", "up"]));
        }
        Some(wires)
    }

    /// The program, to be run at the server's end.
    pub fn program_of_server(&self) -> Command {
        self.at(&self.server, lapwing())
    }

    /// The program, to be run at the client's end.
    pub fn program_of_client(&self) -> Command {
        self.at(&self.client, lapwing())
    }

    /// From now on nothing arrives that goes these ways.
    pub fn part(&self, ways: &[Way]) {
        for way in ways {
            let rules = "table ip part {\nchain in {\ntype filter hook input priority 0; policy drop;\n}\n}\n";
            self.rule(*way, rules);
        }
    }

    /// Everything arrives again.
    pub fn heal(&self, ways: &[Way]) {
        for way in ways {
            self.rule(*way, "delete table ip part\n");
        }
    }

    fn rule(&self, way: Way, rules: &str) {
        let end = match way {
            Way::Down => &self.client,
            Way::Up => &self.server,
        };
        let mut command = self.at(end, "nft");
        command.args(["-f", "-"]).stdin(Stdio::piped());
        let mut nft = command.spawn().expect("it ran before");
        let mut stdin = nft.stdin.take().expect("piped above");
        stdin.write_all(rules.as_bytes()).expect("it reads");
        drop(stdin);
        assert!(nft.wait().expect("our child").success(), "{rules}");
    }

    fn at(&self, end: &Program, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/proc/{}/ns/net", end.id())).arg(program);
        command
    }
}

fn run(mut command: Command, args: &[&str]) -> bool {
    command.args(args).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}
