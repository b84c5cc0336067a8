//! Downloads wanted blocks into the store: one session, many providers, one worker.
//!
//! ```text
//! peers -> session -> pump (async) -> steps (blocking): write a batch, follow links, yield the next wants
//!             ^---------------------------------'
//! ```
//! A step runs what blocks a thread: the store, and the source that yields the wants (`source`). The pump runs what
//! waits: the session, the provider lookups, the deadline. The steps of a short list run where those of the operation
//! do, all others on the pool, beside the pump. Memory is bounded: at most [`OPEN_WANTS`] blocks and one part of the
//! source are wanted at a time, and at most [`QUEUED_BYTES`] of blocks wait to be written.

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

use ggen_blockstore::{Block, Blockstore, Cid, Lease, MAX_BLOCK_BYTES};
use libp2p::PeerId;
use tokio::{task::JoinError, time::Instant};

use self::{
    network::{Arrived, Network},
    source::{Dag, List, Source},
    worker::{Found, Steps},
};
use super::{blocking_thread::Blocking, clock};
use crate::{
    FailedAddress, Fault, Progress, Reporter,
    node::{Handle, ListSource, Place, Stopped},
    peers::PeerBook,
};

pub(crate) use self::{
    absence::{Absence, Subject},
    network::Entrance,
    source::{Want, Wants},
};

/// Blocks wanted at a time.
const OPEN_WANTS: usize = 8192;
/// Number of blocks up to which an operation on its own thread writes them there.
const FEW_BLOCKS: usize = 16;
/// Bytes of blocks that wait to be written.
const QUEUED_BYTES: usize = 8 << 20;
/// Maximum number of blocks of a DAG that is walked.
const MAX_DAG_BLOCKS: usize = ggen_blockstore::MAX_WALK_BLOCKS;

/// Why a download failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DownloadError {
    #[error("{0}")]
    TimedOut(Box<Absence>),
    #[error("no peer is connected that could be asked")]
    NoPeerConnected { subject: Option<Subject>, denied: Option<PeerId> },
    #[error("{}", wrong_bytes(peers, cid, *missing))]
    WrongBytes { peers: Vec<PeerId>, cid: Box<Cid>, missing: usize },
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

/// Says which peers sent bytes that are not those of the missing blocks.
fn wrong_bytes(peers: &[PeerId], cid: &Cid, missing: usize) -> String {
    let names = peers.iter().map(PeerId::to_string).collect::<Vec<_>>().join(", ");
    let who = if peers.len() == 1 { format!("peer {names}") } else { format!("peers {names}") };
    let more = if missing > 1 { format!(" (one of {missing} missing blocks)") } else { String::new() };
    format!("{who} sent bytes that do not match {cid}{more}, and no other peer has it")
}

/// The blocks and bytes that a download has received.
#[derive(Clone, Debug, Default)]
pub(crate) struct Downloaded {
    pub(crate) blocks: u64,
    pub(crate) bytes: u64,
    pub(crate) reused: u64,
    pub(crate) sources: HashMap<PeerId, u64>,
}

/// The limits of a download.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DownloadLimits {
    /// It ends when no new block has arrived for this long.
    pub(crate) idle_timeout: Duration,
    /// It ends when more bytes than this have been received.
    pub(crate) max_bytes: u64,
    /// Peers with a lower reputation are not used; 0 excludes no peer.
    pub(crate) least_reputation: f64,
}

/// Totals that are known in advance, for progress.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Totals {
    pub(crate) blocks: Option<u64>,
    pub(crate) bytes: Option<u64>,
}

/// A block session with its store and limits. It holds a lease on the store, so the received blocks stay at least until
/// it is dropped.
pub(crate) struct Download {
    store: Arc<dyn Blockstore>,
    blocking: Blocking,
    network: Option<Network>,
    limits: DownloadLimits,
    reporter: Arc<dyn Reporter>,
    totals: Totals,
    done: Downloaded,
    /// Other releases of the same package that may be in the store, nearest first.
    others: Vec<Cid>,
    /// Whether the package name was looked up in the DHT.
    was_looked_up: bool,
    /// Blocks that arrived before they were wanted, together with the list that contains them.
    unasked: HashSet<Cid>,
    /// What is downloaded, if it has a name.
    subject: Option<Subject>,
    /// The list to which the positions of wants refer, once its root is in the store.
    described: Option<ListSource>,
    /// Providers that the caller named and that could not be reached.
    unreached: Vec<FailedAddress>,
    _lease: Lease,
}

