// A package is published by the CID of its content, which another node has.
//
//     cargo run --example publish_package

#[path = "support/hub.rs"]
#[allow(dead_code, reason = "each example needs another part of it")]
mod hub;

use ggen_marketplace::prelude::*;

async fn publish_package(registry: &P2PRegistry) -> Result<()> {
    let package_id = PackageId::new("myorg", "awesome-lib");
    let version = Version::new(1, 0, 0);

    let package = Package::builder(package_id, version)
        .title("Awesome Library")
        .description("A truly awesome library")
        .license("MIT")
        .tag("rust")
        .tag("library")
        .content_id(ContentId::new(
            "bafybeieauydle3j6dyhfdram5adnrr2lvbs7jk2lwn7vr6rvkslbcyymba", // IPFS CID
            HashAlgorithm::Sha256,
        ))
        .build()?;

    // Publish to P2P network
    registry.publish(package).await?;

    println!("Package published to P2P network!");
    Ok(())
}

#[tokio::main]
async fn main() -> Result<()> {
    let registry = P2PRegistry::new(P2PConfig {
        bootstrap_nodes: vec![hub::address().parse().unwrap()],
        listen_addresses: vec!["/ip4/127.0.0.1/tcp/0".parse().unwrap()],
        ..Default::default()
    })
    .await?;
    registry.start_listening().await?;
    registry.bootstrap().await?;
    // The content is the hub's: it is fetched before it is published.
    publish_package(&registry).await?;
    // A program that ends here waits until the DHT knows.
    registry.settle().await?;
    registry.shutdown().await
}
