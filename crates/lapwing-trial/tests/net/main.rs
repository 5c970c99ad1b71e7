//! What a network does to a server and its listeners: connections cut at any byte, partitions, slices, restarts, a clock that is set.
//!
//! The programs are the real ones; each story ends with `lapwing verify` and with a comparison of what was published with what the
//! files hold. A story that cannot be told on a machine is told as skipped.

mod causes;
mod clock;
mod cut;
mod cutter;
mod door;
mod partition;
mod restarts;
mod rig;
mod slices;
mod weather;
mod wires;
