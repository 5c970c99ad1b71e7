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

    /// From now on some packets are lost, each way.
    pub fn lose_some(&self) {
        self.lose(5, &[Way::Down, Way::Up]);
    }

    /// From now on so many in a hundred packets are lost that go these ways.
    pub fn lose(&self, percent: u32, ways: &[Way]) {
        for way in ways {
            let rules = format!(
                "table ip lossy {{\nchain in {{\ntype filter hook input priority 0;\nnumgen random mod 100 < {percent} counter drop\n}}\n}}\n"
            );
            self.rule(*way, &rules);
        }
    }

    /// How many packets were lost.
    pub fn lost(&self) -> u64 {
        let counted = |end: &Program| -> u64 {
            let listed = self.at(end, "nft").args(["list", "table", "ip", "lossy"]).output();
            let text = String::from_utf8_lossy(&listed.expect("it ran before").stdout).into_owned();
            let (_, count) = text.split_once("counter packets ").expect("the rule counts");
            count.split(' ').next().expect("a number").parse().expect("a number")
        };
        counted(&self.server) + counted(&self.client)
    }

    /// From now on 128 kbit pass in a second from the server to the client; where the kernel cannot, the test `name` is told as skipped.
    pub fn narrow(&self, name: &str) -> bool {
        self.narrow_to(name, "128kbit", &["latency", "400ms"])
    }

    /// The same for any rate, with a queue before it as `tc` has it.
    pub fn narrow_to(&self, name: &str, rate: &str, queue: &[&str]) -> bool {
        let shape = [
            "qdisc", "add", "dev", "wire", "root", "tbf", "rate", rate, "burst", "16kb",
        ];
        let can = run(self.at(&self.server, "tc"), &[&shape, queue].concat());
        if !can {
            skip(name, "this kernel makes no line narrow, or tc is missing");
        }
        can
    }

    /// How the server's kernel finds out what the way carries, for connections that come; whether it can.
    pub fn control_congestion(&self, how: &str) -> bool {
        let setting = format!("net.ipv4.tcp_congestion_control={how}");
        run(self.at(&self.server, "sysctl"), &["-q", "-w", &setting])
    }

    /// The line is as wide as before.
    pub fn widen(&self) {
        assert!(run(
            self.at(&self.server, "tc"),
            &["qdisc", "del", "dev", "wire", "root"]
        ));
    }

    /// Publishes messages, a line each, at the server's own end, which no network keeps from it.
    pub fn publish(&self, server: std::net::SocketAddr, topic: &str, messages: &[serde_json::Value]) {
        let mut command = self.program_of_server();
        command
            .args(["publish", &format!("ws://{server}"), topic])
            .stdin(Stdio::piped());
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let mut publish = command.spawn().expect("it ran before");
        let body: String = messages.iter().map(|message| format!("{message}\n")).collect();
        let mut stdin = publish.stdin.take().expect("piped above");
        stdin.write_all(body.as_bytes()).expect("it reads");
        drop(stdin);
        assert!(publish.wait().expect("our child").success());
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
