//! Blocks that are wanted become blocks in the store: one session, many sources, one writer.
//!
//! Two ways to want: a known list (the blocks of a manifest, all at once) or a DAG of which only the root is known, whose
//! links are wanted as the blocks that name them arrive. Blocks that are here already are neither asked for nor read
//! again, except to follow their links.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use ggen_blockstore::{Block, Blockstore, Cid, Lease, links, may_have_links};
use libp2p::PeerId;
use tokio::{
    sync::mpsc,
    task::{JoinError, JoinHandle},
    time::Instant,
};

use crate::{
    Progress, Reporter,
    node::{Handle, Session, SessionEvent, Stopped},
};

/// Blocks on their way from the network to the writer.
const WRITE_QUEUE: usize = 64;
/// Most blocks written at once.
const WRITE_BATCH: usize = 256;
/// Most blocks of one DAG: more is refused, a walk's memory is bounded.
const MAX_DAG_BLOCKS: usize = 16 << 20;
/// Pause before providers are looked for again; it doubles up to [`LONGEST_SEARCH_PAUSE`].
const FIRST_SEARCH_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_SEARCH_PAUSE: Duration = Duration::from_secs(30);

/// Why blocks could not be had.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DownloadError {
    #[error("no new block came for {} s; {missing} are missing, {peers_asked} peers were asked", waited.as_secs())]
    TimedOut { waited: Duration, missing: usize, peers_asked: usize },
    #[error("{missing} blocks are not here, and the network may not be used")]
    Offline { missing: usize },
    #[error("the DAG has more than {MAX_DAG_BLOCKS} blocks")]
    TooLarge,
    #[error("it has more than the {limit} bytes that `limits.package_bytes` allows")]
    OverLimit { limit: u64 },
    #[error(transparent)]
    Store(#[from] ggen_blockstore::Error),
    #[error(transparent)]
    Stopped(#[from] Stopped),
    #[error("a worker of the download died")]
    Worker(#[source] JoinError),
}

/// What a download brought.
#[derive(Clone, Debug, Default)]
pub(crate) struct Downloaded {
    pub(crate) blocks: u64,
    pub(crate) bytes: u64,
    pub(crate) reused: u64,
    pub(crate) sources: HashMap<PeerId, u64>,
}

/// What a download may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DownloadLimits {
    /// It ends when no new block has come for so long.
    pub(crate) idle_timeout: Duration,
    /// It ends when more bytes than this have come.
    pub(crate) max_bytes: u64,
}

/// Totals that are known beforehand, for progress.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Totals {
    pub(crate) blocks: Option<u64>,
    pub(crate) bytes: Option<u64>,
}

/// A block session with what it needs around it. Holds a lease on the store: what it brought stays at least until it
/// is dropped.
pub(crate) struct Download {
    store: Arc<dyn Blockstore>,
    network: Option<Network>,
    idle_timeout: Duration,
    max_bytes: u64,
    reporter: Arc<dyn Reporter>,
    totals: Totals,
    done: Downloaded,
    _lease: Lease,
}

/// The side of a download that asks peers.
struct Network {
    node: Handle,
    session: Session,
    search_keys: Vec<Vec<u8>>,
    searching: Option<mpsc::Receiver<PeerId>>,
    next_search: Instant,
    search_pause: Duration,
    asked: HashSet<PeerId>,
}

impl Download {
    /// A download that asks the node's peers, `providers` first.
    pub(crate) async fn online(
        node: Handle,
        store: Arc<dyn Blockstore>,
        providers: &[PeerId],
        limits: DownloadLimits,
        reporter: Arc<dyn Reporter>,
    ) -> Result<Self, Stopped> {
        let session = node.open_session().await?;
        let mut asked: HashSet<_> = node.snapshot().await?.connected.into_iter().collect();
        for peer in providers {
            session.add_peer(*peer).await?;
            asked.insert(*peer);
        }
        let network = Network {
            node,
            session,
            search_keys: Vec::new(),
            searching: None,
            next_search: Instant::now(),
            search_pause: FIRST_SEARCH_PAUSE,
            asked,
        };
        Ok(Self { network: Some(network), ..Self::offline(store, limits, reporter) })
    }

    /// A download that has only the store.
    pub(crate) fn offline(store: Arc<dyn Blockstore>, limits: DownloadLimits, reporter: Arc<dyn Reporter>) -> Self {
        let DownloadLimits { idle_timeout, max_bytes } = limits;
        let lease = store.lease();
        let (totals, done) = (Totals::default(), Downloaded::default());
        Self { store, network: None, idle_timeout, max_bytes, reporter, totals, done, _lease: lease }
    }

    /// Providers are looked for under this CID from now on, whenever the session wants more peers.
    pub(crate) fn search_under(&mut self, cid: &Cid) {
        if let Some(network) = &mut self.network {
            network.search_keys.push(cid.hash().to_bytes());
            network.next_search = Instant::now();
            network.search_pause = FIRST_SEARCH_PAUSE;
        }
    }

    /// Tells progress against these totals from now on.
    pub(crate) fn expect(&mut self, totals: Totals) {
        self.totals = totals;
    }

