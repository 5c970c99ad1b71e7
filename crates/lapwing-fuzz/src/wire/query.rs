//! The query of a stream's URL.

use lapwing_wire::query::{Encoding, Envelope, StreamQuery, Topics};
use lapwing_wire::start::Start;

use crate::Entry;
use crate::input::{assert_harmless, text};

/// What stands behind the `?`.
pub const ENTRY: Entry = Entry {
    name: "query",
    take,
    seeds: || {
        [
            ("all", "topics=*&from=earliest"),
            (
                "named",
                "topics=users,arrays&from=users:17,arrays@00000000000000000000000000000001:4&name=sensor-2",
            ),
            ("bare", "envelope=off&topics=users&encoding=json"),
            ("ago", "from=-30s,last:100,arrays:-5m"),
            ("escaped", "name=J%C3%B6rg+1&topics=a%2Cb"),
            ("secret", "token=abc"),
            ("twice", "topics=a&topics=b"),
        ]
        .map(|(name, text)| (name, text.as_bytes().to_vec()))
        .into()
    },
};

fn take(data: &[u8]) {
    let Some(text) = text(data) else { return };
    let query = match StreamQuery::parse(text) {
        Ok(query) => query,
        Err(error) => return assert_harmless(error),
    };
    if let Some(Topics::Named(names)) = &query.topics {
        assert!((1..=StreamQuery::TOPICS_MAX).contains(&names.len()));
        let known = |start: &Start| *start == query.start || query.starts.iter().any(|(_, found)| found == start);
        assert!(names.iter().all(|name| known(&query.start_of(name))));
    }
    assert!(query.starts.len() <= StreamQuery::TOPICS_MAX);
    assert_eq!(StreamQuery::parse(&written(&query)), Ok(query));
}

/// A query that asks for the same.
fn written(query: &StreamQuery) -> String {
    let mut starts = vec![query.start.to_string()];
    starts.extend(query.starts.iter().map(|(topic, start)| match start {
        Start::Position(_) => format!("{topic}{start}"),
        start => format!("{topic}:{start}"),
    }));
    let mut out = form_urlencoded::Serializer::new(String::new());
    out.append_pair("from", &starts.join(","));
    match &query.topics {
        None => {}
        Some(Topics::All) => drop(out.append_pair("topics", "*")),
        Some(Topics::Named(names)) => {
            let names: Vec<_> = names.iter().map(ToString::to_string).collect();
            out.append_pair("topics", &names.join(","));
        }
    }
    if query.envelope == Envelope::Off {
        out.append_pair("envelope", "off");
    }
    if query.encoding == Encoding::Binary {
        out.append_pair("encoding", "binary");
    }
    if let Some(name) = &query.name {
        out.append_pair("name", name.as_str());
    }
    if let Some(ticket) = &query.ticket {
        out.append_pair("ticket", ticket.reveal());
    }
    out.finish()
}
