//! One message as it arrived, borrowed from the frame.

use lapwing_wire::array::Array;
use lapwing_wire::position::{Epoch, Offset};
use lapwing_wire::topic::TopicName;

use crate::clock::Now;

/// One message as it arrived.
#[derive(Clone, Copy, Debug)]
pub struct Arrival<'a> {
    /// Its topic; `-` on a feed that has none.
    pub topic: &'a TopicName,
    /// Its place, where the server gives one.
    pub offset: Option<Offset>,
    /// The history of the offset, where the server names one.
    pub epoch: Option<Epoch>,
    /// When the server appended it, as written there; it never holds a quote or a backslash.
    pub time: Option<&'a str>,
    /// When the read that brought it returned.
    pub received: Now,
    /// What it says.
    pub value: Value<'a>,
    /// Its payload bytes on the wire.
    pub bytes: u64,
}

/// What a message says, as far as it was looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value<'a> {
    /// A JSON value on one line.
    Json(&'a str),
    /// Bytes, already as a JSON string of base64.
    Base64(&'a str),
    /// Text that is not JSON.
    Text(&'a str),
    /// Bytes as they came.
    Bytes(&'a [u8]),
    /// Numbers as they came; only who takes them so is told them so.
    Array(&'a Array<'a>),
}
