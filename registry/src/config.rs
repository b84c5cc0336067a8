//! A node's configuration: plain values, built by the caller and validated once. The environment is never read.

mod range;

use std::{net::SocketAddr, time::Duration};

use libp2p::Multiaddr;
use serde::{Deserialize, Serialize};

use crate::{
    mirror::{MAX_RULES, MirrorRule},
    package::PackageId,
};

pub(crate) use range::check_rule;
pub use range::{NumberRange, RULE_BYTES, RULE_VERSIONS};

/// Topic of the public package network.
pub(crate) const DEFAULT_TOPIC: &str = "/ggen/packages/v1";

/// The complete configuration of a node. Its first four fields are those of `P2PConfig`.
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
    /// Namespace of published packages without one. Default: the publisher's short id.
    pub namespace: Option<String>,
    /// Find peers on the local network. Default: true.
    pub mdns: bool,
    /// Find the other nodes of this network through the IPFS DHT. This discloses to DHT servers that this node belongs
    /// to the network. Default: true.
    pub rendezvous: bool,
    /// DNS servers that resolve the names in addresses, as `ip:port`. Default: none, which means the system's servers.
    pub dns_servers: Vec<SocketAddr>,
    /// Resource limits of the node.
    pub limits: Limits,
    /// Timeouts of the node.
    pub timeouts: Timeouts,
    /// Mirror rules, in addition to those of `mirror add`.
    pub mirror: MirrorConfig,
}

/// Mirror rules in the configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MirrorConfig {
    /// The rules. Default: none.
    pub rules: Vec<MirrorRule>,
}

/// Resource limits of a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Total connections. At this number a new one takes the place of the one that is worth least. Default: 256.
    pub connections: u32,
    /// Connections with one peer. Default: 4.
    pub connections_per_peer: u32,
    /// Largest package fetched or published, in bytes; a size with a unit is accepted too, such as `"64GiB"`. Default:
    /// 64 GiB.
    #[serde(deserialize_with = "crate::size::deserialize")]
    pub package_bytes: u64,
    /// Most bytes of the store. Cached blocks are evicted for new ones. A fetch or a publish that does not fit beside
    /// published, pinned and mirrored content is refused; such content itself is never evicted. 0: no limit but the
    /// disk. A size with a unit is accepted too. Default: 0.
    #[serde(deserialize_with = "crate::size::deserialize")]
    pub store_bytes: u64,
}

/// Timeouts of a node and of commands, in seconds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Timeouts {
    /// A DHT query. Default: 30.
    pub dht_query_seconds: u64,
    /// A dial. Default: 10.
    pub dial_seconds: u64,
    /// A command waits this long for a sign of life from the daemon. Default: 15.
    pub daemon_seconds: u64,
    /// A command without a daemon waits this long for a process that uses the home; 0 for not at all. Default: 600.
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
    /// Timeout of a DHT query.
    pub fn dht_query(&self) -> Duration {
        Duration::from_secs(self.dht_query_seconds)
    }

    /// Timeout of a dial.
    pub fn dial(&self) -> Duration {
        Duration::from_secs(self.dial_seconds)
    }

    /// How long a command waits for a sign of life from the daemon.
    pub fn daemon(&self) -> Duration {
        Duration::from_secs(self.daemon_seconds)
    }

    /// How long a command waits for a process that uses the home.
    pub fn home_lock(&self) -> Duration {
        Duration::from_secs(self.home_lock_seconds)
    }
}

/// An invalid configuration value.
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
    /// Checks the rules that the types do not express.
    ///
    /// # Errors
    /// The first invalid value.
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
        if let Some(namespace) = &self.namespace
            && let Err(error) = PackageId::check_namespace(namespace)
        {
            return refuse("namespace", format!("is not the namespace of a package: {error}"));
        }
        if self.mirror.rules.len() > MAX_RULES {
            return refuse("mirror.rules", format!("has more than {MAX_RULES} rules"));
        }
        self.check_numbers()
    }
}
