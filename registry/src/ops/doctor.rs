//! Doctor: checks in stages what a publish or a fetch needs. Each stage reports what was found and what to do.
//!
//! The stages build on each other. A stage that cannot be checked because an earlier one failed is omitted, so every
//! reported fault is a separate one.

mod target;

use std::{sync::Arc, time::Duration};

use ggen_blockstore::Block;
use libp2p::Multiaddr;

pub(super) use self::target::TargetCheck;
use super::{LostKeys, clock, denial::undeny, failure, failure::usage, storage::Storage};
use crate::{
    BootstrapRequest, Config, Diagnosis, DoctorRequest, ErrorKind, FailedAddress, Failure, Listing, Operation,
    Reporter, Setting, Stage,
    error::hint,
    home::Permission,
    keys::{DEFAULT_KEY, KeyStore},
    node::{Handle, ITSELF, Nat, Snapshot, rendezvous_cid},
    package::Target,
    peers::PeerBook,
};

/// Causes shown for one stage; further ones are only counted.
const MAX_REASONS: usize = 5;

/// Diagnoses the node.
#[derive(Clone, Debug)]
pub(crate) struct Doctor {
    pub(super) storage: Storage,
    pub(super) node: Handle,
    pub(super) permission: Option<Permission>,
    pub(super) keys: KeyStore,
    pub(super) peers: Arc<PeerBook>,
    pub(super) config: Arc<Config>,
    pub(super) lost_keys: LostKeys,
    pub(super) target: TargetCheck,
}

impl Doctor {
    /// Checks the node, and the target if the request names one.
    pub(crate) async fn doctor(
        &self,
        request: DoctorRequest,
        reporter: Arc<dyn Reporter>,
    ) -> Result<Diagnosis, Failure> {
        let target = request.target.as_deref().map(failure::target).transpose()?;
        if let Some(Target::Ipns { .. }) = target {
            return Err(usage("names under /ipns/ cannot be fetched by this version"));
        }
        let node = &self.node;
        let mut stages = vec![self.check_store().await];
        stages.extend(self.check_keys().await?);
        let snapshot = node.snapshot().await.map_err(failure::stopped)?;
        let listen = listen(&snapshot, &self.config.listen_addresses);
        let listens = listen.ok == Some(true);
        stages.push(listen);
        if listens {
            stages.push(reachability(&snapshot));
        }
        stages.push(self.check_bootstrap(node, request.timeout).await?);
        let snapshot = node.snapshot().await.map_err(failure::stopped)?;
        let is_alone = snapshot.connected.is_empty();
        if !is_alone {
            stages.push(dht(&snapshot, &self.config.packages_topic));
        }
        // A CID needs some peer; a name needs the DHT as well.
        let can_look = match &target {
            Some(Target::Content { .. }) => !is_alone,
            Some(_) => snapshot.ggen_routing_peers > 0,
            None => false,
        };
        if let Some(target) = target {
            // Without a peer to query, the target is checked as far as this home has it.
            let node = can_look.then_some(node);
            stages.extend(self.target.check(node, target, request.timeout, reporter).await?);
        }
        Ok(Diagnosis { stages })
    }

    /// Writes a block, reads it back and removes it.
    async fn check_store(&self) -> Stage {
        if let Err(refused) = self.permission.as_ref().map_or(Ok(()), Permission::require) {
            let failure = Failure::from(refused);
            let blocks = count(self.storage.store.stats().blocks, "block");
            let stage = Stage::fine("store", format!("{blocks}; only reading works: {}", failure.in_one_line()));
            return Stage { hint: failure.hint, ..stage };
        }
        let store = self.storage.store.clone();
        let probe = Block::raw(format!("ggen doctor {:?}", clock::now()).into_bytes());
        let tried = self.storage.run(move || {
            let probe = probe.map_err(failure::store)?;
            let cid = *probe.cid();
            store.put(&probe).and_then(|_| store.sync()).map_err(failure::store)?;
            let read = store.get(&cid).map_err(failure::store)?;
            store.delete_many(&[cid]).map_err(failure::store)?;
            Ok((read.as_deref() == Some(probe.data()), store.stats()))
        });
        match tried.await {
            Ok((true, stats)) => {
                let blocks = count(stats.blocks, "block");
                let detail = format!("{blocks}, {} bytes on disk; writing and reading work", stats.stored_bytes);
                Stage::fine("store", detail)
            }
            Ok((false, _)) => Stage::failed("store", ErrorKind::Failed, "what is written cannot be read back")
                .hinted(hint!["look at the disk; ", Operation::Verify, " checks every block"]),
            Err(failure) => stage_of("store", failure),
        }
    }

