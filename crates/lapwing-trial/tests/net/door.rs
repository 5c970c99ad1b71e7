//! Who comes from another machine: how many from one address, and how many a second.

use std::process::Command;

use serde_json::Value;

use crate::rig::Server;
use crate::wires::{SERVER, Wires};

/// `lapwing bench` from the other end of the wire: how many came in, and why the others did not.
fn crowd(wires: &Wires, server: &Server, clients: &str) -> Value {
    let mut bench: Command = wires.program_of_client();
    let url = format!("ws://{}", server.address);
    bench.args(["bench", &url, "--clients", clients, "--for", "1s", "--json"]);
    let ran = bench.output().expect("it runs");
    serde_json::from_slice(&ran.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&ran.stderr)))
}

fn serve(wires: &Wires, limits: &[&str]) -> Server {
    let args = [&["--open", "--topic", "users=users?every=50ms"], limits].concat();
    Server::from_command(wires.program_of_server(), &format!("{SERVER}:0"), &args)
}

#[test]
fn as_many_as_allowed_come_from_one_address_and_one_more_is_429() {
    let Some(wires) = Wires::lay("as_many_as_allowed_come_from_one_address_and_one_more_is_429") else {
        return;
    };
    let server = serve(&wires, &["--max-connections-per-address", "10"]);
    let figures = crowd(&wires, &server, "10");
    assert_eq!(figures["connected"], 10, "{figures}");
    let figures = crowd(&wires, &server, "11");
    assert_eq!(figures["connected"], 10, "{figures}");
    let told = figures["not_connected"].to_string();
    assert!(
        told.contains("429") && told.contains("this address has 10 connections"),
        "{told}"
    );
    let told = server.event("limit", |_| true);
    assert_eq!(
        told["text"],
        "this address has 10 connections, and may have no more (--max-connections-per-address): 1 refused with 429, \
         the last one from 10.77.0.2"
    );
}

#[test]
fn a_crowd_comes_in_at_the_rate_and_the_rest_is_503() {
    let Some(wires) = Wires::lay("a_crowd_comes_in_at_the_rate_and_the_rest_is_503") else {
        return;
    };
    let server = serve(&wires, &["--max-accept-rate", "2"]);
    let figures = crowd(&wires, &server, "100");
    let connected = figures["connected"].as_u64().expect("a number");
    assert!(connected >= 4, "a burst of four comes in at once: {figures}");
    assert!(connected < 100, "{figures}");
    let told = figures["not_connected"].to_string();
    assert!(
        told.contains("503") && told.contains("more than 2 connections a second"),
        "{told}"
    );
    // Whoever is in is served.
    assert!(figures["messages"].as_u64() > Some(0), "{figures}");
}

#[test]
fn one_address_that_comes_without_end_takes_its_share_and_is_told_with_it() {
    let Some(wires) = Wires::lay("one_address_that_comes_without_end_takes_its_share_and_is_told_with_it") else {
        return;
    };
    let server = serve(&wires, &["--max-accept-rate-per-address", "2"]);
    let figures = crowd(&wires, &server, "100");
    let connected = figures["connected"].as_u64().expect("a number");
    assert!(connected >= 10, "a burst of ten comes in at once: {figures}");
    assert!(connected < 100, "{figures}");
    let told = figures["not_connected"].to_string();
    assert!(
        told.contains("429") && told.contains("more than 2 connections a second come from this address"),
        "{told}"
    );
    let told = server.event("limit", |_| true);
    assert_eq!(
        told["text"],
        "more than 2 connections a second come from this address (--max-accept-rate-per-address): 1 refused with 429, \
         the last one from 10.77.0.2"
    );
}
