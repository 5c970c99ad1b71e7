//! `lapwing demo`: the newcomer's first minute.

use crate::support::server::{Running, lapwing};

#[test]
fn the_demo_tells_what_both_listeners_received_and_ends_with_0() {
    let demo = Running::start(&["demo", "--listen", "127.0.0.1:0", "--seed", "7"]);
    demo.out().with("sensor-1  users      0  {\"name\":");
    demo.out().with("sensor-1  arrays     0  [");
    demo.out().with("sensor-2 received block 2 of arrays (5 messages) in ");
    demo.interrupt();
    let ran = demo.end();
    assert_eq!(ran.code, Some(0), "{:?}", ran.err);
    assert!(ran.err.is_empty(), "{:?}", ran.err);
    for sensor in ["sensor-1", "sensor-2"] {
        let last = ran.out.iter().rev().find(|line| line.contains(sensor)).unwrap();
        assert!(last.ends_with("0 reconnects: each offset once, in order"), "{last}");
    }
}

#[test]
fn the_demo_takes_another_port_when_its_own_is_taken() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let demo = Running::start(&["demo", "--listen", &format!("127.0.0.1:{port}")]);
    demo.out().with(&format!("(port {port} is taken, this one was free)"));
    demo.out().with("sensor-1  users      0");
    demo.interrupt();
    assert_eq!(demo.end().code, Some(0));
}

#[test]
fn the_demo_serves_nobody_else() {
    let ran = lapwing(&["demo", "--listen", "0.0.0.0:0"]);
    assert_eq!(ran.code, Some(2));
    assert!(ran.err[0].contains("would serve strangers"), "{:?}", ran.err);
}
