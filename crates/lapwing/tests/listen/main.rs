//! `lapwing listen` and `lapwing publish` as people run them: the real program against servers that behave as the test says.

mod feed;
mod program;

mod arrays;
mod checkpoint;
mod clock;
mod compression;
mod crash;
mod export;
mod failover;
mod file;
mod foreign;
mod framing;
mod levels;
mod plot;
mod publish;
mod reconnect;
mod refusal;
mod resume;
mod secure;
mod shortage;
mod spread;
mod stop;
mod token;
mod tui;
mod verify;
