//! One axis of a chart: what lies where on it, and what is written beside it.

use std::time::Duration;

use crate::terminal::form;

/// An axis from 0 to 1 of its length.
#[derive(Clone, Debug)]
pub struct Axis {
    /// What it shows.
    pub label: String,
    scale: Scale,
    min: f64,
    max: f64,
    /// Values that are marked, with their text.
    pub ticks: Vec<(f64, String)>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Scale {
    Linear,
    Log,
}

impl Axis {
    /// From 0 to a round number at or above `max`, in at most six steps.
    #[must_use]
    pub fn linear(label: &str, max: f64, text: impl Fn(f64) -> String) -> Self {
        let step = round_step(max.max(f64::MIN_POSITIVE) / 6.0);
        let steps = (max / step).ceil().max(1.0) as u32;
        let ticks = (0..=steps)
            .map(|at| f64::from(at) * step)
            .map(|value| (value, text(value)));
        Self {
            label: label.to_owned(),
            scale: Scale::Linear,
            min: 0.0,
            max: f64::from(steps) * step,
            ticks: ticks.collect(),
        }
    }

    /// In whole decades, which its label says, around what lies from `min` to `max`, both above 0.
    #[must_use]
    pub fn log(label: &str, min: f64, max: f64, text: impl Fn(f64) -> String) -> Self {
        let first = min.log10().floor() as i32;
        let last = (max.log10().ceil() as i32).max(first + 1);
        let ticks = (first..=last)
            .map(|decade| 10_f64.powi(decade))
            .map(|value| (value, text(value)));
        Self {
            label: format!("{label} (logarithmic)"),
            scale: Scale::Log,
            min: 10_f64.powi(first),
            max: 10_f64.powi(last),
            ticks: ticks.collect(),
        }
    }

    /// Percentiles, each further nine as far as the one before: 0 %, 90 %, 99 % …
    #[must_use]
    pub fn nines(most: u32) -> Self {
        let text = |nines: u32| match nines {
            0 => "0 %".to_owned(),
            1 => "90 %".to_owned(),
            2 => "99 %".to_owned(),
            more => format!("99.{} %", "9".repeat(more as usize - 2)),
        };
        Self {
            label: "of messages took at most".to_owned(),
            scale: Scale::Linear,
            min: 0.0,
            max: f64::from(most),
            ticks: (0..=most).map(|nines| (f64::from(nines), text(nines))).collect(),
        }
    }

    /// Times in milliseconds, in whole decades.
    #[must_use]
    pub fn times(label: &str, min_ms: f64, max_ms: f64) -> Self {
        Self::log(label, min_ms.max(TIME_MS_MIN), max_ms.max(TIME_MS_MIN), time_text)
    }

    /// Times in milliseconds, from 0.
    #[must_use]
    pub fn linear_times(label: &str, max_ms: f64) -> Self {
        Self::linear(label, max_ms.max(TIME_MS_MIN), time_text)
    }

    /// Whether a value has a place: on a logarithmic axis 0 has none.
    #[must_use]
    pub fn holds(&self, value: f64) -> bool {
        self.scale == Scale::Linear || value > 0.0
    }

    /// Where a value lies: 0 at the beginning, 1 at the end, never outside.
    #[must_use]
    pub fn place(&self, value: f64) -> f64 {
        let part = match self.scale {
            Scale::Linear => (value - self.min) / (self.max - self.min),
            Scale::Log => (value.max(self.min) / self.min).log10() / (self.max / self.min).log10(),
        };
        part.clamp(0.0, 1.0)
    }
}

/// A time in milliseconds, as short as it can be said.
fn time_text(ms: f64) -> String {
    match ms {
        ..0.995 => format!("{} ms", (ms * 1000.0).round() / 1000.0),
        ..999.5 => format!("{ms:.0} ms"),
        _ => form::short_span(Duration::from_secs_f64(ms / 1000.0)).replace(".0 s", " s"),
    }
}

/// 1, 2 or 5 and zeros, at or above.
fn round_step(least: f64) -> f64 {
    let decade = 10_f64.powf(least.log10().floor());
    [1.0, 2.0, 5.0, 10.0]
        .into_iter()
        .map(|digit| digit * decade)
        .find(|step| *step >= least)
        .unwrap_or(least)
}

/// A microsecond: shorter times are drawn there.
const TIME_MS_MIN: f64 = 0.001;

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(axis: &Axis) -> Vec<&str> {
        axis.ticks.iter().map(|(_, text)| text.as_str()).collect()
    }

    #[test]
    fn steps_are_round_numbers() {
        let axis = Axis::linear("x", 11.0, |value| value.to_string());
        assert_eq!(texts(&axis), ["0", "2", "4", "6", "8", "10", "12"]);
        assert_eq!((axis.place(0.0), axis.place(6.0), axis.place(99.0)), (0.0, 0.5, 1.0));
        assert_eq!(texts(&Axis::linear("x", 0.0, |value| format!("{value:.0}"))).len(), 2);
    }

    #[test]
    fn decades_and_nines_have_their_words() {
        assert_eq!(
            texts(&Axis::times("t", 0.02, 2002.0)),
            ["0.01 ms", "0.1 ms", "1 ms", "10 ms", "100 ms", "1 s", "10 s"]
        );
        assert_eq!(texts(&Axis::times("t", 0.0, 0.0)), ["0.001 ms", "0.01 ms"]);
        let axis = Axis::times("t", 1.0, 100.0);
        assert_eq!(axis.label, "t (logarithmic)");
        assert_eq!((axis.holds(0.0), axis.holds(0.5)), (false, true));
        assert!(Axis::linear("x", 1.0, |value| value.to_string()).holds(0.0));
        assert!((axis.place(10.0) - 0.5).abs() < 1e-9);
        assert_eq!(texts(&Axis::nines(4)), ["0 %", "90 %", "99 %", "99.9 %", "99.99 %"]);
    }
}
