//! Everything that a server does, inside TLS; and what becomes of those who begin otherwise.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use rustix::process::Signal;
use serde_json::{Value, json};
use tungstenite::Message as Frame;

use crate::support::eventually;
use crate::support::frames::{FIN, TEXT, masked, upgrade_request};
use crate::support::http::{get, open};
use crate::support::secure::{
    Inside, Pair, ask, connect, ended, follow, follow_on, hello, message, met, on, records, with_versions,
};
use crate::support::server::{LAPWING, Plan, Running, Server, lapwing};

const TOPICS: &[&str] = &["--topic", "users=users?every=20ms", "--topic", "orders=push"];

fn made(args: &[&str]) -> Server {
    Server::start(&[TOPICS, &["--tls-self-signed"], args].concat())
}

fn of(pair: &Pair, args: &[&str]) -> Server {
    Server::start(&[TOPICS, &pair.flags(), args].concat())
}

fn wss(server: &Server) -> String {
    format!("wss://{}", server.address())
}

#[test]
fn a_certificate_made_at_start_encrypts_everything_and_its_fingerprint_is_told() {
    let server = made(&[]);
    let ready = server.event("ready", |_| true);
    assert_eq!(ready["tls"], true);
    assert_eq!(ready["fingerprint"], met(&connect(&server)), "{ready}");
    assert!(ask(&server, "GET", "/", "").starts_with("HTTP/1.1 200 "));
    assert!(ask(&server, "GET", "/healthz", "").ends_with("\r\n\r\nok\n"));
    let mut orders = follow(&server, "topics=orders");
    let answer = ask(&server, "POST", "/topics/orders/messages", "an order");
    assert!(answer.starts_with("HTTP/1.1 201 "), "{answer}");
    assert_eq!(message(&mut orders).data, "an order");
    let mut users = follow(&server, "topics=users&from=earliest");
    for offset in 0..20 {
        assert_eq!(message(&mut users).offset, offset);
    }
    users.send(Frame::text("heard")).unwrap();
    assert_eq!(server.event("said", |_| true)["text"], "heard");
}

#[test]
fn without_a_certificate_nothing_is_encrypted() {
    let server = Server::start(TOPICS);
    let ready = server.event("ready", |_| true);
    assert_eq!((&ready["tls"], &ready["fingerprint"]), (&json!(false), &Value::Null));
}

#[test]
fn the_banner_says_wss_and_https_and_whose_the_certificate_is() {
    let server = Plan::new(&["--tls-self-signed"]).text().start();
    let url = wss(&server);
    let last = |line: &str| line.trim_start().starts_with("Try ").then_some(());
    server.err().find("with the way in", last);
    let banner = server.err().so_far().join("\n");
    assert!(
        banner.contains(&format!("Page   https://{}", server.address())),
        "{banner}"
    );
    assert!(
        banner.contains(&format!("SHA-256 {}", met(&connect(&server)))),
        "{banner}"
    );
    assert!(banner.contains(&format!("lapwing listen {url} --insecure")), "{banner}");
}

