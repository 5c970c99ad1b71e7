//! The front door: HTTP requests, answered or upgraded.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN, ALLOW, CACHE_CONTROL,
    CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HeaderName, HeaderValue, ORIGIN, RETRY_AFTER, TRANSFER_ENCODING, UPGRADE,
    VARY,
};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Either, Full, Limited};
use hyper::body::{Body as _, Incoming};
use lapwing_wire::extension::Compression;
use tokio::sync::SetOnce;
use tokio_util::task::TaskTracker;

use super::breach::Breach;
use super::common::Common;
use super::crier::Crier;
use super::encryption::Encryption;
use super::event_stream::{EventBody, EventStream, EventStreams};
use super::hello::Strays;
use super::journal::request::{Asked, Why, without_quoted};
use super::meter::Meter;
use super::metrics::{self, Metrics};
use super::origin::{OriginError, Reach};
use super::seat::{NoSeat, Seats, SharedSeat};
use super::trust::Trust;
use super::turnstile::Turnstile;
use super::watch::Watch;
use super::worker::Worker;
use super::{api, asyncapi, events, gate, overview, page, publish, servers, stream};
use crate::clock::Now;
use crate::terminal::form;

/// What answers requests.
pub struct Front {
    /// What all threads share.
    pub common: Arc<Common>,
    /// The delivery threads.
    pub workers: Vec<Worker>,
    /// Which pages and proxies are believed.
    pub trust: Trust,
    /// What wakes the clients of server-sent events.
    pub crier: Arc<Crier>,
    /// The places for connections.
    pub seats: Seats,
    /// How many come in a second.
    pub turnstile: Mutex<Turnstile>,
    /// Whether messages are compressed for clients that offer it.
    pub compression: Compression,
    /// Whether messages to `/echo` go back.
    pub echo: bool,
    /// How connections are encrypted; none serves in the clear.
    pub encryption: Option<Arc<Encryption>>,
    /// Those that begin otherwise than this.
    pub strays: Strays,
    /// The clients of server-sent events.
    pub event_streams: Arc<EventStreams>,
    /// What those who watch the clients are shown.
    pub watch: Watch,
    /// What is told to whoever watches.
    pub metrics: Metrics,
    /// The address that it listens on.
    pub address: SocketAddr,
    /// When the server started.
    pub started: Now,
    /// The tasks of connections, up to their upgrade.
    pub tasks: TaskTracker,
}

/// Who asks.
#[derive(Clone)]
pub struct Guest {
    /// From where: the peer's own address, or the one that a trusted proxy named.
    pub address: SocketAddr,
    /// Who is at the other end of the connection.
    pub peer: SocketAddr,
    /// When its connection was accepted, by the monotonic clock; only of the first request on it, for a later one says nothing about
    /// handshakes.
    pub accepted: Option<u64>,
    /// Its place among the connections allowed.
    pub seat: SharedSeat,
    /// Its bytes, counted.
    pub meter: Arc<Meter>,
    /// The stream of events that it was answered with, if it was.
    pub events: Arc<SetOnce<EventStream>>,
}

/// The body of a request, as long as it is not read to its end.
pub struct Body(Option<Incoming>);

impl Body {
    /// How long it will be, where its head says so.
    #[must_use]
    pub fn announced(&self) -> Option<u64> {
        self.0.as_ref()?.size_hint().exact()
    }

    /// Reads it to its end, if that comes within so many bytes.
    pub async fn read(&mut self, most: usize) -> Result<Bytes, Box<dyn std::error::Error + Send + Sync>> {
        let Some(body) = &mut self.0 else {
            return Ok(Bytes::new());
        };
        let read = Limited::new(body, most).collect().await?.to_bytes();
        self.0 = None;
        Ok(read)
    }

    fn has_rest(&self) -> bool {
        self.0.as_ref().is_some_and(|body| !body.is_end_stream())
    }
}

/// An answer with its whole body.
pub type Answer = Response<Full<Bytes>>;

/// The body of an answer: whole, or events as they come.
pub type Reply = Either<Full<Bytes>, EventBody>;

impl Front {
    /// Answers one request; says whether some of it is still to come that nobody will read.
    pub async fn answer(&self, request: Request<Incoming>) -> (Response<Reply>, bool) {
        let (head, body) = request.into_parts();
        let mut body = Body(Some(body));
        let answer = self.answer_to(Request::from_parts(head, ()), &mut body).await;
        (answer, body.has_rest())
    }

