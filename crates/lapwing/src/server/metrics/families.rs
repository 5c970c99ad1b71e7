//! Every metric: its name, what it says, and where it is read.

use std::fmt;
use std::sync::atomic::Ordering;

use lapwing_wire::position::Offset;
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Unit;

use super::Scrape;
use super::samples::Samples;
use crate::server::fleet::copied;
use crate::server::fleet::letter::Copied;
use crate::server::flows::State;
use crate::server::histogram::Spread;
use crate::server::topics::Topic;
use crate::source::spec::Feed;

/// One metric and all its values.
pub struct Family {
    /// Its name, less its unit and the `_total` of a count.
    pub name: &'static str,
    /// What kind it is.
    pub kind: MetricType,
    /// Its unit, if it has one.
    pub unit: Option<Unit>,
    /// What tells its values apart. Nothing that clients make up may be among them.
    pub labels: &'static [&'static str],
    /// What it says, as a sentence without its end.
    pub help: &'static str,
    /// Reads its values.
    pub read: fn(&Scrape<'_>, &mut Samples<'_>) -> fmt::Result,
}

impl Family {
    /// The name that is asked for in a query; that of a histogram is followed by `_bucket`, `_sum` or `_count` there.
    #[must_use]
    pub fn full_name(&self) -> String {
        let unit = self
            .unit
            .as_ref()
            .map_or(String::new(), |unit| format!("_{}", unit.as_str()));
        let suffix = match self.kind {
            MetricType::Counter => "_total",
            MetricType::Info => "_info",
            _ => "",
        };
        format!("{}{unit}{suffix}", self.name)
    }
}

