//! The network side of a download: the session, and the lookup of further providers.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use futures::{StreamExt as _, stream::FuturesUnordered};
use ggen_blockstore::{Block, Cid};
use libp2p::{Multiaddr, PeerId};
use tokio::{sync::mpsc, time::Instant};

use super::{
    DownloadError, Want,
    absence::{Absence, LostPeer, Subject},
    account::Account,
};
use crate::{
    Listing, Progress, Reporter,
    identity::Timestamp,
    node::{DropReason, Handle, ListSource, Session, SessionEvent, Stopped},
    ops::{blocking_thread::Blocking, clock},
    peers::PeerBook,
};

/// Pause before the next provider lookup; it doubles up to [`LONGEST_SEARCH_PAUSE`].
const FIRST_SEARCH_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_SEARCH_PAUSE: Duration = Duration::from_secs(30);
/// Delay of the provider lookup in the DHT if a likely provider is connected. Most packages are small and arrive before
/// it elapses, so they need no lookup.
const HEAD_START: Duration = Duration::from_millis(250);
/// Capacity of the queue of found providers.
const FOUND_QUEUE: usize = 64;
/// How long to wait for peers of the local network, if mDNS is used.
const NEIGHBOURS_WITHIN: Duration = Duration::from_secs(1);

/// How a node without connections may find a peer.
#[derive(Clone, Debug, Default)]
pub(crate) struct Entrance {
    /// Bootstrap nodes.
    pub(crate) nodes: Vec<Multiaddr>,
    /// Timeout for each bootstrap node.
    pub(crate) within: Duration,
    /// Whether the node discovers peers of the local network.
    pub(crate) neighbours: bool,
}

/// A provider whose connection was lost.
#[derive(Debug)]
struct Lost {
    since: Instant,
    /// Why the last attempt to redial it failed.
    reason: Option<String>,
}

/// A session and its provider lookups.
pub(super) struct Network {
    node: Handle,
    session: Session,
    search_keys: Vec<Vec<u8>>,
    searching: Option<mpsc::Receiver<PeerId>>,
    next_search: Instant,
    search_pause: Duration,
    asked: HashSet<PeerId>,
    has_source: bool,
    /// Peers with a lower reputation are not used.
    least_reputation: f64,
    peers: Arc<PeerBook>,
    account: Account,
    reporter: Arc<dyn Reporter>,
    /// Whether the caller named peers.
    named: bool,
    lost: HashMap<PeerId, Lost>,
    /// How to find a first peer; `None` once there is one.
    entrance: Option<Entrance>,
    /// Whether a peer has sent a message above the size limit.
    too_long: bool,
}

/// A block from a peer.
pub(super) struct Arrived {
    pub(super) block: Block,
    pub(super) from: PeerId,
}

impl Network {
    pub(super) async fn open(
        node: Handle,
        peers: Arc<PeerBook>,
        providers: &[PeerId],
        least_reputation: f64,
        entrance: Entrance,
        reporter: Arc<dyn Reporter>,
    ) -> Result<Self, Stopped> {
        let (session, connected) = Session::open(&node, least_reputation).await?;
        let mut asked: HashSet<_> = connected.into_iter().collect();
        for peer in providers {
            session.keep_to(*peer).await?;
            asked.insert(*peer);
        }
        let next_search = Instant::now();
        let (search_keys, searching, search_pause) = (Vec::new(), None, FIRST_SEARCH_PAUSE);
        let (account, has_source) = (Account::new(Arc::clone(&peers)), !providers.is_empty());
        Ok(Self {
            node,
            session,
            search_keys,
            searching,
            next_search,
            search_pause,
            asked,
            has_source,
            least_reputation,
            peers,
            account,
            reporter,
            named: has_source,
            lost: HashMap::new(),
            entrance: Some(entrance),
            too_long: false,
        })
    }

    /// Adds a likely provider to the session, which is queried before the first provider lookup.
    pub(super) async fn ask_first(&mut self, peer: PeerId) -> Result<(), Stopped> {
        if self.peers.reputation(&peer) < self.least_reputation {
            return Ok(());
        }
        // A peer that is not connected may be unreachable: it does not delay the lookup.
        self.has_source |= !self.asked.insert(peer);
        self.session.add_peer(peer).await
    }

