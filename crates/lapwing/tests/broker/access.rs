//! How a server of ours is let in: by a password, by credentials, with TLS.

use nats_cluster::{Access, Settings, Tls};

use crate::credentials::Credentials;
use crate::positions::publish;
use crate::stage::Stage;
use crate::support::client::follow;
use crate::support::server::{Plan, Server};

/// Messages go in and come out.
#[track_caller]
fn is_in(server: &Server) {
    publish(server, 0..3);
    follow(server, "topics=feed&from=earliest").messages(3);
}

/// What is said to a server that is not let in; it waits for nothing.
#[track_caller]
fn stays_out(broker: &str, sentence: &str) {
    let output = Plan::new(&["--broker", broker, "--topic", "feed=push"]).refused();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains(sentence), "{said}");
    assert!(!said.contains("secret"), "{said}");
}

#[test]
fn user_and_password_stand_in_the_address() {
    let settings = Settings {
        access: Access::Password {
            user: "lapwing".to_owned(),
            password: "se+cret@1:2".to_owned(),
        },
        ..Settings::one()
    };
    let Some(stage) = Stage::set("password", &settings) else {
        return;
    };
    let address = stage.nats.addresses()[0];
    let good = format!("nats://lapwing:se+cret%401%3a2@{address}");
    is_in(&Plan::new(&["--broker", &good, "--topic", "feed=push"]).start());
    for sign_in in ["", "lapwing:secret@", "secret@"] {
        stays_out(
            &format!("nats://{sign_in}{address}"),
            "the broker does not let this server in",
        );
    }
    let both = format!("{good},nats://lapwing:secret@{address}");
    stays_out(&both, "the addresses in --broker have different users, or passwords");
}

#[test]
fn an_encrypted_broker_is_one_whose_certificate_is_trusted() {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned(), "127.0.0.1".to_owned()]);
    let made = made.expect("a certificate can be made");
    let tls = Tls {
        certificate: folder.path().join("certificate.pem"),
        key: folder.path().join("key.pem"),
    };
    std::fs::write(&tls.certificate, made.cert.pem()).expect("room");
    std::fs::write(&tls.key, made.signing_key.serialize_pem()).expect("room");
    let ca = tls.certificate.display().to_string();
    let settings = Settings {
        tls: Some(tls),
        ..Settings::one()
    };
    let Some(stage) = Stage::set("tls", &settings) else {
        return;
    };
    is_in(&stage.serve("feed=push", &["--broker-ca", &ca]));
    stays_out(&stage.nats.url(), "the broker does not let this server in");
}

#[test]
fn credentials_are_a_file_as_nsc_writes_it() {
    let credentials = Credentials::new();
    let settings = Settings {
        access: Access::Credentials {
            configuration: credentials.configuration.clone(),
        },
        ..Settings::one()
    };
    let Some(stage) = Stage::set("credentials", &settings) else {
        return;
    };
    let path = stage.folder.path().join("lapwing.creds");
    std::fs::write(&path, &credentials.file).expect("room");
    is_in(&stage.serve("feed=push", &["--broker-credentials", &path.display().to_string()]));
    stays_out(&stage.nats.url(), "the broker does not let this server in");
}