    async fn answer_to(&self, mut request: Request<()>, body: &mut Body) -> Response<Reply> {
        let origin = request.headers().get(ORIGIN).cloned();
        let admitted = self.admit(&mut request).await;
        let asked = Asked::of(&request);
        let mut answer = match admitted.and_then(|()| self.check(&request)) {
            Ok(()) => match topic_of(request.uri().path(), "/events").map(str::to_owned) {
                Some(topic) => events::answer(self, &topic, request).await,
                None => self.route(request, body).await.map(Either::Left),
            },
            Err(refusal) => (*refusal).map(Either::Left),
        };
        if let Some(asked) = asked {
            asked.answered(&answer);
        }
        let cors = origin
            .as_ref()
            .and_then(|origin| self.trust.origins.cors(origin.to_str().ok()));
        if cors.is_some()
            && let Some(origin) = origin
        {
            answer.headers_mut().insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
            answer.headers_mut().insert(VARY, HeaderValue::from_static("Origin"));
        }
        answer
    }

    /// How long one who comes from here, and has a place, waits before it is served; the limit when it is not to be.
    pub fn pass(&self, address: IpAddr) -> Result<Duration, Breach> {
        if address.is_loopback() {
            return Ok(Duration::ZERO);
        }
        let now = Duration::from_nanos(Now::read().mono);
        let mut all = self.turnstile.lock().unwrap_or_else(PoisonError::into_inner);
        // Who is refused for one of both takes nothing of the other.
        let wait = all.look(now).wait().ok_or(Breach::AcceptRate)?;
        let own = self.seats.pass(address, now).wait().ok_or(Breach::AddressAcceptRate)?;
        all.pass(now);
        Ok(wait.max(own))
    }

    /// A proxy says for whom it asks: then it is that one's place and rate that count, from this request on.
    async fn admit(&self, request: &mut Request<()>) -> Result<(), Box<Answer>> {
        let Some(mut guest) = request.extensions().get::<Guest>().cloned() else {
            return Ok(());
        };
        if !self.trust.proxies.trusts(guest.address.ip()) {
            return Ok(());
        }
        let client = self.trust.proxies.client(guest.address, request.headers());
        guest.address = client.map_err(|error| Box::new(refusal(StatusCode::BAD_REQUEST, &error.to_string())))?;
        let address = guest.address.ip();
        let counted = (!address.is_loopback()).then_some(address);
        if guest.seat.move_to(&self.seats, counted) == Err(NoSeat::Address) {
            return Err(Box::new(self.refused(Breach::AddressConnections)));
        }
        let stays = request.headers().contains_key(UPGRADE) || topic_of(request.uri().path(), "/events").is_some();
        if stays {
            match self.pass(address) {
                Ok(Duration::ZERO) => {}
                Ok(wait) => tokio::time::sleep(wait).await,
                Err(breach) => return Err(Box::new(self.refused(breach))),
            }
        }
        request.extensions_mut().insert(guest);
        Ok(())
    }

    /// One that is not let in, and counts.
    fn refused(&self, breach: Breach) -> Answer {
        self.common.breaches.count(breach);
        let (status, sentence) = self.no_place(breach);
        refusal(status, &sentence)
    }

    /// How many clients there are, of all kinds.
    #[must_use]
    pub fn clients(&self) -> u64 {
        let sessions: usize = self.workers.iter().map(Worker::sessions).sum();
        (sessions + self.crier.clients()) as u64
    }

    /// How one is told that there is no place for it.
    #[must_use]
    pub fn no_place(&self, breach: Breach) -> (StatusCode, String) {
        let limits = &self.common.limits;
        match breach {
            Breach::AddressConnections => {
                let most = form::counted(limits.address_connections_max as u64, "connection");
                (
                    StatusCode::TOO_MANY_REQUESTS,
                    format!("this address has {most}, and may have no more (--max-connections-per-address)"),
                )
            }
            Breach::AddressAcceptRate => {
                let most = form::counted(limits.address_accept_rate.per_second.into(), "connection");
                let sentence =
                    format!("more than {most} a second come from this address (--max-accept-rate-per-address)");
                (StatusCode::TOO_MANY_REQUESTS, sentence)
            }
            Breach::AcceptRate => {
                let most = form::counted(limits.accept_rate.per_second.into(), "connection");
                let sentence = format!("more than {most} a second come to this server (--max-accept-rate)");
                (StatusCode::SERVICE_UNAVAILABLE, sentence)
            }
            _ => (
                StatusCode::SERVICE_UNAVAILABLE,
                "this server has no place for another connection now".to_owned(),
            ),
        }
    }

