//! The real programs: a server and its listeners, as child processes.

use std::fs::{File, OpenOptions};
use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::timeout;

use crate::clock::mono;
use crate::history::Event;
use crate::trouble::Trouble;
use crate::wall::Wall;

/// How long a server may take until it is ready: it may have a log to look through.
const READY_SECONDS: u64 = 60;

/// How long a program may take to end after it was asked to.
const END_SECONDS: u64 = 30;

/// The variable that names a planted bug.
const PLANTED: &str = "LAPWING_PLANTED";

/// Bugs that can be planted into a program which was built for that.
pub const BUGS: [&str; 10] = [
    "retry-twice",
    "offset-reused",
    "ack-before-fsync",
    "epoch-kept",
    "torn-tail",
    "silent-gap",
    "resume-off-by-one",
    "replayed-one",
    "reordered",
    "held-let-go",
];

/// What the help of the program under test says that it can do.
#[derive(Clone, Debug, Default)]
pub struct Abilities {
    serve: String,
    listen: String,
    log: bool,
}

impl Abilities {
    /// Asks a program.
    pub async fn of(program: &Path) -> Result<Self, Trouble> {
        let help = async |words: &[&str]| {
            let output = Command::new(program)
                .args(words)
                .arg("--help")
                .stdin(Stdio::null())
                .output()
                .await;
            let output = output.map_err(|error| Trouble::Start {
                program: program.display().to_string(),
                error,
            })?;
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            Ok::<_, Trouble>(if output.status.success() { text } else { String::new() })
        };
        Ok(Self {
            serve: help(&["serve"]).await?,
            listen: help(&["listen"]).await?,
            log: !help(&["log", "dump"]).await?.is_empty(),
        })
    }

    /// Topics that outlive the server.
    pub fn has_durable_topics(&self) -> bool {
        self.serve.contains("--data")
    }

    /// A topic may have a level of its own.
    pub fn has_level_of_a_topic(&self) -> bool {
        self.serve.contains("durability=")
    }

    /// A listener goes on with the file that it finds.
    pub fn has_resuming_listener(&self) -> bool {
        self.listen.contains("--sync")
    }

    /// Topics that several servers share: its help has them always, and what it says to an address that is none tells whether it was
    /// built with them.
    pub async fn has_broker(&self, program: &Path) -> bool {
        let mut command = Command::new(program);
        command.args([
            "serve",
            "--listen",
            "127.0.0.1:0",
            "--topic",
            "t=push",
            "--broker",
            "nowhere",
        ]);
        let said = command.stdin(Stdio::null()).kill_on_drop(true).output();
        let said = timeout(Duration::from_secs(END_SECONDS), said).await;
        let names_address = |said: &[u8]| String::from_utf8_lossy(said).contains("nats://");
        self.serve.contains("--broker") && said.is_ok_and(|said| said.is_ok_and(|said| names_address(&said.stderr)))
    }

    /// A listener that knows several servers.
    pub fn has_several_servers(&self) -> bool {
        self.listen.contains("Several servers")
    }

    /// `lapwing log dump`.
    pub fn has_log_dump(&self) -> bool {
        self.log
    }

    /// Policies for slow clients with which nobody else waits for one.
    pub fn policies(&self) -> Vec<&'static str> {
        let others = ["close", "latest"].into_iter().filter(|word| self.has_policy(word));
        std::iter::once("skip").chain(others).collect()
    }

    /// A topic may hold back its source for its slowest client.
    pub fn can_hold(&self) -> bool {
        self.has_policy("wait")
    }

    /// Whether the help of topics lists a policy beside the one without a setting.
    fn has_policy(&self, word: &str) -> bool {
        let listed = self
            .serve
            .split("slow=skip")
            .nth(1)
            .and_then(|rest| rest.split("end=keep").next());
        listed.is_some_and(|listed| listed.contains(&format!("{word}:")))
    }
}

/// A child process that ends with the trial.
#[derive(Debug)]
pub struct Program {
    child: Child,
    pid: u32,
}

impl Program {
    /// Starts a command whose words go to a file; its standard output, too, unless somebody here reads it.
    pub fn start(mut command: Command, log: &Path, keeps_stdout: bool) -> Result<Self, Trouble> {
        let errors = append(log)?;
        let stdout = if keeps_stdout {
            Stdio::piped()
        } else {
            append(log)?.into()
        };
        command
            .stdin(Stdio::null())
            .stdout(stdout)
            .stderr(errors)
            .kill_on_drop(true);
        let program = format!("{:?}", command.as_std().get_program());
        let child = command.spawn().map_err(|error| Trouble::Start {
            program: program.clone(),
            error,
        })?;
        let error = std::io::Error::other("it has no process id");
        let pid = child.id().ok_or(Trouble::Start { program, error })?;
        Ok(Self { child, pid })
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Sends a signal; one to a process that has ended goes nowhere.
    pub fn signal(&self, signal: Signal) {
        // The child was not waited for while this value lives, so the id is still its own.
        if self.child.id().is_some()
            && let Some(pid) = i32::try_from(self.pid).ok().and_then(Pid::from_raw)
        {
            let _ = kill_process(pid, signal);
        }
    }

    /// Kills it and waits until it is gone.
    pub async fn kill(&mut self) {
        self.signal(Signal::KILL);
        let _ = self.child.wait().await;
    }

    /// Asks it to end, and says how it did; kills it if it does not.
    pub async fn stop(&mut self, signal: Signal) -> Option<ExitStatus> {
        self.signal(signal);
        match timeout(Duration::from_secs(END_SECONDS), self.child.wait()).await {
            Ok(status) => status.ok(),
            Err(_) => {
                self.kill().await;
                None
            }
        }
    }

    /// How it ended, if it did so by itself.
    pub fn ended(&mut self) -> Option<String> {
        let status = self.child.try_wait().ok().flatten()?;
        Some(match (status.code(), status.signal()) {
            (Some(code), _) => format!("ended with code {code}"),
            (_, Some(signal)) => format!("was ended by signal {signal}"),
            _ => "ended".to_owned(),
        })
    }

    /// What it holds now, once it has settled or at the end.
    pub fn usage(&self, end: bool) -> Option<Event> {
        let folder = PathBuf::from(format!("/proc/{}", self.pid));
        let status = std::fs::read_to_string(folder.join("status")).ok()?;
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            line.split_whitespace().next()?.parse::<u64>().ok()
        };
        Some(Event::Usage {
            at: mono(),
            pid: self.pid,
            end,
            rss_bytes: field("VmRSS:")? * 1024,
            descriptors: std::fs::read_dir(folder.join("fd")).ok()?.count() as u64,
            threads: field("Threads:")?,
        })
    }
}

