//! The wants of one peer.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, HashMap},
};

use ggen_blockstore::{Cid, Multihash, identity_data};

use crate::node::exchange::bitswap::{
    message::{Want, WantKind},
    server::MAX_LEDGER_WANTS,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Waits to be looked up, at this place of the queue.
    Queued(Place),
    /// Being looked up; `again`: the block was stored in the meantime.
    Reading { again: bool },
    /// The block is not in the store; the want is answered when it is.
    Waiting,
}

/// Descending priority, then arrival.
type Place = (Reverse<i32>, u64);

#[derive(Debug)]
struct Entry {
    kind: WantKind,
    priority: i32,
    send_dont_have: bool,
    state: State,
}

/// What to do about a want whose block is missing.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Missed {
    pub(super) send_dont_have: bool,
    /// The peer gets an answer when the block is stored.
    pub(super) waits: bool,
}

#[derive(Debug)]
pub(super) struct Ledger {
    pub(super) id: u64,
    wants: HashMap<Cid, Entry>,
    queue: BTreeMap<Place, Cid>,
    /// Wants in [`State::Waiting`].
    waiting: BTreeSet<Cid>,
    next_place: u64,
    reading: bool,
    pub(super) in_ring: bool,
    /// Bytes read and not yet written.
    pub(super) outstanding: u64,
}

impl Ledger {
    pub(super) fn new(id: u64) -> Self {
        Self {
            id,
            wants: HashMap::new(),
            queue: BTreeMap::new(),
            waiting: BTreeSet::new(),
            next_place: 0,
            reading: false,
            in_ring: false,
            outstanding: 0,
        }
    }

    /// Whether wants are queued and none are being looked up.
    pub(super) fn is_ready(&self) -> bool {
        !self.reading && !self.queue.is_empty()
    }

    pub(super) fn wants_blocks(&self) -> bool {
        self.wants.values().any(|entry| entry.kind == WantKind::Block)
    }

    /// Adds a want. Returns another one that was dropped to make room.
    pub(super) fn want(&mut self, want: Want) -> Option<Cid> {
        if identity_data(&want.cid).is_some() {
            return None;
        }
        let Want { cid, mut kind, priority, mut send_dont_have, .. } = want;
        let mut forgotten = None;
        if let Some(entry) = self.wants.get(&cid) {
            // A later WANT_HAVE does not weaken a want for the block.
            kind = kind.max(entry.kind);
            send_dont_have |= entry.send_dont_have;
            if let State::Queued(place) = entry.state {
                self.queue.remove(&place);
            }
        } else if self.wants.len() >= MAX_LEDGER_WANTS {
            forgotten = self.least_useful(priority);
            self.remove(&forgotten?);
        }
        self.waiting.remove(&cid);
        let place = self.enqueue(cid, priority);
        self.wants.insert(cid, Entry { kind, priority, send_dont_have, state: State::Queued(place) });
        forgotten
    }

    /// Chooses a want to drop for one with this priority: one whose block is missing, else one with lower priority.
    fn least_useful(&self, priority: i32) -> Option<Cid> {
        self.waiting.first().copied().or_else(|| {
            let ((Reverse(last), _), cid) = self.queue.last_key_value()?;
            (*last < priority).then_some(*cid)
        })
    }

    fn enqueue(&mut self, cid: Cid, priority: i32) -> Place {
        let place = (Reverse(priority), self.next_place);
        self.next_place += 1;
        self.queue.insert(place, cid);
        place
    }

    /// Removes a want, and returns its CID if it was present.
    pub(super) fn cancel(&mut self, cid: &Cid) -> Option<Cid> {
        self.remove(cid).map(|_| *cid)
    }

    fn remove(&mut self, cid: &Cid) -> Option<Entry> {
        let entry = self.wants.remove(cid)?;
        self.waiting.remove(cid);
        if let State::Queued(place) = entry.state {
            self.queue.remove(&place);
        }
        Some(entry)
    }

    /// Removes all wants, and returns their CIDs.
    pub(super) fn clear(&mut self) -> Vec<Cid> {
        self.queue.clear();
        self.waiting.clear();
        self.wants.drain().map(|(cid, _)| cid).collect()
    }

    /// Takes up to `limit` wants from the front of the queue to look them up.
    pub(super) fn start_reading(&mut self, limit: usize) -> Vec<(Cid, WantKind)> {
        let mut wants = Vec::with_capacity(limit.min(self.queue.len()));
        while wants.len() < limit
            && let Some((_, cid)) = self.queue.pop_first()
        {
            let entry = self.wants.get_mut(&cid).expect("what is queued is in the ledger");
            entry.state = State::Reading { again: false };
            wants.push((cid, entry.kind));
        }
        self.reading = !wants.is_empty();
        wants
    }

    /// Removes a want that was answered. Returns whether it was still present.
    pub(super) fn answered(&mut self, cid: &Cid) -> bool {
        let reading = |entry: &Entry| matches!(entry.state, State::Reading { .. });
        self.wants.get(cid).is_some_and(reading) && self.wants.remove(cid).is_some()
    }

    /// The block of a want was not found. `None` if the want is no longer present, or must be looked up again.
    pub(super) fn missed(&mut self, cid: &Cid) -> Option<Missed> {
        let entry = self.wants.get_mut(cid)?;
        match entry.state {
            State::Reading { again: false } => {
                entry.state = State::Waiting;
                self.waiting.insert(*cid);
                Some(Missed { send_dont_have: entry.send_dont_have, waits: true })
            }
            State::Reading { again: true } => {
                let priority = entry.priority;
                self.requeue(cid, priority);
                None
            }
            State::Queued(_) | State::Waiting => None,
        }
    }

    /// Ends a job. Its `unread` wants are queued again.
    pub(super) fn finish_reading(&mut self, unread: &[Cid]) {
        self.reading = false;
        for cid in unread {
            if let Some(Entry { state: State::Reading { .. }, priority, .. }) = self.wants.get(cid) {
                let priority = *priority;
                self.requeue(cid, priority);
            }
        }
    }

    /// Queues the wants for a block that was stored.
    pub(super) fn wake(&mut self, hash: &Multihash) {
        let woken: Vec<Cid> = self.waiting.iter().filter(|cid| cid.hash() == hash).copied().collect();
        for cid in woken {
            self.waiting.remove(&cid);
            if let Some(priority) = self.wants.get(&cid).map(|entry| entry.priority) {
                self.requeue(&cid, priority);
            }
        }
    }

    /// A block was stored, maybe just after it was looked up.
    pub(super) fn arrived_while_reading(&mut self, cid: &Cid) {
        if self.reading
            && let Some(Entry { state: State::Reading { again }, .. }) = self.wants.get_mut(cid)
        {
            *again = true;
        }
    }

    fn requeue(&mut self, cid: &Cid, priority: i32) {
        let place = self.enqueue(*cid, priority);
        if let Some(entry) = self.wants.get_mut(cid) {
            entry.state = State::Queued(place);
        }
    }
}
