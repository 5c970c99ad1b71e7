//! The real programs as child processes, a publisher, and the files that listeners write.

use std::io::{BufRead as _, BufReader, Read, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// So long a test waits for what must come. Far longer than it takes: other work may have the machine.
pub const PATIENCE: Duration = Duration::from_secs(90);

/// The program under test: as `LAPWING_BIN` says, or the one that cargo built beside this test.
pub fn lapwing() -> PathBuf {
    let told = std::env::var_os("LAPWING_BIN").map(PathBuf::from);
    let program = told.unwrap_or_else(|| {
        let own = std::env::current_exe().expect("a running program has a path");
        let built = own.ancestors().nth(2).expect("tests stand in deps, below the programs");
        built.join("lapwing")
    });
    assert!(program.is_file(), "{program:?} is not there: cargo build -p lapwing");
    program
}

/// Waits until `holds`, which is asked again and again.
#[track_caller]
pub fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "never came: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Says that a test could not run here, where `scripts/test` collects that.
#[expect(clippy::print_stdout, reason = "a skip is to be seen")]
pub fn skip(name: &str, why: &str) {
    println!("skipped: {why}");
    let Some(path) = std::env::var_os("LAPWING_SKIPS") else {
        return;
    };
    let mut file = std::fs::OpenOptions::new()
        .append(true)
        .create(true)
        .open(path)
        .expect("a file of skips");
    writeln!(file, "{name}: {why}").expect("room");
}

/// A number from the environment, such as how often to do something in a long run.
pub fn wanted(variable: &str, otherwise: usize) -> usize {
    let told = std::env::var(variable).ok();
    told.map_or(otherwise, |told| told.parse().expect("a number"))
}

/// The lines that a process prints, read as they come.
#[derive(Clone, Default)]
struct Lines(Arc<(Mutex<Seen>, Condvar)>);

#[derive(Default)]
struct Seen {
    lines: Vec<String>,
    ended: bool,
}

impl Lines {
    fn of(pipe: impl Read + Send + 'static) -> Self {
        let lines = Self::default();
        let seen = lines.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(pipe).lines().map_while(Result::ok) {
                seen.0.0.lock().expect("no reader panics").lines.push(line);
                seen.0.1.notify_all();
            }
            seen.0.0.lock().expect("no reader panics").ended = true;
            seen.0.1.notify_all();
        });
        lines
    }

    /// The first line, past or to come, in which `find` finds something.
    #[track_caller]
    fn find<T>(&self, what: &str, find: impl Fn(&str) -> Option<T>) -> T {
        let look = |seen: &Seen| seen.lines.iter().find_map(|line| find(line));
        let seen = self.0.0.lock().expect("no reader panics");
        let waits = |seen: &mut Seen| !seen.ended && look(seen).is_none();
        let (seen, _) = self
            .0
            .1
            .wait_timeout_while(seen, PATIENCE, waits)
            .expect("no reader panics");
        look(&seen).unwrap_or_else(|| panic!("no line {what} among:\n{}", seen.lines.join("\n")))
    }

    fn so_far(&self) -> Vec<String> {
        self.0.0.lock().expect("no reader panics").lines.clone()
    }
}

/// A child process with everything it says; killed when it is dropped.
pub struct Program {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: Lines,
    stderr: Lines,
}

impl Program {
    /// Starts a command.
    #[track_caller]
    pub fn start(mut command: Command) -> Self {
        command.env_remove("CLICOLOR_FORCE").env("TZ", "UTC");
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().expect("the program starts");
        let stdout = Lines::of(child.stdout.take().expect("piped above"));
        let stderr = Lines::of(child.stderr.take().expect("piped above"));
        let stdin = child.stdin.take();
        Self {
            child,
            stdin,
            stdout,
            stderr,
        }
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits until its standard output has a line that holds `part`.
    #[track_caller]
    pub fn shows(&self, part: &str) -> String {
        let find = |line: &str| line.contains(part).then(|| line.to_owned());
        self.stdout.find(&format!("with {part:?}"), find)
    }

    /// Waits until its standard error has a line that holds `part`.
    #[track_caller]
    pub fn says(&self, part: &str) -> String {
        let find = |line: &str| line.contains(part).then(|| line.to_owned());
        self.stderr.find(&format!("with {part:?}"), find)
    }

    /// What its standard output has shown so far.
    pub fn shown(&self) -> Vec<String> {
        self.stdout.so_far()
    }

    /// Writes to its standard input.
    #[track_caller]
    pub fn feed(&mut self, text: &str) {
        let stdin = self.stdin.as_mut().expect("open as long as it runs");
        let written = stdin.write_all(text.as_bytes()).and_then(|()| stdin.flush());
        written.expect("it reads");
    }

    /// Ends its standard input.
    pub fn end_input(&mut self) {
        self.stdin = None;
    }

    /// Sends it a signal.
    #[track_caller]
    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("it is our child");
    }

