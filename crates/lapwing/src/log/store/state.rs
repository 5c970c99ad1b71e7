//! What a topic's directory says of itself: its histories, and how it was left.

use std::path::Path;

use lapwing_wire::position::{Epoch, Offset};
use lapwing_wire::topic::TopicName;
use serde::{Deserialize, Serialize};

use super::Level;
use super::disk::{Disk, read_whole, replace};
use crate::log::lineage::Lineage;

/// The contents of a topic's state file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// The version of this file's form.
    format: u32,
    /// The topic.
    pub topic: TopicName,
    lineage: Vec<History>,
    /// How it is written.
    pub level: Level,
    /// All below was on stable storage.
    pub durable: Offset,
    /// Whether it was closed, with all on stable storage.
    pub clean: bool,
    /// On which start of which machine and device it was written: [`Disk::life`].
    pub life: Option<String>,
    /// In which directory: [`Disk::place`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct History {
    epoch: Epoch,
    begin: Offset,
}

#[derive(Serialize, Deserialize)]
struct Sealed {
    #[serde(flatten)]
    state: State,
    crc: String,
}

/// What was found in place of a state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StateFault {
    /// There is no file.
    Missing,
    /// It is not whole.
    Damaged,
    /// It was written by a newer Lapwing.
    Newer(u32),
}

impl State {
    /// The state of a topic while it is written.
    #[must_use]
    pub fn new(topic: TopicName, lineage: &Lineage, level: Level, durable: Offset) -> Self {
        let history = |&(epoch, begin): &(Epoch, Offset)| History { epoch, begin };
        Self {
            format: FORMAT,
            topic,
            lineage: lineage.epochs().iter().map(history).collect(),
            level,
            durable,
            clean: false,
            life: None,
            place: None,
        }
    }

    /// The histories; none when the file makes no sense.
    #[must_use]
    pub fn lineage(&self) -> Option<Lineage> {
        Lineage::from_epochs(
            self.lineage
                .iter()
                .map(|history| (history.epoch, history.begin))
                .collect(),
        )
    }

    /// The bytes of its file.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let sealed = Sealed {
            state: self.clone(),
            crc: self.crc(),
        };
        let mut bytes = serde_json::to_vec(&sealed).expect("it has only numbers and text");
        bytes.push(b'\n');
        bytes
    }

    /// Reads what [`State::encode`] wrote.
    pub fn read(bytes: &[u8]) -> Result<Self, StateFault> {
        #[derive(Deserialize)]
        struct Format {
            format: u32,
        }
        match serde_json::from_slice::<Format>(bytes) {
            Ok(Format { format }) if format > FORMAT => return Err(StateFault::Newer(format)),
            Ok(_) => {}
            Err(_) => return Err(StateFault::Damaged),
        }
        match serde_json::from_slice::<Sealed>(bytes) {
            Ok(sealed) if sealed.crc == sealed.state.crc() && sealed.state.lineage().is_some() => Ok(sealed.state),
            _ => Err(StateFault::Damaged),
        }
    }

    /// Reads the file of a topic's directory.
    pub fn load(disk: &dyn Disk, directory: &Path) -> std::io::Result<Result<Self, StateFault>> {
        match read_whole(disk, &directory.join(FILE)) {
            Ok(bytes) => Ok(Self::read(&bytes)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Err(StateFault::Missing)),
            Err(error) => Err(error),
        }
    }

    /// Puts it in the place of the file of a topic's directory.
    pub fn save(&self, disk: &dyn Disk, directory: &Path) -> std::io::Result<()> {
        replace(disk, &directory.join(FILE), &self.encode())
    }

    /// Of the state as it is written, so that any other text that means the same is whole too.
    fn crc(&self) -> String {
        let bytes = serde_json::to_vec(self).expect("it has only numbers and text");
        format!("{:08x}", crc32c::crc32c(&bytes))
    }
}

/// The name of the file.
pub const FILE: &str = "state.json";
/// The newest format that is known, and the one that is written.
pub const FORMAT: u32 = 1;
