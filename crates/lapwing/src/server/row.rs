//! One client as those who watch see it.

use std::cmp::Ordering;
use std::net::SocketAddr;
use std::time::Duration;

use lapwing_wire::position::Offset;
use lapwing_wire::time::{WallTime, micros_text};
use lapwing_wire::topic::TopicName;
use serde::Serialize;

use super::cause::{Cause, Judgement};
use super::event::{hundredths, place_text, tenth, tenths};
use super::label::ClientLabel;
use super::reporter::Reporter;
use crate::clock::Now;
use crate::socket::path::Path;

/// One client: the row of `/api/clients`, and a change of `$clients`.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// The connection's number.
    pub session: u64,
    /// How it is called.
    pub client: ClientLabel,
    /// Whose token it is, where tokens are asked for; already harmless.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub who: Option<String>,
    /// From where.
    #[serde(serialize_with = "place_text")]
    pub address: SocketAddr,
    /// How it speaks.
    pub mode: &'static str,
    /// When it came.
    #[serde(serialize_with = "wall")]
    pub since: WallTime,
    /// Whose fault it is that it receives as it does, in the topic that is worst off.
    pub cause: Cause,
    /// How that is known.
    pub why: Judgement,
    /// How far it is behind there; none without reports.
    #[serde(serialize_with = "tenths", skip_serializing_if = "Option::is_none")]
    pub behind_ms: Option<f64>,
    /// Messages sent to it.
    pub messages: u64,
    /// Bytes sent to it.
    pub bytes: u64,
    /// The way to it, where the kernel tells.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub way: Option<Way>,
    /// The topics that it follows.
    pub topics: Vec<TopicRow>,
}

/// The way to a client, in the units of the API.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Way {
    /// Bytes that the kernel holds for it.
    pub waits_bytes: u64,
    /// The round trip, as [`Path::way_and_back`] has it.
    #[serde(serialize_with = "hundredths")]
    pub rtt_ms: Option<f64>,
    /// The shortest.
    #[serde(serialize_with = "hundredths", skip_serializing_if = "Option::is_none")]
    pub rtt_min_ms: Option<f64>,
    /// Segments sent again.
    pub retransmits: u32,
}

/// One topic that a client follows.
#[derive(Clone, Debug, Serialize)]
pub struct TopicRow {
    /// Its name.
    pub topic: TopicName,
    /// What goes out next.
    pub next: Offset,
    /// Messages that wait behind that place.
    pub lag: u64,
    /// What its reports say.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub report: Option<ReportRow>,
}

/// What a client reported last of a topic.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct ReportRow {
    cause: Cause,
    #[serde(skip)]
    judgement: Judgement,
    #[serde(serialize_with = "tenth")]
    behind_ms: f64,
    #[serde(serialize_with = "wall_option", skip_serializing_if = "Option::is_none")]
    slow_since: Option<WallTime>,
    block: u64,
    block_size: u64,
    reported: Offset,
    #[serde(serialize_with = "wall")]
    reported_at: WallTime,
    #[serde(serialize_with = "tenths", skip_serializing_if = "Option::is_none")]
    elapsed_ms: Option<f64>,
    #[serde(serialize_with = "tenths", skip_serializing_if = "Option::is_none")]
    server_ms: Option<f64>,
    #[serde(serialize_with = "tenths", skip_serializing_if = "Option::is_none")]
    drift_ms: Option<f64>,
    #[serde(serialize_with = "tenths", skip_serializing_if = "Option::is_none")]
    latency_ms: Option<f64>,
    #[serde(serialize_with = "hundredths", skip_serializing_if = "Option::is_none")]
    latency_error_ms: Option<f64>,
}

