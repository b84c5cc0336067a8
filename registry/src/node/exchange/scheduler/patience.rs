//! What time shows of the members of a session: who is late, and whether more peers are needed.

use std::time::{Duration, Instant};

use libp2p::PeerId;

use crate::node::exchange::{
    bitswap::MAX_LIVE_WANTS,
    channel::{MAX_NEEDED_CIDS, Offence, SessionEvent},
    scheduler::{
        fetch::Fetch,
        peer::{Peer, Standing},
        peers::Peers,
    },
};

/// Time without a block after which members that are held back get requests too.
const RELEASE_AFTER: Duration = Duration::from_secs(1);
/// Time without a block after which peers that are not members get presence queries, and after which more peers are
/// called for.
const BROADCAST_AFTER: Duration = Duration::from_secs(1);
const NEED_AFTER: Duration = Duration::from_secs(3);
/// Interval of [`SessionEvent::NeedPeers`].
const NEED_EVERY: Duration = Duration::from_secs(5);
/// Interval at which refused wants are requested again.
const RETRY_EVERY: Duration = Duration::from_secs(30);
/// Number of blocks in the presence queries of a broadcast, and maximum number of peers that get them per tick.
const BROADCAST_WANTS: usize = 16;
const BROADCAST_PEERS: usize = 64;

impl Fetch {
    /// Releases the members that are held back, if no block arrives.
    pub(super) fn release_held_back(&mut self, now: Instant) {
        let idle = now.saturating_duration_since(self.progress_at);
        self.released |= self.session.wanted() > 0 && idle >= RELEASE_AFTER && !self.session.is_behind();
    }

    /// Records the members with pending requests that have been silent for longer than their latency explains.
    pub(super) fn note_all_late(&mut self, peers: &mut Peers, now: Instant) {
        let is_late = |peer_id: &&PeerId| {
            self.session.asked_of(peer_id) > 0
                && peers.get(peer_id).is_some_and(|peer| peer.lateness(now) == Duration::MAX)
        };
        let late: Vec<PeerId> = self.session.members().keys().filter(is_late).copied().collect();
        late.into_iter().for_each(|peer_id| self.note_late(peer_id, peers));
    }

    /// Handles a late member that has not delivered. Unrequested blocks from it are an offence; otherwise it is late if
    /// it supports DONT_HAVE.
    pub(super) fn note_late(&mut self, peer_id: PeerId, peers: &mut Peers) {
        let Some(peer) = peers.get(&peer_id).filter(|_| !self.session.has_delivered(&peer_id)) else { return };
        if peer.unasked > 0 {
            self.blame(peer_id, Offence::WrongBytes, peers);
        } else if peer.says_no {
            self.session.on_late(peer_id);
        }
    }

    /// Queries peers that are not members, and asks the session's owner for more peers, if the members do not suffice.
    pub(super) fn seek_help(&mut self, peers: &mut Peers, now: Instant) {
        if self.session.wanted() == 0 {
            return;
        }
        if self.session.is_behind() {
            self.progress_at = now;
        }
        let idle = now.saturating_duration_since(self.progress_at);
        let helpless = !self.session.has_active_members() || self.session.is_stuck();
        if helpless && now.saturating_duration_since(self.retried_at) >= RETRY_EVERY {
            self.retried_at = now;
            self.session.retry_stuck();
        }
        let due = self.needed_at.is_none_or(|at| now.saturating_duration_since(at) >= NEED_EVERY);
        if due && (helpless || idle >= NEED_AFTER) {
            self.needed_at = Some(now);
            let (cids, wanted) = (self.session.needed(MAX_NEEDED_CIDS), self.session.wanted());
            let peers = self.session.members().len();
            self.session.emit(SessionEvent::NeedPeers { cids, wanted, peers });
        }
        if helpless || idle >= BROADCAST_AFTER {
            self.broadcast(peers, now);
        }
    }

    /// Sends presence queries for the first wants to connected peers that are not members; to those that are held back
    /// only once they are released.
    fn broadcast(&mut self, peers: &mut Peers, now: Instant) {
        let cids = self.session.needed(BROADCAST_WANTS);
        let is_other = |(peer_id, peer): &(&PeerId, &Peer)| {
            peer.standing == Standing::Good
                && peer.wantlist.live() < MAX_LIVE_WANTS
                && !self.session.members().contains_key(peer_id)
        };
        let others: Vec<PeerId> = peers.iter().filter(is_other).map(|(peer_id, _)| *peer_id).collect();
        let others = others.into_iter().filter(|peer_id| self.may_query(*peer_id, peers));
        for peer_id in others.take(BROADCAST_PEERS).collect::<Vec<_>>() {
            let Some(peer) = peers.change(peer_id) else { continue };
            for cid in &cids {
                if peer.has_room_for_questions() && self.session.question(cid, peer_id) {
                    peer.wantlist.ask_have(*cid, self.id, now);
                }
            }
        }
    }

    fn may_query(&mut self, peer_id: PeerId, peers: &Peers) -> bool {
        let prior = self.prior(peer_id, peers);
        let held_back = prior.held_back || self.session.is_held_back(&peer_id);
        !self.session.leaves_out(&prior) && (self.released || !held_back)
    }
}
