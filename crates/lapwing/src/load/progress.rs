//! How a run goes, for whoever waits: a bar on a terminal, and a line when something is done.

use std::io::{IsTerminal as _, Write as _};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::run::{SoFar, Watcher};
use super::table::second_text;
use crate::terminal::form;

/// Tells on stderr how runs go.
pub struct Progress {
    bar: ProgressBar,
    /// Whether anything is told at all.
    talks: bool,
}

impl Progress {
    /// A bar, where stderr is a terminal; with `quiet` nothing.
    #[must_use]
    pub fn new(quiet: bool) -> Self {
        let terminal = std::io::stderr().is_terminal() && std::env::var_os("TERM").is_none_or(|term| term != "dumb");
        let target = match !quiet && terminal {
            true => ProgressDrawTarget::stderr_with_hz(4),
            false => ProgressDrawTarget::hidden(),
        };
        Self {
            bar: ProgressBar::with_draw_target(Some(1), target),
            talks: !quiet,
        }
    }

    /// Takes the bar away, so that results can be printed.
    pub fn clear(&self) {
        self.bar.finish_and_clear();
    }

    fn show(&self, name: &str, done: u64, of: u64, text: String) {
        let style = ProgressStyle::with_template(&format!("{name:11} {{bar:16}}  {{msg}}"));
        self.bar
            .set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        self.bar.set_length(of.max(1));
        self.bar.set_position(done);
        self.bar.set_message(text);
    }
}

impl Watcher for Progress {
    fn on_connecting(&mut self, settled: usize, of: usize) {
        if self.bar.is_finished() {
            // The run before took it away.
            self.bar.reset();
        }
        let (settled, of) = (settled as u64, of as u64);
        self.show(
            "connecting",
            settled,
            of,
            format!("{} of {}", form::count(settled), form::count(of)),
        );
    }

    fn on_connected(&mut self, connected: usize, of: usize, time: Duration) {
        if self.talks {
            let (connected, of) = (form::count(connected as u64), form::count(of as u64));
            let line = format!("connected   {connected} of {of} in {}", form::short_span(time));
            // A closed stderr is no reason to measure nothing.
            self.bar.suspend(|| drop(writeln!(std::io::stderr(), "{line}")));
        }
    }

    fn on_measuring(&mut self, so_far: &SoFar) {
        let name = if so_far.measured.is_zero() {
            "warming up"
        } else {
            "measuring"
        };
        let mut parts = vec![format!(
            "{:.0} of {:.0} s",
            so_far.measured.as_secs_f64(),
            so_far.of.as_secs_f64()
        )];
        parts.extend(so_far.second.as_ref().map(second_text));
        if let Some((p50, p99)) = so_far.latency {
            parts.push(format!("p50 {}, p99 {}", form::fine_span(p50), form::fine_span(p99)));
        }
        parts.push(format!("missed {}", form::count(so_far.missed)));
        if so_far.astray > 0 {
            parts.push(format!("repeated or late {}", form::count(so_far.astray)));
        }
        parts.push(format!("tester {:.0} %", so_far.share * 100.0));
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        self.show(name, millis(so_far.measured), millis(so_far.of), parts.join("   "));
    }

    fn on_draining(&mut self) {
        self.bar.set_message("letting arrive what is on its way");
    }
}
