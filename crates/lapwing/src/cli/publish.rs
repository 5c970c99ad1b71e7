//! `lapwing publish`: what was typed, and what it means.

use std::io::{IsTerminal as _, Write as _};
use std::time::Duration;

use lapwing_wire::position::Offset;
use lapwing_wire::topic::TopicName;

use super::listen::targets_of;
use super::trust::TrustArgs;
use super::value::time;
use super::{End, in_form, runtime, stop};
use crate::client::dial::DialError;
use crate::client::event::Retry;
use crate::client::gatherer::{Gatherer, Rest};
use crate::client::lines::LineError;
use crate::client::post::{Ack, Letterbox};
use crate::client::publisher::{self, Finish, Onlooker};
use crate::client::status::Status;
use crate::client::target::Target;
use crate::client::targets::Targets;
use crate::client::text::Symbols;
use crate::clock::Now;
use crate::failure::{Exit, Failure};
use crate::terminal::form;
use crate::terminal::output::OutputFormat;
use crate::terminal::paint::{ColorChoice, Painter, Role};

/// The flags of `lapwing publish`.
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES, allow_missing_positional = true)]
pub struct PublishArgs {
    /// The server: ws:// or http://, wss:// or https://; or up to 16, separated by commas [default: ws://127.0.0.1:8765]
    ///
    /// Several servers have the same topic: one is taken by chance, and what it does not take goes to the next at once. What it did not answer may be
    /// there already. Servers that share a broker recognise that; of others each knows only what it was posted itself, so that such messages may
    /// stand in the topics of two servers. All begin with ws:// or http://, or all with wss:// or https://, and all are shown the same token.
    #[arg(value_name = "URL", display_order = 1, help_heading = "What")]
    url: Option<String>,
    /// The topic, whose source must be push; or server and topic in one: http://HOST:PORT/topics/TOPIC/messages
    #[arg(value_name = "TOPIC", display_order = 2, help_heading = "What")]
    topic: String,
    #[command(flatten, next_display_order = 3)]
    trust: TrustArgs,
    /// End after this time: 500ms, 10s, 5m, 2h; what was read by then is still sent, if that is possible at once [default: no end]
    #[arg(long = "for", allow_hyphen_values = true, value_name = "TIME", value_parser = time, help_heading = "Stop")]
    time: Option<Duration>,
    /// What to print: text for people, or json with each answer of the server as one object a line
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT", help_heading = "Show")]
    output: OutputFormat,
    /// Short for --output json
    #[arg(long, help_heading = "Show")]
    json: bool,
}

/// Publishes until stdin ends, or the time is over.
pub fn run(args: PublishArgs, color: ColorChoice) -> End {
    let json = args.json || args.output == OutputFormat::Json;
    in_form(json, publish(&args, color, json))
}

fn publish(args: &PublishArgs, color: ColorChoice, json: bool) -> End {
    let to = letterboxes(args)?;
    let topic = &to[0].topic;
    if std::io::stdin().is_terminal() && !json {
        say(&format!("each line becomes a message of {topic}; Ctrl-D ends"));
    }
    let stop = stop::on_signals()?;
    let runtime = runtime::on_one_thread()?;
    let mut teller = Teller {
        paint: Painter::stderr(color),
        json,
        target: match to.as_slice() {
            [to] => to.target.to_string(),
            to => format!("any of {} places", to.len()),
        },
        status: Status::new(false, Symbols::Ascii, None),
        told: false,
        trouble: None,
        published: 0,
        places: None,
        contiguous: true,
        skipped: 0,
        timed_out: false,
    };
    let end = stop.child_token();
    let finish = runtime.block_on(async {
        let over = async {
            match args.time {
                Some(time) => tokio::time::sleep(time).await,
                None => std::future::pending().await,
            }
            // What follows is what follows a first Ctrl-C.
            end.cancel();
            std::future::pending::<std::convert::Infallible>().await
        };
        tokio::select! {
            finish = publisher::publish(&to, Gatherer::of_stdin(), &end, &mut teller) => finish,
            never = over => match never {},
        }
    });
    teller.timed_out = end.is_cancelled() && !stop.is_cancelled();
    let (unknown, unsent, rest) = match finish {
        Ok(Finish::Asked { unknown, unsent, rest }) => (unknown, unsent, rest),
        _ => (0, 0, Rest::Nothing),
    };
    // Whatever the end was, what is on the server is told.
    if !json && ((finish.is_ok() && unsent == 0) || teller.has_sent(finish.as_ref().ok())) {
        say(&teller.summary(topic, finish.as_ref().ok()));
    }
    finish?;
    match (unsent, teller.skipped + unknown) {
        (0, 0) => Ok(Exit::Done),
        (0, _) => Ok(Exit::Failed),
        (unsent, _) => Err(teller.unsent(unsent, rest)),
    }
}

/// One for each server, at least one.
fn letterboxes(args: &PublishArgs) -> Result<Vec<Letterbox>, Failure> {
    let (targets, topic) = place(args)?;
    let tls = args.trust.tls(targets.first())?;
    let token = args.trust.token()?;
    Ok(Letterbox::at_each(&targets, tls, token, topic))
}

