//! Many spans of time, kept as a histogram: three digits, in bounded memory.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde_json::{Value, json};

/// Spans of time, of which every quantile can be asked.
#[derive(Clone, Debug)]
pub struct Times(Histogram<u64>);

/// The quantiles that are shown, as they are called.
pub const QUANTILES: [(&str, f64); 4] = [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999)];

impl Default for Times {
    fn default() -> Self {
        Self(Histogram::new(3).expect("three digits are allowed"))
    }
}

impl Times {
    /// Takes a span in nanoseconds.
    pub fn record(&mut self, nanos: u64) {
        // It can only fail where memory ends, and an hour is longer than any figure here.
        let _ = self.0.record(nanos.min(LONGEST_NANOS));
    }

    /// Takes what another has.
    pub fn add(&mut self, other: &Self) {
        let _ = self.0.add(&other.0);
    }

    /// How many.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.0.len()
    }

    /// The span that so great a part does not exceed; none of nothing.
    #[must_use]
    pub fn quantile(&self, part: f64) -> Option<Duration> {
        (!self.0.is_empty()).then(|| Duration::from_nanos(self.0.value_at_quantile(part)))
    }

    /// The longest.
    #[must_use]
    pub fn max(&self) -> Option<Duration> {
        self.quantile(1.0)
    }

    /// The mean.
    #[must_use]
    pub fn mean(&self) -> Option<Duration> {
        (!self.0.is_empty()).then(|| Duration::from_nanos(self.0.mean() as u64))
    }

    /// The quantiles that are shown, the longest and the count, for programs.
    #[must_use]
    pub fn json(&self) -> Value {
        let mut object = serde_json::Map::new();
        object.insert("count".to_owned(), json!(self.count()));
        for (name, part) in QUANTILES {
            let key = format!("{}_ms", name.replace('.', ""));
            object.insert(key, self.quantile(part).map(millis).into());
        }
        object.insert("max_ms".to_owned(), self.max().map(millis).into());
        Value::Object(object)
    }
}

/// Milliseconds with microseconds as fraction.
#[must_use]
pub fn millis(span: Duration) -> f64 {
    span.as_micros() as f64 / 1000.0
}

/// A day.
const LONGEST_NANOS: u64 = 24 * 3600 * 1_000_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_within_a_thousandth() {
        let mut times = Times::default();
        assert_eq!((times.quantile(0.5), times.max(), times.mean()), (None, None, None));
        (1..=1000).for_each(|ms| times.record(ms * 1_000_000));
        let near = |part, ms: f64| (millis(times.quantile(part).expect("taken")) / ms - 1.0).abs() < 0.002;
        assert!(near(0.5, 500.0) && near(0.99, 990.0) && near(0.999, 999.0) && near(1.0, 1000.0));
        assert_eq!(times.json()["count"], 1000);
        assert!(times.json()["p999_ms"].is_f64());
        times.record(u64::MAX);
        assert_eq!(times.count(), 1001);
    }
}
