//! The receiving side: a connection, the listener over it, what people see of it; and the publisher.

pub mod backoff;
pub mod batch;
pub mod connection;
pub mod dial;
pub mod display;
pub mod entropy;
pub mod event;
pub mod feed;
pub mod gatherer;
pub mod lines;
pub mod listener;
pub mod log;
pub mod post;
pub mod publisher;
pub mod scribe;
pub mod session;
pub mod status;
pub mod summary;
pub mod target;
pub mod text;
pub mod ticks;
pub mod tls;
pub mod token;
pub mod track;
pub mod watch;
pub mod window;
