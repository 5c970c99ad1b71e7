//! Whether a connection is alive, worth its memory, and due for a ping; decided from given times, so without a clock.

use std::time::Duration;

use lapwing_wire::close::CloseCode;

use super::breach::Breach;
use super::tick::Tick;
use crate::config::Limits;

/// What one connection has shown of itself. Times are a worker's own, which stands still while the process does: after a
/// pause of the whole server nobody is found dead for our silence.
#[derive(Clone, Debug)]
pub struct Liveness {
    /// When a byte last came, or the peer took bytes after it had stopped taking them.
    heard: Tick,
    /// When the ping left that is not answered.
    ping_left: Option<Tick>,
    /// A ping waits in the queue.
    ping_queued: bool,
    /// It has to subscribe to something first.
    awaited: bool,
    /// Since when a message or frame is unfinished.
    message_open: Option<Tick>,
    /// Since when the connection lags; while it is awaited, since when it is here: who follows nothing does not lag.
    lag: Option<Tick>,
    /// The bytes that it had had then, in units of the least that it must take in a second.
    lag_units: u32,
    /// When it last took a byte while it lags.
    progress: Tick,
    /// When the last heartbeat went out.
    beat: Tick,
}

/// What to do about a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing.
    Fine,
    /// Ask whether it is there.
    Ping,
    /// End it, for this limit.
    End(Breach, CloseCode, String),
}

impl Liveness {
    /// A connection that has just come.
    #[must_use]
    pub fn new(now: Duration) -> Self {
        let now = Tick::at(now);
        Self {
            heard: now,
            ping_left: None,
            ping_queued: false,
            awaited: false,
            message_open: None,
            lag: None,
            lag_units: 0,
            progress: now,
            beat: now,
        }
    }

    /// From now on it has [`Limits::subscribe_timeout`] to subscribe to something.
    pub fn await_subscribe(&mut self, now: Duration) {
        self.awaited = true;
        self.lag = Some(Tick::at(now));
    }

    /// It has subscribed to something.
    pub fn on_subscribed(&mut self) {
        if std::mem::take(&mut self.awaited) {
            self.lag = None;
        }
    }

    /// Bytes came; `message_open` says whether they end inside a message.
    pub fn on_heard(&mut self, now: Duration, message_open: bool) {
        let now = Tick::at(now);
        self.heard = now;
        self.ping_left = None;
        self.message_open = message_open.then(|| self.message_open.unwrap_or(now));
    }

    /// A message was finished: its deadline is over, whatever has begun since has its own.
    pub fn on_message(&mut self) {
        self.message_open = None;
    }

    /// The peer took bytes again, after a time when it did not.
    pub fn on_unblocked(&mut self, now: Duration) {
        let now = Tick::at(now);
        self.heard = now;
        self.progress = now;
        self.ping_left = None;
    }

    /// Control frames went out whole: a ping among them is on its way, and its answer has a deadline.
    pub fn on_control_left(&mut self, now: Duration) {
        if std::mem::take(&mut self.ping_queued) {
            self.ping_left = Some(Tick::at(now));
        }
    }

    /// Bytes went out.
    pub fn on_sent(&mut self, now: Duration) {
        self.progress = Tick::at(now);
    }

    /// Whether it is so long since it last took a byte.
    #[must_use]
    pub fn has_taken_nothing_for(&self, span: Duration, now: Duration) -> bool {
        Tick::at(now).since(self.progress) >= span
    }

    /// Whether the connection lags (its socket takes no more), and how many bytes it has had in all.
    pub fn on_lag(&mut self, now: Duration, lags: bool, bytes: u64, limits: &Limits) {
        if self.awaited {
            return;
        }
        if !lags {
            self.lag = None;
        } else if self.lag.is_none() {
            let now = Tick::at(now);
            self.lag = Some(now);
            self.lag_units = units(bytes, limits);
            self.progress = now;
        }
    }

