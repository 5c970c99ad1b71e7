//! A topic as server-sent events: what comes, where it goes on, what a slow client is told, and how it ends.

use std::net::TcpStream;
use std::path::Path;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::bearer::Secrets;
use crate::support::client::{follow, narrow};
use crate::support::events::{Events, events, resume};
use crate::support::eventually;
use crate::support::http::{ask, get, open, post};
use crate::support::secure::{self, Pair, connect};
use crate::support::server::{Plan, Server};

const ORDERS: &str = "/topics/orders/events";
const PUSH: [&str; 2] = ["--topic", "orders=push"];

#[track_caller]
fn publish(server: &Server, numbers: std::ops::Range<u64>) -> Value {
    let body: String = numbers.map(|number| format!("{number}\n")).collect();
    let answer = post(server, "/topics/orders/messages", "application/x-ndjson", body);
    assert_eq!(answer.status, 201, "{answer:?}");
    answer.json()
}

#[track_caller]
fn publish_long(server: &Server, count: u64, bytes: usize) {
    let body = format!("\"{}\"", "x".repeat(bytes));
    for _ in 0..count {
        let answer = post(server, "/topics/orders/messages", "application/json", &body);
        assert_eq!(answer.status, 201, "{answer:?}");
    }
}

/// A client of whose bytes the kernel takes little.
fn narrow_events(server: &Server, target: &str) -> Events<TcpStream> {
    let stream = narrow(server);
    stream.set_read_timeout(Some(crate::support::PATIENCE)).unwrap();
    Events::on(stream, server, target, &[])
}

/// Reads up to the message before `end`, and checks that nothing is missing without a word; gives the gaps.
#[track_caller]
fn account(client: &mut Events<TcpStream>, mut next: u64, end: u64) -> Vec<(u64, u64, String)> {
    let mut gaps = Vec::new();
    while next < end {
        let event = client.event();
        let said = event.json();
        match event.name.as_str() {
            "" => {
                assert_eq!(said["offset"], next, "no jump without a gap that says so");
                next += 1;
            }
            "gap" => {
                assert_eq!((&said["type"], &said["from"]), (&json!("gap"), &json!(next)), "{said}");
                let to = said["to"].as_u64().unwrap();
                gaps.push((next, to, said["reason"].as_str().unwrap().to_owned()));
                assert!(
                    client.id.ends_with(&format!(":{to}")),
                    "who comes back is not told again"
                );
                next = to;
            }
            _ => panic!("{event:?}"),
        }
    }
    gaps
}

#[test]
fn a_client_of_events_gets_what_others_get_with_the_place_of_the_next_one() {
    let server = Server::start(&PUSH);
    let mut others = follow(&server, "topics=orders");
    let mut client = events(&server, &format!("{ORDERS}?name=kiosk"));
    for header in [
        "content-type: text/event-stream",
        "cache-control: no-store",
        "connection: close",
    ] {
        assert!(client.head.contains(header), "{header}: {}", client.head);
    }
    let first = client.next().unwrap();
    assert_eq!(
        (first.retry.map(|ms| (2000..3000).contains(&ms)), first.data.as_str()),
        (Some(true), "")
    );
    let epoch = client
        .id
        .strip_suffix(":0")
        .expect("a place before the first message")
        .to_owned();
    for (number, (kind, body)) in [
        ("application/json", &b"{ \"a\" : 1.0 }"[..]),
        ("text/plain", b"two\nlines\r and a \xe2\x80\xa8 line"),
        ("application/octet-stream", b"\x00\xff\n\n"),
    ]
    .into_iter()
    .enumerate()
    {
        assert_eq!(post(&server, "/topics/orders/messages", kind, body).status, 201);
        assert_eq!(client.event().data, others.text());
        assert_eq!(client.id, format!("{epoch}:{}", number + 1));
    }
    let joined = server.event("joined", |joined| joined["client"] == "kiosk");
    assert_eq!(
        (&joined["mode"], &joined["from"]),
        (&json!("events"), &json!({"orders": 0}))
    );
    drop(client);
    let left = server.event("left", |left| left["client"] == "kiosk");
    assert_eq!((&left["code"], &left["by"]), (&json!(1005), &json!("client")), "{left}");
    assert_eq!(
        (&left["messages"], &left["last"]),
        (&json!(3), &json!({"orders": 2})),
        "{left}"
    );
}