    /// Looks whether every key can be used; no stage where all can.
    async fn check_keys(&self) -> Result<Option<Stage>, Failure> {
        let keys = self.keys.clone();
        let listed = self.storage.run(move || Ok(keys.list()?)).await?;
        let problems: Vec<_> = listed.into_iter().filter_map(|key| key.problem).collect();
        if !problems.is_empty() {
            let stage = Stage::failed("keys", ErrorKind::Failed, join(problems.into_iter()));
            return Ok(Some(stage.hinted("put a copy of that file back; what signs nothing works without it")));
        }
        let lost = self.lost_keys.publisher_without_keys()?.is_some();
        Ok(if lost { Some(stage_of("keys", self.lost_keys.no_key(DEFAULT_KEY)?)) } else { None })
    }

    /// Connects to the configured bootstrap nodes.
    async fn check_bootstrap(&self, node: &Handle, timeout: Duration) -> Result<Stage, Failure> {
        let nodes: Vec<_> = self.config.bootstrap_nodes.iter().map(ToString::to_string).collect();
        let configured = nodes.len();
        if configured == 0 {
            let snapshot = node.snapshot().await.map_err(failure::stopped)?;
            let denied = self.peers.listed(Listing::Denied).first().copied();
            let stage = without_bootstrap(&snapshot);
            return Ok(match denied.filter(|_| snapshot.connected.is_empty()) {
                Some(peer) => {
                    let detail = format!("{}; {peer} is on the list of denied peers", stage.detail);
                    Stage { detail, ..stage }.hinted(undeny(&peer))
                }
                None => stage,
            });
        }
        let report = super::node::bootstrap(node, BootstrapRequest { nodes, timeout }).await?;
        Ok(bootstrap(configured, &report.connected, &report.failed))
    }
}

/// Where the node listens.
fn listen(snapshot: &Snapshot, configured: &[Multiaddr]) -> Stage {
    if !snapshot.listen_addresses.is_empty() {
        return Stage::fine("listen", join(snapshot.listen_addresses.iter().map(ToString::to_string)));
    }
    let stage = Stage::failed(
        "listen",
        ErrorKind::NotFound,
        "no node runs in this home: its commands can fetch, but no peer can fetch from it",
    );
    if configured.is_empty() {
        let stage =
            Stage::failed("listen", ErrorKind::Failed, "`listen_addresses` is empty: no peer can connect to this node");
        return stage
            .hinted(hint!["give it an address: ", Operation::Start.with(Setting::Listen.to("/ip4/0.0.0.0/tcp/4001"))]);
    }
    stage.hinted(hint!["start one with ", Operation::Start.with(Setting::Daemon)])
}

/// Checks whether peers can connect to the node, as far as the node has learned from them.
fn reachability(snapshot: &Snapshot) -> Stage {
    match (snapshot.nat, snapshot.was_visited) {
        (Nat::Public, _) => Stage::fine("reachability", "peers of the internet have connected to this node"),
        (Nat::Private, _) => {
            let detail = "peers of the internet see this node at another address, and none has connected to it: it is \
                          behind a NAT or a firewall";
            // Not a fault: many nodes are behind a NAT and can fetch nevertheless.
            Stage::fine("reachability", detail).hinted(hint![
                "fetching works; for others to fetch from here, forward a port to this machine and listen on it: ",
                Operation::Start.with(Setting::Listen.to("/ip4/0.0.0.0/tcp/4001"))
            ])
        }
        (Nat::Unknown, true) => Stage::fine("reachability", "other peers have connected to this node"),
        (Nat::Unknown, false) => Stage::unknown("reachability", "no peer has connected to this node yet"),
    }
}

