//! `/metrics`: what is counted is what happened, and who may read it.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::Path;

use serde_json::{Value, json};

use crate::support::bearer::Secrets;
use crate::support::client::{Client, Heard, follow, speak, speak_slowly};
use crate::support::eventually;
use crate::support::frames::{FIN, Raw, TEXT, masked, upgrade_request};
use crate::support::http::{answer, ask, get, open, post, send};
use crate::support::report::report;
use crate::support::scrape::{Scrape, come_to};
use crate::support::secure;
use crate::support::server::{Plan, Server};

const FEED: &[&str] = &["--topic", "feed=push"];
const OPEN_METRICS: (&str, &str) = ("Accept", "application/openmetrics-text; version=1.0.0");

#[track_caller]
fn publish(server: &Server, topic: &str, numbers: std::ops::Range<u64>) {
    let body: String = numbers
        .map(|n| format!("{{\"n\":{n},\"pad\":\"{n:0200}\"}}\n"))
        .collect();
    let answer = post(
        server,
        &format!("/topics/{topic}/messages"),
        "application/x-ndjson",
        body,
    );
    assert_eq!(answer.status, 201, "{}", answer.body);
}

/// Reads messages up to this offset; gives how many there were, and the bytes of their frames.
#[track_caller]
fn read_to(client: &mut Client, last: u64) -> (u64, u64) {
    let (mut messages, mut bytes) = (0, 0);
    loop {
        let text = client.text();
        let said: Value = serde_json::from_str(&text).unwrap();
        if said["type"].is_null() {
            messages += 1;
            // A frame of 126 to 65,535 bytes has a header of four (RFC 6455 section 5.2).
            assert!((126..65_536).contains(&text.len()));
            bytes += text.len() as u64 + 4;
            if said["offset"] == last {
                return (messages, bytes);
            }
        }
    }
}

#[test]
fn messages_and_bytes_are_counted_as_clients_received_them() {
    let server = Server::start(&["--topic", "one=push", "--topic", "two=push"]);
    let mut both = follow(&server, "topics=one,two");
    let mut one = speak(&server, "topics=one");
    one.control("welcome");
    one.control("subscribed");
    for part in 0..20 {
        publish(&server, "one", part * 50..(part + 1) * 50);
    }
    let mut received = read_to(&mut one, 999);
    let again = read_to(&mut both, 999);
    assert_eq!(received, again);
    received = (received.0 + again.0, received.1 + again.1);
    publish(&server, "two", 0..7);
    let two = read_to(&mut both, 6);
    assert_eq!((received.0, two.0), (2000, 7));
    come_to(
        &server,
        &[
            ("lapwing_sent_messages_total{topic=\"one\"}", received.0 as f64),
            ("lapwing_sent_bytes_total{topic=\"one\"}", received.1 as f64),
            ("lapwing_sent_messages_total{topic=\"two\"}", two.0 as f64),
            ("lapwing_sent_bytes_total{topic=\"two\"}", two.1 as f64),
            ("lapwing_appended_messages_total{topic=\"one\"}", 1000.0),
            ("lapwing_appended_bytes_total{topic=\"two\"}", two.1 as f64),
            ("lapwing_topic_next_offset{topic=\"two\"}", 7.0),
            ("lapwing_followers{topic=\"one\"}", 2.0),
            ("lapwing_followers{topic=\"two\"}", 1.0),
            ("lapwing_clients{mode=\"plain\"}", 1.0),
            ("lapwing_clients{mode=\"lapwing.v1\"}", 1.0),
            ("lapwing_clients_joined_total", 2.0),
            ("lapwing_publish_answers_total{status=\"201\"}", 21.0),
        ],
    );
    // Where nobody follows nothing goes out, and nothing is late.
    let lag = Scrape::of(&server).value("lapwing_delivery_lag_seconds_count{topic=\"one\"}");
    assert!(
        (1.0..=40.0).contains(&lag),
        "{lag} rounds for 20 publishes on at most two threads"
    );
}

#[test]
fn what_clients_send_is_counted() {
    let server = Server::start(FEED);
    let mut client = Raw::follow(&server, "topics=feed");
    let mut bytes = 0;
    for length in [0, 5, 125, 126, 1000] {
        let message = masked(FIN | TEXT, &vec![b'x'; length]);
        bytes += message.len();
        client.send(&message);
    }
    come_to(
        &server,
        &[
            ("lapwing_received_messages_total", 5.0),
            ("lapwing_received_bytes_total", bytes as f64),
        ],
    );
}

