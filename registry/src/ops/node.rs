//! The node's status, its keys, and bootstrap.

use std::time::{Duration, Instant};

use libp2p::Multiaddr;

use super::{blocking_thread::Blocking, clock, denial::undeny, failure, failure::usage, storage::Storage};
use crate::{
    BootstrapReport, BootstrapRequest, ErrorKind, FailedAddress, Failure, KeyReport, Status,
    index::{Catalog, check_clock},
    keys::KeyStore,
    node::{AGENT, DialCause, DialFailed, Handle, Nat},
};

/// Maximum number of nodes in one bootstrap request, which are all dialled at once.
const MAX_NODES: usize = 256;

/// Connects to nodes, and fills the routing tables through them. The request's timeout bounds all of it.
pub(crate) async fn enter(node: &Handle, request: BootstrapRequest) -> Result<BootstrapReport, Failure> {
    let deadline = tokio::time::Instant::from(clock::after(request.timeout));
    let mut report = bootstrap(node, request).await?;
    if !report.connected.is_empty() {
        if let Ok(explored) = tokio::time::timeout_at(deadline, node.explore()).await {
            explored.map_err(failure::stopped)?;
        }
        report.routing_table_peers = node.snapshot().await.map_err(failure::stopped)?.ggen_routing_peers;
    }
    Ok(report)
}

/// Connects to nodes, and returns once each connection is established or has failed.
pub(crate) async fn bootstrap(node: &Handle, request: BootstrapRequest) -> Result<BootstrapReport, Failure> {
    if request.nodes.len() > MAX_NODES {
        return Err(usage(format!("{} nodes, the limit is {MAX_NODES}", request.nodes.len())));
    }
    let addresses = request.addresses()?;
    let dials = addresses.into_iter().map(|address| dial(node, address, request.timeout));
    let outcomes = futures::future::join_all(dials).await;
    let mut report = BootstrapReport { connected: Vec::new(), failed: Vec::new(), routing_table_peers: 0 };
    for outcome in outcomes {
        match outcome {
            Ok(peers) => {
                let new = peers.into_iter().filter(|peer| !report.connected.contains(peer));
                let new: Vec<_> = new.collect();
                report.connected.extend(new);
            }
            Err(failed) => report.failed.push(failed),
        }
    }
    report.routing_table_peers = node.snapshot().await.map_err(failure::stopped)?.ggen_routing_peers;
    Ok(report)
}

/// Returns the node's status.
pub(crate) async fn status(node: &Handle, storage: &Storage, topic: &str, started: Instant) -> Result<Status, Failure> {
    let snapshot = node.snapshot().await.map_err(failure::stopped)?;
    let counts = storage.with_catalog(Catalog::counts).await?;
    let unannounced = unannounced(storage).await?;
    let store = storage.store.stats();
    let me = node.peer_id();
    let with_peer = |address: Multiaddr| format!("{address}/p2p/{me}");
    Ok(Status {
        peer_id: me.to_string(),
        agent: AGENT.to_owned(),
        listen_addresses: snapshot.listen_addresses.into_iter().map(with_peer).collect(),
        external_addresses: snapshot.external_addresses.into_iter().map(with_peer).collect(),
        connected_peers: snapshot.connected.len(),
        followers: snapshot.followers,
        dht_mode: if snapshot.serves_ggen_dht { "server" } else { "client" }.to_owned(),
        nat: match snapshot.nat {
            Nat::Public => "public",
            Nat::Private => "private",
            Nat::Unknown => "unknown",
        }
        .to_owned(),
        packages_topic: topic.to_owned(),
        packages_published: counts.published,
        unannounced,
        packages_known: counts.packages,
        blocks: store.blocks,
        store_bytes: store.stored_bytes,
        bytes_sent: snapshot.bytes_sent,
        bytes_received: snapshot.bytes_received,
        dht_walks: snapshot.dht_walks,
        uptime_seconds: started.elapsed().as_secs(),
    })
}

/// Returns why peers reject the newest heads of this home's publishers because of their dates; usually empty.
async fn unannounced(storage: &Storage) -> Result<Vec<String>, Failure> {
    let reasons = storage.with_catalog(|catalog| {
        let mut reasons = Vec::new();
        for publisher in catalog.own_publishers()? {
            let head = catalog.publisher(&publisher)?.and_then(|known| known.head);
            let refused = head.and_then(|head| check_clock(&head, clock::now()).err());
            reasons.extend(refused.map(|error| format!("other peers refuse what {publisher} has published: {error}")));
        }
        Ok(reasons)
    });
    reasons.await
}

/// Lists the keys.
pub(crate) async fn list_keys(keys: &KeyStore) -> Result<Vec<KeyReport>, Failure> {
    let keys = keys.clone();
    Blocking::Pool.run(move || Ok(keys.list()?)).await
}

async fn dial(node: &Handle, address: Multiaddr, timeout: Duration) -> Result<Vec<String>, FailedAddress> {
    let failed = |error| failed_address(address.to_string(), error);
    match tokio::time::timeout(timeout, node.connect_all(&address)).await {
        Ok(Ok(peers)) => Ok(peers.iter().map(ToString::to_string).collect()),
        Ok(Err(error)) => Err(failed(error)),
        Err(_) => Err(failed(no_answer(timeout))),
    }
}

/// The failure of a dial that is given up after this time.
pub(super) fn no_answer(within: Duration) -> DialFailed {
    DialFailed { reason: format!("no answer within {} s", within.as_secs()), cause: DialCause::TimedOut }
}

/// Describes an address that could not be reached.
pub(super) fn failed_address(address: String, DialFailed { reason, cause }: DialFailed) -> FailedAddress {
    let kind = if cause == DialCause::TimedOut { ErrorKind::TimedOut } else { ErrorKind::Failed };
    let hint = match cause {
        DialCause::Denied(peer) => Some(undeny(&peer)),
        DialCause::Own => Some("name the address of another node".into()),
        DialCause::Full => Some("try again later, or name another node of the network".into()),
        DialCause::Limit => Some("raise `limits.connections` in the configuration".into()),
        DialCause::TimedOut | DialCause::Other => None,
    };
    FailedAddress { address, reason, kind, hint }
}
