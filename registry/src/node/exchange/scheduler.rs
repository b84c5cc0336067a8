//! Which peer gets which request over which protocol, and when a peer is given up: (event, now) -> actions. No I/O, clock
//! or randomness.
//!
//! ```text
//! Scheduler ─┬─ Sessions ── Fetch*   a session with its timing, its members, and which of them gets which want
//!            ├─ Peers ───── Peer*    the connected peers: what is requested from each, and how fast it is
//!            └─ PresenceQueries      queries that belong to no session
//! ```

mod assignment;
mod bulk;
mod bulk_requests;
mod event;
mod fetch;
mod patience;
mod peer;
mod peers;
mod presence;
mod sessions;
mod tick;

use std::{sync::Arc, time::Instant};

use ggen_blockstore::{Block, Cid};
use libp2p::PeerId;

pub use self::presence::MAX_PRESENCE_QUERY_CIDS;
pub(super) use self::{
    event::{Action, Event},
    tick::TICK_EVERY,
};
use self::{peer::Standing, peers::Peers, presence::PresenceQueries, sessions::Sessions};
use crate::node::exchange::{
    SessionId,
    accounts::Misbehaviour,
    bitswap::{self, Arrived, FrameError, Malformed, Presence},
    channel::{DropReason, Offence},
    prior::Priors,
    session::Session,
};

/// Maximum number of unrequested blocks that a peer may send before it is banned.
const MAX_UNASKED_BLOCKS: u32 = 8;
/// While the peer has pending requests, this many unrequested blocks count as wrong answers. One may be left over from
/// an earlier connection.
const WRONG_BLOCKS: u32 = 2;

/// Decides about the requests of all sessions.
#[derive(Debug)]
pub(super) struct Scheduler {
    sessions: Sessions,
    peers: Peers,
    queries: PresenceQueries,
    ticked_at: Option<Instant>,
    /// What peers have sent, and what they did wrong.
    observed: Vec<Action>,
}

/// The blocks of a message.
#[derive(Debug)]
struct Sorted {
    /// Those that a session wants.
    wanted: Vec<Block>,
    /// Those that answer a want of the want-list, with its sessions and queries.
    there: Vec<(Cid, Vec<SessionId>)>,
    /// The number of blocks that were requested and that no session wants any more, and of those never requested.
    unwanted: u64,
    /// When the last of the answered wants was sent, and the total size of their blocks in bytes.
    asked_at: Option<Instant>,
    answered_bytes: u64,
    /// A requested block is among them.
    answers: bool,
}

impl Scheduler {
    pub(super) fn new(priors: Arc<dyn Priors>) -> Self {
        Self {
            sessions: Sessions::default(),
            peers: Peers::new(priors),
            queries: PresenceQueries::default(),
            ticked_at: None,
            observed: Vec::new(),
        }
    }

    /// Handles an event. Returns what is to be done, in this sequence.
    pub(super) fn on(&mut self, event: Event, now: Instant) -> Vec<Action> {
        self.handle(event, now);
        let mut actions = std::mem::take(&mut self.observed);
        actions.extend(self.sessions.take_actions());
        actions.extend(self.queries.take_actions());
        actions.extend(self.peers.take_actions(|peer_id| self.sessions.use_peer(peer_id)));
        actions
    }

