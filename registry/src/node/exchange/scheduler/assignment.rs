//! Which member of a session gets which want, and over which protocol.

use std::time::{Duration, Instant};

use libp2p::PeerId;

use crate::{
    manifest::ManifestEntry,
    node::exchange::{
        bitswap::MAX_LIVE_WANTS,
        bulk::{BulkRequest, BulkRequestId, Wanted},
        scheduler::{fetch::Fetch, peers::Peers},
        session::{Asking, MIN_ASKED, Place},
    },
};

/// Wants and bytes given to one member in one turn.
const TURN_WANTS: usize = 16;
const TURN_BYTES: u64 = 512 << 10;
/// Maximum number of pending bulk requests per peer: while the peer answers one, it prepares the next.
const MAX_REQUESTS: usize = 2;
/// Size of each bulk request to a peer that was not measured yet, in bytes.
const FIRST_REQUEST_BYTES: u64 = 4 << 20;
/// Minimum size of a bulk request in bytes, as long as so much is queued: smaller ones compress less.
const MIN_REQUEST_BYTES: u64 = 1 << 20;
/// Maximum number of duplicate requests to one peer per tick, and of wants in one duplicate bulk request.
const MAX_STEALS: usize = 64;
const MAX_STOLEN: usize = 1024;
/// A want is also requested from a faster peer if the slower one is expected to take twice as long as it, plus this.
const STEAL_MARGIN: Duration = Duration::from_millis(100);

impl Fetch {
    /// Gives the queued wants to the members, the best first, in turns, as far as windows and credit permit. Members
    /// that are held back get only what is left, and only if they are released.
    pub(super) fn fill(&mut self, peers: &mut Peers, now: Instant) {
        if !self.session.has_queued() {
            return;
        }
        let members = self.session.members().keys().copied();
        let (held_back, members): (Vec<_>, Vec<_>) = members.partition(|peer_id| self.session.is_held_back(peer_id));
        self.give_out(members, peers, now);
        if self.released {
            self.give_out(held_back, peers, now);
        }
    }

    fn give_out(&mut self, members: Vec<PeerId>, peers: &mut Peers, now: Instant) {
        let worth = |peer_id| Some((self.worth(peer_id, peers)?, peer_id));
        let mut members: Vec<_> = members.into_iter().filter_map(worth).collect();
        members.sort_by(|(left, _), (right, _)| right.0.total_cmp(&left.0).then(right.1.total_cmp(&left.1)));
        while !members.is_empty() {
            members.retain(|(_, peer_id)| self.take_turn(*peer_id, peers, now));
        }
    }

    /// Returns the sort key of a member: its rate, as far as known, times its reputation; then its reputation.
    fn worth(&mut self, peer_id: PeerId, peers: &Peers) -> Option<(f64, f64)> {
        let reputation = self.prior(peer_id, peers).reputation;
        Some((peers.get(&peer_id)?.meter.rate() * reputation, reputation))
    }

    /// Whether the member may get bulk requests.
    fn may_request(&self, peer_id: &PeerId, peers: &Peers) -> bool {
        peers.get(peer_id).is_some_and(|peer| peer.requests.supports) && self.session.is_listed(peer_id)
    }

    /// Gives one member the wants of one turn. Returns whether it could take more.
    fn take_turn(&mut self, peer_id: PeerId, peers: &mut Peers, now: Instant) -> bool {
        if self.may_request(&peer_id, peers) && self.session.next_is_placed(&peer_id) {
            return self.request_next(peer_id, peers, now);
        }
        let (mut wants, mut bytes) = (0, 0);
        while wants < TURN_WANTS && bytes < TURN_BYTES {
            let Some(peer) = peers.get(&peer_id) else { return false };
            let credit = self.session.credit();
            if peer.wantlist.live() >= MAX_LIVE_WANTS {
                return false;
            }
            let Some((cid, charge)) = self.session.next_for(peer_id, peer.room(), credit) else { return false };
            if let Some(peer) = peers.change(peer_id) {
                peer.ask(cid, charge, self.id, now);
            }
            wants += 1;
            bytes += charge;
        }
        true
    }

    /// Requests the next wants of a member in bulk. Returns whether it could take more.
    fn request_next(&mut self, peer_id: PeerId, peers: &mut Peers, now: Instant) -> bool {
        let helpers = self.session.helpers().max(1) as u64;
        let Some(peer) = peers.get(&peer_id) else { return false };
        let window = match peer.meter.is_unmeasured() {
            true => (FIRST_REQUEST_BYTES * MAX_REQUESTS as u64).max(peer.meter.window()),
            false => peer.meter.window(),
        };
        let room = window.saturating_sub(peer.live_bytes());
        // Small requests compress less, and each has a fixed cost; but a peer must never be idle between two blocks.
        if peer.requests.len() >= MAX_REQUESTS || (peer.live() >= MIN_ASKED && room < window / 2) {
            return false;
        }
        // The rest is shared, or the first peer would get all of a small package. On a short path, where the processor
        // is the limit, the streams of one peer should end together too.
        let sharers = if peer.meter.is_near() { helpers * MAX_REQUESTS as u64 } else { helpers };
        let share = (self.session.queued_bytes() / sharers).max(MIN_REQUEST_BYTES);
        let credit = self.session.credit();
        // On a long path, two streams carry more than one while their flow control windows are small.
        let most = if peer.meter.is_unmeasured() { FIRST_REQUEST_BYTES } else { u64::MAX };
        let run = self.session.next_run_for(peer_id, room.min(share).min(most), credit);
        self.request(peer_id, run, peers, now)
    }

