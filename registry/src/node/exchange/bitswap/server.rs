//! What peers want of us: a ledger per peer, and whose turn it is to be read for. No I/O and no clock.
//!
//! *Bounds*: [`MAX_LEDGER_WANTS`] per peer; a peer is read for only while fewer than [`MAX_PEER_OUTSTANDING_BYTES`]
//! wait to be written to it. Above [`CROWDED_BYTES`] for all peers together only those are read for who have taken all
//! that was read for them, so that some who never read cannot hold up the others; above [`MAX_OUTSTANDING_BYTES`] nobody.

mod ledger;

use std::collections::{HashMap, VecDeque};

use ggen_blockstore::{Cid, Multihash};
use libp2p::PeerId;

use self::ledger::Ledger;
use crate::node::exchange::bitswap::{
    answer::{Found, Reading},
    message::{MAX_BLOCK_OVERHEAD_BYTES, Message, Presence, Want, WantKind},
};

/// Most wants remembered of one peer (as Kubo).
pub(in crate::node::exchange) const MAX_LEDGER_WANTS: usize = 1024;
/// Bytes read for one peer and not yet written to it, above which it is not read for.
const MAX_PEER_OUTSTANDING_BYTES: u64 = 4 << 20;
/// The same of all peers together, above which it is read only for those who wait for none.
const CROWDED_BYTES: u64 = 64 << 20;
/// The same, above which nobody is read for.
const MAX_OUTSTANDING_BYTES: u64 = 128 << 20;
/// Most wants that one reading looks at.
const MAX_READING_WANTS: usize = 512;
/// Blocks that would make a message longer than this go into the next, in bytes: some implementations take no more
/// than 2 MiB.
const MAX_PACKED_BYTES: usize = 1_900_000;

/// Wants to be read from the store: what [`answer::read`](crate::node::exchange::bitswap::answer::read) takes.
#[derive(Debug)]
pub(in crate::node::exchange) struct Job {
    pub(in crate::node::exchange) peer: PeerId,
    /// Tells the ledger that asked from a later one of the same peer.
    pub(in crate::node::exchange) ledger: u64,
    pub(in crate::node::exchange) wants: Vec<(Cid, WantKind)>,
}

/// The server's state.
#[derive(Debug, Default)]
pub(in crate::node::exchange) struct Server {
    ledgers: HashMap<PeerId, Ledger>,
    /// Peers that have something to be read, each once, in the order of their turns.
    ring: VecDeque<PeerId>,
    /// Who waits for a block that we did not have.
    waiting: HashMap<Multihash, Vec<PeerId>>,
    outstanding: u64,
    next_ledger: u64,
}

impl Server {
    /// Takes what a peer says it wants.
    pub(in crate::node::exchange) fn on_wants(&mut self, peer: PeerId, full: bool, wants: Vec<Want>) {
        if full {
            self.clear(peer);
        }
        if wants.is_empty() {
            return;
        }
        let next = &mut self.next_ledger;
        let ledger = self.ledgers.entry(peer).or_insert_with(|| {
            *next += 1;
            Ledger::new(*next)
        });
        let mut forgotten = Vec::new();
        for want in wants {
            forgotten.extend(if want.cancel { ledger.cancel(&want.cid) } else { ledger.want(want) });
        }
        for cid in forgotten {
            self.stop_waiting(peer, &cid);
        }
        self.enqueue(peer);
    }

    /// Forgets a peer that is gone.
    pub(in crate::node::exchange) fn on_disconnected(&mut self, peer: PeerId) {
        self.clear(peer);
        if let Some(ledger) = self.ledgers.remove(&peer) {
            self.outstanding -= ledger.outstanding;
        }
    }

    /// A connection broke with answers in it: nothing read for the peer is waiting to be written any more.
    pub(in crate::node::exchange) fn on_answers_lost(&mut self, peer: PeerId) {
        let outstanding = self.ledgers.get(&peer).map_or(0, |ledger| ledger.outstanding);
        self.on_sent(peer, outstanding);
    }

    /// Whether the peer waits for blocks: its connection is of use to it.
    pub(in crate::node::exchange) fn has_wants(&self, peer: &PeerId) -> bool {
        self.ledgers.get(peer).is_some_and(Ledger::wants_blocks)
    }

    /// Whose wants to read next, in turn. The caller bounds how many jobs run at once.
    pub(in crate::node::exchange) fn next_job(&mut self) -> Option<Job> {
        if self.outstanding >= MAX_OUTSTANDING_BYTES {
            return None;
        }
        let crowded = self.outstanding >= CROWDED_BYTES;
        for _ in 0..self.ring.len() {
            let peer = self.ring.pop_front()?;
            let Some(ledger) = self.ledgers.get_mut(&peer) else { continue };
            if crowded && ledger.outstanding > 0 {
                // Its turn comes when it has taken what it was given, or when there is room again.
                self.ring.push_back(peer);
                continue;
            }
            ledger.in_ring = false;
            let wants = ledger.start_reading(MAX_READING_WANTS);
            if !wants.is_empty() {
                return Some(Job { peer, ledger: ledger.id, wants });
            }
        }
        None
    }

