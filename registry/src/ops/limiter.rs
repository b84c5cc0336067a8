//! Rate limits for requests and announcements of peers: one token bucket per peer.

use std::{collections::HashMap, time::Instant};

use libp2p::PeerId;

/// Maximum number of buckets; full buckets are removed first.
const MAX_PEERS: usize = 1024;

#[derive(Debug)]
struct Bucket {
    tokens: f64,
    filled: Instant,
}

/// The buckets of all peers.
#[derive(Debug)]
pub(super) struct Limiter {
    burst: f64,
    per_second: f64,
    buckets: HashMap<PeerId, Bucket>,
}

impl Limiter {
    /// Creates a limiter that admits `burst` events at once, and `per_second` in the long run.
    pub(super) fn new(burst: f64, per_second: f64) -> Self {
        Self { burst, per_second, buckets: HashMap::new() }
    }

    /// Returns whether one more event of a peer is admitted, and counts it.
    pub(super) fn admits(&mut self, peer: PeerId, now: Instant) -> bool {
        if self.buckets.len() >= MAX_PEERS && !self.buckets.contains_key(&peer) {
            self.forget(now);
        }
        let (burst, per_second) = (self.burst, self.per_second);
        let bucket = self.buckets.entry(peer).or_insert(Bucket { tokens: burst, filled: now });
        bucket.fill(now, burst, per_second);
        let admits = bucket.tokens >= 1.0;
        if admits {
            bucket.tokens -= 1.0;
        }
        admits
    }

    fn forget(&mut self, now: Instant) {
        let (burst, per_second) = (self.burst, self.per_second);
        self.buckets.retain(|_, bucket| {
            bucket.fill(now, burst, per_second);
            bucket.tokens < burst
        });
        if self.buckets.len() >= MAX_PEERS {
            // All these peers are busy. All start again with full buckets, as new peers do.
            self.buckets.clear();
        }
    }
}

impl Bucket {
    fn fill(&mut self, now: Instant, burst: f64, per_second: f64) {
        let seconds = now.saturating_duration_since(self.filled).as_secs_f64();
        self.tokens = (self.tokens + seconds * per_second).min(burst);
        self.filled = now;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_burst_passes_and_a_flood_does_not() {
        let (mut limiter, start) = (Limiter::new(64.0, 4.0), Instant::now());
        let (mallory, bob) = (PeerId::random(), PeerId::random());
        let passed = (0..1000).filter(|_| limiter.admits(mallory, start)).count();
        assert_eq!(passed, 64);
        assert!(limiter.admits(bob, start), "one peer's flood is not another's");
        let later = start + Duration::from_secs(10);
        let passed = (0..1000).filter(|_| limiter.admits(mallory, later)).count();
        assert_eq!(passed, 40);
    }

    #[test]
    fn its_memory_is_bounded() {
        let (mut limiter, now) = (Limiter::new(64.0, 4.0), Instant::now());
        for _ in 0..5 * MAX_PEERS {
            assert!(limiter.admits(PeerId::random(), now));
            assert!(limiter.buckets.len() <= MAX_PEERS);
        }
    }
}
