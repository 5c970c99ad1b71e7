//! One of very many listeners: its bytes, the state of its connection, and next to nothing else.

use std::io::{self, Read as _, Write as _};
use std::net::SocketAddr;

use lapwing_wire::close::CloseCode;
use lapwing_wire::control::SUBPROTOCOL;
use lapwing_wire::decoder::{Decoder, DecoderLimits, Event};
use lapwing_wire::escape::escaped_cut;
use lapwing_wire::frame::{Opcode, Role, write_close, write_frame};
use lapwing_wire::handshake::Response;

use super::ear::Ear;
use super::track::Track;
use super::wire::Wire;
use crate::client::dial::{DialError, TLS_ALERT, io_reason};
use crate::client::entropy::Entropy;
use crate::clock::Now;

/// A connection that listens.
pub struct Listener {
    /// Its bytes.
    pub wire: Wire,
    phase: Phase,
    /// Whether the subprotocol was agreed on.
    lapwing: bool,
    decoder: Decoder,
    /// What could not be sent yet.
    output: Vec<u8>,
    /// What it follows.
    pub tracks: Vec<Track>,
    /// Whether it stands on the list of turns.
    pub queued: bool,
    /// Whether its thread counts it among those that are open.
    pub counted: bool,
}

enum Phase {
    /// Up to the server's 101.
    Opening(Box<Opening>),
    Open,
    /// Our close is on its way.
    Leaving,
}

struct Opening {
    key: String,
    protocols: &'static [&'static str],
    began: u64,
    came: Vec<u8>,
}

/// What is needed for a handshake.
pub struct Hello {
    /// The request.
    pub request: Vec<u8>,
    /// The key in it.
    pub key: String,
    /// The subprotocols in it.
    pub protocols: &'static [&'static str],
}

/// What a listener needs of its thread for a turn.
pub struct Around<'a> {
    /// The books.
    pub ear: &'a mut Ear,
    /// The one buffer for reads.
    pub buffer: &'a mut [u8],
    /// Keys for frames.
    pub entropy: &'a mut Entropy,
    /// What to send behind the handshake.
    pub commands: &'a [String],
    /// Where the server is.
    pub address: SocketAddr,
    /// Since when this read may have been waiting.
    pub since: u64,
}

/// How a turn ended.
pub enum Turn {
    /// There may be more to read.
    Again,
    /// Nothing more for now.
    Park,
    /// The connection was opened, and there may be more to read.
    Opened,
}

/// How a connection ended.
pub enum End {
    /// It was never opened.
    Refused(DialError),
    /// The server or the network ended it; `done` says that the feed was over.
    Ended {
        /// How.
        how: String,
        /// Whether nothing more could have come.
        done: bool,
    },
    /// We left.
    Left,
}

impl Listener {
    /// A connection on its way, which will send `hello` first.
    #[must_use]
    pub fn new(wire: Wire, hello: Hello, began: u64) -> Self {
        Self {
            wire,
            phase: Phase::Opening(Box::new(Opening {
                key: hello.key,
                protocols: hello.protocols,
                began,
                came: Vec::new(),
            })),
            lapwing: false,
            decoder: Decoder::new(Role::Client, LIMITS),
            output: hello.request,
            tracks: Vec::new(),
            queued: false,
            counted: false,
        }
    }

    /// Since when it waits for the server's 101, if it does.
    #[must_use]
    pub fn opening_since(&self) -> Option<u64> {
        match &self.phase {
            Phase::Opening(opening) => Some(opening.began),
            _ => None,
        }
    }

    /// Whether it is connected and has not said goodbye.
    #[must_use]
    pub fn is_open(&self) -> bool {
        matches!(self.phase, Phase::Open)
    }

    /// Sends what waits, and reads at most once.
    pub fn turn(&mut self, around: &mut Around<'_>) -> Result<Turn, End> {
        let leaving = matches!(self.phase, Phase::Leaving);
        self.exchange(around)
            .map_err(|end| if leaving { End::Left } else { end })
    }

