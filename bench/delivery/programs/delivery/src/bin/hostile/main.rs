//! Connections that mean a server ill, of nine kinds; each that is ended comes again.
//!
//! `hostile --port PORT --connections N --feed TOPIC --quiet TOPIC`
//!
//! Prints a line when all have come once, and one of JSON with what became of them when standard input ends.

mod attacker;
mod kind;

use std::collections::BinaryHeap;
use std::io::{self, Read as _};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use delivery::arguments::Arguments;
use delivery::open_files;

use crate::attacker::{Attacker, Place};
use crate::kind::Kind;

static IS_OVER: AtomicBool = AtomicBool::new(false);

/// The first steps of all are spread over so long.
const RAMP: Duration = Duration::from_secs(5);

fn main() -> io::Result<()> {
    let arguments = Arguments::typed();
    open_files::allow_all()?;
    let place = Place {
        server: SocketAddr::from((Ipv4Addr::LOCALHOST, arguments.value("--port", 0))),
        feed: arguments.text("--feed").unwrap_or_default().to_owned(),
        quiet: arguments.text("--quiet").unwrap_or_default().to_owned(),
    };
    let count: usize = arguments.value("--connections", 1);
    std::thread::spawn(|| {
        // Whatever stands there, only its end means something.
        let _ = io::stdin().read_to_end(&mut Vec::new());
        IS_OVER.store(true, Ordering::Relaxed);
    });
    let began = Instant::now();
    let mut attackers: Vec<_> = (0..count)
        .map(|number| Attacker::new(Kind::ALL[number % Kind::ALL.len()], number as u64))
        .collect();
    let mut due: BinaryHeap<_> = (0..count)
        .map(|number| std::cmp::Reverse((began + RAMP * number as u32 / count as u32, number)))
        .collect();
    let (mut came, mut told) = (0, false);
    while !IS_OVER.load(Ordering::Relaxed) {
        let Some(std::cmp::Reverse((at, number))) = due.pop() else {
            break;
        };
        let now = Instant::now();
        if at > now {
            // Not for long: the end of the input is looked at in between.
            std::thread::sleep((at - now).min(Duration::from_millis(100)));
            due.push(std::cmp::Reverse((at, number)));
            continue;
        }
        let attacker = &mut attackers[number];
        came += usize::from(attacker.connects == 0);
        attacker.step(&place);
        due.push(std::cmp::Reverse((Instant::now() + attacker.pause(), number)));
        if came == count && !told {
            told = true;
            println!("all {count} have come after {:.1} s", began.elapsed().as_secs_f64());
        }
    }
    let sums: Vec<_> = Kind::ALL
        .iter()
        .map(|kind| {
            let of = || attackers.iter().filter(|attacker| attacker.kind == *kind);
            let open = of().filter(|attacker| attacker.is_open()).count();
            let (connects, ended) = of().fold((0, 0), |(c, e), a| (c + a.connects, e + a.ended));
            let sent: u64 = of().map(|attacker| attacker.sent).sum();
            format!(
                r#""{}":{{"open":{open},"connects":{connects},"ended":{ended},"sent":{sent}}}"#,
                kind.name()
            )
        })
        .collect();
    println!("{{{}}}", sums.join(","));
    Ok(())
}