#[test]
fn ends_are_counted_by_their_code_and_those_that_clients_make_up_are_one() {
    let server = Server::start(FEED);
    for code in [1000, 1000, 1001, 3000, 4321, 4999] {
        follow(&server, "topics=feed").close(code, "");
    }
    let mut wrong = Raw::follow(&server, "topics=feed");
    wrong.send(&[FIN | TEXT, 0]);
    assert_eq!(wrong.closed().0, 1002);
    drop(wrong);
    drop(follow(&server, "topics=feed"));
    let expected = [
        ("lapwing_clients_left_total{code=\"1000\"}", 2.0),
        ("lapwing_clients_left_total{code=\"1001\"}", 1.0),
        ("lapwing_clients_left_total{code=\"1002\"}", 1.0),
        ("lapwing_clients_left_total{code=\"1006\"}", 1.0),
        ("lapwing_clients_left_total{code=\"other\"}", 3.0),
    ];
    come_to(&server, &expected);
    let scrape = Scrape::of(&server);
    assert_eq!(scrape.above_zero("lapwing_clients_left_total"), expected);
    assert_eq!(scrape.above_zero("lapwing_clients"), []);
}

#[test]
fn gaps_are_counted_by_their_reason_as_clients_were_told() {
    let server = Server::start(&["--topic", "feed=push?keep_bytes=64KiB"]);
    for part in 0..20 {
        publish(&server, "feed", part * 100..(part + 1) * 100);
    }
    let (mut told, mut missed) = (0, 0);
    for from in [0, 100] {
        let mut client = speak(&server, &format!("topics=feed&from={from}"));
        loop {
            let said: Value = serde_json::from_str(&client.text()).unwrap();
            if said["type"] == "gap" {
                assert_eq!(said["reason"], "retention", "{said}");
                told += 1;
                missed += said["to"].as_u64().unwrap() - said["from"].as_u64().unwrap();
            }
            // What is missing already is told with the answer to the subscription.
            if said["type"] == "subscribed" && said["missing_from"].is_u64() {
                told += 1;
                missed += said["from"].as_u64().unwrap() - said["missing_from"].as_u64().unwrap();
            }
            if said["offset"] == 1999 {
                break;
            }
        }
    }
    assert!(told >= 2 && missed > 1000, "{told} gaps, {missed} messages");
    let scrape = Scrape::of(&server);
    assert_eq!(
        scrape.above_zero("lapwing_gaps_total"),
        [(
            "lapwing_gaps_total{topic=\"feed\",reason=\"retention\"}",
            f64::from(told)
        )]
    );
    assert_eq!(
        scrape.above_zero("lapwing_missed_messages_total"),
        [(
            "lapwing_missed_messages_total{topic=\"feed\",reason=\"retention\"}",
            missed as f64
        )]
    );
    let bound = scrape.value("lapwing_topic_retained_limit_bytes{topic=\"feed\"}");
    let kept = scrape.value("lapwing_topic_retained_bytes{topic=\"feed\"}");
    assert_eq!(bound, 65_536.0);
    assert!((1.0..=2.0 * bound).contains(&kept), "{kept}");
    assert!(scrape.value("lapwing_topic_first_offset{topic=\"feed\"}") > 1000.0);
}

#[test]
fn a_slow_reader_is_counted_with_what_it_got_and_what_the_policy_took() {
    let server = Server::start(&["--topic", "feed=push?slow=latest"]);
    let mut client = speak_slowly(&server, "topics=feed");
    let body = format!("\"{}\"", "x".repeat(50_000));
    for _ in 0..200 {
        assert_eq!(
            post(&server, "/topics/feed/messages", "application/json", &body).status,
            201
        );
    }
    let (mut next, mut messages, mut bytes, mut gaps, mut missed) = (0, 0, 0, 0, 0);
    while next < 200 {
        let text = client.text();
        let said: Value = serde_json::from_str(&text).unwrap();
        if said["type"] == "gap" {
            assert_eq!(said["reason"], "policy", "{said}");
            gaps += 1;
            missed += said["to"].as_u64().unwrap() - next;
            next = said["to"].as_u64().unwrap();
        } else if said["type"].is_null() {
            messages += 1;
            bytes += text.len() + 4;
            next += 1;
        }
    }
    assert!(missed > 0 && messages > 1, "{messages} came, {missed} did not");
    // What was cut in the middle by a full socket counts whole, and once.
    come_to(
        &server,
        &[
            ("lapwing_sent_messages_total{topic=\"feed\"}", f64::from(messages)),
            ("lapwing_sent_bytes_total{topic=\"feed\"}", bytes as f64),
            ("lapwing_gaps_total{topic=\"feed\",reason=\"policy\"}", f64::from(gaps)),
            (
                "lapwing_missed_messages_total{topic=\"feed\",reason=\"policy\"}",
                missed as f64,
            ),
        ],
    );
}

