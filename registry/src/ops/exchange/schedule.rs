//! Decides with which peer to exchange catalogs, and when. Performs no I/O.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use libp2p::PeerId;

/// Maximum number of exchanges in progress.
pub(super) const MAX_UNDER_WAY: usize = 4;
/// Shortest time between two exchanges with one peer.
const PAUSE: Duration = Duration::from_secs(1);
/// Delay before an exchange with a peer that has missed records. Gossip arrives in bursts, and one exchange covers a
/// burst.
const GATHER: Duration = Duration::from_millis(300);
/// Peers remembered; the peer queried longest ago is forgotten first.
const MAX_PEERS: usize = 512;
/// Consecutive exchanges without new records before one peer is no longer queried for missed records. The peer may have
/// missed the same records and receive them late, so the pauses between these exchanges double.
const MAX_IN_VAIN: u32 = 5;
/// Time after which one peer is no longer queried for missed records, even if it sends new ones: records that a full
/// catalog cannot keep are new every time.
const LOOKS_FOR: Duration = Duration::from_secs(120);

/// The outcome of an exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Brought {
    New,
    Nothing,
    /// The peer did not respond, or its response was invalid.
    Failed,
}

#[derive(Clone, Copy, Debug)]
struct Peer {
    due: Option<Instant>,
    last: Option<Instant>,
    under_way: bool,
    /// Set while the peer is queried for missed records.
    search: Option<Search>,
}

#[derive(Clone, Copy, Debug)]
struct Search {
    until: Instant,
    in_vain: u32,
}

impl Search {
    /// Returns the search after an exchange with this outcome, or `None` if it ends.
    fn after(self, brought: Brought, now: Instant) -> Option<Self> {
        let in_vain = match brought {
            Brought::New => 0,
            Brought::Nothing => self.in_vain + 1,
            Brought::Failed => MAX_IN_VAIN,
        };
        (in_vain < MAX_IN_VAIN && now < self.until).then_some(Self { in_vain, ..self })
    }
}

/// The schedule.
#[derive(Debug, Default)]
pub(super) struct Schedule {
    peers: HashMap<PeerId, Peer>,
    under_way: usize,
}

impl Schedule {
    /// A peer connected: schedules an exchange at once, but not sooner than [`PAUSE`] after the last one.
    pub(super) fn met(&mut self, peer: PeerId, now: Instant) {
        self.want(peer, now);
    }

    /// A peer seems to have missed records.
    pub(super) fn missed(&mut self, peer: PeerId, now: Instant) {
        self.want(peer, now + GATHER);
        if let Some(peer) = self.peers.get_mut(&peer) {
            peer.search = Some(Search { until: now + LOOKS_FOR, in_vain: 0 });
        }
    }

    /// Schedules an exchange with the one of `peers` that was queried longest ago.
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
        let entry = self.peers.entry(peer).or_insert(Peer { due: None, last: None, under_way: false, search: None });
        let due = entry.last.map_or(due, |last| due.max(last + PAUSE));
        entry.due = Some(entry.due.map_or(due, |former| former.min(due)));
    }

    /// Returns a peer whose exchange is due, and counts the exchange as in progress until [`done`](Self::done).
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

    /// Records the end of an exchange. Returns whether missed records have to be requested from another peer.
    pub(super) fn done(&mut self, peer: &PeerId, brought: Brought, now: Instant) -> bool {
        self.under_way = self.under_way.saturating_sub(1);
        let Some(peer) = self.peers.get_mut(peer) else { return false };
        (peer.under_way, peer.last) = (false, Some(now));
        let before = peer.search.take();
        peer.search = before.and_then(|search| search.after(brought, now));
        let again = peer.search.map(|search| now + PAUSE * (1 << search.in_vain.saturating_sub(1)));
        let asked = peer.due.map(|due| due.max(now + PAUSE));
        peer.due = asked.into_iter().chain(again).min();
        before.is_some() && brought == Brought::Failed
    }

    /// When [`next`](Self::next) returns a peer.
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
        // A report during the exchange schedules one more, after a pause.
        schedule.missed(bob, start + GATHER);
        assert_eq!(schedule.next(start + 3 * GATHER), None);
        let ended = start + 3 * GATHER;
        schedule.done(&bob, Brought::New, ended);
        assert_eq!(schedule.wake_at(), Some(ended + PAUSE));
    }

    /// Returns the pauses in seconds between exchanges with these outcomes.
    fn pauses(schedule: &mut Schedule, peer: PeerId, mut now: Instant, brought: &[Brought]) -> Vec<u64> {
        let pause = |brought: &Brought| {
            schedule.done(&peer, *brought, now);
            let due = schedule.wake_at()?;
            assert_eq!(schedule.next(due), Some(peer));
            let pause = due - now;
            now = due;
            Some(pause.as_secs())
        };
        brought.iter().map_while(pause).collect()
    }

    #[test]
    fn what_was_missed_is_asked_for_ever_less_often_until_it_has_been_in_vain_five_times() {
        use Brought::{New, Nothing};
        let (mut schedule, now, bob) = (Schedule::default(), Instant::now(), PeerId::random());
        schedule.missed(bob, now);
        assert_eq!(schedule.next(now + GATHER), Some(bob));
        assert_eq!(pauses(&mut schedule, bob, now + GATHER, &[Nothing; 8]), [1, 2, 4, 8]);
        let later = now + 60 * PAUSE;
        schedule.missed(bob, later);
        assert_eq!(schedule.next(later + GATHER), Some(bob));
        // Bob receives the records late, so there may be more.
        let brought = [Nothing, Nothing, New, Nothing, Nothing, Nothing, Nothing, Nothing];
        assert_eq!(pauses(&mut schedule, bob, later + GATHER, &brought), [1, 2, 1, 1, 2, 4, 8]);
    }

    #[test]
    fn whoever_always_has_something_new_is_not_asked_for_ever() {
        let (mut schedule, now, bob) = (Schedule::default(), Instant::now(), PeerId::random());
        schedule.missed(bob, now);
        assert_eq!(schedule.next(now + GATHER), Some(bob));
        let asked = pauses(&mut schedule, bob, now + GATHER, &[Brought::New; 1000]).len();
        assert_eq!(asked as u64, LOOKS_FOR.as_secs());
    }

    #[test]
    fn what_a_peer_should_know_that_does_not_answer_is_looked_for_elsewhere() {
        let (now, bob) = (Instant::now(), PeerId::random());
        for is_missed in [false, true] {
            let mut schedule = Schedule::default();
            if is_missed {
                schedule.missed(bob, now);
            } else {
                schedule.met(bob, now);
            }
            let later = now + 10 * PAUSE;
            assert_eq!(schedule.next(later), Some(bob));
            assert_eq!(schedule.done(&bob, Brought::Failed, later), is_missed);
            assert_eq!(schedule.wake_at(), None);
        }
    }

    #[test]
    fn who_was_only_met_is_asked_once() {
        let (mut schedule, now, bob) = (Schedule::default(), Instant::now(), PeerId::random());
        schedule.met(bob, now);
        assert_eq!(schedule.next(now), Some(bob));
        schedule.done(&bob, Brought::New, now);
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
            schedule.done(&peer, Brought::New, now);
            asked.push(peer);
        }
        assert_eq!(asked[..2], asked[2..]);
        assert_ne!(asked[0], asked[1]);
    }
}
