//! The gate: who sends a request, what those are told who may not, and tickets for those who may.

use std::net::SocketAddr;

use http::header::{AUTHORIZATION, HeaderValue, WWW_AUTHENTICATE};
use http::{HeaderMap, Method, Request, StatusCode};
use lapwing_wire::secret::Secret;

use super::access::credential::Places;
use super::access::ticket::{TICKET_LIFE, TicketError};
use super::access::{Caller, Denied};
use super::common::Common;
use super::front::{self, Answer, Guest, json, refusal};
use super::topics::Topic;
use crate::clock::Now;

/// Who sends a request; `protocols` and `ticket` are what an upgrade may show beside the headers.
pub fn caller<B>(
    common: &Common,
    request: &Request<B>,
    protocols: &str,
    ticket: Option<&Secret>,
) -> Result<Caller, Box<Answer>> {
    let authorization: Vec<_> = request
        .headers()
        .get_all(AUTHORIZATION)
        .iter()
        .map(|header| header.to_str().ok())
        .collect();
    let places = Places {
        authorization: &authorization,
        protocols,
        ticket,
    };
    common
        .access
        .identify(places, Now::read())
        .map_err(|denied| refused(common, request, &denied))
}

/// The topics that somebody may listen to, but for those that the server keeps about itself.
pub fn public_topics<'a>(common: &'a Common, caller: &'a Caller) -> impl Iterator<Item = &'a Topic> {
    common.topics.public().filter(|topic| caller.may_listen(topic.name()))
}

