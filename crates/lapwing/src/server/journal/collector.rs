//! Takes what this program and its libraries tell by `tracing` and by `log`, and hands on what the levels let through.

use std::borrow::Cow;

use lapwing_wire::escape::escaped_cut;
use tracing::callsite::Identifier;
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::{Interest, Subscriber};
use tracing::{Event, Level, Metadata};

use super::Journal;
use super::entry::Entry;
use super::levels::Levels;

/// One place in the code that tells something: what is limited together.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// By `tracing`.
    Traced(Identifier),
    /// By `log`, with its file and line.
    Logged(Option<&'static str>, Option<u32>, log::Level),
}

/// Has no spans: a line says with its fields what it is about.
pub struct Collector {
    levels: Levels,
    journal: Journal,
}

impl Collector {
    /// Hands on to this journal.
    #[must_use]
    pub fn new(levels: Levels, journal: Journal) -> Self {
        Self { levels, journal }
    }
}

impl Subscriber for Collector {
    /// Asked once for each place: from then on one that is not told costs a load and a branch.
    fn register_callsite(&self, place: &'static Metadata<'static>) -> Interest {
        match self.enabled(place) {
            true => Interest::always(),
            false => Interest::never(),
        }
    }

    fn enabled(&self, place: &Metadata<'_>) -> bool {
        !place.is_span() && self.levels.enables(place.target(), *place.level())
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(self.levels.most())
    }

    fn event(&self, event: &Event<'_>) {
        let place = event.metadata();
        self.journal.tell(Kind::Traced(place.callsite()), || {
            let mut entry = Entry::new(*place.level(), Cow::Borrowed(place.target()));
            event.record(&mut entry);
            entry
        });
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

/// The same for libraries that speak `log`: rustls and mio.
pub struct Logged(pub Collector);

impl log::Log for Logged {
    fn enabled(&self, place: &log::Metadata<'_>) -> bool {
        self.0.levels.enables(place.target(), level(place.level()))
    }

    fn log(&self, record: &log::Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let kind = Kind::Logged(record.file_static(), record.line(), record.level());
        self.0.journal.tell(kind, || {
            let target = escaped_cut(record.target(), TARGET_BYTES_MAX).0;
            Entry::new(level(record.level()), Cow::Owned(target)).with_message(record.args())
        });
    }

    fn flush(&self) {}
}

fn level(level: log::Level) -> Level {
    match level {
        log::Level::Error => Level::ERROR,
        log::Level::Warn => Level::WARN,
        log::Level::Info => Level::INFO,
        log::Level::Debug => Level::DEBUG,
        log::Level::Trace => Level::TRACE,
    }
}

/// The level of `log` beyond which nothing is told.
#[must_use]
pub fn most_logged(most: LevelFilter) -> log::LevelFilter {
    match most.into_level() {
        None => log::LevelFilter::Off,
        Some(Level::ERROR) => log::LevelFilter::Error,
        Some(Level::WARN) => log::LevelFilter::Warn,
        Some(Level::INFO) => log::LevelFilter::Info,
        Some(Level::DEBUG) => log::LevelFilter::Debug,
        Some(_) => log::LevelFilter::Trace,
    }
}

/// A path of modules.
const TARGET_BYTES_MAX: usize = 128;
