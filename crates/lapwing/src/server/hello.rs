//! How a connection begins: in TLS or not, and what becomes of one that begins otherwise than its port speaks.

use std::io;
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};

use http::StatusCode;
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
        if begins_a_request(first[0]) {
            return Some(Opened::Plain(stream));
        }
        if first[0] != HANDSHAKE_RECORD {
            let sentence = "what came does not begin with a request of HTTP/1.1";
            parting::answer(stream, StatusCode::BAD_REQUEST, sentence).await;
            return None;
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
                tracing::info!(target: TLS, from = %address, why = %in_words(error), "TLS handshake refused");
                front.strays.tell(front, || {
                    format!("{address} came no further than the TLS handshake: {}", in_words(error))
                });
            }
            None
        }
    }
}

/// Whether a method may begin with this byte (RFC 9110 section 5.6.2), or an empty line in front of it (RFC 9112 section 2.2).
fn begins_a_request(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~\r\n".contains(&byte)
}

/// What TLS itself found wrong, and not the network.
pub fn of_tls(error: &io::Error) -> Option<&rustls::Error> {
    error.get_ref()?.downcast_ref()
}

/// What went wrong in TLS, as a sentence about the client.
pub fn in_words(error: &rustls::Error) -> String {
    use rustls::AlertDescription as Alert;
    match error {
        rustls::Error::AlertReceived(alert) => match alert {
            Alert::UnknownCA
            | Alert::BadCertificate
            | Alert::CertificateUnknown
            | Alert::UnsupportedCertificate
            | Alert::CertificateRevoked
            | Alert::AccessDenied
            | Alert::DecryptError => "it does not trust our certificate".to_owned(),
            Alert::CertificateExpired => "our certificate is out of its time, by its clock".to_owned(),
            Alert::UnrecognisedName => "it asked for a name that is not ours".to_owned(),
            Alert::ProtocolVersion | Alert::HandshakeFailure | Alert::InsufficientSecurity => {
                NOTHING_IN_COMMON.to_owned()
            }
            Alert::CloseNotify | Alert::UserCanceled => "it gave up".to_owned(),
            other => format!("it broke off with alert {} of TLS", u8::from(*other)),
        },
        rustls::Error::PeerIncompatible(_) => NOTHING_IN_COMMON.to_owned(),
        rustls::Error::NoApplicationProtocol => "it offers another protocol than http/1.1 (ALPN)".to_owned(),
        rustls::Error::InvalidMessage(_)
        | rustls::Error::InappropriateMessage { .. }
        | rustls::Error::InappropriateHandshakeMessage { .. }
        | rustls::Error::PeerSentOversizedRecord => "what came is no handshake of TLS".to_owned(),
        rustls::Error::PeerMisbehaved(_) | rustls::Error::DecryptError => "it broke the rules of TLS".to_owned(),
        _ => "TLS went wrong here".to_owned(),
    }
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

const NOTHING_IN_COMMON: &str = "no version or cipher of TLS is known to both sides";
/// The type of the record in which a ClientHello comes (RFC 8446 section 5.1); no method of HTTP begins with it.
const HANDSHAKE_RECORD: u8 = 0x16;

#[cfg(test)]
mod tests {
    use rustls::{AlertDescription, Error, InvalidMessage, PeerIncompatible};

    use super::*;

    #[test]
    fn d10_what_became_of_a_handshake_is_told_in_words() {
        for (error, expect) in [
            (
                Error::AlertReceived(AlertDescription::UnknownCA),
                "it does not trust our certificate",
            ),
            (
                Error::AlertReceived(AlertDescription::CertificateUnknown),
                "it does not trust our certificate",
            ),
            (
                Error::AlertReceived(AlertDescription::ProtocolVersion),
                NOTHING_IN_COMMON,
            ),
            (
                Error::AlertReceived(AlertDescription::Unknown(0xfe)),
                "it broke off with alert 254 of TLS",
            ),
            (
                Error::PeerIncompatible(PeerIncompatible::NoCipherSuitesInCommon),
                NOTHING_IN_COMMON,
            ),
            (
                Error::InvalidMessage(InvalidMessage::InvalidContentType),
                "what came is no handshake of TLS",
            ),
            (Error::General("Other".to_owned()), "TLS went wrong here"),
        ] {
            assert_eq!(in_words(&error), expect, "{error:?}");
        }
    }
}
