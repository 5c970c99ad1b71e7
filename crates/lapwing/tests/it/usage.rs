//! Wrong use: told in a sentence with a way out, before anything starts.

use crate::support::client::follow;
use crate::support::faults::skip;
use crate::support::http::get;
use crate::support::server::{LAPWING, Plan, Server, lapwing};

#[test]
fn a16_a_port_in_use_is_told_before_anything_starts() {
    let folder = tempfile::tempdir().unwrap();
    let touched = folder.path().join("touched");
    let other = Server::start(&["--topic", "feed=push"]);
    let address = other.address().to_string();
    let touch = format!("feed=exec:touch {}", touched.display());
    check(
        &["--listen", &address, "--topic", &touch],
        &[&format!("cannot listen on {address}: address already in use")],
        &["is another server running? --listen 127.0.0.1:0 takes any free port"],
    );
    assert!(!touched.exists(), "no source was started");
}

#[test]
fn a16_a_port_that_needs_more_rights_is_told() {
    let name = "a16_a_port_that_needs_more_rights_is_told";
    // In a namespace of its own, where low ports are nobody's by default, and as somebody without rights.
    let script = "ip link set lo up && exec setpriv --reuid 65534 --regid 65534 --clear-groups --inh-caps=-all \"$@\"";
    let run = |args: &[&str]| {
        let mut unshare = std::process::Command::new("unshare");
        unshare.args(["--net", "sh", "-c", script, "sh"]).args(args);
        unshare.output()
    };
    if !run(&[LAPWING, "--version"]).is_ok_and(|ran| ran.status.success()) {
        return skip(
            name,
            "no network namespace may be made here, or rights cannot be dropped",
        );
    }
    let ran = run(&[LAPWING, "serve", "--listen", "127.0.0.1:80"]).unwrap();
    assert_eq!(ran.status.code(), Some(2), "{ran:?}");
    assert_eq!(
        String::from_utf8_lossy(&ran.stderr),
        "error: cannot listen on 127.0.0.1:80: permission denied\n\
         hint: ports below 1024 need more rights; choose a higher one with --listen\n"
    );
}

#[test]
fn a16_a_bad_address_is_told() {
    let hint = "write an address and a port such as 127.0.0.1:8765 or [::1]:8765";
    check(
        &["--listen", "nowhere"],
        &["--listen \"nowhere\" names no port"],
        &[hint],
    );
    check(
        &["--listen", "127.0.0.1:99999"],
        &["--listen \"127.0.0.1:99999\" names no port from 0 to 65535"],
        &[hint],
    );
    check(
        &["--listen", ":9404"],
        &["--listen \":9404\" names no address"],
        &["write 127.0.0.1:9404 for this machine, or 0.0.0.0:9404 with --open for all who can reach it"],
    );
    check(&["--listen", "::1:8765:x"], &["names no port from 0 to 65535"], &[hint]);
    check(
        &["--listen", "fe80::zz:8765"],
        &["\"fe80::zz:8765\" is no address"],
        &[hint],
    );
    check(
        &["--listen", "no-such-host.invalid:8765"],
        &["--listen \"no-such-host.invalid:8765\" is no address: nothing is known by that name"],
        &[hint],
    );
    check(
        // An address for documentation (RFC 5737), which no machine has.
        &["--listen", "192.0.2.1:0", "--open"],
        &["cannot listen on 192.0.2.1:0: this machine does not have that address"],
        &["choose one of its own with --listen"],
    );
}

#[test]
fn e15_strangers_are_not_served_unless_that_is_meant() {
    check(
        &["--listen", "0.0.0.0:0"],
        &["--listen 0.0.0.0:0 would serve strangers, without authentication"],
        &["add --open if that is meant"],
    );
}

#[test]
fn item_7_an_unknown_source_is_told_with_the_one_that_was_meant() {
    check(
        &["--topic", "x=array?every=2s"],
        &["unknown source \"array\" in --topic x=array?every=2s"],
        &["did you mean \"arrays\"? Sources: users, arrays, stdin, file:PATH, exec:COMMAND, push"],
    );
    check(
        &["--topic", "users"],
        &["--topic \"users\" names no source"],
        &["write --topic NAME=SOURCE: did you mean --topic 'users=users'?"],
    );
    check(
        &["--topic", "arrays?every=1s"],
        &["--topic \"arrays?every=1s\" names no source"],
        &["did you mean --topic 'arrays=arrays?every=1s'?"],
    );
    check(
        &["--topic", "orders"],
        &["--topic \"orders\" names no source"],
        &["write --topic NAME=SOURCE, such as --topic vm=stdin or --topic orders=push"],
    );
}

