//! What was measured, as one line of JSON.

use std::fmt;
use std::time::Duration;

use crate::cpu::Cpu;
use crate::crowd::Crowd;

/// Everything about one measurement.
pub struct Figures<'a> {
    /// How long it was.
    pub seconds: Duration,
    /// What the server had of its cores in it.
    pub cpu: Cpu,
    /// What this process had.
    pub own_cpu: Cpu,
    /// What was read.
    pub crowd: &'a Crowd,
    /// What the server beside it had, if there was one.
    pub beside: Option<Cpu>,
}

impl fmt::Display for Figures<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            seconds,
            cpu,
            own_cpu,
            crowd,
            beside,
        } = self;
        let side = &crowd.sides()[0];
        let seen = &side.seen;
        let mut latencies = seen.latencies.clone();
        latencies.sort_unstable();
        let at = |share: f64| {
            let place = (latencies.len() as f64 * share) as usize;
            let micros = latencies.get(place).or(latencies.last());
            micros.map_or(0.0, |micros| f64::from(*micros) / 1000.0)
        };
        write!(
            out,
            r#"{{"event":"ended","seconds":{},"cpu_ns":{},"waited_ns":{},"load_waited_ns":{},"clients":{},"bytes":{},"messages":{:.0},"sampled":{},"missed":{},"p50_ms":{},"p99_ms":{},"max_ms":{},"idle":{:.4},"ended_early":{}"#,
            seconds.as_secs_f64(),
            cpu.ran.as_nanos(),
            cpu.waited.as_nanos(),
            own_cpu.waited.as_nanos(),
            side.clients,
            side.bytes,
            side.messages(),
            seen.messages,
            seen.missed,
            at(0.5),
            at(0.99),
            at(1.0),
            crowd.idle.as_secs_f64() / seconds.as_secs_f64(),
            side.ended,
        )?;
        if let (Some(cpu), Some(side)) = (beside, crowd.sides().get(1)) {
            let (nanos, messages) = (cpu.ran.as_nanos(), side.messages());
            write!(out, r#","beside_cpu_ns":{nanos},"beside_messages":{messages:.0}"#)?;
        }
        out.write_str("}")
    }
}
