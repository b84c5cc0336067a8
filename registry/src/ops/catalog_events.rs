//! Events for claims that the catalog has accepted. The main subscriber is the mirror.
//!
//! Code that adds claims to the catalog publishes an event for each new one and never waits for a subscriber. A
//! subscriber that falls behind by more than [`NEWS_QUEUE`] events gets an error that it missed some, and reads the
//! whole catalog instead.

use tokio::sync::broadcast;

use crate::{
    changes::ChangeNotifier,
    identity::PublisherId,
    index::{Acceptance, Claim, ClaimAcceptance},
    package::PackageId,
};

/// Number of events buffered for the slowest subscriber.
const NEWS_QUEUE: usize = 256;

/// The catalog has accepted something new from a publisher. Subscribers read the details from the catalog.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct News {
    pub(crate) publisher: PublisherId,
    /// The package of the claim; `None` for a head alone.
    pub(crate) package: Option<PackageId>,
}

/// The channel of catalog events.
#[derive(Clone, Debug)]
pub(crate) struct CatalogEvents {
    sender: broadcast::Sender<News>,
    bell: ChangeNotifier,
}

impl CatalogEvents {
    /// Creates a channel whose events also notify `bell`.
    pub(crate) fn new(bell: ChangeNotifier) -> Self {
        Self { sender: broadcast::channel(NEWS_QUEUE).0, bell }
    }

    /// Subscribes to events from now on.
    pub(crate) fn follow(&self) -> broadcast::Receiver<News> {
        self.sender.subscribe()
    }

    /// Publishes an event for a claim that was offered to the catalog, if anything in it was new.
    pub(crate) fn tell(&self, claim: &Claim, accepted: &ClaimAcceptance) {
        if is_news(accepted) {
            self.tell_all(claim);
        }
    }

    /// Publishes an event for a claim that is known to be new.
    pub(crate) fn tell_all(&self, claim: &Claim) {
        self.tell_of(claim.publisher(), claim.package().cloned());
    }

    /// Publishes an event for a package with new records, or for a publisher's head alone.
    pub(crate) fn tell_of(&self, publisher: PublisherId, package: Option<PackageId>) {
        let news = News { publisher, package };
        // Sending fails only if there is no subscriber.
        let _followers = self.sender.send(news);
        self.bell.ring();
    }
}

/// Returns whether the catalog accepted a new head or a new release of a claim.
pub(crate) fn is_news(accepted: &ClaimAcceptance) -> bool {
    accepted.head == Acceptance::Accepted || accepted.release == Some(Acceptance::Accepted)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::Refusal;

    #[test]
    fn what_the_catalog_knew_or_refused_is_no_news() {
        let refused = || Acceptance::Refused(Refusal::OlderHead);
        let cases = [
            (Acceptance::Accepted, None, true),
            (Acceptance::Known, None, false),
            (refused(), None, false),
            (refused(), Some(Acceptance::Accepted), true),
            (Acceptance::Known, Some(Acceptance::Known), false),
        ];
        for (head, release, expected) in cases {
            let accepted = ClaimAcceptance { head, release };
            assert_eq!(is_news(&accepted), expected, "{accepted:?}");
        }
    }
}
