//! The upgrade to a stream: everything is decided before the 101 is written, then the bare socket moves to a worker.

use std::sync::Arc;
use std::time::Duration;

use http::header::{
    CONNECTION, RETRY_AFTER, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_EXTENSIONS, SEC_WEBSOCKET_PROTOCOL,
    SEC_WEBSOCKET_VERSION, UPGRADE,
};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, Version};
use http_body_util::Full;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use lapwing_wire::control::{Answer as Granted, PLAIN_PROTOCOL, SUBPROTOCOL};
use lapwing_wire::extension::{self, Compression};
use lapwing_wire::handshake::{UpgradeRequest, accept_key, check_upgrade, choose_protocol};
use lapwing_wire::query::{Encoding, Envelope, StreamQuery, Topics as Asked};
use lapwing_wire::start::Start;
use lapwing_wire::topic::TopicName;
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_rustls::server::TlsStream;

use super::access::pass::Pass;
use super::access::{Caller, Denied, NoPlace};
use super::breach::Breach;
use super::common::Common;
use super::event::Event;
use super::front::{Answer, Front, Guest, joined, quiet_refusal, refusal, text};
use super::gate;
use super::label::ClientLabel;
use super::linger::Lingering;
use super::meter::Metered;
use super::topics::{Topic, TopicId};
use super::worker::Arrival;
use crate::clock::Now;
use crate::config::Limits;
use crate::log::Grant;
use crate::log::hold::Pin;
use crate::session::Mode;
use crate::socket::tls::Tls;
use crate::terminal::form;

/// Answers a request for a stream: 101, or why not.
pub async fn answer(front: &Front, mut request: Request<()>) -> Answer {
    let Decided {
        key,
        mode,
        protocol,
        grants: (grants, pins),
        query,
        pass,
        watches,
    } = match decide(&front.common, &request).await {
        Ok(decided) => decided,
        Err(refusal) => return *refusal,
    };
    let offered = joined(request.headers(), "sec-websocket-extensions");
    let (agreed, deflation) = match (mode, front.compression) {
        (Mode::Echo, _) => {
            let deflation = extension::agree_in_full(&offered);
            (deflation.map(|agreed| agreed.to_string()), deflation)
        }
        (_, Compression::Off) => (None, None),
        (_, Compression::Deflate) => (extension::agree(&offered).map(str::to_owned), None),
    };
    let compression = agreed.as_ref().map_or(Compression::Off, |_| Compression::Deflate);
    let Some(guest) = request.extensions_mut().remove::<Guest>() else {
        return refusal(StatusCode::INTERNAL_SERVER_ERROR, "a connection without an address");
    };
    let id = front.common.roster.next_session();
    let label = ClientLabel::new(id, query.name.as_ref());
    // A thread that has ended takes nobody in; of the others the one with the fewest sessions does.
    let alive = front.workers.iter().filter(|worker| !worker.is_finished());
    let Some(worker) = alive.min_by_key(|worker| worker.sessions()) else {
        return refusal(StatusCode::SERVICE_UNAVAILABLE, "no delivery thread runs");
    };
    if let Some(accepted) = guest.accepted {
        let took = Now::read().mono.saturating_sub(accepted);
        front.common.counts.handshakes.add(Duration::from_nanos(took));
    }
    let expected = worker.hand().expect();
    let upgrade = hyper::upgrade::on(&mut request);
    front.tasks.spawn(async move {
        // A client that left before the 101 was out was never a session.
        let Ok(upgraded) = upgrade.await else { return };
        let Some((stream, tls, leftover)) = bare(upgraded) else {
            return;
        };
        let Ok(stream) = stream.into_std() else { return };
        let address = guest.address;
        let Some(seat) = guest.seat.take() else { return };
        expected.adopt(Arrival {
            stream,
            tls,
            leftover,
            label,
            address,
            mode,
            encoding: query.encoding,
            compression,
            deflation,
            grants,
            pins,
            pass,
            watches,
            seat,
        });
    });
    switching(&key, protocol, agreed.as_deref())
}

