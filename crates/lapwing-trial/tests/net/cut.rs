//! Connections that are cut: in the middle of a message, and at every byte that means something.

use std::process::Command;
use std::sync::Mutex;

use lapwing_trial::proxy::End;
use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::runtime::Handle;

use crate::cutter::{Byte, Cutter, Place};
use crate::rig::{
    Server, assert_holds, eventually, holds, lapwing, listen, publish_all, recorded, records, skip, verify,
};

/// Bytes of a message that no kernel takes for a reader that stands still.
const LARGE_BYTES: usize = 12 << 20;

#[test]
fn a1_a_connection_killed_within_a_message_is_resumed_behind_the_last_whole_one() {
    let name = "a1_a_connection_killed_within_a_message_is_resumed_behind_the_last_whole_one";
    if !can_kill_sockets() {
        return skip(name, "ss -K cannot end a connection here");
    }
    let server = Server::start(&["--topic", "feed=push", "--max-body", "16MiB"]);
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("feed.ndjson");
    let url = format!("ws://{}", server.address);
    let listener = listen(Command::new(lapwing()), &url, &file, &["--count", "6"]);
    let small: Vec<Value> = (0..3).map(|number| json!({ "n": number })).collect();
    publish_all(server.address, "feed", 0, &small);
    holds(&file, "feed", 3);

    let joined = server.event("joined", |_| true);
    let end: std::net::SocketAddr = joined["address"]
        .as_str()
        .and_then(|address| address.parse().ok())
        .expect("an address");
    listener.signal(Signal::STOP);
    let large = json!("x".repeat(LARGE_BYTES));
    publish_all(server.address, "feed", 1, std::slice::from_ref(&large));
    let (own, theirs) = (server.address.to_string(), end.to_string());
    eventually("the message is on its way and the reader has not all of it", || {
        // State, Recv-Q, Send-Q, addresses: what the server's end has sent and the listener's has not taken.
        let queues = ss(&["-Htn", "src", &own, "dst", &theirs]);
        let waits = queues.split_whitespace().nth(2).and_then(|bytes| bytes.parse().ok());
        waits.is_some_and(|bytes: u64| bytes > 0)
    });
    ss(&["-K", "src", &theirs, "dst", &own]);
    eventually("the connection is gone", || {
        ss(&["-Htn", "src", &theirs, "dst", &own]).is_empty()
    });
    listener.signal(Signal::CONT);
    listener.says("lost the connection");
    let last: Vec<Value> = (4..6).map(|number| json!({ "n": number })).collect();
    publish_all(server.address, "feed", 2, &last);
    listener.ends_with(0);
    assert_holds(&file, "feed", &[&small[..], &[large], &last].concat());
    let lines = recorded(&file);
    assert_eq!(records(&lines, "reconnect").len(), 1);
    assert!(records(&lines, "gap").is_empty());
    verify(&[], &[file]);
}

/// What `ss` prints.
fn ss(args: &[&str]) -> String {
    let ran = Command::new("ss").args(args).output();
    ran.map_or_else(
        |_| String::new(),
        |ran| String::from_utf8_lossy(&ran.stdout).into_owned(),
    )
}

/// Whether `ss -K` ends a connection of our own: it needs root and a kernel that was built for it.
fn can_kill_sockets() -> bool {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let there = listener.local_addr().expect("it is bound").to_string();
    let socket = std::net::TcpStream::connect(listener.local_addr().expect("it is bound")).expect("it listens");
    let here = socket.local_addr().expect("it is connected").to_string();
    ss(&["-K", "src", &here, "dst", &there]);
    socket.set_nonblocking(true).expect("a socket");
    // Alive and silent it would block.
    !matches!(socket.peek(&mut [0]), Err(error) if error.kind() == std::io::ErrorKind::WouldBlock)
}

/// So many listeners run at once: they mostly wait to come back.
const LISTENERS_AT_ONCE: usize = 12;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a2_a_cut_at_any_byte_of_handshake_header_length_or_payload_changes_no_message() {
    // Their frames have headers of 2, 4 and 10 bytes.
    let published = [
        json!(1),
        json!("x".repeat(300)),
        json!("é✓".repeat(20_000)),
        json!({ "last": true }),
    ];
    let server = Server::start(&["--topic", "feed=push", "--heartbeat", "5m"]);
    publish_all(server.address, "feed", 0, &published);
    let dir = tempfile::tempdir().expect("a directory");

    // Of the answer to the handshake: nothing, a byte, and each byte of its end.
    let mut bytes: Vec<(usize, Byte)> = vec![(0, Byte::Count(0)), (0, Byte::Count(1))];
    bytes.extend((1..=5).map(|missing| (0, Byte::Missing(missing))));
    // Of each frame (welcome, subscribed, the messages): each byte of its header, the first and the last of its payload.
    for (piece, header) in [(1, 4), (2, 4), (3, 2), (4, 4), (5, 10), (6, 2)] {
        bytes.extend((0..=header + 1).map(|count| (piece, Byte::Count(count))));
        bytes.push((piece, Byte::Missing(1)));
    }
    let ends = [End::Reset, End::Close, End::HalfClose];
    let cuts = ends.into_iter().flat_map(|end| {
        bytes.iter().map(move |(piece, byte)| {
            (
                Place {
                    piece: *piece,
                    byte: *byte,
                },
                end,
            )
        })
    });
    let cuts = Mutex::new(cuts.enumerate().collect::<Vec<_>>());
    let (runtime, files) = (Handle::current(), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        let follow_one = || {
            let _entered = runtime.enter();
            loop {
                let Some((number, (place, end))) = cuts.lock().expect("no panic").pop() else {
                    return;
                };
                let cutter = Cutter::start(server.address, place, end);
                let file = dir.path().join(format!("{number}.ndjson"));
                let url = format!("ws://{}", cutter.address);
                let args = ["--count", "4", "--no-report", "--name", "a2"];
                listen(Command::new(lapwing()), &url, &file, &args).ends_with(0);
                assert!(cutter.has_cut(), "{place:?} {end:?}");
                assert_eq!(cutter.connections(), 2, "{place:?} {end:?}: cut once, and back once");
                assert_holds(&file, "feed", &published);
                files.lock().expect("no panic").push(file);
            }
        };
        for _ in 0..LISTENERS_AT_ONCE {
            scope.spawn(follow_one);
        }
    });
    let files = files.into_inner().expect("no panic");
    assert_eq!(files.len(), 3 * bytes.len());
    verify(&[], &files);
}