#[test]
fn item_7_a_bad_setting_is_told_with_its_limits() {
    check(
        &["--topic", "users=users?every=-1s"],
        &["every=-1s is out of range: 1ms to 24h"],
        &["write a length of time such as every=500ms, every=1s or rate=1000/s"],
    );
    check(
        &["--topic", "users=users?evry=1s"],
        &["unknown setting \"evry\""],
        &["did you mean every?"],
    );
    check(
        &["--topic", "a b=push"],
        &["in --topic a b=push"],
        &["choose another name before the ="],
    );
    check(
        &["--topic", "arrays=arrays?dtype=int7"],
        &["unknown dtype \"int7\""],
        &[""],
    );
    check(
        &["--topic", "users=users?every=1s&rate=5/s"],
        &["both every= and rate= are given"],
        &["leave one of them out"],
    );
    check(
        &["--topic", "users=users?shape=3"],
        &["shape= means nothing for the source \"users\""],
        &["leave it out"],
    );
    check(
        &["--topic", "x=push", "--topic", "x=push"],
        &["topic x is given twice"],
        &["choose another name"],
    );
    check(
        &["--topic", "a=stdin", "--topic", "b=stdin"],
        &["standard input cannot fill several topics: a, b"],
        &["leave it to one of them"],
    );
    check(
        &["--max-connections", "0"],
        &["--max-connections 0 would serve nobody"],
        &["at least 1"],
    );
    check(
        &["--max-body", "65MiB"],
        &["--max-body \"65MiB\" is out of range: 1B to 64MiB"],
        &["write a size such as 1MiB"],
    );
    check(
        &["--max-url", "1MiB"],
        &["--max-url \"1MiB\" is out of range: 64B to 60KiB"],
        &["write a size such as 8KiB"],
    );
    check(
        &["--max-message", "abc"],
        &["--max-message \"abc\" is no size: 1B to 64MiB"],
        &["write a size such as 1MiB"],
    );
    check(
        &["--max-headers", "-1"],
        &["--max-headers \"-1\" is no whole number: 16 to 1000"],
        &["write a whole number such as 64"],
    );
    check(
        &["--drain", "1h"],
        &["--drain \"1h\" is out of range: 0s to 5m"],
        &["write a length of time such as 500ms or 20s"],
    );
    check(
        &["--stall-timeout", "-1s"],
        &["--stall-timeout \"-1s\" is out of range: 100ms to 5m"],
        &["write a length of time"],
    );
    check(
        &["--seed", "x", "--max-connections", "1e9"],
        &[
            "--max-connections \"1e9\" is no whole number: 1 to 1000000000",
            "--seed \"x\" is no whole number: 0 to 18446744073709551615",
        ],
        &["write a whole number such as 1000", "write a whole number such as "],
    );
    check(
        &["--allow-origin", "*"],
        &["\"*\" is no origin such as https://app.example.org, in --allow-origin"],
        &["an origin is a scheme"],
    );
}

#[test]
fn item_7_all_mistakes_are_told_together_and_nothing_is_started() {
    let folder = tempfile::tempdir().unwrap();
    let touched = folder.path().join("touched");
    let touch = format!("feed=exec:touch {}", touched.display());
    check(
        &[
            "--topic",
            &touch,
            "--topic",
            "x=array",
            "--topic",
            "users=users?every=0s",
            "--listen",
            "nowhere",
        ],
        &[
            "unknown source \"array\"",
            "every=0s is out of range",
            "--listen \"nowhere\" names no port",
        ],
        &[
            "did you mean \"arrays\"?",
            "write a length of time",
            "write an address and a port",
        ],
    );
    assert!(!touched.exists(), "no source was started");
}

#[test]
fn item_7_programs_are_told_of_mistakes_as_objects() {
    let ran = lapwing(&["serve", "--listen", "nowhere", "--topic", "x=array", "--output", "json"]);
    assert_eq!(ran.code, Some(2));
    assert!(ran.out.is_empty(), "{:?}", ran.out);
    let told: Vec<serde_json::Value> = ran.err.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(told.len(), 2);
    assert_eq!(told[0]["error"], "unknown source \"array\" in --topic x=array");
    assert_eq!(told[1]["error"], "--listen \"nowhere\" names no port");
    assert!(
        told.iter().all(|told| told["exit"] == 2 && told["hint"].is_string()),
        "{told:?}"
    );
}

#[test]
fn item_7_a_command_line_that_means_nothing_is_told_in_two_lines() {
    for (args, error, hint) in [
        (
            &["serve", "--maxhead", "1KiB"][..],
            "error: there is no flag \"--maxhead\"",
            "hint: did you mean --max-head?",
        ),
        (
            &["listen", "--for", "10"],
            "error: --for \"10\" is no length of time",
            "hint: write a number and a unit such as 500ms, 10s, 5m or 2h",
        ),
        (
            &["publish"],
            "error: TOPIC is missing",
            "hint: write lapwing publish [URL] TOPIC",
        ),
    ] {
        let ran = lapwing(args);
        assert_eq!((ran.code, ran.err), (Some(2), vec![error.to_owned(), hint.to_owned()]));
        assert!(ran.out.is_empty());
        let ran = lapwing(&[args, &["--json"]].concat());
        assert_eq!((ran.code, ran.err.len()), (Some(2), 1), "{:?}", ran.err);
        let told: serde_json::Value = serde_json::from_str(&ran.err[0]).unwrap();
        assert_eq!((&told["error"], &told["exit"]), (&error[7..].into(), &2.into()));
    }
}

