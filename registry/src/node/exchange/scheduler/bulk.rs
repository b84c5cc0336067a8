//! The outcome of bulk requests.

use std::time::Instant;

use ggen_blockstore::{Block, Cid};
use libp2p::PeerId;

use crate::node::exchange::{
    accounts::Misbehaviour,
    bitswap::MAX_LIVE_WANTS,
    bulk::{BulkRequestId, End, Event},
    channel::Offence,
    scheduler::{Scheduler, event::Action},
};

impl Scheduler {
    pub(super) fn on_bulk(&mut self, event: Event, now: Instant) {
        match event {
            Event::Supports { peer, supports } => self.on_supports(peer, supports, now),
            Event::Arrived { peer, id, blocks } => self.on_request_blocks(peer, id, blocks, now),
            Event::Absent { peer, id, cids } => self.on_absent(peer, id, &cids, now),
            Event::Progress { peer, id, bytes } => self.on_request_progress(peer, id, bytes, now),
            Event::Ended { peer, id, end } => self.on_request_ended(peer, id, end, now),
            // The accounts count it.
            Event::Served { .. } => {}
        }
    }

    fn on_supports(&mut self, peer_id: PeerId, supports: bool, now: Instant) {
        if let Some(peer) = self.peers.get_mut(&peer_id) {
            peer.requests.supports = supports;
            peer.says_no |= supports;
            self.sessions.fill_all(&mut self.peers, now);
        }
    }

    /// Blocks of a request arrived, each verified to hash to its CID.
    fn on_request_blocks(&mut self, peer_id: PeerId, id: BulkRequestId, blocks: Vec<Block>, now: Instant) {
        let Some(peer) = self.peers.unbanned(&peer_id) else { return };
        peer.meter.on_sign(now);
        let (mut own_of, mut latency, mut partial) = (None, None, 0);
        if let Some(request) = peer.requests.get_mut(id) {
            own_of = request.is_own.then_some(request.owner);
            latency = request.on_bytes(now);
            partial = request.set_partial(0);
        }
        let mut answered_bytes = 0;
        let (mut wanted, mut wanted_bytes, mut unwanted) = (0, 0, 0);
        for block in blocks {
            let bytes = block.data().len() as u64;
            if self.peers.get_mut(&peer_id).and_then(|peer| peer.requests.settle(id, block.cid())).is_some() {
                answered_bytes += bytes;
            }
            if !self.sessions.wanting(block.cid()).is_empty() {
                self.sessions.deliver(&block, peer_id, &mut self.peers, now);
            } else if let Some(fetch) = own_of.and_then(|id| self.sessions.get_mut(id)) {
                // Own blocks of a manifest, or its entries.
                fetch.deliver_unnamed(block, peer_id, now);
            } else {
                unwanted += 1;
                continue;
            }
            (wanted, wanted_bytes) = (wanted + 1, wanted_bytes + bytes);
        }
        self.observed.push(Action::Count { peer: peer_id, blocks: wanted, bytes: wanted_bytes, unwanted });
        if let Some(peer) = self.peers.change(peer_id) {
            peer.requests.on_blocks();
            let idle = peer.live() == 0;
            peer.measure(answered_bytes.saturating_sub(partial), latency, own_of.is_some(), idle, now);
        }
        self.sessions.on_answer(peer_id);
        self.sessions.fill_all(&mut self.peers, now);
    }

    /// Bytes of blocks of a request arrived: `bytes` since the last complete one.
    fn on_request_progress(&mut self, peer_id: PeerId, id: BulkRequestId, bytes: u64, now: Instant) {
        let Some(peer) = self.peers.get_mut(&peer_id) else { return };
        peer.meter.on_sign(now);
        let Some(request) = peer.requests.get_mut(id) else { return };
        let (latency, is_own) = (request.on_bytes(now), request.is_own);
        let more = bytes.saturating_sub(request.set_partial(bytes));
        peer.measure(more, latency, is_own, false, now);
    }

    /// The peer does not have these blocks of a request.
    fn on_absent(&mut self, peer_id: PeerId, id: BulkRequestId, cids: &[Cid], now: Instant) {
        let Some(peer) = self.peers.change(peer_id) else { return };
        peer.meter.on_sign(now);
        let Some(request) = peer.requests.get_mut(id) else { return };
        request.on_absent(now);
        let owner = request.owner;
        for cid in cids {
            let Some(peer) = self.peers.get_mut(&peer_id) else { return };
            let Some(charge) = peer.requests.settle(id, cid) else { continue };
            if peer.wantlist.live() < MAX_LIVE_WANTS {
                // The peer answers with DONT_HAVE there too, and remembers the want: it sends the block when it has it.
                peer.wantlist.ask_block(*cid, charge, owner, now);
            } else if let Some(fetch) = self.sessions.get_mut(owner) {
                fetch.refuse(cid, peer_id, &mut self.peers);
            }
        }
        self.sessions.fill_all(&mut self.peers, now);
    }

    /// A request has ended. If the peer committed an offence, it is banned: bytes that do not match the request cannot
    /// be a mix-up of requests.
    pub(super) fn on_request_ended(&mut self, peer_id: PeerId, id: BulkRequestId, end: End, now: Instant) {
        let Some(peer) = self.peers.change(peer_id) else { return };
        // A request that was given up before needs no report: its session was notified then, or is closed.
        let Some((owner, left)) = peer.requests.end(id, end) else { return };
        let is_broken = peer.requests.is_broken();
        if !matches!(end, End::WrongBytes | End::Malformed) {
            peer.meter.on_sign(now);
        }
        let Some(fetch) = self.sessions.get_mut(owner) else { return };
        let unlists = match end {
            // Blocks that it did not send are requested over Bitswap.
            End::Done => !left.is_empty(),
            End::Broken => is_broken,
            // One retry without references; after that only the manifest itself can be the cause.
            End::Unreferenced => !fetch.session.forget_references(),
            End::NotHere | End::Busy | End::Unsupported | End::WrongBytes | End::Malformed => true,
        };
        if unlists {
            fetch.session.unlist(peer_id);
        }
        fetch.session.give_back(&left, peer_id);
        let offence = match end {
            End::WrongBytes => Some((Offence::WrongBytes, Misbehaviour::UnaskedData)),
            End::Malformed => Some((Offence::Malformed, Misbehaviour::MalformedAnswer)),
            _ => None,
        };
        if let Some((offence, reason)) = offence {
            self.ban(peer_id, offence, now);
            self.observed.push(Action::Report { peer: peer_id, reason, blamed: true });
        }
        self.sessions.fill_all(&mut self.peers, now);
    }
}