/// All of them, in the order of the answer.
pub const FAMILIES: &[Family] = &[
    Family {
        name: "lapwing_build",
        kind: MetricType::Info,
        unit: None,
        labels: &["version"],
        help: "The version that runs",
        read: |_, out| out.info(&[env!("CARGO_PKG_VERSION")]),
    },
    // Connections and clients.
    Family {
        name: "lapwing_connections",
        kind: MetricType::Gauge,
        unit: None,
        labels: &[],
        help: "Connections that are open, those in their handshake and those of HTTP included",
        read: |scrape, out| out.gauge(&[], &scrape.common.open.load(Ordering::Relaxed)),
    },
    Family {
        name: "lapwing_connections_limit",
        kind: MetricType::Gauge,
        unit: None,
        labels: &[],
        help: "Connections that may be open (--max-connections)",
        read: |scrape, out| out.gauge(&[], &scrape.common.limits.connections_max),
    },
    Family {
        name: "lapwing_clients",
        kind: MetricType::Gauge,
        unit: None,
        labels: &["mode"],
        help: "Clients that are here, by how they want their messages",
        read: |scrape, out| {
            let mut clients = scrape.common.counts.clients();
            clients.try_for_each(|(mode, count)| out.gauge(&[mode.as_str()], &count))
        },
    },
    Family {
        name: "lapwing_clients_joined",
        kind: MetricType::Counter,
        unit: None,
        labels: &[],
        help: "Clients that were let in",
        read: |scrape, out| out.counter(&[], scrape.common.counts.came()),
    },
    Family {
        name: "lapwing_clients_left",
        kind: MetricType::Counter,
        unit: None,
        labels: &["code"],
        help: "Clients that are gone, by the close code of their end; 1006 is an end without a close frame",
        read: |scrape, out| numbered(out, scrape.common.counts.left.each()),
    },
    Family {
        name: "lapwing_handshake",
        kind: MetricType::Histogram,
        unit: Some(Unit::Seconds),
        labels: &[],
        help: "From the accept of a connection to its 101, with TLS and the wait for its turn; of streams that are the first request on their connection",
        read: |scrape, out| out.histogram(&[], &scrape.common.counts.handshakes.spread()),
    },
    Family {
        name: "lapwing_tls_handshake",
        kind: MetricType::Histogram,
        unit: Some(Unit::Seconds),
        labels: &[],
        help: "Handshakes of TLS, from the first byte on",
        read: |scrape, out| out.histogram(&[], &scrape.common.counts.tls_handshakes.spread()),
    },
    Family {
        name: "lapwing_limit_rejections",
        kind: MetricType::Counter,
        unit: None,
        labels: &["limit"],
        help: "How often somebody was held to a limit",
        read: |scrape, out| {
            let mut limits = scrape.common.breaches.each();
            limits.try_for_each(|(limit, count)| out.counter(&[limit], count))
        },
    },
    Family {
        name: "lapwing_token_refusals",
        kind: MetricType::Counter,
        unit: None,
        labels: &["reason"],
        help: "How often somebody was refused for their token, for the lack of one, or for where they are",
        read: |scrape, out| {
            let mut reasons = scrape.common.refusals.each();
            reasons.try_for_each(|(reason, count)| out.counter(&[reason], count))
        },
    },
    Family {
        name: "lapwing_received_messages",
        kind: MetricType::Counter,
        unit: None,
        labels: &[],
        help: "Messages from clients, commands and reports included",
        read: |scrape, out| out.counter(&[], scrape.common.ledgers.received().messages),
    },
    Family {
        name: "lapwing_received",
        kind: MetricType::Counter,
        unit: Some(Unit::Bytes),
        labels: &[],
        help: "Bytes from clients behind their handshake, frame headers and control frames included",
        read: |scrape, out| out.counter(&[], scrape.common.ledgers.received().bytes),
    },
    // Delivery.
    Family {
        name: "lapwing_sent_messages",
        kind: MetricType::Counter,
        unit: None,
        labels: &["topic"],
        help: "Messages that went out, over all clients",
        read: |scrape, out| {
            each_topic(scrape, |name, topic| {
                out.counter(&[name], scrape.common.ledgers.sent(topic.id).messages)
            })
        },
    },
    Family {
        name: "lapwing_sent",
        kind: MetricType::Counter,
        unit: Some(Unit::Bytes),
        labels: &["topic"],
        help: "Bytes of the frames of these messages, over all clients, less what TLS adds",
        read: |scrape, out| {
            each_topic(scrape, |name, topic| {
                out.counter(&[name], scrape.common.ledgers.sent(topic.id).bytes)
            })
        },
    },
    Family {
        name: "lapwing_followers",
        kind: MetricType::Gauge,
        unit: None,
        labels: &["topic"],
        help: "Clients that follow a topic now",
        read: |scrape, out| each_topic(scrape, |name, topic| out.gauge(&[name], &topic.log.followers())),
    },
    Family {
        name: "lapwing_delivery_lag",
        kind: MetricType::Histogram,
        unit: Some(Unit::Seconds),
        labels: &["topic"],
        help: "From the append of a message to the moment at which a delivery thread has given every follower its turn for it; in a durable topic the disk's time is in it",
        read: |scrape, out| {
            each_topic(scrape, |name, topic| {
                filled(out, &[name], &scrape.common.ledgers.lag(topic.id))
            })
        },
    },
    Family {
        name: "lapwing_delivery_late",
        kind: MetricType::Gauge,
        unit: Some(Unit::Seconds),
        labels: &[],
        help: "The longest delivery lag of the last ten seconds, in any topic",
        read: |scrape, out| out.gauge(&[], &scrape.common.ledgers.late(scrape.now.mono).as_secs_f64()),
    },
    Family {
        name: "lapwing_gaps",
        kind: MetricType::Counter,
        unit: None,
        labels: &["topic", "reason"],
        help: "How often a client was told that it will not get messages, or jumped over them",
        read: |scrape, out| {
            each_topic(scrape, |name, topic| {
                let mut gaps = scrape.common.counts.of(topic.id).gaps();
                gaps.try_for_each(|(reason, gaps)| out.counter(&[name, reason], gaps.told.load(Ordering::Relaxed)))
            })
        },
    },
    Family {
        name: "lapwing_missed_messages",
        kind: MetricType::Counter,
        unit: None,
        labels: &["topic", "reason"],
        help: "Messages in these gaps, over all clients",
        read: |scrape, out| {
            each_topic(scrape, |name, topic| {
                let mut gaps = scrape.common.counts.of(topic.id).gaps();
                gaps.try_for_each(|(reason, gaps)| out.counter(&[name, reason], gaps.messages.load(Ordering::Relaxed)))
            })
        },
    },
    // What clients report.
    Family {
        name: "lapwing_reports",
        kind: MetricType::Counter,
        unit: None,
        labels: &["topic"],
        help: "Reports of blocks that were taken",
        read: |scrape, out| {
            each_topic(scrape, |name, topic| {
                out.counter(
                    &[name],
                    scrape.common.counts.of(topic.id).reports.load(Ordering::Relaxed),
                )
            })
        },
    },
    Family {
        name: "lapwing_reporting_clients",
        kind: MetricType::Gauge,
        unit: None,
        labels: &["topic", "cause"],
        help: "Clients that report a topic, by whose fault it is that they receive as they do; source-limited is well",
        read: |scrape, out| {
            each_topic(scrape, |name, topic| {
                let mut causes = topic.crowd.causes();
                causes.try_for_each(|(cause, count)| out.gauge(&[name, cause.as_str()], &count))
            })
        },
    },
    Family {
        name: "lapwing_block",
        kind: MetricType::Histogram,
        unit: Some(Unit::Seconds),
        labels: &["topic"],
        help: "How long blocks took, as clients report; of many in one report the shortest and the longest, and the median for the others",
        read: |scrape, out| {
            each_topic(scrape, |name, topic| {
                filled(out, &[name], &scrape.common.counts.of(topic.id).blocks.spread())
            })
        },
    },
    Family {
        name: "lapwing_block_drift",
        kind: MetricType::Histogram,
        unit: Some(Unit::Seconds),
        labels: &["topic", "direction"],
        help: "By how much longer (behind) or shorter (ahead) blocks took a client than the server, for the same offsets",
        read: |scrape, out| {
            each_topic(scrape, |name, topic| {
                let counts = scrape.common.counts.of(topic.id);
                filled(out, &[name, "behind"], &counts.behind.spread())?;
                filled(out, &[name, "ahead"], &counts.ahead.spread())
            })
        },
    },
    // Several servers.
    Family {
        name: "lapwing_servers",
        kind: MetricType::Gauge,
        unit: None,
        labels: &[],
        help: "Servers that share the topics and are there, this one included; with --broker",
        read: |scrape, out| match &scrape.common.fleet {
            Some(fleet) => out.gauge(&[], &(fleet.others().there().count() as u64 + 1)),
            None => Ok(()),
        },
    },
    Family {
        name: "lapwing_server_letters_dropped",
        kind: MetricType::Counter,
        unit: None,
        labels: &["reason"],
        help: "Letters between servers, and lines of them, that were dropped here; with --broker",
        read: |scrape, out| match &scrape.common.fleet {
            Some(fleet) => fleet
                .losses()
                .try_for_each(|(reason, count)| out.counter(&[reason], count)),
            None => Ok(()),
        },
    },
    Family {
        name: "lapwing_stream_lag_messages",
        kind: MetricType::Gauge,
        unit: None,
        labels: &["topic"],
        help: "Messages of a topic's stream that this server does not have yet, as far as it knows; with --broker",
        read: |scrape, out| each_copy(scrape, |name, copied| out.gauge(&[name], &copied.lag)),
    },
    Family {
        name: "lapwing_stream_stale",
        kind: MetricType::Gauge,
        unit: None,
        labels: &["topic"],
        help: "1 while a topic's stream cannot be reached from this server, so that it may have more; with --broker",
        read: |scrape, out| each_copy(scrape, |name, copied| out.gauge(&[name], &u64::from(copied.stale))),
    },
    // Topics.
    Family {
        name: "lapwing_appended_messages",
        kind: MetricType::Counter,
        unit: None,
        labels: &["topic"],
        help: "Messages that came into a topic and became visible",
        read: |scrape, out| {
            each_topic(scrape, |name, topic| {
                out.counter(&[name], topic.log.memory().shown().messages)
            })
        },
    },
    Family {
        name: "lapwing_appended",
        kind: MetricType::Counter,
        unit: Some(Unit::Bytes),
        labels: &["topic"],
        help: "Bytes of their frames",
        read: |scrape, out| {
            each_topic(scrape, |name, topic| {
                out.counter(&[name], topic.log.memory().shown().bytes)
            })
        },
    },
    Family {
        name: "lapwing_topic_asked_messages_per_second",
        kind: MetricType::Gauge,
        unit: None,
        labels: &["topic"],
        help: "The pace that was asked of a topic's source, or that it may have at most (stdin, files, commands); of those that have one",
        read: |scrape, out| {
            each_topic(scrape, |name, topic| {
                match (&topic.config.source.feed, topic.config.source.pace) {
                    (Feed::Push, _) | (_, None) => Ok(()),
                    (_, Some(pace)) => out.gauge(&[name], &pace.per_second()),
                }
            })
        },
    },
    Family {
        name: "lapwing_topic_tick",
        kind: MetricType::Gauge,
        unit: Some(Unit::Seconds),
        labels: &["topic"],
        help: "From tick to tick of a source that makes its messages itself (users, arrays); a tick may be several messages",
        read: |scrape, out| {
            each_topic(scrape, |name, topic| {
                match (&topic.config.source.feed, topic.config.source.pace) {
                    (Feed::Users(_) | Feed::Arrays(_), Some(pace)) => {
                        out.gauge(&[name], &pace.interval().as_secs_f64())
                    }
                    // A pace is what the others keep to at most: a command that says nothing is not late.
                    _ => Ok(()),
                }
            })
        },
    },
    Family {
        name: "lapwing_topic_newest_timestamp",
        kind: MetricType::Gauge,
        unit: Some(Unit::Seconds),
        labels: &["topic"],
        help: "When the newest message was appended, in seconds since 1970; of topics in which one was since the server started",
        read: |scrape, out| {
            each_topic(scrape, |name, topic| match topic.log.memory().shown().newest {
                Some(newest) => out.gauge(&[name], &(newest.nanos() as f64 / 1e9)),
                None => Ok(()),
            })
        },
    },
    Family {
        name: "lapwing_topic_ended",
        kind: MetricType::Gauge,
        unit: None,
        labels: &["topic"],
        help: "1 when a topic or its source is over: nothing more will come",
        read: |scrape, out| {
            each_topic(scrape, |name, topic| {
                out.gauge(&[name], &u64::from(scrape.common.flows.state(topic) == State::Ended))
            })
        },
    },
    Family {
        name: "lapwing_topic_next_offset",
        kind: MetricType::Gauge,
        unit: None,
        labels: &["topic"],
        help: "The offset that the next message will get",
        read: |scrape, out| each_topic(scrape, |name, topic| offset(out, name, topic.log.next())),
    },
    Family {
        name: "lapwing_topic_first_offset",
        kind: MetricType::Gauge,
        unit: None,
        labels: &["topic"],
        help: "The lowest offset that is retained",
        read: |scrape, out| each_topic(scrape, |name, topic| offset(out, name, topic.log.first())),
    },
    Family {
        name: "lapwing_topic_durable_offset",
        kind: MetricType::Gauge,
        unit: None,
        labels: &["topic"],
        help: "Everything below is on stable storage; of durable topics",
        read: |scrape, out| {
            each_topic(scrape, |name, topic| match topic.log.durable_end() {
                Some(end) => offset(out, name, end),
                None => Ok(()),
            })
        },
    },
    Family {
        name: "lapwing_topic_retained",
        kind: MetricType::Gauge,
        unit: Some(Unit::Bytes),
        labels: &["topic"],
        help: "What a topic keeps: in files if it is durable, otherwise in memory, with its index and room that was asked for ahead",
        read: |scrape, out| each_topic(scrape, |name, topic| out.gauge(&[name], &topic.log.bytes())),
    },
    Family {
        name: "lapwing_topic_retained_limit",
        kind: MetricType::Gauge,
        unit: Some(Unit::Bytes),
        labels: &["topic"],
        help: "What it may keep (keep_bytes)",
        read: |scrape, out| each_topic(scrape, |name, topic| out.gauge(&[name], &topic.log.bytes_max())),
    },
    // The disk.
    Family {
        name: "lapwing_storage_failing",
        kind: MetricType::Gauge,
        unit: None,
        labels: &["topic"],
        help: "1 while messages of a topic cannot be kept; of durable topics",
        read: |scrape, out| {
            each_durable(scrape, |name, topic| {
                let failing = scrape.common.counts.of(topic.id).failing.load(Ordering::Relaxed);
                out.gauge(&[name], &u64::from(failing))
            })
        },
    },
    Family {
        name: "lapwing_storage_failures",
        kind: MetricType::Counter,
        unit: None,
        labels: &["topic"],
        help: "How often messages of a topic could not be kept; of durable topics",
        read: |scrape, out| {
            each_durable(scrape, |name, topic| {
                out.counter(
                    &[name],
                    scrape.common.counts.of(topic.id).failures.load(Ordering::Relaxed),
                )
            })
        },
    },
    Family {
        name: "lapwing_storage_findings",
        kind: MetricType::Counter,
        unit: None,
        labels: &["topic"],
        help: "What was found in the files of a topic that somebody should know: a torn end, damage, a lost history; of durable topics",
        read: |scrape, out| {
            each_durable(scrape, |name, topic| {
                out.counter(
                    &[name],
                    scrape.common.counts.of(topic.id).findings.load(Ordering::Relaxed),
                )
            })
        },
    },
    Family {
        name: "lapwing_publish_answers",
        kind: MetricType::Counter,
        unit: None,
        labels: &["status"],
        help: "Answers to publishers, by the status of HTTP",
        read: |scrape, out| numbered(out, scrape.common.counts.published.each()),
    },
    // The process, in the names that every dashboard knows.
    Family {
        name: "process_cpu",
        kind: MetricType::Counter,
        unit: Some(Unit::Seconds),
        labels: &[],
        help: "Time on cores, in the program and in the system for it",
        read: |scrape, out| out.seconds(&[], scrape.process.cpu_s),
    },
    Family {
        name: "process_resident_memory",
        kind: MetricType::Gauge,
        unit: Some(Unit::Bytes),
        labels: &[],
        help: "Memory in use",
        read: |scrape, out| known(out, scrape.process.resident_bytes),
    },
    Family {
        name: "process_virtual_memory",
        kind: MetricType::Gauge,
        unit: Some(Unit::Bytes),
        labels: &[],
        help: "Memory asked for; most of it is never touched",
        read: |scrape, out| known(out, scrape.process.virtual_bytes),
    },
    Family {
        name: "process_open_fds",
        kind: MetricType::Gauge,
        unit: None,
        labels: &[],
        help: "Files that are open, a connection is one",
        read: |scrape, out| known(out, scrape.process.files),
    },
    Family {
        name: "process_max_fds",
        kind: MetricType::Gauge,
        unit: None,
        labels: &[],
        help: "Files that may be open (ulimit -n)",
        read: |scrape, out| known(out, scrape.process.files_max),
    },
    Family {
        name: "process_threads",
        kind: MetricType::Gauge,
        unit: None,
        labels: &[],
        help: "Threads of the process",
        read: |scrape, out| known(out, scrape.process.threads),
    },
    Family {
        name: "process_start_time",
        kind: MetricType::Gauge,
        unit: Some(Unit::Seconds),
        labels: &[],
        help: "When the server started, in seconds since 1970",
        read: |scrape, out| out.gauge(&[], &(scrape.started.nanos() as f64 / 1e9)),
    },
];

