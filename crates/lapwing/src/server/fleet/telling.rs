//! What the other servers are still to be told of this one's clients: a part each second, all of them where one wants that. Pure.

use std::collections::{HashSet, VecDeque};

use super::letter::Part;
use crate::mail::LETTER_BYTES_MAX;

/// Clients that are to be told of, in order.
pub struct Telling {
    next: Part,
    queue: VecDeque<u64>,
    queued: HashSet<u64>,
    left: Vec<u64>,
    /// So many at the head of the queue make it whole.
    whole_in: Option<usize>,
}

impl Telling {
    /// All these clients, to begin with. `run` is a number that no other beginning has.
    pub fn new(run: u64, sessions: impl Iterator<Item = u64>) -> Self {
        let queue: VecDeque<_> = sessions.collect();
        Self {
            next: Part {
                run,
                part: 0,
                whole: false,
            },
            queued: queue.iter().copied().collect(),
            whole_in: Some(queue.len()),
            queue,
            left: Vec::new(),
        }
    }

    /// Something of a client changed.
    pub fn on_change(&mut self, session: u64) {
        if self.queued.insert(session) {
            self.queue.push_back(session);
        }
    }

    /// A client has gone.
    pub fn on_left(&mut self, session: u64) {
        self.left.push(session);
    }

    /// The next part with its lines, as long as a letter; none when all was told. `row` gives a client's line, none for one that has gone.
    pub fn part(&mut self, row: impl Fn(u64) -> Option<String>) -> Option<(Part, Vec<String>)> {
        let (mut lines, mut bytes) = (Vec::new(), 0);
        while bytes < PART_BYTES
            && let Some(session) = self.left.pop()
        {
            let line = format!("{{\"session\":{session},\"left\":true}}");
            bytes += line.len() + 1;
            lines.push(line);
        }
        while bytes < PART_BYTES
            && let Some(session) = self.queue.pop_front()
        {
            self.queued.remove(&session);
            if let Some(whole_in) = &mut self.whole_in {
                *whole_in = whole_in.saturating_sub(1);
            }
            if let Some(line) = row(session).filter(|line| line.len() <= super::letter::LINE_BYTES_MAX) {
                bytes += line.len() + 1;
                lines.push(line);
            }
        }
        let whole = self.whole_in == Some(0);
        if lines.is_empty() && !whole {
            return None;
        }
        if whole {
            self.whole_in = None;
        }
        let part = Part { whole, ..self.next };
        self.next.part += 1;
        Some((part, lines))
    }
}

/// With one more line, as long as they may be, and its head a letter is not too long.
const PART_BYTES: usize = LETTER_BYTES_MAX / 2;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_are_told_first_and_then_what_changes_once() {
        let mut telling = Telling::new(7, 1..4);
        let row = |session: u64| (session != 2).then(|| format!("row {session}"));
        telling.on_change(3);
        let (part, lines) = telling.part(row).expect("there is something");
        assert_eq!((part.part, part.whole), (0, true));
        assert_eq!(lines, ["row 1", "row 3"]);
        assert_eq!(telling.part(row), None);
        telling.on_change(3);
        telling.on_left(1);
        let (part, lines) = telling.part(row).expect("there is something");
        assert_eq!((part.run, part.part, part.whole), (7, 1, false));
        assert_eq!(lines, ["{\"session\":1,\"left\":true}", "row 3"]);
    }

    #[test]
    fn a_server_without_clients_says_so() {
        let mut telling = Telling::new(7, 0..0);
        let (part, lines) = telling.part(|_| None).expect("that is something");
        assert!(part.whole && lines.is_empty());
        assert_eq!(telling.part(|_| None), None);
    }

    #[test]
    fn parts_are_as_long_as_letters_and_the_last_of_all_is_whole() {
        let mut telling = Telling::new(7, 0..1000);
        let row = |session: u64| Some(format!("{session:01000}"));
        let (mut told, mut parts) = (Vec::new(), Vec::new());
        while let Some((part, lines)) = telling.part(row) {
            assert!(lines.iter().map(|line| line.len() + 1).sum::<usize>() < PART_BYTES + 1001);
            told.extend(lines);
            parts.push((part.part, part.whole));
            // What changes meanwhile comes behind.
            telling.on_change(5);
            if part.whole {
                break;
            }
        }
        assert!(
            told.iter()
                .map(|line| line.parse::<u64>().expect("a number"))
                .take(1000)
                .eq(0..1000)
        );
        assert!(
            parts.len() > 5
                && parts
                    .iter()
                    .all(|(part, whole)| *whole == (part + 1 == parts.len() as u64))
        );
    }
}
