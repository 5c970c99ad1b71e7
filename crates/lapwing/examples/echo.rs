//! Answers every case of a fuzzing server with the messages that it sends, on the connection that `lapwing listen` has.
//!
//! `cargo run --example echo -- ws://127.0.0.1:9001 [AGENT] [AT ONCE]`; `scripts/autobahn` runs it.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use lapwing::client::connection::{Connection, READ_BYTES, Turn};
use lapwing::client::dial::Dial;
use lapwing::client::entropy::Entropy;
use lapwing::client::target::Target;
use lapwing::client::token::TokenSource;
use lapwing_wire::decoder::{DecoderLimits, Event};
use lapwing_wire::extension::Compression;
use lapwing_wire::frame::Opcode;
use tokio::sync::Semaphore;
use tokio::time::timeout;

type Broken = Box<dyn std::error::Error + Send + Sync>;

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let Some(server) = arguments.next() else {
        return fail("give the URL of a fuzzing server, such as ws://127.0.0.1:9001".into());
    };
    let agent = arguments.next().unwrap_or_else(|| "lapwing".to_owned());
    let at_once = arguments.next().and_then(|count| count.parse().ok()).unwrap_or(1);
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => return fail(error.into()),
    };
    match runtime.block_on(all_cases(server, agent, at_once)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(broken) => fail(broken),
    }
}

#[expect(clippy::print_stderr, reason = "this is where it says what went wrong")]
fn fail(broken: Broken) -> ExitCode {
    eprintln!("error: {broken}");
    ExitCode::FAILURE
}

/// Asks how many cases there are, runs them, and has the reports written.
async fn all_cases(server: String, agent: String, at_once: usize) -> Result<(), Broken> {
    let count = run(format!("{server}/getCaseCount")).await?;
    let count: usize = count.ok_or("it did not say how many cases there are")?.parse()?;
    let room = Arc::new(Semaphore::new(at_once));
    let mut cases = tokio::task::JoinSet::new();
    for case in 1..=count {
        let place = room.clone().acquire_owned().await?;
        let url = format!("{server}/runCase?case={case}&agent={agent}");
        cases.spawn(async move {
            // What comes of a case is for the other side to say.
            let _ = timeout(CASE_MAX, run(url)).await;
            drop(place);
        });
    }
    while cases.join_next().await.is_some() {}
    run(format!("{server}/updateReports?agent={agent}")).await?;
    Ok(())
}

/// Sends back whatever comes, until the end; gives the last text.
async fn run(url: String) -> Result<Option<String>, Broken> {
    let dial = Dial {
        token: TokenSource::Nowhere,
        target: Target::parse(&url).map_err(|error| error.to_string())?,
        name: None,
        protocols: &[],
        compression: Compression::Deflate,
        limits: DecoderLimits {
            message_bytes_max: 64 << 20,
            fragments_max: DecoderLimits::ANY_FRAGMENTS,
        },
        read_bytes: READ_BYTES,
        tls: None,
    };
    let dialed = dial.connect(&mut Entropy::from_system()).await;
    let mut connection = dialed.map_err(|error| error.to_string())?.connection;
    let mut text = None;
    loop {
        let is_open = echo(&mut connection, &mut text);
        // Who does not take what it sent is sent nothing more, and not read.
        connection.flush().await;
        if !is_open {
            break;
        }
        match connection.turn().await {
            Ok(Turn::Read(_)) => {}
            Ok(Turn::Ended) | Err(_) => return Ok(text),
        }
    }
    // The server ends the connection (RFC 6455 section 7.1.1).
    let end = async { while matches!(connection.turn().await, Ok(Turn::Read(_))) && connection.event().is_ok() {} };
    let _ = timeout(END_MAX, end).await;
    Ok(text)
}

/// Answers everything that was read; gives whether the connection goes on.
fn echo(connection: &mut Connection, last: &mut Option<String>) -> bool {
    loop {
        let (opcode, payload) = match connection.event() {
            Ok(None) => return true,
            Ok(Some(Event::Text(text))) => {
                *last = Some(text.to_owned());
                (Opcode::Text, text.as_bytes().to_vec())
            }
            Ok(Some(Event::Binary(bytes))) => (Opcode::Binary, bytes.to_vec()),
            Ok(Some(Event::Close(close))) => {
                let code = close.map(|(code, _)| code);
                connection.send_close(code, "");
                return false;
            }
            Ok(Some(Event::Ping(_) | Event::Pong(_) | Event::Deflated(_))) => continue,
            Err(error) => {
                connection.send_close(Some(error.close_code()), &error.to_string());
                return false;
            }
        };
        connection.send_message(opcode, &payload);
    }
}

/// Longer than any case takes on a slow machine.
const CASE_MAX: Duration = Duration::from_secs(120);
/// After a close, so long for the end of the connection.
const END_MAX: Duration = Duration::from_secs(2);
