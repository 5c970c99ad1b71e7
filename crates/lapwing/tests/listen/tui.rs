//! `--tui` beside other flags, and where it is not built in. The picture itself is tried on a pseudo-terminal, in `tests/foreign`.

use crate::program::lapwing;

#[track_caller]
fn check_refused(flags: &[&str], error: &str) {
    // Nobody is there, and nobody is looked for.
    let end = lapwing(&[&["listen", "ws://127.0.0.1:1"], flags].concat())
        .finish()
        .with_code(2);
    assert!(end.stderr[0].contains(error), "{end:#?}");
    assert!(end.stdout.is_empty(), "{end:#?}");
}

#[test]
fn a_picture_and_something_else_to_show_are_not_asked_for_together() {
    check_refused(&["--tui", "--quiet"], "--tui and --quiet do not go together");
    for json in [&["--tui", "--json"][..], &["--tui", "--output", "json"]] {
        check_refused(json, "--tui and --output json do not go together");
    }
}

#[cfg(not(feature = "tui"))]
#[test]
fn where_the_picture_is_not_built_in_that_is_said_with_what_builds_it() {
    let end = lapwing(&["listen", "ws://127.0.0.1:1", "--tui"]).finish().with_code(2);
    assert_eq!(
        end.stderr,
        [
            "error: this lapwing was built without --tui",
            "hint: build it with: cargo build --release --features tui; without the flag the same comes as lines",
        ]
    );
}

#[cfg(feature = "tui")]
#[test]
fn without_a_terminal_it_comes_as_lines() {
    let feed = crate::feed::Feed::bind();
    let listener = lapwing(&["listen", &feed.url(), "--tui", "--count", "1"]);
    feed.accept_plain().send("1");
    let end = listener.finish().with_code(0);
    end.said("--tui needs a terminal; what it would show comes as lines");
    assert_eq!(end.stdout.len(), 1, "{end:#?}");
}
