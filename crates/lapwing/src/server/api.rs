//! What is told of clients and their reports over HTTP, as JSON.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::sync::Arc;

use http::{Request, StatusCode};
use lapwing_wire::escape::escaped_cut;
use lapwing_wire::position::{Epoch, Offset};
use lapwing_wire::time::micros_text;
use lapwing_wire::topic::TopicName;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::cause::Cause;
use super::chronicle::{CLIENTS, REPORTS};
use super::fleet::Fleet;
use super::fleet::rows::FarRow;
use super::front::{Answer, Front, json, json_text, refusal};
use super::gate;
use super::row::Row;
use super::watch::Counts;
use crate::clock::Now;
use crate::log::Log;
use crate::log::reader::{Next, Reader, View};

/// Answers `GET /api/clients`.
pub async fn clients(front: &Front, request: &Request<()>) -> Answer {
    match asked::<ClientsQuery>(front, request) {
        Ok(query) => clients_of(front, &query).await,
        Err(refusal) => *refusal,
    }
}

/// Answers `GET /api/reports`.
pub async fn reports(front: &Front, request: &Request<()>) -> Answer {
    let query = match asked::<ReportsQuery>(front, request) {
        Ok(query) => query,
        Err(refusal) => return *refusal,
    };
    front.watch.on_reports_asked();
    let log = front.common.chronicle.reports().clone();
    // All that is retained may have to be read.
    let read = tokio::task::spawn_blocking(move || newest(&log, &query));
    match read.await {
        Ok(body) => json_text(body),
        Err(_) => refusal(StatusCode::INTERNAL_SERVER_ERROR, "the reports could not be read"),
    }
}

/// What a request that may be answered asks for.
fn asked<Q: Query>(front: &Front, request: &Request<()>) -> Result<Q, Box<Answer>> {
    gate::check_watch(&front.common, request)?;
    let mut query = Q::default();
    for (key, value) in form_urlencoded::parse(request.uri().query().unwrap_or("").as_bytes()) {
        query.set(&key, &value).map_err(|wrong| {
            let sentence = match wrong {
                Wrong::Key => format!("unknown key \"{}\": there are {}", escaped_cut(&key, 64).0, Q::KEYS),
                Wrong::Value(wanted) => format!("{key}=\"{}\": {wanted}", escaped_cut(&value, 64).0),
            };
            Box::new(refusal(StatusCode::BAD_REQUEST, &sentence))
        })?;
    }
    Ok(query)
}

/// The query of a request, key by key.
trait Query: Default {
    /// The keys, in words.
    const KEYS: &str;

    fn set(&mut self, key: &str, value: &str) -> Result<(), Wrong>;
}

/// What is wrong with a query.
enum Wrong {
    Key,
    Value(String),
}

struct ClientsQuery {
    limit: usize,
    search: String,
    server: Option<String>,
    cause: Option<Cause>,
}

impl Default for ClientsQuery {
    fn default() -> Self {
        Self {
            limit: ROWS,
            search: String::new(),
            server: None,
            cause: None,
        }
    }
}

impl Query for ClientsQuery {
    const KEYS: &str = "limit, search, cause and server";

    fn set(&mut self, key: &str, value: &str) -> Result<(), Wrong> {
        match key {
            "limit" => self.limit = limit(value)?,
            "search" => self.search = value.to_lowercase(),
            "cause" => self.cause = Some(cause(value)?),
            "server" => self.server = Some(value.to_owned()),
            _ => return Err(Wrong::Key),
        }
        Ok(())
    }
}

struct ReportsQuery {
    limit: usize,
    topic: Option<TopicName>,
    session: Option<u64>,
    server: Option<String>,
}

impl Default for ReportsQuery {
    fn default() -> Self {
        Self {
            limit: ROWS,
            topic: None,
            session: None,
            server: None,
        }
    }
}

impl Query for ReportsQuery {
    const KEYS: &str = "limit, topic, session and server";

    fn set(&mut self, key: &str, value: &str) -> Result<(), Wrong> {
        match key {
            "limit" => self.limit = limit(value)?,
            "server" => self.server = Some(value.to_owned()),
            "topic" => self.topic = Some(TopicName::parse(value).map_err(|error| Wrong::Value(error.to_string()))?),
            "session" => {
                let wrong = |_| Wrong::Value("a session is a number, as in \"session\" of a row".to_owned());
                self.session = Some(value.parse().map_err(wrong)?);
            }
            _ => return Err(Wrong::Key),
        }
        Ok(())
    }
}

fn limit(value: &str) -> Result<usize, Wrong> {
    let limit = value.parse().ok().filter(|limit| (1..=ROWS_MAX).contains(limit));
    limit.ok_or_else(|| Wrong::Value(format!("a number of rows is from 1 to {ROWS_MAX}")))
}

fn cause(value: &str) -> Result<Cause, Wrong> {
    let found = Cause::ALL.into_iter().find(|cause| cause.as_str() == value);
    found.ok_or_else(|| {
        let known: Vec<_> = Cause::ALL.iter().map(|cause| cause.as_str()).collect();
        Wrong::Value(format!("a cause is one of {}", known.join(", ")))
    })
}