    fn exchange(&mut self, around: &mut Around<'_>) -> Result<Turn, End> {
        if let Phase::Opening(_) = self.phase
            && let Some(error) = self.wire.failed()
        {
            return Err(refused(around.address, error));
        }
        self.send().map_err(|error| self.broken(around.address, error))?;
        let count = match self.wire.read(around.buffer) {
            Ok(0) => return Err(self.broken(around.address, io::ErrorKind::UnexpectedEof.into())),
            Ok(count) => count,
            Err(error) if is_for_later(&error) => return Ok(Turn::Park),
            Err(error) => return Err(self.broken(around.address, error)),
        };
        let now = Now::read();
        around.ear.at(now);
        let strain = &mut around.ear.slice.strain;
        strain.read_late.record(now.mono.saturating_sub(around.since));
        strain.reads_full += u64::from(count == around.buffer.len());
        let was_open = self.is_open();
        self.take(count, around, now)?;
        Ok(match !was_open && self.is_open() {
            true => Turn::Opened,
            false => Turn::Again,
        })
    }

    /// Says goodbye.
    pub fn leave(&mut self, entropy: &mut Entropy) {
        self.phase = Phase::Leaving;
        write_close(&mut self.output, Some(CloseCode::NORMAL), "", Some(entropy.mask()));
        // What cannot be sent now goes with a later turn, or with nobody listening never.
        let _ = self.send();
    }

