//! A machine with few local ports, in a network namespace of its own.

use std::process::Command;

use crate::program::{Program, skip};
use crate::rig::{SHORT, Server};

/// A server where an address has a hundred local ports; none where that cannot be had.
fn with_few_ports(name: &str) -> Option<Server> {
    let few = "ip link set lo up && echo 40000 40099 > /proc/sys/net/ipv4/ip_local_port_range";
    let can = Command::new("unshare").args(["--net", "sh", "-c", few]).output();
    if !can.is_ok_and(|ran| ran.status.success()) {
        skip(name, "no network namespace with few ports may be made here");
        return None;
    }
    let mut command = Command::new("unshare");
    command.args([
        "--net",
        "sh",
        "-c",
        &format!("{few} && exec \"$0\" \"$@\""),
        env!("CARGO_BIN_EXE_lapwing"),
    ]);
    Some(Server::run(command, &["--topic", "users=users?rate=50/s"]))
}

fn bench_there(server: &Server, args: &[&str]) -> Program {
    let mut command = Command::new("nsenter");
    command.arg(format!("--net=/proc/{}/ns/net", server.program.id()));
    command
        .args([env!("CARGO_BIN_EXE_lapwing"), "bench", &server.url, "--clients", "150"])
        .args(SHORT)
        .args(args);
    Program::start(&mut command)
}

#[test]
fn a17_without_a_free_port_it_says_so_names_the_flag_and_keeps_what_it_has() {
    let Some(server) = with_few_ports("a17_without_a_free_port_it_says_so_names_the_flag_and_keeps_what_it_has") else {
        return;
    };
    let end = bench_there(&server, &["--source-addresses", "127.0.0.1"])
        .finish()
        .with_code(1);
    end.said("error: out of local ports after ");
    end.said("--source-addresses");
    assert!(
        end.stdout.last().expect("lines").starts_with("proven: each of "),
        "{end:#?}"
    );
}

#[test]
fn a17_towards_this_machine_further_addresses_are_used_by_themselves() {
    let Some(server) = with_few_ports("a17_towards_this_machine_further_addresses_are_used_by_themselves") else {
        return;
    };
    for args in [&[][..], &["--source-addresses", "127.0.0.7,127.0.0.8"]] {
        let end = bench_there(&server, args).finish().with_code(0);
        assert!(
            end.stdout
                .last()
                .expect("lines")
                .starts_with("proven: each of 150 clients"),
            "{end:#?}"
        );
    }
}
