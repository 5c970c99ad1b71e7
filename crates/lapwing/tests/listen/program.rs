//! The program as a child process, with everything it says.

use std::io::{BufRead as _, BufReader, Read, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// However slow the machine, by then it has happened.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// `lapwing` with these arguments, started.
pub fn lapwing(args: &[&str]) -> Program {
    Program::start(Command::new(env!("CARGO_BIN_EXE_lapwing")).args(args))
}

/// A listener that writes a file.
pub fn record(url: &str, log: impl AsRef<Path>, more: &[&str]) -> Program {
    let log = log.as_ref().to_str().expect("UTF-8");
    lapwing(&[&["listen", url, "--log", log], more].concat())
}

/// A server on a free port, and its URL.
pub fn serve(flags: &[&str]) -> (Program, String) {
    let (server, address) = serve_at("127.0.0.1:0", flags);
    (server, format!("ws://{address}"))
}

/// A server, and its address.
pub fn serve_at(address: &str, flags: &[&str]) -> (Program, String) {
    let server = lapwing(&[&["serve", "--listen", address, "--json"], flags].concat());
    let ready: serde_json::Value = serde_json::from_str(&server.shows("\"address\"")).expect("JSON");
    let address = ready["address"].as_str().expect("an address").to_owned();
    (server, address)
}

pub struct Program {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: Lines,
    stderr: Lines,
}

/// How it ended.
#[derive(Debug)]
pub struct Finished {
    pub code: Option<i32>,
    pub stdout: Vec<String>,
    pub stderr: Vec<String>,
}

impl Program {
    pub fn start(command: &mut Command) -> Self {
        command
            .env_remove("NO_COLOR")
            .env_remove("CLICOLOR_FORCE")
            .env("TZ", "UTC");
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().expect("the program starts");
        let stdout = Lines::of(child.stdout.take().expect("piped"));
        let stderr = Lines::of(child.stderr.take().expect("piped"));
        let stdin = child.stdin.take();
        Self {
            child,
            stdin,
            stdout,
            stderr,
        }
    }

    /// Waits until stderr has a line that holds `part`.
    #[track_caller]
    pub fn says(&self, part: &str) -> String {
        self.stderr.wait(part)
    }

    /// Waits until stdout has a line that holds `part`.
    #[track_caller]
    pub fn shows(&self, part: &str) -> String {
        self.stdout.wait(part)
    }

    pub fn write_line(&mut self, line: &[u8]) {
        let stdin = self.stdin.as_mut().expect("not closed yet");
        // One write, so that a reader gets it at once.
        stdin.write_all(&[line, b"\n"].concat()).expect("it reads");
    }

    /// Writes this line again and again, until nobody reads any more.
    pub fn write_lines_without_end(&mut self, line: &[u8]) {
        let mut stdin = self.stdin.take().expect("not closed yet");
        let line = [line, b"\n"].concat();
        std::thread::spawn(move || while stdin.write_all(&line).is_ok() {});
    }

    pub fn close_stdin(&mut self) {
        self.stdin = None;
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("it runs");
    }

    /// Waits for its end.
    #[track_caller]
    pub fn finish(mut self) -> Finished {
        let began = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("a child") {
                break status;
            }
            if began.elapsed() > DEADLINE {
                let _ = self.child.kill();
                panic!(
                    "it did not end; it said {:#?} and showed {:#?}",
                    self.stderr.all(),
                    self.stdout.all()
                );
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        Finished {
            code: status.code(),
            stdout: self.stdout.to_the_end(),
            stderr: self.stderr.to_the_end(),
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Finished {
    /// Checks the exit code, and tells everything when it is another.
    #[track_caller]
    pub fn with_code(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{self:#?}");
        self
    }

    /// The line of stderr that holds `part`.
    #[track_caller]
    pub fn said(&self, part: &str) -> &str {
        let line = self.stderr.iter().find(|line| line.contains(part));
        line.unwrap_or_else(|| panic!("nothing says {part:?}: {self:#?}"))
    }
}

/// Lines as they come from a pipe.
struct Lines(Arc<(Mutex<Read_>, Condvar)>);

#[derive(Default)]
struct Read_ {
    lines: Vec<String>,
    ended: bool,
}

impl Lines {
    fn of(pipe: impl Read + Send + 'static) -> Self {
        let shared = Arc::new((Mutex::new(Read_::default()), Condvar::new()));
        let lines = shared.clone();
        std::thread::spawn(move || {
            let mut pipe = BufReader::new(pipe);
            let mut line = Vec::new();
            while pipe.read_until(b'\n', &mut line).is_ok_and(|count| count > 0) {
                let text = String::from_utf8_lossy(line.strip_suffix(b"\n").unwrap_or(&line)).into_owned();
                lines.0.lock().expect("not poisoned").lines.push(text);
                lines.1.notify_all();
                line.clear();
            }
            lines.0.lock().expect("not poisoned").ended = true;
            lines.1.notify_all();
        });
        Self(shared)
    }

    #[track_caller]
    fn wait(&self, part: &str) -> String {
        let find = |read: &Read_| read.lines.iter().find(|line| line.contains(part)).cloned();
        let guard = self.0.0.lock().expect("not poisoned");
        let waiting = |read: &mut Read_| find(read).is_none() && !read.ended;
        let (guard, _) = self
            .0
            .1
            .wait_timeout_while(guard, DEADLINE, waiting)
            .expect("not poisoned");
        find(&guard).unwrap_or_else(|| panic!("no line holds {part:?}: {:#?}", guard.lines))
    }

    fn to_the_end(&self) -> Vec<String> {
        let guard = self.0.0.lock().expect("not poisoned");
        let (guard, _) = self
            .0
            .1
            .wait_timeout_while(guard, DEADLINE, |read| !read.ended)
            .expect("not poisoned");
        guard.lines.clone()
    }

    fn all(&self) -> Vec<String> {
        self.0.0.lock().expect("not poisoned").lines.clone()
    }
}

impl Program {
    pub fn has_shown(&self, part: &str) -> bool {
        self.stdout.all().iter().any(|line| line.contains(part))
    }
}

/// Says that a test could not run here.
pub fn skip(name: &str, why: &str) {
    use std::io::Write as _;
    #[expect(clippy::print_stdout, reason = "a skip is to be seen")]
    {
        println!("skipped: {why}");
    }
    if let Some(path) = std::env::var_os("LAPWING_SKIPS") {
        let mut file = std::fs::File::options()
            .append(true)
            .create(true)
            .open(path)
            .expect("a file of skips");
        writeln!(file, "{name}: {why}").expect("room");
    }
}