#[test]
fn who_comes_back_with_its_last_id_goes_on_there_whatever_the_url_says() {
    let server = Server::start(&PUSH);
    publish(&server, 0..10);
    let mut client = events(&server, &format!("{ORDERS}?from=earliest"));
    assert_eq!(client.offsets(4), [0, 1, 2, 3]);
    let mut back = resume(&server, &format!("{ORDERS}?from=earliest"), &client.id);
    assert_eq!(back.offsets(6), [4, 5, 6, 7, 8, 9]);
    // One that was cut off before its first message has a place, too.
    let mut idle = events(&server, ORDERS);
    idle.next();
    publish(&server, 10..12);
    assert_eq!(resume(&server, ORDERS, &idle.id).offsets(2), [10, 11]);
    assert_eq!(
        resume(&server, &format!("{ORDERS}?from=last:2"), "").offsets(2),
        [10, 11],
        "none is none"
    );
    for (from, first) in [("last:3", 9), ("orders:7", 7), ("-1h", 0)] {
        assert_eq!(
            events(&server, &format!("{ORDERS}?from={from}")).offsets(1),
            [first],
            "{from}"
        );
    }
}

#[test]
fn f1_events_of_a_durable_topic_come_once_each_through_kills_of_the_server() {
    let dir = tempfile::tempdir().unwrap();
    let start = || {
        Server::start(&[
            "--data",
            dir.path().to_str().unwrap(),
            "--topic",
            "orders=push?durability=os",
        ])
    };
    let (mut id, mut next) = (String::new(), 0);
    for round in 0..5 {
        let mut server = start();
        let mut client = resume(&server, &format!("{ORDERS}?from=earliest"), &id);
        publish(&server, round * 100..(round + 1) * 100);
        // Never all of it: the rest is for the next one.
        while next < round * 100 + 50 {
            assert_eq!(client.offsets(1), [next]);
            next += 1;
        }
        id = client.id;
        server.signal(Signal::KILL);
        server.wait();
    }
    let server = start();
    let mut client = resume(&server, ORDERS, &id);
    assert_eq!(client.offsets(50), (next..500).collect::<Vec<_>>());
}

#[test]
fn events_that_lie_in_files_alone_are_read_from_there() {
    let dir = tempfile::tempdir().unwrap();
    let mut server = Server::start(&["--data", dir.path().to_str().unwrap(), PUSH[0], PUSH[1]]);
    publish(&server, 0..5000);
    server.interrupt();
    server.wait();
    let server = Server::start(&["--data", dir.path().to_str().unwrap(), PUSH[0], PUSH[1]]);
    let clients: Vec<_> = [0, 1000, 4000, 4999]
        .into_iter()
        .map(|from| (from, events(&server, &format!("{ORDERS}?from={from}"))))
        .collect();
    for (from, mut client) in clients {
        let count = 5000 - usize::try_from(from).unwrap();
        assert_eq!(client.offsets(count), (from..5000).collect::<Vec<_>>());
    }
}

#[test]
fn a_history_that_is_unknown_is_told_as_a_reset_and_begins_anew() {
    let server = Server::start(&PUSH);
    let epoch = publish(&server, 0..3)["epoch"].as_str().unwrap().to_owned();
    let other = "0".repeat(32);
    for (id, target) in [
        (format!("{other}:2"), ORDERS.to_owned()),
        (format!("{epoch}:4"), ORDERS.to_owned()),
        (String::new(), format!("{ORDERS}?from=@{other}:2")),
        (String::new(), format!("{ORDERS}?from=17")),
    ] {
        let mut client = resume(&server, &target, &id);
        let reset = client.named("reset");
        let told = (&reset["type"], &reset["answer"], &reset["from"], &reset["next"]);
        assert_eq!(
            told,
            (&json!("subscribed"), &json!("reset"), &json!(0), &json!(3)),
            "{id} {target}"
        );
        assert_eq!(client.id, format!("{epoch}:0"));
        assert_eq!(client.offsets(3), [0, 1, 2]);
    }
}

