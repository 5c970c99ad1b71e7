//! One request, as the operator's log tells it: who asked for what, and what came of it. Never a header, and never what stands behind
//! the `?`: tickets and tokens stand there.

use std::net::SocketAddr;
use std::time::Instant;

use http::header::UPGRADE;
use http::{Method, Request, Response, StatusCode};

use super::target::HTTP;
use crate::server::event::place;
use crate::server::front::Guest;

/// Why a request was refused, beside the answer that says so; a sentence that repeats what the client wrote is not among them.
#[derive(Clone, Debug)]
pub struct Why(pub String);

/// A request that is being answered.
pub struct Asked {
    method: Method,
    path: String,
    from: Option<SocketAddr>,
    upgrade: bool,
    began: Instant,
}

impl Asked {
    /// None where nobody wants to know of requests.
    #[must_use]
    pub fn of<B>(request: &Request<B>) -> Option<Self> {
        tracing::enabled!(target: HTTP, tracing::Level::INFO).then(|| Self {
            method: request.method().clone(),
            path: request.uri().path().to_owned(),
            from: request.extensions().get::<Guest>().map(|guest| guest.address),
            upgrade: request.headers().contains_key(UPGRADE),
            began: Instant::now(),
        })
    }

    /// It was answered so.
    pub fn answered<B>(self, answer: &Response<B>) {
        let status = answer.status();
        let from = self.from.map(|from| tracing::field::display(place(&from)));
        let why = answer.extensions().get::<Why>().map(|why| why.0.as_str());
        let path = shown_path(&self.path, status);
        let took_ms = self.began.elapsed().as_secs_f64() * 1e3;
        let took_ms = (took_ms * 10.0).round() / 10.0;
        let (method, status) = (self.method.as_str(), status.as_u16());
        match self.upgrade && status >= 400 {
            true => tracing::info!(target: HTTP, method, path, status, from, why, took_ms, "handshake refused"),
            false => tracing::debug!(target: HTTP, method, path, status, from, why, took_ms, "request"),
        }
    }
}

/// A sentence without what is quoted in it: what a client wrote stands between quotes, and may be a token in the wrong place.
#[must_use]
pub fn without_quoted(sentence: &str) -> String {
    let Some(begin) = sentence.find('"') else {
        return sentence.to_owned();
    };
    // The last one ends it: what is quoted may have quotes inside.
    let end = sentence.rfind('"').filter(|end| *end > begin);
    let rest = end.map_or("", |end| &sentence[end + 1..]);
    format!("{}(left out){rest}", &sentence[..begin])
}

/// A path as it is told. Of one that is none of ours each long piece is left out: somebody may have put a token there.
fn shown_path(path: &str, status: StatusCode) -> String {
    if status.as_u16() < 400 {
        return path.to_owned();
    }
    let shown = |piece: &str| match piece.len() {
        0..=PIECE_BYTES_MAX => piece.to_owned(),
        bytes => format!("({bytes} bytes)"),
    };
    path.split('/').map(shown).collect::<Vec<_>>().join("/")
}

/// No word in a path of ours is longer, and every token is.
const PIECE_BYTES_MAX: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_quoted_is_left_out_of_a_sentence() {
        assert_eq!(without_quoted("no quotes"), "no quotes");
        assert_eq!(without_quoted("a \"b\" c"), "a (left out) c");
        assert_eq!(without_quoted("a \"b\\\"c\" and \"d\"; e"), "a (left out); e");
        assert_eq!(without_quoted("not \"cut"), "not (left out)");
    }

    #[test]
    fn a_path_that_is_none_of_ours_shows_no_long_piece() {
        let token = "k7Vx0dP2m3q9L5aZ8sT1uW4yB6nC";
        let refused = |path: &str| shown_path(path, StatusCode::NOT_FOUND);
        assert_eq!(refused("/ws"), "/ws");
        assert_eq!(refused("/topics/users/messages"), "/topics/users/messages");
        assert_eq!(refused(&format!("/{token}")), "/(28 bytes)");
        assert_eq!(
            refused(&format!("/topics/{token}/messages")),
            "/topics/(28 bytes)/messages"
        );
        let taken = shown_path("/topics/a-topic-with-a-long-name/messages", StatusCode::CREATED);
        assert_eq!(taken, "/topics/a-topic-with-a-long-name/messages");
    }
}
