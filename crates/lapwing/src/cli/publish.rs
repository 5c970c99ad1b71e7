//! `lapwing publish`: what was typed, and what it means.

use std::io::{IsTerminal as _, Write as _};
use std::path::PathBuf;

use lapwing_wire::position::Offset;
use lapwing_wire::topic::TopicName;

use super::End;
use super::listen::{OutputFormat, url_failure};
use super::stop;
use crate::client::dial::DialError;
use crate::client::entropy::Entropy;
use crate::client::event::Retry;
use crate::client::lines::LineError;
use crate::client::post::{Ack, Letterbox};
use crate::client::publisher::{self, Finish, Onlooker};
use crate::client::status::Status;
use crate::client::target::{Security, Target};
use crate::client::text::Symbols;
use crate::client::tls::{self, Trust};
use crate::clock::Now;
use crate::failure::{Exit, Failure};
use crate::terminal::form;
use crate::terminal::paint::{ColorChoice, Painter, Role};

/// The flags of `lapwing publish`.
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES, override_usage = "lapwing publish [OPTIONS] [URL] TOPIC")]
pub struct PublishArgs {
    /// The server (ws:// or http://, wss:// or https://) [default: ws://127.0.0.1:8765], and the topic, whose source must be push
    #[arg(value_names = ["URL", "TOPIC"], num_args = 1..=2, required = true, help_heading = "What")]
    place: Vec<String>,
    /// Also trust the certificates in this PEM file, for TLS [default: whom the system trusts]
    #[arg(long, value_name = "FILE", conflicts_with = "insecure", help_heading = "What")]
    ca: Option<PathBuf>,
    /// Trust any certificate: whoever is on the way can read and change the messages [default: off]
    #[arg(long, help_heading = "What")]
    insecure: bool,
    /// What to print: text for people, or json with each answer of the server as one object a line
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT", help_heading = "Show")]
    output: OutputFormat,
    /// Short for --output json
    #[arg(long, help_heading = "Show")]
    json: bool,
}

/// Publishes until stdin ends.
pub fn run(args: PublishArgs, color: ColorChoice) -> End {
    let json = args.json || args.output == OutputFormat::Json;
    match publish(&args, color, json) {
        Err(failure) if json => {
            stop::report_json(&failure);
            Ok(failure.exit)
        }
        end => end,
    }
}

fn publish(args: &PublishArgs, color: ColorChoice, json: bool) -> End {
    let to = letterbox(args)?;
    if std::io::stdin().is_terminal() && !json {
        say(&format!("each line becomes a message of {}; Ctrl-D ends", to.topic));
    }
    let stop = stop::on_signals()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::failed(format!("cannot start: {error}"), "is the system out of resources?"))?;
    let mut teller = Teller {
        paint: Painter::stderr(color),
        json,
        target: to.target.to_string(),
        status: Status::new(false, Symbols::Ascii, None),
        told: false,
        published: 0,
        places: None,
        contiguous: true,
        skipped: 0,
    };
    let finish = runtime.block_on(publisher::publish(&to, &stop, &mut teller));
    // Whatever the end was, what is on the server is told.
    if !json && (finish.is_ok() || teller.published > 0) {
        say(&teller.summary(&to.topic, finish.as_ref().ok()));
    }
    finish?;
    match teller.skipped {
        0 => Ok(Exit::Done),
        _ => Ok(Exit::Failed),
    }
}

