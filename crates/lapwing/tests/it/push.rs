//! Publishing over HTTP.

use std::io::Write as _;
use std::net::Shutdown;

use serde_json::{Value, json};

use crate::support::client::{follow, speak};
use crate::support::http::{Answer, answer, ask, open, post};
use crate::support::server::Server;

const ORDERS: &[&str] = &["--topic", "orders=push", "--topic", "users=users?every=1s"];
const PATH: &str = "/topics/orders/messages";

#[test]
fn item_6_json_is_published_and_the_answer_tells_where() {
    let server = Server::start(ORDERS);
    let mut client = speak(&server, "topics=orders");
    client.control("welcome");
    let epoch = client.control("subscribed")["epoch"].clone();
    let answer = post(&server, PATH, "application/json", "{\"id\": 1,\n \"sum\": 2.50}\n");
    assert_eq!(answer.status, 201);
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert_eq!(
        answer.json(),
        json!({"topic": "orders", "epoch": epoch, "first": 0, "last": 0, "count": 1, "level": "none"})
    );
    let text = client.text();
    assert!(
        text.starts_with("{\"topic\":\"orders\",\"offset\":0,\"time\":\""),
        "{text}"
    );
    assert!(text.ends_with("\"data\":{\"id\":1,\"sum\":2.50}}"), "{text}");
}

#[test]
fn item_6_lines_text_and_bytes_are_published() {
    let server = Server::start(ORDERS);
    let mut client = follow(&server, "topics=orders");
    let lines = post(&server, PATH, "application/x-ndjson", "{\"n\":1}\n[2]\n\"three\"\n");
    assert_eq!((lines.status, offsets(&lines.json())), (201, (0, 2, 3)));
    assert_eq!(client.data(3), [json!({"n": 1}), json!([2]), json!("three")]);
    let text = post(&server, PATH, "text/plain; charset=utf-8", "no json: {\n");
    assert_eq!((text.status, offsets(&text.json())), (201, (3, 3, 1)));
    assert_eq!(client.message().data, "no json: {");
    let form = post(
        &server,
        PATH,
        "application/x-www-form-urlencoded",
        "{\"as\":\"curl -d\"}",
    );
    assert_eq!(form.status, 201);
    assert_eq!(client.message().data, json!({"as": "curl -d"}));
    let bytes = post(&server, PATH, "application/octet-stream", [0, 255, 10]);
    assert_eq!((bytes.status, offsets(&bytes.json())), (201, (5, 5, 1)));
    assert_eq!(client.message().data_base64.as_deref(), Some("AP8K"));
}

#[test]
fn item_6_a_topic_that_is_not_there_is_404_and_the_answer_lists_those_that_are() {
    let server = Server::start(ORDERS);
    for path in ["/topics/order/messages", "/topics/a%20b/messages", "/topics//messages"] {
        let answer = post(&server, path, "application/json", "1");
        assert_eq!(answer.status, 404, "{path}");
        assert!(answer.body.contains("there are orders, users"), "{}", answer.body);
    }
}

#[test]
fn item_6_a_topic_with_its_own_source_is_409() {
    let server = Server::start(ORDERS);
    let answer = post(&server, "/topics/users/messages", "application/json", "1");
    assert_eq!(answer.status, 409);
    assert!(
        answer.body.contains("topic users is filled by its own source"),
        "{}",
        answer.body
    );
}

#[test]
fn d9_a_body_at_the_limit_passes_and_one_beyond_is_413() {
    for (settings, limit) in [(&[][..], 1 << 20), (&["--max-body", "100B"][..], 100)] {
        let server = Server::start(&[ORDERS, settings].concat());
        let most = post(&server, PATH, "text/plain", "x".repeat(limit));
        assert_eq!((most.status, offsets(&most.json())), (201, (0, 0, 1)));
        let more = post(&server, PATH, "text/plain", "x".repeat(limit + 1));
        assert_eq!(more.status, 413);
        assert!(
            more.body.contains(&format!("over the limit of {limit} bytes")),
            "{}",
            more.body
        );
        let next = post(&server, PATH, "text/plain", "x");
        assert_eq!(next.json()["first"], 1, "nothing of it was appended");
    }
}

