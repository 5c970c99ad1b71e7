//! A publisher: bodies of numbered messages over HTTP, each repeated until its outcome is known.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::Deserialize;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufStream};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::clock::mono;
use crate::dice::Dice;
use crate::epoch::Epoch;
use crate::history::Event;
use crate::journal::Journal;
use crate::payload;
use crate::trouble::Trouble;

/// An answer that takes longer is not waited for: its outcome is unknown. Longer than a pause of the server, so that a
/// pause alone makes no repetition.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(8);

/// A topic that holds back its source lets a body wait for 5 s before it refuses it; whatever else is refused is so at once.
const HELD_LEAST: Duration = Duration::from_secs(4);

/// Between two tries of a body: soon enough that what the first one appended is still retained.
const AGAIN: Duration = Duration::from_millis(50);

/// Most messages of a body.
const PARTS_MAX: u64 = 16;

/// Most bytes of an answer's body.
const ANSWER_BYTES_MAX: usize = 64 << 10;

/// One acknowledged body in so many is sent once more, to see that it is recognised.
const AGAIN_ONCE_IN: u64 = 30;

/// After an outage longer than this the schedule begins anew: a burst of all that was missed would be another test.
const LATENESS_MAX: Duration = Duration::from_secs(1);

/// What a publisher is to do.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Its number, which names it in payloads.
    pub source: u32,
    /// The topic that it fills.
    pub topic: String,
    /// Messages a second.
    pub rate: f64,
    /// The trial's seed.
    pub seed: u64,
    /// Whether some messages are large.
    pub has_large: bool,
    /// Counts the bodies that waited for room in vain; of a topic that holds back its source.
    pub held: Option<Arc<AtomicU64>>,
}

/// Where the server is, shared with whoever restarts it.
pub type Whereabouts = Arc<Mutex<Option<SocketAddr>>>;

/// All publishers of a trial.
#[derive(Debug)]
pub struct Publishers {
    stop: watch::Sender<bool>,
    until: Duration,
    tasks: JoinSet<()>,
}

impl Publishers {
    /// None yet. Each ends when the outcome of its last body is known, or `until` has passed.
    pub fn new(until: Duration) -> Self {
        Self {
            stop: watch::Sender::new(false),
            until,
            tasks: JoinSet::new(),
        }
    }

    /// Another one begins. What one server did not take it repeats to the next of `servers`; what it does stands in the trial's
    /// folder.
    pub fn add(&mut self, plan: Plan, servers: Vec<Whereabouts>, folder: &Path) -> Result<(), Trouble> {
        let name = format!("publisher-{}", plan.source);
        let journal = Journal::new(folder, &name).map_err(Trouble::file(folder.join(name)))?;
        self.tasks
            .spawn(run(plan, servers, journal, self.stop.subscribe(), self.until));
        Ok(())
    }

    /// Tells all of them to stop, and waits until each has.
    pub async fn end(self) {
        self.stop.send_replace(true);
        self.tasks.join_all().await;
    }
}

async fn run(
    plan: Plan,
    servers: Vec<Whereabouts>,
    journal: Journal,
    mut stop: watch::Receiver<bool>,
    until: Duration,
) {
    let mut dice = Dice::apart(plan.seed, "publisher", u64::from(plan.source));
    let mut line = Line {
        servers,
        at: 0,
        socket: None,
    };
    let mut due = Instant::now();
    for sequence in 0.. {
        let parts = if dice.once_in(3) { dice.within(2, PARTS_MAX) } else { 1 };
        if *stop.borrow() {
            return;
        }
        due += Duration::from_secs_f64(parts as f64 / plan.rate.max(0.001));
        due = due.max(Instant::now().checked_sub(LATENESS_MAX).unwrap_or(due));
        tokio::select! {
            () = sleep_until(due) => {}
            _ = stop.wait_for(|stop| *stop) => return,
        }
        let (body, hashes) = make(&plan, sequence, parts, &mut dice);
        let (source, topic) = (plan.source, plan.topic.clone());
        journal.note(&Event::Invoke {
            at: mono(),
            topic,
            source,
            sequence,
            hashes,
        });
        let mut stopped: Option<Instant> = None;
        let mut again = dice.once_in(AGAIN_ONCE_IN);
        loop {
            let asked = Instant::now();
            let answer = timeout(ANSWER_TIMEOUT, line.post(&plan, sequence, &body)).await;
            let answer = answer.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
            let topic = plan.topic.clone();
            let at = mono();
            match answer {
                Ok(Answer::Taken { said, repeated }) => {
                    let (epoch, first, count) = (said.epoch, said.first, said.count);
                    journal.note(&Event::Ack {
                        at,
                        topic,
                        source,
                        sequence,
                        epoch,
                        first,
                        count,
                        repeated,
                    });
                    if !std::mem::take(&mut again) {
                        break;
                    }
                    continue;
                }
                Ok(Answer::Refused { status }) => {
                    let held = plan
                        .held
                        .as_ref()
                        .filter(|_| status == 503 && asked.elapsed() > HELD_LEAST);
                    journal.note(&Event::Nack {
                        at,
                        topic,
                        source,
                        sequence,
                        status,
                        held: held.is_some(),
                    });
                    line.go_on();
                    // Counted after it was written down: who waits for it finds it there.
                    if let Some(held) = held {
                        held.fetch_add(1, Ordering::Relaxed);
                    }
                }
                Err(error) => {
                    line.go_on();
                    let why = error.to_string();
                    journal.note(&Event::Info {
                        at,
                        topic,
                        source,
                        sequence,
                        why,
                    });
                }
            }
            if *stop.borrow() && stopped.get_or_insert_with(Instant::now).elapsed() > until {
                let topic = plan.topic.clone();
                journal.note(&Event::GivenUp {
                    at,
                    topic,
                    source,
                    sequence,
                });
                return;
            }
            sleep(AGAIN).await;
        }
    }
}

