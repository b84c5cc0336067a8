//! How nodes that know only plain IPFS nodes find each other: a pure schedule.
//!
//! Every node provides one CID, derived from the name of the network, on the IPFS DHT. It looks up the other providers
//! until its own routing table is healthy; then rarely. The bootstrap nodes of the public network need no support for
//! this.

use std::time::{Duration, Instant};

use sha2::{Digest as _, Sha256};

/// Hashed before the name of the network, so that no other application uses the same key.
const DOMAIN: &[u8] = b"ggen:rendezvous:v1\0";
/// Code and length of a sha2-256 multihash.
const SHA2_256_PREFIX: [u8; 2] = [0x12, 0x20];
/// With this many peers in its routing table, a node finds the rest of its network through its own DHT.
const HEALTHY_PEERS: usize = 8;
/// Pause after the first lookup without success; it doubles with each further one.
const FIRST_PAUSE: Duration = Duration::from_secs(2);
/// Longest pause while the table is not healthy.
const LONGEST_PAUSE: Duration = Duration::from_secs(300);
/// Pause between lookups of a healthy node: the parts of a partitioned network find each other again.
const HEALTHY_PAUSE: Duration = Duration::from_secs(3600);
/// Pauses grow by up to this share at random, so that nodes that started together do not send lookups together.
const SPREAD: f64 = 0.25;

/// The multihash under which the nodes of the network `topic` provide themselves.
pub(crate) fn key(topic: &str) -> Vec<u8> {
    let digest = Sha256::new().chain_update(DOMAIN).chain_update(topic).finalize();
    [&SHA2_256_PREFIX[..], &digest].concat()
}

/// An input of the schedule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// Numbers of peers in the routing tables: of the ggen DHT, and of the two IPFS DHTs together.
    Tables { ggen: usize, ipfs: usize },
    /// A lookup has ended.
    Ended,
    /// Time has passed.
    Tick,
}

/// What the caller must do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Look up the key's providers on an IPFS DHT, and dial them.
    LookUp,
}

/// The schedule.
#[derive(Debug)]
pub(crate) struct Rendezvous {
    due: Instant,
    /// Lookups since the table was last healthy.
    lookups: u32,
    under_way: bool,
    /// No lookup before this time, so that peers which connect and disconnect cannot cause lookups without a pause.
    rests_until: Instant,
    ggen: usize,
    ipfs: usize,
}

impl Rendezvous {
    pub(crate) fn new(now: Instant) -> Self {
        Self { due: now, lookups: 0, under_way: false, rests_until: now, ggen: 0, ipfs: 0 }
    }

    /// Handles an event. `jitter` is a random number from 0 to 1.
    pub(crate) fn on(&mut self, event: Event, now: Instant, jitter: f64) -> Option<Action> {
        match event {
            Event::Tables { ggen, ipfs } => self.on_tables(ggen, ipfs, now),
            Event::Ended => {
                self.under_way = false;
                self.rests_until = now + FIRST_PAUSE;
                self.due = now + self.pause().mul_f64(1.0 + SPREAD * jitter.clamp(0.0, 1.0));
            }
            Event::Tick => {}
        }
        // Without a peer in an IPFS DHT no lookup is possible.
        if self.under_way || self.ipfs == 0 || now < self.due {
            return None;
        }
        self.under_way = true;
        self.lookups = self.lookups.saturating_add(1);
        Some(Action::LookUp)
    }

    /// When [`Event::Tick`] has an effect.
    pub(crate) fn wake_at(&self) -> Option<Instant> {
        (!self.under_way && self.ipfs > 0).then_some(self.due)
    }

    fn on_tables(&mut self, ggen: usize, ipfs: usize, now: Instant) {
        let was_healthy = self.is_healthy();
        let first_to_ask = self.ipfs == 0 && ipfs > 0;
        let lost_everybody = self.ggen > 0 && ggen == 0;
        (self.ggen, self.ipfs) = (ggen, ipfs);
        if first_to_ask || lost_everybody || (was_healthy && !self.is_healthy()) {
            self.lookups = 0;
            self.due = self.due.min(self.rests_until.max(now));
        }
    }

