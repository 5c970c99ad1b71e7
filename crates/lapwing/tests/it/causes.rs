//! Whose fault it is that a client receives late, with real clients: named the same on the console, in `/api/clients`, in `$clients`
//! and in `$reports`.

use std::net::{Shutdown, TcpStream};
use std::num::NonZeroU64;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use lapwing_wire::block::BlockTimer;
use lapwing_wire::position::Offset;
use lapwing_wire::report::ReportBuilder;
use lapwing_wire::time::{WallTime, micros_text};
use lapwing_wire::topic::TopicName;
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::client::{Client, Heard, follow, speak, speak_slowly};
use crate::support::http::get;
use crate::support::server::{Plan, Running, Server};
use crate::support::{PATIENCE, eventually};

const READS_LATE: &str = "We sent in time and the network took it; the client reads late.";
const TAKES_LESS: &str = "It takes less than we send.";
const IT_IS_US: &str = "Many fall behind at once, or we were late: it is us.";
const AS_MADE: &str = "The block took as long as the source took to make it.";

/// About 2 MB a second in messages of 20 KiB.
const WIDE: &[&str] = &["--topic", "feed=arrays?every=10ms&burst=1&shape=3000&high=1000000"];

/// A client that works on each message for a while before it reads the next, and reports its blocks.
struct Worker {
    /// The other end of its socket, to end it by.
    socket: TcpStream,
    ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Worker {
    /// It takes so long over each message, and the wall clock in its reports is so many seconds ahead.
    fn start(mut client: Client, takes: Duration, ahead_seconds: i64) -> Self {
        let socket = client.stream().try_clone().expect("a socket");
        let ended = Arc::new(AtomicBool::new(false));
        let thread = std::thread::spawn({
            let ended = ended.clone();
            move || work(&mut client, takes, ahead_seconds, &ended)
        });
        Self {
            socket,
            ended,
            thread: Some(thread),
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        // The server may have ended it.
        let _ = self.socket.shutdown(Shutdown::Both);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

fn work(client: &mut Client, takes: Duration, ahead_seconds: i64, ended: &AtomicBool) {
    let topic = TopicName::parse("feed").expect("valid");
    let began = Instant::now();
    client.control("welcome");
    let live_from = client.control("subscribed")["next"].as_u64().expect("an offset");
    let mut timer = BlockTimer::new(NonZeroU64::new(5).expect("not zero"), Offset::new(live_from));
    let mut builder = ReportBuilder::default();
    let mut reported = Duration::ZERO;
    while let Heard::Text(text) = client.hear() {
        // What stands before the data says where a message is; the others are control messages.
        let Some(offset) = offset_of(&text) else { continue };
        std::thread::sleep(takes);
        let now = began.elapsed();
        for timing in timer.on_message(offset, now, text.len() as u64) {
            builder.on_block(&timing);
        }
        if ended.load(Ordering::Relaxed) {
            return;
        }
        if now - reported > REPORT_INTERVAL && !builder.is_empty() {
            reported = now;
            let time = micros_text(wall(ahead_seconds));
            let report = builder.take(&topic, None, 0, began.elapsed() - now, time);
            let mut report = serde_json::to_value(report.expect("there is something")).expect("serializable");
            report["type"] = json!("report");
            client.command(&report);
        }
    }
}

/// At most one a second is taken.
const REPORT_INTERVAL: Duration = Duration::from_millis(1050);

/// The wall clock as one shows it that is so many seconds ahead.
fn wall(ahead_seconds: i64) -> WallTime {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    let nanos = i64::try_from(since.as_nanos()).expect("before 2262");
    WallTime::from_nanos(nanos + ahead_seconds * 1_000_000_000)
}

fn offset_of(text: &str) -> Option<Offset> {
    let (_, rest) = text.strip_prefix("{\"topic\":")?.split_once("\"offset\":")?;
    let digits = rest.split(',').next()?;
    digits.parse().ok().map(Offset::new)
}

/// What is told of clients, where those who watch are told.
struct Watcher {
    clients: Client,
    reports: Client,
}

impl Watcher {
    fn of(server: &Server) -> Self {
        Self {
            clients: follow(server, "topics=$clients&name=watcher"),
            reports: follow(server, "topics=$reports&from=earliest&name=watcher"),
        }
    }

    /// Waits until this client's cause is told in `$reports`, five times in a row so that it is none that flips, in `$clients` and
    /// in `/api/clients`; gives its row there.
    #[track_caller]
    fn sees(&mut self, server: &Server, name: &str, cause: &str, why: &str) -> Value {
        let mut in_a_row = 0;
        told(&mut self.reports, |report| {
            if report["client"] == name {
                in_a_row = if report["cause"] == cause { in_a_row + 1 } else { 0 };
            }
            in_a_row == 5
        });
        self.sees_row(server, name, cause, why)
    }

    /// The same without a report.
    #[track_caller]
    fn sees_row(&mut self, server: &Server, name: &str, cause: &str, why: &str) -> Value {
        let is_so = |row: &Value| row["client"] == name && row["cause"] == cause && row["why"] == why;
        told(&mut self.clients, is_so);
        let mut row = Value::Null;
        eventually(&format!("{name} is {cause}: {why}"), || {
            let answer = get(server, "/api/clients").json();
            let rows = answer["rows"].as_array().expect("a list");
            row = rows.iter().find(|row| is_so(row)).cloned().unwrap_or_default();
            answer["counts"][cause].as_u64() > Some(0) && !row.is_null()
        });
        row
    }
}

/// The data of the next message for which this holds.
#[track_caller]
fn told(client: &mut Client, mut what: impl FnMut(&Value) -> bool) -> Value {
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        let data = client.message().data;
        if what(&data) {
            return data;
        }
    }
    panic!("it was not told");
}

/// The console's event that this client is slow, for this cause and reason.
#[track_caller]
fn told_slow(server: &Server, name: &str, cause: &str, why: &str) {
    server.event("slow", |told| {
        told["client"] == name && told["cause"] == cause && told["why"] == why
    });
}

#[test]
fn item_9_a_client_that_sleeps_over_each_message_reads_late() {
    let server = Server::start(&["--topic", "feed=arrays?every=100ms&burst=1"]);
    let mut watcher = Watcher::of(&server);
    let _sleeps = Worker::start(speak(&server, "topics=feed&name=sleeps"), Duration::from_millis(150), 0);
    let _awake = Worker::start(speak(&server, "topics=feed&name=awake"), Duration::ZERO, 0);
    told_slow(&server, "sleeps", "client slow", READS_LATE);
    let row = watcher.sees(&server, "sleeps", "client slow", READS_LATE);
    assert!(
        row["behind_ms"].as_f64() > Some(0.0) && row["topics"][0]["slow_since"].is_string(),
        "{row}"
    );
    watcher.sees(&server, "awake", "source-limited", AS_MADE);
}

#[test]
fn item_9_a_client_that_takes_less_than_is_sent_is_full() {
    let server = Server::start(WIDE);
    let mut watcher = Watcher::of(&server);
    let _small = Worker::start(
        speak_slowly(&server, "topics=feed&name=small"),
        Duration::from_millis(50),
        0,
    );
    // With a kernel that takes as much as kernels do.
    let _usual = Worker::start(speak(&server, "topics=feed&name=usual"), Duration::from_millis(50), 0);
    for name in ["small", "usual"] {
        told_slow(&server, name, "client slow", TAKES_LESS);
        let row = watcher.sees(&server, name, "client slow", TAKES_LESS);
        assert!(row["topics"][0]["lag"].as_u64() > Some(0), "{row}");
    }
}

#[test]
fn item_9_a_client_that_is_stopped_is_silent_until_it_goes_on() {
    let server = Server::start(&["--topic", "feed=users?every=50ms"]);
    let mut watcher = Watcher::of(&server);
    let stops = Running::start(&["listen", &server.url(), "--name", "stops", "--quiet"]);
    watcher.sees(&server, "stops", "source-limited", AS_MADE);
    stops.signal(Signal::STOP);
    let silent = server.event("silent", |told| told["client"] == "stops");
    assert_eq!(silent["cause"], "silent", "{silent}");
    let why = "Stopped or unreachable; it is closed when a ping stays unanswered.";
    let row = watcher.sees_row(&server, "stops", "silent", why);
    assert!(row["topics"][0]["slow_since"].is_string(), "{row}");
    stops.signal(Signal::CONT);
    server.event("keeps_up", |told| told["client"] == "stops");
    watcher.sees(&server, "stops", "source-limited", AS_MADE);
    eventually("what it stood still for is made up", || {
        let answer = get(&server, "/api/clients?search=stops").json();
        let row = &answer["rows"][0];
        row["behind_ms"].as_f64().is_some_and(|ms| ms < 1000.0) && row["topics"][0]["slow_since"].is_null()
    });
    assert!(
        server.events("left").is_empty(),
        "it was away for less than the ping's deadline"
    );
}

#[test]
fn item_9_a_client_whose_reports_say_another_time_is_as_fast_as_it_is() {
    let server = Server::start(&["--topic", "feed=users?every=50ms"]);
    let mut watcher = Watcher::of(&server);
    let _ahead = Worker::start(speak(&server, "topics=feed&name=ahead"), Duration::ZERO, 300);
    let _behind = Worker::start(speak(&server, "topics=feed&name=behind"), Duration::ZERO, -300);
    for name in ["ahead", "behind"] {
        let row = watcher.sees(&server, name, "source-limited", AS_MADE);
        let ms = |key: &str| row["topics"][0][key].as_f64().expect("known");
        // It is one machine: neither minutes, nor without an error.
        assert!(
            (0.0..10_000.0).contains(&ms("latency_ms")) && ms("latency_error_ms") < 1000.0,
            "{row}"
        );
        assert!(ms("behind_ms").abs() < 10_000.0, "{row}");
    }
}

#[test]
fn item_9_a_source_that_stalls_makes_no_client_slow() {
    // Ten a beat were asked for, and it gives ten now and then; the other one stops in the middle of a block.
    let pauses = "feed=exec:while :; do seq 12; sleep 1.7; done?every=100ms&burst=10";
    let mut server = Plan::new(&["--topic", pauses, "--topic", "typed=stdin"])
        .stdin()
        .start();
    let mut watcher = Watcher::of(&server);
    let _listener = Running::start(&["listen", &server.url(), "--name", "waits", "--quiet"]);
    eventually("it listens", || {
        server.events("joined").iter().any(|told| told["client"] == "waits")
    });
    let reported = |server: &Server, block: u64| {
        server.event("report", |told| told["topic"] == "typed" && told["block"] == block);
    };
    server.feed("1\n".repeat(12));
    reported(&server, 1);
    // The pause itself is what is tested: longer than a report may be overdue and a ping unanswered.
    std::thread::sleep(Duration::from_secs(6));
    server.feed("1\n".repeat(12));
    reported(&server, 3);
    watcher.sees(&server, "waits", "source-limited", AS_MADE);
    for event in ["slow", "silent"] {
        assert_eq!(server.events(event), [] as [Value; 0]);
    }
    assert!(
        server
            .events("report")
            .iter()
            .all(|report| report["cause"] == "source-limited")
    );
}

#[test]
fn item_9_clients_that_wait_for_our_turn_are_told_that_it_is_us() {
    let server = Plan::new(WIDE).env("LAPWING_FAULT", "late-turns").start();
    let mut watcher = Watcher::of(&server);
    let names = ["first", "second", "third"];
    let _listeners = names.map(|name| Running::start(&["listen", &server.url(), "--name", name, "--quiet"]));
    for name in names {
        told_slow(&server, name, "server slow", IT_IS_US);
        watcher.sees(&server, name, "server slow", IT_IS_US);
    }
}

#[test]
fn item_9_one_client_alone_that_waits_for_our_turn_is_not_blamed_for_it() {
    let server = Plan::new(WIDE).env("LAPWING_FAULT", "late-turns").start();
    let mut watcher = Watcher::of(&server);
    let _listener = Running::start(&["listen", &server.url(), "--name", "alone", "--quiet"]);
    told_slow(&server, "alone", "server slow", IT_IS_US);
    watcher.sees(&server, "alone", "server slow", IT_IS_US);
}

#[test]
fn item_9_who_sends_no_reports_is_unclear() {
    let server = Server::start(&["--topic", "feed=users?every=50ms"]);
    let mut watcher = Watcher::of(&server);
    let mut plain = follow(&server, "topics=feed&name=plain");
    plain.messages(5);
    let row = watcher.sees_row(
        &server,
        "plain",
        "unclear",
        "It sends no reports; only what waits here is known.",
    );
    assert!(
        row["behind_ms"].is_null() && row["topics"][0]["cause"].is_null(),
        "{row}"
    );
}

#[test]
fn item_9_who_is_cut_off_has_left_and_the_other_is_as_before() {
    let server = Server::start(&["--topic", "feed=users?every=50ms"]);
    let mut watcher = Watcher::of(&server);
    let _stays = Running::start(&["listen", &server.url(), "--name", "stays", "--quiet"]);
    let goes = Running::start(&["listen", &server.url(), "--name", "goes", "--quiet"]);
    let session = watcher.sees(&server, "goes", "source-limited", AS_MADE)["session"].clone();
    goes.kill();
    assert_eq!(server.event("left", |left| left["client"] == "goes")["code"], 1006);
    assert_eq!(
        told(&mut watcher.clients, |data| data["left"] == true)["session"],
        session
    );
    assert_eq!(get(&server, "/api/clients?search=goes").json()["rows"], json!([]));
    watcher.sees(&server, "stays", "source-limited", AS_MADE);
    assert_eq!(server.events("slow"), [] as [Value; 0]);
}