#[test]
fn who_holds_what_the_server_lost_is_told_where_the_histories_part_and_goes_on_there() {
    let (dir, older) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let serve = |dir: &Path| Server::start(&["--data", dir.to_str().unwrap(), "--topic", "orders=push?durability=os"]);
    let mut server = serve(dir.path());
    let epoch = publish(&server, 0..5)["epoch"].as_str().unwrap().to_owned();
    // A backup: what comes after it is lost when it is played back.
    copy(dir.path(), older.path());
    publish(&server, 5..10);
    let mut client = events(&server, &format!("{ORDERS}?from=earliest"));
    assert_eq!(client.offsets(10), (0..10).collect::<Vec<_>>());
    assert_eq!(client.id, format!("{epoch}:10"));
    server.signal(Signal::KILL);
    server.wait();

    let server = serve(older.path());
    // Who holds no more than both histories have in common goes on without a word.
    assert_eq!(resume(&server, ORDERS, &format!("{epoch}:3")).offsets(2), [3, 4]);
    for (id, target) in [
        (client.id.as_str(), ORDERS.to_owned()),
        ("", format!("{ORDERS}?from=@{epoch}:6")),
    ] {
        let mut client = resume(&server, &target, id);
        let told = client.named("diverged");
        let other = told["epoch"].as_str().unwrap();
        assert_ne!(other, epoch, "another history");
        assert_eq!(
            told,
            json!({
                "type": "subscribed", "topic": "orders", "epoch": other, "first": 0, "next": 5, "durable": 5, "level": "os",
                "from": 5, "answer": "diverged", "diverged_at": 5,
            }),
            "{target}"
        );
        assert_eq!(client.id, format!("{other}:5"), "who comes back is not told again");
    }
    let mut client = resume(&server, ORDERS, &client.id);
    client.named("diverged");
    publish(&server, 50..52);
    assert_eq!(client.offsets(2), [5, 6]);
}

/// A directory, as it is at this moment.
fn copy(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            std::fs::create_dir_all(&to).unwrap();
            copy(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), &to).unwrap();
        }
    }
}

#[test]
fn an_id_that_is_none_of_ours_is_refused_with_a_sentence() {
    let server = Server::start(&PUSH);
    publish(&server, 0..3);
    let epoch = "0".repeat(32);
    let long = "9".repeat(10_000);
    for id in [
        "17",
        "x",
        "\u{1b}[2J",
        ":",
        "-1",
        &epoch,
        &format!("{epoch}:-1"),
        &format!("{epoch}:18446744073709551616"),
        &format!("{epoch}:{long}"),
        &format!("{epoch}:1,{epoch}:2"),
    ] {
        let answer = ask(&server, "GET", ORDERS, &[("Last-Event-ID", id)], b"");
        // A byte that no header may have is refused before anybody looks at it.
        assert_eq!(answer.status, 400, "{id:?} {answer:?}");
        assert!(
            id.starts_with('\u{1b}') || answer.body.starts_with("Last-Event-ID is no id"),
            "{answer:?}"
        );
    }
    let farthest = format!("{epoch}:{}", u64::MAX);
    assert_eq!(resume(&server, ORDERS, &farthest).named("reset")["from"], 0);
    let twice = [("Last-Event-ID", "a"), ("Last-Event-ID", "b")];
    assert_eq!(ask(&server, "GET", ORDERS, &twice, b"").status, 400);
    let longest = "9".repeat(64 << 10);
    assert_eq!(
        ask(&server, "GET", ORDERS, &[("Last-Event-ID", &longest)], b"").status,
        431
    );
    server.event("joined", |_| true);
    assert_eq!(
        server.events("joined").len(),
        1,
        "one was none of those that were refused"
    );
}