    /// What holds for every path: the length of the URL, the host's name, and the page that asks.
    fn check(&self, request: &Request<()>) -> Result<(), Box<Answer>> {
        let url = request.uri().path_and_query().map_or(0, |url| url.as_str().len());
        let most = self.common.limits.url_bytes_max;
        if url > most {
            self.common.breaches.count(Breach::Url);
            let text = format!("a URL of {url} bytes is over the limit of {most}");
            return Err(Box::new(refusal(StatusCode::URI_TOO_LONG, &text)));
        }
        let headers = request.headers();
        for name in ["Host", "Origin"] {
            let count = headers.get_all(name).iter().count();
            if count > 1 {
                let sentence = format!("a request has one {name} header, this one {count}");
                return Err(Box::new(refusal(StatusCode::BAD_REQUEST, &sentence)));
            }
        }
        if let Some(unclear) = unclear_length(headers) {
            let mut answer = refusal(StatusCode::BAD_REQUEST, unclear);
            // What follows may be its body or the next request: nobody can tell.
            answer
                .headers_mut()
                .insert(CONNECTION, HeaderValue::from_static("close"));
            return Err(Box::new(answer));
        }
        let host = request
            .uri()
            .authority()
            .map(http::uri::Authority::as_str)
            .or_else(|| text(headers, "host"));
        // An origin that is no text is an origin all the same, and nobody's.
        let origin = headers.get(ORIGIN).map(|origin| origin.to_str().unwrap_or("null"));
        let certificate = self.encryption.as_ref().map(|encryption| encryption.certificate());
        let is_certified = |name: &str| certificate.as_ref().is_some_and(|certificate| certificate.is_for(name));
        let reach = match certificate {
            None => Reach::Clear,
            Some(_) => Reach::Encrypted(&is_certified),
        };
        let fetch_site = text(headers, "sec-fetch-site");
        let checked = self.trust.origins.check(reach, host, origin, fetch_site);
        // A link from another page to ours is no harm: it reads nothing. Everything else says where it comes from.
        let followed = request.method() == Method::GET && text(headers, "sec-fetch-mode") == Some("navigate");
        match checked {
            Err(OriginError::Hidden) if followed && headers.get(ORIGIN).is_none() => {}
            Err(error) => {
                let status = StatusCode::from_u16(error.status()).unwrap_or(StatusCode::FORBIDDEN);
                let sentence = lapwing_wire::escape::escaped(&error.to_string());
                // Before the @ of a URL stand names and passwords.
                return Err(Box::new(match sentence.contains('@') {
                    true => quiet_refusal(status, &sentence, "another host or origin, with an @ in it"),
                    false => quiet_refusal(status, &sentence, &sentence),
                }));
            }
            Ok(()) => {}
        }
        Ok(())
    }

    async fn route(&self, request: Request<()>, body: &mut Body) -> Answer {
        let path = request.uri().path();
        if let Some(topic) = topic_of(path, "/messages") {
            let topic = topic.to_owned();
            return publish::answer(self, &topic, &request, body).await;
        }
        // Clients that would rather speak HTTP/2 (curl --http2, Java's) offer h2c with every request; it is for us to ignore.
        let upgrade = request.headers().get(UPGRADE).is_some_and(|wanted| wanted != "h2c") || path == "/ws";
        match path {
            "/" | "/ws" if upgrade => stream::answer(self, request).await,
            "/ticket" => gate::ticket(&self.common, &request),
            stream::ECHO if upgrade && self.echo => stream::answer(self, request).await,
            "/api/topics" | "/asyncapi.json" if *request.method() == Method::OPTIONS => events::preflight(),
            _ => self.read(path, &request).await,
        }
    }

    /// Answers at the paths that are only to be read.
    async fn read(&self, path: &str, request: &Request<()>) -> Answer {
        let Some(place) = Place::at(path) else {
            let sentence = "nothing is here; the page and the stream are at /, messages go to /topics/NAME/messages, and /openapi.json tells of the rest";
            return refusal(StatusCode::NOT_FOUND, sentence);
        };
        if !reads(request) {
            return not_allowed("GET, HEAD", "this is only to be read: use GET");
        }
        match place {
            Place::Topics => overview::answer(self, request),
            Place::Clients => api::clients(self, request).await,
            Place::Servers => servers::answer(self, request),
            Place::Reports => api::reports(self, request).await,
            Place::Metrics => metrics::answer(self, request),
            Place::AsyncApi => asyncapi::answer(self, request),
            Place::OpenApi => overview::description(),
            Place::Health => plain(StatusCode::OK, "ok"),
            Place::Readiness if self.common.is_stopping() => plain(StatusCode::SERVICE_UNAVAILABLE, "stopping"),
            Place::Readiness => plain(StatusCode::OK, "ready"),
            Place::Page(file) => page::answer(file, request.headers()),
        }
    }
}

