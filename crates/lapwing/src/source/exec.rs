//! A command whose output is a feed: run once for all clients, started again as asked, ended with the server.

use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use lapwing_wire::escape::escaped;
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncBufReadExt as _, AsyncRead, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::watch;

use super::feeder::Feeder;
use super::spec::Restart;
use super::{Ended, SourceEvents, pump, told};
use crate::terminal::form;

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
            Ok(child) => match follow(child, &mut feeder, &events, &mut stopped).await {
                Some(status) => status,
                None => return Ended::Stopped,
            },
            Err(error) => {
                events.tell(format!("cannot run sh: {error}"));
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
fn spawn(command: &str) -> std::io::Result<Child> {
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
    shell.spawn()
}

/// Feeds the output of one run; `None` when the source was stopped, otherwise the command's status if it has one.
async fn follow(
    mut child: Child,
    feeder: &mut Feeder,
    events: &Arc<dyn SourceEvents>,
    stopped: &mut watch::Receiver<bool>,
) -> Option<Option<ExitStatus>> {
    let group = child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
    let complaints = child
        .stderr
        .take()
        .map(|stderr| tokio::spawn(tell_lines(stderr, events.clone())));
    let Some(stdout) = child.stdout.take() else {
        return Some(None);
    };
    let fed = tokio::select! {
        fed = pump(stdout, feeder) => fed,
        () = told(stopped) => {
            end(&mut child, group).await;
            return None;
        }
    };
    if let Err(error) = fed {
        events.tell(format!("the command's output broke: {error}"));
    }
    // It has closed its output; whatever else it does is waited for, unless the server stops.
    let status = tokio::select! {
        status = child.wait() => status.ok(),
        () = told(stopped) => {
            end(&mut child, group).await;
            return None;
        }
    };
    if let Some(complaints) = complaints {
        // What it said last is told before its end; a grandchild that keeps the pipe open is not waited for.
        let _ = tokio::time::timeout(Duration::from_secs(1), complaints).await;
    }
    Some(status)
}

/// SIGTERM to the whole group, and SIGKILL when that does not end it.
async fn end(child: &mut Child, group: Option<Pid>) {
    let Some(group) = group else { return };
    // A group that is gone already needs no signal.
    let _ = kill_process_group(group, Signal::TERM);
    if tokio::time::timeout(TERM_MAX, child.wait()).await.is_err() {
        let _ = kill_process_group(group, Signal::KILL);
        let _ = child.wait().await;
    }
    // Those of the group that outlived their leader go with it.
    let _ = kill_process_group(group, Signal::KILL);
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
