//! A node's configuration: plain values, built by the caller, validated once, never read from the environment here.

mod range;

use std::{net::SocketAddr, time::Duration};

use libp2p::Multiaddr;
use serde::{Deserialize, Serialize};

use crate::mirror::{MAX_RULES, MirrorRule};

pub(crate) use range::check_rule;
pub use range::{NumberRange, RULE_BYTES, RULE_VERSIONS};

/// Topic of the public network of packages.
pub(crate) const DEFAULT_TOPIC: &str = "/ggen/packages/v1";

/// Everything a node can be told. The four fields of the seeds' `P2PConfig` stand at the top.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Initial nodes for the DHTs. Default: none.
    pub bootstrap_nodes: Vec<Multiaddr>,
    /// Gossip topic of package announcements; it is also the name of the network. Default: `/ggen/packages/v1`.
    pub packages_topic: String,
    /// Serve the ggen DHT (the mode on the public IPFS DHT is automatic). Default: true.
    pub dht_server_mode: bool,
    /// Addresses to listen on. Default: `/ip4/0.0.0.0/tcp/0`.
    pub listen_addresses: Vec<Multiaddr>,
    /// Namespace of published packages that name none. Default: the publisher's short id.
    pub namespace: Option<String>,
    /// Find peers on the local network. Default: true.
    pub mdns: bool,
    /// Meet the other nodes of this network through the IPFS DHT, which tells its servers that this node is one of them.
    /// Default: true.
    pub rendezvous: bool,
    /// DNS servers that resolve the names in addresses, as `ip:port`. Default: none, which means those of the system.
    pub dns_servers: Vec<SocketAddr>,
    /// Bounds on what the node takes.
    pub limits: Limits,
    /// How long the node waits.
    pub timeouts: Timeouts,
    /// What the node mirrors, besides what `mirror add` told it.
    pub mirror: MirrorConfig,
}

/// What a node mirrors by its configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MirrorConfig {
    /// The rules. Default: none.
    pub rules: Vec<MirrorRule>,
}

/// Bounds on what a node takes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Connections in all. Default: 256.
    pub connections: u32,
    /// Connections with one peer. Default: 4.
    pub connections_per_peer: u32,
    /// Largest package fetched or published, in bytes; read from a size with a unit too, such as `"64GiB"`. Default: 64 GiB.
    #[serde(deserialize_with = "crate::size::deserialize")]
    pub package_bytes: u64,
    /// Most bytes that the store is to take, whatever they are for: cache gives way, and a fetch or a publish that does not fit
    /// beside what is published, pinned or mirrored is refused. That itself is kept whatever it takes. 0: as much as the disk
    /// has. Read from a size with a unit too. Default: 0.
    #[serde(deserialize_with = "crate::size::deserialize")]
    pub store_bytes: u64,
}

/// How long a node waits, and a command for it, in seconds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Timeouts {
    /// One query of a DHT. Default: 30.
    pub dht_query_seconds: u64,
    /// One dial. Default: 10.
    pub dial_seconds: u64,
    /// A command for a sign of life of the daemon that it asked. Default: 15.
    pub daemon_seconds: u64,
    /// A command without a daemon for another that uses the home; 0 for not at all. Default: 600.
    pub home_lock_seconds: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            bootstrap_nodes: Vec::new(),
            packages_topic: DEFAULT_TOPIC.to_owned(),
            dht_server_mode: true,
            listen_addresses: vec!["/ip4/0.0.0.0/tcp/0".parse().expect("a literal address parses")],
            namespace: None,
            mdns: true,
            rendezvous: true,
            dns_servers: Vec::new(),
            limits: Limits::default(),
            timeouts: Timeouts::default(),
            mirror: MirrorConfig::default(),
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self { connections: 256, connections_per_peer: 4, package_bytes: 64 << 30, store_bytes: 0 }
    }
}

impl Default for Timeouts {
    fn default() -> Self {
        Self { dht_query_seconds: 30, dial_seconds: 10, daemon_seconds: 15, home_lock_seconds: 600 }
    }
}

impl Timeouts {
    /// One query of a DHT.
    pub fn dht_query(&self) -> Duration {
        Duration::from_secs(self.dht_query_seconds)
    }

    /// One dial.
    pub fn dial(&self) -> Duration {
        Duration::from_secs(self.dial_seconds)
    }

    /// A command for a sign of life of the daemon.
    pub fn daemon(&self) -> Duration {
        Duration::from_secs(self.daemon_seconds)
    }

    /// A command for a home that another uses.
    pub fn home_lock(&self) -> Duration {
        Duration::from_secs(self.home_lock_seconds)
    }
}

/// A configuration value that makes no sense.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{key}` {reason}")]
pub struct ConfigError {
    /// Key path as in the file: `limits.connections`.
    pub key: &'static str,
    /// What is wrong with its value.
    pub reason: String,
}

/// Longest topic name, in bytes.
const MAX_TOPIC_BYTES: usize = 128;
/// Most DNS servers.
const MAX_DNS_SERVERS: usize = 8;

impl Config {
    /// Checks what the types cannot say.
    ///
    /// # Errors
    /// The first value that makes no sense.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let refuse = |key, reason: String| Err(ConfigError { key, reason });
        if self.packages_topic.is_empty() || self.packages_topic.len() > MAX_TOPIC_BYTES {
            return refuse("packages_topic", format!("must have 1 to {MAX_TOPIC_BYTES} bytes"));
        }
        if self.packages_topic.chars().any(|c| c.is_control() || c.is_whitespace()) {
            return refuse("packages_topic", "must not contain spaces or control characters".to_owned());
        }
        if self.dns_servers.len() > MAX_DNS_SERVERS {
            return refuse("dns_servers", format!("has more than {MAX_DNS_SERVERS} entries"));
        }
        if self.mirror.rules.len() > MAX_RULES {
            return refuse("mirror.rules", format!("has more than {MAX_RULES} rules"));
        }
        self.check_numbers()
    }
}