#[test]
fn what_events_cannot_be_is_refused_with_a_sentence() {
    let server = Server::start(&["--topic", "orders=push", "--topic", "users=push"]);
    for (target, status, says) in [
        (
            "/topics/nothing/events",
            404,
            "there is no topic \"nothing\"; there are orders, users",
        ),
        ("/topics/no%20name/events", 404, "there is no topic"),
        ("/topics//events", 404, "there is no topic"),
        ("/topics/orders/events?topics=orders", 400, "leave out topics="),
        ("/topics/orders/events?envelope=off", 400, "leave out topics="),
        ("/topics/orders/events?from=yesterday", 400, "yesterday"),
        ("/topics/orders/events?from=users:1", 400, "from= names topic users"),
        ("/topics/orders/events?token=secret", 400, "does not belong in a URL"),
        ("/topics/orders/events?name=client+7", 400, "name"),
        ("/topics/orders/events/", 404, "nothing is here"),
    ] {
        let answer = get(&server, target);
        assert_eq!(answer.status, status, "{target} {answer:?}");
        assert!(answer.body.contains(says), "{target} {answer:?}");
    }
    let answer = post(&server, ORDERS, "text/plain", "1");
    assert_eq!(
        (answer.status, answer.header("allow")),
        (405, Some("GET, HEAD, OPTIONS"))
    );
    let head = ask(&server, "HEAD", ORDERS, &[], b"");
    assert_eq!(
        (head.status, head.header("content-type")),
        (200, Some("text/event-stream"))
    );
    let _client = events(&server, ORDERS);
    assert_eq!(server.event("joined", |_| true)["session"], 1, "a head is no client");
}

#[test]
fn b2_a_slow_client_of_events_is_told_each_gap_once_and_it_is_counted() {
    let mut server = Server::start(&["--topic", "orders=push?keep_bytes=64KiB&slow=skip"]);
    let mut client = narrow_events(&server, ORDERS);
    publish_long(&server, 200, 50_000);
    let gaps = account(&mut client, 0, 200);
    let missed: u64 = gaps.iter().map(|(from, to, _)| to - from).sum();
    assert!(missed > 0, "retention has passed it");
    assert!(gaps.iter().all(|(_, _, reason)| reason == "retention"), "{gaps:?}");
    drop(client);
    let left = server.event("left", |_| true);
    assert_eq!(left["missed"], json!({"orders": missed}), "{left}");
    server.interrupt();
    server.wait();
    let stopped = server.event("stopped", |_| true);
    assert_eq!(stopped["missed"], json!({"orders": missed}), "{stopped}");
}

#[test]
fn b2_what_was_let_go_before_a_client_of_events_came_is_a_gap() {
    let server = Server::start(&["--topic", "orders=push?keep_bytes=64KiB"]);
    publish_long(&server, 50, 10_000);
    let mut client = events(&server, &format!("{ORDERS}?from=0"));
    let gaps = account(&mut client, 0, 50);
    assert_eq!(gaps.len(), 1, "{gaps:?}");
    let told = server.event("gap", |_| true);
    assert_eq!((&told["from"], &told["to"]), (&json!(0), &json!(gaps[0].1)));
}

#[test]
fn b2_close_lets_go_of_a_client_of_events_that_retention_overtakes() {
    let server = Server::start(&["--topic", "orders=push?keep_bytes=64KiB&slow=close"]);
    let mut client = narrow_events(&server, ORDERS);
    publish_long(&server, 200, 50_000);
    // It takes nothing, so it is cut off.
    let left = server.event("left", |_| true);
    assert_eq!((&left["code"], &left["by"]), (&json!(4400), &json!("server")), "{left}");
    assert!(
        left["reason"].as_str().unwrap().starts_with("too slow, gone: orders "),
        "{left}"
    );
    assert!(client.ends());
}

#[test]
fn b2_latest_goes_on_with_the_newest_event_once_the_socket_takes_some_again() {
    let server = Server::start(&["--topic", "orders=push?slow=latest"]);
    let mut client = narrow_events(&server, ORDERS);
    publish_long(&server, 200, 50_000);
    let gaps = account(&mut client, 0, 200);
    assert!(
        !gaps.is_empty() && gaps.iter().all(|(_, _, reason)| reason == "policy"),
        "{gaps:?}"
    );
}

