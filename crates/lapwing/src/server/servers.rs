//! The servers that share the topics, as `GET /api/servers` tells them: who is there, and how far each is behind the streams.

use http::{Request, StatusCode};
use lapwing_wire::escape::escaped;
use lapwing_wire::time::micros_text;
use serde::Serialize;

use super::fleet::letter::Copied;
use super::fleet::{Fleet, copied};
use super::front::{Answer, Front, json, refusal};
use super::gate;
use super::watch::Counts;
use crate::clock::Now;

/// Answers a request for them.
pub fn answer(front: &Front, request: &Request<()>) -> Answer {
    if let Err(refusal) = gate::check_watch(&front.common, request) {
        return *refusal;
    }
    if request.uri().query().is_some_and(|query| !query.is_empty()) {
        let sentence = "there is nothing to ask for here: leave out what stands behind the ?";
        return refusal(StatusCode::BAD_REQUEST, sentence);
    }
    let now = Now::read();
    json(&Body {
        time: micros_text(now.wall),
        servers: front
            .common
            .fleet
            .as_ref()
            .map_or_else(Vec::new, |fleet| rows(front, fleet, now)),
    })
}

#[derive(Serialize)]
struct Body {
    time: String,
    servers: Vec<Row>,
}

#[derive(Serialize)]
struct Row {
    server: String,
    id: String,
    #[serde(rename = "self")]
    is_self: bool,
    state: &'static str,
    heard_ms: u64,
    address: String,
    version: String,
    started: String,
    clients: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    counts: Option<Counts>,
    topics: Vec<Copied>,
}

fn rows(front: &Front, fleet: &Fleet, now: Now) -> Vec<Row> {
    let mut rows = vec![Row {
        server: fleet.called().to_owned(),
        id: fleet.id().to_owned(),
        is_self: true,
        state: "there",
        heard_ms: 0,
        address: front.address.to_string(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        started: micros_text(front.started.wall),
        clients: front.clients(),
        counts: fleet.counts(),
        topics: front.common.topics.public().filter_map(copied).collect(),
    }];
    let others = fleet.others();
    let deaf = others.is_deaf();
    rows.extend(others.iter().map(|other| {
        let heard = std::time::Duration::from_nanos(now.mono).saturating_sub(other.heard);
        Row {
            server: other.called.clone(),
            id: other.id.clone(),
            is_self: false,
            state: match other.gone {
                Some(_) => "gone",
                None if deaf => "unknown",
                None => "there",
            },
            heard_ms: u64::try_from(heard.as_millis()).unwrap_or(u64::MAX),
            address: escaped(&other.here.address),
            version: escaped(&other.here.version),
            started: escaped(&other.here.started),
            clients: other.here.clients,
            counts: other.here.counts,
            topics: other.here.topics.clone(),
        }
    }));
    drop(others);
    rows[1..].sort_by(|a, b| (&a.server, &a.id).cmp(&(&b.server, &b.id)));
    rows
}
