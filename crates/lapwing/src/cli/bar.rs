//! A bar on a terminal for what takes longer than a second.

use std::io::{self, IsTerminal as _};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// How far it is with the bytes that it reads.
pub(super) struct Bar {
    pub(super) bar: ProgressBar,
    shown: bool,
}

impl Bar {
    /// For so many bytes, of something that is called `verb`; it never shows where programs read, nor in a pipe.
    pub(super) fn new(verb: &str, bytes: u64, json: bool) -> Self {
        let bar = ProgressBar::with_draw_target(Some(bytes), ProgressDrawTarget::hidden());
        let template = format!("{verb} {{bar:30}} {{bytes}} of {{total_bytes}}, {{bytes_per_sec}}, {{eta}} left");
        let style = ProgressStyle::with_template(&template);
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        Self {
            bar,
            shown: !json && io::stderr().is_terminal(),
        }
    }

    /// Lets `work` move the bar, which shows after a second.
    pub(super) fn while_it_works<T>(&self, work: impl FnOnce(&ProgressBar) -> T) -> T {
        if !self.shown {
            return work(&self.bar);
        }
        let (done, is_done) = std::sync::mpsc::channel::<()>();
        let bar = self.bar.clone();
        std::thread::scope(|scope| {
            scope.spawn(move || {
                if is_done.recv_timeout(BAR_AFTER) == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
                    bar.set_draw_target(ProgressDrawTarget::stderr_with_hz(BAR_HZ));
                }
            });
            let result = work(&self.bar);
            drop(done);
            result
        })
    }

    pub(super) fn suspend<T>(&self, print: impl FnOnce() -> T) -> T {
        self.bar.suspend(print)
    }

    pub(super) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

/// What is done sooner needs no bar.
const BAR_AFTER: Duration = Duration::from_secs(1);

/// Calm, and still moving.
const BAR_HZ: u8 = 4;
