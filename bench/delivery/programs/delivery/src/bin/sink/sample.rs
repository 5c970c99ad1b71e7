//! A connection whose messages are looked at: their number, their offsets, and how long each was on its way.

use delivery::frame::Cutter;
use delivery::message;

/// What all of them have seen.
#[derive(Default)]
pub struct Seen {
    /// Messages.
    pub messages: u64,
    /// The bytes they came in, framing included.
    pub bytes: u64,
    /// Offsets that were jumped over.
    pub missed: u64,
    /// From the instant in each message to its arrival, in microseconds.
    pub latencies: Vec<u32>,
}

/// One of them.
pub struct Sample {
    cutter: Cutter,
    nats: Option<Nats>,
    /// The offset that comes next.
    next: Option<u64>,
}

impl Sample {
    /// A connection that has read nothing yet.
    pub fn new(nats: bool) -> Self {
        Self {
            cutter: Cutter::default(),
            nats: nats.then(Nats::default),
            next: None,
        }
    }

    /// Takes what was read, now.
    pub fn on_read(&mut self, bytes: &[u8], seen: &mut Seen) {
        seen.bytes += bytes.len() as u64;
        let now = message::now();
        let (nats, next) = (&mut self.nats, &mut self.next);
        let mut on_message = |payload: &[u8]| {
            let Some(arrived) = message::read(payload) else { return };
            seen.messages += 1;
            // A place before the last one is the row of a saturated floor, begun anew.
            seen.missed += next.map_or(0, |next| arrived.offset.saturating_sub(next));
            *next = Some(arrived.offset + 1);
            let micros = now.saturating_sub(arrived.made).as_micros();
            seen.latencies.push(u32::try_from(micros).unwrap_or(u32::MAX));
        };
        self.cutter.push(bytes, |payload| match nats {
            None => on_message(payload),
            Some(nats) => nats.push(payload, &mut on_message),
        });
    }
}

/// The protocol of NATS, as far as it is `MSG feed 1 LENGTH`, the payload, and lines to be passed over.
#[derive(Default)]
struct Nats {
    held: Vec<u8>,
}

impl Nats {
    fn push(&mut self, bytes: &[u8], each: &mut impl FnMut(&[u8])) {
        self.held.extend_from_slice(bytes);
        let mut at = 0;
        while let Some((payload, end)) = nats_line(&self.held[at..]) {
            each(&self.held[at..][payload..end]);
            at += end + 2;
        }
        self.held.drain(..at);
    }
}

/// Where the payload of the line that stands first begins and ends, if both are whole; another line's payload is empty.
fn nats_line(bytes: &[u8]) -> Option<(usize, usize)> {
    let end = bytes.windows(2).position(|two| two == b"\r\n")?;
    let line = &bytes[..end];
    if !line.starts_with(b"MSG ") {
        return Some((end, end));
    }
    let length = std::str::from_utf8(line)
        .ok()?
        .rsplit(' ')
        .next()?
        .parse::<usize>()
        .ok()?;
    let payload = end + 2;
    (bytes.len() >= payload + length + 2).then_some((payload, payload + length))
}

#[cfg(test)]
mod tests {
    use delivery::frame;
    use delivery::message::Feed;

    use super::*;

    fn seen(bytes: &[u8], read_bytes: usize, nats: bool) -> Seen {
        let (mut sample, mut seen) = (Sample::new(nats), Seen::default());
        bytes
            .chunks(read_bytes)
            .for_each(|part| sample.on_read(part, &mut seen));
        seen
    }

    #[test]
    fn jumps_of_offsets_are_counted_and_a_new_row_is_none() {
        let (mut feed, mut again, mut bytes) = (Feed::default(), Feed::default(), Vec::new());
        for _ in 0..10 {
            let text = feed.next_text();
            if !text.contains(r#""offset":4,"#) {
                frame::write_text(&mut bytes, text.as_bytes());
            }
        }
        frame::write_text(&mut bytes, again.next_text().as_bytes());
        let seen = seen(&bytes, 100, false);
        assert_eq!((seen.messages, seen.missed, seen.bytes), (10, 1, bytes.len() as u64));
        assert_eq!(seen.latencies.len(), 10);
    }

    #[test]
    fn messages_of_nats_are_found_wherever_frames_and_reads_are_cut() {
        let (mut feed, mut stream) = (Feed::default(), b"INFO {}\r\nPING\r\n".to_vec());
        for _ in 0..5 {
            let text = feed.next_text();
            stream.extend_from_slice(format!("MSG feed 1 {}\r\n{text}\r\n", text.len()).as_bytes());
        }
        for frame_bytes in [1, 7, 300, stream.len()] {
            let mut bytes = Vec::new();
            stream
                .chunks(frame_bytes)
                .for_each(|part| frame::write_text(&mut bytes, part));
            for read_bytes in [1, 5, bytes.len()] {
                let seen = seen(&bytes, read_bytes, true);
                assert_eq!(
                    (seen.messages, seen.missed),
                    (5, 0),
                    "frames of {frame_bytes}, reads of {read_bytes}"
                );
            }
        }
    }
}
