//! The configuration of a registry as a library.

use libp2p::Multiaddr;

use crate::Config;

/// The four settings that most programs need. [`Config`] has all settings, including the limits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct P2PConfig {
    /// Initial nodes for the DHTs. Default: none.
    pub bootstrap_nodes: Vec<Multiaddr>,
    /// Gossip topic of package announcements; it is also the name of the network. Default: `/ggen/packages/v1`.
    pub packages_topic: String,
    /// Serve the ggen DHT. Default: true.
    pub dht_server_mode: bool,
    /// Addresses to listen on. Default: `/ip4/0.0.0.0/tcp/0`.
    pub listen_addresses: Vec<Multiaddr>,
}

impl Default for P2PConfig {
    fn default() -> Self {
        let Config { bootstrap_nodes, packages_topic, dht_server_mode, listen_addresses, .. } = Config::default();
        Self { bootstrap_nodes, packages_topic, dht_server_mode, listen_addresses }
    }
}

impl From<P2PConfig> for Config {
    /// A library must not use the local network without being asked to: mDNS is off.
    fn from(config: P2PConfig) -> Self {
        let P2PConfig { bootstrap_nodes, packages_topic, dht_server_mode, listen_addresses } = config;
        Self { bootstrap_nodes, packages_topic, dht_server_mode, listen_addresses, mdns: false, ..Self::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_the_documented_ones() {
        let P2PConfig { bootstrap_nodes, packages_topic, dht_server_mode, listen_addresses } = P2PConfig::default();
        assert_eq!(bootstrap_nodes, []);
        assert_eq!(packages_topic, "/ggen/packages/v1");
        assert!(dht_server_mode);
        assert_eq!(listen_addresses, ["/ip4/0.0.0.0/tcp/0".parse().unwrap()]);
    }
}
