//! Blocks that are wanted become blocks in the store: one session, many sources, one worker.
//!
//! ```text
//! peers -> session -> pump (async) -> worker (its own thread): writes batches, follows links, names the next wants
//!             ^---------------------------------'
//! ```
//! The worker owns what blocks the thread: the store, and the source that says what is wanted (`source`). The pump owns
//! what waits: the session, the search for providers, the deadline. On an operation's own thread a few blocks need no
//! worker: whoever waits for them writes them. Memory is bounded: at most [`OPEN_WANTS`] blocks are
//! wanted at a time, and at most [`QUEUED_BYTES`] of blocks wait to be written.

mod absence;
mod account;
mod network;
mod source;
mod worker;

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use futures::FutureExt as _;
use ggen_blockstore::{Block, Blockstore, Cid, Lease, MAX_BLOCK_BYTES};
use libp2p::PeerId;
use tokio::{
    sync::{Semaphore, mpsc},
    task::{JoinError, JoinHandle},
    time::Instant,
};

use self::{
    network::{Arrived, Network},
    source::{Dag, List, Source},
    worker::{Queued, WRITE_BATCH, Worker},
};
use super::{blocking_thread, clock};
use crate::{
    Fault, PeerBook, Progress, Reporter,
    node::{Handle, ListSource, Place, Stopped},
};

pub(crate) use self::{
    absence::{Absence, Subject},
    network::Entrance,
    source::{Want, Wants},
};

/// Blocks wanted at a time.
const OPEN_WANTS: usize = 8192;
/// Blocks for which another thread is not worth its while.
const FEW_BLOCKS: usize = 16;
/// Bytes of blocks that wait to be written.
const QUEUED_BYTES: usize = 8 << 20;
/// Most blocks of one DAG that is walked.
const MAX_DAG_BLOCKS: usize = ggen_blockstore::MAX_WALK_BLOCKS;

