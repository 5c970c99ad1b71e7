//! Crowds that come, break off and come back: what they took is given back.

use std::net::TcpStream;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, Signal, getrlimit, setrlimit};
use serde_json::json;

use crate::support::client::{Message, speak};
use crate::support::faults::MemoryGroup;
use crate::support::frames::{FIN, Raw, TEXT, upgrade_request};
use crate::support::http::post;
use crate::support::server::{Plan, Server};
use crate::support::{eventually, wanted};

/// Descriptors that a server opens a little after its start, whoever comes.
const FEW: usize = 8;

/// Descriptors that a server has open.
fn descriptors(server: &Server) -> usize {
    let folder = format!("/proc/{}/fd", server.pid().as_raw_pid());
    std::fs::read_dir(folder).unwrap().count()
}

#[test]
fn a14_after_a_crowd_and_many_resets_descriptors_and_memory_are_as_before() {
    // A long run: LAPWING_CHURN=10000.
    let crowd = wanted("LAPWING_CHURN", 500);
    allow_open_files(crowd as u64 + 500);
    let server = Server::start(&["--topic", "users=users?every=50ms"]);
    let come_and_go = || {
        let clients: Vec<_> = (0..crowd).map(|_| Raw::follow(&server, "topics=users")).collect();
        eventually("all are here", || descriptors(&server) >= clients.len());
        drop(clients);
    };
    let before = descriptors(&server);
    come_and_go();
    eventually("all are gone", || descriptors(&server) <= before + FEW);
    // What a crowd once needed is kept for the next one.
    let memory = server.memory_kib("VmRSS:");
    for round in 0..2 * crowd {
        let stream = TcpStream::connect(server.address()).unwrap();
        let socket = socket2::SockRef::from(&stream);
        socket.set_linger(Some(Duration::ZERO)).unwrap();
        // At every stage: before a byte, within the head, within the stream.
        let request = upgrade_request(&server.address().to_string(), "/?topics=users");
        match round % 3 {
            0 => {}
            1 => drop(std::io::Write::write_all(&mut &stream, &request.as_bytes()[..50])),
            _ => drop(Raw::on(stream.try_clone().unwrap(), "topics=users", b"")),
        }
    }
    come_and_go();
    eventually("all are gone again", || descriptors(&server) <= before + FEW);
    let after = server.memory_kib("VmRSS:");
    assert!(after < memory + memory / 10 + 4096, "{memory} KiB, then {after} KiB");
}

#[test]
fn a12_a_crowd_that_comes_back_at_once_goes_on_where_it_was() {
    // A long run: LAPWING_STORM=5000.
    let crowd = wanted("LAPWING_STORM", 300);
    allow_open_files(crowd as u64 + 500);
    let dir = tempfile::tempdir().unwrap();
    let args = ["--data", dir.path().to_str().unwrap(), "--topic", "feed=push"];
    let publish = |server: &Server, numbers: std::ops::Range<u64>| {
        let body: String = numbers.map(|number| format!("{number}\n")).collect();
        assert_eq!(
            post(server, "/topics/feed/messages", "application/x-ndjson", body).status,
            201
        );
    };
    let mut server = Server::start(&args);
    let mut speaker = speak(&server, "topics=feed");
    speaker.control("welcome");
    let epoch = speaker.control("subscribed")["epoch"].as_str().unwrap().to_owned();
    let mut clients: Vec<_> = (0..crowd).map(|_| Raw::follow(&server, "topics=feed")).collect();
    publish(&server, 0..20);
    clients.iter_mut().for_each(|client| take(client, 0..20));
    server.signal(Signal::KILL);
    server.wait();
    let mut server = Server::start(&args);
    publish(&server, 20..40);
    // All at once: each has asked before the first one hears an answer.
    let query = format!("topics=feed&from=feed@{epoch}:20");
    let asked: Vec<_> = (0..crowd).map(|_| Raw::begin(&server, &query)).collect();
    for asked in asked {
        take(&mut asked.finish().expect("everybody is let in"), 20..40);
    }
    server.interrupt();
    let stopped = server.event("stopped", |_| true);
    assert_eq!(stopped["clients"], json!(crowd));
    assert!(stopped["limits"].is_null(), "{stopped}");
    assert_eq!(server.wait().code(), Some(0));
}

