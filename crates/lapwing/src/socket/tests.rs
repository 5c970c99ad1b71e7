//! A socket against a peer whose kernel takes little: in the clear and inside TLS the same bytes come, whatever is taken at once.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::sync::{Arc, Mutex, PoisonError};

use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection};

use super::tls::{PIECE_BYTES_MAX, PIECE_SEALED_BYTES_MAX, Tls};
use super::*;

/// What all sockets together hold is counted once for the process: these tests take turns.
static TURN: Mutex<()> = Mutex::new(());

/// A connected pair: ours, and the one that takes little.
fn pair() -> (TcpStream, std::net::TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let ours = std::net::TcpStream::connect(listener.local_addr().expect("it is bound")).expect("it listens");
    let (theirs, _) = listener.accept().expect("one has come");
    socket2::SockRef::from(&ours)
        .set_send_buffer_size(SMALL)
        .expect("a size");
    socket2::SockRef::from(&theirs)
        .set_recv_buffer_size(SMALL)
        .expect("a size");
    ours.set_nonblocking(true).expect("a socket");
    theirs.set_nonblocking(true).expect("a socket");
    (TcpStream::from_std(ours), theirs)
}

/// Far less than a frame of a megabyte, and enough that the kernel need not wait for room for a packet.
const SMALL: usize = 128 << 10;

/// Both sides of TLS behind a handshake in memory.
fn handshake() -> (ServerConnection, ClientConnection) {
    let signed = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a key");
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(signed.signing_key.serialize_der()));
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let server = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .and_then(|config| {
            config
                .with_no_client_auth()
                .with_single_cert(vec![signed.cert.der().clone()], key)
        })
        .expect("a matching key");
    let mut roots = RootCertStore::empty();
    roots.add(signed.cert.der().clone()).expect("a certificate");
    let client = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the defaults")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from("localhost").expect("a name");
    let mut server = ServerConnection::new(Arc::new(server)).expect("settings that fit");
    let mut client = ClientConnection::new(Arc::new(client), name).expect("settings that fit");
    while server.is_handshaking() || client.is_handshaking() || server.wants_write() {
        let mut wire = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut wire).expect("memory takes everything");
        }
        let mut rest = &wire[..];
        while !rest.is_empty() {
            server.read_tls(&mut rest).expect("there is room");
            server.process_new_packets().expect("a good hello");
        }
        let mut wire = Vec::new();
        while server.wants_write() {
            server.write_tls(&mut wire).expect("memory takes everything");
        }
        let mut rest = &wire[..];
        while !rest.is_empty() {
            client.read_tls(&mut rest).expect("there is room");
            client.process_new_packets().expect("a good answer");
        }
    }
    (server, client)
}

/// Whoever reads, of what has come, so many bytes.
struct Reader {
    stream: std::net::TcpStream,
    client: Option<ClientConnection>,
    read: Vec<u8>,
    ended: bool,
}

impl Reader {
    fn take(&mut self, bytes: usize) {
        let mut buffer = vec![0; bytes];
        let came = match self.stream.read(&mut buffer) {
            Ok(0) => {
                self.ended = true;
                return;
            }
            Ok(came) => &buffer[..came],
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
            Err(error) => panic!("it broke: {error}"),
        };
        let Some(client) = &mut self.client else {
            self.read.extend_from_slice(came);
            return;
        };
        let mut rest = came;
        while !rest.is_empty() {
            client.read_tls(&mut rest).expect("plaintext is taken each time");
            client.process_new_packets().expect("every record is whole and ours");
            let mut piece = [0; 16 << 10];
            while let Ok(more @ 1..) = client.reader().read(&mut piece) {
                self.read.extend_from_slice(&piece[..more]);
            }
        }
    }
}

