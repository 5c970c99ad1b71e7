//! A proxy that makes a bad network: delay, jitter, rate, slices, cuts at a byte, resets, half-closes and black holes.
//!
//! Each listener has a proxy of its own, so that a fault has a victim. What chance decides comes from the seed, the proxy's
//! number and the connection's, so a seed gives the same weather again; when bytes come is up to the machine.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use socket2::SockRef;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

use crate::dice::Dice;

/// Bytes of one read.
const READ_BYTES: usize = 16 << 10;

/// Pieces on their way in one direction: with [`READ_BYTES`] at most 1 MiB waits in the proxy.
const PIECES_MAX: usize = 64;

/// What the socket to the server takes ahead: little, so that a slow listener is slow for the server, too.
const RECEIVE_BYTES: u32 = 16 << 10;

/// How often a black hole is looked at.
const HOLE_LOOK: Duration = Duration::from_millis(10);

/// Which way bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// From the server to the client.
    Down,
    /// From the client to the server.
    Up,
}

/// What the network is like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Weather {
    /// Each piece comes so much later.
    pub delay: Duration,
    /// And up to so much more.
    pub jitter: Duration,
    /// Bytes a second in each direction.
    pub rate: Option<u64>,
    /// Most bytes of one segment.
    pub slice: Option<usize>,
    /// Nothing goes down.
    pub hole_down: bool,
    /// Nothing goes up.
    pub hole_up: bool,
    /// Connections are reset as they come.
    pub refuse: bool,
}

/// How a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// A reset, both ways.
    Reset,
    /// Both sides see the end.
    Close,
    /// The client sees the end; the other way stays open.
    HalfClose,
}

/// A connection that is to end when so many more bytes have gone down.
#[derive(Clone, Copy, Debug)]
struct Cut {
    after: usize,
    end: End,
}

#[derive(Debug, Default)]
struct Connection {
    cut: Mutex<Option<Cut>>,
    /// Ends the connection with a reset.
    reset: Notify,
    /// Ends it as if both had closed.
    close: Notify,
}

#[derive(Debug)]
struct Shared {
    upstream: Mutex<Option<SocketAddr>>,
    weather: Mutex<Weather>,
    connections: Mutex<HashMap<u64, Arc<Connection>>>,
    seed: u64,
    number: u64,
}

/// A proxy that runs until it is dropped.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    task: tokio::task::JoinHandle<()>,
}

fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Proxy {
    /// Listens on a free port of this machine.
    pub async fn start(seed: u64, number: u64) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            upstream: Mutex::new(None),
            weather: Mutex::new(Weather::default()),
            connections: Mutex::new(HashMap::new()),
            seed,
            number,
        });
        let task = tokio::spawn(accept(listener, Arc::clone(&shared)));
        Ok(Self { address, shared, task })
    }

    /// Where clients connect.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where the server is now; `None` while it is not there.
    pub fn lead_to(&self, server: Option<SocketAddr>) {
        *held(&self.shared.upstream) = server;
    }

    /// Changes the weather of all connections.
    pub fn set(&self, weather: Weather) {
        *held(&self.shared.weather) = weather;
    }

    /// Ends every connection there is, when so many more bytes have gone down.
    pub fn cut(&self, after: usize, end: End) {
        for connection in held(&self.shared.connections).values() {
            if after == 0 && end == End::Reset {
                connection.reset.notify_one();
            } else {
                *held(&connection.cut) = Some(Cut { after, end });
            }
        }
    }

    /// How many connections there are.
    pub fn connections(&self) -> usize {
        held(&self.shared.connections).len()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    for number in 0.. {
        let client = match listener.accept().await {
            Ok((client, _)) => client,
            Err(_) => {
                // Out of open files, or a client that left at once: the next one may do better.
                sleep(HOLE_LOOK).await;
                continue;
            }
        };
        if held(&shared.weather).refuse {
            reset(&client);
            continue;
        }
        let shared = Arc::clone(&shared);
        connections.spawn(async move {
            let connection = Arc::new(Connection::default());
            held(&shared.connections).insert(number, Arc::clone(&connection));
            serve(client, number, &connection, &shared).await;
            held(&shared.connections).remove(&number);
        });
        while connections.try_join_next().is_some() {}
    }
}

