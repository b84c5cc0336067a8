//! One fetch: which blocks are wanted, and which peer gets which request. No I/O and no clock: the
//! scheduler asks for the next wants of a peer, and reports the outcome.
//!
//! A want is *queued* (requested from no peer), *asked* (requested from one peer, at the end of a session perhaps from
//! two), or *stuck* (every member refused). Members that are *held back*, for their reputation or for their offences in
//! this session, get requests only when other members do not deliver; the scheduler decides when that is. Each member has
//! a cursor into the queue. It has refused every queued want below its cursor, so that the choice of wants needs no
//! search.

mod manifest;
mod silence;
mod ties;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque},
    sync::Arc,
};

use ggen_blockstore::Cid;
use libp2p::PeerId;

pub(super) use self::manifest::Asking;
pub use self::manifest::{BlockWant, ListSource, Place};
use self::ties::Ties;
use crate::node::exchange::{
    channel::{Credit, Offence, SessionEvent, cost},
    prior::Prior,
};

/// Maximum number of members of a session.
pub(super) const MAX_SESSION_PEERS: usize = 64;
/// Maximum number of peers that become members when they connect; the oldest are dropped. Third parties name them, and
/// they may not exist: they must take no room from connected peers.
const MAX_CANDIDATES: usize = 256;
/// Number of consecutive DONT_HAVEs after which a member gets no more requests (Kubo's number). If no pending request
/// of it remains, it is useless.
pub(super) const MAX_REFUSALS: u32 = 16;
/// Maximum number of blocks requested at once from a member that has sent neither a block nor a HAVE.
const MAX_UNPROVEN_WANTS: usize = 64;
/// The same for blocks of unknown size.
const MAX_UNPROVEN_UNSIZED_WANTS: usize = 16;
/// Assumed size of a block while none has arrived, in bytes.
const ASSUMED_BLOCK_BYTES: f64 = 32_768.0;
/// Minimum credit of the consumer that a block of unknown size takes, in bytes: small blocks may be followed by large
/// ones.
const MIN_RESERVE_BYTES: u64 = 128 << 10;
/// Number of blocks requested from a member whatever its window, so that it is never idle between two requests.
pub(super) const MIN_ASKED: usize = 2;
/// Maximum number of peers whose priors, and whose offences, a session remembers.
const MAX_REMEMBERED: usize = 1024;
/// Maximum number of peers from which one block is requested at the same time.
const MAX_ASKED: usize = 2;

#[derive(Debug)]
struct Want {
    cid: Cid,
    /// Its size in bytes, if the caller knows it.
    size: Option<u64>,
    /// Its place in the session's manifest.
    place: Option<Place>,
    /// Bytes of the consumer's credit that each request for it takes.
    reserve: u64,
    /// Bytes of a peer's window that each request for it takes.
    charge: u64,
    asked: Vec<PeerId>,
    refused: Vec<PeerId>,
    /// Peers that did not answer a request for it: they may have it.
    silent: Vec<PeerId>,
    /// Peers that got a presence query for it, members or not.
    questioned: Vec<PeerId>,
    /// Members that sent a HAVE for it.
    had: Vec<PeerId>,
}

/// A connected peer in a session.
#[derive(Debug, Default)]
pub(super) struct Member {
    /// It sent a block or a HAVE.
    proven: bool,
    cursor: u64,
    refusals: u32,
    asked: usize,
    /// It sent a block.
    delivered: bool,
    /// It sent none for so long that other members are preferred.
    late: bool,
}

/// The effect of a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    Noted,
    /// The member refused too many blocks in a row.
    Useless,
}

/// The wants and the members of a session.
#[derive(Debug)]
pub(super) struct Session {
    consumer: Arc<Credit>,
    /// Events for the consumer, and the bytes of its credit that they take.
    events: Vec<SessionEvent>,
    event_bytes: u64,
    wants: BTreeMap<u64, Want>,
    sequences: HashMap<Cid, u64>,
    queue: BTreeSet<u64>,
    stuck: BTreeSet<u64>,
    next_sequence: u64,
    members: HashMap<PeerId, Member>,
    /// Peers that are not connected, the oldest first.
    candidates: VecDeque<PeerId>,
    ties: Ties,
    /// The prior of each peer from when this session first met it; it does not change within the session.
    priors: HashMap<PeerId, Prior>,
    /// What peers did wrong in this session.
    offenders: HashMap<PeerId, HashSet<Offence>>,
    /// Peers that fell silent, and have sent no block since.
    stalled: HashSet<PeerId>,
    /// Peers with a lower reputation get no requests.
    least_reputation: f64,
    /// The manifest that wants have places in.
    list: Option<ListSource>,
    /// Members that get no bulk requests: their blocks are requested over Bitswap.
    unlisted: HashSet<PeerId>,
    average_bytes: f64,
    /// Bytes of credit that pending requests take.
    asked_bytes: u64,
}