#[test]
fn whoever_was_held_to_a_limit_is_counted_as_the_console_tells_at_the_end() {
    let limits = ["--max-url", "64B", "--max-body", "100B", "--max-message", "1KiB"];
    let mut server = Server::start(&[FEED, &limits].concat());
    for _ in 0..3 {
        assert_eq!(get(&server, &format!("/healthz?{}", "x".repeat(64))).status, 414);
    }
    let body = "x".repeat(101);
    assert_eq!(post(&server, "/topics/feed/messages", "text/plain", body).status, 413);
    let mut client = Raw::follow(&server, "topics=feed");
    client.send_if_taken(&masked(FIN | TEXT, &[b'x'; 1025]));
    assert_eq!(client.closed().0, 1009);
    let scrape = Scrape::of(&server);
    assert_eq!(
        scrape.above_zero("lapwing_limit_rejections_total"),
        [
            ("lapwing_limit_rejections_total{limit=\"body\"}", 1.0),
            ("lapwing_limit_rejections_total{limit=\"message\"}", 1.0),
            ("lapwing_limit_rejections_total{limit=\"url\"}", 3.0),
        ]
    );
    assert_eq!(
        scrape.above_zero("lapwing_publish_answers_total"),
        [("lapwing_publish_answers_total{status=\"413\"}", 1.0)]
    );
    server.interrupt();
    let told = server.event("stopped", |_| true)["limits"].clone();
    assert_eq!(told, json!({"body": 1, "message": 1, "url": 3}));
    assert_eq!(server.wait().code(), Some(0));
}

#[test]
fn block_times_and_drift_are_counted_as_they_are_reported() {
    let server = Server::start(FEED);
    let mut client = speak(&server, "topics=feed&name=sensor-1");
    client.control("welcome");
    client.control("subscribed");
    publish(&server, "feed", 0..20);
    read_to(&mut client, 19);
    client.command(&report("feed", 1, 1, 2000.0));
    client.command(&report("feed", 2, 3, 600.0));
    // These cannot be true, and count for nothing.
    client.command(&report("feed", 2, 9, 600.0));
    client.find_control("error");
    let scrape = Scrape::of(&server);
    for (series, expected) in [
        ("lapwing_reports_total{topic=\"feed\"}", 2.0),
        ("lapwing_block_seconds_count{topic=\"feed\"}", 3.0),
        ("lapwing_block_seconds_sum{topic=\"feed\"}", 2.6),
        ("lapwing_block_seconds_bucket{le=\"0.25\",topic=\"feed\"}", 0.0),
        ("lapwing_block_seconds_bucket{le=\"0.5\",topic=\"feed\"}", 2.0),
        ("lapwing_block_seconds_bucket{le=\"+Inf\",topic=\"feed\"}", 3.0),
        // One publish appends all of it at the same moment: the server's own time is next to nothing.
        (
            "lapwing_block_drift_seconds_count{topic=\"feed\",direction=\"behind\"}",
            3.0,
        ),
        (
            "lapwing_block_drift_seconds_bucket{le=\"0.25\",topic=\"feed\",direction=\"behind\"}",
            0.0,
        ),
        (
            "lapwing_block_drift_seconds_bucket{le=\"0.5\",topic=\"feed\",direction=\"behind\"}",
            2.0,
        ),
    ] {
        assert_eq!(scrape.value(series), expected, "{series}");
    }
    assert_eq!(
        scrape.find("lapwing_block_drift_seconds_count{topic=\"feed\",direction=\"ahead\"}"),
        None
    );
    let told = server.event("report", |event| event["block"] == 3);
    let cause = told["cause"].as_str().unwrap();
    assert_ne!(cause, "source-limited", "two blocks in a row were far behind");
    let counted = format!("lapwing_reporting_clients{{topic=\"feed\",cause=\"{cause}\"}}");
    assert_eq!(
        scrape.above_zero("lapwing_reporting_clients"),
        [(counted.as_str(), 1.0)]
    );
    client.close(1000, "");
    come_to(&server, &[(&counted, 0.0)]);
    assert_eq!(Scrape::of(&server).above_zero("lapwing_reporting_clients"), []);
}