    /// Ends it as the kernel does.
    pub fn kill(&mut self) {
        self.child.kill().expect("it is our child");
        self.child.wait().expect("it is our child");
    }

    /// Waits for its end, which must have this code.
    #[track_caller]
    pub fn ends_with(mut self, code: i32) {
        let deadline = Instant::now() + PATIENCE;
        let status = loop {
            match self.child.try_wait().expect("it is our child") {
                Some(status) => break Some(status),
                None if Instant::now() > deadline => break None,
                None => std::thread::sleep(Duration::from_millis(5)),
            }
        };
        let said = self.stderr.so_far().join("\n");
        let status = status.unwrap_or_else(|| panic!("it never ended; it said:\n{said}"));
        assert_eq!(status.code(), Some(code), "it said:\n{said}");
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A running `lapwing serve`, its events told as JSON.
pub struct Server {
    /// The process.
    pub program: Program,
    /// Where it listens.
    pub address: SocketAddr,
}

impl Server {
    /// Starts it on a free port of this machine.
    #[track_caller]
    pub fn start(args: &[&str]) -> Self {
        Self::from_command(Command::new(lapwing()), "127.0.0.1:0", args)
    }

    /// Starts a command that runs the program with what is added here.
    #[track_caller]
    pub fn from_command(mut command: Command, listen: &str, args: &[&str]) -> Self {
        command
            .args(["serve", "--output", "json", "--listen", listen])
            .args(args);
        let program = Program::start(command);
        let address = program.stdout.find("with the event ready", |line| {
            let event: Value = serde_json::from_str(line).ok()?;
            let address = event["address"].as_str().filter(|_| event["event"] == "ready")?;
            address.parse().ok()
        });
        Self { program, address }
    }

    /// The first event of this name, past or to come, for which `is_it` holds.
    #[track_caller]
    pub fn event(&self, name: &str, is_it: impl Fn(&Value) -> bool) -> Value {
        self.program.stdout.find(&format!("with the event {name}"), |line| {
            let event: Value = serde_json::from_str(line).expect("every line is JSON");
            (event["event"] == name && is_it(&event)).then_some(event)
        })
    }

    /// Its resident memory.
    pub fn memory_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.program.id())).expect("it runs");
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .expect("a line");
        let number = line.split_whitespace().next().expect("a number");
        number.parse().expect("a number")
    }

    /// The events of this name so far.
    pub fn events(&self, name: &str) -> Vec<Value> {
        let lines = self.program.stdout.so_far().into_iter();
        let events = lines.map(|line| serde_json::from_str::<Value>(&line).expect("every line is JSON"));
        events.filter(|event| event["event"] == name).collect()
    }
}

/// `lapwing listen` that records everything from the oldest message on.
pub fn listen(mut command: Command, url: &str, file: &Path, args: &[&str]) -> Program {
    command.args(["listen", url, "--from", "earliest", "--quiet", "--log"]);
    command.arg(file).args(args);
    Program::start(command)
}

/// What a publish was answered.
#[derive(Debug)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The body, as JSON if it is that.
    pub body: Value,
}