impl Session {
    pub(super) fn new(consumer: Arc<Credit>, least_reputation: f64) -> Self {
        Self {
            consumer,
            events: Vec::new(),
            event_bytes: 0,
            wants: BTreeMap::new(),
            sequences: HashMap::new(),
            queue: BTreeSet::new(),
            stuck: BTreeSet::new(),
            next_sequence: 0,
            members: HashMap::new(),
            candidates: VecDeque::new(),
            ties: Ties::default(),
            priors: HashMap::new(),
            offenders: HashMap::new(),
            stalled: HashSet::new(),
            least_reputation,
            list: None,
            unlisted: HashSet::new(),
            average_bytes: ASSUMED_BLOCK_BYTES,
            asked_bytes: 0,
        }
    }

    pub(super) fn wanted(&self) -> usize {
        self.wants.len()
    }

    pub(super) fn has_queued(&self) -> bool {
        !self.queue.is_empty()
    }

    /// Queues an event for the consumer.
    pub(super) fn emit(&mut self, event: SessionEvent) {
        self.event_bytes += cost(&event);
        self.events.push(event);
    }

    pub(super) fn take_events(&mut self) -> Vec<SessionEvent> {
        self.event_bytes = 0;
        std::mem::take(&mut self.events)
    }

    /// Returns how many bytes may be requested for the consumer.
    pub(super) fn credit(&self) -> u64 {
        self.consumer.room(self.asked_bytes + self.event_bytes)
    }

    /// Whether the consumer is slower than the peers.
    pub(super) fn is_behind(&self) -> bool {
        self.consumer.is_behind()
    }

    pub(super) fn members(&self) -> &HashMap<PeerId, Member> {
        &self.members
    }

    /// Whether the peer becomes a member when it connects.
    pub(super) fn is_candidate(&self, peer: &PeerId) -> bool {
        self.candidates.contains(peer) || self.misses(peer).is_some()
    }

    /// Returns at most `limit` wants for which more peers are needed: those that no member can provide and those that
    /// are queued, else any.
    pub(super) fn needed(&self, limit: usize) -> Vec<Cid> {
        let mut sequences: Vec<_> = self.stuck.iter().chain(&self.queue).take(limit).collect();
        if sequences.is_empty() {
            sequences = self.wants.keys().take(limit).collect();
        }
        sequences.into_iter().map(|sequence| self.wants[sequence].cid).collect()
    }

    pub(super) fn is_stuck(&self) -> bool {
        !self.stuck.is_empty()
    }

    /// All wants, in sequence.
    pub(super) fn cids(&self) -> impl Iterator<Item = &Cid> {
        self.wants.values().map(|want| &want.cid)
    }

    /// Adds a want at the end. Returns whether it is new.
    pub(super) fn want(&mut self, want: BlockWant) -> bool {
        let BlockWant { cid, size, place } = want;
        if self.sequences.contains_key(&cid) {
            return false;
        }
        let sequence = self.next_sequence;
        self.next_sequence += 1;
        self.sequences.insert(cid, sequence);
        let want = Want {
            cid,
            size,
            place,
            reserve: 0,
            charge: 0,
            asked: Vec::new(),
            refused: Vec::new(),
            silent: Vec::new(),
            questioned: Vec::new(),
            had: Vec::new(),
        };
        self.wants.insert(sequence, want);
        self.queue.insert(sequence);
        true
    }

    /// Removes a want. Returns the peers that got a request or a presence query for it, `None` if it is not wanted.
    pub(super) fn remove(&mut self, cid: &Cid) -> Option<Vec<PeerId>> {
        let sequence = self.sequences.remove(cid)?;
        self.queue.remove(&sequence);
        self.stuck.remove(&sequence);
        let want = self.wants.remove(&sequence)?;
        self.asked_bytes -= want.reserve * want.asked.len() as u64;
        for peer in &want.asked {
            if let Some(member) = self.members.get_mut(peer) {
                member.asked -= 1;
            }
        }
        let mut involved = want.asked;
        involved.extend(want.refused);
        involved.extend(want.questioned);
        Some(involved)
    }

