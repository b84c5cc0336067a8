//! The client: sessions on one side, peers on the other. No I/O; time is passed in.

mod bulk_requests;
mod peer;
mod presence;
mod scheduler;
mod standing;

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
    task::Waker,
    time::{Duration, Instant},
};

use cid::Version;
use ggen_blockstore::{Block, Cid, DAG_PB, RAW};
use libp2p::PeerId;

pub use self::presence::MAX_PRESENCE_QUERY_CIDS;
pub(super) use self::{bulk_requests::BulkAction, scheduler::TICK_EVERY};
use self::{peer::Peer, presence::PresenceQuery, standing::Standing};
use crate::node::exchange::{
    SessionId,
    bitswap::message::{Message, Presence},
    channel::{DropReason, Offence, SessionEvent, SessionSender},
    prior::{Prior, Priors},
    session::{BlockWant, Refusal, Session},
};

/// Maximum number of unrequested blocks that a peer may send before it is banned.
pub(super) const MAX_UNASKED_BLOCKS: u32 = 8;
/// While the peer has pending requests, this many unrequested blocks count as wrong answers. One may be left over from
/// an earlier connection.
const WRONG_BLOCKS: u32 = 2;
/// How long further offences of a peer count as the same one that a session was notified of, and for how many peers
/// this is tracked.
const BLAME_HOLDS: Duration = Duration::from_secs(30);
const MAX_BLAMED_LATELY: usize = 1024;

/// A session and its timing.
#[derive(Debug)]
struct Active {
    session: Session,
    /// When a block last arrived, or the consumer was last behind.
    progress_at: Instant,
    needed_at: Option<Instant>,
    retried_at: Instant,
    /// Members that are held back get requests too, because the other members did not deliver.
    released: bool,
}

/// What the blocks of a message were used for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Received {
    /// Number of blocks that a session wanted.
    pub(super) blocks: u64,
    /// Their total size in bytes.
    pub(super) bytes: u64,
    /// Number of blocks that no session wanted any more.
    pub(super) unwanted: u64,
    /// The peer has sent too many unrequested blocks.
    pub(super) misbehaved: bool,
    /// A session was notified of the offence.
    pub(super) blamed: bool,
}

/// The client's state.
#[derive(Debug)]
pub(super) struct Client {
    priors: Arc<dyn Priors>,
    sessions: BTreeMap<SessionId, Active>,
    /// Presence queries. Their IDs come from the same sequence as those of sessions.
    surveys: BTreeMap<SessionId, PresenceQuery>,
    /// Connected peers.
    peers: HashMap<PeerId, Peer>,
    /// The sessions that want a block.
    interest: HashMap<Cid, Vec<SessionId>>,
    next_session: u64,
    next_bulk_request: u64,
    /// Peers for which there may be messages to send or settings to change.
    touched: HashSet<PeerId>,
    ticked_at: Option<Instant>,
    /// When a session was last notified of an offence of these peers: a session may end before its requested blocks
    /// arrive.
    blamed_lately: HashMap<PeerId, Instant>,
}

impl Client {
    pub(super) fn new(priors: Arc<dyn Priors>) -> Self {
        Self {
            priors,
            sessions: BTreeMap::new(),
            surveys: BTreeMap::new(),
            peers: HashMap::new(),
            interest: HashMap::new(),
            next_session: 0,
            next_bulk_request: 0,
            touched: HashSet::new(),
            ticked_at: None,
            blamed_lately: HashMap::new(),
        }
    }

    pub(super) fn open(&mut self, output: SessionSender, least_reputation: f64, now: Instant) -> SessionId {
        let id = SessionId(self.next_session);
        self.next_session += 1;
        let session = Session::new(output, least_reputation);
        self.sessions
            .insert(id, Active { session, progress_at: now, needed_at: None, retried_at: now, released: false });
        id
    }

