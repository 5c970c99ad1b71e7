//! A network that hands on one byte at a time, both ways, also inside TLS.

use std::net::SocketAddr;
use std::process::Command;
use std::sync::Arc;

use lapwing_trial::proxy::{Proxy, Weather};
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use serde_json::{Value, json};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use crate::rig::{Program, Server, assert_holds, lapwing, listen, publish_all, recorded, records, verify};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a10_slices_of_one_byte_both_ways_change_nothing_also_inside_tls() {
    let server = Server::start(&["--topic", "feed=push", "--heartbeat", "5m"]);
    let mut published: Vec<Value> = (0..50).map(|n| json!({ "n": n, "x": "é✓🐦\n".repeat(n) })).collect();
    published.push(json!("x".repeat(70_000)));
    let dir = tempfile::tempdir().expect("a directory");
    let mut files = Vec::new();
    let mut slicers = Vec::new();
    let terminated = terminate(server.address).await;
    for (number, to) in [server.address, terminated].into_iter().enumerate() {
        let slicer = Proxy::start(1, number as u64).await.expect("a port is free");
        slicer.lead_to(Some(to));
        slicer.set(Weather {
            slice: Some(1),
            ..Weather::default()
        });
        slicers.push(slicer);
    }
    let count = published.len().to_string();
    let listeners = ["ws", "wss"].into_iter().zip(&slicers).map(|(scheme, slicer)| {
        let file = dir.path().join(format!("{scheme}.ndjson"));
        files.push(file.clone());
        let url = format!("{scheme}://{}", slicer.address());
        let mut args = vec!["--count", &count];
        args.extend((scheme == "wss").then_some("--insecure"));
        listen(Command::new(lapwing()), &url, &file, &args)
    });
    let listeners: Vec<_> = listeners.collect();
    // What is published comes in single bytes as well.
    publish_all(slicers[0].address(), "feed", 0, &published);
    for listener in listeners {
        listener.ends_with(0);
    }
    for file in &files {
        assert_holds(file, "feed", &published);
        assert!(records(&recorded(file), "reconnect").is_empty());
    }
    verify(&[], &files);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a10_slices_of_one_byte_inside_the_servers_own_tls_change_nothing() {
    let server = Server::start(&["--topic", "feed=push", "--heartbeat", "5m", "--tls-self-signed"]);
    let mut published: Vec<Value> = (0..50).map(|n| json!({ "n": n, "x": "é✓🐦\n".repeat(n) })).collect();
    published.push(json!("x".repeat(70_000)));
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("wss.ndjson");
    let slicer = Proxy::start(1, 7).await.expect("a port is free");
    slicer.lead_to(Some(server.address));
    slicer.set(Weather {
        slice: Some(1),
        ..Weather::default()
    });
    let url = format!("wss://{}", slicer.address());
    let count = published.len().to_string();
    let listener = listen(Command::new(lapwing()), &url, &file, &["--count", &count, "--insecure"]);
    // What is published comes in single bytes as well.
    let mut publish = Command::new(lapwing());
    publish.args(["publish", &url, "feed", "--insecure"]);
    let mut publisher = Program::start(publish);
    published
        .iter()
        .for_each(|message| publisher.feed(&format!("{message}\n")));
    publisher.end_input();
    publisher.ends_with(0);
    listener.ends_with(0);
    assert_holds(&file, "feed", &published);
    assert!(records(&recorded(&file), "reconnect").is_empty());
    verify(&[], &[file]);
}

/// Ends TLS before a server; gives where it listens. It lives as long as the runtime.
async fn terminate(server: SocketAddr) -> SocketAddr {
    let signed = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).expect("a key");
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(signed.signing_key.serialize_der()));
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the defaults")
        .with_no_client_auth()
        .with_single_cert(vec![signed.cert.der().clone()], key)
        .expect("a matching key");
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
    let address = listener.local_addr().expect("it is bound");
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let mut inside = acceptor.accept(socket).await?;
                let mut outside = TcpStream::connect(server).await?;
                copy_bidirectional(&mut inside, &mut outside).await
            });
        }
    });
    address
}
