//! The seeds of all targets, and what is near them, without a fuzzer.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use lapwing_fuzz::{Entry, entries};

fn root() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2);
    root.expect("the workspace is two folders up").to_owned()
}

/// Every kept seed of an entry, with its file's name.
fn kept(entry: &Entry) -> Vec<(String, Vec<u8>)> {
    let folder = root().join("fuzz/seeds").join(entry.name);
    let files = std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut seeds: Vec<_> = files
        .map(|file| {
            let path = file.expect("readable").path();
            let name = path.file_name().expect("a file").to_string_lossy().into_owned();
            (name, std::fs::read(&path).expect("readable"))
        })
        .collect();
    seeds.sort();
    seeds
}

/// Gives bytes to an entry; a panic is told with what they were made of.
fn take(entry: &Entry, seed: &str, change: &str, bytes: &[u8]) {
    let taken = std::panic::catch_unwind(|| (entry.take)(bytes));
    assert!(taken.is_ok(), "{}, seed {seed}{change}: {bytes:02x?}", entry.name);
}

#[test]
fn c15_every_seed_of_every_place_is_taken() {
    for entry in entries() {
        for (name, bytes) in kept(&entry) {
            take(&entry, &name, "", &bytes);
        }
        take(&entry, "nothing", "", b"");
    }
}

/// Each seed cut at any byte, and with single bytes changed: the same ones each time.
#[test]
fn c15_what_is_near_a_seed_is_taken_at_every_place() {
    for entry in entries() {
        for (name, bytes) in kept(&entry) {
            let step = bytes.len().div_ceil(PLACES_MAX).max(1);
            for at in (0..bytes.len()).step_by(step) {
                take(&entry, &name, &format!(" cut at {at}"), &bytes[..at]);
                for flip in [0x01, 0x20, 0x80, 0xff] {
                    let mut changed = bytes.clone();
                    changed[at] ^= flip;
                    take(&entry, &name, &format!(" with byte {at} changed"), &changed);
                }
            }
        }
    }
}

#[test]
fn the_seeds_that_code_makes_are_those_that_are_kept() {
    for entry in entries() {
        let kept = kept(&entry);
        for (name, bytes) in (entry.seeds)() {
            let found = kept.iter().find(|(kept, _)| kept == name).map(|(_, bytes)| bytes);
            assert_eq!(
                found,
                Some(&bytes),
                "{}/{name}: cargo run -p lapwing-fuzz writes it",
                entry.name
            );
        }
    }
}

#[test]
fn each_place_where_bytes_enter_has_its_target_and_seeds() {
    let names = |folder: &str| -> BTreeSet<String> {
        let files = std::fs::read_dir(root().join(folder)).expect("the folder is there");
        let names = files.map(|file| {
            file.expect("readable")
                .path()
                .with_extension("")
                .file_name()
                .map(ToOwned::to_owned)
        });
        names
            .map(|name| name.expect("a name").to_string_lossy().into_owned())
            .collect()
    };
    let entries: BTreeSet<String> = entries().iter().map(|entry| entry.name.to_owned()).collect();
    assert_eq!(names("fuzz/targets"), entries);
    assert_eq!(names("fuzz/seeds"), entries);
    let manifest = std::fs::read_to_string(root().join("fuzz/Cargo.toml")).expect("the manifest is there");
    for name in entries {
        assert!(
            manifest.contains(&format!("path = \"targets/{name}.rs\"")),
            "{name} in fuzz/Cargo.toml"
        );
    }
}

/// In a build without optimisation a place takes up to a millisecond.
const PLACES_MAX: usize = 64;