    pub(super) fn node(&self) -> &Handle {
        &self.node
    }

    pub(super) fn account(&mut self) -> &mut Account {
        &mut self.account
    }

    pub(super) fn peers_asked(&self) -> usize {
        self.asked.iter().filter(|peer| self.peers.reputation(peer) >= self.least_reputation).count()
    }

    /// Waits, until it has succeeded once, for a connection to a peer: through bootstrap nodes and the local network,
    /// if none is connected. Returns whether there is one.
    pub(super) async fn waits_for_peer(&mut self) -> Result<bool, Stopped> {
        let Some(entrance) = self.entrance.take() else { return Ok(true) };
        // The future is large and rarely used. Boxed, it does not enlarge the future that waits for every block.
        let meets = Box::pin(self.enter(&entrance)).await?;
        if !meets {
            // A later call tries again.
            self.entrance = Some(entrance);
        }
        Ok(meets)
    }

    async fn enter(&self, entrance: &Entrance) -> Result<bool, Stopped> {
        let Entrance { nodes, within, neighbours } = entrance;
        if !self.node.snapshot().await?.connected.is_empty() {
            return Ok(true);
        }
        self.reporter.report(Progress::FindingProviders { peers_asked: 0 });
        let dial = |node: &Multiaddr| tokio::time::timeout(*within, self.node.connect(node.clone()));
        let mut dials: FuturesUnordered<_> = nodes.iter().map(dial).collect();
        let all_failed = async {
            while let Some(dialled) = dials.next().await {
                if matches!(dialled, Ok(Ok(_))) {
                    return;
                }
            }
            if *neighbours {
                tokio::time::sleep(NEIGHBOURS_WITHIN).await;
            }
        };
        tokio::select! {
            biased;
            met = self.node.meet() => met.map(|()| true),
            () = all_failed => Ok(!self.node.snapshot().await?.connected.is_empty()),
        }
    }

    /// Returns what is known of why blocks of `subject` do not arrive.
    pub(super) async fn absence(&self, subject: Option<&Subject>) -> Absence {
        let wrong = self.account.wrong();
        // The connection to a peer that sends wrong bytes is closed.
        let lost = self.lost.iter().filter(|(peer, _)| !wrong.contains(peer));
        let lost = lost.map(|(peer, Lost { since, reason })| LostPeer {
            peer: *peer,
            ago: since.elapsed(),
            reason: reason.clone(),
        });
        let provision = subject.and_then(|subject| subject.provision.clone());
        Absence {
            peers_asked: self.peers_asked(),
            silent: self.account.silent(),
            named: self.named,
            lost: lost.collect(),
            denied: self.denied(provision.clone()).await,
            wrong,
            last_seen: match provision {
                Some(provision) => self.last_seen(provision).await,
                None => None,
            },
            now: clock::now(),
            ..Absence::default()
        }
    }

    /// Returns one of the peers that the user denies, if there are any.
    pub(super) fn first_denied(&self) -> Option<PeerId> {
        self.peers.listed(Listing::Denied).first().copied()
    }

    /// Returns the denied peers that have the package as far as known; if none is known to have it, all that are denied.
    async fn denied(&self, provision: Option<String>) -> Vec<PeerId> {
        let denied = self.peers.listed(Listing::Denied);
        if denied.is_empty() {
            return denied;
        }
        let book = Arc::clone(&self.peers);
        let look =
            move || book.providers_of(provision.as_slice()).unwrap_or_default().into_values().flatten().collect();
        let known: Vec<PeerId> = Blocking::Pool.step(look).await.unwrap_or_default();
        let has_it = |peer: &&PeerId| known.contains(peer) || self.asked.contains(peer);
        let having: Vec<_> = denied.iter().filter(has_it).copied().collect();
        if having.is_empty() { denied } else { having }
    }

