//! The report: one file that needs nothing else.

use crate::feed::Feed;
use crate::program::lapwing;
use crate::rig::{SHORT, Server, looked_at, start};
use crate::sweep::CONCLUSIONS;

/// Checks that a page is whole and asks for nothing from elsewhere.
#[track_caller]
fn check_page(page: &str) {
    assert!(
        page.starts_with("<!doctype html>") && page.trim_end().ends_with("</html>"),
        "{page}"
    );
    for absent in ["<script", "src=", "href=", "@import", "url("] {
        assert!(!page.contains(absent), "{absent} in {page}");
    }
    assert!(page.contains("default-src 'none'"), "{page}");
    for tag in ["svg", "figure", "table", "details", "pre", "main"] {
        let (opened, closed) = (
            page.matches(&format!("<{tag}")).count(),
            page.matches(&format!("</{tag}>")).count(),
        );
        assert_eq!(opened, closed, "{tag} in {page}");
    }
    assert!(!page.contains("NaN") && !page.contains("inf "), "{page}");
}

#[test]
fn a_report_has_the_verdict_the_pictures_and_the_figures_in_one_file() {
    let server = Server::start(&["--topic", "users=users?rate=100/s"]);
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("report.html");
    std::fs::write(&file, "something longer stood here ".repeat(10_000)).expect("written");
    let report = [
        "--clients",
        "5",
        "--for",
        "2s",
        "--warm-up",
        "200ms",
        "--report",
        file.to_str().expect("UTF-8"),
    ];
    start(&server.url, &report).finish().with_code(0);
    let page = std::fs::read_to_string(&file).expect("written");
    check_page(&page);
    for part in [
        "● proven: each of 5 clients received users ",
        "Latency by percentile",
        "Second by second",
        "first to last",
        "lapwing bench ws://127.0.0.1:",
        "&quot;verdict&quot;: &quot;proven&quot;",
    ] {
        assert!(page.contains(part), "{part} in {page}");
    }
    assert_eq!(page.matches("<svg").count(), 3);
}

#[test]
fn a_sweeps_report_draws_both_curves() {
    let server = Server::start(&["--topic", "users=users?rate=100/s"]);
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("report.html");
    let grid = [
        "--sweep",
        "--sweep-clients",
        "1,3",
        "--sweep-blocks",
        "1,5",
        "--report",
        file.to_str().expect("UTF-8"),
    ];
    start(&server.url, &[SHORT, &grid].concat()).finish().with_code(0);
    let page = std::fs::read_to_string(&file).expect("written");
    check_page(&page);
    assert!(
        page.contains("Block time over the size of a block, topic users"),
        "{page}"
    );
    assert!(
        page.contains("Block time over the number of clients, topic users"),
        "{page}"
    );
    assert!(CONCLUSIONS.iter().any(|told| page.contains(told)), "{page}");
}

#[test]
fn nothing_that_a_server_says_becomes_markup() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("report.html");
    let feed = Feed::bind();
    let url = format!("{}/?pair=BTC&token=sesame", feed.url());
    let bench = start(
        &url,
        &[SHORT, &["--clients", "1", "--report", file.to_str().expect("UTF-8")]].concat(),
    );
    looked_at(&feed);
    let mut guest = feed.accept_plain();
    guest.messages("users", 0..5);
    guest.send("{\"topic\":\"<img src=x>\",\"offset\":1,\"time\":\"2026-11-21T19:00:00Z\",\"data\":1}");
    guest.close(4000, "<script>alert(1)</script> \u{1b}[2J\u{202e}");
    let end = bench.finish().with_code(3);
    assert!(
        end.stdout.iter().all(|line| !line.contains("<img")),
        "a name that is none is no topic: {end:#?}"
    );
    let page = std::fs::read_to_string(&file).expect("written");
    check_page(&page);
    assert!(
        page.contains("&lt;script&gt;alert(1)") && page.contains("token=***"),
        "{page}"
    );
    assert!(
        !page.contains(['\u{1b}', '\u{202e}']) && !page.contains("sesame"),
        "{page}"
    );
}

#[test]
fn a_report_that_cannot_be_written_is_told_before_anything_is_measured() {
    let server = Server::start(&["--topic", "users=users?rate=100/s"]);
    let end = lapwing(&["bench", &server.url, "--for", "1h", "--report", "/nowhere/report.html"])
        .finish()
        .with_code(1);
    end.said("error: cannot write /nowhere/report.html: no such file or directory");
    end.said("hint: choose another file with --report");
    assert!(end.stdout.is_empty());
}