#[track_caller]
fn take(client: &mut Raw, numbers: std::ops::Range<u64>) {
    for number in numbers {
        let frame = client.frame().expect("a message");
        assert_eq!(frame.first_byte, FIN | TEXT);
        let message: Message = serde_json::from_slice(&frame.payload).expect("an envelope");
        assert_eq!((message.offset, message.data), (number, json!(number)));
    }
}

#[test]
fn f20_a_crowd_that_reads_nothing_of_a_full_topic_stays_within_a_bound() {
    const CROWD: usize = 500;
    const TOPIC_KIB: u64 = 8 << 10;
    allow_open_files(CROWD as u64 + 500);
    let server = Server::start(&["--topic", "feed=push?keep=1h&keep_bytes=8MiB"]);
    let body = format!("\"{}\"\n", "x".repeat(1000)).repeat(1000);
    let fill = |bodies: usize| {
        for _ in 0..bodies {
            assert_eq!(
                post(&server, "/topics/feed/messages", "application/x-ndjson", &body).status,
                201
            );
        }
    };
    let began = server.memory_kib("VmRSS:");
    let _crowd: Vec<Raw> = (0..CROWD).map(|_| narrow(&server)).collect();
    fill(40);
    let most = server.memory_kib("VmHWM:");
    // The topic and a segment more, for each client its entry and the rest of one frame, and what a body takes on its way.
    let bound = began + TOPIC_KIB + TOPIC_KIB / 16 + CROWD as u64 * 4 + (16 << 10);
    assert!(most < bound, "{most} KiB of {bound} KiB");
    // A client that reads has all that is kept.
    let mut good = Raw::follow(&server, "topics=feed&from=last:100");
    (0..100).for_each(|_| assert!(good.frame().is_some()));
}

#[test]
fn f20_a_crowd_and_a_topic_larger_than_the_memory_allowed_run_within_it() {
    const CROWD: usize = 200;
    const MIB: usize = 160;
    let name = "f20_a_crowd_and_a_topic_larger_than_the_memory_allowed_run_within_it";
    let Some(group) = MemoryGroup::make(name, 128 << 20) else {
        return;
    };
    allow_open_files(CROWD as u64 + 500);
    // Beside what cargo builds, which is no file system in memory.
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let data = ["--data", dir.path().to_str().unwrap(), "--durability", "os"];
    let mut server = Plan::within(&group, &[&data[..], &["--topic", "feed=push"]].concat()).start();
    let mut crowd: Vec<Raw> = (0..CROWD).map(|_| narrow(&server)).collect();
    let body = format!("\"{}\"\n", "x".repeat(1000)).repeat(1000);
    for _ in 0..MIB {
        assert_eq!(
            post(&server, "/topics/feed/messages", "application/x-ndjson", &body).status,
            201
        );
    }
    // One reads all of it, from the files and from memory, beside those that read nothing.
    let mut good = Raw::follow(&server, "topics=feed&from=earliest");
    for offset in 0..MIB * 1000 {
        assert!(good.frame().is_some(), "up to {offset}");
    }
    assert!(crowd.iter_mut().all(|client| client.frame().is_some()));
    assert!(server.runs());
    server.interrupt();
    assert_eq!(server.wait().code(), Some(0));
}

/// A client of everything whose kernel takes little, and that reads nothing by itself.
fn narrow(server: &Server) -> Raw {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    socket.connect(&server.address().into()).unwrap();
    Raw::on(socket.into(), "topics=feed&from=earliest", b"")
}

fn allow_open_files(count: u64) {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current.is_some_and(|current| current < count) {
        let more = Rlimit {
            current: Some(count),
            maximum,
        };
        setrlimit(Resource::Nofile, more).expect("a crowd needs many open files");
    }
}
