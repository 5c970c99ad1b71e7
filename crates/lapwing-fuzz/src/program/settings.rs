//! What the operator writes: the settings file, and `--topic NAME=SOURCE`.

use lapwing::cli::serve::check_file;
use lapwing::failure::Failure;
use lapwing::source::spec::parse_topic;

use crate::Entry;
use crate::input::{assert_harmless, text};

/// A settings file.
pub const FILE: Entry = Entry {
    name: "settings_file",
    take: file,
    seeds: || {
        [
            (
                "topics",
                "seed = 7\n[topic]\nusers = \"users?every=1s\"\norders = \"push?keep=5m\"\n",
            ),
            (
                "limits",
                "max-connections = 100\nmax-message = \"1MiB\"\nping-interval = \"20s\"\ndrain = \"0s\"\n",
            ),
            (
                "trust",
                "listen = \"127.0.0.1:8765\"\nopen = false\nallow-origin = [\"https://app.example.org\"]\n",
            ),
            (
                "data",
                "data = \"d\"\ndurability = \"os\"\ncompression = \"on\"\nio-uring = \"off\"\n",
            ),
            ("unknown", "colour = 1\n"),
            ("broken", "a = \"\n"),
        ]
        .map(|(name, text)| (name, text.as_bytes().to_vec()))
        .into()
    },
};

/// What stands behind `--topic`.
pub const TOPIC: Entry = Entry {
    name: "topic_spec",
    take: topic,
    seeds: || {
        [
            ("users", "users=users?every=1s&burst=2&locale=de"),
            (
                "arrays",
                "a=arrays?shape=10x2&dtype=int64&low=-5&high=5&pack=3&rate=100/s",
            ),
            (
                "file",
                "log=file:a?b.ndjson?speed=2.5&only=users&end=close&start=listener",
            ),
            ("tail", "log=file:x.log?from=start"),
            ("exec", "vm=exec:vmstat 1?restart=always&keep_bytes=64MiB&slow=latest"),
            ("push", "orders=push?durability=fsync&keep=1h&slow=wait"),
            ("near", "x=user?evry=1s"),
            ("floats", "f=arrays?dtype=float32&low=0&high=1&shape=2,3"),
        ]
        .map(|(name, text)| (name, text.as_bytes().to_vec()))
        .into()
    },
};

fn file(data: &[u8]) {
    let Some(text) = text(data) else { return };
    if let Err(failure) = check_file(text) {
        told(&failure);
    }
}

fn topic(data: &[u8]) {
    let Some(text) = text(data) else { return };
    match parse_topic(text) {
        Ok(spec) => {
            let again = parse_topic(&format!("{}={}", spec.name, spec.source.text)).expect("it was taken before");
            assert_eq!((again.name, again.source), (spec.name, spec.source));
        }
        Err(failure) => told(&failure),
    }
}

/// Each mistake has a way out, and what was written cannot drive the terminal on which it is told.
fn told(failure: &Failure) {
    assert!(!failure.sentences.is_empty());
    for (sentence, hint) in &failure.sentences {
        assert_harmless(sentence);
        assert_harmless(hint.as_ref().expect("each has a way out"));
    }
}
