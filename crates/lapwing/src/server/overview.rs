//! The topics of a server as `GET /api/topics` tells them: what they are, how they are filled, what is retained.

use http::{Request, StatusCode};
use lapwing_wire::control::Level;
use lapwing_wire::position::{Epoch, Offset};
use lapwing_wire::time::micros_text;
use lapwing_wire::topic::TopicName;
use serde::Serialize;

use super::common::Common;
use super::front::{Answer, Front, json, json_text, refusal};
use super::gate;
use super::ledger::Amount;
use super::topics::Topic;
use crate::clock::Now;

/// Answers a request for the topics that the one who asks may listen to.
pub fn answer(front: &Front, request: &Request<()>) -> Answer {
    tell(front, request).unwrap_or_else(|refusal| *refusal)
}

fn tell(front: &Front, request: &Request<()>) -> Result<Answer, Box<Answer>> {
    if request.uri().query().is_some_and(|query| !query.is_empty()) {
        let sentence = "there is nothing to ask for here: leave out what stands behind the ?";
        return Err(Box::new(refusal(StatusCode::BAD_REQUEST, sentence)));
    }
    let common = &front.common;
    let caller = gate::caller(common, request, "", None)?;
    caller
        .check_listen_at_all()
        .map_err(|denied| gate::refused(common, request, &denied))?;
    let watches = gate::may_watch(&caller, request).is_ok();
    let now = Now::read();
    let topics = gate::public_topics(common, &caller);
    let overview = Overview {
        server: concat!("lapwing/", env!("CARGO_PKG_VERSION")),
        started: micros_text(front.started.wall),
        time: micros_text(now.wall),
        clients: front.clients(),
        late_ms: tenths(common.late().as_secs_f64() * 1e3),
        delivered: Delivered::from(common.ledgers.sent_in(common.topics.public().map(|topic| topic.id))),
        topics: topics.map(|topic| row(topic, watches, common, now)).collect(),
    };
    Ok(json(&overview))
}

/// Answers a request for the description of all paths.
#[must_use]
pub fn description() -> Answer {
    json_text(include_str!("../../../../docs/openapi.json").to_owned())
}

#[derive(Serialize)]
struct Overview<'a> {
    server: &'static str,
    started: String,
    time: String,
    clients: u64,
    late_ms: f64,
    delivered: Delivered,
    topics: Vec<Row<'a>>,
}

#[derive(Serialize)]
struct Row<'a> {
    topic: &'a TopicName,
    epoch: Epoch,
    first: Offset,
    next: Offset,
    #[serde(skip_serializing_if = "Option::is_none")]
    durable: Option<Offset>,
    level: Level,
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<&'a str>,
    state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    quiet_ms: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    asked_per_s: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    achieved_per_s: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes_per_s: Option<f64>,
    retained: Retained,
    followers: usize,
    missed: u64,
    delivered: Delivered,
}

/// What went out, over all clients.
#[derive(Serialize)]
struct Delivered {
    messages: u64,
    bytes: u64,
}

impl From<Amount> for Delivered {
    fn from(amount: Amount) -> Self {
        let Amount { messages, bytes } = amount;
        Self { messages, bytes }
    }
}

#[derive(Serialize)]
struct Retained {
    messages: u64,
    bytes: u64,
    bytes_max: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    age_max_ms: Option<f64>,
}

fn row<'a>(topic: &'a Topic, watches: bool, common: &Common, now: Now) -> Row<'a> {
    let log = &topic.log;
    let state = common.flows.state(topic).as_str();
    let (asked, rates) = {
        let flow = common.flows.flow(topic.id);
        (flow.asked(), flow.rates())
    };
    // The begin before the end: what is let go in between makes no count negative.
    let (first, next) = (log.first(), log.next());
    let source = &topic.config.source;
    let age = source.keep.retention(log.level()).age;
    let ages = !log.holds() && age != std::time::Duration::MAX;
    let quiet = log.memory().newest().map(|mono| now.mono.saturating_sub(mono));
    Row {
        topic: topic.name(),
        epoch: log.epoch(),
        first,
        next,
        durable: log.durable_end(),
        level: log.level(),
        source: watches.then_some(&source.text),
        state,
        quiet_ms: quiet.map(|nanos| tenths(nanos as f64 / 1e6)),
        asked_per_s: asked.map(thousandths),
        achieved_per_s: rates.map(|rates| thousandths(rates.messages)),
        bytes_per_s: rates.map(|rates| tenths(rates.bytes)),
        retained: Retained {
            messages: next.since(first),
            bytes: log.bytes(),
            bytes_max: log.bytes_max(),
            age_max_ms: ages.then(|| tenths(age.as_secs_f64() * 1e3)),
        },
        followers: log.followers(),
        missed: topic.missed.load(std::sync::atomic::Ordering::Relaxed),
        delivered: Delivered::from(common.ledgers.sent(topic.id)),
    }
}

fn tenths(number: f64) -> f64 {
    (number * 10.0).round() / 10.0
}

fn thousandths(number: f64) -> f64 {
    (number * 1000.0).round() / 1000.0
}