    fn is_healthy(&self) -> bool {
        self.ggen >= HEALTHY_PEERS
    }

    fn pause(&self) -> Duration {
        if self.is_healthy() {
            return HEALTHY_PAUSE;
        }
        FIRST_PAUSE.saturating_mul(1 << self.lookups.saturating_sub(1).min(16)).min(LONGEST_PAUSE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn tables(ggen: usize, ipfs: usize) -> Event {
        Event::Tables { ggen, ipfs }
    }

    #[test]
    fn every_network_has_a_key_of_its_own() {
        assert_eq!(key("/ggen/packages/v1"), key("/ggen/packages/v1"));
        assert_ne!(key("/ggen/packages/v1"), key("/ggen/packages/v2"));
        assert_eq!(key("a").len(), 34, "a sha2-256 multihash, which any IPFS node takes");
    }

    #[test]
    fn nobody_is_asked_before_there_is_somebody_to_ask() {
        let now = Instant::now();
        let mut rendezvous = Rendezvous::new(now);
        assert_eq!(rendezvous.on(Event::Tick, now, 0.0), None);
        assert_eq!(rendezvous.wake_at(), None);
        assert_eq!(rendezvous.on(tables(0, 1), now, 0.0), Some(Action::LookUp));
        assert_eq!(rendezvous.on(tables(0, 2), now, 0.0), None, "one lookup at a time");
    }

    #[test]
    fn a_lonely_node_asks_again_with_growing_pauses() {
        let mut now = Instant::now();
        let mut rendezvous = Rendezvous::new(now);
        assert!(rendezvous.on(tables(0, 1), now, 0.0).is_some());
        let mut pauses = Vec::new();
        for _ in 0..12 {
            assert_eq!(rendezvous.on(Event::Ended, now, 0.0), None);
            let due = rendezvous.wake_at().unwrap();
            assert_eq!(rendezvous.on(Event::Tick, due - SECOND / 2, 0.0), None);
            assert_eq!(rendezvous.on(Event::Tick, due, 0.0), Some(Action::LookUp));
            pauses.push(due - now);
            now = due;
        }
        assert_eq!(&pauses[..3], [FIRST_PAUSE, FIRST_PAUSE * 2, FIRST_PAUSE * 4]);
        assert_eq!(pauses[11], LONGEST_PAUSE);
    }

    #[test]
    fn a_healthy_node_asks_rarely_and_a_lost_one_at_once() {
        let mut now = Instant::now();
        let mut rendezvous = Rendezvous::new(now);
        assert!(rendezvous.on(tables(HEALTHY_PEERS, 5), now, 0.0).is_some());
        rendezvous.on(Event::Ended, now, 1.0);
        assert_eq!(rendezvous.wake_at(), Some(now + HEALTHY_PAUSE.mul_f64(1.0 + SPREAD)));
        now += FIRST_PAUSE;
        assert_eq!(rendezvous.on(tables(HEALTHY_PEERS - 1, 5), now, 0.0), Some(Action::LookUp));
        rendezvous.on(Event::Ended, now, 0.0);
        assert_eq!(rendezvous.wake_at(), Some(now + FIRST_PAUSE));
        rendezvous.on(Event::Tick, now + FIRST_PAUSE, 0.0);
        now += FIRST_PAUSE;
        rendezvous.on(Event::Ended, now, 0.0);
        assert_eq!(rendezvous.wake_at(), Some(now + FIRST_PAUSE * 2));
        assert_eq!(rendezvous.on(tables(0, 5), now, 0.0), None, "peers that come and go");
        assert_eq!(rendezvous.wake_at(), Some(now + FIRST_PAUSE), "everybody is gone");
    }

    #[test]
    fn pauses_are_spread() {
        let now = Instant::now();
        for (jitter, expected) in [(0.0, 1.0), (0.5, 1.125), (1.0, 1.25), (7.0, 1.25)] {
            let mut rendezvous = Rendezvous::new(now);
            rendezvous.on(tables(0, 1), now, 0.0);
            rendezvous.on(Event::Ended, now, jitter);
            assert_eq!(rendezvous.wake_at(), Some(now + FIRST_PAUSE.mul_f64(expected)));
        }
    }
}
