//! How servers of NATS are set up, and the text that tells them so.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// When a server asks its disk to keep what it has taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sync {
    /// As it does by default: every two minutes, long after it has acknowledged.
    #[default]
    Default,
    /// Before it acknowledges.
    Always,
}

/// Who may connect.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Access {
    /// Everybody.
    #[default]
    Open,
    /// Who knows the password.
    Password {
        /// The user.
        user: String,
        /// The password.
        password: String,
    },
    /// Who has credentials of an account: lines of configuration that name the operator and know the account.
    Credentials {
        /// `operator: …`, `resolver: MEMORY`, `resolver_preload: …`, `system_account: …`.
        configuration: String,
    },
}

/// The files of a server's TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// Its certificate, as PEM.
    pub certificate: PathBuf,
    /// Its key, as PEM.
    pub key: PathBuf,
}

/// How servers of NATS are set up.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// How many servers: one alone, or a cluster.
    pub nodes: usize,
    /// When they sync.
    pub sync: Sync,
    /// Who may connect.
    pub access: Access,
    /// Whether clients must speak TLS, and with which certificate.
    pub tls: Option<Tls>,
    /// The longest payload that they take, in bytes; their default without one.
    pub payload_bytes_max: Option<usize>,
}

impl Settings {
    /// One server for everybody.
    pub fn one() -> Self {
        Self {
            nodes: 1,
            ..Self::default()
        }
    }

    /// A cluster of three for everybody.
    pub fn three() -> Self {
        Self {
            nodes: 3,
            ..Self::default()
        }
    }
}

/// The ports of one server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ports {
    pub client: u16,
    pub monitor: u16,
    pub route: u16,
}

/// The configuration of the server with this number.
pub(crate) fn text(settings: &Settings, number: usize, ports: &[Ports], store: &Path) -> String {
    let own = ports[number];
    let mut text = format!(
        "server_name: {}\nlisten: \"127.0.0.1:{}\"\nhttp: \"127.0.0.1:{}\"\n",
        name(number),
        own.client,
        own.monitor
    );
    let sync = match settings.sync {
        Sync::Default => "",
        Sync::Always => ", sync_interval: always",
    };
    // Writing to a String does not fail.
    let _ = writeln!(
        text,
        "jetstream {{ store_dir: {:?}, max_memory_store: 512MB, max_file_store: 8GB{sync} }}",
        store.display().to_string()
    );
    if let Some(bytes) = settings.payload_bytes_max {
        let _ = writeln!(text, "max_payload: {bytes}");
    }
    match &settings.access {
        Access::Open => {}
        Access::Password { user, password } => {
            let _ = writeln!(text, "authorization {{ user: {user:?}, password: {password:?} }}");
        }
        Access::Credentials { configuration } => {
            let _ = writeln!(text, "{configuration}");
        }
    }
    if let Some(tls) = &settings.tls {
        let (certificate, key) = (tls.certificate.display().to_string(), tls.key.display().to_string());
        let _ = writeln!(text, "tls {{ cert_file: {certificate:?}, key_file: {key:?} }}");
    }
    if settings.nodes > 1 {
        let routes: Vec<String> = ports
            .iter()
            .filter(|other| **other != own)
            .map(|other| format!("\"nats-route://127.0.0.1:{}\"", other.route))
            .collect();
        // Clients keep to the addresses that they were given, so that a way that a test has cut is cut.
        let _ = writeln!(
            text,
            "cluster {{ name: stage, listen: \"127.0.0.1:{}\", no_advertise: true, routes: [{}] }}",
            own.route,
            routes.join(", ")
        );
    }
    text
}

/// What a server is called.
pub(crate) fn name(number: usize) -> String {
    format!("nats-{number}")
}

#[cfg(test)]
mod tests {
    use super::{Access, Ports, Settings, Sync, text};
    use std::path::Path;

    fn ports(count: u16) -> Vec<Ports> {
        let port = |number| Ports {
            client: 11_000 + number,
            monitor: 12_000 + number,
            route: 13_000 + number,
        };
        (0..count).map(port).collect()
    }

    #[test]
    fn a_server_of_three_knows_the_routes_of_the_others_and_tells_clients_of_none() {
        let text = text(&Settings::three(), 1, &ports(3), Path::new("/store"));
        assert!(text.contains("server_name: nats-1"), "{text}");
        assert!(text.contains("13000") && text.contains("13002"), "{text}");
        assert_eq!(text.matches("nats-route").count(), 2, "{text}");
        assert!(text.contains("no_advertise: true"), "{text}");
        assert!(!text.contains("sync_interval"), "{text}");
    }

    #[test]
    fn a_server_alone_has_no_cluster_and_syncs_and_asks_as_it_is_told() {
        let access = Access::Password {
            user: "lap".to_owned(),
            password: "a \"b\"".to_owned(),
        };
        let settings = Settings {
            sync: Sync::Always,
            access,
            ..Settings::one()
        };
        let text = text(&settings, 0, &ports(1), Path::new("/store"));
        assert!(!text.contains("cluster"), "{text}");
        assert!(text.contains("sync_interval: always"), "{text}");
        assert!(text.contains(r#"user: "lap", password: "a \"b\"""#), "{text}");
    }
}
