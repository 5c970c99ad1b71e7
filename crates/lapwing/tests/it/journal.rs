//! The operator's log: what it tells at which level and how, how often, and that nobody ever waits for it.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::bearer::{Secrets, ask_stream, ask_with, speak_with};
use crate::support::client::{follow, speak};
use crate::support::eventually;
use crate::support::faults::can_inject;
use crate::support::frames::{FIN, Raw, TEXT, masked};
use crate::support::http::{Answer, answer, ask, get, open, post, send};
use crate::support::server::{Plan, Server, lapwing};

const QUIET: &[&str] = &["--topic", "quiet=push"];
const LIVELY: &[&str] = &["--topic", "users=users?every=10ms"];

/// A log file in a folder of its own.
struct LogFile {
    folder: tempfile::TempDir,
}

impl LogFile {
    fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
        }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("lapwing.log")
    }

    /// Starts a server that writes there, as JSON.
    fn server(&self, args: &[&str]) -> Server {
        Server::start(&[QUIET, &["--log-file", self.path().to_str().unwrap()], args].concat())
    }

    fn lines(&self) -> Vec<Value> {
        objects(&std::fs::read_to_string(self.path()).unwrap())
    }

    /// The first line for which `is_it` holds, now or soon.
    #[track_caller]
    fn line(&self, what: &str, is_it: impl Fn(&Value) -> bool) -> Value {
        let mut found = None;
        eventually(what, || {
            // What is being written has no end yet.
            let text = std::fs::read_to_string(self.path()).unwrap_or_default();
            let whole = text.rfind('\n').map_or("", |end| &text[..end]);
            found = objects(whole).into_iter().find(&is_it);
            found.is_some()
        });
        found.unwrap()
    }
}

#[track_caller]
fn objects(text: &str) -> Vec<Value> {
    let object = |line: &str| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error} in {line:?}"));
    text.lines().map(object).collect()
}

/// Ends the server, and gives what the log on its standard error told.
#[track_caller]
fn told(mut server: Server) -> Vec<Value> {
    server.interrupt();
    assert_eq!(server.wait().code(), Some(0));
    objects(&server.err().all().join("\n"))
}

fn count(lines: &[Value], message: &str) -> usize {
    lines.iter().filter(|line| line["message"] == message).count()
}

/// A handshake that is refused with 400.
fn bad_handshake(server: &Server) -> Answer {
    ask_stream(server, "/?topics=quiet&nonsense=1", &[])
}

#[test]
fn each_level_tells_what_is_above_it_too() {
    // A handshake refused (info), a request (debug), the poll that was given a socket (trace), a limit that was met (warn).
    let expect = [
        ("off", [0, 0, 0, 0]),
        ("error", [0, 0, 0, 0]),
        ("warn", [1, 0, 0, 0]),
        ("info", [1, 1, 0, 0]),
        ("debug", [1, 1, 1, 0]),
        ("trace", [1, 1, 1, 1]),
    ];
    for (level, expect) in expect {
        let levels = format!("{level},lapwing::event={level}");
        let server = Server::start(&[QUIET, &["--log-level", &levels, "--max-connections", "1"]].concat());
        // The one place is given back when the server has seen the end of a connection.
        eventually("a bad handshake is heard", || bad_handshake(&server).status == 400);
        eventually("a request is answered", || get(&server, "/healthz").status == 200);
        eventually("the one place is taken", || {
            // One that comes before the last one's end was seen is refused itself.
            let _held = open(server.address());
            get(&server, "/healthz").status == 503
        });
        let lines = told(server);
        let some = |is_it: &dyn Fn(&Value) -> bool| usize::from(lines.iter().any(is_it));
        let found = [
            some(&|line| line["level"] == "warn" && line["fields"]["event"] == "limit"),
            some(&|line| line["level"] == "info" && line["message"] == "handshake refused"),
            some(&|line| line["level"] == "debug" && line["message"] == "request"),
            some(&|line| line["level"] == "trace" && line["target"].as_str().unwrap().starts_with("mio")),
        ];
        assert_eq!(found, expect, "{level}: {lines:#?}");
    }
}

