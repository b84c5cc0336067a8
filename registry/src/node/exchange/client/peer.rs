//! What the client knows of a connected peer.

use ggen_blockstore::Cid;

use crate::node::exchange::{
    SessionId,
    bitswap::wantlist::Wantlist,
    client::{bulk_requests::BulkRequests, standing::Standing},
    meter::Meter,
    prior::Prior,
};

/// Most entries of a peer's wantlist with questions: Kubo remembers 1,024.
const MAX_ENTRIES: usize = 900;

#[derive(Debug)]
pub(super) struct Peer {
    pub(super) wantlist: Wantlist,
    /// What it is asked for by lists.
    pub(super) requests: BulkRequests,
    pub(super) meter: Meter,
    pub(super) standing: Standing,
    /// Blocks it sent that it was never asked for.
    pub(super) unasked: u32,
    /// A message of wants is being written.
    pub(super) updating: bool,
    /// It supports a version in which silence is not how one says no.
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

    /// It can remember more questions for blocks besides the wants.
    pub(super) fn has_room_for_questions(&self) -> bool {
        self.wantlist.entries() < MAX_ENTRIES
    }

    /// Number of blocks that it is asked for, in whatever way.
    pub(super) fn live(&self) -> usize {
        self.wantlist.live() + self.requests.live()
    }

    /// Their bytes.
    pub(super) fn live_bytes(&self) -> u64 {
        self.wantlist.live_bytes() + self.requests.live_bytes()
    }

    /// A session no longer wants a block of it.
    pub(super) fn release(&mut self, cid: &Cid, owner: SessionId) {
        self.wantlist.release(cid, owner);
        self.requests.release(cid, owner);
    }

    /// Bytes that may be asked of it.
    pub(super) fn room(&self) -> u64 {
        self.meter.window().saturating_sub(self.live_bytes())
    }
}