fn append(path: &Path) -> Result<File, Trouble> {
    OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)
        .map_err(Trouble::file(path))
}

/// How the server is run.
#[derive(Clone, Debug)]
pub struct ServerPlan {
    /// The program.
    pub program: PathBuf,
    /// `NAME=SOURCE?…` of each topic.
    pub topics: Vec<String>,
    /// The data directory, and the level of topics that have none of their own.
    pub data: Option<(PathBuf, &'static str)>,
    /// A file that stands for the kernel's boot id; needs a mount namespace.
    pub boot_id: Option<PathBuf>,
    /// A wall clock of the trial's own.
    pub wall: Option<Wall>,
    /// A bug that the program is told to have, if it was built with them.
    pub planted: Option<&'static str>,
    /// Where its words go.
    pub log: PathBuf,
}

/// Starts a server and waits until it is ready.
pub async fn start_server(plan: &ServerPlan) -> Result<(Program, SocketAddr), Trouble> {
    let mut command = match &plan.boot_id {
        // After a power cut the kernel would have another boot id: the same process in a view of /proc of its own.
        Some(boot_id) => {
            let mut command = Command::new("unshare");
            command.args(["--mount", "sh", "-c"]);
            command.arg(r#"mount --bind "$0" /proc/sys/kernel/random/boot_id && exec "$@""#);
            command.arg(boot_id).arg(&plan.program);
            command
        }
        None => Command::new(&plan.program),
    };
    command.args([
        "serve",
        "--listen",
        "127.0.0.1:0",
        "--output",
        "json",
        "--heartbeat",
        "1s",
        "--drain",
        "2s",
    ]);
    for topic in &plan.topics {
        command.args(["--topic", topic]);
    }
    if let Some((data, level)) = &plan.data {
        command.arg("--data").arg(data).args(["--durability", level]);
    }
    command.envs(plan.wall.iter().flat_map(Wall::variables));
    command.envs(plan.planted.map(|bug| (PLANTED, bug)));
    start_ready(command, &plan.log).await
}

/// Starts a command that serves, and waits until it says where.
pub async fn start_ready(command: Command, log: &Path) -> Result<(Program, SocketAddr), Trouble> {
    let mut server = Program::start(command, log, true)?;
    let not_ready = || Trouble::NotReady {
        seconds: READY_SECONDS,
        log: log.to_owned(),
    };
    let stdout = server.child.stdout.take().ok_or_else(not_ready)?;
    let ready = timeout(Duration::from_secs(READY_SECONDS), wait_until_ready(stdout, log)).await;
    match ready {
        Ok(Some(address)) => Ok((server, address)),
        _ => {
            server.kill().await;
            Err(not_ready())
        }
    }
}

/// Reads up to the line that names the address; the rest goes to the log as it comes.
async fn wait_until_ready(stdout: ChildStdout, log: &Path) -> Option<SocketAddr> {
    let mut lines = BufReader::new(stdout).lines();
    let mut log = append(log).ok()?;
    while let Ok(Some(line)) = lines.next_line().await {
        let _ = std::io::Write::write_all(&mut log, format!("{line}\n").as_bytes());
        let Ok(event) = serde_json::from_str::<serde_json::Value>(&line) else {
            continue;
        };
        if event["event"] == "ready" {
            let address = event["address"].as_str()?.parse().ok()?;
            tokio::spawn(async move {
                while let Ok(Some(line)) = lines.next_line().await {
                    let _ = std::io::Write::write_all(&mut log, format!("{line}\n").as_bytes());
                }
            });
            return Some(address);
        }
    }
    None
}

/// Starts a listener of the same program as the server, which records to a file.
pub fn start_listener(
    plan: &ServerPlan,
    server: SocketAddr,
    name: &str,
    topics: &[String],
    file: &Path,
    log: &Path,
) -> Result<Program, Trouble> {
    let mut command = listener(&plan.program, &[server], name, topics, file);
    command.envs(plan.wall.iter().flat_map(Wall::variables));
    command.envs(plan.planted.map(|bug| (PLANTED, bug)));
    Program::start(command, log, false)
}

/// A listener that records to a file, and knows these servers.
pub fn listener(program: &Path, servers: &[SocketAddr], name: &str, topics: &[String], file: &Path) -> Command {
    let urls: Vec<String> = servers.iter().map(|server| format!("ws://{server}")).collect();
    let mut command = Command::new(program);
    command.args([
        "listen",
        &urls.join(","),
        "--name",
        name,
        "--from",
        "earliest",
        "--quiet",
    ]);
    command.args(["--topics", &topics.join(",")]).arg("--log").arg(file);
    command
}