#[test]
fn a_target_has_a_level_of_its_own_and_flag_variable_and_file_are_asked_in_this_order() {
    let requests = |plan: Plan| {
        let server = plan.start();
        get(&server, "/healthz");
        bad_handshake(&server);
        let lines = told(server);
        (count(&lines, "request"), count(&lines, "handshake refused"))
    };
    let folder = tempfile::tempdir().unwrap();
    let settings = folder.path().join("lapwing.toml");
    std::fs::write(&settings, "log-level = \"info\"\n[topic]\nquiet = \"push\"\n").unwrap();
    let file = ["--config", settings.to_str().unwrap()];
    let flag = ["--log-level", "off"];
    assert_eq!(requests(Plan::new(&["--log-level", "lapwing::http=debug"])), (1, 1));
    assert_eq!(requests(Plan::new(&["--log-level", "debug,lapwing::http=off"])), (0, 0));
    assert_eq!(requests(Plan::new(&file)), (0, 1));
    assert_eq!(requests(Plan::new(&file).env("LAPWING_LOG", "debug")), (1, 1));
    assert_eq!(
        requests(Plan::new(&[file, flag].concat()).env("LAPWING_LOG", "debug")),
        (0, 0)
    );
}

#[test]
fn what_cannot_be_told_or_written_is_refused_before_anything_starts() {
    let wrong = |args: &[&str]| {
        let ran = lapwing(&[&["serve", "--listen", "127.0.0.1:0"], args].concat());
        assert_eq!(ran.code, Some(2), "{:?}", ran.err);
        ran.err
    };
    assert_eq!(
        wrong(&["--log-level", "inof"]),
        [
            "error: \"inof\" is no level of the log: off, error, warn, info, debug or trace",
            "hint: write --log-level (LAPWING_LOG, log-level) as info, or as info,lapwing::http=debug",
        ]
    );
    let told = wrong(&["--log-file", "/"]);
    assert!(
        told[0].starts_with("error: cannot write the log to \"/\": "),
        "{told:?}"
    );
    assert!(told[1].contains("--log-file"), "{told:?}");
}

#[test]
fn a_run_without_trouble_prints_nothing_new() {
    let server = Plan::new(QUIET).start();
    let mut client = speak(&server, "name=sensor-1");
    client.command(&json!({"type": "subscribe", "topic": "quiet"}));
    client.find_control("subscribed");
    // Mistakes of strangers are none of the operator's trouble.
    bad_handshake(&server);
    client.close(1000, "");
    server.event("left", |_| true);
    assert_eq!(told(server), [] as [Value; 0]);

    let mut server = Plan::new(QUIET).text().start();
    follow(&server, "").close(1000, "");
    server.err().with("left");
    server.interrupt();
    server.wait();
    for line in server.err().all() {
        assert!(!line.contains("lapwing::"), "{line}");
    }
}

