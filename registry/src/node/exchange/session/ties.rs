//! The peers that a session uses, and those of them whose connection was lost: they are worth dialling again.

use std::collections::{HashMap, HashSet};

use libp2p::PeerId;

use crate::node::exchange::{
    channel::SessionEvent,
    session::{MAX_REMEMBERED, Session},
};

/// The useful peers of a session.
#[derive(Debug, Default)]
pub(super) struct Ties {
    /// Peers that sent a block or a HAVE, and those that the caller named.
    useful: HashSet<PeerId>,
    /// Those whose connection was lost, and whether they sent a block over it.
    lost: HashMap<PeerId, bool>,
}

impl Session {
    /// Marks a peer as useful: the caller named it, or it sent a block or a HAVE.
    pub(in crate::node::exchange) fn keep_to(&mut self, peer: PeerId) {
        if self.ties.useful.len() < MAX_REMEMBERED {
            self.ties.useful.insert(peer);
        }
    }

    /// Whether the peer is worth a connection, as long as the session lasts.
    pub(in crate::node::exchange) fn has_use_for(&self, peer: &PeerId) -> bool {
        self.ties.useful.contains(peer) && !self.offenders.contains_key(peer)
    }

    /// If the connection to a useful peer was lost, returns whether the peer had sent a block over it.
    pub(in crate::node::exchange) fn misses(&self, peer: &PeerId) -> Option<bool> {
        self.ties.lost.get(peer).copied()
    }

    /// The connection to a member was lost.
    pub(super) fn note_lost(&mut self, peer: PeerId, delivered: bool) {
        if self.has_use_for(&peer) && self.ties.lost.insert(peer, delivered).is_none() {
            self.emit(SessionEvent::Lost { peer });
        }
    }

    /// The peer is a member again.
    pub(super) fn note_regained(&mut self, peer: PeerId) {
        if self.ties.lost.remove(&peer).is_some() {
            self.emit(SessionEvent::Regained { peer });
        }
    }

    /// A redial of a lost peer failed.
    pub(in crate::node::exchange) fn on_unreachable(&mut self, peer: PeerId, reason: &str) {
        if self.ties.lost.contains_key(&peer) {
            self.emit(SessionEvent::Unreachable { peer, reason: reason.to_owned() });
        }
    }
}