/// What is only to be read.
enum Place {
    Topics,
    Clients,
    Reports,
    Servers,
    Metrics,
    AsyncApi,
    OpenApi,
    Health,
    Readiness,
    Page(page::File),
}

impl Place {
    fn at(path: &str) -> Option<Self> {
        Some(match path {
            "/api/topics" => Self::Topics,
            "/api/clients" => Self::Clients,
            "/api/reports" => Self::Reports,
            "/api/servers" => Self::Servers,
            "/metrics" => Self::Metrics,
            "/asyncapi.json" => Self::AsyncApi,
            "/openapi.json" => Self::OpenApi,
            "/healthz" => Self::Health,
            "/readyz" => Self::Readiness,
            path => Self::Page(page::file(path)?),
        })
    }
}

/// Why it cannot be told where a request ends, if so (RFC 9112 section 6.3). hyper has refused lengths that are none.
fn unclear_length(headers: &HeaderMap) -> Option<&'static str> {
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    let coding = codings.next()?;
    if codings.next().is_some() || !coding.as_bytes().eq_ignore_ascii_case(b"chunked") {
        return Some("Transfer-Encoding says something else than \"chunked\"");
    }
    headers
        .contains_key(CONTENT_LENGTH)
        .then_some("Content-Length and Transfer-Encoding came together")
}

/// The topic in a path such as `/topics/users/events`.
fn topic_of<'a>(path: &'a str, of: &str) -> Option<&'a str> {
    path.strip_prefix("/topics/")?.strip_suffix(of)
}

fn reads(request: &Request<()>) -> bool {
    matches!(*request.method(), Method::GET | Method::HEAD)
}

/// The text of the first header of this name, none when there is none or it is no text.
pub fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

/// All values of a header, joined with commas; what is no text makes the whole unusable.
pub fn joined(headers: &HeaderMap, name: &str) -> String {
    let values = headers
        .get_all(name)
        .iter()
        .map(|value| value.to_str().unwrap_or("\u{fffd}"));
    values.collect::<Vec<_>>().join(",")
}

/// A text answer.
pub fn plain(status: StatusCode, body: &str) -> Answer {
    let mut answer = Response::new(Full::from(format!("{body}\n")));
    *answer.status_mut() = status;
    answer
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    answer.headers_mut().insert(
        HeaderName::from_static("x-content-type-options"),
        HeaderValue::from_static("nosniff"),
    );
    answer
}

/// Says that a path takes other methods, which `allow` lists.
pub fn not_allowed(allow: &'static str, sentence: &str) -> Answer {
    let mut answer = refusal(StatusCode::METHOD_NOT_ALLOWED, sentence);
    answer.headers_mut().insert(ALLOW, HeaderValue::from_static(allow));
    answer
}

/// What a browser asks before a page of another origin may send this method with these headers; `allow` lists all methods.
pub fn preflight(allow: &'static str, method: &'static str, headers: &'static str) -> Answer {
    let mut answer = plain(StatusCode::NO_CONTENT, "");
    *answer.body_mut() = Full::default();
    for (name, value) in [
        (ALLOW, allow),
        (ACCESS_CONTROL_ALLOW_METHODS, method),
        (ACCESS_CONTROL_ALLOW_HEADERS, headers),
    ] {
        answer.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    answer
}

/// An answer that is this value as JSON.
pub fn json(value: &impl serde::Serialize) -> Answer {
    json_text(serde_json::to_string(value).expect("every field has a form in JSON"))
}

/// An answer that is this text of JSON; it is never kept, as what it tells changes.
pub fn json_text(text: String) -> Answer {
    let mut answer = plain(StatusCode::OK, &text);
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}

/// A refusal: its body is one sentence that says why, and so does the operator's log, but for what is quoted in it.
pub fn refusal(status: StatusCode, sentence: &str) -> Answer {
    quiet_refusal(status, sentence, &without_quoted(sentence))
}

/// A refusal for which the operator's log says something else: its sentence repeats what the client wrote, which may be anything.
pub fn quiet_refusal(status: StatusCode, sentence: &str, noted: &str) -> Answer {
    let mut answer = plain(status, sentence);
    answer.extensions_mut().insert(Why(noted.to_owned()));
    if let Some(seconds) = retry_after(status) {
        answer
            .headers_mut()
            .insert(RETRY_AFTER, HeaderValue::from_static(seconds));
    }
    answer
}

/// When to try again, in seconds, where that may help.
pub fn retry_after(status: StatusCode) -> Option<&'static str> {
    matches!(status, StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS).then_some("2")
}