#[test]
fn a_line_of_json_has_the_documented_keys_and_its_kind_stands_in_the_document() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/logs.md");
    let page = std::fs::read_to_string(page).unwrap();
    let file = LogFile::new();
    let mut server = file.server(&["--log-level", "debug"]);
    let mut client = speak(&server, "name=sensor-1");
    client.command(&json!({"type": "subscribe", "topic": "quiet"}));
    client.find_control("subscribed");
    client.command(&json!({"type": "unsubscribe", "topic": "quiet"}));
    client.find_control("unsubscribed");
    client.command(&json!({"type": "dance"}));
    client.find_control("error");
    client.close(1000, "");
    bad_handshake(&server);
    server.event("left", |_| true);
    server.signal(Signal::HUP);
    file.line("that it was opened again", |line| line["target"] == "lapwing::journal");
    server.interrupt();
    server.wait();
    let mut kinds = BTreeSet::new();
    for line in file.lines() {
        let keys: Vec<_> = line.as_object().unwrap().keys().cloned().collect();
        assert_eq!(keys, ["fields", "level", "message", "target", "time"], "{line}");
        let time = line["time"].as_str().unwrap();
        assert!(time.len() == 27 && time.ends_with('Z'), "{line}");
        assert!(line["fields"].is_object(), "{line}");
        let target = line["target"].as_str().unwrap();
        let (level, fields) = (line["level"].as_str().unwrap(), line["fields"].as_object().unwrap());
        let what = fields.get("event").unwrap_or(&line["message"]).as_str().unwrap();
        if !target.starts_with("lapwing") {
            continue;
        }
        let row = page
            .lines()
            .find(|row| row.starts_with(&format!("| `{target}` | {what} | {level} |")))
            .unwrap_or_else(|| panic!("docs/logs.md has no row for {line}"));
        for field in fields.keys() {
            assert!(
                row.contains(&format!("`{field}`")),
                "docs/logs.md does not say {field}: {line}"
            );
        }
        kinds.insert(what.to_owned());
    }
    for kind in [
        "ready",
        "joined",
        "left",
        "stopping",
        "stopped",
        "request",
        "handshake refused",
        "subscribed",
        "unsubscribed",
        "command refused",
        "source started",
        "the log file was opened again",
    ] {
        assert!(kinds.contains(kind), "{kind} is told: {kinds:?}");
    }
}

#[test]
fn what_clients_say_and_report_is_no_line_of_the_log() {
    let file = LogFile::new();
    let mut server = file.server(&["--log-level", "trace"]);
    let mut client = follow(&server, "topics=quiet");
    client.say("hello to the console");
    server.event("said", |_| true);
    for _ in 0..20 {
        assert_eq!(
            post(&server, "/topics/quiet/messages", "text/plain", "a payload").status,
            201
        );
        client.message();
    }
    server.interrupt();
    server.wait();
    let lines = file.lines();
    assert!(lines.len() > 20, "it told of requests");
    for line in lines {
        let text = line.to_string();
        assert!(
            !text.contains("hello to the console") && !text.contains("a payload"),
            "{line}"
        );
    }
}

#[test]
fn a_flood_of_bad_handshakes_is_told_in_part_and_the_rest_is_counted() {
    const HANDSHAKES: usize = 400;
    let server = Server::start(&[QUIET, &["--log-level", "info"]].concat());
    let before = std::time::Instant::now();
    for _ in 0..HANDSHAKES {
        assert_eq!(bad_handshake(&server).status, 400);
    }
    let seconds = before.elapsed().as_secs() as usize;
    let lines = told(server);
    let shown = count(&lines, "handshake refused");
    let summed: usize = lines
        .iter()
        .filter_map(|line| more_like(line, "handshake refused"))
        .sum();
    assert_eq!(shown + summed, HANDSHAKES, "{lines:#?}");
    assert!(
        (50..=50 + 10 * (seconds + 1)).contains(&shown),
        "{shown} in {seconds} s"
    );
}

/// How many more a sum tells of.
fn more_like(line: &Value, kind: &str) -> Option<usize> {
    let message = line["message"].as_str()?;
    let (count, rest) = message.split_once(" more like it in ")?;
    let (seconds, label) = rest.split_once(" s: ")?;
    assert_eq!(line["fields"]["seconds"].to_string(), seconds, "{line}");
    let more = line["fields"]["more"].as_u64()? as usize;
    assert_eq!(count.replace(',', ""), more.to_string(), "{line}");
    (label == kind).then_some(more)
}