#[test]
fn d9_inside_tls_too_who_sends_a_whole_body_before_reading_gets_the_answer() {
    let server = made(&[]);
    let mut inside = connect(&server);
    let body = vec![b'x'; 12 << 20];
    let head = format!(
        "POST /topics/orders/messages HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    inside.write_all(head.as_bytes()).unwrap();
    inside.write_all(&body).expect("the server takes what it has refused");
    let mut answer = String::new();
    inside.read_to_string(&mut answer).expect("it ends with a close_notify");
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
}

#[test]
fn older_tls_will_do() {
    let server = made(&[]);
    let stream = TcpStream::connect(server.address()).unwrap();
    let inside = on(stream, with_versions(&[&rustls::version::TLS12]));
    let mut users = follow_on(inside, &server, "topics=users&from=earliest");
    for offset in 0..5 {
        assert_eq!(message(&mut users).offset, offset);
    }
}

#[test]
fn listen_publish_and_bench_take_a_server_that_encrypts() {
    let pair = Pair::new();
    let server = of(&pair, &[]);
    let ca = pair.cert.to_str().unwrap();
    let ran = lapwing(&["listen", &wss(&server), "--topics", "users", "--count", "5", "--ca", ca]);
    assert_eq!(ran.code, Some(0), "{:?}", ran.err);
    assert_eq!(
        ran.out.iter().filter(|line| line.contains("users")).count(),
        5,
        "{:?}",
        ran.out
    );
    let orders = Running::start(&[
        "listen",
        &wss(&server),
        "--topics",
        "orders",
        "--count",
        "1",
        "--from",
        "earliest",
        "--insecure",
        "--json",
    ]);
    let mut publish = std::process::Command::new(LAPWING)
        .args(["publish", &wss(&server), "orders", "--ca", ca])
        .stdin(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    publish.stdin.take().unwrap().write_all(b"{\"id\":1}\n").unwrap();
    assert_eq!(publish.wait().unwrap().code(), Some(0));
    let ran = orders.end();
    assert_eq!(ran.code, Some(0), "{:?}", ran.err);
    assert!(ran.out.iter().any(|line| line.contains("{\"id\":1}")), "{:?}", ran.out);
    let ran = lapwing(&[
        "bench",
        &wss(&server),
        "--topics",
        "users",
        "--clients",
        "20",
        "--for",
        "1s",
        "--insecure",
        "--json",
    ]);
    assert_eq!(ran.code, Some(0), "{:?} {:?}", ran.out, ran.err);
}

#[test]
fn flags_that_do_not_fit_together_are_told() {
    let pair = Pair::new();
    let (cert, key) = (pair.cert.to_str().unwrap(), pair.key.to_str().unwrap());
    check_usage(
        &["--tls-cert", cert],
        "--tls-cert is of no use without its key",
        "add --tls-key FILE",
    );
    check_usage(
        &["--tls-key", key],
        "--tls-key is of no use without its certificate",
        "add --tls-cert FILE",
    );
    check_usage(
        &["--tls-self-signed", "--tls-cert", cert, "--tls-key", key],
        "--tls-self-signed makes a certificate, and --tls-cert or --tls-key names one",
        "leave one of them out",
    );
}

#[test]
fn files_that_are_no_certificate_or_no_key_are_told() {
    let pair = Pair::new();
    let other = Pair::new();
    let (cert, key) = (pair.cert.to_str().unwrap(), pair.key.to_str().unwrap());
    check_usage(
        &["--tls-cert", "/no/such.pem", "--tls-key", key],
        "\"/no/such.pem\" is no file of certificates: it is not there",
        "--tls-cert takes PEM",
    );
    check_usage(
        &["--tls-cert", key, "--tls-key", key],
        "is no file of certificates: there is no certificate in PEM form in it",
        "--tls-cert takes PEM",
    );
    check_usage(
        &["--tls-cert", cert, "--tls-key", cert],
        "is no file of a private key: there is no unencrypted private key in PEM form in it",
        "--tls-key takes PEM without a passphrase",
    );
    check_usage(
        &["--tls-cert", cert, "--tls-key", other.key.to_str().unwrap()],
        "does not belong to the certificate in",
        "name the two files of one pair",
    );
    // PEM of a key, and an empty sequence in it.
    std::fs::write(
        &other.key,
        "-----BEGIN PRIVATE KEY-----\nMAA=\n-----END PRIVATE KEY-----\n",
    )
    .unwrap();
    check_usage(
        &["--tls-cert", cert, "--tls-key", other.key.to_str().unwrap()],
        "cannot be used: the key is of a kind or length that is not taken",
        "an ECDSA key",
    );
}

#[test]
fn the_settings_file_names_a_certificate_too() {
    let pair = Pair::new();
    let file = tempfile::NamedTempFile::new().unwrap();
    let settings = format!("tls-cert = {:?}\ntls-key = {:?}\n", pair.cert, pair.key);
    std::fs::write(file.path(), settings).unwrap();
    let server = Server::start(&["--config", file.path().to_str().unwrap()]);
    assert_eq!(server.event("ready", |_| true)["fingerprint"], met(&connect(&server)));
}

#[test]
fn d10_plain_http_to_a_port_that_speaks_tls_is_told_to_both_sides() {
    let server = made(&[]);
    let address = server.address();
    for _ in 0..20 {
        let answer = get(&server, "/");
        assert_eq!(answer.status, 400);
        assert_eq!(answer.body, "this port speaks TLS: use wss:// or https://\n");
    }
    let limit = server.event("limit", |_| true);
    let text = limit["text"].as_str().unwrap();
    assert!(text.starts_with("127.0.0.1:"), "{text}");
    assert!(
        text.ends_with("does not speak TLS, and this port speaks nothing else (wss://, https://)"),
        "{text}"
    );
    assert!(server.events("limit").len() < 20, "at most one a second");
    let ran = lapwing(&["listen", &format!("ws://{address}")]);
    assert_eq!(ran.code, Some(1));
    assert_eq!(
        ran.err[0],
        format!("error: {address} answers in TLS, but the URL begins with ws://")
    );
    assert_eq!(ran.err[1], format!("hint: use wss://{address}"));
}

#[test]
fn d10_a_tls_hello_to_a_plain_port_is_told_to_both_sides() {
    let server = Server::start(TOPICS);
    let address = server.address();
    let ran = lapwing(&["listen", &wss(&server), "--insecure"]);
    assert_eq!(ran.code, Some(1));
    assert_eq!(
        ran.err[0],
        format!("error: {address} does not speak TLS, but the URL begins with wss://")
    );
    assert_eq!(ran.err[1], format!("hint: use ws://{address}"));
    let limit = server.event("limit", |_| true);
    let text = limit["text"].as_str().unwrap();
    assert!(
        text.ends_with("speaks TLS, and this port does not (ws://, http://); --tls-cert and --tls-key let it"),
        "{text}"
    );
    assert_eq!(get(&server, "/healthz").status, 200);
}

#[test]
fn d10_a_certificate_that_is_not_to_be_trusted_is_told_with_host_date_and_flag() {
    let anyone = "hint: --ca FILE trusts the certificates in FILE, --insecure trusts anyone";
    check_untrusted(&made(&[]), None, "nobody trusted has signed it", anyone);
    let expired = Pair::with(|params| {
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(2021, 1, 1);
    });
    check_untrusted(
        &of(&expired, &[]),
        Some(&expired),
        "it expired on 2021-01-01",
        "hint: the server needs a new one; --insecure trusts anyone",
    );
    let early = Pair::with(|params| params.not_before = rcgen::date_time_ymd(4000, 1, 1));
    check_untrusted(
        &of(&early, &[]),
        Some(&early),
        "it is valid from 4000-01-01 on",
        "hint: is the clock of this machine right? --insecure trusts anyone",
    );
    let other = Pair::with(|params| {
        params.subject_alt_names = vec![rcgen::SanType::DnsName("feed.example.org".try_into().unwrap())];
    });
    check_untrusted(
        &of(&other, &[]),
        Some(&other),
        "it is for ",
        "hint: connect by a name that the certificate has; --insecure trusts anyone",
    );
}

#[test]
fn d10_a_hangup_exchanges_the_certificate_and_a_broken_file_keeps_the_old_one() {
    let pair = Pair::new();
    let server = of(&pair, &[]);
    let first = met(&connect(&server));
    let mut old = follow(&server, "topics=users");
    message(&mut old);
    // A certificate without its key.
    let key = std::fs::read(&pair.key).unwrap();
    let second = pair.renew(|_| {});
    let new_key = std::fs::read(&pair.key).unwrap();
    std::fs::write(&pair.key, &key).unwrap();
    let told = hang_up(&server, "does not belong to the certificate in");
    assert!(told.ends_with("; the certificate from before stays in use"), "{told}");
    assert_eq!(met(&connect(&server)), first);
    std::fs::write(&pair.key, "nothing").unwrap();
    hang_up(&server, "is no file of a private key");
    std::fs::remove_file(&pair.key).unwrap();
    hang_up(&server, "it is not there");
    assert_eq!(met(&connect(&server)), first);
    // And now the right one.
    std::fs::write(&pair.key, &new_key).unwrap();
    hang_up(
        &server,
        &format!(
            "new connections get the certificate in {:?}, SHA-256 {second}",
            pair.cert
        ),
    );
    assert_eq!(met(&connect(&server)), second);
    // Nothing has changed since.
    let told = hang_up(&server, "is the one in use already");
    let same = format!(
        "the certificate in {:?} is the one in use already, SHA-256 {second}",
        pair.cert
    );
    assert_eq!(told, same);
    assert_eq!(met(&connect(&server)), second);
    let before = message(&mut old).offset;
    assert_eq!(message(&mut old).offset, before + 1, "who was there stays");
    assert!(server.events("left").is_empty());
}

#[test]
fn d10_a_certificate_that_is_renewed_in_its_files_is_taken_by_itself() {
    let pair = Pair::new();
    let server = of(&pair, &[]);
    let first = met(&connect(&server));
    let second = pair.renew(|_| {});
    assert_ne!(first, second);
    server.event("certificate", |event| event["text"].as_str().unwrap().contains(&second));
    assert_eq!(met(&connect(&server)), second);
}

/// A certificate for these names and this machine's address.
fn named(params: &mut rcgen::CertificateParams, names: &[&str]) {
    for name in names {
        let name = (*name).try_into().unwrap();
        params.subject_alt_names.push(rcgen::SanType::DnsName(name));
    }
}

/// The status of a request to a server that is asked for by this name, from a page of this origin.
#[track_caller]
fn status(server: &Server, host: &str, origin: Option<&str>) -> u16 {
    let mut inside = connect(server);
    let origin = origin.map_or(String::new(), |origin| format!("Origin: {origin}\r\n"));
    let request = format!("GET /healthz HTTP/1.1\r\nHost: {host}\r\n{origin}Connection: close\r\n\r\n");
    inside.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    inside.read_to_string(&mut answer).expect("it ends with a close_notify");
    answer[9..12].parse().expect("a status")
}

#[test]
fn e12_a_server_answers_to_the_names_of_its_certificate_also_of_one_that_came_later() {
    let pair = Pair::with(|params| named(params, &["feed.example.org", "*.wild.example.org"]));
    let server = of(&pair, &[]);
    for host in ["feed.example.org", "Feed.Example.org:8765", "a.wild.example.org:443"] {
        assert_eq!(status(&server, host, None), 200, "{host}");
        assert_eq!(status(&server, host, Some(&format!("https://{host}"))), 200, "{host}");
        assert_eq!(status(&server, host, Some(&format!("http://{host}"))), 403, "{host}");
        assert_eq!(status(&server, host, Some("https://evil.example")), 403, "{host}");
    }
    for host in ["next.example.org", "a.b.wild.example.org", "wild.example.org"] {
        assert_eq!(status(&server, host, None), 421, "{host}");
    }
    let second = pair.renew(|params| named(params, &["next.example.org"]));
    hang_up(&server, &second);
    assert_eq!(status(&server, "next.example.org", None), 200);
    assert_eq!(status(&server, "feed.example.org", None), 421);
}

#[test]
fn d10_a_hangup_that_finds_the_same_certificate_says_so() {
    let pair = Pair::new();
    let server = of(&pair, &[]);
    let first = met(&connect(&server));
    let same = format!(
        "the certificate in {:?} is the one in use already, SHA-256 {first}",
        pair.cert
    );
    assert_eq!(hang_up(&server, ""), same);
    // Written anew, with the same in it.
    let chain = std::fs::read(&pair.cert).unwrap();
    std::fs::write(&pair.cert, &chain).unwrap();
    let mut told = 0;
    server.event("certificate", |event| {
        assert_eq!(event["text"], same.as_str());
        told += 1;
        told == 2
    });
    assert_eq!(met(&connect(&server)), first);
}

#[test]
fn d1_a_tls_handshake_that_stalls_is_cut_and_delays_nobody() {
    let server = made(&["--handshake-timeout", "300ms"]);
    let mut first = hello();
    let whole = records(&mut first);
    // Nothing; a byte; all but a byte; TLS without HTTP; TLS with half a head.
    let mut stalled: Vec<TcpStream> = (0..50).map(|_| open(server.address())).collect();
    for (at, stream) in stalled.iter_mut().enumerate() {
        let bytes = [0, 1, whole.len() - 1][at % 3];
        stream.write_all(&whole[..bytes]).unwrap();
    }
    let mut silent: Vec<_> = (0..10).map(|_| connect(&server)).collect();
    for inside in silent.iter_mut().skip(5) {
        inside.write_all(b"GET / HTTP/1.1\r\nHost: local").unwrap();
    }
    assert!(
        ask(&server, "GET", "/healthz", "").starts_with("HTTP/1.1 200 "),
        "a good client is served meanwhile"
    );
    stalled.iter_mut().for_each(ended);
    silent.iter_mut().for_each(ended);
    let mut users = follow(&server, "topics=users");
    for _ in 0..20 {
        message(&mut users);
    }
    assert!(
        server.events("left").is_empty(),
        "the deadline is the handshake's alone"
    );
}

#[test]
fn d1_the_handshakes_of_tls_and_http_have_one_deadline() {
    let server = made(&["--handshake-timeout", "3s"]);
    // Connections are accepted in their order: when another one is through its handshake, those before it have their deadlines.
    let all_are_accepted = || drop(connect(&server));
    let mut stream = open(server.address());
    let mut connection = hello();
    let whole = records(&mut connection);
    stream.write_all(&whole[..9]).unwrap();
    all_are_accepted();
    // Another server's deadline tells when a while is over, well before the one here.
    let other = Server::start(&[TOPICS, &["--handshake-timeout", "1s"]].concat());
    ended(&mut open(other.address()));
    // This one begins before a deadline for HTTP alone could.
    let mut later = open(server.address());
    all_are_accepted();
    stream.write_all(&whole[9..]).unwrap();
    let mut inside = rustls::StreamOwned::new(connection, stream);
    while inside.conn.is_handshaking() {
        inside.conn.complete_io(&mut inside.sock).expect("late, though in time");
    }
    ended(&mut inside);
    later.set_nonblocking(true).unwrap();
    let error = later.read(&mut [0]).expect_err("it is still waited for");
    assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock);
}

#[test]
fn a_refusal_comes_inside_tls_with_its_time_to_come_back() {
    let server = made(&["--max-connections", "1"]);
    let _only = follow(&server, "topics=users");
    let mut refused = connect(&server);
    refused.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    let mut answer = String::new();
    let _ = refused.read_to_string(&mut answer);
    assert!(
        answer.starts_with("HTTP/1.1 503 ") && answer.contains("Retry-After: 2\r\n"),
        "{answer}"
    );
}

#[test]
fn a_hello_may_come_byte_by_byte() {
    let server = made(&[]);
    let mut stream = open(server.address());
    stream.set_nodelay(true).unwrap();
    let mut connection = hello();
    for byte in records(&mut connection) {
        stream.write_all(&[byte]).unwrap();
    }
    let mut users = follow_on(on(stream, connection), &server, "topics=users&from=earliest");
    assert_eq!(message(&mut users).offset, 0);
}

#[test]
fn d7_what_comes_right_behind_the_handshake_inside_tls_is_not_lost() {
    let server = made(&[]);
    let request = |name: &str| upgrade_request(&server.address().to_string(), &format!("/?topics=orders&name={name}"));
    let with = |name: &str, behind: &[u8]| [request(name).as_bytes(), behind].concat();
    let said = |text: &str| masked(FIN | TEXT, text.as_bytes());
    // In the record of the request; in the next one of the same packet; cut within a record; within a frame and a record.
    let (frame, whole) = (said("in-two-frames"), request("next-record").into_bytes());
    let stories: [(&str, Vec<Vec<u8>>, usize); 4] = [
        ("same-record", vec![with("same-record", &said("same-record"))], 0),
        ("next-record", vec![whole, said("next-record")], 0),
        (
            "half-a-record",
            vec![with("half-a-record", b""), said("half-a-record")],
            10,
        ),
        (
            "in-two-frames",
            vec![with("in-two-frames", &frame[..5]), frame[5..].to_vec()],
            3,
        ),
    ];
    for (name, pieces, kept_back) in stories {
        let mut inside = connect(&server);
        for piece in pieces {
            inside.conn.writer().write_all(&piece).unwrap();
        }
        let bytes = records(&mut inside.conn);
        let (now, later) = bytes.split_at(bytes.len() - kept_back);
        inside.sock.write_all(now).unwrap();
        // It has moved to its thread by then, with what there was of the record.
        server.event("joined", |event| event["client"] == name);
        inside.sock.write_all(later).unwrap();
        server.event("said", |event| event["text"] == name);
    }
}

#[test]
fn b1_a_reader_inside_tls_that_stops_reading_gets_everything_when_it_goes_on() {
    let server = made(&["--topic", "big=push?keep=5m&keep_bytes=256MiB", "--max-body", "8MiB"]);
    let mut reader = follow_on(narrow(&server, 64 << 10), &server, "topics=big&name=reader");
    // Frames of a few bytes, of more than a record and of more than a write, in one stream.
    let sizes = [10, 20_000, 300_000, 100, 3_000_000, 5, 70_000];
    let texts: Vec<String> = (0..21u8)
        .map(|n| {
            char::from(b'a' + n % 26)
                .to_string()
                .repeat(sizes[usize::from(n) % sizes.len()] + usize::from(n))
        })
        .collect();
    for text in &texts {
        let answer = ask(&server, "POST", "/topics/big/messages", text);
        assert!(answer.starts_with("HTTP/1.1 201 "), "{answer}");
    }
    for (offset, text) in texts.iter().enumerate() {
        let message = message(&mut reader);
        assert_eq!(message.offset, offset as u64);
        assert!(message.data == text.as_str(), "offset {offset}");
    }
    reader.send(Frame::text("all of it")).unwrap();
    server.event("said", |event| event["text"] == "all of it");
}

#[test]
fn b1_a_reader_inside_tls_that_never_reads_is_let_go_and_one_that_reads_stays() {
    let server = Server::start(&[
        "--topic",
        "arrays=arrays?every=20ms&burst=4&shape=1000",
        "--stall-timeout",
        "500ms",
        "--tls-self-signed",
    ]);
    let mut good = follow(&server, "topics=arrays&from=earliest&name=good");
    let _stuck = follow_on(narrow(&server, 4096), &server, "topics=arrays&from=earliest&name=stuck");
    let mut offset = 0;
    eventually("the stuck one is let go", || {
        assert_eq!(message(&mut good).offset, offset, "delivery is dense");
        offset += 1;
        !server.events("left").is_empty()
    });
    let left = server.event("left", |_| true);
    assert_eq!(
        (&left["client"], &left["code"]),
        (&json!("stuck"), &json!(4400)),
        "{left}"
    );
    assert_eq!(left["reason"], "took nothing for 0.5 s");
    assert_eq!(server.events("left").len(), 1);
}

#[test]
fn keys_may_be_changed_at_any_time() {
    let server = made(&[]);
    let mut users = follow(&server, "topics=users&from=earliest");
    for offset in 0..30u64 {
        assert_eq!(message(&mut users).offset, offset);
        if offset % 3 == 0 {
            users.get_mut().conn.refresh_traffic_keys().unwrap();
            users.send(Frame::text(format!("after {offset}"))).unwrap();
        }
    }
    server.event("said", |event| event["text"] == "after 27");
    assert!(server.events("left").is_empty());
}

#[test]
fn a_close_is_answered_and_followed_by_the_end_of_tls() {
    let server = made(&[]);
    let mut orders = follow(&server, "topics=orders&name=leaver");
    orders.close(None).unwrap();
    while orders.read().is_ok() {}
    let left = server.event("left", |_| true);
    assert_eq!(
        (&left["client"], &left["by"]),
        (&json!("leaver"), &json!("client")),
        "{left}"
    );
    // An end without close_notify would be an error here.
    let mut rest = Vec::new();
    assert_eq!(orders.get_mut().read_to_end(&mut rest).unwrap(), 0);
}

#[test]
fn item_3_an_end_of_tls_without_a_close_frame_is_told() {
    let server = made(&[]);
    let mut orders = follow(&server, "topics=orders&name=leaver");
    let inside = orders.get_mut();
    inside.conn.send_close_notify();
    inside.conn.complete_io(&mut inside.sock).unwrap();
    let left = server.event("left", |_| true);
    assert_eq!(
        (&left["client"], &left["code"]),
        (&json!("leaver"), &json!(1006)),
        "{left}"
    );
    assert_eq!(left["reason"], "it went without a close");
}

#[test]
fn a_record_that_was_tampered_with_ends_its_connection_and_no_other() {
    let server = made(&[]);
    let mut good = follow(&server, "topics=users&name=good");
    let mut bad = follow(&server, "topics=orders&name=bad");
    let inside = bad.get_mut();
    inside.conn.writer().write_all(&masked(FIN | TEXT, b"unheard")).unwrap();
    let mut bytes = records(&mut inside.conn);
    *bytes.last_mut().unwrap() ^= 1;
    inside.sock.write_all(&bytes).unwrap();
    let left = server.event("left", |_| true);
    assert_eq!(
        (&left["client"], &left["code"]),
        (&json!("bad"), &json!(1006)),
        "{left}"
    );
    assert_eq!(left["reason"], "it broke the rules of TLS");
    ended(&mut inside.sock);
    let before = message(&mut good).offset;
    assert_eq!(message(&mut good).offset, before + 1);
    assert!(server.events("said").is_empty());
}

#[test]
fn c15_garbage_instead_of_a_handshake_ends_its_connection_and_no_other() {
    let server = made(&[]);
    let mut good = follow(&server, "topics=users");
    let mut connection = hello();
    let whole = records(&mut connection);
    for n in 0..whole.len().min(400) {
        let mut stream = open(server.address());
        let mut damaged = whole.clone();
        damaged[n] ^= 0xff;
        // It may close at any byte of it.
        let _ = stream.write_all(&damaged);
        let _ = stream.shutdown(std::net::Shutdown::Write);
        ended(&mut stream);
    }
    let before = message(&mut good).offset;
    assert_eq!(message(&mut good).offset, before + 1);
    assert_eq!(server.events("left").len(), 0);
    assert_eq!(server.events("joined").len(), 1);
}

#[test]
fn a13_a_stop_tells_clients_inside_tls_and_waits_for_no_handshake() {
    let mut server = made(&[]);
    let mut users = follow(&server, "topics=users");
    let mut stalled = open(server.address());
    stalled.write_all(&[0x16]).unwrap();
    message(&mut users);
    server.signal(Signal::TERM);
    let close = loop {
        if let Frame::Close(close) = users.read().expect("a close frame comes") {
            break close.expect("with a code");
        }
    };
    assert_eq!(u16::from(close.code), 1012);
    // The answer to it goes out with the flush.
    let _ = users.flush();
    assert_eq!(server.wait().code(), Some(0));
}

/// A connection inside TLS whose kernel takes this much.
fn narrow(server: &Server, bytes: usize) -> Inside {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(bytes).unwrap();
    socket.connect(&server.address().into()).unwrap();
    on(socket.into(), hello())
}

/// Has the server read its files again; gives what it tells, which holds `text`.
#[track_caller]
fn hang_up(server: &Server, text: &str) -> String {
    server.signal(Signal::HUP);
    let holds = |event: &Value| event["text"].as_str().is_some_and(|told| told.contains(text));
    let event = server.event("certificate", holds);
    event["text"].as_str().unwrap().to_owned()
}

#[track_caller]
fn check_usage(args: &[&str], sentence: &str, hint: &str) {
    let ran = lapwing(&[&["serve", "--listen", "127.0.0.1:0"], args].concat());
    assert_eq!(ran.code, Some(2), "{:?}", ran.err);
    assert!(
        ran.err[0].starts_with("error: ") && ran.err[0].contains(sentence),
        "{:?}",
        ran.err
    );
    assert!(ran.err[1].starts_with(&format!("hint: {hint}")), "{:?}", ran.err);
}

#[track_caller]
fn check_untrusted(server: &Server, ca: Option<&Pair>, why: &str, hint: &str) {
    let url = wss(server);
    let mut args = vec!["listen", &url];
    if let Some(ca) = ca {
        args.extend(["--ca", ca.cert.to_str().unwrap()]);
    }
    let ran = lapwing(&args);
    assert_eq!(ran.code, Some(1), "{:?}", ran.err);
    let sentence = format!("error: the certificate of 127.0.0.1 is not trusted: {why}");
    assert!(ran.err[0].starts_with(&sentence), "{:?}", ran.err);
    assert_eq!(ran.err[1], hint, "{:?}", ran.err);
    let text = server.event("limit", |_| true)["text"].as_str().unwrap().to_owned();
    let told = [
        "it does not trust our certificate",
        "our certificate is out of its time, by its clock",
    ];
    assert!(
        told.iter()
            .any(|told| text.ends_with(&format!("came no further than the TLS handshake: {told}"))),
        "{text}"
    );
}

#[test]
fn a_hangup_ends_a_server_without_files_to_read_again() {
    let mut server = made(&[]);
    server.signal(Signal::HUP);
    assert_eq!(server.wait().code(), None, "as it always did");
}
