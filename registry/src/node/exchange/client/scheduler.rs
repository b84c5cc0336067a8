//! Which peer gets which request, and when a peer is given up: the decisions of the client over time.

use std::time::{Duration, Instant};

use ggen_blockstore::Cid;
use libp2p::PeerId;

use crate::node::exchange::{
    SessionId,
    bitswap::wantlist::MAX_LIVE_WANTS,
    channel::{DropReason, MAX_NEEDED_CIDS, Offence, SessionEvent},
    client::{Active, Client, Standing},
    session::Asking,
};

/// Interval at which [`Client::tick`] must be called while the client is busy.
pub(in crate::node::exchange) const TICK_EVERY: Duration = Duration::from_millis(50);
/// A tick that is this late shows that this node was slow, not its peers.
const LATE_TICK: Duration = Duration::from_millis(500);
/// Wants and bytes given to one member in one turn.
const TURN_WANTS: usize = 16;
const TURN_BYTES: u64 = 512 << 10;
/// Maximum number of duplicate requests to one peer per tick.
const MAX_STEALS: usize = 64;
/// A want is also requested from a faster peer if the slower one is expected to take twice as long as it, plus this.
const STEAL_MARGIN: Duration = Duration::from_millis(100);
/// A peer that is silent for this time plus four times its latency is late.
const LATE: Duration = Duration::from_millis(250);
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

impl Client {
    /// Gives out the wants of all sessions.
    pub(super) fn fill_all(&mut self, now: Instant) {
        let ids: Vec<_> = self.sessions.keys().copied().collect();
        ids.into_iter().for_each(|id| self.fill(id, now));
    }

    /// Gives the session's queued wants to its members, the best first, in turns, as far as windows and credit permit.
    /// Members that are held back get only what is left, and only if they are released.
    pub(super) fn fill(&mut self, id: SessionId, now: Instant) {
        let Some(active) = self.sessions.get(&id).filter(|active| active.session.has_queued()) else { return };
        let released = active.released;
        let is_held_back = |peer_id: &PeerId| active.session.is_held_back(peer_id);
        let (held_back, members): (Vec<_>, Vec<_>) = active.session.members().keys().copied().partition(is_held_back);
        self.give_out(id, members, now);
        if released {
            self.give_out(id, held_back, now);
        }
    }

    fn give_out(&mut self, id: SessionId, members: Vec<PeerId>, now: Instant) {
        let mut members: Vec<_> =
            members.into_iter().filter_map(|peer_id| Some((self.worth(id, peer_id)?, peer_id))).collect();
        members.sort_by(|(left, _), (right, _)| right.0.total_cmp(&left.0).then(right.1.total_cmp(&left.1)));
        while !members.is_empty() {
            members.retain(|(_, peer_id)| self.take_turn(id, *peer_id, now));
        }
    }

    /// Returns the sort key of a member: its rate, as far as known, times its reputation; then its reputation.
    fn worth(&mut self, id: SessionId, peer_id: PeerId) -> Option<(f64, f64)> {
        let reputation = self.meet(id, peer_id).reputation;
        Some((self.peers.get(&peer_id)?.meter.rate() * reputation, reputation))
    }

    /// Gives one member the wants of one turn. Returns whether it could take more.
    fn take_turn(&mut self, id: SessionId, peer_id: PeerId, now: Instant) -> bool {
        if self.takes_bulk_requests(id, &peer_id) {
            return self.request_next(id, peer_id, now);
        }
        let (mut wants, mut bytes) = (0, 0);
        while wants < TURN_WANTS && bytes < TURN_BYTES {
            let (Some(active), Some(peer)) = (self.sessions.get_mut(&id), self.peers.get(&peer_id)) else {
                return false;
            };
            let credit = active.session.output.room(active.session.asked_bytes());
            if peer.wantlist.live() >= MAX_LIVE_WANTS {
                return false;
            }
            let next = active.session.next_for(peer_id, peer.room(), credit);
            let Some((cid, charge)) = next else { return false };
            self.ask(id, peer_id, cid, charge, now);
            wants += 1;
            bytes += charge;
        }
        true
    }

    pub(super) fn ask(&mut self, id: SessionId, peer_id: PeerId, cid: Cid, charge: u64, now: Instant) {
        if let Some(peer) = self.peers.get_mut(&peer_id) {
            if peer.live() == 0 {
                peer.meter.on_asked(now);
            }
            peer.wantlist.ask_block(cid, charge, id, now);
            self.touched.insert(peer_id);
        }
    }

