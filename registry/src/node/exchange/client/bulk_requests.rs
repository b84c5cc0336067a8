//! Bulk requests: many blocks of a manifest in one request, to peers that support
//! [`bulk`](crate::node::exchange::bulk). For the session they are requests of wants like any other.

use std::{
    collections::{BTreeMap, HashMap},
    time::Instant,
};

use ggen_blockstore::{Block, Cid};
use libp2p::PeerId;

use crate::{
    manifest::ManifestEntry,
    node::exchange::{
        SessionId,
        bitswap::wantlist::MAX_LIVE_WANTS,
        bulk::{BulkRequest, BulkRequestId, End, Wanted},
        channel::{Offence, SessionEvent},
        client::{Client, DropReason, Received, Standing},
        session::{Asking, ListSource, MIN_ASKED, Place, Refusal},
    },
};

/// Maximum number of pending bulk requests per peer: while the peer answers one, it prepares the next.
const MAX_REQUESTS: usize = 2;
/// Size of each request to a peer that was not measured yet, in bytes.
const FIRST_REQUEST_BYTES: u64 = 4 << 20;
/// Minimum size of a request in bytes, as long as so much is queued: smaller ones compress less.
const MIN_REQUEST_BYTES: u64 = 1 << 20;
/// Maximum number of wants in one duplicate request.
const MAX_STOLEN: usize = 1024;
/// Number of consecutive broken requests after which a peer gets Bitswap wants only.
const MAX_BROKEN: u32 = 2;

/// An action of the client on a bulk request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::node::exchange) enum BulkAction {
    Place(Box<BulkRequest>),
    Cancel(BulkRequestId),
}

#[derive(Debug)]
struct UnderWay {
    session: SessionId,
    is_own: bool,
    /// Blocks that have not arrived, with the bytes of the peer's window that each takes.
    open: HashMap<Cid, u64>,
    asked_at: Instant,
    progress_at: Instant,
    /// Bytes of the blocks that are arriving, none of them complete yet.
    partial: u64,
    /// The peer was idle and has not sent anything yet: its first bytes show its latency.
    tells_latency: bool,
}

/// The bulk requests to one peer.
#[derive(Debug, Default)]
pub(in crate::node::exchange) struct BulkRequests {
    pub(super) supports: bool,
    under_way: BTreeMap<BulkRequestId, UnderWay>,
    live: usize,
    live_bytes: u64,
    broken: u32,
    outbox: Vec<BulkAction>,
}

impl BulkRequests {
    pub(super) fn live(&self) -> usize {
        self.live
    }

    pub(super) fn live_bytes(&self) -> u64 {
        let partial: u64 = self.under_way.values().map(|request| request.partial).sum();
        self.live_bytes.saturating_sub(partial)
    }

    fn place(&mut self, id: BulkRequestId, request: UnderWay) {
        self.live += request.open.len();
        self.live_bytes += request.open.values().sum::<u64>();
        self.under_way.insert(id, request);
    }

    /// A block of a request has arrived, or will not. Returns the bytes of the window that it took, if it was open.
    fn settle(&mut self, id: BulkRequestId, cid: &Cid) -> Option<u64> {
        let charge = self.under_way.get_mut(&id).and_then(|request| request.open.remove(cid))?;
        self.live -= 1;
        self.live_bytes -= charge;
        Some(charge)
    }

    /// Removes a request. Returns its session and the blocks that have not arrived.
    fn end(&mut self, id: BulkRequestId) -> Option<(SessionId, Vec<Cid>)> {
        let request = self.under_way.remove(&id)?;
        self.live -= request.open.len();
        self.live_bytes -= request.open.values().sum::<u64>();
        Some((request.session, request.open.into_keys().collect()))
    }

    /// The session no longer wants the block. Cancels requests that contain no other wanted block.
    pub(super) fn release(&mut self, cid: &Cid, owner: SessionId) {
        let of_it =
            |(_, request): &(&BulkRequestId, &UnderWay)| request.session == owner && request.open.contains_key(cid);
        let ids: Vec<BulkRequestId> = self.under_way.iter().filter(of_it).map(|(id, _)| *id).collect();
        for id in ids {
            self.settle(id, cid);
            if self.under_way.get(&id).is_some_and(|request| request.open.is_empty()) {
                self.under_way.remove(&id);
                self.outbox.push(BulkAction::Cancel(id));
            }
        }
    }
}

impl Client {
    /// Sets the manifest that wants of a session have places in.
    pub(in crate::node::exchange) fn describe(&mut self, id: SessionId, list: ListSource) {
        if let Some(active) = self.sessions.get_mut(&id) {
            active.session.describe(list);
        }
    }

