//! The front door: HTTP requests, answered or upgraded.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{
    ACCESS_CONTROL_ALLOW_ORIGIN, ALLOW, CONTENT_TYPE, HeaderName, HeaderValue, ORIGIN, RETRY_AFTER, UPGRADE, VARY,
};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use lapwing_wire::extension::Compression;
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;

use super::common::Common;
use super::encryption::Encryption;
use super::hello::Strays;
use super::origin::Origins;
use super::seat::SharedSeat;
use super::worker::Worker;
use super::{page, publish, stream};
use crate::config::Limits;

/// What answers requests.
pub struct Front {
    /// What all threads share.
    pub common: Arc<Common>,
    /// The delivery threads.
    pub workers: Vec<Worker>,
    /// Which pages may use this server.
    pub origins: Origins,
    /// Whether messages are compressed for clients that offer it.
    pub compression: Compression,
    /// Whether messages to `/echo` go back.
    pub echo: bool,
    /// How connections are encrypted; none serves in the clear.
    pub encryption: Option<Arc<Encryption>>,
    /// Those that begin otherwise than this.
    pub strays: Strays,
    /// Room for refusals inside TLS.
    pub refusals: Semaphore,
    /// The tasks of connections, up to their upgrade.
    pub tasks: TaskTracker,
}

/// Who asks.
#[derive(Clone)]
pub struct Guest {
    /// From where.
    pub address: SocketAddr,
    /// Its place among the connections allowed.
    pub seat: SharedSeat,
}

/// An answer with its whole body.
pub type Answer = Response<Full<Bytes>>;

impl Front {
    /// Answers one request.
    pub async fn answer(&self, request: Request<Incoming>) -> Answer {
        let origin = request.headers().get(ORIGIN).cloned();
        let mut answer = match self.check(&request) {
            Ok(()) => self.route(request).await,
            Err(refusal) => *refusal,
        };
        let cors = origin
            .as_ref()
            .and_then(|origin| self.origins.cors(origin.to_str().ok()));
        if cors.is_some()
            && let Some(origin) = origin
        {
            answer.headers_mut().insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
            answer.headers_mut().insert(VARY, HeaderValue::from_static("Origin"));
        }
        answer
    }

    /// What holds for every path: the length of the URL, the host's name, and the page that asks.
    fn check(&self, request: &Request<Incoming>) -> Result<(), Box<Answer>> {
        let url = request.uri().path_and_query().map_or(0, |url| url.as_str().len());
        if url > Limits::URL_BYTES_MAX {
            let text = format!("a URL of {url} bytes is over the limit of {}", Limits::URL_BYTES_MAX);
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
        let host = request
            .uri()
            .authority()
            .map(http::uri::Authority::as_str)
            .or_else(|| text(headers, "host"));
        // An origin that is no text is an origin all the same, and nobody's.
        let origin = headers.get(ORIGIN).map(|origin| origin.to_str().unwrap_or("null"));
        let checked = self.origins.check(host, origin, text(headers, "sec-fetch-site"));
        // A link from another page to ours is no harm: it reads nothing. Everything else says where it comes from.
        let followed = request.method() == Method::GET && text(headers, "sec-fetch-mode") == Some("navigate");
        match checked {
            Err(super::origin::OriginError::Hidden) if followed && headers.get(ORIGIN).is_none() => {}
            Err(error) => {
                let status = StatusCode::from_u16(error.status()).unwrap_or(StatusCode::FORBIDDEN);
                let sentence = lapwing_wire::escape::escaped(&error.to_string());
                return Err(Box::new(refusal(status, &sentence)));
            }
            Ok(()) => {}
        }
        Ok(())
    }

    async fn route(&self, request: Request<Incoming>) -> Answer {
        let path = request.uri().path();
        if let Some(topic) = path
            .strip_prefix("/topics/")
            .and_then(|rest| rest.strip_suffix("/messages"))
        {
            let topic = topic.to_owned();
            return publish::answer(self, &topic, request).await;
        }
        // Clients that would rather speak HTTP/2 (curl --http2, Java's) offer h2c with every request; it is for us to ignore.
        let upgrade = request.headers().get(UPGRADE).is_some_and(|wanted| wanted != "h2c") || path == "/ws";
        match path {
            "/" | "/ws" if upgrade => stream::answer(self, request),
            stream::ECHO if upgrade && self.echo => stream::answer(self, request),
            "/healthz" | "/readyz" | "/" | "/page.js" | "/page.css" | "/icon.svg" if !reads(&request) => {
                let mut answer = refusal(StatusCode::METHOD_NOT_ALLOWED, "this is only to be read: use GET");
                answer
                    .headers_mut()
                    .insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
                answer
            }
            "/healthz" => plain(StatusCode::OK, "ok"),
            "/readyz" if self.common.is_stopping() => plain(StatusCode::SERVICE_UNAVAILABLE, "stopping"),
            "/readyz" => plain(StatusCode::OK, "ready"),
            _ => page::asset(path).unwrap_or_else(|| {
                refusal(
                    StatusCode::NOT_FOUND,
                    "nothing is here; the page and the stream are at /, messages go to /topics/NAME/messages",
                )
            }),
        }
    }
}

fn reads(request: &Request<Incoming>) -> bool {
    matches!(*request.method(), Method::GET | Method::HEAD)
}

/// The text of the first header of this name, none when there is none or it is no text.
pub fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
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

/// A refusal: its body is one sentence that says why.
pub fn refusal(status: StatusCode, sentence: &str) -> Answer {
    let mut answer = plain(status, sentence);
    if status == StatusCode::SERVICE_UNAVAILABLE {
        answer.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("2"));
    }
    answer
}
