use std::collections::BTreeSet;
use std::path::Path;

use prometheus_client::metrics::MetricType;

use super::families::{FAMILIES, Family};
use crate::server::counts::{BLOCK_BOUNDS, DRIFT_BOUNDS, HANDSHAKE_BOUNDS};
use crate::server::ledger::LAG_BOUNDS;

/// The labels that there may be; each has values that are known when the server starts, or are listed in the code.
const LABELS: &[&str] = &[
    "cause",
    "code",
    "direction",
    "limit",
    "mode",
    "reason",
    "status",
    "topic",
    "version",
];

#[test]
fn names_keep_to_the_conventions() {
    let mut names = BTreeSet::new();
    for family in FAMILIES {
        let name = family.full_name();
        let plain = name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
        assert!(plain && !name.contains("__"), "{name}");
        assert!(name.starts_with("lapwing_") || name.starts_with("process_"), "{name}");
        // These belong to what a family writes, and to no name.
        for suffix in ["_total", "_bucket", "_sum", "_count", "_info", "_created"] {
            assert!(!family.name.ends_with(suffix), "{name}");
        }
        assert!(
            !matches!(family.kind, MetricType::Histogram) || family.unit.is_some(),
            "{name} has a unit"
        );
        assert!(
            family.help.len() > 10 && !family.help.ends_with('.') && !family.help.contains(['\n', '\\', '"']),
            "{name}: {}",
            family.help
        );
        assert!(family.labels.iter().all(|label| LABELS.contains(label)), "{name}");
        assert!(names.insert(name.clone()), "{name} is there once");
    }
}

#[test]
fn bounds_rise() {
    for bounds in [BLOCK_BOUNDS, DRIFT_BOUNDS, HANDSHAKE_BOUNDS, LAG_BOUNDS] {
        assert!(bounds.windows(2).all(|pair| pair[0] < pair[1]), "{bounds:?}");
    }
}

/// Its row in docs/metrics.md.
fn row(family: &Family) -> String {
    let kind = match family.kind {
        MetricType::Counter => "counter",
        MetricType::Gauge => "gauge",
        MetricType::Histogram => "histogram",
        MetricType::Info => "info",
        _ => "unknown",
    };
    let labels: Vec<_> = family.labels.iter().map(|label| format!("`{label}`")).collect();
    format!(
        "| `{}` | {kind} | {} | {} |",
        family.full_name(),
        labels.join(", "),
        family.help
    )
}

#[test]
fn the_page_lists_every_metric_as_it_is() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/metrics.md");
    let page = std::fs::read_to_string(page).expect("the page is there");
    let expected: Vec<_> = FAMILIES.iter().map(row).collect();
    let (_, section) = page
        .split_once("\n## What there is\n")
        .expect("it has a section for them");
    let (section, _) = section.split_once("\n## ").expect("others follow");
    let listed: Vec<_> = section.lines().filter(|line| line.starts_with("| `")).collect();
    assert_eq!(
        listed,
        expected,
        "docs/metrics.md should have these rows:\n{}",
        expected.join("\n")
    );
}