    fn send(&mut self) -> io::Result<()> {
        while !self.output.is_empty() {
            match self.wire.write(&self.output) {
                Ok(count) => drop(self.output.drain(..count)),
                Err(error) if is_for_later(&error) => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        // Most listeners never send again.
        self.output = Vec::new();
        match self.wire.flush() {
            Err(error) if !is_for_later(&error) => Err(error),
            _ => Ok(()),
        }
    }

    /// Takes the first `count` bytes of the buffer.
    fn take(&mut self, count: usize, around: &mut Around<'_>, now: Now) -> Result<(), End> {
        let Phase::Opening(opening) = &mut self.phase else {
            let Around {
                ear, buffer, entropy, ..
            } = around;
            return self.decode(&mut buffer[..count], ear, entropy);
        };
        opening.came.extend_from_slice(&around.buffer[..count]);
        if opening.came.starts_with(&TLS_ALERT) {
            return Err(End::Refused(DialError::TlsNeeded));
        }
        let parsed = Response::parse(&opening.came).map_err(|error| End::Refused(error.into()))?;
        let Some((response, used)) = parsed else { return Ok(()) };
        if response.status != 101 && !response.is_whole() {
            return Ok(());
        }
        let checked = response.check(&opening.key, opening.protocols);
        let accepted = checked.map_err(|error| End::Refused(error.into()))?;
        self.lapwing = accepted.protocol.as_deref() == Some(SUBPROTOCOL);
        around.ear.books.on_open(opening.began, now.mono);
        let mut early = opening.came.split_off(used);
        self.phase = Phase::Open;
        if self.lapwing {
            for command in around.commands {
                write_frame(
                    &mut self.output,
                    Opcode::Text,
                    command.as_bytes(),
                    Some(around.entropy.mask()),
                );
            }
            self.send().map_err(|error| self.broken(around.address, error))?;
        }
        self.decode(&mut early, around.ear, around.entropy)
    }

    fn decode(&mut self, mut input: &mut [u8], ear: &mut Ear, entropy: &mut Entropy) -> Result<(), End> {
        let leaving = matches!(self.phase, Phase::Leaving);
        loop {
            let decoded = self
                .decoder
                .decode(input)
                .map_err(|error| End::lost(format!("it broke the protocol: {error}")))?;
            let consumed = decoded.consumed;
            match decoded.event {
                None => break,
                Some(Event::Close(_)) if leaving => return Err(End::Left),
                Some(_) if leaving => {}
                Some(Event::Text(text)) => ear.text(&mut self.tracks, self.lapwing, text),
                Some(Event::Binary(bytes)) => ear.binary(&mut self.tracks, bytes),
                // Who takes no pongs needs no more of them.
                Some(Event::Ping(_)) if self.output.len() > OUTPUT_BYTES_MAX => {}
                Some(Event::Ping(payload)) => {
                    write_frame(&mut self.output, Opcode::Pong, payload, Some(entropy.mask()))
                }
                // A compressed message cannot come: that is not offered.
                Some(Event::Pong(_) | Event::Deflated(_)) => {}
                Some(Event::Close(close)) => {
                    let code = close.map(|(code, _)| code);
                    write_close(&mut self.output, code, "", Some(entropy.mask()));
                    let end = closed(close);
                    // Who does not take the answer does without.
                    let _ = self.send();
                    return Err(end);
                }
            }
            input = &mut input[consumed..];
        }
        match self.output.is_empty() {
            true => Ok(()),
            false => self.send().map_err(|error| End::lost(io_reason(&error))),
        }
    }

    /// Why the server did not answer in time, as far as it said anything.
    #[must_use]
    pub fn given_up(&self) -> End {
        End::Refused(self.refusal().unwrap_or(DialError::Silent))
    }

    /// The refusal of which a part has come.
    fn refusal(&self) -> Option<DialError> {
        let Phase::Opening(opening) = &self.phase else {
            return None;
        };
        let (response, _) = Response::parse(&opening.came).ok()??;
        response
            .check(&opening.key, opening.protocols)
            .err()
            .map(DialError::from)
    }

    fn broken(&self, address: SocketAddr, error: io::Error) -> End {
        if let Some(refusal) = self.refusal() {
            return End::Refused(refusal);
        }
        match &self.phase {
            Phase::Opening(_) if matches!(self.wire, Wire::Tls(_)) => End::Refused(DialError::of_tls(error)),
            Phase::Opening(opening) if opening.came.is_empty() && error.kind() != io::ErrorKind::UnexpectedEof => {
                refused(address, error)
            }
            Phase::Opening(_) => End::Refused(DialError::Lost(error)),
            Phase::Open => End::lost(format!("without a close frame: {}", io_reason(&error))),
            Phase::Leaving => End::Left,
        }
    }
}

impl End {
    fn lost(how: String) -> Self {
        Self::Ended { how, done: false }
    }
}

fn closed(close: Option<(CloseCode, &str)>) -> End {
    End::Ended {
        how: close_text(close),
        done: close.is_some_and(|(code, _)| code == CloseCode::NORMAL),
    }
}

/// A connection that never came to be.
fn refused(address: SocketAddr, error: io::Error) -> End {
    End::Refused(DialError::Connect {
        tried: vec![(address, error)],
    })
}

fn is_for_later(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::NotConnected | io::ErrorKind::Interrupted
    )
}

/// Code and meaning; of the reason only what is the same for all, without offsets and times.
fn close_text(close: Option<(CloseCode, &str)>) -> String {
    let (code, reason) = close.unwrap_or((CloseCode::NO_STATUS, ""));
    let words = reason.split(' ').take_while(|word| !word.contains('='));
    let words = words.collect::<Vec<_>>().join(" ");
    let words = match words.is_empty() {
        true => code.meaning().to_owned(),
        false => escaped_cut(&words, 60).0,
    };
    format!("{code} {words}").trim_end().to_owned()
}

/// Pongs that wait for a server that does not read.
const OUTPUT_BYTES_MAX: usize = 64 << 10;

/// A feed may be foreign, and its messages large.
const LIMITS: DecoderLimits = DecoderLimits {
    message_bytes_max: 64 << 20,
    fragments_max: u16::MAX - 1,
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_of_one_kind_are_one() {
        let text = |code, reason| close_text(Some((CloseCode::new(code), reason)));
        assert_eq!(
            text(1012, "server restarts retry=1000 users=60"),
            "1012 server restarts"
        );
        assert_eq!(text(4400, ""), "4400 too slow");
        assert_eq!(text(3999, ""), "3999");
        assert_eq!(close_text(None), "1005 no code given");
    }
}
