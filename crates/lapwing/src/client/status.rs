//! The one line at the bottom of a terminal that is rewritten: attempts to come back, or how far we are.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::event::Retry;
use super::text::{self, Symbols};
use crate::clock::Now;
use crate::terminal::form;

/// What a run is to reach.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Goal {
    /// So many messages.
    Count(u64),
    /// So much time.
    Time(Duration),
}

/// The status line. In a pipe there is none, and attempts are told by lines of their own.
#[derive(Debug)]
pub struct Status {
    bar: Option<ProgressBar>,
    symbols: Symbols,
    goal: Option<Goal>,
    began: Option<Now>,
    waiting: Option<Waiting>,
    was_connected: bool,
    /// When an attempt was last told in a pipe, on the monotonic clock.
    told: Duration,
    told_why: String,
    /// The outage began, and no attempt of it was told yet.
    is_new: bool,
}

#[derive(Debug)]
struct Waiting {
    attempt: u32,
    since: Duration,
    until: Duration,
    why: String,
    server: Option<String>,
}

impl Status {
    /// A status line on stderr if `terminal`, and none otherwise.
    #[must_use]
    pub fn new(terminal: bool, symbols: Symbols, goal: Option<Goal>) -> Self {
        let bar = terminal.then(|| {
            let bar = ProgressBar::with_draw_target(Some(1), ProgressDrawTarget::stderr_with_hz(10));
            bar.set_style(ProgressStyle::with_template("{msg}").unwrap_or_else(|_| ProgressStyle::default_bar()));
            bar
        });
        Self {
            bar,
            symbols,
            goal,
            began: None,
            waiting: None,
            was_connected: false,
            told: Duration::ZERO,
            told_why: String::new(),
            is_new: true,
        }
    }

    /// Writes lines with `write` while the status line is out of the way.
    pub fn around<T>(&self, write: impl FnOnce() -> T) -> T {
        match &self.bar {
            Some(bar) => bar.suspend(write),
            None => write(),
        }
    }

    /// A wait begins; gives the line to print where no line can be rewritten.
    ///
    /// There the first attempt of an outage and attempts 1, 2, 4, 8 … are told, and otherwise one a minute: a log of a day's
    /// outage stays short. The first need not be number 1, since short connections do not set the count back. An attempt that
    /// follows at once needs no line.
    pub fn on_retry(&mut self, retry: &Retry<'_>, now: Now) -> Option<String> {
        let mono = Duration::from_nanos(now.mono);
        self.waiting = Some(Waiting {
            attempt: retry.attempt,
            since: retry.since,
            until: mono + retry.wait,
            why: retry.why.to_owned(),
            server: retry.server.map(str::to_owned),
        });
        if self.bar.is_some() {
            self.draw(now, 0);
            return None;
        }
        let due =
            self.is_new || retry.attempt.is_power_of_two() || mono.saturating_sub(self.told) >= Duration::from_secs(60);
        (due && retry.wait >= WAIT_WORTH_A_LINE).then(|| {
            self.told = mono;
            self.is_new = false;
            self.retry_text(now)
        })
    }

    /// What was told as the reason of the loss: the status line names another one only.
    pub fn on_loss(&mut self, why: &str) {
        self.told_why = why.to_owned();
        self.is_new = true;
    }

    /// Connected.
    pub fn on_connected(&mut self, now: Now) {
        self.waiting = None;
        self.was_connected = true;
        self.began.get_or_insert(now);
        if let Some(bar) = &self.bar {
            bar.set_message("");
        }
    }

    /// Draws it anew.
    pub fn draw(&mut self, now: Now, messages: u64) {
        let Some(bar) = &self.bar else { return };
        let text = match (&self.waiting, self.goal) {
            (Some(_), _) => self.retry_text(now),
            (None, Some(goal)) => self.goal_text(goal, now, messages),
            (None, None) => return,
        };
        // Drawing the same again would only flicker.
        if bar.message() != text {
            bar.set_message(text);
        }
    }

    /// Takes it away for good.
    pub fn clear(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }

