//! Whose catalog is compared with ours, and when: a pure schedule.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use libp2p::PeerId;

/// Exchanges under way at once.
pub(super) const MAX_UNDER_WAY: usize = 4;
/// Shortest time between two exchanges with one peer.
const PAUSE: Duration = Duration::from_secs(1);
/// News come in bursts: a peer that knows what was missed is asked after this long.
const GATHER: Duration = Duration::from_millis(300);
/// Peers kept account of; those asked longest ago are forgotten.
const MAX_PEERS: usize = 512;

#[derive(Clone, Copy, Debug)]
struct Peer {
    due: Option<Instant>,
    last: Option<Instant>,
    under_way: bool,
    /// It may learn what was missed only now itself: it is asked once more.
    again: bool,
}

/// The schedule.
#[derive(Debug, Default)]
pub(super) struct Schedule {
    peers: HashMap<PeerId, Peer>,
    under_way: usize,
}

impl Schedule {
    /// A peer came: it is asked at once, unless it was only just asked.
    pub(super) fn met(&mut self, peer: PeerId, now: Instant) {
        self.want(peer, now);
    }

    /// A peer seems to know what was missed.
    pub(super) fn missed(&mut self, peer: PeerId, now: Instant) {
        self.want(peer, now + GATHER);
        if let Some(peer) = self.peers.get_mut(&peer) {
            peer.again = true;
        }
    }

    /// Of these peers the one that was asked longest ago is asked.
    pub(super) fn again(&mut self, peers: &[PeerId], now: Instant) {
        let last = |peer: &&PeerId| self.peers.get(*peer).and_then(|peer| peer.last);
        if let Some(peer) = peers.iter().min_by_key(last).copied() {
            self.want(peer, now);
        }
    }

    fn want(&mut self, peer: PeerId, due: Instant) {
        if self.peers.len() >= MAX_PEERS && !self.peers.contains_key(&peer) {
            let idle = self.peers.iter().filter(|(_, peer)| !peer.under_way);
            let Some(oldest) = idle.min_by_key(|(_, peer)| peer.last).map(|(id, _)| *id) else { return };
            self.peers.remove(&oldest);
        }
        let entry = self.peers.entry(peer).or_insert(Peer { due: None, last: None, under_way: false, again: false });
        let due = entry.last.map_or(due, |last| due.max(last + PAUSE));
        entry.due = Some(entry.due.map_or(due, |former| former.min(due)));
    }

    /// Returns a peer that is to be asked, and counts it as under way until [`done`](Self::done).
    pub(super) fn next(&mut self, now: Instant) -> Option<PeerId> {
        if self.wake_at()? > now {
            return None;
        }
        let (id, _) = self.due().min_by_key(|(_, due)| *due)?;
        let peer = self.peers.get_mut(&id)?;
        (peer.due, peer.last, peer.under_way) = (None, Some(now), true);
        self.under_way += 1;
        Some(id)
    }

    /// An exchange has ended, and has brought something new or not. News that were missed are asked for until one brings
    /// nothing, the first excepted: whoever passed the news on may have missed some too.
    pub(super) fn done(&mut self, peer: &PeerId, brought: bool, now: Instant) {
        self.under_way = self.under_way.saturating_sub(1);
        if let Some(peer) = self.peers.get_mut(peer) {
            peer.under_way = false;
            peer.last = Some(now);
            let again = peer.again;
            peer.again &= brought;
            peer.due = peer.due.or(again.then_some(now)).map(|due| due.max(now + PAUSE));
        }
    }

    /// When [`next`](Self::next) has something to say.
    pub(super) fn wake_at(&self) -> Option<Instant> {
        match self.under_way < MAX_UNDER_WAY {
            true => self.due().map(|(_, due)| due).min(),
            false => None,
        }
    }

    fn due(&self) -> impl Iterator<Item = (PeerId, Instant)> + '_ {
        let waiting = self.peers.iter().filter(|(_, peer)| !peer.under_way);
        waiting.filter_map(|(id, peer)| Some((*id, peer.due?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_of_missed_news_is_one_exchange() {
        let (mut schedule, start, bob) = (Schedule::default(), Instant::now(), PeerId::random());
        for millis in 0..100 {
            schedule.missed(bob, start + Duration::from_millis(millis));
        }
        assert_eq!(schedule.next(start), None);
        assert_eq!(schedule.wake_at(), Some(start + GATHER));
        assert_eq!(schedule.next(start + GATHER), Some(bob));
        assert_eq!(schedule.next(start + GATHER), None);
        // What comes while it is under way is one more, after a pause.
        schedule.missed(bob, start + GATHER);
        assert_eq!(schedule.next(start + 3 * GATHER), None);
        let mut ended = start + 3 * GATHER;
        // And two more at least: bob may be about to learn what was missed. As long as there is something, it goes on.
        for brought in [true, true, false] {
            schedule.done(&bob, brought, ended);
            assert_eq!(schedule.next(ended), None);
            assert_eq!(schedule.wake_at(), Some(ended + PAUSE));
            assert_eq!(schedule.next(ended + PAUSE), Some(bob));
            ended += PAUSE + GATHER;
        }
        schedule.done(&bob, false, ended);
        assert_eq!(schedule.wake_at(), None);
    }

    #[test]
    fn who_was_only_met_is_asked_once() {
        let (mut schedule, now, bob) = (Schedule::default(), Instant::now(), PeerId::random());
        schedule.met(bob, now);
        assert_eq!(schedule.next(now), Some(bob));
        schedule.done(&bob, true, now);
        assert_eq!(schedule.wake_at(), None);
    }

    #[test]
    fn a_few_at_a_time_and_bounded_in_number() {
        let (mut schedule, now) = (Schedule::default(), Instant::now());
        for _ in 0..4 * MAX_PEERS {
            schedule.met(PeerId::random(), now);
        }
        assert_eq!(schedule.peers.len(), MAX_PEERS);
        assert_eq!(std::iter::from_fn(|| schedule.next(now)).count(), MAX_UNDER_WAY);
        assert_eq!(schedule.wake_at(), None);
    }

    #[test]
    fn whoever_was_asked_longest_ago_is_asked_again() {
        let (mut schedule, start) = (Schedule::default(), Instant::now());
        let peers = [PeerId::random(), PeerId::random()];
        let mut asked = Vec::new();
        for round in 0..4 {
            let now = start + Duration::from_secs(60 * round);
            schedule.again(&peers, now);
            let peer = schedule.next(now).unwrap();
            schedule.done(&peer, true, now);
            asked.push(peer);
        }
        assert_eq!(asked[..2], asked[2..]);
        assert_ne!(asked[0], asked[1]);
    }
}