    /// Handles everything that depends on time: late answers, silent peers, closed sessions, sessions that need more
    /// peers. Must be called every [`TICK_EVERY`] while the client is busy.
    pub(in crate::node::exchange) fn tick(&mut self, now: Instant) {
        let closed: Vec<_> =
            self.sessions.iter().filter(|(_, active)| active.session.output.is_closed()).map(|(id, _)| *id).collect();
        closed.into_iter().for_each(|id| self.close(id));
        self.drop_unasked();
        let late = self.ticked_at.is_some_and(|at| now.saturating_duration_since(at) > LATE_TICK);
        self.ticked_at = Some(now);
        if late {
            self.peers.values_mut().for_each(|peer| peer.meter.on_sign(now));
            let excused = now.checked_sub(LATE_TICK).unwrap_or(now);
            self.sessions.values_mut().for_each(|active| active.progress_at = active.progress_at.max(excused));
        } else {
            self.drop_stalled(now);
        }
        self.refuse_overdue(now);
        self.give_up_overdue_requests(now);
        self.release_held_back(now);
        self.fill_all(now);
        let ids: Vec<_> = self.sessions.keys().copied().collect();
        for id in ids {
            let useless = self.sessions.get(&id).map(|active| active.session.useless()).unwrap_or_default();
            useless.into_iter().for_each(|peer_id| self.drop_from(id, peer_id, DropReason::Useless));
            self.note_all_late(id, now);
            self.request_duplicate(id, now);
            self.seek_help(id, now);
        }
    }

    fn drop_stalled(&mut self, now: Instant) {
        let stalled: Vec<_> = self
            .peers
            .iter()
            .filter(|(_, peer)| peer.live() > 0 && peer.meter.silent(now) > peer.meter.stall_after())
            .map(|(peer_id, _)| *peer_id)
            .collect();
        for peer_id in stalled {
            let Some(peer) = self.peers.get(&peer_id) else { continue };
            if peer.unasked > 0 {
                // It has answered, with bytes that are not those of a block requested from it.
                self.blame(peer_id, Offence::WrongBytes);
            } else if peer.says_no {
                self.blame(peer_id, Offence::Stalled);
            }
            self.drop_from_all(peer_id, DropReason::Stalled, now);
        }
    }

    /// Releases the members that are held back, in sessions where no block arrives.
    fn release_held_back(&mut self, now: Instant) {
        for active in self.sessions.values_mut() {
            let idle = now.saturating_duration_since(active.progress_at);
            active.released |=
                active.session.wanted() > 0 && idle >= RELEASE_AFTER && !active.session.output.is_behind();
        }
    }

    /// Records the members with pending requests that have been silent for longer than their latency explains.
    fn note_all_late(&mut self, id: SessionId, now: Instant) {
        let Some(active) = self.sessions.get(&id) else { return };
        let session = &active.session;
        let is_late =
            |peer_id: &&PeerId| session.asked_of(peer_id) > 0 && self.lateness(peer_id, now) == Some(Duration::MAX);
        let late: Vec<PeerId> = session.members().keys().filter(is_late).copied().collect();
        late.into_iter().for_each(|peer_id| self.note_late(id, peer_id));
    }

    /// Handles a late member that has not delivered. Unrequested blocks from it are an offence; otherwise it is late if
    /// it supports DONT_HAVE.
    fn note_late(&mut self, id: SessionId, peer_id: PeerId) {
        let (Some(peer), Some(active)) = (self.peers.get(&peer_id), self.sessions.get_mut(&id)) else { return };
        if active.session.has_delivered(&peer_id) {
            return;
        }
        if peer.unasked > 0 {
            self.blame_in(id, peer_id, Offence::WrongBytes);
        } else if peer.says_no {
            active.session.on_late(peer_id);
        }
    }

    fn refuse_overdue(&mut self, now: Instant) {
        let peer_ids: Vec<_> = self.peers.keys().copied().collect();
        for peer_id in peer_ids {
            let Some(peer) = self.peers.get_mut(&peer_id) else { continue };
            let limit = peer.meter.answer_within();
            let overdue = peer.wantlist.overdue(now, limit);
            if overdue.is_empty() {
                continue;
            }
            let of_peer = |(_, active): &(&SessionId, &Active)| active.session.asked_of(&peer_id) > 0;
            let ids: Vec<_> = self.sessions.iter().filter(of_peer).map(|(id, _)| *id).collect();
            ids.into_iter().for_each(|id| self.note_late(id, peer_id));
            for cid in overdue {
                self.on_refused(peer_id, &cid);
            }
            self.touched.insert(peer_id);
        }
    }

    /// At the end of a session, when nothing is left to give out: requests from faster peers what slower ones will take
    /// much longer to send.
    fn request_duplicate(&mut self, id: SessionId, now: Instant) {
        let Some(active) = self.sessions.get(&id) else { return };
        if active.session.has_queued() || active.session.wanted() == 0 {
            return;
        }
        let members: Vec<PeerId> = active.session.members().keys().copied().collect();
        let may_duplicate = |peer_id: &&PeerId| active.released || !active.session.is_held_back(peer_id);
        let faster: Vec<PeerId> = members.iter().filter(may_duplicate).copied().collect();
        for fast in faster {
            if self.speaks_of_lists(id, &fast) {
                self.duplicate_run(id, fast, &members, now);
                continue;
            }
            for _ in 0..MAX_STEALS {
                let Some(slow) = self.slower(id, fast, &members, now) else { break };
                let duplicate = self.sessions.get_mut(&id).and_then(|active| active.session.duplicate_for(fast, slow));
                let Some(Asking { cid, charge, .. }) = duplicate else { break };
                self.ask(id, fast, cid, charge, now);
            }
        }
    }