    pub(super) fn close(&mut self, id: SessionId) {
        let Some(active) = self.sessions.get(&id) else { return };
        let cids: Vec<Cid> = active.session.cids().copied().collect();
        self.cancel(id, &cids);
        if let Some(active) = self.sessions.remove(&id) {
            self.touched.extend(active.session.members().keys());
        }
    }

    /// Whether any session wants a block, or a presence query is pending.
    pub(super) fn is_busy(&self) -> bool {
        !self.surveys.is_empty() || self.sessions.values().any(|active| active.session.wanted() > 0)
    }

    pub(super) fn want<W: Into<BlockWant>>(&mut self, id: SessionId, wants: impl IntoIterator<Item = W>, now: Instant) {
        let Some(active) = self.sessions.get_mut(&id) else { return };
        if active.session.wanted() == 0 {
            active.progress_at = now;
        }
        for want in wants {
            let want = want.into();
            if active.session.want(want) {
                self.interest.entry(want.cid).or_default().push(id);
            }
        }
        self.fill(id, now);
    }

    pub(super) fn cancel(&mut self, id: SessionId, cids: &[Cid]) {
        for cid in cids {
            let Some(involved) = self.sessions.get_mut(&id).and_then(|active| active.session.remove(cid)) else {
                continue;
            };
            self.lose_interest(id, cid);
            self.release(id, cid, &involved);
        }
    }

    fn lose_interest(&mut self, id: SessionId, cid: &Cid) {
        if let Some(sessions) = self.interest.get_mut(cid) {
            sessions.retain(|other| *other != id);
            if sessions.is_empty() {
                self.interest.remove(cid);
            }
        }
    }

    fn release(&mut self, id: SessionId, cid: &Cid, peers: &[PeerId]) {
        for peer_id in peers {
            if let Some(peer) = self.peers.get_mut(peer_id) {
                peer.release(cid, id);
                self.touched.insert(*peer_id);
            }
        }
    }

    pub(super) fn add_peer(&mut self, id: SessionId, peer_id: PeerId, now: Instant) {
        match self.peers.get(&peer_id).map(|peer| peer.standing) {
            Some(Standing::Good) => {
                if self.join(id, peer_id, false) {
                    self.fill(id, now);
                }
            }
            Some(Standing::Banned | Standing::Unsupported) => {}
            None => {
                if let Some(active) = self.sessions.get_mut(&id) {
                    active.session.add_candidate(peer_id);
                }
            }
        }
    }

    /// Makes a connected peer a member, in place of a less useful one if the session is full. Returns whether it is
    /// one. `has`: it has a block that the session wants.
    fn join(&mut self, id: SessionId, peer_id: PeerId, has: bool) -> bool {
        let prior = self.meet(id, peer_id);
        if self.sessions.get(&id).is_some_and(|active| active.session.leaves_out(&prior)) {
            return false;
        }
        let outdone = self.sessions.get(&id).and_then(|active| active.session.outdone_by(&peer_id, has));
        if let Some(outdone) = outdone {
            self.drop_from(id, outdone, DropReason::Useless);
        }
        let joined = self.sessions.get_mut(&id).is_some_and(|active| active.session.add_member(peer_id));
        if joined {
            self.touched.insert(peer_id);
        }
        joined
    }

    /// Returns the prior of a peer, as the session knows it.
    fn meet(&mut self, id: SessionId, peer_id: PeerId) -> Prior {
        let Some(active) = self.sessions.get_mut(&id) else { return Prior::default() };
        active.session.prior(peer_id, || self.priors.prior(&peer_id))
    }

    /// The caller of a session named this peer.
    pub(super) fn keep_to(&mut self, id: SessionId, peer_id: PeerId) {
        if let Some(active) = self.sessions.get_mut(&id) {
            active.session.keep_to(peer_id);
        }
    }

    /// Whether a session has use for the peer.
    pub(super) fn has_use_for(&self, peer_id: &PeerId) -> bool {
        self.sessions.values().any(|active| active.session.has_use_for(peer_id))
    }

