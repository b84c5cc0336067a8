// A registry that enters a network and searches it.
//
//     cargo run --example basic_setup

#[path = "support/hub.rs"]
#[allow(dead_code, reason = "each example needs another part of it")]
mod hub;

use ggen_marketplace::P2PRegistry;
use ggen_marketplace::backend::p2p::P2PConfig;
use ggen_marketplace::prelude::*;

#[tokio::main]
async fn main() -> Result<()> {
    // Create configuration
    let config = P2PConfig {
        bootstrap_nodes: vec![hub::address().parse().unwrap()],
        packages_topic: "/ggen/packages/v1".to_string(),
        dht_server_mode: true,
        listen_addresses: vec!["/ip4/127.0.0.1/tcp/0".parse().unwrap()],
    };

    // Initialize registry
    let registry = P2PRegistry::new(config).await?;

    // Start listening
    registry.start_listening().await?;

    // Subscribe to package announcements
    registry.subscribe_to_packages().await?;

    // Bootstrap DHT
    registry.bootstrap().await?;

    // Search for packages
    let query = Query::new("rust web framework");
    let results = registry.search(&query).await?;

    for package in results {
        println!("Found: {} v{}", package.id, package.version);
    }

    Ok(())
}
