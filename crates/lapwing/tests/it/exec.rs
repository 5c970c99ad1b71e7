//! A command's output as a source.

use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use serde_json::json;

use crate::support::client::follow;
use crate::support::eventually;
use crate::support::server::{Plan, Server};

#[test]
fn item_6_a_command_runs_once_for_all_clients() {
    let server = Server::start(&[
        "--topic",
        "feed=exec:echo $$; echo '{\"n\": 1}'; echo text; exec sleep 600",
    ]);
    let mut first = follow(&server, "topics=feed&from=earliest");
    let mut second = follow(&server, "topics=feed&from=earliest");
    let data = first.data(3);
    assert_eq!(second.data(3), data, "one process, not one a client");
    assert_eq!(data[1..], [json!({"n": 1}), json!("text")]);
}

#[test]
fn item_6_what_a_command_complains_about_is_told() {
    let server = Server::start(&[
        "--topic",
        "feed=exec:printf 'bad \\033[31mthing\\n' >&2; exec sleep 600",
    ]);
    assert_eq!(server.source_says("says: "), "says: bad \\u{1b}[31mthing");
}

#[test]
fn item_6_a_command_that_fails_is_started_again() {
    let server = Server::start(&["--topic", "feed=exec:echo run; exit 3"]);
    let mut client = follow(&server, "topics=feed&from=earliest");
    assert_eq!(client.data(2), [json!("run"), json!("run")]);
    let told = server.source_says("failed with code 3");
    assert!(told.starts_with("the command failed with code 3 after "), "{told}");
    assert!(told.ends_with("; it is started again in 1.0 s"), "{told}");
}

#[test]
fn item_6_a_command_that_has_ended_well_is_left_alone_unless_it_is_to_run_always() {
    let server = Server::start(&[
        "--topic",
        "once=exec:echo once",
        "--topic",
        "always=exec:echo always?restart=always",
    ]);
    let mut always = follow(&server, "topics=always&from=earliest");
    assert_eq!(always.data(2), [json!("always"), json!("always")]);
    // It would have been started again by now as well.
    let mut once = follow(&server, "topics=once&from=earliest");
    assert_eq!(once.message().data, "once");
    let of_once: Vec<_> = server
        .events("source")
        .into_iter()
        .filter(|event| event["topic"] == "once")
        .collect();
    assert_eq!(of_once.len(), 1, "{of_once:?}");
    assert!(!of_once[0]["text"].as_str().unwrap().contains("again"), "{of_once:?}");
}

#[test]
fn item_6_a_command_that_is_never_to_run_again_is_not_and_its_end_ends_the_topic() {
    let server = Server::start(&[
        "--topic",
        "feed=exec:echo one; exit 3?restart=never&end=close&start=listener",
    ]);
    let mut client = follow(&server, "topics=feed");
    assert_eq!(client.message().data, "one");
    assert_eq!(client.closed(), (1000, "the feed has ended".to_owned()));
    let told = server.source_says("failed with code 3");
    assert!(!told.contains("again"), "{told}");
}

#[test]
fn item_6_the_death_of_a_command_is_told_and_survived() {
    let mut server = Server::start(&["--topic", "feed=exec:echo $$; exec sleep 600"]);
    let mut client = follow(&server, "topics=feed&from=earliest");
    let first = pid(&client.message().data);
    kill_process(first, Signal::KILL).unwrap();
    let told = server.source_says("was killed by signal 9");
    assert!(told.contains("it is started again"), "{told}");
    let second = pid(&client.message().data);
    assert_ne!(second, first, "it goes on with the next");
    assert!(server.runs());
}

#[test]
fn item_6_a_command_and_its_children_end_with_the_server() {
    // A grandchild that ignores the polite signal, and a child that does not wait for it.
    let command = "feed=exec:sh -c 'trap \"\" TERM; echo $$; while :; do sleep 1; done' & echo $$; wait";
    let mut server = Server::start(&["--topic", command]);
    let pids: Vec<Pid> = follow(&server, "topics=feed&from=earliest")
        .data(2)
        .iter()
        .map(pid)
        .collect();
    assert!(pids.iter().all(|pid| lives(*pid)));
    server.interrupt();
    assert_eq!(server.wait().code(), Some(0));
    eventually("nothing of it lives", || !pids.iter().any(|pid| lives(*pid)));
}

#[test]
fn item_6_what_a_command_left_behind_ends_before_it_runs_again() {
    let server = Server::start(&["--topic", "feed=exec:sleep 600 >/dev/null & echo $!?restart=always"]);
    let pids = follow(&server, "topics=feed&from=earliest").data(2);
    assert!(!lives(pid(&pids[0])), "it ended with the run that left it behind");
}

#[test]
fn item_6_what_a_command_left_behind_ends_with_its_last_run() {
    for restart in ["never", "on-failure"] {
        let server = Server::start(&[
            "--topic",
            &format!("feed=exec:sleep 600 >/dev/null 2>&1 & echo $!?restart={restart}"),
        ]);
        let left = pid(&follow(&server, "topics=feed&from=earliest").message().data);
        server.source_says("the command has ended after");
        eventually(&format!("it ends, restart={restart}"), || !lives(left));
    }
}

#[test]
fn item_6_what_a_command_left_behind_feeds_on_while_it_holds_the_output() {
    let mut server = Server::start(&[
        "--topic",
        "feed=exec:(sleep 1; echo $(exec sh -c 'echo $PPID'); exec sleep 600) & echo first",
    ]);
    let mut client = follow(&server, "topics=feed&from=earliest");
    assert_eq!(client.message().data, "first");
    let left = pid(&client.message().data);
    assert!(server.events("source").is_empty(), "the run is not over");
    assert!(lives(left));
    server.interrupt();
    assert_eq!(server.wait().code(), Some(0));
    eventually("it ends with the server", || !lives(left));
}

#[test]
fn item_6_a_command_that_closed_its_output_is_waited_for_and_ends_with_the_server() {
    let mut server = Server::start(&["--topic", "feed=exec:echo $$; exec sleep 600 >&-"]);
    let left = pid(&follow(&server, "topics=feed&from=earliest").message().data);
    server.interrupt();
    assert_eq!(server.wait().code(), Some(0));
    eventually("it ends with the server", || !lives(left));
}

#[test]
fn item_6_a_command_gets_none_of_our_secrets() {
    let server = Plan::new(&[
        "--topic",
        "feed=exec:env | grep -c '^LAPWING_'; echo \"$OTHER\"; exec sleep 600",
    ])
    .env("LAPWING_TOKEN", "secret")
    .env("LAPWING_OTHER", "secret")
    .env("OTHER", "no secret")
    .start();
    let data = follow(&server, "topics=feed&from=earliest").data(2);
    assert_eq!(data, [json!(0), json!("no secret")]);
}

#[test]
fn item_6_a_command_that_is_not_there_is_told() {
    let server = Server::start(&["--topic", "feed=exec:no-such-command-here"]);
    server.source_says("says: ");
    server.source_says("the command failed with code 127");
}

fn pid(data: &serde_json::Value) -> Pid {
    let number = data.as_i64().expect("the command says its process id");
    Pid::from_raw(i32::try_from(number).unwrap()).unwrap()
}

/// Whether it runs: one that has ended and was not waited for does not.
fn lives(pid: Pid) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero()));
    let ended = stat.is_ok_and(|stat| stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('Z')));
    test_kill_process(pid).is_ok() && !ended
}
