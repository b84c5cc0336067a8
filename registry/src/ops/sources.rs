//! Whose a namespace turned out to be, and which peer had it: what spares the next package of it a walk through the DHT.
//!
//! Only that walk is spared. What the peer says is verified like any answer of the DHT, and every other claimant that is
//! known here still counts.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use libp2p::PeerId;

use crate::identity::PublisherId;

/// How long the answer of a lookup holds for other packages of the namespace: a peer that has fallen behind, or a second
/// claimant, stays unnoticed no longer.
const HOLDS_FOR: Duration = Duration::from_secs(60);
/// Namespaces remembered; beyond that, all are forgotten.
const MAX_NAMESPACES: usize = 1024;

/// A publisher, and a connected peer that had what was wanted of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Source {
    pub(super) publisher: PublisherId,
    pub(super) peer: PeerId,
}

#[derive(Debug)]
struct Known {
    source: Source,
    looked_up: Instant,
}

/// The sources of the namespaces that were looked up lately.
#[derive(Debug, Default)]
pub(crate) struct Sources(Mutex<HashMap<String, Known>>);

impl Sources {
    /// Whom to ask about a package of this namespace, of this publisher if one was named.
    pub(super) fn of(&self, namespace: &str, publisher: Option<&PublisherId>, now: Instant) -> Option<Source> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = known.get(namespace)?;
        let is_fresh = now.saturating_duration_since(known.looked_up) < HOLDS_FOR;
        let is_meant = publisher.is_none_or(|publisher| *publisher == known.source.publisher);
        (is_fresh && is_meant).then_some(known.source)
    }

    /// The DHT was asked, and `source` served what it led to.
    pub(super) fn looked_up(&self, namespace: &str, source: Source, now: Instant) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MAX_NAMESPACES {
            known.clear();
        }
        known.insert(namespace.to_owned(), Known { source, looked_up: now });
    }

    /// The source did not know what it was asked for.
    pub(super) fn forget(&self, namespace: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(namespace);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::actor::Actor;

    #[test]
    fn a_source_holds_for_its_namespace_its_publisher_and_a_minute() {
        let (sources, now) = (Sources::default(), Instant::now());
        let (publisher, other) = (Actor::new(1).chain.publisher(), Actor::new(2).chain.publisher());
        let source = Source { publisher, peer: PeerId::random() };
        assert_eq!(sources.of("acme", None, now), None);
        sources.looked_up("acme", source, now);
        assert_eq!(sources.of("acme", None, now), Some(source));
        assert_eq!(sources.of("acme", Some(&publisher), now), Some(source));
        assert_eq!(sources.of("acme", Some(&other), now), None);
        assert_eq!(sources.of("acm", None, now), None);
        assert_eq!(sources.of("acme", None, now + HOLDS_FOR), None);
        sources.forget("acme");
        assert_eq!(sources.of("acme", None, now), None);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let (sources, now) = (Sources::default(), Instant::now());
        let source = Source { publisher: Actor::new(1).chain.publisher(), peer: PeerId::random() };
        for number in 0..=MAX_NAMESPACES {
            sources.looked_up(&number.to_string(), source, now);
        }
        assert!(sources.0.lock().unwrap().len() <= MAX_NAMESPACES);
        assert_eq!(sources.of(&MAX_NAMESPACES.to_string(), None, now), Some(source));
    }
}
