//! The connected peers, and those of them for which there may be something to send.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::{Duration, Instant},
};

use ggen_blockstore::Cid;
use libp2p::PeerId;

use crate::node::exchange::{
    SessionId,
    prior::{Prior, Priors},
    scheduler::{
        event::Action,
        peer::{Peer, Standing},
    },
};

/// How long further offences of a peer count as the same one that a session was notified of, and for how many peers
/// this is tracked.
pub(super) const BLAME_HOLDS: Duration = Duration::from_secs(30);
const MAX_BLAMED_LATELY: usize = 1024;

#[derive(Debug)]
pub(super) struct Peers {
    priors: Arc<dyn Priors>,
    connected: HashMap<PeerId, Peer>,
    /// Peers whose state has changed since the last [`take_actions`](Self::take_actions).
    changed: HashSet<PeerId>,
    /// When a session was last notified of an offence of these peers: a session may end before its requested blocks
    /// arrive.
    blamed_lately: HashMap<PeerId, Instant>,
    next_request: u64,
}

impl Peers {
    pub(super) fn new(priors: Arc<dyn Priors>) -> Self {
        let (connected, changed, blamed_lately) = (HashMap::new(), HashSet::new(), HashMap::new());
        Self { priors, connected, changed, blamed_lately, next_request: 0 }
    }

    pub(super) fn connect(&mut self, peer_id: PeerId) {
        self.connected.insert(peer_id, Peer::new(&self.prior(&peer_id)));
    }

    pub(super) fn disconnect(&mut self, peer_id: &PeerId) {
        self.connected.remove(peer_id);
        self.changed.remove(peer_id);
    }

    /// What is known of a peer from earlier connections.
    pub(super) fn prior(&self, peer_id: &PeerId) -> Prior {
        self.priors.prior(peer_id)
    }

    pub(super) fn get(&self, peer_id: &PeerId) -> Option<&Peer> {
        self.connected.get(peer_id)
    }

    /// For changes that send nothing to the peer.
    pub(super) fn get_mut(&mut self, peer_id: &PeerId) -> Option<&mut Peer> {
        self.connected.get_mut(peer_id)
    }

    /// A peer that is not banned, for changes that send nothing to it.
    pub(super) fn unbanned(&mut self, peer_id: &PeerId) -> Option<&mut Peer> {
        self.connected.get_mut(peer_id).filter(|peer| peer.standing != Standing::Banned)
    }

    /// For changes after which there may be something to send to the peer.
    pub(super) fn change(&mut self, peer_id: PeerId) -> Option<&mut Peer> {
        self.changed.insert(peer_id);
        self.connected.get_mut(&peer_id)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&PeerId, &Peer)> {
        self.connected.iter()
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (&PeerId, &mut Peer)> {
        self.connected.iter_mut()
    }

    /// A session does not want these blocks from the peer any more.
    pub(super) fn release(&mut self, peer_id: PeerId, cids: &[Cid], owner: SessionId) {
        if let Some(peer) = self.change(peer_id) {
            cids.iter().for_each(|cid| peer.release(cid, owner));
        }
    }

    /// Returns a number for a new bulk request.
    pub(super) fn next_request(&mut self) -> u64 {
        self.next_request += 1;
        self.next_request
    }

    pub(super) fn note_blamed(&mut self, peer_id: PeerId, now: Instant) {
        self.blamed_lately.retain(|_, at| now.saturating_duration_since(*at) < BLAME_HOLDS);
        if self.blamed_lately.len() < MAX_BLAMED_LATELY {
            self.blamed_lately.insert(peer_id, now);
        }
    }

    /// Whether a session, which may be closed by now, was recently notified of an offence of the peer.
    pub(super) fn was_blamed_lately(&self, peer_id: &PeerId, now: Instant) -> bool {
        self.blamed_lately.get(peer_id).is_some_and(|at| now.saturating_duration_since(*at) < BLAME_HOLDS)
    }

    /// Returns what is to be sent to the peers that have changed. `is_member`: a session uses the peer.
    pub(super) fn take_actions(&mut self, is_member: impl Fn(&PeerId) -> bool) -> Vec<Action> {
        let mut actions = Vec::new();
        for peer_id in self.changed.drain() {
            let Some(peer) = self.connected.get_mut(&peer_id) else { continue };
            let is_used = !peer.wantlist.is_empty() || peer.requests.live() > 0 || is_member(&peer_id);
            if std::mem::replace(&mut peer.is_used, is_used) != is_used {
                actions.push(Action::Use(peer_id, is_used));
            }
            actions.extend(peer.requests.take_actions());
            actions.extend(peer.next_update().map(|message| Action::SendWants(peer_id, message)));
        }
        actions
    }
}