    /// If a session has lost the connection to the peer, returns whether the peer had sent a block over it.
    pub(super) fn misses(&self, peer_id: &PeerId) -> Option<bool> {
        let missed = self.sessions.values().filter_map(|active| active.session.misses(peer_id));
        missed.reduce(|one, other| one || other)
    }

    pub(super) fn on_unreachable(&self, peer_id: PeerId, reason: &str) {
        self.sessions.values().for_each(|active| active.session.on_unreachable(peer_id, reason));
    }

    pub(super) fn on_connected(&mut self, peer_id: PeerId, now: Instant) {
        self.peers.insert(peer_id, Peer::new(&self.priors.prior(&peer_id)));
        let of_peer = |(id, active): (&SessionId, &Active)| active.session.is_candidate(&peer_id).then_some(*id);
        let ids: Vec<_> = self.sessions.iter().filter_map(of_peer).collect();
        ids.into_iter().for_each(|id| self.add_peer(id, peer_id, now));
    }

    pub(super) fn on_disconnected(&mut self, peer_id: PeerId, now: Instant) {
        self.drop_questions(peer_id);
        self.peers.remove(&peer_id);
        self.touched.remove(&peer_id);
        for active in self.sessions.values_mut() {
            active.session.on_disconnected(peer_id);
        }
        self.fill_all(now);
    }

    /// Bytes of an incomplete message arrived.
    pub(super) fn on_progress(&mut self, peer_id: PeerId, now: Instant) {
        if let Some(peer) = self.peers.get_mut(&peer_id) {
            peer.meter.on_sign(now);
        }
    }

    /// Handles the blocks of a message, each verified to hash to its CID, and `refused` blocks for which no CID can be
    /// computed.
    pub(super) fn on_blocks(
        &mut self,
        peer_id: PeerId,
        blocks: Vec<Block>,
        refused: u32,
        frame_bytes: usize,
        now: Instant,
    ) -> Received {
        let mut received = Received::default();
        let Some(peer) = self.peers.get_mut(&peer_id).filter(|peer| peer.standing != Standing::Banned) else {
            return received;
        };
        peer.meter.on_sign(now);
        let unasked_before = peer.unasked;
        peer.unasked += refused;
        let (mut asked_at, mut answered_bytes, mut answered) = (None, 0, false);
        let mut there = Vec::new();
        let mut wanted = Vec::with_capacity(blocks.len());
        for block in blocks {
            let block = self.as_wanted(block);
            let Some(peer) = self.peers.get_mut(&peer_id) else { break };
            let was_asked = peer.wantlist.was_asked(block.cid());
            answered |= was_asked;
            if let Some(answered) = peer.wantlist.on_block(block.cid()) {
                there.push((*block.cid(), answered.owners));
                asked_at = asked_at.max(Some(answered.asked_at));
                answered_bytes += block.data().len() as u64;
            } else if !was_asked {
                peer.unasked += 1;
            }
            if was_asked && self.interest.contains_key(block.cid()) {
                received.blocks += 1;
                received.bytes += block.data().len() as u64;
                wanted.push(block);
            } else {
                received.unwanted += 1;
            }
        }
        // Small blocks are sent in place of a HAVE.
        there.iter().for_each(|(cid, owners)| self.on_there(peer_id, cid, owners));
        // A block that is a small part of a large message must not keep all of it in memory.
        let copy = received.bytes * 2 < frame_bytes as u64;
        for block in wanted {
            self.deliver(if copy { block.into_owned() } else { block }, peer_id, now);
        }
        if let Some(peer) = self.peers.get_mut(&peer_id) {
            if let Some(asked_at) = asked_at {
                let latency = now.saturating_duration_since(asked_at);
                peer.meter.on_bytes(answered_bytes, latency, peer.live() == 0, now);
            }
            received.misbehaved = peer.unasked > MAX_UNASKED_BLOCKS;
            let wrong = peer.unasked > unasked_before && peer.unasked >= WRONG_BLOCKS && peer.live() > 0;
            received.blamed = wrong && self.blame(peer_id, Offence::WrongBytes);
            if received.blamed {
                self.note_blamed(peer_id, now);
            }
        }
        if answered {
            self.sessions.values_mut().for_each(|active| active.session.on_answer(peer_id));
        }
        if received.misbehaved {
            // A peer that reconnects and continues where it was cut off was reported already.
            received.blamed |= self.was_blamed_lately(&peer_id, now);
            received.blamed |= self.sessions.values().any(|active| active.session.has_offended(&peer_id));
            received.blamed |= self.ban(peer_id, Offence::WrongBytes, now);
        }
        self.touched.insert(peer_id);
        self.fill_all(now);
        received
    }

