//! What the passing of time shows of all peers and sessions.

use std::time::{Duration, Instant};

use crate::node::exchange::{
    bulk::End,
    channel::{DropReason, Offence},
    scheduler::Scheduler,
};

/// Interval of [`Event::Tick`](super::Event::Tick) while the scheduler is busy.
pub(in crate::node::exchange) const TICK_EVERY: Duration = Duration::from_millis(50);
/// A tick that is this late shows that this node was slow, not its peers.
const LATE_TICK: Duration = Duration::from_millis(500);

impl Scheduler {
    /// Handles everything that depends on time: late answers, silent peers, sessions that need more peers.
    pub(super) fn tick(&mut self, now: Instant) {
        let late = self.ticked_at.is_some_and(|at| now.saturating_duration_since(at) > LATE_TICK);
        self.ticked_at = Some(now);
        if late {
            self.peers.iter_mut().for_each(|(_, peer)| peer.meter.on_sign(now));
            let excused = now.checked_sub(LATE_TICK).unwrap_or(now);
            self.sessions.iter_mut().for_each(|fetch| fetch.progress_at = fetch.progress_at.max(excused));
        } else {
            self.drop_stalled(now);
        }
        self.refuse_overdue(now);
        self.give_up_overdue_requests(now);
        self.sessions.iter_mut().for_each(|fetch| fetch.release_held_back(now));
        self.sessions.fill_all(&mut self.peers, now);
        for fetch in self.sessions.iter_mut() {
            let useless = fetch.session.useless();
            useless.into_iter().for_each(|peer| fetch.drop_member(peer, DropReason::Useless, &mut self.peers));
            fetch.note_all_late(&mut self.peers, now);
            fetch.request_duplicates(&mut self.peers, now);
            fetch.seek_help(&mut self.peers, now);
        }
    }

    fn drop_stalled(&mut self, now: Instant) {
        let stalled = self.peers.iter().filter(|(_, peer)| peer.is_stalled(now));
        let stalled: Vec<_> = stalled.map(|(peer_id, peer)| (*peer_id, peer.unasked > 0, peer.says_no)).collect();
        for (peer_id, has_sent_others, says_no) in stalled {
            if has_sent_others {
                // It has answered, with bytes that are not those of a block requested from it.
                self.sessions.blame(peer_id, Offence::WrongBytes, &mut self.peers);
            } else if says_no {
                self.sessions.blame(peer_id, Offence::Stalled, &mut self.peers);
            }
            self.sessions.drop_peer(peer_id, DropReason::Stalled, &mut self.peers, now);
        }
    }

    /// Wants that were not answered in time count as refused.
    fn refuse_overdue(&mut self, now: Instant) {
        let overdue = self.peers.iter_mut().map(|(peer_id, peer)| {
            let limit = peer.meter.answer_within();
            (*peer_id, peer.wantlist.overdue(now, limit))
        });
        for (peer_id, cids) in overdue.filter(|(_, cids)| !cids.is_empty()).collect::<Vec<_>>() {
            self.sessions.asking(&peer_id).for_each(|fetch| fetch.note_late(peer_id, &mut self.peers));
            cids.iter().for_each(|cid| self.on_refused(peer_id, cid));
            self.peers.change(peer_id);
        }
    }

    /// Gives up bulk requests that have made no progress for so long that the peer would count as stalled, had it not
    /// sent anything else.
    fn give_up_overdue_requests(&mut self, now: Instant) {
        let mut overdue = Vec::new();
        for (peer_id, peer) in self.peers.iter_mut() {
            let limit = peer.meter.stall_after();
            overdue.extend(peer.requests.cancel_overdue(limit, now).into_iter().map(|request| (*peer_id, request)));
        }
        for (peer_id, (id, owner)) in overdue {
            if let Some(fetch) = self.sessions.get_mut(owner) {
                fetch.session.unlist(peer_id);
            }
            self.on_request_ended(peer_id, id, End::Broken, now);
        }
    }
}