fn letterbox(args: &PublishArgs) -> Result<Letterbox, Failure> {
    let (url, topic) = match args.place.as_slice() {
        [url, topic] => (url.as_str(), topic),
        [topic] => ("ws://127.0.0.1:8765", topic),
        _ => return Err(Failure::usage("no topic was named", "lapwing publish orders")),
    };
    let target = Target::parse_server(url).map_err(|error| url_failure(&error))?;
    let topic = TopicName::parse(topic).map_err(|error| {
        let topic = lapwing_wire::escape::escaped_cut(topic, 100).0;
        let hint = match topic.contains("://") {
            true => "name the topic behind the URL: lapwing publish ws://127.0.0.1:8765 orders",
            false => "name a topic such as orders",
        };
        Failure::usage(format!("\"{topic}\" is no topic: {error}"), hint)
    })?;
    let trust = match (&args.ca, args.insecure) {
        (Some(path), _) => Trust::File(path.clone()),
        (None, true) => Trust::Anyone,
        (None, false) => Trust::System,
    };
    let tls =
        match target.security {
            Security::Plain => None,
            Security::Tls => Some(tls::config(&trust).map_err(|error| {
                Failure::usage(error.to_string(), "--ca takes a file with certificates in PEM form")
            })?),
        };
    Ok(Letterbox {
        target,
        tls,
        topic,
        source: format!("{:032x}", u128::from_ne_bytes(Entropy::from_system().bytes())),
    })
}

/// Tells people how it goes.
struct Teller {
    paint: Painter,
    json: bool,
    target: String,
    status: Status,
    told: bool,
    published: u64,
    places: Option<(Offset, Offset)>,
    /// No other publisher came between.
    contiguous: bool,
    skipped: u64,
}

impl Teller {
    fn summary(&self, topic: &TopicName, finish: Option<&Finish>) -> String {
        let mut text = format!("published {} to {topic}", form::counted(self.published, "message"));
        match self.places {
            Some((first, last)) if first == last => text.push_str(&format!(": offset {first}")),
            Some((first, last)) if self.contiguous => text.push_str(&format!(": offsets {first}-{last}")),
            Some((first, last)) => text.push_str(&format!(": between offsets {first} and {last}, others came between")),
            None => {}
        }
        if self.skipped > 0 {
            text.push_str(&format!("; {} skipped", form::counted(self.skipped, "line")));
        }
        if let Some(Finish::Asked { unknown }) = finish
            && *unknown > 0
        {
            let unknown = form::counted(*unknown, "message");
            text.push_str(&format!(
                "; {unknown} were on their way when we stopped, and may have arrived"
            ));
        }
        text
    }

    fn warn(&self, text: &str) {
        match self.json {
            true => say(&serde_json::json!({ "warning": text }).to_string()),
            false => say(&format!("{} {text}", self.paint.paint(Role::Attention, "warning:"))),
        }
    }
}

impl Onlooker for Teller {
    fn on_ack(&mut self, ack: &Ack) {
        self.published += ack.count;
        self.places = Some(match self.places {
            None => (ack.first, ack.last),
            Some((first, last)) => {
                self.contiguous &= ack.first.since(last) == 1;
                (first, ack.last)
            }
        });
        if self.json {
            let line = serde_json::to_string(ack).unwrap_or_default();
            // Who closed stdout wants no answers; the messages go on.
            let _ = writeln!(std::io::stdout().lock(), "{line}");
        }
    }

    fn on_skipped(&mut self, number: u64, why: LineError) {
        self.skipped += 1;
        self.warn(&format!("line {} {why}: skipped", form::count(number)));
    }

    fn on_retry(&mut self, error: &DialError, retry: &Retry<'_>) {
        let now = Now::read();
        if !std::mem::replace(&mut self.told, true) {
            let what = match error {
                DialError::Refused(_) => format!("{} does not take it ({error})", self.target),
                _ => format!("no server at {} ({error})", self.target),
            };
            self.status.on_loss(retry.why);
            self.warn(&format!("{what}; trying until it comes"));
        }
        if let Some(line) = self.status.on_retry(retry, now)
            && !self.json
        {
            say(&line);
        }
    }

    fn on_back(&mut self) {
        self.told = false;
        if !self.json {
            say("the server takes messages again");
        }
    }
}

fn say(line: &str) {
    // A closed stderr is no reason to end.
    let _ = writeln!(std::io::stderr().lock(), "{line}");
}

const EXAMPLES: &str = "\
Examples:
  vmstat 1 | lapwing publish machine
  lapwing publish ws://127.0.0.1:8765 orders < orders.ndjson";