    /// Returns the most recently seen of the known but disconnected providers of a package. An error of the peer book
    /// is ignored: the message then has less detail.
    async fn last_seen(&self, provision: String) -> Option<(PeerId, Timestamp)> {
        let connected = self.node.snapshot().await.ok()?.connected;
        let book = Arc::clone(&self.peers);
        let look = move || {
            let known = book.providers_of(&[provision]).ok()?.into_values().flatten();
            let gone = known.filter(|peer| !connected.contains(peer)).filter_map(|peer| book.get(&peer));
            gone.map(|record| (record.peer, record.last_seen)).max_by_key(|(_, seen)| *seen)
        };
        Blocking::Pool.step(look).await.ok().flatten()
    }

    pub(super) fn search_under(&mut self, cid: &Cid) {
        let key = cid.hash().to_bytes();
        if !self.search_keys.contains(&key) {
            self.search_keys.push(key);
            self.next_search = Instant::now() + if self.has_source { HEAD_START } else { Duration::ZERO };
            self.search_pause = FIRST_SEARCH_PAUSE;
        }
    }

    /// Sets the list to which the positions of later wants refer.
    pub(super) async fn describe(&self, list: ListSource) -> Result<(), Stopped> {
        self.session.describe(list).await
    }

    pub(super) async fn want(&self, wants: Vec<Want>) -> Result<(), Stopped> {
        self.session.want(wants).await
    }

    /// Cancels these wants.
    pub(super) async fn cancel(&self, cids: Vec<Cid>) -> Result<(), Stopped> {
        if cids.is_empty() { Ok(()) } else { self.session.cancel(cids).await }
    }

    /// Returns the next block, or `None` at the deadline. Looks up providers while it waits. Cancel-safe.
    pub(super) async fn next(&mut self, deadline: Instant) -> Result<Option<Arrived>, DownloadError> {
        loop {
            tokio::select! {
                biased;
                event = self.session.next() => match event? {
                    SessionEvent::Block { block, from } => {
                        self.account.block(from, block.data().len() as u64);
                        return Ok(Some(Arrived { block, from }));
                    }
                    SessionEvent::TooLarge { cid, bytes } => {
                        return Err(DownloadError::BlockTooLarge { cid: Box::new(cid), bytes });
                    }
                    SessionEvent::NeedPeers { .. } => {
                        // The likely provider does not have the blocks, or has not responded yet.
                        let pause = if std::mem::take(&mut self.has_source) { Duration::ZERO } else { self.search_pause };
                        self.next_search = self.next_search.min(Instant::now() + pause);
                    }
                    SessionEvent::Offended { peer, offence } => {
                        tracing::info!(target: crate::LOG_TARGET, %peer, ?offence, "source is at fault");
                        self.account.fault(peer, offence.into());
                    }
                    SessionEvent::Late { peer } => self.account.late(peer, true),
                    SessionEvent::Answered { peer } => self.account.late(peer, false),
                    SessionEvent::PeerDropped { peer, reason } => {
                        tracing::info!(target: crate::LOG_TARGET, %peer, ?reason, "source dropped");
                        self.too_long |= reason == DropReason::TooLong;
                    }
                    SessionEvent::Lost { peer } => {
                        tracing::info!(target: crate::LOG_TARGET, %peer, "source lost, dialling it again");
                        self.lost.insert(peer, Lost { since: Instant::now(), reason: None });
                    }
                    SessionEvent::Unreachable { peer, reason } => {
                        if let Some(lost) = self.lost.get_mut(&peer) {
                            lost.reason = Some(reason);
                        }
                    }
                    SessionEvent::Regained { peer } => drop(self.lost.remove(&peer)),
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

    /// Returns whether a peer has sent a message above the size limit.
    pub(super) fn met_too_long(&self) -> bool {
        self.too_long
    }

    fn may_search(&self) -> bool {
        self.searching.is_none() && !self.search_keys.is_empty()
    }

    async fn search(&mut self) -> Result<(), Stopped> {
        self.reporter.report(Progress::FindingProviders { peers_asked: self.peers_asked() as u64 });
        let (found, receiver) = mpsc::channel(FOUND_QUEUE);
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
