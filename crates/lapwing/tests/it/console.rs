//! What the server prints of what clients say, and what happens when nobody reads it.

use serde_json::json;

use crate::support::client::{follow, speak};
use crate::support::frames::{FIN, PING, PONG, Raw, TEXT, masked};
use crate::support::server::{Plan, Server};

const QUIET: &[&str] = &["--topic", "quiet=push"];
const LIVELY: &[&str] = &["--topic", "users=users?every=10ms"];

#[test]
fn item_2_prints_what_a_plain_client_says_with_number_address_and_time() {
    let server = Plan::new(QUIET).text().start();
    let mut client = follow(&server, "");
    let address = client.stream().local_addr().unwrap();
    client.say("Time taken to receive 5 messages: 1.4612 s");
    let line = server.out().with("says");
    let (time, rest) = line.split_at(12);
    assert!(is_time_of_day(time), "{line}");
    assert_eq!(
        rest,
        format!("  says    client 1 ({address}): \"Time taken to receive 5 messages: 1.4612 s\"")
    );
}

#[test]
fn item_2_prints_what_a_client_of_the_subprotocol_says_with_its_name() {
    let server = Server::start(QUIET);
    let mut client = speak(&server, "name=sensor-1");
    let address = client.stream().local_addr().unwrap().to_string();
    client.command(&json!({"type": "say", "text": "all well"}));
    let said = server.event("said", |_| true);
    assert_eq!(said["client"], "sensor-1");
    assert_eq!(said["address"], address);
    assert_eq!(said["text"], "all well");
    assert_eq!(said["session"], 1);
    let time = said["time"].as_str().unwrap();
    assert!(
        time.starts_with("20") && time.ends_with('Z') && time.contains('T'),
        "{time}"
    );
}

#[test]
fn item_2_escapes_what_could_drive_a_terminal() {
    let server = Plan::new(QUIET).text().start();
    let mut client = follow(&server, "name=a%1B%5B2Jb%E2%80%AE");
    client.say("\u{1b}[31mred\u{7}\n\u{9b}2J \u{202e}txt.exe\u{2069} \u{7f} end");
    let line = server.out().with("says");
    assert!(
        line.contains("\"\\u{1b}[31mred\\u{7}\\n\\u{9b}2J \\u{202e}txt.exe\\u{2069} \\u{7f} end\""),
        "{line}"
    );
    assert!(line.contains("a\\u{1b}[2Jb\\u{202e} ("), "{line}");
    client.close(4000, "\u{1b}]0;owned\u{7}");
    let left = server.err().with("left");
    assert!(left.contains("\"\\u{1b}]0;owned\\u{7}\""), "{left}");
    for line in [server.out().so_far(), server.err().so_far()].concat() {
        let drives = |c: char| c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        assert!(!line.chars().any(drives), "{line:?}");
    }
}

#[test]
fn item_2_shows_bytes_as_their_number_and_their_first_ones_in_hex() {
    let server = Plan::new(QUIET).text().start();
    let mut client = follow(&server, "");
    let bytes: Vec<u8> = (0..=255).collect();
    client.say_bytes(&bytes);
    client.say_bytes(&[0x1b, 0xff]);
    client.say_bytes(&[]);
    server.out().with("): 256 bytes: 0001020304050607...");
    server.out().with("): 2 bytes: 1bff");
    server.out().with("): 0 bytes");
}

#[test]
fn item_2_cuts_a_long_message_and_tells_how_much_was_left_out() {
    let server = Server::start(QUIET);
    let mut client = follow(&server, "");
    client.say(&"x".repeat(1024));
    client.say(&"y".repeat(1025));
    let whole = server.event("said", |_| true);
    assert_eq!(whole["text"].as_str().map(str::len), Some(1024));
    assert!(whole.get("left_out").is_none(), "{whole}");
    let cut = server.event("said", |said| {
        said["text"].as_str().is_some_and(|text| text.starts_with('y'))
    });
    assert_eq!(cut["text"].as_str().map(str::len), Some(1024));
    assert_eq!(cut["left_out"], 1);
}

#[test]
fn item_2_an_output_that_nobody_reads_slows_nobody_and_what_is_not_shown_is_counted() {
    // 12 MB of lines for a queue of 8 MiB.
    const SAID: usize = 12_000;
    let limits = ["--max-message-rate", "10000", "--max-byte-rate", "100MiB"];
    let mut server = Plan::new(&[LIVELY, &limits].concat()).text().stdout_unread().start();
    let mut follower = follow(&server, "topics=users");
    let mut talker = Raw::follow(&server, "topics=users");
    let line = masked(FIN | TEXT, &[b'x'; 1000]);
    for _ in 0..SAID / 100 {
        talker.send(&line.repeat(100));
    }
    heard_all(&mut talker);
    let first = follower.message().offset;
    for (offset, message) in (first + 1..).zip(follower.messages(50)) {
        assert_eq!(message.offset, offset, "delivery goes on");
    }

    server.read_stdout();
    let not_shown = server.out().find("with a count of what is not shown", not_shown_in);
    let mut shown = 0;
    server.out().find("that was the last", |line| {
        shown += usize::from(line.contains("): \"xxx"));
        (shown + not_shown == SAID).then_some(())
    });
    assert!(shown > 1000, "the queue had room for many: {shown}");
    talker.send(&masked(FIN | TEXT, b"now it is read again"));
    server.out().with("now it is read again");
    let counts = server
        .out()
        .so_far()
        .iter()
        .filter_map(|line| not_shown_in(line))
        .count();
    assert_eq!(counts, 1, "what is not shown is told once");
}

/// `417 lines from client 2 not shown: …`
fn not_shown_in(line: &str) -> Option<usize> {
    let (_, told) = line.split_once("limit   ")?;
    let (count, _) = told.split_once(" lines from client 2 not shown")?;
    count.replace(',', "").parse().ok()
}

#[test]
fn f15_a_closed_output_neither_slows_nor_ends_the_server() {
    let mut server = Plan::new(LIVELY).text().stdout_unread().start();
    server.close_stdout();
    let mut talker = Raw::follow(&server, "topics=users");
    talker.send(&masked(FIN | TEXT, &[b'x'; 1000]).repeat(100));
    heard_all(&mut talker);
    let mut follower = follow(&server, "topics=users");
    let first = follower.message().offset;
    assert_eq!(follower.messages(20).last().unwrap().offset, first + 20);
    server.interrupt();
    assert_eq!(follower.closed().0, 1001);
    assert_eq!(server.wait().code(), Some(0));
    assert!(!server.err().all().iter().any(|line| line.contains("panic")));
}

/// Everything sent before has been taken: the pong to a later ping is here.
fn heard_all(client: &mut Raw) {
    client.send(&masked(FIN | PING, b"heard?"));
    loop {
        let frame = client.frame().expect("the server answers");
        if frame.first_byte == FIN | PONG {
            return assert_eq!(frame.payload, b"heard?");
        }
    }
}

fn is_time_of_day(text: &str) -> bool {
    let digits = text.bytes().enumerate().all(|(at, byte)| match at {
        2 | 5 => byte == b':',
        8 => byte == b'.',
        _ => byte.is_ascii_digit(),
    });
    digits && text.len() == "19:00:00.000".len()
}
