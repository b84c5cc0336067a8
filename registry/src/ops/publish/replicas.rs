//! Replicas: peers that confirm to have every block of a release.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use futures::{StreamExt as _, stream};
use ggen_blockstore::{Blockstore, Cid};
use libp2p::PeerId;
use tokio::time::{Instant, timeout_at};

use crate::{
    ErrorKind, Failure, Operation, Progress, Reporter, Setting,
    error::hint,
    identity::Signed,
    manifest::ManifestReader,
    node::{Handle, MAX_PRESENCE_QUERY_CIDS},
    ops::{clock, failure, manifest_parts::part, storage::Storage},
    package::Release,
};

/// Peers queried at a time.
const PEERS_AT_ONCE: usize = 8;
/// Maximum number of peers queried in one round.
const MAX_PEERS: usize = 256;
/// Timeout for one response.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// Duration of the provider lookup in one round.
const SEARCH_FOR: Duration = Duration::from_secs(5);
/// Pause after a round; it doubles with each further one.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
/// Longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// What to wait for after a publish.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Replicas {
    /// Number of peers that must have all of the release; 0 to wait for none.
    pub(super) wanted: u32,
    /// Maximum time to wait.
    pub(super) patience: Duration,
}

/// Waits until enough peers have all of a release. Connected peers are queried first, then its providers. Returns
/// the number of replicas.
///
/// # Errors
/// [`ErrorKind::TimedOut`] if there are too few within `patience`.
pub(super) async fn wait_for_replicas(
    node: Option<&Handle>,
    storage: &Storage,
    release: &Signed<Release>,
    Replicas { wanted, patience }: Replicas,
    reporter: &dyn Reporter,
) -> Result<u64, Failure> {
    if wanted == 0 {
        return Ok(0);
    }
    let Some(node) = node else { return Ok(0) };
    let blocks = Arc::new(Blocks::of(storage, release).await?);
    let deadline = Instant::from(clock::after(patience));
    let mut whole = BTreeSet::new();
    let mut pause = FIRST_PAUSE;
    loop {
        let round = ask_around(node, &blocks, &mut whole, wanted as usize);
        let ended = timeout_at(deadline, round).await;
        let replicas = whole.len() as u64;
        reporter.report(Progress::Replicating { replicas, wanted: wanted.into() });
        if let Ok(outcome) = ended {
            outcome?;
        }
        if replicas >= u64::from(wanted) {
            return Ok(replicas);
        }
        if ended_at(deadline) {
            return Err(too_few(replicas, wanted, patience));
        }
        tokio::time::sleep_until((Instant::now() + pause).min(deadline)).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Queries connected peers and, if there are too few replicas, providers. Peers in `whole` are skipped.
async fn ask_around(
    node: &Handle,
    blocks: &Arc<Blocks>,
    whole: &mut BTreeSet<PeerId>,
    wanted: usize,
) -> Result<(), Failure> {
    let connected = node.snapshot().await.map_err(failure::stopped)?.connected;
    ask_all(node, blocks, connected, whole).await;
    if whole.len() >= wanted {
        return Ok(());
    }
    let mut found = node.find_providers(blocks.content.hash().to_bytes()).await.map_err(failure::stopped)?;
    let mut providers = Vec::new();
    let until = Instant::now() + SEARCH_FOR;
    while let Ok(Some(peer)) = timeout_at(until, found.recv()).await {
        providers.push(peer);
    }
    ask_all(node, blocks, providers, whole).await;
    Ok(())
}

fn ended_at(deadline: Instant) -> bool {
    Instant::now() >= deadline
}

async fn ask_all(node: &Handle, blocks: &Arc<Blocks>, peers: Vec<PeerId>, whole: &mut BTreeSet<PeerId>) {
    let peers: BTreeSet<_> = peers.into_iter().filter(|peer| !whole.contains(peer)).take(MAX_PEERS).collect();
    let ask = |peer: PeerId| async move { blocks.are_all_at(node, peer).await.then_some(peer) };
    let mut answers = stream::iter(peers).map(ask).buffer_unordered(PEERS_AT_ONCE);
    // Record each response at once, so that it counts even if the deadline ends the round.
    while let Some(answer) = answers.next().await {
        whole.extend(answer);
    }
}

/// The blocks that a replica must have.
struct Blocks {
    store: Arc<dyn Blockstore>,
    content: Cid,
    /// The release's record, its list of executables, the root of the manifest and its chunks.
    records: Vec<Cid>,
    manifest: ManifestReader,
}

impl Blocks {
    async fn of(storage: &Storage, release: &Signed<Release>) -> Result<Self, Failure> {
        let (cid, release) = (*release.cid(), release.record().clone());
        let store = storage.store.clone();
        storage
            .run(move || {
                let missing = || failure::store(ggen_blockstore::Error::NotFound { cid: release.manifest });
                let root = store.get(&release.manifest).map_err(failure::store)?.ok_or_else(missing)?;
                let manifest = release.read_manifest(&root).map_err(failure::verification)?;
                let mut records = vec![cid, release.manifest];
                records.extend(release.executables_block.iter().map(|block| *block.cid()));
                records.extend(manifest.chunks().iter().map(|chunk| chunk.link));
                Ok(Self { store, content: release.content, records, manifest })
            })
            .await
    }

    /// Returns whether the peer confirms to have every block.
    async fn are_all_at(self: &Arc<Self>, node: &Handle, peer: PeerId) -> bool {
        if !ask(node, peer, self.records.clone()).await {
            return false;
        }
        for index in 0..self.manifest.chunks().len() {
            let blocks = Arc::clone(self);
            let entries = tokio::task::spawn_blocking(move || part(&*blocks.store, &blocks.manifest, index)).await;
            let Ok(Ok(entries)) = entries else { return false };
            // The empty block is always known, and Kubo responds that it does not have it.
            let cids = entries.into_iter().filter(|entry| entry.size > 0).map(|entry| entry.cid).collect();
            if !ask(node, peer, cids).await {
                return false;
            }
        }
        true
    }
}

async fn ask(node: &Handle, peer: PeerId, cids: Vec<Cid>) -> bool {
    for cids in cids.chunks(MAX_PRESENCE_QUERY_CIDS) {
        let answer = tokio::time::timeout(ANSWER_WITHIN, node.has_all(peer, cids.to_vec())).await;
        if !matches!(answer, Ok(Ok(true))) {
            return false;
        }
    }
    true
}

fn too_few(replicas: u64, wanted: u32, patience: Duration) -> Failure {
    let message = format!("only {replicas} of {wanted} peers confirmed a full copy within {} s", patience.as_secs());
    Failure::new(ErrorKind::TimedOut, message).hinted(hint![
        "with ",
        Operation::Start.with(Setting::Daemon),
        ", run the same command again to go on waiting; a node with a ",
        Operation::MirrorAdd,
        " rule for the package fetches it by itself"
    ])
}
