//! Many listeners of one topic that come back all at once, each from the offset that it wants next.
//!
//! `storm --port PORT --clients N --epoch EPOCH --from OFFSET`
//!
//! Commands on standard input, one a line, each answered with a line of JSON when it is done: `until OFFSET` connects whoever is
//! not connected, and reads until every listener wants this offset next; `lost` reads until the server has ended every connection.

mod listener;
mod listeners;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use delivery::arguments::Arguments;
use delivery::open_files;

use crate::listener::Place;
use crate::listeners::Listeners;

/// A command that is not done by then has failed, and its answer says how far it came.
const PATIENCE: Duration = Duration::from_secs(120);

fn main() -> io::Result<()> {
    let arguments = Arguments::typed();
    open_files::allow_all()?;
    let place = Place {
        server: SocketAddr::from((Ipv4Addr::LOCALHOST, arguments.value("--port", 0))),
        epoch: arguments.text("--epoch").unwrap_or_default().to_owned(),
    };
    let mut listeners = Listeners::new(place, arguments.value("--clients", 1), arguments.value("--from", 0))?;
    for command in io::stdin().lines() {
        let command = command?;
        let began = Instant::now();
        let deadline = began + PATIENCE;
        let done = match command.strip_prefix("until ").map(str::parse) {
            Some(Ok(offset)) => listeners.until(offset, deadline)?,
            _ if command == "lost" => listeners.lost(deadline)?,
            _ => return Err(io::Error::other(format!("no such command: {command:?}"))),
        };
        println!(
            r#"{{"done":{done},"seconds":{},"answered_seconds":{},"received":{},"repeated":{},"idle":{:.4}}}"#,
            began.elapsed().as_secs_f64(),
            listeners
                .answered
                .map_or(0.0, |last| last.saturating_duration_since(began).as_secs_f64()),
            listeners.sum(|listener| listener.received),
            listeners.sum(|listener| listener.repeated),
            listeners.idle.as_secs_f64() / began.elapsed().as_secs_f64(),
        );
    }
    Ok(())
}