#[test]
fn handshakes_are_timed_on_fresh_connections_only() {
    let server = Server::start(FEED);
    for _ in 0..3 {
        drop(Raw::follow(&server, "topics=feed"));
    }
    // The time since this connection was accepted says nothing about its second request.
    let mut stream = open(server.address());
    let page = format!("GET /healthz HTTP/1.1\r\nHost: {}\r\n\r\n", server.address());
    stream.write_all(page.as_bytes()).unwrap();
    assert_eq!(answer(&mut stream).expect("an answer").status, 200);
    let upgrade = upgrade_request(&server.address().to_string(), "/?topics=feed");
    stream.write_all(upgrade.as_bytes()).unwrap();
    assert_eq!(answer(&mut stream).expect("an answer").status, 101);
    let scrape = Scrape::of(&server);
    assert_eq!(scrape.value("lapwing_handshake_seconds_count"), 3.0);
    assert!(scrape.value("lapwing_handshake_seconds_sum") > 0.0);
    assert_eq!(scrape.value("lapwing_tls_handshake_seconds_count"), 0.0);
    come_to(&server, &[("lapwing_clients_joined_total", 4.0)]);
}

#[test]
fn inside_tls_its_handshakes_are_timed_as_well() {
    let server = Server::start(&[FEED, &["--tls-self-signed"]].concat());
    let _client = secure::follow(&server, "topics=feed");
    let text = secure::ask(&server, "GET", "/metrics", "");
    let (_, body) = text.split_once("\r\n\r\n").expect("a head");
    let scrape = Scrape::read(body.to_owned());
    assert_eq!(scrape.value("lapwing_tls_handshake_seconds_count"), 2.0);
    assert_eq!(scrape.value("lapwing_handshake_seconds_count"), 1.0);
    let (tls, all) = (
        scrape.value("lapwing_tls_handshake_seconds_sum"),
        scrape.value("lapwing_handshake_seconds_sum"),
    );
    assert!(tls > 0.0 && all > 0.0, "{tls} {all}");
}

#[test]
fn lag_is_counted_for_topics_that_are_followed() {
    let server = Server::start(&["--topic", "feed=push", "--topic", "quiet=push"]);
    let mut client = follow(&server, "topics=feed");
    // What is there when a client comes is given to it at once, and no follower was woken for it: so the first may not count.
    let mut published = 0;
    eventually("five rounds are counted", || {
        publish(&server, "feed", published..published + 1);
        publish(&server, "quiet", published..published + 1);
        read_to(&mut client, published);
        published += 1;
        let rounds = Scrape::of(&server).find("lapwing_delivery_lag_seconds_count{topic=\"feed\"}");
        assert!(rounds.unwrap_or(0.0) <= published as f64);
        rounds >= Some(5.0)
    });
    let scrape = Scrape::of(&server);
    let (sum, late) = (
        scrape.value("lapwing_delivery_lag_seconds_sum{topic=\"feed\"}"),
        scrape.value("lapwing_delivery_late_seconds"),
    );
    assert!(late > 0.0 && late <= sum + 1e-9, "{late} of {sum}");
    assert_eq!(scrape.find("lapwing_delivery_lag_seconds_count{topic=\"quiet\"}"), None);
    // Ten seconds later nothing was late lately.
    eventually("lateness is forgotten", || {
        Scrape::of(&server).value("lapwing_delivery_late_seconds") == 0.0
    });
}

#[test]
fn a_disk_that_takes_no_more_shows() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().to_str().unwrap();
    let args = [
        "--data",
        data,
        "--topic",
        "feed=push?keep_bytes=64MiB",
        "--topic",
        "quick=push?durability=none",
    ];
    let server = Plan::with_file_size(600, &args).start();
    let before = Scrape::of(&server);
    assert_eq!(before.value("lapwing_storage_failing{topic=\"feed\"}"), 0.0);
    assert_eq!(before.find("lapwing_storage_failing{topic=\"quick\"}"), None);
    let body = format!("\"{}\"", "x".repeat(2000));
    let refused = (0..10_000).find_map(|_| {
        let answer = post(&server, "/topics/feed/messages", "application/json", &body);
        (answer.status != 201).then_some(answer.status)
    });
    assert_eq!(refused, Some(507));
    let scrape = Scrape::of(&server);
    assert_eq!(scrape.value("lapwing_storage_failing{topic=\"feed\"}"), 1.0);
    assert!(scrape.value("lapwing_storage_failures_total{topic=\"feed\"}") >= 1.0);
    assert_eq!(scrape.value("lapwing_publish_answers_total{status=\"507\"}"), 1.0);
    assert_eq!(
        scrape.value("lapwing_topic_durable_offset{topic=\"feed\"}"),
        scrape.value("lapwing_topic_next_offset{topic=\"feed\"}")
    );
}