    /// Blocks above the maximum size arrived. Sessions that want them are notified and want them no longer; a peer from
    /// which they were requested has answered.
    pub(super) fn on_oversized(&mut self, peer_id: PeerId, blocks: Vec<(Cid, u64)>, now: Instant) {
        for (cid, bytes) in blocks {
            let Some(peer) = self.peers.get_mut(&peer_id).filter(|peer| peer.standing != Standing::Banned) else {
                return;
            };
            if !peer.wantlist.was_asked(&cid) {
                peer.unasked += 1;
                continue;
            }
            peer.meter.on_sign(now);
            self.sessions.values_mut().for_each(|active| active.session.on_answer(peer_id));
            for id in self.interest.get(&cid).cloned().unwrap_or_default() {
                if let Some(active) = self.sessions.get(&id) {
                    active.session.output.send(SessionEvent::TooLarge { cid, bytes });
                }
                self.cancel(id, &[cid]);
            }
            self.touched.insert(peer_id);
        }
    }

    /// A message above the maximum length begins to arrive. Returns whether a pending request may explain it; then
    /// every session drops the peer, and none records an offence.
    pub(super) fn on_too_long(&mut self, peer_id: PeerId, now: Instant) -> bool {
        let Some(peer) = self.peers.get_mut(&peer_id).filter(|peer| peer.live() > 0) else { return false };
        peer.meter.on_sign(now);
        self.sessions.values_mut().for_each(|active| active.session.on_answer(peer_id));
        self.drop_from_all(peer_id, DropReason::TooLong, now);
        true
    }

    /// A peer of version 1.0.0 sends blocks without the prefix of their CIDs: returns the block with the CID that is
    /// wanted.
    fn as_wanted(&self, block: Block) -> Block {
        if block.cid().version() != Version::V0 || self.interest.contains_key(block.cid()) {
            return block;
        }
        let hash = *block.cid().hash();
        let other = [DAG_PB, RAW].map(|codec| Cid::new_v1(codec, hash));
        let wanted = other.into_iter().find(|cid| self.interest.contains_key(cid));
        wanted.and_then(|cid| block.renamed(cid)).unwrap_or(block)
    }

    fn deliver(&mut self, block: Block, from: PeerId, now: Instant) {
        let cid = *block.cid();
        for id in self.interest.remove(&cid).unwrap_or_default() {
            self.join(id, from, true);
            let Some(active) = self.sessions.get_mut(&id) else { continue };
            active.progress_at = now;
            active.needed_at = None;
            active.released &= active.session.is_held_back(&from);
            let involved = active.session.on_block(&cid, block.data().len(), from).unwrap_or_default();
            active.session.output.send(SessionEvent::Block { block: block.clone(), from });
            self.release(id, &cid, &involved);
        }
    }

