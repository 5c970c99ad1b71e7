//! What a run proves of what its listeners received.

use std::collections::BTreeMap;

use super::books::{Books, TopicBook};
use super::ear::FOREIGN;
use crate::terminal::form;

/// Whether each listener received everything once, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Yes.
    Proven(String),
    /// No, or somebody was cut off.
    NotProven(String),
    /// It cannot be told.
    NotChecked(String),
}

impl Verdict {
    /// Judges the books of a run; `topics` are the names by their numbers, `undrained` says that acknowledged messages did not come.
    #[must_use]
    pub fn of(books: &Books, topics: &[String], undrained: bool) -> Self {
        let named = || books.topics.iter().zip(topics).filter(|(_, name)| *name != FOREIGN);
        let sum = |count: fn(&TopicBook) -> u64| named().map(|(book, _)| count(book)).sum::<u64>();
        let (silent, announced) = (sum(|book| book.silent), sum(|book| book.announced));
        let (repeated, disordered) = (sum(|book| book.repeated), sum(|book| book.disordered));
        let cut_off = cut_off(&books.ended);
        if silent + announced + repeated + disordered > 0 || cut_off.is_some() || undrained {
            let mut told = vec![missed(books.listeners_missing, silent, announced)];
            told.push(format!("{} repeated", form::count(repeated)));
            told.push(format!("{} out of order", form::count(disordered)));
            let mut text = format!("{}; {}", told[0], told[1..].join(", "));
            if let Some(cut_off) = cut_off {
                text.push_str(&format!("; {cut_off}"));
            }
            if undrained {
                text.push_str("; messages that the server had acknowledged had not come to all 5 s after the end");
            }
            return Self::NotProven(text);
        }
        let ranges: Vec<String> = named().filter_map(|(book, name)| range(book, name)).collect();
        match (ranges.is_empty(), books.foreign) {
            (true, 0) => Self::NotChecked("no message came".to_owned()),
            (true, _) => Self::NotChecked("this server sends no offsets; frames and bytes only".to_owned()),
            (false, _) => Self::Proven(proven(books, &ranges)),
        }
    }

    /// The word for programs.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Proven(_) => "proven",
            Self::NotProven(_) => "not_proven",
            Self::NotChecked(_) => "not_checked",
        }
    }

    /// What stands behind the word.
    #[must_use]
    pub fn why(&self) -> &str {
        let (Self::Proven(why) | Self::NotProven(why) | Self::NotChecked(why)) = self;
        why
    }

    /// The sentence for people.
    #[must_use]
    pub fn sentence(&self) -> String {
        format!("{}: {}", self.word().replace('_', " "), self.why())
    }
}

fn missed(listeners: u64, silent: u64, announced: u64) -> String {
    let how = match (silent, announced) {
        (0, 0) => return "0 missed".to_owned(),
        (0, _) => "all announced".to_owned(),
        (_, 0) => "none announced".to_owned(),
        (_, _) => format!("{} announced", form::count(announced)),
    };
    let who = form::counted(listeners, "client");
    format!("{who} missed {}, {how}", form::counted(silent + announced, "message"))
}

fn cut_off(ended: &BTreeMap<String, u64>) -> Option<String> {
    let ended: Vec<String> = ended
        .iter()
        .filter(|(how, _)| !how.starts_with("1000"))
        .map(|(how, count)| format!("{} cut off ({how})", form::counted(*count, "client")))
        .collect();
    (!ended.is_empty()).then(|| ended.join(", "))
}

/// The offsets that all followers have.
fn range(book: &TopicBook, name: &str) -> Option<String> {
    let last = book.next?.checked_sub(1).filter(|last| *last >= book.from)?;
    Some(match last == book.from {
        true => format!("{name} {last}"),
        false => format!("{name} {}-{last}", book.from),
    })
}

fn proven(books: &Books, ranges: &[String]) -> String {
    let who = match books.connected {
        1 => "the client".to_owned(),
        clients => format!("each of {} clients", form::count(clients)),
    };
    let named = match ranges {
        [] | [_] => ranges.join(""),
        [most @ .., last] if ranges.len() <= NAMED_MAX => format!("{} and {last}", most.join(", ")),
        more => format!(
            "{} and {} more topics",
            more[..NAMED_MAX].join(", "),
            more.len() - NAMED_MAX
        ),
    };
    format!("{who} received {named} once, in order")
}

const NAMED_MAX: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;

    fn books(topics: &[(u64, u64)]) -> Books {
        let mut books = Books {
            connected: 1000,
            ..Books::default()
        };
        for (number, (from, next)) in topics.iter().enumerate() {
            let book = books.topic(number);
            (book.from, book.next, book.followers) = (*from, Some(*next), 1000);
        }
        books
    }

    #[track_caller]
    fn check(books: &Books, topics: &[&str], expect: &str) {
        let topics: Vec<String> = topics.iter().map(|&name| name.to_owned()).collect();
        assert_eq!(Verdict::of(books, &topics, false).sentence(), expect);
    }

    #[test]
    fn what_all_received_is_named() {
        let users_and_arrays = "proven: each of 1,000 clients received users 140-169 and arrays 350 once, in order";
        check(
            &books(&[(140, 170), (350, 351)]),
            &["users", "arrays"],
            users_and_arrays,
        );
        let quiet = "proven: each of 1,000 clients received users 140-169 once, in order";
        check(&books(&[(140, 170), (350, 350)]), &["users", "quiet"], quiet);
        let many = "proven: each of 1,000 clients received a 0, b 0, c 0, d 0 and 1 more topics once, in order";
        check(&books(&[(0, 1); 5]), &["a", "b", "c", "d", "e"], many);
    }

    #[test]
    fn loss_is_told_with_who_and_whether_it_was_announced() {
        let mut books = books(&[(0, 10)]);
        books.listeners_missing = 3;
        books.topics[0].announced = 45;
        check(
            &books,
            &["t"],
            "not proven: 3 clients missed 45 messages, all announced; 0 repeated, 0 out of order",
        );
        books.topics[0].silent = 1;
        books.topics[0].repeated = 2;
        check(
            &books,
            &["t"],
            "not proven: 3 clients missed 46 messages, 45 announced; 2 repeated, 0 out of order",
        );
    }

    #[test]
    fn who_was_cut_off_did_not_receive_everything() {
        let mut books = books(&[(0, 10)]);
        books.ended.insert("1000 the feed has ended".to_owned(), 5);
        assert_eq!(Verdict::of(&books, &["t".to_owned()], false).word(), "proven");
        books.ended.insert("4400 too slow".to_owned(), 2);
        check(
            &books,
            &["t"],
            "not proven: 0 missed; 0 repeated, 0 out of order; 2 clients cut off (4400 too slow)",
        );
    }

    #[test]
    fn where_nothing_can_be_told_it_is_said() {
        check(&books(&[]), &[], "not checked: no message came");
        let mut foreign = books(&[(0, 10)]);
        foreign.foreign = 10;
        check(
            &foreign,
            &[FOREIGN],
            "not checked: this server sends no offsets; frames and bytes only",
        );
    }
}