/// Makes the socket's end a reset.
fn reset(socket: &TcpStream) {
    // A socket that is gone already has been reset or closed by its peer.
    let _ = SockRef::from(socket).set_linger(Some(Duration::ZERO));
}

async fn serve(client: TcpStream, number: u64, connection: &Arc<Connection>, shared: &Arc<Shared>) {
    // The server is connected at once: what waits here must never reach a later life of the server.
    let upstream = *held(&shared.upstream);
    let Some(Ok(server)) = (match upstream {
        Some(upstream) => Some(dial(upstream).await),
        None => None,
    }) else {
        reset(&client);
        return;
    };
    let (client, server) = (Arc::new(client), Arc::new(server));
    // A slicer is only seen if the kernel does not put the slices together again.
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let mut pumps = JoinSet::new();
    for (way, from, to) in [(Way::Down, &server, &client), (Way::Up, &client, &server)] {
        let dice = Dice::apart(
            shared.seed,
            "proxy",
            (shared.number << 32) ^ (number << 1) ^ u64::from(way == Way::Up),
        );
        let (sender, receiver) = mpsc::channel(PIECES_MAX);
        pumps.spawn(read(way, Arc::clone(from), sender, Arc::clone(shared), dice.clone()));
        pumps.spawn(write(
            way,
            Arc::clone(to),
            receiver,
            Arc::clone(shared),
            Arc::clone(connection),
            dice,
        ));
    }
    let is_reset = loop {
        tokio::select! {
            () = connection.reset.notified() => break true,
            () = connection.close.notified() => break false,
            pump = pumps.join_next() => match pump {
                None => break false,
                Some(Ok(Ok(()))) => {}
                Some(_) => break true,
            },
        }
    };
    if is_reset {
        reset(&client);
        reset(&server);
    }
    pumps.shutdown().await;
}

async fn dial(upstream: SocketAddr) -> io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.set_recv_buffer_size(RECEIVE_BYTES)?;
    socket.connect(upstream).await
}

fn is_hole(shared: &Shared, way: Way) -> bool {
    let weather = held(&shared.weather);
    match way {
        Way::Down => weather.hole_down,
        Way::Up => weather.hole_up,
    }
}

async fn read(
    way: Way,
    from: Arc<TcpStream>,
    pieces: mpsc::Sender<(Instant, Vec<u8>)>,
    shared: Arc<Shared>,
    mut dice: Dice,
) -> io::Result<()> {
    let mut latest = Instant::now();
    let mut buffer = vec![0; READ_BYTES];
    loop {
        if is_hole(&shared, way) {
            sleep(HOLE_LOOK).await;
            continue;
        }
        from.readable().await?;
        let length = match from.try_read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
            Err(error) => return Err(error),
        };
        let weather = *held(&shared.weather);
        let jitter = Duration::from_micros(dice.within(0, weather.jitter.as_micros() as u64 + 1));
        // Later bytes never overtake earlier ones: it is TCP.
        latest = latest.max(Instant::now() + weather.delay + jitter);
        if pieces.send((latest, buffer[..length].to_vec())).await.is_err() {
            return Ok(());
        }
    }
}

async fn write(
    way: Way,
    to: Arc<TcpStream>,
    mut pieces: mpsc::Receiver<(Instant, Vec<u8>)>,
    shared: Arc<Shared>,
    connection: Arc<Connection>,
    mut dice: Dice,
) -> io::Result<()> {
    while let Some((due, piece)) = pieces.recv().await {
        sleep_until(due).await;
        let mut rest = &piece[..];
        while !rest.is_empty() {
            while is_hole(&shared, way) {
                sleep(HOLE_LOOK).await;
            }
            let weather = *held(&shared.weather);
            let most = weather
                .slice
                .map_or(rest.len(), |most| dice.within(1, most as u64 + 1) as usize);
            let mut now = most.min(rest.len());
            let cut = if way == Way::Down { *held(&connection.cut) } else { None };
            if let Some(cut) = cut {
                now = now.min(cut.after);
            }
            write_all(&to, &rest[..now]).await?;
            rest = &rest[now..];
            if let Some(Cut { after, end }) = cut {
                let left = after - now;
                *held(&connection.cut) = Some(Cut { after: left, end });
                if left == 0 {
                    match end {
                        End::Reset => connection.reset.notify_one(),
                        End::Close => connection.close.notify_one(),
                        End::HalfClose => SockRef::from(&*to).shutdown(std::net::Shutdown::Write)?,
                    }
                    return Ok(());
                }
            }
            if let Some(rate) = weather.rate {
                sleep(Duration::from_secs_f64(now as f64 / rate.max(1) as f64)).await;
            } else if weather.slice.is_some() {
                tokio::task::yield_now().await;
            }
        }
    }
    // The other side has ended its half; a peer that is gone needs no telling.
    let _ = SockRef::from(&*to).shutdown(std::net::Shutdown::Write);
    Ok(())
}

