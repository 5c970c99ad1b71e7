//! The floor: what it costs to hand ready-made frames to the kernel, and nothing else.
//!
//! No program that sends each message to each client with one call can do less. It accepts, answers the handshake, and
//! sends; it reads nothing, keeps nothing for who comes later, and drops runs that a full socket does not take.
//!
//! `floor --port PORT [--every-ms MS --burst N | --saturate] [--io-uring]`

mod door;
mod paced;
mod ring;
mod saturated;
mod sender;

use std::io;

use delivery::arguments::Arguments;
use delivery::schedule::{Pace, Schedule};

use crate::door::Door;
use crate::sender::Sender;

fn main() -> io::Result<()> {
    let arguments = Arguments::typed();
    let door = Door::open(arguments.value("--port", 0))?;
    let sender = Sender::new(arguments.flag("--io-uring"))?;
    match Pace::typed(&arguments) {
        Pace::Every { every, burst } => paced::run(&door, sender, Some(Schedule::every(every)), burst),
        Pace::Idle => paced::run(&door, sender, None, 0),
        Pace::Saturate => saturated::run(&door, sender),
    }
}
