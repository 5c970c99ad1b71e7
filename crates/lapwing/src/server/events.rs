//! A topic as server-sent events, asked for: `GET /topics/NAME/events`. Everything is decided before the answer begins.

use http::header::{CACHE_CONTROL, CONNECTION, CONTENT_TYPE, HeaderName, HeaderValue};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::{Either, Full};
use lapwing_wire::query::{Encoding, Envelope, StreamQuery};
use lapwing_wire::sse::{self, LastEventIdError};
use lapwing_wire::start::Start;
use lapwing_wire::topic::TopicName;

use super::access::pass::Pass;
use super::breach::Breach;
use super::event_stream::{Arrival, EventStream};
use super::front::{self, Answer, Front, Guest, Reply, refusal};
use super::gate;
use super::label::ClientLabel;
use super::stream;
use super::topics::TopicId;
use crate::clock::Now;
use crate::log::Grant;
use crate::log::hold::Pin;
use crate::terminal::form;

/// Answers a request for a topic's events: with all that will come, or why not.
pub async fn answer(front: &Front, topic: &str, mut request: Request<()>) -> Response<Reply> {
    let whole = |answer: Answer| answer.map(Either::Left);
    match *request.method() {
        Method::GET | Method::HEAD => {}
        Method::OPTIONS => return whole(preflight()),
        _ => {
            return whole(front::not_allowed(METHODS, "events are only to be read: use GET"));
        }
    }
    let decided = match decide(front, topic, &request).await {
        Ok(decided) => decided,
        Err(refusal) => return whole(*refusal),
    };
    if decided.is_over {
        // An EventSource that is told this stays away (WHATWG HTML, "Server-sent events").
        let mut answer = Response::new(Full::default());
        *answer.status_mut() = StatusCode::NO_CONTENT;
        return whole(answer);
    }
    if *request.method() == Method::HEAD {
        return begun(Either::Left(Full::default()));
    }
    let Some(guest) = request.extensions_mut().remove::<Guest>() else {
        let sentence = "a connection without an address";
        return whole(refusal(StatusCode::INTERNAL_SERVER_ERROR, sentence));
    };
    let most = front.common.limits.events_max;
    let Some(following) = front.crier.follow(decided.topic, most) else {
        front.common.breaches.count(Breach::Events);
        let most = form::counted(most as u64, "client");
        let sentence = format!("{most} of server-sent events are here already (--max-events); WebSocket has more room");
        return whole(refusal(StatusCode::SERVICE_UNAVAILABLE, &sentence));
    };
    let arrival = Arrival {
        label: ClientLabel::new(front.common.roster.next_session(), decided.query.name.as_ref()),
        address: guest.address,
        following,
        grant: decided.grant,
        hold: decided.hold,
        pass: decided.pass,
    };
    let (stream, body) = EventStream::begin(arrival, guest.meter.clone(), &front.event_streams, &front.common);
    // Its connection ends with it, so that there is one stream on each.
    if guest.events.set(stream).is_err() {
        let sentence = "one stream of events on a connection";
        return whole(refusal(StatusCode::CONFLICT, sentence));
    }
    begun(Either::Right(body))
}

/// What was found out, and granted.
struct Decided {
    topic: TopicId,
    grant: Grant,
    hold: Option<Pin>,
    query: StreamQuery,
    pass: Option<Pass>,
    /// The topic has ended, and everything of it was received.
    is_over: bool,
}

async fn decide(front: &Front, topic: &str, request: &Request<()>) -> Result<Decided, Box<Answer>> {
    let common = &front.common;
    if common.is_stopping() {
        return refuse(StatusCode::SERVICE_UNAVAILABLE, "this server is stopping");
    }
    let bad = |sentence: &str| {
        Box::new(refusal(
            StatusCode::BAD_REQUEST,
            &lapwing_wire::escape::escaped(sentence),
        ))
    };
    let query = StreamQuery::parse(request.uri().query().unwrap_or("")).map_err(|error| bad(&error.to_string()))?;
    if query.topics.is_some() || query.envelope != Envelope::On || query.encoding != Encoding::Json {
        return Err(bad(
            "events are of the topic in the path, in JSON and in their envelope; leave out topics=, envelope= and encoding=",
        ));
    }
    let caller = gate::caller(common, request, "", query.ticket.as_ref())?;
    let denied = |denied| gate::refused(common, request, &denied);
    let watches = gate::may_watch(&caller, request).is_ok();
    let name = TopicName::parse(topic).ok();
    match &name {
        Some(name) => caller.check_follow(name, watches).map_err(denied)?,
        None => caller.check_listen_at_all().map_err(denied)?,
    }
    let found = name.as_ref().and_then(|name| common.topics.find(name));
    let Some(topic) = found else {
        let there_are = common.topics.there_are(|name| caller.may_listen(name));
        let topic = lapwing_wire::escape::escaped(topic);
        let sentence = format!("there is no topic \"{topic}\"; {there_are}");
        return refuse(StatusCode::NOT_FOUND, &sentence);
    };
    if let Some((other, _)) = query.starts.iter().find(|(name, _)| name != topic.name()) {
        return Err(bad(&format!(
            "from= names topic {other}, and these are the events of {}",
            topic.name()
        )));
    }
    let start = match last_event_id(request.headers()).map_err(|error| bad(&error.to_string()))? {
        Some(start) => start,
        None => query.start_of(topic.name()),
    };
    stream::settle(common, std::iter::once((topic, start))).await?;
    let now = Now::read();
    let (grant, hold) = topic.log.grant_pinned(start, now);
    // Last, so that whoever is refused for something else never had the place.
    let pass = caller
        .pass(&common.bearers, now)
        .map_err(|full| stream::no_place(common, &full))?;
    Ok(Decided {
        topic: topic.id,
        is_over: topic.log.has_ended() && grant.from >= topic.log.next(),
        grant,
        hold,
        query,
        pass,
    })
}

/// Where a client goes on that was here before; none when it says nothing of that.
fn last_event_id(headers: &HeaderMap) -> Result<Option<Start>, LastEventIdError> {
    let mut ids = headers.get_all("last-event-id").iter();
    let Some(id) = ids.next() else { return Ok(None) };
    if ids.next().is_some() {
        return Err(LastEventIdError);
    }
    match id.to_str().map_err(|_| LastEventIdError)? {
        "" => Ok(None),
        id => sse::last_event_id(id).map(|position| Some(Start::Position(position))),
    }
}

fn begun(body: Reply) -> Response<Reply> {
    let mut answer = Response::new(body);
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(sse::CONTENT_TYPE));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
    // A proxy that collects an answer before it passes it on (nginx) would pass on nothing.
    headers.insert(
        HeaderName::from_static("x-accel-buffering"),
        HeaderValue::from_static("no"),
    );
    headers.insert(
        HeaderName::from_static("x-content-type-options"),
        HeaderValue::from_static("nosniff"),
    );
    answer
}

/// What a browser asks before a page of another origin may read.
pub fn preflight() -> Answer {
    front::preflight(METHODS, "GET", "Authorization, Cache-Control, Last-Event-ID")
}

fn refuse<T>(status: StatusCode, sentence: &str) -> Result<T, Box<Answer>> {
    Err(Box::new(refusal(status, sentence)))
}

const METHODS: &str = "GET, HEAD, OPTIONS";