    /// Whether the peer may get bulk requests from the session.
    pub(super) fn speaks_of_lists(&self, id: SessionId, peer_id: &PeerId) -> bool {
        let supports = self.peers.get(peer_id).is_some_and(|peer| peer.requests.supports);
        supports && self.sessions.get(&id).is_some_and(|active| active.session.is_listed(peer_id))
    }

    /// Whether the next want for the member goes into a bulk request.
    pub(super) fn takes_bulk_requests(&self, id: SessionId, peer_id: &PeerId) -> bool {
        self.speaks_of_lists(id, peer_id)
            && self.sessions.get(&id).is_some_and(|active| active.session.next_is_placed(peer_id))
    }

    /// Requests the next wants of a member in bulk. Returns whether it could take more.
    pub(super) fn request_next(&mut self, id: SessionId, peer_id: PeerId, now: Instant) -> bool {
        let helpers = self.helpers(id);
        let (Some(active), Some(peer)) = (self.sessions.get_mut(&id), self.peers.get(&peer_id)) else { return false };
        let window = match peer.meter.is_unmeasured() {
            true => (FIRST_REQUEST_BYTES * MAX_REQUESTS as u64).max(peer.meter.window()),
            false => peer.meter.window(),
        };
        let room = window.saturating_sub(peer.live_bytes());
        // Small requests compress less, and each has a fixed cost; but a peer must never be idle between two blocks.
        if peer.requests.under_way.len() >= MAX_REQUESTS || (peer.live() >= MIN_ASKED && room < window / 2) {
            return false;
        }
        // The rest is shared, or the first peer would get all of a small package. On a short path, where the processor
        // is the limit, the streams of one peer should end together too.
        let sharers = if peer.meter.is_near() { helpers * MAX_REQUESTS as u64 } else { helpers };
        let share = (active.session.queued_bytes() / sharers).max(MIN_REQUEST_BYTES);
        let credit = active.session.output.room(active.session.asked_bytes());
        // On a long path, two streams carry more than one while their flow control windows are small.
        let most = if peer.meter.is_unmeasured() { FIRST_REQUEST_BYTES } else { u64::MAX };
        let run = active.session.next_run_for(peer_id, room.min(share).min(most), credit);
        self.place(id, peer_id, run, now)
    }

    /// The number of members that share the remaining wants.
    fn helpers(&self, id: SessionId) -> u64 {
        self.sessions.get(&id).map_or(1, |active| active.session.helpers().max(1) as u64)
    }

    /// Requests from `fast`, in bulk, what a slower member will take much longer to send.
    pub(super) fn duplicate_run(&mut self, id: SessionId, fast: PeerId, members: &[PeerId], now: Instant) {
        let Some(slow) = self.slower(id, fast, members, now) else { return };
        let (Some(active), Some(peer)) = (self.sessions.get_mut(&id), self.peers.get(&fast)) else { return };
        if peer.requests.under_way.len() >= MAX_REQUESTS {
            return;
        }
        let (mut run, mut bytes) = (Vec::new(), 0);
        while run.len() < MAX_STOLEN && bytes < peer.room() {
            let Some(asking) = active.session.duplicate_for(fast, slow) else { break };
            bytes += asking.charge;
            run.push(asking);
        }
        let (listed, others): (Vec<_>, Vec<_>) = run.into_iter().partition(|asking| asking.place.is_some());
        self.place(id, fast, listed, now);
        for Asking { cid, charge, .. } in others {
            self.ask(id, fast, cid, charge, now);
        }
    }

    fn place(&mut self, id: SessionId, peer_id: PeerId, run: Vec<Asking>, now: Instant) -> bool {
        let source = self.sessions.get(&id).and_then(|active| active.session.list());
        let (Some(source), Some(peer)) = (source, self.peers.get_mut(&peer_id)) else { return false };
        if run.is_empty() {
            return false;
        }
        let (own, listed): (Vec<_>, Vec<_>) = run.into_iter().partition(|asking| asking.place == Some(Place::Own));
        let mut listed_wants: Vec<_> = listed.iter().filter_map(wanted).collect();
        listed_wants.sort_by_key(|(index, _)| *index);
        let wanted = [
            (own, Wanted::Own { max_bytes: source.max_bytes, whole: source.whole }),
            (listed, Wanted::Listed(listed_wants)),
        ];
        for (asked, wanted) in wanted.into_iter().filter(|(asked, _)| !asked.is_empty()) {
            let request_id = BulkRequestId(self.next_bulk_request);
            self.next_bulk_request += 1;
            let is_idle = peer.live() == 0;
            if is_idle {
                peer.meter.on_asked(now);
            }
            let open = asked.iter().map(|asking| (asking.cid, asking.charge)).collect();
            let is_own = matches!(wanted, Wanted::Own { .. });
            let request = UnderWay {
                session: id,
                is_own,
                open,
                asked_at: now,
                progress_at: now,
                partial: 0,
                tells_latency: is_idle,
            };
            peer.requests.place(request_id, request);
            let (list, references) = (source.list, source.references.clone());
            let request = BulkRequest { id: request_id, peer: peer_id, list, references, wanted };
            peer.requests.outbox.push(BulkAction::Place(Box::new(request)));
        }
        self.touched.insert(peer_id);
        true
    }