#[test]
fn what_is_found_in_files_is_counted() {
    let dir = tempfile::tempdir().unwrap();
    let args = ["--data", dir.path().to_str().unwrap(), "--topic", "feed=push"];
    let server = Server::start(&args);
    publish(&server, "feed", 0..3);
    assert_eq!(
        Scrape::of(&server).value("lapwing_storage_findings_total{topic=\"feed\"}"),
        0.0
    );
    drop(server);
    let segment = dir.path().join("topics/feed").join(format!("{:020}.log", 0));
    let mut file = std::fs::OpenOptions::new().append(true).open(segment).unwrap();
    file.write_all(b"half a batch").unwrap();
    drop(file);
    let server = Server::start(&args);
    server.event("storage", |_| true);
    assert_eq!(
        Scrape::of(&server).value("lapwing_storage_findings_total{topic=\"feed\"}"),
        1.0
    );
}

#[test]
fn paces_and_the_newest_message_are_told_for_whoever_looks_for_stale_feeds() {
    let pace = [
        "--topic",
        "feed=arrays?every=20ms&burst=5",
        "--topic",
        "idle=push",
        "--topic",
        "said=exec:echo hi?rate=50/s",
    ];
    let server = Server::start(&pace);
    follow(&server, "topics=feed").message();
    let scrape = Scrape::of(&server);
    assert_eq!(
        scrape.value("lapwing_topic_asked_messages_per_second{topic=\"feed\"}"),
        250.0
    );
    assert_eq!(scrape.value("lapwing_topic_tick_seconds{topic=\"feed\"}"), 0.02);
    let newest = scrape.value("lapwing_topic_newest_timestamp_seconds{topic=\"feed\"}");
    assert!(newest >= scrape.value("process_start_time_seconds").floor(), "{newest}");
    for name in ["asked_messages_per_second", "tick_seconds", "newest_timestamp_seconds"] {
        assert_eq!(scrape.find(&format!("lapwing_topic_{name}{{topic=\"idle\"}}")), None);
    }
    // A command may say less than it may.
    let asked = scrape.value("lapwing_topic_asked_messages_per_second{topic=\"said\"}");
    assert_eq!(
        (asked, scrape.find("lapwing_topic_tick_seconds{topic=\"said\"}")),
        (50.0, None)
    );
    assert_eq!(scrape.value("lapwing_topic_ended{topic=\"idle\"}"), 0.0);
}

#[test]
fn the_process_is_told_as_every_dashboard_knows_it() {
    let server = Server::start(FEED);
    let before = Scrape::of(&server);
    let held: Vec<_> = (0..50).map(|_| Raw::follow(&server, "topics=feed")).collect();
    // Another one asks; the one that asked before may not be gone yet.
    come_to(&server, &[("lapwing_connections", 51.0)]);
    let scrape = Scrape::of(&server);
    let version = format!("lapwing_build_info{{version=\"{}\"}}", env!("CARGO_PKG_VERSION"));
    assert_eq!(scrape.value(&version), 1.0);
    let more = |name: &str| scrape.value(name) - before.value(name);
    assert!(more("process_cpu_seconds_total") >= 0.0);
    if cfg!(target_os = "linux") {
        assert!(
            (45.0..=60.0).contains(&more("process_open_fds")),
            "{}",
            more("process_open_fds")
        );
        let resident = scrape.value("process_resident_memory_bytes");
        let kib = server.memory_kib("VmRSS:") as f64;
        assert!(
            (0.5..2.0).contains(&(resident / 1024.0 / kib)),
            "{resident} of {kib} KiB"
        );
        assert!(scrape.value("process_virtual_memory_bytes") > resident);
        assert!(scrape.value("process_threads") > 1.0);
    }
    assert!(scrape.value("process_max_fds") >= scrape.value("process_open_fds"));
    drop(held);
}

