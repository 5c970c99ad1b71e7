//! How a run goes, for whoever waits: one line on a terminal, which leaves nothing behind.

use std::io::IsTerminal as _;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::outcome::{Second, per_second};
use super::run::{SoFar, Watcher};
use crate::terminal::form;

/// Tells on stderr how runs go.
pub struct Progress {
    /// Of the run under way.
    bar: ProgressBar,
    /// Whether there is anywhere to draw.
    draws: bool,
}

impl Progress {
    /// A line, where stderr is a terminal; with `quiet` nothing.
    #[must_use]
    pub fn new(quiet: bool) -> Self {
        let terminal = std::io::stderr().is_terminal() && std::env::var_os("TERM").is_none_or(|term| term != "dumb");
        let draws = terminal && !quiet;
        Self { bar: bar(draws), draws }
    }

    /// Takes the line away, so that results can be printed; the next run has a new one.
    pub fn clear(&mut self) {
        self.bar.finish_and_clear();
        self.bar = bar(self.draws);
    }

    /// One message with all that is told, so that no drawing mixes an old state with a new one. It is cut to the terminal.
    fn show(&self, name: &str, done: u64, of: u64, text: &str) {
        let full = (done.min(of) * BAR / of.max(1)) as usize;
        let bar = format!("{}{}", "█".repeat(full), "░".repeat(BAR as usize - full));
        self.bar.set_message(format!("{name:10}  {bar}  {text}"));
        self.bar.tick();
    }
}

impl Watcher for Progress {
    fn on_connecting(&mut self, settled: usize, of: usize) {
        let (settled, of) = (settled as u64, of as u64);
        let text = format!("{} of {}", form::count(settled), form::count(of));
        self.show("connecting", settled, of, &text);
    }

    fn on_measuring(&mut self, so_far: &SoFar) {
        let name = match so_far.measured.is_zero() {
            true => "warming up",
            false => "measuring",
        };
        let mut parts = vec![format!(
            "{:.0} of {:.0} s",
            so_far.measured.as_secs_f64(),
            so_far.of.as_secs_f64()
        )];
        let rate = |second: &Second| form::rate(per_second(second.messages, second.length));
        parts.extend(so_far.second.as_ref().map(rate));
        parts.extend(so_far.latency.map(|(_, p99)| format!("p99 {}", form::fine_span(p99))));
        parts.push(format!("missed {}", form::count(so_far.missed)));
        if so_far.astray > 0 {
            parts.push(format!("astray {}", form::count(so_far.astray)));
        }
        parts.push(format!("tester {:.0} %", so_far.share * 100.0));
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        self.show(name, millis(so_far.measured), millis(so_far.of), &parts.join("  "));
    }

    fn on_draining(&mut self) {
        self.show("draining", 1, 1, "letting arrive what is on its way");
    }
}

fn bar(draws: bool) -> ProgressBar {
    let target = match draws {
        true => ProgressDrawTarget::stderr_with_hz(4),
        false => ProgressDrawTarget::hidden(),
    };
    let style = ProgressStyle::with_template("{wide_msg}").unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::with_draw_target(None, target).with_style(style)
}

/// How many columns the bar has: with it and all figures the line has less than 80.
const BAR: u64 = 8;