#[test]
fn a_reader_that_has_stopped_holds_up_nobody_and_what_overflowed_is_told() {
    const ASKED: usize = 55;
    let levels = ["--log-level", "lapwing::http=debug", "--log-format", "json"];
    let mut server = Plan::new(&[LIVELY, &levels].concat()).stderr_unread().start();
    let mut follower = follow(&server, "topics=users");
    // Each of these lines is 2 KiB long: a path of short pieces, and an origin that is told back.
    let path = "/a".repeat(600);
    let origin = format!("https://{}.example", "a".repeat(1200));
    let headers = [("Origin", origin.as_str())];
    for _ in 0..ASKED {
        assert_eq!(ask(&server, "GET", &path, &headers, b"").status, 403);
        assert_eq!(ask_stream(&server, &path, &headers).status, 403);
    }
    let first = follower.message().offset;
    for (offset, message) in (first + 1..).zip(follower.messages(50)) {
        assert_eq!(message.offset, offset, "delivery goes on");
    }
    drop(follower);
    server.read_stderr();
    server.err().with("not written");
    let lines = told(server);
    let lost: u64 = lines.iter().filter_map(|line| line["fields"]["lost"].as_u64()).sum();
    let of = |kind: &str| {
        let more: usize = lines.iter().filter_map(|line| more_like(line, kind)).sum();
        (count(&lines, kind) + more) as u64
    };
    // The 101 of the follower is a request, too.
    assert_eq!(
        of("request") + of("handshake refused") + lost,
        2 * ASKED as u64 + 1,
        "{lost} lost"
    );
    assert!(lost > 0);
}

#[test]
fn a_log_file_that_was_moved_is_opened_again_on_sighup() {
    let file = LogFile::new();
    let mut server = file.server(&[]);
    file.line("that it is ready", |line| line["fields"]["event"] == "ready");
    let moved = file.folder.path().join("lapwing.log.1");
    std::fs::rename(file.path(), &moved).unwrap();
    bad_handshake(&server);
    eventually("the moved file has what came before the signal", || {
        std::fs::read_to_string(&moved).unwrap().contains("handshake refused")
    });
    server.signal(Signal::HUP);
    file.line("that it was opened again", |line| {
        line["message"] == "the log file was opened again"
    });
    let before = std::fs::read_to_string(&moved).unwrap();
    bad_handshake(&server);
    file.line("what comes now", |line| line["message"] == "handshake refused");
    assert_eq!(std::fs::read_to_string(&moved).unwrap(), before);

    // A name under which nothing can be opened changes nothing.
    std::fs::rename(file.path(), file.folder.path().join("lapwing.log.2")).unwrap();
    std::fs::create_dir(file.path()).unwrap();
    server.signal(Signal::HUP);
    let second = file.folder.path().join("lapwing.log.2");
    eventually("the old file says why it is still used", || {
        std::fs::read_to_string(&second)
            .unwrap()
            .contains("the one from before is used")
    });
    server.interrupt();
    assert_eq!(server.wait().code(), Some(0));
    assert!(std::fs::read_to_string(&second).unwrap().contains("stopped after"));
}

#[test]
fn a_log_file_is_written_behind_what_it_holds_and_read_by_few() {
    use std::os::unix::fs::PermissionsExt as _;
    let file = LogFile::new();
    for _ in 0..2 {
        let server = file.server(&[]);
        assert_eq!(told(server), [] as [Value; 0], "nothing of it stands on standard error");
    }
    let stopped = file
        .lines()
        .iter()
        .filter(|line| line["fields"]["event"] == "stopped")
        .count();
    assert_eq!(stopped, 2);
    let mode = std::fs::metadata(file.path()).unwrap().permissions().mode();
    assert_eq!(mode & 0o137, 0, "{mode:o}");
}