fn without_bootstrap(snapshot: &Snapshot) -> Stage {
    let connected = snapshot.connected.len();
    if connected > 0 {
        let peers = count(connected as u64, "peer");
        return Stage::fine("bootstrap", format!("no bootstrap nodes are configured; {peers} connected"));
    }
    if !snapshot.listen_addresses.is_empty() {
        // The first node of a network has no bootstrap nodes: its peers connect to it.
        let detail =
            "no bootstrap nodes are configured and no peer is connected: this node waits for incoming connections";
        return Stage::fine("bootstrap", detail).hinted(hint![
            "to join an existing network: ",
            Operation::Bootstrap.on("ADDRESS"),
            ", or `bootstrap_nodes` in the configuration"
        ]);
    }
    Stage::failed("bootstrap", ErrorKind::Failed, "no bootstrap nodes are configured, and no peer is connected").hinted(
        hint![
            "give a bootstrap node: ",
            Operation::Start.with(Setting::Bootstrap.to("ADDRESS")),
            ", or `bootstrap_nodes` in the configuration"
        ],
    )
}

fn bootstrap(configured: usize, connected: &[String], failed: &[FailedAddress]) -> Stage {
    let reasons = join(failed.iter().map(|failed| format!("{}: {}", failed.address, failed.reason)));
    let reached = configured - failed.len().min(configured);
    if !connected.is_empty() {
        let detail = format!("{reached} of {configured} nodes reached");
        return match failed.is_empty() {
            true => Stage::fine("bootstrap", detail),
            false => Stage::fine("bootstrap", format!("{detail}; {reasons}"))
                .hinted("take those that cannot be reached out of `bootstrap_nodes`"),
        };
    }
    let stage = Stage::failed(
        "bootstrap",
        ErrorKind::Failed,
        format!("none of {configured} nodes could be reached: {reasons}"),
    );
    if failed.iter().any(|failed| failed.reason.contains(ITSELF)) {
        return stage.hinted(hint![
            "take this node's own address out of `bootstrap_nodes`. If it is the address of another node, both have \
             the same key, as a copy of a home has: ",
            Operation::Stop,
            " one of them, remove `keys/node.key` from its home, and start it again with a key of its own"
        ]);
    }
    if let Some(hint) = failed.iter().find_map(|failed| failed.hint.clone()) {
        return stage.hinted(hint);
    }
    let is_other_peer = failed.iter().any(|failed| failed.reason.contains("the peer there is"));
    stage.hinted(match is_other_peer {
        true => {
            hint!["the node has another key now, or the address another node: ask its operator for `/p2p/<peer id>`"]
        }
        false => {
            hint![
                "check that they run, and that nothing between blocks the port; ",
                Operation::Config,
                " tells where the addresses come from"
            ]
        }
    })
}

/// Checks whether names can be looked up.
fn dht(snapshot: &Snapshot, topic: &str) -> Stage {
    let (ggen, ipfs) = (snapshot.ggen_routing_peers, snapshot.ipfs_routing_peers + snapshot.lan_routing_peers);
    if ggen > 0 {
        let mode = if snapshot.serves_ggen_dht { "server" } else { "client" };
        let detail = format!(
            "{} in the routing table, {ipfs} in those of the IPFS DHTs; this node is a {mode}",
            count(ggen as u64, "peer")
        );
        return Stage::fine("dht", detail);
    }
    let connected = count(snapshot.connected.len() as u64, "peer");
    let detail = format!("{connected} connected, and none serves the DHT of packages: no name can be found");
    Stage::failed("dht", ErrorKind::Failed, detail).hinted(match ipfs {
        0 => hint!["connect to a ggen node: ", Operation::Bootstrap.on("ADDRESS")],
        _ => hint![
            "connect to a ggen node: ",
            Operation::Bootstrap.on("ADDRESS"),
            format!(
                "; those of the network `{topic}` are looked for under {} on the IPFS DHT, so it may only take a minute",
                rendezvous_cid(topic)
            )
        ],
    })
}

/// A counted noun: `1 block`, `2 blocks`.
fn count(number: u64, noun: &str) -> String {
    if number == 1 { format!("1 {noun}") } else { format!("{number} {noun}s") }
}

/// A failed stage with the message, causes and hint of a failure.
fn stage_of(name: &str, failure: Failure) -> Stage {
    let detail = join(std::iter::once(failure.message).chain(failure.causes));
    Stage { hint: failure.hint, ..Stage::failed(name, failure.kind, detail) }
}

/// Joins the first [`MAX_REASONS`] reasons in one line, and counts the rest.
fn join(reasons: impl Iterator<Item = String>) -> String {
    let mut all: Vec<_> = reasons.collect();
    let more = all.len().saturating_sub(MAX_REASONS);
    all.truncate(MAX_REASONS);
    if more > 0 {
        all.push(format!("and {more} more"));
    }
    all.join("; ")
}

#[cfg(test)]
mod tests;