async fn write_all(to: &TcpStream, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        to.writable().await?;
        match to.try_write(bytes) {
            Ok(length) => bytes = &bytes[length..],
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{End, Proxy, Weather};
    use std::time::Duration;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};

    /// A proxy before a server that sends `sent` to whoever comes and then waits for their end.
    async fn before(sent: Vec<u8>) -> Proxy {
        let server = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let proxy = Proxy::start(1, 0).await.expect("a port is free");
        proxy.lead_to(Some(server.local_addr().expect("it is bound")));
        tokio::spawn(async move {
            while let Ok((mut socket, _)) = server.accept().await {
                let sent = sent.clone();
                tokio::spawn(async move {
                    let mut go = [0];
                    let _ = socket.read_exact(&mut go).await;
                    let _ = socket.write_all(&sent).await;
                    let _ = socket.read(&mut go).await;
                });
            }
        });
        proxy
    }

    async fn connect(proxy: &Proxy) -> TcpStream {
        let mut socket = TcpStream::connect(proxy.address()).await.expect("it listens");
        while proxy.connections() == 0 {
            tokio::task::yield_now().await;
        }
        socket.write_all(b"g").await.expect("it takes a byte");
        socket
    }

    #[tokio::test]
    async fn slices_and_delay_change_no_byte() {
        let sent: Vec<u8> = (0..20_000_u32).flat_map(u32::to_le_bytes).collect();
        let proxy = before(sent.clone()).await;
        let slow = Duration::from_millis(2);
        proxy.set(Weather {
            delay: slow,
            jitter: slow,
            slice: Some(7),
            ..Weather::default()
        });
        let mut socket = connect(&proxy).await;
        let mut got = vec![0; sent.len()];
        socket.read_exact(&mut got).await.expect("everything comes");
        assert_eq!(got, sent);
    }

    #[tokio::test]
    async fn a1_a_cut_falls_at_the_byte_that_was_asked_for() {
        for (end, after) in [(End::Close, 1), (End::Close, 4097), (End::HalfClose, 333)] {
            let proxy = before(vec![7; 10_000]).await;
            let mut socket = TcpStream::connect(proxy.address()).await.expect("it listens");
            while proxy.connections() == 0 {
                tokio::task::yield_now().await;
            }
            proxy.cut(after, end);
            socket.write_all(b"g").await.expect("it takes a byte");
            let mut got = Vec::new();
            let _ = socket.read_to_end(&mut got).await;
            assert_eq!(got.len(), after, "{end:?}");
        }
    }

    #[tokio::test]
    async fn a_reset_is_seen_as_one() {
        let proxy = before(vec![7; 10]).await;
        let mut socket = connect(&proxy).await;
        let mut got = [0; 10];
        socket.read_exact(&mut got).await.expect("everything comes");
        proxy.cut(0, End::Reset);
        let error = socket.read(&mut got).await.expect_err("it is reset");
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    }

    #[tokio::test]
    async fn without_a_server_and_when_told_so_it_refuses() {
        let proxy = before(vec![7; 10]).await;
        proxy.set(Weather {
            refuse: true,
            ..Weather::default()
        });
        let mut socket = TcpStream::connect(proxy.address()).await.expect("it listens");
        let mut got = [0; 1];
        assert!(!matches!(socket.read(&mut got).await, Ok(1)));
        proxy.set(Weather::default());
        proxy.lead_to(None);
        let mut socket = TcpStream::connect(proxy.address()).await.expect("it listens");
        assert!(!matches!(socket.read(&mut got).await, Ok(1)));
    }
}