    /// A block arrived. Returns the peers that got a request or a presence query for it, `None` if it is not wanted.
    pub(super) fn on_block(&mut self, cid: &Cid, bytes: usize, from: PeerId) -> Option<Vec<PeerId>> {
        let involved = self.remove(cid)?;
        let (average, bytes) = (self.average_bytes, bytes as f64);
        // Growth counts at once, so that requests fit the window and the credit.
        self.average_bytes = if bytes > average { (average + bytes) / 2.0 } else { average * 0.95 + bytes * 0.05 };
        if let Some(member) = self.members.get_mut(&from) {
            member.proven = true;
            member.delivered = true;
            member.refusals = 0;
            self.keep_to(from);
        }
        Some(involved)
    }

    /// Adds a connected peer, and queues the stuck wants again. Returns whether there was room.
    pub(super) fn add_member(&mut self, peer: PeerId) -> bool {
        self.candidates.retain(|candidate| *candidate != peer);
        if !self.members.contains_key(&peer) {
            if self.members.len() >= MAX_SESSION_PEERS {
                return false;
            }
            self.members.insert(peer, Member::default());
            self.note_regained(peer);
        }
        self.unstick();
        true
    }

    /// Stores a peer that becomes a member when it connects.
    pub(super) fn add_candidate(&mut self, peer: PeerId) {
        if self.members.contains_key(&peer) || self.candidates.contains(&peer) {
            return;
        }
        if self.candidates.len() >= MAX_CANDIDATES {
            self.candidates.pop_front();
        }
        self.candidates.push_back(peer);
    }

    /// Returns the member to drop so that `peer` can become one: a member that is held back, or one that has sent
    /// neither a block nor a HAVE. If the peer `has` a wanted block, that may be any of the latter, the least useful
    /// first; otherwise it is one that has only refused so far. `None` if there is room, or no such member.
    pub(super) fn outdone_by(&self, peer: &PeerId, has: bool) -> Option<PeerId> {
        if self.members.len() < MAX_SESSION_PEERS || self.members.contains_key(peer) {
            return None;
        }
        let held_back = self.members.keys().find(|member| self.is_held_back(member));
        if let Some(held_back) = held_back.filter(|_| !self.is_held_back(peer)) {
            return Some(*held_back);
        }
        let only_refused = |member: &Member| member.refusals > 0 && member.asked == 0;
        let unproven = self.members.iter().filter(|(_, member)| !member.proven && (has || only_refused(member)));
        unproven.max_by_key(|(_, member)| (member.asked == 0, member.refusals)).map(|(peer, _)| *peer)
    }

    /// Queues the stuck wants again, for members that have not refused them.
    fn unstick(&mut self) {
        for sequence in std::mem::take(&mut self.stuck) {
            self.enqueue(sequence);
        }
    }

    /// Forgets the refusals of the stuck wants: every member may get requests for them again.
    pub(super) fn retry_stuck(&mut self) {
        for sequence in &self.stuck {
            if let Some(want) = self.wants.get_mut(sequence) {
                want.refused.clear();
                want.silent.clear();
            }
        }
        self.unstick();
    }

    fn enqueue(&mut self, sequence: u64) {
        let Some(want) = self.wants.get(&sequence) else { return };
        let mut able = false;
        for (peer, member) in &mut self.members {
            if !want.refused.contains(peer) {
                member.cursor = member.cursor.min(sequence);
                able = true;
            }
        }
        if able || self.members.is_empty() {
            self.queue.insert(sequence);
        } else {
            self.stuck.insert(sequence);
        }
    }

    /// Records a presence query. Returns false if the peer got one for this block before, or the block is not wanted.
    pub(super) fn question(&mut self, cid: &Cid, peer: PeerId) -> bool {
        let want = self.sequences.get(cid).and_then(|sequence| self.wants.get_mut(sequence));
        let Some(want) = want.filter(|want| !want.questioned.contains(&peer)) else { return false };
        want.questioned.push(peer);
        true
    }

    /// The member sent a HAVE for this block.
    pub(super) fn on_have(&mut self, cid: &Cid, peer: PeerId) {
        if let Some(member) = self.members.get_mut(&peer) {
            member.proven = true;
            member.refusals = 0;
            self.keep_to(peer);
        }
        let Some(sequence) = self.sequences.get(cid) else { return };
        let Some(want) = self.wants.get_mut(sequence) else { return };
        if !want.had.contains(&peer) && want.had.len() < MAX_SESSION_PEERS {
            want.had.push(peer);
        }
        want.refused.retain(|refused| *refused != peer);
        want.silent.retain(|silent| *silent != peer);
        if want.asked.is_empty() {
            let sequence = *sequence;
            self.stuck.remove(&sequence);
            self.enqueue(sequence);
        }
    }

