//! Which peer lately had what was wanted of a publisher: what spares the next package of it a walk through the DHT.
//!
//! Only for names that say whose they are. Whoever leaves the publisher away wants to hear of everybody who claims the
//! name, and only the DHT knows them. What the peer says is verified like any answer of the DHT.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use libp2p::PeerId;

use crate::identity::PublisherId;

/// How long the answer of a lookup holds for other packages of the publisher: a peer that has fallen behind stays
/// unnoticed no longer.
const HOLDS_FOR: Duration = Duration::from_secs(60);
/// Publishers remembered; beyond that, all are forgotten.
const MAX_PUBLISHERS: usize = 1024;

#[derive(Debug)]
struct Known {
    peer: PeerId,
    looked_up: Instant,
}

/// The sources of the publishers that were looked up lately.
#[derive(Debug, Default)]
pub(crate) struct Sources(Mutex<HashMap<PublisherId, Known>>);

impl Sources {
    /// Whom to ask about a package of this publisher.
    pub(super) fn of(&self, publisher: &PublisherId, now: Instant) -> Option<PeerId> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = known.get(publisher)?;
        (now.saturating_duration_since(known.looked_up) < HOLDS_FOR).then_some(known.peer)
    }

    /// The DHT was asked, and `peer` served what it led to.
    pub(super) fn looked_up(&self, publisher: PublisherId, peer: PeerId, now: Instant) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MAX_PUBLISHERS {
            known.clear();
        }
        known.insert(publisher, Known { peer, looked_up: now });
    }

    /// The source did not know what it was asked for.
    pub(super) fn forget(&self, publisher: &PublisherId) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(publisher);
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
}
