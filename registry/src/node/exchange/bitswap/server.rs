//! Serves the wants of peers: a ledger per peer, and the sequence in which peers get their turns. No I/O and no clock.
//!
//! *Bounds*: [`MAX_LEDGER_WANTS`] per peer. Blocks are read for a peer only while fewer than
//! [`MAX_PEER_OUTSTANDING_BYTES`] wait to be written to it. Above [`CROWDED_BYTES`] for all peers together, only peers
//! that have received everything read for them get a turn, so that peers that never read cannot block the rest; above
//! [`MAX_OUTSTANDING_BYTES`], none.

mod ledger;

use std::collections::{HashMap, VecDeque};

use ggen_blockstore::{Cid, Multihash};
use libp2p::PeerId;

use self::ledger::Ledger;
use crate::node::exchange::bitswap::{
    answer::{Found, Reading},
    message::{MAX_BLOCK_OVERHEAD_BYTES, Message, Presence, Want, WantKind},
};

/// Maximum number of wants stored per peer (as in Kubo).
pub(in crate::node::exchange) const MAX_LEDGER_WANTS: usize = 1024;
/// No blocks are read for a peer while this many bytes wait to be written to it.
const MAX_PEER_OUTSTANDING_BYTES: u64 = 4 << 20;
/// While this many bytes wait for all peers together, blocks are read only for peers for which none wait.
const CROWDED_BYTES: u64 = 64 << 20;
/// While this many bytes wait for all peers together, no blocks are read.
const MAX_OUTSTANDING_BYTES: u64 = 128 << 20;
/// Maximum number of wants in one job.
const MAX_READING_WANTS: usize = 512;
/// Longest message with more than one block, in bytes: some implementations accept no more than 2 MiB.
const MAX_PACKED_BYTES: usize = 1_900_000;

/// Wants to look up in the store: the input of [`answer::read`](crate::node::exchange::bitswap::answer::read).
#[derive(Debug)]
pub(in crate::node::exchange) struct Job {
    pub(in crate::node::exchange) peer: PeerId,
    /// Distinguishes this ledger from a later one of the same peer.
    pub(in crate::node::exchange) ledger: u64,
    pub(in crate::node::exchange) wants: Vec<(Cid, WantKind)>,
}

/// The server's state.
#[derive(Debug, Default)]
pub(in crate::node::exchange) struct Server {
    ledgers: HashMap<PeerId, Ledger>,
    /// Peers with wants to look up, each once, in the sequence of their turns.
    ring: VecDeque<PeerId>,
    /// Peers that wait for a block that is not in the store.
    waiting: HashMap<Multihash, Vec<PeerId>>,
    outstanding: u64,
    next_ledger: u64,
}

impl Server {
    /// Applies the want-list entries of a peer. `full`: they replace its earlier wants.
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

    /// Forgets a disconnected peer.
    pub(in crate::node::exchange) fn on_disconnected(&mut self, peer: PeerId) {
        self.clear(peer);
        if let Some(ledger) = self.ledgers.remove(&peer) {
            self.outstanding -= ledger.outstanding;
        }
    }

    /// A connection with unsent responses failed: nothing waits to be written to the peer any more.
    pub(in crate::node::exchange) fn on_answers_lost(&mut self, peer: PeerId) {
        let outstanding = self.ledgers.get(&peer).map_or(0, |ledger| ledger.outstanding);
        self.on_sent(peer, outstanding);
    }

    /// Whether the peer waits for blocks, and therefore uses its connection.
    pub(in crate::node::exchange) fn has_wants(&self, peer: &PeerId) -> bool {
        self.ledgers.get(peer).is_some_and(Ledger::wants_blocks)
    }

    /// Returns the next wants to look up; peers take turns. The caller limits the number of jobs that run at once.
    pub(in crate::node::exchange) fn next_job(&mut self) -> Option<Job> {
        if self.outstanding >= MAX_OUTSTANDING_BYTES {
            return None;
        }
        let crowded = self.outstanding >= CROWDED_BYTES;
        for _ in 0..self.ring.len() {
            let peer = self.ring.pop_front()?;
            let Some(ledger) = self.ledgers.get_mut(&peer) else { continue };
            if crowded && ledger.outstanding > 0 {
                // Its turn comes when everything read for it is written, or when less memory is in use.
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

    /// Takes the results of a job, and returns the messages to send. Wants that were cancelled in the meantime are
    /// omitted.
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
        // The peer may still be in `waiting`, if the block was stored without a call of `on_new_blocks`.
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

    /// A response of this size was written, or dropped.
    pub(in crate::node::exchange) fn on_sent(&mut self, peer: PeerId, bytes: u64) {
        let Some(ledger) = self.ledgers.get_mut(&peer) else { return };
        let bytes = bytes.min(ledger.outstanding);
        ledger.outstanding -= bytes;
        self.outstanding -= bytes;
        self.enqueue(peer);
    }

    /// Blocks were stored: queues the wants of peers that wait for them.
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

/// Packs blocks into messages that every implementation accepts.
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