    fn handle(&mut self, event: Event, now: Instant) {
        let Self { sessions, peers, queries, .. } = self;
        match event {
            Event::Open { id, credit, least_reputation } => {
                sessions.open(id, Session::new(credit, least_reputation), now)
            }
            Event::Describe(id, list) => {
                if let Some(fetch) = sessions.get_mut(id) {
                    fetch.session.describe(list);
                }
            }
            Event::Want(id, wants) => sessions.want(id, wants, peers, now),
            Event::Cancel(id, cids) => sessions.cancel(id, &cids, peers),
            Event::AddPeer { id, peer, named } => {
                if let Some(fetch) = sessions.get_mut(id).filter(|_| named) {
                    fetch.session.keep_to(peer);
                }
                sessions.add_peer(id, peer, peers, now);
            }
            Event::HasRoom(id) => {
                if let Some(fetch) = sessions.get_mut(id) {
                    fetch.fill(peers, now);
                }
            }
            Event::Query { id, peer, cids } => queries.start(id, peer, cids, peers, now),
            Event::Close(id) => {
                sessions.close(id, peers);
                queries.end(id, false, peers);
            }
            Event::Connected(peer) => {
                peers.connect(peer);
                sessions.on_connected(peer, peers, now);
            }
            Event::Disconnected(peer) => {
                queries.drop_peer(peer, peers);
                peers.disconnect(&peer);
                sessions.iter_mut().for_each(|fetch| fetch.session.on_disconnected(peer));
                sessions.fill_all(peers, now);
            }
            Event::Unreachable { peer, reason } => {
                sessions.iter_mut().for_each(|fetch| fetch.session.on_unreachable(peer, &reason));
            }
            Event::Bitswap(peer, event) => self.on_bitswap(peer, event, now),
            Event::Bulk(event) => self.on_bulk(event, now),
            Event::Tick => self.tick(now),
        }
    }

    /// Whether any session wants a block, or a presence query is pending: time matters.
    pub(super) fn is_busy(&self) -> bool {
        !self.queries.is_empty() || self.sessions.iter().any(|fetch| fetch.session.wanted() > 0)
    }

    /// Whether a session has use for a connection to the peer.
    pub(super) fn has_use_for(&self, peer_id: &PeerId) -> bool {
        self.sessions.iter().any(|fetch| fetch.session.has_use_for(peer_id))
    }

    /// If a session has lost the connection to the peer, returns whether the peer had sent a block over it.
    pub(super) fn misses(&self, peer_id: &PeerId) -> Option<bool> {
        let missed = self.sessions.iter().filter_map(|fetch| fetch.session.misses(peer_id));
        missed.reduce(|one, other| one || other)
    }

    /// The rate of a connected peer in bytes per second, if it was measured.
    pub(super) fn rate_of(&self, peer_id: &PeerId) -> Option<f64> {
        self.peers.get(peer_id)?.meter.measured_rate()
    }

    fn on_bitswap(&mut self, peer_id: PeerId, event: bitswap::Event, now: Instant) {
        match event {
            bitswap::Event::Arrived(Arrived { blocks, presences, frame_bytes, oversized, refused_blocks, .. }) => {
                if !blocks.is_empty() || refused_blocks > 0 {
                    self.on_blocks(peer_id, blocks, refused_blocks, frame_bytes, now);
                }
                self.on_oversized(peer_id, oversized, now);
                self.on_presences(peer_id, &presences, now);
            }
            bitswap::Event::Progress => {
                if let Some(peer) = self.peers.get_mut(&peer_id) {
                    peer.meter.on_sign(now);
                }
            }
            bitswap::Event::WantsSent { says_no } => {
                if let Some(peer) = self.peers.change(peer_id) {
                    peer.updating = false;
                    peer.says_no = says_no;
                }
            }
            bitswap::Event::WantsLost { unsupported } => self.on_wants_lost(peer_id, unsupported, now),
            // An honest peer sends that much only if the requested block exceeds the maximum block size.
            bitswap::Event::Malformed(Malformed::Frame(FrameError::TooLong)) if self.on_too_long(peer_id, now) => {}
            bitswap::Event::Malformed(error) => {
                let blamed = self.ban(peer_id, Offence::Malformed, now);
                let reason = Misbehaviour::Malformed { detail: error.to_string() };
                self.observed.push(Action::Report { peer: peer_id, reason, blamed });
            }
            // The accounts count it.
            bitswap::Event::Served { .. } => {}
        }
    }

