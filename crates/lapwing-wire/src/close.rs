//! Close codes: who ends a connection, why, and whether the client comes back.

use std::fmt;

/// A WebSocket close code (RFC 6455 section 7.4), with Lapwing's own in the private range.
///
/// Below 4500 a client comes back, from 4500 on it does not; the codes of the RFC are sorted in [`CloseCode::retry`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CloseCode(u16);

impl CloseCode {
    /// Done: the client left, or a bounded topic has ended.
    pub const NORMAL: Self = Self(1000);
    /// The server goes for good (Ctrl-C).
    pub const GOING_AWAY: Self = Self(1001);
    /// The peer broke RFC 6455.
    pub const PROTOCOL: Self = Self(1002);
    /// A kind of message that is not taken here.
    pub const UNSUPPORTED: Self = Self(1003);
    /// No code was sent; never on the wire.
    pub const NO_STATUS: Self = Self(1005);
    /// The connection ended without a close frame; never on the wire.
    pub const ABNORMAL: Self = Self(1006);
    /// Text that is not UTF-8.
    pub const INVALID_DATA: Self = Self(1007);
    /// Against the rules: floods, unfinished messages.
    pub const POLICY: Self = Self(1008);
    /// A message over the limit.
    pub const TOO_BIG: Self = Self(1009);
    /// An error of the server.
    pub const INTERNAL: Self = Self(1011);
    /// The server restarts (SIGTERM); the reason says when to come back.
    pub const RESTART: Self = Self(1012);
    /// Too busy now; the reason says when to come back.
    pub const TRY_LATER: Self = Self(1013);
    /// Too slow: lagging without progress.
    pub const TOO_SLOW: Self = Self(4400);
    /// The token expired.
    pub const TOKEN_EXPIRED: Self = Self(4401);
    /// No pong, or nothing said in time.
    pub const TIMEOUT: Self = Self(4408);
    /// Too many commands.
    pub const RATE: Self = Self(4429);
    /// A token that is not valid.
    pub const BAD_TOKEN: Self = Self(4500);
    /// A topic this client may not have.
    pub const TOPIC_REFUSED: Self = Self(4501);
    /// Too many connections of one identity.
    pub const CONNECTION_LIMIT: Self = Self(4503);

    /// Wraps a number as it came.
    #[must_use]
    pub const fn new(code: u16) -> Self {
        Self(code)
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u16 {
        self.0
    }

    /// Whether a peer may send this code in a close frame (RFC 6455 section 7.4).
    #[must_use]
    pub const fn may_be_sent(self) -> bool {
        matches!(self.0, 1000..=1003 | 1007..=1014 | 3000..=4999)
    }

    /// What a client does after this end.
    #[must_use]
    pub const fn retry(self) -> Retry {
        match self.0 {
            1000 | 1002 | 1003 | 1007..=1009 | 4500..=4999 => Retry::Stop,
            1012 | 1013 | 4429 => Retry::AsTold,
            _ => Retry::Backoff,
        }
    }

    /// What the code means, in a few words.
    #[must_use]
    pub const fn meaning(self) -> &'static str {
        match self.0 {
            1000 => "done",
            1001 => "going away",
            1002 => "protocol error",
            1003 => "unsupported data",
            1005 => "no code given",
            1006 => "connection lost",
            1007 => "invalid UTF-8",
            1008 => "against the rules",
            1009 => "message too big",
            1010 => "extension missing",
            1011 => "server error",
            1012 => "server restarts",
            1013 => "server too busy",
            4400 => "too slow",
            4401 => "the token serves no more",
            4408 => "timed out",
            4429 => "too many commands",
            4500 => "bad token",
            4501 => "topic not allowed",
            4503 => "too many connections",
            _ => "",
        }
    }
}

impl fmt::Display for CloseCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Debug for CloseCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// What a client does after an end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Retry {
    /// It stops and prints the reason.
    Stop,
    /// It comes back with its own backoff.
    Backoff,
    /// It comes back after the `retry=<ms>` of the reason, give or take 20 %, or with its own backoff without one.
    AsTold,
}

/// The longest reason in a close frame, in bytes: 125 of a control frame less the code (RFC 6455 section 5.5).
pub const REASON_BYTES_MAX: usize = 123;

/// The whole milliseconds in a reason's `retry=<ms>`, capped at an hour so that a server cannot send a client to sleep for ever.
#[must_use]
pub fn retry_after_ms(reason: &str) -> Option<u64> {
    let value = reason
        .split([' ', ',', ';'])
        .find_map(|word| word.strip_prefix("retry="))?;
    value.parse::<u64>().ok().map(|ms| ms.min(RETRY_MS_MAX))
}

const RETRY_MS_MAX: u64 = 3_600_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn below_4500_come_back_from_4500_on_do_not() {
        for code in 4000..4500 {
            assert_ne!(CloseCode::new(code).retry(), Retry::Stop, "{code}");
        }
        for code in 4500..5000 {
            assert_eq!(CloseCode::new(code).retry(), Retry::Stop, "{code}");
        }
    }

    #[test]
    fn the_table_of_the_protocol_holds() {
        for (code, retry) in [
            (1000, Retry::Stop),
            (1001, Retry::Backoff),
            (1002, Retry::Stop),
            (1003, Retry::Stop),
            (1006, Retry::Backoff),
            (1007, Retry::Stop),
            (1008, Retry::Stop),
            (1009, Retry::Stop),
            (1011, Retry::Backoff),
            (1012, Retry::AsTold),
            (1013, Retry::AsTold),
            (4400, Retry::Backoff),
            (4408, Retry::Backoff),
            (4429, Retry::AsTold),
        ] {
            assert_eq!(CloseCode::new(code).retry(), retry, "{code}");
        }
    }

    #[test]
    fn retry_is_read_from_a_reason() {
        assert_eq!(retry_after_ms("restart retry=1500 arrays=54"), Some(1500));
        assert_eq!(retry_after_ms("retry=0"), Some(0));
        assert_eq!(retry_after_ms("retry=99999999999"), Some(RETRY_MS_MAX));
        assert_eq!(retry_after_ms("retry=soon"), None);
        assert_eq!(retry_after_ms("noretry=5"), None);
    }

    #[test]
    fn codes_that_must_not_be_sent() {
        for code in [0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, u16::MAX] {
            assert!(!CloseCode::new(code).may_be_sent(), "{code}");
        }
        for code in [1000, 1003, 1007, 1014, 3000, 4999] {
            assert!(CloseCode::new(code).may_be_sent(), "{code}");
        }
    }
}