/// The answer to somebody who may not, which is counted and told.
#[must_use]
pub fn refused<B>(common: &Common, request: &Request<B>, denied: &Denied) -> Box<Answer> {
    if let Some(guest) = request.extensions().get::<Guest>() {
        common.on_refused(guest.address, denied);
    }
    let status = StatusCode::from_u16(denied.status()).unwrap_or(StatusCode::UNAUTHORIZED);
    let mut answer = refusal(status, &denied.to_string());
    if let Some(challenge) = denied.challenge() {
        answer
            .headers_mut()
            .insert(WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
    }
    Box::new(answer)
}

/// Refuses who may not see what the server knows of its clients.
pub fn check_watch<B>(common: &Common, request: &Request<B>) -> Result<(), Box<Answer>> {
    let caller = caller(common, request, "", None)?;
    may_watch(&caller, request).map_err(|denied| refused(common, request, &denied))
}

/// Whether who sends a request may see what the server knows of its clients; `caller` is who that is.
pub fn may_watch<B>(caller: &Caller, request: &Request<B>) -> Result<(), Denied> {
    let guest = request.extensions().get::<Guest>();
    let here = guest.is_some_and(|guest| is_here(guest.peer, guest.address, request.headers()));
    caller.check_watch(here)
}

/// Whether a request comes from this machine: its peer is here, and so is the `client` whom that peer asks for, if it is a proxy that
/// is trusted. What another proxy says of its client is not believed, but that it speaks for one is.
fn is_here(peer: SocketAddr, client: SocketAddr, headers: &HeaderMap) -> bool {
    let here = |address: SocketAddr| address.ip().to_canonical().is_loopback();
    // A trusted proxy that hides its client leaves the peer in its place.
    let named = client != peer;
    let forwarded = ["forwarded", "x-forwarded-for"]
        .iter()
        .any(|name| headers.contains_key(*name));
    here(peer) && here(client) && (named || !forwarded)
}

/// Answers a request for a ticket: what a page may put into the URL of one stream.
pub fn ticket(common: &Common, request: &Request<()>) -> Answer {
    match *request.method() {
        Method::POST => give(common, request).unwrap_or_else(|refusal| *refusal),
        Method::OPTIONS => front::preflight(METHODS, "POST", "Authorization"),
        _ => front::not_allowed(METHODS, "a ticket is asked for with POST"),
    }
}

fn give<B>(common: &Common, request: &Request<B>) -> Result<Answer, Box<Answer>> {
    let Caller::Known(identity) = caller(common, request, "", None)? else {
        let sentence = "this server asks for no token, so a stream needs no ticket";
        return Err(Box::new(refusal(StatusCode::NOT_FOUND, sentence)));
    };
    let ticket = common.access.ticket(&identity, Now::read()).map_err(|error| {
        let status = match error {
            TicketError::Yours => StatusCode::TOO_MANY_REQUESTS,
            TicketError::All => StatusCode::SERVICE_UNAVAILABLE,
        };
        Box::new(refusal(status, &error.to_string()))
    })?;
    let body = serde_json::json!({ "ticket": ticket, "expires_in_ms": TICKET_LIFE.as_millis() as u64 });
    let mut answer = json(&body);
    *answer.status_mut() = StatusCode::CREATED;
    Ok(answer)
}

const METHODS: &str = "POST, OPTIONS";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::proxy::Proxies;

    /// Where a request of this peer with these headers comes from, on a server that trusts these proxies.
    #[track_caller]
    fn check(trusted: &str, peer: &str, lines: &[(&'static str, &str)], here: bool) {
        let trusted: Vec<_> = trusted.split_whitespace().map(str::to_owned).collect();
        let proxies = Proxies::parse(&trusted).expect("valid");
        let headers = lines.iter().map(|(name, value)| {
            let value = HeaderValue::from_str(value).expect("valid");
            (http::HeaderName::from_static(name), value)
        });
        let headers: HeaderMap = headers.collect();
        let peer: SocketAddr = peer.parse().expect("valid");
        let client = proxies.client(peer, &headers).expect("no contradiction");
        assert_eq!(is_here(peer, client, &headers), here, "{peer} {lines:?}");
    }

    #[test]
    fn a_request_comes_from_here_when_its_peer_does_and_no_strange_proxy_speaks_for_others() {
        for peer in ["127.0.0.1:9", "127.8.0.1:9", "[::1]:9", "[::ffff:127.0.0.1]:9"] {
            check("", peer, &[], true);
            check("", peer, &[("x-forwarded-for", "192.0.2.7")], false);
            check("", peer, &[("x-forwarded-for", "127.0.0.1")], false);
            check("", peer, &[("forwarded", "for=127.0.0.1")], false);
            check("", peer, &[("forwarded", "")], false);
        }
        for peer in [
            "192.0.2.7:9",
            "10.0.0.1:9",
            "[2001:db8::1]:9",
            "[::ffff:192.0.2.7]:9",
            "0.0.0.0:9",
        ] {
            check("", peer, &[], false);
            check("", peer, &[("x-forwarded-for", "127.0.0.1")], false);
        }
    }

    #[test]
    fn a_trusted_proxy_is_believed_about_whom_it_names_and_stands_for_whom_it_hides() {
        let local = "127.0.0.1:9";
        check("127.0.0.1", local, &[], true);
        check("127.0.0.1", local, &[("x-forwarded-for", "127.0.0.1")], true);
        check("127.0.0.1", local, &[("forwarded", "for=\"[::1]:4711\"")], true);
        check("127.0.0.1", local, &[("x-forwarded-for", "192.0.2.7")], false);
        check(
            "127.0.0.1",
            local,
            &[("x-forwarded-for", "127.0.0.1, 192.0.2.7")],
            false,
        );
        check("127.0.0.1", local, &[("forwarded", "for=unknown")], false);
        check("127.0.0.1", local, &[("forwarded", "for=_hidden")], false);
        check("127.0.0.1", local, &[("x-forwarded-for", "nonsense")], false);
        // That is somebody on the proxy's machine.
        check("10.0.0.0/8", "10.0.0.1:9", &[("x-forwarded-for", "127.0.0.1")], false);
        check("10.0.0.0/8", "10.0.0.1:9", &[], false);
    }
}