/// Waits until it is known what each of these topics would grant: of a copy that is behind what a client had on another server only
/// the stream behind it can tell.
pub async fn settle(common: &Common, starts: impl Iterator<Item = (&Topic, Start)>) -> Result<(), Box<Answer>> {
    let asked = Instant::now();
    let since = Now::read().mono;
    for (topic, start) in starts {
        while !topic.log.is_settled(start, since) {
            if asked.elapsed() >= Limits::SETTLE_MAX || common.is_stopping() {
                let sentence = format!(
                    "topic {} cannot be reached now, so it is not known whether your place is one of it; come again",
                    topic.name()
                );
                let mut answer = refusal(StatusCode::SERVICE_UNAVAILABLE, &sentence);
                answer.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
                return Err(Box::new(answer));
            }
            tokio::time::sleep(SETTLE_INTERVAL).await;
        }
    }
    Ok(())
}

/// What stands between HTTP and a socket.
type Whole<S> = Metered<Lingering<S>>;

/// The socket of an upgraded connection, what encrypts it, and the bytes that came behind the handshake and were read already.
fn bare(upgraded: Upgraded) -> Option<(TcpStream, Option<Box<Tls>>, Vec<u8>)> {
    let upgraded = match upgraded.downcast::<TokioIo<Whole<TcpStream>>>() {
        Ok(plain) => {
            let stream = plain.io.into_inner().into_inner().into_inner();
            return Some((stream, None, plain.read_buf.to_vec()));
        }
        Err(upgraded) => upgraded,
    };
    let encrypted = upgraded.downcast::<TokioIo<Whole<TlsStream<TcpStream>>>>().ok()?;
    let encrypted_by = encrypted.io.into_inner().into_inner().into_inner();
    let (stream, connection) = encrypted_by.into_inner();
    let tls = Box::new(Tls::new(connection));
    Some((stream, Some(tls), encrypted.read_buf.to_vec()))
}

/// What a request comes to that is granted.
struct Decided {
    /// Its `Sec-WebSocket-Key`.
    key: String,
    mode: Mode,
    /// The subprotocol that the answer names: one that was offered, and never a token.
    protocol: Option<&'static str>,
    grants: Grants,
    query: StreamQuery,
    pass: Option<Pass>,
    watches: bool,
}

/// The places granted, and what keeps them where a topic holds back its source.
type Grants = (Vec<(TopicId, Grant)>, Vec<(TopicId, Pin)>);

