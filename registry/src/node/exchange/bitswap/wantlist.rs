//! What we want of one peer, and what of that it has been told.
//!
//! Several sessions may want the same block of the same peer: it is asked once, and the want is taken back when the
//! last of them lets go. A want that the peer answered with DONT_HAVE is *parked*: peers remember it and send the
//! block when they get it, so it must be taken back in the end, but it takes no room in the window.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    hash::{BuildHasher, RandomState},
    time::{Duration, Instant},
};

use ggen_blockstore::{Cid, Multihash};

use crate::node::exchange::{
    SessionId,
    bitswap::message::{MAX_WANTS_MESSAGE_BYTES, Message, Want, WantKind, max_want_len},
};

/// Most blocks asked of a peer at once: half of what Kubo remembers, since parked wants and questions count too.
pub(in crate::node::exchange) const MAX_LIVE_WANTS: usize = 512;
/// Most wants that a peer is left to remember after it said DONT_HAVE.
const MAX_PARKED_WANTS: usize = 256;
/// Most entries of one message.
const MAX_UPDATE_ENTRIES: usize = 1024;
/// How many of the blocks asked for lately are remembered, to know late duplicates from unasked data.
const MAX_RECENT: usize = 8192;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// The peer is to be told.
    Unsent,
    Sent,
    /// Answered with DONT_HAVE, or not in time.
    Parked,
}

#[derive(Debug)]
struct Entry {
    kind: WantKind,
    priority: i32,
    send_dont_have: bool,
    /// Its size, known or guessed.
    bytes: u64,
    owners: Vec<SessionId>,
    asked_at: Instant,
    state: State,
}

impl Entry {
    fn is_live(&self) -> bool {
        self.kind == WantKind::Block && self.state != State::Parked
    }
}

/// A want that was answered.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::node::exchange) struct Answered {
    pub(in crate::node::exchange) owners: Vec<SessionId>,
    pub(in crate::node::exchange) asked_at: Instant,
}

/// See the module's words.
#[derive(Debug)]
pub(in crate::node::exchange) struct Wantlist {
    entries: HashMap<Cid, Entry>,
    unsent: VecDeque<Cid>,
    cancels: Vec<Cid>,
    /// Everything must be said again, and replace what was said.
    resync: bool,
    /// Block wants in the order in which they were asked; outdated ones are skipped.
    by_age: VecDeque<(Instant, Cid)>,
    live: usize,
    live_bytes: u64,
    parked: usize,
    next_priority: i32,
    recent: Recent,
}

impl Wantlist {
    pub(in crate::node::exchange) fn new() -> Self {
        Self {
            entries: HashMap::new(),
            unsent: VecDeque::new(),
            cancels: Vec::new(),
            resync: false,
            by_age: VecDeque::new(),
            live: 0,
            live_bytes: 0,
            parked: 0,
            next_priority: i32::MAX,
            recent: Recent::default(),
        }
    }

    /// Number of blocks that the peer is asked for and has not answered.
    pub(in crate::node::exchange) fn live(&self) -> usize {
        self.live
    }

    /// Their bytes, as far as known.
    pub(in crate::node::exchange) fn live_bytes(&self) -> u64 {
        self.live_bytes
    }

    /// Everything that the peer is to remember.
    pub(in crate::node::exchange) fn entries(&self) -> usize {
        self.entries.len()
    }

    /// Nothing is wanted of the peer.
    pub(in crate::node::exchange) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Whether the peer was ever asked for this block, as far as remembered.
    pub(in crate::node::exchange) fn was_asked(&self, cid: &Cid) -> bool {
        self.entries.contains_key(cid) || self.recent.contains(cid.hash())
    }

    /// Asks the peer for a block of about `bytes`, for `owner`.
    pub(in crate::node::exchange) fn ask_block(&mut self, cid: Cid, bytes: u64, owner: SessionId, now: Instant) {
        self.ask(cid, WantKind::Block, true, bytes, owner, now);
    }