/// Publishes a body once, under a number by which a repetition is recognised; an error leaves open whether it was taken.
pub fn publish(server: SocketAddr, topic: &str, sequence: u64, body: &str) -> std::io::Result<Answer> {
    let mut stream = TcpStream::connect(server)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let head = format!(
        "POST /topics/{topic}/messages HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\nContent-Type: application/x-ndjson\r\n\
         Lapwing-Source: net\r\nLapwing-Sequence: {sequence}\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(&[head.as_bytes(), body.as_bytes()].concat())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let whole = answer.split_once("\r\n\r\n").and_then(|(head, body)| {
        let status = head.split(' ').nth(1)?.parse().ok()?;
        Some((status, body))
    });
    let (status, body) = whole.ok_or(std::io::ErrorKind::UnexpectedEof)?;
    let body = serde_json::from_str(body);
    if status < 300 && body.is_err() {
        return Err(std::io::ErrorKind::UnexpectedEof.into());
    }
    let body = body.unwrap_or(Value::Null);
    Ok(Answer { status, body })
}

/// Publishes messages, a line each, as one body that must be taken; gives the first one's offset.
#[track_caller]
pub fn publish_all(server: SocketAddr, topic: &str, sequence: u64, messages: &[Value]) -> u64 {
    let body: String = messages.iter().map(|message| format!("{message}\n")).collect();
    let answer = publish(server, topic, sequence, &body).expect("an answer comes");
    assert_eq!(answer.status, 201, "{answer:?}");
    answer.body["first"].as_u64().expect("an offset")
}

/// The whole lines of a recording.
pub fn recorded(file: &Path) -> Vec<Value> {
    let bytes = std::fs::read(file).unwrap_or_default();
    let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
    let lines = bytes[..whole]
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty());
    lines
        .map(|line| serde_json::from_slice(line).expect("a whole line is JSON"))
        .collect()
}

/// Offset and data of the messages of a topic in a recording.
pub fn messages(lines: &[Value], topic: &str) -> Vec<(u64, Value)> {
    let messages = lines
        .iter()
        .filter(|line| line["record"].is_null() && line["topic"] == topic);
    messages
        .map(|line| (line["offset"].as_u64().expect("an offset"), line["data"].clone()))
        .collect()
}

/// The records of a kind in a recording.
pub fn records<'a>(lines: &'a [Value], kind: &str) -> Vec<&'a Value> {
    lines.iter().filter(|line| line["record"] == kind).collect()
}

/// Waits until a recording holds so many messages of a topic.
#[track_caller]
pub fn holds(file: &Path, topic: &str, count: usize) {
    eventually(&format!("{count} messages of {topic} in the file"), || {
        messages(&recorded(file), topic).len() >= count
    });
}

/// Checks that a recording has exactly these messages of a topic, from offset 0 on.
#[track_caller]
pub fn assert_holds(file: &Path, topic: &str, expected: &[Value]) {
    let held = messages(&recorded(file), topic);
    let offsets: Vec<u64> = held.iter().map(|(offset, _)| *offset).collect();
    assert!(
        offsets.iter().copied().eq(0..expected.len() as u64),
        "{}: {offsets:?}",
        file.display()
    );
    for ((offset, data), expected) in held.iter().zip(expected) {
        assert!(data == expected, "{}: another message at {offset}", file.display());
    }
}

/// `lapwing verify`, which must end with 0.
#[track_caller]
pub fn verify(flags: &[&str], files: &[PathBuf]) {
    let mut command = Command::new(lapwing());
    command.arg("verify").args(flags).args(files);
    let ran = command.output().expect("the program runs");
    let said = String::from_utf8_lossy(&ran.stdout);
    assert_eq!(ran.status.code(), Some(0), "{said}");
}

/// Nanoseconds since midnight of a time in RFC 3339, near enough to compare two that lie close together.
pub fn nanos(time: &Value) -> i128 {
    let text = time.as_str().expect("a time");
    let part = |from: usize, to: usize| text[from..to].parse::<i128>().expect("digits");
    let fraction = text[20..].trim_end_matches('Z');
    let seconds = (part(8, 10) * 24 + part(11, 13)) * 3600 + part(14, 16) * 60 + part(17, 19);
    seconds * 1_000_000_000 + format!("{fraction:0<9}").parse::<i128>().expect("digits")
}