impl ReportRow {
    /// As this client's reports of a topic show it; none before the first.
    #[must_use]
    pub fn of(reporter: &Reporter) -> Option<Self> {
        let last = reporter.last()?;
        Some(Self {
            cause: reporter.judgement().cause(),
            judgement: reporter.judgement(),
            behind_ms: reporter.behind_ms(),
            slow_since: reporter.slow_since(),
            block: last.block,
            block_size: last.block_size,
            reported: last.last,
            reported_at: last.at.wall,
            elapsed_ms: last.elapsed_ms,
            server_ms: last.server_ms,
            drift_ms: last.drift_ms,
            latency_ms: last.latency.map(|latency| latency.ms),
            latency_error_ms: last.latency.map(|latency| latency.error_ms),
        })
    }

    /// Trouble first, then the one that is further behind.
    fn is_worse_than(&self, other: &Self) -> bool {
        let rank = |row: &Self| (row.cause.is_trouble(), row.behind_ms);
        rank(self) > rank(other)
    }
}

impl From<Path> for Way {
    fn from(path: Path) -> Self {
        let ms = |span: Duration| span.as_secs_f64() * 1e3;
        Self {
            waits_bytes: path.waits_bytes,
            rtt_ms: Some(ms(path.way_and_back())),
            rtt_min_ms: path.round_trip_min.map(ms),
            retransmits: path.retransmits,
        }
    }
}

impl Row {
    /// Takes cause and lateness from the topic that is worst off.
    #[must_use]
    pub fn judged(mut self) -> Self {
        let reports = self.topics.iter().filter_map(|topic| topic.report.as_ref());
        let worst = reports.reduce(|worst, next| if next.is_worse_than(worst) { next } else { worst });
        self.why = worst.map_or(Judgement::NoReports, |worst| worst.judgement);
        self.cause = self.why.cause();
        self.behind_ms = worst.map(|worst| worst.behind_ms);
        self
    }

    /// Whether something worth drawing changed since it was `before`: a cause, a report, what it follows, a lag or queue that came or
    /// went or moved by a quarter. What merely goes on, such as the messages sent, is not.
    #[must_use]
    pub fn differs(&self, before: &Self) -> bool {
        let waits = |row: &Self| row.way.map_or(0, |way| way.waits_bytes);
        let rtt = |row: &Self| row.way.and_then(|way| way.rtt_ms).map_or(0, |ms| (ms * 1e3) as u64);
        self.cause != before.cause
            || self.topics.len() != before.topics.len()
            || moved(waits(before), waits(self), WAITS_BYTES_MIN)
            || moved(rtt(before), rtt(self), RTT_MICROS_MIN)
            || self
                .topics
                .iter()
                .zip(&before.topics)
                .any(|(now, before)| now.differs(before))
    }

    /// The order of a list: who is in trouble first, since one that is silent may not be behind yet; then who is farther behind.
    #[must_use]
    pub fn by_trouble(&self, other: &Self) -> Ordering {
        self.rank("").by_trouble(&other.rank(""))
    }

    /// Its place in a list with clients of several servers, of which this is the one that it is on.
    #[must_use]
    pub fn rank<'r>(&self, server: &'r str) -> Rank<'r> {
        Rank {
            cause: self.cause,
            behind_ms: self.behind_ms,
            server,
            session: self.session,
        }
    }

    /// Whether its name or address has this in it; `part` is in lower case.
    #[must_use]
    pub fn is_found_by(&self, part: &str) -> bool {
        self.client.as_text().to_lowercase().contains(part) || self.address.to_string().contains(part)
    }
}

/// What the place of a client in a list follows from.
#[derive(Clone, Copy, Debug)]
pub struct Rank<'r> {
    /// Whose fault it is that it receives as it does.
    pub cause: Cause,
    /// How far it is behind, where that is known.
    pub behind_ms: Option<f64>,
    /// The server that it is on.
    pub server: &'r str,
    /// The connection's number there.
    pub session: u64,
}

impl Rank<'_> {
    /// As [`Row::by_trouble`].
    #[must_use]
    pub fn by_trouble(&self, other: &Self) -> Ordering {
        let behind = |rank: &Self| rank.behind_ms.unwrap_or(f64::NEG_INFINITY);
        let trouble = other.cause.is_trouble().cmp(&self.cause.is_trouble());
        trouble
            .then(behind(other).total_cmp(&behind(self)))
            .then((self.server, self.session).cmp(&(other.server, other.session)))
    }
}

