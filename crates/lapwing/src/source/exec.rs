//! A command whose output is a feed: run once for all clients, started again as asked, ended with the server.
//!
//! A run is over when the output is closed and the shell has exited: what it left in the background goes on feeding while it
//! holds the output. Whatever is left of its process group is then killed, before the next run and also when there is none;
//! a command that shall outlive its run has to leave the group (`setsid`).

use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use lapwing_wire::escape::escaped;
use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};
use tokio::io::{AsyncBufReadExt as _, AsyncRead, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::watch;

use super::feeder::Feeder;
use super::spec::Restart;
use super::{Ended, SourceEvents, pump, told};
use crate::terminal::form;

use crate::reason::reason;

/// Runs the command until it ends for good, or the source is stopped.
pub async fn run(
    command: &str,
    restart: Restart,
    mut feeder: Feeder,
    events: Arc<dyn SourceEvents>,
    mut stopped: watch::Receiver<bool>,
) -> Ended {
    let mut pause = PAUSE_MIN;
    loop {
        let began = Instant::now();
        let status = match spawn(command) {
            Ok(command) => match follow(command, &mut feeder, &events, &mut stopped).await {
                Some(status) => status,
                None => return Ended::Stopped,
            },
            Err(error) => {
                events.tell(format!("cannot run sh: {}", reason(&error)));
                None
            }
        };
        let succeeded = status.is_some_and(|status| status.success());
        let again = match restart {
            Restart::Always => true,
            Restart::OnFailure => !succeeded,
            Restart::Never => false,
        };
        let ended = format!(
            "the command {} after {}",
            status.map_or("did not start".to_owned(), how),
            form::short_span(began.elapsed())
        );
        if !again {
            events.tell(ended);
            return Ended::OfItself;
        }
        // One that ran for a while begins with the short pause again.
        if began.elapsed() >= PAUSE_MAX {
            pause = PAUSE_MIN;
        }
        events.tell(format!("{ended}; it is started again in {}", form::short_span(pause)));
        tokio::select! {
            () = tokio::time::sleep(pause) => pause = (pause * 2).min(PAUSE_MAX),
            () = told(&mut stopped) => return Ended::Stopped,
        }
    }
}

/// In a process group of its own, which a stop ends whole; without our secrets, and without our standard input.
fn spawn(command: &str) -> std::io::Result<Running> {
    let mut shell = Command::new("sh");
    shell
        .arg("-c")
        .arg(command)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("LAPWING_") {
            shell.env_remove(name);
        }
    }
    let leader = shell.spawn()?;
    let group = leader.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
    let group = group.expect("a child that was not waited for has an id, and the system's ids fit");
    Ok(Running { leader, group })
}

/// Feeds the output of one run; `None` when the source was stopped, otherwise the command's status if it has one.
async fn follow(
    mut command: Running,
    feeder: &mut Feeder,
    events: &Arc<dyn SourceEvents>,
    stopped: &mut watch::Receiver<bool>,
) -> Option<Option<ExitStatus>> {
    let complaints = command
        .leader
        .stderr
        .take()
        .map(|stderr| tokio::spawn(tell_lines(stderr, events.clone())));
    let output = command.leader.stdout.take();
    let over = async {
        if let Some(output) = output
            && let Err(error) = pump(output, feeder).await
        {
            events.tell(format!("the command's output broke: {}", reason(&error)));
        }
        // It has closed its output; whatever else it does is waited for, unless the server stops.
        exited(command.group).await;
    };
    let stop = tokio::select! {
        () = over => false,
        () = told(stopped) => true,
    };
    if stop {
        command.end().await;
        return None;
    }
    let status = command.reap().await;
    if let Some(complaints) = complaints {
        // What it said last is told before its end; a process that left the group with the pipe is not waited for.
        let _ = tokio::time::timeout(Duration::from_secs(1), complaints).await;
    }
    Some(status)
}

/// A shell that runs as the leader of a process group, and is not reaped before the others of its group are dead: until
/// then no other group can have its id, so a signal to the group reaches nobody else.
struct Running {
    leader: Child,
    group: Pid,
}

impl Running {
    /// Kills those of its group who are left, and reaps the leader, which has exited or goes with them.
    async fn reap(mut self) -> Option<ExitStatus> {
        self.signal(Signal::KILL);
        self.leader.wait().await.ok()
    }

    /// SIGTERM to the whole group, and SIGKILL when that does not end its leader, or to those who outlived it.
    async fn end(self) {
        self.signal(Signal::TERM);
        // Whether it went by itself or not, what follows is the same.
        let _ = tokio::time::timeout(TERM_MAX, exited(self.group)).await;
        self.reap().await;
    }

    fn signal(&self, signal: Signal) {
        // The id is known as long as the leader is not reaped. A group that is gone already needs no signal.
        if self.leader.id().is_some() {
            let _ = kill_process_group(self.group, signal);
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
    }
}

/// Waits until a child has exited, and does not reap it. When this is dropped a thread waits on, until the child is killed.
async fn exited(child: Pid) {
    let waiting = tokio::task::spawn_blocking(move || {
        let exit = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        while matches!(waitid(WaitId::Pid(child), exit), Err(Errno::INTR)) {}
    });
    // It fails only when the whole program ends.
    let _ = waiting.await;
}

/// What a command complains about is ours to show, made harmless and cut.
async fn tell_lines(stderr: impl AsyncRead + Unpin, events: Arc<dyn SourceEvents>) {
    let mut lines = BufReader::new(stderr);
    let mut line = Vec::new();
    loop {
        line.clear();
        match tokio::io::AsyncReadExt::take(&mut lines, LINE_BYTES_MAX)
            .read_until(b'\n', &mut line)
            .await
        {
            Ok(0) | Err(_) => return,
            Ok(_) => events.tell(format!("says: {}", escaped(String::from_utf8_lossy(&line).trim_end()))),
        }
    }
}

fn how(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt as _;
    match (status.code(), status.signal()) {
        (Some(0), _) => "has ended".to_owned(),
        (Some(code), _) => format!("failed with code {code}"),
        (None, Some(signal)) => format!("was killed by signal {signal}"),
        (None, None) => "has ended somehow".to_owned(),
    }
}

const PAUSE_MIN: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(30);
/// Between SIGTERM and SIGKILL.
const TERM_MAX: Duration = Duration::from_secs(2);
const LINE_BYTES_MAX: u64 = 1024;