    /// Asks the peer whether it has a block; it answers only if so.
    pub(in crate::node::exchange) fn ask_have(&mut self, cid: Cid, owner: SessionId, now: Instant) {
        self.ask(cid, WantKind::Have, false, 0, owner, now);
    }

    /// Asks the peer whether it has a block; it answers in any case.
    pub(in crate::node::exchange) fn ask_whether(&mut self, cid: Cid, owner: SessionId, now: Instant) {
        self.ask(cid, WantKind::Have, true, 0, owner, now);
    }

    fn ask(&mut self, cid: Cid, kind: WantKind, send_dont_have: bool, bytes: u64, owner: SessionId, now: Instant) {
        if let Some(entry) = self.entries.get_mut(&cid) {
            if !entry.owners.contains(&owner) {
                entry.owners.push(owner);
            }
            let asked = entry.state != State::Parked && entry.kind >= kind;
            if asked || (kind == WantKind::Have && entry.kind == WantKind::Block) {
                return;
            }
            let owners = std::mem::take(&mut entry.owners);
            self.forget(&cid);
            self.insert(cid, kind, send_dont_have, bytes, owners, now);
        } else {
            self.insert(cid, kind, send_dont_have, bytes, vec![owner], now);
        }
    }

    fn insert(
        &mut self,
        cid: Cid,
        kind: WantKind,
        send_dont_have: bool,
        bytes: u64,
        owners: Vec<SessionId>,
        now: Instant,
    ) {
        let priority = self.next_priority;
        // Only the order counts; after two thousand million wants it may begin again.
        self.next_priority = if priority > 1 { priority - 1 } else { i32::MAX };
        let entry = Entry { kind, priority, send_dont_have, bytes, owners, asked_at: now, state: State::Unsent };
        if entry.is_live() {
            self.live += 1;
            self.live_bytes += bytes;
            self.by_age.push_back((now, cid));
            if self.by_age.len() > 4 * self.live + MAX_LIVE_WANTS {
                let entries = &self.entries;
                self.by_age.retain(|(_, cid)| entries.contains_key(cid));
            }
        }
        self.entries.insert(cid, entry);
        self.unsent.push_back(cid);
    }

    /// Lets `owner` no longer want the block of this peer.
    pub(in crate::node::exchange) fn release(&mut self, cid: &Cid, owner: SessionId) {
        let Some(entry) = self.entries.get_mut(cid) else { return };
        entry.owners.retain(|other| *other != owner);
        if entry.owners.is_empty() {
            self.cancel(cid);
        }
    }

    fn cancel(&mut self, cid: &Cid) {
        if let Some(entry) = self.forget(cid) {
            if entry.state != State::Unsent {
                self.cancels.push(*cid);
            }
            self.recent.insert(cid.hash());
        }
    }

    /// The block came from this peer, which has forgotten the want itself.
    pub(in crate::node::exchange) fn on_block(&mut self, cid: &Cid) -> Option<Answered> {
        let entry = self.forget(cid)?;
        self.recent.insert(cid.hash());
        Some(Answered { owners: entry.owners, asked_at: entry.asked_at })
    }

    /// The peer does not have the block, or did not say in time. Returns who must look elsewhere.
    pub(in crate::node::exchange) fn on_refused(&mut self, cid: &Cid) -> Option<Answered> {
        let entry = self.entries.get_mut(cid).filter(|entry| entry.is_live())?;
        let answered = Answered { owners: entry.owners.clone(), asked_at: entry.asked_at };
        entry.state = State::Parked;
        self.live -= 1;
        self.live_bytes -= entry.bytes;
        self.parked += 1;
        if self.parked > MAX_PARKED_WANTS {
            self.cancel(cid);
        }
        Some(answered)
    }

    /// The peer says that it has the block. Returns who asked.
    pub(in crate::node::exchange) fn on_have(&self, cid: &Cid) -> Vec<SessionId> {
        self.entries.get(cid).filter(|entry| !entry.is_live()).map(|entry| entry.owners.clone()).unwrap_or_default()
    }

