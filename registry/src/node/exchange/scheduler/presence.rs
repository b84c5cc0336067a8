//! Queries whether one peer has all of some blocks. They fetch nothing and belong to no session.

use std::{
    collections::{BTreeMap, HashSet},
    time::Instant,
};

use ggen_blockstore::Cid;
use libp2p::PeerId;

use crate::node::exchange::{
    SessionId,
    scheduler::{event::Action, peer::Standing, peers::Peers},
};

/// Maximum number of blocks in one query: queries and sessions share the peer's memory for wants.
pub const MAX_PRESENCE_QUERY_CIDS: usize = 256;

/// A pending query.
#[derive(Debug)]
struct PresenceQuery {
    peer: PeerId,
    waiting: HashSet<Cid>,
}

/// The pending queries.
#[derive(Debug, Default)]
pub(super) struct PresenceQueries {
    pending: BTreeMap<SessionId, PresenceQuery>,
    replies: Vec<Action>,
}

impl PresenceQueries {
    pub(super) fn is_empty(&self) -> bool {
        self.pending.is_empty()
    }

    /// Queries whether a connected peer has all of `cids`, at most [`MAX_PRESENCE_QUERY_CIDS`]. The reply is false as
    /// soon as one is missing, or if the peer cannot be queried; there is none while the peer is silent.
    pub(super) fn start(&mut self, id: SessionId, peer_id: PeerId, cids: Vec<Cid>, peers: &mut Peers, now: Instant) {
        let peer = peers.change(peer_id).filter(|peer| peer.standing == Standing::Good);
        let Some(peer) = peer.filter(|peer| cids.len() <= MAX_PRESENCE_QUERY_CIDS && peer.has_room_for_questions())
        else {
            return self.replies.push(Action::Reply(id, false));
        };
        let waiting: HashSet<Cid> = cids.into_iter().collect();
        if waiting.is_empty() {
            return self.replies.push(Action::Reply(id, true));
        }
        waiting.iter().for_each(|cid| peer.wantlist.ask_whether(*cid, id, now));
        self.pending.insert(id, PresenceQuery { peer: peer_id, waiting });
    }

    /// The peer has the block; `owners` are the sessions and queries of its want-list entry.
    pub(super) fn on_there(&mut self, peer_id: PeerId, cid: &Cid, owners: &[SessionId], peers: &mut Peers) {
        for id in owners {
            let Some(query) = self.pending.get_mut(id).filter(|query| query.peer == peer_id) else { continue };
            if query.waiting.remove(cid) {
                let done = query.waiting.is_empty();
                if let Some(peer) = peers.get_mut(&peer_id) {
                    peer.wantlist.release(cid, *id);
                }
                if done {
                    self.end(*id, true, peers);
                }
            }
        }
    }

    /// The peer does not have the block.
    pub(super) fn on_not_there(&mut self, peer_id: PeerId, cid: &Cid, peers: &mut Peers) {
        self.end_all(|query| query.peer == peer_id && query.waiting.contains(cid), peers);
    }

    /// Ends the queries to a peer that cannot answer any more.
    pub(super) fn drop_peer(&mut self, peer_id: PeerId, peers: &mut Peers) {
        self.end_all(|query| query.peer == peer_id, peers);
    }

    fn end_all(&mut self, ends: impl Fn(&PresenceQuery) -> bool, peers: &mut Peers) {
        let ids: Vec<_> = self.pending.iter().filter(|(_, query)| ends(query)).map(|(id, _)| *id).collect();
        ids.into_iter().for_each(|id| self.end(id, false, peers));
    }

    /// Ends a query with this reply.
    pub(super) fn end(&mut self, id: SessionId, has: bool, peers: &mut Peers) {
        let Some(PresenceQuery { peer: peer_id, waiting }) = self.pending.remove(&id) else { return };
        if let Some(peer) = peers.change(peer_id) {
            waiting.iter().for_each(|cid| peer.wantlist.release(cid, id));
        }
        self.replies.push(Action::Reply(id, has));
    }

    pub(super) fn take_actions(&mut self) -> Vec<Action> {
        std::mem::take(&mut self.replies)
    }
}
