//! A client for the Autobahn suite: goes through its cases and sends each message back as it came, on the connection of `lapwing listen`.

use std::process::ExitCode;
use std::time::Duration;

use lapwing::client::connection::{Connection, READ_BYTES, Turn};
use lapwing::client::dial::Dial;
use lapwing::client::entropy::Entropy;
use lapwing::client::target::Target;
use lapwing_wire::close::CloseCode;
use lapwing_wire::decoder::{DecoderLimits, Event};
use tokio::time::timeout;

/// What each case asks of us, and is then judged by who asks.
#[expect(clippy::print_stderr, reason = "for who runs it by hand")]
#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [server, agent] = &arguments[..] else {
        eprintln!("usage: echo ws://HOST:PORT AGENT");
        return ExitCode::from(2);
    };
    match go_through(server, agent).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("error: {why}");
            ExitCode::FAILURE
        }
    }
}

async fn go_through(server: &str, agent: &str) -> Result<(), String> {
    let mut entropy = Entropy::from_system();
    let count = echo(&format!("{server}/getCaseCount"), &mut entropy).await?;
    let count = count.ok_or("the suite does not say how many cases it has")?;
    let count: usize = count.parse().map_err(|_| format!("{count:?} is no number of cases"))?;
    for case in 1..=count {
        let url = format!("{server}/runCase?case={case}&agent={agent}");
        timeout(CASE_TIME_MAX, echo(&url, &mut entropy))
            .await
            .map_err(|_| format!("case {case} did not end within {} s", CASE_TIME_MAX.as_secs()))??;
    }
    echo(&format!("{server}/updateReports?agent={agent}"), &mut entropy).await?;
    Ok(())
}

/// Sends back what comes until the server closes or breaks the rules; gives the first text, up to so many characters.
async fn echo(url: &str, entropy: &mut Entropy) -> Result<Option<String>, String> {
    let dial = Dial {
        target: Target::parse(url).map_err(|error| error.to_string())?,
        name: None,
        protocols: &[],
        limits: LIMITS,
        read_bytes: READ_BYTES,
        tls: None,
    };
    let dialed = dial.connect(entropy).await;
    let mut connection = dialed.map_err(|error| format!("{url}: {error}"))?.connection;
    let mut first = None;
    while let Ok(Turn::Read(_)) = connection.turn().await {
        while let Some(answer) = answer(&mut connection) {
            match &answer {
                Answer::Text(text) => {
                    connection.send_text(text);
                    first.get_or_insert_with(|| text.chars().take(COUNT_CHARS_MAX).collect());
                }
                Answer::Binary(bytes) => connection.send_binary(bytes),
                Answer::Close(code, reason) => connection.send_close(*code, reason),
                Answer::Nothing => {}
            }
            // Each at once: of several pings each is to be answered, and nothing more is read before the echo is taken.
            connection.flush().await;
        }
    }
    Ok(first)
}

/// What is said to an event.
enum Answer {
    Text(String),
    Binary(Vec<u8>),
    Close(Option<CloseCode>, String),
    /// What there is to say is said by the connection: pongs.
    Nothing,
}

/// The answer to what came next, if anything did.
fn answer(connection: &mut Connection) -> Option<Answer> {
    match connection.event() {
        Ok(None) => None,
        Ok(Some(Event::Text(text))) => Some(Answer::Text(text.to_owned())),
        Ok(Some(Event::Binary(bytes))) => Some(Answer::Binary(bytes.to_vec())),
        Ok(Some(Event::Close(close))) => Some(Answer::Close(close.map(|(code, _)| code), String::new())),
        // A compressed message cannot come: that is not offered.
        Ok(Some(Event::Ping(_) | Event::Pong(_) | Event::Deflated(_))) => Some(Answer::Nothing),
        Err(error) => Some(Answer::Close(Some(error.close_code()), error.to_string())),
    }
}

/// The suite sends up to 16 MiB, and 4 MiB in more than 65,536 frames.
const LIMITS: DecoderLimits = DecoderLimits {
    message_bytes_max: 64 << 20,
    fragments_max: DecoderLimits::ANY_FRAGMENTS,
};
/// The slowest ones take a few seconds.
const CASE_TIME_MAX: Duration = Duration::from_secs(120);
/// No suite has more cases than that many digits can count.
const COUNT_CHARS_MAX: usize = 9;