    /// The member does not have this block, or did not answer in time.
    pub(super) fn on_refusal(&mut self, cid: &Cid, peer: PeerId) -> Refusal {
        self.unask(cid, peer, true);
        let Some(member) = self.members.get_mut(&peer) else { return Refusal::Noted };
        member.refusals += 1;
        // Refusals arrive at once, blocks one after the other: the member is judged when no request is pending.
        if member.refusals >= MAX_REFUSALS && member.asked == 0 { Refusal::Useless } else { Refusal::Noted }
    }

    /// Members that refused too many blocks and have no pending requests.
    pub(super) fn useless(&self) -> Vec<PeerId> {
        let useless = |member: &Member| member.refusals >= MAX_REFUSALS && member.asked == 0;
        self.members.iter().filter(|(_, member)| useless(member)).map(|(peer, _)| *peer).collect()
    }

    /// Whether the member sent a HAVE for this block, and the block is requested from it.
    pub(super) fn is_false_have(&self, cid: &Cid, peer: &PeerId) -> bool {
        let want = self.sequences.get(cid).and_then(|sequence| self.wants.get(sequence));
        want.is_some_and(|want| want.had.contains(peer) && want.asked.contains(peer))
    }

    /// Returns the prior of a peer from when the session first met it; `ask` is called for it then.
    pub(super) fn prior(&mut self, peer: PeerId, ask: impl FnOnce() -> Prior) -> Prior {
        if let Some(prior) = self.priors.get(&peer) {
            return *prior;
        }
        let prior = ask();
        if self.priors.len() < MAX_REMEMBERED {
            self.priors.insert(peer, prior);
        }
        prior
    }

    /// Whether a peer with this prior gets no requests at all.
    pub(super) fn leaves_out(&self, prior: &Prior) -> bool {
        prior.reputation < self.least_reputation
    }

    /// Whether the peer gets requests only if other members do not deliver.
    pub(super) fn is_held_back(&self, peer: &PeerId) -> bool {
        self.priors.get(peer).is_some_and(|prior| prior.held_back)
            || self.offenders.contains_key(peer)
            || self.members.get(peer).is_some_and(|member| member.late)
    }

    /// Whether any member may get requests at any time.
    pub(super) fn has_active_members(&self) -> bool {
        self.members.keys().any(|peer| !self.is_held_back(peer))
    }

    /// Records an offence, and takes back the requests to the peer as if it had refused. Returns their blocks.
    pub(super) fn on_offence(&mut self, peer: PeerId, offence: Offence) -> Vec<Cid> {
        if self.offenders.len() >= MAX_REMEMBERED && !self.offenders.contains_key(&peer) {
            return Vec::new();
        }
        if self.offenders.entry(peer).or_default().insert(offence) {
            self.emit(SessionEvent::Offended { peer, offence });
        }
        let of_peer = |want: &&Want| want.asked.contains(&peer);
        let cids: Vec<Cid> = self.wants.values().filter(of_peer).map(|want| want.cid).collect();
        cids.iter().for_each(|cid| self.unask(cid, peer, true));
        if offence == Offence::Stalled {
            self.note_silent(peer, &cids);
        }
        cids
    }

    /// Whether the peer committed an offence in this session.
    pub(super) fn has_offended(&self, peer: &PeerId) -> bool {
        self.offenders.contains_key(peer)
    }

    /// Whether the member has sent a block.
    pub(super) fn has_delivered(&self, peer: &PeerId) -> bool {
        self.members.get(peer).is_some_and(|member| member.delivered)
    }

    /// Records that a member is late: other members are preferred.
    pub(super) fn on_late(&mut self, peer: PeerId) {
        if let Some(member) = self.members.get_mut(&peer).filter(|member| !member.late) {
            member.late = true;
            self.emit(SessionEvent::Late { peer });
        }
    }

    /// The peer sent a requested block, in this session or another.
    pub(super) fn on_answer(&mut self, peer: PeerId) {
        if let Some(member) = self.members.get_mut(&peer)
            && std::mem::take(&mut member.late)
        {
            self.emit(SessionEvent::Answered { peer });
        }
        self.forgive_silence(peer);
    }