    pub(in crate::node::exchange) fn take_bulk_actions(&mut self, peer_id: &PeerId) -> Vec<BulkAction> {
        self.peers.get_mut(peer_id).map(|peer| std::mem::take(&mut peer.requests.outbox)).unwrap_or_default()
    }

    /// The peer supports bulk requests, or no longer does.
    pub(in crate::node::exchange) fn on_supports(&mut self, peer_id: PeerId, supports: bool, now: Instant) {
        if let Some(peer) = self.peers.get_mut(&peer_id) {
            peer.requests.supports = supports;
            peer.says_no |= supports;
            self.fill_all(now);
        }
    }

    /// Blocks of a bulk request arrived, each verified to hash to its CID.
    pub(in crate::node::exchange) fn on_bulk_requested(
        &mut self,
        peer_id: PeerId,
        id: BulkRequestId,
        blocks: Vec<Block>,
        now: Instant,
    ) -> Received {
        let mut received = Received::default();
        let Some(peer) = self.peers.get_mut(&peer_id).filter(|peer| peer.standing != Standing::Banned) else {
            return received;
        };
        peer.meter.on_sign(now);
        let mut own_of = None;
        let (mut latency, mut partial) = (None, 0);
        if let Some(request) = peer.requests.under_way.get_mut(&id) {
            request.progress_at = now;
            own_of = request.is_own.then_some(request.session);
            partial = std::mem::take(&mut request.partial);
            if std::mem::take(&mut request.tells_latency) {
                latency = Some(now.saturating_duration_since(request.asked_at));
            }
        }
        let mut answered_bytes = 0;
        for block in blocks {
            let bytes = block.data().len() as u64;
            let Some(peer) = self.peers.get_mut(&peer_id) else { break };
            if peer.requests.settle(id, block.cid()).is_some() {
                answered_bytes += bytes;
            }
            if self.interest.contains_key(block.cid()) {
                self.deliver(block, peer_id, now);
            } else if let Some(active) = own_of.and_then(|id| self.sessions.get_mut(&id)) {
                // Own blocks of a manifest, or its entries: no session can want them by CID before the root has
                // arrived.
                answered_bytes += bytes;
                active.progress_at = now;
                active.session.output.send(SessionEvent::Block { block, from: peer_id });
            } else {
                received.unwanted += 1;
                continue;
            }
            received.blocks += 1;
            received.bytes += bytes;
        }
        if let Some(peer) = self.peers.get_mut(&peer_id) {
            peer.requests.broken = 0;
            let idle = peer.live() == 0;
            let answered_bytes = answered_bytes.saturating_sub(partial);
            match latency {
                Some(latency) => peer.meter.on_first_bytes(latency, idle, now),
                None if own_of.is_some() => peer.meter.on_sign(now),
                None => peer.meter.on_more_bytes(answered_bytes, idle, now),
            }
        }
        self.sessions.values_mut().for_each(|active| active.session.on_answer(peer_id));
        self.touched.insert(peer_id);
        self.fill_all(now);
        received
    }

    /// Bytes of blocks of a request arrived: `bytes` since the last complete one.
    pub(in crate::node::exchange) fn on_bulk_progress(
        &mut self,
        peer_id: PeerId,
        id: BulkRequestId,
        bytes: u64,
        now: Instant,
    ) {
        let Some(peer) = self.peers.get_mut(&peer_id) else { return };
        peer.meter.on_sign(now);
        let Some(request) = peer.requests.under_way.get_mut(&id) else { return };
        request.progress_at = now;
        let more = bytes.saturating_sub(request.partial);
        request.partial = bytes;
        match std::mem::take(&mut request.tells_latency) {
            true => peer.meter.on_first_bytes(now.saturating_duration_since(request.asked_at), false, now),
            // A manifest does not shrink, and arrives while the flow control window is small: its entries arrive
            // faster.
            false if request.is_own => {}
            false => peer.meter.on_more_bytes(more, false, now),
        }
    }

