//! How a connection begins: in TLS or not, and what becomes of one that begins otherwise than its port speaks.

use std::io;
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};

use http::StatusCode;
use lapwing_wire::escape::escaped;
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_rustls::server::TlsStream;

use super::event::Event;
use super::front::Front;
use super::journal::target::TLS;
use super::parting;
use super::told::Told;

/// A connection on which HTTP begins.
pub enum Opened {
    /// In the clear.
    Plain(TcpStream),
    /// Inside TLS.
    Encrypted(Box<TlsStream<TcpStream>>),
}

/// Waits for the first byte, and for the handshake of TLS where that is spoken. None when nothing will come of it; the peer is told
/// why, where it would understand, and so is the console.
pub async fn open(stream: TcpStream, address: SocketAddr, front: &Front) -> Option<Opened> {
    let mut first = [0];
    if stream.peek(&mut first).await.ok()? == 0 {
        return None;
    }
    let Some(encryption) = &front.encryption else {
        if first[0] != HANDSHAKE_RECORD {
            return Some(Opened::Plain(stream));
        }
        tracing::info!(target: TLS, from = %address, "TLS on a port that does not speak it");
        front.strays.tell(front, || {
            format!("{address} speaks TLS, and this port does not (ws://, http://); --tls-cert and --tls-key let it")
        });
        // No sentence of TLS; but its clients say that this was no TLS, and some show it.
        parting::answer(
            stream,
            StatusCode::BAD_REQUEST,
            "this port does not speak TLS: use ws:// or http://",
        )
        .await;
        return None;
    };
    // The first byte of a method; of TLS, in any version, it never is.
    if first[0].is_ascii_alphabetic() {
        tracing::info!(target: TLS, from = %address, "no TLS on a port that speaks it");
        front.strays.tell(front, || {
            format!("{address} does not speak TLS, and this port speaks nothing else (wss://, https://)")
        });
        parting::answer(
            stream,
            StatusCode::BAD_REQUEST,
            "this port speaks TLS: use wss:// or https://",
        )
        .await;
        return None;
    }
    let began = Instant::now();
    match encryption.acceptor().accept(stream).await {
        Ok(stream) => {
            front.common.counts.tls_handshakes.add(began.elapsed());
            Some(Opened::Encrypted(Box::new(stream)))
        }
        Err(error) => {
            if let Some(error) = of_tls(&error) {
                tracing::info!(target: TLS, from = %address, why = %error, "TLS handshake refused");
                let error = escaped(&error.to_string());
                front.strays.tell(front, || {
                    format!("{address} came no further than the TLS handshake: {error}")
                });
            }
            None
        }
    }
}

/// What TLS itself found wrong, and not the network.
fn of_tls(error: &io::Error) -> Option<&rustls::Error> {
    error.get_ref()?.downcast_ref()
}

/// Connections that began in the wrong way: told at most once a second, however many there are.
#[derive(Default)]
pub struct Strays {
    told: Mutex<Told>,
}

impl Strays {
    fn tell(&self, front: &Front, text: impl FnOnce() -> String) {
        if self.told.lock().unwrap_or_else(PoisonError::into_inner).is_due() {
            front.common.tell(Event::Limit { text: text() });
        }
    }
}

/// The type of the record in which a ClientHello comes (RFC 8446 section 5.1); no method of HTTP begins with it.
const HANDSHAKE_RECORD: u8 = 0x16;