    /// Makes bulk requests for these wants. Returns whether it made any.
    fn request(&mut self, peer_id: PeerId, run: Vec<Asking>, peers: &mut Peers, now: Instant) -> bool {
        let Some(source) = self.session.list() else { return false };
        if run.is_empty() {
            return false;
        }
        let (own, listed): (Vec<_>, Vec<_>) = run.into_iter().partition(|asking| asking.place == Some(Place::Own));
        let mut entries: Vec<_> = listed.iter().filter_map(entry).collect();
        entries.sort_by_key(|(index, _)| *index);
        let wanted = [
            (own, Wanted::Own { max_bytes: source.max_bytes, whole: source.whole }),
            (listed, Wanted::Listed(entries)),
        ];
        for (asked, wanted) in wanted.into_iter().filter(|(asked, _)| !asked.is_empty()) {
            let id = BulkRequestId(peers.next_request());
            let open = asked.iter().map(|asking| (asking.cid, asking.charge)).collect();
            let (list, references) = (source.list, source.references.clone());
            let Some(peer) = peers.change(peer_id) else { return false };
            peer.request(BulkRequest { id, peer: peer_id, list, references, wanted }, self.id, open, now);
        }
        true
    }

    /// At the end of a session, when nothing is left to give out: requests from faster peers what slower ones will take
    /// much longer to send.
    pub(super) fn request_duplicates(&mut self, peers: &mut Peers, now: Instant) {
        if self.session.has_queued() || self.session.wanted() == 0 {
            return;
        }
        let may_duplicate = |peer_id: &&PeerId| self.released || !self.session.is_held_back(peer_id);
        let faster: Vec<PeerId> = self.session.members().keys().filter(may_duplicate).copied().collect();
        for fast in faster {
            if self.may_request(&fast, peers) {
                self.duplicate_run(fast, peers, now);
                continue;
            }
            for _ in 0..MAX_STEALS {
                let Some(slow) = self.slower(fast, peers, now) else { break };
                let Some(asking) = self.session.duplicate_for(fast, slow) else { break };
                self.ask(fast, &asking, peers, now);
            }
        }
    }

    fn ask(&self, peer_id: PeerId, asking: &Asking, peers: &mut Peers, now: Instant) {
        if let Some(peer) = peers.change(peer_id) {
            peer.ask(asking.cid, asking.charge, self.id, now);
        }
    }

    /// Requests from `fast`, in bulk, what a slower member will take much longer to send.
    fn duplicate_run(&mut self, fast: PeerId, peers: &mut Peers, now: Instant) {
        let Some(slow) = self.slower(fast, peers, now) else { return };
        let Some(peer) = peers.get(&fast).filter(|peer| peer.requests.len() < MAX_REQUESTS) else { return };
        let (mut run, mut bytes) = (Vec::new(), 0);
        while run.len() < MAX_STOLEN && bytes < peer.room() {
            let Some(asking) = self.session.duplicate_for(fast, slow) else { break };
            bytes += asking.charge;
            run.push(asking);
        }
        let (listed, others): (Vec<_>, Vec<_>) = run.into_iter().partition(|asking| asking.place.is_some());
        self.request(fast, listed, peers, now);
        others.iter().for_each(|asking| self.ask(fast, asking, peers, now));
    }

    /// The slowest member, if some of its wants are worth requesting from `fast` too.
    fn slower(&self, fast: PeerId, peers: &Peers, now: Instant) -> Option<PeerId> {
        let peer = peers.get(&fast)?;
        if peer.wantlist.live() >= MAX_LIVE_WANTS || peer.room() == 0 || peer.lateness(now) == Duration::MAX {
            return None;
        }
        let limit = peer.meter.eta(peer.live_bytes()) * 2 + STEAL_MARGIN;
        let slow = |(peer_id, lateness): &(&PeerId, Duration)| {
            *lateness > limit && peers.get(peer_id).is_some_and(|peer| peer.is_known_slow(*lateness))
        };
        let others = self.session.members().keys();
        others
            .filter(|other| **other != fast && self.session.asked_of(other) > 0)
            .filter_map(|other| Some((other, peers.get(other)?.lateness(now))))
            .filter(slow)
            .max_by_key(|(_, lateness)| *lateness)
            .map(|(slow, _)| *slow)
    }
}

fn entry(asking: &Asking) -> Option<(u32, ManifestEntry)> {
    let (Some(Place::Listed(index)), Some(size)) = (asking.place, asking.size) else { return None };
    Some((index, ManifestEntry { cid: asking.cid, size: u32::try_from(size).ok()? }))
}
