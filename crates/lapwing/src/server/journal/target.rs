//! The targets of the operator's log that this server has itself: what `--log-level` names. docs/logs.md lists what each tells.

/// Life events: what the console and `$events` tell, too.
pub const EVENT: &str = "lapwing::event";
/// Requests, and handshakes of WebSocket that were refused.
pub const HTTP: &str = "lapwing::http";
/// Handshakes of TLS that were refused.
pub const TLS: &str = "lapwing::tls";
/// What clients of `lapwing.v1` command.
pub const SESSION: &str = "lapwing::session";
/// Sources that begin.
pub const SOURCE: &str = "lapwing::source";
/// The delivery threads.
pub const DELIVERY: &str = "lapwing::delivery";
/// This log itself.
pub const JOURNAL: &str = "lapwing::journal";