    /// Handles the blocks of a message, each verified to hash to its CID, and `refused` blocks for which no CID can be
    /// computed.
    fn on_blocks(&mut self, peer_id: PeerId, blocks: Vec<Block>, refused: u32, frame_bytes: usize, now: Instant) {
        let Some(peer) = self.peers.unbanned(&peer_id) else { return };
        peer.meter.on_sign(now);
        let unasked_before = peer.unasked;
        peer.unasked += refused;
        let Some(sorted) = self.sort(&peer_id, blocks) else { return };
        let Sorted { wanted, there, unwanted, asked_at, answered_bytes, answers } = sorted;
        // Small blocks are sent in place of a HAVE.
        there.iter().for_each(|(cid, owners)| self.queries.on_there(peer_id, cid, owners, &mut self.peers));
        let (blocks, bytes) = (wanted.len() as u64, wanted.iter().map(|block| block.data().len() as u64).sum());
        self.observed.push(Action::Count { peer: peer_id, blocks, bytes, unwanted });
        // A block that is a small part of a large message must not keep all of it in memory.
        let copy = bytes * 2 < frame_bytes as u64;
        for block in wanted {
            let block = if copy { block.into_owned() } else { block };
            self.sessions.deliver(&block, peer_id, &mut self.peers, now);
        }
        if let Some((asked_at, peer)) = asked_at.zip(self.peers.get_mut(&peer_id)) {
            let latency = now.saturating_duration_since(asked_at);
            peer.meter.on_bytes(answered_bytes, latency, peer.live() == 0, now);
        }
        self.judge_unasked(peer_id, unasked_before, answers, now);
        self.peers.change(peer_id);
        self.sessions.fill_all(&mut self.peers, now);
    }

    /// Removes the wants that these blocks answer from the peer's want-list.
    fn sort(&mut self, peer_id: &PeerId, blocks: Vec<Block>) -> Option<Sorted> {
        let peer = self.peers.get_mut(peer_id)?;
        let mut sorted = Sorted {
            wanted: Vec::with_capacity(blocks.len()),
            there: Vec::new(),
            unwanted: 0,
            asked_at: None,
            answered_bytes: 0,
            answers: false,
        };
        for block in blocks {
            let block = self.sessions.as_wanted(block);
            let was_asked = peer.wantlist.was_asked(block.cid());
            sorted.answers |= was_asked;
            if let Some(answered) = peer.wantlist.on_block(block.cid()) {
                sorted.there.push((*block.cid(), answered.owners));
                sorted.asked_at = sorted.asked_at.max(Some(answered.asked_at));
                sorted.answered_bytes += block.data().len() as u64;
            } else if !was_asked {
                peer.unasked += 1;
            }
            if was_asked && !self.sessions.wanting(block.cid()).is_empty() {
                sorted.wanted.push(block);
            } else {
                sorted.unwanted += 1;
            }
        }
        Some(sorted)
    }

    /// Judges a peer by the blocks that were not requested from it. `answers`: a requested one came with them.
    fn judge_unasked(&mut self, peer_id: PeerId, unasked_before: u32, answers: bool, now: Instant) {
        let Some(peer) = self.peers.get(&peer_id) else { return };
        let is_wrong = peer.unasked > unasked_before && peer.unasked >= WRONG_BLOCKS && peer.live() > 0;
        let is_misbehaviour = peer.unasked > MAX_UNASKED_BLOCKS;
        let mut blamed = is_wrong && self.sessions.blame(peer_id, Offence::WrongBytes, &mut self.peers);
        if blamed {
            self.peers.note_blamed(peer_id, now);
        }
        if answers {
            self.sessions.on_answer(peer_id);
        }
        if is_misbehaviour {
            // A peer that reconnects and continues where it was cut off was reported already.
            blamed |= self.peers.was_blamed_lately(&peer_id, now);
            blamed |= self.sessions.iter().any(|fetch| fetch.session.has_offended(&peer_id));
            blamed |= self.ban(peer_id, Offence::WrongBytes, now);
            self.observed.push(Action::Report { peer: peer_id, reason: Misbehaviour::UnaskedData, blamed });
        }
    }

