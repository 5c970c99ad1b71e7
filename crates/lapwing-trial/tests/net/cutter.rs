//! A proxy that ends its first connection at a byte of a frame: it follows what the server sends as WebSocket does.

use std::io;
use std::net::{Shutdown, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use lapwing_trial::proxy::End;
use socket2::SockRef;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader, copy};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};

/// Which byte of which piece is the first that does not come. Piece 0 is the answer to the handshake, 1 the first frame.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    /// The piece.
    pub piece: usize,
    /// The byte of it.
    pub byte: Byte,
}

/// A byte of a piece.
#[derive(Clone, Copy, Debug)]
pub enum Byte {
    /// So many bytes of it come.
    Count(usize),
    /// So many bytes of it do not come.
    Missing(usize),
}

/// Cuts the first connection; those behind it pass. Ends with the runtime that it was started in.
pub struct Cutter {
    /// Where listeners connect.
    pub address: SocketAddr,
    came: Arc<AtomicUsize>,
    cut: Arc<AtomicBool>,
}

impl Cutter {
    /// Listens on a free port, before this server. To be called within a runtime.
    pub fn start(server: SocketAddr, place: Place, end: End) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port is free");
        listener.set_nonblocking(true).expect("a socket");
        let address = listener.local_addr().expect("it is bound");
        let listener = TcpListener::from_std(listener).expect("within a runtime");
        let came = Arc::new(AtomicUsize::new(0));
        let cut = Arc::new(AtomicBool::new(false));
        let (count, done) = (Arc::clone(&came), Arc::clone(&cut));
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let cut = (count.fetch_add(1, Ordering::SeqCst) == 0).then_some((place, end));
                let done = Arc::clone(&done);
                tokio::spawn(async move {
                    // A side that is gone is seen by the other one.
                    let served = serve(client, server, cut, &done).await;
                    drop(served);
                });
            }
        });
        Self { address, came, cut }
    }

    /// How many connections came.
    pub fn connections(&self) -> usize {
        self.came.load(Ordering::SeqCst)
    }

    /// Whether the cut fell where it was meant to.
    pub fn has_cut(&self) -> bool {
        self.cut.load(Ordering::SeqCst)
    }
}

async fn serve(
    mut client: TcpStream,
    server: SocketAddr,
    cut: Option<(Place, End)>,
    done: &AtomicBool,
) -> io::Result<()> {
    let mut server = TcpStream::connect(server).await?;
    {
        let (mut from_client, mut to_client) = client.split();
        let (from_server, mut to_server) = server.split();
        let mut up = std::pin::pin!(async {
            let _ = copy(&mut from_client, &mut to_server).await;
            let _ = to_server.shutdown().await;
        });
        let mut down = std::pin::pin!(down(from_server, &mut to_client, cut.map(|(place, _)| place)));
        let is_cut = tokio::select! {
            is_cut = &mut down => is_cut?,
            // What the server has still to say comes all the same.
            () = &mut up => down.as_mut().await?,
        };
        done.fetch_or(is_cut, Ordering::SeqCst);
    }
    match cut {
        Some((_, End::HalfClose)) => {
            SockRef::from(&client).shutdown(Shutdown::Write)?;
            // Until the client goes, too.
            copy(&mut client, &mut server).await?;
        }
        Some((_, End::Reset)) => {
            for socket in [&client, &server] {
                SockRef::from(socket).set_linger(Some(Duration::ZERO))?;
            }
        }
        Some((_, End::Close)) | None => {}
    }
    Ok(())
}

/// Hands pieces down, whole ones at once, until the end or the place of the cut; says whether it was that.
async fn down(server: ReadHalf<'_>, client: &mut WriteHalf<'_>, place: Option<Place>) -> io::Result<bool> {
    let mut server = BufReader::new(server);
    for number in 0.. {
        let piece = match number {
            0 => head(&mut server).await,
            _ => frame(&mut server).await,
        };
        // The server ended it: so do we.
        let Ok(piece) = piece else { break };
        let Some(place) = place.filter(|place| place.piece == number) else {
            client.write_all(&piece).await?;
            continue;
        };
        let count = match place.byte {
            Byte::Count(count) => count,
            Byte::Missing(missing) => piece.len() - missing,
        };
        assert!(count < piece.len(), "{place:?} is beyond {} bytes", piece.len());
        client.write_all(&piece[..count]).await?;
        return Ok(true);
    }
    Ok(false)
}

async fn head(server: &mut BufReader<ReadHalf<'_>>) -> io::Result<Vec<u8>> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if server.read_until(b'\n', &mut head).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(head)
}

/// A frame with its header; a server does not mask.
async fn frame(server: &mut BufReader<ReadHalf<'_>>) -> io::Result<Vec<u8>> {
    let mut frame = vec![0; 2];
    server.read_exact(&mut frame).await?;
    let more = match frame[1] {
        126 => 2,
        127 => 8,
        _ => 0,
    };
    frame.resize(2 + more, 0);
    server.read_exact(&mut frame[2..]).await?;
    let long = frame[2..]
        .iter()
        .fold(0, |length, byte| length << 8 | usize::from(*byte));
    let length = if more > 0 { long } else { usize::from(frame[1]) };
    let header = frame.len();
    frame.resize(header + length, 0);
    server.read_exact(&mut frame[header..]).await?;
    Ok(frame)
}