    pub(super) fn on_presences(&mut self, peer_id: PeerId, presences: &[(Cid, Presence)], now: Instant) {
        if presences.is_empty() {
            return;
        }
        for (cid, presence) in presences {
            let Some(peer) = self.peers.get_mut(&peer_id).filter(|peer| peer.standing == Standing::Good) else {
                return;
            };
            peer.meter.on_sign(now);
            match presence {
                Presence::DontHave => {
                    self.blame_false_have(peer_id, cid);
                    self.on_refused(peer_id, cid);
                    self.on_not_there(peer_id, cid);
                }
                Presence::Have => {
                    let owners = peer.wantlist.on_have(cid);
                    self.on_there(peer_id, cid, &owners);
                    for id in owners {
                        if self.join(id, peer_id, true)
                            && let Some(active) = self.sessions.get_mut(&id)
                        {
                            active.session.on_have(cid, peer_id);
                        }
                    }
                }
            }
        }
        self.touched.insert(peer_id);
        self.fill_all(now);
    }

    /// Records an offence in the sessions with pending requests to the peer, and takes those requests back. Returns
    /// whether there was one.
    fn blame(&mut self, peer_id: PeerId, offence: Offence) -> bool {
        let of_peer = |(_, active): &(&SessionId, &Active)| active.session.asked_of(&peer_id) > 0;
        let ids: Vec<_> = self.sessions.iter().filter(of_peer).map(|(id, _)| *id).collect();
        ids.iter().for_each(|id| self.blame_in(*id, peer_id, offence));
        !ids.is_empty()
    }

    fn blame_in(&mut self, id: SessionId, peer_id: PeerId, offence: Offence) {
        let Some(active) = self.sessions.get_mut(&id) else { return };
        let cids = active.session.on_offence(peer_id, offence);
        if let Some(peer) = self.peers.get_mut(&peer_id) {
            cids.iter().for_each(|cid| peer.release(cid, id));
        }
        self.touched.insert(peer_id);
    }

    fn blame_false_have(&mut self, peer_id: PeerId, cid: &Cid) {
        let is_false = |(_, active): &(&SessionId, &Active)| active.session.is_false_have(cid, &peer_id);
        let ids: Vec<_> = self.sessions.iter().filter(is_false).map(|(id, _)| *id).collect();
        ids.into_iter().for_each(|id| self.blame_in(id, peer_id, Offence::FalseHave));
    }

    fn on_refused(&mut self, peer_id: PeerId, cid: &Cid) {
        let answered = self.peers.get_mut(&peer_id).and_then(|peer| peer.wantlist.on_refused(cid));
        for id in answered.map(|answered| answered.owners).unwrap_or_default() {
            let Some(active) = self.sessions.get_mut(&id) else { continue };
            if active.session.on_refusal(cid, peer_id) == Refusal::Useless {
                self.drop_from(id, peer_id, DropReason::Useless);
            }
        }
    }

    /// Drops the peer from one session, and takes back the requests of that session.
    fn drop_from(&mut self, id: SessionId, peer_id: PeerId, reason: DropReason) {
        let Some(active) = self.sessions.get_mut(&id) else { return };
        let Some(cids) = active.session.drop_member(peer_id) else { return };
        active.session.output.send(SessionEvent::PeerDropped { peer: peer_id, reason });
        if let Some(peer) = self.peers.get_mut(&peer_id) {
            cids.iter().for_each(|cid| peer.release(cid, id));
        }
        self.touched.insert(peer_id);
    }

    fn drop_from_all(&mut self, peer_id: PeerId, reason: DropReason, now: Instant) {
        let ids: Vec<_> = self.sessions.keys().copied().collect();
        ids.into_iter().for_each(|id| self.drop_from(id, peer_id, reason));
        self.fill_all(now);
    }

    /// Excludes a peer until it connects anew. Returns whether a session was notified of the offence.
    pub(super) fn ban(&mut self, peer_id: PeerId, offence: Offence, now: Instant) -> bool {
        let of_peer = |(_, active): &(&SessionId, &Active)| active.session.members().contains_key(&peer_id);
        let ids: Vec<_> = self.sessions.iter().filter(of_peer).map(|(id, _)| *id).collect();
        ids.iter().for_each(|id| self.blame_in(*id, peer_id, offence));
        self.exclude(peer_id, Standing::Banned, DropReason::Misbehaved, now);
        if !ids.is_empty() {
            self.note_blamed(peer_id, now);
        }
        !ids.is_empty()
    }

