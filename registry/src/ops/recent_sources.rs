//! Recent claims of publishers and the peers that sent them. They save DHT lookups for further packages of a publisher.
//!
//! They are used only for names with a publisher. A name without one requires all its claimants, which only the DHT
//! knows. Claims of a remembered peer are verified like those from the DHT; claims from gossip were verified on
//! arrival.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use libp2p::PeerId;

use crate::{identity::PublisherId, index::Claim, package::PackageId};

/// How long the result of a lookup is used for other packages of the publisher, and an announcement for its package.
/// It bounds how long an outdated peer or a missed announcement goes unnoticed.
const HOLDS_FOR: Duration = Duration::from_secs(60);
/// Maximum number of publishers remembered; when it is exceeded, all are forgotten.
const MAX_PUBLISHERS: usize = 1024;
/// Maximum bytes of encoded claims remembered; when it is exceeded, all are forgotten.
const MAX_HEARD_BYTES: usize = 2 << 20;

#[derive(Debug)]
struct Known {
    peer: PeerId,
    looked_up: Instant,
}

/// A publisher's claim that was received by gossip.
#[derive(Clone, Debug)]
pub(crate) struct Heard {
    pub(crate) claim: Claim,
    /// A likely provider of the claimed release.
    pub(crate) peer: PeerId,
    at: Instant,
}

impl Heard {
    /// Returns whether its head is newer than that of a claim received in response to a request.
    pub(super) fn is_newer_than(&self, asked: Option<&Claim>) -> bool {
        asked.is_none_or(|asked| self.claim.head().order() > asked.head().order())
    }
}

#[derive(Debug, Default)]
struct Memory {
    known: HashMap<PublisherId, Known>,
    heard: HashMap<PublisherId, Heard>,
    heard_bytes: usize,
}

/// The sources of publishers that were recently looked up or announced.
#[derive(Debug, Default)]
pub(crate) struct Sources(Mutex<Memory>);

impl Sources {
    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the peer to query about a package of this publisher.
    pub(super) fn of(&self, publisher: &PublisherId, now: Instant) -> Option<PeerId> {
        let memory = self.memory();
        let known = memory.known.get(publisher)?;
        (now.saturating_duration_since(known.looked_up) < HOLDS_FOR).then_some(known.peer)
    }

    /// Records that a DHT lookup led to `peer`, which served the publisher's records.
    pub(super) fn looked_up(&self, publisher: PublisherId, peer: PeerId, now: Instant) {
        let known = &mut self.memory().known;
        if known.len() >= MAX_PUBLISHERS {
            known.clear();
        }
        known.insert(publisher, Known { peer, looked_up: now });
    }

    /// Forgets the source of a publisher, because it did not have what was requested.
    pub(super) fn forget(&self, publisher: &PublisherId) {
        self.memory().known.remove(publisher);
    }

    /// Records an announced claim, which replaces the publisher's previous one.
    pub(super) fn heard(&self, claim: Claim, peer: PeerId, now: Instant) {
        let memory = &mut *self.memory();
        if memory.heard.len() >= MAX_PUBLISHERS || memory.heard_bytes + claim.encoded().len() > MAX_HEARD_BYTES {
            memory.heard.clear();
            memory.heard_bytes = 0;
        }
        memory.heard_bytes += claim.encoded().len();
        let before = memory.heard.insert(claim.publisher(), Heard { claim, peer, at: now });
        memory.heard_bytes -= before.map_or(0, |before| before.claim.encoded().len());
    }

    /// Returns the announced claim on this package, if it is the publisher's last announced one.
    pub(super) fn heard_of(&self, publisher: &PublisherId, package: &PackageId, now: Instant) -> Option<Heard> {
        let memory = self.memory();
        let heard = memory.heard.get(publisher).filter(|heard| heard.claim.package() == Some(package))?;
        (now.saturating_duration_since(heard.at) < HOLDS_FOR).then(|| heard.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::actor::Actor;

    #[test]
    fn a_source_holds_for_its_publisher_and_a_minute() {
        let (sources, now) = (Sources::default(), Instant::now());
        let (publisher, other) = (Actor::new(1).chain.publisher(), Actor::new(2).chain.publisher());
        let peer = PeerId::random();
        assert_eq!(sources.of(&publisher, now), None);
        sources.looked_up(publisher, peer, now);
        assert_eq!(sources.of(&publisher, now), Some(peer));
        assert_eq!(sources.of(&other, now), None);
        assert_eq!(sources.of(&publisher, now + HOLDS_FOR), None);
        sources.forget(&publisher);
        assert_eq!(sources.of(&publisher, now), None);
    }

    #[test]
    fn what_was_announced_holds_for_its_package_and_a_minute_unless_something_newer_was() {
        let (sources, now, peer) = (Sources::default(), Instant::now(), PeerId::random());
        let mut actor = Actor::new(1);
        actor.publish("tests/lamp", "1.0.0");
        let (publisher, lamp, bottle) =
            (actor.chain.publisher(), "tests/lamp".parse().unwrap(), "tests/bottle".parse().unwrap());
        sources.heard(actor.claim("tests/lamp"), peer, now);
        let heard = sources.heard_of(&publisher, &lamp, now).unwrap();
        assert_eq!((heard.claim, heard.peer), (actor.claim("tests/lamp"), peer));
        assert!(sources.heard_of(&publisher, &bottle, now).is_none());
        assert!(sources.heard_of(&Actor::new(2).chain.publisher(), &lamp, now).is_none());
        assert!(sources.heard_of(&publisher, &lamp, now + HOLDS_FOR).is_none());
        let (heard, former) = (sources.heard_of(&publisher, &lamp, now).unwrap(), actor.claim("tests/lamp"));
        actor.publish("tests/bottle", "1.0.0");
        assert!(heard.is_newer_than(None) && !heard.is_newer_than(Some(&former)));
        assert!(!heard.is_newer_than(Some(&actor.claim("tests/bottle"))));
        assert!(Heard { claim: actor.claim("tests/bottle"), ..heard }.is_newer_than(Some(&former)));
        sources.heard(actor.claim("tests/bottle"), peer, now);
        assert!(sources.heard_of(&publisher, &lamp, now).is_none(), "its head is no longer the newest");
        assert!(sources.heard_of(&publisher, &bottle, now).is_some());
    }

    #[test]
    fn what_was_announced_takes_bounded_memory() {
        let (sources, now) = (Sources::default(), Instant::now());
        let mut most = 0;
        for seed in 0..=255 {
            let mut actor = Actor::new(seed);
            let mut release = actor.release("tests/lamp", "1.0.0", "lamp");
            release.metadata.authors = vec!["x".repeat(500); 28];
            actor.publish_release(release);
            sources.heard(actor.claim("tests/lamp"), PeerId::random(), now);
            let memory = sources.memory();
            let bytes: usize = memory.heard.values().map(|heard| heard.claim.encoded().len()).sum();
            assert_eq!(bytes, memory.heard_bytes);
            assert!(bytes <= MAX_HEARD_BYTES);
            most = most.max(memory.heard.len());
        }
        assert!(most > 64 && sources.memory().heard.len() < most, "{most}");
    }
}
