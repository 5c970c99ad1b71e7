//! The gate: who sends a request, what those are told who may not, and tickets for those who may.

use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ALLOW, AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE,
    HeaderValue, WWW_AUTHENTICATE,
};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::Full;
use lapwing_wire::secret::Secret;

use super::access::credential::Places;
use super::access::ticket::{TICKET_LIFE, TicketError};
use super::access::{Caller, Denied};
use super::common::Common;
use super::front::{Answer, plain, refusal};
use crate::clock::Now;

/// Who sends a request; `protocols` and `ticket` are what an upgrade may show beside the headers.
pub fn caller(
    common: &Common,
    headers: &HeaderMap,
    protocols: &str,
    ticket: Option<&Secret>,
) -> Result<Caller, Box<Answer>> {
    let authorization: Vec<_> = headers
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
        .map_err(|denied| refused(&denied))
}

/// The answer to somebody who may not.
#[must_use]
pub fn refused(denied: &Denied) -> Box<Answer> {
    let status = StatusCode::from_u16(denied.status()).unwrap_or(StatusCode::UNAUTHORIZED);
    let mut answer = refusal(status, &denied.to_string());
    answer
        .headers_mut()
        .insert(WWW_AUTHENTICATE, HeaderValue::from_static(denied.challenge()));
    Box::new(answer)
}

/// Answers a request for a ticket: what a page may put into the URL of one stream.
pub fn ticket(common: &Common, request: &Request<()>) -> Answer {
    match *request.method() {
        Method::POST => give(common, request.headers()).unwrap_or_else(|refusal| *refusal),
        Method::OPTIONS => {
            let mut answer = plain(StatusCode::NO_CONTENT, "");
            *answer.body_mut() = Full::default();
            let headers = answer.headers_mut();
            headers.insert(ALLOW, HeaderValue::from_static(METHODS));
            headers.insert(ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("POST"));
            headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static("Authorization"));
            answer
        }
        _ => {
            let mut answer = refusal(StatusCode::METHOD_NOT_ALLOWED, "a ticket is asked for with POST");
            answer.headers_mut().insert(ALLOW, HeaderValue::from_static(METHODS));
            answer
        }
    }
}

fn give(common: &Common, headers: &HeaderMap) -> Result<Answer, Box<Answer>> {
    let Caller::Known(identity) = caller(common, headers, "", None)? else {
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
    let mut answer = Response::new(Full::from(format!("{body}\n")));
    *answer.status_mut() = StatusCode::CREATED;
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(answer)
}

const METHODS: &str = "POST, OPTIONS";