#[test]
fn b1_wait_holds_the_source_for_a_client_of_events_and_it_misses_nothing() {
    let server = Server::start(&[
        "--topic",
        "orders=exec:seq 0 99999?slow=wait&keep_bytes=64KiB&restart=never&end=close&start=listener",
    ]);
    let mut client = narrow_events(&server, &format!("{ORDERS}?from=earliest"));
    for number in 0..100_000 {
        let message = client.message();
        assert_eq!((&message["offset"], &message["data"]), (&json!(number), &json!(number)));
    }
    assert_eq!(client.named("bye")["reason"], "the feed has ended");
    assert_eq!(client.next(), None);
    assert_eq!(server.events("gap"), [] as [Value; 0]);
}

#[test]
fn b1_a_client_of_events_that_takes_nothing_is_let_go_and_its_memory_was_bounded() {
    let server = Server::start(&["--topic", "orders=push?keep_bytes=1MiB", "--stall-timeout", "3s"]);
    let _stuck: Vec<_> = (0..10).map(|_| narrow_events(&server, ORDERS)).collect();
    let before = server.memory_kib("VmRSS:");
    publish_long(&server, 1500, 50_000);
    let grown = server.memory_kib("VmRSS:").saturating_sub(before);
    // 75 MB went through the topic. It keeps 1 MiB, as events a thread's worth more; each client holds a message or two.
    assert!(grown < 20 << 10, "{grown} KiB");
    for session in 1..=10 {
        let left = server.event("left", |left| left["session"] == session);
        assert_eq!(
            (&left["code"], &left["reason"]),
            (&json!(4400), &json!("took nothing for 3 s")),
            "{left}"
        );
    }
}

#[test]
fn a_message_longer_than_all_buffers_comes_whole() {
    let server = Server::start(&["--topic", "orders=push", "--max-body", "16MiB"]);
    let mut client = narrow_events(&server, ORDERS);
    let body = format!("\"{}\"", "\u{e9}".repeat(4 << 20));
    assert_eq!(
        post(&server, "/topics/orders/messages", "application/json", &body).status,
        201
    );
    publish(&server, 0..1);
    let message = client.message();
    assert_eq!(message["data"].as_str().unwrap().len(), 8 << 20);
    assert_eq!(client.offsets(1), [1]);
}

#[test]
fn a13_a_stop_tells_clients_of_events_and_exits_with_0() {
    for (signal, reason, retries) in [
        (Signal::INT, "server stopped", false),
        (Signal::TERM, "server restarts", true),
    ] {
        let mut server = Server::start(&["--topic", "users=users?every=10ms"]);
        let mut client = events(&server, "/topics/users/events?name=kiosk");
        let mut last = client.message()["offset"].as_u64().unwrap();
        server.signal(signal);
        let bye = loop {
            let event = client.event();
            match event.name.as_str() {
                "" => last = event.json()["offset"].as_u64().unwrap(),
                name => {
                    assert_eq!(name, "bye");
                    break event;
                }
            }
        };
        let told = bye.json();
        assert_eq!(
            (&told["type"], &told["reason"]),
            (&json!("bye"), &json!(reason)),
            "{told}"
        );
        assert_eq!(told["next"], json!({"users": last + 1}), "it was given everything");
        assert_eq!(
            (bye.retry.is_some(), told["retry_ms"].as_u64()),
            (retries, bye.retry),
            "{bye:?}"
        );
        assert_eq!(client.next(), None, "the body ends as it should");
        assert_eq!(server.wait().code(), Some(0));
        assert_eq!(server.event("stopping", |_| true)["clients"], 1);
        let left = server.event("left", |left| left["client"] == "kiosk");
        let code = if retries { 1012 } else { 1001 };
        assert_eq!((&left["code"], &left["by"]), (&json!(code), &json!("server")), "{left}");
        server.event("stopped", |stopped| stopped["clients"] == 1);
        assert!(server.err().all().is_empty(), "{:?}", server.err().all());
    }
}