#[test]
fn d9_a_chunked_body_over_the_limit_is_413() {
    let server = Server::start(&[ORDERS, &["--max-body", "100B"]].concat());
    let mut stream = open(server.address());
    let head = format!(
        "POST {PATH} HTTP/1.1\r\nHost: {}\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n",
        server.address()
    );
    write!(stream, "{head}65\r\n{}\r\n0\r\n\r\n", "x".repeat(101)).unwrap();
    assert_eq!(answer(&mut stream).expect("an answer").status, 413);
    assert_nothing_was_appended(&server);
}

/// The head of a publish, with these lines at its end.
fn head(server: &Server, lines: &str) -> String {
    let address = server.address();
    format!("POST {PATH} HTTP/1.1\r\nHost: {address}\r\nContent-Type: text/plain\r\n{lines}\r\n\r\n")
}

#[test]
fn d9_a_body_over_the_limit_is_413_at_its_content_length_before_any_of_it_comes() {
    let server = Server::start(&[ORDERS, &["--max-body", "100B"]].concat());
    for (length, expected) in [
        ("101", 413),
        ("4294967396", 413),
        ("18446744073709551613", 413),
        // No length that there is: hyper's own answer.
        ("18446744073709551616", 400),
    ] {
        let mut stream = open(server.address());
        write!(stream, "{}", head(&server, &format!("Content-Length: {length}"))).unwrap();
        let answer = answer(&mut stream).expect("an answer");
        assert_eq!(answer.status, expected, "{length}");
        if expected == 413 {
            assert_eq!(answer.header("connection"), Some("close"));
            assert_eq!(
                answer.body,
                format!(
                    "a body of {length} bytes is over the limit of 100 bytes; nothing was appended, send less at once\n"
                )
            );
        }
    }
    assert_nothing_was_appended(&server);
}

#[test]
fn d9_who_waits_to_be_told_to_continue_is_told_that_the_body_is_too_long() {
    let server = Server::start(&[ORDERS, &["--max-body", "100B"]].concat());
    let mut stream = open(server.address());
    write!(
        stream,
        "{}",
        head(&server, "Content-Length: 101\r\nExpect: 100-continue")
    )
    .unwrap();
    assert_eq!(answer(&mut stream).expect("an answer").status, 413);
    // And no 100 behind it.
    assert!(answer(&mut stream).is_none());
}

#[test]
fn d9_who_sends_a_whole_body_before_reading_still_gets_the_answer() {
    let server = Server::start(ORDERS);
    // More than the kernel holds for both sides: most of it is sent behind the answer.
    let body = vec![b'x'; 12 << 20];
    let length = format!("Content-Length: {}", body.len());
    let elsewhere = head(&server, &length).replace("orders", "order");
    for (head, expected) in [(head(&server, &length), 413), (elsewhere, 404)] {
        let mut stream = open(server.address());
        stream.write_all(head.as_bytes()).unwrap();
        stream.write_all(&body).expect("the server takes what it has refused");
        let answer = answer(&mut stream).expect("an answer");
        assert_eq!(answer.status, expected, "{}", answer.body);
    }
    assert_nothing_was_appended(&server);
}

#[test]
fn d9_a_content_type_that_is_not_taken_is_415() {
    let server = Server::start(ORDERS);
    let answer = post(&server, PATH, "image/png", "1");
    assert_eq!(answer.status, 415);
    assert!(
        answer.body.contains("\"image/png\" is not taken; use application/json"),
        "{}",
        answer.body
    );
    assert_nothing_was_appended(&server);
}

#[test]
fn d9_a_body_with_one_wrong_line_is_400_with_its_number_and_nothing_of_it_is_appended() {
    let server = Server::start(ORDERS);
    let wrong = post(&server, PATH, "application/x-ndjson", "{\"n\":1}\n{\"n\":\n{\"n\":3}\n");
    assert_eq!(wrong.status, 400);
    assert!(wrong.body.starts_with("line 2 is no JSON: "), "{}", wrong.body);
    assert!(wrong.body.contains("nothing was appended"), "{}", wrong.body);
    assert_eq!(post(&server, PATH, "application/json", "{\"n\":").status, 400);
    assert_eq!(post(&server, PATH, "application/json", "1 2").status, 400);
    assert_eq!(post(&server, PATH, "text/plain", b"ab\xff").status, 400);
    assert_nothing_was_appended(&server);
}