#[test]
fn colours_are_for_terminals_and_no_color_leaves_them_out() {
    let escapes = |variables: &[(&str, &str)]| {
        let mut plan = Plan::new(&[QUIET, &["--log-level", "info", "--log-format", "text"]].concat());
        for (name, value) in variables {
            plan = plan.env(name, value);
        }
        let server = plan.start();
        bad_handshake(&server);
        server.err().with("handshake refused").contains('\u{1b}')
    };
    assert!(!escapes(&[]), "a pipe");
    assert!(escapes(&[("CLICOLOR_FORCE", "1")]));
    assert!(!escapes(&[("CLICOLOR_FORCE", "1"), ("NO_COLOR", "1")]));
    let file = LogFile::new();
    let path = file.path();
    let args = [
        "--log-format",
        "text",
        "--log-file",
        path.to_str().unwrap(),
        "--color",
        "always",
    ];
    let mut server = Server::start(&[QUIET, &args].concat());
    bad_handshake(&server);
    server.interrupt();
    server.wait();
    let text = std::fs::read_to_string(path).unwrap();
    assert!(
        text.contains("  info   lapwing::http  handshake refused method=\"GET\" path=\"/\" status=400 from="),
        "{text}"
    );
    assert!(!text.contains('\u{1b}'), "{text}");
}

#[test]
fn c14_what_comes_from_outside_is_escaped_and_cut_in_the_log() {
    let file = LogFile::new();
    let mut server = file.server(&["--log-level", "debug", "--log-format", "text"]);
    let mut client = follow(&server, "name=a%1B%5B2Jb%E2%80%AE");
    client.say("x");
    client.close(4000, "\u{1b}]0;owned\u{7}\u{202e}");
    server.event("left", |_| true);
    let host = format!("Host: a\u{202e}b{}\r\n", "c".repeat(5000));
    send(
        server.address(),
        format!("GET /\u{e2}{} HTTP/1.1\r\n{host}\r\n", "d/".repeat(3000)).as_bytes(),
    );
    ask_stream(&server, "/", &[("Origin", &format!("https://{}", "e".repeat(5000)))]);
    server.interrupt();
    server.wait();
    let text = std::fs::read_to_string(file.path()).unwrap();
    assert!(text.contains("a\\u{1b}[2Jb\\u{202e} joined"), "{text}");
    assert!(text.contains("more bytes\""), "something was cut");
    let drives = |c: char| c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    for line in text.lines() {
        assert!(!line.chars().any(drives), "{line:?}");
        assert!(line.len() < 4096, "{} bytes", line.len());
    }
}