    fn unask(&mut self, cid: &Cid, peer: PeerId, refused: bool) {
        let Some(&sequence) = self.sequences.get(cid) else { return };
        let Some(want) = self.wants.get_mut(&sequence) else { return };
        if refused && !want.refused.contains(&peer) {
            want.refused.push(peer);
        }
        let before = want.asked.len();
        want.asked.retain(|asked| *asked != peer);
        if want.asked.len() == before {
            return;
        }
        self.asked_bytes -= want.reserve;
        let idle = want.asked.is_empty();
        if let Some(member) = self.members.get_mut(&peer) {
            member.asked -= 1;
        }
        if idle {
            self.enqueue(sequence);
        }
    }

    /// Takes back all requests to the peer, and returns their blocks.
    fn unask_all(&mut self, peer: PeerId) -> Vec<Cid> {
        let of_peer = |want: &&Want| want.asked.contains(&peer);
        let cids: Vec<Cid> = self.wants.values().filter(of_peer).map(|want| want.cid).collect();
        cids.iter().for_each(|cid| self.unask(cid, peer, false));
        cids
    }

    /// The peer disconnected, and may reconnect.
    pub(super) fn on_disconnected(&mut self, peer: PeerId) {
        for want in self.wants.values_mut() {
            want.refused.retain(|other| *other != peer);
            want.silent.retain(|other| *other != peer);
            want.questioned.retain(|other| *other != peer);
        }
        let delivered = self.has_delivered(&peer);
        if self.drop_member(peer).is_some() {
            self.add_candidate(peer);
            self.note_lost(peer, delivered);
        }
    }

    /// Drops a peer. Returns the blocks that were requested from it, `None` if it was no member.
    pub(super) fn drop_member(&mut self, peer: PeerId) -> Option<Vec<Cid>> {
        self.candidates.retain(|candidate| *candidate != peer);
        self.members.remove(&peer)?;
        let cids = self.unask_all(peer);
        self.settle_queue();
        Some(cids)
    }

    /// Moves queued wants that no member can provide to the stuck ones.
    fn settle_queue(&mut self) {
        for sequence in std::mem::take(&mut self.queue) {
            self.enqueue(sequence);
        }
    }

    /// Chooses the next want to request from `peer`, and records the request. `room`: bytes left in the peer's window,
    /// `credit`: bytes that the consumer has room for. Returns the CID, and the bytes of the window that it takes.
    pub(super) fn next_for(&mut self, peer: PeerId, room: u64, credit: u64) -> Option<(Cid, u64)> {
        let member = self.members.get_mut(&peer)?;
        if member.refusals >= MAX_REFUSALS {
            return None;
        }
        let refused = |sequence: &&u64| self.wants[*sequence].refused.contains(&peer);
        let sequence = *self.queue.range(member.cursor..).find(|sequence| !refused(sequence))?;
        member.cursor = sequence;
        let want = self.wants.get_mut(&sequence)?;
        let charge = want.size.unwrap_or(self.average_bytes as u64);
        let reserve = want.size.unwrap_or(charge.max(MIN_RESERVE_BYTES));
        let unproven_limit = if want.size.is_some() { MAX_UNPROVEN_WANTS } else { MAX_UNPROVEN_UNSIZED_WANTS };
        if (!member.proven && member.asked >= unproven_limit)
            || (charge > room && member.asked >= MIN_ASKED)
            || reserve > credit
        {
            return None;
        }
        self.queue.remove(&sequence);
        (want.charge, want.reserve) = (charge, reserve);
        want.asked.push(peer);
        member.asked += 1;
        member.cursor = sequence + 1;
        self.asked_bytes += reserve;
        Some((want.cid, charge))
    }

    /// Chooses a want that is requested from `slow` alone to request it from `fast` too: the last one, which `slow`
    /// would send last.
    pub(super) fn duplicate_for(&mut self, fast: PeerId, slow: PeerId) -> Option<Asking> {
        let member = self.members.get_mut(&fast)?;
        let may_be_duplicated = |want: &Want| {
            want.asked.len() < MAX_ASKED
                && want.asked.contains(&slow)
                && !want.asked.contains(&fast)
                && !want.refused.contains(&fast)
        };
        let want = self.wants.values_mut().rev().find(|want| may_be_duplicated(want))?;
        want.asked.push(fast);
        member.asked += 1;
        self.asked_bytes += want.reserve;
        Some(Asking { cid: want.cid, charge: want.charge, size: want.size, place: want.place })
    }

    /// The number of blocks that are requested from the peer.
    pub(super) fn asked_of(&self, peer: &PeerId) -> usize {
        self.members.get(peer).map_or(0, |member| member.asked)
    }
}

#[cfg(test)]
mod tests;
