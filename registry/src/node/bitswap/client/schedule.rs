//! Who is asked for what, and when a peer is given up: the client's decisions in time.

use std::time::{Duration, Instant};

use ggen_blockstore::Cid;
use libp2p::PeerId;

use super::{
    super::{
        SessionId,
        channel::{DropReason, MAX_NEEDED_CIDS, SessionEvent},
        wantlist::MAX_LIVE_WANTS,
    },
    Active, Client, Standing,
};

/// How often [`Client::tick`] is to be called while the client is busy.
pub(in super::super) const TICK_EVERY: Duration = Duration::from_millis(50);
/// A tick that comes so late says that we were slow, not the peers.
const LATE_TICK: Duration = Duration::from_millis(500);
/// Wants and bytes given to one member before it is the next one's turn.
const TURN_WANTS: usize = 16;
const TURN_BYTES: u64 = 512 << 10;
/// Wants stolen for one peer at one tick.
const MAX_STEALS: usize = 64;
/// By how much a peer must be expected to be slower before another is asked too: a factor, and this.
const STEAL_MARGIN: Duration = Duration::from_millis(100);
/// A peer that is silent for this, and four times its latency, is late.
const LATE: Duration = Duration::from_millis(250);
/// Time without a block after which strangers are asked, and after which more peers are called for.
const BROADCAST_AFTER: Duration = Duration::from_secs(1);
const NEED_AFTER: Duration = Duration::from_secs(3);
/// How often more peers are called for.
const NEED_EVERY: Duration = Duration::from_secs(5);
/// How often those who refused are asked again.
const RETRY_EVERY: Duration = Duration::from_secs(30);
/// Blocks that strangers are asked about, and most strangers asked at one tick.
const BROADCAST_WANTS: usize = 16;
const BROADCAST_PEERS: usize = 64;

impl Client {
    /// Gives out wants in all sessions.
    pub(super) fn fill_all(&mut self, now: Instant) {
        let ids: Vec<_> = self.sessions.keys().copied().collect();
        ids.into_iter().for_each(|id| self.fill(id, now));
    }

    /// Gives the session's queued wants to its members, the fastest first, in turns, as far as windows and credit go.
    pub(super) fn fill(&mut self, id: SessionId, now: Instant) {
        let Some(active) = self.sessions.get(&id).filter(|active| active.session.has_queued()) else { return };
        let members = active.session.members().keys();
        let mut members: Vec<(f64, PeerId)> =
            members.filter_map(|peer_id| Some((self.peers.get(peer_id)?.meter.rate(), *peer_id))).collect();
        members.sort_by(|left, right| right.0.total_cmp(&left.0));
        while !members.is_empty() {
            members.retain(|(_, peer_id)| self.take_turn(id, *peer_id, now));
        }
    }