    /// The peer does not have these blocks of a request.
    pub(in crate::node::exchange) fn on_bulk_absent(
        &mut self,
        peer_id: PeerId,
        id: BulkRequestId,
        cids: &[Cid],
        now: Instant,
    ) {
        let Some(peer) = self.peers.get_mut(&peer_id) else { return };
        peer.meter.on_sign(now);
        let Some(request) = peer.requests.under_way.get_mut(&id) else { return };
        request.progress_at = now;
        let session = request.session;
        for cid in cids {
            let Some(peer) = self.peers.get_mut(&peer_id) else { return };
            let Some(charge) = peer.requests.settle(id, cid) else { continue };
            if peer.wantlist.live() < MAX_LIVE_WANTS {
                // The peer answers with DONT_HAVE there too, and remembers the want: it sends the block when it has it.
                peer.wantlist.ask_block(*cid, charge, session, now);
            } else if let Some(active) = self.sessions.get_mut(&session)
                && active.session.on_refusal(cid, peer_id) == Refusal::Useless
            {
                self.drop_from(session, peer_id, DropReason::Useless);
            }
        }
        self.touched.insert(peer_id);
        self.fill_all(now);
    }

    /// A bulk request has ended. Returns whether the peer committed an offence, of which its session was notified.
    pub(in crate::node::exchange) fn on_bulk_ended(
        &mut self,
        peer_id: PeerId,
        id: BulkRequestId,
        end: End,
        now: Instant,
    ) -> bool {
        let Some(peer) = self.peers.get_mut(&peer_id) else { return false };
        let Some((session, left)) = peer.requests.end(id) else { return false };
        peer.requests.broken += u32::from(end == End::Broken);
        peer.requests.supports &= end != End::Unsupported;
        let is_broken = peer.requests.broken >= MAX_BROKEN;
        if !matches!(end, End::WrongBytes | End::Malformed) {
            peer.meter.on_sign(now);
        }
        let Some(active) = self.sessions.get_mut(&session) else { return false };
        let unlists = match end {
            // Blocks that it did not send are requested over Bitswap.
            End::Done => !left.is_empty(),
            End::Broken => is_broken,
            // One retry without references; after that only the manifest itself can be the cause.
            End::Unreferenced => !active.session.forget_references(),
            End::NotHere | End::Busy | End::Unsupported | End::WrongBytes | End::Malformed => true,
        };
        if unlists {
            active.session.unlist(peer_id);
        }
        active.session.give_back(&left, peer_id);
        let offence = match end {
            End::WrongBytes => Some(Offence::WrongBytes),
            End::Malformed => Some(Offence::Malformed),
            _ => None,
        };
        if let Some(offence) = offence {
            // Bytes that do not match the request cannot be a mix-up of requests: the peer is banned.
            self.ban(peer_id, offence, now);
        }
        self.touched.insert(peer_id);
        self.fill_all(now);
        offence.is_some()
    }

    /// Gives up requests that have made no progress for so long that the peer would count as stalled, had it not sent
    /// anything else.
    pub(super) fn give_up_overdue_requests(&mut self, now: Instant) {
        let mut overdue = Vec::new();
        for (peer_id, peer) in &mut self.peers {
            let limit = peer.meter.stall_after();
            let silent = |request: &UnderWay| now.saturating_duration_since(request.progress_at) > limit;
            let ids: Vec<_> =
                peer.requests.under_way.iter().filter(|(_, request)| silent(request)).map(|(id, _)| *id).collect();
            for id in ids {
                peer.requests.outbox.push(BulkAction::Cancel(id));
                overdue.push((*peer_id, id));
            }
        }
        for (peer_id, id) in overdue {
            let session = self.peers.get(&peer_id).and_then(|peer| Some(peer.requests.under_way.get(&id)?.session));
            if let Some(active) = session.and_then(|session| self.sessions.get_mut(&session)) {
                active.session.unlist(peer_id);
            }
            self.on_bulk_ended(peer_id, id, End::Broken, now);
        }
    }
}

fn wanted(asking: &Asking) -> Option<(u32, ManifestEntry)> {
    let (Some(Place::Listed(index)), Some(size)) = (asking.place, asking.size) else { return None };
    Some((index, ManifestEntry { cid: asking.cid, size: u32::try_from(size).ok()? }))
}
