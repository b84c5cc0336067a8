// A node that many know by a fixed configuration: several bootstrap nodes, and a server of the DHT only where it stays.
//
//     cargo run --example optimized_config [ADDRESS...]

#[path = "support/hub.rs"]
#[allow(dead_code, reason = "each example needs another part of it")]
mod hub;

use ggen_marketplace::prelude::*;

/// Those the user names, and the hub of the examples.
fn load_bootstrap_nodes() -> Vec<Multiaddr> {
    let named = std::env::args().skip(1).filter_map(|argument| argument.parse().ok());
    named.chain(hub::address().parse()).collect()
}

/// Whether this machine goes on running: here, one that has been up for an hour.
fn is_stable_node() -> bool {
    let uptime = std::fs::read_to_string("/proc/uptime").unwrap_or_default();
    uptime.split('.').next().and_then(|seconds| seconds.parse().ok()).is_some_and(|seconds: u64| seconds > 3600)
}

#[tokio::main]
async fn main() -> Result<()> {
    // Example optimized configuration
    let config = P2PConfig {
        bootstrap_nodes: load_bootstrap_nodes(), // Multiple nodes
        dht_server_mode: is_stable_node(),       // Only if stable
        ..Default::default()
    };
    let registry = P2PRegistry::new(config).await?;
    let report = registry.bootstrap().await?;
    println!("connected to {}", report.connected.join(", "));
    println!("{} of the DHT", registry.registry().status().await?.dht_mode);
    registry.shutdown().await
}