#[test]
fn d9_half_a_body_and_then_the_end_appends_nothing() {
    let server = Server::start(ORDERS);
    let head = |length: &str| {
        format!(
            "POST {PATH} HTTP/1.1\r\nHost: {}\r\nContent-Type: application/x-ndjson\r\n{length}\r\n\r\n",
            server.address()
        )
    };
    for half in [
        format!("{}{{\"n\":1}}\n", head("Content-Length: 100")),
        format!("{}8\r\n{{\"n\":1}}\n\r\n", head("Transfer-Encoding: chunked")),
    ] {
        let mut stream = open(server.address());
        stream.write_all(half.as_bytes()).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        if let Some(answer) = answer(&mut stream) {
            assert_eq!(answer.status, 400, "{}", answer.body);
        }
    }
    assert_nothing_was_appended(&server);
}

#[test]
fn d1_a_body_that_does_not_come_is_cut_and_appends_nothing() {
    let server = Server::start(&[ORDERS, &["--handshake-timeout", "300ms"]].concat());
    let mut stream = open(server.address());
    write!(
        stream,
        "POST {PATH} HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\nContent-Length: 5\r\n\r\n12",
        server.address()
    )
    .unwrap();
    let answer = answer(&mut stream).expect("an answer");
    assert_eq!(answer.status, 408);
    assert!(answer.body.contains("nothing was appended"), "{}", answer.body);
    assert_nothing_was_appended(&server);
}

#[test]
fn d8_other_methods_get_defined_answers() {
    let server = Server::start(ORDERS);
    let options = ask(&server, "OPTIONS", PATH, &[], b"");
    assert_eq!((options.status, options.header("allow")), (204, Some("POST, OPTIONS")));
    let get = ask(&server, "GET", PATH, &[], b"");
    assert_eq!((get.status, get.header("allow")), (405, Some("POST, OPTIONS")));
    assert!(get.body.contains("published here with POST"), "{}", get.body);
}

#[test]
fn d8_who_waits_to_be_told_to_continue_is_told() {
    let server = Server::start(ORDERS);
    let mut stream = open(server.address());
    write!(
        stream,
        "POST {PATH} HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\nContent-Length: 1\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n",
        server.address()
    )
    .unwrap();
    assert_eq!(answer(&mut stream).expect("an answer").status, 100);
    stream.write_all(b"7").unwrap();
    assert_eq!(answer(&mut stream).expect("an answer").status, 201);
}

#[test]
fn a_publish_that_is_repeated_is_recognised_and_appended_once() {
    let server = Server::start(ORDERS);
    let publish = |headers: &[(&str, &str)], body: &str| {
        let json = [("Content-Type", "application/x-ndjson")];
        let answer = ask(&server, "POST", PATH, &[&json, headers].concat(), body.as_bytes());
        (answer.status, (answer.status < 300).then(|| offsets(&answer.json())))
    };
    let key = [("Idempotency-Key", "order-1")];
    assert_eq!(publish(&key, "1\n2\n"), (201, Some((0, 1, 2))));
    assert_eq!(
        publish(&key, "1\n2\n"),
        (200, Some((0, 1, 2))),
        "the same offsets, nothing new"
    );
    assert_eq!(publish(&[("Idempotency-Key", "order-2")], "3"), (201, Some((2, 2, 1))));
    let numbered = |sequence| [("Lapwing-Source", "till-1"), ("Lapwing-Sequence", sequence)];
    assert_eq!(publish(&numbered("7"), "4"), (201, Some((3, 3, 1))));
    assert_eq!(publish(&numbered("7"), "4"), (200, Some((3, 3, 1))));
    assert_eq!(publish(&numbered("8"), "5"), (201, Some((4, 4, 1))));
    assert_eq!(
        publish(&[("Lapwing-Source", "till-1")], "6").0,
        400,
        "one without the other"
    );
    assert_eq!(publish(&numbered("six"), "6").0, 400);
    assert_eq!(
        publish(&[("Idempotency-Key", &"k".repeat(256))], "6"),
        (201, Some((5, 5, 1)))
    );
    assert_eq!(publish(&[("Idempotency-Key", &"k".repeat(257))], "7").0, 400);
    assert_eq!(publish(&[], "7"), (201, Some((6, 6, 1))));
    let data = follow(&server, "topics=orders&from=earliest").data(7);
    assert_eq!(data, [1, 2, 3, 4, 5, 6, 7]);
}

