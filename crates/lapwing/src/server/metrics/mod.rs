//! `/metrics`: what the server has counted, in the words of Prometheus and of OpenMetrics.
//!
//! Everybody else has plain counts; only this folder knows how they are written.

pub mod exposition;
pub mod families;
pub mod process;
pub mod samples;

use std::fmt;
use std::sync::Arc;

use http::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue, VARY};
use http::{Request, Response};
use http_body_util::Full;
use lapwing_wire::time::WallTime;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;

use self::exposition::Format;
use self::families::FAMILIES;
use self::process::Process;
use self::samples::Samples;
use super::common::Common;
use super::front::{Answer, Front, joined, refusal};
use super::gate;
use crate::clock::Now;

/// What writes the counts of a server.
pub struct Metrics(Registry);

/// What one answer is made of.
pub struct Scrape<'a> {
    /// The counts.
    pub common: &'a Common,
    /// What the system knows of this process.
    pub process: Process,
    /// When the server started.
    pub started: WallTime,
    /// The moment of the answer.
    pub now: Now,
}

struct Counted {
    common: Arc<Common>,
    started: WallTime,
}

impl Metrics {
    /// Of a server that starts now.
    #[must_use]
    pub fn new(common: &Arc<Common>) -> Self {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(Counted {
            common: common.clone(),
            started: Now::read().wall,
        }));
        Self(registry)
    }

    /// All counts, in OpenMetrics text.
    fn text(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        encode(&mut text, &self.0)?;
        Ok(text)
    }
}

impl Collector for Counted {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let scrape = Scrape {
            common: &self.common,
            process: Process::read(),
            started: self.started,
            now: Now::read(),
        };
        for family in FAMILIES {
            let written = encoder.encode_descriptor(family.name, family.help, family.unit.as_ref(), family.kind)?;
            (family.read)(&scrape, &mut Samples::new(written, family.labels))?;
        }
        Ok(())
    }
}

impl fmt::Debug for Counted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Counted").finish_non_exhaustive()
    }
}

/// Answers a request for them.
pub fn answer(front: &Front, request: &Request<()>) -> Answer {
    scraped(front, request).unwrap_or_else(|refusal| *refusal)
}

fn scraped(front: &Front, request: &Request<()>) -> Result<Answer, Box<Answer>> {
    gate::check_watch(&front.common, request)?;
    let format = Format::wanted(&joined(request.headers(), ACCEPT.as_str()));
    let text = front.metrics.text().map_err(|_| {
        let sentence = "the metrics could not be written";
        Box::new(refusal(http::StatusCode::INTERNAL_SERVER_ERROR, sentence))
    })?;
    let mut answer = Response::new(Full::from(format.write(text)));
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(format.content_type()));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(VARY, HeaderValue::from_static("Accept"));
    headers.insert(
        HeaderName::from_static("x-content-type-options"),
        HeaderValue::from_static("nosniff"),
    );
    Ok(answer)
}

#[cfg(test)]
mod tests;
