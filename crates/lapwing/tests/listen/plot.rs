//! `--plot`: what is drawn where, and what is never written over.

use rustix::process::Signal;

use crate::feed::Feed;
use crate::program::lapwing;

#[test]
fn a_plot_is_drawn_at_the_end_and_replaces_the_one_before() {
    let dir = tempfile::tempdir().expect("a directory");
    let plot = dir.path().join("run.svg");
    for (run, signal) in [("one", Some(Signal::INT)), ("two", None)] {
        let feed = Feed::bind();
        let url = format!("{}/{run}", feed.url());
        let listener = lapwing(&[
            "listen",
            &url,
            "--count",
            if signal.is_some() { "2" } else { "1" },
            "--plot",
            plot.to_str().expect("UTF-8"),
        ]);
        let mut guest = feed.accept_plain();
        guest.send("1");
        listener.shows("  1");
        if let Some(signal) = signal {
            listener.signal(signal);
        }
        assert_eq!(guest.until_closed().1, Some(1000));
        let end = listener.finish().with_code(0);
        assert_eq!(end.said("drawn: "), format!("drawn: {}", plot.display()));
        let svg = std::fs::read_to_string(&plot).expect("there");
        assert!(
            svg.starts_with("<?xml") && svg.ends_with("</svg>\n") && svg.contains(&url),
            "{svg}"
        );
    }
    let left = std::fs::read_dir(dir.path()).expect("there").count();
    assert_eq!(left, 1, "nothing is left beside it");
}

#[track_caller]
fn check_refused(file: &str, holds: Option<&str>, code: i32, error: &str) {
    let dir = tempfile::tempdir().expect("a directory");
    let plot = dir.path().join(file);
    if let Some(holds) = holds {
        std::fs::write(&plot, holds).expect("room");
    }
    // Nobody is there, and nobody is looked for.
    let path = plot.to_str().expect("UTF-8");
    let end = lapwing(&["listen", "ws://127.0.0.1:1", "--plot", path])
        .finish()
        .with_code(code);
    let error = error.replace("FILE", path);
    assert_eq!(end.stderr[0], format!("error: {error}"));
    assert!(end.stderr[1].starts_with("hint: "), "{end:#?}");
    assert_eq!(end.stderr.len(), 2, "{end:#?}");
    let left = std::fs::read_to_string(&plot).ok();
    assert_eq!(left.as_deref(), holds);
}

#[test]
fn a_plot_is_never_written_over_something_else() {
    check_refused(
        "drawing.svg",
        Some("<svg>by somebody</svg>"),
        2,
        "FILE holds something that Lapwing did not draw",
    );
    check_refused(
        "feed.ndjson",
        Some("{\"record\":\"start\"}\n"),
        2,
        "--plot draws SVG, and \"FILE\" does not end in .svg",
    );
    check_refused(
        "missing/run.svg",
        None,
        1,
        "cannot write FILE: no such file or directory",
    );
}

#[test]
fn a_link_that_leads_nowhere_is_refused_and_stays_one() {
    let dir = tempfile::tempdir().expect("a directory");
    let link = dir.path().join("run.svg");
    std::os::unix::fs::symlink("elsewhere.svg", &link).expect("room");
    let path = link.to_str().expect("UTF-8");
    // Nobody is there, and nobody is looked for.
    let end = lapwing(&["listen", "ws://127.0.0.1:1", "--plot", path])
        .finish()
        .with_code(2);
    assert_eq!(
        end.stderr,
        [
            format!("error: {path} is a link, and what it leads to is not there"),
            "hint: make that file, or name another one with --plot".to_owned(),
        ]
    );
    assert!(link.is_symlink() && !link.exists());
}

#[test]
fn what_came_there_meanwhile_is_left_alone_and_told() {
    let dir = tempfile::tempdir().expect("a directory");
    let plot = dir.path().join("run.svg");
    let feed = Feed::bind();
    let path = plot.to_str().expect("UTF-8");
    let listener = lapwing(&["listen", &feed.url(), "--plot", path]);
    let mut guest = feed.accept_plain();
    guest.send("1");
    listener.shows("  1");
    std::fs::write(&plot, "a drawing").expect("room");
    listener.signal(Signal::INT);
    assert_eq!(guest.until_closed().1, Some(1000));
    let end = listener.finish().with_code(1);
    end.said(": 1 message");
    end.said("holds something that Lapwing did not draw");
    assert_eq!(std::fs::read_to_string(&plot).expect("there"), "a drawing");
}