/// Why blocks could not be had.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DownloadError {
    #[error("{0}")]
    TimedOut(Box<Absence>),
    #[error("no peer is connected that could be asked")]
    NobodyConnected { subject: Option<Subject> },
    #[error(
        "a peer answered with a message of more than 4 MiB: a block of it is larger than the {MAX_BLOCK_BYTES} bytes that peers exchange"
    )]
    TooLong,
    #[error("{} missing from this store", if *missing == 1 { "1 block is".to_owned() } else { format!("{missing} blocks are") })]
    Offline { missing: usize },
    #[error("the DAG has more than {MAX_DAG_BLOCKS} blocks")]
    TooLarge,
    #[error("its block {cid} has {bytes} bytes; blocks of more than {MAX_BLOCK_BYTES} are not exchanged between peers")]
    BlockTooLarge { cid: Box<Cid>, bytes: u64 },
    #[error("its block {cid} cannot be verified")]
    Unverifiable { cid: Box<Cid>, source: ggen_blockstore::Error },
    #[error("it has more than the {limit} bytes that `limits.package_bytes` allows")]
    OverLimit { limit: u64 },
    #[error(transparent)]
    Store(#[from] ggen_blockstore::Error),
    #[error(transparent)]
    Manifest(#[from] crate::manifest::ManifestError),
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
    /// Peers of a lower reputation are not asked; 0 leaves nobody out.
    pub(crate) least_reputation: f64,
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
    limits: DownloadLimits,
    reporter: Arc<dyn Reporter>,
    totals: Totals,
    done: Downloaded,
    /// Releases of what is brought that may be here already, the nearest first.
    others: Vec<Cid>,
    /// The DHT was asked whose the name of it is.
    was_looked_up: bool,
    /// What came before it was wanted by name, with the list that names it.
    unasked: HashSet<Cid>,
    /// What is brought, if it has a name.
    subject: Option<Subject>,
    /// The list that wants have places in, once its root is here.
    described: Option<ListSource>,
    /// Providers that the caller named and that could not be reached, each with the reason.
    unreached: Vec<String>,
    _lease: Lease,
}

impl Download {
    /// A download that asks the node's peers, `providers` first.
    pub(crate) async fn online(
        node: Handle,
        store: Arc<dyn Blockstore>,
        peers: Arc<PeerBook>,
        providers: &[PeerId],
        limits: DownloadLimits,
        entrance: Entrance,
        reporter: Arc<dyn Reporter>,
    ) -> Result<Self, Stopped> {
        let least = limits.least_reputation;
        let network = Network::open(node, peers, providers, least, entrance, Arc::clone(&reporter)).await?;
        let network = Some(network);
        Ok(Self { network, ..Self::offline(store, limits, reporter) })
    }

    /// A download that has only the store.
    pub(crate) fn offline(store: Arc<dyn Blockstore>, limits: DownloadLimits, reporter: Arc<dyn Reporter>) -> Self {
        let lease = store.lease();
        let (totals, done) = (Totals::default(), Downloaded::default());
        let (others, unasked) = (Vec::new(), HashSet::new());
        Self {
            store,
            network: None,
            limits,
            reporter,
            totals,
            done,
            others,
            was_looked_up: false,
            unasked,
            subject: None,
            described: None,
            unreached: Vec::new(),
            _lease: lease,
        }
    }

    /// Providers are looked for under this CID too from now on, whenever the session wants more peers.
    pub(crate) fn search_under(&mut self, cid: &Cid) {
        if let Some(network) = &mut self.network {
            network.search_under(cid);
        }
    }

    /// Asks this peer, which is believed to have what is wanted, before providers are looked for.
    pub(crate) async fn ask_first(&mut self, peer: PeerId) -> Result<(), Stopped> {
        match &mut self.network {
            Some(network) => network.ask_first(peer).await,
            None => Ok(()),
        }
    }

    /// The DHT is asked whose the name of it is.
    pub(crate) fn on_lookup(&mut self) {
        self.was_looked_up = true;
    }

    /// Whether the DHT was asked whose the name of it is.
    pub(crate) fn was_looked_up(&self) -> bool {
        self.was_looked_up
    }

    /// Says what is retrieved, for the book of peers: its name for people, and, once it is certain whose package it is,
    /// its name there.
    pub(crate) fn about(&mut self, package: String, provision: Option<String>) {
        if let Some(network) = &mut self.network {
            network.account().about(package, provision);
        }
    }

    /// Says what is brought, for messages.
    pub(crate) fn name(&mut self, subject: Subject) {
        self.subject = Some(subject);
    }

    /// Blames a peer for something that was not about blocks.
    pub(crate) fn blame(&mut self, peer: PeerId, fault: Fault) {
        if let Some(network) = &mut self.network {
            network.account().fault(peer, fault);
        }
    }

    /// Names releases of what is brought that may be here already, the nearest first.
    pub(crate) fn compare_with(&mut self, others: Vec<Cid>) {
        self.others = others;
    }

    pub(crate) fn others(&self) -> &[Cid] {
        &self.others
    }

    /// Tells progress against these totals from now on.
    pub(crate) fn expect(&mut self, totals: Totals) {
        self.totals = totals;
    }

    /// At most so many bytes may come.
    pub(crate) fn limit_bytes(&mut self, bytes: u64) {
        self.limits.max_bytes = bytes;
    }

    /// Only the store is asked.
    pub(crate) fn is_offline(&self) -> bool {
        self.network.is_none()
    }

    /// How long nothing may come.
    pub(crate) fn patience(&self) -> Duration {
        self.limits.idle_timeout
    }

    /// Notes providers that the caller named and that could not be reached.
    pub(crate) fn lacks(&mut self, unreached: Vec<String>) {
        self.unreached = unreached;
    }

    /// Those providers, each with the reason.
    pub(crate) fn unreached(&self) -> &[String] {
        &self.unreached
    }

    /// What came so far.
    pub(crate) fn so_far(&self) -> &Downloaded {
        &self.done
    }

    /// Peers that were asked so far.
    pub(crate) fn peers_asked(&self) -> usize {
        self.network.as_ref().map_or(0, Network::peers_asked)
    }

    /// Brings a single block and returns its bytes.
    pub(crate) async fn block(&mut self, cid: Cid) -> Result<bytes::Bytes, DownloadError> {
        self.list(vec![(cid, None).into()]).await?;
        self.here(cid).await
    }

    /// Brings a list, all its own blocks together where a peer can send them so, and returns its root.
    pub(crate) async fn list_root(&mut self, source: ListSource) -> Result<bytes::Bytes, DownloadError> {
        let cid = source.list;
        if let Some(network) = &self.network {
            network.describe(source.clone()).await?;
        }
        self.list(vec![Want { cid, size: None, place: Some(Place::Own) }]).await?;
        self.described = Some(source);
        self.here(cid).await
    }

    /// Brings what the root of that list names. The root may have come alone, of a peer that was only asked whether it has
    /// it. Then the last part that is missing is asked for as the list was: with it come all of them, as short as they get.
    pub(crate) async fn list_parts(&mut self, parts: Vec<Want>) -> Result<(), DownloadError> {
        let (store, candidates) = (self.store.clone(), parts.clone());
        let last_missing = move || {
            let mut from_the_end = candidates.into_iter().rev();
            from_the_end.find_map(|want| store.has(&want.cid).map(|is_here| (!is_here).then_some(want)).transpose())
        };
        let missing = blocking_thread::blocking(last_missing).await.map_err(DownloadError::Worker)?;
        if let Some(last) = missing.transpose()? {
            if let (Some(network), Some(source)) = (&self.network, self.described.take_if(|source| source.whole)) {
                // All it names would come after this part, when nobody waits for it.
                network.describe(ListSource { whole: false, ..source }).await?;
            }
            self.list(vec![Want { place: Some(Place::Own), ..last }]).await?;
        }
        self.list(parts).await
    }

    async fn here(&self, cid: Cid) -> Result<bytes::Bytes, DownloadError> {
        let store = self.store.clone();
        let read = move || store.get(&cid)?.ok_or(ggen_blockstore::Error::NotFound { cid });
        Ok(blocking_thread::blocking(read).await.map_err(DownloadError::Worker)??)
    }

    /// Brings all the blocks of a short list.
    pub(crate) async fn list(&mut self, list: Vec<Want>) -> Result<(), DownloadError> {
        if blocking_thread::is_here() && list.len() <= FEW_BLOCKS {
            let mut source = List::new(std::iter::once(Ok(list)), self.unasked.clone());
            let missing = source.more(&*self.store)?.unwrap_or_default();
            self.done.reused += source.reused();
            return self.bring_few(missing).await;
        }
        self.lists(std::iter::once(Ok(list))).await
    }

    /// Brings a few blocks, and writes them on this thread, which may block.
    async fn bring_few(&mut self, missing: Vec<Want>) -> Result<(), DownloadError> {
        if missing.is_empty() {
            return Ok(());
        }
        let Some(network) = &mut self.network else {
            return Err(DownloadError::Offline { missing: missing.len() });
        };
        if !network.meets_somebody().await? {
            return Err(DownloadError::NobodyConnected { subject: self.subject.clone() });
        }
        let mut open: HashSet<_> = missing.iter().map(|want| want.cid).collect();
        network.want(missing).await?;
        let brought = self.write_few(&mut open).await;
        self.release(open, brought).await
    }

    async fn write_few(&mut self, open: &mut HashSet<Cid>) -> Result<(), DownloadError> {
        let mut deadline = Instant::from(clock::after(self.limits.idle_timeout));
        while let (false, Some(network)) = (open.is_empty(), &mut self.network) {
            let Some(first) = network.next(deadline).await? else { return Err(self.timed_out(open).await) };
            let (mut bytes, mut arrived) = (first.block.data().len(), vec![first]);
            // What came with it is written with it.
            while arrived.len() < WRITE_BATCH && bytes < QUEUED_BYTES {
                let Some(Ok(Some(more))) = network.next(deadline).now_or_never() else { break };
                bytes += more.block.data().len();
                arrived.push(more);
            }
            let mut counted = Ok(());
            for Arrived { block, from } in &arrived {
                counted = counted.and(self.count(block, *from));
                if self.on_arrived(block, open) {
                    deadline = Instant::from(clock::after(self.limits.idle_timeout));
                }
            }
            let blocks: Vec<_> = arrived.into_iter().map(|arrived| arrived.block).collect();
            self.store.put_many(&blocks)?;
            if let Some(network) = &self.network {
                network.node().new_blocks(blocks.iter().map(|block| *block.cid()).collect()).await?;
            }
            counted?;
        }
        Ok(())
    }

    /// Brings all the blocks of a long list, which is read a part at a time.
    pub(crate) async fn lists(&mut self, lists: impl Wants) -> Result<(), DownloadError> {
        self.bring(List::new(lists, self.unasked.clone())).await
    }

    /// Brings a DAG: every block reachable from `root`.
    pub(crate) async fn dag(&mut self, root: Cid) -> Result<(), DownloadError> {
        self.bring(Dag::new(root)).await
    }

    async fn bring(&mut self, source: impl Source) -> Result<(), DownloadError> {
        let node = self.network.as_ref().map(|network| network.node().clone());
        // At most OPEN_WANTS wants, and what follows from one batch, are ever in this channel.
        let (wants, wanted) = mpsc::unbounded_channel();
        let (blocks, arrived) = mpsc::channel(OPEN_WANTS);
        let worker = Worker::new(self.store.clone(), node, source, wants);
        let worker = tokio::task::spawn_blocking(move || worker.run(arrived));
        let mut open = HashSet::new();
        let pumped = self.pump(wanted, blocks, &mut open).await;
        let pumped = self.release(open, pumped).await;
        self.end(worker, pumped).await
    }

    /// Nobody waits for these any more: the session serves whatever is brought next.
    async fn release(&self, open: HashSet<Cid>, outcome: Result<(), DownloadError>) -> Result<(), DownloadError> {
        let cancelled = match &self.network {
            Some(network) => network.cancel(open.into_iter().collect()).await,
            None => Ok(()),
        };
        outcome.and(cancelled.map_err(Into::into))
    }

    /// What arrived is kept, however it ended; if the worker failed, that is the reason to tell.
    async fn end(
        &mut self,
        worker: JoinHandle<Result<u64, DownloadError>>,
        pumped: Result<(), DownloadError>,
    ) -> Result<(), DownloadError> {
        self.done.reused += worker.await.map_err(DownloadError::Worker)??;
        pumped
    }

    /// Carries wants to the session and blocks to the worker, until the worker has no more wants. `open` is what was
    /// wanted and has not come: a block that comes late, wanted by what was brought before and did not end well, counts
    /// for none of them.
    async fn pump(
        &mut self,
        mut wanted: mpsc::UnboundedReceiver<Vec<Want>>,
        blocks: mpsc::Sender<Queued>,
        open: &mut HashSet<Cid>,
    ) -> Result<(), DownloadError> {
        let room = Arc::new(Semaphore::new(QUEUED_BYTES));
        let mut deadline = Instant::from(clock::after(self.limits.idle_timeout));
        loop {
            let Some(network) = &mut self.network else {
                // Offline the worker sends wants only to say how many there are.
                let missing = wanted.recv().await.map_or(0, |wants| wants.len());
                return if missing == 0 { Ok(()) } else { Err(DownloadError::Offline { missing }) };
            };
            let arrived = tokio::select! {
                biased;
                wants = wanted.recv() => match wants {
                    Some(wants) => {
                        if !network.meets_somebody().await? {
                            return Err(DownloadError::NobodyConnected { subject: self.subject.clone() });
                        }
                        if open.is_empty() {
                            deadline = Instant::from(clock::after(self.limits.idle_timeout));
                        }
                        open.extend(wants.iter().map(|want| want.cid));
                        network.want(wants).await?;
                        continue;
                    }
                    None => return Ok(()),
                },
                arrived = network.next(deadline), if !open.is_empty() => arrived?,
            };
            let Some(Arrived { block, from }) = arrived else { return Err(self.timed_out(open).await) };
            let is_wanted = self.on_arrived(&block, open);
            // The block that is too many is kept like those before it: whoever raises the limit goes on behind it.
            let counted = self.count(&block, from);
            let bytes = (block.data().len() as u32).max(1);
            let permit = Arc::clone(&room).acquire_many_owned(bytes).await.expect("the semaphore is never closed");
            if blocks.send(Queued { block, permit }).await.is_err() {
                // The worker has ended: it says why.
                return Ok(());
            }
            counted?;
            if is_wanted {
                deadline = Instant::from(clock::after(self.limits.idle_timeout));
            }
        }
    }

    /// Says whether the block was wanted by name.
    fn on_arrived(&mut self, block: &Block, open: &mut HashSet<Cid>) -> bool {
        let is_wanted = open.remove(block.cid());
        if !is_wanted && self.unasked.len() < OPEN_WANTS {
            self.unasked.insert(*block.cid());
        }
        is_wanted
    }

    async fn timed_out(&self, open: &HashSet<Cid>) -> DownloadError {
        if self.network.as_ref().is_some_and(Network::met_too_long) {
            return DownloadError::TooLong;
        }
        let known = match &self.network {
            Some(network) => Box::pin(network.absence(self.subject.as_ref())).await,
            None => Absence::default(),
        };
        DownloadError::TimedOut(Box::new(Absence {
            waited: self.limits.idle_timeout,
            missing: open.len(),
            began: self.done.blocks > 0,
            subject: self.subject.clone(),
            ..known
        }))
    }

    fn count(&mut self, block: &Block, from: PeerId) -> Result<(), DownloadError> {
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
        match self.limits.max_bytes {
            limit if self.done.bytes > limit => Err(DownloadError::OverLimit { limit }),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
