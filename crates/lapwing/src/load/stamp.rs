//! The payload of a message that the load test publishes itself: whose it is, and when it was meant to leave.

use lapwing_wire::layout::number;

/// Writes and reads the payloads of one run; those of any other run, and all others, are not read.
#[derive(Clone, Debug)]
pub struct Stamps {
    prefix: String,
    pad: String,
}

impl Stamps {
    /// What a payload needs for itself, in bytes, at a moment of 16 digits.
    pub const BYTES_MIN: usize = "{\"bench\":\"0123456789abcdef\",\"at\":1234567890123456,\"pad\":\"\"}".len();

    /// For a run of this number, with payloads of `bytes`, and never less than they need.
    #[must_use]
    pub fn new(run: u64, bytes: usize) -> Self {
        Self {
            prefix: format!("{{\"bench\":\"{run:016x}\",\"at\":"),
            pad: "x".repeat(bytes.saturating_sub(Self::BYTES_MIN)),
        }
    }

    /// The payload of a message that is meant to leave at this moment of the monotonic clock.
    #[must_use]
    pub fn write(&self, intended_nanos: u64) -> String {
        format!("{}{intended_nanos},\"pad\":\"{}\"}}", self.prefix, self.pad)
    }

    /// When a payload was meant to leave, if it is one of this run.
    #[must_use]
    pub fn read(&self, value: &[u8]) -> Option<u64> {
        Some(number(value.strip_prefix(self.prefix.as_bytes())?)?.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_reads_its_own_payloads_and_no_others() {
        let stamps = Stamps::new(7, 200);
        let payload = stamps.write(1_234_567_890_123_456);
        assert_eq!(payload.len(), 200);
        assert!(serde_json::from_str::<serde_json::Value>(&payload).is_ok());
        assert_eq!(stamps.read(payload.as_bytes()), Some(1_234_567_890_123_456));
        assert_eq!(
            stamps.read(format!("{payload}}}").as_bytes()),
            Some(1_234_567_890_123_456)
        );
        assert_eq!(Stamps::new(8, 200).read(payload.as_bytes()), None);
        assert_eq!(stamps.read(b"[1,2,3]"), None);
        let least = Stamps::new(7, Stamps::BYTES_MIN).write(1_234_567_890_123_456);
        assert_eq!(least.len(), Stamps::BYTES_MIN);
    }
}
