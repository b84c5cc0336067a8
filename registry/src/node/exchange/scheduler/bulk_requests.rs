//! The bulk requests to one peer: many blocks of a manifest in each. For the session they are requests of wants like any
//! other.

use std::{
    collections::{BTreeMap, HashMap},
    time::{Duration, Instant},
};

use ggen_blockstore::Cid;

use crate::node::exchange::{
    SessionId,
    bulk::{BulkRequest, BulkRequestId, End, Wanted},
    scheduler::event::Action,
};

/// Number of consecutive broken requests after which a peer gets Bitswap wants only.
const MAX_BROKEN: u32 = 2;

/// A request that has not ended.
#[derive(Debug)]
pub(super) struct UnderWay {
    pub(super) owner: SessionId,
    pub(super) is_own: bool,
    /// Blocks that have not arrived, with the bytes of the peer's window that each takes.
    open: HashMap<Cid, u64>,
    asked_at: Instant,
    progress_at: Instant,
    /// Bytes of the blocks that are arriving, none of them complete yet.
    partial: u64,
    /// The peer was idle and has not sent anything yet: its first bytes show its latency.
    tells_latency: bool,
}

impl UnderWay {
    pub(super) fn new(
        request: &BulkRequest,
        owner: SessionId,
        open: HashMap<Cid, u64>,
        tells_latency: bool,
        now: Instant,
    ) -> Self {
        let is_own = matches!(request.wanted, Wanted::Own { .. });
        Self { owner, is_own, open, asked_at: now, progress_at: now, partial: 0, tells_latency }
    }

    /// The peer has answered. Returns the latency, if it shows in this: these are the first bytes of the response.
    pub(super) fn on_bytes(&mut self, now: Instant) -> Option<Duration> {
        self.progress_at = now;
        std::mem::take(&mut self.tells_latency).then(|| now.saturating_duration_since(self.asked_at))
    }

    /// Replaces the number of bytes of incomplete blocks. Returns the former one.
    pub(super) fn set_partial(&mut self, bytes: u64) -> u64 {
        std::mem::replace(&mut self.partial, bytes)
    }

    /// The peer has answered without bytes of blocks.
    pub(super) fn on_absent(&mut self, now: Instant) {
        self.progress_at = now;
    }
}

/// The bulk requests to one peer.
#[derive(Debug, Default)]
pub(super) struct BulkRequests {
    pub(super) supports: bool,
    under_way: BTreeMap<BulkRequestId, UnderWay>,
    live: usize,
    live_bytes: u64,
    broken: u32,
    actions: Vec<Action>,
}

impl BulkRequests {
    /// The number of requests that have not ended.
    pub(super) fn len(&self) -> usize {
        self.under_way.len()
    }

    pub(super) fn live(&self) -> usize {
        self.live
    }

    pub(super) fn live_bytes(&self) -> u64 {
        let partial: u64 = self.under_way.values().map(|request| request.partial).sum();
        self.live_bytes.saturating_sub(partial)
    }

    pub(super) fn get_mut(&mut self, id: BulkRequestId) -> Option<&mut UnderWay> {
        self.under_way.get_mut(&id)
    }

    pub(super) fn place(&mut self, request: BulkRequest, under_way: UnderWay) {
        self.live += under_way.open.len();
        self.live_bytes += under_way.open.values().sum::<u64>();
        self.under_way.insert(request.id, under_way);
        self.actions.push(Action::Request(Box::new(request)));
    }

    /// A block of a request has arrived, or will not. Returns the bytes of the window that it took, if it was open.
    pub(super) fn settle(&mut self, id: BulkRequestId, cid: &Cid) -> Option<u64> {
        let charge = self.under_way.get_mut(&id).and_then(|request| request.open.remove(cid))?;
        self.live -= 1;
        self.live_bytes -= charge;
        Some(charge)
    }

    /// Blocks have arrived: the peer's earlier broken requests are forgiven.
    pub(super) fn on_blocks(&mut self) {
        self.broken = 0;
    }

    /// Removes a request. Returns its session and the blocks that have not arrived.
    pub(super) fn end(&mut self, id: BulkRequestId, end: End) -> Option<(SessionId, Vec<Cid>)> {
        let request = self.under_way.remove(&id)?;
        self.live -= request.open.len();
        self.live_bytes -= request.open.values().sum::<u64>();
        self.broken += u32::from(end == End::Broken);
        self.supports &= end != End::Unsupported;
        Some((request.owner, request.open.into_keys().collect()))
    }

    /// Whether so many requests in a row were broken that the peer gets no more.
    pub(super) fn is_broken(&self) -> bool {
        self.broken >= MAX_BROKEN
    }

    /// Cancels the requests that have made no progress for `limit`. Returns them with their sessions; they have not
    /// ended.
    pub(super) fn cancel_overdue(&mut self, limit: Duration, now: Instant) -> Vec<(BulkRequestId, SessionId)> {
        let is_overdue = |request: &UnderWay| now.saturating_duration_since(request.progress_at) > limit;
        let overdue = self.under_way.iter().filter(|(_, request)| is_overdue(request));
        let overdue: Vec<_> = overdue.map(|(id, request)| (*id, request.owner)).collect();
        self.actions.extend(overdue.iter().map(|(id, _)| Action::CancelRequest(*id)));
        overdue
    }

    /// The session no longer wants the block. Cancels requests that contain no other wanted block.
    pub(super) fn release(&mut self, cid: &Cid, owner: SessionId) {
        let of_it =
            |(_, request): &(&BulkRequestId, &UnderWay)| request.owner == owner && request.open.contains_key(cid);
        let ids: Vec<BulkRequestId> = self.under_way.iter().filter(of_it).map(|(id, _)| *id).collect();
        for id in ids {
            self.settle(id, cid);
            if self.under_way.get(&id).is_some_and(|request| request.open.is_empty()) {
                self.under_way.remove(&id);
                self.actions.push(Action::CancelRequest(id));
            }
        }
    }

    pub(super) fn take_actions(&mut self) -> Vec<Action> {
        std::mem::take(&mut self.actions)
    }
}