impl TopicRow {
    fn differs(&self, before: &Self) -> bool {
        let reported = |row: &Self| row.report.map(|report| (report.reported_at, report.cause));
        self.topic != before.topic || reported(self) != reported(before) || moved(before.lag, self.lag, LAG_MIN)
    }
}

/// Whether a number moved by a quarter, and by enough to be seen.
fn moved(before: u64, now: u64, least: u64) -> bool {
    let by = before.abs_diff(now);
    by >= least && by * 4 > before.max(now)
}

fn wall<S: serde::Serializer>(time: &WallTime, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&micros_text(*time))
}

fn wall_option<S: serde::Serializer>(time: &Option<WallTime>, serializer: S) -> Result<S::Ok, S::Error> {
    match time {
        Some(time) => wall(time, serializer),
        None => serializer.serialize_none(),
    }
}

/// When a connection came, by the wall clock; `joined` is that on the monotonic one.
#[must_use]
pub fn wall_of(joined: u64, now: Now) -> WallTime {
    let ago = i64::try_from(now.mono.saturating_sub(joined)).unwrap_or(i64::MAX);
    WallTime::from_nanos(now.wall.nanos().saturating_sub(ago))
}

/// Less is the frame that was just sent.
const WAITS_BYTES_MIN: u64 = 4 << 10;
/// A round trip on one machine wanders by less.
const RTT_MICROS_MIN: u64 = 2000;
/// A burst that was just made waits for one turn.
const LAG_MIN: u64 = 10;

#[cfg(test)]
mod tests {
    use super::*;

    fn row(lag: u64, waits_bytes: u64, rtt_ms: f64) -> Row {
        Row {
            session: 7,
            client: ClientLabel::new(7, None),
            who: None,
            address: "127.0.0.1:52162".parse().expect("valid"),
            mode: "lapwing.v1",
            since: WallTime::default(),
            cause: Cause::Unclear,
            why: Judgement::NoReports,
            behind_ms: None,
            messages: 205,
            bytes: 21_299,
            way: Some(Way {
                waits_bytes,
                rtt_ms: Some(rtt_ms),
                rtt_min_ms: Some(0.1),
                retransmits: 0,
            }),
            topics: vec![TopicRow {
                topic: TopicName::parse("arrays").expect("valid"),
                next: Offset::new(105),
                lag,
                report: None,
            }],
        }
    }

    fn report(cause: Judgement, behind_ms: f64, at: i64) -> ReportRow {
        ReportRow {
            cause: cause.cause(),
            judgement: cause,
            behind_ms,
            slow_since: None,
            block: 8,
            block_size: 5,
            reported: Offset::new(84),
            reported_at: WallTime::from_nanos(at),
            elapsed_ms: Some(6000.1),
            server_ms: Some(2000.0),
            drift_ms: Some(4000.0),
            latency_ms: None,
            latency_error_ms: None,
        }
    }

    #[test]
    fn only_what_is_worth_drawing_is_a_change() {
        let still = row(0, 0, 0.2);
        for (changed, differs) in [
            (row(0, 0, 0.3), false),
            (row(9, 4095, 2.1), false),
            (row(10, 0, 0.2), true),
            (row(0, 4096, 0.2), true),
            (row(0, 0, 2.3), true),
            (
                Row {
                    messages: 999,
                    bytes: 99_999,
                    ..still.clone()
                },
                false,
            ),
            (
                Row {
                    topics: Vec::new(),
                    ..still.clone()
                },
                true,
            ),
        ] {
            assert_eq!(changed.differs(&still), differs, "{changed:?}");
        }
        let (mut before, mut after) = (row(400, 0, 0.2), row(500, 0, 0.2));
        assert!(!after.differs(&before));
        after.topics[0].lag = 534;
        assert!(after.differs(&before));
        before.topics[0].report = Some(report(Judgement::AsMade, 0.0, 1));
        assert!(still.differs(&before), "its report is gone");
        let mut after = before.clone();
        assert!(!after.differs(&before));
        after.topics[0].report = Some(report(Judgement::AsMade, 0.0, 2));
        assert!(after.differs(&before));
    }

