//! How much news one peer may pass on: a bucket of tokens for each, filled with time.

use std::{collections::HashMap, time::Instant};

use libp2p::PeerId;

/// Announcements that one peer may pass on at once.
const BURST: f64 = 64.0;
/// Announcements per second that it may pass on in the long run.
const PER_SECOND: f64 = 4.0;
/// Peers that are kept account of; beyond that, full buckets are forgotten first.
const MAX_PEERS: usize = 1024;

#[derive(Debug)]
struct Bucket {
    tokens: f64,
    filled: Instant,
}

/// The buckets of all peers.
#[derive(Debug, Default)]
pub(super) struct Limiter {
    buckets: HashMap<PeerId, Bucket>,
}

impl Limiter {
    /// Says whether a peer may pass on one more announcement, and counts it.
    pub(super) fn admits(&mut self, peer: PeerId, now: Instant) -> bool {
        if self.buckets.len() >= MAX_PEERS && !self.buckets.contains_key(&peer) {
            self.forget(now);
        }
        let bucket = self.buckets.entry(peer).or_insert(Bucket { tokens: BURST, filled: now });
        bucket.fill(now);
        let admits = bucket.tokens >= 1.0;
        if admits {
            bucket.tokens -= 1.0;
        }
        admits
    }

    fn forget(&mut self, now: Instant) {
        self.buckets.retain(|_, bucket| {
            bucket.fill(now);
            bucket.tokens < BURST
        });
        if self.buckets.len() >= MAX_PEERS {
            // So many busy peers at once: all begin anew, which is no worse for us than if they had just come.
            self.buckets.clear();
        }
    }
}

impl Bucket {
    fn fill(&mut self, now: Instant) {
        let seconds = now.saturating_duration_since(self.filled).as_secs_f64();
        self.tokens = (self.tokens + seconds * PER_SECOND).min(BURST);
        self.filled = now;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_burst_passes_and_a_flood_does_not() {
        let (mut limiter, start) = (Limiter::default(), Instant::now());
        let (mallory, bob) = (PeerId::random(), PeerId::random());
        let passed = (0..1000).filter(|_| limiter.admits(mallory, start)).count();
        assert_eq!(passed, BURST as usize);
        assert!(limiter.admits(bob, start), "one peer's flood is not another's");
        let later = start + Duration::from_secs(10);
        let passed = (0..1000).filter(|_| limiter.admits(mallory, later)).count();
        assert_eq!(passed, (10.0 * PER_SECOND) as usize);
    }

    #[test]
    fn its_memory_is_bounded() {
        let (mut limiter, now) = (Limiter::default(), Instant::now());
        for _ in 0..5 * MAX_PEERS {
            assert!(limiter.admits(PeerId::random(), now));
            assert!(limiter.buckets.len() <= MAX_PEERS);
        }
    }
}
