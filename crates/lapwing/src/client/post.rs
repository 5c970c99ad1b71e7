//! One HTTP connection to a server, over which batches are posted one after the other.

use std::sync::Arc;
use std::time::Duration;

use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderValue, LOCATION, RETRY_AFTER, USER_AGENT};
use http::{HeaderMap, Request};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use lapwing_wire::control::Level;
use lapwing_wire::handshake::Refusal;
use lapwing_wire::position::{Epoch, Offset};
use lapwing_wire::topic::TopicName;
use rustls::ClientConfig;
use serde::{Deserialize, Serialize};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::batch::Batch;
use super::dial::{self, DialError};
use super::entropy::Entropy;
use super::target::Target;
use super::targets::Targets;
use super::token::{TokenSource, bearer};

/// Where batches go.
#[derive(Clone, Debug)]
pub struct Letterbox {
    /// The server.
    pub target: Target,
    /// For TLS.
    pub tls: Option<Arc<ClientConfig>>,
    /// What to show the server; it is read for each post.
    pub token: TokenSource,
    /// The topic.
    pub topic: TopicName,
    /// The name of this run: with a sequence it lets the server recognise what it has already.
    pub source: String,
}

impl Letterbox {
    /// One for each server, of a new run: they differ in where they are and in nothing else.
    #[must_use]
    pub fn at_each(
        targets: &Targets,
        tls: Option<Arc<ClientConfig>>,
        token: TokenSource,
        topic: TopicName,
    ) -> Vec<Self> {
        let source = format!("{:032x}", u128::from_ne_bytes(Entropy::from_system().bytes()));
        let at = |target: &Target| Self {
            target: target.clone(),
            tls: tls.clone(),
            token: token.clone(),
            topic: topic.clone(),
            source: source.clone(),
        };
        targets.all().iter().map(at).collect()
    }
}

/// The answer to a batch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ack {
    /// The topic.
    pub topic: TopicName,
    /// Its history.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epoch: Option<Epoch>,
    /// The offset of the first message.
    pub first: Offset,
    /// The offset of the last.
    pub last: Offset,
    /// How many.
    pub count: u64,
    /// What they survive.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub level: Option<Level>,
    /// How long a repeated publish is recognised, in milliseconds; none for as long as its messages are kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_window_ms: Option<u64>,
}

/// A connection, opened when there is something to post.
#[derive(Default)]
pub struct Post {
    line: Option<Line>,
    /// Whether the batch of the last call was written to a connection, wholly or in part.
    wrote: bool,
}

struct Line {
    send: SendRequest<Full<Bytes>>,
    task: JoinHandle<()>,
}

impl Post {
    /// Posts a batch once, to be taken only after the one of that number. After an error nothing is known of it but what the
    /// error says: posting it again is safe.
    pub async fn send(&mut self, to: &Letterbox, batch: &Batch, after: Option<u64>) -> Result<Ack, DialError> {
        self.wrote = false;
        let answer = match timeout(ANSWER_WAIT, self.exchange(to, batch, after)).await {
            Ok(answer) => answer,
            Err(_) => Err(DialError::Silent),
        };
        if answer.is_err() {
            self.line = None;
        }
        answer
    }

    /// Whether another batch could go by the connection of the last one.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.line.is_some()
    }

    /// Whether the batch of the last call was handed to a connection: if so, the server may have it.
    #[must_use]
    pub fn wrote(&self) -> bool {
        self.wrote
    }

    async fn exchange(&mut self, to: &Letterbox, batch: &Batch, after: Option<u64>) -> Result<Ack, DialError> {
        let mut line = match self.line.take() {
            Some(line) if line.send.is_ready() => line,
            _ => connect(to).await?,
        };
        line.send.ready().await.map_err(lost)?;
        let request = request(to, batch, after)?;
        self.wrote = true;
        let response = line.send.send_request(request).await.map_err(lost)?;
        let (head, body) = response.into_parts();
        let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await;
        let body = body
            .map(|body| body.to_bytes())
            .map_err(|error| DialError::Lost(std::io::Error::other(error.to_string())))?;
        self.line = Some(line);
        if !head.status.is_success() {
            return Err(DialError::Refused(Box::new(refusal(head.status, &head.headers, &body))));
        }
        serde_json::from_slice(&body).map_err(|_| {
            let mut refusal = refusal(head.status, &head.headers, b"");
            refusal.body = "the answer is not one of a Lapwing server".to_owned();
            DialError::Refused(Box::new(refusal))
        })
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn connect(to: &Letterbox) -> Result<Line, DialError> {
    let stream = dial::open(&to.target, to.tls.as_ref()).await?;
    let (send, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(lost)?;
    // It moves the bytes of this line, and ends with it.
    let task = tokio::spawn(async move {
        let _ = connection.await;
    });
    Ok(Line { send, task })
}

fn request(to: &Letterbox, batch: &Batch, after: Option<u64>) -> Result<Request<Full<Bytes>>, DialError> {
    let base = to.target.path().trim_end_matches('/');
    let base = base.strip_suffix("/ws").unwrap_or(base);
    let mut request = Request::post(format!("{base}/topics/{}/messages", to.topic));
    if let Some(after) = after {
        request = request.header("Lapwing-After", after);
    }
    if let Some(token) = to.token.read().map_err(DialError::Token)? {
        let value = HeaderValue::try_from(bearer(&token));
        let mut value = value.map_err(|error| DialError::Lost(std::io::Error::other(error)))?;
        value.set_sensitive(true);
        request = request.header(AUTHORIZATION, value);
    }
    request
        .header(HOST, to.target.host_header())
        .header(CONTENT_TYPE, "application/x-ndjson")
        .header(USER_AGENT, concat!("lapwing/", env!("CARGO_PKG_VERSION")))
        .header("Lapwing-Source", &to.source)
        .header("Lapwing-Sequence", batch.sequence)
        .body(Full::new(batch.body.clone()))
        .map_err(|error| DialError::Lost(std::io::Error::other(error)))
}

fn refusal(status: http::StatusCode, headers: &HeaderMap, body: &[u8]) -> Refusal {
    let header = |name| {
        headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .map(str::to_owned)
    };
    let body = &body[..body.len().min(4096)];
    Refusal {
        status: status.as_u16(),
        reason: status.canonical_reason().unwrap_or_default().to_owned(),
        retry_after: header(RETRY_AFTER),
        location: header(LOCATION),
        body: String::from_utf8_lossy(body).into_owned(),
    }
}

fn lost(error: hyper::Error) -> DialError {
    use std::error::Error as _;
    let inner = error.source().and_then(|inner| inner.downcast_ref::<std::io::Error>());
    let kind = match inner {
        Some(inner) => inner.kind(),
        None if error.is_incomplete_message() || error.is_closed() || error.is_canceled() => {
            std::io::ErrorKind::UnexpectedEof
        }
        None => return DialError::Lost(std::io::Error::other(error)),
    };
    DialError::Lost(kind.into())
}

/// A durable topic on a slow disk takes its time.
const ANSWER_WAIT: Duration = Duration::from_secs(30);

const ANSWER_BYTES_MAX: usize = 64 << 10;
