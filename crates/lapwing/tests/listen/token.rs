//! Clients of a server that asks for a token.

use std::path::{Path, PathBuf};
use std::process::Command;

use lapwing::server::access::token::Digest;
use lapwing_wire::control::{ClientMessage, ServerMessage};
use rustix::process::Signal;

use crate::feed::Feed;
use crate::program::{Program, lapwing, record, serve};

/// A folder with the server's file of tokens and the clients' own.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a directory"))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Puts a file there in one step.
    fn write(&self, name: &str, text: &str) -> String {
        let new = self.path("new");
        std::fs::write(&new, text).expect("written");
        std::fs::rename(&new, self.path(name)).expect("there");
        self.path(name).display().to_string()
    }

    /// The server's file: names that are their tokens too, and scopes.
    fn tokens(&self, lines: &[(&str, &str)]) -> String {
        let line = |(name, scopes): &(&str, &str)| format!("{name} {} {scopes}\n", Digest::of(name.as_bytes()));
        self.write("tokens", &lines.iter().map(line).collect::<String>())
    }
}

fn guarded(tokens: &str) -> (Program, String) {
    serve(&["--topic", "users=push", "--topic", "orders=push", "--tokens", tokens])
}

/// Publishes lines with the token in this file.
fn publish(url: &str, topic: &str, token: &Path, lines: &[&str]) {
    let token = token.display().to_string();
    let mut publisher = lapwing(&["publish", url, topic, "--token-file", &token]);
    lines.iter().for_each(|line| publisher.write_line(line.as_bytes()));
    publisher.close_stdin();
    publisher.finish().with_code(0);
}

#[test]
fn listen_and_publish_show_the_token_of_a_file_or_of_the_environment() {
    let folder = Folder::new();
    let tokens = folder.tokens(&[("reader", "listen:users"), ("writer", "publish:users")]);
    let (_server, url) = guarded(&tokens);
    let reader = folder.write("reader", "reader\n");
    folder.write("writer", "  writer");
    let by_file = lapwing(&["listen", &url, "--token-file", &reader, "--count", "2"]);
    let mut command = Command::new(env!("CARGO_BIN_EXE_lapwing"));
    let by_environment = Program::start(
        command
            .args(["listen", &url, "--count", "2"])
            .env("LAPWING_TOKEN", "reader"),
    );
    for listener in [&by_file, &by_environment] {
        listener.says("connected to ");
    }
    publish(&url, "users", &folder.path("writer"), &["1", "2"]);
    for listener in [by_file, by_environment] {
        let end = listener.finish().with_code(0);
        assert!(end.stdout.iter().any(|line| line.contains("users")), "{end:?}");
    }
}

#[test]
fn e8_a_refusal_of_the_token_says_what_is_missing_and_ends_the_listener() {
    let folder = Folder::new();
    let tokens = folder.tokens(&[("reader", "listen:users"), ("writer", "publish:users")]);
    let (_server, url) = guarded(&tokens);
    let reader = folder.write("reader", "reader");
    let writer = folder.write("writer", "writer");
    let bad = folder.write("bad", "hunter2");
    let plain = format!("{url}/?topics=orders");
    let has = "error: the server refused the token: it has listen:users, topic \"orders\" needs listen:orders";
    let leave_out = "hint: ask for a token with that scope, or leave the topic out: --topics users";
    let ask = "hint: ask for a token with that scope";
    let other = "hint: give one that is in force, with --token-file FILE or in LAPWING_TOKEN";
    for (args, error, hint) in [
        (
            vec![&url, "--topics", "orders", "--token-file", &reader],
            has,
            leave_out,
        ),
        (
            vec![&url, "--topics", "users,orders", "--token-file", &reader],
            has,
            leave_out,
        ),
        (vec![&plain, "--token-file", &reader], has, leave_out),
        (
            vec![&url, "--token-file", &writer],
            "error: the server refused the token: it has publish:users, a stream needs listen:TOPIC (403 Forbidden)",
            ask,
        ),
        (
            vec![&url, "--token-file", &bad],
            "error: the server refused the token: it is not known here (401 Unauthorized)",
            other,
        ),
        (
            vec![&url],
            "error: the server refused: this server wants a token: Authorization: Bearer TOKEN (401 Unauthorized)",
            "hint: --token-file FILE, or LAPWING_TOKEN in the environment, tells it who you are",
        ),
    ] {
        let end = lapwing(&[&["listen"], &args[..]].concat()).finish().with_code(1);
        assert_eq!(end.stderr.len(), 2, "{end:?}");
        assert!(end.stderr[0].starts_with(error), "{end:?}");
        assert_eq!(end.stderr[1], hint);
        assert!(!format!("{end:?}").contains("hunter2"), "{end:?}");
    }
}

