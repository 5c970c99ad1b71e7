//! The values of one family, each with its labels.

use std::fmt;

use prometheus_client::encoding::{EncodeGaugeValue, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::exemplar::Exemplar;

use crate::server::histogram::Spread;

/// Where a family's values are written. Each takes as many label values as the family has labels.
pub struct Samples<'a> {
    encoder: MetricEncoder<'a>,
    labels: &'static [&'static str],
}

impl<'a> Samples<'a> {
    /// Of a family with these labels.
    #[must_use]
    pub fn new(encoder: MetricEncoder<'a>, labels: &'static [&'static str]) -> Self {
        Self { encoder, labels }
    }

    /// A count.
    pub fn counter(&mut self, values: &[&str], count: u64) -> fmt::Result {
        self.with(values, |encoder| encoder.encode_counter(&count, NO_EXEMPLAR))
    }

    /// A count of seconds, which has a fraction.
    pub fn seconds(&mut self, values: &[&str], seconds: f64) -> fmt::Result {
        let exemplar: Option<&Exemplar<NoLabelSet, f64>> = None;
        self.with(values, |encoder| encoder.encode_counter(&seconds, exemplar))
    }

    /// What is so now.
    pub fn gauge(&mut self, values: &[&str], value: &impl EncodeGaugeValue) -> fmt::Result {
        self.with(values, |encoder| encoder.encode_gauge(value))
    }

    /// Counts by length.
    pub fn histogram(&mut self, values: &[&str], spread: &Spread) -> fmt::Result {
        self.with(values, |encoder| {
            encoder.encode_histogram::<NoLabelSet>(spread.sum, spread.count, &spread.buckets, None)
        })
    }

    /// What does not change, as labels of a constant 1.
    pub fn info(&mut self, values: &[&str]) -> fmt::Result {
        self.encoder.encode_info(&pairs(self.labels, values))
    }

    fn with(&mut self, values: &[&str], write: impl FnOnce(&mut MetricEncoder<'_>) -> fmt::Result) -> fmt::Result {
        if self.labels.is_empty() {
            return write(&mut self.encoder);
        }
        let pairs = pairs(self.labels, values);
        write(&mut self.encoder.encode_family(&pairs)?)
    }
}

fn pairs<'v>(labels: &'static [&'static str], values: &[&'v str]) -> Vec<(&'static str, &'v str)> {
    assert_eq!(labels.len(), values.len(), "a value for each label");
    labels.iter().copied().zip(values.iter().copied()).collect()
}

const NO_EXEMPLAR: Option<&Exemplar<NoLabelSet, u64>> = None;
