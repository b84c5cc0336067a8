// Publish and search with the defaults: a fresh key, everything in memory, no bootstrap node.
//
//     cargo run --example programmatic

use ggen_marketplace::backend::p2p::{P2PConfig, P2PRegistry};
use ggen_marketplace::prelude::{Package, PackageId, Query, Result, Version};
use ggen_marketplace::traits::Registry;

/// A package made of a directory of this program's.
async fn make_package(registry: &P2PRegistry) -> Result<Package> {
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/packages/greeter");
    Package::builder(PackageId::new("myorg", "greeter"), Version::new(1, 2, 0))
        .description("Greets people from templates")
        .executable("bin/greet")
        .content_id(registry.import(directory).await?)
        .build()
}

#[allow(unused_variables, reason = "what a program does with the results is its own affair")]
#[tokio::main]
async fn main() -> Result<()> {
    // Create config
    let config = P2PConfig::default();
    let config = P2PConfig { listen_addresses: vec!["/ip4/127.0.0.1/tcp/0".parse().unwrap()], ..config };

    // Initialize registry
    let registry = P2PRegistry::new(config).await?;
    let my_package = make_package(&registry).await?;
    let query = Query::new("greets people");

    // Start listening
    registry.start_listening().await?;
    registry.subscribe_to_packages().await?;

    // Publish package
    registry.publish(my_package).await?;

    // Search packages
    let results = registry.search(&query).await?;

    Ok(())
}
