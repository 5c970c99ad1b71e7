//! The floor at a pace: each tick one run of frames, made once, to every socket.

use std::io;
use std::net::TcpStream;
use std::os::fd::AsFd as _;

use delivery::message::Feed;
use delivery::schedule::Schedule;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use crate::door::Door;
use crate::sender::{Sender, Sent, Turn, send};

/// One connection.
struct Client {
    socket: TcpStream,
    /// What is left of a run that the socket took in part: it goes out first, so that no frame is ever cut.
    rest: Vec<u8>,
    gone: bool,
}

/// Sends runs of `burst` frames by the schedule, for ever; without one it only lets clients in.
pub fn run(door: &Door, mut sender: Sender, mut schedule: Option<Schedule>, burst: usize) -> io::Result<()> {
    let (mut clients, mut feed, mut sent) = (Vec::new(), Feed::default(), Vec::new());
    loop {
        wait(door, schedule.as_ref(), &mut clients)?;
        if let Some(schedule) = &mut schedule {
            schedule.advance();
            tick(&mut clients, &feed.next_frames(burst), &mut sender, &mut sent)?;
        }
    }
}

/// Lets clients in until the next tick is due.
fn wait(door: &Door, schedule: Option<&Schedule>, clients: &mut Vec<Client>) -> io::Result<()> {
    loop {
        let timeout = schedule.map(Schedule::wait);
        if timeout.is_some_and(|timeout| timeout.is_zero()) {
            return Ok(());
        }
        let timeout = timeout.map(|wait| Timespec {
            tv_sec: wait.as_secs() as i64,
            tv_nsec: i64::from(wait.subsec_nanos()),
        });
        if poll(&mut [PollFd::new(door, PollFlags::IN)], timeout.as_ref())? > 0 {
            door.let_in(|socket| {
                clients.push(Client {
                    socket,
                    rest: Vec::new(),
                    gone: false,
                });
            });
        }
    }
}

/// Everyone gets the run; who still has a rest gets that, and the run only if it was taken whole.
fn tick(clients: &mut Vec<Client>, run: &[u8], sender: &mut Sender, sent: &mut Vec<Sent>) -> io::Result<()> {
    for client in clients.iter_mut().filter(|client| !client.rest.is_empty()) {
        let outcome = send(Turn {
            socket: client.socket.as_fd(),
            bytes: &client.rest,
        });
        match outcome {
            Ok(count) => drop(client.rest.drain(..count)),
            Err(error) => client.gone = error != Errno::AGAIN,
        }
    }
    let ready = |client: &&Client| client.rest.is_empty() && !client.gone;
    let turns = clients.iter().filter(ready).map(|client| Turn {
        socket: client.socket.as_fd(),
        bytes: run,
    });
    sender.send_all(turns, sent)?;
    let turns = clients.iter_mut().filter(|client| ready(&&**client));
    for (client, outcome) in turns.zip(sent) {
        match *outcome {
            Ok(count) => client.rest.extend_from_slice(&run[count..]),
            Err(error) => client.gone = error != Errno::AGAIN,
        }
    }
    clients.retain(|client| !client.gone);
    Ok(())
}
