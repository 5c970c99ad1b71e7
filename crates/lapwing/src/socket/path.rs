//! What the kernel knows of the way to a peer: how long it is, and what waits on it.

use std::os::fd::BorrowedFd;
use std::time::Duration;

/// The way to one peer, as its kernel's acknowledgements show it (`TCP_INFO`).
///
/// Nothing here depends on when the peer's program reads or answers: a peer that reads late has a short way all the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Path {
    /// Bytes that the kernel holds for it: those on their way and not acknowledged, and those not sent yet.
    pub waits_bytes: u64,
    /// Those of them that it cannot send yet: the peer has no room, or the way is full.
    pub unsent_bytes: u64,
    /// The smoothed round trip. A peer that has nothing to say acknowledges up to 40 ms late.
    pub round_trip: Duration,
    /// The shortest of the last five minutes (`net.ipv4.tcp_min_rtt_wlen`); none before there was one.
    pub round_trip_min: Option<Duration>,
    /// Segments with data sent since the connection began, those sent again among them.
    pub segments: u32,
    /// Segments sent again since the connection began.
    pub retransmits: u32,
    /// Those of them that had arrived before, as the peer said: its acknowledgement came late, nothing was lost.
    pub repeats: u32,
    /// For so long since the connection began nothing could be sent because the peer had no room for it.
    pub peer_full: Duration,
}

impl Path {
    /// What is known of it now; none where the kernel does not tell.
    #[must_use]
    pub fn of(socket: BorrowedFd<'_>) -> Option<Self> {
        let mut info = [0; INFO_BYTES];
        let known = tcp_info(socket, &mut info)?;
        Self::read(&info[..known])
    }

    /// The round trip as far as it says something of the way: the smoothed one while something waits, which is acknowledged at once;
    /// otherwise the shortest of the last minutes.
    #[must_use]
    pub fn way_and_back(&self) -> Duration {
        match self.round_trip_min {
            Some(shortest) if !self.is_waited_for() => shortest,
            _ => self.round_trip,
        }
    }

    /// Whether more is on its way than what was just sent.
    #[must_use]
    pub fn is_waited_for(&self) -> bool {
        self.waits_bytes > ON_ITS_WAY_BYTES
    }

    /// Reads `struct tcp_info` of `linux/tcp.h`: new fields are only ever added behind the others.
    fn read(info: &[u8]) -> Option<Self> {
        let u32_at = |at: usize| Some(u32::from_ne_bytes(*info.get(at..)?.first_chunk()?));
        let u64_at = |at: usize| Some(u64::from_ne_bytes(*info.get(at..)?.first_chunk()?));
        let out = u64_at(BYTES_SENT)?.saturating_sub(u64_at(BYTES_RETRANS)?);
        let on_its_way = out.saturating_sub(u64_at(BYTES_ACKED)?);
        let unsent_bytes = u64::from(u32_at(NOTSENT_BYTES)?);
        let shortest = u32_at(MIN_RTT)?;
        Some(Self {
            waits_bytes: on_its_way + unsent_bytes,
            unsent_bytes,
            round_trip: Duration::from_micros(u32_at(RTT)?.into()),
            round_trip_min: (shortest != u32::MAX).then(|| Duration::from_micros(shortest.into())),
            segments: u32_at(DATA_SEGS_OUT)?,
            retransmits: u32_at(TOTAL_RETRANS)?,
            repeats: u32_at(DSACK_DUPS)?,
            peer_full: Duration::from_micros(u64_at(RWND_LIMITED)?),
        })
    }
}

/// Fills `info` with the kernel's `struct tcp_info`, as much as both know of; gives how many bytes that is.
#[cfg(target_os = "linux")]
fn tcp_info(socket: BorrowedFd<'_>, info: &mut [u8; INFO_BYTES]) -> Option<usize> {
    use std::os::fd::AsRawFd as _;
    let mut known = libc::socklen_t::try_from(info.len()).ok()?;
    // SAFETY: `socket` is an open descriptor for as long as it is borrowed. The kernel writes at most `known` bytes to `info`, which
    // has as many, borrowed for the call alone, and any bytes are good there. `known` is a `socklen_t` of ours.
    let failed = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            info.as_mut_ptr().cast(),
            &raw mut known,
        )
    };
    (failed == 0).then_some((known as usize).min(info.len()))
}

#[cfg(not(target_os = "linux"))]
fn tcp_info(_: BorrowedFd<'_>, _: &mut [u8; INFO_BYTES]) -> Option<usize> {
    None
}

/// What was just sent is on its way for a round trip; more than a turn's worth is not that.
const ON_ITS_WAY_BYTES: u64 = 16 << 10;
/// Room for all fields wanted, and those between them.
const INFO_BYTES: usize = 256;
const RTT: usize = 68;
const TOTAL_RETRANS: usize = 100;
const BYTES_ACKED: usize = 120;
const NOTSENT_BYTES: usize = 144;
const MIN_RTT: usize = 148;
const DATA_SEGS_OUT: usize = 156;
const RWND_LIMITED: usize = 176;
const BYTES_SENT: usize = 200;
const BYTES_RETRANS: usize = 208;
const DSACK_DUPS: usize = 216;

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::AsFd as _;

    use super::*;

    #[test]
    fn an_old_kernel_that_tells_less_tells_nothing_wrong() {
        assert_eq!(Path::read(&[]), None);
        assert_eq!(Path::read(&[0; DSACK_DUPS + 3]), None);
        assert_eq!(
            Path::read(&[0; DSACK_DUPS + 4]),
            Some(Path {
                round_trip_min: Some(Duration::ZERO),
                ..Path::default()
            })
        );
    }

    /// Who reads nothing is seen to be full, at a short round trip.
    #[cfg(target_os = "linux")]
    #[test]
    fn what_nobody_reads_waits_and_the_reader_is_full() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
        let mut ours = TcpStream::connect(listener.local_addr().expect("bound")).expect("listens");
        let (reader, _) = listener.accept().expect("connected");
        let fresh = Path::of(ours.as_fd()).expect("Linux tells");
        assert_eq!((fresh.waits_bytes, fresh.retransmits), (0, 0));
        ours.set_nonblocking(true).expect("can");
        let mut written = 0;
        // Until neither this end nor the other has room.
        let deadline = std::time::Instant::now() + Duration::from_secs(60);
        loop {
            while let Ok(bytes) = ours.write(&[0; 1 << 16]) {
                written += bytes as u64;
            }
            let path = Path::of(ours.as_fd()).expect("Linux tells");
            if path.peer_full > Duration::ZERO && path.waits_bytes > 0 {
                assert!(
                    path.unsent_bytes <= path.waits_bytes && path.waits_bytes <= written,
                    "{path:?} of {written}"
                );
                assert!(path.segments > 0, "{path:?}");
                assert!(path.round_trip_min.is_some(), "{path:?}");
                break;
            }
            assert!(std::time::Instant::now() < deadline, "{path:?} of {written}");
            std::thread::yield_now();
        }
        drop(reader);
        assert_eq!(Path::of(std::io::stdin().as_fd()), None, "this is no connection");
    }
}
