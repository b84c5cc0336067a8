//! The wants that a peer has received, or is to receive.
//!
//! Several sessions may want the same block from the same peer: it is requested once, and cancelled when the last
//! session releases it. A want that the peer answered with DONT_HAVE is *parked*: peers remember it and send the block
//! when they get it, so it must be cancelled in the end, but it does not count against the window.

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

/// Maximum number of blocks requested from a peer at once: half of what Kubo remembers, since parked wants and presence
/// queries count too.
pub(in crate::node::exchange) const MAX_LIVE_WANTS: usize = 512;
/// Maximum number of wants that a peer is left to remember after it answered with DONT_HAVE.
const MAX_PARKED_WANTS: usize = 256;
/// Maximum number of entries in one message.
const MAX_UPDATE_ENTRIES: usize = 1024;
/// Number of recent requests that are remembered, to distinguish late duplicates from unrequested blocks.
const MAX_RECENT: usize = 8192;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// To be sent to the peer.
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
    /// Size of the block in bytes, known or estimated.
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

/// The want-list of one peer.
#[derive(Debug)]
pub(in crate::node::exchange) struct Wantlist {
    entries: HashMap<Cid, Entry>,
    unsent: VecDeque<Cid>,
    cancels: Vec<Cid>,
    /// The next message replaces everything that was sent before.
    resync: bool,
    /// Block wants by the time of their request; outdated ones are skipped.
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

    /// Number of blocks that were requested from the peer and not answered.
    pub(in crate::node::exchange) fn live(&self) -> usize {
        self.live
    }

    /// Their size in bytes, as far as known.
    pub(in crate::node::exchange) fn live_bytes(&self) -> u64 {
        self.live_bytes
    }

    /// Number of wants that the peer must remember.
    pub(in crate::node::exchange) fn entries(&self) -> usize {
        self.entries.len()
    }

    /// Whether nothing is wanted from the peer.
    pub(in crate::node::exchange) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Whether this block was ever requested from the peer, as far as remembered.
    pub(in crate::node::exchange) fn was_asked(&self, cid: &Cid) -> bool {
        self.entries.contains_key(cid) || self.recent.contains(cid.hash())
    }

    /// Requests a block of about `bytes` from the peer, for `owner`.
    pub(in crate::node::exchange) fn ask_block(&mut self, cid: Cid, bytes: u64, owner: SessionId, now: Instant) {
        self.ask(cid, WantKind::Block, true, bytes, owner, now);
    }

    /// Requests a HAVE if the peer has a block; it stays silent otherwise.
    pub(in crate::node::exchange) fn ask_have(&mut self, cid: Cid, owner: SessionId, now: Instant) {
        self.ask(cid, WantKind::Have, false, 0, owner, now);
    }

    /// Requests a HAVE or DONT_HAVE for a block.
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
        // Only the sequence matters; after two billion wants it may start again.
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

    /// Removes `owner` from a want, and cancels the want if no owner is left.
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

    /// The peer has sent the block, and has removed the want on its side.
    pub(in crate::node::exchange) fn on_block(&mut self, cid: &Cid) -> Option<Answered> {
        let entry = self.forget(cid)?;
        self.recent.insert(cid.hash());
        Some(Answered { owners: entry.owners, asked_at: entry.asked_at })
    }

    /// The peer does not have the block, or did not answer in time. Returns the owners, which must request it
    /// elsewhere.
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

    /// The peer has the block. Returns the owners of the query.
    pub(in crate::node::exchange) fn on_have(&self, cid: &Cid) -> Vec<SessionId> {
        self.entries.get(cid).filter(|entry| !entry.is_live()).map(|entry| entry.owners.clone()).unwrap_or_default()
    }

    /// Returns the blocks that were requested longer than `limit` ago, each once.
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

    /// Sent messages may be lost: everything is sent again.
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

    /// Returns the next message for the peer, if there is anything to send.
    pub(in crate::node::exchange) fn next_update(&mut self) -> Option<Message> {
        let mut message = Message { full: std::mem::take(&mut self.resync), ..Message::default() };
        let mut bytes = 64;
        for cid in self.cancels.drain(..) {
            // A cancel of the old want must not cancel a new want of the same block.
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