fn make(plan: &Plan, sequence: u64, parts: u64, dice: &mut Dice) -> (String, Vec<u32>) {
    let (mut body, mut hashes) = (String::new(), Vec::new());
    for part in 0..parts {
        let part = u32::try_from(part).unwrap_or(0);
        let (text, message) = loop {
            let made = payload::make(plan.source, sequence, part, dice);
            if plan.has_large || made.0.len() < 2000 {
                break made;
            }
        };
        body.push_str(&text);
        body.push('\n');
        hashes.push(message.hash);
    }
    (body, hashes)
}

/// A connection to one of the servers that is made anew when it is lost.
struct Line {
    servers: Vec<Whereabouts>,
    /// Which of them.
    at: usize,
    socket: Option<BufStream<TcpStream>>,
}

#[derive(Deserialize)]
struct Said {
    epoch: Epoch,
    first: u64,
    count: u64,
}

enum Answer {
    Taken { said: Said, repeated: bool },
    Refused { status: u16 },
}

impl Line {
    /// Asks the next server from now on, if there is another.
    fn go_on(&mut self) {
        if self.servers.len() > 1 {
            self.socket = None;
            self.at = (self.at + 1) % self.servers.len();
        }
    }

    async fn post(&mut self, plan: &Plan, sequence: u64, body: &str) -> io::Result<Answer> {
        // Taken out: a try that is given up must not leave half an answer for the next one.
        let mut socket = match self.socket.take() {
            Some(socket) => socket,
            None => {
                let server = self.servers.get(self.at).ok_or(io::ErrorKind::NotFound)?;
                let server = *server.lock().unwrap_or_else(PoisonError::into_inner);
                let server = server.ok_or(io::ErrorKind::ConnectionRefused)?;
                let socket = TcpStream::connect(server).await?;
                socket.set_nodelay(true)?;
                BufStream::new(socket)
            }
        };
        let head = format!(
            "POST /topics/{}/messages HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/x-ndjson\r\n\
             Lapwing-Source: trial-{}-{}\r\nLapwing-Sequence: {sequence}\r\nContent-Length: {}\r\n\r\n",
            plan.topic,
            plan.seed,
            plan.source,
            body.len()
        );
        socket.write_all(head.as_bytes()).await?;
        socket.write_all(body.as_bytes()).await?;
        socket.flush().await?;
        let (status, length, closes) = read_head(&mut socket).await?;
        let mut answer = vec![0; length];
        socket.read_exact(&mut answer).await?;
        if !closes {
            self.socket = Some(socket);
        }
        match status {
            200 | 201 => {
                let said = serde_json::from_slice(&answer)?;
                Ok(Answer::Taken {
                    said,
                    repeated: status == 200,
                })
            }
            status => Ok(Answer::Refused { status }),
        }
    }
}

/// The status, the length of the body, and whether the connection ends behind it.
async fn read_head(socket: &mut BufStream<TcpStream>) -> io::Result<(u16, usize, bool)> {
    let (mut status, mut length, mut closes) = (None, 0, false);
    loop {
        let mut line = String::new();
        if socket.read_line(&mut line).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let line = line.trim_end().to_ascii_lowercase();
        if status.is_none() {
            let code = line.split(' ').nth(1).and_then(|code| code.parse().ok());
            status = Some(code.ok_or(io::ErrorKind::InvalidData)?);
        } else if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse().map_err(|_| io::ErrorKind::InvalidData)?;
        } else if line == "connection: close" {
            closes = true;
        } else if line.is_empty() {
            break;
        }
    }
    let status = status.ok_or(io::ErrorKind::InvalidData)?;
    if length > ANSWER_BYTES_MAX {
        return Err(io::ErrorKind::InvalidData.into());
    }
    Ok((status, length, closes))
}
