//! The floor at saturation: an endless row of frames, each socket at its own place in it, as fast as sockets take them.

use std::io;
use std::net::TcpStream;
use std::os::fd::AsFd as _;

use delivery::message::{Feed, MESSAGE_BYTES};
use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::epoll::{self, EventData, EventFlags};

use crate::door::Door;
use crate::sender::{Sender, Sent, Turn};

/// At most so much a send, as Lapwing does: about 64 KiB of whole frames.
const RUN_FRAMES: usize = (64 << 10) / (MESSAGE_BYTES + 4);
/// The door among the events; clients are numbered from 0.
const DOOR: u64 = u64::MAX;

/// One connection.
struct Client {
    socket: TcpStream,
    /// Where in the run its next byte is.
    place: usize,
}

/// The run, twice, so that from each place a whole run lies ahead.
struct Run(Vec<u8>);

impl Run {
    fn new() -> Self {
        let run = Feed::default().next_frames(RUN_FRAMES);
        Self([run.as_slice(), run.as_slice()].concat())
    }

    fn len(&self) -> usize {
        self.0.len() / 2
    }

    fn from(&self, place: usize) -> &[u8] {
        &self.0[place..place + self.len()]
    }
}

/// Sends for ever.
pub fn run(door: &Door, mut sender: Sender) -> io::Result<()> {
    let poll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    epoll::add(&poll, door, EventData::new_u64(DOOR), EventFlags::IN)?;
    let run = Run::new();
    let (mut clients, mut ready, mut sent) = (Vec::<Client>::new(), Vec::<usize>::new(), Vec::new());
    let mut events = Vec::with_capacity(1024);
    loop {
        // With somebody ready this only looks.
        let timeout = (!ready.is_empty()).then_some(Timespec { tv_sec: 0, tv_nsec: 0 });
        events.clear();
        epoll::wait(&poll, spare_capacity(&mut events), timeout.as_ref())?;
        for event in &events {
            match event.data.u64() {
                DOOR => door.let_in(|socket| {
                    let number = EventData::new_u64(clients.len() as u64);
                    // Edges: a socket is told of once each time that it takes bytes again, and at first.
                    if epoll::add(&poll, &socket, number, EventFlags::OUT | EventFlags::ET).is_ok() {
                        clients.push(Client { socket, place: 0 });
                    }
                }),
                number => ready.push(number as usize),
            }
        }
        turns(&mut clients, &mut ready, &run, &mut sender, &mut sent)?;
    }
}

/// One send for everybody who is ready; who did not take all of it is ready no more.
fn turns(
    clients: &mut [Client],
    ready: &mut Vec<usize>,
    run: &Run,
    sender: &mut Sender,
    sent: &mut Vec<Sent>,
) -> io::Result<()> {
    ready.sort_unstable();
    ready.dedup();
    let turns = ready.iter().map(|&number| Turn {
        socket: clients[number].socket.as_fd(),
        bytes: run.from(clients[number].place),
    });
    sender.send_all(turns, sent)?;
    let mut sent = sent.iter();
    ready.retain(|&number| match sent.next() {
        Some(Ok(count)) => {
            clients[number].place = (clients[number].place + count) % run.len();
            *count == run.len()
        }
        // It is full, and an event will tell when it is not; or it has gone, and no event comes of it any more.
        Some(Err(_)) | None => false,
    });
    Ok(())
}
