//! The real program as a process of its own: started, watched, stopped.

use std::io::Write as _;
use std::net::SocketAddr;
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::time::Instant;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::PATIENCE;
use super::faults::MemoryGroup;
use super::lines::Lines;

/// The program.
pub const LAPWING: &str = env!("CARGO_BIN_EXE_lapwing");

/// How a server is to be started.
pub struct Plan {
    command: Command,
    json: bool,
    stdout_unread: bool,
    stderr_unread: bool,
    one_stream: bool,
}

impl Plan {
    /// `lapwing serve` on a free port, its events as JSON, with nothing on its standard input.
    pub fn new(args: &[&str]) -> Self {
        Self::from_command(Command::new(LAPWING), args)
    }

    /// As [`Plan::new`], with at most so many open files.
    pub fn with_open_files(count: u32, args: &[&str]) -> Self {
        Self::limited(&format!("ulimit -n {count}"), args)
    }

    /// As [`Plan::new`], with no file larger than so many KiB.
    pub fn with_file_size(kib: u32, args: &[&str]) -> Self {
        Self::limited(&format!("ulimit -f {kib}"), args)
    }

    /// As [`Plan::new`], within a group of processes.
    pub fn within(group: &MemoryGroup, args: &[&str]) -> Self {
        let joins = format!("echo $$ > {}", group.members().display());
        Self::limited(&joins, args)
    }

    /// bash, because its `ulimit -f` counts in KiB everywhere.
    fn limited(limit: &str, args: &[&str]) -> Self {
        let mut shell = Command::new("bash");
        shell
            .arg("-c")
            .arg(format!("{limit} && exec \"$0\" \"$@\""))
            .arg(LAPWING);
        Self::from_command(shell, args)
    }

    /// As [`Plan::new`], with system calls that fail or take their time: what `strace -e inject=` understands.
    pub fn injected(inject: &str, args: &[&str]) -> Self {
        let mut strace = Command::new("strace");
        // -D: the server is our child, and strace its own.
        strace
            .args(["-D", "-f", "-qq", "-o", "/dev/null", "-e", &format!("inject={inject}")])
            .arg(LAPWING);
        Self::from_command(strace, args)
    }

    /// As [`Plan::new`], with sentences for people, and standard error where standard output is: a pipe that takes a page at a time.
    pub fn one_stream(args: &[&str]) -> Self {
        let mut plan = Self::limited("exec 2>&1", args).text();
        plan.one_stream = true;
        plan
    }

    fn from_command(mut command: Command, args: &[&str]) -> Self {
        command.args(["serve", "--listen", "127.0.0.1:0"]).args(args);
        Self::of(command)
    }

    /// Of a whole command line.
    pub fn of(mut command: Command) -> Self {
        command.stdin(Stdio::null());
        Self {
            command,
            json: true,
            stdout_unread: false,
            stderr_unread: false,
            one_stream: false,
        }
    }

    /// Sentences for people instead of JSON.
    pub fn text(mut self) -> Self {
        self.json = false;
        self
    }

    /// Standard input is a pipe that the test writes.
    pub fn stdin(mut self) -> Self {
        self.command.stdin(Stdio::piped());
        self
    }

    /// Standard input is this file.
    pub fn stdin_of(mut self, file: std::fs::File) -> Self {
        self.command.stdin(file);
        self
    }

    /// Nobody reads standard output until [`Server::read_stdout`].
    pub fn stdout_unread(mut self) -> Self {
        self.stdout_unread = true;
        self
    }

    /// Nobody reads standard error until [`Server::read_stderr`], and its pipe is as small as there are.
    pub fn stderr_unread(mut self) -> Self {
        self.stderr_unread = true;
        self
    }

    /// Sets a variable of its environment.
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.command.env(name, value);
        self
    }

    /// Starts it, where it is to refuse, and waits for its end.
    pub fn refused(mut self) -> std::process::Output {
        self.command.output().expect("the program was built")
    }

    /// Starts it and waits until it is ready.
    #[track_caller]
    pub fn start(mut self) -> Server {
        if self.json {
            self.command.args(["--output", "json"]);
        }
        let mut child = self
            .command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program was built");
        let mut unread_err = child.stderr.take();
        if let Some(pipe) = unread_err.as_ref().filter(|_| self.stderr_unread) {
            rustix::pipe::fcntl_setpipe_size(pipe, 4096).expect("a page is allowed");
        }
        if let Some(pipe) = child.stdout.as_ref().filter(|_| self.one_stream) {
            rustix::pipe::fcntl_setpipe_size(pipe, 4096).expect("a page is allowed");
        }
        let err = (!self.stderr_unread).then(|| Lines::of(unread_err.take().expect("piped above")));
        let stdin = child.stdin.take();
        let mut unread = child.stdout.take();
        let out = (!self.stdout_unread).then(|| Lines::of(unread.take().expect("piped above")));
        let mut server = Server {
            child,
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
            stdin,
            unread,
            unread_err,
            out,
            err,
        };
        server.address = if self.json {
            let ready = server.event("ready", |_| true);
            ready["address"]
                .as_str()
                .and_then(|address| address.parse().ok())
                .expect("ready tells the address")
        } else {
            let told = if self.one_stream { server.out() } else { server.err() };
            told.find("with the address", |line| {
                let (_, rest) = line.split_once("Stream   ws")?;
                let (_, rest) = rest.split_once("://")?;
                rest.split_whitespace().next()?.parse().ok()
            })
        };
        server
    }
}

/// A running server; killed when it is dropped.
pub struct Server {
    child: Child,
    address: SocketAddr,
    stdin: Option<ChildStdin>,
    unread: Option<ChildStdout>,
    unread_err: Option<ChildStderr>,
    out: Option<Lines>,
    err: Option<Lines>,
}

