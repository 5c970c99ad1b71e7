//! What `/metrics` says, as values by name and labels.

use std::collections::BTreeMap;

use super::eventually;
use super::http::get;
use super::server::Server;

/// One answer, in the text of Prometheus.
pub struct Scrape {
    text: String,
    values: BTreeMap<String, f64>,
}

impl Scrape {
    /// Asks a server.
    #[track_caller]
    pub fn of(server: &Server) -> Self {
        let answer = get(server, "/metrics");
        assert_eq!(answer.status, 200, "{}", answer.body);
        Self::read(answer.body)
    }

    /// Reads a text.
    #[track_caller]
    pub fn read(text: String) -> Self {
        let samples = text.lines().filter(|line| !line.starts_with('#'));
        let values = samples.map(|line| {
            let (series, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("no value: {line}"));
            let value = value.parse().unwrap_or_else(|_| panic!("no number: {line}"));
            (series.to_owned(), value)
        });
        let values = values.collect();
        Self { text, values }
    }

    /// The value of a series, such as `lapwing_gaps_total{topic="feed",reason="purge"}`.
    #[track_caller]
    pub fn value(&self, series: &str) -> f64 {
        let value = self.find(series);
        value.unwrap_or_else(|| panic!("no {series} in\n{}", self.text))
    }

    /// The value of a series, if it is there.
    pub fn find(&self, series: &str) -> Option<f64> {
        self.values.get(series).copied()
    }

    /// All series of this name with a value above 0.
    pub fn above_zero(&self, name: &str) -> Vec<(&str, f64)> {
        let of_name = |series: &str| series.strip_prefix(name).is_some_and(|rest| rest.starts_with('{'));
        let values = self.values.iter().map(|(series, value)| (series.as_str(), *value));
        values
            .filter(|(series, value)| of_name(series) && *value > 0.0)
            .collect()
    }

    /// The names of all series, with their labels.
    pub fn series(&self) -> impl Iterator<Item = &str> {
        self.values.keys().map(String::as_str)
    }

    /// The text itself.
    pub fn text(&self) -> &str {
        &self.text
    }
}

/// Waits until each of these series has its value.
#[track_caller]
pub fn come_to(server: &Server, expected: &[(&str, f64)]) {
    let what = format!("{expected:?}");
    eventually(&what, || {
        let scrape = Scrape::of(server);
        expected
            .iter()
            .all(|(series, value)| scrape.find(series) == Some(*value))
    });
}
