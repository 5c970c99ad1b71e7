//! `Accept` of a request for `/metrics`.

use lapwing::server::metrics::exposition::Format;

use crate::Entry;
use crate::input::text;

/// The header, as it comes; several of them are joined by commas before they are read.
pub const ENTRY: Entry = Entry {
    name: "accept",
    take,
    seeds: || {
        [
            (
                "prometheus-3",
                "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,application/openmetrics-text;version=0.0.1;q=0.4,\
                 text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,text/plain;version=0.0.4;q=0.2,*/*;q=0.1",
            ),
            ("browser", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"),
            ("quoted", "application/openmetrics-text; version=\"1.0.0\"; charset=utf-8"),
            ("lesser", "application/openmetrics-text;q=0.3,text/plain;q=0.5"),
            ("no-number", "application/openmetrics-text;q=nan,text/plain;q=inf"),
            ("nothing", ";;q=,,="),
        ]
        .map(|(name, text)| (name, text.as_bytes().to_vec()))
        .into()
    },
};

fn take(data: &[u8]) {
    let Some(accept) = text(data) else { return };
    let wanted = Format::wanted(accept);
    if wanted == Format::OpenMetrics {
        let lower = accept.to_ascii_lowercase();
        assert!(
            lower.contains("application/openmetrics-text"),
            "it was not named: {accept:?}"
        );
    }
    // Neither order, nor case, nor being said twice, nor what nobody here knows changes what is wanted.
    let turned: Vec<&str> = accept.rsplit(',').collect();
    for same in [
        turned.join(","),
        accept.to_ascii_uppercase(),
        format!("{accept},{accept}"),
        format!("image/png,{accept},*/*;q=0.1"),
    ] {
        assert_eq!(Format::wanted(&same), wanted, "{accept:?} and {same:?}");
    }
    // And who asks for it above all gets it, whatever else stands there.
    let first = format!("{accept},application/openmetrics-text;q=1");
    assert_eq!(Format::wanted(&first), Format::OpenMetrics, "{first:?}");
}
