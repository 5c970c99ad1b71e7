//! What is asked for and cannot be is told before anything starts.

use nats_cluster::{Settings, Trouble};
use serde_json::json;

use crate::positions::publish;
use crate::stage::Stage;
use crate::support::client::follow;
use crate::support::server::Plan;

#[track_caller]
fn refused(args: &[&str], sentence: &str) {
    let output = Plan::new(args).refused();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains(sentence), "{said}");
}

#[test]
fn a_stream_with_other_settings_is_taken_only_when_that_is_meant() -> Result<(), Trouble> {
    let Some(stage) = Stage::set("adopt", &Settings::one()) else {
        return Ok(());
    };
    let made =
        json!({"name": "lapwing_feed", "subjects": ["lapwing.feed"], "max_bytes": 12_345_678, "storage": "memory"});
    stage.nats.client()?.create_stream(&made)?;
    let url = stage.nats.url();
    let args = ["--broker", &url, "--topic", "feed=push"];
    refused(
        &args,
        "max_bytes is 12345678, not 1073741824; storage is Memory, not File",
    );
    refused(&args, "--adopt");
    let server = stage.serve("feed=push", &["--adopt"]);
    publish(&server, 0..3);
    follow(&server, "topics=feed&from=earliest").messages(3);
    let info = stage.nats.client()?.stream("lapwing_feed")?.expect("it is there");
    assert_eq!(info["config"]["max_bytes"], 12_345_678, "its limits stay");
    Ok(())
}

#[test]
fn more_replicas_than_servers_are_refused_by_the_broker() {
    let Some(stage) = Stage::set("replicas", &Settings::one()) else {
        return;
    };
    let url = stage.nats.url();
    let output = Plan::new(&["--broker", &url, "--topic", "feed=push?replicas=3"]).refused();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("stream lapwing_feed cannot be made"), "{said}");
}

#[test]
fn what_means_nothing_with_a_broker_is_refused() {
    let broker = ["--broker", "nats://127.0.0.1:1"];
    for (topic, sentence) in [
        ("feed=push?slow=wait", "slow=wait holds back its source"),
        ("feed=push?durability=none", "durability= is for files here"),
        ("feed=file:lines?end=close", "end=close ends a topic on one server"),
        (
            "feed=users?start=listener",
            "start=listener waits for a client of one server",
        ),
        ("feed=push?replicas=6", "replicas=6 is out of range: 1 to 5"),
        ("feed=push?replicas=0", "replicas=0 is out of range: 1 to 5"),
        ("feed=push?storage=disk", "is not one of file, memory"),
    ] {
        refused(&[&broker[..], &["--topic", topic]].concat(), sentence);
    }
    refused(
        &[&broker[..], &["--data", "somewhere"]].concat(),
        "--data keeps topics here",
    );
    refused(
        &[&broker[..], &["--broker-prefix", "a.b"]].concat(),
        "is no name of streams",
    );
    refused(
        &[&broker[..], &["--broker-prefix", &"a".repeat(65)]].concat(),
        "is no name of streams",
    );
    refused(&["--topic", "feed=push?replicas=3"], "mean nothing without a broker");
    refused(&["--adopt"], "are of no use without a broker");
    let many = vec!["nats://127.0.0.1:1"; 17].join(",");
    refused(&["--broker", &many], "names 17 addresses, and takes at most 16");
    refused(
        &["--broker", "http://user:secret@127.0.0.1:1"],
        "does not begin with nats:// or tls://",
    );
}

#[test]
fn a_password_in_an_address_is_shown_nowhere() {
    let output = Plan::new(&["--broker", "http://user:hunter2@127.0.0.1:1"]).refused();
    let said = [output.stdout, output.stderr].concat();
    assert!(!String::from_utf8_lossy(&said).contains("hunter2"));
}