async fn clients_of(front: &Front, query: &ClientsQuery) -> Answer {
    #[derive(Serialize)]
    struct Body<'v> {
        position: Option<Place>,
        time: String,
        clients: u64,
        counts: Counts,
        rows: Vec<Listed<'v>>,
    }
    let view = front.watch.view(front).await;
    if view.position().is_none() {
        return refusal(
            StatusCode::SERVICE_UNAVAILABLE,
            "the clients could not be looked at in time",
        );
    }
    let fleet = front.common.fleet.as_deref();
    let own = fleet.map_or("", Fleet::called);
    let far: Vec<_> = fleet.map_or_else(Vec::new, |fleet| fleet.rows().iter().cloned().collect());
    let of_server = |server: &str| query.server.as_ref().is_none_or(|wanted| wanted == server);
    let of_cause = |cause: Cause| query.cause.is_none_or(|wanted| wanted == cause);
    let found = |row: &Row| {
        query.search.is_empty() || row.is_found_by(&query.search) || own.to_lowercase().contains(&query.search)
    };
    let wanted = |row: &&Row| of_server(own) && of_cause(row.cause) && found(row);
    let wanted_far = |row: &&Arc<FarRow>| {
        of_server(&row.server) && of_cause(row.cause) && (query.search.is_empty() || row.is_found_by(&query.search))
    };
    let here = view.rows().filter(wanted).map(|row| (row.rank(own), Found::Here(row)));
    let there = far.iter().filter(wanted_far).map(|row| (row.rank(), Found::There(row)));
    let mut rows: Vec<_> = here.chain(there).collect();
    rows.sort_unstable_by(|(a, _), (b, _)| a.by_trouble(b));
    rows.truncate(query.limit);
    let listed = |found| match (found, fleet) {
        (Found::Here(row), None) => Listed::Plain(row),
        (Found::Here(row), Some(fleet)) => {
            let row = serde_json::to_string(row).expect("every field has a form in JSON");
            Listed::signed(&fleet.signed(&row))
        }
        (Found::There(row), _) => Listed::signed(&row.json),
    };
    let body = Body {
        position: view.position().map(|(epoch, offset)| Place {
            topic: CLIENTS,
            epoch,
            offset,
        }),
        time: micros_text(view.at().unwrap_or_else(Now::read).wall),
        clients: view.counts().clients(),
        counts: view.counts(),
        rows: rows.into_iter().map(|(_, found)| listed(found)).collect(),
    };
    json(&body)
}

/// A client that is to be listed.
enum Found<'v> {
    Here(&'v Row),
    There(&'v FarRow),
}

/// A client as it is listed: where there are several servers, with its own.
#[derive(Serialize)]
#[serde(untagged)]
enum Listed<'v> {
    Plain(&'v Row),
    Signed(Box<RawValue>),
}

impl Listed<'_> {
    fn signed(json: &str) -> Self {
        Self::Signed(RawValue::from_string(json.to_owned()).expect("it was read as JSON"))
    }
}

/// A place in one of the server's own topics.
#[derive(Serialize)]
struct Place {
    topic: &'static str,
    epoch: Epoch,
    offset: Offset,
}

/// The newest reports that were asked for, oldest first.
fn newest(log: &Arc<Log>, query: &ReportsQuery) -> String {
    #[derive(Serialize)]
    struct Body {
        position: Place,
        reports: VecDeque<Box<RawValue>>,
    }
    #[derive(Deserialize)]
    struct Glance<'a> {
        topic: &'a str,
        session: u64,
        #[serde(default, borrow)]
        server: Option<Cow<'a, str>>,
    }
    let mut reader = Reader::new(log.clone(), View::Canonical);
    let (end, _) = reader.refresh();
    let all = query.topic.is_none() && query.session.is_none() && query.server.is_none();
    let mut cursor = match all {
        true => log
            .first()
            .max(Offset::new(end.get().saturating_sub(query.limit as u64))),
        false => log.first(),
    };
    let mut reports = VecDeque::new();
    while cursor < end {
        let run = match reader.read(cursor, READ_BYTES) {
            Next::Frames(run) => run,
            Next::Missed(range) | Next::Lost(range, _) => {
                cursor = range.end;
                continue;
            }
            Next::OnDisk | Next::CaughtUp | Next::Ended => break,
        };
        let mut begin = 0;
        for entry in run.entries() {
            let frame = &run.bytes()[begin..];
            begin = run.end_of(entry);
            cursor = entry.offset.next();
            let value = &frame[entry.value_begin as usize..entry.value_end as usize];
            let text = std::str::from_utf8(value).expect("it was checked when it was appended");
            let wanted = all
                || serde_json::from_str::<Glance<'_>>(text).is_ok_and(|glance| {
                    query.topic.as_ref().is_none_or(|topic| topic.as_str() == glance.topic)
                        && query.session.is_none_or(|session| session == glance.session)
                        && query
                            .server
                            .as_deref()
                            .is_none_or(|server| glance.server.as_deref() == Some(server))
                });
            if wanted {
                if reports.len() == query.limit {
                    reports.pop_front();
                }
                reports.extend(RawValue::from_string(text.to_owned()));
            }
        }
    }
    let body = Body {
        position: Place {
            topic: REPORTS,
            epoch: log.epoch(),
            offset: end,
        },
        reports,
    };
    serde_json::to_string(&body).expect("every field has a form in JSON")
}

/// Unless more are asked for.
const ROWS: usize = 1000;
/// About 4 MiB of an answer.
const ROWS_MAX: usize = 10_000;
/// Frames that are looked through at once.
const READ_BYTES: usize = 1 << 20;