    /// Gives one member a turn's wants; says whether it could take more.
    fn take_turn(&mut self, id: SessionId, peer_id: PeerId, now: Instant) -> bool {
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

    fn ask(&mut self, id: SessionId, peer_id: PeerId, cid: Cid, charge: u64, now: Instant) {
        if let Some(peer) = self.peers.get_mut(&peer_id) {
            if peer.wantlist.live() == 0 {
                peer.meter.on_asked(now);
            }
            peer.wantlist.ask_block(cid, charge, id, now);
            self.touched.insert(peer_id);
        }
    }

    /// Looks after time: late answers, silent peers, the ends of sessions, sessions that need help. To be called
    /// every [`TICK_EVERY`] while the client is busy.
    pub(in super::super) fn tick(&mut self, now: Instant) {
        let closed: Vec<_> =
            self.sessions.iter().filter(|(_, active)| active.session.output.is_closed()).map(|(id, _)| *id).collect();
        closed.into_iter().for_each(|id| self.close(id));
        let late = self.ticked_at.is_some_and(|at| now.saturating_duration_since(at) > LATE_TICK);
        self.ticked_at = Some(now);
        if late {
            self.peers.values_mut().for_each(|peer| peer.meter.on_sign(now));
        } else {
            self.drop_stalled(now);
        }
        self.refuse_overdue(now);
        self.fill_all(now);
        let ids: Vec<_> = self.sessions.keys().copied().collect();
        for id in ids {
            let useless = self.sessions.get(&id).map(|active| active.session.useless()).unwrap_or_default();
            useless.into_iter().for_each(|peer_id| self.drop_from(id, peer_id, DropReason::Useless));
            self.steal(id, now);
            self.seek_help(id, now);
        }
    }

    fn drop_stalled(&mut self, now: Instant) {
        let stalled: Vec<_> = self
            .peers
            .iter()
            .filter(|(_, peer)| peer.wantlist.live() > 0 && peer.meter.silent(now) > peer.meter.stall_after())
            .map(|(peer_id, _)| *peer_id)
            .collect();
        for peer_id in stalled {
            self.drop_from_all(peer_id, DropReason::Stalled, now);
        }
    }

    fn refuse_overdue(&mut self, now: Instant) {
        let peer_ids: Vec<_> = self.peers.keys().copied().collect();
        for peer_id in peer_ids {
            let Some(peer) = self.peers.get_mut(&peer_id) else { continue };
            let limit = peer.meter.answer_within();
            for cid in peer.wantlist.overdue(now, limit) {
                self.on_refused(peer_id, &cid);
                self.touched.insert(peer_id);
            }
        }
    }

    /// At the end of a session, when nothing is left to give out: asks idle peers for what slower ones will take
    /// much longer to send.
    fn steal(&mut self, id: SessionId, now: Instant) {
        let Some(active) = self.sessions.get(&id) else { return };
        if active.session.has_queued() || active.session.wanted() == 0 {
            return;
        }
        let members: Vec<PeerId> = active.session.members().keys().copied().collect();
        for fast in &members {
            for _ in 0..MAX_STEALS {
                let Some(slow) = self.slower(id, *fast, &members, now) else { break };
                let stolen = self.sessions.get_mut(&id).and_then(|active| active.session.steal_for(*fast, slow));
                let Some((cid, charge)) = stolen else { break };
                self.ask(id, *fast, cid, charge, now);
            }
        }
    }

    /// The slowest member, if it is worth asking `fast` for some of what it is asked for.
    fn slower(&self, id: SessionId, fast: PeerId, members: &[PeerId], now: Instant) -> Option<PeerId> {
        let session = &self.sessions.get(&id)?.session;
        let peer = self.peers.get(&fast)?;
        if peer.wantlist.live() >= MAX_LIVE_WANTS || peer.room() == 0 || self.lateness(&fast, now)? == Duration::MAX {
            return None;
        }
        let limit = peer.meter.eta(peer.wantlist.live_bytes()) * 2 + STEAL_MARGIN;
        members
            .iter()
            .filter(|slow| **slow != fast && session.asked_of(slow) > 0)
            .filter_map(|slow| Some((self.lateness(slow, now)?, *slow)))
            .filter(|(lateness, _)| *lateness > limit)
            .max_by_key(|(lateness, _)| *lateness)
            .map(|(_, slow)| slow)
    }

    /// How long the peer will need for what it is asked for: for ever, if it is silent.
    fn lateness(&self, peer_id: &PeerId, now: Instant) -> Option<Duration> {
        let peer = self.peers.get(peer_id)?;
        let live = peer.wantlist.live() > 0;
        if live && peer.meter.silent(now) > LATE + peer.meter.eta(0) * 4 {
            return Some(Duration::MAX);
        }
        Some(peer.meter.eta(peer.wantlist.live_bytes()))
    }

    /// Asks strangers, and the session's owner, when the members do not suffice.
    fn seek_help(&mut self, id: SessionId, now: Instant) {
        let Some(active) = self.sessions.get_mut(&id).filter(|active| active.session.wanted() > 0) else { return };
        if active.session.output.is_behind() {
            active.progress_at = now;
        }
        let idle = now.saturating_duration_since(active.progress_at);
        let helpless = active.session.members().is_empty() || active.session.is_stuck();
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

    /// Asks connected peers that are not members whether they have the first wants.
    fn broadcast(&mut self, id: SessionId, now: Instant) {
        let Some(active) = self.sessions.get_mut(&id) else { return };
        let cids = active.session.needed(BROADCAST_WANTS);
        let strangers = self.peers.iter_mut().filter(|(peer_id, peer)| {
            peer.standing == Standing::Good
                && peer.wantlist.live() < MAX_LIVE_WANTS
                && !active.session.members().contains_key(peer_id)
        });
        let strangers: Vec<PeerId> = strangers.map(|(peer_id, _)| *peer_id).take(BROADCAST_PEERS).collect();
        for peer_id in strangers {
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
