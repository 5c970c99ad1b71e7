//! A file that grows as a source.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, mkfifoat};
use serde_json::json;
use tempfile::TempDir;

use crate::support::client::{Client, follow};
use crate::support::http::get;
use crate::support::server::Server;

/// A server that follows a file of its own.
struct Story {
    server: Server,
    client: Client,
    path: PathBuf,
    _folder: TempDir,
}

impl Story {
    fn begin(content: Option<&str>, settings: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("feed.log");
        if let Some(content) = content {
            std::fs::write(&path, content).unwrap();
        }
        let server = Server::start(&["--topic", &format!("feed=file:{}{settings}", path.display())]);
        let client = follow(&server, "topics=feed&from=earliest");
        Self {
            server,
            client,
            path,
            _folder: folder,
        }
    }
}

#[test]
fn item_6_a_file_is_followed_from_its_end_as_it_grows() {
    let mut story = Story::begin(Some("old\n"), "");
    let told = story.server.source_says("followed from its end");
    assert!(
        told.contains("4 B before that are left out (from=start reads them)"),
        "{told}"
    );
    append(&story.path, "new\n{\"n\":1}\n");
    assert_eq!(story.client.data(2), [json!("new"), json!({"n": 1})]);
}

#[test]
fn item_6_a_file_may_be_followed_from_its_start() {
    let mut story = Story::begin(Some("old\n"), "?from=start");
    append(&story.path, "new\n");
    assert_eq!(story.client.data(2), [json!("old"), json!("new")]);
}

#[test]
fn item_6_a_line_that_is_written_in_parts_comes_whole() {
    let mut story = Story::begin(Some(""), "?from=start");
    append(&story.path, "whole\nha");
    assert_eq!(story.client.message().data, "whole");
    append(&story.path, "lf\nnext\n");
    assert_eq!(story.client.data(2), [json!("half"), json!("next")]);
}

#[test]
fn item_6_a_file_that_is_rotated_away_is_read_to_its_end_and_then_the_new_one() {
    let mut story = Story::begin(Some("one\n"), "?from=start");
    assert_eq!(story.client.message().data, "one");
    let old = story.path.with_extension("log.1");
    let mut writer = OpenOptions::new().append(true).open(&story.path).unwrap();
    std::fs::rename(&story.path, &old).unwrap();
    writeln!(writer, "two, written after the rename").unwrap();
    assert_eq!(story.client.message().data, "two, written after the rename");
    std::fs::write(&story.path, "three\n").unwrap();
    assert_eq!(story.client.message().data, "three");
    append(&story.path, "four\n");
    assert_eq!(story.client.message().data, "four");
    story
        .server
        .source_says("is a new file, or was cut; it is read from its start");
}

#[test]
fn item_6_a_file_that_is_cut_is_read_from_its_start() {
    let mut story = Story::begin(Some("a long first line\n"), "?from=start");
    assert_eq!(story.client.message().data, "a long first line");
    File::create(&story.path).unwrap();
    story.server.source_says("was cut");
    append(&story.path, "anew\n");
    assert_eq!(story.client.message().data, "anew");
}

#[test]
fn item_6_a_file_that_comes_later_is_read_from_its_start() {
    let mut story = Story::begin(None, "");
    story.server.source_says("cannot be read yet");
    std::fs::write(&story.path, "first\n").unwrap();
    assert_eq!(story.client.message().data, "first");
}

#[test]
fn item_6_a_question_mark_in_a_path_belongs_to_the_path() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("what?.log");
    std::fs::write(&path, "here\n").unwrap();
    let server = Server::start(&["--topic", &format!("feed=file:{}?from=start", path.display())]);
    assert_eq!(follow(&server, "from=earliest").message().data, "here");
}

#[test]
fn item_6_a_pipe_in_place_of_a_file_is_told_and_holds_nothing_up() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pipe");
    mkfifoat(CWD, &path, Mode::RWXU).unwrap();
    let settings = [
        format!("a=file:{}", path.display()),
        format!("b=file:{}", path.display()),
        format!("c=file:{}?from=start", path.display()),
    ];
    let mut server = Server::start(&[
        "--topic",
        &settings[0],
        "--topic",
        &settings[1],
        "--topic",
        &settings[2],
    ]);
    let told = server.source_says("only files are followed");
    let name = path.display();
    assert_eq!(
        told,
        format!(
            "{name} is a pipe, and only files are followed: use exec:cat {name}, or stdin; it is followed from its start when \
             it is a file"
        )
    );
    assert_eq!(get(&server, "/healthz").status, 200);
    std::fs::remove_file(&path).unwrap();
    std::fs::write(&path, "a file\n").unwrap();
    assert_eq!(follow(&server, "topics=a&from=earliest").message().data, "a file");
    server.interrupt();
    assert_eq!(server.wait().code(), Some(0));
}

fn append(path: &Path, text: &str) {
    let mut file = OpenOptions::new().append(true).open(path).unwrap();
    file.write_all(text.as_bytes()).unwrap();
}
