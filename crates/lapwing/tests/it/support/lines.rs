//! The lines that a process prints.

use std::io::{BufRead as _, BufReader, Read};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Instant;

use super::PATIENCE;

/// Lines of one stream, read by a thread as they come, so that whoever prints them never waits for a test.
#[derive(Clone)]
pub struct Lines {
    shared: Arc<(Mutex<Seen>, Condvar)>,
}

#[derive(Default)]
struct Seen {
    lines: Vec<String>,
    ended: bool,
}

impl Lines {
    /// Reads until the stream ends.
    pub fn of(stream: impl Read + Send + 'static) -> Self {
        let lines = Self { shared: Arc::default() };
        let reader = lines.clone();
        std::thread::spawn(move || {
            let mut stream = BufReader::new(stream);
            let mut line = Vec::new();
            while stream.read_until(b'\n', &mut line).is_ok_and(|bytes| bytes > 0) {
                let text = String::from_utf8_lossy(&line).trim_end_matches('\n').to_owned();
                reader.change(|seen| seen.lines.push(text));
                line.clear();
            }
            reader.change(|seen| seen.ended = true);
        });
        lines
    }

    /// The first line, past or to come, in which `find` finds something.
    #[track_caller]
    pub fn find<T>(&self, what: &str, mut find: impl FnMut(&str) -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        let (seen, changed) = &*self.shared;
        let mut seen = seen.lock().expect("no reader panics");
        let mut looked_at = 0;
        loop {
            for line in &seen.lines[looked_at..] {
                if let Some(found) = find(line) {
                    return found;
                }
            }
            looked_at = seen.lines.len();
            let left = deadline.saturating_duration_since(Instant::now());
            if seen.ended || left.is_zero() {
                let lines = seen.lines.join("\n");
                drop(seen);
                panic!("no line {what} among:\n{lines}");
            }
            seen = changed.wait_timeout(seen, left).expect("no reader panics").0;
        }
    }

    /// The first line, past or to come, that holds `text`.
    #[track_caller]
    pub fn with(&self, text: &str) -> String {
        self.find(&format!("with {text:?}"), |line| {
            line.contains(text).then(|| line.to_owned())
        })
    }

    /// All lines, once the stream has ended.
    #[track_caller]
    pub fn all(&self) -> Vec<String> {
        let (seen, changed) = &*self.shared;
        let seen = seen.lock().expect("no reader panics");
        let (seen, _) = changed
            .wait_timeout_while(seen, PATIENCE, |seen| !seen.ended)
            .expect("no reader panics");
        assert!(seen.ended, "the stream never ended:\n{}", seen.lines.join("\n"));
        seen.lines.clone()
    }

    /// The lines that have come so far.
    pub fn so_far(&self) -> Vec<String> {
        self.shared.0.lock().expect("no reader panics").lines.clone()
    }

    fn change(&self, change: impl FnOnce(&mut Seen)) {
        let (seen, changed) = &*self.shared;
        change(&mut seen.lock().expect("no reader panics"));
        changed.notify_all();
    }
}