#[test]
fn item_7_a_server_on_every_address_is_shown_where_it_can_be_reached() {
    let mut plan = std::process::Command::new(LAPWING);
    plan.args(["serve", "--listen", "0.0.0.0:0", "--open", "--topic", "orders=push"]);
    let server = Plan::of(plan).text().start();
    assert!(!server.address().ip().is_unspecified(), "{}", server.address());
    assert_eq!(get(&server, "/healthz").status, 200);
    server
        .err()
        .with("and every other address of this machine (--listen 0.0.0.0:");
}

#[test]
fn f21_more_connections_than_open_files_are_not_promised() {
    let server = Plan::with_open_files(60, &["--max-connections", "999999999"])
        .text()
        .start();
    let room = server.err().with("room for ");
    assert!(
        room.ends_with(" connections: no more files may be open (ulimit -n)"),
        "{room}"
    );
    let places = room.split("room for ").nth(1).unwrap().split(' ').next().unwrap();
    assert!((1..60).contains(&places.parse::<u32>().unwrap()), "{room}");
}

#[test]
fn item_7_a_flag_out_of_range_is_told_by_its_name() {
    for flag in [
        "--handshake-timeout",
        "--ping-interval",
        "--pong-timeout",
        "--stall-timeout",
        "--drain",
    ] {
        let ran = lapwing(&["serve", "--listen", "127.0.0.1:0", flag, "6m"]);
        assert_eq!(ran.code, Some(2), "{flag}");
        assert!(ran.err.join("\n").contains(flag), "{:?}", ran.err);
        assert!(ran.err.join("\n").contains("is out of range"), "{:?}", ran.err);
    }
}

#[test]
fn item_7_settings_come_from_a_file_and_flags_go_before_it() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("lapwing.toml");
    let settings =
        "seed = 7\nmax-body = \"100B\"\nping-interval = \"5s\"\n[topic]\nsmall = \"arrays?shape=1&every=10ms\"\n";
    std::fs::write(&file, settings).unwrap();
    let file = file.display().to_string();
    let server = Server::start(&["--config", &file]);
    let ready = server.event("ready", |_| true);
    assert_eq!(ready["seed"], 7);
    assert_eq!(
        ready["topics"],
        serde_json::json!({"small": "arrays?shape=1&every=10ms"})
    );
    assert!(follow(&server, "topics=small").message().data.is_array());
    let server = Server::start(&["--config", &file, "--seed", "8", "--topic", "other=push"]);
    let ready = server.event("ready", |_| true);
    assert_eq!(ready["seed"], 8);
    assert_eq!(ready["topics"], serde_json::json!({"other": "push"}));
}

#[test]
fn item_7_a_mistake_in_the_settings_file_is_told_with_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("lapwing.toml");
    let write = |text: &str| std::fs::write(&file, text).unwrap();
    let shown = file.display().to_string();
    write("seed = 7\nsead = 8\n");
    check(
        &["--config", &shown],
        &[&format!("in the settings file {shown:?} line 2: unknown key \"sead\"")],
        &["did you mean seed?"],
    );
    write("ping-interval = \"6m\"\n[topic]\nx = \"array\"\n");
    check(
        &["--config", &shown],
        &[
            "unknown source \"array\" in --topic x=array",
            "ping-interval = \"6m\" is out of range",
        ],
        &["did you mean \"arrays\"?", "write a length of time"],
    );
    check(
        &["--config", "/nowhere/lapwing.toml"],
        &["cannot read the settings file \"/nowhere/lapwing.toml\": no such file"],
        &["name another file with --config"],
    );
}

/// Exit code 2, and nothing but one line for each mistake and one for its way out, in order.
#[track_caller]
fn check(args: &[&str], errors: &[&str], hints: &[&str]) {
    let any_port = ["--listen", "127.0.0.1:0"];
    let listen = if args.contains(&"--listen") {
        &[][..]
    } else {
        &any_port[..]
    };
    let ran = lapwing(&[&["serve"], listen, args].concat());
    let shown = ran.err.join("\n");
    assert_eq!(ran.code, Some(2), "{shown}");
    assert!(ran.out.is_empty(), "{:?}", ran.out);
    assert_eq!(ran.err.len(), 2 * errors.len(), "{shown}");
    for (pair, (error, hint)) in ran.err.chunks(2).zip(errors.iter().zip(hints)) {
        assert!(
            pair[0].starts_with("error: ") && pair[0].contains(error),
            "{error:?} in\n{shown}"
        );
        assert!(
            pair[1].starts_with("hint: ") && pair[1].contains(hint),
            "{hint:?} in\n{shown}"
        );
    }
}
