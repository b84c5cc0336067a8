//! A session with its timing, and its members.

use std::time::Instant;

use ggen_blockstore::{Block, Cid};
use libp2p::PeerId;

use crate::node::exchange::{
    SessionId,
    channel::{DropReason, Offence, SessionEvent},
    prior::Prior,
    scheduler::peers::Peers,
    session::{Refusal, Session},
};

/// A session and its timing.
#[derive(Debug)]
pub(super) struct Fetch {
    pub(super) id: SessionId,
    pub(super) session: Session,
    /// When a block last arrived, or the consumer was last behind.
    pub(super) progress_at: Instant,
    pub(super) needed_at: Option<Instant>,
    pub(super) retried_at: Instant,
    /// Members that are held back get requests too, because the other members did not deliver.
    pub(super) released: bool,
}

impl Fetch {
    pub(super) fn new(id: SessionId, session: Session, now: Instant) -> Self {
        Self { id, session, progress_at: now, needed_at: None, retried_at: now, released: false }
    }

    /// Returns the prior of a peer, as the session knows it.
    pub(super) fn prior(&mut self, peer_id: PeerId, peers: &Peers) -> Prior {
        self.session.prior(peer_id, || peers.prior(&peer_id))
    }

    /// Makes a connected peer a member, in place of a less useful one if the session is full. Returns whether it is
    /// one. `has`: it has a block that the session wants.
    pub(super) fn join(&mut self, peer_id: PeerId, has: bool, peers: &mut Peers) -> bool {
        let prior = self.prior(peer_id, peers);
        if self.session.leaves_out(&prior) {
            return false;
        }
        if let Some(outdone) = self.session.outdone_by(&peer_id, has) {
            self.drop_member(outdone, DropReason::Useless, peers);
        }
        let joined = self.session.add_member(peer_id);
        if joined {
            peers.change(peer_id);
        }
        joined
    }

    /// Drops a peer, and takes back the requests to it.
    pub(super) fn drop_member(&mut self, peer_id: PeerId, reason: DropReason, peers: &mut Peers) {
        let Some(cids) = self.session.drop_member(peer_id) else { return };
        self.session.emit(SessionEvent::PeerDropped { peer: peer_id, reason });
        peers.release(peer_id, &cids, self.id);
    }

    /// Records an offence of a peer, and takes back the requests to it.
    pub(super) fn blame(&mut self, peer_id: PeerId, offence: Offence, peers: &mut Peers) {
        let cids = self.session.on_offence(peer_id, offence);
        peers.release(peer_id, &cids, self.id);
    }

    /// A peer does not have a requested block, or did not answer in time.
    pub(super) fn refuse(&mut self, cid: &Cid, peer_id: PeerId, peers: &mut Peers) {
        if self.session.on_refusal(cid, peer_id) == Refusal::Useless {
            self.drop_member(peer_id, DropReason::Useless, peers);
        }
    }

    /// A wanted block arrived.
    pub(super) fn deliver(&mut self, block: Block, from: PeerId, peers: &mut Peers, now: Instant) {
        self.join(from, true, peers);
        self.progress_at = now;
        self.needed_at = None;
        self.released &= self.session.is_held_back(&from);
        let cid = *block.cid();
        let involved = self.session.on_block(&cid, block.data().len(), from).unwrap_or_default();
        self.session.emit(SessionEvent::Block { block, from });
        involved.into_iter().for_each(|peer_id| peers.release(peer_id, &[cid], self.id));
    }

    /// A block arrived that the session cannot want by CID before the root of its manifest has arrived.
    pub(super) fn deliver_unnamed(&mut self, block: Block, from: PeerId, now: Instant) {
        self.progress_at = now;
        self.session.emit(SessionEvent::Block { block, from });
    }
}
