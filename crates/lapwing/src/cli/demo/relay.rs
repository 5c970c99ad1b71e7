//! A wire that can be cut: the demo's listeners reach the server through it.

use std::io;
use std::net::SocketAddr;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// Carries bytes both ways while the wire is whole; cut, it drops every connection and takes no new one.
pub struct Relay {
    /// Where listeners connect to.
    pub address: SocketAddr,
    whole: watch::Sender<bool>,
}

impl Relay {
    /// A whole wire to `server`; must be called within a tokio runtime.
    pub async fn start(server: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind((server.ip(), 0)).await?;
        let address = listener.local_addr()?;
        let (whole, is_whole) = watch::channel(true);
        tokio::spawn(carry(listener, server, is_whole));
        Ok(Self { address, whole })
    }

    /// Cuts the wire, or mends it.
    pub fn set_whole(&self, whole: bool) {
        self.whole.send_replace(whole);
    }
}

async fn carry(listener: TcpListener, server: SocketAddr, is_whole: watch::Receiver<bool>) {
    while let Ok((client, _)) = listener.accept().await {
        // One that comes while the wire is cut is dropped, which it sees as a reset.
        if *is_whole.borrow() {
            tokio::spawn(join(client, server, is_whole.clone()));
        }
    }
}

async fn join(mut client: TcpStream, server: SocketAddr, mut is_whole: watch::Receiver<bool>) {
    let Ok(mut server) = TcpStream::connect(server).await else {
        return;
    };
    let _ = client.set_nodelay(true);
    let _ = server.set_nodelay(true);
    tokio::select! {
        // However it ends, both sides end.
        _ = tokio::io::copy_bidirectional(&mut client, &mut server) => {}
        _ = is_whole.wait_for(|whole| !whole) => {}
    }
}
