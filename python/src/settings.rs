//! What was asked for from Python, checked and as the client takes it.

use std::num::NonZeroU64;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use lapwing::client::connection::READ_BYTES;
use lapwing::client::dial::Dial;
use lapwing::client::listener::Options;
use lapwing::client::target::{Security, Target, TargetError};
use lapwing::client::targets::Targets;
use lapwing::client::tls::{self, Trust};
use lapwing::client::token::TokenSource;
use lapwing::recording::marks::Marks;
use lapwing_wire::control::SUBPROTOCOL;
use lapwing_wire::decoder::DecoderLimits;
use lapwing_wire::extension::Compression;
use lapwing_wire::name::ClientName;
use lapwing_wire::query::Encoding;
use lapwing_wire::start::Start;
use lapwing_wire::topic::TopicName;
use pyo3::prelude::*;
use rustls::ClientConfig;

use crate::trouble::{Kind, Trouble};

/// What is asked of a feed, with Python's names.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
pub struct Wanted {
    /// The servers.
    pub url: String,
    topics: Option<Vec<String>>,
    block: i64,
    start: String,
    /// How to call ourselves.
    pub name: Option<String>,
    count: Option<i64>,
    time: Option<f64>,
    report: bool,
    /// The file that is recorded to.
    pub log: Option<PathBuf>,
    /// Whether the first gap is an error.
    pub fail_on_gap: bool,
    connect_timeout: Option<f64>,
    token_file: Option<PathBuf>,
    ca: Option<PathBuf>,
    insecure: bool,
    compression: bool,
}

impl Wanted {
    /// The servers.
    pub fn targets(&self) -> Result<Targets, Trouble> {
        targets(&self.url, Target::parse)
    }

    /// How long to wait for the first connection.
    pub fn connect_within(&self) -> Result<Option<Duration>, Trouble> {
        span("connect_timeout", self.connect_timeout)
    }

    /// What the client is to do.
    pub fn options(&self, targets: &Targets, resume: Marks) -> Result<Options, Trouble> {
        let own_wish = targets.first().own_wish();
        if let Some(key) = own_wish
            && (self.topics.is_some() || self.start != "latest")
        {
            return Err(value(format!(
                "{key}= in the URL and topics= or start= both say what to listen to: leave one of them out"
            )));
        }
        let name = self.name.as_deref().map(ClientName::parse).transpose();
        let name =
            name.map_err(|error| value(format!("name={:?}: {error}", self.name.as_deref().unwrap_or_default())))?;
        let (tls, token) = trust(targets, self.token_file.clone(), self.ca.clone(), self.insecure)?;
        let dial = |target: &Target| Dial {
            target: target.clone(),
            name: name.clone(),
            // A URL with wishes of its own is used as it stands: plain, as any other client would.
            protocols: if own_wish.is_some() { &[] } else { &[SUBPROTOCOL] },
            compression: if self.compression {
                Compression::Deflate
            } else {
                Compression::Off
            },
            limits: DecoderLimits {
                message_bytes_max: MESSAGE_BYTES_MAX,
                fragments_max: u16::MAX - 1,
            },
            read_bytes: READ_BYTES,
            tls: tls.clone(),
            token: token.clone(),
        };
        Ok(Options {
            dials: targets.all().iter().map(dial).collect(),
            topics: self.topics.as_deref().map(topics).transpose()?,
            start: self
                .start
                .parse::<Start>()
                .map_err(|error| value(format!("start={:?}: {error}", self.start)))?,
            encoding: if own_wish.is_some() {
                Encoding::Json
            } else {
                Encoding::Binary
            },
            resume,
            block: self.block()?,
            count: self
                .count
                .map(|count| whole("count", count, i64::MAX))
                .transpose()?
                .map(NonZeroU64::get),
            time: span("time", self.time)?,
            reports: self.report,
        })
    }

    /// How many messages make a block.
    pub fn block(&self) -> Result<NonZeroU64, Trouble> {
        whole("block", self.block, BLOCK_MAX)
    }
}

/// The servers that a text names.
pub fn targets(text: &str, parse: fn(&str) -> Result<Target, TargetError>) -> Result<Targets, Trouble> {
    Targets::parse(text, parse).map_err(|wrong| {
        let each = wrong.iter().map(|error| format!("{error} ({})", error.hint()));
        value(each.collect::<Vec<_>>().join("; "))
    })
}

/// Whom to trust, and what to show.
pub fn trust(
    targets: &Targets,
    token_file: Option<PathBuf>,
    ca: Option<PathBuf>,
    insecure: bool,
) -> Result<(Option<Arc<ClientConfig>>, TokenSource), Trouble> {
    let trust = match (ca, insecure) {
        (Some(_), true) => {
            return Err(value(
                "ca= and insecure=True contradict each other: leave one of them out",
            ));
        }
        (Some(path), false) => Trust::File(path),
        (None, true) => Trust::Anyone,
        (None, false) => Trust::System,
    };
    let tls = match targets.first().security {
        Security::Plain => None,
        Security::Tls => Some(tls::config(&trust).map_err(|error| value(error.to_string()))?),
    };
    let token = TokenSource::new(token_file).map_err(|error| value(error.to_string()))?;
    token.read().map_err(|error| value(error.to_string()))?;
    Ok((tls, token))
}

/// A topic's name.
pub fn topic(name: &str) -> Result<TopicName, Trouble> {
    TopicName::parse(name).map_err(|error| value(format!("{name:?} is no topic: {error}")))
}

/// A time in seconds.
pub fn span(name: &str, seconds: Option<f64>) -> Result<Option<Duration>, Trouble> {
    let Some(seconds) = seconds else { return Ok(None) };
    match Duration::try_from_secs_f64(seconds) {
        Ok(span) if !span.is_zero() && seconds <= SECONDS_MAX => Ok(Some(span)),
        _ => Err(value(format!(
            "{name}={seconds} is no time: seconds above 0, at most {SECONDS_MAX}; or None, for no end"
        ))),
    }
}

fn topics(names: &[String]) -> Result<Vec<TopicName>, Trouble> {
    if names.is_empty() || names.len() > TOPICS_MAX {
        return Err(value(format!(
            "topics has {} names: 1 to {TOPICS_MAX}; or None, for all that there are",
            names.len()
        )));
    }
    names.iter().map(|name| topic(name)).collect()
}

fn whole(name: &str, number: i64, most: i64) -> Result<NonZeroU64, Trouble> {
    let inside = u64::try_from(number)
        .ok()
        .filter(|_| number <= most)
        .and_then(NonZeroU64::new);
    inside.ok_or_else(|| value(format!("{name}={number} is out of range: 1 to {most}")))
}

fn value(text: impl Into<String>) -> Trouble {
    Trouble::new(Kind::Value, text)
}

/// 1,000,000: a block is in memory as a whole.
const BLOCK_MAX: i64 = 1_000_000;

/// As many as a server lets one connection follow.
const TOPICS_MAX: usize = 100;

/// A year; who wants more wants no end.
const SECONDS_MAX: f64 = 366.0 * 86_400.0;

/// 64 MiB: feeds of others send what they like.
const MESSAGE_BYTES_MAX: u32 = 64 << 20;