    fn note_blamed(&mut self, peer_id: PeerId, now: Instant) {
        self.blamed_lately.retain(|_, at| now.saturating_duration_since(*at) < BLAME_HOLDS);
        if self.blamed_lately.len() < MAX_BLAMED_LATELY {
            self.blamed_lately.insert(peer_id, now);
        }
    }

    /// Whether a session, which may be closed by now, was recently notified of an offence of the peer.
    fn was_blamed_lately(&self, peer_id: &PeerId, now: Instant) -> bool {
        self.blamed_lately.get(peer_id).is_some_and(|at| now.saturating_duration_since(*at) < BLAME_HOLDS)
    }

    fn exclude(&mut self, peer_id: PeerId, standing: Standing, reason: DropReason, now: Instant) {
        if let Some(peer) = self.peers.get_mut(&peer_id) {
            peer.standing = standing;
        }
        self.drop_questions(peer_id);
        self.drop_from_all(peer_id, reason, now);
    }

    /// Returns the next message of wants for the peer; `None` while one is being written.
    pub(super) fn next_update(&mut self, peer_id: &PeerId) -> Option<Message> {
        let peer = self.peers.get_mut(peer_id)?;
        if peer.updating || peer.standing == Standing::Unsupported {
            return None;
        }
        let message = peer.wantlist.next_update()?;
        peer.updating = true;
        Some(message)
    }

    /// A message of wants was written. `says_no`: the negotiated version of the protocol has a DONT_HAVE.
    pub(super) fn on_update_sent(&mut self, peer_id: PeerId, says_no: bool) {
        if let Some(peer) = self.peers.get_mut(&peer_id) {
            peer.updating = false;
            peer.says_no = says_no;
            self.touched.insert(peer_id);
        }
    }

    /// A message of wants could not be written, or the connection changed: everything must be sent again.
    /// `unsupported`: the peer does not support Bitswap.
    pub(super) fn on_update_failed(&mut self, peer_id: PeerId, unsupported: bool, now: Instant) {
        let Some(peer) = self.peers.get_mut(&peer_id) else { return };
        peer.updating = false;
        peer.wantlist.resync();
        self.touched.insert(peer_id);
        if unsupported {
            self.exclude(peer_id, Standing::Unsupported, DropReason::Unsupported, now);
        }
    }

    /// The rate of a connected peer in bytes per second, if it was measured.
    pub(super) fn rate_of(&self, peer_id: &PeerId) -> Option<f64> {
        self.peers.get(peer_id)?.meter.measured_rate()
    }

    /// Whether the client needs the connection to this peer.
    pub(super) fn uses(&self, peer_id: &PeerId) -> bool {
        self.peers.get(peer_id).is_some_and(|peer| !peer.wantlist.is_empty() || peer.requests.live() > 0)
            || self.sessions.values().any(|active| active.session.members().contains_key(peer_id))
    }

    pub(super) fn take_touched(&mut self) -> HashSet<PeerId> {
        std::mem::take(&mut self.touched)
    }

    /// Continues sessions whose consumers have caught up, and closes those whose consumers are gone. Wakes `waker` when
    /// there are more.
    pub(super) fn poll_consumers(&mut self, waker: &Waker, now: Instant) {
        let changed = |active: &Active| active.session.output.poll_changed(waker);
        let ids: Vec<_> = self.sessions.iter().filter(|(_, active)| changed(active)).map(|(id, _)| *id).collect();
        for id in ids {
            if self.sessions[&id].session.output.is_closed() {
                self.close(id);
            } else {
                self.fill(id, now);
            }
        }
    }
}

#[cfg(test)]
mod tests;