    #[test]
    fn a_row_is_judged_by_the_topic_that_is_worst_off() {
        let mut seen = row(0, 0, 0.2);
        assert_eq!(seen.clone().judged().cause, Cause::Unclear);
        let with = |reports: &[ReportRow]| {
            let mut row = seen.clone();
            row.topics = reports
                .iter()
                .map(|report| TopicRow {
                    report: Some(*report),
                    ..seen.topics[0].clone()
                })
                .collect();
            row.judged()
        };
        let (fine, late) = (
            report(Judgement::AsMade, 9000.0, 1),
            report(Judgement::ReadsLate, 40.0, 1),
        );
        for order in [[fine, late], [late, fine]] {
            let judged = with(&order);
            assert_eq!((judged.cause, judged.behind_ms), (Cause::ClientSlow, Some(40.0)));
        }
        let farther = report(Judgement::FullOrLossy, 50.0, 1);
        assert_eq!(with(&[late, farther, fine]).cause, Cause::NetworkSlow);
        seen.topics.clear();
        assert_eq!(seen.judged().behind_ms, None);
    }

    #[test]
    fn who_is_in_trouble_is_listed_before_all_who_are_only_behind() {
        let of = |session, cause, behind_ms| Row {
            session,
            cause,
            behind_ms,
            ..row(0, 0, 0.2)
        };
        let mut rows = [
            of(1, Cause::Unclear, None),
            of(2, Cause::SourceLimited, Some(900.0)),
            of(3, Cause::Silent, Some(0.1)),
            of(5, Cause::SourceLimited, Some(1.0)),
            of(4, Cause::SourceLimited, Some(1.0)),
            of(6, Cause::ClientSlow, Some(70.0)),
        ];
        rows.sort_by(Row::by_trouble);
        assert_eq!(rows.map(|row| row.session), [6, 3, 2, 4, 5, 1]);
    }

    #[test]
    fn a_row_has_the_documented_keys() {
        let mut seen = row(3, 0, 0.2);
        seen.topics[0].report = Some(report(Judgement::ReadsLate, 8800.04, 1_500_000_000));
        let json = serde_json::to_string(&seen.judged()).expect("serializable");
        let expect = "{\"session\":7,\"client\":\"client 7\",\"address\":\"127.0.0.1:52162\",\"mode\":\"lapwing.v1\",\
                      \"since\":\"1970-01-01T00:00:00.000000Z\",\"cause\":\"client slow\",\
                      \"why\":\"We sent in time and the network took it; the client reads late.\",\"behind_ms\":8800.0,\
                      \"messages\":205,\"bytes\":21299,\"waits_bytes\":0,\"rtt_ms\":0.2,\"rtt_min_ms\":0.1,\"retransmits\":0,\
                      \"topics\":[{\"topic\":\"arrays\",\"next\":105,\"lag\":3,\"cause\":\"client slow\",\"behind_ms\":8800.0,\
                      \"block\":8,\"block_size\":5,\"reported\":84,\"reported_at\":\"1970-01-01T00:00:01.500000Z\",\
                      \"elapsed_ms\":6000.1,\"server_ms\":2000.0,\"drift_ms\":4000.0}]}";
        assert_eq!(json, expect);
        let plain = serde_json::to_value(row(3, 0, 0.2).judged()).expect("serializable");
        assert_eq!(
            plain["topics"][0],
            serde_json::json!({"topic": "arrays", "next": 105, "lag": 3})
        );
        assert_eq!(plain.get("behind_ms"), None);
    }

    #[test]
    fn a_client_is_found_by_a_part_of_its_name_or_address() {
        let seen = row(0, 0, 0.0);
        assert!(seen.is_found_by("client") && seen.is_found_by("127.0.0.1:52"));
        assert!(!seen.is_found_by("sensor"));
    }
}
