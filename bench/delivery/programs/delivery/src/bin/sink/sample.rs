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
            at += (end + 2).min(self.held.len() - at);
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
