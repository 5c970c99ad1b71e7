//! More than the machine or the server has.

use std::process::Command;

use crate::feed::{Feed, granted};
use crate::program::Program;
use crate::rig::{SHORT, Server, looked_at, object, start};

/// A load test that may have so many open files.
fn with_open_files(files: u32, url: &str, clients: &str) -> Program {
    let mut command = Command::new("bash");
    command
        .arg("-c")
        .arg(format!("ulimit -n {files} && exec \"$0\" \"$@\""));
    command.arg(env!("CARGO_BIN_EXE_lapwing"));
    command
        .args(["bench", url, "--clients", clients, "--threads", "2"])
        .args(SHORT);
    Program::start(&mut command)
}

#[test]
fn as_many_clients_as_open_files_allow_listen_and_one_more_is_refused_before_anything_starts() {
    let server = Server::start(&["--topic", "users=users?rate=50/s"]);
    let end = with_open_files(150, &server.url, "50").finish().with_code(0);
    assert!(
        end.stdout
            .last()
            .expect("lines")
            .starts_with("proven: each of 50 clients"),
        "{end:#?}"
    );
    let end = with_open_files(150, &server.url, "51").finish().with_code(2);
    end.said("error: 51 clients need more open files than this process may have: 150, room for 50 clients");
    end.said("hint: ulimit -n raises it");
    assert!(end.stdout.is_empty());
}

#[test]
fn a_sweep_goes_as_far_as_open_files_allow() {
    let server = Server::start(&["--topic", "users=users?rate=50/s"]);
    let mut command = Command::new("bash");
    command.arg("-c").arg("ulimit -n 150 && exec \"$0\" \"$@\"");
    command
        .arg(env!("CARGO_BIN_EXE_lapwing"))
        .args(["bench", &server.url, "--threads", "2"])
        .args(SHORT);
    command.args(["--sweep", "--sweep-clients", "2,51", "--sweep-blocks", "5"]);
    let end = Program::start(&mut command).finish().with_code(0);
    end.said("warning: left out of the sweep: 51 clients need more open files");
    assert!(
        end.stdout.last().expect("lines").starts_with("2 clients: proven: "),
        "{end:#?}"
    );
}

#[test]
fn whom_the_server_refuses_is_told_and_what_the_others_received_is_kept() {
    let server = Server::start(&["--topic", "users=users?rate=50/s", "--max-connections", "6"]);
    let end = start(&server.url, &[SHORT, &["--clients", "8"]].concat())
        .finish()
        .with_code(1);
    let found = object(&end);
    let connected = found["connected"].as_u64().expect("a count");
    // The look whether somebody is there may still have its place.
    assert!((5..=6).contains(&connected), "{found:#}");
    let refused = found["not_connected"].as_object().expect("reasons");
    assert!(refused.keys().all(|why| why.contains("503")), "{found:#}");
    assert!(found["messages"].as_u64().expect("a count") > 0);
    end.said(&format!("only {connected} of 8 clients could connect"));
}

#[test]
fn a_topic_that_takes_no_messages_is_told() {
    let server = Server::start(&["--topic", "users=users?rate=50/s"]);
    let end = start(
        &server.url,
        &[SHORT, &["--clients", "2", "--publish", "users"]].concat(),
    )
    .finish()
    .with_code(1);
    end.said("topic users is filled by its own source");
    let end = start(&server.url, &[SHORT, &["--clients", "2", "--publish", "nope"]].concat())
        .finish()
        .with_code(2);
    end.said("nope");
}

#[test]
fn a_server_that_acknowledges_nothing_is_told() {
    let feed = Feed::bind();
    let bench = start(
        &feed.url(),
        &[SHORT, &["--clients", "1", "--publish", "load", "--rate", "20"]].concat(),
    );
    looked_at(&feed);
    let mut guest = feed.accept_lapwing();
    guest.welcome(&["load"]);
    guest.subscribe();
    guest.grant(&granted("load", 1, 0));
    // Posts find a port that listens, and nobody behind it.
    assert_eq!(guest.until_closed().1, Some(1000));
    let end = bench.finish().with_code(1);
    assert_eq!(object(&end)["published"]["acknowledged"], 0);
    end.said(" to load was acknowledged: no answer came");
}

#[test]
fn publishing_ends_with_the_last_listener() {
    let feed = Feed::bind();
    let args = ["--clients", "1", "--publish", "load", "--rate", "20", "--for", "1h"];
    let bench = start(&feed.url(), &args);
    looked_at(&feed);
    let mut guest = feed.accept_lapwing();
    guest.welcome(&["load"]);
    guest.subscribe();
    guest.grant(&granted("load", 1, 0));
    // As soon as something is published.
    let mut post = feed.accept_tcp();
    crate::feed::read_head(&mut post);
    guest.vanish();
    let found = object(&bench.finish().with_code(1));
    assert_eq!(found["interrupted"], "deserted", "{found:#}");
}

#[test]
fn a_topic_that_is_not_there_is_told() {
    let server = Server::start(&["--topic", "users=users?rate=50/s"]);
    let end = start(&server.url, &[SHORT, &["--clients", "2", "--topics", "nope"]].concat())
        .finish()
        .with_code(2);
    end.said("there is no topic \\\"nope\\\"; there is users");
}