#[test]
fn both_formats_have_the_same_values_and_each_metric_its_help_and_kind() {
    let server = Server::start(FEED);
    let plain = get(&server, "/metrics");
    assert_eq!(
        plain.header("content-type"),
        Some("text/plain; version=0.0.4; charset=utf-8")
    );
    let open = ask(&server, "GET", "/metrics", &[OPEN_METRICS], b"");
    assert_eq!(
        open.header("content-type"),
        Some("application/openmetrics-text; version=1.0.0; charset=utf-8")
    );
    assert_eq!(open.header("cache-control"), Some("no-store"));
    assert!(open.body.ends_with("\n# EOF\n") && open.body.matches("# EOF").count() == 1);
    assert!(!plain.body.contains("# EOF") && !plain.body.contains("# UNIT"));
    let (plain, open) = (Scrape::read(plain.body), Scrape::read(open.body));
    assert_eq!(plain.series().collect::<Vec<_>>(), open.series().collect::<Vec<_>>());
    for scrape in [&plain, &open] {
        let told = |what: &str| -> BTreeSet<String> {
            let lines = scrape.text().lines().filter_map(|line| line.strip_prefix(what));
            let names: Vec<_> = lines.map(|line| line.split(' ').next().unwrap().to_owned()).collect();
            let set: BTreeSet<_> = names.iter().cloned().collect();
            assert_eq!(set.len(), names.len(), "each once");
            set
        };
        let (helped, typed) = (told("# HELP "), told("# TYPE "));
        assert_eq!(helped, typed);
        for series in scrape.series() {
            let name = series.split('{').next().unwrap();
            let suffixes = ["", "_total", "_info", "_bucket", "_sum", "_count"];
            let known = suffixes.iter().filter_map(|suffix| name.strip_suffix(suffix));
            assert!(
                known.into_iter().any(|name| typed.contains(name)),
                "{series} has a kind"
            );
        }
        for unit in told("# UNIT ") {
            assert!(unit.ends_with("_seconds") || unit.ends_with("_bytes"), "{unit}");
        }
    }
}

#[test]
fn only_reading_is_answered() {
    let server = Server::start(FEED);
    let refused = post(&server, "/metrics", "text/plain", "1");
    assert_eq!((refused.status, refused.header("allow")), (405, Some("GET, HEAD")));
}

#[test]
fn without_tokens_metrics_are_for_the_servers_own_machine() {
    let server = Server::start(FEED);
    for header in [
        "X-Forwarded-For: 127.0.0.1",
        "Forwarded: for=127.0.0.1",
        "x-forwarded-for: 192.0.2.7",
    ] {
        let (name, value) = header.split_once(": ").unwrap();
        let refused = ask(&server, "GET", "/metrics", &[(name, value)], b"");
        assert_eq!(refused.status, 403, "{header}");
        assert_eq!(
            refused.body,
            "this is shown to the server's own machine; on a server with tokens (--tokens) it needs the scope admin\n"
        );
        assert_eq!(refused.header("www-authenticate"), None, "no token would help");
    }
    let trusting = Server::start(&[FEED, &["--trust-proxy", "127.0.0.1"]].concat());
    for (line, status) in [
        (("X-Forwarded-For", "127.0.0.1"), 200),
        (("X-Forwarded-For", "192.0.2.7"), 403),
        (("X-Forwarded-For", "127.0.0.1, 192.0.2.7"), 403),
        (("Forwarded", "for=unknown"), 403),
        (("Accept", "*/*"), 200),
    ] {
        assert_eq!(
            ask(&trusting, "GET", "/metrics", &[line], b"").status,
            status,
            "{line:?}"
        );
    }
}

