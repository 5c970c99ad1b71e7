//! A topic that is served at another level for a while: its histories end and come back, against the real server.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;

use crate::program::{DEADLINE, Program, lapwing, record, serve_at};
use crate::verify::verify;

#[test]
fn p5_a_history_that_comes_back_is_gone_on_with_and_each_position_is_in_the_file_once() {
    let mut house = House::new(Signal::TERM);
    let listener = house.listen();
    through_the_levels(&mut house, |_| {});
    listener
        .says("orders has its earlier history again, and goes on with it at 100; what came after 19 of the other one");
    stop(listener, Signal::INT);
    house.is_proven();
}

#[test]
fn p5_a_history_that_comes_back_is_gone_on_with_by_a_listener_that_is_killed_in_between() {
    let mut house = House::new(Signal::KILL);
    let mut listener = Some(house.listen());
    through_the_levels(&mut house, |house| {
        if let Some(listener) = listener.take() {
            stop(listener, Signal::KILL);
        }
        listener = Some(house.listen());
    });
    drop(listener);
    house.is_proven();
}

/// On disk, in memory, on disk at both levels, in memory again, and on disk at last: three histories, of which the first comes back twice.
fn through_the_levels(house: &mut House, mut between: impl FnMut(&House)) {
    for (level, count, held) in [
        ("fsync", 100, 100),
        ("none", 20, 120),
        ("os", 10, 130),
        ("none", 5, 135),
        ("fsync", 10, 145),
    ] {
        house.serve(level);
        house.publish(count);
        house.until_recorded(held);
        between(house);
    }
}

/// One data directory, one address and one file.
struct House {
    dir: tempfile::TempDir,
    address: String,
    server: Option<Program>,
    /// How a server ends when the next one begins.
    end: Signal,
}

impl House {
    fn new(end: Signal) -> Self {
        let mut house = Self {
            dir: tempfile::tempdir().expect("a directory"),
            address: "127.0.0.1:0".to_owned(),
            server: None,
            end,
        };
        house.serve("fsync");
        house
    }

    /// Serves the topic at `level`, instead of what was served before.
    fn serve(&mut self, level: &str) {
        if let Some(server) = self.server.take() {
            stop(server, self.end);
        }
        let data = self.dir.path().join("data");
        let topic = format!("orders=push?durability={level}");
        let flags = ["--data", data.to_str().expect("UTF-8"), "--topic", &topic];
        let (server, address) = serve_at(&self.address, &flags);
        (self.server, self.address) = (Some(server), address);
    }

    fn publish(&self, count: u64) {
        let mut publisher = lapwing(&["publish", &self.url(), "orders"]);
        (0..count).for_each(|number| publisher.write_line(number.to_string().as_bytes()));
        publisher.close_stdin();
        publisher.finish().with_code(0);
    }

    fn listen(&self) -> Program {
        record(&self.url(), self.log(), &["--from", "earliest", "--quiet"])
    }

    /// Waits until the file has so many messages.
    fn until_recorded(&self, count: usize) {
        let began = Instant::now();
        while places(&self.log()).len() < count {
            assert!(began.elapsed() < DEADLINE, "{:?}", places(&self.log()));
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// The file has the three histories, each offset of them once, and says what became of them.
    fn is_proven(&self) {
        let mut held: BTreeMap<String, Vec<u64>> = BTreeMap::new();
        for (history, offset) in places(&self.log()) {
            held.entry(history).or_default().push(offset);
        }
        let mut held: Vec<_> = held.into_values().collect();
        held.sort_by_key(Vec::len);
        let all = |count| (0..count).collect::<Vec<u64>>();
        assert_eq!(held, [all(5), all(20), all(120)]);
        let end = verify(&["--allow-gaps", "--json"], &self.log()).with_code(0);
        let told: Value = serde_json::from_str(&end.stdout[0]).expect("JSON");
        let recording = &told["recordings"][0];
        assert_eq!(recording["resets"], 4, "{told:#}");
        let histories = recording["topics"].as_array().expect("a list").iter();
        let messages: Vec<_> = histories.map(|history| history["messages"].as_u64()).collect();
        assert_eq!(messages, [Some(120), Some(20), Some(5)], "{told:#}");
        // Without leave for what it tells, it proves less: what came while another history ran is unknown.
        verify(&[], &self.log()).with_code(3);
    }

    fn log(&self) -> PathBuf {
        self.dir.path().join("feed.ndjson")
    }

    fn url(&self) -> String {
        format!("ws://{}", self.address)
    }
}

/// History and offset of all messages in a file, as they stand there.
fn places(log: &Path) -> Vec<(String, u64)> {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    // The last line may still be on its way.
    let lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    lines
        .filter_map(|line| Some((line["epoch"].as_str()?.to_owned(), line["offset"].as_u64()?)))
        .collect()
}

fn stop(program: Program, signal: Signal) {
    program.signal(signal);
    program.finish();
}