impl Download {
    /// Creates a download that uses only the local store. Its short steps run where `blocking` says.
    pub(crate) fn offline(
        store: Arc<dyn Blockstore>,
        blocking: Blocking,
        limits: DownloadLimits,
        reporter: Arc<dyn Reporter>,
    ) -> Self {
        let lease = store.lease();
        let (totals, done) = (Totals::default(), Downloaded::default());
        let (others, unasked) = (Vec::new(), HashSet::new());
        Self {
            store,
            blocking,
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

    /// Makes the download use the node's peers, `providers` first.
    pub(crate) async fn with_peers(
        self,
        node: Handle,
        peers: Arc<PeerBook>,
        providers: &[PeerId],
        entrance: Entrance,
    ) -> Result<Self, Stopped> {
        let (least, reporter) = (self.limits.least_reputation, Arc::clone(&self.reporter));
        let network = Some(Network::open(node, peers, providers, least, entrance, reporter).await?);
        Ok(Self { network, ..self })
    }

    /// From now on, provider lookups also use this CID.
    pub(crate) fn search_under(&mut self, cid: &Cid) {
        if let Some(network) = &mut self.network {
            network.search_under(cid);
        }
    }

    /// Adds a likely provider, which is queried before the first provider lookup.
    pub(crate) async fn ask_first(&mut self, peer: PeerId) -> Result<(), Stopped> {
        match &mut self.network {
            Some(network) => network.ask_first(peer).await,
            None => Ok(()),
        }
    }

    /// Records that the package name is looked up in the DHT.
    pub(crate) fn on_lookup(&mut self) {
        self.was_looked_up = true;
    }

    /// Returns whether the package name was looked up in the DHT.
    pub(crate) fn was_looked_up(&self) -> bool {
        self.was_looked_up
    }

    /// Sets what is retrieved, for the peer book: its name for users and, once its publisher is verified, its name in
    /// the peer book.
    pub(crate) fn about(&mut self, package: String, provision: Option<String>) {
        if let Some(network) = &mut self.network {
            network.account().about(package, provision);
        }
    }

    /// Sets what is downloaded, for messages.
    pub(crate) fn name(&mut self, subject: Subject) {
        self.subject = Some(subject);
    }

    /// Records a fault of a peer that does not concern blocks.
    pub(crate) fn blame(&mut self, peer: PeerId, fault: Fault) {
        if let Some(network) = &mut self.network {
            network.account().fault(peer, fault);
        }
    }

    /// Sets the other releases of the same package that may be in the store, nearest first.
    pub(crate) fn compare_with(&mut self, others: Vec<Cid>) {
        self.others = others;
    }

    pub(crate) fn others(&self) -> &[Cid] {
        &self.others
    }

    /// From now on, reports progress against these totals.
    pub(crate) fn expect(&mut self, totals: Totals) {
        self.totals = totals;
    }

    /// Sets the maximum number of bytes to receive in total.
    pub(crate) fn limit_bytes(&mut self, bytes: u64) {
        self.limits.max_bytes = bytes;
    }

    /// Returns whether the download uses only the local store.
    pub(crate) fn is_offline(&self) -> bool {
        self.network.is_none()
    }

    /// How long nothing may come.
    pub(crate) fn patience(&self) -> Duration {
        self.limits.idle_timeout
    }

    /// Notes providers that the caller named and that could not be reached.
    pub(crate) fn lacks(&mut self, unreached: Vec<FailedAddress>) {
        self.unreached = unreached;
    }

    /// Those providers.
    pub(crate) fn unreached(&self) -> &[FailedAddress] {
        &self.unreached
    }

    /// What came so far.
    pub(crate) fn so_far(&self) -> &Downloaded {
        &self.done
    }

    /// Returns the number of peers queried so far.
    pub(crate) fn peers_asked(&self) -> usize {
        self.network.as_ref().map_or(0, Network::peers_asked)
    }

    /// Fetches a single block and returns its bytes.
    pub(crate) async fn block(&mut self, cid: Cid) -> Result<bytes::Bytes, DownloadError> {
        self.list(vec![(cid, None).into()]).await?;
        self.here(cid).await
    }

    /// Fetches the root of a list and returns its bytes. A peer that supports it sends all blocks of the list in one
    /// response.
    pub(crate) async fn list_root(&mut self, source: ListSource) -> Result<bytes::Bytes, DownloadError> {
        let cid = source.list;
        if let Some(network) = &self.network {
            network.describe(source.clone()).await?;
        }
        self.list(vec![Want { cid, size: None, place: Some(Place::Own) }]).await?;
        self.described = Some(source);
        self.here(cid).await
    }

    /// Fetches the parts that the root of that list names. The root may have arrived alone, in the response to a
    /// want-have. Then the last missing part is requested as the list was, so that one compressed response contains all
    /// parts.
    pub(crate) async fn list_parts(&mut self, parts: Vec<Want>) -> Result<(), DownloadError> {
        let (store, candidates) = (self.store.clone(), parts.clone());
        let last_missing = move || {
            let mut from_the_end = candidates.into_iter().rev();
            from_the_end.find_map(|want| store.has(&want.cid).map(|is_here| (!is_here).then_some(want)).transpose())
        };
        let missing = self.blocking.step(last_missing).await.map_err(DownloadError::Worker)?;
        if let Some(last) = missing.transpose()? {
            if let (Some(network), Some(source)) = (&self.network, self.described.take_if(|source| source.whole)) {
                // With `whole`, the content would follow this part, when it is no longer awaited.
                network.describe(ListSource { whole: false, ..source }).await?;
            }
            self.list(vec![Want { place: Some(Place::Own), ..last }]).await?;
        }
        self.list(parts).await
    }

    async fn here(&self, cid: Cid) -> Result<bytes::Bytes, DownloadError> {
        let store = self.store.clone();
        let read = move || store.get(&cid)?.ok_or(ggen_blockstore::Error::NotFound { cid });
        Ok(self.blocking.step(read).await.map_err(DownloadError::Worker)??)
    }

    /// Fetches all blocks of a list.
    pub(crate) async fn list(&mut self, list: Vec<Want>) -> Result<(), DownloadError> {
        // Writing many blocks takes long, and they are received meanwhile.
        let blocking = if list.len() <= FEW_BLOCKS { self.blocking } else { Blocking::Pool };
        self.bring(List::new(std::iter::once(Ok(list)), self.unasked.clone()), blocking).await
    }

    /// Fetches all blocks of a long list, which is read in parts.
    pub(crate) async fn lists(&mut self, lists: impl Wants) -> Result<(), DownloadError> {
        self.bring(List::new(lists, self.unasked.clone()), Blocking::Pool).await
    }

    /// Fetches a DAG: every block reachable from `root`.
    pub(crate) async fn dag(&mut self, root: Cid) -> Result<(), DownloadError> {
        self.bring(Dag::new(root), Blocking::Pool).await
    }

    /// Fetches all blocks of a source. What has arrived is written in any case. An error of writing takes precedence
    /// over one of receiving.
    async fn bring(&mut self, source: impl Source, blocking: Blocking) -> Result<(), DownloadError> {
        let mut steps = Steps::new(self.store.clone(), source, blocking);
        let mut open = HashSet::new();
        let mut outcome = self.pump(&mut steps, &mut open).await;
        while steps.can_write() || steps.are_running() {
            steps.start();
            match steps.next().await {
                Ok(found) => self.on_written(&found).await?,
                Err(error) => outcome = Err(error),
            }
        }
        // The session is used for the next download.
        let cancelled = match &self.network {
            Some(network) => network.cancel(open.into_iter().collect()).await,
            None => Ok(()),
        };
        outcome.and(cancelled.map_err(Into::into))
    }

    /// Passes wants from the steps to the session, and blocks back, until every wanted block is written. `open` holds
    /// the wants that have not arrived. A late block that an earlier, failed download wanted is not in `open`.
    async fn pump(&mut self, steps: &mut Steps, open: &mut HashSet<Cid>) -> Result<(), DownloadError> {
        let mut deadline = self.deadline();
        while !steps.are_done() {
            if steps.are_due() {
                steps.start();
            }
            let receives = !open.is_empty() && steps.have_room();
            tokio::select! {
                biased;
                found = steps.next(), if steps.are_running() => {
                    let found = found?;
                    self.on_written(&found).await?;
                    if !found.wants.is_empty() {
                        if open.is_empty() {
                            deadline = self.deadline();
                        }
                        self.want(found.wants, open).await?;
                    }
                }
                arrived = receive(&mut self.network, deadline), if receives => {
                    let Some(Arrived { block, from }) = arrived? else { return Err(self.timed_out(open).await) };
                    if self.on_arrived(&block, open) {
                        deadline = self.deadline();
                    }
                    // The block that exceeds the limit is kept too, so that a download with a higher limit continues
                    // after it.
                    let counted = self.count(&block, from);
                    steps.push(block);
                    counted?;
                }
                () = std::future::ready(()), if steps.can_write() => steps.start(),
                else => return Ok(()),
            }
        }
        Ok(())
    }

    fn deadline(&self) -> Instant {
        Instant::from(clock::after(self.limits.idle_timeout))
    }

    /// Requests wants from the session.
    async fn want(&mut self, wants: Vec<Want>, open: &mut HashSet<Cid>) -> Result<(), DownloadError> {
        let Some(network) = &mut self.network else {
            return Err(DownloadError::Offline { missing: wants.len() });
        };
        if !network.waits_for_peer().await? {
            return Err(DownloadError::NoPeerConnected {
                subject: self.subject.clone(),
                denied: network.first_denied(),
            });
        }
        open.extend(wants.iter().map(|want| want.cid));
        Ok(network.want(wants).await?)
    }

    /// Counts the blocks that were in the store, and notifies peers that wait for those which are there now.
    async fn on_written(&mut self, found: &Found) -> Result<(), DownloadError> {
        self.done.reused += found.reused;
        match &self.network {
            Some(network) if !found.written.is_empty() => Ok(network.node().new_blocks(found.written.clone()).await?),
            _ => Ok(()),
        }
    }

    /// Records an arrived block. Returns whether it was wanted.
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
        if let (Some(cid), [_, ..]) = (open.iter().min(), known.liars()) {
            return DownloadError::WrongBytes { peers: known.wrong, cid: Box::new(*cid), missing: open.len() };
        }
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

/// Returns the next block of the session; `None` at the deadline.
async fn receive(network: &mut Option<Network>, deadline: Instant) -> Result<Option<Arrived>, DownloadError> {
    match network {
        Some(network) => network.next(deadline).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests;