#[test]
fn e8_a_refusal_of_the_token_ends_the_publisher() {
    let folder = Folder::new();
    let (_server, url) = guarded(&folder.tokens(&[("reader", "listen:users")]));
    let reader = folder.write("reader", "reader");
    let mut publisher = lapwing(&["publish", &url, "users", "--token-file", &reader]);
    publisher.write_line(b"1");
    publisher.close_stdin();
    let end = publisher.finish().with_code(1);
    let has =
        "error: the server refused the token: it has listen:users, topic \"users\" needs publish:users (403 Forbidden)";
    assert_eq!(end.stderr, [has, "hint: ask for a token with that scope"]);
}

#[test]
fn a_withdrawn_token_is_exchanged_for_the_one_that_stands_in_the_file_then() {
    let folder = Folder::new();
    let all = "listen:users,publish:users";
    let tokens = folder.tokens(&[("old", all)]);
    let (server, url) = guarded(&tokens);
    let file = folder.write("token", "old");
    let log = folder.path("feed.ndjson").display().to_string();
    let listener = record(&url, &log, &["--token-file", &file, "--count", "3"]);
    listener.says("connected to ");
    publish(&url, "users", Path::new(&file), &["\"first\""]);
    listener.shows("first");
    folder.write("token", "new");
    folder.tokens(&[("new", all)]);
    server.signal(Signal::HUP);
    listener.says("the token was withdrawn");
    publish(&url, "users", Path::new(&file), &["\"second\"", "\"third\""]);
    let end = listener.finish().with_code(0);
    end.said("back after ");
    end.said("nothing lost: each offset once, in order");
    lapwing(&["verify", &log]).finish().with_code(0);
}

#[test]
fn e9_a_token_that_ends_soon_is_exchanged_as_soon_as_the_file_has_another() {
    let folder = Folder::new();
    let file = folder.write("token", "old");
    let feed = Feed::bind();
    let listener = lapwing(&[
        "listen",
        &feed.url(),
        "--token-file",
        &file,
        "--no-report",
        "--count",
        "1",
    ]);
    let mut guest = feed.accept_lapwing();
    guest.welcome_and_grant(7, &[("users", 0)]);
    listener.says("connected to ");
    guest.control(&ServerMessage::Expiring { in_ms: 60_000 });
    folder.write("token", "new");
    match guest.said() {
        Ok(ClientMessage::Auth { token }) => assert_eq!(token.reveal(), "new"),
        other => panic!("{other:?}"),
    }
    guest.control(&ServerMessage::Authorized { in_ms: None });
    guest.message("users", 0);
    let end = listener.finish().with_code(0);
    assert!(!format!("{end:?}").contains("new\""), "{end:?}");
}

#[test]
fn e8_codes_that_refuse_the_token_end_the_listener() {
    for (code, meaning) in [(4500, "bad token"), (4501, "topic not allowed")] {
        let feed = Feed::bind();
        let listener = lapwing(&["listen", &feed.url()]);
        let mut guest = feed.accept_lapwing();
        guest.welcome_and_grant(7, &[("users", 0)]);
        listener.says("connected to ");
        guest.close(code, "");
        let end = listener.finish().with_code(1);
        end.said(&format!("stopped: {code}, {meaning}; not coming back"));
    }
}

#[test]
fn a_token_file_of_no_use_is_told_before_anything_starts() {
    let folder = Folder::new();
    let two = folder.write("two", "hunter2 hunter3\n");
    let missing = folder.path("missing").display().to_string();
    for command in [
        &["listen", "ws://127.0.0.1:1"][..],
        &["publish", "ws://127.0.0.1:1", "orders"],
        &["bench", "ws://127.0.0.1:1"],
    ] {
        let run = |file: &str| {
            lapwing(&[command, &["--token-file", file]].concat())
                .finish()
                .with_code(2)
        };
        let end = run(&missing);
        end.said(&format!("error: cannot read the token in {missing}: no such file"));
        end.said("hint: --token-file takes a file with the token, and nothing else in it");
        let end = run(&two);
        end.said(" holds no token: one word of ASCII");
        assert!(!format!("{end:?}").contains("hunter"), "{end:?}");
    }
}