#[test]
fn e8_no_token_stands_in_the_log_wherever_it_was_sent() {
    const TOKEN: &str = "k7Vx0dP2m3q9L5aZ8sT1uW4yB6nC-secret";
    const OTHER: &str = "j6Uw9cO1l2p8K4zY7rS0tV3xA5mB-secret";
    let encoded = [TOKEN, OTHER].map(|token| URL_SAFE_NO_PAD.encode(token));
    let secrets = Secrets::tokens(&[("web", TOKEN, "listen:*,publish:*")]);
    let file = LogFile::new();
    let mut server = file.server(&["--log-level", "trace", "--tokens", &secrets.path()]);
    for (token, encoded) in [TOKEN, OTHER].into_iter().zip(&encoded) {
        let bearer = format!("Bearer {token}");
        let headers: &[(&str, &str)] = &[
            ("Authorization", &bearer),
            ("Authorization", token),
            ("Authorization", &format!("Basic {token}")),
            ("Cookie", &format!("token={token}")),
            ("X-Token", token),
            ("Content-Type", token),
            ("Idempotency-Key", token),
            ("Lapwing-Source", token),
            ("Lapwing-Sequence", token),
            ("Sec-WebSocket-Version", token),
            ("Sec-WebSocket-Extensions", token),
            ("Upgrade", token),
            ("Transfer-Encoding", token),
            ("X-Forwarded-For", token),
            (
                "Sec-WebSocket-Protocol",
                &format!("lapwing.v1, lapwing.token.{encoded}"),
            ),
            ("Sec-WebSocket-Protocol", &format!("lapwing.v1, lapwing.token.{token}")),
            ("Sec-WebSocket-Protocol", token),
            ("Sec-WebSocket-Key", token),
            ("Origin", &format!("https://me:{token}@example.org")),
            ("Last-Event-ID", token),
            ("Host", &format!("me:{token}@example.org")),
        ];
        for header in headers {
            ask_stream(&server, "/?topics=quiet", &[*header]);
            ask(&server, "GET", "/api/clients", &[*header], b"");
            ask(&server, "POST", "/ticket", &[*header], b"");
            ask(&server, "POST", "/topics/quiet/messages", &[*header], b"x");
        }
        for target in [
            format!("/?ticket={token}"),
            format!("/?token={token}"),
            format!("/?access_token={token}"),
            format!("/?authorization=Bearer%20{token}"),
            format!("/?{token}"),
            format!("/?topics=quiet&from={token}"),
            format!("/?topics={token}"),
            format!("/?topics=quiet&from={token}:1"),
            format!("/topics/{token}/events"),
            format!("/{token}"),
            format!("/topics/{token}/messages"),
            format!("/healthz?token={token}"),
        ] {
            ask_stream(&server, &target, &[]);
            ask_stream(&server, &target, &[("Authorization", &bearer)]);
            ask(&server, "GET", &target, &[("Authorization", &bearer)], b"");
            ask(
                &server,
                "POST",
                &target,
                &[("Authorization", &bearer)],
                token.as_bytes(),
            );
        }
        let mut stream = open(server.address());
        let absolute = format!(
            "GET http://me:{token}@{}/healthz HTTP/1.1\r\nHost: {0}\r\n\r\n",
            server.address()
        );
        stream.write_all(absolute.as_bytes()).unwrap();
        answer(&mut stream);
        // What hyper cannot read.
        let mut stream = open(server.address());
        stream
            .write_all(format!("{bearer} HTTP/1.1\r\n{token}\r\n\r\n").as_bytes())
            .unwrap();
        answer(&mut stream);
    }
    let mut client = speak_with(&server, "name=sensor-1&topics=quiet", TOKEN);
    client.command(&json!({"type": "auth", "token": TOKEN}));
    client.find_control("authorized");
    client.command(&json!({"type": "auth", "token": {"is": OTHER}}));
    client.find_control("error");
    client.say(&format!("{{\"type\":\"auth\",\"token\":\"{OTHER}\""));
    client.find_control("error");
    client.command(&json!({"type": "auth", "token": OTHER}));
    assert_eq!(client.closed().0, 4500);
    assert_eq!(ask_with(&server, "/?topics=quiet", OTHER).status, 401);
    server.event("left", |_| true);
    server.interrupt();
    server.wait();
    let text = std::fs::read_to_string(file.path()).unwrap();
    for told in [
        "handshake refused",
        "request",
        "joined",
        "was refused",
        "token renewed",
        "request refused",
    ] {
        assert!(text.contains(told), "{told} is told");
    }
    let err = server.err().all().join("\n");
    for secret in [TOKEN, OTHER, &encoded[0], &encoded[1]] {
        for (place, text) in [("the file", &text), ("standard error", &err)] {
            let line = text.lines().find(|line| line.contains(secret));
            assert!(line.is_none(), "{place}: {line:?}");
        }
    }
}

#[test]
fn beside_the_console_on_one_stream_no_line_stands_inside_another() {
    const SAID: usize = 1000;
    const REFUSED: usize = 50;
    let args = ["--log-level", "info", "--log-format", "json"];
    let mut server = Plan::one_stream(&[QUIET, &args].concat()).start();
    let mut talker = Raw::follow(&server, "topics=quiet");
    // Each makes a line of 5 KiB, which the pipe takes in pieces; while they go out the others come.
    talker.send(&masked(FIN | TEXT, &[7; 1024]).repeat(SAID));
    for _ in 0..REFUSED {
        bad_handshake(&server);
    }
    let mut came = 0;
    server.out().find("that was the last", |line| {
        came += usize::from(line.contains("  says    "));
        (came == SAID).then_some(())
    });
    server.interrupt();
    server.wait();
    let whole = format!("): \"{}\"", "\\u{7}".repeat(1024));
    let (mut said, mut logged) = (0, 0);
    for line in server.out().all() {
        if line.starts_with('{') {
            let line: Value = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"));
            logged += usize::from(line["message"] == "handshake refused");
        } else if line.contains("  says    ") {
            assert!(line.ends_with(&whole) && line.matches("says").count() == 1, "{line}");
            said += 1;
        }
    }
    assert_eq!((said, logged), (SAID, REFUSED));
}