#[test]
fn a13_a_client_of_events_that_lags_is_served_to_the_end_and_no_longer_than_the_drain() {
    let mut server = Server::start(&["--topic", "orders=push", "--drain", "60s"]);
    let mut client = narrow_events(&server, ORDERS);
    publish_long(&server, 40, 1_000_000);
    server.signal(Signal::TERM);
    server.event("stopping", |stopping| stopping["clients"] == 1);
    assert_eq!(get(&server, ORDERS).status, 503);
    assert_eq!(client.offsets(40), (0..40).collect::<Vec<_>>());
    client.named("bye");
    assert_eq!(server.wait().code(), Some(0));

    let mut server = Server::start(&["--topic", "orders=push", "--drain", "100ms"]);
    let _stuck = narrow_events(&server, ORDERS);
    publish_long(&server, 40, 1_000_000);
    server.interrupt();
    assert_eq!(server.wait().code(), Some(0));
    assert_eq!(server.event("left", |_| true)["code"], 1001);
}

#[test]
fn a_topic_that_has_ended_says_so_and_who_comes_back_is_told_to_stay_away() {
    let server = Server::start(&["--topic", "orders=exec:seq 0 4?restart=never&end=close&start=listener"]);
    let mut client = events(&server, &format!("{ORDERS}?from=earliest"));
    assert_eq!(client.offsets(5), [0, 1, 2, 3, 4]);
    let bye = client.named("bye");
    assert_eq!(
        (&bye["reason"], &bye["next"]),
        (&json!("the feed has ended"), &json!({"orders": 5}))
    );
    assert_eq!(client.next(), None);
    let answer = ask(&server, "GET", ORDERS, &[("Last-Event-ID", &client.id)], b"");
    assert_eq!((answer.status, answer.body.as_str()), (204, ""));
    // Who has not everything gets the rest.
    assert_eq!(events(&server, &format!("{ORDERS}?from=3")).offsets(2), [3, 4]);
}

#[test]
fn a_quiet_topic_shows_signs_of_life() {
    let server = Server::start(&["--topic", "orders=push", "--heartbeat", "100ms"]);
    let mut client = events(&server, ORDERS);
    for _ in 0..3 {
        while !client.next().expect("it goes on").is_comment {}
    }
    publish(&server, 0..1);
    assert_eq!(client.offsets(1), [0]);
}

#[test]
fn e13_events_are_for_who_has_a_token_or_a_ticket_and_end_with_it() {
    let tokens = Secrets::tokens(&[
        ("web", "lapwing_web", "listen:orders"),
        ("press", "lapwing_press", "publish:orders"),
    ]);
    let server = Server::start(&[
        "--topic",
        "orders=push",
        "--topic",
        "users=push",
        "--tokens",
        &tokens.path(),
    ]);
    assert_eq!(get(&server, ORDERS).status, 401);
    let web = ("Authorization", "Bearer lapwing_web");
    assert_eq!(ask(&server, "GET", "/topics/users/events", &[web], b"").status, 403);
    assert_eq!(
        ask(
            &server,
            "GET",
            ORDERS,
            &[("Authorization", "Bearer lapwing_press")],
            b""
        )
        .status,
        403
    );
    let ticket = ask(&server, "POST", "/ticket", &[web], b"").json();
    let target = format!("{ORDERS}?ticket={}", ticket["ticket"].as_str().unwrap());
    let by_ticket = events(&server, &target);
    assert_eq!(get(&server, &target).status, 401, "it is good once");
    let mut by_token = Events::on(open(server.address()), &server, ORDERS, &[web]);
    let told = server.out().so_far().join("\n");
    assert!(!told.contains("lapwing_"), "{told}");
    tokens.change(
        &server,
        &crate::support::bearer::lines_of(&[("press", "lapwing_press", "publish:orders")]),
        "1 token in force",
    );
    for mut client in [by_ticket, {
        by_token.next();
        by_token
    }] {
        assert_eq!(client.named("bye")["reason"], "the token was withdrawn");
        assert_eq!(client.next(), None);
    }
    eventually("both are told to have left", || {
        let left = server.events("left");
        left.len() == 2 && left.iter().all(|left| left["code"] == 4401)
    });
}

#[test]
fn a_client_of_events_has_a_place_among_those_allowed() {
    let server = Server::start(&["--topic", "orders=push", "--max-connections", "2"]);
    let one = events(&server, ORDERS);
    let _two = follow(&server, "topics=orders");
    assert_eq!(get(&server, ORDERS).status, 503);
    drop(one);
    server.event("left", |_| true);
    eventually("its place is given back", || get(&server, "/healthz").status == 200);
}