    /// For how long a ping has been on its way without an answer.
    #[must_use]
    pub fn unanswered(&self, now: Duration) -> Duration {
        self.ping_left.map_or(Duration::ZERO, |left| Tick::at(now).since(left))
    }

    /// Whether a ping is to go out before it is due; not while there is one that is not answered.
    pub fn ask(&mut self) -> bool {
        let asks = !self.ping_queued && self.ping_left.is_none();
        self.ping_queued |= asks;
        asks
    }

    /// Whether a heartbeat is due; it counts as sent.
    pub fn beat_due(&mut self, now: Duration, every: Duration) -> bool {
        let now = Tick::at(now);
        let due = now.since(self.beat) >= every;
        if due {
            self.beat = now;
        }
        due
    }

    /// What to do now, `bytes` having gone out in all.
    pub fn check(&mut self, now: Duration, bytes: u64, limits: &Limits) -> Verdict {
        let now = Tick::at(now);
        let past = |since: Tick, limit: Duration| now.since(since) >= limit;
        if self
            .message_open
            .is_some_and(|since| past(since, limits.fragment_timeout))
        {
            let reason = format!("message unfinished for {} s", limits.fragment_timeout.as_secs_f64());
            return Verdict::End(Breach::MessageTime, CloseCode::POLICY, reason);
        }
        if self.awaited && self.lag.is_some_and(|since| past(since, limits.subscribe_timeout)) {
            let reason = format!("subscribed to nothing for {} s", limits.subscribe_timeout.as_secs_f64());
            return Verdict::End(Breach::SubscribeTime, CloseCode::TIMEOUT, reason);
        }
        if let Some(reason) = self.too_slow(now, bytes, limits) {
            return Verdict::End(Breach::StallTime, CloseCode::TOO_SLOW, reason);
        }
        if self.ping_left.is_some_and(|left| past(left, limits.pong_timeout)) {
            return Verdict::End(
                Breach::PongTime,
                CloseCode::TIMEOUT,
                format!("no pong for {} s", limits.pong_timeout.as_secs_f64()),
            );
        }
        if !self.ping_queued && self.ping_left.is_none() && past(self.heard, limits.ping_interval) {
            self.ping_queued = true;
            return Verdict::Ping;
        }
        Verdict::Fine
    }

    fn too_slow(&mut self, now: Tick, bytes: u64, limits: &Limits) -> Option<String> {
        let since = self.lag.filter(|_| !self.awaited)?;
        let stalled = now.since(self.progress) >= limits.stall_timeout;
        let timeout = limits.stall_timeout.as_secs_f64();
        if stalled {
            return Some(format!("took nothing for {timeout} s"));
        }
        if now.since(since) < limits.stall_timeout {
            return None;
        }
        if f64::from(units(bytes, limits).wrapping_sub(self.lag_units)) < timeout {
            return Some(format!("took under {} B/s for {timeout} s", limits.stall_rate));
        }
        self.lag = Some(now);
        self.lag_units = units(bytes, limits);
        None
    }
}

