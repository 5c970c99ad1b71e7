//! The stage itself: what the other stories rely on is so.

use nats_cluster::{Access, Client, Settings, Sync, Tls, Trouble};
use serde_json::json;

use crate::credentials::Credentials;
use crate::stage::Stage;

const STREAM: &str = "people";

fn make(client: &mut Client, replicas: u64) {
    let config = json!({"name": STREAM, "subjects": [STREAM], "num_replicas": replicas, "storage": "file"});
    client
        .create_stream(&config)
        .unwrap_or_else(|trouble| panic!("{trouble}"));
}

/// Stores a message until a leader takes it, as whoever gets no answer does.
fn put(stage: &Stage, id: &str) -> nats_cluster::Taken {
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
    loop {
        let taken = stage
            .nats
            .client()
            .and_then(|mut client| client.put(STREAM, Some(id), id.as_bytes()));
        match taken {
            Ok(taken) => return taken,
            Err(trouble) => assert!(std::time::Instant::now() < deadline, "never taken: {trouble}"),
        }
    }
}

fn payloads(client: &mut Client) -> Vec<(u64, String)> {
    let mut found = Vec::new();
    let take = |stored: nats_cluster::Stored| {
        found.push((stored.sequence, String::from_utf8_lossy(&stored.payload).into_owned()));
    };
    client.read(STREAM, take).unwrap_or_else(|trouble| panic!("{trouble}"));
    found
}

#[test]
fn one_server_stores_recognises_purges_and_forgets() {
    let Some(stage) = Stage::set("one_server_stores_recognises_purges_and_forgets", &Settings::one()) else {
        return;
    };
    let mut client = stage.nats.client().expect("it answers");
    assert_eq!(client.stream(STREAM).expect("it answers"), None);
    make(&mut client, 1);
    assert_eq!(stage.nats.leader_of(STREAM), Some(0));
    for number in 1..=600_u64 {
        let id = format!("m{number}");
        let taken = client.put(STREAM, Some(&id), id.as_bytes()).expect("it is taken");
        assert_eq!((taken.sequence, taken.is_repeated), (number, false));
    }
    let again = client.put(STREAM, Some("m7"), b"m7").expect("it is taken");
    assert_eq!((again.sequence, again.is_repeated), (7, true));
    client.purge(STREAM, Some(3)).expect("it is purged");
    client.delete(STREAM, 500).expect("it is deleted");
    let found = payloads(&mut client);
    let expected: Vec<(u64, String)> = (3..=600_u64)
        .filter(|sequence| *sequence != 500)
        .map(|sequence| (sequence, format!("m{sequence}")))
        .collect();
    assert_eq!(found, expected);
    client.delete_stream(STREAM).expect("it is deleted");
    assert_eq!(client.stream(STREAM).expect("it answers"), None);
}

#[test]
fn three_servers_are_one_and_a_stream_outlives_its_leader() {
    let name = "three_servers_are_one_and_a_stream_outlives_its_leader";
    let Some(mut stage) = Stage::set(name, &Settings::three()) else {
        return;
    };
    make(&mut stage.nats.client().expect("it answers"), 3);
    assert_eq!(put(&stage, "before").sequence, 1);
    let leader = stage.nats.wait_for_leader(STREAM).expect("there is one");
    stage.nats.node(leader).kill();
    assert_eq!(put(&stage, "meanwhile").sequence, 2);
    let other = stage.nats.wait_for_leader(STREAM).expect("there is one");
    assert_ne!(leader, other);
    stage.nats.start_all().expect("the third comes back");
    assert_eq!(put(&stage, "after").sequence, 3);
    let found = payloads(&mut stage.nats.client().expect("it answers"));
    let found: Vec<&str> = found.iter().map(|(_, payload)| payload.as_str()).collect();
    assert_eq!(found, ["before", "meanwhile", "after"]);
}

