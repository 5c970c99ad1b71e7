//! The two texts that scrapers read: which one is wanted, and how the one becomes the other.

use std::fmt::Write as _;

/// In which form metrics are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// OpenMetrics 1.0.0.
    OpenMetrics,
    /// The text of Prometheus, version 0.0.4: what everybody reads.
    Prometheus,
}

impl Format {
    /// What a header `Accept` asks for (RFC 9110 section 12.5.1): OpenMetrics where it is named, and not as the lesser choice.
    /// Whoever names neither gets the text of Prometheus: a scraper that cannot read it is not known.
    #[must_use]
    pub fn wanted(accept: &str) -> Self {
        let (mut open, mut plain) = (0.0_f64, 0.0_f64);
        for range in accept.split(',') {
            let mut parts = range.split(';').map(str::trim);
            let media = parts.next().unwrap_or("").to_ascii_lowercase();
            let (mut quality, mut version) = (1.0, None);
            for (key, value) in parts.filter_map(|part| part.split_once('=')) {
                match key.trim().to_ascii_lowercase().as_str() {
                    // What is no weight refuses, as 0 does.
                    "q" => {
                        quality = value
                            .trim()
                            .parse()
                            .ok()
                            .filter(|q| (0.0..=1.0).contains(q))
                            .unwrap_or(0.0)
                    }
                    "version" => version = Some(value.trim().trim_matches('"')),
                    _ => {}
                }
            }
            match (media.as_str(), version) {
                ("application/openmetrics-text", None | Some("1.0.0")) => open = open.max(quality),
                ("text/plain", None | Some("0.0.4")) => plain = plain.max(quality),
                _ => {}
            }
        }
        if open > 0.0 && open >= plain {
            Self::OpenMetrics
        } else {
            Self::Prometheus
        }
    }

    /// Its name on the wire.
    #[must_use]
    pub fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
        }
    }

    /// Writes in this form what is in OpenMetrics text.
    #[must_use]
    pub fn write(self, open_metrics: String) -> String {
        match self {
            Self::OpenMetrics => open_metrics,
            Self::Prometheus => prometheus(&open_metrics),
        }
    }
}

/// The values are the same. A counter and an info are called as their one value is, an info is a gauge, and there is neither a unit
/// nor an end. `HELP` stands before `TYPE`, which decides the name of both.
fn prometheus(open_metrics: &str) -> String {
    let mut text = String::with_capacity(open_metrics.len());
    let mut help = "";
    for line in open_metrics.lines() {
        if let Some(told) = line.strip_prefix("# HELP ") {
            help = told.split_once(' ').map_or("", |(_, help)| help);
        } else if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|told| told.split_once(' ')) {
            let (suffix, kind) = match kind {
                "counter" => ("_total", "counter"),
                "info" => ("_info", "gauge"),
                "unknown" => ("", "untyped"),
                kind => ("", kind),
            };
            // Writing to memory cannot fail.
            let _ = write!(text, "# HELP {name}{suffix} {help}\n# TYPE {name}{suffix} {kind}\n");
        } else if !line.starts_with("# ") {
            text.push_str(line);
            text.push('\n');
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::Format::{OpenMetrics, Prometheus};
    use super::*;

    #[test]
    fn what_is_asked_for_is_given_and_the_text_of_prometheus_to_who_asks_for_nothing() {
        for (accept, wanted) in [
            ("", Prometheus),
            ("*/*", Prometheus),
            ("text/html,application/xhtml+xml,*/*;q=0.8", Prometheus),
            ("application/json", Prometheus),
            ("text/plain", Prometheus),
            ("application/openmetrics-text", OpenMetrics),
            ("Application/OpenMetrics-Text ; Version=1.0.0", OpenMetrics),
            (
                "application/openmetrics-text; version=\"1.0.0\"; charset=utf-8",
                OpenMetrics,
            ),
            ("application/openmetrics-text; version=0.0.1", Prometheus),
            ("application/openmetrics-text; version=2.0.0", Prometheus),
            ("application/openmetrics-text;q=0", Prometheus),
            ("application/openmetrics-text;q=0.3,text/plain;q=0.5", Prometheus),
            ("application/openmetrics-text;q=nan", Prometheus),
            ("application/openmetrics-text;q=1.1", Prometheus),
            ("application/openmetrics-text,text/plain;q=inf", OpenMetrics),
            ("text/plain;q=0.5,application/openmetrics-text;q=0.5", OpenMetrics),
            // What Prometheus 2 sends, and what 3 does.
            (
                "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
                OpenMetrics,
            ),
            (
                "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,text/plain;version=0.0.4;q=0.2,*/*;q=0.1",
                OpenMetrics,
            ),
            (
                "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited;q=0.6,text/plain;version=0.0.4;q=0.3",
                Prometheus,
            ),
            (";;q=,,=", Prometheus),
        ] {
            assert_eq!(Format::wanted(accept), wanted, "{accept:?}");
        }
    }

    #[test]
    fn the_text_of_prometheus_has_the_same_values_under_names_of_its_own() {
        let open = "\
# HELP a_seconds Time.
# TYPE a_seconds counter
# UNIT a_seconds seconds
a_seconds_total 1.5
# HELP b Now.
# TYPE b gauge
b{topic=\"x # EOF\"} 2
# HELP c Build.
# TYPE c info
c_info{version=\"1\"} 1
# HELP d_seconds Span.
# TYPE d_seconds histogram
# UNIT d_seconds seconds
d_seconds_sum 0.0
d_seconds_count 0
d_seconds_bucket{le=\"+Inf\"} 0
# EOF
";
        let plain = "\
# HELP a_seconds_total Time.
# TYPE a_seconds_total counter
a_seconds_total 1.5
# HELP b Now.
# TYPE b gauge
b{topic=\"x # EOF\"} 2
# HELP c_info Build.
# TYPE c_info gauge
c_info{version=\"1\"} 1
# HELP d_seconds Span.
# TYPE d_seconds histogram
d_seconds_sum 0.0
d_seconds_count 0
d_seconds_bucket{le=\"+Inf\"} 0
";
        assert_eq!(Prometheus.write(open.to_owned()), plain);
        assert_eq!(OpenMetrics.write(open.to_owned()), open);
    }
}