    /// Takes what was read, and returns the messages to send. Wants taken back in the meantime are left out.
    pub(in crate::node::exchange) fn on_read(
        &mut self,
        peer: PeerId,
        ledger_id: u64,
        reading: Reading,
    ) -> Vec<Message> {
        let Some(ledger) = self.ledgers.get_mut(&peer).filter(|ledger| ledger.id == ledger_id) else {
            return Vec::new();
        };
        let mut packer = Packer::default();
        let (mut answered, mut missing) = (Vec::new(), Vec::new());
        for (cid, found) in reading.found {
            match found {
                Found::Block(data) => {
                    if ledger.answered(&cid) {
                        answered.push(cid);
                        packer.push_block(cid, data);
                    }
                }
                Found::Have => {
                    if ledger.answered(&cid) {
                        answered.push(cid);
                        packer.message.presences.push((cid, Presence::Have));
                    }
                }
                Found::Missing => {
                    let Some(missed) = ledger.missed(&cid) else { continue };
                    if missed.send_dont_have {
                        packer.message.presences.push((cid, Presence::DontHave));
                    }
                    if missed.waits {
                        missing.push(cid);
                    }
                }
            }
        }
        ledger.finish_reading(&reading.unread);
        let messages = packer.finish();
        let bytes: u64 = messages.iter().map(Message::queued_bytes).sum();
        ledger.outstanding += bytes;
        self.outstanding += bytes;
        // The peer may have waited for it, if the block came without a word to us.
        answered.iter().for_each(|cid| self.stop_waiting(peer, cid));
        for cid in missing {
            let peers = self.waiting.entry(*cid.hash()).or_default();
            if !peers.contains(&peer) {
                peers.push(peer);
            }
        }
        self.enqueue(peer);
        messages
    }

    /// An answer with so many bytes of blocks was written, or given up.
    pub(in crate::node::exchange) fn on_sent(&mut self, peer: PeerId, bytes: u64) {
        let Some(ledger) = self.ledgers.get_mut(&peer) else { return };
        let bytes = bytes.min(ledger.outstanding);
        ledger.outstanding -= bytes;
        self.outstanding -= bytes;
        self.enqueue(peer);
    }

    /// Blocks came into our store: those who wait for them are answered.
    pub(in crate::node::exchange) fn on_new_blocks(&mut self, cids: &[Cid]) {
        for cid in cids {
            for peer in self.waiting.remove(cid.hash()).unwrap_or_default() {
                if let Some(ledger) = self.ledgers.get_mut(&peer) {
                    ledger.wake(cid.hash());
                    self.enqueue(peer);
                }
            }
            self.ledgers.values_mut().for_each(|ledger| ledger.arrived_while_reading(cid));
        }
    }

    fn clear(&mut self, peer: PeerId) {
        let Some(ledger) = self.ledgers.get_mut(&peer) else { return };
        for cid in ledger.clear() {
            self.stop_waiting(peer, &cid);
        }
    }

    fn enqueue(&mut self, peer: PeerId) {
        let Some(ledger) = self.ledgers.get_mut(&peer) else { return };
        if !ledger.in_ring && ledger.is_ready() && ledger.outstanding < MAX_PEER_OUTSTANDING_BYTES {
            ledger.in_ring = true;
            self.ring.push_back(peer);
        }
    }

    fn stop_waiting(&mut self, peer: PeerId, cid: &Cid) {
        if let Some(peers) = self.waiting.get_mut(cid.hash()) {
            peers.retain(|waiting| *waiting != peer);
            if peers.is_empty() {
                self.waiting.remove(cid.hash());
            }
        }
    }
}

/// Packs blocks into messages that every implementation takes.
#[derive(Default)]
struct Packer {
    done: Vec<Message>,
    message: Message,
    bytes: usize,
}

impl Packer {
    fn push_block(&mut self, cid: Cid, data: bytes::Bytes) {
        let bytes = data.len() + MAX_BLOCK_OVERHEAD_BYTES;
        if self.bytes + bytes > MAX_PACKED_BYTES && !self.message.blocks.is_empty() {
            self.done.push(std::mem::take(&mut self.message));
            self.bytes = 0;
        }
        self.bytes += bytes;
        self.message.blocks.push((cid, data));
    }

    fn finish(mut self) -> Vec<Message> {
        if !self.message.blocks.is_empty() || !self.message.presences.is_empty() {
            self.done.push(self.message);
        }
        self.done
    }
}

#[cfg(test)]
mod tests;
