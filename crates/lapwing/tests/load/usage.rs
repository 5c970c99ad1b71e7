//! Wrong use: told in a sentence with a way out, before anything starts.

use crate::program::lapwing;
use crate::rig::Server;

#[track_caller]
fn check(args: &[&str], sentence: &str, hint: &str) {
    let end = lapwing(&[&["bench"], args].concat()).finish().with_code(2);
    end.said(sentence);
    end.said(hint);
    assert!(end.stdout.is_empty(), "{end:#?}");
}

#[test]
fn what_contradicts_itself_is_told() {
    check(
        &["ws://127.0.0.1:1/?topics=users", "--topics", "users"],
        "topics= in the URL and --topics both say what to listen to",
        "leave one of them out",
    );
    check(
        &["--publish", "load", "--topics", "users"],
        "--publish load is not among --topics, so nobody would hear it",
        "leave --topics out, or add load",
    );
    check(
        &["--rate", "5"],
        "error: --publish TOPIC is missing",
        "hint: write lapwing bench --publish TOPIC --rate R [URL]",
    );
    check(
        &["--clients", "0"],
        "--clients \"0\" is out of range: at least 1",
        "write a whole number such as 5",
    );
    check(
        &["--clients", "-1"],
        "--clients \"-1\" is no whole number: at least 1",
        "write a whole number",
    );
    check(
        &["--for", "-1s"],
        "--for \"-1s\" is no length of time",
        "write a number and a unit such as 500ms, 10s, 5m or 2h",
    );
    check(
        &["--warm-up", "199ms"],
        "--warm-up \"199ms\" is out of range: at least 200ms",
        "write a number and a unit",
    );
    let end = lapwing(&["bench", "--json", "--clients", "0"]).finish().with_code(2);
    let object: serde_json::Value = serde_json::from_str(end.said("is out of range: at least 1")).expect("an object");
    assert_eq!(object["exit"], 2, "{object}");
    check(
        &["--publish", "load", "--rate", "0"],
        "--rate \"0\" is out of range: 0.001 to 1000000",
        "write a number a second such as 200 or 0.5/s",
    );
    for size in ["58B", "1001KiB"] {
        check(
            &["--publish", "load", "--size", size],
            "is out of range: 59B to 1000KiB",
            "write a size such as 100B or 10KiB",
        );
    }
    check(
        &["http://127.0.0.1:1"],
        "is the URL of a page",
        "use \"ws://127.0.0.1:1\"",
    );
}

#[test]
fn addresses_that_this_machine_does_not_have_are_told() {
    let server = Server::start(&["--topic", "users=users?rate=50/s"]);
    // An address for documentation (RFC 5737), which no machine has.
    let strange = [server.url.as_str(), "--source-addresses", "127.0.0.1,192.0.2.1"];
    check(
        &strange,
        "cannot connect from 192.0.2.1 in --source-addresses: ",
        "name addresses of this machine",
    );
    let kinds = [server.url.as_str(), "--source-addresses", "::1"];
    check(
        &kinds,
        "::1 in --source-addresses is of another kind than the server's 127.0.0.1",
        "name addresses",
    );
}

#[test]
fn without_a_server_it_says_so() {
    let end = lapwing(&["bench", "ws://127.0.0.1:1"]).finish().with_code(1);
    end.said("error: no server at ws://127.0.0.1:1: connection refused");
    end.said("hint: start one with: lapwing serve");
    let end = lapwing(&["bench", "ws://127.0.0.1:1", "--json"]).finish().with_code(1);
    assert!(end.said("\"error\":\"no server at ").starts_with('{'));
}
