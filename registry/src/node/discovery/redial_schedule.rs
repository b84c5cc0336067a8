//! When to redial a peer whose connection was lost while a session used it: a pure schedule.
//!
//! The first attempt is due soon. Each further attempt waits twice as long as the one before, until the peer has
//! delivered a block again: a connection that breaks repeatedly, but delivers something each time, is redialled without
//! growing pauses.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use libp2p::{Multiaddr, PeerId};

/// Pause before the first attempt.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// Longest pause between two attempts.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// Maximum number of peers in the schedule; further ones are not redialled.
const MAX_PEERS: usize = 1024;

/// An attempt that is due.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Redial {
    pub(crate) peer: PeerId,
    /// The address at which this node had dialled it, if it did.
    pub(crate) address: Option<Multiaddr>,
    /// The last attempt at that address failed: try the peer's other addresses too.
    pub(crate) anywhere: bool,
}

#[derive(Debug)]
struct Entry {
    address: Option<Multiaddr>,
    /// When it is due; `None` while the peer is connected or an attempt is under way.
    due: Option<Instant>,
    /// Attempts since the peer last delivered a block.
    attempts: u32,
    /// Attempts that failed since the connection was lost.
    failures: u32,
}

/// The schedule.
#[derive(Debug, Default)]
pub(crate) struct Redials {
    peers: HashMap<PeerId, Entry>,
}

impl Redials {
    /// Schedules a peer that sessions use and whose connection is lost. `address` is where this node had dialled it,
    /// `delivered` whether it delivered a block over that connection.
    pub(crate) fn on_lost(&mut self, peer: PeerId, address: Option<Multiaddr>, delivered: bool, now: Instant) {
        if self.peers.len() >= MAX_PEERS && !self.peers.contains_key(&peer) {
            return;
        }
        let entry = self.peers.entry(peer).or_insert(Entry { address: None, due: None, attempts: 0, failures: 0 });
        if delivered {
            entry.attempts = 0;
        }
        entry.failures = 0;
        entry.address = address.or(entry.address.take());
        entry.due = Some(now + pause(entry.attempts));
    }

    /// The peer is connected, whichever side dialled.
    pub(crate) fn on_connected(&mut self, peer: &PeerId) {
        if let Some(entry) = self.peers.get_mut(peer) {
            entry.due = None;
        }
    }

    /// An attempt failed.
    pub(crate) fn on_failed(&mut self, peer: &PeerId, now: Instant) {
        if let Some(entry) = self.peers.get_mut(peer) {
            entry.failures += 1;
            entry.due = Some(now + pause(entry.attempts));
        }
    }

    /// Returns an attempt that is due. Its outcome must be reported with [`on_connected`](Self::on_connected) or
    /// [`on_failed`](Self::on_failed).
    pub(crate) fn next_due(&mut self, now: Instant) -> Option<Redial> {
        let is_due = |entry: &&mut Entry| entry.due.is_some_and(|due| due <= now);
        let (peer, entry) = self.peers.iter_mut().find(|(_, entry)| is_due(entry))?;
        entry.due = None;
        entry.attempts = entry.attempts.saturating_add(1);
        Some(Redial { peer: *peer, address: entry.address.clone(), anywhere: entry.failures > 0 })
    }

    /// When [`next_due`](Self::next_due), which returns `None` now, returns the next attempt.
    pub(crate) fn wake_at(&self) -> Option<Instant> {
        self.peers.values().filter_map(|entry| entry.due).min()
    }

    /// Forgets the peers that no session uses.
    pub(crate) fn retain(&mut self, has_use_for: impl Fn(&PeerId) -> bool) {
        self.peers.retain(|peer, _| has_use_for(peer));
    }

    /// Forgets a peer.
    pub(crate) fn forget(&mut self, peer: &PeerId) {
        self.peers.remove(peer);
    }
}

