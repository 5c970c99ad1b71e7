//! Clients inside TLS, certificates for servers, and the records between them by hand.

use std::io::{Read, Write as _};
use std::net::TcpStream;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, SignatureScheme, StreamOwned, SupportedCipherSuite,
};
use tungstenite::WebSocket;
use tungstenite::client::IntoClientRequest as _;
use tungstenite::protocol::WebSocketConfig;

use super::PATIENCE;
use super::client::Message;
use super::server::Server;

/// A connection inside TLS.
pub type Inside = StreamOwned<ClientConnection, TcpStream>;

/// A certificate and its key in files, for a server.
pub struct Pair {
    _folder: tempfile::TempDir,
    pub cert: PathBuf,
    pub key: PathBuf,
}

impl Pair {
    /// A new one for 127.0.0.1.
    pub fn new() -> Self {
        Self::with(|_| {})
    }

    /// A new one for 127.0.0.1, made otherwise than usual.
    pub fn with(change: impl FnOnce(&mut rcgen::CertificateParams)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let pair = Self {
            cert: folder.path().join("cert.pem"),
            key: folder.path().join("key.pem"),
            _folder: folder,
        };
        pair.renew(change);
        pair
    }

    /// Another one in the same files; gives its fingerprint.
    pub fn renew(&self, change: impl FnOnce(&mut rcgen::CertificateParams)) -> String {
        let mut params = rcgen::CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
        change(&mut params);
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        std::fs::write(&self.cert, certificate.pem()).unwrap();
        std::fs::write(&self.key, key.serialize_pem()).unwrap();
        fingerprint(certificate.der())
    }

    /// The flags that have a server use it.
    pub fn flags(&self) -> [&str; 4] {
        [
            "--tls-cert",
            self.cert.to_str().unwrap(),
            "--tls-key",
            self.key.to_str().unwrap(),
        ]
    }
}

/// The SHA-256 fingerprint of a certificate: `AB:01:…`.
pub fn fingerprint(certificate: &[u8]) -> String {
    let SupportedCipherSuite::Tls13(suite) = aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256 else {
        unreachable!()
    };
    let hash = suite.common.hash_provider.hash(certificate);
    let bytes: Vec<String> = hash.as_ref().iter().map(|byte| format!("{byte:02X}")).collect();
    bytes.join(":")
}

/// A client's side of TLS that trusts anyone.
pub fn hello() -> ClientConnection {
    with_versions(rustls::DEFAULT_VERSIONS)
}

/// As [`hello`], with these versions only.
pub fn with_versions(versions: &[&'static rustls::SupportedProtocolVersion]) -> ClientConnection {
    let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(versions)
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(TrustAnyone))
        .with_no_client_auth();
    ClientConnection::new(Arc::new(config), ServerName::try_from("127.0.0.1").unwrap()).unwrap()
}

/// A connection to a server, behind the handshake of TLS.
#[track_caller]
pub fn connect(server: &Server) -> Inside {
    on(
        TcpStream::connect(server.address()).expect("the server listens"),
        hello(),
    )
}

/// As [`connect`], on a socket that the test has made.
#[track_caller]
pub fn on(stream: TcpStream, connection: ClientConnection) -> Inside {
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream.set_nodelay(true).unwrap();
    let mut inside = StreamOwned::new(connection, stream);
    while inside.conn.is_handshaking() {
        inside
            .conn
            .complete_io(&mut inside.sock)
            .expect("the handshake succeeds");
    }
    inside
}

/// The fingerprint of the server's certificate.
pub fn met(inside: &Inside) -> String {
    fingerprint(&inside.conn.peer_certificates().unwrap()[0])
}

/// A stream of a server that encrypts.
#[track_caller]
pub fn follow(server: &Server, query: &str) -> WebSocket<Inside> {
    follow_on(connect(server), server, query)
}

/// As [`follow`], on a connection that the test has made.
#[track_caller]
pub fn follow_on(inside: Inside, server: &Server, query: &str) -> WebSocket<Inside> {
    let request = format!("wss://{}/?{query}", server.address())
        .into_client_request()
        .unwrap();
    let config = WebSocketConfig::default().max_frame_size(None).max_message_size(None);
    match tungstenite::client::client_with_config(request, inside, Some(config)) {
        Ok((socket, _)) => socket,
        Err(error) => panic!("no stream at ?{query}: {error}"),
    }
}

/// The next message.
#[track_caller]
pub fn message(socket: &mut WebSocket<Inside>) -> Message {
    loop {
        match socket.read().expect("a message comes") {
            tungstenite::Message::Text(text) => {
                return serde_json::from_str(text.as_str()).expect("every text is a message");
            }
            tungstenite::Message::Close(close) => panic!("closed: {close:?}"),
            _ => {}
        }
    }
}

/// Sends a request and reads the whole answer; the server is to close behind it.
#[track_caller]
pub fn ask(server: &Server, method: &str, path: &str, body: &str) -> String {
    let mut inside = connect(server);
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n{body}",
        server.address(),
        body.len()
    );
    inside.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    inside.read_to_string(&mut answer).expect("it ends with a close_notify");
    answer
}

/// What waits to be sent, as records.
pub fn records(connection: &mut ClientConnection) -> Vec<u8> {
    let mut records = Vec::new();
    while connection.wants_write() {
        connection.write_tls(&mut records).unwrap();
    }
    records
}

/// Reads until the server ends the connection, whichever way.
pub fn ended(stream: &mut impl Read) {
    let mut bytes = [0; 4096];
    while stream.read(&mut bytes).is_ok_and(|read| read > 0) {}
}

#[derive(Debug)]
struct TrustAnyone;

impl ServerCertVerifier for TrustAnyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let supported = aws_lc_rs::default_provider().signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, cert, dss, &supported)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let supported = aws_lc_rs::default_provider().signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, cert, dss, &supported)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        aws_lc_rs::default_provider()
            .signature_verification_algorithms
            .supported_schemes()
    }
}
