//! What became of a pace: the asked rate beside the achieved one, and what was let go.

use std::time::Duration;

use super::pacer::Pace;
use crate::terminal::form;

/// Watches a source that is held to a pace. It has something to say only when the pace is not kept, after ten seconds and
/// then at most once a minute.
#[derive(Debug)]
pub struct Account {
    pace: Pace,
    began: Duration,
    look_after: Duration,
    made: u64,
    skipped: u64,
}

impl Account {
    /// An account that begins at `now`.
    #[must_use]
    pub fn new(pace: Pace, now: Duration) -> Self {
        Self {
            pace,
            began: now,
            look_after: FIRST_LOOK,
            made: 0,
            skipped: 0,
        }
    }

    /// Takes what was made since the last call, and what was let go since the begin. Gives what people should know.
    pub fn on_made(&mut self, made: u64, skipped: u64, now: Duration) -> Option<String> {
        self.made += made;
        let time = now.saturating_sub(self.began);
        if time < self.look_after {
            return None;
        }
        let asked = self.pace.per_second();
        let achieved = self.made as f64 / time.as_secs_f64();
        let missing = asked * time.as_secs_f64() - self.made as f64;
        let let_go = skipped.saturating_sub(self.skipped);
        (self.began, self.look_after, self.made, self.skipped) = (now, LOOK, 0, skipped);
        // One tick may be under way at each end.
        let slow = missing > (asked * time.as_secs_f64() * TOLERATED).max(2.0 * f64::from(self.pace.burst()));
        if !slow && let_go == 0 {
            return None;
        }
        let mut told = format!(
            "could not keep its pace: asked {}, made {} in the last {}",
            form_rate(asked),
            form_rate(achieved),
            form::short_span(time)
        );
        if let_go > 0 {
            told += &format!("; {} were let go", form::counted(let_go, "message"));
        }
        Some(told)
    }
}

/// `1,000/s`, `998.2/s`, `0.5/s`.
fn form_rate(per_second: f64) -> String {
    let tenths = (per_second * 10.0).round() as u64;
    match tenths % 10 {
        0 => format!("{}/s", form::count(tenths / 10)),
        tenth => format!("{}.{tenth}/s", form::count(tenths / 10)),
    }
}

const FIRST_LOOK: Duration = Duration::from_secs(10);
const LOOK: Duration = Duration::from_secs(60);
/// Part of the messages that may be missing before it is told.
const TOLERATED: f64 = 0.05;

#[cfg(test)]
mod tests {
    use super::*;

    /// Makes so many messages each second, and lets others go; gives what is told, and in which second.
    fn run(pace: Pace, seconds: u64, made: u64, skipped: u64) -> Vec<(u64, String)> {
        let mut account = Account::new(pace, Duration::ZERO);
        (1..=seconds)
            .filter_map(|second| {
                let told = account.on_made(made, skipped * second, Duration::from_secs(second));
                Some((second, told?))
            })
            .collect()
    }

    #[test]
    fn a_pace_that_is_kept_is_not_told() {
        let pace = Pace::every(Duration::from_millis(1), 1);
        assert_eq!(run(pace, 600, 1000, 0), []);
        assert_eq!(run(pace, 600, 951, 0), [], "within what is tolerated");
        let daily = Pace::every(Duration::from_secs(24 * 3600), 5);
        assert_eq!(run(daily, 600, 0, 0), []);
    }

    #[test]
    fn a_pace_that_is_not_kept_is_told_with_both_rates_once_a_minute() {
        let told = run(Pace::every(Duration::from_millis(1), 1), 130, 870, 130);
        let sentence = |span, let_go| {
            format!(
                "could not keep its pace: asked 1,000/s, made 870/s in the last {span}; {let_go} messages were let go"
            )
        };
        assert_eq!(
            told,
            [
                (10, sentence("10.0 s", "1,300")),
                (70, sentence("1 m 00 s", "7,800")),
                (130, sentence("1 m 00 s", "7,800")),
            ]
        );
    }

    #[test]
    fn rates_are_told_with_a_tenth() {
        assert_eq!(form_rate(998.2), "998.2/s");
        assert_eq!(form_rate(0.5), "0.5/s");
        assert_eq!(form_rate(999_999.96), "1,000,000/s");
    }
}