#[test]
fn as_many_clients_of_events_as_allowed_are_served_and_one_more_is_503() {
    let mut server = Server::start(&["--topic", "orders=push", "--max-events", "2"]);
    let mut crowd = [events(&server, ORDERS), events(&server, ORDERS)];
    let refused = get(&server, ORDERS);
    assert_eq!((refused.status, refused.header("retry-after")), (503, Some("2")));
    assert!(
        refused
            .body
            .starts_with("2 clients of server-sent events are here already (--max-events)"),
        "{refused:?}"
    );
    let _stream = follow(&server, "topics=orders");
    publish(&server, 0..1);
    for client in &mut crowd {
        assert_eq!(client.offsets(1), [0]);
    }
    drop(crowd);
    eventually("both are gone", || server.events("left").len() == 2);
    let _again = events(&server, ORDERS);
    server.interrupt();
    server.wait();
    assert_eq!(server.event("stopped", |_| true)["limits"], json!({"events": 1}));
}

#[test]
fn d11_behind_a_trusted_proxy_clients_of_events_count_for_whom_it_asks() {
    let limits = ["--trust-proxy", "127.0.0.1", "--max-connections-per-address", "1"];
    let server = Server::start(&[&PUSH[..], &limits].concat());
    let asks_for = |address| ("X-Forwarded-For", address);
    let one = Events::on(open(server.address()), &server, ORDERS, &[asks_for("10.1.1.1")]);
    let joined = server.event("joined", |_| true);
    assert_eq!(joined["address"], "10.1.1.1");
    assert_eq!(ask(&server, "GET", ORDERS, &[asks_for("10.1.1.1")], b"").status, 429);
    let _other = Events::on(open(server.address()), &server, ORDERS, &[asks_for("10.1.1.2")]);
    drop(one);
    server.event("left", |_| true);
    eventually("its place is given back", || {
        ask(&server, "HEAD", ORDERS, &[asks_for("10.1.1.1")], b"").status == 200
    });
}

#[test]
fn e11_pages_of_other_origins_get_events_where_they_are_allowed() {
    let server = Server::start(&["--topic", "orders=push", "--allow-origin", "http://shop.example"]);
    let origin = |origin| ("Origin", origin);
    let client = Events::on(
        open(server.address()),
        &server,
        ORDERS,
        &[origin("http://shop.example")],
    );
    assert!(
        client.head.contains("access-control-allow-origin: http://shop.example"),
        "{}",
        client.head
    );
    assert_eq!(
        ask(&server, "GET", ORDERS, &[origin("http://evil.example")], b"").status,
        403
    );
    let asked = ask(&server, "OPTIONS", ORDERS, &[origin("http://shop.example")], b"");
    assert_eq!(
        (asked.status, asked.header("access-control-allow-methods")),
        (204, Some("GET"))
    );
    let allowed = asked.header("access-control-allow-headers");
    assert_eq!(allowed, Some("Authorization, Cache-Control, Last-Event-ID"));
}

#[test]
fn a_crowd_of_clients_of_events_each_gets_every_message() {
    let server = Server::start(&PUSH);
    let mut crowd: Vec<_> = (0..200).map(|_| events(&server, ORDERS)).collect();
    for first in (0..100).step_by(10) {
        publish(&server, first..first + 10);
    }
    for client in &mut crowd {
        assert_eq!(client.offsets(100), (0..100).collect::<Vec<_>>());
    }
    drop(crowd);
    eventually("all are told to have left", || server.events("left").len() == 200);
}

#[test]
fn events_come_inside_tls() {
    let pair = Pair::new();
    let server = Plan::new(&[&PUSH[..], &pair.flags()].concat()).start();
    let mut client = Events::on(connect(&server), &server, ORDERS, &[]);
    for number in 0..3 {
        secure::ask(&server, "POST", "/topics/orders/messages", &number.to_string());
        assert_eq!(client.message()["data"], number);
    }
    drop(client);
    let left = server.event("left", |_| true);
    assert_eq!(left["messages"], 3, "{left}");
}
