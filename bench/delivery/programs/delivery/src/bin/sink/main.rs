//! The load: many connections that read and discard as cheaply as the kernel allows, and a few whose messages are looked at.
//!
//! Without `--sleep` it never sleeps while it measures: a server's `send` to a socket whose reader sleeps pays for waking it,
//! which no server on a network does. Bytes of most connections are thrown away inside the kernel; how many messages they were follows from the
//! size of those on the connections that are looked at.
//!
//! `sink --port PORT --path PATH --clients N [--stuck M] [--sampled K] [--nats] [--sleep] --warm-up S --for S --pid SERVER
//! [--beside PORT --beside-pid FLOOR]`
//!
//! Beside the server that is measured a floor may be loaded with as many clients at the same time: what a machine makes of a
//! system call changes from second to second, but for both alike.
//!
//! It prints one JSON object a line: `connected`, `began` and `ended`, the last with all figures, and keeps its connections until
//! its standard input ends.

mod cpu;
mod crowd;
mod dial;
mod figures;
mod sample;

use std::io::{self, Read as _};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use delivery::arguments::Arguments;
use delivery::open_files;

use crate::cpu::Cpu;
use crate::crowd::{Crowd, Rest};
use crate::dial::{Dial, Dialled};
use crate::figures::Figures;

fn main() -> io::Result<()> {
    let arguments = Arguments::typed();
    let beside: Option<u16> = arguments.text("--beside").and_then(|port| port.parse().ok());
    let seconds = |name| Duration::from_secs_f64(arguments.value(name, 1.0));
    open_files::allow_all()?;
    let dial = Dial {
        server: SocketAddr::from((Ipv4Addr::LOCALHOST, arguments.value("--port", 0))),
        path: arguments.text("--path").unwrap_or("/"),
        clients: arguments.value("--clients", 1),
        stuck: arguments.value("--stuck", 0),
        nats: arguments.flag("--nats"),
    };
    let began = Instant::now();
    let Dialled { readers, stuck } = dial.all()?;
    println!(r#"{{"event":"connected","seconds":{}}}"#, began.elapsed().as_secs_f64());
    let rest = if arguments.flag("--sleep") {
        Rest::Sleep
    } else {
        Rest::Spin
    };
    let sampled = arguments.value("--sampled", 20);
    let mut crowd = Crowd::new(rest)?;
    crowd.add(readers, sampled, dial.nats)?;
    if let Some(port) = beside {
        let floor = Dial {
            server: SocketAddr::from((Ipv4Addr::LOCALHOST, port)),
            path: "/",
            clients: dial.clients - dial.stuck,
            stuck: 0,
            nats: false,
        };
        crowd.add(floor.all()?.readers, sampled, false)?;
    }
    crowd.read_for(seconds("--warm-up"))?;
    crowd.begin();
    println!(r#"{{"event":"began"}}"#);
    let (server, own) = (arguments.value("--pid", 0), std::process::id());
    let floor = beside.map(|_| arguments.value("--beside-pid", 0));
    let (began, cpu_before, own_before) = (Instant::now(), Cpu::of(server)?, Cpu::of(own)?);
    let floor_before = floor.map(|floor| Cpu::of(floor).map(|cpu| (floor, cpu))).transpose()?;
    crowd.read_for(seconds("--for"))?;
    let figures = Figures {
        seconds: began.elapsed(),
        cpu: Cpu::of(server)?.since(cpu_before),
        own_cpu: Cpu::of(own)?.since(own_before),
        crowd: &crowd,
        beside: floor_before
            .map(|(floor, before)| Cpu::of(floor).map(|cpu| cpu.since(before)))
            .transpose()?,
    };
    println!("{figures}");
    io::stdin().read_to_end(&mut Vec::new())?;
    drop(stuck);
    Ok(())
}
