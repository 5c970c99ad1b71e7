//! What the streams hold, read by a client of our own; and whether every server tells the same of them.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use nats_cluster::{Cluster, Stored};

use crate::epoch::Epoch;
use crate::line::{Line, Proof, read};
use crate::probe;
use crate::trouble::Trouble;

/// A stream as it was read.
#[derive(Clone, Debug, Default)]
pub struct Stream {
    /// The lowest offset that it keeps: that of the next message where it keeps none.
    pub first: u64,
    /// The offset of the next message.
    pub next: u64,
    /// Its messages, in order.
    pub messages: Vec<Stored>,
}

impl Stream {
    /// Reads a stream from its leader.
    pub fn read(nats: &Cluster, name: &str) -> Result<Self, nats_cluster::Trouble> {
        let mut client = nats.client()?;
        let mut messages = Vec::new();
        client.read(name, |stored| messages.push(stored))?;
        let told = client.stream(name)?.unwrap_or_default();
        let next = told["state"]["last_seq"].as_u64().unwrap_or_default();
        let first = messages.first().map_or(next, |stored| stored.sequence - 1);
        Ok(Self { first, next, messages })
    }

    /// The stream as a dump of a topic: an offset is a sequence less one.
    pub fn dump(&self, topic: &str, epoch: Epoch) -> Vec<u8> {
        let (first, next) = (self.first, self.next);
        let mut lines = format!(
            r#"{{"record":"lineage","topic":"{topic}","lineage":[["{epoch}",0]],"first":{first},"next":{next}}}"#
        )
        .into_bytes();
        lines.push(b'\n');
        let mut expected = first;
        for stored in &self.messages {
            let offset = stored.sequence - 1;
            if offset > expected {
                let gap =
                    format!(r#"{{"record":"gap","topic":"{topic}","from":{expected},"to":{offset},"reason":"purge"}}"#);
                lines.extend_from_slice(gap.as_bytes());
                lines.push(b'\n');
            }
            lines.extend_from_slice(&line(topic, epoch, stored));
            expected = offset + 1;
        }
        lines
    }
}

/// A message as the probe writes it of a server's copy.
fn line(topic: &str, epoch: Epoch, stored: &Stored) -> Vec<u8> {
    let offset = stored.sequence - 1;
    let mut line = format!(r#"{{"topic":"{topic}","offset":{offset},"epoch":"{epoch}","data":"#).into_bytes();
    line.extend_from_slice(&stored.payload);
    line.extend_from_slice(b"}\n");
    line
}

/// Where dumps of a topic lie.
pub fn dump_path(folder: &Path, topic: &str) -> PathBuf {
    folder.join("dumps").join(format!("{topic}.0000.ndjson"))
}

/// What a server has of a topic other than the stream has it, byte for byte; nothing if it is the same.
pub async fn difference(server: SocketAddr, topic: &str, epoch: Epoch, stream: &Stream) -> Option<String> {
    let Some(copy) = probe::copy(server, topic).await else {
        return Some(format!("{server} did not hand out topic {topic}"));
    };
    if (copy.told.epoch, copy.told.next) != (epoch, stream.next) {
        let (told, next) = (copy.told.epoch, copy.told.next);
        return Some(format!(
            "{server} is at {next} of {told:?} in topic {topic}, and the stream at {} of {epoch:?}",
            stream.next
        ));
    }
    if copy.told.from > stream.first {
        return Some(format!(
            "{server} begins topic {topic} at {}, and the stream keeps it from {} on",
            copy.told.from, stream.first
        ));
    }
    let difference = first_difference(&copy.lines, copy.told.from, topic, epoch, stream);
    difference.map(|difference| format!("{server} has {difference}"))
}

/// What a copy that begins at `from` has first that the stream has otherwise.
fn first_difference(copy: &[u8], from: u64, topic: &str, epoch: Epoch, stream: &Stream) -> Option<String> {
    // What the stream has let go of since the server looked is either still with the server, or a gap that it tells.
    let mut lines = copy
        .split_inclusive(|byte| *byte == b'\n')
        .skip_while(|found| match read(found, Proof::May) {
            Line::Message { offset, .. } => offset < stream.first,
            Line::Gap { to, .. } => to <= stream.first,
            _ => false,
        });
    for stored in stream.messages.iter().filter(|stored| stored.sequence > from) {
        let (expected, found) = (line(topic, epoch, stored), lines.next().unwrap_or_default());
        if expected != found {
            return Some(format!(
                "{} in topic {topic}, where the stream has {}",
                String::from_utf8_lossy(found).trim_end(),
                String::from_utf8_lossy(&expected).trim_end()
            ));
        }
    }
    lines
        .next()
        .map(|line| format!("more: {}", String::from_utf8_lossy(line).trim_end()))
}

/// The history and the end of a topic as one server tells them.
pub async fn told(server: SocketAddr, topic: &str) -> Result<(Epoch, u64), Trouble> {
    let told = probe::ask(server, topic).await.ok_or_else(|| Trouble::Tool {
        command: "the probe".to_owned(),
        said: format!("{server} did not tell the end of topic {topic}"),
    })?;
    Ok((told.epoch, told.next))
}

#[cfg(test)]
mod tests {
    use super::{Stream, first_difference};
    use crate::epoch::Epoch;
    use crate::line::{Line, Proof, read};
    use nats_cluster::Stored;

    fn stored(sequence: u64) -> Stored {
        Stored {
            sequence,
            subject: "t".to_owned(),
            headers: String::new(),
            time: String::new(),
            payload: sequence.to_string().into_bytes(),
        }
    }

    #[test]
    fn a_dump_of_a_stream_has_offsets_below_its_sequences_and_tells_what_was_purged() {
        let stream = Stream {
            first: 2,
            next: 6,
            messages: [3, 4, 6].map(stored).to_vec(),
        };
        let dump = stream.dump("t", Epoch(7));
        let lines: Vec<Line<'_>> = dump
            .split_inclusive(|byte| *byte == b'\n')
            .map(|line| read(line, Proof::May))
            .collect();
        assert!(
            matches!(&lines[0], Line::Lineage { lineage, first: 2, next: 6, .. } if lineage == &[(Epoch(7), 0)]),
            "{lines:?}"
        );
        assert!(matches!(lines[1], Line::Message { offset: 2, .. }), "{lines:?}");
        assert!(matches!(lines[3], Line::Gap { from: 4, to: 5, .. }), "{lines:?}");
        assert!(matches!(lines[4], Line::Message { offset: 5, .. }), "{lines:?}");
    }

    #[test]
    fn a_copy_may_begin_with_what_the_stream_has_let_go_of_and_differs_by_anything_else() {
        let stream = Stream {
            first: 4,
            next: 7,
            messages: [5, 6, 7].map(stored).to_vec(),
        };
        let message = |offset: u64| {
            format!(
                r#"{{"topic":"t","offset":{offset},"epoch":"{}","data":{}}}"#,
                Epoch(7),
                offset + 1
            )
        };
        let gap = |from: u64, to: u64| {
            format!(r#"{{"record":"gap","topic":"t","from":{from},"to":{to},"reason":"retention"}}"#)
        };
        let differs = |from: u64, lines: &[String]| {
            let copy: String = lines.iter().flat_map(|line| [line.as_str(), "\n"]).collect();
            first_difference(copy.as_bytes(), from, "t", Epoch(7), &stream).is_some()
        };
        let all = [message(4), message(5), message(6)];
        let with = |before: &[String]| [before, &all].concat();
        assert!(!differs(4, &all));
        assert!(!differs(2, &with(&[gap(2, 4)])));
        assert!(!differs(1, &with(&[message(1), message(2), gap(3, 4)])));
        assert!(
            differs(2, &[gap(2, 5), message(5), message(6)]),
            "a gap where the stream has a message"
        );
        assert!(differs(4, &[message(4), gap(5, 6), message(6)]), "a gap in the middle");
        assert!(differs(4, &all[..2]), "one is missing");
        assert!(differs(4, &with(&[message(4)])), "one twice");
        assert!(differs(4, &[&all[..], &[message(7)]].concat()), "one more");
    }
}
