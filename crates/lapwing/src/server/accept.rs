//! The accept loop: no error of one connection, and no shortage, ever ends it.

use std::fs::File;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use rustix::io::Errno;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, SetOnce};

use super::breach::Breach;
use super::common::Common;
use super::encryption::Encryption;
use super::event::Event;
use super::event_stream::EventStream;
use super::front::{Front, Guest};
use super::hello::{self, Opened};
use super::journal::target::HTTP;
use super::linger::{Lingering, Unread};
use super::meter::{Meter, Metered};
use super::parting::{self, PARTING_MAX};
use super::seat::{NoSeat, Seat, SharedSeat};
use super::told::{Repeats, Told};
use crate::clock::Now;

use crate::reason::reason;

/// Opens a listening socket with a queue long enough for a crowd that comes back at once.
pub fn listen(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    use socket2::{Domain, Protocol, Socket, Type};
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

/// Accepts until the task is aborted.
pub async fn accept(listener: TcpListener, front: Arc<Front>) {
    let mut spare = Spare::new();
    let mut porter = Porter::new();
    loop {
        match listener.accept().await {
            Ok((stream, address)) => match admit(address, &front) {
                Ok((seat, wait)) => welcome(stream, address, seat, wait, &front),
                Err(breach) => porter.refuse(stream, address, breach, &front),
            },
            Err(error) => on_error(&error, &listener, &mut spare, &front.common).await,
        }
    }
}

/// What the kernel has no room for is refused with the spare descriptor, so that the peer sees an end and not a hang.
async fn on_error(error: &io::Error, listener: &TcpListener, spare: &mut Spare, common: &Common) {
    let short = matches!(
        Errno::from_io_error(error),
        Some(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM)
    );
    if !short {
        // The peer was gone before it was accepted (ECONNABORTED and its like): the next one may be there already.
        return;
    }
    let refused = spare.refuse(listener);
    if refused {
        common.breaches.count(Breach::OpenFiles);
    }
    if spare.told.is_due() {
        let text = format!(
            "no room for more connections ({}); {} stay, new ones are refused",
            reason(error),
            common.open.load(Ordering::Relaxed)
        );
        common.tell(Event::Limit { text });
    }
    if !refused {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// A place for one who comes, and how long it waits for its turn; the limit when it is not let in. Who comes through a proxy is
/// not known yet: that is seen to when its request is there.
fn admit(address: SocketAddr, front: &Front) -> Result<(Seat, Duration), Breach> {
    if front.common.is_stopping() {
        return Err(Breach::Connections);
    }
    let ip = address.ip().to_canonical();
    let proxied = front.trust.proxies.trusts(ip);
    let counted = (!ip.is_loopback() && !proxied).then_some(ip);
    let seat = front.seats.take(counted).map_err(|none| match none {
        NoSeat::Full => Breach::Connections,
        NoSeat::Address => Breach::AddressConnections,
    })?;
    let wait = counted.map_or(Ok(Duration::ZERO), |ip| front.pass(ip))?;
    Ok((seat, wait))
}

fn welcome(stream: TcpStream, address: SocketAddr, seat: Seat, wait: Duration, front: &Arc<Front>) {
    // Neither is needed to serve; a kernel that lacks one serves a little less well.
    let _ = stream.set_nodelay(true);
    let socket = socket2::SockRef::from(&stream);
    #[cfg(target_os = "linux")]
    {
        let _ = socket.set_tcp_user_timeout(Some(front.common.limits.stall_timeout + USER_TIMEOUT_MORE));
        let _ = socket.set_tcp_notsent_lowat(NOTSENT_LOWAT);
    }
    #[cfg(not(target_os = "linux"))]
    let _ = socket;
    let front = front.clone();
    let accepted = Now::read().mono;
    front.tasks.clone().spawn(async move {
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
        let common = front.common.clone();
        let deadline = tokio::time::Instant::now() + common.limits.handshake_timeout;
        let guest = Guest {
            address,
            peer: address,
            accepted: Some(accepted),
            seat: SharedSeat::new(seat),
            meter: Arc::new(Meter::default()),
            events: Arc::new(SetOnce::new()),
        };
        let opened = tokio::select! {
            opened = tokio::time::timeout_at(deadline, hello::open(stream, address, &front)) => opened,
            () = common.stopped() => Ok(None),
        };
        match opened {
            Ok(Some(Opened::Plain(stream))) => serve(stream, guest, deadline, front).await,
            Ok(Some(Opened::Encrypted(stream))) => serve(*stream, guest, deadline, front).await,
            Ok(None) => {}
            Err(_late) => {
                tracing::info!(target: HTTP, from = %address, "connection began too slowly");
                common.breaches.count(Breach::HandshakeTime);
            }
        }
    });
}

/// Answers the requests of one connection, the first of which must have come whole by the deadline.
async fn serve<S>(stream: S, guest: Guest, deadline: tokio::time::Instant, front: Arc<Front>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let common = front.common.clone();
    let limits = &common.limits;
    let from = guest.peer;
    let begun = Arc::new(AtomicBool::new(false));
    let asked = begun.clone();
    let unread = Unread::new();
    let stream = Metered::new(Lingering::new(stream, unread.clone()), guest.meter.clone());
    let answered = unread.clone();
    let events = Events(guest.events.clone());
    let service = hyper::service::service_fn(move |mut request: hyper::Request<Incoming>| {
        let mut guest = guest.clone();
        if asked.swap(true, Ordering::Relaxed) {
            guest.accepted = None;
        }
        request.extensions_mut().insert(guest);
        let (front, unread) = (front.clone(), answered.clone());
        async move {
            let (answer, rest) = front.answer(request).await;
            unread.set(rest);
            Ok::<_, std::convert::Infallible>(answer)
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.handshake_timeout)
        .max_buf_size(limits.head_bytes_max)
        .max_headers(limits.headers_max)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    let mut connection = std::pin::pin!(connection);
    // hyper's clock begins with each head, this one with the connection.
    let late = async {
        tokio::time::sleep_until(deadline).await;
        if begun.load(Ordering::Relaxed) || unread.has_ended() {
            std::future::pending::<()>().await;
        }
    };
    let served = async {
        tokio::select! {
            end = connection.as_mut() => return end,
            () = common.stopped() => {}
        }
        // A request under way is still answered; a connection that waits for the next one ends.
        unread.set(false);
        connection.as_mut().graceful_shutdown();
        connection.await
    };
    // Whatever breaks here is one connection's end; hyper has answered what could be answered.
    let end = tokio::select! {
        end = served => end,
        () = late => {
            tracing::info!(target: HTTP, %from, "connection began too slowly");
            common.breaches.count(Breach::HandshakeTime);
            Ok(())
        }
        () = events.watch() => Ok(()),
    };
    if let Err(error) = &end {
        // What hyper cannot read it answers itself; its sentence holds nothing of what came.
        match error.is_parse() || error.is_timeout() {
            true => tracing::info!(target: HTTP, %from, why = %error, "request refused"),
            false => tracing::debug!(target: HTTP, %from, why = %error, "connection broke"),
        }
    }
    match end {
        Err(error) if error.is_timeout() => common.breaches.count(Breach::HandshakeTime),
        Err(error) if error.is_parse_too_large() => common.breaches.count(Breach::Head),
        _ => {}
    }
}

/// The stream of events on a connection, if one begins: it is over when the connection is, however that ends.
struct Events(Arc<SetOnce<EventStream>>);

impl Events {
    /// Ends when the connection is to be cut off.
    async fn watch(&self) {
        self.0.wait().await.watch().await;
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        if let Some(stream) = self.0.get() {
            stream.on_gone();
        }
    }
}

/// Sends away whom there is no place for: so many at once are told why, and what is told of them on the console is at most a
/// line a second.
struct Porter {
    room: Arc<Semaphore>,
    refused: Repeats,
}

impl Porter {
    fn new() -> Self {
        Self {
            room: Arc::new(Semaphore::new(REFUSALS_MAX)),
            refused: Repeats::default(),
        }
    }

    fn refuse(&mut self, stream: TcpStream, address: SocketAddr, breach: Breach, front: &Arc<Front>) {
        let (status, sentence) = front.no_place(breach);
        tracing::info!(target: HTTP, from = %address, status = status.as_u16(), why = %sentence, "connection refused");
        if !front.common.is_stopping() {
            front.common.breaches.count(breach);
            if let Some(refused) = self.refused.come() {
                // The sentence is for the one who is refused, and says "this address".
                let from = match breach {
                    Breach::AddressConnections | Breach::AddressAcceptRate => {
                        format!(", the last one from {}", address.ip().to_canonical())
                    }
                    _ => String::new(),
                };
                let text = format!("{sentence}: {refused} refused with {}{from}", status.as_u16());
                front.common.tell(Event::Limit { text });
            }
        }
        // Without room it is sent away without a word.
        if let Ok(room) = self.room.clone().try_acquire_owned() {
            let encryption = front.encryption.clone();
            front.tasks.spawn(async move {
                turn_away(stream, encryption, status, &sentence).await;
                drop(room);
            });
        }
    }
}

/// Refuses one, inside TLS where that is spoken: what comes in the clear looks like a server that does not speak TLS at all.
async fn turn_away(stream: TcpStream, encryption: Option<Arc<Encryption>>, status: http::StatusCode, sentence: &str) {
    let Some(encryption) = encryption else {
        return parting::answer(stream, status, sentence).await;
    };
    let accepted = tokio::time::timeout(PARTING_MAX, encryption.acceptor().accept(stream)).await;
    if let Ok(Ok(stream)) = accepted {
        parting::answer(stream, status, sentence).await;
    }
}

/// One descriptor kept for the moment when there is none: given up, it lets one connection be accepted and closed.
struct Spare {
    file: Option<File>,
    told: Told,
}

impl Spare {
    fn new() -> Self {
        Self {
            file: File::open("/dev/null").ok(),
            told: Told::default(),
        }
    }

    fn refuse(&mut self, listener: &TcpListener) -> bool {
        if self.file.take().is_none() {
            self.file = File::open("/dev/null").ok();
            return false;
        }
        let accepted = rustix::net::accept(listener);
        let refused = accepted.is_ok();
        drop(accepted);
        self.file = File::open("/dev/null").ok();
        refused
    }
}

/// So many are told at once why they are sent away: as long as they are, each has a descriptor, and inside TLS a handshake.
const REFUSALS_MAX: usize = 64;
/// Longer queues are cut by the kernel to its own limit.
const BACKLOG: i32 = 4096;
/// The kernel gives up later than we do, so that the reason told is ours.
#[cfg(target_os = "linux")]
const USER_TIMEOUT_MORE: Duration = Duration::from_secs(10);
/// What is not yet sent stays in the log, where lag can be seen, and not in the kernel.
#[cfg(target_os = "linux")]
const NOTSENT_LOWAT: u32 = 64 << 10;
