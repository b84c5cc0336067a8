//! A connected peer: what is requested from it over either protocol, and how fast it is.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use ggen_blockstore::Cid;

use crate::node::exchange::{
    SessionId,
    bitswap::{Message, Wantlist},
    bulk::BulkRequest,
    meter::Meter,
    prior::Prior,
    scheduler::bulk_requests::{BulkRequests, UnderWay},
};

/// Maximum number of want-list entries of a peer, presence queries included: Kubo remembers 1,024.
const MAX_ENTRIES: usize = 900;
/// A peer that is silent for this time plus four times its latency is late.
const LATE: Duration = Duration::from_millis(250);

/// Whether a peer may get requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    Good,
    /// It violated the protocol.
    Banned,
    /// It does not support Bitswap.
    Unsupported,
}

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
    /// The connection to it is needed.
    pub(super) is_used: bool,
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
            is_used: false,
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

    /// Bytes left in its window.
    pub(super) fn room(&self) -> u64 {
        self.meter.window().saturating_sub(self.live_bytes())
    }

    /// Requests a block of about `charge` bytes over Bitswap.
    pub(super) fn ask(&mut self, cid: Cid, charge: u64, owner: SessionId, now: Instant) {
        if self.live() == 0 {
            self.meter.on_asked(now);
        }
        self.wantlist.ask_block(cid, charge, owner, now);
    }

    /// Makes a bulk request for the blocks in `open`, which take these bytes of the window.
    pub(super) fn request(&mut self, request: BulkRequest, owner: SessionId, open: HashMap<Cid, u64>, now: Instant) {
        let is_idle = self.live() == 0;
        if is_idle {
            self.meter.on_asked(now);
        }
        let under_way = UnderWay::new(&request, owner, open, is_idle, now);
        self.requests.place(request, under_way);
    }

    /// Bytes of a bulk request arrived. `latency`: they are the first ones, this long after the request. `is_own`: they
    /// are of a manifest, which does not shrink and arrives while the flow control window is small, so its entries will
    /// arrive faster. `idle`: no requests are pending any more.
    pub(super) fn measure(&mut self, bytes: u64, latency: Option<Duration>, is_own: bool, idle: bool, now: Instant) {
        match latency {
            Some(latency) => self.meter.on_first_bytes(latency, idle, now),
            None if is_own => self.meter.on_sign(now),
            None => self.meter.on_more_bytes(bytes, idle, now),
        }
    }

    /// A session no longer wants a block from it.
    pub(super) fn release(&mut self, cid: &Cid, owner: SessionId) {
        self.wantlist.release(cid, owner);
        self.requests.release(cid, owner);
    }

    /// Returns the next message of wants; `None` while one is being written.
    pub(super) fn next_update(&mut self) -> Option<Message> {
        if self.updating || self.standing == Standing::Unsupported {
            return None;
        }
        let message = self.wantlist.next_update()?;
        self.updating = true;
        Some(message)
    }

    /// Whether it has been silent for so long, with requests pending, that it counts as stalled.
    pub(super) fn is_stalled(&self, now: Instant) -> bool {
        self.live() > 0 && self.meter.silent(now) > self.meter.stall_after()
    }

    /// The time that it needs for its pending requests; [`Duration::MAX`] if it is silent.
    pub(super) fn lateness(&self, now: Instant) -> Duration {
        if self.live() > 0 && self.meter.silent(now) > LATE + self.meter.eta(0) * 4 {
            return Duration::MAX;
        }
        self.meter.eta(self.live_bytes())
    }

    /// Whether this lateness is more than a guess, which matters for bulk requests: whatever two peers are asked for
    /// arrives twice.
    pub(super) fn is_known_slow(&self, lateness: Duration) -> bool {
        lateness == Duration::MAX || self.requests.live() == 0 || !self.meter.is_unmeasured()
    }
}