async fn decide(common: &Arc<Common>, request: &Request<()>) -> Result<Decided, Box<Answer>> {
    if common.is_stopping() {
        return refuse(StatusCode::SERVICE_UNAVAILABLE, "this server is stopping");
    }
    let headers = request.headers();
    let (connection, upgrade, version, key) = (
        joined(headers, "connection"),
        joined(headers, "upgrade"),
        joined(headers, "sec-websocket-version"),
        joined(headers, "sec-websocket-key"),
    );
    let checked = check_upgrade(&UpgradeRequest {
        method: request.method().as_str(),
        http_1_1_or_later: request.version() >= Version::HTTP_11,
        host_count: headers.get_all("host").iter().count(),
        has_body: has_body(headers),
        connection: &connection,
        upgrade: &upgrade,
        version: &version,
        key: &key,
    });
    if let Err(error) = checked {
        let mut answer = refusal(
            StatusCode::from_u16(error.status()).unwrap_or(StatusCode::BAD_REQUEST),
            &error.to_string(),
        );
        if error.status() == 426 {
            answer
                .headers_mut()
                .insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
            answer
                .headers_mut()
                .insert(UPGRADE, HeaderValue::from_static("websocket"));
        }
        if error.status() == 405 {
            answer
                .headers_mut()
                .insert(http::header::ALLOW, HeaderValue::from_static("GET"));
        }
        return Err(Box::new(answer));
    }
    let query = StreamQuery::parse(request.uri().query().unwrap_or("")).map_err(|error| {
        let sentence = lapwing_wire::escape::escaped(&error.to_string());
        let noted = "its query has a key or a value that there is not";
        Box::new(quiet_refusal(StatusCode::BAD_REQUEST, &sentence, noted))
    })?;
    let offered = joined(headers, "sec-websocket-protocol");
    let caller = gate::caller(common, request, &offered, query.ticket.as_ref())?;
    let denied = |denied: Denied| gate::refused(common, request, &denied);
    let watches = gate::may_watch(&caller, request).is_ok();
    let (mode, protocol, grants) = if request.uri().path() == ECHO {
        caller.check_listen_at_all().map_err(denied)?;
        (
            Mode::Echo,
            choose_protocol(&offered, &[PLAIN_PROTOCOL]),
            Grants::default(),
        )
    } else {
        let protocol = choose_protocol(&offered, &[SUBPROTOCOL, PLAIN_PROTOCOL]);
        let mode = mode(&query, protocol == Some(SUBPROTOCOL))?;
        (
            mode,
            protocol,
            grants(common, &query, mode, &caller, watches, denied).await?,
        )
    };
    // Last, so that whoever is refused for something else never had the place.
    let pass = caller
        .pass(&common.bearers, Now::read())
        .map_err(|full| no_place(common, &full))?;
    Ok(Decided {
        key,
        mode,
        protocol,
        grants,
        query,
        pass,
        watches,
    })
}

/// How one is told that its bearer has as many connections as they may, which is counted and told.
pub fn no_place(common: &Common, full: &NoPlace) -> Box<Answer> {
    common.breaches.count(Breach::TokenConnections);
    let most = form::counted(common.limits.token_connections_max as u64, "connection");
    let has = format!("has {most}, and may have no more (--max-connections-per-token)");
    let status = StatusCode::TOO_MANY_REQUESTS;
    if let Some(count) = common.bearers.refuse() {
        let text = format!(
            "\"{}\" {has}: {count} refused with {}",
            full.who.shown(),
            status.as_u16()
        );
        common.tell(Event::Limit { text });
    }
    Box::new(refusal(status, &format!("the bearer of this token {has}")))
}

fn mode(query: &StreamQuery, subprotocol: bool) -> Result<Mode, Box<Answer>> {
    if (query.encoding, query.envelope) == (Encoding::Binary, Envelope::Off) {
        return refuse(
            StatusCode::BAD_REQUEST,
            "envelope=off leaves out what encoding=binary needs, the header that says what an array is; leave one of them out",
        );
    }
    match (query.envelope, subprotocol) {
        (Envelope::Off, true) => refuse(
            StatusCode::BAD_REQUEST,
            "envelope=off carries no offsets and does not go with lapwing.v1; leave one of them out",
        ),
        (Envelope::Off, false) => Ok(Mode::Bare),
        (Envelope::On, true) => Ok(Mode::LapwingV1),
        (Envelope::On, false) => Ok(Mode::Plain),
    }
}

