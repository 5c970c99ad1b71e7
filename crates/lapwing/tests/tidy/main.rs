//! The house stays in order: arrows point one way, and what must be absent is absent.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Where all Rust is that runs outside tests.
const SOURCES: [&str; 6] = [
    "crates/lapwing/src",
    "crates/lapwing-wire/src",
    "crates/lapwing-trial/src",
    "crates/lapwing-fuzz/src",
    "crates/nats-cluster/src",
    "python/src",
];

/// Which part may use which; a part that is not listed uses no other.
const ARROWS: &[(&str, &[&str])] = &[
    (
        "broker",
        &["clock", "config", "log", "mail", "random", "source", "terminal"],
    ),
    (
        "cli",
        &[
            "broker",
            "client",
            "clock",
            "config",
            "export",
            "failure",
            "load",
            "log",
            "mail",
            "random",
            "reason",
            "recording",
            "server",
            "source",
            "terminal",
        ],
    ),
    (
        "client",
        &["clock", "failure", "plot", "reason", "recording", "terminal"],
    ),
    ("config", &["source"]),
    ("export", &["reason", "recording"]),
    ("load", &["client", "clock", "failure", "plot", "random", "terminal"]),
    ("lock", &["reason"]),
    ("log", &["clock", "lock", "reason"]),
    ("plot", &["terminal"]),
    ("recording", &["clock", "lock", "reason"]),
    (
        "server",
        &[
            "clock", "config", "log", "mail", "random", "reason", "session", "socket", "source", "terminal",
        ],
    ),
    ("session", &["log"]),
    (
        "source",
        &["clock", "failure", "log", "reason", "recording", "terminal"],
    ),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .nth(2)
        .expect("the workspace is two folders up")
        .to_owned()
}

/// Every Rust file below a folder, with its text.
fn sources(folder: &str) -> BTreeMap<PathBuf, String> {
    fn visit(folder: &Path, found: &mut BTreeMap<PathBuf, String>) {
        for entry in std::fs::read_dir(folder).expect("the folder is there") {
            let path = entry.expect("readable").path();
            if path.is_dir() {
                visit(&path, found);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = std::fs::read_to_string(&path).expect("source is UTF-8");
                found.insert(path, text);
            }
        }
    }
    let mut found = BTreeMap::new();
    visit(&root().join(folder), &mut found);
    assert!(found.len() > 5, "{folder} has sources");
    found
}

/// The parts that a text names as `crate::part`.
fn used_parts(text: &str) -> impl Iterator<Item = &str> {
    text.lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .flat_map(|line| line.split("crate::").skip(1))
        .map(|rest| {
            rest.split(|c: char| !c.is_alphanumeric() && c != '_')
                .next()
                .unwrap_or("")
        })
}

