//! A bare client of JetStream, to hold `lapwing serve --broker` against: it fills a stream, or reads one and does nothing with it.
//!
//! `broker_floor fill URL STREAM SUBJECT COUNT BYTES [RATE]` makes the stream where there is none, and puts so many messages into it, at a rate if
//! one is told. `broker_floor read URL STREAM COUNT` reads from what is new on by an ordered consumer, and prints a line when it
//! is ready and one when it has so many. `bench/broker/run.py` runs it.

use std::process::ExitCode;
use std::time::Duration;

use async_nats::jetstream::consumer::DeliverPolicy;
use async_nats::jetstream::consumer::pull::OrderedConfig;
use async_nats::jetstream::stream::{Config, StorageType};
use async_nats::jetstream::{self, Context};
use futures_util::StreamExt as _;
use tokio::time::Instant;

type Broken = Box<dyn std::error::Error + Send + Sync>;

/// Acknowledgements on their way at once.
const WINDOW: usize = 2_000;

#[expect(clippy::print_stderr, reason = "a program's complaint")]
fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let done = runtime.map_err(Broken::from).and_then(|runtime| {
        runtime.block_on(async {
            match words.as_slice() {
                ["fill", url, stream, subject, count, bytes, rate @ ..] => {
                    let rate = rate.first().map(|rate| rate.parse()).transpose()?;
                    fill(
                        &connect(url).await?,
                        stream,
                        subject,
                        count.parse()?,
                        bytes.parse()?,
                        rate,
                    )
                    .await
                }
                ["read", url, stream, count] => read(&connect(url).await?, stream, count.parse()?).await,
                _ => Err("say fill URL STREAM SUBJECT COUNT BYTES [RATE], or read URL STREAM COUNT".into()),
            }
        })
    });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(broken) => {
            eprintln!("error: {broken}");
            ExitCode::FAILURE
        }
    }
}

async fn connect(url: &str) -> Result<Context, Broken> {
    Ok(jetstream::new(async_nats::connect(url).await?))
}

async fn fill(
    context: &Context,
    stream: &str,
    subject: &str,
    count: u64,
    bytes: usize,
    rate: Option<f64>,
) -> Result<(), Broken> {
    if context.get_stream(stream).await.is_err() {
        let config = Config {
            name: stream.to_owned(),
            subjects: vec![subject.to_owned()],
            storage: StorageType::File,
            ..Config::default()
        };
        context.create_stream(config).await?;
    }
    let began = Instant::now();
    let mut acknowledgements = std::collections::VecDeque::with_capacity(WINDOW);
    for number in 0..count {
        if let Some(rate) = rate {
            tokio::time::sleep_until(began + Duration::from_secs_f64(number as f64 / rate)).await;
        }
        let start = format!(r#"{{"id":{number},"name":"sensor-{}","text":""#, number % 97);
        let filling = "x".repeat(bytes.saturating_sub(start.len() + 2));
        let payload = format!("{start}{filling}\"}}");
        acknowledgements.push_back(context.publish(subject.to_owned(), payload.into()).await?);
        if acknowledgements.len() >= WINDOW
            && let Some(oldest) = acknowledgements.pop_front()
        {
            oldest.await?;
        }
    }
    for acknowledgement in acknowledgements {
        acknowledgement.await?;
    }
    Ok(())
}

#[expect(clippy::print_stdout, reason = "what the benchmark waits for")]
async fn read(context: &Context, stream: &str, count: u64) -> Result<(), Broken> {
    let stream = context.get_stream(stream).await?;
    let config = OrderedConfig {
        deliver_policy: DeliverPolicy::New,
        ..OrderedConfig::default()
    };
    let mut messages = stream.create_consumer(config).await?.messages().await?;
    println!("ready");
    let (mut read, mut bytes) = (0, 0);
    while read < count {
        let message = messages.next().await.ok_or("the consumer has ended")??;
        bytes += message.payload.len();
        read += 1;
    }
    println!("done {bytes}");
    // Whoever measures looks at this process once more.
    std::future::pending().await
}
