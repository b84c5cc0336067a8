//! When a node with few peers looks for more: a pure schedule with growing pauses.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use libp2p::PeerId;

/// Pause after the first attempt; it doubles with each further one.
const FIRST_PAUSE: Duration = Duration::from_secs(5);
/// Longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(300);
/// Pauses grow by up to this share at random, so that nodes that were trimmed together do not return together.
const SPREAD: f64 = 0.25;
/// How long a peer that was full is not dialled by a node that has other peers.
const FULL_FOR: Duration = Duration::from_secs(600);
/// Maximum number of full peers remembered.
const MAX_FULL: usize = 256;

/// The schedule.
#[derive(Debug)]
pub(crate) struct Reentry {
    /// Number of peers that are enough.
    wanted: usize,
    due: Option<Instant>,
    attempts: u32,
    /// Peers that turned this node away, and when.
    full: HashMap<PeerId, Instant>,
}

impl Reentry {
    pub(crate) fn new(wanted: usize) -> Self {
        Self { wanted, due: None, attempts: 0, full: HashMap::new() }
    }

    /// Whether to dial other peers now, with this number of connected ones. `jitter` is a random number from 0 to 1.
    pub(crate) fn is_due(&mut self, peers: usize, now: Instant, jitter: f64) -> bool {
        if peers >= self.wanted {
            (self.due, self.attempts) = (None, 0);
            return false;
        }
        let due = *self.due.get_or_insert(now + FIRST_PAUSE.mul_f64(1.0 + SPREAD * jitter));
        if now < due {
            return false;
        }
        self.attempts = self.attempts.saturating_add(1);
        let pause = FIRST_PAUSE.saturating_mul(1 << self.attempts.min(16)).min(LONGEST_PAUSE);
        self.due = Some(now + pause.mul_f64(1.0 + SPREAD * jitter));
        true
    }

    /// A peer has turned this node away.
    pub(crate) fn on_turned_away(&mut self, peer: PeerId, now: Instant) {
        self.full.retain(|_, since| now.saturating_duration_since(*since) < FULL_FOR);
        if self.full.len() < MAX_FULL {
            self.full.insert(peer, now);
        }
    }

    /// Whether a peer need not be dialled: it is full, and this node has enough other peers.
    pub(crate) fn passes_over(&self, peer: &PeerId, peers: usize, now: Instant) -> bool {
        let is_recent = |since: &Instant| now.saturating_duration_since(*since) < FULL_FOR;
        peers >= self.wanted && self.full.get(peer).is_some_and(is_recent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_without_enough_peers_looks_for_more_with_growing_pauses_until_it_has_them() {
        let mut now = Instant::now();
        let mut reentry = Reentry::new(6);
        let mut pauses = Vec::new();
        for _ in 0..9 {
            let start = now;
            while !reentry.is_due(5, now, 0.0) {
                now += Duration::from_secs(1);
            }
            pauses.push((now - start).as_secs());
        }
        assert_eq!(pauses, [5, 10, 20, 40, 80, 160, 300, 300, 300]);
        assert!(!reentry.is_due(6, now + LONGEST_PAUSE, 0.0), "it has enough");
        now += LONGEST_PAUSE;
        assert!(!reentry.is_due(0, now, 1.0));
        assert!(!reentry.is_due(0, now + FIRST_PAUSE, 1.0), "pauses are spread");
        assert!(
            reentry.is_due(0, now + FIRST_PAUSE.mul_f64(1.0 + SPREAD), 1.0),
            "it starts with the first pause again"
        );
    }

    #[test]
    fn a_full_peer_is_left_alone_only_while_there_are_others() {
        let (mut reentry, peer, now) = (Reentry::new(6), PeerId::random(), Instant::now());
        assert!(!reentry.passes_over(&peer, 6, now));
        reentry.on_turned_away(peer, now);
        assert!(reentry.passes_over(&peer, 6, now));
        assert!(!reentry.passes_over(&peer, 5, now));
        assert!(!reentry.passes_over(&peer, 6, now + FULL_FOR));
    }

    #[test]
    fn only_so_many_full_peers_are_remembered() {
        let (mut reentry, now) = (Reentry::new(6), Instant::now());
        (0..=MAX_FULL).for_each(|_| reentry.on_turned_away(PeerId::random(), now));
        assert_eq!(reentry.full.len(), MAX_FULL);
    }
}