    /// The slowest member, if some of its wants are worth requesting from `fast` too.
    pub(super) fn slower(&self, id: SessionId, fast: PeerId, members: &[PeerId], now: Instant) -> Option<PeerId> {
        let session = &self.sessions.get(&id)?.session;
        let peer = self.peers.get(&fast)?;
        if peer.wantlist.live() >= MAX_LIVE_WANTS || peer.room() == 0 || self.lateness(&fast, now)? == Duration::MAX {
            return None;
        }
        let limit = peer.meter.eta(peer.live_bytes()) * 2 + STEAL_MARGIN;
        members
            .iter()
            .filter(|slow| **slow != fast && session.asked_of(slow) > 0)
            .filter_map(|slow| Some((self.lateness(slow, now)?, *slow)))
            .filter(|(lateness, slow)| *lateness > limit && self.is_known_slow(slow, *lateness))
            .max_by_key(|(lateness, _)| *lateness)
            .map(|(_, slow)| slow)
    }

    /// Whether the lateness is more than a guess, which matters for bulk requests: whatever two peers are asked for
    /// arrives twice.
    fn is_known_slow(&self, peer_id: &PeerId, lateness: Duration) -> bool {
        let Some(peer) = self.peers.get(peer_id) else { return false };
        lateness == Duration::MAX || peer.requests.live() == 0 || !peer.meter.is_unmeasured()
    }

    /// The time that the peer needs for its pending requests; [`Duration::MAX`] if it is silent.
    fn lateness(&self, peer_id: &PeerId, now: Instant) -> Option<Duration> {
        let peer = self.peers.get(peer_id)?;
        let live = peer.live() > 0;
        if live && peer.meter.silent(now) > LATE + peer.meter.eta(0) * 4 {
            return Some(Duration::MAX);
        }
        Some(peer.meter.eta(peer.live_bytes()))
    }

    /// Queries peers that are not members, and asks the session's owner for more peers, if the members do not suffice.
    fn seek_help(&mut self, id: SessionId, now: Instant) {
        let Some(active) = self.sessions.get_mut(&id).filter(|active| active.session.wanted() > 0) else { return };
        if active.session.output.is_behind() {
            active.progress_at = now;
        }
        let idle = now.saturating_duration_since(active.progress_at);
        let helpless = !active.session.has_active_members() || active.session.is_stuck();
        if helpless && now.saturating_duration_since(active.retried_at) >= RETRY_EVERY {
            active.retried_at = now;
            active.session.retry_stuck();
        }
        let due = active.needed_at.is_none_or(|at| now.saturating_duration_since(at) >= NEED_EVERY);
        if due && (helpless || idle >= NEED_AFTER) {
            active.needed_at = Some(now);
            let Active { session, .. } = active;
            session.output.send(SessionEvent::NeedPeers {
                cids: session.needed(MAX_NEEDED_CIDS),
                wanted: session.wanted(),
                peers: session.members().len(),
            });
        }
        if helpless || idle >= BROADCAST_AFTER {
            self.broadcast(id, now);
        }
    }

    /// Sends presence queries for the first wants to connected peers that are not members; to those that are held back
    /// only once they are released.
    fn broadcast(&mut self, id: SessionId, now: Instant) {
        let Some(active) = self.sessions.get(&id) else { return };
        let cids = active.session.needed(BROADCAST_WANTS);
        let others = self.peers.iter().filter(|(peer_id, peer)| {
            peer.standing == Standing::Good
                && peer.wantlist.live() < MAX_LIVE_WANTS
                && !active.session.members().contains_key(peer_id)
        });
        let (released, others) = (active.released, others.map(|(peer_id, _)| *peer_id).collect::<Vec<_>>());
        let others = others.into_iter().filter(|peer_id| {
            let prior = self.meet(id, *peer_id);
            let may_be_asked = |active: &Active| {
                let held_back = prior.held_back || active.session.is_held_back(peer_id);
                !active.session.leaves_out(&prior) && (released || !held_back)
            };
            self.sessions.get(&id).is_some_and(may_be_asked)
        });
        for peer_id in others.take(BROADCAST_PEERS).collect::<Vec<_>>() {
            let Some(active) = self.sessions.get_mut(&id) else { return };
            for cid in &cids {
                if let Some(peer) = self.peers.get_mut(&peer_id)
                    && peer.has_room_for_questions()
                    && active.session.question(cid, peer_id)
                {
                    peer.wantlist.ask_have(*cid, id, now);
                    self.touched.insert(peer_id);
                }
            }
        }
    }
}