    /// Only the store is asked.
    pub(crate) fn is_offline(&self) -> bool {
        self.network.is_none()
    }

    /// What came so far.
    pub(crate) fn so_far(&self) -> &Downloaded {
        &self.done
    }

    /// Peers that were asked so far.
    pub(crate) fn peers_asked(&self) -> usize {
        self.network.as_ref().map_or(0, |network| network.asked.len())
    }

    /// Brings a single block and returns its bytes.
    pub(crate) async fn block(&mut self, cid: Cid) -> Result<bytes::Bytes, DownloadError> {
        self.all(vec![(cid, None)]).await?;
        self.store.get(&cid)?.ok_or(ggen_blockstore::Error::NotFound { cid }.into())
    }

    /// Brings all the blocks of a list. Sizes, where known, let the session fill its windows in bytes.
    pub(crate) async fn all(&mut self, list: Vec<(Cid, Option<u64>)>) -> Result<(), DownloadError> {
        let store = self.store.clone();
        let total = list.len();
        let missing = blocking(move || missing_of(&*store, list)).await?;
        self.done.reused += (total - missing.len()) as u64;
        self.bring(missing, |_| Ok(Vec::new())).await
    }

    /// Brings a DAG: every block reachable from `root`.
    pub(crate) async fn dag(&mut self, root: Cid) -> Result<(), DownloadError> {
        let mut walk = Walk { seen: HashSet::new(), reused: 0 };
        let store = self.store.clone();
        let (missing, walk_back) = blocking(move || {
            let missing = walk.expand(&*store, vec![root])?;
            Ok((missing, walk))
        })
        .await?;
        walk = walk_back;
        let store = self.store.clone();
        let unsized_list = |cids: Vec<Cid>| cids.into_iter().map(|cid| (cid, None)).collect::<Vec<_>>();
        let outcome = self
            .bring(unsized_list(missing), |block| {
                let below = links(block.cid(), block.data())?;
                Ok(unsized_list(walk.expand(&*store, below)?))
            })
            .await;
        self.done.reused += walk.reused;
        outcome
    }

    /// The loop: wants go out, blocks come in and name further wants, until none is open.
    async fn bring(
        &mut self,
        wants: Vec<(Cid, Option<u64>)>,
        follow: impl FnMut(&Block) -> Result<Vec<(Cid, Option<u64>)>, DownloadError>,
    ) -> Result<(), DownloadError> {
        if wants.is_empty() {
            return Ok(());
        }
        let Some(network) = &mut self.network else { return Err(DownloadError::Offline { missing: wants.len() }) };
        let (writer, written) = spawn_writer(self.store.clone(), network.node.clone());
        let outcome = self.receive_all(wants, follow, &writer).await;
        drop(writer);
        // What arrived is kept, however it ended; if writing failed, that is the reason to tell.
        written.await.map_err(DownloadError::Worker)??;
        outcome
    }

    async fn receive_all(
        &mut self,
        wants: Vec<(Cid, Option<u64>)>,
        mut follow: impl FnMut(&Block) -> Result<Vec<(Cid, Option<u64>)>, DownloadError>,
        writer: &mpsc::Sender<Block>,
    ) -> Result<(), DownloadError> {
        let network = self.network.as_mut().expect("the caller has checked");
        let mut open: HashSet<_> = wants.iter().map(|(cid, _)| *cid.hash()).collect();
        network.session.want(wants).await?;
        let mut deadline = Instant::now() + self.idle_timeout;
        while !open.is_empty() {
            let network = self.network.as_mut().expect("the caller has checked");
            let Some(Arrived { block, from }) = network.next(deadline).await? else {
                let (waited, missing, peers_asked) = (self.idle_timeout, open.len(), network.asked.len());
                return Err(DownloadError::TimedOut { waited, missing, peers_asked });
            };
            if !open.remove(block.cid().hash()) {
                continue;
            }
            deadline = Instant::now() + self.idle_timeout;
            let more = follow(&block)?;
            open.extend(more.iter().map(|(cid, _)| *cid.hash()));
            if !more.is_empty() {
                network.session.want(more).await?;
            }
            self.count(&block, from);
            if self.done.bytes > self.max_bytes {
                return Err(DownloadError::OverLimit { limit: self.max_bytes });
            }
            if writer.send(block).await.is_err() {
                // The writer ended early: its own error says why.
                return Ok(());
            }
        }
        Ok(())
    }

    fn count(&mut self, block: &Block, from: PeerId) {
        let bytes = block.data().len() as u64;
        self.done.blocks += 1;
        self.done.bytes += bytes;
        *self.done.sources.entry(from).or_default() += bytes;
        self.reporter.report(Progress::Fetching {
            blocks: self.done.blocks + self.done.reused,
            total_blocks: self.totals.blocks,
            bytes: self.done.bytes,
            total_bytes: self.totals.bytes,
            providers: self.done.sources.len() as u64,
        });
    }
}

/// A block from a peer.
struct Arrived {
    block: Block,
    from: PeerId,
}

