// What is thought of a peer after something was fetched from it.
//
//     cargo run --example peer_reputation

#[path = "support/hub.rs"]
#[allow(dead_code, reason = "each example needs another part of it")]
mod hub;

use std::{sync::Arc, time::Duration};

use ggen_marketplace::{FetchRequest, FetchTo, Progress, prelude::*};
use libp2p::PeerId;

async fn check_peer_reputation(registry: &P2PRegistry, peer_id: &PeerId) {
    let reputation = registry.get_peer_reputation(peer_id).await;
    println!("Peer {} reputation: {:.2}", peer_id, reputation);

    if reputation < 0.5 {
        println!("WARNING: Low reputation peer!");
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    let bootstrap_nodes = vec![hub::address().parse().unwrap()];
    let registry = P2PRegistry::new(P2PConfig { bootstrap_nodes, ..Default::default() }).await?;
    registry.bootstrap().await?;
    let place = tempfile::tempdir().map_err(|error| Failure::from_error(ErrorKind::Failed, &error))?;
    let request = FetchRequest {
        target: format!("{}/{}", hub::PUBLISHED.0, hub::PUBLISHED.1),
        to: FetchTo::Path(place.path().join("fetched")),
        timeout: Duration::from_secs(30),
        offline: false,
        providers: Vec::new(),
        min_reputation: None,
    };
    let fetched = registry.registry().fetch(request, Arc::new(|_: Progress| {})).await?;
    println!("{} files from {} peer(s)", fetched.files, fetched.providers.len());
    check_peer_reputation(&registry, &hub::hub().peer_id()).await;
    registry.shutdown().await
}