#[test]
fn tls_that_is_refused_is_told_with_address_and_reason() {
    let server = Server::start(&[QUIET, &["--tls-self-signed", "--log-level", "info"]].concat());
    let plain = send(server.address(), b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert_eq!(plain.status, 400);
    let mut garbage = open(server.address());
    garbage.write_all(&[0x16, 3, 1, 0, 4, 9, 9, 9, 9]).unwrap();
    let from = garbage.local_addr().unwrap().to_string();
    let line = server.err().with("TLS handshake refused");
    let line: Value = serde_json::from_str(&line).unwrap();
    assert_eq!(line["target"], "lapwing::tls");
    assert_eq!(line["fields"]["from"], from);
    assert!(line["fields"]["why"].as_str().unwrap().len() > 3, "{line}");
    server.err().with("no TLS on a port that speaks it");
}

#[test]
fn a_slow_sync_is_told_without_being_asked_for() {
    if !can_inject("a_slow_sync_is_told_without_being_asked_for") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let data = ["--data", folder.path().to_str().unwrap()];
    let server = Plan::injected("fdatasync:delay_enter=1200000", &[QUIET, &data].concat()).start();
    assert_eq!(
        post(&server, "/topics/quiet/messages", "text/plain", "kept").status,
        201
    );
    let line: Value = serde_json::from_str(&server.err().with("slow sync")).unwrap();
    assert_eq!(
        (&line["level"], &line["target"]),
        (&json!("warn"), &json!("lapwing::store"))
    );
    assert_eq!(line["fields"]["topic"], "quiet");
    assert!(line["fields"]["took_ms"].as_u64().unwrap() >= 1200, "{line}");
}

#[test]
fn a_kernel_without_io_uring_is_told_as_information() {
    if !can_inject("a_kernel_without_io_uring_is_told_as_information") {
        return;
    }
    let args = [QUIET, &["--log-level", "info", "--io-uring", "auto"]].concat();
    let server = Plan::injected("io_uring_setup:error=EPERM", &args).start();
    let line: Value = serde_json::from_str(&server.err().with("no io_uring")).unwrap();
    assert_eq!(
        (&line["level"], &line["target"]),
        (&json!("info"), &json!("lapwing::delivery"))
    );
    assert!(
        line["fields"]["why"].as_str().unwrap().contains("not permitted"),
        "{line}"
    );
}

#[test]
fn what_the_console_could_not_show_stands_in_the_log() {
    let file = LogFile::new();
    let path = file.path();
    let limits = ["--max-message-rate", "10000", "--max-byte-rate", "100MiB"];
    let args = [
        QUIET,
        &limits,
        &["--log-format", "json", "--log-file", path.to_str().unwrap()],
    ]
    .concat();
    let mut server = Plan::new(&args).text().stdout_unread().start();
    let mut talker = Raw::follow(&server, "topics=quiet");
    let said = masked(FIN | TEXT, &[b'x'; 1000]);
    for _ in 0..120 {
        talker.send(&said.repeat(100));
    }
    // Its end is told behind all that it said.
    drop(talker);
    server.err().with("left");
    server.read_stdout();
    let line = file.line("what was not shown", |line| line["fields"]["event"] == "not_shown");
    assert_eq!(line["level"], "warn");
    assert!(
        line["message"]
            .as_str()
            .unwrap()
            .contains("lines from client 1 not shown"),
        "{line}"
    );
}