fn each_topic(scrape: &Scrape<'_>, mut write: impl FnMut(&str, &Topic) -> fmt::Result) -> fmt::Result {
    let mut topics = scrape.common.topics.public();
    topics.try_for_each(|topic| write(topic.name().as_str(), topic))
}

fn each_copy(scrape: &Scrape<'_>, mut write: impl FnMut(&str, Copied) -> fmt::Result) -> fmt::Result {
    each_topic(scrape, |name, topic| {
        copied(topic).map_or(Ok(()), |copied| write(name, copied))
    })
}

fn each_durable(scrape: &Scrape<'_>, mut write: impl FnMut(&str, &Topic) -> fmt::Result) -> fmt::Result {
    each_topic(scrape, |name, topic| match topic.log.store() {
        Some(_) => write(name, topic),
        None => Ok(()),
    })
}

/// An empty one is left out: with a thousand topics they would be most of the answer.
fn filled(out: &mut Samples<'_>, values: &[&str], spread: &Spread) -> fmt::Result {
    match spread.count {
        0 => Ok(()),
        _ => out.histogram(values, spread),
    }
}

fn numbered(out: &mut Samples<'_>, mut counts: impl Iterator<Item = (Option<u16>, u64)>) -> fmt::Result {
    counts.try_for_each(|(number, count)| {
        let number = number.map_or_else(|| "other".to_owned(), |number| number.to_string());
        out.counter(&[&number], count)
    })
}

fn offset(out: &mut Samples<'_>, topic: &str, offset: Offset) -> fmt::Result {
    out.gauge(&[topic], &offset.get())
}

/// What the system does not tell is left out.
fn known(out: &mut Samples<'_>, value: Option<u64>) -> fmt::Result {
    value.map_or(Ok(()), |value| out.gauge(&[], &value))
}