fn pause(attempts: u32) -> Duration {
    FIRST_PAUSE.saturating_mul(1 << attempts.min(16)).min(LONGEST_PAUSE)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn address() -> Option<Multiaddr> {
        Some("/ip4/192.0.2.1/tcp/4001".parse().unwrap())
    }

    /// The pauses in milliseconds before 12 attempts in a row, each of which ends with `end`.
    fn pauses(redials: &mut Redials, peer: PeerId, mut now: Instant, end: impl Fn(&mut Redials, Instant)) -> Vec<u128> {
        let attempt = |_| {
            let due = redials.wake_at().unwrap();
            assert_eq!(redials.next_due(due - Duration::from_nanos(1)), None);
            assert_eq!(redials.next_due(due).unwrap().peer, peer);
            assert_eq!((redials.next_due(due), redials.wake_at()), (None, None), "it is under way");
            let waited = (due - now).as_millis();
            now = due;
            end(redials, now);
            waited
        };
        (0..12).map(attempt).collect()
    }

    #[test]
    fn attempts_that_fail_come_after_growing_pauses_that_have_an_end() {
        let (mut redials, peer, now) = (Redials::default(), PeerId::random(), Instant::now());
        redials.on_lost(peer, address(), true, now);
        let waited = pauses(&mut redials, peer, now, |redials, now| redials.on_failed(&peer, now));
        assert_eq!(waited, [100, 200, 400, 800, 1600, 3200, 6400, 12_800, 25_600, 30_000, 30_000, 30_000]);
    }

    #[test]
    fn a_connection_that_carries_something_each_time_is_made_anew_at_once() {
        let (mut redials, peer, now) = (Redials::default(), PeerId::random(), Instant::now());
        redials.on_lost(peer, address(), true, now);
        let waited = pauses(&mut redials, peer, now, |redials, now| {
            redials.on_connected(&peer);
            redials.on_lost(peer, address(), true, now);
        });
        assert_eq!(waited, [100; 12]);
    }

    #[test]
    fn a_connection_that_comes_about_and_carries_nothing_is_like_none() {
        let (mut redials, peer, now) = (Redials::default(), PeerId::random(), Instant::now());
        redials.on_lost(peer, address(), false, now);
        let waited = pauses(&mut redials, peer, now, |redials, now| {
            redials.on_connected(&peer);
            redials.on_lost(peer, None, false, now);
        });
        assert_eq!(waited[..4], [100, 200, 400, 800]);
    }

    #[test]
    fn the_address_that_worked_is_tried_alone_first_and_is_not_forgotten() {
        let (mut redials, peer, now) = (Redials::default(), PeerId::random(), Instant::now());
        redials.on_lost(peer, address(), true, now);
        let mut next = |failed: bool| {
            let due = redials.wake_at().unwrap();
            let redial = redials.next_due(due).unwrap();
            if failed {
                redials.on_failed(&peer, due);
            } else {
                redials.on_connected(&peer);
                // This time the peer had dialled this node.
                redials.on_lost(peer, None, true, due);
            }
            redial
        };
        let attempt = |anywhere| Redial { peer, address: address(), anywhere };
        assert_eq!([next(true), next(true), next(false), next(true)], [false, true, true, false].map(attempt));
    }

    #[test]
    fn a_peer_that_is_connected_or_of_no_more_use_is_not_dialled() {
        let (mut redials, now) = (Redials::default(), Instant::now());
        let peers = [PeerId::random(), PeerId::random(), PeerId::random()];
        peers.iter().for_each(|peer| redials.on_lost(*peer, address(), true, now));
        redials.on_connected(&peers[0]);
        redials.forget(&peers[1]);
        redials.retain(|peer| *peer != peers[2]);
        assert_eq!((redials.wake_at(), redials.peers.len()), (None, 1));
    }

    proptest! {
        /// Whatever happens: one attempt per peer at a time, none before the first pause, and a bounded number of
        /// peers.
        #[test]
        fn attempts_are_bounded(events in prop::collection::vec((0_u8..4, 0_usize..3, 0_u64..500), 1..200)) {
            let (mut redials, mut now) = (Redials::default(), Instant::now());
            let peers: [PeerId; 3] = std::array::from_fn(|_| PeerId::random());
            let mut under_way = [false; 3];
            let mut not_before = [now; 3];
            for (event, index, milliseconds) in events {
                now += Duration::from_millis(milliseconds);
                let peer = peers[index];
                match event {
                    0 => {
                        redials.on_lost(peer, address(), milliseconds % 2 == 0, now);
                        (under_way[index], not_before[index]) = (false, now + FIRST_PAUSE);
                    }
                    1 => {
                        redials.on_connected(&peer);
                        under_way[index] = false;
                    }
                    2 if under_way[index] => {
                        redials.on_failed(&peer, now);
                        (under_way[index], not_before[index]) = (false, now + FIRST_PAUSE);
                    }
                    _ => {
                        while let Some(redial) = redials.next_due(now) {
                            let index = peers.iter().position(|peer| *peer == redial.peer).unwrap();
                            prop_assert!(!under_way[index] && not_before[index] <= now);
                            under_way[index] = true;
                        }
                    }
                }
                prop_assert!(redials.peers.len() <= peers.len());
            }
        }
    }
}
