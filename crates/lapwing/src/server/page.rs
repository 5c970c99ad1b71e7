//! The page and its files, built into the program: no file beside it, nothing from elsewhere.

use bytes::Bytes;
use http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, HeaderName, HeaderValue, IF_NONE_MATCH, REFERRER_POLICY,
};
use http::{HeaderMap, Response, StatusCode};
use http_body_util::Full;

use super::front::{Answer, text};

/// A file of the page.
#[derive(Clone, Copy)]
pub struct File {
    kind: &'static str,
    body: &'static str,
}

/// Answers with a file of the page; 304 without it for a browser that has it already.
#[must_use]
pub fn answer(file: File, asked: &HeaderMap) -> Answer {
    let File { kind, body } = file;
    // Files of one release never change, and those of the next have other names for the browser: it asks each time, and is told.
    let tag = format!("\"{:08x}-{:x}\"", crc32c::crc32c(body.as_bytes()), body.len());
    let is_known =
        text(asked, IF_NONE_MATCH.as_str()).is_some_and(|known| known.split(',').any(|one| one.trim() == tag));
    let mut answer = match is_known {
        true => Response::new(Full::new(Bytes::new())),
        false => Response::new(Full::new(Bytes::from_static(body.as_bytes()))),
    };
    if is_known {
        *answer.status_mut() = StatusCode::NOT_MODIFIED;
    }
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        headers.insert(ETAG, tag);
    }
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(
        HeaderName::from_static("x-content-type-options"),
        HeaderValue::from_static("nosniff"),
    );
    answer
}

/// The file at `path`, if the page has one there.
#[must_use]
pub fn file(path: &str) -> Option<File> {
    let (name, body) = FILES.iter().find(|(known, _)| *known == path)?;
    let kind = match name.rsplit_once('.').map(|(_, ending)| ending) {
        Some("js") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("svg") => "image/svg+xml",
        Some("txt") => "text/plain; charset=utf-8",
        _ => "text/html; charset=utf-8",
    };
    Some(File { kind, body })
}

/// Each file at the path where it lies in `page/`.
macro_rules! files {
    ($($name:literal),* $(,)?) => {
        &[("/", include_str!("../../page/index.html")), $((concat!("/", $name), include_str!(concat!("../../page/", $name)))),*]
    };
}

/// By path.
const FILES: &[(&str, &str)] = files![
    "icon.svg",
    "link.js",
    "page.css",
    "page.js",
    "logic/address.js",
    "logic/announcer.js",
    "logic/blocks.js",
    "logic/cause.js",
    "logic/client.js",
    "logic/delivery.js",
    "logic/event.js",
    "logic/form.js",
    "logic/lines.js",
    "logic/order.js",
    "logic/outages.js",
    "logic/place.js",
    "logic/positions.js",
    "logic/retry.js",
    "logic/roster.js",
    "logic/servers.js",
    "logic/verdict.js",
    "vendor/uplot-1.6.32.css",
    "vendor/uplot-1.6.32.js",
    "vendor/uplot-LICENSE.txt",
    "view/blocks.js",
    "view/chart.js",
    "view/clients.js",
    "view/delivery.js",
    "view/details.js",
    "view/dom.js",
    "view/events.js",
    "view/filters.js",
    "view/frames.js",
    "view/keys.js",
    "view/memory.js",
    "view/messages.js",
    "view/servers.js",
    "view/theme.js",
    "view/topics.js",
    "view/verdict.js",
];

/// Nothing but our own files; text from feeds and clients can never become code.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; \
                      form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'";

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::*;

    fn below(folder: &Path, root: &Path, found: &mut BTreeSet<String>) {
        for entry in std::fs::read_dir(folder).expect("the folder is there") {
            let path = entry.expect("readable").path();
            let name = path
                .strip_prefix(root)
                .expect("it lies there")
                .to_str()
                .expect("a plain name");
            match name {
                "tests" | "package.json" | "index.html" => {}
                _ if path.is_dir() => below(&path, root, found),
                _ => drop(found.insert(format!("/{name}"))),
            }
        }
    }

    #[test]
    fn every_file_of_the_page_is_served() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("page");
        let mut there = BTreeSet::from(["/".to_owned()]);
        below(&root, &root, &mut there);
        let served: BTreeSet<String> = FILES.iter().map(|(path, _)| (*path).to_owned()).collect();
        assert_eq!(served, there);
    }

    #[test]
    fn a_file_that_is_known_already_is_not_sent_again() {
        let first = answer(file("/page.js").expect("it is there"), &HeaderMap::new());
        assert_eq!(first.status(), StatusCode::OK);
        let tag = first.headers().get(ETAG).expect("it has a tag").clone();
        let asked = HeaderMap::from_iter([(IF_NONE_MATCH, tag.clone())]);
        let again = answer(file("/page.js").expect("it is there"), &asked);
        assert_eq!(
            (again.status(), again.headers().get(ETAG)),
            (StatusCode::NOT_MODIFIED, Some(&tag))
        );
        let other = answer(file("/page.css").expect("it is there"), &asked);
        assert_eq!(other.status(), StatusCode::OK);
    }

    #[test]
    fn the_library_for_charts_is_as_it_was_published() {
        // Version 1.6.32 from the npm registry, byte by byte: docs/dependencies.md has its SHA-256.
        let script = file("/vendor/uplot-1.6.32.js").expect("it is there").body;
        assert_eq!((script.len(), crc32c::crc32c(script.as_bytes())), (51081, 0xd73e_1dff));
    }
}
