//! The sessions, and which of them want a block.

use std::{
    collections::{BTreeMap, HashMap},
    time::Instant,
};

use cid::Version;
use ggen_blockstore::{Block, Cid, DAG_PB, RAW};
use libp2p::PeerId;

use crate::node::exchange::{
    SessionId,
    channel::{DropReason, Offence, SessionEvent},
    scheduler::{event::Action, fetch::Fetch, peer::Standing, peers::Peers},
    session::{BlockWant, Session},
};

#[derive(Debug, Default)]
pub(super) struct Sessions {
    fetches: BTreeMap<SessionId, Fetch>,
    /// The sessions that want a block.
    interest: HashMap<Cid, Vec<SessionId>>,
}

impl Sessions {
    pub(super) fn open(&mut self, id: SessionId, session: Session, now: Instant) {
        self.fetches.insert(id, Fetch::new(id, session, now));
    }

    pub(super) fn close(&mut self, id: SessionId, peers: &mut Peers) {
        let Some(fetch) = self.fetches.get(&id) else { return };
        let cids: Vec<Cid> = fetch.session.cids().copied().collect();
        self.cancel(id, &cids, peers);
        if let Some(fetch) = self.fetches.remove(&id) {
            for peer_id in fetch.session.members().keys() {
                peers.change(*peer_id);
            }
        }
    }

    pub(super) fn get_mut(&mut self, id: SessionId) -> Option<&mut Fetch> {
        self.fetches.get_mut(&id)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Fetch> {
        self.fetches.values()
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Fetch> {
        self.fetches.values_mut()
    }

    /// The sessions with pending requests to the peer.
    pub(super) fn asking<'a>(&'a mut self, peer_id: &'a PeerId) -> impl Iterator<Item = &'a mut Fetch> {
        self.iter_mut().filter(|fetch| fetch.session.asked_of(peer_id) > 0)
    }

    /// Whether a session has the peer as a member.
    pub(super) fn use_peer(&self, peer_id: &PeerId) -> bool {
        self.iter().any(|fetch| fetch.session.members().contains_key(peer_id))
    }

    /// The sessions that want a block.
    pub(super) fn wanting(&self, cid: &Cid) -> &[SessionId] {
        self.interest.get(cid).map_or(&[], Vec::as_slice)
    }

    /// A peer of version 1.0.0 sends blocks without the prefix of their CIDs: returns the block with the CID that is
    /// wanted.
    pub(super) fn as_wanted(&self, block: Block) -> Block {
        if block.cid().version() != Version::V0 || self.interest.contains_key(block.cid()) {
            return block;
        }
        let hash = *block.cid().hash();
        let other = [DAG_PB, RAW].map(|codec| Cid::new_v1(codec, hash));
        let wanted = other.into_iter().find(|cid| self.interest.contains_key(cid));
        wanted.and_then(|cid| block.renamed(cid)).unwrap_or(block)
    }

    pub(super) fn want(&mut self, id: SessionId, wants: Vec<BlockWant>, peers: &mut Peers, now: Instant) {
        let Some(fetch) = self.fetches.get_mut(&id) else { return };
        if fetch.session.wanted() == 0 {
            fetch.progress_at = now;
        }
        for want in wants {
            if fetch.session.want(want) {
                self.interest.entry(want.cid).or_default().push(id);
            }
        }
        fetch.fill(peers, now);
    }

    pub(super) fn cancel(&mut self, id: SessionId, cids: &[Cid], peers: &mut Peers) {
        let Some(fetch) = self.fetches.get_mut(&id) else { return };
        for cid in cids {
            let Some(involved) = fetch.session.remove(cid) else { continue };
            if let Some(sessions) = self.interest.get_mut(cid) {
                sessions.retain(|other| *other != id);
                if sessions.is_empty() {
                    self.interest.remove(cid);
                }
            }
            involved.into_iter().for_each(|peer_id| peers.release(peer_id, &[*cid], id));
        }
    }

    /// Adds a peer that may have blocks of a session, now if it is connected, else when it connects.
    pub(super) fn add_peer(&mut self, id: SessionId, peer_id: PeerId, peers: &mut Peers, now: Instant) {
        let Some(fetch) = self.fetches.get_mut(&id) else { return };
        match peers.get(&peer_id).map(|peer| peer.standing) {
            Some(Standing::Good) => {
                if fetch.join(peer_id, false, peers) {
                    fetch.fill(peers, now);
                }
            }
            Some(Standing::Banned | Standing::Unsupported) => {}
            None => fetch.session.add_candidate(peer_id),
        }
    }

    /// A peer has connected: it becomes a member of the sessions that wait for it.
    pub(super) fn on_connected(&mut self, peer_id: PeerId, peers: &mut Peers, now: Instant) {
        let waiting = self.iter().filter(|fetch| fetch.session.is_candidate(&peer_id));
        let ids: Vec<_> = waiting.map(|fetch| fetch.id).collect();
        ids.into_iter().for_each(|id| self.add_peer(id, peer_id, peers, now));
    }

    /// Gives out the wants of all sessions.
    pub(super) fn fill_all(&mut self, peers: &mut Peers, now: Instant) {
        self.iter_mut().for_each(|fetch| fetch.fill(peers, now));
    }

    /// A block arrived: the sessions that want it get it.
    pub(super) fn deliver(&mut self, block: &Block, from: PeerId, peers: &mut Peers, now: Instant) {
        for id in self.interest.remove(block.cid()).unwrap_or_default() {
            if let Some(fetch) = self.fetches.get_mut(&id) {
                fetch.deliver(block.clone(), from, peers, now);
            }
        }
    }

    /// A wanted block exceeds the maximum size: no session wants it any more.
    pub(super) fn give_up(&mut self, cid: Cid, bytes: u64, peers: &mut Peers) {
        for id in self.wanting(&cid).to_vec() {
            if let Some(fetch) = self.fetches.get_mut(&id) {
                fetch.session.emit(SessionEvent::TooLarge { cid, bytes });
            }
            self.cancel(id, &[cid], peers);
        }
    }

    /// The peer has sent a requested block.
    pub(super) fn on_answer(&mut self, peer_id: PeerId) {
        self.iter_mut().for_each(|fetch| fetch.session.on_answer(peer_id));
    }

    /// Records an offence in the sessions with pending requests to the peer, and takes those requests back. Returns
    /// whether there was one.
    pub(super) fn blame(&mut self, peer_id: PeerId, offence: Offence, peers: &mut Peers) -> bool {
        let mut blamed = false;
        for fetch in self.asking(&peer_id) {
            fetch.blame(peer_id, offence, peers);
            blamed = true;
        }
        blamed
    }

    /// Drops the peer from all sessions.
    pub(super) fn drop_peer(&mut self, peer_id: PeerId, reason: DropReason, peers: &mut Peers, now: Instant) {
        self.iter_mut().for_each(|fetch| fetch.drop_member(peer_id, reason, peers));
        self.fill_all(peers, now);
    }

    /// Returns the events for the consumers.
    pub(super) fn take_actions(&mut self) -> impl Iterator<Item = Action> {
        self.iter_mut().flat_map(|fetch| {
            let id = fetch.id;
            fetch.session.take_events().into_iter().map(move |event| Action::Notify(id, event))
        })
    }
}