impl Network {
    /// The next block, `None` at the deadline. Looks for providers while it waits. Cancel-safe.
    async fn next(&mut self, deadline: Instant) -> Result<Option<Arrived>, Stopped> {
        loop {
            tokio::select! {
                event = self.session.next() => match event? {
                    SessionEvent::Block { block, from } => return Ok(Some(Arrived { block, from })),
                    SessionEvent::NeedPeers { .. } => self.next_search = self.next_search.min(Instant::now() + self.search_pause),
                    SessionEvent::PeerDropped { peer, reason } => {
                        tracing::info!(target: "ggen_marketplace::backend::p2p", %peer, ?reason, "source dropped");
                    }
                },
                found = receive(&mut self.searching) => match found {
                    Some(peer) => {
                        self.asked.insert(peer);
                        self.session.add_peer(peer).await?;
                    }
                    None => {
                        self.searching = None;
                        self.next_search = Instant::now() + self.search_pause;
                        self.search_pause = (self.search_pause * 2).min(LONGEST_SEARCH_PAUSE);
                    }
                },
                () = tokio::time::sleep_until(self.next_search), if self.may_search() => self.search().await?,
                () = tokio::time::sleep_until(deadline) => return Ok(None),
            }
        }
    }

    fn may_search(&self) -> bool {
        self.searching.is_none() && !self.search_keys.is_empty()
    }

    async fn search(&mut self) -> Result<(), Stopped> {
        let (found, receiver) = mpsc::channel(WRITE_QUEUE);
        for key in &self.search_keys {
            let mut providers = self.node.find_providers(key.clone()).await?;
            let found = found.clone();
            tokio::spawn(async move {
                while let Some(peer) = providers.recv().await {
                    if found.send(peer).await.is_err() {
                        return;
                    }
                }
            });
        }
        self.searching = Some(receiver);
        Ok(())
    }
}

async fn receive(channel: &mut Option<mpsc::Receiver<PeerId>>) -> Option<PeerId> {
    match channel {
        Some(receiver) => receiver.recv().await,
        None => std::future::pending().await,
    }
}

/// A walk over a DAG of which parts are here.
struct Walk {
    seen: HashSet<Cid>,
    reused: u64,
}

impl Walk {
    /// Follows `cids` through the blocks that are here and returns those that are not.
    fn expand(&mut self, store: &dyn Blockstore, cids: Vec<Cid>) -> Result<Vec<Cid>, DownloadError> {
        let mut missing = Vec::new();
        let mut frontier = cids;
        while !frontier.is_empty() {
            frontier.retain(|cid| self.seen.insert(*cid));
            if self.seen.len() > MAX_DAG_BLOCKS {
                return Err(DownloadError::TooLarge);
            }
            let here = present(store, &frontier)?;
            let mut next = Vec::new();
            for (cid, is_here) in frontier.drain(..).zip(here) {
                if !is_here {
                    missing.push(cid);
                    continue;
                }
                self.reused += 1;
                if may_have_links(&cid)
                    && let Some(data) = store.get(&cid)?
                {
                    next.extend(links(&cid, &data)?);
                }
            }
            frontier = next;
        }
        Ok(missing)
    }
}

fn missing_of(store: &dyn Blockstore, list: Vec<(Cid, Option<u64>)>) -> Result<Vec<(Cid, Option<u64>)>, DownloadError> {
    let cids: Vec<_> = list.iter().map(|(cid, _)| *cid).collect();
    let here = present(store, &cids)?;
    Ok(list.into_iter().zip(here).filter(|(_, here)| !here).map(|(want, _)| want).collect())
}

/// Which blocks are here. The empty block always is: everybody knows what is in it, and Kubo cannot serve it (boxo takes
/// a block of no bytes for a missing one).
fn present(store: &dyn Blockstore, cids: &[Cid]) -> Result<Vec<bool>, ggen_blockstore::Error> {
    let mut here = store.retain(cids)?;
    for (cid, here) in cids.iter().zip(&mut here).filter(|(_, here)| !**here) {
        if let Ok(empty) = Block::verify(*cid, bytes::Bytes::new()) {
            store.put(&empty)?;
            *here = true;
        }
    }
    Ok(here)
}

/// Writes what arrives in batches, off the reactor, and wakes peers that wait for it.
fn spawn_writer(
    store: Arc<dyn Blockstore>,
    node: Handle,
) -> (mpsc::Sender<Block>, JoinHandle<Result<(), ggen_blockstore::Error>>) {
    let (sender, mut receiver) = mpsc::channel(WRITE_QUEUE);
    let task = tokio::task::spawn_blocking(move || {
        let mut batch = Vec::with_capacity(WRITE_BATCH);
        while receiver.blocking_recv_many(&mut batch, WRITE_BATCH) > 0 {
            store.put_many(&batch)?;
            node.new_blocks_blocking(batch.iter().map(|block| *block.cid()).collect());
            batch.clear();
        }
        Ok(())
    });
    (sender, task)
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, DownloadError> + Send + 'static,
) -> Result<T, DownloadError> {
    tokio::task::spawn_blocking(work).await.map_err(DownloadError::Worker)?
}