impl Server {
    /// Starts `lapwing serve` on a free port and waits until it is ready; its events are told as JSON.
    #[track_caller]
    pub fn start(args: &[&str]) -> Self {
        Plan::new(args).start()
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The URL of its streams.
    pub fn url(&self) -> String {
        format!("ws://{}", self.address)
    }

    /// Its process id.
    pub fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// A line of what the kernel tells of its memory.
    pub fn memory_kib(&self, line: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid().as_raw_pid())).unwrap();
        let value = status.lines().find_map(|found| found.strip_prefix(line)).unwrap();
        value.split_whitespace().next().unwrap().parse().unwrap()
    }

    /// The first event of this name, past or to come, for which `is_it` holds.
    #[track_caller]
    pub fn event(&self, name: &str, mut is_it: impl FnMut(&Value) -> bool) -> Value {
        self.out().find(&format!("with the event {name}"), |line| {
            let event: Value = serde_json::from_str(line).expect("every line is JSON");
            (event["event"] == name && is_it(&event)).then_some(event)
        })
    }

    /// The events of this name so far.
    pub fn events(&self, name: &str) -> Vec<Value> {
        let events = self.out().so_far().into_iter();
        let events = events.map(|line| serde_json::from_str::<Value>(&line).expect("every line is JSON"));
        events.filter(|event| event["event"] == name).collect()
    }

    /// The first thing told of a source that holds `text`.
    #[track_caller]
    pub fn source_says(&self, text: &str) -> String {
        let event = self.event("source", |event| {
            event["text"].as_str().is_some_and(|told| told.contains(text))
        });
        event["text"].as_str().expect("checked above").to_owned()
    }

    /// Its standard output.
    pub fn out(&self) -> &Lines {
        self.out.as_ref().expect("standard output is read")
    }

    /// Its standard error.
    pub fn err(&self) -> &Lines {
        self.err.as_ref().expect("standard error is read")
    }

    /// Begins to read the standard error that nobody has read so far.
    pub fn read_stderr(&mut self) {
        self.err = self.unread_err.take().map(Lines::of);
    }

    /// Begins to read the standard output that nobody has read so far.
    pub fn read_stdout(&mut self) {
        self.out = self.unread.take().map(Lines::of);
    }

    /// Closes the standard output that nobody reads.
    pub fn close_stdout(&mut self) {
        self.unread = None;
    }

    /// Writes to its standard input.
    #[track_caller]
    pub fn feed(&mut self, bytes: impl AsRef<[u8]>) {
        let stdin = self.stdin.as_mut().expect("standard input is a pipe");
        stdin
            .write_all(bytes.as_ref())
            .and_then(|()| stdin.flush())
            .expect("the server reads it");
    }

    /// Ends its standard input.
    pub fn end_stdin(&mut self) {
        self.stdin = None;
    }

    /// Sends it a signal.
    #[track_caller]
    pub fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).expect("it runs");
    }

    /// Ctrl-C.
    #[track_caller]
    pub fn interrupt(&self) {
        self.signal(Signal::INT);
    }

    /// Waits until it has ended.
    #[track_caller]
    pub fn wait(&mut self) -> ExitStatus {
        wait(&mut self.child)
    }

    /// Whether it still runs.
    pub fn runs(&mut self) -> bool {
        self.child.try_wait().expect("it is our child").is_none()
    }
}

impl Drop for Server {
    #[expect(clippy::print_stderr, reason = "the test harness shows it beside the failure")]
    fn drop(&mut self) {
        if std::thread::panicking() {
            let status = self.child.try_wait();
            let told = self.err.as_ref().map_or(Vec::new(), Lines::so_far);
            eprintln!("the server: {status:?}\n{}", told.join("\n"));
        }
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Another run of the program: its end and what it printed.
pub struct Ran {
    /// Its exit code, none when a signal ended it.
    pub code: Option<i32>,
    /// Its standard output.
    pub out: Vec<String>,
    /// Its standard error.
    pub err: Vec<String>,
}

/// Runs the program to its end.
#[track_caller]
pub fn lapwing(args: &[&str]) -> Ran {
    Running::start(args).end()
}

/// Another run of the program, such as a listener.
pub struct Running {
    child: Child,
    out: Lines,
    err: Lines,
}

impl Running {
    /// Starts it.
    #[track_caller]
    pub fn start(args: &[&str]) -> Self {
        let mut child = Command::new(LAPWING)
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program was built");
        let out = Lines::of(child.stdout.take().expect("piped above"));
        let err = Lines::of(child.stderr.take().expect("piped above"));
        Self { child, out, err }
    }

    /// Its standard output.
    pub fn out(&self) -> &Lines {
        &self.out
    }

    /// Ctrl-C.
    #[track_caller]
    pub fn interrupt(&self) {
        self.signal(Signal::INT);
    }

    /// Sends it a signal.
    #[track_caller]
    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("it runs");
    }

    /// Ends it as the kernel does.
    #[track_caller]
    pub fn kill(mut self) {
        self.child.kill().expect("it runs");
        wait(&mut self.child);
    }

    /// Waits until it has ended.
    #[track_caller]
    pub fn end(mut self) -> Ran {
        Ran {
            code: wait(&mut self.child).code(),
            out: self.out.all(),
            err: self.err.all(),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[track_caller]
fn wait(child: &mut Child) -> ExitStatus {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(status) = child.try_wait().expect("it is our child") {
            return status;
        }
        assert!(Instant::now() < deadline, "the process never ended");
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
}