    /// Blocks above the maximum size arrived. Sessions that want them are notified and want them no longer; a peer from
    /// which they were requested has answered.
    fn on_oversized(&mut self, peer_id: PeerId, blocks: Vec<(Cid, u64)>, now: Instant) {
        for (cid, bytes) in blocks {
            let Some(peer) = self.peers.unbanned(&peer_id) else { return };
            if !peer.wantlist.was_asked(&cid) {
                peer.unasked += 1;
                continue;
            }
            peer.meter.on_sign(now);
            self.sessions.on_answer(peer_id);
            self.sessions.give_up(cid, bytes, &mut self.peers);
            self.peers.change(peer_id);
        }
    }

    /// A message above the maximum length begins to arrive. Returns whether a pending request may explain it; then
    /// every session drops the peer, and none records an offence.
    fn on_too_long(&mut self, peer_id: PeerId, now: Instant) -> bool {
        let Some(peer) = self.peers.get_mut(&peer_id).filter(|peer| peer.live() > 0) else { return false };
        peer.meter.on_sign(now);
        self.sessions.on_answer(peer_id);
        self.sessions.drop_peer(peer_id, DropReason::TooLong, &mut self.peers, now);
        true
    }

    fn on_presences(&mut self, peer_id: PeerId, presences: &[(Cid, Presence)], now: Instant) {
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
                    let is_false = self.sessions.iter_mut().filter(|fetch| fetch.session.is_false_have(cid, &peer_id));
                    is_false.for_each(|fetch| fetch.blame(peer_id, Offence::FalseHave, &mut self.peers));
                    self.on_refused(peer_id, cid);
                    self.queries.on_not_there(peer_id, cid, &mut self.peers);
                }
                Presence::Have => {
                    let owners = peer.wantlist.on_have(cid);
                    self.queries.on_there(peer_id, cid, &owners, &mut self.peers);
                    for id in owners {
                        if let Some(fetch) = self.sessions.get_mut(id)
                            && fetch.join(peer_id, true, &mut self.peers)
                        {
                            fetch.session.on_have(cid, peer_id);
                        }
                    }
                }
            }
        }
        self.peers.change(peer_id);
        self.sessions.fill_all(&mut self.peers, now);
    }

    /// A peer does not have a block, or did not answer in time.
    fn on_refused(&mut self, peer_id: PeerId, cid: &Cid) {
        let answered = self.peers.get_mut(&peer_id).and_then(|peer| peer.wantlist.on_refused(cid));
        for id in answered.map(|answered| answered.owners).unwrap_or_default() {
            if let Some(fetch) = self.sessions.get_mut(id) {
                fetch.refuse(cid, peer_id, &mut self.peers);
            }
        }
    }

    /// A message of wants could not be written, or the connection changed: everything must be sent again.
    /// `unsupported`: the peer does not support Bitswap.
    fn on_wants_lost(&mut self, peer_id: PeerId, unsupported: bool, now: Instant) {
        let Some(peer) = self.peers.change(peer_id) else { return };
        peer.updating = false;
        peer.wantlist.resync();
        if unsupported {
            self.exclude(peer_id, Standing::Unsupported, DropReason::Unsupported, now);
        }
    }

    /// Excludes a peer until it connects anew. Returns whether a session was notified of the offence.
    fn ban(&mut self, peer_id: PeerId, offence: Offence, now: Instant) -> bool {
        let mut blamed = false;
        let of_peer = self.sessions.iter_mut().filter(|fetch| fetch.session.members().contains_key(&peer_id));
        for fetch in of_peer {
            fetch.blame(peer_id, offence, &mut self.peers);
            blamed = true;
        }
        self.exclude(peer_id, Standing::Banned, DropReason::Misbehaved, now);
        if blamed {
            self.peers.note_blamed(peer_id, now);
        }
        blamed
    }

    fn exclude(&mut self, peer_id: PeerId, standing: Standing, reason: DropReason, now: Instant) {
        if let Some(peer) = self.peers.get_mut(&peer_id) {
            peer.standing = standing;
        }
        self.queries.drop_peer(peer_id, &mut self.peers);
        self.sessions.drop_peer(peer_id, reason, &mut self.peers, now);
    }
}

#[cfg(test)]
mod tests;
