//! A running server, and a load test with what it found.

use std::process::Command;

use serde_json::Value;

use crate::feed::Feed;
use crate::program::{Finished, Program, lapwing};

/// A server on a free port, in whatever way its command is run.
pub struct Server {
    pub program: Program,
    pub url: String,
}

impl Server {
    pub fn start(args: &[&str]) -> Self {
        Self::run(Command::new(env!("CARGO_BIN_EXE_lapwing")), args)
    }

    pub fn run(mut command: Command, args: &[&str]) -> Self {
        command.args(["serve", "--listen", "127.0.0.1:0", "--json"]).args(args);
        let program = Program::start(&mut command);
        let ready: Value = serde_json::from_str(&program.shows("\"event\":\"ready\"")).expect("an event");
        let url = format!("ws://{}", ready["address"].as_str().expect("an address"));
        Self { program, url }
    }
}

/// Runs a short load test with these further flags; gives its object.
#[track_caller]
pub fn bench(url: &str, code: i32, args: &[&str]) -> Value {
    object(&start(url, &[SHORT, args].concat()).finish().with_code(code))
}

/// A load test that is under way.
pub fn start(url: &str, args: &[&str]) -> Program {
    lapwing(&[&["bench", url, "--json"], args].concat())
}

#[track_caller]
pub fn object(finished: &Finished) -> Value {
    assert_eq!(finished.stdout.len(), 1, "{finished:#?}");
    serde_json::from_str(&finished.stdout[0]).expect("one object")
}

/// A feed whose first caller has only looked whether somebody is there, as every load test does.
#[track_caller]
pub fn looked_at(feed: &Feed) {
    drop(feed.accept_tcp());
}

/// Long enough to measure something.
pub const SHORT: &[&str] = &["--for", "1s", "--warm-up", "200ms"];
