//! What the client knows of a connected peer.

use ggen_blockstore::Cid;

use crate::node::exchange::{
    SessionId,
    bitswap::wantlist::Wantlist,
    client::{bulk_requests::BulkRequests, standing::Standing},
    meter::Meter,
    prior::Prior,
};

/// Maximum number of want-list entries of a peer, presence queries included: Kubo remembers 1,024.
const MAX_ENTRIES: usize = 900;

#[derive(Debug)]
pub(super) struct Peer {
    pub(super) wantlist: Wantlist,
    /// Its pending bulk requests.
    pub(super) requests: BulkRequests,
    pub(super) meter: Meter,
    pub(super) standing: Standing,
    /// Number of blocks it sent that were never requested from it.
    pub(super) unasked: u32,
    /// A message of wants is being written.
    pub(super) updating: bool,
    /// It supports DONT_HAVE, so silence does not mean that it lacks a block.
    pub(super) says_no: bool,
}

impl Peer {
    pub(super) fn new(prior: &Prior) -> Self {
        Self {
            wantlist: Wantlist::new(),
            requests: BulkRequests::default(),
            meter: Meter::expecting(prior.rate, prior.latency),
            standing: Standing::Good,
            unasked: 0,
            updating: false,
            says_no: false,
        }
    }

    /// Whether its want-list has room for more presence queries.
    pub(super) fn has_room_for_questions(&self) -> bool {
        self.wantlist.entries() < MAX_ENTRIES
    }

    /// Number of blocks requested from it, over either protocol.
    pub(super) fn live(&self) -> usize {
        self.wantlist.live() + self.requests.live()
    }

    /// Their total size in bytes.
    pub(super) fn live_bytes(&self) -> u64 {
        self.wantlist.live_bytes() + self.requests.live_bytes()
    }

    /// A session no longer wants a block from it.
    pub(super) fn release(&mut self, cid: &Cid, owner: SessionId) {
        self.wantlist.release(cid, owner);
        self.requests.release(cid, owner);
    }

    /// Bytes left in its window.
    pub(super) fn room(&self) -> u64 {
        self.meter.window().saturating_sub(self.live_bytes())
    }
}