    /// Blocks asked for longer than `limit` ago.
    pub(in crate::node::exchange) fn overdue(&mut self, now: Instant, limit: Duration) -> Vec<Cid> {
        let mut overdue = Vec::new();
        while let Some((asked_at, cid)) = self.by_age.front() {
            let current = self.entries.get(cid).is_some_and(|entry| entry.is_live() && entry.asked_at == *asked_at);
            if current && now.saturating_duration_since(*asked_at) <= limit {
                break;
            }
            if current {
                overdue.push(*cid);
            }
            self.by_age.pop_front();
        }
        overdue
    }

    /// What the peer was told may be lost: it is told everything again.
    pub(in crate::node::exchange) fn resync(&mut self) {
        self.resync = true;
        self.cancels.clear();
        let mut sent: Vec<_> = self.entries.iter_mut().filter(|(_, entry)| entry.state == State::Sent).collect();
        sent.sort_by_key(|(_, entry)| std::cmp::Reverse(entry.priority));
        for (cid, entry) in sent.into_iter().rev() {
            entry.state = State::Unsent;
            self.unsent.push_front(*cid);
        }
        let parked: Vec<Cid> =
            self.entries.iter().filter(|(_, entry)| entry.state == State::Parked).map(|(cid, _)| *cid).collect();
        parked.iter().for_each(|cid| drop(self.forget(cid)));
    }

    /// The next message for the peer, if there is anything to tell.
    pub(in crate::node::exchange) fn next_update(&mut self) -> Option<Message> {
        let mut message = Message { full: std::mem::take(&mut self.resync), ..Message::default() };
        let mut bytes = 64;
        for cid in self.cancels.drain(..) {
            // A block wanted anew must not be cancelled by the old want's end.
            if !self.entries.contains_key(&cid) {
                bytes += max_want_len(&cid);
                message.wants.push(Want {
                    cid,
                    kind: WantKind::Block,
                    priority: 0,
                    cancel: true,
                    send_dont_have: false,
                });
            }
        }
        while message.wants.len() < MAX_UPDATE_ENTRIES
            && bytes < MAX_WANTS_MESSAGE_BYTES / 2
            && let Some(cid) = self.unsent.pop_front()
        {
            let Some(entry) = self.entries.get_mut(&cid).filter(|entry| entry.state == State::Unsent) else { continue };
            entry.state = State::Sent;
            let Entry { kind, priority, send_dont_have, .. } = *entry;
            bytes += max_want_len(&cid);
            message.wants.push(Want { cid, kind, priority, cancel: false, send_dont_have });
        }
        (message.full || !message.wants.is_empty()).then_some(message)
    }

    fn forget(&mut self, cid: &Cid) -> Option<Entry> {
        let entry = self.entries.remove(cid)?;
        if entry.is_live() {
            self.live -= 1;
            self.live_bytes -= entry.bytes;
        } else if entry.state == State::Parked {
            self.parked -= 1;
        }
        if self.live == 0 {
            self.by_age.clear();
        }
        Some(entry)
    }
}

/// Fingerprints of the last [`MAX_RECENT`] blocks that are no longer wanted.
#[derive(Debug, Default)]
struct Recent {
    keys: RandomState,
    order: VecDeque<u64>,
    set: HashSet<u64>,
}

impl Recent {
    fn insert(&mut self, hash: &Multihash) {
        let fingerprint = self.keys.hash_one(hash);
        if self.set.insert(fingerprint) {
            self.order.push_back(fingerprint);
        }
        if self.order.len() > MAX_RECENT
            && let Some(oldest) = self.order.pop_front()
        {
            self.set.remove(&oldest);
        }
    }

    fn contains(&self, hash: &Multihash) -> bool {
        self.set.contains(&self.keys.hash_one(hash))
    }
}

#[cfg(test)]
mod tests;
