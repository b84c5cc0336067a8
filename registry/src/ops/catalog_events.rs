//! What the catalog has accepted, told to those parts of this node that follow it: mirrors above all.
//!
//! Whoever gives claims to the catalog tells of those that were new. Nobody waits for a follower: one that falls behind
//! by more than [`NEWS_QUEUE`] is told that it missed some, and looks at the whole catalog instead.

use tokio::sync::broadcast;

use crate::{
    changes::ChangeNotifier,
    identity::PublisherId,
    index::{Acceptance, Claim, ClaimAcceptance},
    package::PackageId,
};

/// News that wait for the slowest follower.
const NEWS_QUEUE: usize = 256;

/// A publisher has said something new. What exactly stands in the catalog.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct News {
    pub(crate) publisher: PublisherId,
    /// The package that the claim was for; none if it was the head alone.
    pub(crate) package: Option<PackageId>,
}

/// Where news are told and followed.
#[derive(Clone, Debug)]
pub(crate) struct CatalogEvents {
    sender: broadcast::Sender<News>,
    bell: ChangeNotifier,
}

impl CatalogEvents {
    /// One whose news ring a bell as well.
    pub(crate) fn new(bell: ChangeNotifier) -> Self {
        Self { sender: broadcast::channel(NEWS_QUEUE).0, bell }
    }

    /// Follows the news from now on.
    pub(crate) fn follow(&self) -> broadcast::Receiver<News> {
        self.sender.subscribe()
    }

    /// Tells of a claim that the catalog was given, if anything in it was new.
    pub(crate) fn tell(&self, claim: &Claim, accepted: &ClaimAcceptance) {
        if is_news(accepted) {
            self.tell_all(claim);
        }
    }

    /// Tells of a claim that is known to be new.
    pub(crate) fn tell_all(&self, claim: &Claim) {
        self.tell_of(claim.publisher(), claim.package().cloned());
    }

    /// Tells of a package that something new is known of, or of a publisher's head alone.
    pub(crate) fn tell_of(&self, publisher: PublisherId, package: Option<PackageId>) {
        let news = News { publisher, package };
        // Nobody follows: nobody misses anything.
        let _followers = self.sender.send(news);
        self.bell.ring();
    }
}

/// Whether the catalog learned something from a claim.
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
