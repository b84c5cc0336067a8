//! The side of a download that asks peers: the session, and the search for more of them.

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
    PeerBook, Progress, Reporter,
    identity::Timestamp,
    node::{DropReason, Handle, ListSource, Session, SessionEvent, Stopped},
    ops::{blocking_thread, clock},
};

/// Pause before providers are looked for again; it doubles up to [`LONGEST_SEARCH_PAUSE`].
const FIRST_SEARCH_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_SEARCH_PAUSE: Duration = Duration::from_secs(30);
/// What is wanted of a peer that is believed to have it may take so long before the DHT is asked for more providers: most
/// packages are small, and then it is never asked.
const HEAD_START: Duration = Duration::from_millis(250);
/// Providers found that wait to be asked.
const FOUND_QUEUE: usize = 64;
/// How long peers of the local network may take to be found, where they are looked for.
const NEIGHBOURS_WITHIN: Duration = Duration::from_secs(1);

/// Where a node that is connected to no peer may meet one.
#[derive(Clone, Debug, Default)]
pub(crate) struct Entrance {
    /// Bootstrap nodes.
    pub(crate) nodes: Vec<Multiaddr>,
    /// How long each of these may take to answer.
    pub(crate) within: Duration,
    /// Peers of the local network are looked for.
    pub(crate) neighbours: bool,
}

/// A source whose connection was lost.
#[derive(Debug)]
struct Lost {
    since: Instant,
    /// Why the last attempt to dial it again failed.
    reason: Option<String>,
}

/// A session and the providers it knows.
pub(super) struct Network {
    node: Handle,
    session: Session,
    search_keys: Vec<Vec<u8>>,
    searching: Option<mpsc::Receiver<PeerId>>,
    next_search: Instant,
    search_pause: Duration,
    asked: HashSet<PeerId>,
    has_source: bool,
    /// Those of a lower reputation are not asked.
    least_reputation: f64,
    peers: Arc<PeerBook>,
    account: Account,
    reporter: Arc<dyn Reporter>,
    /// The caller named peers.
    named: bool,
    lost: HashMap<PeerId, Lost>,
    /// Where peers are met before anything is asked for; `None` once that was done.
    entrance: Option<Entrance>,
    /// A peer answered with a message that is longer than messages may be.
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

    /// Asks this peer, which is believed to have what is wanted, before providers are looked for.
    pub(super) async fn ask_first(&mut self, peer: PeerId) -> Result<(), Stopped> {
        if self.peers.reputation(&peer) < self.least_reputation {
            return Ok(());
        }
        // One that is not connected may never be.
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

    /// Makes sure, once, that there is a peer to ask; waits for bootstrap nodes and neighbours if none is connected. Says
    /// whether there is one.
    pub(super) async fn meets_somebody(&mut self) -> Result<bool, Stopped> {
        let Some(entrance) = self.entrance.take() else { return Ok(true) };
        // Rare, and large: it takes no room in what waits for every block.
        let meets = Box::pin(self.enter(&entrance)).await?;
        if !meets {
            // Whoever tries again has waited, or has changed something.
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

    /// What is known of why blocks of `subject` do not come.
    pub(super) async fn absence(&self, subject: Option<&Subject>) -> Absence {
        let lost = self.lost.iter().map(|(peer, Lost { since, reason })| LostPeer {
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
            last_seen: match provision {
                Some(provision) => self.last_seen(provision).await,
                None => None,
            },
            now: clock::now(),
            ..Absence::default()
        }
    }

    /// Of the peers known to have had a package that are not connected, the one that was seen last. An error of the book
    /// is no reason to fail: it only says less.
    async fn last_seen(&self, provision: String) -> Option<(PeerId, Timestamp)> {
        let connected = self.node.snapshot().await.ok()?.connected;
        let book = Arc::clone(&self.peers);
        let look = move || {
            let known = book.providers_of(&[provision]).ok()?.into_values().flatten();
            let gone = known.filter(|peer| !connected.contains(peer)).filter_map(|peer| book.get(&peer));
            gone.map(|record| (record.peer, record.last_seen)).max_by_key(|(_, seen)| *seen)
        };
        blocking_thread::blocking(look).await.ok().flatten()
    }

    pub(super) fn search_under(&mut self, cid: &Cid) {
        let key = cid.hash().to_bytes();
        if !self.search_keys.contains(&key) {
            self.search_keys.push(key);
            self.next_search = Instant::now() + if self.has_source { HEAD_START } else { Duration::ZERO };
            self.search_pause = FIRST_SEARCH_PAUSE;
        }
    }

    /// Names the list in which wants have places from now on.
    pub(super) async fn describe(&self, list: ListSource) -> Result<(), Stopped> {
        self.session.describe(list).await
    }

    pub(super) async fn want(&self, wants: Vec<Want>) -> Result<(), Stopped> {
        self.session.want(wants).await
    }

    /// Wants these no longer.
    pub(super) async fn cancel(&self, cids: Vec<Cid>) -> Result<(), Stopped> {
        if cids.is_empty() { Ok(()) } else { self.session.cancel(cids).await }
    }

    /// The next block, `None` at the deadline. Looks for providers while it waits. Cancel-safe.
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
                        // Whoever was believed to have it has not, or is slow to say so.
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

    /// A peer answered with a message that is longer than messages may be.
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
