//! Several servers of NATS that are one, or one alone.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::client::Client;
use crate::node::Node;
use crate::ports;
use crate::settings::{Access, Ports, Settings, text};
use crate::trouble::Trouble;

/// So long everything is waited for. Far longer than it takes: other work may have the machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// How often it is looked meanwhile.
const LOOK: Duration = Duration::from_millis(20);

/// So often servers are started on other ports, where somebody else took one in between.
const STARTS: u32 = 3;

/// Several servers of NATS that are one, or one alone. All are killed when it is dropped.
#[derive(Debug)]
pub struct Cluster {
    folder: PathBuf,
    access: Access,
    is_encrypted: bool,
    nodes: Vec<Node>,
}

impl Cluster {
    /// Starts servers below a folder, and waits until they are one and take messages.
    pub fn start(program: &Path, folder: &Path, settings: &Settings) -> Result<Self, Trouble> {
        let mut tries = 0;
        loop {
            tries += 1;
            let mut cluster = Self::prepare(program, folder, settings)?;
            match cluster.start_all() {
                Err(Trouble::Ended { .. }) if tries < STARTS => {}
                Err(trouble) => return Err(trouble),
                Ok(()) => return Ok(cluster),
            }
        }
    }

    fn prepare(program: &Path, folder: &Path, settings: &Settings) -> Result<Self, Trouble> {
        let free = ports::free(settings.nodes * 3).map_err(Trouble::socket("find free ports"))?;
        let ports: Vec<Ports> = free
            .chunks_exact(3)
            .map(|three| Ports {
                client: three[0],
                monitor: three[1],
                route: three[2],
            })
            .collect();
        let node = |number: usize| {
            let own = folder.join(format!("nats-{number}"));
            let configuration = text(settings, number, &ports, &own.join("store"));
            Node::new(program, own, number, ports[number], &configuration)
        };
        Ok(Self {
            folder: folder.to_owned(),
            access: settings.access.clone(),
            is_encrypted: settings.tls.is_some(),
            nodes: (0..settings.nodes).map(node).collect::<Result<_, _>>()?,
        })
    }

    /// Starts all servers that do not run, and waits until they are one again.
    pub fn start_all(&mut self) -> Result<(), Trouble> {
        for node in &mut self.nodes {
            node.start()?;
        }
        self.wait_until_ready()
    }

    /// Ends all servers as the kernel does.
    pub fn kill_all(&mut self) {
        for node in &mut self.nodes {
            node.kill();
        }
    }

    /// Waits until all servers that run are healthy, and agree on who leads them. One that ended meanwhile is trouble.
    pub fn wait_until_ready(&mut self) -> Result<(), Trouble> {
        let deadline = Instant::now() + PATIENCE;
        let should_run: Vec<bool> = self.nodes.iter().map(|node| node.pid().is_some()).collect();
        loop {
            for (node, should_run) in self.nodes.iter_mut().zip(&should_run) {
                if *should_run && !node.is_running() {
                    let (name, said) = (node.name(), node.last_words());
                    return Err(Trouble::Ended { name, said });
                }
            }
            let running: Vec<&Node> = self.nodes.iter().filter(|node| node.pid().is_some()).collect();
            if running
                .iter()
                .all(|node| node.is_healthy() && self.knows_who_leads(node))
            {
                return Ok(());
            }
            self.look_until(deadline, "a cluster that takes messages")?;
        }
    }

    fn knows_who_leads(&self, node: &Node) -> bool {
        if self.nodes.len() == 1 {
            return true;
        }
        let Some(told) = node.ask("/jsz") else { return false };
        let leader = told["meta_cluster"]["leader"].as_str();
        let size = told["meta_cluster"]["cluster_size"].as_u64();
        leader.is_some_and(|leader| !leader.is_empty()) && size == Some(self.nodes.len() as u64)
    }

    fn look_until(&self, deadline: Instant, what: &str) -> Result<(), Trouble> {
        if Instant::now() > deadline {
            return Err(Trouble::NotReady {
                what: what.to_owned(),
                waited: PATIENCE,
                folder: self.folder.clone(),
            });
        }
        std::thread::sleep(LOOK);
        Ok(())
    }

    /// How many servers there are, running or not.
    pub fn size(&self) -> usize {
        self.nodes.len()
    }

    /// A server by its number, from 0.
    pub fn node(&mut self, number: usize) -> &mut Node {
        &mut self.nodes[number]
    }

    /// Where clients connect to each.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.nodes.iter().map(Node::address).collect()
    }

    /// All servers as `--broker` takes them, with user and password where they are asked for.
    pub fn url(&self) -> String {
        self.url_of(&self.addresses())
    }

    /// The same with other addresses, such as those of gates before the servers.
    pub fn url_of(&self, addresses: &[SocketAddr]) -> String {
        let scheme = if self.is_encrypted { "tls" } else { "nats" };
        let user = match &self.access {
            Access::Password { user, password } => format!("{user}:{password}@"),
            Access::Open | Access::Credentials { .. } => String::new(),
        };
        let each: Vec<String> = addresses
            .iter()
            .map(|address| format!("{scheme}://{user}{address}"))
            .collect();
        each.join(",")
    }

    /// A client of the first server that answers. Of servers with TLS or credentials there is none.
    pub fn client(&self) -> Result<Client, Trouble> {
        let login = match &self.access {
            Access::Password { user, password } => Some((user.as_str(), password.as_str())),
            Access::Open | Access::Credentials { .. } => None,
        };
        let mut trouble = None;
        for node in self.nodes.iter().filter(|node| node.pid().is_some()) {
            match Client::connect(node.address(), login) {
                Ok(client) => return Ok(client),
                Err(found) => trouble = Some(found),
            }
        }
        Err(trouble.unwrap_or(Trouble::Socket {
            what: "connect: no server runs",
            error: std::io::ErrorKind::NotConnected.into(),
        }))
    }

    /// Who leads a stream, as those say that answer; nobody while they choose.
    pub fn leader_of(&self, stream: &str) -> Option<usize> {
        let told = self
            .nodes
            .iter()
            .filter(|node| node.pid().is_some())
            .find_map(|node| leader_in(&node.ask("/jsz?accounts=true&streams=true")?, stream, &node.name()))?;
        self.nodes.iter().position(|node| node.name() == told)
    }

    /// Waits until a stream has a leader that runs.
    pub fn wait_for_leader(&mut self, stream: &str) -> Result<usize, Trouble> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(leader) = self.leader_of(stream)
                && self.nodes[leader].is_running()
                && self.nodes[leader].ask("/varz").is_some()
            {
                return Ok(leader);
            }
            self.look_until(deadline, &format!("a leader of the stream {stream}"))?;
        }
    }
}

/// Who leads a stream, in what a server tells of its JetStream; a server alone leads all that it has.
fn leader_in(told: &Value, stream: &str, own: &str) -> Option<String> {
    let streams = told["account_details"]
        .as_array()?
        .iter()
        .filter_map(|account| account["stream_detail"].as_array())
        .flatten();
    let found = streams.into_iter().find(|detail| detail["name"] == stream)?;
    let leader = match found.get("cluster") {
        Some(cluster) => cluster["leader"].as_str()?,
        None => own,
    };
    (!leader.is_empty()).then(|| leader.to_owned())
}