/// The servers and the topic, which URLs may name together.
fn place(args: &PublishArgs) -> Result<(Targets, TopicName), Failure> {
    // In the other order both are told apart all the same: no topic can look like a URL.
    let (url, topic) = match &args.url {
        Some(first) if args.topic.contains("://") && !first.contains("://") => (Some(&args.topic), first),
        url => (url.as_ref(), &args.topic),
    };
    let servers = |urls: &str| targets_of(urls, Target::parse_server);
    if url.is_none()
        && topic.contains("://")
        && let Some(place) = servers(topic)?.split_topic()
    {
        return Ok(place);
    }
    let targets = servers(url.map_or("ws://127.0.0.1:8765", String::as_str))?;
    let topic = TopicName::parse(topic).map_err(|error| {
        let topic = lapwing_wire::escape::escaped_cut(topic, 100).0;
        let hint = match topic.contains("://") {
            true => "name the topic behind the URL: lapwing publish ws://127.0.0.1:8765 orders",
            false => "name a topic such as orders",
        };
        Failure::usage(format!("\"{topic}\" is no topic: {error}"), hint)
    })?;
    Ok((targets, topic))
}

/// Tells people how it goes.
struct Teller {
    paint: Painter,
    json: bool,
    target: String,
    status: Status,
    told: bool,
    /// What stands between us and the server now, and what helps.
    trouble: Option<(String, String)>,
    published: u64,
    places: Option<(Offset, Offset)>,
    /// No other publisher came between.
    contiguous: bool,
    skipped: u64,
    /// It was not somebody who ended it, but `--for`.
    timed_out: bool,
}

impl Teller {
    /// Whether anything is on the server, or may be.
    fn has_sent(&self, finish: Option<&Finish>) -> bool {
        self.published > 0 || matches!(finish, Some(Finish::Asked { unknown, .. }) if *unknown > 0)
    }

    fn unsent(&self, count: u64, rest: Rest) -> Failure {
        let more = match rest {
            Rest::Nothing => "",
            Rest::More => "more than ",
        };
        let count = format!("{more}{}", form::counted(count, "message"));
        match &self.trouble {
            Some((why, hint)) => Failure::failed(format!("{count} not sent: {why}"), hint.clone()),
            None if self.timed_out => Failure::failed(
                format!("{count} not sent: the time of --for was over before"),
                "a longer time, or none, lets everything be sent",
            ),
            None => Failure::failed(
                format!("{count} not sent: we were stopped before"),
                "Ctrl-D, not Ctrl-C, ends after everything is sent",
            ),
        }
    }

    fn summary(&self, topic: &TopicName, finish: Option<&Finish>) -> String {
        if matches!(finish, Some(Finish::Done)) && self.published == 0 && self.skipped == 0 {
            return "nothing to publish: stdin held no line".to_owned();
        }
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
        if let Some(Finish::Asked { unknown, .. }) = finish
            && *unknown > 0
        {
            let unknown = form::counted(*unknown, "message");
            text.push_str(&format!(
                "; {unknown} on the way when we stopped, which may have arrived"
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

    fn on_unsure(&mut self, away: Duration, window: Duration, ack: &Ack) {
        self.warn(&format!(
            "tried for {}, and a repeated message is recognised for {}: {} from offset {} on may be there twice",
            form::short_span(away),
            form::short_span(window),
            form::counted(ack.count, "message"),
            ack.first
        ));
    }

    fn on_skipped(&mut self, number: u64, why: LineError) {
        self.skipped += 1;
        self.warn(&format!("line {} {why}: skipped", form::count(number)));
    }

    fn on_passed_over(&mut self, server: &str, error: &DialError) {
        self.warn(&format!("{server} is passed over: {error}"));
    }

    fn on_retry(&mut self, error: &DialError, retry: &Retry<'_>) {
        let now = Now::read();
        let (what, until, hint) = match error {
            DialError::Refused(refusal) => (
                "does not take it",
                "does",
                match refusal.status {
                    507 => "make room on the server's disk, and try again",
                    _ => "try again later",
                },
            ),
            DialError::Lost(_) | DialError::Silent => ("does not answer", "does", "is it a Lapwing server?"),
            _ => ("", "comes", "start one with: lapwing serve"),
        };
        let what = match what {
            "" => format!("no server at {} ({error})", self.target),
            what => format!("{} {what} ({error})", self.target),
        };
        if !std::mem::replace(&mut self.told, true) {
            self.status.on_loss(retry.why);
            self.warn(&format!("{what}; trying until it {until} (Ctrl-C ends)"));
        }
        self.trouble = Some((what, hint.to_owned()));
        if let Some(line) = self.status.on_retry(retry, now)
            && !self.json
        {
            say(&line);
        }
    }

    fn on_back(&mut self, server: Option<&str>) {
        self.told = false;
        self.trouble = None;
        if !self.json {
            say(&format!("{} takes messages again", server.unwrap_or("the server")));
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
  lapwing publish ws://127.0.0.1:8765 orders < orders.ndjson

Exit codes: 0 all published, 1 something was not or may not have been, 2 wrong use, 130 ended at once by a second signal";