#[test]
fn arrows_point_one_way() {
    let src = root().join("crates/lapwing/src");
    let mut wrong = Vec::new();
    for (path, text) in sources("crates/lapwing/src") {
        let inside = path.strip_prefix(&src).expect("below src");
        let part = inside
            .iter()
            .next()
            .expect("a name")
            .to_str()
            .expect("UTF-8")
            .trim_end_matches(".rs")
            .to_owned();
        if matches!(part.as_str(), "lib" | "main") {
            continue;
        }
        let allowed = ARROWS
            .iter()
            .find(|(name, _)| *name == part)
            .map_or(&[][..], |(_, allowed)| allowed);
        for used in used_parts(&text) {
            // Bugs are planted wherever they would be; what is built without that feature does not have the module.
            if used != part && used != "planted" && !allowed.contains(&used) {
                wrong.push(format!("{} uses {used}", inside.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn the_wire_has_no_sockets_clocks_tasks_or_output() {
    let absent = [
        "std::net",
        "std::fs",
        "std::thread",
        "Instant",
        "SystemTime",
        "tokio",
        "println!",
        "eprintln!",
        "Timestamp::now",
    ];
    for (path, text) in sources("crates/lapwing-wire/src") {
        for line in text.lines().filter(|line| !line.trim_start().starts_with("//")) {
            for word in absent {
                assert!(!line.contains(word), "{} has {word}: {line}", path.display());
            }
        }
    }
}

#[test]
fn nothing_is_logged_where_messages_pass() {
    let passed = [
        "log/appender.rs",
        "log/batch.rs",
        "log/bell.rs",
        "log/cut.rs",
        "log/memory.rs",
        "log/reader.rs",
        "log/segment.rs",
        "server/connection.rs",
        "server/feeds.rs",
        "server/ring.rs",
        "session/control.rs",
        "session/mod.rs",
        "socket.rs",
        "socket/tls.rs",
        "source/feeder.rs",
        "source/generator.rs",
        "source/inlet.rs",
        "source/payloads.rs",
    ];
    let sources = sources("crates/lapwing/src");
    for file in passed {
        let found = sources
            .iter()
            .find(|(path, _)| path.ends_with(Path::new("src").join(file)));
        let (_, text) = found.unwrap_or_else(|| panic!("{file} is there"));
        assert!(!text.contains("tracing::"), "{file}");
    }
}

#[test]
fn unsafe_code_stays_where_it_is_proven() {
    for folder in SOURCES {
        for (path, text) in sources(folder) {
            if ["log/segment.rs", "server/ring.rs", "socket/path.rs"]
                .iter()
                .any(|proven| path.ends_with(proven))
            {
                continue;
            }
            let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
            assert!(
                !code.into_iter().any(|line| line.contains("unsafe ")),
                "{}",
                path.display()
            );
        }
    }
}

/// What the manifests of all crates name, with which crates name it.
fn direct_dependencies() -> BTreeMap<String, Vec<String>> {
    fn tables(manifest: &toml::Table, found: &mut Vec<String>) {
        for kind in ["dependencies", "dev-dependencies", "build-dependencies"] {
            let table = manifest.get(kind).and_then(toml::Value::as_table);
            found.extend(table.into_iter().flat_map(toml::Table::keys).cloned());
        }
        let targets = manifest.get("target").and_then(toml::Value::as_table);
        for target in targets.into_iter().flat_map(toml::Table::values) {
            tables(target.as_table().expect("a target has tables"), found);
        }
    }
    let mut dependencies = BTreeMap::<String, Vec<String>>::new();
    let crates = std::fs::read_dir(root().join("crates")).expect("the folder is there");
    let mut crates: Vec<_> = crates.map(|entry| entry.expect("readable").path()).collect();
    crates.push(root().join("python"));
    crates.sort();
    for path in crates {
        let manifest = std::fs::read_to_string(path.join("Cargo.toml")).expect("a crate has a manifest");
        let mut found = Vec::new();
        tables(&manifest.parse().expect("a manifest is TOML"), &mut found);
        found.sort();
        found.dedup();
        for dependency in found {
            let name = path.file_name().expect("a name").to_string_lossy().into_owned();
            dependencies.entry(dependency).or_default().push(name);
        }
    }
    dependencies
}

#[test]
fn every_direct_dependency_has_a_reason() {
    let page = std::fs::read_to_string(root().join("docs/dependencies.md")).expect("the page is there");
    let rows = page
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once("` |"));
    let mut told = BTreeMap::new();
    for (name, rest) in rows {
        let (users, reason) = rest.split_once('|').expect("a row has three columns");
        assert!(reason.trim_matches([' ', '|']).len() > 3, "{name} has a reason");
        assert!(
            told.insert(name.to_owned(), users.to_owned()).is_none(),
            "{name} stands there once"
        );
    }
    let dependencies = direct_dependencies();
    for (name, users) in &dependencies {
        let row = told.get(name);
        let row = row.unwrap_or_else(|| panic!("docs/dependencies.md does not say why {name} is used"));
        for user in users {
            let short = user.strip_prefix("lapwing-").unwrap_or(user);
            let said = row.split(',').any(|said| said.split_whitespace().next() == Some(short));
            assert!(said, "docs/dependencies.md does not say that {user} uses {name}");
        }
    }
    let gone: Vec<_> = told.keys().filter(|name| !dependencies.contains_key(*name)).collect();
    assert!(
        gone.is_empty(),
        "docs/dependencies.md has what no manifest names: {gone:?}"
    );
}

#[test]
fn who_checks_shares_nothing_with_what_is_checked() {
    let shared = ["lapwing", "crc32c", "async-nats"];
    for name in ["lapwing-trial", "nats-cluster"] {
        let manifest = root().join("crates").join(name).join("Cargo.toml");
        let manifest = std::fs::read_to_string(manifest).expect("the manifest is there");
        let lines = manifest
            .lines()
            .filter(|line| !line.starts_with('#') && !line.starts_with("name"));
        let found: Vec<&str> = lines
            .filter(|line| shared.iter().any(|shared| line.starts_with(shared)))
            .collect();
        assert!(found.is_empty(), "{name} shares {found:?}");
    }
}

#[test]
fn every_file_says_first_what_it_is() {
    for folder in SOURCES {
        for (path, text) in sources(folder) {
            let first = text.lines().next().unwrap_or("");
            let inner_tests = path.file_name().is_some_and(|name| name == "tests.rs");
            assert!(
                first.starts_with("//! ") || inner_tests,
                "{} begins with {first:?}",
                path.display()
            );
        }
    }
}

#[test]
fn every_test_that_the_documents_name_is_there() {
    fn tests_below(folder: &Path, prefix: &str, extension: &str, names: &mut std::collections::HashSet<String>) {
        for entry in std::fs::read_dir(folder).expect("the folder is there") {
            let path = entry.expect("readable").path();
            if path.is_dir() {
                tests_below(&path, prefix, extension, names);
            } else if path.extension().is_some_and(|found| found == extension) {
                let text = std::fs::read_to_string(&path).expect("source is UTF-8");
                let found = text.lines().filter_map(|line| line.trim_start().strip_prefix(prefix));
                names.extend(found.filter_map(|rest| Some(rest.split_once('(')?.0.to_owned())));
            }
        }
    }
    let mut tests = std::collections::HashSet::new();
    tests_below(&root().join("crates"), "fn ", "rs", &mut tests);
    tests_below(&root().join("crates"), "async fn ", "rs", &mut tests);
    tests_below(&root().join("tests/foreign"), "def ", "py", &mut tests);
    tests_below(&root().join("tests/foreign"), "async def ", "py", &mut tests);
    let mut named = 0;
    for page in ["docs/coverage.md", "docs/security.md", "README.md"] {
        let text = std::fs::read_to_string(root().join(page)).expect("the page is there");
        let rows = text.lines().filter(|line| line.starts_with("| "));
        // Every second piece stands between backticks; a test's name has several words.
        for name in rows.flat_map(|row| row.split('`').skip(1).step_by(2)) {
            if name.matches('_').count() >= 3 && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
                assert!(tests.contains(name), "{page} names {name}, which is no test");
                named += 1;
            }
        }
    }
    assert!(named > 80, "only {named} tests are named");
}

/// The words for a cause are a closed set, and stand everywhere as the server writes them.
#[test]
fn causes_have_the_same_words_on_console_page_api_and_in_the_documents() {
    let read = |path: &str| std::fs::read_to_string(root().join(path)).expect("it is there");
    let decided = read("crates/lapwing/src/server/cause.rs");
    let words: Vec<&str> = decided
        .split("#[serde(rename = \"")
        .skip(1)
        .map(|rest| rest.split('"').next().expect("a word"))
        .collect();
    assert_eq!(words.len(), 6, "{words:?}");
    for path in [
        "docs/causes.md",
        "docs/openapi.json",
        "PROTOCOL.md",
        "crates/lapwing/page/logic/cause.js",
    ] {
        let text = read(path);
        for word in &words {
            let quoted = [format!("\"{word}\""), format!("`{word}`")];
            assert!(quoted.iter().any(|word| text.contains(word)), "{path} has no {word:?}");
        }
    }
    let page = read("crates/lapwing/page/logic/cause.js");
    let known = page.lines().filter(|line| line.starts_with("  [\"")).count();
    assert_eq!(known, words.len(), "the page knows these and no others");
}