/// Bytes in units of the least that a lagging client must take in a second; cut on purpose, only differences count.
fn units(bytes: u64, limits: &Limits) -> u32 {
    (bytes / u64::from(limits.stall_rate)) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn fresh() -> (Liveness, Limits) {
        (Liveness::new(at(0)), Limits::default())
    }

    #[track_caller]
    fn check_end(verdict: Verdict, code: u16, reason: &str) {
        match verdict {
            Verdict::End(_, told, why) => assert_eq!((told.get(), why.as_str()), (code, reason)),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn who_subscribes_to_nothing_in_time_is_let_go_and_who_did_may_be_silent() {
        let (mut live, limits) = fresh();
        live.await_subscribe(at(1));
        live.on_lag(at(2), true, 0, &limits);
        live.on_heard(at(5), false);
        assert_eq!(live.check(at(5), 0, &limits), Verdict::Fine);
        check_end(live.check(at(6), 0, &limits), 4408, "subscribed to nothing for 5 s");
        live.on_subscribed();
        assert_eq!(live.check(at(6), 0, &limits), Verdict::Fine);
        live.on_lag(at(7), true, 0, &limits);
        check_end(live.check(at(37), 0, &limits), 4400, "took nothing for 30 s");
        let size = size_of::<Liveness>();
        assert_eq!(size, 32, "there is one for each connection");
    }

    #[test]
    fn silence_is_pinged_and_no_pong_ends_it() {
        let (mut live, limits) = fresh();
        assert_eq!(live.check(at(19), 0, &limits), Verdict::Fine);
        assert_eq!(live.check(at(20), 0, &limits), Verdict::Ping);
        assert_eq!(live.check(at(21), 0, &limits), Verdict::Fine, "one ping at a time");
        live.on_control_left(at(25));
        assert_eq!(
            live.check(at(34), 0, &limits),
            Verdict::Fine,
            "the clock starts when the ping has left"
        );
        check_end(live.check(at(35), 0, &limits), 4408, "no pong for 10 s");
    }

    #[test]
    fn who_is_asked_before_its_time_has_as_long_to_answer() {
        let (mut live, limits) = fresh();
        assert!(live.ask() && !live.ask(), "one ping at a time");
        assert_eq!(live.unanswered(at(5)), Duration::ZERO, "it has not left");
        live.on_control_left(at(5));
        assert_eq!(live.unanswered(at(7)), at(2));
        assert!(!live.ask());
        assert_eq!(live.check(at(14), 0, &limits), Verdict::Fine);
        live.on_heard(at(14), false);
        assert_eq!(live.unanswered(at(15)), Duration::ZERO);
        assert!(live.ask());
        live.on_control_left(at(16));
        check_end(live.check(at(26), 0, &limits), 4408, "no pong for 10 s");
    }

    #[test]
    fn any_byte_is_a_sign_of_life() {
        let (mut live, limits) = fresh();
        assert_eq!(live.check(at(20), 0, &limits), Verdict::Ping);
        live.on_control_left(at(20));
        live.on_heard(at(29), false);
        assert_eq!(live.check(at(48), 0, &limits), Verdict::Fine);
        assert_eq!(live.check(at(49), 0, &limits), Verdict::Ping);
    }

    #[test]
    fn b1_a_reader_that_takes_nothing_is_let_go() {
        let (mut live, limits) = fresh();
        live.on_lag(at(5), true, 1000, &limits);
        live.on_heard(at(30), false);
        assert_eq!(live.check(at(34), 1000, &limits), Verdict::Fine);
        check_end(live.check(at(35), 1000, &limits), 4400, "took nothing for 30 s");
    }

    #[test]
    fn b3_a_byte_a_second_is_too_little() {
        let (mut live, limits) = fresh();
        live.on_lag(at(0), true, 0, &limits);
        for second in 1..30 {
            live.on_sent(at(second));
            live.on_heard(at(second), false);
            assert_eq!(live.check(at(second), second, &limits), Verdict::Fine);
        }
        live.on_sent(at(30));
        check_end(live.check(at(30), 30, &limits), 4400, "took under 256 B/s for 30 s");
    }

    #[test]
    fn a_lagging_reader_at_the_least_rate_stays() {
        let (mut live, limits) = fresh();
        live.on_lag(at(0), true, 0, &limits);
        for second in 1..100 {
            live.on_sent(at(second));
            live.on_heard(at(second), false);
            assert_eq!(live.check(at(second), second * 256, &limits), Verdict::Fine, "{second}");
        }
    }

    #[test]
    fn c7_a_message_left_open_is_ended() {
        let (mut live, limits) = fresh();
        live.on_heard(at(1), true);
        live.on_heard(at(20), true);
        assert_eq!(live.check(at(30), 0, &limits), Verdict::Fine);
        check_end(live.check(at(31), 0, &limits), 1008, "message unfinished for 30 s");
        live.on_message();
        live.on_heard(at(31), true);
        assert_eq!(live.check(at(40), 0, &limits), Verdict::Fine);
    }
}