    fn retry_text(&self, now: Now) -> String {
        let Some(waiting) = &self.waiting else {
            return String::new();
        };
        let retry = Retry {
            attempt: waiting.attempt,
            server: waiting.server.as_deref(),
            wait: Duration::ZERO,
            since: waiting.since,
            why: &waiting.why,
        };
        let left = waiting.until.saturating_sub(Duration::from_nanos(now.mono));
        let mut text = text::retry(&retry, left, now, self.symbols, self.was_connected);
        if waiting.why != self.told_why {
            text.push_str(&format!(" ({})", waiting.why));
        }
        text
    }

    fn goal_text(&self, goal: Goal, now: Now, messages: u64) -> String {
        let began = self.began.unwrap_or(now);
        let passed = Duration::from_nanos(now.mono.saturating_sub(began.mono));
        match goal {
            Goal::Count(count) => {
                let part = messages as f64 / count.max(1) as f64;
                let bar = bar(part, self.symbols);
                format!(
                    "{bar}  {} of {}",
                    form::count(messages),
                    form::counted(count, "message")
                )
            }
            Goal::Time(time) => {
                let bar = bar(passed.as_secs_f64() / time.as_secs_f64().max(1e-9), self.symbols);
                let passed = passed.min(time).as_secs();
                format!("{bar}  {passed} of {} s", time.as_secs())
            }
        }
    }
}

fn bar(part: f64, symbols: Symbols) -> String {
    let full = ((part.clamp(0.0, 1.0) * BAR_WIDTH as f64) as usize).min(BAR_WIDTH);
    let (done, open) = match symbols {
        Symbols::Unicode => ("█", "░"),
        Symbols::Ascii => ("#", "."),
    };
    done.repeat(full) + &open.repeat(BAR_WIDTH - full)
}

const BAR_WIDTH: usize = 30;

/// A shorter wait would be told as one of 0.0 s.
const WAIT_WORTH_A_LINE: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Now {
        Now {
            mono: seconds * 1_000_000_000,
            ..Now::default()
        }
    }

    #[test]
    fn in_a_pipe_attempts_are_told_ever_less_often() {
        let mut status = Status::new(false, Symbols::Ascii, None);
        let told: Vec<u32> = (1..=40)
            .filter(|&attempt| {
                let retry = Retry {
                    attempt,
                    server: None,
                    wait: Duration::from_secs(20),
                    since: Duration::ZERO,
                    why: "",
                };
                status.on_retry(&retry, at(u64::from(attempt) * 20)).is_some()
            })
            .collect();
        assert_eq!(told, [1, 2, 4, 7, 8, 11, 14, 16, 19, 22, 25, 28, 31, 32, 35, 38]);
    }

    #[test]
    fn in_a_pipe_the_first_attempt_of_every_outage_is_told() {
        let told = |status: &mut Status, attempt, wait| {
            let retry = Retry {
                attempt,
                server: None,
                wait: Duration::from_millis(wait),
                since: Duration::ZERO,
                why: "",
            };
            status.on_retry(&retry, at(10)).is_some()
        };
        let mut status = Status::new(false, Symbols::Ascii, None);
        assert!(!told(&mut status, 1, 99), "it follows at once");
        assert!(told(&mut status, 2, 500));
        assert!(!told(&mut status, 3, 500));
        status.on_connected(at(10));
        status.on_loss("reset");
        assert!(told(&mut status, 5, 500));
        assert!(!told(&mut status, 6, 500));
    }

    #[test]
    fn the_line_says_when_and_since_when() {
        let mut status = Status::new(false, Symbols::Unicode, None);
        status.on_connected(at(0));
        status.on_loss("reset");
        let retry = Retry {
            attempt: 2,
            server: None,
            wait: Duration::from_millis(800),
            since: Duration::from_millis(9_500),
            why: "connection refused",
        };
        let text = status.on_retry(&retry, at(10));
        assert_eq!(
            text.as_deref(),
            Some("⟳ attempt 2 in 0.8 s, down for 0.5 s (connection refused)")
        );
    }

    #[test]
    fn a_goal_is_shown_as_a_bar() {
        let mut status = Status::new(false, Symbols::Ascii, None);
        status.on_connected(at(0));
        let text = status.goal_text(Goal::Time(Duration::from_secs(30)), at(20), 0);
        assert_eq!(text, "####################..........  20 of 30 s");
        let text = status.goal_text(Goal::Count(1000), at(20), 1000);
        assert_eq!(text, "##############################  1,000 of 1,000 messages");
    }
}
