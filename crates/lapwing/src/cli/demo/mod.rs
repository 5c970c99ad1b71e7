//! `lapwing demo`: a server and two listeners in one process, and a story in three acts.

mod relay;
mod sensor;
mod teller;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use lapwing_wire::close::CloseCode;
use lapwing_wire::extension::Compression;
use tokio_util::sync::CancellationToken;

use super::misuse::Mistake;
use super::runtime::{self, broken};
use super::value::{address_and_port, whole_number};
use super::{End, stop};
use crate::client::target::Target;
use crate::clock::Now;
use crate::config::{AccessSpec, Config, Limits, raise_open_files};
use crate::failure::{Exit, Failure};
use crate::reason::reason;
use crate::server::accept;
use crate::server::console::Console;
use crate::server::ring;
use crate::server::secrets::Secrets;
use crate::server::storage::Storage;
use crate::server::trust::Trust;
use crate::server::{Server, event};
use crate::source::spec::{default_topics, parse_span};
use crate::terminal::form;
use crate::terminal::paint::{ColorChoice, Painter, Role};
use relay::Relay;
use sensor::Seen;
use teller::Told;

/// The flags of `lapwing demo`.
#[derive(clap::Args, Debug)]
pub struct DemoArgs {
    /// Address and port; when the port is taken, any free one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8765", value_parser = address_and_port)]
    listen: SocketAddr,
    /// The same story on every machine [default: random]
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = whole_number)]
    seed: Option<u64>,
    /// End after so long, 1s to 24h; the story takes 46 s [default: Ctrl-C]
    #[arg(long = "for", value_name = "TIME", allow_hyphen_values = true, value_parser = story_span)]
    time: Option<Duration>,
}

fn story_span(text: &str) -> Result<Duration, Mistake> {
    parse_span(text, Duration::from_secs(1), Duration::from_secs(86_400))
        .map_err(|why| Mistake::new(why, "write a length of time such as 46s or 5m"))
}

/// Tells the story, and goes on until told to stop.
pub fn run(args: DemoArgs, color: ColorChoice) -> End {
    raise_open_files();
    if !args.listen.ip().is_loopback() {
        return Err(Failure::usage(
            format!(
                "--listen {} would serve strangers; the demo is for this machine",
                args.listen
            ),
            "leave --listen out, or use lapwing serve",
        ));
    }
    let stop = stop::on_signals()?;
    let runtime = runtime::on_many_threads()?;
    let end = runtime.block_on(demo(&args, color, stop));
    runtime.shutdown_background();
    end
}

async fn demo(args: &DemoArgs, color: ColorChoice, stop: CancellationToken) -> End {
    let (listener, taken) = match accept::listen(args.listen) {
        Ok(listener) => (listener, false),
        Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => (
            accept::listen(SocketAddr::new(args.listen.ip(), 0)).map_err(broken)?,
            true,
        ),
        Err(error) => {
            return Err(Failure::failed(
                format!("cannot listen on {}: {}", args.listen, reason(&error)),
                "choose another address with --listen",
            ));
        }
    };
    let address = listener.local_addr().map_err(broken)?;
    greet(address, taken.then_some(args.listen.port()), color);

    let (tell, told) = mpsc::channel();
    let (tap, tapped) = mpsc::channel();
    let seed = args.seed.unwrap_or_else(crate::random::word);
    let config = Config {
        storage: None,
        broker: None,
        listen: address,
        topics: default_topics(),
        access: AccessSpec::default(),
        seed,
        allowed_origins: Vec::new(),
        io_uring: ring::probe().is_ok(),
        compression: Compression::Off,
        echo: false,
        tls: None,
        limits: Limits::default(),
    };
    let storage = Storage::open(None, config.topics.clone()).expect("topics in memory open no file");
    let (trust, secrets) = (Trust::default(), Secrets::default());
    let server = Server::start(
        config,
        storage,
        trust,
        secrets,
        listener,
        Console::tapped(tap),
        &[],
        None,
    )
    .map_err(broken)?;
    let relay = Relay::start(address).await.map_err(broken)?;
    let slow = Arc::new(AtomicBool::new(false));
    let target = Target::parse(&format!("ws://{}", relay.address)).expect("our own address is valid");
    let sensors = [
        sensor::start("sensor-1", target.clone(), None, stop.child_token(), tell.clone()).map_err(broken)?,
        sensor::start("sensor-2", target, Some(slow.clone()), stop.child_token(), tell.clone()).map_err(broken)?,
    ];
    let events = {
        let tell = tell.clone();
        std::thread::spawn(move || forward(&tapped, &tell))
    };
    // A teller whose listener has gone ends the demo, quietly.
    let telling = std::thread::spawn({
        let stop = stop.clone();
        move || {
            if !teller::run(&told, color) {
                stop.cancel();
            }
        }
    });

    let story = tell_story(&relay, &slow, &tell);
    let time = args.time.unwrap_or(Duration::MAX);
    tokio::select! {
        () = stop.cancelled() => {}
        () = async { story.await; std::future::pending::<()>().await } => {}
        () = tokio::time::sleep(time) => {}
    }
    stop.cancel();
    let seen: Vec<Seen> = sensors.map(|sensor| sensor.join().unwrap_or_default()).into();
    server.stop(CloseCode::GOING_AWAY, "server stopped", "Ctrl-C").await;
    drop(events);
    sum_up(&seen, &tell);
    let _ = tell.send(Told::End);
    let _ = telling.join();
    Ok(Exit::Done)
}

