//! Brings what lagging clients want from files, or from the stream behind a topic: a thread beside each delivery thread, which so never
//! waits for a disk or a network.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};

use lapwing_wire::position::Offset;

use super::common::Common;
use super::topics::TopicId;
use super::worker::{Command, Hand};
use crate::log::reader::{self, Fetched, View};

/// What a connection waits for.
pub struct Wanted {
    /// The connection.
    pub key: usize,
    /// The topic.
    pub topic: TopicId,
    /// Where its cursor is.
    pub offset: Offset,
    /// How it wants its frames.
    pub view: View,
}

/// What was brought for it.
pub struct Loaded {
    /// What was wanted.
    pub wanted: Wanted,
    /// The page, if it could be read.
    pub page: io::Result<Fetched>,
}

/// Starts the thread; it ends when nobody can want anything any more. What it brings goes to `worker`.
pub fn start(number: usize, common: Arc<Common>, worker: Hand) -> io::Result<Sender<Wanted>> {
    let (sender, wanted) = mpsc::channel();
    std::thread::Builder::new()
        .name(format!("loader-{number}"))
        .spawn(move || run(&wanted, &common, &worker))?;
    Ok(sender)
}

fn run(wanted: &Receiver<Wanted>, common: &Common, worker: &Hand) {
    for wanted in wanted {
        let page = reader::fetch(&common.topics.get(wanted.topic).log, wanted.offset);
        worker.send(Command::Loaded(Loaded { wanted, page }));
    }
}
