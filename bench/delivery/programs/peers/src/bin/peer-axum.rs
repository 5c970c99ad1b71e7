//! A broadcast as axum's chat example makes it: a broadcast channel, and a task a connection that sends what it receives.
//!
//! Beside the example it sets TCP_NODELAY, as the other servers of the comparison do, and goes on after `Lagged`.

use axum::Router;
use axum::extract::State;
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::response::Response;
use axum::routing::get;
use axum::serve::ListenerExt as _;
use delivery::arguments::Arguments;
use delivery::schedule::Pace;
use futures_util::{SinkExt as _, StreamExt as _};
use tokio::net::TcpListener;
use tokio::sync::broadcast::{self, error::RecvError};

type Channel = broadcast::Sender<String>;

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let arguments = Arguments::typed();
    let (channel, _) = broadcast::channel(peers::CHANNEL_MESSAGES);
    tokio::spawn(peers::publish(channel.clone(), Pace::typed(&arguments)));
    let listener = TcpListener::bind(("127.0.0.1", arguments.value("--port", 0))).await?;
    let listener = listener.tap_io(|socket| {
        let _ = socket.set_nodelay(true);
    });
    axum::serve(listener, Router::new().route("/", get(upgrade)).with_state(channel)).await
}

async fn upgrade(upgrade: WebSocketUpgrade, State(channel): State<Channel>) -> Response {
    upgrade.on_upgrade(|socket| serve(socket, channel))
}

async fn serve(socket: WebSocket, channel: Channel) {
    let mut messages = channel.subscribe();
    let (mut sender, mut receiver) = socket.split();
    let mut sending = tokio::spawn(async move {
        loop {
            let text = match messages.recv().await {
                Ok(text) => text,
                Err(RecvError::Lagged(_)) => continue,
                Err(RecvError::Closed) => break,
            };
            if sender.send(Message::text(text)).await.is_err() {
                break;
            }
        }
    });
    let mut receiving = tokio::spawn(async move { while let Some(Ok(_)) = receiver.next().await {} });
    tokio::select! {
        _ = &mut sending => receiving.abort(),
        _ = &mut receiving => sending.abort(),
    }
}