#[test]
fn with_tokens_metrics_need_the_scope_admin() {
    let tokens = Secrets::tokens(&[
        ("all", "lapwing_all", "listen:*,publish:*"),
        ("run", "lapwing_run", "admin"),
    ]);
    let server = Server::start(&[FEED, &["--tokens", &tokens.path()]].concat());
    let with = |token: &str| {
        ask(
            &server,
            "GET",
            "/metrics",
            &[("Authorization", &format!("Bearer {token}"))],
            b"",
        )
    };
    assert_eq!(get(&server, "/metrics").status, 401);
    assert_eq!(with("lapwing_wrong").status, 401);
    let refused = with("lapwing_all");
    assert_eq!(
        (refused.status, refused.body.as_str()),
        (403, "the token has listen:*, publish:*; this needs admin\n")
    );
    assert!(
        refused
            .header("www-authenticate")
            .is_some_and(|asked| asked.contains("insufficient_scope"))
    );
    assert_eq!(with("lapwing_run").status, 200);
    let scrape = Scrape::read(with("lapwing_run").body);
    assert_eq!(
        scrape.above_zero("lapwing_token_refusals_total"),
        [
            ("lapwing_token_refusals_total{reason=\"no_token\"}", 1.0),
            ("lapwing_token_refusals_total{reason=\"scope\"}", 1.0),
            ("lapwing_token_refusals_total{reason=\"unknown\"}", 1.0),
        ]
    );
    let proxied = [
        ("Authorization", "Bearer lapwing_run"),
        ("X-Forwarded-For", "192.0.2.7"),
    ];
    assert_eq!(
        ask(&server, "GET", "/metrics", &proxied, b"").status,
        200,
        "from anywhere"
    );
}

#[test]
fn a_thousand_hostile_names_make_no_series() {
    let server = Server::start(FEED);
    // One of each kind first, so that every histogram has a value.
    let mut client = speak(&server, "topics=feed");
    client.control("welcome");
    client.control("subscribed");
    publish(&server, "feed", 0..1);
    read_to(&mut client, 0);
    come_to(&server, &[("lapwing_delivery_lag_seconds_count{topic=\"feed\"}", 1.0)]);
    let before = Scrape::of(&server);
    let series = |scrape: &Scrape| scrape.series().map(str::to_owned).collect::<BTreeSet<_>>();
    for number in 0..1000_u16 {
        let name = format!("x%22%7D%0Aevil%7Bn%3D%22{number}");
        let address = server.address();
        match number % 5 {
            0 => {
                let mut client = follow(&server, &format!("topics=feed&name=n{number}"));
                client.say(&format!("lapwing_evil{{n=\"{number}\"}} 1"));
                client.close(3000 + number, "evil");
            }
            1 => assert_eq!(get(&server, &format!("/{name}")).status, 404),
            2 => assert_eq!(
                post(&server, &format!("/topics/{name}/messages"), &name, "1").status,
                404
            ),
            3 => {
                let request = upgrade_request(&address.to_string(), &format!("/?topics={name}"));
                assert_eq!(send(address, request.as_bytes()).status, 400);
            }
            _ => {
                client.command(&json!({"type": "subscribe", "topic": format!("evil-{number}")}));
                // At most so many commands a second are taken.
                match client.hear() {
                    Heard::Text(_) => {}
                    Heard::Close(4429, _) => {
                        client = speak(&server, "topics=feed");
                        client.control("welcome");
                        client.control("subscribed");
                    }
                    other => panic!("{other:?}"),
                }
            }
        }
    }
    let after = Scrape::of(&server);
    assert_eq!(series(&after), series(&before));
    assert!(!after.text().contains("evil"), "{}", after.text());
    assert_eq!(after.value("lapwing_clients_left_total{code=\"other\"}"), 200.0);
    assert_eq!(after.value("lapwing_publish_answers_total{status=\"404\"}"), 200.0);
}

#[test]
fn every_metric_that_dashboard_and_alerts_name_is_there() {
    let server = Server::start(FEED);
    let scrape = Scrape::of(&server);
    let typed = scrape.text().lines().filter_map(|line| line.strip_prefix("# TYPE "));
    let mut names = BTreeSet::new();
    for (name, kind) in typed.filter_map(|told| told.split_once(' ')) {
        match kind {
            "histogram" => names.extend(["_bucket", "_sum", "_count"].map(|suffix| format!("{name}{suffix}"))),
            _ => assert!(names.insert(name.to_owned())),
        }
    }
    let deploy = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy");
    let mut used = BTreeSet::new();
    for file in ["alerts.yml", "grafana-dashboard.json"] {
        let text = std::fs::read_to_string(deploy.join(file)).expect("the file is there");
        let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        let words = words.filter(|word| word.starts_with("lapwing_") || word.starts_with("process_"));
        let found: BTreeSet<_> = words.map(str::to_owned).collect();
        assert!(found.len() > 10, "{file} names only {found:?}");
        for name in &found {
            assert!(names.contains(name), "{file} names {name}, which there is not");
        }
        used.extend(found);
    }
    // Nobody would look at what stands in neither; these are for people who ask.
    let unused: Vec<_> = names
        .iter()
        .filter(|name| !used.contains(*name) && !name.ends_with("_sum") && !name.ends_with("_count"))
        .collect();
    assert!(unused.len() <= 3, "neither dashboard nor alerts show {unused:?}");
}

