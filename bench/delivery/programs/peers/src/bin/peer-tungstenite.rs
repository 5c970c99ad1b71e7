//! A broadcast over tokio-tungstenite in its usual form: a broadcast channel, and a task a connection that selects between
//! the channel and the socket.
//!
//! It sets TCP_NODELAY, as the other servers of the comparison do.

use delivery::arguments::Arguments;
use delivery::schedule::Pace;
use futures_util::{SinkExt as _, StreamExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::broadcast::{self, error::RecvError};
use tokio_tungstenite::accept_async;
use tokio_tungstenite::tungstenite::{Error, Message};

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let arguments = Arguments::typed();
    let (channel, _) = broadcast::channel(peers::CHANNEL_MESSAGES);
    tokio::spawn(peers::publish(channel.clone(), Pace::typed(&arguments)));
    let listener = TcpListener::bind(("127.0.0.1", arguments.value("--port", 0))).await?;
    loop {
        let (socket, _) = listener.accept().await?;
        tokio::spawn(serve(socket, channel.subscribe()));
    }
}

async fn serve(socket: TcpStream, mut messages: broadcast::Receiver<String>) -> Result<(), Error> {
    socket.set_nodelay(true)?;
    let mut socket = accept_async(socket).await?;
    loop {
        tokio::select! {
            message = messages.recv() => match message {
                Ok(text) => socket.send(Message::text(text)).await?,
                Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return Ok(()),
            },
            read = socket.next() => match read {
                Some(message) => drop(message?),
                None => return Ok(()),
            },
        }
    }
}
