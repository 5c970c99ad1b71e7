//! Who tells the demo's story: one line a happening, from the sensors, the server and the demo itself.

use std::io::Write as _;
use std::sync::mpsc::Receiver;

use lapwing_wire::escape::escaped;
use lapwing_wire::topic::TopicName;

use crate::clock::Now;
use crate::server::event::Event;
use crate::terminal::form;
use crate::terminal::paint::{ColorChoice, Painter, Role};

/// Something to tell.
#[derive(Debug)]
pub enum Told {
    /// A message that a sensor received.
    Message {
        /// The sensor.
        who: &'static str,
        /// Its topic.
        topic: TopicName,
        /// Its offset.
        offset: u64,
        /// Its data.
        data: String,
        /// What else came with it.
        more: &'static str,
        /// When.
        now: Now,
    },
    /// A sentence.
    Sentence {
        /// Who says it.
        who: &'static str,
        /// What.
        text: String,
        /// When.
        now: Now,
    },
    /// Nothing more will be told.
    End,
}

/// What of the server's events belongs to the story: the arrays' block times, and who falls behind.
#[must_use]
pub fn of_server(now: Now, event: &Event) -> Option<Told> {
    let arrays = |topic: &TopicName| topic.as_str() == "arrays";
    let belongs = match event {
        Event::Report { topic, drift_ms, .. } => arrays(topic) && drift_ms.is_some(),
        Event::Slow { topic, .. } | Event::Silent { topic, .. } | Event::KeepsUp { topic, .. } => arrays(topic),
        Event::Missed { .. } | Event::Limit { .. } | Event::Source { .. } => true,
        _ => false,
    };
    belongs.then(|| Told::Sentence {
        who: "server",
        text: event.sentence(),
        now,
    })
}

/// Prints what is told until the end; false when nobody reads it any more.
pub fn run(told: &Receiver<Told>, color: ColorChoice) -> bool {
    let paint = Painter::stdout(color);
    let width = terminal_width();
    for told in told {
        let (now, who, text) = match told {
            Told::End => return true,
            Told::Sentence { who, text, now } => (now, who, text),
            Told::Message {
                who,
                topic,
                offset,
                data,
                more,
                now,
            } => {
                let head = format!("{topic:<6} {offset:>5}  ");
                let data = escaped(&data);
                let room = width.map(|width| width.saturating_sub(PREFIX + head.len() + more.len()));
                let data = room.map_or_else(|| data.clone(), |room| form::cut(&data, room).into_owned());
                (now, who, format!("{head}{data}{more}"))
            }
        };
        let role = if who == "demo" { Role::Attention } else { Role::Name };
        let time = paint.paint(Role::Time, form::clock(now.wall, 3));
        let line = format!("{time}  {}  {text}\n", paint.paint(role, format_args!("{who:<8}")));
        let mut out = std::io::stdout().lock();
        if out.write_all(line.as_bytes()).and_then(|()| out.flush()).is_err() {
            return false;
        }
    }
    true
}

/// The columns of the terminal on stdout; nothing is cut in a pipe.
fn terminal_width() -> Option<usize> {
    use std::io::IsTerminal as _;
    let stdout = std::io::stdout();
    let size = rustix::termios::tcgetwinsize(&stdout)
        .ok()
        .map(|size| usize::from(size.ws_col))
        .filter(|columns| *columns > 0);
    stdout.is_terminal().then(|| size.unwrap_or(80))
}

/// Time and name before each line: `19:00:00.100  sensor-1  `.
const PREFIX: usize = 24;