#[test]
fn every_label_that_dashboard_and_alerts_ask_for_is_there() {
    let server = Server::start(FEED);
    let mut client = speak(&server, "topics=feed");
    client.control("welcome");
    client.control("subscribed");
    publish(&server, "feed", 0..20);
    read_to(&mut client, 19);
    client.command(&report("feed", 1, 1, 2000.0));
    eventually("the report is counted", || {
        let scrape = Scrape::of(&server);
        scrape.find("lapwing_reports_total{topic=\"feed\"}") == Some(1.0)
    });
    let scrape = Scrape::of(&server);
    let mut there = BTreeSet::new();
    for (name, labels) in scrape.series().filter_map(|series| series.split_once('{')) {
        there.extend(matchers(labels).into_iter().map(|(label, value)| (name, label, value)));
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    // What this server has not met yet is told here.
    let documented = std::fs::read_to_string(root.join("docs/metrics.md")).expect("the document is there");
    let (families, documented) = documented.split_once("## Labels").expect("it tells of labels");
    for file in ["alerts.yml", "grafana-dashboard.json"] {
        let text = std::fs::read_to_string(root.join("deploy").join(file)).expect("the file is there");
        let text = text.replace("\\\"", "\"");
        let mut asked = 0;
        for (before, rest) in text.match_indices('{').map(|(at, _)| text.split_at(at)) {
            let name = before
                .rsplit(|c: char| !c.is_ascii_alphanumeric() && c != '_')
                .next()
                .unwrap();
            if !name.starts_with("lapwing_") {
                continue;
            }
            for (label, values) in matchers(&rest[1..]) {
                // Whose it is belongs to the scraper.
                if ["job", "instance"].contains(&label) {
                    continue;
                }
                asked += 1;
                let family = ["_bucket", "_sum", "_count"]
                    .iter()
                    .find_map(|end| name.strip_suffix(end));
                let row = format!("| `{}` |", family.unwrap_or(name));
                let row = families.lines().find(|line| line.starts_with(&row));
                let row = row.unwrap_or_else(|| panic!("{file} asks for {name}, which is not documented"));
                assert!(
                    label == "le" || row.contains(&format!("`{label}`")),
                    "{file}: {name} has no {label}"
                );
                // What begins so is chosen by who looks.
                if values.starts_with('$') {
                    continue;
                }
                for value in values.split('|') {
                    let row = documented
                        .lines()
                        .find(|line| line.starts_with(&format!("| `{label}` |")));
                    let is_told = row.is_some_and(|row| row.contains(&format!("`{value}`")));
                    assert!(
                        is_told || there.contains(&(name, label, value)),
                        "{file} asks for {name} with {label}={value:?}, which there is not"
                    );
                }
            }
        }
        assert!(asked >= 4, "{file} asks for {asked} labels");
    }
}

/// Labels with what they are compared to, up to the brace that ends them.
fn matchers(text: &str) -> Vec<(&str, &str)> {
    let (labels, _) = text.split_once('}').expect("they end");
    let each = labels.split("\",").filter_map(|one| one.split_once('"'));
    each.map(|(label, value)| {
        (
            label.trim().trim_end_matches(['=', '~', '!']),
            value.trim_end_matches('"'),
        )
    })
    .collect()
}

#[test]
fn every_alert_says_how_bad_it_is_and_what_to_do() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/alerts.yml");
    let text = std::fs::read_to_string(file).expect("the file is there");
    let rules: Vec<_> = text.split("- alert: ").skip(1).collect();
    assert!(rules.len() >= 10, "{} alerts", rules.len());
    for rule in rules {
        let name = rule.lines().next().unwrap();
        assert!(name.starts_with("Lapwing"), "{name}");
        let line = |key: &str| {
            let mut lines = rule.lines().filter_map(|line| line.trim().strip_prefix(key));
            lines.next().unwrap_or_else(|| panic!("{name} has no {key}")).trim()
        };
        assert!(["critical", "warning", "info"].contains(&line("severity:")), "{name}");
        for key in ["summary:", "runbook:"] {
            let sentence = line(key).trim_matches('"');
            assert!(sentence.len() > 30 && sentence.ends_with('.'), "{name}: {sentence}");
        }
    }
}
