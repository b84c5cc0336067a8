//! The configuration of a Kubo that connects only to the peers a test gives it.

use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

/// The parameters with which Kubo builds DAGs of files.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) enum Import {
    /// IPIP-499 `unixfs-v1-2025`: CIDv1, raw leaves, chunks of 1 MiB.
    #[default]
    UnixfsV1,
    /// IPIP-499 `unixfs-v0-2015`: CIDv0, dag-pb leaves, chunks of 256 KiB.
    LegacyCidV0,
}

impl Import {
    pub(super) fn profile(self) -> &'static str {
        match self {
            Self::UnixfsV1 => "unixfs-v1-2025",
            Self::LegacyCidV0 => "unixfs-v0-2015",
        }
    }
}

/// The source of provider records for Kubo.
#[derive(Clone, Debug, Default)]
pub(crate) enum Routing {
    /// None: blocks are fetched from connected peers only.
    #[default]
    Off,
    /// Its LAN DHT (`/ipfs/lan/kad/1.0.0`) with the peers it is connected to, as stock Kubo does.
    Lan,
    /// The DHT of the public network (`/ipfs/kad/1.0.0`) as a server, on loopback, entered through these multiaddresses
    /// (each with `/p2p/<peer id>`).
    Amino { bootstrap: Vec<String> },
    /// The same as a client, which stores no records.
    AminoClient { bootstrap: Vec<String> },
}

/// The key of a Kubo node.
#[derive(Clone, Debug, Default)]
pub(crate) enum Key {
    /// The key that `ipfs init` creates: ed25519.
    #[default]
    Ed25519,
    /// The key that `ipfs init --algorithm=rsa` creates.
    Rsa,
    /// This key, of a type that `ipfs init` cannot create: the peer id, and the private key as in Kubo's configuration
    /// (base64).
    Given { peer_id: String, private: String },
}

/// The security protocol of a Kubo node's TCP connections.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) enum Security {
    /// TLS or Noise, as negotiated.
    #[default]
    Both,
    Tls,
    Noise,
}

/// Options of a Kubo node in a test.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) import: Import,
    pub(crate) routing: Routing,
    pub(crate) key: Key,
    pub(crate) security: Security,
    /// Listen on QUIC in addition to TCP.
    pub(crate) quic: bool,
    /// Addresses that it announces in addition to those on which it listens.
    pub(crate) announce: Vec<String>,
    /// Where the repository is created; the system's temporary directory when `None`.
    pub(crate) directory: Option<PathBuf>,
    /// The address on which it listens: loopback, or the address of the host that `prefix` leads to.
    pub(crate) address: Ipv4Addr,
    /// The prefix of every command, such as the command that runs it in a network namespace.
    pub(crate) prefix: Vec<String>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            import: Import::default(),
            routing: Routing::default(),
            key: Key::default(),
            security: Security::default(),
            quic: false,
            announce: Vec::new(),
            directory: None,
            address: Ipv4Addr::LOCALHOST,
            prefix: Vec::new(),
        }
    }
}

/// Rewrites the configuration file that `ipfs init` created.
pub(super) fn rewrite(path: &Path, options: &Options) {
    let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("cannot read `{}`: {error}", path.display()));
    let mut config: Value = serde_json::from_str(&text).expect("Kubo writes JSON");
    apply(&mut config, options);
    fs::write(path, config.to_string()).unwrap_or_else(|error| panic!("cannot write `{}`: {error}", path.display()));
}

fn apply(config: &mut Value, options: &Options) {
    let mut listen = vec![format!("/ip4/{}/tcp/0", options.address)];
    if options.quic {
        listen.push(format!("/ip4/{}/udp/0/quic-v1", options.address));
    }
    let (routing, bootstrap) = match &options.routing {
        Routing::Off => ("none", Vec::new()),
        Routing::Lan => ("dht", Vec::new()),
        Routing::Amino { bootstrap } => ("dhtserver", bootstrap.clone()),
        Routing::AminoClient { bootstrap } => ("dhtclient", bootstrap.clone()),
    };
    let settings = [
        ("/Addresses/Swarm", json!(listen)),
        ("/Addresses/AppendAnnounce", json!(options.announce)),
        ("/Addresses/API", json!("/ip4/127.0.0.1/tcp/0")),
        ("/Addresses/Gateway", json!([])),
        ("/Bootstrap", json!(bootstrap)),
        ("/Discovery/MDNS/Enabled", json!(false)),
        ("/Routing/Type", json!(routing)),
        ("/Routing/DelegatedRouters", json!([])),
        ("/Routing/LoopbackAddressesOnLanDHT", json!(true)),
        ("/Ipns/DelegatedPublishers", json!([])),
        // The sweeping provider, the default, waits for 20 DHT peers before it sends anything.
        ("/Provide/DHT/SweepEnabled", json!(false)),
        ("/HTTPRetrieval/Enabled", json!(false)),
        ("/AutoConf/Enabled", json!(false)),
        ("/AutoTLS/Enabled", json!(false)),
        ("/AutoNAT/ServiceMode", json!("disabled")),
        ("/Version/SwarmCheckEnabled", json!(false)),
        ("/Swarm/DisableNatPortMap", json!(true)),
        ("/Swarm/EnableHolePunching", json!(false)),
        ("/Swarm/RelayClient/Enabled", json!(false)),
        ("/Swarm/RelayService/Enabled", json!(false)),
        ("/Swarm/Transports/Network/Relay", json!(false)),
    ];
    for (pointer, value) in settings {
        set(config, pointer, value);
    }
    match options.security {
        Security::Both => {}
        Security::Tls => set(config, "/Swarm/Transports/Security/Noise", json!(false)),
        Security::Noise => set(config, "/Swarm/Transports/Security/TLS", json!(false)),
    }
    if let Key::Given { peer_id, private } = &options.key {
        set(config, "/Identity/PeerID", json!(peer_id));
        set(config, "/Identity/PrivKey", json!(private));
    }
}

/// Sets the value at a path of object keys, and creates missing objects.
fn set(config: &mut Value, path: &str, value: Value) {
    let mut place = config;
    for key in path.split('/').skip(1) {
        place = &mut place[key];
    }
    *place = value;
}
