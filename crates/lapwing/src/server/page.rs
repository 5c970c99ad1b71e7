//! The page and its files, built into the program: no file beside it, nothing from elsewhere.

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName, HeaderValue, REFERRER_POLICY};
use http::{Response, StatusCode};
use http_body_util::Full;

use super::front::Answer;

/// The file at `path`, if the page has one there.
#[must_use]
pub fn asset(path: &str) -> Option<Answer> {
    let (kind, body): (&'static str, &'static str) = match path {
        "/" => ("text/html; charset=utf-8", include_str!("../../page/index.html")),
        "/page.js" => ("text/javascript; charset=utf-8", include_str!("../../page/page.js")),
        "/page.css" => ("text/css; charset=utf-8", include_str!("../../page/page.css")),
        "/openapi.json" => ("application/json", include_str!("../../../../docs/openapi.json")),
        "/icon.svg" => ("image/svg+xml", include_str!("../../page/icon.svg")),
        _ => return None,
    };
    let mut answer = Response::new(Full::new(Bytes::from_static(body.as_bytes())));
    *answer.status_mut() = StatusCode::OK;
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(
        HeaderName::from_static("x-content-type-options"),
        HeaderValue::from_static("nosniff"),
    );
    Some(answer)
}

/// Nothing but our own files; text from feeds and clients can never become code.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; \
                      form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'";