#[test]
fn two_tries_at_the_same_time_append_once() {
    let server = Server::start(ORDERS);
    let headers = [("Content-Type", "application/json"), ("Idempotency-Key", "once")];
    let answers: Vec<_> = std::thread::scope(|scope| {
        let tries: Vec<_> = (0..8)
            .map(|_| scope.spawn(|| ask(&server, "POST", PATH, &headers, b"1")))
            .collect();
        tries.into_iter().map(|one| one.join().unwrap()).collect()
    });
    assert_eq!(answers.iter().filter(|answer| answer.status == 201).count(), 1);
    assert_eq!(answers.iter().filter(|answer| answer.status == 200).count(), 7);
    assert!(answers.iter().all(|answer| offsets(&answer.json()) == (0, 0, 1)));
    assert_eq!(post(&server, PATH, "application/json", "2").json()["first"], 1);
}

/// Publishes a number as the body of that number from one source, to come after another.
fn publish_after(server: &Server, sequence: &str, after: Option<&str>) -> Answer {
    let mut headers = vec![
        ("Content-Type", "application/json"),
        ("Lapwing-Source", "till-1"),
        ("Lapwing-Sequence", sequence),
    ];
    headers.extend(after.map(|after| ("Lapwing-After", after)));
    ask(server, "POST", PATH, &headers, sequence.as_bytes())
}

#[test]
fn publishes_that_name_the_one_before_them_are_taken_in_their_order_however_they_come() {
    let server = Server::start(ORDERS);
    std::thread::scope(|scope| {
        let late = [("3", "2"), ("2", "1"), ("1", "0")].map(|(sequence, after)| {
            let server = &server;
            scope.spawn(move || {
                loop {
                    let answer = publish_after(server, sequence, Some(after));
                    // On a machine that is very busy the first may be late.
                    if answer.status != 412 {
                        return answer;
                    }
                }
            })
        });
        assert_eq!(publish_after(&server, "0", None).status, 201);
        for answer in late {
            assert_eq!(answer.join().unwrap().status, 201);
        }
    });
    assert_eq!(follow(&server, "topics=orders&from=earliest").data(4), [0, 1, 2, 3]);
    let again = publish_after(&server, "2", Some("1"));
    assert_eq!((again.status, offsets(&again.json())), (200, (2, 2, 1)));
}

#[test]
fn a_publish_whose_predecessor_does_not_come_is_412_and_appends_nothing() {
    let server = Server::start(ORDERS);
    let early = publish_after(&server, "1", Some("0"));
    assert_eq!(early.status, 412);
    assert_eq!(
        early.body.trim_end(),
        "topic orders: the publish that it must come after is not here, as Lapwing-After asks; nothing was appended"
    );
    assert_eq!(publish_after(&server, "1", Some("zero")).status, 400);
    let alone = [("Content-Type", "application/json"), ("Lapwing-After", "0")];
    assert_eq!(ask(&server, "POST", PATH, &alone, b"1").status, 400);
    let keyed = [&alone[..], &[("Idempotency-Key", "1")]].concat();
    assert_eq!(ask(&server, "POST", PATH, &keyed, b"1").status, 400);
    assert_nothing_was_appended(&server);
}

#[test]
fn a_body_without_a_message_is_400() {
    let server = Server::start(ORDERS);
    for kind in ["application/json", "application/x-ndjson", "text/plain"] {
        let answer = post(&server, PATH, kind, "");
        assert_eq!(answer.status, 400, "{kind}");
        assert!(answer.body.contains("the body holds no message"), "{}", answer.body);
    }
    assert_nothing_was_appended(&server);
}

/// The next message published is the first.
#[track_caller]
fn assert_nothing_was_appended(server: &Server) {
    let next = post(server, PATH, "application/json", "\"next\"");
    assert_eq!(next.json()["first"], 0, "nothing was appended before");
}

fn offsets(acknowledgement: &Value) -> (u64, u64, u64) {
    let number = |key: &str| acknowledgement[key].as_u64().unwrap();
    (number("first"), number("last"), number("count"))
}