#[test]
fn a_leader_that_stands_still_is_replaced_and_a_cluster_that_was_killed_has_everything() {
    let name = "a_leader_that_stands_still_is_replaced_and_a_cluster_that_was_killed_has_everything";
    let settings = Settings {
        sync: Sync::Always,
        ..Settings::three()
    };
    let Some(mut stage) = Stage::set(name, &settings) else {
        return;
    };
    make(&mut stage.nats.client().expect("it answers"), 3);
    put(&stage, "before");
    let leader = stage.nats.wait_for_leader(STREAM).expect("there is one");
    stage.nats.node(leader).pause();
    // Its socket still takes bytes, so whoever asks it waits in vain and asks another.
    let mut others = (0..3).filter(|number| *number != leader);
    let other = others.next().expect("there are three");
    let address = stage.nats.node(other).address();
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while Client::connect(address, None)
        .and_then(|mut client| client.put(STREAM, Some("meanwhile"), b"meanwhile"))
        .is_err()
    {
        assert!(std::time::Instant::now() < deadline, "never taken");
    }
    stage.nats.node(leader).resume();
    stage.nats.kill_all();
    stage.nats.start_all().expect("they come back");
    stage.nats.wait_for_leader(STREAM).expect("there is one");
    put(&stage, "after");
    let found = payloads(&mut stage.nats.client().expect("it answers"));
    let found: Vec<&str> = found.iter().map(|(_, payload)| payload.as_str()).collect();
    assert_eq!(found, ["before", "meanwhile", "after"]);
}

#[test]
fn h2_a_store_put_back_to_an_earlier_copy_comes_back_shorter() {
    let Some(mut stage) = Stage::set(
        "h2_a_store_put_back_to_an_earlier_copy_comes_back_shorter",
        &Settings::one(),
    ) else {
        return;
    };
    make(&mut stage.nats.client().expect("it answers"), 1);
    put(&stage, "kept");
    let copy = stage.folder.path().join("copy");
    stage.nats.node(0).stop();
    stage.nats.node(0).copy_store(&copy).expect("it is copied");
    stage.nats.start_all().expect("it comes back");
    assert_eq!(put(&stage, "lost").sequence, 2);
    stage.nats.node(0).kill();
    stage.nats.node(0).replace_store(&copy).expect("it is replaced");
    stage.nats.start_all().expect("it comes back");
    let found = payloads(&mut stage.nats.client().expect("it answers"));
    assert_eq!(found, [(1, "kept".to_owned())]);
}

#[test]
fn a_password_is_asked_for_and_stands_in_the_url() {
    let access = Access::Password {
        user: "lapwing".to_owned(),
        password: "secret".to_owned(),
    };
    let settings = Settings {
        access,
        ..Settings::one()
    };
    let Some(stage) = Stage::set("a_password_is_asked_for_and_stands_in_the_url", &settings) else {
        return;
    };
    let address = stage.nats.addresses()[0];
    assert_eq!(stage.nats.url(), format!("nats://lapwing:secret@{address}"));
    make(&mut stage.nats.client().expect("it answers"), 1);
    let refused = Client::connect(address, None).expect_err("nobody comes in without it");
    assert!(matches!(refused, Trouble::Refused { .. }), "{refused}");
}

#[test]
fn a_server_with_tls_takes_nobody_in_the_clear() {
    let name = "a_server_with_tls_takes_nobody_in_the_clear";
    let folder = tempfile::tempdir().expect("a folder can be made");
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned(), "127.0.0.1".to_owned()]);
    let made = made.expect("a certificate can be made");
    let tls = Tls {
        certificate: folder.path().join("certificate.pem"),
        key: folder.path().join("key.pem"),
    };
    std::fs::write(&tls.certificate, made.cert.pem()).expect("room");
    std::fs::write(&tls.key, made.signing_key.serialize_pem()).expect("room");
    let settings = Settings {
        tls: Some(tls),
        ..Settings::one()
    };
    let Some(stage) = Stage::set(name, &settings) else {
        return;
    };
    assert!(stage.nats.url().starts_with("tls://127.0.0.1:"), "{}", stage.nats.url());
    let refused = stage.nats.client().expect_err("it wants TLS");
    assert!(refused.to_string().contains("TLS"), "{refused}");
}

#[test]
fn credentials_of_an_account_open_its_streams() {
    let credentials = Credentials::new();
    let access = Access::Credentials {
        configuration: credentials.configuration.clone(),
    };
    let settings = Settings {
        access,
        ..Settings::one()
    };
    let Some(stage) = Stage::set("credentials_of_an_account_open_its_streams", &settings) else {
        return;
    };
    assert!(
        credentials.file.contains("-----BEGIN USER NKEY SEED-----\nSU"),
        "a user's seed"
    );
    let address = stage.nats.addresses()[0];
    Client::connect(address, None).expect_err("nobody comes in without them");
    Client::connect_as(address, |greeting| Credentials::new().options(greeting)).expect_err("nor with others");
    let mut client = Client::connect_as(address, |greeting| credentials.options(greeting))
        .unwrap_or_else(|trouble| panic!("{trouble}"));
    make(&mut client, 1);
    assert_eq!(client.put(STREAM, None, b"{}").expect("it is taken").sequence, 1);
}
