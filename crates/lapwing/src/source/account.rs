//! What a pace could not make up for: messages that were let go. That fewer come than were asked is seen from outside, for every
//! kind of source alike.

use std::time::Duration;

use super::pacer::CATCH_UP_MAX;
use crate::terminal::form;

/// Watches a source that is held to a pace. It has something to say only when messages were let go, after ten seconds and then at
/// most once a minute.
#[derive(Debug)]
pub struct Account {
    look_at: Duration,
    skipped: u64,
}

impl Account {
    /// An account that begins at `now`.
    #[must_use]
    pub fn new(now: Duration) -> Self {
        Self {
            look_at: now.saturating_add(FIRST_LOOK),
            skipped: 0,
        }
    }

    /// Takes what was let go since the begin. Gives what people should know.
    pub fn on_made(&mut self, skipped: u64, now: Duration) -> Option<String> {
        if now < self.look_at {
            return None;
        }
        let let_go = skipped.saturating_sub(std::mem::replace(&mut self.skipped, skipped));
        self.look_at = now.saturating_add(LOOK);
        (let_go > 0).then(|| {
            let messages = form::counted(let_go, "message");
            let were = if let_go == 1 { "was" } else { "were" };
            let late = form::short_span(CATCH_UP_MAX);
            format!("{messages} {were} let go: due for longer than {late}, which is all that is made up for")
        })
    }
}

const FIRST_LOOK: Duration = Duration::from_secs(10);
const LOOK: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    /// Lets so many messages go each second; gives what is told, and in which second.
    fn run(seconds: u64, skipped: u64) -> Vec<(u64, String)> {
        let mut account = Account::new(Duration::ZERO);
        (1..=seconds)
            .filter_map(|second| Some((second, account.on_made(skipped * second, Duration::from_secs(second))?)))
            .collect()
    }

    #[test]
    fn nothing_is_told_while_nothing_is_let_go() {
        assert_eq!(run(600, 0), []);
    }

    #[test]
    fn what_was_let_go_is_told_once_a_minute() {
        let sentence = |let_go| {
            format!("{let_go} messages were let go: due for longer than 10.0 s, which is all that is made up for")
        };
        let told = [
            (10, sentence("1,300")),
            (70, sentence("7,800")),
            (130, sentence("7,800")),
        ];
        assert_eq!(run(130, 130), told);
    }
}
