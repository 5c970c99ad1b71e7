//! Sends to many sockets by one system call: io_uring, where the kernel has it and allows it.
//!
//! All `unsafe` of delivery is in this file. What it rests on: the kernel looks at the bytes and the sockets of a batch only
//! until the send of each has completed, and [`SendRing::send`] does not return before all of them have.

use std::io;
use std::os::fd::BorrowedFd;

/// One send of a batch.
pub struct Outgoing<'a> {
    /// To this socket, which does not block.
    pub socket: BorrowedFd<'a>,
    /// These bytes, or as many of them as it takes.
    pub bytes: &'a [u8],
}

/// The most sends of one batch.
pub const BATCH_MAX: usize = 512;

pub use sys::SendRing;

#[cfg(target_os = "linux")]
mod sys {
    use std::io;
    use std::os::fd::AsRawFd as _;
    use std::time::Duration;

    use io_uring::{IoUring, Probe, opcode, squeue, types};
    use rustix::io::Errno;
    use rustix::net::SendFlags;

    use super::{BATCH_MAX, Outgoing};

    /// A ring of one thread: only the thread that made it may use it, the kernel refuses others.
    pub struct SendRing {
        ring: IoUring,
        results: Vec<i32>,
        /// A batch was begun and did not end: entries of it may still be queued, and must never reach the kernel.
        broken: bool,
    }

    impl SendRing {
        /// A ring for the thread that calls this. An error says why there is none: an old kernel, or one that does not let this
        /// process (containers often do not).
        pub fn new() -> io::Result<Self> {
            let ring = IoUring::builder()
                .setup_single_issuer()
                .setup_defer_taskrun()
                .build(BATCH_MAX as u32)?;
            let mut probe = Probe::new();
            ring.submitter().register_probe(&mut probe)?;
            if !probe.is_supported(opcode::Send::CODE) {
                return Err(io::ErrorKind::Unsupported.into());
            }
            Ok(Self {
                ring,
                results: Vec::with_capacity(BATCH_MAX),
                broken: false,
            })
        }

        /// Sends to every socket what it takes at once, at most [`BATCH_MAX`] of them, and tells `done` of each by its place in the
        /// list: how many bytes that was, 0 when it takes none now. An error is the ring's: then some were not tried,
        /// `done` is not told of them, and the ring is of no more use.
        pub fn send(
            &mut self,
            sends: &[Outgoing<'_>],
            mut done: impl FnMut(usize, io::Result<usize>),
        ) -> io::Result<()> {
            assert!(sends.len() <= BATCH_MAX, "a batch is no longer than the ring");
            self.results.clear();
            self.results.resize(sends.len(), NOT_DONE);
            if std::mem::replace(&mut self.broken, true) {
                return Err(io::ErrorKind::BrokenPipe.into());
            }
            let end = self.exchange(sends);
            self.broken = end.is_err();
            for (nth, result) in self
                .results
                .iter()
                .enumerate()
                .filter(|(_, result)| **result != NOT_DONE)
            {
                done(nth, outcome(*result));
            }
            end
        }

        fn exchange(&mut self, sends: &[Outgoing<'_>]) -> io::Result<()> {
            let mut queue = self.ring.submission();
            for (nth, send) in sends.iter().enumerate() {
                let entry = entry(send).user_data(nth as u64);
                // SAFETY: the entry's socket and bytes are borrowed until this function returns, and it returns only when the
                // kernel has completed every entry that it took (`in_flight` below is 0).
                unsafe { queue.push(&entry) }.expect("the queue is empty between batches and as long as one");
            }
            drop(queue);
            let mut left = sends.len();
            while left > 0 {
                let entered = self.ring.submit_and_wait(left);
                for entry in self.ring.completion() {
                    self.results[entry.user_data() as usize] = entry.result();
                    left -= 1;
                }
                let Err(error) = entered else { continue };
                let in_flight = left - self.ring.submission().len();
                match Errno::from_io_error(&error) {
                    Some(Errno::INTR) => {}
                    // Short of memory, or of room for completions, which were just taken.
                    Some(Errno::AGAIN | Errno::BUSY) => std::thread::sleep(PAUSE),
                    // Nothing of the caller's is in the kernel's hands any more.
                    _ if in_flight == 0 => return Err(error),
                    // There is no deadline: to give the caller's bytes back before the kernel is done with them would be unsound.
                    _ => std::thread::sleep(PAUSE),
                }
            }
            Ok(())
        }
    }

    fn entry(send: &Outgoing<'_>) -> squeue::Entry {
        let length = u32::try_from(send.bytes.len()).unwrap_or(u32::MAX);
        // A send that may not wait is done by the time the kernel has taken the batch.
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        opcode::Send::new(types::Fd(send.socket.as_raw_fd()), send.bytes.as_ptr(), length)
            .flags(flags.bits().cast_signed())
            .build()
    }

    fn outcome(result: i32) -> io::Result<usize> {
        match usize::try_from(result) {
            Ok(written) => Ok(written),
            Err(_) => match Errno::from_raw_os_error(-result) {
                Errno::AGAIN => Ok(0),
                errno => Err(errno.into()),
            },
        }
    }

    const PAUSE: Duration = Duration::from_millis(1);

    /// No result of the kernel: those are lengths or negated error numbers.
    const NOT_DONE: i32 = i32::MIN;
}

#[cfg(not(target_os = "linux"))]
mod sys {
    use std::io;