/// What each topic asked for grants. A plain client could not be told of a lost history later, so it is told now.
async fn grants(
    common: &Common,
    query: &StreamQuery,
    mode: Mode,
    caller: &Caller,
    watches: bool,
    denied: impl Fn(Denied) -> Box<Answer> + Copy,
) -> Result<Grants, Box<Answer>> {
    caller.check_listen_at_all().map_err(denied)?;
    let may = |name: &TopicName| caller.may_listen(name);
    if mode == Mode::LapwingV1 && query.topics.is_none() && (query.start != Start::Latest || !query.starts.is_empty()) {
        let sentence =
            "from= without topics= means nothing with lapwing.v1; add topics=, or say from where in subscribe";
        return refuse(StatusCode::BAD_REQUEST, sentence);
    }
    let allowed = || common.topics.public().filter(|topic| may(topic.name()));
    let (all, most) = (allowed().count(), common.limits.subscriptions_max);
    let topics: Vec<&Topic> = match &query.topics {
        None if mode == Mode::LapwingV1 => Vec::new(),
        None | Some(Asked::All) if all > most => {
            common.breaches.count(Breach::Subscriptions);
            let sentence = format!(
                "this server has {all} topics, and a connection follows at most {most}; name some with topics="
            );
            return refuse(StatusCode::BAD_REQUEST, &sentence);
        }
        None | Some(Asked::All) => allowed().collect(),
        Some(Asked::Named(names)) if names.len() > most => {
            common.breaches.count(Breach::Subscriptions);
            let sentence = format!(
                "{} topics in one request, and a connection follows at most {most}",
                names.len()
            );
            return refuse(StatusCode::BAD_REQUEST, &sentence);
        }
        Some(Asked::Named(names)) => names
            .iter()
            .map(|name| {
                caller.check_follow(name, watches).map_err(denied)?;
                common.topics.find(name).ok_or_else(|| {
                    let sentence = format!("there is no topic \"{name}\"; {}", common.topics.there_are(may));
                    Box::new(refusal(StatusCode::NOT_FOUND, &sentence))
                })
            })
            .collect::<Result<_, _>>()?,
    };
    for (name, _) in &query.starts {
        caller.check_follow(name, watches).map_err(denied)?;
    }
    if let Some((name, _)) = query.starts.iter().find(|(name, _)| common.topics.find(name).is_none()) {
        return refuse(
            StatusCode::NOT_FOUND,
            &format!(
                "there is no topic \"{name}\", named in from=; {}",
                common.topics.there_are(may)
            ),
        );
    }
    let starts = topics.iter().map(|topic| (*topic, query.start_of(topic.name())));
    settle(common, starts).await?;
    let now = Now::read();
    let (mut grants, mut pins) = (Vec::new(), Vec::new());
    for topic in topics {
        let (grant, pin) = grant(topic, query.start_of(topic.name()), mode, now)?;
        grants.push((topic.id, grant));
        pins.extend(pin.map(|pin| (topic.id, pin)));
    }
    Ok((grants, pins))
}

fn grant(topic: &Topic, start: Start, mode: Mode, now: Now) -> Result<(Grant, Option<Pin>), Box<Answer>> {
    let (grant, pin) = topic.log.grant_pinned(start, now);
    if matches!(grant.answer, Granted::Reset | Granted::Diverged) && mode != Mode::LapwingV1 {
        let sentence = format!(
            "position {start} is not of this history of {}: epoch {}, first {}, next {}",
            topic.name(),
            topic.log.epoch(),
            grant.first,
            grant.next
        );
        return refuse(StatusCode::CONFLICT, &sentence);
    }
    Ok((grant, pin))
}

fn switching(key: &str, protocol: Option<&'static str>, extension: Option<&str>) -> Answer {
    let mut answer = Response::new(Full::default());
    *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = answer.headers_mut();
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    let accept = HeaderValue::from_str(&accept_key(key)).expect("base64 is visible ASCII");
    headers.insert(SEC_WEBSOCKET_ACCEPT, accept);
    if let Some(protocol) = protocol {
        headers.insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(protocol));
    }
    if let Some(extension) = extension {
        let extension = HeaderValue::from_str(extension).expect("its parameters are visible ASCII");
        headers.insert(SEC_WEBSOCKET_EXTENSIONS, extension);
    }
    answer
}

fn has_body(headers: &HeaderMap) -> bool {
    let length = text(headers, "content-length").is_some_and(|length| length != "0");
    length || headers.contains_key("transfer-encoding")
}

fn refuse<T>(status: StatusCode, sentence: &str) -> Result<T, Box<Answer>> {
    Err(Box::new(refusal(status, sentence)))
}

/// The answer takes a round trip to the stream.
const SETTLE_INTERVAL: Duration = Duration::from_millis(5);
/// The path where messages go back, where that is on.
pub const ECHO: &str = "/echo";