/// Writes frames as a session does: one write, the rest of a cut frame kept, more when that is out.
#[track_caller]
fn check(encrypted: bool, frames: &[usize]) {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let (ours, theirs) = pair();
    let (mut socket, client) = match encrypted {
        false => (Socket::new(ours), None),
        true => {
            let (server, client) = handshake();
            (Socket::encrypted(ours, Box::new(Tls::new(server))), Some(client))
        }
    };
    assert_eq!(socket.is_encrypted(), encrypted);
    let mut reader = Reader {
        stream: theirs,
        client,
        read: Vec::new(),
        ended: false,
    };
    let (mut sent, mut blocked) = (Vec::new(), 0);
    for (nth, bytes) in frames.iter().enumerate() {
        let frame: Vec<u8> = (0..*bytes).map(|at| (at * 7 + nth) as u8).collect();
        let written = socket.write(&frame).expect("the peer is there");
        socket.keep(&frame[written..]).expect("there is room");
        sent.extend_from_slice(&frame);
        let held = RESTS.load(Ordering::Relaxed);
        assert!(held <= frame.len() + PIECE_SEALED_BYTES_MAX, "{held} held of {bytes}");
        assert!(socket.owed() <= PIECE_BYTES_MAX);
        while socket.has_rest() {
            if socket.is_blocked() {
                blocked += 1;
                // As the poll would say, if sometimes for nothing.
                reader.take(1 + blocked * 3701 % 40_000);
                socket.on_writable();
            }
            socket.flush().expect("the peer is there");
        }
        assert_eq!(
            (socket.owed(), RESTS.load(Ordering::Relaxed)),
            (0, 0),
            "everything is out"
        );
    }
    assert!(blocked > 0, "the kernel took everything at once");
    socket.finish();
    while !reader.ended {
        reader.take(100_000);
        if socket.has_rest() {
            socket.on_writable();
            socket.flush().expect("the peer is there");
        }
    }
    assert!(reader.read == sent);
    if let Some(client) = &mut reader.client {
        assert_eq!(client.reader().read(&mut [0]).expect("a close_notify came"), 0);
    }
}

#[test]
fn every_byte_comes_in_its_order_whatever_the_kernel_takes() {
    check(false, &[1, 100_000, 5, 1_000_000, 70_000, 2]);
}

#[test]
fn inside_tls_every_byte_comes_in_its_order_whatever_the_kernel_takes() {
    check(
        true,
        &[1, 100_000, 5, 1_000_000, PIECE_BYTES_MAX, PIECE_BYTES_MAX + 1, 2],
    );
}

#[test]
fn records_that_wait_count_among_the_rests_and_are_given_back_with_their_connection() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let (ours, theirs) = pair();
    let (server, _client) = handshake();
    let mut socket = Socket::encrypted(ours, Box::new(Tls::new(server)));
    while !socket.is_blocked() {
        let written = socket.write(&[7; PIECE_BYTES_MAX]).expect("the peer is there");
        assert_eq!(written, PIECE_BYTES_MAX);
        socket.keep(&[]).expect("there is room");
    }
    let held = RESTS.load(Ordering::Relaxed);
    assert!(
        socket.owed() > 0 && held >= socket.owed() && held <= PIECE_SEALED_BYTES_MAX,
        "{held}"
    );
    // At the limit for all together a rest is kept, and one beyond it not.
    let room = REST_BYTES_MAX - PIECE_SEALED_BYTES_MAX;
    RESTS.fetch_add(room, Ordering::Relaxed);
    assert_eq!(socket.keep(&[7]), Err(RestsFull));
    RESTS.fetch_sub(1, Ordering::Relaxed);
    assert_eq!(socket.keep(&[7]), Ok(()));
    RESTS.fetch_sub(room - 1, Ordering::Relaxed);
    drop(socket);
    assert_eq!(RESTS.load(Ordering::Relaxed), 0);
    drop(theirs);
}

#[test]
fn a_socket_has_one_pointer_beside_its_stream() {
    assert_eq!(size_of::<Socket>(), size_of::<(TcpStream, usize, bool, bool)>());
}

#[test]
fn what_a_client_says_comes_out_of_its_records_however_they_are_cut() {
    let (ours, mut theirs) = pair();
    let (server, mut client) = handshake();
    let mut socket = Socket::encrypted(ours, Box::new(Tls::new(server)));
    let said: Vec<u8> = (0..40_000u32).map(|at| (at * 13) as u8).collect();
    let (mut heard, mut buffer) = (Vec::new(), [0; 1000]);
    for piece in said.chunks(20_000) {
        client.writer().write_all(piece).expect("there is room");
        let mut wire = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut wire).expect("memory takes everything");
        }
        for cut in wire.chunks(333) {
            while theirs.write(cut).is_err() {}
            while let Some(more) = socket.read(&mut buffer).expect("good records") {
                heard.extend_from_slice(&buffer[..more]);
            }
        }
    }
    while heard.len() < said.len() {
        if let Some(more) = socket.read(&mut buffer).expect("good records") {
            heard.extend_from_slice(&buffer[..more]);
        }
    }
    assert!(heard == said);
    assert_eq!(socket.read(&mut buffer).expect("good records"), None);
    drop(theirs);
    while socket.read(&mut buffer).expect("an end is no error").is_none() {}
}