    use super::Outgoing;

    /// There is no ring on this system.
    pub enum SendRing {}

    impl SendRing {
        /// Says that there is none.
        pub fn new() -> io::Result<Self> {
            Err(io::ErrorKind::Unsupported.into())
        }

        /// Cannot be called.
        pub fn send(&mut self, _: &[Outgoing<'_>], _: impl FnMut(usize, io::Result<usize>)) -> io::Result<()> {
            match *self {}
        }
    }
}

/// Whether a ring can be had here; if not, why.
pub fn probe() -> io::Result<()> {
    SendRing::new().map(drop)
}

#[cfg(all(test, target_os = "linux", not(feature = "loom")))]
mod tests {
    use std::io::Read as _;
    use std::os::fd::AsFd as _;
    use std::os::unix::net::UnixStream;

    use super::*;

    /// A ring, or none where the kernel has none, which is told.
    fn ring(test: &str) -> Option<SendRing> {
        match SendRing::new() {
            Ok(ring) => Some(ring),
            Err(error) => {
                if let Some(skips) = std::env::var_os("LAPWING_SKIPS") {
                    use std::io::Write as _;
                    let file = std::fs::File::options().append(true).create(true).open(skips);
                    let mut file = file.expect("the file of skips can be written");
                    writeln!(file, "{test}: no ring can be had here: {error}").expect("it can be written");
                }
                None
            }
        }
    }

    /// Sends once, and gives what became of each by its place.
    fn send(ring: &mut SendRing, sends: &[(&UnixStream, Vec<u8>)]) -> Vec<Option<io::Result<usize>>> {
        let outgoing: Vec<_> = sends
            .iter()
            .map(|(socket, bytes)| Outgoing {
                socket: socket.as_fd(),
                bytes,
            })
            .collect();
        let mut told: Vec<_> = sends.iter().map(|_| None).collect();
        let end = ring.send(&outgoing, |nth, sent| {
            assert!(told[nth].replace(sent).is_none(), "each is told once");
        });
        end.expect("the ring holds");
        told
    }

    #[test]
    fn a_ring_sends_to_each_socket_its_own_bytes() {
        let Some(mut ring) = ring("a_ring_sends_to_each_socket_its_own_bytes") else {
            return;
        };
        let pairs: Vec<_> = (0..64).map(|_| UnixStream::pair().expect("a pair")).collect();
        for round in 0..50_usize {
            // Memory of its own for each, freed when the batch is over.
            let bytes = |nth: usize| vec![(round + nth) as u8; 1 + (round * 31 + nth * 7) % 700];
            let sends: Vec<_> = pairs
                .iter()
                .enumerate()
                .map(|(nth, (ours, _))| (ours, bytes(nth)))
                .collect();
            for (nth, sent) in send(&mut ring, &sends).into_iter().enumerate() {
                assert_eq!(sent.expect("told").expect("sent"), bytes(nth).len());
            }
            drop(sends);
            for (nth, (_, theirs)) in pairs.iter().enumerate() {
                let mut came = vec![0; bytes(nth).len()];
                (&*theirs).read_exact(&mut came).expect("it was sent");
                assert_eq!(came, bytes(nth));
            }
        }
        assert!(send(&mut ring, &[]).is_empty());
    }

    #[test]
    fn a_ring_sends_what_a_socket_takes_and_tells_one_that_is_gone() {
        let Some(mut ring) = ring("a_ring_sends_what_a_socket_takes_and_tells_one_that_is_gone") else {
            return;
        };
        let (full, mut reader) = UnixStream::pair().expect("a pair");
        let (gone, peer) = UnixStream::pair().expect("a pair");
        drop(peer);
        let mut taken = 0;
        loop {
            let sends = [(&full, vec![7; 100_000]), (&gone, vec![8; 10])];
            let mut told = send(&mut ring, &sends).into_iter().map(|sent| sent.expect("told"));
            let (to_full, to_gone) = (told.next().expect("two"), told.next().expect("two"));
            assert_eq!(to_gone.expect_err("nobody is there").kind(), io::ErrorKind::BrokenPipe);
            match to_full.expect("it is there") {
                0 => break,
                bytes => taken += bytes,
            }
        }
        drop(full);
        let mut came = Vec::new();
        reader.read_to_end(&mut came).expect("it was sent");
        assert_eq!(came, vec![7; taken]);
    }
}