/// Three acts: both keep up; one turns slow and recovers; both are cut off and resume.
async fn tell_story(relay: &Relay, slow: &AtomicBool, tell: &mpsc::Sender<Told>) {
    let say = |text: &str| {
        let _ = tell.send(Told::Sentence {
            who: "demo",
            text: text.to_owned(),
            now: Now::read(),
        });
    };
    say("act 1: two listeners, sensor-1 (shown) and sensor-2, keep up");
    tokio::time::sleep(ACT).await;
    say(&format!(
        "act 2: sensor-2 now takes {} over each array; watch its drift",
        form::short_span(sensor::SLOW)
    ));
    slow.store(true, Ordering::Relaxed);
    tokio::time::sleep(ACT + ACT / 2).await;
    slow.store(false, Ordering::Relaxed);
    say("sensor-2 is quick again, and catches up with what it has not read yet");
    tokio::time::sleep(ACT).await;
    say(&format!(
        "act 3: both connections are cut for {}",
        form::short_span(CUT)
    ));
    relay.set_whole(false);
    tokio::time::sleep(CUT).await;
    relay.set_whole(true);
    tokio::time::sleep(ACT).await;
    say("that was it. Next: lapwing serve --help");
}

fn forward(tapped: &mpsc::Receiver<(Now, event::Event)>, tell: &mpsc::Sender<Told>) {
    for (now, event) in tapped {
        if let Some(told) = teller::of_server(now, &event)
            && tell.send(told).is_err()
        {
            return;
        }
    }
}

fn greet(address: SocketAddr, taken: Option<u16>, color: ColorChoice) {
    use std::io::Write as _;
    let paint = Painter::stdout(color);
    let label = |word: &'static str| paint.paint(Role::Heading, format!("{word:<8}"));
    let taken = taken.map_or(String::new(), |port| {
        format!("  (port {port} is taken, this one was free)")
    });
    let text = format!(
        "{}: a server and two listeners in this process. It writes nothing to disk.\n\
         \x20 {} http://{address}     who receives how fast; open it beside this window{taken}\n\
         \x20 {} ws://{address}       any WebSocket client; or run: lapwing listen ws://{address}\n\
         \x20 {} users: a random person every 1 s      arrays: 5 random arrays every 2 s\n\
         \x20 {} the last 60 s of each topic, so whoever drops out can catch up     (Ctrl-C stops)\n",
        paint.paint(Role::Heading, "Lapwing demo"),
        label("Page"),
        label("Stream"),
        label("Topics"),
        label("Keeps"),
    );
    // A closed stdout is found out at the first line of the story.
    let _ = std::io::stdout().write_all(text.as_bytes());
}

fn sum_up(seen: &[Seen], tell: &mpsc::Sender<Told>) {
    for (who, seen) in ["sensor-1", "sensor-2"].into_iter().zip(seen) {
        let verdict = match seen.wrong {
            0 => "each offset once, in order".to_owned(),
            wrong => format!("{} missing or repeated", form::counted(wrong, "offset")),
        };
        let came = form::counted(seen.messages, "message");
        let text = format!(
            "received {came}, {}: {verdict}",
            form::counted(seen.reconnects, "reconnect")
        );
        let _ = tell.send(Told::Sentence {
            who,
            text,
            now: Now::read(),
        });
    }
}

const ACT: Duration = Duration::from_secs(10);
const CUT: Duration = Duration::from_millis(1300);
